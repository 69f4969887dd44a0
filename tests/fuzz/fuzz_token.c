/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what we wrote into messages and neighbours bring back, the
 * Record-Route token and the two kinds of branch. The first byte says how the
 * rest is taken: as a token, as a branch, as Via values, or as the fields of a
 * token or a passage that are written, read, and read again with a byte changed.
 * Nothing that we did not write may be believed, and what we wrote must come
 * back as it was.
 */
#include <ctype.h>
#include <stdlib.h>

#include "../unit/token_rig.h"
#include "proxy/proxy.h"
#include "proxy/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(x)                                                                                    \
  do {                                                                                             \
    if (!(x)) abort();                                                                             \
  } while (0)

static struct token_rig rig;
#define px rig.px
static struct tl_msg msg; /* the few fields that tokens ask */

struct input {
  const uint8_t *p;
  size_t n;
};

static uint64_t take(struct input *in, size_t bytes) {
  uint64_t v = 0;
  size_t n = bytes < in->n ? bytes : in->n;
  if (n) memcpy(&v, in->p, n);
  in->p += n;
  in->n -= n;
  return v;
}

static struct tl_str rest_of(const struct input *in, size_t max) {
  return (struct tl_str){(const char *)in->p, in->n < max ? in->n : max};
}

static void token_text(struct tl_str s) {
  struct tl_route_token t;
  if (tl_token_route_parse(&px, s, &msg, &t) != TL_OK) return;
  MUST(s.n >= TL_RR_TOKEN_LEN && s.n <= TL_RR_TOKEN_MAX);
  MUST(t.domain.n == 0 || (t.domain.p >= s.p && t.domain.p + t.domain.n == s.p + s.n));
}

static void branch_text(struct tl_str s) {
  struct tl_token t;
  struct tl_passage w = {.call_id = s, .method = TL_STR("INVITE"), .cseq = 1};
  int rc = tl_token_branch_parse(&px, s, &t);
  if (rc == TL_OK) {
    MUST(s.n == TL_BRANCH_LEN && t.worker <= TL_STATELESS);
    w.from = t.loop;
  }
  MUST(tl_token_stateless_check(&px, s, &w, 5000) == TL_EBADMAC);
}

static void vias(struct tl_str s) {
  struct tl_via v;
  size_t used;
  for (; s.n && tl_via_parse(s, &v, &used) == TL_OK; s.p += used, s.n -= used) {
    struct tl_via other = v;
    other.port ^= 1; /* where a response would go is never the same place */
    MUST(tl_token_via(&px, &v) != tl_token_via(&px, &other));
    MUST(tl_token_sent_by(&px, v.host, v.port) != tl_token_sent_by(&px, v.host, other.port));
    other = v;
    other.rport ^= 1;
    MUST(tl_token_via(&px, &v) != tl_token_via(&px, &other));
    branch_text(v.branch);
  }
}

static void same_token(const struct tl_route_token *a, const struct tl_route_token *b) {
  MUST(a->route == b->route && a->made_s == b->made_s && !b->reverse);
  MUST(a->flow_conn == b->flow_conn && a->callee_flow_conn == b->callee_flow_conn);
  MUST(a->caller == b->caller && a->callee == b->callee);
  MUST(b->caller_name == (a->caller ? 0 : a->caller_name));
  for (int i = 0; i < 2; i++)
    MUST(a->end[i].security == b->end[i].security && a->end[i].host == b->end[i].host &&
         a->end[i].port == b->end[i].port);
  MUST(tl_str_eq(b->domain, a->callee || a->domain.n >= TL_HOST_MAX ? TL_STR("") : a->domain));
}

/* A byte of OUT becomes another: no such thing is believed. The other case of a letter is the same
 * (RFC 3261 7.3.1). */
static void spoil(struct input *in, char *out, size_t n) {
  size_t at = (size_t)take(in, 2) % n;
  char by = (char)take(in, 1);
  if (by == 0 || tolower((unsigned char)out[at]) == tolower((unsigned char)(out[at] ^ by))) by ^= 1;
  out[at] = (char)(out[at] ^ by);
}

