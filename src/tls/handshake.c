/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TLS handshake over memory BIOs: records in, bytes out, and at the end keys
 * and identity. It has no socket and no timer: src/hs/handshaker.c has.
 * OpenSSL's callbacks (ClientHello, verification, key log, alerts) are in
 * handshake_hooks.c; secrets.c derives the keys.
 */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/verify.h"
#include "tls/handshake.h"
#include "tls/identity_read.h"

/* OpenSSL limits the bytes of a handshake, not its records: a peer may send ChangeCipherSpec of TLS
 * 1.3 for ever. Honest peers need a few, or some hundred with tiny fragments. */
#define RECORDS_MAX 1000

static int fail_handshake(struct tl_hs *hs, int cause, int rc, const char *reason) {
  hs->failure.cause = cause;
  snprintf(hs->failure.reason, sizeof(hs->failure.reason), "%s", reason);
  return rc;
}

static int new_ssl(struct tl_hs *hs, SSL_CTX *ctx) {
  hs->ssl = SSL_new(ctx);
  hs->rbio = BIO_new(BIO_s_mem());
  hs->wbio = BIO_new(BIO_s_mem());
  if (!hs->ssl || !hs->rbio || !hs->wbio) {
    BIO_free(hs->rbio);
    BIO_free(hs->wbio);
    return TL_ENOMEM;
  }
  SSL_set_bio(hs->ssl, hs->rbio, hs->wbio);
  /* An empty BIO means "later", not end of file. */
  BIO_set_mem_eof_return(hs->rbio, -1);
  return tl_hs_own_ssl(hs);
}

/* SNI carries names only, never addresses (RFC 6066 3). */
static int client_names(struct tl_hs *hs, const struct tl_hs_params *p) {
  struct tl_addr ignored;
  struct tl_str sni = p->sni;
  if (sni.n && sni.p[sni.n - 1] == '.') sni.n--;
  if (p->verify_name.n >= sizeof(hs->verify_name) || sni.n >= sizeof(hs->failure.sni))
    return TL_EINVAL;
  memcpy(hs->verify_name, p->verify_name.n ? p->verify_name.p : "", p->verify_name.n);
  if (sni.n == 0 || tl_addr_parse(sni, 0, &ignored) == 0) return TL_OK;
  memcpy(hs->failure.sni, sni.p, sni.n);
  return SSL_set_tlsext_host_name(hs->ssl, hs->failure.sni) == 1 ? TL_OK : TL_ENOMEM;
}

int tl_hs_new(const struct tl_hs_params *p, struct tl_hs **out) {
  *out = NULL;
  if (p->server ? !p->set : !p->domain || !p->domain->client) return TL_EINVAL;
  struct tl_hs *hs = calloc(1, sizeof(*hs));
  if (!hs) return TL_ENOMEM;
  hs->server = p->server;
  hs->keylog = p->keylog;
  hs->failure.alert_sent = hs->failure.alert_received = 0xff;
  if (p->server) {
    hs->set = p->set;
    hs->listener = p->domain;
    if (p->local) hs->local = *p->local;
  }
  int rc = new_ssl(hs, p->server ? tl_tls_front() : p->domain->client);
  if (rc == 0 && p->server) SSL_set_accept_state(hs->ssl);
  if (rc == 0 && !p->server) {
    tl_hs_enter_domain(hs, p->domain);
    SSL_set_connect_state(hs->ssl);
    rc = client_names(hs, p);
    if (rc == 0) rc = tl_hs_offer(hs, p->remote);
  }
  if (rc) {
    tl_hs_free(hs);
    ERR_clear_error();
    return rc;
  }
  *out = hs;
  return TL_OK;
}

void tl_hs_free(struct tl_hs *hs) {
  if (!hs) return;
  tl_hs_end_session(hs);
  SSL_free(hs->ssl);
  tl_secrets_clear(&hs->secrets);
  tl_tls_domain_unref(hs->domain);
  OPENSSL_cleanse(&hs->flight, sizeof(hs->flight));
  free(hs);
}

const struct tl_hs_failure *tl_hs_failure(const struct tl_hs *hs) { return &hs->failure; }
const struct tl_tls_domain *tl_hs_domain(const struct tl_hs *hs) { return hs->domain; }

const char *tl_hs_cause_name(int cause) {
  static const char *const names[] = {[TL_HS_OK] = "ok",
                                      [TL_HS_TIMEOUT] = "timeout",
                                      [TL_HS_PROTOCOL] = "protocol",
                                      [TL_HS_VERIFY] = "verify",
                                      [TL_HS_NAME] = "name",
                                      [TL_HS_ALERT] = "alert",
                                      [TL_HS_CLOSED] = "closed",
                                      [TL_HS_CONNECT] = "connect",
                                      [TL_HS_NOT_TLS] = "not_tls",
                                      [TL_HS_INTERNAL] = "internal"};
  return cause >= 0 && cause <= TL_HS_INTERNAL ? names[cause] : "?";
}

