/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half-open connections and handshakes of each source. The table holds at most as
 * many sources as there are connections. Also the queues of the thread.
 */
#include <stdlib.h>

#include "hs/handshaker.h"
#include "tieline/container.h"

struct hs_source {
  struct tl_hash_node node;
  struct tl_addr addr;
  uint32_t n;                     /* handshakes in progress; N and HELLOS 0: it goes */
  uint32_t hellos;                /* without a complete ClientHello */
  struct cds_list_head half_open; /* those, the oldest first */
  /* Those over its limit, the oldest first, so that a trunk which reconnects all at once is served
   * without taking the whole budget. Only while N is at the limit. */
  struct cds_list_head waiting;
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
  CDS_INIT_LIST_HEAD(&e->half_open);
  CDS_INIT_LIST_HEAD(&e->waiting);
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

static struct tl_hs_conn *first_of(struct cds_list_head *queue) {
  return cds_list_empty(queue) ? NULL : cds_list_first_entry(queue, struct tl_hs_conn, wait_node);
}

int tl_hs_source_open(struct tl_hash_table *t, struct tl_hs_conn *c) {
  struct hs_source *e = find_or_make(t, c);
  if (!e) return TL_ENOMEM;
  e->hellos++;
  cds_list_add_tail(&c->wait_node, &e->half_open);
  return TL_OK;
}

void tl_hs_source_opened(struct tl_hash_table *t, struct tl_hs_conn *c) {
  struct hs_source *e = find_source(t, &c->source);
  cds_list_del(&c->wait_node);
  e->hellos--;
  forget_if_unused(t, e);
}

struct tl_hs_conn *tl_hs_source_oldest(struct tl_hash_table *t, const struct tl_hs_conn *c,
                                       uint32_t max) {
  struct hs_source *e = find_source(t, &c->source);
  return e && e->hellos >= max ? first_of(&e->half_open) : NULL;
}

void tl_hs_source_wait(struct tl_hash_table *t, struct tl_hs_conn *c) {
  cds_list_add_tail(&c->wait_node, &find_source(t, &c->source)->waiting);
}

void tl_hs_source_unwait(struct tl_hs_conn *c) { cds_list_del(&c->wait_node); }

struct tl_hs_conn *tl_hs_source_next(struct tl_hash_table *t, const struct tl_hs_conn *c) {
  return first_of(&find_source(t, &c->source)->waiting);
}

/* ---- lines of the thread ---- */

void tl_hs_line_init(struct tl_hs_line *line) {
  CDS_INIT_LIST_HEAD(&line->conns);
  line->n = 0;
}

struct tl_hs_conn *tl_hs_line_first(const struct tl_hs_line *line) {
  return line->n ? cds_list_first_entry(&line->conns, struct tl_hs_conn, line_node) : NULL;
}

void tl_hs_line_add(struct tl_hs_line *line, struct tl_hs_conn *c) {
  c->line = line;
  cds_list_add_tail(&c->line_node, &line->conns);
  line->n++;
}

void tl_hs_line_leave(struct tl_hs_conn *c) {
  if (!c->line) return;
  cds_list_del(&c->line_node);
  c->line->n--;
  c->line = NULL;
}
