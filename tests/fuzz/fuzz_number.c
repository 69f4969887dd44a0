/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: telephone numbers and their parameters. A number that is read reads as itself in
 * its plain form, with separators and with all characters escaped; parameters are slices of the
 * input.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tieline/number.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(x)                                                                                    \
  do {                                                                                             \
    if (!(x)) abort();                                                                             \
  } while (0)

static void same(struct tl_str text, const struct tl_number *want) {
  struct tl_number got;
  MUST(tl_number_read(text, &got));
  MUST(got.n == want->n && memcmp(got.text, want->text, got.n) == 0);
  MUST(got.digits == want->digits && got.n_digit == want->n_digit && got.global == want->global);
}

static void packed(const struct tl_number *n) {
  uint64_t digits = 0;
  unsigned i = 0;
  for (; i < n->n && i < TL_NUMBER_DIGITS && n->text[i] <= '9' && n->text[i] >= '0'; i++)
    digits |= (uint64_t)(n->text[i] - '0') << (60 - 4 * i);
  MUST(digits == n->digits && i == n->n_digit && n->n && n->n <= TL_NUMBER_MAX);
}

static void other_forms(const struct tl_number *n) {
  char text[8 * TL_NUMBER_MAX];
  size_t len = n->global;
  text[0] = '+';
  memcpy(text + len, n->text, n->n);
  same((struct tl_str){text, len + n->n}, n);
  len = (size_t)sprintf(text, "(%s", n->global ? "%2b" : "");
  for (unsigned i = 0; i < n->n; i++)
    len += (size_t)sprintf(text + len, "%%%02x-%s", (unsigned char)n->text[i], i & 1 ? ")" : ".");
  len += (size_t)sprintf(text + len, ";rn=x");
  same((struct tl_str){text, len}, n);
}

static void inside(struct tl_str s, const char *p, size_t n) {
  if (s.p) MUST(s.p >= p && s.n <= n && s.p + s.n <= p + n && !memchr(s.p, ';', s.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tl_number n;
  struct tl_number_params q;
  char *p = malloc(size ? size : 1); /* its own block: a load past the end is seen */
  if (!p) return 0;
  if (size) memcpy(p, data, size);
  if (tl_number_read((struct tl_str){p, size}, &n)) {
    packed(&n);
    other_forms(&n);
  }
  tl_number_read_params((struct tl_str){p, size}, &q);
  inside(q.rn, p, size);
  inside(q.cic, p, size);
  inside(q.tgrp, p, size);
  inside(q.trunk_context, p, size);
  inside(q.phone_context, p, size);
  free(p);
  return 0;
}
