/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: objects apart, bounds kept, memory given back. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/pool.h"

Test(base_pool, objects_are_apart_aligned_and_keep_their_bytes) {
  static unsigned char *obj[3000];
  for (size_t size = 1; size < 20000; size = size * 3 + 1) {
    struct tl_pool p;
    tl_pool_init(&p, size, 0);
    for (int i = 0; i < 3000; i++) {
      obj[i] = tl_pool_get(&p);
      cr_assert_not_null(obj[i]);
      cr_assert_eq((uintptr_t)obj[i] % 64, 0);
      memset(obj[i], i & 0xff, size);
    }
    for (int i = 0; i < 3000; i++) {
      cr_assert_eq(obj[i][0], i & 0xff);
      cr_assert_eq(obj[i][size - 1], i & 0xff);
    }
    for (int i = 0; i < 3000; i++) tl_pool_put(&p, obj[i]);
    cr_expect_eq(p.used, 0);
    tl_pool_destroy(&p);
  }
}

Test(base_pool, max_objects_are_out_at_once) {
  struct tl_pool p;
  void *obj[3];
  tl_pool_init(&p, 100, 3);
  for (int i = 0; i < 3; i++) cr_assert_not_null(obj[i] = tl_pool_get(&p));
  cr_expect_null(tl_pool_get(&p));
  tl_pool_put(&p, obj[1]);
  obj[1] = tl_pool_get(&p);
  cr_expect_not_null(obj[1]);
  cr_expect_null(tl_pool_get(&p));
  for (int i = 0; i < 3; i++) tl_pool_put(&p, obj[i]);
  tl_pool_destroy(&p);
}

Test(base_pool, only_the_reserve_of_empty_chunks_stays) {
  struct tl_pool p;
  static void *obj[10000];
  for (size_t keep = 0; keep < 4; keep++) {
    tl_pool_init(&p, 1000, 0);
    p.keep = keep;
    for (int i = 0; i < 10000; i++) cr_assert_not_null(obj[i] = tl_pool_get(&p));
    for (int i = 0; i < 10000; i++) tl_pool_put(&p, obj[i]);
    cr_expect_eq(p.n_empty, keep);
    tl_pool_destroy(&p);
  }
}

Test(base_pool, random_use_never_hands_out_an_object_twice) {
  struct tl_pool p;
  static uint64_t *obj[2000];
  tl_pool_init(&p, 200, 0);
  srand(5);
  size_t out = 0;
  for (uint64_t round = 0; round < 200000; round++) {
    int i = rand() % 2000;
    if (obj[i]) {
      cr_assert_eq(obj[i][5], (uint64_t)(uintptr_t)obj[i] ^ (uint64_t)i);
      tl_pool_put(&p, obj[i]);
      obj[i] = NULL;
      out--;
    } else {
      cr_assert_not_null(obj[i] = tl_pool_get(&p));
      obj[i][5] = (uint64_t)(uintptr_t)obj[i] ^ (uint64_t)i;
      out++;
    }
    cr_assert_eq(p.used, out);
  }
  for (int i = 0; i < 2000; i++)
    if (obj[i]) tl_pool_put(&p, obj[i]);
  tl_pool_destroy(&p);
}
