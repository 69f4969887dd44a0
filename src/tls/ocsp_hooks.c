/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP inside handshakes: our staple for the client that asks (status_request,
 * RFC 6066 8, RFC 8446 4.4.2.1), and the server's staple, judged. Staples are
 * renewed by the control thread.
 */
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/handshake.h"

#define FILE_MAX 65536

/* ---- as server ---- */

static int send_staple(SSL *ssl, struct tl_hs *hs, struct tl_staple *s) {
  uint8_t *copy = NULL;
  size_t n = 0;
  pthread_mutex_lock(&s->mu);
  if (s->der && s->verdict.next_update > time(NULL)) {
    copy = OPENSSL_memdup(s->der, s->n);
    n = s->n;
  }
  pthread_mutex_unlock(&s->mu);
  if (!copy) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)n);
  hs->stapled = true;
  return SSL_TLSEXT_ERR_OK;
}

static int on_asked(SSL *ssl, void *arg) {
  (void)arg;
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  X509 *own = SSL_get_certificate(ssl);
  if (!hs || !hs->domain || !own) return SSL_TLSEXT_ERR_NOACK;
  for (size_t i = 0; i < hs->domain->n_staple; i++)
    if (X509_cmp(hs->domain->staple[i].cert, own) == 0)
      return send_staple(ssl, hs, &hs->domain->staple[i]);
  return SSL_TLSEXT_ERR_NOACK;
}

/* What an earlier connection's background check found counts at once. */
bool tl_hs_known_revoked(const struct tl_hs *hs, X509 *cert, struct tl_verdict *v) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  if (!hs->server || hs->domain->policy.ocsp.client == TL_OCSP_CLIENT_OFF || !v->checked || !cert ||
      X509_digest(cert, EVP_sha256(), sha256, NULL) != 1 ||
      !tl_ocsp_recall(sha256, time(NULL), &known) || known.status != TL_OCSP_REVOKED)
    return false;
  v->code = X509_V_ERR_CERT_REVOKED;
  v->alert = SSL_AD_CERTIFICATE_REVOKED;
  snprintf(v->why, sizeof(v->why), "the OCSP responder has said that it is revoked");
  return true;
}

/* ---- as client ---- */

static void judge_staple(SSL *ssl, struct tl_ocsp_verdict *v) {
  const uint8_t *der = NULL;
  long n = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
  STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
  int len = sk_X509_num(chain);
  memset(v, 0, sizeof(*v));
  if (!der || n <= 0)
    snprintf(v->why, sizeof(v->why), "the server stapled no OCSP answer");
  else if (len < 1)
    snprintf(v->why, sizeof(v->why), "the chain above the certificate is not known");
  else
    tl_ocsp_judge(der, (size_t)n, sk_X509_value(chain, 0), sk_X509_value(chain, len > 1),
                  time(NULL), v);
}

/* "Must staple" (RFC 7633): the authority vouches for the certificate only together with a fresh
 * answer. */
static bool must_staple(const SSL *ssl) {
  int critical;
  TLS_FEATURE *features =
      X509_get_ext_d2i(SSL_get0_peer_certificate(ssl), NID_tlsfeature, &critical, NULL);
  /* One that cannot be read, for want of memory, too, may say so; -1: there is none. */
  bool found = !features && critical != -1;
  for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
    found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == TLSEXT_TYPE_status_request;
  TLS_FEATURE_free(features);
  return found;
}

static int refuse_status(struct tl_hs *hs, int code, const char *fmt, const char *why) {
  if (hs->failure.verify_code == X509_V_OK) hs->failure.verify_code = code;
  snprintf(hs->ocsp_why, sizeof(hs->ocsp_why), fmt, why);
  /* otherwise OpenSSL sends bad_certificate_status_response */
  return hs->domain->policy.on_unverified == TL_UNVERIFIED_ACCEPT;
}

static int on_staple(SSL *ssl, void *arg) {
  (void)arg;
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (!hs || !hs->domain) return 0;
  enum tl_ocsp_stapled want = hs->domain->policy.ocsp.stapled;
  /* A failed verification cannot get better; a resumed session was judged before. */
  if (want == TL_STAPLED_OFF || SSL_session_reused(ssl) || hs->verdict.code != X509_V_OK) return 1;
  struct tl_ocsp_verdict v;
  judge_staple(ssl, &v);
  hs->stapled = v.status == TL_OCSP_GOOD;
  if (v.status == TL_OCSP_REVOKED)
    return refuse_status(hs, X509_V_ERR_CERT_REVOKED, "its stapled OCSP answer says revoked: %s",
                         v.why);
  if (hs->stapled || (want == TL_STAPLED_ASK && !must_staple(ssl))) return 1;
  if (v.status == TL_OCSP_UNKNOWN)
    return refuse_status(
        hs, X509_V_ERR_OCSP_CERT_UNKNOWN, "%s",
        "its stapled OCSP answer says that the responder does not know the certificate");
  return refuse_status(hs, X509_V_ERR_OCSP_VERIFY_FAILED, "OCSP staple: %s", v.why);
}

/* ---- domains ---- */

static int add_staple(struct tl_tls_domain *d, X509 *cert, STACK_OF(X509) * chain) {
  void *p = realloc(d->staple, (d->n_staple + 1) * sizeof(*d->staple));
  if (!p) return TL_ENOMEM;
  d->staple = p;
  struct tl_staple *s = &d->staple[d->n_staple];
  memset(s, 0, sizeof(*s));
  pthread_mutex_init(&s->mu, NULL);
  X509_up_ref(cert);
  s->cert = cert;
  s->issuer = tl_ocsp_issuer(cert, chain, d->server);
  d->n_staple++;
  return TL_OK;
}

