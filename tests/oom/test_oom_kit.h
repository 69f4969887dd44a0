/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of what a call does when the n-th allocation in it is refused, for each
 * n: it says TL_ENOMEM, leaves nothing behind (the leak check at the test's end
 * sees that) and works the next time.
 *
 * Ownership: none. Threads: the test's own. Errors: the test fails.
 */
#pragma once

#include <stdbool.h>

struct oom_case {
  const char *name;
  int (*make)(void); /* TL_OK and something for DROP, or an error and nothing */
  void (*drop)(void);
  int refusal;       /* what MAKE may say besides TL_ENOMEM when it has no memory; 0: nothing */
  bool does_without; /* it may succeed all the same: what was refused is not needed, or was tried
                      * again
                      */
};

/* Makes, for each n: thousands of allocations are tried in growing steps. */
void oom_case_run(const struct oom_case *c);
#define OOM_RUN_ALL(cases)                                                                         \
  for (size_t i_ = 0; i_ < sizeof(cases) / sizeof(*(cases)); i_++) oom_case_run(&(cases)[i_])
