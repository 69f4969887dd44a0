/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a destination takes requests: what failed toward it, what it answered, when it is
 * tried again. A state machine of one word, so that all workers may drive it at once.
 *
 * Ownership: a part of the destination's state (dest_state.h). Threads: any, no locks. The word
 * changes as a whole; what is kept beside it, for people to read, may lag behind by one event.
 * Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum tl_dest_mode {
  TL_DEST_UP,
  TL_DEST_SUSPECT, /* something failed: tried behind those that are up */
  TL_DEST_DOWN,    /* passed over while there is another */
  TL_DEST_PROBING, /* it was suspect or down long enough; one request tries it now */
};
/*
 *        failed              failed, down_after in a row (probe_down_after of probes)
 *   UP ---------> SUSPECT ------------------------------------------------> DOWN
 *    ^             |  ^ |                                                  |   ^
 *    |   answered  |  | | down_for has passed, somebody claims it          |   |
 *    |<------------+  | +----------------------> PROBING <-----------------+   |
 *    |                |   failed, was suspect     |  |  failed, was down       |
 *    |                +---------------------------+  +-------------------------+
 *    |        answered (probes: probe_up_after in a row)
 *    +<-------------------------------------------+  (DOWN, too: an answer is a sign of life)
 *
 * From DOWN it comes up with slow start: it takes a tenth of the requests that are its, and all
 * once slow_start has passed; the others try it last.
 */

/* What is expected of a destination: options of the peer that it belongs to. */
struct tl_dest_rules {
  uint32_t down_after;    /* failures in a row; 0: those of requests count for nothing */
  uint32_t down_for_ms;   /* until it is tried again */
  uint32_t slow_start_ms; /* 0: none */
  uint32_t probe_down_after, probe_up_after;
};

enum tl_dest_event {
  TL_DEST_ANSWERED, /* a request was, by what tells that more may be sent */
  TL_DEST_FAILED,   /* a request did, or it was answered by what asks for no more of them */
  TL_DEST_PROBE_GOOD,
  TL_DEST_PROBE_FAILED,
  TL_DEST_UNPROBED, /* no longer probed: what probes found counts no longer */
};

enum tl_dest_cause {
  TL_DEST_NO_CAUSE,
  TL_DEST_BY_CONNECT,   /* no connection could be made */
  TL_DEST_BY_HANDSHAKE, /* nor its TLS */
  TL_DEST_BY_SEND,      /* it was lost, or took nothing */
  TL_DEST_BY_SILENCE,   /* no answer in time */
  TL_DEST_BY_STATUS,    /* an answer that asks for no more requests */
  TL_DEST_CAUSES
};

struct tl_dest_health {
  _Atomic uint64_t word;           /* see dest_health.c; 0: up, and nothing to remember */
  _Atomic uint64_t pause_until_ms; /* by tl_now_ms: it asked for no requests; counts with the bit */
  _Atomic uint32_t n_prober;       /* who ask it by OPTIONS: then these try it, and no request */
  /* To be read by people: */
  _Atomic uint64_t since_ms; /* when the mode last changed, 0: never */
  _Atomic uint32_t why;      /* of the last failure: cause << 16 | status, 0 without one */
  _Atomic uint64_t n_failed; /* requests of others that did */
  _Atomic uint64_t n_down;   /* times that it went down */
  _Atomic uint64_t n_probe, n_probe_failed;
  _Atomic uint64_t probe_at_ms;                /* when the next one is sent, 0: none is */
  _Atomic uint32_t probe_status, probe_rtt_ms; /* of the last answered one, 0: none */
};

/* What becomes of one request that may go there. */
enum tl_dest_turn {
  TL_DEST_FIRST,  /* in its order */
  TL_DEST_TRY,    /* in its order if tl_dest_claim says so, else as tl_dest_unclaimed */
  TL_DEST_LAST,   /* behind those that are up */
  TL_DEST_OVER,   /* passed over, unless all are */
  TL_DEST_PAUSED, /* never: it asked for that (RFC 3261 21.5.4) */
};

/* How the event changed the mode; of PROBING, that which it was before it is tried. */
struct tl_dest_change {
  enum tl_dest_mode was, is;
};

/* The next word: pure, for the state machine's own tests and for those who drive it. */
uint64_t tl_dest_next(uint64_t word, enum tl_dest_event e, const struct tl_dest_rules *r,
                      uint64_t now_ms);
enum tl_dest_mode tl_dest_mode_of(uint64_t word, uint64_t now_ms);
unsigned tl_dest_failures_of(uint64_t word);
/* When one that is suspect or down is tried again; of PROBING when it is given up. Else 0. */
uint64_t tl_dest_due_of(uint64_t word);

/* E came to pass. STATUS: of the answer, 0 without one; CAUSE: of a failure. */
struct tl_dest_change tl_dest_note(struct tl_dest_health *h, enum tl_dest_event e,
                                   enum tl_dest_cause cause, unsigned status,
                                   const struct tl_dest_rules *r, uint64_t now_ms);
/* A request was answered well, which is the common event: costs one load while there is nothing to
 * remember. */
static inline bool tl_dest_is_plain(const struct tl_dest_health *h) {
  return atomic_load_explicit(&h->word, memory_order_relaxed) == 0;
}

/* It takes no requests before UNTIL_MS. False: it had asked before, and that counts. */
bool tl_dest_pause(struct tl_dest_health *h, uint64_t until_ms, uint64_t now_ms);
/* How much longer, 0: it accepts requests. */
uint64_t tl_dest_pause_ms(const struct tl_dest_health *h, uint64_t now_ms);

enum tl_dest_turn tl_dest_turn_slow(struct tl_dest_health *h, const struct tl_dest_rules *r,
                                    uint64_t draw, uint64_t now_ms);
/* DRAW is the request's own; it decides during a slow start. */
static inline enum tl_dest_turn tl_dest_turn(struct tl_dest_health *h,
                                             const struct tl_dest_rules *r, uint64_t draw,
                                             uint64_t now_ms) {
  return tl_dest_is_plain(h) ? TL_DEST_FIRST : tl_dest_turn_slow(h, r, draw, now_ms);
}
/* Is the caller the one whose request (PROBE: whose OPTIONS) tries it now? He then sends it, and
 * what comes of it is noted as of any other; else he gives the claim back. */
bool tl_dest_claim(struct tl_dest_health *h, const struct tl_dest_rules *r, bool probe,
                   uint64_t now_ms);
/* The turn of those who do not claim it: TL_DEST_LAST or TL_DEST_OVER. */
enum tl_dest_turn tl_dest_unclaimed(const struct tl_dest_health *h);
/* Nothing was sent: the next one may claim it at once. */
void tl_dest_unclaim(struct tl_dest_health *h, uint64_t now_ms);

const char *tl_dest_mode_name(enum tl_dest_mode m);
const char *tl_dest_cause_name(enum tl_dest_cause c);
