/* SPDX-License-Identifier: Apache-2.0 */
/* Names of slot and generation: theirs alone, and never again those of one that is gone. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/slots.h"

static struct tl_slots slots;
static void free_slots(void) { tl_slots_free(&slots); }

TestSuite(base_slots, .fini = free_slots);

Test(base_slots, a_name_leads_to_its_object_and_to_nothing_afterwards) {
  int a, b;
  uint32_t slot_a, gen_a, slot_b, gen_b;
  cr_assert_eq(tl_slots_take(&slots, &a, &slot_a, &gen_a), 0);
  cr_expect_eq(tl_slots_get(&slots, slot_a, gen_a), &a);
  cr_expect_null(tl_slots_get(&slots, slot_a, gen_a + 1));
  cr_expect_null(tl_slots_get(&slots, slot_a + 1, gen_a));
  cr_expect_null(tl_slots_get(&slots, UINT32_MAX, 0));
  tl_slots_give(&slots, slot_a);
  cr_expect_null(tl_slots_get(&slots, slot_a, gen_a));
  cr_expect_null(tl_slots_get(&slots, slot_a, gen_a + 1), "nobody has that name yet");
  cr_assert_eq(tl_slots_take(&slots, &b, &slot_b, &gen_b), 0);
  cr_expect_eq(slot_b, slot_a, "taken again");
  cr_expect_null(tl_slots_get(&slots, slot_a, gen_a));
  cr_expect_eq(tl_slots_get(&slots, slot_b, gen_b), &b);
}

Test(base_slots, what_was_given_back_last_is_taken_first) {
  int object[3];
  uint32_t slot[3], gen, got;
  for (int i = 0; i < 3; i++) cr_assert_eq(tl_slots_take(&slots, &object[i], &slot[i], &gen), 0);
  tl_slots_give(&slots, slot[0]);
  tl_slots_give(&slots, slot[2]);
  tl_slots_take(&slots, &object[0], &got, &gen);
  cr_expect_eq(got, slot[2]);
  tl_slots_take(&slots, &object[0], &got, &gen);
  cr_expect_eq(got, slot[0]);
  tl_slots_take(&slots, &object[0], &got, &gen);
  cr_expect_eq(got, 3);
  cr_expect_eq(slots.n, 4);
}

Test(base_slots, a_generation_has_24_bits) {
  int object;
  uint32_t slot, gen, first;
  cr_assert_eq(tl_slots_take(&slots, &object, &slot, &first), 0);
  slots.at[slot].gen = TL_SLOT_GEN_MASK;
  tl_slots_give(&slots, slot);
  tl_slots_take(&slots, &object, &slot, &gen);
  cr_expect_eq(gen, 0);
}

/* Against a plain list: everything alive is found by its name, all former names by none. */
Test(base_slots, many_come_and_go) {
  enum { N = 5000, AT_ONCE = 300 };
  static struct {
    uint32_t slot, gen;
    int alive;
  } name[N];
  cr_assert_eq(tl_slots_reserve(&slots, 40), 0);
  srand(7);
  for (int i = 0; i < N; i++) {
    cr_assert_eq(tl_slots_take(&slots, &name[i], &name[i].slot, &name[i].gen), 0);
    name[i].alive = 1;
    if (i < AT_ONCE) continue;
    int k = i - rand() % AT_ONCE;
    if (!name[k].alive) continue;
    tl_slots_give(&slots, name[k].slot);
    name[k].alive = 0;
  }
  uint32_t alive = 0, seen = 0;
  for (int i = 0; i < N; i++) {
    alive += (uint32_t)name[i].alive;
    cr_assert_eq(tl_slots_get(&slots, name[i].slot, name[i].gen), name[i].alive ? &name[i] : NULL);
  }
  for (uint32_t i = 0; i < slots.n; i++) seen += slots.at[i].object != NULL;
  cr_expect_eq(seen, alive);
}