static int read_staple(const char *file, uint8_t **out, size_t *out_n) {
  BIO *bio = BIO_new_file(file, "r");
  if (!bio) return TL_EIO;
  uint8_t *p = malloc(FILE_MAX);
  int n = p ? BIO_read(bio, p, FILE_MAX) : -1;
  BIO_free(bio);
  if (n <= 0 || n == FILE_MAX) {
    free(p);
    return TL_EIO;
  }
  *out = p;
  *out_n = (size_t)n;
  return TL_OK;
}

int tl_staple_read(struct tl_tls_domain *d, time_t now, char *why, size_t cap) {
  uint8_t *der = NULL;
  size_t n = 0;
  int rc = TL_EIO; /* the best result so far */
  if (read_staple(d->ocsp_file, &der, &n)) {
    snprintf(why, cap, "%s cannot be read, is empty or too long", d->ocsp_file);
    ERR_clear_error();
    return TL_EIO;
  }
  for (size_t i = 0; i < d->n_staple && rc != 0; i++) {
    struct tl_ocsp_verdict v;
    rc = tl_staple_set(&d->staple[i], der, n, now, &v);
    snprintf(why, cap, "%s: %s%s", d->ocsp_file,
             v.status == TL_OCSP_REVOKED ? "the certificate is revoked: " : "", v.why);
    if (rc == TL_EVERIFY && v.this_update == 0) rc = TL_EIO;
  }
  free(der);
  return rc;
}

/* A file that is merely out of date does not prevent the start: nothing is stapled until it is
 * renewed. */
static int first_read(struct tl_tls_domain *d, struct tl_blame *b) {
  char why[512];
  int rc = tl_staple_read(d, time(NULL), why, sizeof(why));
  if (rc == TL_EIO) return tl_blame_option(b, "ocsp_file", "%s", why);
  return rc == TL_EVERIFY ? TL_OK : rc;
}

int tl_domain_set_ocsp(struct tl_tls_domain *d, const struct tl_tls_options *o,
                       struct tl_blame *b) {
  d->ocsp_file = o->ocsp_file ? strdup(o->ocsp_file) : NULL;
  d->ocsp_url = o->ocsp_url ? strdup(o->ocsp_url) : NULL;
  if ((o->ocsp_file && !d->ocsp_file) || (o->ocsp_url && !d->ocsp_url)) return TL_ENOMEM;
  if (d->client && d->policy.ocsp.stapled != TL_STAPLED_OFF) {
    SSL_CTX_set_tlsext_status_type(d->client, TLSEXT_STATUSTYPE_ocsp);
    SSL_CTX_set_tlsext_status_cb(d->client, on_staple);
  }
  if (!d->server || d->policy.ocsp.staple == TL_STAPLE_OFF) return TL_OK;
  SSL_CTX_set_tlsext_status_cb(d->server, on_asked);
  int rc = TL_OK;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++) {
    rc = add_staple(d, d->cred[i].leaf, d->cred[i].chain);
    if (rc == 0 && !d->staple[i].issuer)
      return tl_blame_option(
          b, "ocsp_staple",
          "the issuer of %s is not known, so no OCSP answer about it can be checked: add "
          "it behind the certificate in its file",
          d->cred[i].label);
  }
  if (rc == 0 && d->policy.ocsp.staple == TL_STAPLE_FILE) rc = first_read(d, b);
  return rc;
}

void tl_domain_free_ocsp(struct tl_tls_domain *d) {
  for (size_t i = 0; i < d->n_staple; i++) {
    X509_free(d->staple[i].cert);
    X509_free(d->staple[i].issuer);
    pthread_mutex_destroy(&d->staple[i].mu);
    free(d->staple[i].der);
  }
  free(d->staple);
  free(d->ocsp_file);
  free(d->ocsp_url);
}

int tl_domain_check_ocsp(const struct tl_tls_options *o, struct tl_blame *b) {
  const struct tl_ocsp_policy *p = &o->policy.ocsp;
  if (p->staple == TL_STAPLE_FILE && !o->ocsp_file)
    return tl_blame_option(b, "ocsp_staple", "ocsp_staple = file needs ocsp_file");
  if (o->ocsp_file && p->staple != TL_STAPLE_FILE)
    return tl_blame_option(b, "ocsp_file", "ocsp_file means nothing without ocsp_staple = file");
  if (p->staple != TL_STAPLE_OFF && !o->server)
    return tl_blame_option(b, "ocsp_staple", "ocsp_staple is for the server role");
  if (p->stapled != TL_STAPLED_OFF && !o->client)
    return tl_blame_option(b, "ocsp_stapled", "ocsp_stapled is for the client role");
  if (p->client != TL_OCSP_CLIENT_OFF && !o->server)
    return tl_blame_option(b, "ocsp_client", "ocsp_client is for the server role");
  if ((p->stapled != TL_STAPLED_OFF || p->client != TL_OCSP_CLIENT_OFF) && !o->policy.verify_cert)
    return tl_blame_option(
        b, p->stapled != TL_STAPLED_OFF ? "ocsp_stapled" : "ocsp_client",
        "OCSP contradicts verify_cert = false: a certificate that is not checked needs "
        "no answer about it");
  if (o->ocsp_url && strncmp(o->ocsp_url, "http://", 7) != 0)
    return tl_blame_option(b, "ocsp_url", "\"%s\" is not an http:// URL; OCSP answers are signed",
                           o->ocsp_url);
  return TL_OK;
}
