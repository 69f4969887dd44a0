/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The revocation lists of a domain: those of its files, those that were fetched,
 * and the places from which others are wanted. It fetches nothing itself; the
 * control thread does.
 */
#include "tls/crl_lists.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/once.h"
#include "tls/identity_read.h"
#include "tls/tls_internal.h"

#define WANTED_MAX 64  /* places wanted at a time, per domain */
#define LISTS_MAX 4096 /* per domain */

struct list {
  X509_CRL *crl; /* a reference */
  char *source;
  bool fetched;
  uint8_t alarm;
};

struct wanted {
  char *url;
  X509 *issuer; /* whose list it is, as a valid chain has shown; NULL: not known */
  bool given;
};

struct tl_crls {
  bool fetch;
  bool all, accept_stale; /* crl_check_all, crl_stale = accept */
  pthread_mutex_t lists_mu;
  size_t n, cap;
  struct list *list;
  size_t n_wanted;
  struct wanted wanted[WANTED_MAX];
};

static int store_index = -1;
static struct tl_once index_once = TL_ONCE_INIT;
static void (*wanted_fn)(void *arg);
static void *wanted_arg;

static bool make_index(void) {
  return (store_index = X509_STORE_get_ex_new_index(0, NULL, NULL, NULL, NULL)) >= 0;
}

void tl_crls_on_wanted(void (*fn)(void *arg), void *arg) {
  wanted_arg = arg;
  wanted_fn = fn;
}

struct tl_crls *tl_crls_new(bool fetch, bool all, bool accept_stale) {
  struct tl_crls *s = calloc(1, sizeof(*s));
  if (!s) return NULL;
  s->fetch = fetch;
  s->all = all;
  s->accept_stale = accept_stale;
  pthread_mutex_init(&s->lists_mu, NULL);
  return s;
}

void tl_crls_free(struct tl_crls *s) {
  if (!s) return;
  for (size_t i = 0; i < s->n; i++) {
    X509_CRL_free(s->list[i].crl);
    free(s->list[i].source);
  }
  for (size_t i = 0; i < s->n_wanted; i++) {
    free(s->wanted[i].url);
    X509_free(s->wanted[i].issuer);
  }
  free(s->list);
  pthread_mutex_destroy(&s->lists_mu);
  free(s);
}

bool tl_crls_fetches(const struct tl_crls *s) { return s && s->fetch; }

/* ---- what is wanted ---- */

/* Returns true if W was not known to be ISSUER's. */
static bool know_issuer(struct wanted *w, X509 *issuer) {
  if (!issuer || (w->issuer && X509_cmp(w->issuer, issuer) == 0)) return false;
  X509_free(w->issuer);
  X509_up_ref(issuer);
  w->issuer = issuer;
  return true;
}

/* Returns true if the place is to be asked: for the first time, or because its lists can be
 * verified now. */
static bool want_url(struct tl_crls *s, const char *url, X509 *issuer) {
  struct wanted *w = s->wanted, *end = w + s->n_wanted;
  while (w < end && strcmp(w->url, url) != 0) w++;
  if (w == end) {
    if (s->n_wanted == WANTED_MAX || strlen(url) >= TL_CRL_URL_MAX) return false;
    *w = (struct wanted){.url = strdup(url)};
    if (!w->url) return false;
    s->n_wanted++;
    know_issuer(w, issuer);
    return true;
  }
  if (!know_issuer(w, issuer)) return false;
  w->given = false;
  return true;
}

static bool want_point(struct tl_crls *s, const DIST_POINT *dp, X509 *issuer) {
  bool fresh = false;
  /* Lists for some reasons only, or of another signer, are not a full answer (RFC 5280
   * 4.2.1.13). */
  if (!dp->distpoint || dp->distpoint->type != 0 || dp->reasons || dp->CRLissuer) return false;
  const GENERAL_NAMES *names = dp->distpoint->name.fullname;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
    if (g->type != GEN_URI) continue;
    const ASN1_STRING *u = g->d.uniformResourceIdentifier;
    const char *p = (const char *)ASN1_STRING_get0_data(u);
    size_t n = (size_t)ASN1_STRING_length(u);
    if (n >= TL_CRL_URL_MAX || strnlen(p, n) != n || n < 7 || strncasecmp(p, "http://", 7) != 0)
      continue;
    char url[TL_CRL_URL_MAX];
    memcpy(url, p, n);
    url[n] = '\0';
    fresh |= want_url(s, url, issuer);
  }
  return fresh;
}

