/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half-open connections and handshakes of each source. The table holds at most as
 * many sources as there are connections. Also the queues of the thread.
 */
#include <stdlib.h>

#include "hs/handshaker.h"
#include "tieline/container.h"

/* Those over the limit of their source wait in its queue, so that a trunk which reconnects all at
 * once is served without taking the whole budget. Oldest first, linked by wait_next. */
struct source_queue {
  struct tl_hs_conn *first, *last;
};

struct hs_source {
  struct tl_hash_node node;
  struct tl_addr addr;
  uint32_t n;                             /* handshakes in progress; N and HELLOS 0: it goes */
  uint32_t hellos;                        /* without a complete ClientHello */
  struct source_queue half_open, waiting; /* WAITING only while N is at the limit */
};

static struct hs_source *find_source(const struct tl_hash_table *t, const struct tl_addr *a) {
  struct tl_hash_node *node = tl_hash_first(t, tl_addr_hash(a));
  for (; node; node = tl_hash_next(node)) {
    struct hs_source *e = tl_container_of(node, struct hs_source, node);
    if (tl_addr_eq(&e->addr, a)) return e;
  }
  return NULL;
}

/* The source of C, created if needed; the caller must count in it at once. NULL: no memory. */
static struct hs_source *find_or_make(struct tl_hash_table *t, const struct tl_hs_conn *c) {
  struct hs_source *e = find_source(t, &c->source);
  if (e || !(e = calloc(1, sizeof(*e)))) return e;
  e->addr = c->source;
  if (tl_hash_add(t, &e->node, tl_addr_hash(&e->addr)) == TL_OK) return e;
  free(e);
  return NULL;
}

int tl_hs_source_enter(struct tl_hash_table *t, const struct tl_hs_conn *c, uint32_t max) {
  struct hs_source *e = find_or_make(t, c);
  if (!e) return TL_ENOMEM;
  if (e->n >= max) return TL_ELIMIT; /* MAX is at least 1, so E is in use */
  e->n++;
  return TL_OK;
}

static void forget_if_unused(struct tl_hash_table *t, struct hs_source *e) {
  if (e->n || e->hellos) return;
  tl_hash_remove(t, &e->node);
  free(e);
}

void tl_hs_source_leave(struct tl_hash_table *t, const struct tl_hs_conn *c) {
  struct hs_source *e = find_source(t, &c->source);
  e->n--;
  forget_if_unused(t, e);
}

/* ---- queues of a source ---- */

static void queue_append(struct source_queue *q, struct tl_hs_conn *c) {
  c->wait_next = NULL;
  c->wait_prev = q->last;
  if (q->last)
    q->last->wait_next = c;
  else
    q->first = c;
  q->last = c;
}

static void take_out(struct source_queue *q, struct tl_hs_conn *c) {
  if (c->wait_prev)
    c->wait_prev->wait_next = c->wait_next;
  else
    q->first = c->wait_next;
  if (c->wait_next)
    c->wait_next->wait_prev = c->wait_prev;
  else
    q->last = c->wait_prev;
}

int tl_hs_source_open(struct tl_hash_table *t, struct tl_hs_conn *c) {
  struct hs_source *e = find_or_make(t, c);
  if (!e) return TL_ENOMEM;
  e->hellos++;
  queue_append(&e->half_open, c);
  return TL_OK;
}

void tl_hs_source_opened(struct tl_hash_table *t, struct tl_hs_conn *c) {
  struct hs_source *e = find_source(t, &c->source);
  take_out(&e->half_open, c);
  e->hellos--;
  forget_if_unused(t, e);
}

struct tl_hs_conn *tl_hs_source_oldest(struct tl_hash_table *t, const struct tl_hs_conn *c,
                                       uint32_t max) {
  struct hs_source *e = find_source(t, &c->source);
  return e && e->hellos >= max ? e->half_open.first : NULL;
}

void tl_hs_source_wait(struct tl_hash_table *t, struct tl_hs_conn *c) {
  queue_append(&find_source(t, &c->source)->waiting, c);
}

void tl_hs_source_unwait(struct tl_hash_table *t, struct tl_hs_conn *c) {
  take_out(&find_source(t, &c->source)->waiting, c);
}

struct tl_hs_conn *tl_hs_source_next(struct tl_hash_table *t, const struct tl_hs_conn *c) {
  return find_source(t, &c->source)->waiting.first;
}

/* ---- lines of the thread ---- */

void tl_hs_line_add(struct tl_hs_line *line, struct tl_hs_conn *c) {
  c->line = line;
  c->line_next = NULL;
  c->line_prev = line->last;
  if (line->last)
    line->last->line_next = c;
  else
    line->first = c;
  line->last = c;
  line->n++;
}

void tl_hs_line_leave(struct tl_hs_conn *c) {
  struct tl_hs_line *line = c->line;
  if (!line) return;
  if (c->line_prev)
    c->line_prev->line_next = c->line_next;
  else
    line->first = c->line_next;
  if (c->line_next)
    c->line_next->line_prev = c->line_prev;
  else
    line->last = c->line_prev;
  line->n--;
  c->line = NULL;
}
