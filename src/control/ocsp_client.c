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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "control/fetch.h"
#include "control/ledger.h"
#include "control/ocsp.h"
#include "tieline/log_limit.h"

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
  struct tl_control *c;
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
  struct job *jobs;
  struct order *unsent;
  size_t waiters;
};

/* ---- telling workers ---- */

static bool post_order(struct tl_control *c, const struct order *o) {
  struct tl_thread *w = o->worker < c->rt->n_worker ? c->rt->worker[o->worker] : NULL;
  if (!w) return true;
  return (o->alert ? tl_conn_order_close(w, o->conn, o->alert)
                   : tl_conn_order_unpark(w, o->conn)) == TL_OK;
}

/* ALERT 0: the connection may go on. */
static void tell_worker(struct tl_control *c, const struct waiter *w, uint8_t alert) {
  if (!alert && !w->parked) return;
  const struct order o = {c->ocsp_client->unsent, w->worker, w->conn, alert};
  if (post_order(c, &o)) return;
  tl_count(&c->rt->control.counters, TL_C_MAIL_FULL);
  struct order *later = malloc(sizeof(*later));
  if (!later) return; /* a parked connection then ends by its idle timeout */
  *later = o;
  c->ocsp_client->unsent = later;
}

static void send_again(struct tl_control *c) {
  for (struct order **p = &c->ocsp_client->unsent, *o; (o = *p);) {
    if (!post_order(c, o)) {
      p = &o->next;
      continue;
    }
    *p = o->next;
    free(o);
  }
}

/* No answer, or not a good one: the policy of the domain decides. */
static void apply_policy(struct tl_control *c, struct waiter *w) {
  tl_count(&c->rt->control.counters, w->hard ? TL_C_OCSP_CLOSED_HARD : TL_C_OCSP_PASSED_SOFT);
  tell_worker(c, w, w->hard ? TL_ALERT_CERTIFICATE_UNKNOWN : 0);
  w->let_go = true;
}

static void apply_status(struct tl_control *c, struct waiter *w, enum tl_ocsp_status s) {
  if (s == TL_OCSP_REVOKED) {
    tl_count(&c->rt->control.counters, TL_C_OCSP_REVOKED);
    tell_worker(c, w, TL_ALERT_CERTIFICATE_REVOKED);
  } else if (w->let_go) {
    return;
  } else if (s == TL_OCSP_GOOD) {
    tl_count(&c->rt->control.counters, TL_C_OCSP_GOOD);
    tell_worker(c, w, 0);
  } else {
    apply_policy(c, w);
  }
  w->let_go = true;
}

/* ---- queries ---- */

static void job_free(struct job *j) {
  for (struct job **p = &j->c->ocsp_client->jobs; *p; p = &(*p)->next)
    if (*p == j) {
      *p = j->next;
      break;
    }
  j->c->ocsp_client->waiters -= j->n;
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
  tl_ledger_ocsp(j->c, k.until, v->status == TL_OCSP_REVOKED);
  if (v->status == TL_OCSP_NONE) tl_count(&j->c->rt->control.counters, TL_C_OCSP_FAILED);
  log_answer(j, v, why);
  for (size_t i = 0; i < j->n; i++) apply_status(j->c, &j->waiter[i], v->status);
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

static struct job *find_job(const struct tl_control *c, const uint8_t sha256[32]) {
  for (struct job *j = c->ocsp_client->jobs; j; j = j->next)
    if (memcmp(j->sha256, sha256, sizeof(j->sha256)) == 0) return j;
  return NULL;
}

static int add_waiter(struct job *j, const struct waiter *w) {
  struct tl_ocsp_clients *o = j->c->ocsp_client;
  if (o->waiters >= WAITERS_MAX) {
    tl_count(&j->c->rt->control.counters, TL_C_OCSP_REFUSED);
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
  return 0;
}

static struct job *job_new(struct tl_control *c, const struct tl_tls_domain *d,
                           struct tl_identity *id, const uint8_t sha256[32]) {
  struct job *j = calloc(1, sizeof(*j));
  if (!j) return NULL;
  j->c = c;
  memcpy(j->sha256, sha256, sizeof(j->sha256));
  j->identity = tl_identity_ref(id);
  snprintf(j->domain, sizeof(j->domain), "%s", d->name);
  j->recheck_s = d->policy.ocsp.recheck_ms / 1000;
  j->issuer = tl_ocsp_issuer(tl_identity_leaf(id), id->chain, d->server);
  j->next = c->ocsp_client->jobs;
  c->ocsp_client->jobs = j;
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
  else if ((rc = tl_ocsp_order(j->c, tl_identity_leaf(j->identity), j->issuer, url,
                               d->policy.ocsp.timeout_ms, on_fetched, j)))
    why = rc == TL_ELIMIT ? "too many fetches are under way" : tl_strerror(rc);
  else
    tl_count(&j->c->rt->control.counters, TL_C_OCSP_ASKED);
  free(named);
  if (why) conclude_job(j, &none, why);
}

bool tl_ocsp_client_revoked(struct tl_control *c, const struct tl_tls_domain *d,
                            struct tl_identity *id) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  if (!tl_identity_cert_digest(id, sha256)) return false;
  if (tl_ocsp_recall(sha256, time(NULL), &known)) return known.status == TL_OCSP_REVOKED;
  struct job *j = find_job(c, sha256) ? NULL : job_new(c, d, id, sha256);
  if (j) {
    tl_count(&c->rt->control.counters, TL_C_OCSP_AGAIN);
    order_question(j, d);
  }
  return false;
}

static void consider_client(struct tl_control *c, const struct tl_ocsp_ask *a) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  struct waiter w = {.worker = a->worker,
                     .conn = a->conn,
                     .deadline_ms = tl_now_ms() + a->domain->policy.ocsp.timeout_ms,
                     .hard = a->domain->policy.ocsp.client == TL_OCSP_CLIENT_HARD,
                     .parked = a->parked};
  if (!tl_identity_cert_digest(a->identity, sha256)) {
    apply_policy(c, &w);
    return;
  }
  if (tl_ocsp_recall(sha256, time(NULL), &known)) {
    apply_status(c, &w, known.status);
    return;
  }
  struct job *j = find_job(c, sha256);
  const bool fresh = !j;
  if (fresh) j = job_new(c, a->domain, a->identity, sha256);
  if (!j) {
    apply_policy(c, &w);
    return;
  }
  if (add_waiter(j, &w)) apply_policy(c, &w);
  if (fresh) order_question(j, a->domain);
}

