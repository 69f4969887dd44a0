/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of a destination. Its word:
 *
 *   bits  0-1   mode
 *   bit   2     paused: pause_until_ms counts
 *   bit   3     deep: DOWN, or PROBING that was
 *   bit   4     probes put it down: they may say at any time that it is up
 *   bit   5     the run of probes is one of good ones, else of failed ones
 *   bits  8-15  failures of requests in a row
 *   bits 16-23  probes in a row
 *   bits 24-63  a time: of SUSPECT and DOWN when it is tried again, of PROBING when whoever claimed
 *               it is given up, of UP when its slow start began; 0: none
 *
 * 40 bits of milliseconds last for 34 years of uptime.
 */
#include "tieline/dest_health.h"

#define MODE 3u
#define PAUSED (1u << 2)
#define DEEP (1u << 3)
#define BY_PROBES (1u << 4)
#define GOOD_RUN (1u << 5)
#define FAILS_AT 8
#define RUN_AT 16
#define TIME_AT 24
#define COUNT_MAX 255u

#define CLAIM_MIN_MS 1000u /* a claim lasts for down_for, but no shorter */
#define SLOW_FIRST 10u     /* percent of its requests that it takes when it comes back */

/* The same, unpacked. */
struct state {
  enum tl_dest_mode mode;
  bool paused, deep, by_probes, good_run;
  uint32_t fails, run;
  uint64_t at_ms;
};

static struct state unpack(uint64_t w) {
  return (struct state){.mode = (enum tl_dest_mode)(w & MODE),
                        .paused = w & PAUSED,
                        .deep = w & DEEP,
                        .by_probes = w & BY_PROBES,
                        .good_run = w & GOOD_RUN,
                        .fails = (w >> FAILS_AT) & COUNT_MAX,
                        .run = (w >> RUN_AT) & COUNT_MAX,
                        .at_ms = w >> TIME_AT};
}

static uint64_t pack(const struct state *s) {
  return (uint64_t)s->mode | (s->paused ? PAUSED : 0) | (s->deep ? DEEP : 0) |
         (s->by_probes ? BY_PROBES : 0) | (s->good_run ? GOOD_RUN : 0) |
         (uint64_t)s->fails << FAILS_AT | (uint64_t)s->run << RUN_AT | s->at_ms << TIME_AT;
}

static void add_one(uint32_t *count) { *count += *count < COUNT_MAX; }

/* ---- transitions ---- */

static void go_up(struct state *s, const struct tl_dest_rules *r, uint64_t now_ms) {
  const bool slow = s->deep && r->slow_start_ms;
  if (s->mode != TL_DEST_UP) s->at_ms = slow ? now_ms : 0;
  s->mode = TL_DEST_UP;
  s->deep = s->by_probes = s->good_run = false;
  s->fails = s->run = 0;
}

static void go_down(struct state *s, const struct tl_dest_rules *r, uint64_t now_ms) {
  s->mode = TL_DEST_DOWN;
  s->deep = true;
  s->at_ms = now_ms + r->down_for_ms;
}

static void go_worse(struct state *s, const struct tl_dest_rules *r, bool down, uint64_t now_ms) {
  if (down || s->deep) {
    go_down(s, r, now_ms);
    return;
  }
  s->mode = TL_DEST_SUSPECT;
  s->at_ms = now_ms + r->down_for_ms;
}

static void on_failed(struct state *s, const struct tl_dest_rules *r, uint64_t now_ms) {
  if (!r->down_after) return;
  add_one(&s->fails);
  go_worse(s, r, s->fails >= r->down_after, now_ms);
}

static void on_probe_failed(struct state *s, const struct tl_dest_rules *r, uint64_t now_ms) {
  if (s->good_run) s->run = 0;
  s->good_run = false;
  add_one(&s->run);
  const bool down = s->run >= r->probe_down_after;
  if (s->mode == TL_DEST_DOWN && now_ms < s->at_ms) return;
  s->by_probes |= down && !s->deep;
  go_worse(s, r, down, now_ms);
}

/* What requests found is outweighed by probes only after down_for: an OPTIONS may be answered where
 * an INVITE is not. */
static void on_probe_good(struct state *s, const struct tl_dest_rules *r, uint64_t now_ms) {
  if (!s->good_run) s->run = 0;
  s->good_run = true;
  add_one(&s->run);
  const bool proven = s->run >= r->probe_up_after;
  const bool due = s->by_probes || s->mode == TL_DEST_PROBING || now_ms >= s->at_ms;
  if (s->mode == TL_DEST_UP)
    s->run = 0, s->good_run = false;
  else if (s->mode == TL_DEST_SUSPECT ? proven || s->fails == 0 : proven && due)
    go_up(s, r, now_ms);
}

