/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries the status of clients' certificates while their connections wait: one
 * query per certificate, however many connections presented it; the answer is
 * kept until its next update. Revoked clients are disconnected; those past the
 * deadline stay or go by the policy of their domain. The workers, which hold the
 * connections, are told by mail.
 *
 * While a client stays connected, its certificate is queried again whenever the
 * last answer has expired; the ledger sees to that and to the consequences.
 */
#include "trust/ocsp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "tieline/log_limit.h"
#include "tieline/ocsp.h"
#include "tieline/time.h"

#define WAITERS_MAX 8192 /* connections of all queries together */
#define TICK_MS 20       /* retry of mail for a worker whose mailbox was full */

struct waiter {
  unsigned worker;
  tl_conn_id conn;
  uint64_t deadline_ms;
  bool hard, parked;
  bool let_go; /* told to go on; still closed if the answer says revoked */
};

/* One query; lives as long as its fetch. */
struct job {
  struct job *next;
  struct tl_ocsp_clients *by;
  uint8_t sha256[32];
  struct x509_st *issuer;       /* a reference; NULL: not known */
  struct tl_identity *identity; /* for the log */
  char domain[64];
  uint32_t recheck_s;
  struct waiter *waiter; /* none: a query about a client that is connected already */
  size_t n, cap;
};

struct order { /* could not be posted yet */
  struct order *next;
  unsigned worker;
  tl_conn_id conn;
  uint8_t alert; /* 0: go on */
};

struct tl_ocsp_clients {
  struct tl_runtime *rt;
  struct tl_fetcher *fetcher;
  tl_ocsp_answer_fn on_answer;
  void *arg;
  struct job *jobs;
  struct order *unsent;
  size_t waiters;
};

/* ---- telling workers ---- */

static bool post_order(struct tl_ocsp_clients *o, const struct order *a) {
  struct tl_thread *w = a->worker < o->rt->n_worker ? o->rt->worker[a->worker] : NULL;
  if (!w) return true;
  return (a->alert ? tl_conn_order_close(w, a->conn, a->alert)
                   : tl_conn_order_unpark(w, a->conn)) == TL_OK;
}

/* ALERT 0: the connection may go on. */
static void tell_worker(struct tl_ocsp_clients *o, const struct waiter *w, uint8_t alert) {
  if (!alert && !w->parked) return;
  const struct order now = {o->unsent, w->worker, w->conn, alert};
  if (post_order(o, &now)) return;
  tl_count(&o->rt->control.counters, TL_C_MAIL_FULL);
  struct order *later = malloc(sizeof(*later));
  if (!later) return; /* a parked connection then ends by its idle timeout */
  *later = now;
  o->unsent = later;
}

static void send_again(struct tl_ocsp_clients *o) {
  for (struct order **p = &o->unsent, *a; (a = *p);) {
    if (!post_order(o, a)) {
      p = &a->next;
      continue;
    }
    *p = a->next;
    free(a);
  }
}

/* No answer, or not a good one: the policy of the domain decides. */
static void apply_policy(struct tl_ocsp_clients *o, struct waiter *w) {
  tl_count(&o->rt->control.counters, w->hard ? TL_C_OCSP_CLOSED_HARD : TL_C_OCSP_PASSED_SOFT);
  tell_worker(o, w, w->hard ? TL_ALERT_CERTIFICATE_UNKNOWN : 0);
  w->let_go = true;
}

static void apply_status(struct tl_ocsp_clients *o, struct waiter *w, enum tl_ocsp_status s) {
  if (s == TL_OCSP_REVOKED) {
    tl_count(&o->rt->control.counters, TL_C_OCSP_REVOKED);
    tell_worker(o, w, TL_ALERT_CERTIFICATE_REVOKED);
  } else if (w->let_go) {
    return;
  } else if (s == TL_OCSP_GOOD) {
    tl_count(&o->rt->control.counters, TL_C_OCSP_GOOD);
    tell_worker(o, w, 0);
  } else {
    apply_policy(o, w);
  }
  w->let_go = true;
}

/* ---- queries ---- */

static void job_free(struct job *j) {
  for (struct job **p = &j->by->jobs; *p; p = &(*p)->next)
    if (*p == j) {
      *p = j->next;
      break;
    }
  j->by->waiters -= j->n;
  tl_cert_unref(j->issuer);
  tl_identity_unref(j->identity);
  free(j->waiter);
  free(j);
}

