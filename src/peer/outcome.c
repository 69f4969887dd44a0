/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of ends, see outcome.h. */
#include "tieline/outcome.h"

#include <string.h>

#include "tieline/err.h"

int tl_outcomes_add(struct tl_outcomes *o, const char *text) {
  unsigned pseudo = strcmp(text, "transport") == 0 ? TL_OUTCOME_TRANSPORT
                    : strcmp(text, "silence") == 0 ? TL_OUTCOME_SILENCE
                                                   : 0;
  o->given = true;
  if (!pseudo) return tl_status_set_add(&o->of, text);
  pseudo -= TL_STATUS_FIRST;
  o->of.bit[pseudo / 64] |= UINT64_C(1) << pseudo % 64;
  return TL_OK;
}
