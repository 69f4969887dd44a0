/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of a domain, and which of them is shown. The first of each
 * kind of key (RSA, ECDSA ...) is in the contexts, where OpenSSL picks from
 * them. Where there are several of a kind, the server prefers those that carry
 * the name asked for, then those under an authority that the client trusts, then
 * the first; the client shows one under an authority that the server names, or
 * none. Either role uses only those whose extended key usage allows it. choose.c
 * chooses the domain; credentials_dir.c reads directories.
 */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/log_limit.h"
#include "tls/identity_read.h"
#include "tls/pkcs11.h"
#include "tls/verify_rules.h"

/* Certificates above one of ours; a longer chain is a loop. */
#define AUTHORITIES_MAX 16

static int kind_of(const struct tl_credential *c) { return EVP_PKEY_get_base_id(c->key); }

/* ---- the names in a certificate ---- */

static int add_name(char ***list, size_t *n, const char *p, size_t len) {
  if (len && p[len - 1] == '.') len--;
  if (len == 0 || len > 255 || memchr(p, '\0', len)) return 0;
  char **more = realloc(*list, (*n + 2) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  *list = more;
  char *s = more[*n] = strndup(p, len);
  if (!s) return TL_ENOMEM;
  for (; *s; s++) *s = (char)tolower((unsigned char)*s);
  more[++*n] = NULL;
  return 0;
}

/* The host of a sip: URI without user, as RFC 5922 7.1 reads identities. */
static int add_uri(char ***list, size_t *n, const char *p, size_t len) {
  if (len < 4 || strncasecmp(p, "sip:", 4) != 0 || memchr(p, '@', len)) return 0;
  size_t end = 4;
  while (end < len && !strchr(":;?/[", p[end])) end++;
  return add_name(list, n, p + 4, end - 4);
}

static int read_names(X509 *leaf, char ***out) {
  GENERAL_NAMES *san = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
  size_t n = 0;
  int rc = (*out = calloc(1, sizeof(**out))) ? 0 : TL_ENOMEM;
  for (int i = 0; san && i < sk_GENERAL_NAME_num(san) && rc == 0; i++) {
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(san, i);
    if (g->type != GEN_DNS && g->type != GEN_URI) continue;
    const char *p = (const char *)ASN1_STRING_get0_data(g->d.ia5);
    size_t len = (size_t)ASN1_STRING_length(g->d.ia5);
    rc = g->type == GEN_DNS ? add_name(out, &n, p, len) : add_uri(out, &n, p, len);
  }
  GENERAL_NAMES_free(san);
  ERR_clear_error();
  return rc;
}

static bool carries_name(const struct tl_credential *c, const char *name) {
  const char *dot = strchr(name, '.');
  for (char **p = c->names; *p; p++) {
    if (strcmp(*p, name) == 0) return true;
    if (strncmp(*p, "*.", 2) == 0 && dot && dot != name && strcmp(*p + 1, dot) == 0) return true;
  }
  return false;
}

static bool same_names(const struct tl_credential *a, const struct tl_credential *b) {
  size_t n = 0, m = 0;
  while (a->names[n]) n++;
  while (b->names[m]) m++;
  for (size_t i = 0; i < n; i++) {
    bool found = false;
    for (size_t k = 0; k < m && !found; k++) found = strcmp(a->names[i], b->names[k]) == 0;
    if (!found) return false;
  }
  return n == m;
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
  return 0;
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
  else if (o->client && !asks && o->eku != TL_EKU_IGNORE)
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
  if (!t) return 0;
  if (o->allow_expired) {
    TL_LOG(TL_LOG_WARN, late ? "The certificate has expired." : "The certificate is not valid yet.",
           TL_FC("tls_domain", d->name), TL_FC("file", label));
    return 0;
  }
  char when[32] = "?";
  struct tm tm;
  if (ASN1_TIME_to_tm(t, &tm) == 1) strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
  return tl_blame_option(b, "certificate",
                         "the certificate in %s %s %s; renew it, or set allow_expired = true",
                         label, late ? "has expired on" : "is not valid before", when);
}

static int read_chain(const char *input, X509 **out_leaf, STACK_OF(X509) * chain,
                      struct tl_blame *b) {
  struct stat st;
  BIO *bio = tl_input_open(input, "certificate", &st, b);
  if (!bio) return TL_ECONFIG;
  X509 *x;
  while ((x = PEM_read_bio_X509(bio, NULL, tl_input_no_password, NULL))) {
    if (!*out_leaf)
      *out_leaf = x;
    else if (!sk_X509_push(chain, x))
      X509_free(x);
  }
  BIO_free(bio);
  const char *what = tl_input_label(input);
  if (!tl_input_at_end())
    return tl_blame_option(b, "certificate", "%s holds a damaged certificate: %s", what,
                           tl_blame_reason());
  if (!*out_leaf)
    return tl_blame_option(b, "certificate", "%s holds no certificate in PEM form", what);
  return 0;
}

/* A token's public key may belong to another object: a signature proves the pair. */
static int check_pair(const char *keyfile, const char *cert, EVP_PKEY *key, X509 *leaf,
                      struct tl_blame *b) {
  char *shown = tl_tls_uri_shown(tl_input_label(keyfile));
  const char *in = tl_input_label(cert), *why = NULL;
  int rc = shown ? 0 : TL_ENOMEM;
  if (rc == 0 && X509_check_private_key(leaf, key) != 1)
    rc = tl_blame_option(b, "private_key", "the key in %s does not belong to the certificate in %s",
                         shown, in);
  if (rc == 0 && tl_tls_uri_of_token(keyfile) && (why = tl_pkcs11_try(key, leaf)))
    rc = tl_blame_option(b, "private_key",
                         "the key in %s does not sign for the certificate in %s: %s", shown, in,
                         why);
  free(shown);
  return rc;
}

static int load_pair(struct tl_tls_domain *d, const struct tl_tls_options *o, const char *cert,
                     const char *keyfile, struct tl_blame *b) {
  X509 *leaf = NULL;
  EVP_PKEY *key = NULL;
  STACK_OF(X509) *chain = sk_X509_new_null();
  int rc = chain ? read_chain(cert, &leaf, chain, b) : TL_ENOMEM;
  if (rc == 0) rc = tl_input_key(keyfile, o, &key, b);
  if (rc == 0) rc = check_pair(keyfile, cert, key, leaf, b);
  if (rc == 0) rc = tl_credential_check(d, o, tl_input_label(cert), leaf, b);
  if (rc == 0) {
    rc = tl_credential_add(d, tl_input_label(cert), leaf, key, chain);
    if (rc == 0) d->cred[d->n_cred - 1].token = tl_tls_uri_of_token(keyfile);
    return rc;
  }
  X509_free(leaf);
  EVP_PKEY_free(key);
  sk_X509_pop_free(chain, X509_free);
  return rc;
}

static bool same_roles(const struct tl_credential *x, const struct tl_credential *y) {
  return x->for_server == y->for_server && x->for_client == y->for_client;
}

/* Of two that nothing distinguishes, the second would never be shown. */
static int check_distinct(const struct tl_tls_domain *d, struct tl_blame *b) {
  for (size_t i = 0; i < d->n_cred; i++)
    for (size_t k = 0; k < i; k++) {
      const struct tl_credential *x = &d->cred[i], *y = &d->cred[k];
      if (kind_of(x) == kind_of(y) && same_names(x, y) && same_roles(x, y) &&
          X509_NAME_cmp(X509_get_issuer_name(x->leaf), X509_get_issuer_name(y->leaf)) == 0)
        return tl_blame_option(
            b, "certificate",
            "%s has the same kind of key, issuer and names as %s before it, so it "
            "would never be shown",
            x->label, y->label);
    }
  return 0;
}

static bool fits_role(const struct tl_credential *c, bool as_server) {
  return as_server ? c->for_server : c->for_client;
}

/* A server must show something: if no certificate allows the role, all are used. For a client RFC
 * 5246 7.4.6 and RFC 8446 4.4.2 have the empty list. */
static void judge_roles(struct tl_tls_domain *d, const struct tl_tls_options *o) {
  bool any = false;
  for (size_t i = 0; i < d->n_cred; i++) {
    struct tl_credential *c = &d->cred[i];
    c->for_server = tl_leaf_for_role(c->leaf, false);
    c->for_client = o->eku == TL_EKU_IGNORE || tl_leaf_for_role(c->leaf, true);
    any = any || c->for_server;
  }
  for (size_t i = 0; i < d->n_cred && !any; i++) d->cred[i].for_server = true;
}

static bool first_of_kind(const struct tl_tls_domain *d, size_t i, bool as_server) {
  if (!fits_role(&d->cred[i], as_server)) return false;
  for (size_t k = 0; k < i; k++)
    if (fits_role(&d->cred[k], as_server) && kind_of(&d->cred[k]) == kind_of(&d->cred[i]))
      return false;
  return true;
}

static int use_in(SSL_CTX *ctx, const struct tl_credential *c, struct tl_blame *b) {
  if (!ctx || SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 0) == 1) return 0;
  return tl_blame_option(b, "certificate", "OpenSSL refuses %s: %s", c->label, tl_blame_reason());
}

