/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a peer's health record. */
#include "tieline/health.h"

#include <stdatomic.h>
#include <stdlib.h>

struct tl_health *tl_health_new(void) {
  struct tl_health *h = calloc(1, sizeof(*h));
  if (h) atomic_init(&h->refs, 1);
  return h;
}

struct tl_health *tl_health_ref(struct tl_health *h) {
  atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
  return h;
}

void tl_health_unref(struct tl_health *h) {
  if (h && atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1) free(h);
}
