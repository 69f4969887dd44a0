/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that peers carry for us, keys of the transaction table, and the rank of responses. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>

#include "proxy/best.h"
#include "proxy/proxy.h"
#include "proxy/token.h"
#include "token_rig.h"

static struct token_rig rig;
#define px rig.px
static struct tl_msg msg;

static void begin(void) { token_rig_begin(&rig, 5, tl_token_now()); }

TestSuite(proxy_token, .init = begin);

static const struct tl_msg *request(const char *method, const char *via, const char *from_tag,
                                    const char *to_tag, const char *call_id, unsigned cseq) {
  static char text[8][2048];
  static unsigned next;
  struct tl_scan_error err;
  char *p = text[next++ % 8];
  int n =
      snprintf(p, sizeof(text[0]),
               "%s sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP %s\r\nFrom: <sip:a@b>;tag=%s\r\n"
               "To: <sip:c@d>%s%s\r\nCall-ID: %s\r\nCSeq: %u %s\r\nContent-Length: 0\r\n\r\n",
               method, via, from_tag, *to_tag ? ";tag=" : "", to_tag, call_id, cseq, method);
  cr_assert_eq(tl_scan(p, (size_t)n, true, 65536, &msg, &err), 0, "%s", err.reason);
  return &msg;
}

Test(proxy_token, branches_come_back_whole_and_forgeries_do_not) {
  char b[TL_BRANCH_LEN];
  struct tl_token t;
  tl_token_branch(&px, 0xfedcba98, 0xabcdef, 0x0123456789abcdefull, b);
  cr_assert_eq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t), 0);
  cr_expect(t.worker == 3 && t.slot == 0xfedcba98 && t.gen == 0xabcdef);
  cr_expect_eq(t.loop, 0x0123456789abcdefull);
  for (size_t i = 0; i < sizeof(b); i++) {
    char was = b[i];
    b[i] = was == '7' ? '8' : '7';
    int rc = tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t);
    cr_expect_eq(rc, i < 7 ? TL_ENOTFOUND : TL_EBADMAC, "at %zu", i);
    b[i] = '#';
    cr_expect_eq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t), TL_ENOTFOUND);
    b[i] = was;
  }
  cr_expect_eq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b) - 1}, &t), TL_ENOTFOUND);
  rig.rt.secret[0] ^= 1;
  cr_expect_eq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t), TL_EBADMAC);
}

static struct tl_str branch_of(const struct tl_passage *w, uint32_t now_s, char *out) {
  tl_token_stateless(&px, w, now_s, out);
  return (struct tl_str){out, TL_BRANCH_LEN};
}

static const struct tl_passage passage = {.key = 42ull << 20,
                                          .from = 77,
                                          .sent_by = 5,
                                          .via = 6,
                                          .flow = 7,
                                          .call_id = TL_STR("c1"),
                                          .method = TL_STR("INVITE"),
                                          .cseq = 1};

Test(proxy_token, stateless_branches_repeat_themselves) {
  char a[TL_BRANCH_LEN], b[TL_BRANCH_LEN];
  struct tl_token t;
  struct tl_passage other = passage;
  struct tl_str first = branch_of(&passage, 5000, a);
  branch_of(&passage, 5001, b);
  cr_expect(memcmp(a, b, sizeof(a)) == 0);
  cr_assert_eq(tl_token_branch_parse(&px, first, &t), 0);
  cr_expect(t.worker == TL_STATELESS && t.loop == 77);
  cr_expect_eq(tl_token_stateless_check(&px, first, &passage, 5000), 0);
  other.key = 43ull << 20;
  branch_of(&other, 5000, b);
  cr_expect(memcmp(a, b, sizeof(a)) != 0);
}

/* Each of the things that a response must share with its request, and its age. */
/* The branch of an ACK for a 2xx is the same each time, another for another, and proves nothing. */
Test(proxy_token, s2_the_branch_of_an_ack_for_a_2xx_proves_nothing) {
  char first[TL_BRANCH_LEN], again[TL_BRANCH_LEN], other[TL_BRANCH_LEN];
  struct tl_str s = {first, sizeof(first)};
  struct tl_token t;
  tl_token_unanswered(&px, 77, 5, first);
  tl_token_unanswered(&px, 77, 5, again);
  cr_expect_eq(memcmp(first, again, sizeof(first)), 0);
  tl_token_unanswered(&px, 78, 5, other);
  cr_expect_neq(memcmp(first, other, sizeof(first)), 0);
  tl_token_unanswered(&px, 77, 6, other);
  cr_expect_neq(memcmp(first, other, sizeof(first)), 0);
  cr_assert_eq(tl_token_branch_parse(&px, s, &t), 0);
  cr_expect_eq(t.worker, TL_STATELESS);
  for (uint32_t now_s = 0; now_s < 300 * 1024; now_s += 512)
    cr_assert_eq(tl_token_stateless_check(&px, s, &passage, now_s), TL_EBADMAC);
}

