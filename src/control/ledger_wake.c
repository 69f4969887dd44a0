/* SPDX-License-Identifier: Apache-2.0 */
/* Why a run of the ledger begins: noted here, acted on by ledger.c. */
#include "control/ledger.h"

static void ocsp_ends(struct tl_ledger *l, time_t until) {
  if (until && (!l->ocsp_at || until < l->ocsp_at)) l->ocsp_at = until;
}

void tl_ledger_wake(struct tl_control *c, bool all) {
  c->ledger->rerun = true;
  c->ledger->rerun_all |= all;
}

void tl_ledger_ocsp(struct tl_control *c, time_t until, bool revoked) {
  if (!c->ledger) return;
  ocsp_ends(c->ledger, until);
  if (revoked) tl_ledger_wake(c, false);
}