static void deliver_question(void *reader, struct tl_mail *m) {
  struct tl_control *c = reader;
  struct tl_ocsp_ask *a = (struct tl_ocsp_ask *)m;
  if (c->state != TL_CONTROL_STOPPED) consider_client(c, a);
  tl_ocsp_ask_free(a);
}

static void drop_question(struct tl_mail *m) { tl_ocsp_ask_free((struct tl_ocsp_ask *)m); }

const struct tl_mail_kind tl_ocsp_question = {"OCSP question", deliver_question, drop_question};

static uint64_t client_turn(struct tl_control *c, uint64_t now_ms) {
  struct tl_ocsp_clients *o = c->ocsp_client;
  if (o->unsent) send_again(c);
  uint64_t due_ms = o->unsent ? now_ms + TICK_MS : TL_SERVICE_NEVER;
  for (struct job *j = o->jobs; j; j = j->next)
    for (size_t i = 0; i < j->n; i++) {
      struct waiter *w = &j->waiter[i];
      if (w->let_go) continue;
      if (now_ms >= w->deadline_ms)
        apply_policy(c, w);
      else
        tl_service_sooner(&due_ms, w->deadline_ms);
    }
  return due_ms;
}

static int client_start(struct tl_control *c) {
  c->ocsp_client = calloc(1, sizeof(*c->ocsp_client));
  return c->ocsp_client ? 0 : TL_ENOMEM;
}

static void client_stop(struct tl_control *c) {
  struct tl_ocsp_clients *o = c->ocsp_client;
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
  c->ocsp_client = NULL;
}

const struct tl_control_service tl_ocsp_client_service = {
    .name = "OCSP of clients", .start = client_start, .turn = client_turn, .stop = client_stop};

json_t *tl_ocsp_client_list(const struct tl_control *c) {
  enum { CAP = 256 };
  struct tl_ocsp_known *known = calloc(CAP, sizeof(*known));
  const size_t n = known ? tl_ocsp_known_all(time(NULL), known, CAP) : 0;
  json_t *list = json_array();
  for (size_t i = 0; i < n && i < CAP; i++) {
    char hex[65];
    for (int k = 0; k < 32; k++) snprintf(hex + 2 * k, 3, "%02x", known[i].sha256[k]);
    const bool asked = known[i].status != TL_OCSP_NONE;
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:o, s:o, s:I}", "certificate_sha256", hex, "status",
                        asked ? tl_ocsp_status_name(known[i].status) : "unreachable", "this_update",
                        tl_json_time(known[i].this_update), "until", tl_json_time(known[i].until),
                        "seconds_left", (json_int_t)(known[i].until - time(NULL))));
  }
  free(known);
  return json_pack("{s:I, s:I, s:o}", "waiting", (json_int_t)c->ocsp_client->waiters, "known",
                   (json_int_t)n, "certificates", list);
}

int tl_command_ocsp(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  (void)req, (void)params;
  a->result =
      json_pack("{s:o, s:o}", "staples", tl_ocsp_staple_list(c), "clients", tl_ocsp_client_list(c));
  return 0;
}
