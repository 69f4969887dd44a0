/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of a domain with their keys, as objects: what they are called,
 * and whether clock and purpose allow them. credentials_load.c reads them,
 * credentials_show.c chooses among them.
 */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "tieline/log.h"
#include "tieline/time.h"
#include "tls/identity_read.h"
#include "tls/tls_internal.h"
#include "tls/verify_rules.h"

/* ---- the names in a certificate ---- */

int tl_credential_add_name(char ***list, size_t *n, const char *p, size_t len) {
  if (len && p[len - 1] == '.') len--;
  if (len == 0 || len > 255 || memchr(p, '\0', len)) return TL_OK;
  char **more = realloc(*list, (*n + 2) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  *list = more;
  char *s = more[*n] = strndup(p, len);
  if (!s) return TL_ENOMEM;
  for (; *s; s++) *s = (char)tolower((unsigned char)*s);
  more[++*n] = NULL;
  return TL_OK;
}

/* The host of a sip: URI without user, as RFC 5922 7.1 reads identities. */
static int add_uri(char ***list, size_t *n, const char *p, size_t len) {
  if (len < 4 || strncasecmp(p, "sip:", 4) != 0 || memchr(p, '@', len)) return TL_OK;
  size_t end = 4;
  while (end < len && !strchr(":;?/[", p[end])) end++;
  return tl_credential_add_name(list, n, p + 4, end - 4);
}

static int read_names(X509 *leaf, char ***out) {
  tl_blame_begin();
  GENERAL_NAMES *san = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
  size_t n = 0;
  int rc = !san && tl_blame_no_memory() ? TL_ENOMEM : TL_OK;
  if (!(*out = calloc(1, sizeof(**out)))) rc = TL_ENOMEM;
  for (int i = 0; san && i < sk_GENERAL_NAME_num(san) && rc == 0; i++) {
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(san, i);
    if (g->type != GEN_DNS && g->type != GEN_URI) continue;
    const char *p = (const char *)ASN1_STRING_get0_data(g->d.ia5);
    size_t len = (size_t)ASN1_STRING_length(g->d.ia5);
    rc = g->type == GEN_DNS ? tl_credential_add_name(out, &n, p, len) : add_uri(out, &n, p, len);
  }
  GENERAL_NAMES_free(san);
  ERR_clear_error();
  return rc;
}

/* ---- the list ---- */

static void credential_clear(struct tl_credential *c) {
  X509_free(c->leaf);
  EVP_PKEY_free(c->key);
  sk_X509_pop_free(c->chain, X509_free);
  for (char **p = c->names; p && *p; p++) free(*p);
  free(c->names);
  for (size_t i = 0; i < c->n_authority; i++) X509_NAME_free(c->authority[i].name);
  free(c->authority);
  tl_identity_unref(c->id);
  free(c->label);
}

void tl_credentials_free(struct tl_tls_domain *d) {
  for (size_t i = 0; i < d->n_cred; i++) credential_clear(&d->cred[i]);
  free(d->cred);
  for (char **p = d->own_names; p && *p; p++) free(*p);
  free(d->own_names);
}

int tl_credential_add(struct tl_tls_domain *d, const char *label, X509 *leaf, EVP_PKEY *key,
                      STACK_OF(X509) * chain) {
  struct tl_credential c = {
      .leaf = leaf, .key = key, .chain = chain, .label = strdup(label), .names = NULL};
  struct tl_credential *more = realloc(d->cred, (d->n_cred + 1) * sizeof(*more));
  if (more) d->cred = more;
  if (!more || !c.label || read_names(leaf, &c.names)) {
    credential_clear(&c);
    return TL_ENOMEM;
  }
  d->cred[d->n_cred++] = c;
  return TL_OK;
}

/* Warnings only, since it is for peers to judge. Public authorities have issued serverAuth alone
 * since 2026. */
static void check_purpose(const struct tl_tls_domain *d, const struct tl_tls_options *o,
                          const char *label, X509 *leaf) {
  bool serves = tl_leaf_for_role(leaf, false), asks = tl_leaf_for_role(leaf, true);
  const char *what = NULL;
  if ((!o->server || serves) && (!o->client || asks)) return;
  if (!(o->server && serves) && !(o->client && asks))
    what = "The extended key usage of our certificate allows neither SIP nor TLS in its role: most "
           "peers will refuse it.";
  else if (o->client && !asks && o->policy.eku != TL_EKU_IGNORE)
    what =
        "The extended key usage of our certificate is for TLS servers alone: as client it is not "
        "shown, and a neighbour that wants a certificate will refuse us. A second pair for "
        "clients helps, or role = server; eku = ignore shows it all the same.";
  else if (o->server && !serves)
    what =
        "The extended key usage of our certificate is for TLS clients alone: as server it is shown "
        "only where no other fits, and most peers will refuse it.";
  if (what) TL_LOG(TL_LOG_WARN, what, TL_FC("tls_domain", d->name), TL_FC("file", label));
}

int tl_credential_check(const struct tl_tls_domain *d, const struct tl_tls_options *o,
                        const char *label, X509 *leaf, struct tl_blame *b) {
  check_purpose(d, o, label, leaf);
  const ASN1_TIME *t = NULL;
  bool late = X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0;
  if (late)
    t = X509_get0_notAfter(leaf);
  else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
    t = X509_get0_notBefore(leaf);
  if (!t) return TL_OK;
  if (o->allow_expired) {
    TL_LOG(TL_LOG_WARN, late ? "The certificate has expired." : "The certificate is not valid yet.",
           TL_FC("tls_domain", d->name), TL_FC("file", label));
    return TL_OK;
  }
  char when[TL_TIME_STRLEN];
  return tl_blame_option(
      b, "certificate", "the certificate in %s %s %s; renew it, or set allow_expired = true", label,
      late ? "has expired on" : "is not valid before", tl_time_text(tl_time_of(t), when));
}
