/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS domain: options checked against each other and turned into OpenSSL
 * contexts. domain_files.c reads files, ciphers.c chooses suites, choose.c
 * chooses among domains. A domain never changes after it was made.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/crl.h"
#include "tieline/record.h"
#include "tls/ticket_keys.h"
#include "tls/tls_internal.h"

/* Elliptic curves only: ffdhe2048 is below 128 bits, and one packet of a client that offers
 * ffdhe8192 would cost us milliseconds. */
#define DEFAULT_GROUPS "X25519:P-256:X448:P-384:P-521"

#define DH_BITS_MIN 2048 /* RFC 7919 1, RFC 9325 4.4 */

static _Atomic uint64_t generations;

static int check_options(const struct tl_tls_options *o, struct tl_blame *b) {
  if (!o->server && !o->client)
    return tl_blame_option(b, "role",
                           "a TLS domain needs the server role, the client role or both");
  if (o->policy.require_cert && !o->policy.verify_cert)
    return tl_blame_option(
        b, "require_cert",
        "require_cert = true contradicts verify_cert = false: a certificate that is "
        "not checked cannot be required");
  if (o->policy.on_unverified == TL_UNVERIFIED_ACCEPT && !o->policy.verify_cert)
    return tl_blame_option(b, "on_unverified",
                           "on_unverified = accept means nothing when verify_cert = false");
  if (o->crl_check_all && !o->crl_file && !o->crl_dir && !o->crl_fetch)
    return tl_blame_option(b, "crl_check_all",
                           "crl_check_all needs crl_file, crl_dir or crl_fetch");
  if (o->crl_fetch && !o->policy.verify_cert)
    return tl_blame_option(b, "crl_fetch", "crl_fetch means nothing when verify_cert = false");
  if (o->min_version != TL_TLS_1_2 && o->min_version != TL_TLS_1_3)
    return tl_blame_option(b, "tls_method", "only TLS 1.2 and TLS 1.3 are supported");
  if (o->max_version != TL_TLS_1_2 && o->max_version != TL_TLS_1_3)
    return tl_blame_option(b, "tls_method", "only TLS 1.2 and TLS 1.3 are supported");
  if (o->min_version > o->max_version)
    return tl_blame_option(b, "tls_method", "the lowest version is above the highest");
  if (o->server && (!o->certificate || !o->certificate[0]) && !o->credentials_dir)
    return tl_blame_option(b, "certificate", "the server role needs a certificate");
  if (o->policy.tickets > 16)
    return tl_blame_option(b, "tickets", "tickets must be between 0 and 16");
  if (o->policy.verify_depth > 100)
    return tl_blame_option(b, "verify_depth", "verify_depth must be between 0 and 100");
  return tl_domain_check_ocsp(o, b);
}

/* Names in lower case, without the trailing dot; a leading "*." is a wildcard for one label. "*" is
 * any name, which is as if none were listed. */
static int copy_names(struct tl_tls_domain *d, const char **names, struct tl_blame *b) {
  size_t n = 0;
  bool any = false;
  while (names && names[n]) any = any || strcmp(names[n++], "*") == 0;
  if (any) n = 0;
  d->match_sip_domain = calloc(n + 1, sizeof(char *));
  if (!d->match_sip_domain) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) {
    char *s = d->match_sip_domain[i] = strdup(names[i]);
    if (!s) return TL_ENOMEM;
    for (char *p = s; *p; p++) *p = (char)tolower((unsigned char)*p);
    size_t len = strlen(s);
    if (len && s[len - 1] == '.') s[--len] = '\0';
    const char *rest = strncmp(s, "*.", 2) == 0 ? s + 2 : s;
    if (*rest == '\0' || strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789-._") != strlen(rest))
      return tl_blame_option(b, "match_sip_domain",
                             "\"%s\" is not a valid domain name; a wildcard is \"*.\" and a domain",
                             names[i]);
  }
  return TL_OK;
}

