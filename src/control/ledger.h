/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verification ledger: which chains are connected under which TLS domain,
 * and whether each still passes. A run audits the connections of every worker,
 * verifies anew what must be (each distinct chain once), and directs the workers
 * to close, retire or keep. Nothing is updated between runs.
 *
 *   REST --> ASKING (audits out) --> JUDGING (in slices) --> ORDERING (directives out) --> REST
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * worker that does not answer in time is left out and the result says so.
 */
#pragma once

#include "control/control_internal.h"
#include "tieline/audit.h"
#include "tieline/hash_table.h"

#define TL_LEDGER_MS 2000 /* for a worker to answer */

/* One chain under one domain, role and name; by value, so that it outlives the run. */
struct tl_known {
  struct tl_hash_node node;
  uint8_t chain_sha256[32]; /* zero: no certificate */
  char *domain, *name, *subject, *serial;
  bool server;
  uint32_t n; /* connections */
  time_t not_after;
  long code; /* X509_V_* of the last verification */
  char why[160];
  time_t at;    /* of the last verification here, 0: the handshake's */
  uint64_t run; /* that verified it */
};

struct tl_ledger_item {
  struct tl_conn_class key;
  uint32_t n, n_applied;
  uint64_t workers; /* bit per worker that has some */
  bool ordered;
  enum tl_directive_action action;
  struct tl_known *known;
};

/* A domain that a reload changed or removed, for connections that still belong to it. */
struct tl_drained {
  struct tl_drained *next;
  struct tl_tls_domain *domain; /* a reference */
  enum tl_reload_drain mode;
  uint32_t within_ms;
};

/* A request that waits for the end of a run. */
struct tl_ledger_wait {
  struct tl_ledger_wait *next;
  struct tl_request req;
  json_t *result; /* of a reload, to be completed; NULL: the ledger is wanted */
  size_t limit;
};

struct tl_ledger {
  enum { TL_LEDGER_REST, TL_LEDGER_ASKING, TL_LEDGER_JUDGING, TL_LEDGER_ORDERING } phase;
  uint64_t run, deadline_ms, started_ms;
  unsigned due;  /* answers still to come */
  bool complete; /* every worker answered */
  bool verify_all, rerun, rerun_all;
  time_t ocsp_from, ocsp_at; /* the run began then; what OCSP said ends next then, 0: nothing */
  struct tl_conf *conf;      /* of this run */
  struct tl_ledger_item *item;
  size_t n_item, cap_item, at;
  struct tl_index_map index;  /* to the items, by tl_conn_class_key */
  struct tl_hash_table known; /* of struct tl_known */
  struct tl_drained *drained;
  struct tl_ledger_wait *waiting, *waiting_next;
};

/* ledger.c */
/* Has a run begin soon; ALL: it verifies every chain, not only those out of date. */
void tl_ledger_wake(struct tl_control *c, bool all);
/* The OCSP answer about a connected client holds until UNTIL; REVOKED: its connections end now. */
void tl_ledger_ocsp(struct tl_control *c, time_t until, bool revoked);
/* Takes REQ over and answers it at the end of the next run, with RESULT (of a reload) completed, or
 * with the ledger if RESULT is NULL. On TL_ENOMEM both remain the caller's. */
int tl_ledger_wait(struct tl_control *c, struct tl_request *req, json_t *result, size_t limit);
/* Notes the domains of BEFORE that AFTER has removed, or changed in more than trust. Returns how
 * many domains of BEFORE are not in AFTER. */
size_t tl_ledger_reloaded(struct tl_control *c, const struct tl_conf *before,
                          const struct tl_conf *after, enum tl_reload_drain mode,
                          uint32_t within_ms);
/* An answer from a worker. */
extern const struct tl_mail_kind tl_ledger_answer;
/* Runs, when something asks for it or has come to its end. */
extern const struct tl_control_service tl_ledger_service;

/* ledger_judge.c */
/* What must be done with IT, in *OUT (with references of its own); false: nothing. */
bool tl_ledger_judge(struct tl_control *c, struct tl_ledger_item *it, struct tl_directive *out);

/* ledger_show.c */
/* Updates the known chains from the items of an audit. */
void tl_ledger_know(struct tl_ledger *l);
void tl_ledger_forget(struct tl_ledger *l);
/* All of them: the one behind K, NULL for the first. */
struct tl_known *tl_known_next(const struct tl_ledger *l, const struct tl_known *k);
/* Completes RESULT of a reload: the outcome for the connections of each domain. */
void tl_ledger_complete(const struct tl_ledger *l, json_t *result);
json_t *tl_ledger_list(const struct tl_ledger *l, size_t limit);