static int fill_contexts(struct tl_tls_domain *d, struct tl_blame *b) {
  for (size_t i = 0; i < d->n_cred; i++) {
    int rc = first_of_kind(d, i, true) ? use_in(d->server, &d->cred[i], b) : 0;
    if (rc == 0 && first_of_kind(d, i, false)) rc = use_in(d->client, &d->cred[i], b);
    if (rc) return rc;
  }
  int rc = d->n_cred ? tl_domain_describe_first(d, d->cred[0].leaf) : 0;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    rc = tl_identity_of_cert(d->cred[i].leaf, d->cred[i].chain, &d->cred[i].id);
  if (rc == 0 && d->n_cred) d->own = tl_identity_ref(d->cred[0].id);
  return rc;
}

struct tl_identity *tl_credentials_shown(const SSL *ssl, const struct tl_tls_domain *d) {
  const X509 *x = SSL_get_certificate(ssl);
  for (size_t i = 0; x && i < d->n_cred; i++)
    if (X509_cmp(x, d->cred[i].leaf) == 0) return d->cred[i].id;
  return NULL;
}

/* Without match_sip_domain, the domain serves the names of the certificates in the directory. */
static int collect_names(struct tl_tls_domain *d) {
  size_t n = 0;
  if (d->match_sip_domain && *d->match_sip_domain) return 0;
  for (size_t i = 0; i < d->n_cred; i++)
    for (char **p = d->cred[i].names; *p; p++)
      if (add_name(&d->own_names, &n, *p, strlen(*p))) return TL_ENOMEM;
  return 0;
}

