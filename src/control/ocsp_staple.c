/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the OCSP responses that we staple fresh: fetched at half of their
 * lifetime, or re-read from a file that another program renews. Handshake threads
 * take them from the domain; nothing here waits for a responder.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/fetch.h"
#include "control/ocsp.h"

#define FILE_MS 5000u           /* interval of re-reading a file */
#define RETRY_MS 5000u          /* after a failure, doubled with each further one */
#define RETRY_MAX_MS 600000u    /* ... up to this */
#define REFRESH_MAX_MS 3600000u /* a long-lived response is still fetched every hour */
#define ANSWER_MAX 65536

struct tl_ocsp_staples {
  struct tl_conf *seen; /* the snapshot whose staples are kept fresh */
};

/* What a fetch is for. */
struct job {
  struct tl_control *c;
  struct tl_tls_domain *domain;
  size_t index;
};

int tl_ocsp_order(struct tl_control *c, struct x509_st *cert, struct x509_st *issuer,
                  const char *url, uint32_t timeout_ms, void (*done)(struct tl_fetch *f, void *arg),
                  void *arg) {
  struct tl_fetch *f = calloc(1, sizeof(*f));
  if (!f) return TL_ENOMEM;
  int rc = strlen(url) < sizeof(f->url) ? tl_ocsp_request(cert, issuer, &f->body, &f->body_n)
                                        : TL_EINVAL;
  if (rc == 0) {
    snprintf(f->url, sizeof(f->url), "%s", url);
    f->timeout_ms = timeout_ms;
    f->max_bytes = ANSWER_MAX;
    f->content_type = "application/ocsp-request";
    f->expected_type = "application/ocsp-response";
    f->done = done;
    f->arg = arg;
    rc = tl_fetch_order(c->fetcher, f);
  }
  if (rc) {
    free(f->body);
    free(f);
  }
  return rc;
}

static void on_staple_failed(const struct tl_tls_domain *d, struct tl_staple *s, const char *why) {
  struct tl_ocsp_verdict v;
  uint64_t wait = RETRY_MS << (s->failures < 7 ? s->failures : 7);
  const bool news = strcmp(s->problem, why) != 0;
  s->failures++;
  s->due_ms = tl_now_ms() + (wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS);
  snprintf(s->problem, sizeof(s->problem), "%s", why);
  tl_staple_look(s, &v);
  const time_t left = v.next_update - time(NULL);
  if (news || d->policy.ocsp.staple == TL_STAPLE_FETCH)
    TL_LOG(TL_LOG_WARN, "No good OCSP answer for our own certificate could be had.",
           TL_FC("tls_domain", d->name), TL_FC("reason", why),
           TL_FI("stapled_for_s", v.status == TL_OCSP_GOOD && left > 0 ? left : 0));
}

static void on_staple_renewed(const struct tl_tls_domain *d, struct tl_staple *s,
                              const struct tl_ocsp_verdict *v) {
  const time_t now = time(NULL), half = (v->next_update - now) / 2;
  uint64_t wait = half > 1 ? (uint64_t)half * 1000 : 1000;
  if (s->problem[0])
    TL_LOG(TL_LOG_INFO, "The OCSP answer for our own certificate is good again.",
           TL_FC("tls_domain", d->name), TL_FI("good_for_s", v->next_update - now));
  s->failures = 0;
  s->problem[0] = '\0';
  s->due_ms = tl_now_ms() + (wait < REFRESH_MAX_MS ? wait : REFRESH_MAX_MS);
}

static void on_fetched(struct tl_fetch *f, void *arg) {
  struct job *j = arg;
  struct tl_staple *s = &j->domain->staple[j->index];
  struct tl_ocsp_verdict v;
  char why[192];
  s->busy = false;
  if (f->rc == TL_ECLOSED) {
    /* the process ends */
  } else if (f->rc) {
    on_staple_failed(j->domain, s, f->why);
  } else if (tl_staple_set(s, f->data, f->n, time(NULL), &v) == 0) {
    on_staple_renewed(j->domain, s, &v);
  } else {
    snprintf(why, sizeof(why), "the answer says %s: %s", tl_ocsp_status_name(v.status), v.why);
    on_staple_failed(j->domain, s, v.status == TL_OCSP_NONE ? v.why : why);
  }
  tl_tls_domain_unref(j->domain);
  free(j);
}

static void order_staple(struct tl_control *c, struct tl_tls_domain *d, size_t i) {
  struct tl_staple *s = &d->staple[i];
  char *named = d->ocsp_url ? NULL : tl_ocsp_responder(s->cert);
  const char *url = d->ocsp_url ? d->ocsp_url : named;
  struct job *j = url ? calloc(1, sizeof(*j)) : NULL;
  int rc = TL_ENOMEM;
  if (j) {
    *j = (struct job){c, tl_tls_domain_ref(d), i};
    rc = tl_ocsp_order(c, s->cert, s->issuer, url, d->policy.ocsp.timeout_ms, on_fetched, j);
  }
  if (j && rc) {
    tl_tls_domain_unref(d);
    free(j);
  }
  s->busy = rc == 0;
  if (!url)
    on_staple_failed(d, s, "the certificate names no http:// responder; set ocsp_url");
  else if (rc)
    on_staple_failed(d, s, rc == TL_ELIMIT ? "too many fetches are under way" : tl_strerror(rc));
  free(named);
}

