/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warns of what expires soon: our certificates, authorities, chains of peers and
 * revocation lists. Each is logged once per threshold (30, 7 and 1 days; for a
 * list the last tenth of its lifetime), and the first of each kind is a gauge.
 * Connections whose chain has expired are the ledger's business.
 */
#include "trust/expiry.h"

#include <stdlib.h>
#include <string.h>

#include "tieline/time.h"

#define TICK_MS 60000
#define DAY_S 86400
#define WARNED_MAX 8192
#define LISTS_MAX 1024
#define LIST_MARGIN_S 3600

/* The worst level logged for a certificate, by its digest. */
struct warned {
  uint8_t sha256[32];
  int level;
};
struct tl_expiry {
  struct tl_runtime *rt;
  const struct tl_ledger *ledger;
  struct warned *warned;
  size_t n_warned;
  uint64_t tick_ms; /* when the dates are looked at again */
};

static int level_of(time_t not_after, time_t now) {
  const time_t left = not_after - now;
  if (left < 0) return 4;
  if (left < DAY_S) return 3;
  if (left < 7 * DAY_S) return 2;
  return left < 30 * DAY_S ? 1 : 0;
}

/* Is LEVEL worse than the last one? */
static bool is_news(struct tl_expiry *e, const uint8_t sha256[32], int level) {
  struct warned *t = e->warned, *end = e->warned + e->n_warned;
  while (t < end && memcmp(t->sha256, sha256, sizeof(t->sha256)) != 0) t++;
  if (t == end) {
    if (level == 0 || e->n_warned == WARNED_MAX) return false;
    struct warned *more = realloc(e->warned, (e->n_warned + 1) * sizeof(*e->warned));
    if (!more) return false;
    e->warned = more;
    t = &e->warned[e->n_warned++];
    memcpy(t->sha256, sha256, sizeof(t->sha256));
    t->level = 0;
  }
  const bool news = level > t->level;
  t->level = level;
  return news;
}

static void log_expiry(struct tl_expiry *e, const char *what, const char *subject,
                       const char *domain, time_t not_after, const uint8_t sha256[32]) {
  const time_t now = time(NULL);
  const int level = level_of(not_after, now);
  if (not_after == 0 || !is_news(e, sha256, level)) return;
  TL_LOG(level > 1 ? TL_LOG_ERROR : TL_LOG_WARN,
         level == 4 ? "A certificate has ended." : "A certificate ends soon.", TL_FC("whose", what),
         TL_FC("subject", subject), TL_FC("tls_domain", domain),
         TL_FI("days_left", not_after < now ? 0 : (not_after - now) / DAY_S));
}

static void check_authority(void *arg, const struct tl_tls_domain *d,
                            const struct tl_authority_info *a) {
  log_expiry(arg, "an authority", a->subject, d->name, a->not_after, a->sha256);
}

static void check_own(struct tl_expiry *e, const struct tl_tls_domain *d) {
  uint8_t sha256[32];
  if (d->own && tl_identity_cert_digest(d->own, sha256))
    log_expiry(e, "ours", d->subject, d->name, d->not_after, sha256);
}

static void check_list(void *arg, const struct tl_tls_domain *d, size_t at,
                       const struct tl_crl_info *i) {
  const time_t now = time(NULL), left = i->next_update - now;
  (void)arg;
  time_t margin = (i->next_update - i->this_update) / 10;
  if (margin < LIST_MARGIN_S) margin = LIST_MARGIN_S;
  const uint8_t level = !i->next_update ? 0 : left < 0 ? 2 : left < margin ? 1 : 0;
  if (level <= i->alarm) return;
  tl_crls_alarm(d->crls, at, level);
  TL_LOG(level == 2 ? TL_LOG_ERROR : TL_LOG_WARN,
         level == 2 ? "A revocation list is stale." : "A revocation list is about to be stale.",
         TL_FC("issuer", i->issuer), TL_FC("source", i->source), TL_FC("tls_domain", d->name),
         TL_FI("seconds_left", left),
         TL_FC("then", d->policy.crl_stale == TL_STALE_ACCEPT
                           ? "it still counts"
                           : "certificates of its issuer are refused"));
}

/* Calls FN for each list of D. */
typedef void (*list_fn)(void *arg, const struct tl_tls_domain *d, size_t at,
                        const struct tl_crl_info *i);
static void each_list(const struct tl_tls_domain *d, list_fn fn, void *arg) {
  struct tl_crl_info *info = d->crls ? calloc(LISTS_MAX, sizeof(*info)) : NULL;
  const size_t n = info ? tl_crls_list(d->crls, info, LISTS_MAX) : 0;
  for (size_t i = 0; i < n; i++) fn(arg, d, i, &info[i]);
  free(info);
}

static void check_peers(struct tl_expiry *e) {
  for (const struct tl_known *k = NULL; (k = tl_known_next(e->ledger, k));)
    if (k->n) log_expiry(e, "a peer", k->subject, k->domain, k->not_after, k->chain_sha256);
}

static void check_all(struct tl_expiry *e) {
  struct tl_conf *conf = tl_runtime_conf(e->rt);
  for (size_t i = 0; i < conf->n_domain; i++) {
    check_own(e, conf->domain[i]);
    tl_tls_domain_authorities(conf->domain[i], check_authority, e);
    each_list(conf->domain[i], check_list, NULL);
  }
  check_peers(e);
  tl_conf_unref(conf);
}

uint64_t tl_expiry_turn(struct tl_expiry *e, uint64_t now_ms) {
  if (now_ms >= e->tick_ms) {
    check_all(e);
    e->tick_ms = now_ms + TICK_MS;
  }
  return e->tick_ms;
}

void tl_expiry_again(struct tl_expiry *e) { e->tick_ms = 0; }

struct tl_expiry *tl_expiry_new(struct tl_runtime *rt, const struct tl_ledger *l) {
  struct tl_expiry *e = calloc(1, sizeof(*e));
  if (!e) return NULL;
  e->rt = rt;
  e->ledger = l;
  return e;
}

void tl_expiry_free(struct tl_expiry *e) {
  if (!e) return;
  free(e->warned);
  free(e);
}

/* ---- the first of each kind ---- */

static void keep_sooner(time_t *first, time_t at) {
  if (at && (!*first || at < *first)) *first = at;
}
static void authority_sooner(void *arg, const struct tl_tls_domain *d,
                             const struct tl_authority_info *a) {
  (void)d;
  keep_sooner(arg, a->not_after);
}
static void list_sooner(void *arg, const struct tl_tls_domain *d, size_t at,
                        const struct tl_crl_info *i) {
  (void)d, (void)at;
  keep_sooner(arg, i->next_update);
}

void tl_expiry_first(const struct tl_expiry *e, struct tl_expiry_first *out) {
  struct tl_conf *conf = tl_runtime_conf(e->rt);
  *out = (struct tl_expiry_first){0};
  for (size_t i = 0; i < conf->n_domain; i++) {
    keep_sooner(&out->own, conf->domain[i]->not_after);
    tl_tls_domain_authorities(conf->domain[i], authority_sooner, &out->authority);
    each_list(conf->domain[i], list_sooner, &out->list);
  }
  for (const struct tl_known *k = NULL; (k = tl_known_next(e->ledger, k));)
    if (k->n) keep_sooner(&out->peer, k->not_after);
  keep_sooner(&out->peer, (time_t)atomic_load(&e->rt->next_expiry));
  tl_conf_unref(conf);
}