int tl_domain_load_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b) {
  size_t certs = 0, keys = 0;
  int rc = 0;
  while (o->certificate && o->certificate[certs]) certs++;
  while (o->private_key && o->private_key[keys]) keys++;
  if (certs != keys)
    return tl_blame_option(b, "private_key",
                           "%zu certificate files need as many private_key files, not %zu", certs,
                           keys);
  for (size_t i = 0; i < certs && rc == 0; i++)
    rc = load_pair(d, o, o->certificate[i], o->private_key[i], b);
  if (rc == 0) judge_roles(d, o);
  if (rc == 0) rc = check_distinct(d, b);
  if (rc == 0 && o->credentials_dir) rc = tl_domain_scan_credentials(d, o, b);
  if (rc == 0 && o->credentials_dir && !certs) rc = collect_names(d);
  if (rc == 0) judge_roles(d, o);
  return rc ? rc : fill_contexts(d, b);
}

int tl_tls_domain_try_keys(const struct tl_tls_domain *d, char *err, size_t cap) {
  for (size_t i = 0; i < d->n_cred; i++) {
    const char *why = d->cred[i].token ? tl_pkcs11_try(d->cred[i].key, d->cred[i].leaf) : NULL;
    if (!why) continue;
    snprintf(err, cap,
             "tls_domain \"%s\": the token does not sign for the certificate in %s: %s; the user "
             "that tieline runs as needs access to the token",
             d->name, d->cred[i].label, why);
    ERR_clear_error();
    return TL_ETLS;
  }
  return 0;
}

/* ---- the authorities above them ---- */

/* RFC 6066 6 hashes the modulus of an RSA key, and the subjectPublicKey of others. */
static bool hash_key(X509 *x, uint8_t out[20]) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  BIGNUM *n = NULL;
  if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) {
    uint8_t buf[2048];
    bool ok = EVP_PKEY_get_bn_param(key, "n", &n) == 1 && BN_num_bytes(n) <= (int)sizeof(buf);
    int len = ok ? BN_bn2bin(n, buf) : 0;
    BN_free(n);
    return ok && EVP_Digest(buf, (size_t)len, out, NULL, EVP_sha1(), NULL) == 1;
  }
  return X509_pubkey_digest(x, EVP_sha1(), out, NULL) == 1;
}

