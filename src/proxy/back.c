/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back of a response when the connection that brought its request has
 * ended (RFC 3261 18.2.2): another connection of the same sender, of this worker
 * or else of the next ones in turn; where nobody has one, the last of them dials
 * where the Via says. Who is the same sender source.c decides. Who is known by his
 * address alone and says that he listens there is dialled at once. A connection whose
 * peer has only half-closed it may be as good as gone: a sender who is known by
 * more than his address, and has another one, gets his answers there.
 */
#include <stdlib.h>

#include "proxy.h"

/* A search goes through all connections: so many of them have their sender worked out, and where
 * they are many the next search waits. */
#define LOOKS_MAX 256u
#define MANY 1024u
#define SEARCH_MS 10u

struct back {
  struct tl_mail mail;
  struct tl_flow was; /* where the request came from */
  uint64_t sender;
  uint16_t via_port;
  enum { NOTHING, DIAL, AS_IT_CAME } last; /* where nobody has another connection */
  bool at_once;
  unsigned hops; /* workers that have looked */
  uint32_t len;
  char data[];
};

static bool usable(const struct tl_conn *c, const struct tl_flow *was) {
  return c && c->state == TL_CONN_OPEN && !c->doomed && !tl_conn_half_closed(c) &&
         c->transport == was->transport;
}

/* What we have dialled leads to whoever listens there, which an address alone does not tell apart
 * from who has called. */
static bool is_sender(struct tl_proxy *p, struct tl_conn *c, uint64_t sender) {
  if (c->outgoing && sender % 8 == TL_SENDER_ADDRESS) return false;
  struct tl_flow at = {
      .transport = (enum tl_transport)c->transport, .conn = tl_conn_id_of(c), .addr = c->peer};
  return tl_source_sender(p, &at, c) == sender;
}

static struct tl_conn *search(struct tl_proxy *p, const struct tl_flow *was, uint64_t sender) {
  struct tl_net *n = &p->net;
  struct tl_conn *found = NULL;
  unsigned looks = LOOKS_MAX;
  for (uint32_t i = 0; i < n->n_slot && looks; i++) {
    struct tl_conn *c = n->slots[i].c;
    if (!usable(c, was)) continue;
    if (!tl_addr_ip_eq(&c->peer, &was->addr) && !(c->tls && c->tls->peer_verified)) continue;
    looks--;
    if (!is_sender(p, c, sender)) continue;
    /* Behind one address there may be several, and nothing tells which of them has called. */
    if (found && sender % 8 == TL_SENDER_ADDRESS) return NULL;
    if (!found || c->born_ms > found->born_ms) found = c;
  }
  return found;
}

static struct tl_conn *find(struct tl_proxy *p, const struct tl_flow *was, uint64_t sender) {
  struct tl_conn *c = tl_conn_get(&p->net, p->back.conn);
  uint64_t now = p->net.now_ms;
  if (p->back.sender == sender && usable(c, was) && is_sender(p, c, sender)) return c;
  if (p->net.n_slot > MANY && now - p->back.at_ms < SEARCH_MS) return NULL;
  c = search(p, was, sender);
  p->back.sender = sender;
  p->back.conn = c ? tl_conn_id_of(c) : 0;
  p->back.at_ms = now;
  return c;
}

static int dial(struct tl_proxy *p, const struct back *b, struct tl_conn **out) {
  char host[TL_ADDR_STRLEN];
  enum tl_choice rule;
  struct tl_conn_key key = {.transport = b->was.transport, .addr = b->was.addr};
  bool tls = key.transport == TL_TLS;
  tl_addr_set_port(&key.addr, b->via_port ? b->via_port : tls ? 5061 : 5060);
  if (tls) {
    tl_addr_format_host(&key.addr, host);
    key.domain = tl_tls_choose_client(&p->net.conf->tls_set, tl_str_c(host), &key.addr, &rule);
    key.identity = key.sni = host;
    if (!key.domain) return TL_ENOTFOUND;
  }
  return tl_conn_open(&p->net, &key, out);
}

/* Sends B from here or hands it on; takes it. */
static int step(struct tl_proxy *p, struct back *b, tl_conn_id *out) {
  unsigned workers = p->th.rt->n_worker;
  struct tl_conn *c = b->at_once ? NULL : find(p, &b->was, b->sender);
  int rc = TL_OK;
  if (c) {
    tl_count(tl_proxy_counters(p), TL_C_RESP_ELSEWHERE);
  } else if (!b->at_once && b->hops + 1 < workers) {
    b->hops++;
    rc = tl_xw_post_bytes(p, (p->th.index + 1) % workers, &b->mail, b->len);
    if (rc) free(b);
    return rc;
  } else {
    rc = b->last == DIAL ? dial(p, b, &c) : TL_ECLOSED;
  }
  if (b->last == AS_IT_CAME && !c)
    rc = tl_forward_bytes(p, &b->was, b->data, b->len);
  else if (rc == TL_OK)
    rc = tl_conn_send(c, b->data, b->len);
  if (rc == TL_OK && c) *out = tl_conn_id_of(c);
  free(b);
  return rc;
}

static bool half_closed(const struct tl_txn *txn) {
  const struct tl_conn *c = tl_conn_get(&txn->proxy->net, txn->from.conn);
  return c && tl_conn_half_closed(c);
}

bool tl_back_needed(const struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  if (txn->from.transport == TL_UDP || tl_xw_is_remote(p, txn->from.conn)) return false;
  const struct tl_conn *c = tl_conn_get(&p->net, txn->from.conn);
  if (!c || c->state != TL_CONN_OPEN) return true;
  return tl_conn_half_closed(c) && txn->sender % 8 != TL_SENDER_ADDRESS;
}

/* Is its sent-by at the sender's address, but not the connection that brought it? Behind a NAT it
 * is neither, and an address may be of others, too, whom the answer does not concern. */
static bool listens(const struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body body;
  struct tl_addr a;
  if (txn->sender % 8 != TL_SENDER_ADDRESS || !txn->request ||
      tl_forward_rescan(p, txn->request, txn->reliable, &p->msg3, &body))
    return false;
  return tl_addr_parse(p->msg3.via.host, p->msg3.via.port, &a) == TL_OK &&
         tl_addr_ip_eq(&a, &txn->from.addr) && !tl_addr_eq(&a, &txn->from.addr);
}

static struct back *back_new(const struct tl_txn *txn, size_t len, bool may_dial) {
  struct back *b = calloc(1, sizeof(*b) + len);
  if (!b) return NULL;
  b->mail.type = TL_MAIL_BACK;
  b->was = txn->from;
  b->sender = txn->sender;
  b->via_port = txn->via_port;
  b->at_once = listens(txn);
  b->last = half_closed(txn) ? AS_IT_CAME : may_dial ? DIAL : NOTHING;
  b->len = (uint32_t)len;
  return b;
}

int tl_back_send(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body) {
  size_t head = tl_edit_len(e);
  struct back *b = back_new(txn, head + body->len, true);
  if (!b) return TL_ENOMEM;
  tl_xw_copy_body(b->data + tl_edit_write(e, b->data), body);
  return step(txn->proxy, b, &txn->from.conn);
}

int tl_back_bytes(struct tl_txn *txn, const void *data, size_t n) {
  struct back *b = back_new(txn, n, false);
  if (!b) return TL_ENOMEM;
  memcpy(b->data, data, n);
  return step(txn->proxy, b, &txn->from.conn);
}

void tl_back_mail(struct tl_proxy *p, struct tl_mail *m) {
  tl_conn_id used;
  if (step(p, (struct back *)m, &used)) tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
}