static void read_file(struct tl_tls_domain *d) {
  char why[192];
  struct tl_ocsp_verdict v;
  int rc = tl_staple_read(d, time(NULL), why, sizeof(why));
  for (size_t i = 0; i < d->n_staple; i++) {
    struct tl_staple *s = &d->staple[i];
    tl_staple_look(s, &v);
    if (rc == 0 && v.status == TL_OCSP_GOOD)
      on_staple_renewed(d, s, &v);
    else if (rc)
      on_staple_failed(d, s, why);
    s->due_ms = tl_now_ms() + FILE_MS;
  }
}

/* A rebuilt domain mostly has the same certificate, and keeps its staple while the responder is
 * queried again. */
static void inherit_staples(const struct tl_conf *from, struct tl_tls_domain *to) {
  for (size_t i = 0; i < to->n_staple; i++)
    for (size_t k = 0; k < from->n_domain; k++)
      for (size_t m = 0; m < from->domain[k]->n_staple; m++)
        if (from->domain[k] != to)
          tl_staple_inherit(&to->staple[i], &from->domain[k]->staple[m], time(NULL));
}

static void adopt_conf(struct tl_control *c) {
  struct tl_conf *old = c->ocsp_staple->seen;
  if (old && old->generation == atomic_load_explicit(&c->rt->generation, memory_order_relaxed))
    return;
  struct tl_conf *now = c->ocsp_staple->seen = tl_runtime_conf(c->rt);
  for (size_t i = 0; old && i < now->n_domain; i++) inherit_staples(old, now->domain[i]);
  if (old) tl_conf_unref(old);
}

static void renew_staple(struct tl_control *c, struct tl_tls_domain *d, size_t i) {
  if (d->policy.ocsp.staple == TL_STAPLE_FILE)
    read_file(d);
  else
    order_staple(c, d, i);
}

static uint64_t staple_turn(struct tl_control *c, uint64_t now_ms) {
  uint64_t due_ms = TL_SERVICE_NEVER;
  adopt_conf(c);
  const struct tl_conf *seen = c->ocsp_staple->seen;
  for (size_t i = 0; i < seen->n_domain; i++) {
    struct tl_tls_domain *d = seen->domain[i];
    for (size_t k = 0; k < d->n_staple; k++) {
      struct tl_staple *s = &d->staple[k];
      if (!s->busy && s->due_ms <= now_ms) renew_staple(c, d, k);
      /* While one is being fetched, its answer wakes the loop. */
      if (!s->busy) tl_service_sooner(&due_ms, s->due_ms);
    }
  }
  return due_ms;
}

static int staple_start(struct tl_control *c) {
  c->ocsp_staple = calloc(1, sizeof(*c->ocsp_staple));
  return c->ocsp_staple ? 0 : TL_ENOMEM;
}

static void staple_stop(struct tl_control *c) {
  if (c->ocsp_staple->seen) tl_conf_unref(c->ocsp_staple->seen);
  free(c->ocsp_staple);
  c->ocsp_staple = NULL;
}

const struct tl_control_service tl_ocsp_staple_service = {
    .name = "OCSP staples", .start = staple_start, .turn = staple_turn, .stop = staple_stop};

static json_t *json_staple(const struct tl_tls_domain *d, struct tl_staple *s) {
  struct tl_ocsp_verdict v;
  const time_t now = time(NULL);
  tl_staple_look(s, &v);
  const bool in_date = v.status == TL_OCSP_GOOD && v.next_update > now;
  char serial[64];
  tl_staple_serial(s, serial, sizeof(serial));
  json_t *j = json_pack("{s:o, s:s, s:s, s:s, s:b, s:o, s:o, s:I, s:o}", "domain",
                        tl_rpc_text(d->name, SIZE_MAX), "serial", serial, "source",
                        d->policy.ocsp.staple == TL_STAPLE_FILE ? "file" : "fetch", "status",
                        tl_ocsp_status_name(v.status), "stapled", in_date, "this_update",
                        tl_json_time(v.this_update), "next_update", tl_json_time(v.next_update),
                        "seconds_left", (json_int_t)(in_date ? v.next_update - now : 0), "problem",
                        s->problem[0] ? tl_rpc_text(s->problem, SIZE_MAX) : json_null());
  return j;
}

json_t *tl_ocsp_staple_list(struct tl_control *c) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  json_t *list = json_array();
  for (size_t i = 0; i < conf->n_domain; i++)
    for (size_t k = 0; k < conf->domain[i]->n_staple; k++)
      json_array_append_new(list, json_staple(conf->domain[i], &conf->domain[i]->staple[k]));
  tl_conf_unref(conf);
  return list;
}
