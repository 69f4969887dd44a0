/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8, and the code points that must not be shown as they are. Escaping itself
 * is left to the writers: the log (base/log_format.c) and ctl's tables.
 */
#include "base/text.h"

static bool is_continuation(uint8_t c) { return (c & 0xc0) == 0x80; }

size_t tl_utf8_next(const uint8_t *p, size_t n, uint32_t *out_cp) {
  if (n == 0) return 0;
  if (p[0] < 0x80) {
    *out_cp = p[0];
    return 1;
  }
  if (p[0] >= 0xc2 && p[0] <= 0xdf && n >= 2 && is_continuation(p[1])) {
    *out_cp = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    return 2;
  }
  if ((p[0] & 0xf0) == 0xe0 && n >= 3 && is_continuation(p[1]) && is_continuation(p[2])) {
    uint32_t cp = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    if (cp < 0x800 || (cp >= 0xd800 && cp <= 0xdfff)) return 0;
    *out_cp = cp;
    return 3;
  }
  if ((p[0] & 0xf8) == 0xf0 && n >= 4 && is_continuation(p[1]) && is_continuation(p[2]) &&
      is_continuation(p[3])) {
    uint32_t cp = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
                  (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    if (cp < 0x10000 || cp > 0x10ffff) return 0;
    *out_cp = cp;
    return 4;
  }
  return 0;
}

bool tl_text_unsafe(uint32_t cp) {
  if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) return true;
  if (cp >= 0x2028 && cp <= 0x202e) return true; /* line separators, bidirectional embeddings */
  if (cp >= 0x2066 && cp <= 0x2069) return true; /* bidirectional isolates */
  return cp == 0x200e || cp == 0x200f || cp == 0xfeff;
}