/* Drops what tl_hs_output has handed out. */
static void drop_taken(struct tl_hs *hs) {
  if (!hs->taken) return;
  (void)BIO_reset(hs->wbio);
  hs->taken = false;
}

const uint8_t *tl_hs_output(struct tl_hs *hs, size_t *out_n) {
  drop_taken(hs);
  char *p;
  long n = BIO_get_mem_data(hs->wbio, &p);
  *out_n = n > 0 ? (size_t)n : 0;
  hs->taken = *out_n > 0;
  return (const uint8_t *)p;
}

/* The reasons of OpenSSL that concern the peer's certificate but come without a verify code. */
static bool about_certificate(int reason) {
  return reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
         reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
}

static int classify_error(struct tl_hs *hs) {
  unsigned long e = ERR_peek_error();
  const char *text = e ? ERR_reason_error_string(e) : NULL;
  char reason[sizeof(hs->failure.reason)];
  snprintf(reason, sizeof(reason), "%s", text ? text : "the handshake ended without a reason");
  int why = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
  if (tl_blame_no_memory()) return fail_handshake(hs, TL_HS_INTERNAL, TL_ENOMEM, "out of memory");
  /* Nothing has come from the peer: the fault is ours, whatever OpenSSL calls it. */
  if (hs->records_in == 0) return fail_handshake(hs, TL_HS_INTERNAL, TL_ETLS, reason);
  if (hs->wrong_name && hs->domain->policy.on_unverified == TL_UNVERIFIED_REJECT)
    return fail_handshake(hs, TL_HS_NAME, TL_EVERIFY,
                          "the certificate does not carry the name required");
  if (hs->ocsp_why[0] && hs->domain->policy.on_unverified == TL_UNVERIFIED_REJECT)
    return fail_handshake(hs, TL_HS_VERIFY, TL_EVERIFY, hs->ocsp_why);
  if (hs->failure.alert_received != 0xff) {
    if (hs->failure.alert_received == 0) /* close_notify in the middle */
      return fail_handshake(hs, TL_HS_CLOSED, TL_ECLOSED, "the peer closed the connection");
    return fail_handshake(hs, TL_HS_ALERT, TL_ETLS, reason);
  }
  if (hs->verdict.why[0] && about_certificate(why))
    return fail_handshake(hs, TL_HS_VERIFY, TL_EVERIFY, hs->verdict.why);
  if (about_certificate(why)) return fail_handshake(hs, TL_HS_VERIFY, TL_EVERIFY, reason);
  if (hs->excess) return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS, hs->excess);
  if (hs->refused)
    return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS,
                          "no TLS domain serves this name and address");
  return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS, reason);
}

/* Both BIOs must be at a record boundary with nothing after the handshake, or the record numbers
 * that go with the keys would be wrong (KTLS-FACTS 8). */
static int check_leftovers(struct tl_hs *hs) {
  if (BIO_pending(hs->rbio) == 0 && !SSL_has_pending(hs->ssl)) return TL_OK;
  return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS,
                        "bytes follow the handshake inside its last record");
}

static int step_handshake(struct tl_hs *hs) {
  tl_blame_begin();
  long before = BIO_pending(hs->wbio);
  int ok = SSL_do_handshake(hs->ssl);
  int err = SSL_get_error(hs->ssl, ok);
  char *p;
  long after = BIO_get_mem_data(hs->wbio, &p);
  if (ok == 1) hs->done = true;
  /* Nothing written yet: P may be NULL. */
  const uint8_t *written = after > before ? (const uint8_t *)p + before : NULL;
  if (tl_flight_feed(&hs->flight, written, (size_t)(after - before)))
    return fail_handshake(hs, TL_HS_INTERNAL, TL_ETLS, "OpenSSL wrote part of a record");
  if (ok == 1) return check_leftovers(hs);
  if (err == SSL_ERROR_WANT_READ) return TL_EAGAIN;
  return classify_error(hs);
}

int tl_hs_start(struct tl_hs *hs) { return step_handshake(hs); }

int tl_hs_input(struct tl_hs *hs, const uint8_t *rec, size_t n) {
  if (hs->done) return TL_EINVAL;
  drop_taken(hs);
  if (++hs->records_in > RECORDS_MAX)
    return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS, "too many records in one handshake");
  if (tl_flight_received(&hs->flight, rec, n))
    return fail_handshake(hs, TL_HS_PROTOCOL, TL_ETLS, "part of a record");
  if (n > INT32_MAX || BIO_write(hs->rbio, rec, (int)n) != (int)n)
    return fail_handshake(hs, TL_HS_INTERNAL, TL_ENOMEM, "out of memory");
  return step_handshake(hs);
}

int tl_hs_record_len(struct tl_hs *hs, const uint8_t h[TL_RECORD_HEADER], size_t *out_len) {
  return tl_record_header_judge(&hs->failure, hs->records_in == 0, hs->server, h, out_len);
}

static unsigned max_fragment(const SSL *ssl) {
  uint8_t code = SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl));
  return code >= 1 && code <= 4 ? 256U << code : 0; /* RFC 6066 4: 2^9 to 2^12 */
}

