/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mails between workers and handshake threads: dials one way, connections and
 * failures the other. Making and taking them is the business of both ends.
 */
#include "runtime/handoff.h"

#include <stdlib.h>
#include <unistd.h>

#include "runtime/sources.h"
#include "tieline/tls_domain.h"
#include "tieline/tls_handshake.h"

/* TH knows what to do with M; the poster need not know the function that takes it. */
static int post_to(struct tl_thread *th, struct tl_mail *m) {
  const struct tl_mail_address to = {&th->mailbox, th->takes};
  return tl_mail_send(&to, m);
}

/* ---- dials ---- */

void tl_dial_free(struct tl_dial *d) {
  tl_tls_domain_unref(d->domain);
  free(d);
}

int tl_dial_post(struct tl_thread *th, struct tl_dial *d) { return post_to(th, &d->mail); }

/* ---- handoffs ---- */

void tl_handoff_free(struct tl_handoff *h) {
  if (h->fd >= 0) {
    close(h->fd);
    atomic_fetch_sub(&h->rt->connections, 1);
    if (!h->conn) tl_conn_source_leave(&h->peer);
  }
  tl_record_free(h->record);
  if (h->rekey) {
    explicit_bzero(h->rekey, sizeof(*h->rekey));
    free(h->rekey);
  }
  if (h->domain) tl_tls_domain_unref(h->domain);
  tl_identity_unref(h->identity);
  tl_hs_free(h->post_hs);
  tl_identity_unref(h->own);
  free(h->sni);
  free(h);
}

int tl_handoff_post(struct tl_thread *th, struct tl_handoff *h) { return post_to(th, &h->mail); }
