/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transactions against a list of what ought to be in it. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "proxy/txn.h"

#define MANY 3000u

static struct tl_txn_table table;
static struct tl_txn txn[MANY];

static void end(void) { tl_txn_table_free(&table); }

TestSuite(proxy_txn_table, .fini = end);

/* Keys that crowd: many want the same few places, at the end of the table too. */
static uint64_t crowded_key(unsigned i) {
  return (uint64_t)i << 32 | (UINT32_MAX - (uint32_t)(rand() % 8));
}

static void expect_whole(const bool *in) {
  unsigned n = 0;
  for (unsigned i = 0; i < MANY; i++) {
    n += in[i];
    cr_assert_eq(tl_txn_table_find(&table, txn[i].key), in[i] ? &txn[i] : NULL, "%u", i);
  }
  cr_assert_eq(table.used, n);
}

Test(proxy_txn_table, finds_what_is_in_it_and_nothing_else) {
  bool in[MANY] = {false};
  srand(7);
  cr_assert_null(tl_txn_table_find(&table, 1), "before there is any");
  for (unsigned i = 0; i < MANY; i++)
    txn[i].key = i % 2 ? crowded_key(i) : (uint64_t)rand() << 33 ^ (uint64_t)rand() << 8 ^ i;
  for (unsigned step = 0; step < 40000; step++) {
    unsigned i = (unsigned)rand() % (step < 20000 ? MANY : MANY / 8);
    if (in[i])
      tl_txn_table_remove(&table, &txn[i]);
    else
      cr_assert_eq(tl_txn_table_add(&table, &txn[i]), 0);
    in[i] = !in[i];
    if (step % 4000 == 0) expect_whole(in);
  }
  expect_whole(in);
  cr_assert_leq(2 * table.used, table.mask + 1, "at most half full");
}

Test(proxy_txn_table, of_one_key_the_first_is_found_until_it_goes) {
  txn[0].key = txn[1].key = txn[2].key = 0x1234;
  for (int i = 0; i < 3; i++) cr_assert_eq(tl_txn_table_add(&table, &txn[i]), 0);
  cr_assert_eq(tl_txn_table_find(&table, 0x1234), &txn[0]);
  tl_txn_table_remove(&table, &txn[1]);
  cr_assert_eq(tl_txn_table_find(&table, 0x1234), &txn[0]);
  tl_txn_table_remove(&table, &txn[0]);
  cr_assert_eq(tl_txn_table_find(&table, 0x1234), &txn[2]);
  tl_txn_table_remove(&table, &txn[2]);
  cr_assert_null(tl_txn_table_find(&table, 0x1234));
}

/* As large as to be asked for in huge pages. */
Test(proxy_txn_table, grows_beyond_a_huge_page) {
  const unsigned n = 200000;
  struct tl_txn *all = calloc(n, sizeof(*all));
  cr_assert_not_null(all);
  for (unsigned i = 0; i < n; i++) {
    all[i].key = (i + 1) * 0x9e3779b97f4a7c15ull;
    cr_assert_eq(tl_txn_table_add(&table, &all[i]), 0);
  }
  cr_assert_geq((size_t)(table.mask + 1) * sizeof(*table.key), (size_t)2 << 20);
  for (unsigned i = 0; i < n; i++)
    cr_assert_eq(tl_txn_table_find(&table, all[i].key), &all[i], "%u", i);
  for (unsigned i = 0; i < n; i++) tl_txn_table_remove(&table, &all[i]);
  cr_assert_eq(table.used, 0u);
  free(all);
}