static void on_unprobed(struct state *s) {
  s->run = 0;
  s->good_run = false;
  if (s->mode == TL_DEST_UP || (!s->by_probes && s->fails)) return;
  s->mode = TL_DEST_UP;
  s->deep = s->by_probes = false;
  s->fails = 0;
  s->at_ms = 0;
}

uint64_t tl_dest_next(uint64_t word, enum tl_dest_event e, const struct tl_dest_rules *r,
                      uint64_t now_ms) {
  struct state s = unpack(word);
  switch (e) {
  case TL_DEST_ANSWERED: go_up(&s, r, now_ms); break;
  case TL_DEST_FAILED: on_failed(&s, r, now_ms); break;
  case TL_DEST_PROBE_GOOD: on_probe_good(&s, r, now_ms); break;
  case TL_DEST_PROBE_FAILED: on_probe_failed(&s, r, now_ms); break;
  case TL_DEST_UNPROBED: on_unprobed(&s); break;
  }
  if (s.mode == TL_DEST_UP && s.at_ms && now_ms - s.at_ms >= r->slow_start_ms) s.at_ms = 0;
  return pack(&s);
}

/* Whoever tries it does not change what it is. */
static enum tl_dest_mode settled_mode(uint64_t word) {
  const struct state s = unpack(word);
  return s.mode != TL_DEST_PROBING ? s.mode : s.deep ? TL_DEST_DOWN : TL_DEST_SUSPECT;
}

enum tl_dest_mode tl_dest_mode_of(uint64_t word, uint64_t now_ms) {
  const struct state s = unpack(word);
  if (s.mode == TL_DEST_PROBING && now_ms < s.at_ms) return s.mode;
  return settled_mode(word); /* whoever claimed it may not have come back */
}

unsigned tl_dest_failures_of(uint64_t word) { return unpack(word).fails; }

uint64_t tl_dest_due_of(uint64_t word) {
  const struct state s = unpack(word);
  return s.mode == TL_DEST_UP ? 0 : s.at_ms;
}

/* ---- driven by all workers ---- */

static uint64_t load_word(const struct tl_dest_health *h) {
  return atomic_load_explicit(&h->word, memory_order_relaxed);
}

/* *WAS is set to what is there if it was not what is there. */
static bool change_word(struct tl_dest_health *h, uint64_t *was, uint64_t word) {
  return atomic_compare_exchange_weak_explicit(&h->word, was, word, memory_order_acq_rel,
                                               memory_order_relaxed);
}

static void count_up(_Atomic uint64_t *n) { atomic_fetch_add_explicit(n, 1, memory_order_relaxed); }

/* Written for people; a reader may see it a moment before or after the word. */
static void keep_record(struct tl_dest_health *h, enum tl_dest_event e, enum tl_dest_cause cause,
                        unsigned status, struct tl_dest_change c, uint64_t now_ms) {
  const bool failed = e == TL_DEST_FAILED || e == TL_DEST_PROBE_FAILED;
  if (failed)
    atomic_store_explicit(&h->why, (uint32_t)cause << 16 | (status & 0xffff), memory_order_relaxed);
  if (e == TL_DEST_FAILED) count_up(&h->n_failed);
  if (e == TL_DEST_PROBE_FAILED) count_up(&h->n_probe_failed);
  if (c.was == c.is) return;
  atomic_store_explicit(&h->since_ms, now_ms, memory_order_relaxed);
  if (c.is == TL_DEST_DOWN) count_up(&h->n_down);
}

struct tl_dest_change tl_dest_note(struct tl_dest_health *h, enum tl_dest_event e,
                                   enum tl_dest_cause cause, unsigned status,
                                   const struct tl_dest_rules *r, uint64_t now_ms) {
  uint64_t was = load_word(h), is;
  do is = tl_dest_next(was, e, r, now_ms);
  while (is != was && !change_word(h, &was, is));
  const struct tl_dest_change c = {settled_mode(was), settled_mode(is)};
  keep_record(h, e, cause, status, c, now_ms);
  return c;
}

bool tl_dest_pause(struct tl_dest_health *h, uint64_t until_ms, uint64_t now_ms) {
  if (tl_dest_pause_ms(h, now_ms)) return false;
  atomic_store_explicit(&h->pause_until_ms, until_ms, memory_order_relaxed);
  atomic_fetch_or_explicit(&h->word, PAUSED, memory_order_acq_rel);
  return true;
}