Test(proxy_token, s2_a_stateless_branch_is_bound_to_its_request) {
  char a[TL_BRANCH_LEN];
  struct tl_str s = branch_of(&passage, 5000, a);
  for (int i = 0; i < 7; i++) {
    struct tl_passage w = passage;
    if (i == 0) w.from = 78;
    if (i == 1) w.sent_by = 8;
    if (i == 2) w.via = 8;
    if (i == 3) w.flow = 8;
    if (i == 4) w.call_id = TL_STR("c2");
    if (i == 5) w.method = TL_STR("ACK");
    if (i == 6) w.cseq = 2;
    cr_expect_eq(tl_token_stateless_check(&px, s, &w, 5000), TL_EBADMAC, "part %d", i);
  }
  cr_expect_eq(tl_token_stateless_check(&px, s, &passage, 5000 + 1024), 0);
  cr_expect_eq(tl_token_stateless_check(&px, s, &passage, 5000 + 2048), TL_EBADMAC);
  cr_expect_eq(tl_token_stateless_check(&px, s, &passage, 5000 + 256 * 1024), TL_EBADMAC);
  for (size_t i = 0; i < sizeof(a); i++) {
    char was = a[i];
    a[i] = was == '7' ? '8' : '7';
    struct tl_token t;
    int rc = tl_token_branch_parse(&px, s, &t);
    /* the connection that it came on is taken from the branch */
    struct tl_passage w = passage;
    w.from = rc ? 0 : t.loop;
    cr_expect(rc || tl_token_stateless_check(&px, s, &w, 5000), "at %zu", i);
    a[i] = was;
  }
}

/* Neighbours may write addresses and names in their own way; what they mean must stay. */
Test(proxy_token, s2_sent_by_and_via_are_compared_by_meaning) {
  static const struct {
    const char *a, *b;
    bool same;
  } row[] = {
      {"SIP/2.0/UDP h.example:5060;branch=z9hG4bKx", "SIP/2.0/udp H.EXAMPLE.:5060;branch=z9HG4BKx",
       true},
      {"SIP/2.0/UDP [2001:db8::1];branch=b", "SIP/2.0/UDP [2001:DB8:0::1] ;a=b;branch=b", true},
      {"SIP/2.0/UDP h;rport=9;received=192.0.2.1;branch=b",
       "SIP/2.0/UDP h;branch=b;received=192.0.2.1;rport=9", true},
      {"SIP/2.0/UDP h;received=2001:db8::1;branch=b",
       "SIP/2.0/UDP h;received=2001:db8:0:0::1;branch=b", true},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP g;branch=b", false},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h:5060;branch=b", false},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/TCP h;branch=b", false},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=c", false},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=b;rport=53", false},
      {"SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=b;received=127.0.0.3", false},
      {"SIP/2.0/UDP h;rport=5;branch=b", "SIP/2.0/UDP h:5;branch=b", false},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    struct tl_via a, b;
    size_t used;
    cr_assert_eq(tl_via_parse(tl_str_c(row[i].a), &a, &used), 0, "%s", row[i].a);
    cr_assert_eq(tl_via_parse(tl_str_c(row[i].b), &b, &used), 0, "%s", row[i].b);
    cr_expect_eq(tl_token_via(&px, &a) == tl_token_via(&px, &b), row[i].same, "%s | %s", row[i].a,
                 row[i].b);
  }
}

static int parse_for(struct tl_str s, const char *from_tag, const char *to_tag, const char *call_id,
                     struct tl_route_token *out) {
  return tl_token_route_parse(&px, s, request("BYE", "x", from_tag, to_tag, call_id, 2), out);
}

static struct tl_str made(const struct tl_route_token *t, char *text) {
  const struct tl_msg *m = request("INVITE", "a.example;branch=z9hG4bK1", "f", "", "c1", 1);
  return (struct tl_str){text, tl_token_route(&px, t, m, text)};
}