static void log_answer(const struct job *j, const struct tl_ocsp_verdict *v, const char *why) {
  if (v->status == TL_OCSP_GOOD) {
    TL_LOG_FROM(NULL, j->domain, TL_LOG_DEBUG,
                "The OCSP responder says that a client's certificate is good.",
                TL_FC("subject", j->identity->subject), TL_FC("tls_domain", j->domain));
  } else if (v->status == TL_OCSP_REVOKED) {
    TL_LOG_FROM(NULL, j->domain, TL_LOG_WARN,
                "A client's certificate is revoked (OCSP); its connections are closed.",
                TL_FC("subject", j->identity->subject), TL_FC("serial", j->identity->serial),
                TL_FC("tls_domain", j->domain), TL_FC("reason", v->why),
                TL_FI("connections", j->n));
  } else {
    /* A client that is connected stays: warned about once, at its handshake. */
    TL_LOG_FROM(NULL, j->domain, j->n ? TL_LOG_WARN : TL_LOG_DEBUG,
                "No OCSP answer about a client's certificate; ocsp_client decides.",
                TL_FC("subject", j->identity->subject), TL_FC("tls_domain", j->domain),
                TL_FC("reason", why), TL_FI("connections", j->n));
  }
}

static void conclude_job(struct job *j, const struct tl_ocsp_verdict *v, const char *why) {
  struct tl_ocsp_known k = {.status = v->status, .this_update = v->this_update};
  uint32_t random = 0;
  /* spreads the queries over time */
  if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0) random = 0;
  memcpy(k.sha256, j->sha256, sizeof(k.sha256));
  k.until = tl_ocsp_until(v, time(NULL), j->recheck_s, random);
  tl_ocsp_remember(&k);
  /* Connections that are not among the waiters may depend on it, too. */
  j->by->on_answer(j->by->arg, k.until, v->status == TL_OCSP_REVOKED);
  if (v->status == TL_OCSP_NONE) tl_count(&j->by->rt->control.counters, TL_C_OCSP_FAILED);
  log_answer(j, v, why);
  for (size_t i = 0; i < j->n; i++) apply_status(j->by, &j->waiter[i], v->status);
  job_free(j);
}

static void on_fetched(struct tl_fetch *f, void *arg) {
  struct job *j = arg;
  struct tl_ocsp_verdict v = {.status = TL_OCSP_NONE};
  const char *why = f->why;
  if (f->rc == TL_ECLOSED) {
    job_free(j);
    return;
  }
  if (f->rc == 0) {
    tl_ocsp_judge(f->data, f->n, tl_identity_leaf(j->identity), j->issuer, time(NULL), &v);
    why = v.status == TL_OCSP_UNKNOWN ? "the responder does not know the certificate" : v.why;
  }
  conclude_job(j, &v, why);
}

static struct job *find_job(const struct tl_ocsp_clients *o, const uint8_t sha256[32]) {
  for (struct job *j = o->jobs; j; j = j->next)
    if (memcmp(j->sha256, sha256, sizeof(j->sha256)) == 0) return j;
  return NULL;
}

static int add_waiter(struct job *j, const struct waiter *w) {
  struct tl_ocsp_clients *o = j->by;
  if (o->waiters >= WAITERS_MAX) {
    tl_count(&j->by->rt->control.counters, TL_C_OCSP_REFUSED);
    return TL_ELIMIT;
  }
  if (j->n == j->cap) {
    const size_t cap = j->cap ? j->cap * 2 : 4;
    void *p = realloc(j->waiter, cap * sizeof(*j->waiter));
    if (!p) return TL_ENOMEM;
    j->waiter = p;
    j->cap = cap;
  }
  j->waiter[j->n++] = *w;
  o->waiters++;
  return TL_OK;
}

static struct job *job_new(struct tl_ocsp_clients *o, const struct tl_tls_domain *d,
                           struct tl_identity *id, const uint8_t sha256[32]) {
  struct job *j = calloc(1, sizeof(*j));
  if (!j) return NULL;
  j->by = o;
  memcpy(j->sha256, sha256, sizeof(j->sha256));
  j->identity = tl_identity_ref(id);
  snprintf(j->domain, sizeof(j->domain), "%s", d->name);
  j->recheck_s = d->policy.ocsp.recheck_ms / 1000;
  j->issuer = tl_ocsp_issuer(tl_identity_leaf(id), id->chain, d->server);
  j->next = o->jobs;
  o->jobs = j;
  return j;
}

