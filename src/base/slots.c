/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots with generations. The slot given back last is taken first, while it is
 * still in a near cache; memory never shrinks.
 */
#include "tieline/slots.h"

#include <stdlib.h>

#include "tieline/err.h"

#define LEAST_CAP 16u

int tl_slots_reserve(struct tl_slots *s, uint32_t cap) {
  if (cap <= s->cap) return TL_OK;
  struct tl_slot *at = realloc(s->at, cap * sizeof(*at));
  if (!at) return TL_ENOMEM;
  s->at = at;
  s->cap = cap;
  return TL_OK;
}

static int next_unused(struct tl_slots *s, uint32_t *out) {
  if (s->n == s->cap && tl_slots_reserve(s, s->cap ? 2 * s->cap : LEAST_CAP)) return TL_ENOMEM;
  s->at[s->n] = (struct tl_slot){.object = NULL};
  *out = s->n++;
  return TL_OK;
}

int tl_slots_take(struct tl_slots *s, void *object, uint32_t *out_slot, uint32_t *out_gen) {
  if (s->first_free) {
    *out_slot = s->first_free - 1;
    s->first_free = s->at[*out_slot].next_free;
  } else if (next_unused(s, out_slot)) {
    return TL_ENOMEM;
  }
  s->at[*out_slot].object = object;
  *out_gen = s->at[*out_slot].gen;
  return TL_OK;
}

void tl_slots_give(struct tl_slots *s, uint32_t slot) {
  struct tl_slot *at = &s->at[slot];
  at->object = NULL;
  at->gen = (at->gen + 1) & TL_SLOT_GEN_MASK;
  at->next_free = s->first_free;
  s->first_free = slot + 1;
}

void tl_slots_free(struct tl_slots *s) {
  free(s->at);
  *s = (struct tl_slots){.at = NULL};
}
