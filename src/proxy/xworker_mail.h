/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mails between workers, for the two sides of xworker.h.
 *
 * Ownership: a mail belongs to whoever holds it.
 * Threads: one at a time. Errors: none.
 */
#pragma once

#include "xworker.h"

/* With the identity of a connection's peer, if verified; a reference. */
struct tl_xw_named {
  struct tl_mail mail;
  struct tl_identity *identity;
};

/* A message whose transaction another worker has, with its scan. */
struct tl_xw_passed_on {
  struct tl_xw_named by;
  struct tl_flow from;
  bool allow_cn, dialled; /* the rest of what determines its source */
  enum tl_check_from check;
  int listener; /* of the datagram's socket, -1: none */
  unsigned n_seen;
  uint32_t body_len; /* less than the message's: it can be answered, but not forwarded */
  const struct tl_msg *msg;
  char data[];
};

struct tl_xw_send {
  struct tl_mail mail;
  tl_conn_id conn;
  unsigned back_to;   /* the worker to tell of a failure */
  uint32_t slot, gen; /* its branch; slot UINT32_MAX: none */
  bool alias;         /* the connection must still be a valid alias (RFC 5923) */
  uint32_t len;
  char data[];
};

struct tl_xw_gone {
  struct tl_xw_named by;
  struct tl_flow was;
  int rc;
};

/* What is posted; struct tl_proxy has them, so that a file that posts knows none that delivers. */
struct tl_xw_kinds {
  struct tl_mail_kind message, send, gone;
};

/* xworker.c */
extern const struct tl_xw_kinds tl_xw_all_kinds;

int tl_xw_post_or_free(struct tl_proxy *p, unsigned worker, struct tl_mail *m, uint32_t bytes);
