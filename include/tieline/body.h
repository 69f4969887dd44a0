/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a received message: pieces of memory and, with body_relay = splice, a last part that
 * never left the kernel. That part lies in a pipe, from where it leaves once, to a connection with
 * no records of ours, or in a memfd, from where it leaves as often as is asked.
 *
 * Ownership: pieces belong to whoever made them and live as long as the message. The part in the
 * kernel counts its references; the message has one, who keeps it takes another. Threads: one
 * worker's. Errors: TL_ENOMEM no memfd, or no room in it; TL_EIO the bytes have left already.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "tieline/err.h"

struct tl_kernel_body;

#define TL_BODY_SEGS 40

struct tl_body {
  uint32_t n;                    /* pieces in memory; mostly one */
  uint32_t len;                  /* bytes in all */
  struct tl_kernel_body *kernel; /* what follows the pieces, NULL: nothing */
  struct {
    const uint8_t *p;
    uint32_t n;
    int32_t buf; /* receive buffer that holds it, -1: memory valid for this call only */
  } seg[TL_BODY_SEGS];
};

/* The pieces of B, which may be NULL, to DST; returns what follows them there. */
static inline uint8_t *tl_body_copy_pieces(void *dst, const struct tl_body *b) {
  uint8_t *to = dst;
  for (uint32_t i = 0; b && i < b->n; i++) {
    memcpy(to, b->seg[i].p, b->seg[i].n);
    to += b->seg[i].n;
  }
  return to;
}
/* All bytes of B, which may be NULL, to DST, which has room for B->len. The part in the kernel is
 * settled first. On an error DST is unfinished. */
int tl_body_copy(void *dst, const struct tl_body *b);

/* Bytes of K. */
uint32_t tl_kernel_body_len(const struct tl_kernel_body *k);
/* One more reference; returns K. */
struct tl_kernel_body *tl_kernel_body_hold(struct tl_kernel_body *k);
/* One less; the last frees it. K may be NULL. */
void tl_kernel_body_put(struct tl_kernel_body *k);
/* Moves K to a memfd, once: from now on it may be sent and read any number of times. */
int tl_kernel_body_settle(struct tl_kernel_body *k);
