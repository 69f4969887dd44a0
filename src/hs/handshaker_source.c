/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half-open connections and handshakes of each source: open addressing with
 * backward-shift deletion, so the table never fills with tombstones. It holds at
 * most as many sources as there are connections. Also the queues of the thread.
 */
#include <stdlib.h>

#include "hs/handshaker.h"

static uint32_t home_slot(const struct tl_hs_sources *s, const struct tl_addr *a) {
  return (uint32_t)tl_addr_hash(a) & (s->cap - 1);
}

static bool is_used(const struct tl_hs_source *e) { return e->n || e->hellos; }

static struct tl_hs_source *find_slot(struct tl_hs_sources *s, const struct tl_addr *a) {
  uint32_t i = home_slot(s, a);
  while (is_used(&s->slot[i]) && !tl_addr_eq(&s->slot[i].addr, a)) i = (i + 1) & (s->cap - 1);
  return &s->slot[i];
}

static int grow_table(struct tl_hs_sources *s) {
  struct tl_hs_sources bigger = {.cap = s->cap ? s->cap * 2 : 256, .used = s->used};
  bigger.slot = calloc(bigger.cap, sizeof(*bigger.slot));
  if (!bigger.slot) return TL_ENOMEM;
  for (uint32_t i = 0; i < s->cap; i++)
    if (is_used(&s->slot[i])) *find_slot(&bigger, &s->slot[i].addr) = s->slot[i];
  free(s->slot);
  *s = bigger;
  return 0;
}

/* The source of C, created if needed; the caller must count in it at once. NULL: no memory. */
static struct tl_hs_source *find_or_make(struct tl_hs_sources *s, const struct tl_hs_conn *c) {
  if (s->used * 2 >= s->cap && grow_table(s)) return NULL;
  struct tl_hs_source *e = find_slot(s, &c->source);
  if (!is_used(e)) {
    *e = (struct tl_hs_source){.addr = c->source};
    s->used++;
  }
  return e;
}

int tl_hs_source_enter(struct tl_hs_sources *s, const struct tl_hs_conn *c, uint32_t max) {
  struct tl_hs_source *e = find_or_make(s, c);
  if (!e) return TL_ENOMEM;
  if (e->n >= max) return TL_ELIMIT; /* MAX is at least 1, so E is in use */
  e->n++;
  return 0;
}

/* Closes the gap at I: every entry behind it that a search would otherwise miss moves up. */
static void close_gap(struct tl_hs_sources *s, uint32_t gap) {
  uint32_t mask = s->cap - 1;
  for (uint32_t i = (gap + 1) & mask; is_used(&s->slot[i]); i = (i + 1) & mask) {
    uint32_t from_home = (i - home_slot(s, &s->slot[i].addr)) & mask;
    if (from_home < ((i - gap) & mask)) continue;
    s->slot[gap] = s->slot[i];
    s->slot[i].n = s->slot[i].hellos = 0;
    gap = i;
  }
}

static void forget_if_unused(struct tl_hs_sources *s, struct tl_hs_source *e) {
  if (is_used(e)) return;
  s->used--;
  close_gap(s, (uint32_t)(e - s->slot));
}

void tl_hs_source_leave(struct tl_hs_sources *s, const struct tl_hs_conn *c) {
  struct tl_hs_source *e = find_slot(s, &c->source);
  e->n--;
  forget_if_unused(s, e);
}

/* ---- queues of a source ---- */

static void queue_append(struct tl_hs_queue *q, struct tl_hs_conn *c) {
  c->wait_next = NULL;
  c->wait_prev = q->last;
  if (q->last)
    q->last->wait_next = c;
  else
    q->first = c;
  q->last = c;
}

static void take_out(struct tl_hs_queue *q, struct tl_hs_conn *c) {
  if (c->wait_prev)
    c->wait_prev->wait_next = c->wait_next;
  else
    q->first = c->wait_next;
  if (c->wait_next)
    c->wait_next->wait_prev = c->wait_prev;
  else
    q->last = c->wait_prev;
}

int tl_hs_source_open(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  struct tl_hs_source *e = find_or_make(s, c);
  if (!e) return TL_ENOMEM;
  e->hellos++;
  queue_append(&e->half_open, c);
  return 0;
}

void tl_hs_source_opened(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  struct tl_hs_source *e = find_slot(s, &c->source);
  take_out(&e->half_open, c);
  e->hellos--;
  forget_if_unused(s, e);
}

struct tl_hs_conn *tl_hs_source_oldest(struct tl_hs_sources *s, const struct tl_hs_conn *c,
                                       uint32_t max) {
  struct tl_hs_source *e = s->cap ? find_slot(s, &c->source) : NULL;
  return e && is_used(e) && e->hellos >= max ? e->half_open.first : NULL;
}

void tl_hs_source_wait(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  queue_append(&find_slot(s, &c->source)->waiting, c);
}

void tl_hs_source_unwait(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  take_out(&find_slot(s, &c->source)->waiting, c);
}

struct tl_hs_conn *tl_hs_source_next(struct tl_hs_sources *s, const struct tl_hs_conn *c) {
  return find_slot(s, &c->source)->waiting.first;
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