uint64_t tl_dest_pause_ms(const struct tl_dest_health *h, uint64_t now_ms) {
  if (!(load_word(h) & PAUSED)) return 0;
  uint64_t until = atomic_load_explicit(&h->pause_until_ms, memory_order_relaxed);
  return until > now_ms ? until - now_ms : 0;
}

/* ---- turns ---- */

static bool slow_start_takes(const struct state *s, const struct tl_dest_rules *r, uint64_t draw,
                             uint64_t now_ms) {
  const uint64_t past = now_ms - s->at_ms;
  if (past >= r->slow_start_ms) return true;
  const uint64_t percent = SLOW_FIRST + (100 - SLOW_FIRST) * past / r->slow_start_ms;
  return draw % 100 < percent;
}

/* Ends what time alone ends: a pause, a slow start. A pause may begin while the bit of the one
 * before it is taken away. */
static uint64_t settle_word(struct tl_dest_health *h, const struct tl_dest_rules *r,
                            uint64_t now_ms) {
  uint64_t was = load_word(h), is;
  do {
    struct state s = unpack(was);
    s.paused = s.paused && tl_dest_pause_ms(h, now_ms) > 0;
    if (s.mode == TL_DEST_UP && s.at_ms && now_ms - s.at_ms >= r->slow_start_ms) s.at_ms = 0;
    is = pack(&s);
  } while (is != was && !change_word(h, &was, is));
  if ((was & ~is & PAUSED) &&
      atomic_load_explicit(&h->pause_until_ms, memory_order_relaxed) > now_ms)
    is = atomic_fetch_or_explicit(&h->word, PAUSED, memory_order_acq_rel) | PAUSED;
  return is;
}

static bool is_probed(const struct tl_dest_health *h) {
  return atomic_load_explicit(&h->n_prober, memory_order_relaxed) > 0;
}

static bool is_due(const struct state *s, uint64_t now_ms) {
  return s->mode != TL_DEST_UP && now_ms >= s->at_ms;
}

enum tl_dest_turn tl_dest_turn_slow(struct tl_dest_health *h, const struct tl_dest_rules *r,
                                    uint64_t draw, uint64_t now_ms) {
  const struct state s = unpack(settle_word(h, r, now_ms));
  if (s.paused) return TL_DEST_PAUSED;
  if (s.mode == TL_DEST_UP)
    return !s.at_ms || slow_start_takes(&s, r, draw, now_ms) ? TL_DEST_FIRST : TL_DEST_LAST;
  if (!is_probed(h) && is_due(&s, now_ms)) return TL_DEST_TRY;
  return s.deep ? TL_DEST_OVER : TL_DEST_LAST;
}

bool tl_dest_claim(struct tl_dest_health *h, const struct tl_dest_rules *r, bool probe,
                   uint64_t now_ms) {
  uint64_t was = load_word(h);
  struct state s;
  do {
    s = unpack(was);
    if (!is_due(&s, now_ms) || (!probe && is_probed(h))) return false;
    s.mode = TL_DEST_PROBING;
    s.at_ms = now_ms + (r->down_for_ms < CLAIM_MIN_MS ? CLAIM_MIN_MS : r->down_for_ms);
  } while (!change_word(h, &was, pack(&s)));
  return true;
}

enum tl_dest_turn tl_dest_unclaimed(const struct tl_dest_health *h) {
  return load_word(h) & DEEP ? TL_DEST_OVER : TL_DEST_LAST;
}

void tl_dest_unclaim(struct tl_dest_health *h, uint64_t now_ms) {
  uint64_t was = load_word(h);
  struct state s;
  do {
    s = unpack(was);
    if (s.mode != TL_DEST_PROBING) return;
    s.mode = s.deep ? TL_DEST_DOWN : TL_DEST_SUSPECT;
    s.at_ms = now_ms;
  } while (!change_word(h, &was, pack(&s)));
}

/* ---- names ---- */

const char *tl_dest_mode_name(enum tl_dest_mode m) {
  static const char *const names[] = {"up", "suspect", "down", "probing"};
  return names[m & MODE];
}

const char *tl_dest_cause_name(enum tl_dest_cause c) {
  static const char *const names[TL_DEST_CAUSES] = {"",     "connect",   "handshake",
                                                    "send", "no answer", "answer"};
  return c < TL_DEST_CAUSES ? names[c] : "";
}
