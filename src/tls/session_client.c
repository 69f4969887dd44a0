/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resumption as client: a session is offered if the certificate behind it passes
 * today, and kept if that was proven. TLS 1.3 tickets arrive after the
 * handshake, when another thread reads the records: the SSL object waits for
 * them for a while, and is given their plaintext, sealed once more with the
 * server's key (OpenSSL has no way to take a bare message; KTLS-FACTS 20).
 */
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tieline/verify.h"
#include "tls/handshake.h"
#include "tls/sessions.h"

#define LATE_MAX 128   /* waiting SSL objects, about 25 KB each */
#define LATE_RECORDS 4 /* records looked at for a ticket */
#define HT_NEW_SESSION_TICKET 4

static _Atomic unsigned n_post_hs;

static bool may_offer(const struct tl_hs *hs, const struct tl_identity *id) {
  struct tl_verdict v;
  if (!hs->domain->policy.verify_cert) return true;
  return id && tl_tls_verify_identity(hs->domain, false, id, tl_str_c(hs->verify_name), 0, &v) == 0;
}

int tl_hs_offer(struct tl_hs *hs, const struct tl_addr *remote) {
  SSL_SESSION *s;
  if (!remote || !hs->domain->policy.resumption) return TL_OK;
  int rc = tl_sessions_key(remote, hs->domain, hs->failure.sni, hs->verify_name, hs->session_key);
  if (rc) return rc;
  hs->resumable = true;
  if (!tl_sessions_take(hs->session_key, &s, &hs->offered_id)) return TL_OK;
  if (may_offer(hs, hs->offered_id) && SSL_set_session(hs->ssl, s) == 1) hs->resume_offered = true;
  SSL_SESSION_free(s);
  ERR_clear_error();
  return TL_OK;
}

/* Called when OpenSSL has a session that can be resumed: at the end of a TLS 1.2 handshake, or
 * after a ticket of TLS 1.3. */
static int on_session(SSL *ssl, SSL_SESSION *s) {
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (!hs || !hs->resumable || !SSL_SESSION_is_resumable(s)) return 0;
  if (hs->post_hs) {
    tl_sessions_put(hs->session_key, s, hs->offered_id);
    hs->late_done = true;
    return 0;
  }
  SSL_SESSION_free(hs->fresh);
  hs->fresh = s;
  return 1;
}

void tl_hs_remember(struct tl_hs *hs, const struct tl_hs_result *s) {
  /* A peer that was admitted without proof must try to prove itself each time. */
  hs->resumable = hs->resumable && (s->peer_verified || !hs->domain->policy.verify_cert);
  if (!hs->resumable) return;
  tl_identity_unref(hs->offered_id);
  hs->offered_id = s->peer ? tl_identity_ref(s->peer) : NULL;
  if (hs->fresh) tl_sessions_put(hs->session_key, hs->fresh, hs->offered_id);
}

struct tl_hs *tl_hs_post(struct tl_hs *hs, const struct tl_hs_result *s) {
  if (hs->server || !hs->resumable || s->keys.version != TL_TLS_1_3) return NULL;
  if (atomic_fetch_add(&n_post_hs, 1) >= LATE_MAX) {
    atomic_fetch_sub(&n_post_hs, 1);
    return NULL;
  }
  struct tl_tls_keys theirs = s->keys;
  theirs.tx = s->keys.rx;
  int rc = tl_record_new(&theirs, 0, &hs->post_hs);
  OPENSSL_cleanse(&theirs, sizeof(theirs));
  if (rc) {
    atomic_fetch_sub(&n_post_hs, 1);
    return NULL;
  }
  tl_secrets_clear(&hs->secrets);
  SSL_set_shutdown(hs->ssl, 0);
  return hs;
}

bool tl_hs_post_input(struct tl_hs *hs, const uint8_t *p, size_t n) {
  uint8_t rec[TL_RECORD_CIPHER_MAX], none;
  size_t len;
  if (n < 4 || n > TL_RECORD_PLAIN_MAX || p[0] != HT_NEW_SESSION_TICKET ||
      ++hs->late_records > LATE_RECORDS ||
      tl_record_seal_from(hs->post_hs, TL_CT_HANDSHAKE, p, n, rec, &len) ||
      BIO_write(hs->rbio, rec, (int)len) != (int)len)
    return true;
  int rc = SSL_read(hs->ssl, &none, 1);
  bool over = rc > 0 || SSL_get_error(hs->ssl, rc) != SSL_ERROR_WANT_READ;
  ERR_clear_error();
  return over || hs->late_done;
}

void tl_hs_end_session(struct tl_hs *hs) {
  if (hs->resume_offered && !hs->server && !hs->done) tl_sessions_drop(hs->session_key);
  /* Otherwise SSL_free would spoil the session just kept (KTLS-FACTS 14). */
  if (hs->ssl && hs->done) SSL_set_shutdown(hs->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_SESSION_free(hs->fresh);
  tl_identity_unref(hs->offered_id);
  if (!hs->post_hs) return;
  tl_record_free(hs->post_hs);
  atomic_fetch_sub(&n_post_hs, 1);
}

void tl_hs_hook_sessions(SSL_CTX *ctx) {
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ctx, on_session);
}
