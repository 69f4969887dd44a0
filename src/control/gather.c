/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks every worker for its connections. A worker that has not answered by the
 * deadline is left out and the result says so; its late answer still finds the
 * gather and frees it.
 */
#include <stdlib.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/gather.h"
#include "control/rpc.h"

struct part {
  struct tl_dump dump; /* first: the mail that comes back is the part */
  struct tl_gather *gather;
};

struct tl_gather {
  struct tl_gather *next;
  struct tl_request req;
  tl_gather_fn done;
  size_t limit;
  uint64_t deadline_ms;
  unsigned due;  /* answers still to come */
  bool missing;  /* a worker could not be asked */
  bool answered; /* kept only for late answers */
  size_t n;
  struct tl_dump *dump[TL_THREADS_MAX]; /* answers received */
};

static void free_dumps(struct tl_gather *g) {
  for (size_t i = 0; i < g->n; i++) tl_dump_free(g->dump[i]);
  g->n = 0;
}

static void finish_gather(struct tl_control *c, struct tl_gather *g) {
  struct tl_answer a = {0};
  a.result = g->done(c, g->dump, g->n, g->due == 0 && !g->missing, g->limit, &a);
  if (!a.result && !a.code) tl_command_fail(&a, TL_RPC_NOT_NOW, "out of memory");
  tl_command_answer(c, &g->req, &a);
  free_dumps(g);
  g->answered = true;
}

static const struct tl_mail_kind answer_kind;

static void unlink_gather(struct tl_control *c, struct tl_gather *g) {
  for (struct tl_gather **p = &c->gathers; *p; p = &(*p)->next)
    if (*p == g) {
      *p = g->next;
      break;
    }
  free(g);
}

static void ask_worker(struct tl_control *c, struct tl_gather *g, unsigned worker,
                       const struct tl_conn_filter *filter) {
  struct part *p = calloc(1, sizeof(*p));
  if (p) {
    p->gather = g;
    p->dump.reply = (struct tl_mail_address){&c->rt->control.mailbox, &answer_kind};
    p->dump.worker = worker;
    p->dump.cap = g->limit;
    if (filter) p->dump.filter = *filter;
    p->dump.with_refs = filter && filter->id; /* everything known of one connection */
  }
  if (p && tl_dump_ask(c->rt->worker[worker], &p->dump) == 0) {
    g->due++;
  } else {
    free(p);
    g->missing = true;
  }
}

int tl_gather_start(struct tl_control *c, struct tl_request *req, size_t limit,
                    const struct tl_conn_filter *filter, tl_gather_fn done) {
  struct tl_gather *g = calloc(1, sizeof(*g));
  if (!g) return TL_ENOMEM;
  g->req = *req;
  g->done = done;
  g->limit = limit;
  g->deadline_ms = tl_now_ms() + TL_GATHER_MS;
  g->next = c->gathers;
  c->gathers = g;
  for (unsigned i = 0; i < c->rt->n_worker; i++)
    if (c->rt->worker[i]) ask_worker(c, g, i, filter);
  if (g->due == 0) {
    finish_gather(c, g);
    unlink_gather(c, g);
  }
  return 0;
}

static void take_answer(struct tl_control *c, struct tl_dump *d) {
  struct tl_gather *g = ((struct part *)d)->gather;
  g->due--;
  if (d->rc) g->missing = true;
  if (g->answered) {
    tl_dump_free(d);
  } else {
    g->dump[g->n++] = d;
    if (g->due == 0) finish_gather(c, g);
  }
  if (g->due == 0) unlink_gather(c, g);
}

static void deliver_answer(void *reader, struct tl_mail *m) {
  take_answer(reader, (struct tl_dump *)m);
}

/* Its gather ends at the deadline. */
static void drop_answer(struct tl_mail *m) { tl_dump_free((struct tl_dump *)m); }

static const struct tl_mail_kind answer_kind = {"connections", deliver_answer, drop_answer};

static uint64_t gather_turn(struct tl_control *c, uint64_t now_ms) {
  uint64_t due_ms = TL_TIME_NEVER;
  for (struct tl_gather *g = c->gathers; g; g = g->next) {
    if (g->answered) continue;
    if (now_ms >= g->deadline_ms) {
      TL_LOG(TL_LOG_WARN, "Workers did not tell their connections in time.",
             TL_FI("workers", g->due));
      finish_gather(c, g);
      continue;
    }
    tl_time_sooner(&due_ms, g->deadline_ms);
  }
  return due_ms;
}

const struct tl_control_service tl_gather_service = {.name = "gather", .turn = gather_turn};