void tl_crls_want(struct tl_crls *s, const X509 *x, X509 *issuer) {
  STACK_OF(DIST_POINT) *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
  bool fresh = false;
  pthread_mutex_lock(&s->lists_mu);
  for (int i = 0; i < sk_DIST_POINT_num(points); i++)
    fresh |= want_point(s, sk_DIST_POINT_value(points, i), issuer);
  pthread_mutex_unlock(&s->lists_mu);
  sk_DIST_POINT_pop_free(points, DIST_POINT_free);
  ERR_clear_error();
  if (fresh && wanted_fn) wanted_fn(wanted_arg);
}

void tl_crls_inherit(struct tl_crls *s, struct tl_crls *before) {
  if (!s || !before || s == before) return;
  pthread_mutex_lock(&before->lists_mu);
  pthread_mutex_lock(
      &s->lists_mu); /* S is not published yet: no thread takes the two in the other order */
  for (size_t i = 0; i < before->n_wanted; i++)
    if (before->wanted[i].issuer) want_url(s, before->wanted[i].url, before->wanted[i].issuer);
  pthread_mutex_unlock(&s->lists_mu);
  pthread_mutex_unlock(&before->lists_mu);
}

bool tl_crls_wanted(struct tl_crls *s, char out[TL_CRL_URL_MAX]) {
  bool found = false;
  pthread_mutex_lock(&s->lists_mu);
  for (size_t i = 0; i < s->n_wanted && !found; i++) {
    if (s->wanted[i].given) continue;
    s->wanted[i].given = found = true;
    snprintf(out, TL_CRL_URL_MAX, "%s", s->wanted[i].url);
  }
  pthread_mutex_unlock(&s->lists_mu);
  return found;
}

/* ---- called by OpenSSL during a verification ---- */

/* OpenSSL asks for lists before it checks signatures. A stranger must not have us fetch from a
 * place of his choice: the certificate counts only if its chain is valid up to the anchor. */
static bool signed_by_its_chain(X509_STORE_CTX *sc) {
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(sc);
  int n = sk_X509_num(chain);
  for (int i = X509_STORE_CTX_get_error_depth(sc); i >= 0 && i < n - 1; i++) {
    EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(chain, i + 1));
    if (!key || X509_verify(sk_X509_value(chain, i), key) != 1) return false;
  }
  return true;
}

/* The last look-up found no memory: what it did not return may be the list that revokes, so it is
 * not forgiven. A verification is one call in one thread. */
static _Thread_local bool list_lost;

static void add_fetched(struct tl_crls *s, STACK_OF(X509_CRL) * to, const X509_NAME *issuer) {
  pthread_mutex_lock(&s->lists_mu);
  for (size_t i = 0; i < s->n; i++) {
    X509_CRL *crl = s->list[i].crl;
    if (!s->list[i].fetched || X509_NAME_cmp(X509_CRL_get_issuer(crl), issuer) != 0) continue;
    if (!X509_CRL_up_ref(crl) || sk_X509_CRL_push(to, crl) > 0) continue;
    X509_CRL_free(crl);
    list_lost = true;
  }
  pthread_mutex_unlock(&s->lists_mu);
}

/* The issuer whose list covers the certificate being checked. */
static X509 *issuer_of(X509_STORE_CTX *sc) {
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(sc);
  int depth = X509_STORE_CTX_get_error_depth(sc), last = sk_X509_num(chain) - 1;
  return sk_X509_value(chain, depth < last ? depth + 1 : last);
}

/* A list that bears the name of an authority but is not signed by the one in this chain says
 * nothing here: its authority was not known when it was loaded, or two have one name. OpenSSL
 * checks the chain itself afterwards. */