static int parse_match(const char *text, struct tl_addr *out) {
  struct tl_str s = tl_str_c(text);
  if (tl_addr_parse(s, 0, out) == 0) return TL_OK;
  const char *colon = strrchr(text, ':');
  uint64_t port;
  if (!colon || tl_str_u64(tl_str_c(colon + 1), 65535, &port)) return TL_ESYNTAX;
  s.n = (size_t)(colon - text);
  return tl_addr_parse(s, (uint16_t)port, out);
}

static int copy_addresses(struct tl_tls_domain *d, const char **list, struct tl_blame *b) {
  size_t n = 0;
  while (list && list[n]) n++;
  if (n == 0) return TL_OK;
  d->match_ip = calloc(n, sizeof(*d->match_ip));
  if (!d->match_ip) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) {
    if (strcmp(list[i], "*") == 0)
      d->match_any_ip = true;
    else if (parse_match(list[i], &d->match_ip[d->n_match_ip++]))
      return tl_blame_option(
          b, "match_ip_address",
          "\"%s\" is not a valid address; write 192.0.2.1, [2001:db8::1] or either with :port",
          list[i]);
  }
  return TL_OK;
}

/* Settings of both roles. */
static int set_common(struct tl_tls_domain *d, SSL_CTX *ctx, const struct tl_tls_options *o,
                      struct tl_blame *b) {
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  /* OpenSSL's own kernel-TLS setting in openssl.cnf must not get in our way. */
  SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS | SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION |
                                 SSL_OP_LEGACY_SERVER_CONNECT);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ctx, 0); /* nothing that follows the handshake may be swallowed */
  SSL_CTX_set_verify_depth(ctx, (int)o->policy.verify_depth);
  if (SSL_CTX_set_min_proto_version(ctx, o->min_version) != 1 ||
      SSL_CTX_set_max_proto_version(ctx, o->max_version) != 1)
    return tl_blame_option(b, "tls_method", "this OpenSSL refuses the TLS version: %s",
                           tl_blame_reason());
  const char *groups = o->groups ? o->groups : DEFAULT_GROUPS;
  if (SSL_CTX_set1_groups_list(ctx, groups) != 1)
    return tl_blame_option(
        b, "groups", "\"%s\" is not a list of key exchange groups that this OpenSSL knows", groups);
  tl_hs_hook_context(ctx);
  return tl_domain_set_ciphers(ctx, o, &d->rsa_key_exchange, b);
}

/* The operator's parameters instead of those that match the strength of the key. */
static int set_dh(SSL_CTX *ctx, const struct tl_tls_options *o, struct tl_blame *b) {
  struct stat st;
  if (!o->dh_params) return TL_OK;
  const char *what = tl_input_label(o->dh_params);
  BIO *bio;
  int rc = tl_input_open(o->dh_params, "dh_params", &st, &bio, b);
  if (rc) return rc;
  EVP_PKEY *dh = PEM_read_bio_Parameters(bio, NULL);
  BIO_free(bio);
  if (!dh || !EVP_PKEY_is_a(dh, "DH")) {
    EVP_PKEY_free(dh);
    return tl_blame_option(b, "dh_params", "%s holds no Diffie-Hellman parameters in PEM form",
                           what);
  }
  int bits = EVP_PKEY_get_bits(dh);
  if (bits >= DH_BITS_MIN && SSL_CTX_set0_tmp_dh_pkey(ctx, dh) == 1) return TL_OK;
  EVP_PKEY_free(dh);
  return tl_blame_option(b, "dh_params",
                         "the parameters in %s have %d bits: use at least %d, or none", what, bits,
                         DH_BITS_MIN);
}

static int server_ctx(struct tl_tls_domain *d, const struct tl_tls_options *o, struct tl_blame *b) {
  SSL_CTX *ctx = d->server = SSL_CTX_new(TLS_server_method());
  if (!ctx) return TL_ENOMEM;
  int rc = set_common(d, ctx, o, b);
  if (rc) return rc;
  /* A client that lists CHACHA first has no AES hardware (RFC 7905 1). */
  SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_dh_auto(ctx, 1);
  SSL_CTX_set_max_early_data(ctx, 0);
  if (tl_hs_hook_server(ctx)) return TL_ENOMEM;
  if ((rc = set_dh(ctx, o, b))) return rc;
  SSL_CTX_set_num_tickets(ctx, o->policy.resumption ? o->policy.tickets : 0);
  if (o->policy.tickets == 0 || !o->policy.resumption) SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  d->ticket_keys = tl_tickets_new(d->policy.ticket_lifetime_ms / 1000);
  return d->ticket_keys ? TL_OK : TL_ENOMEM;
}

