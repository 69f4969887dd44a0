/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages that a request passes, and the request on its way: what came, and what has been found
 * out about it so far. request.c has the table and a drawing, wait.h what a stage does that needs
 * an answer first.
 *
 * Ownership: a request is on its handler's stack; what it points at is the handler's, except for
 * the plan if it says that it owns it. Threads: the worker's own. Errors: a refusal is sent by
 * the stage that decides it, and its status stays in the request.
 */
#pragma once

#include "plan.h"
#include "proxy.h"
#include "source.h"

struct tl_txn;
struct tl_view;
struct tl_stage;

enum tl_stage_result {
  TL_STAGE_GO_ON,    /* the next one has it */
  TL_STAGE_ANSWERED, /* nothing is left to do: it was answered, dropped, passed on or sent */
  TL_STAGE_WAIT,     /* its transaction waits for an answer, then goes on */
};

/* A wait keeps what the next stages need: the message with its body, who sent it, the view, the
 * plan, the transaction. What else a stage leaves here is for the one that follows at once. */
struct tl_req {
  struct tl_proxy *p;
  struct tl_origin origin;
  const struct tl_msg *m;
  const struct tl_body *body;
  const struct tl_stage *stage; /* where it is */
  struct tl_view *view;         /* that the plan refers to */
  struct tl_source *source;     /* of it, NULL: nothing is known */
  uint64_t sender;              /* tl_source_sender, 0: our own request */
  uint64_t key;                 /* tl_token_txn_key */
  struct tl_plan *plan;         /* from validate on */
  struct tl_txn *txn;           /* from admit or its first wait on; then it has the plan, too */
  const char *reason;           /* phrase of a refusal, NULL: that of the status */
  unsigned status;              /* of a refusal */
  unsigned loop_status;         /* absorb's verdict for validate, 0: it has not looped */
  bool owns_plan;
  bool silent; /* only what would become of it is asked: nothing is answered, sent or kept */
  bool dry;    /* nor counted or logged */
};

/* A stage. The last one of a table never says TL_STAGE_GO_ON. */
struct tl_stage {
  const char *name;
  enum tl_stage_result (*run)(struct tl_req *req);
};

/* X(name): each is tl_stage_NAME, in the file named beside it. */
#define TL_STAGES(X)                                                                               \
  X(absorb)    /* absorb.c: belongs to a request that came before */                               \
  X(validate)  /* validate.c: RFC 3261 16.3 */                                                     \
  X(identify)  /* identify.c: who sent it, to which dialog it belongs (16.4) */                    \
  X(authorise) /* identity_check.c: may the sender claim that identity */                          \
  X(route)     /* route.c: where it goes (16.5), by a look-up if need be */                        \
  X(admit)     /* admit.c: as a transaction, without one, or not at all */                         \
  X(rewrite)   /* rewrite.c: what changes in it wherever it goes (16.6) */                         \
  X(send)      /* send_request.c: by forward.c or stateless.c, with what changes for each target */

#define TL_STAGE_DECLARE(name) enum tl_stage_result tl_stage_##name(struct tl_req *req);
TL_STAGES(TL_STAGE_DECLARE)
#undef TL_STAGE_DECLARE

/* request.c */
extern const struct tl_stage tl_request_stages[];
/* REQ for M with BODY, which comes from ORIGIN: who that is, and the key of its transaction. */
void tl_req_init(struct tl_req *req, struct tl_proxy *p, const struct tl_origin *origin,
                 const struct tl_msg *m, const struct tl_body *body);
/* What would become of a silent REQ between absorb and admit: TL_OK: the plan says it; TL_EAGAIN:
 * it would wait first; TL_ENOTFOUND: it would be answered with its status and reason. The plan is
 * the caller's to give or, if there was none, to take back by tl_req_done. */
int tl_stages_plan(struct tl_req *req);

/* stage.c */
/* Runs the stages from AT, of P's table, on. */
void tl_stages_run(struct tl_req *req, const struct tl_stage *at);
/* The stage of P's table that is RUN. */
const struct tl_stage *tl_stage_find(const struct tl_proxy *p,
                                     enum tl_stage_result (*run)(struct tl_req *req));
/* Frees the plan if REQ owns it. */
void tl_req_done(struct tl_req *req);
/* Answers with STATUS, or drops an ACK. REASON: NULL: the status's own. EXTRA: header lines. */
enum tl_stage_result tl_req_refuse(struct tl_req *req, unsigned status, const char *reason,
                                   struct tl_str extra);
/* There is no room for it. */
enum tl_stage_result tl_req_refuse_overload(struct tl_req *req);
/* Lets the next worker in turn handle it, with BODY; false when all have seen it. */
bool tl_req_pass_onwards(const struct tl_req *req, const struct tl_body *body);

/* Counts ID, if it is traffic. */
static inline void tl_req_count(const struct tl_req *req, enum tl_counter id) {
  if (!req->dry) tl_count(tl_proxy_counters(req->p), id);
}
/* Workers that have seen it before this one. */
static inline unsigned tl_req_n_seen(const struct tl_req *req) {
  return req->origin.passed_on ? req->origin.passed_on->n_seen : 0;
}
