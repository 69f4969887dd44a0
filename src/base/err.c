/* SPDX-License-Identifier: Apache-2.0 */
/* Phrases for the error enum. */
#include "tieline/err.h"

const char *tl_strerror(int code) {
  switch ((enum tl_err)code) {
  case TL_OK: return "success";
  case TL_EAGAIN: return "more input needed";
  case TL_ENOMEM: return "out of memory";
  case TL_EINVAL: return "invalid argument";
  case TL_ESYNTAX: return "syntax error";
  case TL_ELIMIT: return "limit reached";
  case TL_ENOTFOUND: return "not found";
  case TL_EEXIST: return "already exists";
  case TL_EIO: return "input/output error";
  case TL_ECLOSED: return "closed by the other side";
  case TL_ETIMEOUT: return "timed out";
  case TL_ENOTSUP: return "not supported here";
  case TL_ETLS: return "TLS protocol failure";
  case TL_EVERIFY: return "certificate verification failed";
  case TL_EBADMAC: return "authentication of a record or token failed";
  case TL_ECONFIG: return "configuration refused";
  case TL_EPERM: return "not permitted";
  case TL_ELARGE: return "larger than its receiver takes";
  case TL_EBUSY: return "in use";
  }
  return "unknown error";
}
