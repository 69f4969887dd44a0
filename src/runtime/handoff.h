/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between workers and handshake threads: an outgoing TLS connection that a worker
 * wants, and a TLS connection, or the failure of one, for a worker.
 *
 *   worker   conn.c dial_tls ------ struct tl_dial -----> handshaker_dial.c
 *                                                         handshaker_conn.c (TCP, TLS)
 *   worker   conn.c tl_conn_adopt <-- struct tl_handoff - handshaker_done.c
 *
 * Accepted connections take the second half of that way only.
 *
 * Ownership: everything in a mail goes with it. Threads: whoever holds it. Errors:
 * of the post functions, where the mail stays the caller's.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/record.h"
#include "tieline/runtime.h"
#include "tieline/transport.h"

/* Asks a handshake thread for an outgoing TLS connection. */
struct tl_dial {
  struct tl_mail mail;
  unsigned worker; /* gets the answer */
  tl_conn_id conn; /* the worker's connection waiting for it */
  struct tl_addr addr;
  struct tl_tls_domain *domain; /* a reference, passed on */
  char sni[256];                /* SIP domain of the next hop */
  char verify_name[256];        /* "" = no name check */
  uint32_t connect_timeout_ms, handshake_timeout_ms;
  uint64_t conf_generation;
};
/* To the handshake thread TH, as mail of the kind that it takes; TL_ELIMIT. */
int tl_dial_post(struct tl_thread *th, struct tl_dial *d);
void tl_dial_free(struct tl_dial *d);

/* A TLS connection for a worker, or the news that a dial failed. */
struct tl_handoff {
  struct tl_mail mail;
  struct tl_runtime *rt; /* counts the connection while FD is open, see tl_handoff_free */
  int rc;                /* 0 or why the dial failed (only with conn != 0) */
  int fd;
  tl_conn_id conn;             /* 0: accepted; else the dial answered */
  unsigned worker;             /* of an answer that waits for room in its mailbox */
  enum tl_transport transport; /* accepted */
  struct tl_addr peer, local;
  enum tl_tls_version version;
  enum tl_cipher cipher;
  struct tl_ktls_state ktls;
  struct tl_record *record;  /* user-space records; NULL when the kernel has both directions */
  struct tl_tls_keys *rekey; /* traffic secrets for a KeyUpdate in the kernel, NULL where the kernel
                                cannot rekey; malloc'd, wipe before free */
  struct tl_tls_domain *domain; /* a reference */
  struct tl_identity *identity; /* a reference or NULL */
  struct tl_identity *own;      /* a reference to the one that we showed, or NULL */
  bool peer_verified, resumed, server;
  struct tl_hs *post_hs; /* waits for a session ticket, or NULL */
  bool ocsp_ask; /* the client's certificate is to be asked about before its messages count */
  unsigned max_fragment;
  char *sni; /* malloc'd or NULL */
};
/* To the worker TH, as mail of the kind that it takes; TL_ELIMIT. */
int tl_handoff_post(struct tl_thread *th, struct tl_handoff *h);
/* Closes and frees everything in H, and gives back what its connection counts for. */
void tl_handoff_free(struct tl_handoff *h);
