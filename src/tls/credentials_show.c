/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which certificates of a domain are shown. The first of each kind of key is in
 * the contexts, where OpenSSL picks from them. Where there are several of a kind,
 * the server prefers those that carry the name asked for, then those under an
 * authority that the client trusts, then the first; the client shows one under an
 * authority that the server names, or none. Either role uses only those whose
 * extended key usage allows it. choose.c chooses the domain.
 */
#include <openssl/ssl.h>

#include "tieline/log_limit.h"
#include "tls/tls_internal.h"

static bool carries_name(const struct tl_credential *c, const char *name) {
  const char *dot = strchr(name, '.');
  for (char **p = c->names; *p; p++) {
    if (strcmp(*p, name) == 0) return true;
    if (strncmp(*p, "*.", 2) == 0 && dot && dot != name && strcmp(*p + 1, dot) == 0) return true;
  }
  return false;
}

struct tl_identity *tl_credentials_shown(const SSL *ssl, const struct tl_tls_domain *d) {
  const X509 *x = SSL_get_certificate(ssl);
  for (size_t i = 0; x && i < d->n_cred; i++)
    if (X509_cmp(x, d->cred[i].leaf) == 0) return d->cred[i].id;
  return NULL;
}

/* ---- the choice ---- */

/* The certificates shown in one handshake, the first of each kind, instead of the context's. */
struct showing {
  SSL *ssl;
  int kind[8];
  size_t n;
};

static int show_credential(struct showing *s, const struct tl_credential *c) {
  for (size_t i = 0; i < s->n; i++)
    if (s->kind[i] == tl_credential_kind(c)) return TL_OK;
  if (s->n == sizeof(s->kind) / sizeof(*s->kind)) return TL_OK;
  if (s->n == 0) SSL_certs_clear(s->ssl);
  s->kind[s->n++] = tl_credential_kind(c);
  return SSL_use_cert_and_key(s->ssl, c->leaf, c->key, c->chain, 1) == 1 ? TL_OK : TL_ETLS;
}

/* How well a credential suits: one that carries NAME, then one under an authority of W. */
static unsigned rank_credential(const struct tl_credential *c, const char *name,
                                const struct tl_ca_wanted *w) {
  return (*name && carries_name(c, name) ? 2u : 0u) + (w && tl_credential_wanted(c, w) ? 1u : 0u);
}

int tl_credentials_serve(SSL *ssl, const struct tl_tls_domain *d, const char *name,
                         const struct tl_ca_wanted *w) {
  struct showing s = {.ssl = ssl};
  unsigned best = 0, worst = 3;
  for (size_t i = 0; i < d->n_cred; i++) {
    if (!tl_credential_fits_role(&d->cred[i], true)) continue;
    unsigned m = rank_credential(&d->cred[i], name, w);
    if (m > best) best = m;
    if (m < worst) worst = m;
  }
  /* None is better than another: the contexts have the first of each kind already. */
  if (best <= worst || d->n_cred < 2) return TL_OK;
  int rc = TL_OK;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (tl_credential_fits_role(&d->cred[i], true) && rank_credential(&d->cred[i], name, w) == best)
      rc = show_credential(&s, &d->cred[i]);
  return rc;
}

static bool is_under(const struct tl_credential *c, const STACK_OF(X509_NAME) * asked) {
  for (size_t k = 0; k < c->n_authority; k++)
    for (int j = 0; j < sk_X509_NAME_num(asked); j++)
      if (X509_NAME_cmp(sk_X509_NAME_value(asked, j), c->authority[k].name) == 0) return true;
  return false;
}

static bool any_for_client(const struct tl_tls_domain *d) {
  for (size_t i = 0; i < d->n_cred; i++)
    if (tl_credential_fits_role(&d->cred[i], false)) return true;
  return false;
}

/* RFC 8446 4.4.2.3 and RFC 5246 7.4.6: if the server's list names none of our authorities, it wants
 * none of our certificates, and the answer is an empty one. A certificate whose chain does not
 * reach its root here may still be under a named one: it is shown if nothing better is there. */
int tl_credentials_answer(SSL *ssl, const struct tl_tls_domain *d) {
  const STACK_OF(X509_NAME) *asked = SSL_get0_peer_CA_list(ssl);
  struct showing s = {.ssl = ssl};
  int rc = TL_OK;
  if (!asked || sk_X509_NAME_num(asked) <= 0 || !any_for_client(d)) return TL_OK;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (tl_credential_fits_role(&d->cred[i], false) && is_under(&d->cred[i], asked))
      rc = show_credential(&s, &d->cred[i]);
  if (s.n || rc) return rc;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (tl_credential_fits_role(&d->cred[i], false) && !d->cred[i].complete)
      rc = show_credential(&s, &d->cred[i]);
  if (s.n || rc) return rc;
  SSL_certs_clear(ssl);
  TL_LOG_FROM(NULL, d->name, TL_LOG_INFO,
              "The server asks for a certificate of authorities that issued none of ours: going on "
              "without one.",
              TL_FC("tls_domain", d->name), TL_FI("names", sk_X509_NAME_num(asked)));
  return TL_OK;
}
