/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved messages: pools of three sizes, and malloc for what is larger. The scan of a
 * message follows its bytes, with the header slots that are in use.
 */
#include "saved.h"
#include "tieline/conf.h"

#include <stdlib.h>

#include "proxy.h"
#include "tieline/edit.h"

/* A short request with its scan; an INVITE with a session description and its scan; the same from
 * the second side of a long path. */
static const uint16_t class_size[] = {1280, 2560, 5120};
#define CLASSES (sizeof(class_size) / sizeof(class_size[0]))

/* Beyond max_kept this fraction of it is left for what is kept inside dialogs. */
#define LAST_SHARE 4

void tl_saved_init(struct tl_proxy *p) {
  for (unsigned i = 0; i < CLASSES; i++) {
    tl_pool_init(&p->saved[i], class_size[i], 0);
    p->saved[i].keep = 16;
  }
}

void tl_saved_exit(struct tl_proxy *p) {
  for (unsigned i = 0; i < CLASSES; i++) tl_pool_destroy(&p->saved[i]);
}

/* WANT: all that follows the head of a struct tl_saved. */
static struct tl_saved *saved_alloc(struct tl_proxy *p, bool in_dialog, size_t want) {
  size_t size = offsetof(struct tl_saved, data) + want,
         max = tl_net_view(p->net)->conf->limits.max_kept;
  struct tl_saved *s;
  unsigned i = 0;
  if (p->saved_bytes >= max + (in_dialog ? max / LAST_SHARE : 0)) {
    tl_count(tl_proxy_counters(p), TL_C_KEPT_FULL);
    return NULL;
  }
  while (i < CLASSES && size > class_size[i]) i++;
  if (i < CLASSES) {
    size = class_size[i];
    s = tl_pool_get(&p->saved[i]);
  } else if ((s = malloc(size)) != NULL) {
    p->saved_large += size;
  }
  if (!s) return NULL;
  p->saved_bytes += size;
  s->size = (uint32_t)size;
  s->class = (uint8_t)i;
  s->scan_at = 0;
  s->kernel = NULL;
  return s;
}

struct tl_saved *tl_saved_new(struct tl_proxy *p, bool in_dialog, size_t len) {
  struct tl_saved *s = saved_alloc(p, in_dialog, len);
  if (s) s->len = (uint32_t)len;
  return s;
}

struct tl_saved *tl_saved_bytes(struct tl_proxy *p, bool in_dialog, const void *data, size_t n) {
  struct tl_saved *s = tl_saved_new(p, in_dialog, n);
  if (s) memcpy(s->data, data, n);
  return s;
}

/* What of BODY lies in the kernel stays there, to be sent from there again. */
static int keep_kernel(struct tl_proxy *p, struct tl_saved *s, const struct tl_body *body) {
  if (!body || !body->kernel) return TL_OK;
  int rc = tl_kernel_body_settle(body->kernel);
  if (rc) return rc;
  s->kernel = tl_kernel_body_hold(body->kernel);
  p->saved_bytes += tl_kernel_body_len(s->kernel);
  return TL_OK;
}

struct tl_saved *tl_saved_msg(struct tl_proxy *p, bool in_dialog, const struct tl_msg *m,
                              const struct tl_body *body) {
  size_t len = m->head_len + (body ? body->len : 0);
  if (body && body->kernel) len -= tl_kernel_body_len(body->kernel);
  size_t at = tl_msg_scan_at(offsetof(struct tl_saved, data), len);
  struct tl_saved *s = saved_alloc(p, in_dialog, at + tl_msg_scan_size(m));
  if (!s) return NULL;
  s->len = (uint32_t)len;
  s->scan_at = (uint32_t)at;
  memcpy(s->data, m->p, m->head_len);
  tl_body_copy_pieces(s->data + m->head_len, body);
  if (keep_kernel(p, s, body)) {
    tl_saved_free(p, s);
    return NULL;
  }
  tl_msg_copy_scan(m, s->data, s->data + at);
  return s;
}

struct tl_saved *tl_saved_edit(struct tl_proxy *p, bool in_dialog, const struct tl_edit *e,
                               const struct tl_body *body) {
  struct tl_saved *s = tl_saved_new(p, in_dialog, tl_edit_len(e) + (body ? body->len : 0));
  if (!s || tl_body_copy(s->data + tl_edit_write(e, s->data), body) == TL_OK) return s;
  tl_saved_free(p, s);
  return NULL;
}

void tl_saved_free(struct tl_proxy *p, struct tl_saved *s) {
  if (!s) return;
  p->saved_bytes -= s->size;
  if (s->kernel) p->saved_bytes -= tl_kernel_body_len(s->kernel);
  tl_kernel_body_put(s->kernel);
  if (s->class < CLASSES) {
    tl_pool_put(&p->saved[s->class], s);
    return;
  }
  p->saved_large -= s->size;
  free(s);
}

const struct tl_msg *tl_saved_scan(const struct tl_saved *s, struct tl_body *out_body) {
  const struct tl_msg *m = (const struct tl_msg *)(const void *)(s->data + s->scan_at);
  out_body->n = s->len > m->head_len;
  out_body->seg[0].p = (const uint8_t *)s->data + m->head_len;
  out_body->seg[0].n = s->len - m->head_len;
  out_body->seg[0].buf = -1;
  out_body->kernel = s->kernel;
  out_body->len = out_body->seg[0].n + (s->kernel ? tl_kernel_body_len(s->kernel) : 0);
  return m;
}
