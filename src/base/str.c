/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers out of slices. */
#include "tieline/str.h"

#include "tieline/err.h"

int tl_str_u64(struct tl_str s, uint64_t max, uint64_t *out) {
  if (s.n == 0) return TL_ESYNTAX;
  uint64_t v = 0;
  for (size_t i = 0; i < s.n; i++) {
    unsigned d = (unsigned char)s.p[i] - '0';
    if (d > 9) return TL_ESYNTAX;
    if (v > (UINT64_MAX - d) / 10) return TL_ESYNTAX;
    v = v * 10 + d;
  }
  if (v > max) return TL_ESYNTAX;
  *out = v;
  return TL_OK;
}
