/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What responders have said about clients' certificates: a table of fixed size,
 * written by the control thread, read once per handshake. Asking and the
 * consequences are elsewhere.
 */
#include <string.h>

#include "tieline/ocsp.h"

#define WAYS 8      /* slots that a certificate may use */
#define FAILED_S 30 /* a responder that failed is not asked again at once */

static struct tl_ocsp_known table[TL_OCSP_KNOWN_MAX]; /* UNTIL 0: free */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;

static struct tl_ocsp_known *slot_of(const uint8_t sha256[32], int way) {
  unsigned at = (unsigned)(sha256[0] << 8 | sha256[1]) + (unsigned)way;
  return &table[at % TL_OCSP_KNOWN_MAX];
}

void tl_ocsp_remember(const struct tl_ocsp_known *k) {
  pthread_mutex_lock(&mu);
  struct tl_ocsp_known *best = NULL;
  for (int i = 0; i < WAYS; i++) {
    struct tl_ocsp_known *p = slot_of(k->sha256, i);
    if (p->until && memcmp(p->sha256, k->sha256, sizeof(p->sha256)) == 0) {
      best = p;
      break;
    }
    if (!best || p->until < best->until) best = p;
  }
  *best = *k;
  pthread_mutex_unlock(&mu);
}

bool tl_ocsp_recall(const uint8_t sha256[32], time_t now, struct tl_ocsp_known *out) {
  bool found = false;
  pthread_mutex_lock(&mu);
  for (int i = 0; i < WAYS && !found; i++) {
    const struct tl_ocsp_known *p = slot_of(sha256, i);
    found = p->until > now && memcmp(p->sha256, sha256, sizeof(p->sha256)) == 0;
    if (found) *out = *p;
  }
  pthread_mutex_unlock(&mu);
  return found;
}

time_t tl_ocsp_until(const struct tl_ocsp_verdict *v, time_t now, uint32_t recheck_s,
                     uint32_t random) {
  /* Revoked certificates stay revoked; one on hold until the answer's next update. */
  if (v->status == TL_OCSP_REVOKED) return v->next_update > now ? v->next_update : now + 1;
  int64_t span = recheck_s;
  if (v->status == TL_OCSP_GOOD) {
    if (v->next_update - now < span) span = v->next_update - now;
  } else if (span > FAILED_S) {
    span = FAILED_S;
  }
  if (span < 1) return now + 1;
  return now + span - (time_t)(random % (uint64_t)(span / 10 + 1));
}

time_t tl_ocsp_known_next(time_t after) {
  time_t next = 0;
  pthread_mutex_lock(&mu);
  for (size_t i = 0; i < TL_OCSP_KNOWN_MAX; i++)
    if (table[i].until > after && (!next || table[i].until < next)) next = table[i].until;
  pthread_mutex_unlock(&mu);
  return next;
}

size_t tl_ocsp_known_all(time_t now, struct tl_ocsp_known *out, size_t cap) {
  size_t n = 0;
  pthread_mutex_lock(&mu);
  for (size_t i = 0; i < TL_OCSP_KNOWN_MAX; i++) {
    if (table[i].until <= now) continue;
    if (n < cap) out[n] = table[i];
    n++;
  }
  pthread_mutex_unlock(&mu);
  return n;
}
