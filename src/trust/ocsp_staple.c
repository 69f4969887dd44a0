/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the OCSP responses that we staple fresh: fetched at half of their
 * lifetime, or re-read from a file that another program renews. Handshake threads
 * take them from the domain; nothing here waits for a responder.
 */
#include "trust/ocsp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tieline/ocsp.h"
#include "tieline/time.h"

#define FILE_MS 5000u           /* interval of re-reading a file */
#define RETRY_MS 5000u          /* after a failure, doubled with each further one */
#define RETRY_MAX_MS 600000u    /* ... up to this */
#define REFRESH_MAX_MS 3600000u /* a long-lived response is still fetched every hour */
#define ANSWER_MAX 65536

struct tl_ocsp_staples {
  struct tl_runtime *rt;
  struct tl_fetcher *fetcher;
  struct tl_conf *seen; /* the snapshot whose staples are kept fresh */
};

/* What a fetch is for. */
struct job {
  struct tl_tls_domain *domain;
  size_t index;
};

int tl_ocsp_order(struct tl_fetcher *fetcher, struct x509_st *cert, struct x509_st *issuer,
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
    rc = tl_fetch_order(fetcher, f);
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

static void order_staple(struct tl_ocsp_staples *o, struct tl_tls_domain *d, size_t i) {
  struct tl_staple *s = &d->staple[i];
  char *named = d->ocsp_url ? NULL : tl_ocsp_responder(s->cert);
  const char *url = d->ocsp_url ? d->ocsp_url : named;
  struct job *j = url ? calloc(1, sizeof(*j)) : NULL;
  int rc = TL_ENOMEM;
  if (j) {
    *j = (struct job){tl_tls_domain_ref(d), i};
    rc = tl_ocsp_order(o->fetcher, s->cert, s->issuer, url, d->policy.ocsp.timeout_ms, on_fetched,
                       j);
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

static void adopt_conf(struct tl_ocsp_staples *o) {
  struct tl_conf *old = o->seen;
  if (old && old->generation == atomic_load_explicit(&o->rt->generation, memory_order_relaxed))
    return;
  struct tl_conf *now = o->seen = tl_runtime_conf(o->rt);
  for (size_t i = 0; old && i < now->n_domain; i++) inherit_staples(old, now->domain[i]);
  if (old) tl_conf_unref(old);
}

static void renew_staple(struct tl_ocsp_staples *o, struct tl_tls_domain *d, size_t i) {
  if (d->policy.ocsp.staple == TL_STAPLE_FILE)
    read_file(d);
  else
    order_staple(o, d, i);
}

uint64_t tl_ocsp_staple_turn(struct tl_ocsp_staples *o, uint64_t now_ms) {
  uint64_t due_ms = TL_TIME_NEVER;
  adopt_conf(o);
  const struct tl_conf *seen = o->seen;
  for (size_t i = 0; i < seen->n_domain; i++) {
    struct tl_tls_domain *d = seen->domain[i];
    for (size_t k = 0; k < d->n_staple; k++) {
      struct tl_staple *s = &d->staple[k];
      if (!s->busy && s->due_ms <= now_ms) renew_staple(o, d, k);
      /* While one is being fetched, its answer wakes the loop. */
      if (!s->busy) tl_time_sooner(&due_ms, s->due_ms);
    }
  }
  return due_ms;
}

struct tl_ocsp_staples *tl_ocsp_staples_new(struct tl_runtime *rt, struct tl_fetcher *fetcher) {
  struct tl_ocsp_staples *o = calloc(1, sizeof(*o));
  if (!o) return NULL;
  o->rt = rt;
  o->fetcher = fetcher;
  return o;
}

void tl_ocsp_staples_free(struct tl_ocsp_staples *o) {
  if (!o) return;
  if (o->seen) tl_conf_unref(o->seen);
  free(o);
}