static void keep_signed(const X509 *issuer, STACK_OF(X509_CRL) * lists) {
  EVP_PKEY *key = issuer ? X509_get0_pubkey(issuer) : NULL;
  for (int i = sk_X509_CRL_num(lists) - 1; i >= 0; i--) {
    tl_blame_begin();
    if (key && X509_CRL_verify(sk_X509_CRL_value(lists, i), key) == 1) continue;
    list_lost |= tl_blame_no_memory();
    X509_CRL_free(sk_X509_CRL_delete(lists, i));
  }
}

/* Of what stood in OpenSSL's queue before only a want of memory is kept. */
static STACK_OF(X509_CRL) *
    find_lists(X509_STORE_CTX *sc, struct tl_crls *s, const X509_NAME *issuer) {
  bool before = tl_blame_no_memory();
  tl_blame_begin();
  STACK_OF(X509_CRL) *found = X509_STORE_CTX_get1_crls(sc, issuer);
  list_lost = !found && tl_blame_no_memory();
  if (!found && !(found = sk_X509_CRL_new_null())) list_lost = true;
  if (found) add_fetched(s, found, issuer);
  if (found) keep_signed(issuer_of(sc), found);
  ERR_clear_error();
  if (before || list_lost) ERR_raise(ERR_LIB_X509, ERR_R_MALLOC_FAILURE);
  if (!list_lost) return found;
  sk_X509_CRL_pop_free(found, X509_CRL_free);
  return NULL;
}

static STACK_OF(X509_CRL) * look_up(const X509_STORE_CTX *csc, const X509_NAME *issuer) {
  X509_STORE_CTX *sc = (X509_STORE_CTX *)(uintptr_t)csc;
  struct tl_crls *s = X509_STORE_get_ex_data(X509_STORE_CTX_get0_store(sc), store_index);
  list_lost = false;
  /* Whether an anchor is revoked is not asked (RFC 5280 6.1), unless all lists are demanded. */
  int depth = X509_STORE_CTX_get_error_depth(sc);
  if (!s->all && depth > 0 && depth == sk_X509_num(X509_STORE_CTX_get0_chain(sc)) - 1) return NULL;
  STACK_OF(X509_CRL) *found = find_lists(sc, s, issuer);
  X509 *x = X509_STORE_CTX_get_current_cert(sc);
  if (found && sk_X509_CRL_num(found) == 0 && s->fetch && x && signed_by_its_chain(sc))
    tl_crls_want(s, x, issuer_of(sc));
  return found;
}

int tl_crls_attach(struct tl_crls *s, X509_STORE *store) {
  if (!tl_once(&index_once, make_index) || X509_STORE_set_ex_data(store, store_index, s) != 1)
    return TL_ENOMEM;
  X509_STORE_set_lookup_crls(store, look_up);
  return TL_OK;
}

int tl_crl_judge(int ok, X509_STORE_CTX *sc) {
  if (ok) return ok;
  const struct tl_crls *s = X509_STORE_get_ex_data(X509_STORE_CTX_get0_store(sc), store_index);
  bool demanded = !s || s->all || X509_STORE_CTX_get_error_depth(sc) == 0, forgiven = !demanded;
  if (X509_STORE_CTX_get_error(sc) == X509_V_ERR_UNABLE_TO_GET_CRL && list_lost) {
    X509_STORE_CTX_set_error(sc, X509_V_ERR_OUT_OF_MEM);
    return 0;
  }
  switch (X509_STORE_CTX_get_error(sc)) {
  case X509_V_ERR_CRL_HAS_EXPIRED:
  case X509_V_ERR_CRL_NOT_YET_VALID:
  case X509_V_ERR_UNABLE_TO_GET_CRL: forgiven |= s && s->accept_stale; break;
  case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
  case X509_V_ERR_DIFFERENT_CRL_SCOPE:
  case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN: break;
  default: return 0;
  }
  if (!forgiven) return 0;
  X509_STORE_CTX_set_error(sc, X509_V_OK);
  return 1;
}

/* ---- fetched lists ---- */

static bool known_extension(const X509_EXTENSION *e) {
  switch (OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)(uintptr_t)e))) {
  case NID_issuing_distribution_point:
  case NID_authority_key_identifier:
  case NID_crl_number: return true;
  default: return false;
  }
}

