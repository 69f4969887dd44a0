/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of connections for other threads: one connection as ctl shows it, which
 * ones are meant, and the question that a worker answers with them.
 *
 * Ownership: the asker's, and while a worker has the question that worker's; what
 * it holds goes with it. Threads: whoever holds it. Errors: in RC of the answer.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/record.h"
#include "tieline/runtime.h"
#include "tieline/transport.h"

struct tl_identity;
struct tl_tls_domain;

/* One connection as ctl shows it. */
struct tl_conn_info {
  tl_conn_id id;
  unsigned worker;
  enum tl_transport transport;
  bool outgoing;
  const char *state; /* constant: "open", "parked", "retiring", "connecting", "closing" */
  struct tl_addr peer, local;
  enum tl_tls_version version; /* TLS only, as are all below up to sni */
  enum tl_cipher cipher;
  struct tl_ktls_state ktls;
  bool peer_verified, resumed;
  const char *trust;  /* constant: how far the other side is known; NULL: not said */
  char peer_name[64]; /* the peer of the configuration, "" if none */
  char domain[64], identity[128], sni[128];
  uint64_t age_ms, idle_ms;
  uint64_t msgs_in, msgs_out, bytes_in, bytes_out, queued_bytes;
  bool paused;
  uint32_t memory_bytes; /* of user space, without shared buffers */
  uint32_t
      kernel_bytes; /* of its socket's queues; what a socket is itself the kernel does not say */
  /* Only if the dump asks for them: references, NULL without TLS or certificate. */
  struct tl_identity *peer_cert, *own; /* the peer's certificate and the one we showed */
  struct tl_tls_domain *tls_domain;
};

/* Which connections a dump is about: those for which all that is set holds. */
#define TL_FILTER_ADDRS 16
struct tl_conn_filter {
  tl_conn_id id;
  bool by_peer; /* one of ADDR (port 0: any), or a verified certificate for PEER_IDENTITY */
  size_t n_addr;
  struct tl_addr addr[TL_FILTER_ADDRS];
  char peer_identity[256]; /* "" : addresses only */
  char identity[256];      /* a domain that the certificate speaks for, or part of its subject */
  char domain[64];         /* name of the TLS domain */
};

/* A question to a worker, which fills INFO (malloc'd, at most CAP entries) and returns the same
 * mail to REPLY. */
struct tl_dump {
  struct tl_mail mail;
  struct tl_mail_address reply;
  int rc; /* out: TL_ECLOSED: the worker has stopped and did not look */
  unsigned worker;
  size_t cap, n;
  size_t total; /* connections there are that FILTER lets through */
  struct tl_conn_info *info;
  struct tl_conn_filter filter;
  bool with_refs; /* fill in the references to identities and TLS domains */
};
/* Frees D, its entries and their references. */
void tl_dump_free(struct tl_dump *d);
/* Asks WORKER; TL_ELIMIT: D stays the caller's. */
int tl_dump_ask(struct tl_thread *worker, struct tl_dump *d);
