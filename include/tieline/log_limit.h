/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds for what strangers can add to the log: lines that others cause are
 * limited by source and kind, and in total. Lines held back are counted, and one
 * line reports how many of which kind from which source.
 *
 * Every log line that a stranger can cause goes through TL_LOG_FROM. A source is
 * what tl_addr_source_prefix makes of an address, so that the addresses of a /64
 * are one; a kind is a sentence and a cause.
 *
 * Ownership: the table is fixed memory of the process; sentences must be
 * literals, the rest is copied. Threads: any; the lock is held for a look at
 * four slots. Errors: none.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/log.h"

/* Lines of one kind that a source may write at once, and per second: enough to see what is wrong.
 * With the longest lines that is at most 130 MB a day. */
#define TL_LOG_PER_SOURCE 10u
/* All sources and kinds together, so that many addresses do not help. */
#define TL_LOG_PER_PROCESS 100u

#define TL_LOG_LIMIT_SLOTS 256u /* a power of two; sets of four */
#define TL_LOG_LIMIT_CAUSE 64u

struct tl_log_limit_slot {
  struct tl_addr source;
  const char *sentence; /* NULL: free */
  char cause[TL_LOG_LIMIT_CAUSE];
  uint64_t at_ms; /* when TOKENS was last brought up to date */
  uint64_t held;  /* lines not reported yet */
  uint32_t tokens_milli;
};

struct tl_log_limit {
  struct tl_log_limit_slot slot[TL_LOG_LIMIT_SLOTS];
  uint64_t at_ms;
  uint64_t held_others; /* of slots that were reused, or beyond the limit of the process */
  uint64_t held_total;
  uint64_t reported_ms;
  uint32_t tokens_milli;
  bool begun;
  bool unreported; /* some are held back and were not reported yet */
};

/* May a line of this kind be written at NOW_MS? Counts it either way. SOURCE NULL: nobody in
 * particular; CAUSE may be NULL. */
bool tl_log_limit_take(struct tl_log_limit *l, const struct tl_addr *source, const char *sentence,
                       const char *cause, uint64_t now_ms);

/* Takes out one kind with lines held back; false: no more. *OUT has SENTENCE NULL for the sum of
 * those without a slot. */
bool tl_log_limit_next_held(struct tl_log_limit *l, struct tl_log_limit_slot *out);

/* The same for the process's table. */
bool tl_log_allowed(const struct tl_addr *source, const char *sentence, const char *cause);
/* Reports what was held back, at most once per second. Returns the milliseconds until there is
 * something to report, -1: nothing. The log's writer calls it; without a writer, anybody may. */
int tl_log_report_held(void);
/* Lines held back since start. */
uint64_t tl_log_held(void);

/* TL_LOG for an event that SOURCE (a struct tl_addr * or NULL) has caused. CAUSE distinguishes
 * kinds with the same SENTENCE, or is NULL; it is not written as a field. */
#define TL_LOG_FROM(source, cause, lvl, sentence, ...)                                             \
  do {                                                                                             \
    if ((lvl) <= tl_log_level() && tl_log_allowed((source), (sentence), (cause)))                  \
      TL_LOG((lvl), (sentence), __VA_ARGS__);                                                      \
  } while (0)