/* RFC 5280 5.2: a list for some reasons only, about others' certificates, or with critical
 * extensions that we do not know must not be taken for complete. */
const char *tl_crl_unusable(const X509_CRL *crl) {
  if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
    return "a delta list (RFC 5280 5.2.4): only complete ones are taken";
  int crit;
  ISSUING_DIST_POINT *idp = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &crit, NULL);
  bool indirect = idp && idp->indirectCRL > 0, partial = idp && idp->onlysomereasons;
  ISSUING_DIST_POINT_free(idp);
  if (indirect) return "an indirect list (RFC 5280 5.2.5), which is not supported";
  if (partial) return "a list for some reasons only (RFC 5280 5.2.5), which is not supported";
  if (!idp && crit != -1) return "damaged in its issuing distribution point";
  for (int i = 0; i < X509_CRL_get_ext_count(crl); i++) {
    const X509_EXTENSION *e = X509_CRL_get_ext(crl, i);
    if (X509_EXTENSION_get_critical(e) && !known_extension(e))
      return "a list with a critical extension that is not known";
  }
  return NULL;
}

static int add_list(struct tl_crls *s, X509_CRL *crl, const char *source, bool fetched) {
  if (s->n >= LISTS_MAX) return TL_ELIMIT;
  if (s->n == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 4;
    struct list *list = realloc(s->list, cap * sizeof(*list));
    if (!list) return TL_ENOMEM;
    s->list = list;
    s->cap = cap;
  }
  char *copy = strdup(source);
  if (!copy) return TL_ENOMEM;
  X509_CRL_up_ref(crl);
  s->list[s->n++] = (struct list){.crl = crl, .source = copy, .fetched = fetched};
  return TL_OK;
}

int tl_crls_note(struct tl_crls *s, X509_CRL *crl, const char *source) {
  pthread_mutex_lock(&s->lists_mu);
  int rc = add_list(s, crl, source, false);
  pthread_mutex_unlock(&s->lists_mu);
  return rc;
}

/* The authorities named like CRL's issuer: those of STORE, and those that peers' chains
 * contained. */
static STACK_OF(X509) * issuers_of(struct tl_crls *s, X509_STORE *store, const X509_CRL *crl) {
  const X509_NAME *name = X509_CRL_get_issuer(crl);
  X509_STORE_CTX *sc = X509_STORE_CTX_new();
  STACK_OF(X509) *sk = NULL;
  if (sc && X509_STORE_CTX_init(sc, store, NULL, NULL) == 1)
    sk = X509_STORE_CTX_get1_certs(sc, name);
  if (!sk) sk = sk_X509_new_null();
  X509_STORE_CTX_free(sc);
  pthread_mutex_lock(&s->lists_mu);
  for (size_t i = 0; sk && i < s->n_wanted; i++) {
    X509 *x = s->wanted[i].issuer;
    if (x && X509_NAME_cmp(X509_get_subject_name(x), name) == 0)
      X509_add_cert(sk, x, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP);
  }
  pthread_mutex_unlock(&s->lists_mu);
  return sk;
}

/* 0: one of them has signed CRL. */
static int check_issuer(struct tl_crls *s, X509_STORE *store, X509_CRL *crl) {
  STACK_OF(X509) *sk = issuers_of(s, store, crl);
  int rc = !sk ? TL_ENOMEM : sk_X509_num(sk) > 0 ? TL_EVERIFY : TL_ENOTFOUND;
  for (int i = 0; rc == TL_EVERIFY && i < sk_X509_num(sk); i++) {
    EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(sk, i));
    if (key && X509_CRL_verify(crl, key) == 1) rc = TL_OK;
  }
  sk_X509_pop_free(sk, X509_free);
  ERR_clear_error();
  return rc;
}

