/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message is refused for while it is scanned: the first error stands.
 */
#include "scan_internal.h"

void tl_scan_fail(struct scan *s, int rc, uint16_t status, const char *reason) {
  if (s->rc) return;
  s->rc = rc;
  s->err->status = status;
  s->err->reason = reason;
}

void tl_scan_bad(struct scan *s, const char *reason) { tl_scan_fail(s, TL_ESYNTAX, 400, reason); }
