/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the values as written: counted, because tables made of them outlive
 * the configuration that they came with.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "conf/conf_block.h"

struct tl_raw *tl_raw_new(void) {
  struct tl_raw *r = calloc(1, sizeof(*r));
  if (r) atomic_init(&r->refs, 1);
  return r;
}

struct tl_raw *tl_raw_ref(struct tl_raw *r) {
  atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
  return r;
}

void tl_raw_unref(struct tl_raw *r) {
  if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < TL_SECTIONS; i++) tl_blocks_free(&r->sec[i]);
  tl_conf_source_free(&r->source);
  free(r->dir);
  free(r->database);
  free(r);
}
