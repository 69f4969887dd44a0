/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who can make the log grow: lines that others bring about are limited by their
 * source and their kind, and in total. What is held back is counted, and one
 * line tells how many of which kind from whom.
 *
 * Every log line that a stranger can cause goes through TL_LOG_FROM. A source is
 * what tl_addr_source_prefix says, so that the addresses of a /64 are one; a kind
 * is the sentence and a cause.
 *
 * Ownership: the table is fixed memory of the process; sentences must be
 * literals, the rest is copied. Threads: any; the lock is held for a look into
 * four places. Errors: none.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/log.h"

/* A source may write so many lines of a kind at once and so many a second: enough to see what is
 * wrong, 130 MB a day of the longest lines would be the most that one can do. */
#define TL_LOG_PER_SOURCE 10u
/* All sources and kinds together, so that many addresses do not help. */
#define TL_LOG_PER_PROCESS 100u

#define TL_LOG_LIMIT_SLOTS 256u /* a power of two; four share a place */
#define TL_LOG_LIMIT_CAUSE 64u

struct tl_log_limit_slot {
  struct tl_addr source;
  const char *sentence; /* NULL: free */
  char cause[TL_LOG_LIMIT_CAUSE];
  uint64_t at_ms; /* when TOKENS was right */
  uint64_t held;  /* lines that no line has told of */
  uint32_t tokens_milli;
};

struct tl_log_limit {
  struct tl_log_limit_slot slot[TL_LOG_LIMIT_SLOTS];
  uint64_t at_ms;
  uint64_t held_others; /* of slots that were given away, or past the limit of the process */
  uint64_t held_total;
  uint64_t told_ms;
  uint32_t tokens_milli;
  bool begun;
  bool untold; /* some are held back and no line has told of them */
};

/* May a line of this kind be written at NOW_MS? Counts it either way. SOURCE NULL: nobody in
 * particular; CAUSE may be NULL. */
bool tl_log_limit_take(struct tl_log_limit *l, const struct tl_addr *source, const char *sentence,
                       const char *cause, uint64_t now_ms);

/* One kind of which lines were held back, and forgets that; false: no more. *OUT gets SENTENCE NULL
 * for the sum of what has no place of its own. */
bool tl_log_limit_told(struct tl_log_limit *l, struct tl_log_limit_slot *out);

/* The same for the process's table. */
bool tl_log_allowed(const struct tl_addr *source, const char *sentence, const char *cause);
/* Writes what was held back, at most once in a second. Milliseconds until there is something to
 * write, -1: nothing. The log's writer does it; without one whoever wants to. */
int tl_log_tell_held(void);
/* Lines held back since start. */
uint64_t tl_log_held(void);

/* As TL_LOG, of what SOURCE (a struct tl_addr * or NULL) has brought about. CAUSE tells kinds of
 * the same SENTENCE apart, or is NULL; it is no field. */
#define TL_LOG_FROM(source, cause, lvl, sentence, ...)                                             \
  do {                                                                                             \
    if ((lvl) <= tl_log_level() && tl_log_allowed((source), (sentence), (cause)))                  \
      TL_LOG((lvl), (sentence), __VA_ARGS__);                                                      \
  } while (0)
