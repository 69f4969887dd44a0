/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verification ledger: which chains are connected under which TLS domain,
 * and whether each still passes. A run audits the connections of every worker,
 * verifies anew what must be (each distinct chain once), and directs the workers
 * to close, retire or keep. Nothing is updated between runs.
 *
 *   REST --> ASKING (audits out) --> JUDGING (in slices) --> ORDERING (directives out) --> REST
 *
 * What control asks of it is in tieline/trust.h.
 *
 * Ownership: struct tl_ledger is the caller's; what it asks about clients lives
 * longer. Threads: the control thread's. Errors: NULL: memory is short; a worker
 * that does not answer in time is left out and the result says so.
 */
#pragma once

#include "tieline/trust.h"
#include "trust/ocsp.h"

#define TL_LEDGER_MS 2000 /* for a worker to answer */

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

struct tl_ledger {
  struct tl_runtime *rt;
  struct tl_mail_address reply; /* of audits */
  struct tl_ocsp_clients *ocsp_client;
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
/* AUDITED: the kind of a worker's answer, which goes to RT's control mailbox. */
struct tl_ledger *tl_ledger_new(struct tl_runtime *rt, const struct tl_mail_kind *audited,
                                struct tl_ocsp_clients *ocsp_client);
/* L may be NULL. Those who wait are told that the process ends. */
void tl_ledger_free(struct tl_ledger *l);
/* Runs, when something asks for it or has come to its end; returns when to call again. */
uint64_t tl_ledger_turn(struct tl_ledger *l, uint64_t now_ms);
/* A worker's answer, which is taken over. */
void tl_ledger_take(struct tl_ledger *l, struct tl_audit *s);

/* ledger_wake.c */
/* The OCSP answer about a connected client holds until UNTIL; REVOKED: its connections end now. */
void tl_ledger_ocsp(struct tl_ledger *l, time_t until, bool revoked);

/* ledger_judge.c */
/* What must be done with IT, in *OUT (with references of its own); false: nothing. */
bool tl_ledger_judge(struct tl_ledger *l, struct tl_ledger_item *it, struct tl_directive *out);

/* ledger_known.c */
/* Updates the known chains from the items of an audit. */
void tl_ledger_know(struct tl_ledger *l);
void tl_ledger_forget(struct tl_ledger *l);
