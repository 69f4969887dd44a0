/* SPDX-License-Identifier: Apache-2.0 */
/* What is made once, by whoever comes first, and is tried again when it could not be made. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "tieline/once.h"

static _Atomic unsigned calls;
static unsigned failures; /* so many calls fail */
static int value;         /* plain: tl_once must publish it */

static bool make_value(void) {
  if (calls++ < failures) return false;
  usleep(10000); /* the others come meanwhile */
  value = 42;
  return true;
}

Test(base_once, a_failure_is_not_remembered) {
  static struct tl_once once = TL_ONCE_INIT;
  failures = 2;
  cr_expect_not(tl_once(&once, make_value));
  cr_expect_not(tl_once(&once, make_value));
  cr_expect(tl_once(&once, make_value));
  cr_expect(tl_once(&once, make_value));
  cr_expect_eq(calls, 3, "made again");
}

static void *want_value(void *arg) {
  static struct tl_once once = TL_ONCE_INIT;
  (void)arg;
  cr_expect(tl_once(&once, make_value));
  cr_expect_eq(value, 42);
  return NULL;
}

Test(base_once, of_many_threads_one_makes_it) {
  pthread_t thread[8];
  for (int i = 0; i < 8; i++) cr_assert_eq(pthread_create(&thread[i], NULL, want_value, NULL), 0);
  for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
  cr_expect_eq(calls, 1);
}
