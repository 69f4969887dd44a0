/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory; the promise stands in the header. */
#include "tieline/state_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/err.h"

int tl_state_path(const char *file, char out[TL_STATE_PATH_MAX]) {
  const char *dirs = getenv("STATE_DIRECTORY");
  const char *slash = strrchr(file, '/');
  const int dir_len = dirs && *dirs == '/' ? (int)strcspn(dirs, ":") : 0;
  const int n = dir_len && slash ? snprintf(out, TL_STATE_PATH_MAX, "%.*s%s", dir_len, dirs, slash)
                                 : snprintf(out, TL_STATE_PATH_MAX, "%s", file);
  return n < TL_STATE_PATH_MAX ? TL_OK : TL_ELIMIT;
}
