/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back of a response whose request came on a connection that has ended (RFC 3261 18.2.2):
 * another connection of the same sender, first of this worker, then of the next ones in turn;
 * where none has one, the last of them dials the address in the Via. Which connections belong to
 * the same sender is decided in source.c. A sender known by its address alone that says it listens
 * there is dialled at once. A connection half-closed by its peer may be as good as gone: a sender
 * known by more than its address that has another connection gets its responses there.
 */
#include "back.h"

#include <stdlib.h>

#include "outbound.h"
#include "proxy.h"
#include "saved.h"
#include "source.h"
#include "tieline/edit.h"
#include "txn.h"
#include "xworker.h"

/* A search walks all connections: it works out the sender of at most this many, and where there
 * are many connections it is not repeated at once. */
#define LOOKS_MAX 256u
#define MANY 1024u
#define SEARCH_MS 10u

struct back {
  struct tl_mail mail;
  struct tl_flow was; /* where the request came from */
  uint64_t sender;
  uint16_t via_port;
  enum { NOTHING, DIAL, AS_IT_CAME } last; /* what to do where no worker has another connection */
  bool at_once;
  unsigned n_seen; /* workers that have looked */
  uint32_t len;
  char data[];
};

/* The last search. */
struct tl_back_search {
  uint64_t sender, at_ms;
  tl_conn_id conn; /* 0: none was found */
};

static bool is_usable(const struct tl_conn *c, const struct tl_flow *was) {
  return c && tl_conn_is_live(c) && tl_conn_transport(c) == was->transport;
}

/* A connection that we dialled leads to whatever listens at that address, which the address
 * alone cannot tell apart from the client that called us. */
static bool is_sender(struct tl_proxy *p, struct tl_conn *c, uint64_t sender) {
  if (tl_conn_is_outgoing(c) && sender % 8 == TL_SENDER_ADDRESS) return false;
  struct tl_flow at = tl_conn_flow(c);
  const struct tl_origin origin = {.from = &at, .c = c};
  return tl_source_sender(p, tl_source_of(p, &origin), &origin) == sender;
}

static struct tl_conn *search_conns(struct tl_proxy *p, const struct tl_flow *was,
                                    uint64_t sender) {
  struct tl_conn *found = NULL, *c;
  unsigned looks = LOOKS_MAX;
  uint32_t at = 0;
  while (looks && (c = tl_conn_next(p->net, &at)) != NULL) {
    if (!is_usable(c, was)) continue;
    if (!tl_addr_ip_eq(tl_conn_peer(c), &was->addr) && !tl_conn_verified(c)) continue;
    looks--;
    if (!is_sender(p, c, sender)) continue;
    /* Behind one address there may be several clients, and nothing tells which of them sent the
     * request. */
    if (found && sender % 8 == TL_SENDER_ADDRESS) return NULL;
    if (!found || tl_conn_is_newer(c, found)) found = c;
  }
  return found;
}

static struct tl_conn *find_conn(struct tl_proxy *p, const struct tl_flow *was, uint64_t sender) {
  struct tl_back_search *last = p->back;
  uint64_t now = tl_net_now_ms(p->net);
  if (!last && !(last = p->back = calloc(1, sizeof(*last)))) return NULL;
  struct tl_conn *c = tl_conn_get(p->net, last->conn);
  if (last->sender == sender && is_usable(c, was) && is_sender(p, c, sender)) return c;
  if (tl_conn_slots(p->net) > MANY && now - last->at_ms < SEARCH_MS) return NULL;
  c = search_conns(p, was, sender);
  last->sender = sender;
  last->conn = c ? tl_conn_id_of(c) : 0;
  last->at_ms = now;
  return c;
}

static int dial_sender(struct tl_proxy *p, const struct back *b, struct tl_conn **out) {
  char host[TL_ADDR_STRLEN];
  enum tl_choice rule;
  struct tl_conn_key key = {.transport = b->was.transport, .addr = b->was.addr};
  tl_addr_set_port(&key.addr, b->via_port ? b->via_port : tl_transport_port(key.transport));
  if (tl_transport_is_secure(key.transport)) {
    tl_addr_format_host(&key.addr, host);
    key.domain =
        tl_tls_choose_client(&tl_net_view(p->net)->conf->tls_set, tl_str_c(host), &key.addr, &rule);
    key.identity = key.sni = host;
    if (!key.domain) return TL_ENOTFOUND;
  }
  return tl_conn_open(p->net, &key, out);
}

