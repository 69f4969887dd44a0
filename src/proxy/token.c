/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we write into messages to recognise it again: branch, Record-Route parameter, To tag. Each
 * carries a keyed hash, so that nobody can pass off a token that we did not write. What is good as
 * long as the process is has keys from its random secret; Record-Route has those of token_keys.h,
 * which outlive it.
 */
#include "token.h"

#include <stdlib.h>
#include <time.h>

#include "hex.h"
#include "proxy.h"
#include "tieline/siphash.h"
#include "tieline/token_keys.h"
#include "tieline/view.h"

#define COOKIE "z9hG4bK"

static const uint8_t *key_of(const struct tl_proxy *p, int use) {
  return p->th.rt->secret + (use ? 16 : 0);
}

static const struct tl_token_keys *kept_keys(const struct tl_proxy *p) {
  return tl_net_view(p->net)->conf->token_keys;
}

static void write_branch(const struct tl_proxy *p, uint64_t name, uint64_t extra, char *out) {
  uint64_t in[2] = {name, extra};
  memcpy(out, COOKIE, 7);
  tl_hex_put64(name, out + 7);
  tl_hex_put64(tl_siphash(key_of(p, 0), in, sizeof(in)), out + 23);
  tl_hex_put64(extra, out + 39);
}

void tl_token_branch(const struct tl_proxy *p, uint32_t slot, uint32_t gen, uint64_t loop,
                     char *out) {
  write_branch(p, (uint64_t)p->th.index << 56 | (uint64_t)(gen & 0xffffff) << 32 | slot, loop, out);
}

int tl_token_branch_parse(const struct tl_proxy *p, struct tl_str branch, struct tl_token *out) {
  uint64_t in[2], mac;
  if (branch.n != TL_BRANCH_LEN) return TL_ENOTFOUND;
  if (memcmp(branch.p, COOKIE, 7) != 0 && strncasecmp(branch.p, COOKIE, 7) != 0)
    return TL_ENOTFOUND;
  if (tl_hex_take64(branch.p + 7, &in[0]) || tl_hex_take64(branch.p + 23, &mac) ||
      tl_hex_take64(branch.p + 39, &in[1]))
    return TL_ENOTFOUND;
  if (in[0] >> 56 != TL_STATELESS && tl_siphash(key_of(p, 0), in, sizeof(in)) != mac)
    return TL_EBADMAC;
  out->worker = (unsigned)(in[0] >> 56);
  out->gen = (uint32_t)(in[0] >> 32) & 0xffffff;
  out->slot = (uint32_t)in[0];
  out->loop = in[1];
  return TL_OK;
}

/* ---- branches without a transaction ---- */

#define EPOCH_S 1024u /* a branch is valid for the rest of one epoch and for the next */

static uint64_t passage_mac(const struct tl_proxy *p, const struct tl_passage *w, uint64_t epoch,
                            uint64_t name) {
  uint64_t in[] = {name,
                   w->from,
                   epoch,
                   w->cseq,
                   tl_siphash(key_of(p, 0), w->call_id.p, w->call_id.n),
                   tl_siphash13(key_of(p, 0), w->method.p, w->method.n),
                   w->sent_by,
                   w->via,
                   w->flow};
  return tl_siphash(key_of(p, 0), in, sizeof(in));
}

void tl_token_stateless(const struct tl_proxy *p, const struct tl_passage *w, uint32_t now_s,
                        char *out) {
  uint64_t epoch = now_s / EPOCH_S;
  uint64_t name = (uint64_t)TL_STATELESS << 56 | (epoch & 255) << 48 | w->key >> 16;
  memcpy(out, COOKIE, 7);
  tl_hex_put64(name, out + 7);
  tl_hex_put64(passage_mac(p, w, epoch, name), out + 23);
  tl_hex_put64(w->from, out + 39);
}

void tl_token_unanswered(const struct tl_proxy *p, uint64_t key, tl_conn_id from, char *out) {
  uint64_t in[3] = {key, from, 0}; /* of a length that no proof has */
  memcpy(out, COOKIE, 7);
  tl_hex_put64((uint64_t)TL_STATELESS << 56, out + 7);
  tl_hex_put64(tl_siphash(key_of(p, 0), in, sizeof(in)), out + 23);
  tl_hex_put64(from, out + 39);
}

