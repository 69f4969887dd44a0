/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we write into messages to recognise it again: branch, Record-Route
 * parameter, To tag. Each carries a keyed hash, so nobody can make us believe a
 * token that we did not write. Keys come from the process's random secret.
 */
#include "proxy.h"
#include "tieline/siphash.h"

#define COOKIE "z9hG4bK"

static const uint8_t *key_of(const struct tl_proxy *p, int use) {
  return p->th.rt->secret + (use ? 16 : 0);
}

static void hex64(uint64_t v, char *out) {
  static const char digit[] = "0123456789abcdef";
  for (int i = 15; i >= 0; i--, v >>= 4) out[i] = digit[v & 15];
}

static int unhex64(const char *s, uint64_t *out) {
  uint64_t v = 0;
  for (int i = 0; i < 16; i++) {
    unsigned char ch = (unsigned char)s[i];
    unsigned d = ch - '0';
    if (d > 9) {
      d = (unsigned)ch - 'a';
      if (d > 5) return TL_ESYNTAX;
      d += 10;
    }
    v = v << 4 | d;
  }
  *out = v;
  return TL_OK;
}

static void pair(const struct tl_proxy *p, uint64_t v, char *out) {
  hex64(v, out);
  hex64(tl_siphash(key_of(p, 0), &v, sizeof(v)), out + 16);
}

void tl_token_branch(const struct tl_proxy *p, uint32_t slot, uint32_t gen, char *out) {
  memcpy(out, COOKIE, 7);
  pair(p, (uint64_t)p->th.index << 56 | (uint64_t)(gen & 0xffffff) << 32 | slot, out + 7);
}

int tl_token_branch_parse(const struct tl_proxy *p, struct tl_str branch, unsigned *out_worker,
                          uint32_t *out_slot, uint32_t *out_gen) {
  uint64_t v, mac;
  if (branch.n != TL_BRANCH_LEN || memcmp(branch.p, COOKIE, 7) != 0) return TL_ENOTFOUND;
  if (unhex64(branch.p + 7, &v) || unhex64(branch.p + 23, &mac)) return TL_ENOTFOUND;
  if (tl_siphash(key_of(p, 0), &v, sizeof(v)) != mac) return TL_EBADMAC;
  *out_worker = (unsigned)(v >> 56);
  *out_gen = (uint32_t)(v >> 32) & 0xffffff;
  *out_slot = (uint32_t)v;
  return TL_OK;
}

static uint64_t route_mac(const struct tl_proxy *p, uint64_t id, tl_conn_id flow,
                          struct tl_str call_id) {
  uint64_t in[3] = {id, flow, tl_siphash(key_of(p, 1), call_id.p, call_id.n)};
  return tl_siphash(key_of(p, 1), in, sizeof(in));
}

void tl_token_route(const struct tl_proxy *p, uint64_t id, tl_conn_id flow, struct tl_str call_id,
                    char *out) {
  hex64(id, out);
  hex64(flow, out + 16);
  hex64(route_mac(p, id, flow, call_id), out + 32);
}

int tl_token_route_parse(const struct tl_proxy *p, struct tl_str token, struct tl_str call_id,
                         uint64_t *out_id, tl_conn_id *out_flow) {
  uint64_t id, flow, mac;
  if (token.n != TL_RR_TOKEN_LEN || unhex64(token.p, &id) || unhex64(token.p + 16, &flow) ||
      unhex64(token.p + 32, &mac))
    return TL_ENOTFOUND;
  if (route_mac(p, id, flow, call_id) != mac) return TL_EBADMAC;
  *out_id = id;
  *out_flow = flow;
  return TL_OK;
}

static size_t put(char *dst, size_t at, size_t cap, struct tl_str s) {
  size_t n = s.n < cap - at ? s.n : cap - at;
  memcpy(dst + at, s.p, n);
  return at + n;
}

uint64_t tl_token_tx_key(const struct tl_proxy *p, const struct tl_msg *m) {
  char in[512];
  enum tl_method k = m->method == TL_M_ACK || m->method == TL_M_CANCEL ? TL_M_INVITE : m->method;
  size_t n = 0;
  in[n++] = (char)k;
  memcpy(in + n, &m->via.port, sizeof(m->via.port));
  n += sizeof(m->via.port);
  n = put(in, n, sizeof(in), m->via.host);
  n = put(in, n, sizeof(in), m->via.branch);
  if (m->via.branch.n < 7 || memcmp(m->via.branch.p, COOKIE, 7) != 0) {
    /* RFC 2543 peers: no unique branch, so the rest of 17.2.3's list decides. */
    n = put(in, n, sizeof(in), m->call_id);
    n = put(in, n, sizeof(in), m->from_tag);
    memcpy(in + 1, &m->cseq, sizeof(m->via.port));
  }
  if (k == TL_M_OTHER) n = put(in, n, sizeof(in), m->method_name);
  return tl_siphash(key_of(p, 1), in, n);
}

void tl_token_tag(const struct tl_proxy *p, const struct tl_msg *m, char *out) {
  uint64_t in[2] = {tl_siphash(key_of(p, 1), m->call_id.p, m->call_id.n),
                    tl_siphash(key_of(p, 0), m->via.branch.p, m->via.branch.n)};
  hex64(tl_siphash(key_of(p, 1), in, sizeof(in)), out);
}
