/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects named by a slot and its generation: a name that has outlived its object
 * leads to nothing, also when the slot has been given to another one. A generation
 * has 24 bits.
 *
 * Ownership: objects are the caller's. Threads: one. Errors: TL_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TL_SLOT_GEN_MASK 0xffffffu

struct tl_slot {
  void *object; /* NULL: free */
  uint32_t gen;
  uint32_t next_free; /* of a free slot: 1 + the next one, 0: none */
};

/* All zero: none. */
struct tl_slots {
  struct tl_slot *at;
  uint32_t n, cap;     /* N were ever used: to walk over all objects */
  uint32_t first_free; /* 1 + its number, 0: none; the last one given back */
};

/* Has room for CAP objects without asking for memory. */
int tl_slots_reserve(struct tl_slots *s, uint32_t cap);
/* Names OBJECT, which is not NULL. */
int tl_slots_take(struct tl_slots *s, void *object, uint32_t *out_slot, uint32_t *out_gen);
/* The object of SLOT is gone, and so is its name. */
void tl_slots_give(struct tl_slots *s, uint32_t slot);
void tl_slots_free(struct tl_slots *s);

/* The object of that name, NULL: there is none. */
static inline void *tl_slots_get(const struct tl_slots *s, uint32_t slot, uint32_t gen) {
  return slot < s->n && s->at[slot].gen == gen ? s->at[slot].object : NULL;
}
