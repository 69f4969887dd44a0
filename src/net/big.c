/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large messages on streams. The head lies in one piece; the body is collected
 * as references to the receive buffers it arrived in and is sent from there, so user
 * space never copies it. With user-space records the body is decrypted into its
 * place in one block and encrypted from there. When receive buffers run short, the
 * pieces are copied together: other connections need the buffers.
 */
#include <stdlib.h>

#include "net_internal.h"

struct tl_big {
  uint8_t *head; /* the head, followed by what there is of the body */
  uint8_t *mem;  /* malloc'd memory that head points to, or NULL: it is in HEAD_BUF */
  int32_t head_buf;
  struct tl_stash stash; /* memory taken over from the connection's stash */
  uint32_t head_len, body_len, got;
  bool whole;                    /* the body follows the head in one block */
  struct tl_kernel_body *kernel; /* what comes behind the first piece, NULL: no such */
  struct tl_body body;
  _Alignas(struct tl_msg) unsigned char scan[]; /* of the head, wherever that was at first */
};

/* Slack after a block, so that a whole record can be opened into it. */
#define SLACK (TL_RECORD_CIPHER_MAX + 64)

static void put_pieces(struct tl_conn *c, struct tl_big *g) {
  for (uint32_t i = 0; i < g->body.n; i++)
    if (g->body.seg[i].buf >= 0) tl_bufs_put(&c->net->bufs, (uint16_t)g->body.seg[i].buf);
  g->body.n = 0;
}

static void big_free(struct tl_conn *c, struct tl_big *g) {
  put_pieces(c, g);
  if (g->head_buf >= 0) tl_bufs_put(&c->net->bufs, (uint16_t)g->head_buf);
  tl_stash_drop(c->net, &g->stash);
  tl_kernel_body_put(g->kernel);
  free(g->mem);
  free(g);
}

static bool splice_wanted(const struct tl_conn *c) {
  return c->net->view->conf->opt.body_relay == TL_BODY_RELAY_SPLICE;
}

bool tl_big_may_stay(const struct tl_conn *c) {
  return splice_wanted(c) && c->view.state == TL_CONN_OPEN && !c->view.peer_ended &&
         !tl_conn_user_tls(c) && !c->framer->head;
}

/* A body of LEN bytes begins on C: where what is still to come may stay, NULL: nowhere. */
static struct tl_kernel_body *begin_in_kernel(struct tl_conn *c, uint32_t len) {
  if (!splice_wanted(c) || len < c->net->view->conf->limits.splice_body) return NULL;
  if (tl_conn_user_tls(c)) {
    tl_count(c->net->counters, TL_C_SPLICE_OFF_SOURCE);
    return NULL;
  }
  if (!c->rx.polled) return NULL; /* a receive from before a reload takes it */
  struct tl_kernel_body *k = tl_kernel_body_new(&c->net->pipes);
  if (!k) tl_count(c->net->counters, TL_C_SPLICE_OFF_FULL);
  return k;
}

bool tl_big_wanted(const struct tl_conn *c, uint32_t len) {
  const struct tl_conf *conf = c->net->view->conf;
  return len >= conf->limits.zero_copy_body ||
         (tl_big_may_stay(c) && len >= conf->limits.splice_body);
}

struct tl_kernel_body *tl_big_kernel(const struct tl_conn *c, uint32_t *left) {
  struct tl_big *g = c->big;
  if (!g || !g->kernel) return NULL;
  *left = g->body_len - g->got;
  return g->kernel;
}

uint32_t tl_big_bytes(const struct tl_conn *c) {
  const struct tl_big *g = c->big;
  if (!g) return 0;
  if (g->kernel)
    return g->head_len + g->got - tl_kernel_body_len(g->kernel) + tl_kernel_body_bytes(g->kernel);
  return g->head_len + (g->whole ? g->body_len + (uint32_t)SLACK : g->got);
}

void tl_big_drop(struct tl_conn *c) {
  if (c->big) big_free(c, c->big);
  c->big = NULL;
}

/* Copies head and pieces into one block, with room for BODY bytes of it. */
static int make_block(struct tl_conn *c, struct tl_big *g, size_t body) {
  uint8_t *m = malloc(g->head_len + body);
  if (!m) return TL_ENOMEM;
  memcpy(m, g->head, g->head_len);
  uint32_t at = g->head_len;
  for (uint32_t i = 0; i < g->body.n; i++) {
    memcpy(m + at, g->body.seg[i].p, g->body.seg[i].n);
    at += g->body.seg[i].n;
  }
  put_pieces(c, g);
  if (g->head_buf >= 0) tl_bufs_put(&c->net->bufs, (uint16_t)g->head_buf);
  g->head_buf = -1;
  tl_stash_drop(c->net, &g->stash);
  g->mem = g->head = m;
  return TL_OK;
}

