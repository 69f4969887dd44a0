/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines that strangers can cause: a token bucket for each source and kind in
 * a fixed table, and one for the whole process. A source without a slot, because
 * four others that write now share its set, takes over the slot that was silent
 * longest: a source with many addresses is bounded by the process's bucket.
 */
#include "tieline/log_limit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log_format.h"
#include "tieline/time.h"

#define WAYS 4u
#define MILLI 1000u
#define REPORT_MS 1000u
#define REPORT_LINES 10u /* per second; further kinds are reported as a sum only */

static void refill_bucket(uint32_t *tokens_milli, uint64_t *at_ms, uint64_t now_ms, uint32_t most) {
  const uint64_t gone = now_ms > *at_ms ? now_ms - *at_ms : 0;
  const uint64_t have = *tokens_milli + (gone < MILLI ? gone : MILLI) * most;
  *tokens_milli = (uint32_t)(have < (uint64_t)most * MILLI ? have : (uint64_t)most * MILLI);
  if (now_ms > *at_ms) *at_ms = now_ms;
}

static bool is_of(const struct tl_log_limit_slot *s, const struct tl_addr *source,
                  const char *sentence, const char *cause) {
  return s->sentence && tl_addr_eq(&s->source, source) && strcmp(s->sentence, sentence) == 0 &&
         strncmp(s->cause, cause, sizeof(s->cause) - 1) == 0;
}

static uint64_t hash_text(uint64_t h, const char *p, size_t max) {
  for (size_t i = 0; i < max && p[i]; i++) h = (h ^ (uint8_t)p[i]) * UINT64_C(1099511628211);
  return h;
}

/* The slot of a kind; if it has none, the stalest of its set is reused. */
static struct tl_log_limit_slot *slot_of(struct tl_log_limit *l, const struct tl_addr *source,
                                         const char *sentence, const char *cause, uint64_t now_ms) {
  uint64_t h = hash_text(tl_addr_hash(source), sentence, SIZE_MAX);
  h = hash_text(h, cause, TL_LOG_LIMIT_CAUSE - 1);
  struct tl_log_limit_slot *at = &l->slot[(h ^ h >> 32) % (TL_LOG_LIMIT_SLOTS / WAYS) * WAYS];
  struct tl_log_limit_slot *stalest = at;
  for (unsigned i = 0; i < WAYS; i++) {
    if (is_of(&at[i], source, sentence, cause)) return &at[i];
    if (stalest->sentence && (!at[i].sentence || at[i].at_ms < stalest->at_ms)) stalest = &at[i];
  }
  l->held_others += stalest->held;
  *stalest = (struct tl_log_limit_slot){.source = *source,
                                        .sentence = sentence,
                                        .at_ms = now_ms,
                                        .tokens_milli = TL_LOG_PER_SOURCE * MILLI};
  snprintf(stalest->cause, sizeof(stalest->cause), "%s", cause);
  return stalest;
}

bool tl_log_limit_take(struct tl_log_limit *l, const struct tl_addr *source, const char *sentence,
                       const char *cause, uint64_t now_ms) {
  struct tl_addr prefix;
  memset(&prefix, 0, sizeof(prefix));
  if (source) tl_addr_source_prefix(source, &prefix);
  if (!l->begun) {
    l->begun = true;
    l->at_ms = now_ms;
    l->tokens_milli = TL_LOG_PER_PROCESS * MILLI;
  }
  struct tl_log_limit_slot *s = slot_of(l, &prefix, sentence, cause ? cause : "", now_ms);
  refill_bucket(&s->tokens_milli, &s->at_ms, now_ms, TL_LOG_PER_SOURCE);
  refill_bucket(&l->tokens_milli, &l->at_ms, now_ms, TL_LOG_PER_PROCESS);
  if (s->tokens_milli >= MILLI && l->tokens_milli >= MILLI) {
    s->tokens_milli -= MILLI;
    l->tokens_milli -= MILLI;
    return true;
  }
  s->held++;
  l->held_total++;
  l->unreported = true;
  return false;
}

bool tl_log_limit_next_held(struct tl_log_limit *l, struct tl_log_limit_slot *out) {
  for (unsigned i = 0; i < TL_LOG_LIMIT_SLOTS; i++)
    if (l->slot[i].held) {
      *out = l->slot[i];
      l->slot[i].held = 0;
      return true;
    }
  *out = (struct tl_log_limit_slot){.held = l->held_others};
  l->held_others = 0;
  l->unreported = false;
  return out->held > 0;
}

/* ---- the table of the process ---- */

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct tl_log_limit limit;
static _Atomic bool unreported;

bool tl_log_allowed(const struct tl_addr *source, const char *sentence, const char *cause) {
  const uint64_t now = tl_now_ms();
  pthread_mutex_lock(&mu);
  const bool was_unreported = limit.unreported;
  if (!was_unreported && limit.reported_ms + REPORT_MS < now) limit.reported_ms = now;
  const bool ok = tl_log_limit_take(&limit, source, sentence, cause, now);
  atomic_store_explicit(&unreported, limit.unreported, memory_order_relaxed);
  pthread_mutex_unlock(&mu);
  if (!ok && !was_unreported) tl_log_wake(tl_log_report_held);
  return ok;
}

uint64_t tl_log_held(void) {
  pthread_mutex_lock(&mu);
  const uint64_t n = limit.held_total;
  pthread_mutex_unlock(&mu);
  return n;
}

/* The kinds to report, at most MAX; the last sums up what does not fit. */
static unsigned collect_held(struct tl_log_limit_slot *out, unsigned max) {
  struct tl_log_limit_slot s;
  unsigned n = 0;
  uint64_t others = 0;
  while (tl_log_limit_next_held(&limit, &s)) {
    if (s.sentence && n + 1 < max)
      out[n++] = s;
    else
      others += s.held;
  }
  if (others) out[n++] = (struct tl_log_limit_slot){.held = others};
  return n;
}

static void write_held(const struct tl_log_limit_slot *s) {
  char source[TL_ADDR_STRLEN] = "";
  if (!s->sentence) {
    TL_LOG(TL_LOG_WARN, "More lines of other kinds or sources were held back.",
           TL_FI("count", s->held));
    return;
  }
  if (s->source.sa.sa_family) tl_addr_format_host(&s->source, source);
  TL_LOG(TL_LOG_WARN, "More lines of the same kind were held back.", TL_FC("source", source),
         TL_FC("kind", s->sentence), TL_FC("cause", s->cause), TL_FI("count", s->held));
}

int tl_log_report_held(void) {
  struct tl_log_limit_slot kind[REPORT_LINES];
  unsigned n = 0;
  if (!atomic_load_explicit(&unreported, memory_order_relaxed)) return -1;
  const uint64_t now = tl_now_ms();
  pthread_mutex_lock(&mu);
  const uint64_t due = limit.reported_ms + REPORT_MS;
  if (now >= due) {
    n = collect_held(kind, REPORT_LINES);
    limit.reported_ms = now;
    atomic_store_explicit(&unreported, false, memory_order_relaxed);
  }
  pthread_mutex_unlock(&mu);
  for (unsigned i = 0; i < n; i++) write_held(&kind[i]);
  return now >= due ? -1 : (int)(due - now);
}