static int replace_list(struct tl_crls *s, X509_CRL *crl, const char *source) {
  const ASN1_TIME *when = X509_CRL_get0_lastUpdate(crl);
  for (size_t i = 0; i < s->n; i++) {
    struct list *l = &s->list[i];
    if (!l->fetched || strcmp(l->source, source) != 0 ||
        X509_NAME_cmp(X509_CRL_get_issuer(l->crl), X509_CRL_get_issuer(crl)) != 0)
      continue;
    /* An older list must not undo a revocation. */
    if (ASN1_TIME_compare(when, X509_CRL_get0_lastUpdate(l->crl)) < 0 ||
        X509_CRL_match(l->crl, crl) == 0)
      return TL_EEXIST;
    X509_CRL_up_ref(crl);
    X509_CRL_free(l->crl);
    l->crl = crl;
    l->alarm = 0;
    return TL_OK;
  }
  return add_list(s, crl, source, true);
}

int tl_crls_take(struct tl_crls *s, X509_STORE *store, X509_CRL *crl, const char *source, char *why,
                 size_t cap) {
  const char *unusable = tl_crl_unusable(crl);
  if (unusable) {
    snprintf(why, cap, "it is %s", unusable);
    return TL_EVERIFY;
  }
  int rc = check_issuer(s, store, crl);
  if (rc) {
    snprintf(why, cap, "%s",
             rc == TL_ENOTFOUND ? "its issuer is not an authority known to this domain"
                                : "its issuer has not signed it");
    return rc;
  }
  pthread_mutex_lock(&s->lists_mu);
  rc = replace_list(s, crl, source);
  pthread_mutex_unlock(&s->lists_mu);
  return rc;
}

/* ---- showing ---- */

struct tl_crl *tl_crl_parse(const uint8_t *der, size_t n) {
  const uint8_t *at = der;
  struct tl_crl *crl = calloc(1, sizeof(*crl));
  if (crl && n <= LONG_MAX) crl->x = d2i_X509_CRL(NULL, &at, (long)n);
  ERR_clear_error();
  if (crl && crl->x && at == der + n) return crl;
  tl_crl_free(crl);
  return NULL;
}

void tl_crl_free(struct tl_crl *crl) {
  if (crl) X509_CRL_free(crl->x);
  free(crl);
}

static void describe_list(const X509_CRL *crl, const char *source, struct tl_crl_info *out) {
  memset(out, 0, sizeof(*out));
  char *issuer = tl_name_text(X509_CRL_get_issuer(crl));
  snprintf(out->issuer, sizeof(out->issuer), "%s", issuer ? issuer : "");
  free(issuer);
  snprintf(out->source, sizeof(out->source), "%s", source);
  ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
  BIGNUM *bn = number ? ASN1_INTEGER_to_BN(number, NULL) : NULL;
  char *hex = bn ? BN_bn2hex(bn) : NULL;
  if (hex) snprintf(out->number, sizeof(out->number), "%s", hex);
  OPENSSL_free(hex);
  BN_free(bn);
  ASN1_INTEGER_free(number);
  out->this_update = tl_time_of(X509_CRL_get0_lastUpdate(crl));
  if (X509_CRL_get0_nextUpdate(crl)) out->next_update = tl_time_of(X509_CRL_get0_nextUpdate(crl));
  int n = sk_X509_REVOKED_num(X509_CRL_get_REVOKED((X509_CRL *)(uintptr_t)crl));
  out->entries = n > 0 ? (size_t)n : 0;
}

void tl_crl_describe(const struct tl_crl *crl, const char *source, struct tl_crl_info *out) {
  describe_list(crl->x, source, out);
}

size_t tl_crls_list(struct tl_crls *s, struct tl_crl_info *out, size_t cap) {
  pthread_mutex_lock(&s->lists_mu);
  size_t n = s->n < cap ? s->n : cap;
  for (size_t i = 0; i < n; i++) {
    describe_list(s->list[i].crl, s->list[i].source, &out[i]);
    out[i].fetched = s->list[i].fetched;
    out[i].alarm = s->list[i].alarm;
  }
  pthread_mutex_unlock(&s->lists_mu);
  return n;
}

void tl_crls_alarm(struct tl_crls *s, size_t i, uint8_t level) {
  pthread_mutex_lock(&s->lists_mu);
  if (i < s->n) s->list[i].alarm = level;
  pthread_mutex_unlock(&s->lists_mu);
}
