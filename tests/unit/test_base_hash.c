/* SPDX-License-Identifier: Apache-2.0 */
/* The intrusive hash table against a plain array: while it grows, with equal hashes, walked over.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/container.h"
#include "tieline/hash_table.h"

enum { N = 4000 };

struct thing {
  int number;
  struct tl_hash_node node;
  int there, seen;
};

static struct tl_hash_table table;
static struct thing thing[N];

static void free_table(void) { tl_hash_free(&table); }

TestSuite(base_hash, .fini = free_table);

static struct thing *thing_of(struct tl_hash_node *n) {
  return tl_container_of(n, struct thing, node);
}

static int is_found(const struct thing *t, uint64_t hash) {
  struct tl_hash_node *n = tl_hash_first(&table, hash);
  while (n && thing_of(n) != t) n = tl_hash_next(n);
  return n != NULL;
}

/* Two things have each hash, and the hashes of many share their low bits. */
static uint64_t hash_of(int i) { return (uint64_t)(i / 2) * 8; }

static void walk_finds_all(void) {
  uint32_t n = 0;
  for (int i = 0; i < N; i++) thing[i].seen = 0;
  for (struct tl_hash_node *at = NULL; (at = tl_hash_walk(&table, at)); n++) thing_of(at)->seen++;
  cr_expect_eq(n, table.n);
  for (int i = 0; i < N; i++) cr_assert_eq(thing[i].seen, thing[i].there);
}

Test(base_hash, nothing_is_found_in_an_empty_one) {
  cr_expect_null(tl_hash_first(&table, 0));
  cr_expect_null(tl_hash_walk(&table, NULL));
}

Test(base_hash, many_come_and_go) {
  uint32_t n = 0;
  srand(3);
  for (int step = 0; step < 20 * N; step++) {
    const int i = rand() % N;
    if (thing[i].there)
      tl_hash_remove(&table, &thing[i].node);
    else
      cr_assert_eq(tl_hash_add(&table, &thing[i].node, hash_of(i)), 0);
    thing[i].there = !thing[i].there;
    n = thing[i].there ? n + 1 : n - 1;
    cr_assert_eq(table.n, n);
    cr_assert_eq(is_found(&thing[i], hash_of(i)), thing[i].there);
  }
  for (int i = 0; i < N; i++) cr_assert_eq(is_found(&thing[i], hash_of(i)), thing[i].there);
  walk_finds_all();
  for (struct tl_hash_node *at = tl_hash_walk(&table, NULL), *next; at; at = next) {
    next = tl_hash_walk(&table, at);
    tl_hash_remove(&table, at);
    thing_of(at)->there = 0;
  }
  cr_expect_eq(table.n, 0);
  walk_finds_all();
}

Test(base_hash, of_equal_hashes_the_last_comes_first) {
  for (int i = 0; i < 3; i++) cr_assert_eq(tl_hash_add(&table, &thing[i].node, 7), 0);
  struct tl_hash_node *n = tl_hash_first(&table, 7);
  cr_expect_eq(thing_of(n), &thing[2]);
  n = tl_hash_next(n);
  cr_expect_eq(thing_of(n), &thing[1]);
  cr_expect_eq(thing_of(tl_hash_next(n)), &thing[0]);
  cr_expect_null(tl_hash_first(&table, 7 + 64));
}

/* Objects of several hashes share the buckets, which grow under them. */
Test(base_hash, and_so_it_stays_when_the_table_grows) {
  for (int i = 0; i < N; i++)
    cr_assert_eq(tl_hash_add(&table, &thing[i].node, (uint64_t)(i % 5) * 8), 0);
  for (int k = 0; k < 5; k++) {
    struct tl_hash_node *n = tl_hash_first(&table, (uint64_t)k * 8);
    for (int i = N - 5 + k; i >= 0; i -= 5, n = tl_hash_next(n))
      cr_assert_eq(n, &thing[i].node, "%d", i);
    cr_expect_null(n);
  }
}
