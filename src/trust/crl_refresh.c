/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching revocation lists: every distribution point that a domain wants is
 * fetched periodically, and the list is offered to all domains that fetch. Whoever
 * made this is told of a new one. fetch.c does the waiting; src/tls decides whether
 * a list is trusted.
 */
#include "trust/crl_refresh.h"

#include <stdlib.h>
#include <string.h>

#include "tieline/time.h"

#define FETCH_MS 10000
#define LIST_BYTES_MAX (16u << 20)
#define RETRY_MS 5000        /* doubled each time, up to crl_refresh */
#define LEAST_PAUSE_MS 2000u /* between two fetches of one point */
#define AGAIN_MS 1000

static void wake_control(void *arg) {
  struct tl_runtime *rt = arg;
  tl_mailbox_wake(&rt->control.mailbox);
}

struct tl_crl_life *tl_crl_life_new(struct tl_runtime *rt, struct tl_fetcher *fetcher,
                                    tl_crl_taken_fn taken, void *arg) {
  struct tl_crl_life *l = calloc(1, sizeof(*l));
  if (!l) return NULL;
  l->rt = rt;
  l->fetcher = fetcher;
  l->taken = taken;
  l->arg = arg;
  tl_crls_on_wanted(wake_control, rt);
  return l;
}

static void log_refused(const struct tl_tls_domain *d, const char *url, const char *why) {
  TL_LOG(TL_LOG_WARN, "A revocation list that was fetched is not taken.", TL_FC("url", url),
         TL_FC("tls_domain", d->name), TL_FC("cause", why));
}

/* Offers CRL to every domain. Returns how many accepted it, *OUT_KNOWN how many know its issuer. */
static size_t offer_crl(const struct tl_conf *conf, const struct tl_crl *crl, const char *url,
                        size_t *out_known) {
  size_t taken = 0;
  *out_known = 0;
  for (size_t i = 0; i < conf->n_domain; i++) {
    struct tl_tls_domain *d = conf->domain[i];
    char why[128] = "";
    if (!tl_crls_fetches(d->crls)) continue;
    int rc = tl_crls_offer(d, crl, url, why, sizeof(why));
    if (rc == TL_EVERIFY) log_refused(d, url, why);
    if (rc == 0) taken++;
    if (rc == 0 || rc == TL_EEXIST) ++*out_known;
  }
  return taken;
}

static struct tl_crls *former_lists(const struct tl_conf *before, const struct tl_tls_domain *d) {
  const struct tl_tls_domain *was = tl_conf_domain_named(before, d->name);
  return was ? was->crls : NULL;
}

void tl_crl_prepare(struct tl_crl_life *l, const struct tl_conf *before,
                    const struct tl_conf *conf) {
  size_t known;
  for (size_t i = 0; i < conf->n_domain; i++)
    if (tl_crls_fetches(conf->domain[i]->crls))
      tl_crls_inherit(conf->domain[i]->crls, former_lists(before, conf->domain[i]));
  for (struct tl_crl_point *p = l->points; p; p = p->next)
    if (p->crl) offer_crl(conf, p->crl, p->url, &known);
}

/* ---- one place ---- */

static uint64_t refresh_ms(const struct tl_crl_life *l) {
  struct tl_conf *conf = tl_runtime_conf(l->rt);
  uint64_t ms = conf->opt.crl_refresh_ms;
  tl_conf_unref(conf);
  return ms;
}

/* After nine tenths of the time to its next update, so that the list is never stale. */
static uint64_t next_look(const struct tl_crl_life *l, const struct tl_crl_point *p) {
  uint64_t ms = refresh_ms(l);
  struct tl_crl_info info;
  tl_crl_describe(p->crl, p->url, &info);
  const time_t left = info.next_update ? info.next_update - time(NULL) : 0;
  if (left > 0 && (uint64_t)left * 900 < ms) ms = (uint64_t)left * 900;
  return ms < AGAIN_MS ? AGAIN_MS : ms;
}

static void on_fetch_failed(struct tl_crl_life *l, struct tl_crl_point *p, const char *why) {
  uint64_t wait = (uint64_t)RETRY_MS << (p->failures < 10 ? p->failures : 10), most = refresh_ms(l);
  p->due_ms = tl_now_ms() + (wait < most ? wait : most);
  tl_count(&l->rt->control.counters, TL_C_CRL_FETCH_FAILED);
  if (strcmp(p->why, why) != 0 || p->failures++ == 0)
    TL_LOG(TL_LOG_WARN, "A revocation list could not be fetched; it is tried again.",
           TL_FC("url", p->url), TL_FC("cause", why));
  snprintf(p->why, sizeof(p->why), "%s", why);
}

