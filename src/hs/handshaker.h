/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the handshake thread: handshaker.c (thread, mail,
 * snapshots), handshaker_listen.c (accepting), handshaker_hello.c (until the
 * ClientHello is there), handshaker_turn.c (admission and eviction),
 * handshaker_dial.c (outgoing), handshaker_answer.c (what becomes of dials),
 * handshaker_conn.c (one handshake on a socket), handshaker_done.c (keys, handing
 * over), handshaker_report.c (counters, log), handshaker_source.c (per source).
 *
 * Ownership: the thread owns all of it; a finished connection goes to a worker
 * with its handoff. Threads: the handshake thread. Errors: as said.
 */
#pragma once

#include <urcu/list.h>

#include "runtime/handoff.h"
#include "tieline/hash_table.h"
#include "tieline/ring.h"
#include "tieline/runtime.h"
#include "tieline/time.h"
#include "tieline/tls_handshake.h"
#include "tieline/view.h"
#include "tieline/wheel.h"

struct tl_hs_conn;

/* Connections in the order they came; one is in at most one line, see its LINE. */
struct tl_hs_line {
  struct cds_list_head conns;
  uint32_t n;
};
void tl_hs_line_init(struct tl_hs_line *line);
/* NULL: nobody is in it. */
struct tl_hs_conn *tl_hs_line_first(const struct tl_hs_line *line);
void tl_hs_line_add(struct tl_hs_line *line, struct tl_hs_conn *c);
/* Out of whichever it is in, if any. */
void tl_hs_line_leave(struct tl_hs_conn *c);

/* The handshakes of each source (tl_addr_source_prefix), in a table that belongs to the thread. */
/* One more handshake from C's source; TL_ELIMIT at MAX, TL_ENOMEM. */
int tl_hs_source_enter(struct tl_hash_table *t, const struct tl_hs_conn *c, uint32_t max);
/* One less. */
void tl_hs_source_leave(struct tl_hash_table *t, const struct tl_hs_conn *c);
/* One more that is half-open; TL_ENOMEM. */
int tl_hs_source_open(struct tl_hash_table *t, struct tl_hs_conn *c);
void tl_hs_source_opened(struct tl_hash_table *t, struct tl_hs_conn *c);
/* The oldest half-open one of the source of C if it has MAX of them or more, or NULL. */
struct tl_hs_conn *tl_hs_source_oldest(struct tl_hash_table *t, const struct tl_hs_conn *c,
                                       uint32_t max);
/* Queues C after those in progress from its source, of which there must be one. */
void tl_hs_source_wait(struct tl_hash_table *t, struct tl_hs_conn *c);
/* Takes C out of its queue. */
void tl_hs_source_unwait(struct tl_hs_conn *c);
/* The longest waiting one of C's source, or NULL. */
struct tl_hs_conn *tl_hs_source_next(struct tl_hash_table *t, const struct tl_hs_conn *c);

struct tl_handshaker;

#define TL_HS_WAITING_MAX 4096 /* handshakes that may wait for their turn, per thread */

struct tl_hs_listener {
  struct tl_op op;
  struct tl_timer retry; /* after a lack of descriptors */
  struct tl_handshaker *hk;
  struct tl_hs_listener *next;
  enum tl_transport transport;
  struct tl_addr addr;
  int fd, index; /* index in the present snapshot's listen */
  bool armed, gone, paused;
};

/*
 * One connection until it is handed over or closed. One operation is in flight
 * at any time, so the object can go when its completion has come.
 *
 *   CONNECTING (dialed) ----------\
 *   HELLO (accepted) --> WAITING --+--> SENDING <--> READING --> handed over
 *        \                  \       \-------\--> CLOSING (a last alert) --> freed
 *         \------------------\------------------------------------------> freed
 *
 * In HELLO there is no SSL object yet: the bytes of the ClientHello are
 * collected, and at a bound the oldest gives way. WAITING has its ClientHello and
 * waits for its source's share, then for a place among max_handshakes.
 */
enum tl_hs_state {
  TL_HS_CONNECTING,
  TL_HS_HELLO,
  TL_HS_WAITING,
  TL_HS_SENDING,
  TL_HS_READING,
  TL_HS_CLOSING
};

struct tl_hs_conn {
  struct tl_op op;
  struct tl_timer timer;
  struct tl_handshaker *hk;
  struct cds_list_head node; /* all of the thread */
  struct tl_hs_line *line;   /* the one it is in, or NULL */
  struct cds_list_head line_node;
  struct cds_list_head wait_node; /* in a queue of its source */
  struct tl_conf *conf;           /* the snapshot it began with */
  struct tl_hs *hs;
  struct tl_dial *dial; /* NULL: accepted */
  struct tl_addr peer, local;
  struct tl_addr source; /* the source that its limits count it for */
  int fd, listener;
  enum tl_hs_state state;
  bool queued; /* WAITING for the share of its source */
  bool outgoing;
  bool in_flight;
  bool timed;  /* accepted: its domain's handshake_timeout has been taken over */
  bool dead;   /* deadline or stop: ends with the completion to come */
  bool told;   /* the handshake succeeded, what followed did not, and the peer has its alert */
  int step_rc; /* of the last tl_hs_start or tl_hs_input */
  uint64_t started_ms, begun_ms;
  uint64_t heard_ms; /* outgoing: when the server last did something */
  struct tl_hello hello;
  uint8_t *rec; /* the record being read; in HELLO all records up to it, which begins at REC_AT */
  size_t rec_cap, rec_at, have, want;
  const uint8_t *out;
  size_t out_n;
  struct tl_hs_failure failure; /* when the socket failed, not OpenSSL */
};

