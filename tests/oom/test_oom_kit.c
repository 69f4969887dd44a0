/* SPDX-License-Identifier: Apache-2.0 */
#include "test_oom_kit.h"

#include <criterion/criterion.h>

#include "refuse.h"
#include "tieline/err.h"

/* Beyond so many allocations not each is tried. */
#define DENSE 400u

/* Once more with the place that is refused on standard error: the same one, unless something has
 * been made for good since. */
static void tell_place(const struct oom_case *c, unsigned n) {
  oom_trace(true);
  oom_begin(n);
  if (c->make() == TL_OK) c->drop();
  oom_end();
  oom_trace(false);
}

void oom_case_run(const struct oom_case *c) {
  unsigned n;
  for (n = 1; oom_begin(n); n += 1 + n / DENSE) {
    int rc = c->make();
    if (!oom_end()) {
      cr_assert_eq(rc, TL_OK, "%s: %d though nothing was refused after %u", c->name, rc, n);
      break;
    }
    if (rc == TL_OK && c->does_without) {
      c->drop();
      continue;
    }
    if (rc != TL_ENOMEM && (!rc || rc != c->refusal)) tell_place(c, n);
    cr_assert(rc == TL_ENOMEM || (rc && rc == c->refusal), "%s: %d when allocation %u is refused",
              c->name, rc, n);
  }
  c->drop();
  if (!c->does_without) cr_assert_gt(n, 1, "%s: asks for no memory", c->name);
}
