/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mails between workers and handshake threads: dials one way, connections and
 * failures the other. Making and using them is the business of both ends.
 */
#include "net/handoff.h"

#include <stdlib.h>
#include <unistd.h>

#include "net/handshaker.h"
#include "net/sources.h"
#include "net_internal.h"

/* ---- dials ---- */

void tl_dial_free(struct tl_dial *d) {
  tl_tls_domain_unref(d->domain);
  free(d);
}

static void deliver_dial(void *reader, struct tl_mail *m) {
  tl_hk_dial(reader, (struct tl_dial *)m);
}

/* Unanswered: the worker's own deadline covers it. */
static void drop_dial(struct tl_mail *m) { tl_dial_free((struct tl_dial *)m); }

static const struct tl_mail_kind dial_kind = {"dial", deliver_dial, drop_dial};

int tl_dial_post(struct tl_thread *th, struct tl_dial *d) {
  d->mail.kind = &dial_kind;
  return tl_mailbox_post(&th->mailbox, &d->mail);
}

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

static void deliver_handoff(void *reader, struct tl_mail *m) {
  tl_conn_adopt(reader, (struct tl_handoff *)m);
}

static void drop_handoff(struct tl_mail *m) { tl_handoff_free((struct tl_handoff *)m); }

static const struct tl_mail_kind handoff_kind = {"handoff", deliver_handoff, drop_handoff};

int tl_handoff_post(struct tl_thread *th, struct tl_handoff *h) {
  h->mail.kind = &handoff_kind;
  return tl_mailbox_post(&th->mailbox, &h->mail);
}