/* CRL is taken over. */
static void take_crl(struct tl_crl_life *l, struct tl_crl_point *p, struct tl_crl *crl) {
  struct tl_conf *conf = tl_runtime_conf(l->rt);
  size_t known, taken = offer_crl(conf, crl, p->url, &known);
  if (known == 0) {
    on_fetch_failed(l, p, "no authority that a TLS domain knows has signed the list");
  } else {
    p->failures = 0;
    p->why[0] = '\0';
    tl_count(&l->rt->control.counters, TL_C_CRL_FETCHED);
    if (taken || !p->crl) {
      tl_crl_free(p->crl);
      p->crl = crl;
    }
    p->due_ms = tl_now_ms() + next_look(l, p);
  }
  if (taken) {
    struct tl_crl_info info;
    tl_crl_describe(crl, p->url, &info);
    TL_LOG(TL_LOG_INFO, "A revocation list was fetched.", TL_FC("url", p->url),
           TL_FC("issuer", info.issuer), TL_FI("entries", info.entries), TL_FI("domains", taken));
    l->taken(l->arg);
  }
  if (p->crl != crl) tl_crl_free(crl);
  tl_conf_unref(conf);
}

static void on_fetched(struct tl_fetch *f, void *arg) {
  struct tl_crl_life *l = arg;
  struct tl_crl_point *p = l->points;
  while (p && strcmp(p->url, f->url) != 0) p = p->next;
  if (!p || l->closing) return;
  p->under_way = false;
  struct tl_crl *crl = f->rc == 0 ? tl_crl_parse(f->data, f->n) : NULL;
  if (f->rc)
    on_fetch_failed(l, p, f->why);
  else if (!crl)
    on_fetch_failed(l, p, "the fetched file is not a revocation list in DER form");
  else
    take_crl(l, p, crl);
}

static void order_fetch(struct tl_crl_life *l, struct tl_crl_point *p) {
  const char *why = NULL;
  struct tl_fetch *f = calloc(1, sizeof(*f));
  if (!f) return;
  snprintf(f->url, sizeof(f->url), "%s", p->url);
  f->timeout_ms = FETCH_MS;
  f->max_bytes = LIST_BYTES_MAX;
  f->done = on_fetched;
  f->arg = l;
  if (!tl_fetch_url_ok(p->url, &why)) {
    on_fetch_failed(l, p, why);
    free(f);
  } else if (tl_fetch_order(l->fetcher, f)) {
    free(f); /* too many at once, which is counted: retried by a later turn */
    p->due_ms = tl_now_ms() + AGAIN_MS;
  } else {
    p->under_way = true;
    p->ordered_ms = tl_now_ms();
  }
}

/* ---- all places ---- */

static void place_free(struct tl_crl_point *p) {
  tl_crl_free(p->crl);
  free(p);
}

/* At the bound the place that has failed longest makes room, if there is one. */
static bool make_room(struct tl_crl_life *l) {
  struct tl_crl_point **worst = NULL;
  if (l->n < TL_CRL_PLACES) return true;
  for (struct tl_crl_point **p = &l->points; *p; p = &(*p)->next)
    if (!(*p)->crl && !(*p)->under_way && (!worst || (*p)->failures > (*worst)->failures))
      worst = p;
  if (!worst) return false;
  struct tl_crl_point *gone = *worst;
  *worst = gone->next;
  place_free(gone);
  l->n--;
  return true;
}

static void add_place(struct tl_crl_life *l, const char *url) {
  for (struct tl_crl_point *p = l->points; p; p = p->next)
    if (strcmp(p->url, url) == 0) {
      /* The chain may have brought the authority that an earlier list lacked, so the point is due
       * sooner; but handshakes must not set the pace. */
      if (p->due_ms > p->ordered_ms + LEAST_PAUSE_MS) p->due_ms = p->ordered_ms + LEAST_PAUSE_MS;
      return;
    }
  struct tl_crl_point *p = make_room(l) ? calloc(1, sizeof(*p)) : NULL;
  if (!p) return;
  snprintf(p->url, sizeof(p->url), "%s", url);
  p->next = l->points;
  l->points = p;
  l->n++;
}

static void collect_wanted(struct tl_crl_life *l, const struct tl_conf *conf) {
  char url[TL_CRL_URL_MAX];
  for (size_t i = 0; i < conf->n_domain; i++)
    while (tl_crls_fetches(conf->domain[i]->crls) && tl_crls_wanted(conf->domain[i]->crls, url))
      add_place(l, url);
}

uint64_t tl_crl_turn(struct tl_crl_life *l, uint64_t now_ms) {
  struct tl_conf *conf = tl_runtime_conf(l->rt);
  collect_wanted(l, conf);
  tl_conf_unref(conf);
  uint64_t due_ms = TL_TIME_NEVER;
  for (struct tl_crl_point *p = l->points; p; p = p->next) {
    if (!p->under_way && p->due_ms <= now_ms) order_fetch(l, p);
    if (!p->under_way) tl_time_sooner(&due_ms, p->due_ms);
  }
  return due_ms;
}

void tl_crl_close(struct tl_crl_life *l) { l->closing = true; }

void tl_crl_life_free(struct tl_crl_life *l) {
  if (!l) return;
  tl_crls_on_wanted(NULL, NULL);
  for (struct tl_crl_point *p; (p = l->points);) {
    l->points = p->next;
    place_free(p);
  }
  free(l);
}

const struct tl_crl_point *tl_crl_points(const struct tl_crl_life *l) { return l->points; }
