/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's callbacks during a handshake: the ClientHello (the domain is chosen
 * before anything is negotiated, so that versions, suites and policy are those
 * of the chosen domain), verification, the key log and alerts; and the contexts
 * that they belong to. The handshake itself is in handshake.c.
 */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <time.h>

#include "tieline/once.h"
#include "tls/handshake.h"
#include "tls/ticket_keys.h"

/* Sessions kept for TLS 1.2 clients without ticket support; tickets need no memory here. */
#define SESSION_CACHE 512
/* OpenSSL's: at least 112 bits of strength in keys and signatures of certificates. */
#define SECURITY_LEVEL 2
#define TRUSTED_CA_KEYS 3 /* RFC 6066 6; OpenSSL has no name for it */

static struct tl_once init_once = TL_ONCE_INIT;
static SSL_CTX *front;

SSL_CTX *tl_tls_front(void) { return front; }

static bool init_library(void) {
  front = OPENSSL_init_ssl(0, NULL) == 1 ? SSL_CTX_new(TLS_server_method()) : NULL;
  if (!front) return false;
  SSL_CTX_set_options(front, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(front, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_min_proto_version(front, TLS1_2_VERSION);
  SSL_CTX_set_max_early_data(front, 0);
  SSL_CTX_set_session_cache_mode(front, SSL_SESS_CACHE_SERVER);
  SSL_CTX_sess_set_cache_size(front, SESSION_CACHE);
  tl_hs_hook_context(front);
  tl_hs_hook_front(front);
  tl_tickets_hook(front);
  /* OpenSSL counts a ClientHello's extensions before it calls the callback that changes the
   * context. */
  if (tl_hs_hook_server(front) == 0) return true;
  SSL_CTX_free(front);
  front = NULL;
  return false;
}

const char *tl_tls_library(bool in_full) {
  return OpenSSL_version(in_full ? OPENSSL_VERSION : OPENSSL_VERSION_STRING);
}

int tl_tls_init(void) { return tl_once(&init_once, init_library) ? TL_OK : TL_ENOMEM; }

/* The secrets go into the handshake object, and to the key log if the operator turned it on. */
static void on_keylog(const SSL *ssl, const char *line) {
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (!hs) return;
  tl_secrets_keylog(&hs->secrets, line);
  if (hs->keylog) hs->keylog(line);
}

static void on_info(const SSL *ssl, int where, int ret) {
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (hs && hs->server && (where & SSL_CB_HANDSHAKE_DONE)) tl_tickets_limit((SSL *)(uintptr_t)ssl);
  if (!hs || !(where & SSL_CB_ALERT)) return;
  if (where & SSL_CB_READ)
    hs->failure.alert_received = (uint8_t)ret;
  else
    hs->failure.alert_sent = (uint8_t)ret;
}

bool tl_hs_wants_name(const struct tl_hs *hs) {
  return !hs->server && hs->verify_name[0] && hs->domain->policy.verify_cert &&
         hs->domain->policy.verify_name;
}

static void record_failure(struct tl_hs *hs) {
  const struct tl_verdict *v = &hs->verdict;
  hs->wrong_name = v->code == X509_V_ERR_HOSTNAME_MISMATCH;
  hs->failure.verify_code = v->code;
  hs->failure.verify_depth = v->depth;
  memcpy(hs->failure.subject, v->subject, sizeof(hs->failure.subject));
}

/* Replaces OpenSSL's own verification. An accepted failure keeps its code, so that the session
 * stays marked as unverified; a refusal gets the code that makes OpenSSL send our alert. */
static int on_verify(X509_STORE_CTX *sc, void *arg) {
  (void)arg;
  SSL *ssl = X509_STORE_CTX_get_ex_data(sc, SSL_get_ex_data_X509_STORE_CTX_idx());
  struct tl_hs *hs = ssl ? tl_hs_of_ssl(ssl) : NULL;
  if (!hs || !hs->domain) return 0;
  int rc = tl_verify_run(sc, hs->domain, hs->server, tl_str_c(hs->server ? "" : hs->verify_name),
                         &hs->verdict);
  if (rc == 0 && tl_hs_known_revoked(hs, X509_STORE_CTX_get0_cert(sc), &hs->verdict))
    rc = TL_EVERIFY;
  if (rc) record_failure(hs);
  bool go_on = rc == 0 || hs->domain->policy.on_unverified == TL_UNVERIFIED_ACCEPT;
  X509_STORE_CTX_set_error(sc,
                           go_on ? hs->verdict.code : tl_verify_code_for_openssl(hs->verdict.code));
  return go_on;
}

void tl_hs_enter_domain(struct tl_hs *hs, struct tl_tls_domain *d) {
  hs->domain = tl_tls_domain_ref(d);
  snprintf(hs->failure.domain, sizeof(hs->failure.domain), "%s", d->name);
  int mode = d->policy.verify_cert ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
  if (hs->server && d->policy.require_cert) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_set_verify(hs->ssl, mode, NULL);
}

/* SSL_set_SSL_CTX moves certificates and trust; this moves everything else that SSL_new copied. */
static int switch_context(struct tl_hs *hs, struct tl_tls_domain *d) {
  SSL *ssl = hs->ssl;
  SSL_CTX *ctx = d->server;
  struct {
    uint64_t generation;
    char name[24];
  } sid;
  _Static_assert(sizeof(sid) == SSL_MAX_SID_CTX_LENGTH, "the session id context is full");
  memset(&sid, 0, sizeof(sid));
  sid.generation = d->generation;
  snprintf(sid.name, sizeof(sid.name), "%s", d->name);
  /* With an id that never comes again, TLS 1.2 sessions without tickets cannot be resumed. */
  if (!d->policy.resumption && RAND_bytes((uint8_t *)&sid, sizeof(sid)) != 1) return TL_ENOMEM;
  if (!SSL_set_SSL_CTX(ssl, ctx)) return TL_ENOMEM;
  SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(ctx));
  SSL_set_options(ssl, SSL_CTX_get_options(ctx));
  if (SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(ctx)) != 1 ||
      SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(ctx)) != 1 ||
      X509_VERIFY_PARAM_set1(SSL_get0_param(ssl), SSL_CTX_get0_param(ctx)) != 1 ||
      SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(ctx)) != 1 ||
      (d->groups && SSL_set1_groups_list(ssl, d->groups) != 1))
    return TL_ENOMEM;
  /* A session resumes only in the domain, and the generation of it, that made it. */
  return SSL_set_session_id_context(ssl, (uint8_t *)&sid, sizeof(sid)) == 1 ? TL_OK : TL_ENOMEM;
}