static const struct tl_mail_kind back_kind;

/* Sends B from here or passes it on to the next worker; takes ownership of it. */
static int send_or_pass_on(struct tl_proxy *p, struct back *b, tl_conn_id *out) {
  unsigned workers = p->th.rt->n_worker;
  struct tl_conn *c = b->at_once ? NULL : find_conn(p, &b->was, b->sender);
  int rc = TL_OK;
  if (c) {
    tl_count(tl_proxy_counters(p), TL_C_RESP_ELSEWHERE);
  } else if (!b->at_once && b->n_seen + 1 < workers) {
    b->n_seen++;
    rc = tl_xw_post_bytes(p, (p->th.index + 1) % workers, &b->mail, b->len);
    if (rc) free(b);
    return rc;
  } else {
    rc = b->last == DIAL ? dial_sender(p, b, &c) : TL_ECLOSED;
  }
  if (b->last == AS_IT_CAME && !c)
    rc = tl_outbound_bytes(p, &b->was, b->data, b->len);
  else if (rc == TL_OK)
    rc = tl_conn_send(c, b->data, b->len);
  if (rc == TL_OK && c) *out = tl_conn_id_of(c);
  free(b);
  return rc;
}

static bool half_closed(const struct tl_txn *txn) {
  const struct tl_conn *c = tl_conn_get(txn->proxy->net, txn->from.conn);
  return c && tl_conn_half_closed(c);
}

bool tl_back_needed(const struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  if (tl_transport_is_datagram(txn->from.transport) || tl_xw_is_remote(p, txn->from.conn))
    return false;
  const struct tl_conn *c = tl_conn_get(p->net, txn->from.conn);
  if (!c || !tl_conn_is_open(c)) return true;
  return tl_conn_half_closed(c) && txn->sender % 8 != TL_SENDER_ADDRESS;
}

/* Is its sent-by at the sender's address, but not the port that it came from? Behind a NAT it is
 * neither, and the address may be shared with others, whom the response does not concern. */
static bool listens_at_sent_by(const struct tl_txn *txn) {
  struct tl_body body;
  struct tl_addr a;
  if (txn->sender % 8 != TL_SENDER_ADDRESS || !txn->request) return false;
  const struct tl_via *v = &tl_saved_scan(txn->request, &body)->via;
  return tl_addr_parse(v->host, v->port, &a) == TL_OK && tl_addr_ip_eq(&a, &txn->from.addr) &&
         !tl_addr_eq(&a, &txn->from.addr);
}

static struct back *back_new(const struct tl_txn *txn, size_t len, bool may_dial) {
  struct back *b = calloc(1, sizeof(*b) + len);
  if (!b) return NULL;
  b->mail.kind = &back_kind;
  b->was = txn->from;
  b->sender = txn->sender;
  b->via_port = txn->via_port;
  b->at_once = listens_at_sent_by(txn);
  b->last = half_closed(txn) ? AS_IT_CAME : may_dial ? DIAL : NOTHING;
  b->len = (uint32_t)len;
  return b;
}

int tl_back_send(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body) {
  size_t head = tl_edit_len(e);
  struct back *b = back_new(txn, head + body->len, true);
  if (!b) return TL_ENOMEM;
  int rc = tl_body_copy(b->data + tl_edit_write(e, b->data), body);
  if (rc) {
    free(b);
    return rc;
  }
  return send_or_pass_on(txn->proxy, b, &txn->from.conn);
}

int tl_back_bytes(struct tl_txn *txn, const void *data, size_t n) {
  struct back *b = back_new(txn, n, false);
  if (!b) return TL_ENOMEM;
  memcpy(b->data, data, n);
  return send_or_pass_on(txn->proxy, b, &txn->from.conn);
}

static void deliver_back(void *reader, struct tl_mail *m) {
  struct tl_proxy *p = tl_proxy_reader(reader);
  tl_conn_id used;
  if (send_or_pass_on(p, (struct back *)m, &used))
    tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
}

static void drop_back(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind back_kind = {"response back", deliver_back, drop_back};

void tl_back_exit(struct tl_proxy *p) {
  free(p->back);
  p->back = NULL;
}