struct tl_handshaker {
  struct tl_thread th; /* first: the runtime points to it */
  struct tl_ring ring;
  struct tl_wheel wheel;
  struct tl_op mail_op;
  struct tl_timer retry; /* answers that found a worker's mailbox full */
  struct tl_view *view;  /* for new handshakes */
  struct tl_hs_listener *listeners;
  struct cds_list_head conns;
  struct tl_hs_line hellos;      /* half-open */
  struct tl_hs_line turn;        /* WAITING for a place */
  struct tl_hs_line ready;       /* have one, begin at the end of this turn of the loop */
  struct tl_hs_line begun;       /* accepted and in progress */
  struct tl_timer stall;         /* runs while a handshake waits for a place */
  struct tl_hs_line dials;       /* outgoing and in progress */
  uint32_t waiting;              /* in TURN or in a queue of their source */
  struct tl_hash_table sources;  /* of what handshaker_source.c keeps of each */
  struct tl_handoff *unanswered; /* linked by mail.next */
  unsigned next_worker;
  bool want_kernel; /* some domain of the snapshot may put keys into the kernel */
  bool draining, stopping, ring_ok;
  /* start-up: the ring must be made by its own thread */
  pthread_mutex_t start_mu;
  pthread_cond_t start_cv;
  int start_rc; /* 1 while starting */
  char *start_err;
  size_t start_cap;
};

/* Starts T to fire at DUE_MS of tl_now_ms. */
static inline void tl_hk_timer_at(struct tl_handshaker *hk, struct tl_timer *t, uint64_t due_ms) {
  uint64_t from = hk->wheel.now * TL_WHEEL_TICK_MS; /* the wheel may lag by a wait */
  tl_timer_start(&hk->wheel, t, due_ms > from ? (uint32_t)(due_ms - from) : 0);
}

/* handshaker_listen.c */
int tl_hk_listeners_open(struct tl_handshaker *hk, char *err, size_t cap);
/* By difference to the snapshot just taken over. */
void tl_hk_listeners_change(struct tl_handshaker *hk);
void tl_hk_listeners_close(struct tl_handshaker *hk);
/* Once per turn of the loop: listeners that paused go on if fewer handshakes wait now. */
void tl_hk_listeners_resume(struct tl_handshaker *hk);

/* handshaker_hello.c */
/* Reads C's ClientHello. At a bound the oldest that is half-open gives way. */
void tl_hk_hello_begin(struct tl_hs_conn *c);
/* The bytes that C waited for (WANT) have arrived. */
void tl_hk_hello_received(struct tl_hs_conn *c);
/* Ends the oldest half-open one now, descriptor included; false: there is none. */
bool tl_hk_hello_give_way(struct tl_handshaker *hk);

/* handshaker_turn.c */
/* C's ClientHello is complete: C begins, waits for its turn or is refused. */
void tl_hk_turn_take(struct tl_hs_conn *c);
/* The share and place of the accepted C pass to a waiting handshake, or are given back. */
void tl_hk_turn_leave(struct tl_hs_conn *c);
/* Begins the admitted handshakes, at the end of a turn of the loop. */
void tl_hk_turn_begin(struct tl_handshaker *hk);
/* hk->stall */
void tl_hk_turn_stalled(struct tl_timer *t, void *arg);

/* handshaker_dial.c */
/* What the thread takes: struct tl_dial. */
extern const struct tl_mail_kind tl_hk_dial_kind;

/* handshaker_answer.c */
/* Answers D, which is freed, with a failure. */
void tl_hk_dial_answer(struct tl_handshaker *hk, struct tl_dial *d, int rc);
void tl_hk_post_answer(struct tl_handshaker *hk, struct tl_handoff *h, unsigned worker);
/* Posts answers that had to wait. */
void tl_hk_retry(struct tl_timer *t, void *arg);
/* Frees those that still wait. */
void tl_hk_answers_drop(struct tl_handshaker *hk);

/* handshaker_conn.c */
struct tl_hs_conn *tl_hk_conn_new(struct tl_handshaker *hk, int fd, const struct tl_addr *peer);
/* The socket is connected: sets the options that must be set before the handshake. */
void tl_hk_conn_prepare(struct tl_hs_conn *c);
/* Starts the handshake. */
void tl_hk_conn_begin(struct tl_hs_conn *c);
/* Receives until WANT. TL_ENOMEM; the completion leads to the state's own function. */
int tl_hk_conn_receive(struct tl_hs_conn *c, size_t want);
/* Records why, and ends C: at once, or after an alert that waits to be sent. */
void tl_hk_conn_fail(struct tl_hs_conn *c, int cause, const char *reason);
/* Ends C whatever it does, without a report. */
void tl_hk_conn_abort(struct tl_hs_conn *c);
/* Frees C; its descriptor is closed unless it is -1. RC goes to the asker of a dial. */
void tl_hk_conn_free(struct tl_hs_conn *c, int rc);

/* handshaker_done.c */
/* C's handshake is over: its socket and keys go to a worker, C stays. Otherwise the cause, and in
 * OUT_WHY the reason unless C's handshake has it. */
int tl_hk_hand_over(struct tl_hs_conn *c, const char **out_why);

/* handshaker_report.c */
void tl_hk_report_failure(struct tl_hs_conn *c);
void tl_hk_report_refused(const struct tl_addr *peer, const char *why);
void tl_hk_report_success(const struct tl_hs_conn *c, const struct tl_handoff *h);
