/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status codes and classes as they are written.
 */
#include "tieline/status_set.h"

#include <ctype.h>
#include <string.h>

#include "tieline/err.h"

static void add_codes(struct tl_status_set *s, unsigned from, unsigned end) {
  for (unsigned i = from - TL_STATUS_FIRST; i < end - TL_STATUS_FIRST; i++)
    s->bit[i / 64] |= UINT64_C(1) << i % 64;
}

int tl_status_set_add(struct tl_status_set *s, const char *text) {
  if (strlen(text) != 3 || *text < '1' || *text > '6') return TL_ESYNTAX;
  const unsigned begin = 100 * (unsigned)(*text - '0');
  if (strcmp(text + 1, "xx") == 0) {
    add_codes(s, begin, begin + 100);
    return TL_OK;
  }
  if (!isdigit((unsigned char)text[1]) || !isdigit((unsigned char)text[2])) return TL_ESYNTAX;
  const unsigned code = begin + 10 * (unsigned)(text[1] - '0') + (unsigned)(text[2] - '0');
  add_codes(s, code, code + 1);
  return TL_OK;
}