static void token_fields(struct input *in) {
  char out[TL_RR_TOKEN_MAX];
  struct tl_route_token t = {.route = take(in, 8), .made_s = (uint32_t)take(in, 4)}, back;
  for (int i = 0; i < 2; i++)
    t.end[i] = (struct tl_leg_end){
        .security = take(in, 1) & 15, .host = (uint32_t)take(in, 4), .port = (uint16_t)take(in, 2)};
  uint8_t has = (uint8_t)take(in, 1);
  if (has & 1) t.flow_conn = take(in, 8);
  if (has & 2) t.callee_flow_conn = take(in, 8);
  if (has & 4) t.caller = take(in, 8);
  if (has & 8) t.caller_name = take(in, 8);
  if (has & 16) t.callee = take(in, 8);
  struct input change = *in;
  take(in, 3);
  t.domain = rest_of(in, TL_HOST_MAX + 10);
  size_t n = tl_token_route(&px, &t, &msg, out);
  MUST(n >= TL_RR_TOKEN_LEN && n <= sizeof(out));
  struct tl_str s = {out, n};
  MUST(tl_token_route_parse(&px, s, &msg, &back) == TL_OK);
  same_token(&t, &back);
  spoil(&change, out, n);
  MUST(tl_token_route_parse(&px, s, &msg, &back) != TL_OK);
}

static void passage_fields(struct input *in) {
  char out[TL_BRANCH_LEN];
  struct tl_token t;
  uint32_t now_s = (uint32_t)take(in, 4);
  struct tl_passage w = {.key = take(in, 8),
                         .from = take(in, 8),
                         .sent_by = take(in, 8),
                         .via = take(in, 8),
                         .flow = take(in, 8),
                         .cseq = (uint32_t)take(in, 4)};
  struct input change = *in;
  take(in, 3);
  w.call_id = rest_of(in, in->n / 2);
  w.method = (struct tl_str){w.call_id.p + w.call_id.n, in->n - w.call_id.n};
  struct tl_str s = {out, sizeof(out)};
  tl_token_stateless(&px, &w, now_s, out);
  MUST(tl_token_branch_parse(&px, s, &t) == TL_OK);
  MUST(t.worker == TL_STATELESS && t.loop == w.from);
  MUST(tl_token_stateless_check(&px, s, &w, now_s) == TL_OK);
  MUST(tl_token_stateless_check(&px, s, &w, now_s + 2048) == TL_EBADMAC);
  spoil(&change, out, sizeof(out));
  if (tl_token_branch_parse(&px, s, &t) != TL_OK) return;
  w.from = t.loop;
  MUST(t.worker == TL_STATELESS && tl_token_stateless_check(&px, s, &w, now_s) == TL_EBADMAC);
}

static void branch_fields(struct input *in) {
  char out[TL_BRANCH_LEN];
  struct tl_token t;
  px.th.index = (unsigned)take(in, 1) % TL_STATELESS;
  uint32_t slot = (uint32_t)take(in, 4), gen = take(in, 3) & 0xffffff;
  uint64_t loop = take(in, 8);
  struct tl_str s = {out, sizeof(out)};
  tl_token_branch(&px, slot, gen, loop, out);
  MUST(tl_token_branch_parse(&px, s, &t) == TL_OK);
  MUST(t.worker == px.th.index && t.slot == slot && t.gen == gen && t.loop == loop);
  spoil(in, out, sizeof(out));
  MUST(tl_token_branch_parse(&px, s, &t) != TL_OK || t.worker == TL_STATELESS);
  px.th.index = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct input in = {data, n};
  token_rig_begin(&rig, 5, 0);
  msg.call_id = TL_STR("c1");
  msg.from_tag = TL_STR("f");
  msg.to_tag = TL_STR("t");
  uint8_t kind = (uint8_t)take(&in, 1);
  switch (kind % 6) {
  case 0: token_text(rest_of(&in, SIZE_MAX)); break;
  case 1: branch_text(rest_of(&in, SIZE_MAX)); break;
  case 2: vias(rest_of(&in, SIZE_MAX)); break;
  case 3: token_fields(&in); break;
  case 4: passage_fields(&in); break;
  default: branch_fields(&in); break;
  }
  return 0;
}
