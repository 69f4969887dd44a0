/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question to a worker: what would become of such a request? It answers with
 * the code that routes requests, and sends nothing.
 *
 * Ownership: the asker's, also while a worker has it; tl_explain_clear before it
 * is freed. Threads: whoever holds it. Errors: in RC.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/runtime.h"
#include "tieline/transport.h"

#define TL_EXPLAIN_TARGETS 64 /* no less than the proxy tries */
#define TL_EXPLAIN_ROUTES 256 /* of a longer table those that the index offers */
#define TL_EXPLAIN_TEXT 3072

/* A route of the table, in its order. */
struct tl_explain_route {
  char name[64];
  bool chosen;
  const char *why; /* a phrase, a constant */
};

struct tl_explain {
  struct tl_mail mail;
  struct tl_mail_address reply;
  /* The question. */
  tl_conn_id conn; /* a connection of the worker that it comes on, or 0 */
  struct tl_addr source;
  enum tl_transport transport; /* without CONN */
  char request[TL_EXPLAIN_TEXT];
  size_t n;
  /* The answer. */
  int rc;           /* 0: goes on; TL_EAGAIN: once RESOLVE is looked up; TL_ENOTFOUND: answered */
  unsigned status;  /* of that answer, mostly a refusal */
  char reason[128]; /* its phrase */
  char source_peer[64], trust[40], identity[128]; /* who it comes from */
  char resolve[256];
  size_t n_target;
  struct {
    enum tl_transport transport;
    struct tl_addr addr;
    char peer[64], domain[64], verify[256]; /* TLS domain, name that the certificate must carry */
    char group[64];
    const char *health; /* state of that address; NULL: it is no peer's */
  } target[TL_EXPLAIN_TARGETS];
  size_t n_route;
  struct tl_explain_route *route; /* malloc'd */
  size_t n_left_out;              /* routes of the table that are not among them */
};

void tl_explain_clear(struct tl_explain *e);
/* Asks WORKER; TL_ELIMIT. */
int tl_explain_ask(struct tl_thread *worker, struct tl_explain *e);