int tl_token_stateless_check(const struct tl_proxy *p, struct tl_str branch,
                             const struct tl_passage *w, uint32_t now_s) {
  uint64_t name, mac, now = now_s / EPOCH_S;
  if (branch.n != TL_BRANCH_LEN || tl_hex_take64(branch.p + 7, &name) ||
      tl_hex_take64(branch.p + 23, &mac))
    return TL_EBADMAC;
  uint64_t age = (now - (name >> 48)) & 255;
  return age <= 1 && passage_mac(p, w, now - age, name) == mac ? TL_OK : TL_EBADMAC;
}

/* ---- compared by meaning ---- */

static size_t put_lower(struct tl_str s, char *out, size_t at, size_t cap) {
  for (size_t i = 0; i < s.n && at < cap; i++) {
    char c = s.p[i];
    out[at++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
  }
  return at;
}

/* Neighbours may spell an address or a name differently. */
static size_t put_host(struct tl_str host, char *out, size_t at, size_t cap) {
  struct tl_addr a;
  bool v4 = host.n && (unsigned char)(host.p[0] - '0') <= 9,
       v6 = host.n && memchr(host.p, ':', host.n);
  if (host.n && (v4 || v6) && cap - at >= 17 && tl_addr_parse(host, 0, &a) == TL_OK) {
    bool six = a.sa.sa_family == AF_INET6;
    out[at++] = six ? '6' : '4';
    memcpy(out + at, six ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr, six ? 16 : 4);
    return at + (six ? 16 : 4);
  }
  if (host.n && host.p[host.n - 1] == '.') host.n--;
  return put_lower(host, out, at, cap);
}

static size_t put_port(uint16_t port, char *out, size_t at, size_t cap) {
  if (cap - at < 3) return at;
  out[at] = ':';
  memcpy(out + at + 1, &port, 2);
  return at + 3;
}

static uint64_t sent_by(const struct tl_proxy *p, struct tl_str host, uint16_t port) {
  char in[300];
  size_t n = put_port(port, in, 0, sizeof(in));
  n = put_host(host, in, n, sizeof(in));
  return tl_siphash13(key_of(p, 0), in, n) | 1;
}

/* Hashes of sent-by values that were seen before. */
#define SENT_BY_SLOTS 8u
struct tl_token_cache {
  struct sent_by {
    uint64_t hash; /* 0: free */
    uint16_t port;
    uint8_t n;
    char host[53];
  } sent_by[SENT_BY_SLOTS];
};

/* Nearly all are one of a few, our own: those are not hashed again. */
uint64_t tl_token_sent_by(struct tl_proxy *p, struct tl_str host, uint16_t port) {
  if (!p->tokens && !(p->tokens = calloc(1, sizeof(*p->tokens)))) return sent_by(p, host, port);
  struct sent_by *e = &p->tokens->sent_by[(port + host.n) % SENT_BY_SLOTS];
  if (e->hash && e->port == port && tl_str_eq((struct tl_str){e->host, e->n}, host)) return e->hash;
  uint64_t h = sent_by(p, host, port);
  if (host.n > sizeof(e->host)) return h;
  if (host.n) memcpy(e->host, host.p, host.n);
  e->n = (uint8_t)host.n;
  e->port = port;
  return e->hash = h;
}

void tl_token_exit(struct tl_proxy *p) {
  free(p->tokens);
  p->tokens = NULL;
}

uint64_t tl_token_via(const struct tl_proxy *p, const struct tl_via *v) {
  char in[1024];
  size_t n = put_port(v->port, in, 0, sizeof(in));
  n = put_port(v->rport, in, n, sizeof(in));
  n = put_host(v->received, in, n, sizeof(in));
  n = put_port(0, in, n, sizeof(in));
  n = put_host(v->host, in, n, sizeof(in));
  n = put_port(0, in, n, sizeof(in));
  n = put_lower(v->transport, in, n, sizeof(in));
  n = put_port(0, in, n, sizeof(in));
  n = put_lower(v->branch, in, n, sizeof(in));
  return tl_siphash13(key_of(p, 0), in, n) | 1;
}

uint64_t tl_token_flow(const struct tl_proxy *p, const struct tl_flow *flow) {
  uint64_t in[3] = {flow->transport, 0, 0};
  if (flow->addr.sa.sa_family == 0)
    in[2] = flow->conn;
  else
    in[1] = tl_token_host(p, &flow->addr);
  if (in[1] && !tl_transport_is_datagram(flow->transport)) in[2] = tl_addr_port(&flow->addr);
  return tl_siphash13(key_of(p, 0), in, sizeof(in)) | 1;
}

/* ---- Record-Route ---- */

/* "tl" is, in hex: the id of the key, seconds of wall clock, for either leg its security, hash of
 * its IP and port, route, hash over all of it; then, as far as known, "_f" and the caller's
 * connection, "_g" and the callee's, with either "_r" and the process that has them, "_c" and the
 * caller's peer or "_i" and the hash of its names, "_p" and the callee's peer, "_b" and the hash of
 * the token before it, or "_n" and the callee's domain. Only letters, digits, "-", "." and "_":
 * whatever carries a URI carries these. */
#define RR_SIGNED 51 /* characters before the hash */

/* The sender of an arbitrarily long text must not choose how much of it is copied. */
#define TEXT_MAX 192u

/* Appends what stands for S: itself, or its hash if it is long. */
static size_t put_text(const uint8_t *key, struct tl_str s, char *out) {
  uint64_t h = s.n;
  if (s.n <= TEXT_MAX) {
    memcpy(out, &h, sizeof(h));
    if (s.n) memcpy(out + sizeof(h), s.p, s.n);
    return sizeof(h) + s.n;
  }
  memcpy(out, &h, sizeof(h));
  h = tl_siphash(key, s.p, s.n);
  memcpy(out + sizeof(h), &h, sizeof(h));
  return 2 * sizeof(h);
}

/* Covers everything but the tag, which may be one of two: computed once for both. */
static uint64_t dialog_mac(const uint8_t *key, struct tl_str token, struct tl_str call_id) {
  char in[TL_RR_TOKEN_MAX + sizeof(uint64_t) + TEXT_MAX];
  size_t rest = token.n - TL_RR_TOKEN_LEN, n = RR_SIGNED;
  memcpy(in, token.p, n);
  if (rest) memcpy(in + n, token.p + TL_RR_TOKEN_LEN, rest);
  n += rest;
  n += put_text(key, call_id, in + n);
  return tl_siphash(key, in, n);
}

static uint64_t route_mac(const uint8_t *key, uint64_t dialog, struct tl_str tag) {
  char in[2 * sizeof(uint64_t) + TEXT_MAX];
  memcpy(in, &dialog, sizeof(dialog));
  size_t n = sizeof(dialog) + put_text(key, tag, in + sizeof(dialog));
  return tl_siphash(key, in, n);
}

static size_t put_part(char kind, uint64_t id, char *out) {
  if (!id) return 0;
  out[0] = '_';
  out[1] = kind;
  tl_hex_put64(id, out + 2);
  return 18;
}

#define PLACE_DIGITS 13u /* one for the security, eight for the host, four for the port */

static void put_end(const struct tl_leg_end *at, char *out) {
  uint64_t all = (uint64_t)at->security << 48 | (uint64_t)at->host << 16 | at->port;
  tl_hex_put(all, PLACE_DIGITS, out);
}

/* Another process may have given the same connection another party. */
static size_t put_flows(const struct tl_proxy *p, const struct tl_route_token *t, char *out) {
  size_t n = put_part('f', t->flow_conn, out);
  n += put_part('g', t->callee_flow_conn, out + n);
  return n ? n + put_part('r', p->th.rt->incarnation, out + n) : 0;
}

static size_t put_rest(const struct tl_proxy *p, const struct tl_route_token *t, char *out) {
  size_t n = put_flows(p, t, out);
  n += put_part('c', t->caller, out + n);
  if (!t->caller) n += put_part('i', t->caller_name, out + n);
  n += put_part('p', t->callee, out + n);
  n += put_part('b', t->before, out + n);
  if (!t->callee && t->domain.n && t->domain.n < TL_HOST_MAX) {
    memcpy(out + n, "_n", 2);
    memcpy(out + n + 2, t->domain.p, t->domain.n);
    n += 2 + t->domain.n;
  }
  return n;
}

size_t tl_token_route(const struct tl_proxy *p, const struct tl_route_token *t,
                      const struct tl_msg *m, char out[TL_RR_TOKEN_MAX]) {
  const struct tl_token_key *key = tl_token_keys_signer(kept_keys(p), t->made_s);
  tl_hex_put(key->id, 1, out);
  tl_hex_put(t->made_s, 8, out + 1);
  put_end(&t->end[0], out + 9);
  put_end(&t->end[1], out + 22);
  tl_hex_put64(t->route, out + 35);
  struct tl_str whole = {out, TL_RR_TOKEN_LEN + put_rest(p, t, out + TL_RR_TOKEN_LEN)};
  tl_hex_put64(route_mac(key->key, dialog_mac(key->key, whole, m->call_id), m->from_tag),
               out + RR_SIGNED);
  return whole.n;
}

/* The parts after the hash, which has been checked: they are what we wrote. Connections count if
 * they are those of this process. */
static void read_rest(const struct tl_proxy *p, struct tl_str rest, struct tl_route_token *out) {
  uint64_t process = 0;
  while (rest.n >= 2) {
    char kind = rest.p[1];
    size_t n = kind == 'n' ? rest.n : rest.n < 18 ? rest.n : 18;
    uint64_t *part = kind == 'f'   ? &out->flow_conn
                     : kind == 'g' ? &out->callee_flow_conn
                     : kind == 'c' ? &out->caller
                     : kind == 'i' ? &out->caller_name
                     : kind == 'p' ? &out->callee
                     : kind == 'b' ? &out->before
                     : kind == 'r' ? &process
                                   : NULL;
    if (kind == 'n')
      out->domain = (struct tl_str){rest.p + 2, n - 2};
    else if (n == 18 && part)
      tl_hex_take64(rest.p + 2, part);
    rest.p += n;
    rest.n -= n;
  }
  if (process != p->th.rt->incarnation) out->flow_conn = out->callee_flow_conn = 0;
}

/* The key that the token names, NULL: none that counts. */
static const struct tl_token_key *key_named(const struct tl_proxy *p, struct tl_str token) {
  const struct tl_conf *conf = tl_net_view(p->net)->conf;
  uint64_t id;
  if (tl_hex_take(token.p, 1, &id)) return NULL;
  return tl_token_keys_find(conf->token_keys, (unsigned)id, tl_token_now(),
                            conf->opt.call_max_ms / 1000);
}

static int read_end(const char *s, struct tl_leg_end *out) {
  uint64_t all;
  if (tl_hex_take(s, PLACE_DIGITS, &all)) return TL_ENOTFOUND;
  *out = (struct tl_leg_end){
      .security = (uint8_t)(all >> 48), .host = (uint32_t)(all >> 16), .port = (uint16_t)all};
  return TL_OK;
}

int tl_token_route_parse(const struct tl_proxy *p, struct tl_str token, const struct tl_msg *m,
                         struct tl_route_token *out) {
  uint64_t mac, made;
  *out = (struct tl_route_token){.route = 0};
  if (token.n < TL_RR_TOKEN_LEN || token.n > TL_RR_TOKEN_MAX ||
      tl_hex_take(token.p + 1, 8, &made) || read_end(token.p + 9, &out->end[0]) ||
      read_end(token.p + 22, &out->end[1]) || tl_hex_take64(token.p + 35, &out->route) ||
      tl_hex_take64(token.p + RR_SIGNED, &mac))
    return TL_ENOTFOUND;
  /* The tag of the dialog's caller is in the hash: if it stands in From, the request travels in
   * the same direction. */
  const struct tl_token_key *key = key_named(p, token);
  if (!key) return TL_EBADMAC;
  uint64_t dialog = dialog_mac(key->key, token, m->call_id);
  if (route_mac(key->key, dialog, m->from_tag) != mac) {
    if (route_mac(key->key, dialog, m->to_tag) != mac) return TL_EBADMAC;
    out->reverse = true;
  }
  out->made_s = (uint32_t)made;
  out->mac = mac;
  read_rest(p, (struct tl_str){token.p + TL_RR_TOKEN_LEN, token.n - TL_RR_TOKEN_LEN}, out);
  return TL_OK;
}

/* Not the monotonic clock: keys outlive the process. */
uint32_t tl_token_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  return (uint32_t)t.tv_sec;
}

