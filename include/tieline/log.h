/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line per event worth an operator's reading.
 *
 * A line is a sentence and fields. Workers and handshake threads never block on
 * it: lines are formatted into a bounded queue that one writer thread drains to
 * stderr or the journal; what does not fit is counted and the loss reported.
 * Before tl_log_start and after tl_log_stop lines go to stderr directly.
 *
 * Ownership: everything passed is copied before return. Threads: any.
 * Errors: none; a line that cannot be queued is counted (tl_log_dropped).
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "tieline/str.h"

enum tl_log_level { TL_LOG_ERROR, TL_LOG_WARN, TL_LOG_INFO, TL_LOG_DEBUG };
enum tl_log_format { TL_LOG_KV, TL_LOG_JSON };
enum tl_log_target { TL_LOG_STDERR, TL_LOG_JOURNAL };

struct tl_field {
  const char *key;
  enum { TL_FIELD_STR, TL_FIELD_INT } kind;
  struct tl_str s;
  int64_t i;
};

#define TL_F(k, v) ((struct tl_field){.key = (k), .kind = TL_FIELD_STR, .s = (v)})
#define TL_FC(k, v) TL_F((k), tl_str_c(v))
#define TL_FI(k, v) ((struct tl_field){.key = (k), .kind = TL_FIELD_INT, .i = (int64_t)(v)})

/* TL_LOG(TL_LOG_WARN, "Sentence for the operator.", TL_FC("peer", text), TL_FI("port", n)); */
#define TL_LOG(lvl, sentence, ...)                                                                 \
  do {                                                                                             \
    if ((lvl) <= tl_log_level()) {                                                                 \
      const struct tl_field tl_f_[] = {__VA_ARGS__};                                               \
      tl_log_write((lvl), (sentence), tl_f_, sizeof(tl_f_) / sizeof(struct tl_field));             \
    }                                                                                              \
  } while (0)

extern _Atomic int tl_log_level_now;

static inline enum tl_log_level tl_log_level(void) {
  return (enum tl_log_level)atomic_load_explicit(&tl_log_level_now, memory_order_relaxed);
}

void tl_log_set_level(enum tl_log_level lvl);
/* "error", "warn", "info", "debug"; TL_EINVAL otherwise. */
int tl_log_level_parse(struct tl_str s, enum tl_log_level *out);
const char *tl_log_level_name(enum tl_log_level lvl);

void tl_log_write(enum tl_log_level lvl, const char *sentence, const struct tl_field *f, size_t n);

/* Starts the writer thread. QUEUE_LINES bounds what may wait. */
int tl_log_start(enum tl_log_target target, enum tl_log_format format, unsigned queue_lines);
/* Drains and joins the writer. */
void tl_log_stop(void);
/* Wakes the writer, which from then on calls TELL before it writes: TELL may write lines, and
 * returns the milliseconds until it wants to be called again, -1: not by itself. All callers give
 * the same.
 */
typedef int (*tl_log_tell_fn)(void);
void tl_log_wake(tl_log_tell_fn tell);
/* Lines lost to a full queue since start. */
uint64_t tl_log_dropped(void);
