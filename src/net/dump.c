/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of `ctl connections`, collected by the worker that owns the connections. */
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/tls_domain.h"

static uint32_t memory_of(const struct tl_conn *c) {
  size_t n = sizeof(*c) + c->kept.cipher.cap + c->kept.plain.cap + c->kept.held.cap;
  for (const struct tl_chunk *k = c->kept.out.head; k; k = k->next) n += sizeof(*k) + TL_CHUNK_CAP;
  if (c->kept.tls) n += sizeof(*c->kept.tls);
  if (tl_conn_user_tls(c)) n += tl_record_size(c->kept.tls->record);
  return (uint32_t)n;
}

/* What waits in the socket of C, and what the kernel has set aside for more. */
static uint32_t kernel_bytes_of(const struct tl_conn *c) {
  uint32_t v[SK_MEMINFO_VARS] = {0};
  socklen_t len = sizeof(v);
  if (c->kept.fd < 0 || getsockopt(c->kept.fd, SOL_SOCKET, SO_MEMINFO, v, &len)) return 0;
  return v[SK_MEMINFO_RMEM_ALLOC] + v[SK_MEMINFO_WMEM_QUEUED] + v[SK_MEMINFO_FWD_ALLOC] +
         v[SK_MEMINFO_OPTMEM];
}

static void copy_text(char *dst, size_t cap, const char *src) {
  size_t n = src ? strlen(src) : 0;
  if (n >= cap) n = cap - 1;
  if (n) memcpy(dst, src, n);
  dst[n] = '\0';
}

static void fill_info(struct tl_conn *c, struct tl_conn_info *i) {
  static const char *const state[] = {"connecting", "open", "closing", "closing"};
  memset(i, 0, sizeof(*i));
  i->id = tl_conn_id_of(c);
  i->worker = c->net->th->index;
  i->transport = (enum tl_transport)c->view.transport;
  i->outgoing = c->view.outgoing;
  i->state = c->rx.parked && c->view.state == TL_CONN_OPEN      ? "parked"
             : tl_conn_half_closed(c)                           ? "half-closed"
             : c->life.retired && c->view.state == TL_CONN_OPEN ? "retiring"
                                                                : state[c->view.state];
  i->peer = c->view.peer;
  i->local = c->view.local;
  i->ktls.tx = i->ktls.rx = TL_KTLS_PLAIN;
  i->age_ms = c->net->now_ms - c->kept.born_ms;
  i->idle_ms = c->net->now_ms - c->kept.active_ms;
  i->msgs_in = c->kept.msgs_in;
  i->msgs_out = c->kept.msgs_out;
  i->bytes_in = c->kept.bytes_in;
  i->bytes_out = c->kept.bytes_out;
  i->queued_bytes = c->kept.out.bytes;
  i->paused = c->rx.paused;
  i->memory_bytes = memory_of(c);
  i->kernel_bytes = kernel_bytes_of(c);
  if (c->net->handler->describe) c->net->handler->describe(c->net, c, i);
  const struct tl_tls_facts *t = c->view.tls;
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

/* PART anywhere in TEXT, case ignored. */
static bool contains_text(const char *text, const char *part) {
  return text && strcasestr(text, part) != NULL;
}

static bool from_peer(const struct tl_conn *c, const struct tl_conn_filter *f) {
  const struct tl_tls_facts *t = c->view.tls;
  for (size_t i = 0; i < f->n_addr; i++)
    if (tl_addr_port(&f->addr[i]) ? tl_addr_eq(&f->addr[i], &c->view.peer)
                                  : tl_addr_ip_eq(&f->addr[i], &c->view.peer))
      return true;
  return f->peer_identity[0] && t && t->identity && t->peer_verified &&
         tl_identity_matches(t->identity, tl_str_c(f->peer_identity), false);
}

static bool passes_filter(const struct tl_conn *c, const struct tl_conn_filter *f) {
  const struct tl_tls_facts *t = c->view.tls;
  if (f->id && tl_conn_id_of(c) != f->id) return false;
  if (f->by_peer && !from_peer(c, f)) return false;
  if (f->domain[0] && !(t && t->domain && strcmp(t->domain->name, f->domain) == 0)) return false;
  if (!f->identity[0]) return true;
  return t && t->identity &&
         (tl_identity_matches(t->identity, tl_str_c(f->identity), true) ||
          contains_text(t->identity->subject, f->identity));
}

static void add_references(const struct tl_conn *c, struct tl_conn_info *i) {
  if (!c->kept.tls) return;
  if (c->view.tls->identity) i->peer_cert = tl_identity_ref(c->view.tls->identity);
  if (c->view.tls->own) i->own = tl_identity_ref(c->view.tls->own);
  if (c->view.tls->domain) i->tls_domain = tl_tls_domain_ref(c->view.tls->domain);
}

void tl_dump_free(struct tl_dump *d) {
  for (size_t i = 0; i < d->n; i++) {
    tl_identity_unref(d->info[i].peer_cert);
    tl_identity_unref(d->info[i].own);
    tl_tls_domain_unref(d->info[i].tls_domain);
  }
  free(d->info);
  free(d);
}

/* An ID holds the slot, so a single connection needs no search. */
static void span_of(const struct tl_net *n, tl_conn_id id, uint32_t *from, uint32_t *to) {
  *from = id ? (uint32_t)id : 0;
  *to = n->slots.n;
  if (id && *from < n->slots.n) *to = *from + 1;
}

static void collect_conns(struct tl_net *n, struct tl_dump *d) {
  uint32_t from, to;
  size_t want = d->cap < n->n_conn ? d->cap : n->n_conn;
  d->n = d->total = 0;
  span_of(n, d->filter.id, &from, &to);
  if (d->filter.id && want) want = 1;
  d->info = want ? malloc(want * sizeof(*d->info)) : NULL;
  for (uint32_t s = from; s < to; s++) {
    struct tl_conn *c = n->slots.at[s].object;
    if (!c || !passes_filter(c, &d->filter)) continue;
    d->total++;
    if (!d->info || d->n == want) continue;
    fill_info(c, &d->info[d->n]);
    if (d->with_refs) add_references(c, &d->info[d->n]);
    d->n++;
  }
  d->worker = n->th->index;
}

static void deliver_dump(void *reader, struct tl_mail *m) {
  struct tl_dump *d = (struct tl_dump *)m;
  collect_conns(reader, d);
  tl_mail_return(&d->reply, m);
}

static void drop_dump(struct tl_mail *m) {
  struct tl_dump *d = (struct tl_dump *)m;
  d->rc = TL_ECLOSED;
  d->n = d->total = 0;
  tl_mail_return(&d->reply, m);
}

static const struct tl_mail_kind dump_kind = {"list connections", deliver_dump, drop_dump};

int tl_dump_ask(struct tl_thread *worker, struct tl_dump *d) {
  d->mail.kind = &dump_kind;
  return tl_mailbox_post(&worker->mailbox, &d->mail);
}