uint32_t tl_token_host(const struct tl_proxy *p, const struct tl_addr *a) {
  const uint8_t *seed = kept_keys(p)->seed;
  uint64_t h = a->sa.sa_family == AF_INET6
                   ? tl_siphash(seed, &a->v6.sin6_addr, sizeof(a->v6.sin6_addr))
                   : tl_siphash(seed, &a->v4.sin_addr, sizeof(a->v4.sin_addr));
  return (uint32_t)h ? (uint32_t)h : 1;
}

static size_t put_bytes(char *dst, size_t at, size_t cap, struct tl_str s) {
  size_t n = s.n < cap - at ? s.n : cap - at;
  if (n) memcpy(dst + at, s.p, n);
  return at + n;
}

uint64_t tl_token_loop(const struct tl_proxy *p, const struct tl_msg *m) {
  char in[1024];
  size_t n = sizeof(m->cseq);
  memcpy(in, &m->cseq, n);
  n = put_bytes(in, n, sizeof(in), m->uri);
  n = put_bytes(in, n, sizeof(in), m->call_id);
  n = put_bytes(in, n, sizeof(in), m->from_tag);
  n = put_bytes(in, n, sizeof(in), m->to_tag);
  for (uint16_t i = m->first[TL_H_ROUTE]; i != TL_HDR_NONE; i = m->hdr[i].next)
    n = put_bytes(in, n, sizeof(in), tl_hdr_value(m, i));
  n = put_bytes(in, n, sizeof(in), tl_msg_header(m, TL_H_PROXY_REQUIRE));
  n = put_bytes(in, n, sizeof(in), tl_msg_header(m, TL_H_PROXY_AUTHORIZATION));
  return tl_siphash13(key_of(p, 1), in, n);
}

