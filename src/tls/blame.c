/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refusals of options: the sentence for the operator, and OpenSSL's reason in
 * words. Which option is refused is for the callers to say. An allocation that
 * failed within OpenSSL is not the fault of the option.
 */
#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

#include "tls/tls_internal.h"

const char *tl_blame_reason(void) {
  unsigned long e = ERR_peek_last_error();
  if (e == 0) return errno ? strerror(errno) : "unknown reason";
  if (ERR_SYSTEM_ERROR(e)) return strerror(ERR_GET_REASON(e));
  const char *s = ERR_reason_error_string(e);
  return s ? s : "unknown reason";
}

void tl_blame_begin(void) {
  ERR_clear_error();
  errno = 0;
}

bool tl_blame_no_memory(void) {
  bool found = errno == ENOMEM;
  for (unsigned long e; (e = ERR_get_error()) != 0;)
    found |= !ERR_SYSTEM_ERROR(e) && ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
  return found;
}

int tl_blame_option(struct tl_blame *b, const char *option, const char *fmt, ...) {
  const bool no_memory = tl_blame_no_memory();
  va_list ap;
  va_start(ap, fmt);
  if (b->cap) vsnprintf(b->err, b->cap, fmt, ap);
  va_end(ap);
  if (b->option) *b->option = option;
  return no_memory ? TL_ENOMEM : TL_ECONFIG;
}