/* The name in the ClientHello's server_name extension (RFC 6066 3). False if it is malformed. */
static bool read_sni(SSL *ssl, char out[256]) {
  const unsigned char *p;
  size_t n;
  out[0] = '\0';
  if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n)) return true;
  /* One list, one entry: type 0, length, name. */
  if (n < 5 || ((size_t)p[0] << 8 | p[1]) != n - 2 || p[2] != TLSEXT_NAMETYPE_host_name)
    return false;
  size_t len = (size_t)p[3] << 8 | p[4];
  if (len != n - 5 || len == 0 || len > 255) return false;
  for (size_t i = 0; i < len; i++) {
    out[i] = (char)tolower(p[5 + i]);
    if (out[i] <= ' ' || out[i] == 0x7f) {
      out[0] = '\0';
      return false;
    }
  }
  out[len] = '\0';
  return true;
}

/* What the client says it trusts, in 1.3 and 1.2; NULL if it says nothing. */
static int read_wanted(struct tl_hs *hs, struct tl_ca_wanted **out) {
  const unsigned char *names, *keys;
  size_t n_names = 0, n_keys = 0;
  bool has_names = SSL_client_hello_get0_ext(hs->ssl, TLSEXT_TYPE_certificate_authorities, &names,
                                             &n_names) == 1;
  hs->said_keys = SSL_client_hello_get0_ext(hs->ssl, TRUSTED_CA_KEYS, &keys, &n_keys) == 1;
  *out = NULL;
  if (!has_names && !hs->said_keys) return TL_OK;
  int rc = tl_ca_wanted_new(out);
  if (rc == 0 && has_names) rc = tl_ca_wanted_names(*out, names, n_names);
  if (rc == TL_ELIMIT) hs->excess = "too many authorities in the ClientHello";
  if (rc == 0 && hs->said_keys) rc = tl_ca_wanted_keys(*out, keys, n_keys);
  return rc;
}

