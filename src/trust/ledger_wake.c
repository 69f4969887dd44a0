/* SPDX-License-Identifier: Apache-2.0 */
/* Why a run of the ledger begins: noted here, acted on by ledger.c. */
#include "trust/ledger.h"

static void ocsp_ends(struct tl_ledger *l, time_t until) {
  if (until && (!l->ocsp_at || until < l->ocsp_at)) l->ocsp_at = until;
}

void tl_ledger_wake(struct tl_ledger *l, bool all) {
  l->rerun = true;
  l->rerun_all |= all;
}

void tl_ledger_ocsp(struct tl_ledger *l, time_t until, bool revoked) {
  ocsp_ends(l, until);
  if (revoked) tl_ledger_wake(l, false);
}