Test(proxy_token, the_route_token_belongs_to_its_dialog_in_both_directions) {
  char token[TL_RR_TOKEN_MAX];
  struct tl_route_token t;
  struct tl_str s = made(&(struct tl_route_token){.route = 0x1122, .flow_conn = 0x3344}, token);
  cr_assert_eq(s.n, TL_RR_TOKEN_LEN + 36);
  cr_assert_eq(parse_for(s, "f", "t", "c1", &t), 0);
  cr_expect(t.route == 0x1122 && t.flow_conn == 0x3344 && !t.reverse);
  cr_expect(!t.caller && !t.callee && !t.domain.n);
  cr_assert_eq(parse_for(s, "t", "f", "c1", &t), 0);
  cr_expect(t.reverse);
  cr_expect_eq(parse_for(s, "g", "t", "c1", &t), TL_EBADMAC);
  cr_expect_eq(parse_for(s, "f", "t", "c2", &t), TL_EBADMAC);
  for (size_t i = 0; i < s.n; i++) {
    char was = token[i];
    token[i] = was == '7' ? '8' : '7';
    cr_expect_eq(parse_for(s, "f", "t", "c1", &t), TL_EBADMAC, "at %zu", i);
    token[i] = was;
  }
}

/* Only we say whom a leg was verified to be, and for this dialog alone. */
Test(proxy_token, b12_legs_in_the_route_token_are_ours_alone) {
  char token[TL_RR_TOKEN_MAX + 1];
  struct tl_route_token t;
  struct tl_str s = made(
      &(struct tl_route_token){
          .route = 1, .flow_conn = 2, .caller = 0xcafe, .domain = TL_STR("carrier.example")},
      token);
  cr_assert_eq(parse_for(s, "f", "t", "c1", &t), 0);
  cr_expect(t.caller == 0xcafe && t.callee == 0);
  cr_expect(tl_str_eq(t.domain, TL_STR("carrier.example")));
  cr_expect_eq(parse_for(s, "f", "t", "c2", &t), TL_EBADMAC, "another dialog's");
  for (size_t i = 0; i < s.n; i++) {
    char was = token[i];
    token[i] = was == '7' ? '8' : '7';
    cr_expect_eq(parse_for(s, "f", "t", "c1", &t), TL_EBADMAC, "at %zu", i);
    token[i] = was;
  }
  for (size_t n = 0; n < s.n; n++)
    cr_expect_neq(parse_for((struct tl_str){s.p, n}, "f", "t", "c1", &t), 0, "cut to %zu", n);
  token[s.n] = 'x';
  cr_expect_eq(parse_for((struct tl_str){s.p, s.n + 1}, "f", "t", "c1", &t), TL_EBADMAC);
  s = made(&(struct tl_route_token){.callee = 0xbeef, .domain = TL_STR("not.used")}, token);
  cr_assert_eq(parse_for(s, "t", "f", "c1", &t), 0);
  cr_expect(t.reverse && t.callee == 0xbeef && t.caller == 0 && !t.domain.n);
}

Test(proxy_token, b12_longest_domain_fits_the_route_token) {
  char token[TL_RR_TOKEN_MAX], name[TL_HOST_MAX - 1];
  struct tl_route_token t;
  memset(name, 'a', sizeof(name));
  struct tl_str s =
      made(&(struct tl_route_token){.caller = 1, .domain = {name, sizeof(name)}}, token);
  cr_assert_leq(s.n, sizeof(token));
  cr_assert_eq(parse_for(s, "f", "t", "c1", &t), 0);
  cr_expect_eq(t.domain.n, sizeof(name));
}

/* Another process with the same keys knows it, but none of its connections. */
Test(proxy_token, f24_the_route_token_outlives_the_process) {
  char token[TL_RR_TOKEN_MAX];
  struct tl_route_token t;
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(TL_STR("192.0.2.1"), 5060, &a), 0);
  const uint32_t host = tl_token_host(&px, &a);
  struct tl_str s = made(&(struct tl_route_token){.route = 7,
                                                  .made_s = tl_token_now(),
                                                  .end = {{.host = host, .port = 5060}},
                                                  .flow_conn = 2,
                                                  .callee_flow_conn = 3,
                                                  .caller = 9},
                         token);
  rig.rt.incarnation = 77;
  rig.rt.secret[0] ^= 1;
  cr_assert_eq(parse_for(s, "f", "t", "c1", &t), 0);
  cr_expect(t.route == 7 && t.caller == 9 && t.flow_conn == 0 && t.callee_flow_conn == 0);
  cr_expect(t.end[0].host == tl_token_host(&px, &a) && t.end[0].port == 5060);
}