static int choose_domain(struct tl_hs *hs, const struct tl_ca_wanted *wanted, int *alert) {
  struct tl_tls_ask ask = {.server = true,
                           .name = tl_str_c(hs->failure.sni),
                           .listener = hs->listener,
                           .addr = &hs->local,
                           .wanted = wanted};
  struct tl_tls_domain *d = tl_tls_choose(hs->set, &ask, NULL, NULL);
  if (!d) {
    hs->refused = true;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_CLIENT_HELLO_ERROR;
  }
  tl_hs_enter_domain(hs, d);
  if (switch_context(hs, d) == 0 && tl_credentials_serve(hs->ssl, d, hs->failure.sni, wanted) == 0)
    return SSL_CLIENT_HELLO_SUCCESS;
  *alert = SSL_AD_INTERNAL_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

static int alert_of(int bad) {
  if (bad == TL_ELIMIT) return SSL_AD_HANDSHAKE_FAILURE;
  return bad == TL_ENOMEM ? SSL_AD_INTERNAL_ERROR : SSL_AD_DECODE_ERROR;
}

/* The first ClientHello chooses the domain; one that answers a HelloRetryRequest is only
 * bounded. */
static int on_client_hello(SSL *ssl, int *alert, void *arg) {
  (void)arg;
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  struct tl_ca_wanted *wanted = NULL;
  int rc = SSL_CLIENT_HELLO_ERROR, bad = 0;
  if (!hs) return rc;
  hs->excess = tl_hello_excess(ssl);
  if (hs->excess)
    bad = TL_ELIMIT;
  else if (!hs->domain && !read_sni(ssl, hs->failure.sni))
    bad = TL_ESYNTAX;
  else
    bad = read_wanted(hs, &wanted);
  if (bad)
    *alert = alert_of(bad);
  else
    rc = hs->domain ? SSL_CLIENT_HELLO_SUCCESS : choose_domain(hs, wanted, alert);
  tl_ca_wanted_free(wanted);
  return rc;
}

/* The choice was made already; this only lets the server confirm that it used the name. */
static int on_servername(SSL *ssl, int *alert, void *arg) {
  (void)alert, (void)arg;
  return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) ? SSL_TLSEXT_ERR_OK
                                                            : SSL_TLSEXT_ERR_NOACK;
}

/* RFC 6066 6: a server that used trusted_ca_keys confirms it with an empty extension. */
static int add_trusted_keys(SSL *ssl, unsigned type, unsigned context, const unsigned char **out,
                            size_t *n, X509 *x, size_t chain, int *alert, void *arg) {
  (void)type, (void)context, (void)x, (void)chain, (void)alert, (void)arg;
  const struct tl_hs *hs = tl_hs_of_ssl(ssl);
  *out = NULL;
  *n = 0;
  return hs && hs->said_keys && !SSL_session_reused(ssl);
}

/* Read already, by read_wanted. */
static int parse_trusted_keys(SSL *ssl, unsigned type, unsigned context, const unsigned char *in,
                              size_t n, X509 *x, size_t chain, int *alert, void *arg) {
  (void)ssl, (void)type, (void)context, (void)in, (void)n, (void)x, (void)chain, (void)alert;
  (void)arg;
  return 1;
}

int tl_hs_hook_server(SSL_CTX *ctx) {
  SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
  return SSL_CTX_add_custom_ext(ctx, TRUSTED_CA_KEYS,
                                SSL_EXT_TLS1_2_AND_BELOW_ONLY | SSL_EXT_CLIENT_HELLO |
                                    SSL_EXT_TLS1_2_SERVER_HELLO,
                                add_trusted_keys, NULL, NULL, parse_trusted_keys, NULL) == 1
             ? 0
             : TL_ENOMEM;
}

/* Called once the server has asked for a certificate. */
static int on_client_certificate(SSL *ssl, void *arg) {
  (void)arg;
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (hs) hs->cert_asked = true;
  return hs && hs->domain && tl_credentials_answer(ssl, hs->domain) == 0;
}

void tl_hs_hook_client(SSL_CTX *ctx) { SSL_CTX_set_cert_cb(ctx, on_client_certificate, NULL); }

void tl_hs_hook_context(SSL_CTX *ctx) {
  SSL_CTX_set_keylog_callback(ctx, on_keylog);
  SSL_CTX_set_info_callback(ctx, on_info);
  SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
  /* RSA of 2048 bits and no SHA-1, whatever this machine's openssl.cnf says, unless ciphers_list
   * overrides it with @SECLEVEL. */
  if (SSL_CTX_get_security_level(ctx) < SECURITY_LEVEL)
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
}

void tl_hs_hook_front(SSL_CTX *ctx) { SSL_CTX_set_tlsext_servername_callback(ctx, on_servername); }