static int client_ctx(struct tl_tls_domain *d, const struct tl_tls_options *o, struct tl_blame *b) {
  SSL_CTX *ctx = d->client = SSL_CTX_new(TLS_client_method());
  if (!ctx) return TL_ENOMEM;
  if (!o->policy.resumption)
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  else
    tl_hs_hook_sessions(ctx);
  tl_hs_hook_client(ctx);
  return set_common(d, ctx, o, b);
}

/* Names of authorities need the anchors that complete our chains; these are dropped once read. */
static int load_files(struct tl_tls_domain *d, const struct tl_tls_options *o, struct tl_blame *b) {
  STACK_OF(X509) *cas = sk_X509_new_null();
  int rc = cas ? tl_domain_load_credentials(d, o, b) : TL_ENOMEM;
  /* Even if no peer is verified: the authorities complete our own chains. */
  if (rc == 0 && (o->policy.verify_cert || o->ca_list || o->ca_dir))
    rc = tl_domain_load_trust(d, o, cas, b);
  if (rc == 0 && o->policy.verify_cert) rc = tl_domain_attach_crls(d, o);
  if (rc == 0) rc = tl_credentials_find_authorities(d, cas);
  sk_X509_pop_free(cas, X509_free);
  return rc;
}

static int build_domain(struct tl_tls_domain *d, const struct tl_tls_options *o,
                        struct tl_blame *b) {
  int rc = copy_names(d, o->match_sip_domain, b);
  if (rc == 0) rc = copy_addresses(d, o->match_ip_address, b);
  if (rc == 0 && o->server) rc = server_ctx(d, o, b);
  if (rc == 0 && o->client) rc = client_ctx(d, o, b);
  if (rc == 0) rc = load_files(d, o, b);
  return rc ? rc : tl_domain_set_ocsp(d, o, b);
}

int tl_tls_domain_new(const struct tl_tls_options *o, char *err, size_t cap,
                      const char **out_option, struct tl_tls_domain **out) {
  struct tl_blame b = {err, cap, out_option};
  *out = NULL;
  if (cap) *err = '\0';
  tl_blame_begin();
  int rc = tl_tls_init();
  if (rc == 0) rc = check_options(o, &b);
  if (rc) return rc;
  struct tl_tls_domain *d = calloc(1, sizeof(*d));
  if (!d) return TL_ENOMEM;
  d->refs = 1;
  d->generation = atomic_fetch_add_explicit(&generations, 1, memory_order_relaxed) + 1;
  d->policy = o->policy;
  if (!d->policy.max_records) d->policy.max_records = TL_GCM_RECORDS_MAX;
  if (!d->policy.ticket_lifetime_ms) d->policy.ticket_lifetime_ms = TL_TICKET_LIFE_S * 1000u;
  d->client_cert = o->client && ((o->certificate && *o->certificate) || o->credentials_dir);
  d->advertise_port = o->advertise_port;
  d->name = strdup(o->name ? o->name : "");
  d->groups = strdup(o->groups ? o->groups : DEFAULT_GROUPS);
  if (o->advertise_host.n) d->advertise_host = strndup(o->advertise_host.p, o->advertise_host.n);
  bool copied = d->name && d->groups && (!o->advertise_host.n || d->advertise_host);
  rc = copied ? build_domain(d, o, &b) : TL_ENOMEM;
  if (rc == 0 && !d->subject && !(d->subject = strdup(""))) rc = TL_ENOMEM;
  if (rc) {
    tl_tls_domain_unref(d);
    ERR_clear_error();
    return rc;
  }
  *out = d;
  return TL_OK;
}