/* The newest key whose time has come signs; one before it counts for call_max; others do not. */
Test(proxy_token, f24_keys_sign_and_end_by_their_times) {
  char token[TL_RR_TOKEN_MAX];
  struct tl_route_token t;
  const int64_t now = tl_token_now();
  struct tl_str s = made(&(struct tl_route_token){.made_s = (uint32_t)now}, token);
  cr_expect_eq(token[0], '1'); /* the second begins in an hour */
  rig.keys.key[1].begin_s = now - 1;
  cr_expect_eq(parse_for(s, "f", "t", "c1", &t), 0);
  char second[TL_RR_TOKEN_MAX];
  struct tl_str s2 = made(&(struct tl_route_token){.made_s = (uint32_t)now}, second);
  cr_expect_eq(second[0], '2');
  cr_expect_eq(parse_for(s2, "f", "t", "c1", &t), 0);
  rig.keys.key[1].begin_s = now - 43201;
  cr_expect_eq(parse_for(s, "f", "t", "c1", &t), TL_EBADMAC,
               "its successor is older than call_max");
  cr_expect_eq(parse_for(s2, "f", "t", "c1", &t), 0);
  rig.keys.key[0] = rig.keys.key[1]; /* taken out */
  rig.keys.n = 1;
  cr_expect_eq(parse_for(s, "f", "t", "c1", &t), TL_EBADMAC);
  second[0] = '1'; /* another key's name does not make it that key's */
  cr_expect_eq(parse_for(s2, "f", "t", "c1", &t), TL_EBADMAC);
}

static uint64_t sender;

static uint64_t key(const char *method, const char *via, const char *call_id, unsigned cseq) {
  return tl_token_txn_key(&px, request(method, via, "f", "", call_id, cseq), sender);
}

/* 17.2.3: branch, sent-by and method; CANCEL and ACK find their INVITE. */
Test(proxy_token, transactions_are_matched_as_17_2_3_says) {
  uint64_t invite = key("INVITE", "a.example:5060;branch=z9hG4bKx", "c", 1);
  cr_expect_eq(key("ACK", "a.example:5060;branch=z9hG4bKx", "c", 1), invite);
  cr_expect_eq(key("CANCEL", "a.example:5060;branch=z9hG4bKx", "c", 1), invite);
  cr_expect_eq(key("INVITE", "a.example:5060;rport;branch=z9hG4bKx", "c", 9), invite);
  /* s14: and the Call-ID, and who sends it (22.1). */
  cr_expect_neq(key("CANCEL", "a.example:5060;branch=z9hG4bKx", "other", 1), invite);
  sender = 9;
  cr_expect_neq(key("CANCEL", "a.example:5060;branch=z9hG4bKx", "c", 1), invite);
  sender = 0;
  cr_expect_neq(key("BYE", "a.example:5060;branch=z9hG4bKx", "c", 1), invite);
  cr_expect_neq(key("INVITE", "a.example:5061;branch=z9hG4bKx", "c", 1), invite);
  cr_expect_neq(key("INVITE", "b.example:5060;branch=z9hG4bKx", "c", 1), invite);
  cr_expect_neq(key("INVITE", "a.example:5060;branch=z9hG4bKy", "c", 1), invite);
  cr_expect_neq(key("FOO", "a.example;branch=z9hG4bKx", "c", 1),
                key("BAR", "a.example;branch=z9hG4bKx", "c", 1));
  /* Without the cookie the rest of the list decides. */
  cr_expect_neq(key("INVITE", "a.example;branch=1", "c", 1),
                key("INVITE", "a.example;branch=1", "d", 1));
  cr_expect_neq(key("INVITE", "a.example;branch=1", "c", 1),
                key("INVITE", "a.example;branch=1", "c", 2));
  cr_expect_eq(key("INVITE", "a.example;branch=1", "c", 1),
               key("INVITE", "a.example;branch=1", "c", 1));
}