/* The name is checked while the certificate is verified, so that a wrong server never sees our own
 * certificate, and here once more for every way that leads to a session. */
static int check_name(struct tl_hs *hs, const struct tl_hs_result *s) {
  if (!tl_hs_wants_name(hs)) return TL_OK;
  struct tl_str want = tl_str_c(hs->verify_name);
  if (s->peer && tl_identity_matches(s->peer, want, hs->domain->policy.allow_cn)) return TL_OK;
  if (hs->domain->policy.on_unverified == TL_UNVERIFIED_ACCEPT) return TL_OK;
  hs->failure.verify_code = X509_V_ERR_HOSTNAME_MISMATCH;
  return fail_handshake(hs, TL_HS_NAME, TL_EVERIFY,
                        "the certificate does not carry the name required");
}

/* A session may outlive the certificate, the trust in it, or its revocation. When a ticket arrived,
 * ticket_keys.c has checked it already; this covers every other way that leads here. */
static int check_resumed(struct tl_hs *hs, struct tl_hs_result *s) {
  struct tl_verdict v;
  if (!s->resumed || !s->peer || !hs->domain->policy.verify_cert) return TL_OK;
  if (!hs->server) return TL_OK; /* checked before it was offered, a moment ago */
  if (tl_tls_verify_identity(hs->domain, hs->server, s->peer, tl_str_c(hs->verify_name), 0, &v) ==
      0)
    return TL_OK;
  SSL_SESSION *session = SSL_get0_session(hs->ssl);
  if (hs->server) SSL_CTX_remove_session(tl_tls_front(), session);
  if (hs->domain->policy.on_unverified == TL_UNVERIFIED_ACCEPT) {
    hs->unproven = true;
    return TL_OK;
  }
  hs->failure.verify_code = v.code;
  hs->failure.verify_depth = v.depth;
  memcpy(hs->failure.subject, v.subject, sizeof(hs->failure.subject));
  return fail_handshake(hs, TL_HS_VERIFY, TL_EVERIFY,
                        "the certificate of the resumed session no longer passes");
}

static int derive_keys(struct tl_hs *hs, struct tl_hs_result *out) {
  int rc = tl_secrets_derive(hs->ssl, hs->server, &hs->secrets, &hs->flight, &out->keys);
  if (rc == 0) return TL_OK;
  ERR_clear_error();
  if (rc == TL_ENOMEM) return fail_handshake(hs, TL_HS_INTERNAL, rc, "out of memory");
  return fail_handshake(hs, TL_HS_INTERNAL, TL_ETLS, "the traffic keys could not be derived");
}

/* The certificate we showed. A resumed session shows none, so it is the one the domain would
 * show. */
static void note_own(struct tl_hs *hs, struct tl_hs_result *out) {
  struct tl_identity *own = NULL;
  if (hs->server || hs->cert_asked) own = tl_credentials_shown(hs->ssl, hs->domain);
  if (!own && out->resumed) own = hs->domain->own;
  if (own) out->own = tl_identity_ref(own);
}

int tl_hs_take(struct tl_hs *hs, struct tl_hs_result *out) {
  memset(out, 0, sizeof(*out));
  if (!hs->done || hs->failure.cause != TL_HS_OK) return TL_EINVAL;
  out->server = hs->server;
  out->resumed = SSL_session_reused(hs->ssl) == 1;
  out->max_fragment = max_fragment(hs->ssl);
  out->domain = tl_tls_domain_ref(hs->domain);
  snprintf(out->sni, sizeof(out->sni), "%s", hs->failure.sni);
  int rc = tl_identity_from_ssl(hs->ssl, out->resumed ? NULL : &hs->verdict, &out->peer);
  if (rc) rc = fail_handshake(hs, TL_HS_INTERNAL, rc, "the peer's certificate could not be read");
  if (rc == 0) rc = check_resumed(hs, out);
  if (rc == 0) rc = check_name(hs, out);
  if (rc == 0) rc = derive_keys(hs, out);
  if (rc) {
    tl_hs_result_clear(out);
    return rc;
  }
  out->peer_verified =
      out->peer && out->peer->verified && !hs->wrong_name && !hs->ocsp_why[0] && !hs->unproven;
  out->stapled = hs->stapled;
  note_own(hs, out);
  out->resume_offered = hs->resume_offered;
  out->resume_refused = hs->resume_refused;
  if (!hs->server) tl_hs_remember(hs, out);
  /* Otherwise SSL_free would make the session unfit for resumption (KTLS-FACTS 14). */
  SSL_set_shutdown(hs->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  return TL_OK;
}

void tl_hs_result_clear(struct tl_hs_result *s) {
  OPENSSL_cleanse(&s->keys, sizeof(s->keys));
  tl_tls_domain_unref(s->domain);
  tl_identity_unref(s->peer);
  tl_identity_unref(s->own);
  s->own = NULL;
  s->domain = NULL;
  s->peer = NULL;
}
