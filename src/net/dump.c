/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl connections` shows, collected by the worker that owns them. */
#include <stdlib.h>

#include "net_internal.h"

static uint32_t memory_of(const struct tl_conn *c) {
  size_t n = sizeof(*c) + c->cipher.cap + c->plain.cap + c->held.cap;
  for (const struct tl_chunk *k = c->out.head; k; k = k->next) n += sizeof(*k) + TL_CHUNK_CAP;
  if (c->tls) n += sizeof(*c->tls);
  if (tl_conn_user_tls(c)) n += tl_record_size(c->tls->record);
  return (uint32_t)n;
}

static void copy_text(char *dst, size_t cap, const char *src) {
  size_t n = src ? strlen(src) : 0;
  if (n >= cap) n = cap - 1;
  if (n) memcpy(dst, src, n);
  dst[n] = '\0';
}

static void fill(const struct tl_conn *c, struct tl_conn_info *i) {
  static const char *const state[] = {"connecting", "open", "closing", "closing"};
  memset(i, 0, sizeof(*i));
  i->id = tl_conn_id_of(c);
  i->worker = c->net->th->index;
  i->transport = (enum tl_transport)c->transport;
  i->outgoing = c->outgoing;
  i->state = c->retired && c->state == TL_CONN_OPEN ? "retiring" : state[c->state];
  i->peer = c->peer;
  i->local = c->local;
  i->ktls.tx = i->ktls.rx = TL_KTLS_PLAIN;
  i->age_ms = c->net->now_ms - c->born_ms;
  i->idle_ms = c->net->now_ms - c->active_ms;
  i->msgs_in = c->msgs_in;
  i->msgs_out = c->msgs_out;
  i->bytes_in = c->bytes_in;
  i->bytes_out = c->bytes_out;
  i->queued_bytes = c->out.bytes;
  i->paused = c->paused;
  i->memory_bytes = memory_of(c);
  const struct tl_conn_tls *t = c->tls;
  if (!t) return;
  i->version = (enum tl_tls_version)t->version;
  i->cipher = (enum tl_cipher)t->cipher;
  i->ktls = t->ktls;
  i->peer_verified = t->peer_verified;
  i->resumed = t->resumed;
  copy_text(i->domain, sizeof(i->domain), t->domain ? t->domain->name : "");
  copy_text(i->identity, sizeof(i->identity), t->identity ? t->identity->subject : "");
  copy_text(i->sni, sizeof(i->sni), t->sni);
}

void tl_conn_dump(struct tl_net *n, struct tl_dump *d) {
  d->n = 0;
  d->total = n->n_conn;
  size_t want = d->cap < n->n_conn ? d->cap : n->n_conn;
  d->info = want ? malloc(want * sizeof(*d->info)) : NULL;
  for (uint32_t s = 0; d->info && s < n->n_slot && d->n < want; s++)
    if (n->slots[s].c) fill(n->slots[s].c, &d->info[d->n++]);
  d->worker = n->th->index;
  if (tl_mailbox_post(d->reply, &d->mail)) {
    free(d->info);
    free(d);
  }
}