/* 16.6 step 8: the same request come round again hashes alike, a spiral does not. */
Test(proxy_token, loops_hash_alike_and_spirals_do_not) {
  uint64_t was = tl_token_loop(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "", "c", 1));
  cr_expect_eq(tl_token_loop(&px, request("INVITE", "b;branch=z9hG4bK2", "f", "", "c", 1)), was);
  cr_expect_neq(tl_token_loop(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "", "c", 2)), was);
  cr_expect_neq(tl_token_loop(&px, request("INVITE", "a;branch=z9hG4bK1", "g", "", "c", 1)), was);
  cr_expect_neq(tl_token_loop(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "t", "c", 1)), was);
  cr_expect_neq(tl_token_loop(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "", "d", 1)), was);
}

/* 17.2.3: a branch of nothing but the cookie names no transaction; the older rule decides. */
Test(proxy_token, s18_the_cookie_alone_is_no_branch) {
  static const char *const via[] = {"a;branch=z9hG4bK", "a;branch=z9hG4b", "a"};
  for (size_t i = 0; i < sizeof(via) / sizeof(via[0]); i++) {
    uint64_t was = tl_token_txn_key(&px, request("INVITE", via[i], "f", "", "c", 1), 0);
    cr_expect_eq(tl_token_txn_key(&px, request("INVITE", via[i], "f", "", "c", 1), 0), was);
    cr_expect_eq(tl_token_txn_key(&px, request("CANCEL", via[i], "f", "", "c", 1), 0), was);
    cr_expect_eq(tl_token_txn_key(&px, request("ACK", via[i], "f", "t", "c", 1), 0), was);
    cr_expect_neq(tl_token_txn_key(&px, request("INVITE", via[i], "f", "", "d", 1), 0), was);
    cr_expect_neq(tl_token_txn_key(&px, request("INVITE", via[i], "g", "", "c", 1), 0), was);
    cr_expect_neq(tl_token_txn_key(&px, request("INVITE", via[i], "f", "", "c", 65537), 0), was);
    struct tl_msg *m = (struct tl_msg *)(uintptr_t)request("INVITE", via[i], "f", "", "c", 1);
    m->uri = TL_STR("sip:other@b.example");
    cr_expect_neq(tl_token_txn_key(&px, m, 0), was);
  }
}

/* RFC 3261 7.3.1: tokens are compared without regard to case, whoever sends them back. */
Test(proxy_token, s24_a_branch_in_the_other_case_is_ours) {
  char b[TL_BRANCH_LEN];
  struct tl_token t;
  tl_token_branch(&px, 0xfedcba98, 0xabcdef, 0xabcdef0123456789ull, b);
  for (size_t i = 0; i < sizeof(b); i++) b[i] = (char)toupper((unsigned char)b[i]);
  cr_assert_eq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t), 0);
  cr_expect(t.slot == 0xfedcba98 && t.gen == 0xabcdef && t.loop == 0xabcdef0123456789ull);
  b[20] ^= 1;
  cr_expect_neq(tl_token_branch_parse(&px, (struct tl_str){b, sizeof(b)}, &t), 0);
}

Test(proxy_token, tags_repeat_for_a_repeated_request_only) {
  char a[16], b[16];
  tl_token_tag(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "", "c", 1), a);
  tl_token_tag(&px, request("INVITE", "a;branch=z9hG4bK1", "f", "", "c", 1), b);
  cr_expect(memcmp(a, b, 16) == 0);
  tl_token_tag(&px, request("INVITE", "a;branch=z9hG4bK2", "f", "", "c", 1), b);
  cr_expect(memcmp(a, b, 16) != 0);
}

/* 16.7 step 6. */
Test(proxy_token, the_best_of_several_responses) {
  static const unsigned better[][2] = {{603, 200 + 204}, {600, 401}, {401, 404}, {407, 486},
                                       {415, 404},       {420, 486}, {484, 404}, {302, 404},
                                       {404, 408},       {408, 500}, {500, 503}, {404, 503},
                                       {486, 500},       {503, 0},   {408, 0}};
  for (size_t i = 0; i < sizeof(better) / sizeof(better[0]); i++) {
    cr_expect(tl_best_is_better(better[i][0], better[i][1]), "%u over %u", better[i][0],
              better[i][1]);
    cr_expect(better[i][1] == 0 || !tl_best_is_better(better[i][1], better[i][0]));
    cr_expect(!tl_best_is_better(better[i][0], better[i][0]), "the first of equals stays");
  }
}
