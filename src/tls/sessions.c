/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of sessions as client. session_client.c asks whether one may still
 * be offered; this only stores and finds them.
 */
#include "tls/sessions.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <time.h>

struct entry {
  uint8_t key[TL_SESSIONS_KEY];
  SSL_SESSION *session; /* NULL: free */
  struct tl_identity *id;
  uint64_t born; /* in the order of arrival */
};

static struct entry table[TL_SESSIONS_MAX];
static uint64_t arrivals;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;

int tl_sessions_key(const struct tl_addr *remote, const struct tl_tls_domain *d, const char *sni,
                    const char *verify_name, uint8_t out[TL_SESSIONS_KEY]) {
  char addr[TL_ADDR_STRLEN];
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  tl_addr_format(remote, addr);
  /* Each text with its NUL, so that no two keys are made of the same bytes. */
  bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
            EVP_DigestUpdate(md, &d->generation, sizeof(d->generation)) &&
            EVP_DigestUpdate(md, addr, strlen(addr) + 1) &&
            EVP_DigestUpdate(md, sni, strlen(sni) + 1) &&
            EVP_DigestUpdate(md, verify_name, strlen(verify_name) + 1) &&
            EVP_DigestFinal_ex(md, out, NULL);
  EVP_MD_CTX_free(md);
  return ok ? TL_OK : TL_ENOMEM;
}

static bool is_expired(const SSL_SESSION *s) {
  return (time_t)SSL_SESSION_get_time(s) + SSL_SESSION_get_timeout(s) <= time(NULL);
}

static struct entry *find_newest(const uint8_t key[TL_SESSIONS_KEY]) {
  struct entry *best = NULL;
  for (size_t i = 0; i < TL_SESSIONS_MAX; i++) {
    struct entry *e = &table[i];
    if (e->session && memcmp(e->key, key, sizeof(e->key)) == 0 && (!best || e->born > best->born))
      best = e;
  }
  return best;
}

/* A free slot, or the oldest, whose content is moved to *OUT_OLD. */
static struct entry *pick_slot(struct entry *out_old) {
  struct entry *best = &table[0];
  for (size_t i = 0; i < TL_SESSIONS_MAX && best->session; i++)
    if (!table[i].session || table[i].born < best->born) best = &table[i];
  *out_old = *best;
  return best;
}

static void clear_entry(struct entry *e) {
  SSL_SESSION_free(e->session);
  tl_identity_unref(e->id);
}

void tl_sessions_put(const uint8_t key[TL_SESSIONS_KEY], SSL_SESSION *s, struct tl_identity *id) {
  struct entry old;
  if (!SSL_SESSION_up_ref(s)) return;
  if (id) tl_identity_ref(id);
  pthread_mutex_lock(&mu);
  struct entry *e = pick_slot(&old);
  memcpy(e->key, key, sizeof(e->key));
  e->session = s;
  e->id = id;
  e->born = ++arrivals;
  pthread_mutex_unlock(&mu);
  clear_entry(&old);
}

bool tl_sessions_take(const uint8_t key[TL_SESSIONS_KEY], SSL_SESSION **out,
                      struct tl_identity **out_id) {
  struct entry got = {0};
  pthread_mutex_lock(&mu);
  struct entry *e = find_newest(key);
  if (e &&
      (is_expired(e->session) || SSL_SESSION_get_protocol_version(e->session) == TLS1_3_VERSION)) {
    got = *e;
    memset(e, 0, sizeof(*e));
  } else if (e && (got.session = SSL_SESSION_dup(e->session)) && e->id) {
    got.id = tl_identity_ref(e->id);
  }
  pthread_mutex_unlock(&mu);
  if (got.session && is_expired(got.session)) {
    clear_entry(&got);
    got.session = NULL;
  }
  *out = got.session;
  *out_id = got.session ? got.id : NULL;
  return got.session != NULL;
}

void tl_sessions_drop(const uint8_t key[TL_SESSIONS_KEY]) {
  struct entry *e, old;
  for (;;) {
    pthread_mutex_lock(&mu);
    if ((e = find_newest(key))) {
      old = *e;
      memset(e, 0, sizeof(*e));
    }
    pthread_mutex_unlock(&mu);
    if (!e) return;
    clear_entry(&old);
  }
}
