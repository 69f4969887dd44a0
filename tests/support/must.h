/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a helper of the tests cannot do without.
 *
 * Ownership: none. Threads: any. Errors: the unit test ends as failed, a program
 * without unit tests is aborted; OpenSSL's errors are shown.
 */
#pragma once

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

void criterion_abort_test(void) __attribute__((weak));

#define MUST(x) ((x) ? (void)0 : must_end(__FILE__, __LINE__, #x))

static inline _Noreturn void must_end(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  ERR_print_errors_fp(stderr);
  if (criterion_abort_test) criterion_abort_test();
  abort();
}
