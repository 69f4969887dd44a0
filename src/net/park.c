/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections whose client's certificate awaits its OCSP status: the question goes
 * to the control thread by mail, and until its answer nothing is read from a parked
 * connection, so its messages wait in the kernel. The control thread answers each
 * question within ocsp_timeout.
 */
#include <stdlib.h>

#include "net_internal.h"
#include "tieline/conn_order.h"
#include "tieline/log.h"
#include "tieline/tls_domain.h"

void tl_ocsp_ask_free(struct tl_ocsp_ask *a) {
  tl_tls_domain_unref(a->domain);
  tl_identity_unref(a->identity);
  free(a);
}

static int post_question(struct tl_conn *c, bool park) {
  struct tl_net *n = c->net;
  struct tl_ocsp_ask *a = calloc(1, sizeof(*a));
  if (!a) return TL_ENOMEM;
  a->worker = n->th->index;
  a->conn = tl_conn_id_of(c);
  a->parked = park;
  a->domain = tl_tls_domain_ref(c->view.tls->domain);
  a->identity = tl_identity_ref(c->view.tls->identity);
  int rc = tl_mail_send(&n->rt->ocsp_questions, &a->mail);
  if (rc == 0) return TL_OK;
  tl_count(n->counters, TL_C_MAIL_FULL);
  tl_ocsp_ask_free(a);
  return rc;
}

int tl_park_ask(struct tl_conn *c) {
  const struct tl_ocsp_policy *p = &c->view.tls->domain->policy.ocsp;
  int rc = post_question(c, p->park);
  if (rc) { /* soft: the ledger asks later */
    atomic_store(&c->net->rt->reverify_pending, true);
    return p->client == TL_OCSP_CLIENT_HARD ? rc : TL_OK;
  }
  c->rx.parked = p->park;
  if (c->rx.parked) tl_count(c->net->counters, TL_C_OCSP_PARKED);
  return TL_OK;
}

void tl_conn_unpark(struct tl_conn *c) {
  if (!c->rx.parked) return;
  c->rx.parked = false;
  c->kept.active_ms = c->net->now_ms;
  if (c->view.state == TL_CONN_OPEN) tl_relay_arm(c);
}