static int add_authority(struct tl_credential *c, const X509_NAME *name, X509 *known) {
  struct tl_authority *more = realloc(c->authority, (c->n_authority + 1) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  c->authority = more;
  struct tl_authority *a = &more[c->n_authority];
  memset(a, 0, sizeof(*a));
  if (!(a->name = X509_NAME_dup(name))) return TL_ENOMEM;
  c->n_authority++;
  a->known = known && hash_key(known, a->key_sha1) &&
             X509_digest(known, EVP_sha1(), a->cert_sha1, NULL) == 1;
  return 0;
}

static X509 *issuer_in(STACK_OF(X509) * sk, X509 *x) {
  for (int i = 0; i < sk_X509_num(sk); i++)
    if (X509_check_issued(sk_X509_value(sk, i), x) == X509_V_OK) return sk_X509_value(sk, i);
  return NULL;
}

static int find_authorities(struct tl_credential *c, STACK_OF(X509) * cas) {
  X509 *x = c->leaf;
  while (c->n_authority < AUTHORITIES_MAX) {
    bool self = X509_check_issued(x, x) == X509_V_OK;
    X509 *up = self ? x : issuer_in(c->chain, x);
    if (!up && cas) up = issuer_in(cas, x);
    int rc = 0;
    if (!self || x == c->leaf) rc = add_authority(c, X509_get_issuer_name(x), up);
    if (rc) return rc;
    c->complete = self;
    if (self || !up) break;
    x = up;
  }
  ERR_clear_error();
  return 0;
}

int tl_credentials_find_authorities(struct tl_tls_domain *d, STACK_OF(X509) * cas) {
  for (size_t i = 0; i < d->n_cred; i++) {
    int rc = find_authorities(&d->cred[i], cas);
    if (rc) return rc;
  }
  return 0;
}

static bool stands_above(const struct tl_authority *a, const struct tl_tls_domain *d) {
  for (size_t i = 0; i < d->n_cred; i++)
    for (size_t k = 0; k < d->cred[i].n_authority; k++)
      if (X509_NAME_cmp(d->cred[i].authority[k].name, a->name) == 0) return true;
  return false;
}

bool tl_credentials_differ(const struct tl_tls_domain *a, const struct tl_tls_domain *b) {
  for (size_t i = 0; i < a->n_cred; i++)
    for (size_t k = 0; k < a->cred[i].n_authority; k++)
      if (!stands_above(&a->cred[i].authority[k], b)) return true;
  return false;
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
    if (s->kind[i] == kind_of(c)) return 0;
  if (s->n == sizeof(s->kind) / sizeof(*s->kind)) return 0;
  if (s->n == 0) SSL_certs_clear(s->ssl);
  s->kind[s->n++] = kind_of(c);
  return SSL_use_cert_and_key(s->ssl, c->leaf, c->key, c->chain, 1) == 1 ? 0 : TL_ETLS;
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
    if (!fits_role(&d->cred[i], true)) continue;
    unsigned m = rank_credential(&d->cred[i], name, w);
    if (m > best) best = m;
    if (m < worst) worst = m;
  }
  /* None is better than another: the contexts have the first of each kind already. */
  if (best <= worst || d->n_cred < 2) return 0;
  int rc = 0;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (fits_role(&d->cred[i], true) && rank_credential(&d->cred[i], name, w) == best)
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
    if (fits_role(&d->cred[i], false)) return true;
  return false;
}

/* RFC 8446 4.4.2.3 and RFC 5246 7.4.6: if the server's list names none of our authorities, it wants
 * none of our certificates, and the answer is an empty one. A certificate whose chain does not
 * reach its root here may still be under a named one: it is shown if nothing better is there. */
int tl_credentials_answer(SSL *ssl, const struct tl_tls_domain *d) {
  const STACK_OF(X509_NAME) *asked = SSL_get0_peer_CA_list(ssl);
  struct showing s = {.ssl = ssl};
  int rc = 0;
  if (!asked || sk_X509_NAME_num(asked) <= 0 || !any_for_client(d)) return 0;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (fits_role(&d->cred[i], false) && is_under(&d->cred[i], asked))
      rc = show_credential(&s, &d->cred[i]);
  if (s.n || rc) return rc;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    if (fits_role(&d->cred[i], false) && !d->cred[i].complete)
      rc = show_credential(&s, &d->cred[i]);
  if (s.n || rc) return rc;
  SSL_certs_clear(ssl);
  TL_LOG_FROM(NULL, d->name, TL_LOG_INFO,
              "The server asks for a certificate of authorities that issued none of ours: going on "
              "without one.",
              TL_FC("tls_domain", d->name), TL_FI("names", sk_X509_NAME_num(asked)));
  return 0;
}