uint64_t tl_token_txn_key(const struct tl_proxy *p, const struct tl_msg *m, uint64_t sender) {
  char in[640];
  enum tl_method k = m->method == TL_M_ACK || m->method == TL_M_CANCEL ? TL_M_INVITE : m->method;
  size_t n = 0;
  in[n++] = (char)k;
  memcpy(in + n, &sender, sizeof(sender));
  n += sizeof(sender);
  memcpy(in + n, &m->via.port, sizeof(m->via.port));
  n += sizeof(m->via.port);
  const uint32_t len[2] = {(uint32_t)m->via.host.n, (uint32_t)m->via.branch.n};
  memcpy(in + n, len, sizeof(len)); /* marks where one part ends and the next begins */
  n += sizeof(len);
  if (m->via.branch.n <= 7 || memcmp(m->via.branch.p, COOKIE, 7) != 0) {
    /* RFC 2543 peers: no unique branch (a bare cookie is none either), so the rest of the list
     * in 17.2.3 decides. */
    uint64_t rest[4] = {tl_siphash13(key_of(p, 1), m->call_id.p, m->call_id.n),
                        tl_siphash13(key_of(p, 1), m->from_tag.p, m->from_tag.n),
                        tl_siphash13(key_of(p, 1), m->uri.p, m->uri.n), m->cseq};
    memcpy(in + n, rest, sizeof(rest));
    n += sizeof(rest);
  }
  n = put_bytes(in, n, sizeof(in), m->via.host);
  n = put_bytes(in, n, sizeof(in), m->via.branch);
  if (k == TL_M_OTHER) n = put_bytes(in, n, sizeof(in), m->method_name);
  n = put_bytes(in, n, sizeof(in), m->call_id);
  uint64_t key = tl_siphash13(key_of(p, 1), in, n);
  return key ? key : 1;
}