static int make_whole(struct tl_conn *c, struct tl_big *g) {
  int rc = make_block(c, g, (size_t)g->body_len + SLACK);
  g->whole = rc == TL_OK;
  return rc;
}

static void add_piece(struct tl_conn *c, struct tl_big *g, const uint8_t *p, uint32_t n,
                      int32_t buf) {
  g->body.seg[g->body.n].p = p;
  g->body.seg[g->body.n].n = n;
  g->body.seg[g->body.n++].buf = buf;
  if (buf >= 0) tl_bufs_hold(&c->net->bufs, (uint16_t)buf);
}

/* What came with the head goes in front of what stays in the kernel, in a block of its own: the
 * memory it lies in is needed for the next bytes. */
static int keep_beginning(struct tl_conn *c, struct tl_big *g) {
  int rc = make_block(c, g, g->got);
  if (rc == TL_OK && g->got) add_piece(c, g, g->head + g->head_len, g->got, -1);
  return rc;
}

int tl_big_begin(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf, bool from_stash,
                 const struct tl_msg *m) {
  struct tl_big *g = calloc(1, sizeof(*g) + tl_msg_scan_size(m));
  if (!g) return TL_ENOMEM;
  tl_msg_copy_scan(m, m->p, g->scan);
  g->head = p;
  g->head_len = m->head_len;
  g->body_len = m->body_len;
  g->got = (uint32_t)n - m->head_len;
  g->head_buf = buf;
  if (buf >= 0) tl_bufs_hold(&c->net->bufs, (uint16_t)buf);
  if (from_stash) {
    /* CRLFs skipped before the message stay in front of it, harmless. */
    g->stash = c->kept.plain;
    memset(&c->kept.plain, 0, sizeof(c->kept.plain));
  }
  if (g->got) add_piece(c, g, p + g->head_len, g->got, buf);
  c->big = g;
  c->searched = 0;
  g->kernel = begin_in_kernel(c, g->body_len);
  if (g->kernel) return keep_beginning(c, g);
  if (tl_conn_user_tls(c) || (buf < 0 && !from_stash) || tl_net_crowded(c->net))
    return make_whole(c, g);
  return TL_OK;
}

static void deliver_whole(struct tl_conn *c) {
  struct tl_big *g = c->big;
  struct tl_net *n = c->net;
  c->big = NULL;
  if (g->whole && g->body_len) {
    g->body.n = 0;
    add_piece(c, g, g->head + g->head_len, g->body_len, -1);
  }
  g->body.len = g->body_len;
  g->body.kernel = g->kernel;
  if (g->kernel && tl_kernel_body_done(g->kernel)) {
    big_free(c, g);
    tl_conn_abort(c, TL_ENOMEM);
    return;
  }
  /* The one index has been used for other messages in between. */
  tl_msg_copy_scan((const struct tl_msg *)(const void *)g->scan, (const char *)g->head, &n->msg);
  tl_recv_deliver(c, &n->msg, &g->body);
  big_free(c, g);
}

/* Bytes that came with a record other than data, or while C was not to be read. */
static size_t feed_kernel(struct tl_conn *c, struct tl_big *g, const uint8_t *p, uint32_t n) {
  if (tl_kernel_body_append(g->kernel, p, n))
    tl_conn_abort(c, TL_ENOMEM);
  else
    tl_big_took(c, n);
  return n;
}

size_t tl_big_feed(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  struct tl_big *g = c->big;
  uint32_t left = g->body_len - g->got;
  uint32_t k = n < left ? (uint32_t)n : left;
  if (g->kernel) return feed_kernel(c, g, p, k);
  bool crowded = g->body.n == TL_BODY_SEGS || tl_net_crowded(c->net);
  if (!g->whole && (crowded || buf < 0) && make_whole(c, g)) {
    tl_conn_abort(c, TL_ENOMEM);
    return n;
  }
  if (g->whole)
    memcpy(g->head + g->head_len + g->got, p, k);
  else
    add_piece(c, g, p, k, buf);
  tl_big_took(c, k);
  return k;
}

uint8_t *tl_big_room(struct tl_conn *c, size_t record_len) {
  struct tl_big *g = c->big;
  /* The plaintext is shorter than its record, but how much shorter padding decides: only records
   * that surely end within this body go straight to their place. */
  if (!g->whole || record_len > TL_RECORD_CIPHER_MAX) return NULL;
  if (record_len - TL_RECORD_HEADER > g->body_len - g->got + tl_record_tail(c->kept.tls->record))
    return NULL;
  return g->head + g->head_len + g->got;
}

void tl_big_took(struct tl_conn *c, size_t n) {
  struct tl_big *g = c->big;
  g->got += (uint32_t)n;
  if (g->got == g->body_len) deliver_whole(c);
}