/* Sends the query of J; if that fails, J is concluded. */
static void order_question(struct job *j, const struct tl_tls_domain *d) {
  const struct tl_ocsp_verdict none = {.status = TL_OCSP_NONE};
  char *named = d->ocsp_url ? NULL : tl_ocsp_responder(tl_identity_leaf(j->identity));
  const char *url = d->ocsp_url ? d->ocsp_url : named, *why = NULL;
  int rc = 0;
  if (!j->issuer)
    why = "the issuer of the certificate is not known";
  else if (!url)
    why = "the certificate names no http:// responder; set ocsp_url";
  else if ((rc = tl_ocsp_order(j->by->fetcher, tl_identity_leaf(j->identity), j->issuer, url,
                               d->policy.ocsp.timeout_ms, on_fetched, j)))
    why = rc == TL_ELIMIT ? "too many fetches are under way" : tl_strerror(rc);
  else
    tl_count(&j->by->rt->control.counters, TL_C_OCSP_ASKED);
  free(named);
  if (why) conclude_job(j, &none, why);
}

bool tl_ocsp_client_revoked(struct tl_ocsp_clients *o, const struct tl_tls_domain *d,
                            struct tl_identity *id) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  if (!tl_identity_cert_digest(id, sha256)) return false;
  if (tl_ocsp_recall(sha256, time(NULL), &known)) return known.status == TL_OCSP_REVOKED;
  struct job *j = find_job(o, sha256) ? NULL : job_new(o, d, id, sha256);
  if (j) {
    tl_count(&o->rt->control.counters, TL_C_OCSP_AGAIN);
    order_question(j, d);
  }
  return false;
}

void tl_ocsp_client_consider(struct tl_ocsp_clients *o, const struct tl_ocsp_ask *a) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  struct waiter w = {.worker = a->worker,
                     .conn = a->conn,
                     .deadline_ms = tl_now_ms() + a->domain->policy.ocsp.timeout_ms,
                     .hard = a->domain->policy.ocsp.client == TL_OCSP_CLIENT_HARD,
                     .parked = a->parked};
  if (!tl_identity_cert_digest(a->identity, sha256)) {
    apply_policy(o, &w);
    return;
  }
  if (tl_ocsp_recall(sha256, time(NULL), &known)) {
    apply_status(o, &w, known.status);
    return;
  }
  struct job *j = find_job(o, sha256);
  const bool fresh = !j;
  if (fresh) j = job_new(o, a->domain, a->identity, sha256);
  if (!j) {
    apply_policy(o, &w);
    return;
  }
  if (add_waiter(j, &w)) apply_policy(o, &w);
  if (fresh) order_question(j, a->domain);
}

uint64_t tl_ocsp_client_turn(struct tl_ocsp_clients *o, uint64_t now_ms) {
  if (o->unsent) send_again(o);
  uint64_t due_ms = o->unsent ? now_ms + TICK_MS : TL_TIME_NEVER;
  for (struct job *j = o->jobs; j; j = j->next)
    for (size_t i = 0; i < j->n; i++) {
      struct waiter *w = &j->waiter[i];
      if (w->let_go) continue;
      if (now_ms >= w->deadline_ms)
        apply_policy(o, w);
      else
        tl_time_sooner(&due_ms, w->deadline_ms);
    }
  return due_ms;
}

size_t tl_ocsp_client_waiting(const struct tl_ocsp_clients *o) { return o->waiters; }

struct tl_ocsp_clients *tl_ocsp_clients_new(struct tl_runtime *rt, struct tl_fetcher *fetcher,
                                            tl_ocsp_answer_fn on_answer, void *arg) {
  struct tl_ocsp_clients *o = calloc(1, sizeof(*o));
  if (!o) return NULL;
  o->rt = rt;
  o->fetcher = fetcher;
  o->on_answer = on_answer;
  o->arg = arg;
  return o;
}

void tl_ocsp_clients_free(struct tl_ocsp_clients *o) {
  if (!o) return;
  for (struct job *j = o->jobs, *next; j;
       j = next) { /* their fetches are called back or abandoned */
    next = j->next;
    job_free(j);
  }
  while (o->unsent) {
    struct order *gone = o->unsent;
    o->unsent = gone->next;
    free(gone);
  }
  free(o);
}