uint64_t tl_token_merge(const struct tl_proxy *p, const struct tl_msg *m) {
  uint64_t in[3] = {tl_siphash(key_of(p, 1), m->call_id.p, m->call_id.n),
                    tl_siphash(key_of(p, 1), m->from_tag.p, m->from_tag.n),
                    (uint64_t)m->method << 32 | m->cseq};
  return tl_siphash(key_of(p, 1), in, sizeof(in));
}

uint64_t tl_token_dialog(const struct tl_proxy *p, const struct tl_msg *m) {
  uint64_t a = tl_siphash13(key_of(p, 1), m->from_tag.p, m->from_tag.n);
  uint64_t b = tl_siphash13(key_of(p, 1), m->to_tag.p, m->to_tag.n);
  uint64_t in[3] = {tl_siphash13(key_of(p, 0), m->call_id.p, m->call_id.n), a < b ? a : b,
                    a < b ? b : a};
  uint64_t key = tl_siphash13(key_of(p, 1), in, sizeof(in));
  return key ? key : 1;
}

static size_t put_text_c(char *dst, size_t at, size_t cap, const char *s) {
  return s ? put_bytes(dst, at, cap, tl_str_c(s)) : at;
}

uint64_t tl_token_name(const struct tl_proxy *p, const struct tl_identity *id) {
  char in[1024];
  size_t n = put_text_c(in, 0, sizeof(in), id->subject);
  n = put_text_c(in, n, sizeof(in), id->anchor);
  if (id->n_san) n = put_text_c(in, n, sizeof(in), id->san[0].value);
  return tl_siphash(kept_keys(p)->seed, in, n) | 1;
}

void tl_token_tag(const struct tl_proxy *p, const struct tl_msg *m, char *out) {
  uint64_t in[2] = {tl_siphash(key_of(p, 1), m->call_id.p, m->call_id.n),
                    tl_siphash(key_of(p, 0), m->via.branch.p, m->via.branch.n)};
  tl_hex_put64(tl_siphash(key_of(p, 1), in, sizeof(in)), out);
}
