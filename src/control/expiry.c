/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warns of what expires soon: our certificates, authorities, chains of peers and
 * revocation lists. Each is logged once per threshold (30, 7 and 1 days; for a
 * list the last tenth of its lifetime), and the first of each kind is a gauge.
 * Connections whose chain has expired are the ledger's business.
 */
#include <stdlib.h>
#include <string.h>

#include "control/crl_refresh.h"
#include "control/ledger.h"
#include "tieline/crl.h"

#define DAY_S 86400
#define TOLD_MAX 8192
#define LISTS_MAX 1024
#define LIST_MARGIN_S 3600

/* The worst level logged for a certificate, by its digest. */
struct told {
  uint8_t sha256[32];
  int level;
};
struct tl_expiry {
  struct told *told;
  size_t n_told;
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
  struct told *t = e->told, *end = e->told + e->n_told;
  while (t < end && memcmp(t->sha256, sha256, sizeof(t->sha256)) != 0) t++;
  if (t == end) {
    if (level == 0 || e->n_told == TOLD_MAX) return false;
    struct told *more = realloc(e->told, (e->n_told + 1) * sizeof(*e->told));
    if (!more) return false;
    e->told = more;
    t = &e->told[e->n_told++];
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

static void check_peers(struct tl_expiry *e, const struct tl_ledger *l) {
  for (const struct tl_known *k = NULL; (k = tl_known_next(l, k));)
    if (k->n) log_expiry(e, "a peer", k->subject, k->domain, k->not_after, k->chain_sha256);
}

void tl_expiry_check(struct tl_control *c, const struct tl_conf *conf) {
  for (size_t i = 0; i < conf->n_domain; i++) {
    check_own(c->expiry, conf->domain[i]);
    tl_tls_domain_authorities(conf->domain[i], check_authority, c->expiry);
    each_list(conf->domain[i], check_list, NULL);
  }
  check_peers(c->expiry, c->ledger);
}

static int expiry_start(struct tl_control *c) {
  c->expiry = calloc(1, sizeof(*c->expiry));
  return c->expiry ? 0 : TL_ENOMEM;
}

static void expiry_stop(struct tl_control *c) {
  free(c->expiry->told);
  free(c->expiry);
  c->expiry = NULL;
}

const struct tl_control_service tl_expiry_service = {
    .name = "expiry", .start = expiry_start, .stop = expiry_stop};

/* ---- gauges ---- */

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

static json_t *seconds_left(time_t at) {
  return at ? json_integer((json_int_t)(at - time(NULL))) : json_null();
}

json_t *tl_expiry_gauges(struct tl_control *c) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  const struct tl_ledger *l = c->ledger;
  time_t own = 0, authority = 0, peer = 0, list = 0;
  for (size_t i = 0; i < conf->n_domain; i++) {
    keep_sooner(&own, conf->domain[i]->not_after);
    tl_tls_domain_authorities(conf->domain[i], authority_sooner, &authority);
    each_list(conf->domain[i], list_sooner, &list);
  }
  for (const struct tl_known *k = NULL; l && (k = tl_known_next(l, k));)
    if (k->n) keep_sooner(&peer, k->not_after);
  keep_sooner(&peer, (time_t)atomic_load(&c->rt->next_expiry));
  tl_conf_unref(conf);
  return json_pack("{s:o, s:o, s:o, s:o}", "own_certificate_s", seconds_left(own), "authority_s",
                   seconds_left(authority), "peer_chain_s", seconds_left(peer), "revocation_list_s",
                   seconds_left(list));
}

static void add_authority(void *arg, const struct tl_tls_domain *d,
                          const struct tl_authority_info *a) {
  (void)d;
  json_array_append_new(arg, json_pack("{s:o, s:I}", "subject",
                                       tl_rpc_text(a->subject, sizeof(a->subject)), "days_left",
                                       (json_int_t)((a->not_after - time(NULL)) / DAY_S)));
}

json_t *tl_expiry_authorities(const struct tl_tls_domain *d) {
  json_t *list = json_array();
  tl_tls_domain_authorities(d, add_authority, list);
  return list;
}
