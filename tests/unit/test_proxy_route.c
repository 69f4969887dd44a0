/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sender may say about the next hop, as tables: Route, maddr, addresses, names that lead to
 * addresses. Requests are planned, none is sent.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/guard.h"
#include "proxy/request_edit.h"
#include "proxy/route.h"
#include "proxy/target.h"
#include "test_proxy_rig.h"

TestSuite(proxy_route, .timeout = 30);

#define STRANGER "203.0.113.66"
#define LOCAL "127.0.0.9"

static const char conf[] =
    "peer \"pbx\" { uri = \"sip:192.0.2.20;transport=udp\" }\n"
    "peer \"edge\" { uri = \"sip:192.0.2.30;transport=udp\" preloaded_route = allow }\n"
    "route \"members\" { to_domain = { \"chicago.example\", \"in.example\" } relay = "
    "\"request-uri\" }\n"
    "route \"preset\" { to_domain = { \"preset.example\", \"192.0.2.77\" } relay = "
    "\"request-uri\" preloaded_route = allow }\n"
    "route \"lab\" { to_domain = { \"127.0.0.1\", \"169.254.7.7\", \"lab.example\" } relay = "
    "\"request-uri\" relay_networks = { \"127.0.0.0/24\", \"fe80::/10\" } }\n"
    "route \"inner\" { to_prefix = \"in\" relay = \"request-uri\" }\n"
    "route \"pbx\" { to_prefix = \"pbx\" peers = \"pbx\" }\n"
    "route \"open-pbx\" { to_prefix = \"open\" peers = \"pbx\" preloaded_route = allow }\n";

static struct tl_plan plan;
static struct tl_msg msg;
static struct tl_flow from;
static struct tl_req req;

static int plan_it(const char *ip, const char *uri, const char *route, unsigned *status) {
  static char text[2048];
  struct tl_scan_error err;
  int n = snprintf(text, sizeof(text),
                   "MESSAGE %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKx\r\n%s"
                   "From: <sip:x@y.example>;tag=1\r\nTo: <sip:a@b.example>\r\nCall-ID: c1\r\n"
                   "CSeq: 2 MESSAGE\r\nContent-Length: 0\r\n\r\n",
                   uri, ip, route ? route : "");
  cr_assert_eq(tl_scan(text, (size_t)n, true, 65536, &msg, &err), 0, "%s", err.reason);
  from = (struct tl_flow){.transport = TL_UDP};
  cr_assert_eq(tl_addr_parse(tl_str_c(ip), 5060, &from.addr), 0);
  *status = 0;
  return rig_plan(&req, &from, &msg, &plan, status);
}

struct row {
  const char *ip, *uri, *route;
  unsigned status; /* of the refusal; 0: it goes on */
};

static void judge(const struct row *r, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned status;
    int rc = plan_it(r[i].ip, r[i].uri, r[i].route, &status);
    if (r[i].status)
      cr_expect(rc == TL_ENOTFOUND && status == r[i].status, "row %zu: %s: %d, %u", i, r[i].uri, rc,
                status);
    else
      cr_expect(rc == TL_OK || rc == TL_EAGAIN, "row %zu: %s: %d, %u", i, r[i].uri, rc, status);
  }
}

Test(proxy_route, s4_to_domain_judges_what_decides_the_next_hop) {
  static const struct row r[] = {
      {STRANGER, "sip:x@chicago.example", NULL, 0},
      {STRANGER, "sip:x@CHICAGO.example:9999;transport=tcp", NULL, 0},
      {STRANGER, "sip:x@chicago.example;maddr=in.example", NULL, 0},
      {STRANGER, "sip:x@chicago.example;maddr=127.0.0.8;transport=udp", NULL, 403},
      {LOCAL, "sip:x@chicago.example:9999;maddr=192.0.2.9", NULL, 403},
      {LOCAL, "sip:x@chicago.example;MADDR=192.0.2.9", NULL, 403},
      {LOCAL, "sips:x@chicago.example;maddr=192.0.2.9", NULL, 403},
      {LOCAL, "sip:x@chicago.example;maddr=[2001:db8::9]", NULL, 403},
      {STRANGER, "sip:x@far.example;maddr=chicago.example", NULL, 0},
      {LOCAL, "sip:x@preset.example", "Route: <sip:192.0.2.9;lr>\r\n", 403},
      {LOCAL, "sip:x@preset.example", "Route: <sip:192.0.2.77;maddr=192.0.2.9;lr>\r\n", 403},
      {LOCAL, "sip:x@preset.example", "Route: <sip:192.0.2.77>\r\n", 0},
      {STRANGER, "sip:x@anywhere.example", "Route: <sip:192.0.2.77;lr>\r\n", 0},
  };
  proxy_begin(conf);
  judge(r, sizeof(r) / sizeof(r[0]));
  proxy_end();
}

Test(proxy_route, s4_a_route_without_our_token_needs_leave) {
  char ours[120], both[160], broken[200];
  proxy_begin(conf);
  snprintf(ours, sizeof(ours), "Route: <sip:127.0.0.1:%u;lr>\r\n", tl_addr_port(&rig.udp));
  snprintf(both, sizeof(both), "Route: <sip:127.0.0.1:%u;lr>, <sip:127.0.0.1:9999;lr>\r\n",
           tl_addr_port(&rig.udp));
  snprintf(broken, sizeof(broken),
           "Route: <sip:127.0.0.1:%u;lr;tl=%048d>\r\nRoute: <sip:192.0.2.9;lr>\r\n",
           tl_addr_port(&rig.udp), 7);
  static const char foreign[] = "Route: <sip:evil.example;lr>\r\n";
  const struct row r[] = {
      {STRANGER, "sip:x@chicago.example", "Route: <sip:127.0.0.1:7777;transport=tcp;lr>\r\n", 403},
      {STRANGER, "sip:x@chicago.example", "Route: <sip:chicago.example;lr>\r\n", 403},
      {STRANGER, "sip:x@chicago.example", ours, 0},
      {LOCAL, "sip:x@chicago.example", both, 403},
      {STRANGER, "sip:pbx@x.example", foreign, 403},
      {STRANGER, "sip:pbx@x.example", broken, 403},
      {STRANGER, "sip:pbx@x.example", ours, 0},
      {STRANGER, "sip:pbx@x.example", "Route: <sip:evil.example>\r\n", 403},
      {STRANGER, "sip:open@x.example", foreign, 0},
      {"192.0.2.20", "sip:pbx@x.example", foreign, 403},
      {"192.0.2.30", "sip:pbx@x.example", foreign, 0},
      {"192.0.2.30", "sip:x@chicago.example", "Route: <sip:in.example;lr>\r\n", 0},
      {"192.0.2.30", "sip:x@chicago.example", foreign, 403},
  };
  judge(r, sizeof(r) / sizeof(r[0]));
  proxy_end();
}

/* Through it goes, but the peer does not see it: neither a loose nor a strict one. */
Test(proxy_route, s4_peers_do_not_see_a_preloaded_route) {
  static const char *const route[] = {"Route: <sip:evil.example;lr>\r\n",
                                      "Route: <sip:evil.example>\r\n",
                                      ("Route: <sip:e.example;lr>, <sip:f.example>\r\n"
                                       "Route: <sip:g.example;lr>\r\n")};
  proxy_begin(conf);
  for (size_t i = 0; i < sizeof(route) / sizeof(route[0]); i++) {
    char branch[TL_BRANCH_LEN + 1] = "", text[4096];
    struct tl_edit e;
    struct tl_edit_texts x;
    unsigned status;
    cr_assert_eq(plan_it(STRANGER, "sip:open@x.example", route[i], &status), 0, "%u", status);
    memset(branch, 'x', TL_BRANCH_LEN);
    struct tl_flow to = {.transport = TL_UDP, .addr = plan.target[0].addr};
    cr_assert_eq(tl_request_edit(&px, &e, &msg, &plan, &plan.target[0], &from, &to, branch, &x), 0);
    cr_assert_lt(tl_edit_len(&e), sizeof(text));
    text[tl_edit_write(&e, text)] = '\0';
    cr_expect(strncmp(text, "MESSAGE sip:open@x.example SIP/2.0\r\n", 36) == 0, "%s", text);
    cr_expect_null(strstr(text, "\r\nRoute:"), "%s", text);
  }
  proxy_end();
}

Test(proxy_route, s4_relay_leads_to_no_inner_address_from_outside) {
  char own[80];
  proxy_begin(conf);
  snprintf(own, sizeof(own), "sip:in@127.0.0.1:%u", tl_addr_port(&rig.udp));
  const struct row r[] = {
      {STRANGER, "sip:in@198.51.100.9", NULL, 0},
      {STRANGER, "sip:in@127.0.0.9:7777", NULL, 403},
      {STRANGER, "sip:in@127.1.2.3;transport=tcp", NULL, 403},
      {STRANGER, "sip:in@x.example;maddr=127.0.0.9", NULL, 403},
      {STRANGER, "sip:in@169.254.169.254:80", NULL, 403},
      {STRANGER, "sip:in@0.0.0.0", NULL, 403},
      {STRANGER, "sip:in@0.1.2.3", NULL, 403},
      {STRANGER, "sip:in@224.0.1.75", NULL, 403},
      {STRANGER, "sip:in@255.255.255.255", NULL, 403},
      {STRANGER, "sip:in@[::1]", NULL, 403},
      {STRANGER, "sip:in@[::]", NULL, 403},
      {STRANGER, "sip:in@[fe80::1]", NULL, 403},
      {STRANGER, "sip:in@[ff02::1]", NULL, 403},
      {STRANGER, "sip:in@[::ffff:127.0.0.1]", NULL, 403},
      {STRANGER, "sip:in@[::ffff:169.254.169.254]", NULL, 403},
      {STRANGER, "sip:in@[::127.0.0.1]", NULL, 403},
      {STRANGER, "sip:in@[64:ff9b::7f00:1]", NULL, 403},
      {STRANGER, "sip:in@[::ffff:198.51.100.9]", NULL, 0},
      {LOCAL, "sip:in@127.0.0.9:7777", NULL, 0},
      {LOCAL, "sip:in@0.0.0.0", NULL, 403},
      {LOCAL, "sip:in@169.254.169.254", NULL, 403},
      {"169.254.1.1", "sip:in@169.254.2.2", NULL, 0},
      {LOCAL, own, NULL, 404},
      /* relay_networks of the route */
      {STRANGER, "sip:x@127.0.0.1:7777", NULL, 0},
      {STRANGER, "sip:x@lab.example;maddr=127.0.0.1", NULL, 0},
      {STRANGER, "sip:x@169.254.7.7", NULL, 403},
  };
  judge(r, sizeof(r) / sizeof(r[0]));
  proxy_end();
}

/* A name is judged by what it leads to. */
Test(proxy_route, s4_names_lead_to_no_inner_address_either) {
  static const struct {
    const char *ip, *uri, *to;
    bool open;
  } r[] = {
      {STRANGER, "sip:x@in.example", "198.51.100.9", true},
      {STRANGER, "sip:x@in.example", "127.0.0.1", false},
      {STRANGER, "sip:x@in.example", "169.254.169.254", false},
      {STRANGER, "sip:x@in.example", "::1", false},
      {STRANGER, "sip:x@in.example", "::ffff:127.0.0.1", false},
      {STRANGER, "sip:x@in.example", "0.0.0.0", false},
      {STRANGER, "sip:x@lab.example", "127.0.0.3", true},
      {STRANGER, "sip:x@lab.example", "fe80::3", true},
      {STRANGER, "sip:x@lab.example", "127.0.1.3", false},
      {LOCAL, "sip:x@in.example", "127.0.0.1", true},
  };
  proxy_begin(conf);
  for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
    struct tl_resolve a = {.found = {.n = 1, .via = {TL_UDP}}};
    unsigned status;
    cr_assert_eq(plan_it(r[i].ip, r[i].uri, NULL, &status), TL_EAGAIN);
    cr_assert_eq(tl_addr_parse(tl_str_c(r[i].to), 7777, &a.found.addr[0]), 0);
    tl_target_resolved(&req, &a);
    cr_expect_eq(tl_guard_relay(&req), r[i].open, "%s to %s from %s", r[i].uri, r[i].to, r[i].ip);
    cr_expect_eq(plan.n_target, r[i].open);
    if (!r[i].open) cr_expect_eq(plan.status, 403);
  }
  /* Of several addresses those that may stay are taken. */
  struct tl_resolve two = {.found = {.n = 2, .via = {TL_UDP, TL_UDP}}};
  unsigned status;
  cr_assert_eq(plan_it(STRANGER, "sip:x@in.example", NULL, &status), TL_EAGAIN);
  cr_assert_eq(tl_addr_parse(TL_STR("127.0.0.1"), 7777, &two.found.addr[0]), 0);
  cr_assert_eq(tl_addr_parse(TL_STR("192.0.2.8"), 7777, &two.found.addr[1]), 0);
  tl_target_resolved(&req, &two);
  cr_expect(tl_guard_relay(&req));
  cr_expect_eq(plan.n_target, 1);
  cr_expect(tl_addr_eq(&plan.target[0].addr, &two.found.addr[1]));
  proxy_end();
}

/* What leads to a listener of ours by a name that we do not know as ours is ours all the same. */
Test(proxy_route, s24_a_name_of_our_own_listener_is_ours) {
  unsigned status;
  proxy_begin(conf);
  struct tl_resolve a = {.found = {.n = 1, .via = {TL_UDP}}};
  cr_assert_eq(plan_it(LOCAL, "sip:x@in.example", NULL, &status), TL_EAGAIN);
  cr_assert_eq(tl_addr_parse(TL_STR("127.0.0.1"), tl_addr_port(&rig.udp), &a.found.addr[0]), 0);
  tl_target_resolved(&req, &a);
  cr_expect_not(tl_guard_relay(&req));
  cr_expect_eq(plan.status, 404);
  proxy_end();
}

/* A peer that was one of our own listeners got the request, and it came round until 482. */
Test(proxy_route, s24_a_peer_at_our_own_listener_is_left_out) {
  static char text[1000];
  unsigned status;
  proxy_begin(conf);
  snprintf(text, sizeof(text),
           "peer \"us\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
           "peer \"tcp\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
           "peer \"name\" { uri = \"sip:us.invalid:%u;transport=udp\" }\n"
           "peer \"bob\" { uri = \"sip:192.0.2.20;transport=udp\" }\n"
           "route \"both\" { to_prefix = \"both\" peers = { \"us\", \"bob\" } }\n"
           "route \"tcp\" { to_prefix = \"tcp\" peers = \"tcp\" }\n"
           "route \"name\" { to_prefix = \"name\" peers = \"name\" }\n"
           "route \"us\" { peers = \"us\" }\n",
           tl_addr_port(&rig.udp), tl_addr_port(&rig.udp), tl_addr_port(&rig.udp));
  rig_reload(text, true);
  rig_turn();
  cr_expect_eq(plan_it(STRANGER, "sip:us@x.example", NULL, &status), TL_ENOTFOUND);
  cr_expect_eq(status, 503);
  cr_expect_str_eq(plan.refusal, "Next Hop Is This Proxy Itself");
  cr_expect_eq(plan_it(STRANGER, "sip:both@x.example", NULL, &status), TL_OK);
  cr_expect_eq(plan.n_target, 1);
  cr_expect_str_eq(plan.target[0].peer->name, "bob");
  cr_expect_null(tl_plan_only_us(&plan));
  /* Another transport at the same port is somebody else, whom the configuration names. */
  cr_expect_eq(plan_it(STRANGER, "sip:tcp@x.example", NULL, &status), TL_OK);
  cr_expect_eq(plan.n_target, 1);
  struct tl_resolve a = {.found = {.n = 1, .via = {TL_UDP}, .addr = {rig.udp}}};
  cr_assert_eq(plan_it(STRANGER, "sip:name@x.example", NULL, &status), TL_EAGAIN);
  tl_target_resolved(&req, &a);
  cr_expect_eq(plan.n_target, 0);
  cr_expect_str_eq(tl_plan_only_us(&plan), "Next Hop Is This Proxy Itself");
  cr_expect_eq(rig_count(TL_C_PEER_SELF), 3);
  proxy_end();
}

Test(proxy_route, s24_an_unknown_transport_is_not_udp) {
  static const struct row r[] = {
      {STRANGER, "sip:x@chicago.example;transport=carrier-pigeon", NULL, 416},
      {STRANGER, "sip:in@198.51.100.9;transport=sctp", NULL, 416},
      {STRANGER, "sip:in@198.51.100.9;transport=ws", NULL, 416},
      {STRANGER, "sip:in@198.51.100.9;transport=", NULL, 416},
      {STRANGER, "sip:in@198.51.100.9;transport", NULL, 416},
      {STRANGER, "sip:x@y.example", "Route: <sip:192.0.2.77;transport=tls-sctp;lr>\r\n", 416},
      {STRANGER, "sip:in@198.51.100.9;TRANSPORT=Udp", NULL, 0},
      {STRANGER, "sip:in@198.51.100.9;transport=TCP", NULL, 0},
  };
  proxy_begin(conf);
  judge(r, sizeof(r) / sizeof(r[0]));
  proxy_end();
}

/* ---- Record-Route ---- */

static void begins(const char *method, const char *to_tag, const char *token, char *text,
                   size_t cap) {
  snprintf(text, cap,
           "%s sip:pbx@192.0.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKx\r\n"
           "%sFrom: <sip:x@y.example>;tag=f\r\nTo: <sip:a@b.example>%s\r\nCall-ID: c1\r\n"
           "CSeq: 2 %s\r\nContent-Length: 0\r\n\r\n",
           method, token, to_tag, method);
}

/* The request as it leaves, in TEXT; the Record-Route fields in it. */
static unsigned recorded(char *text, size_t cap) {
  char branch[TL_BRANCH_LEN], sent[4096];
  struct tl_scan_error err;
  struct tl_edit e;
  struct tl_edit_texts x;
  unsigned status = 0, n = 0;
  cr_assert_eq(tl_scan(text, strlen(text), true, 65536, &msg, &err), 0, "%s", err.reason);
  from = (struct tl_flow){.transport = TL_UDP};
  cr_assert_eq(tl_addr_parse(TL_STR("192.0.2.50"), 5060, &from.addr), 0);
  cr_assert_eq(rig_plan(&req, &from, &msg, &plan, &status), 0, "%u", status);
  cr_assert_eq(tl_stage_rewrite(&req), TL_STAGE_GO_ON);
  memset(branch, 'x', sizeof(branch));
  struct tl_flow to = {.transport = TL_UDP, .addr = plan.target[0].addr};
  cr_assert_eq(tl_request_edit(&px, &e, &msg, &plan, &plan.target[0], &from, &to, branch, &x), 0);
  cr_assert_lt(tl_edit_len(&e), sizeof(sent));
  sent[tl_edit_write(&e, sent)] = '\0';
  for (const char *at = sent; (at = strstr(at, "\r\nRecord-Route:")) != NULL; at++) n++;
  snprintf(text, cap, "%s", sent);
  return n;
}

Test(proxy_route, s17_who_may_lack_a_route_set_gets_one) {
  static const struct {
    const char *method;
    unsigned first, stray, inside; /* without To tag; with one, without and with our token */
  } r[] = {{"INVITE", 1, 1, 0},  {"SUBSCRIBE", 1, 1, 1}, {"REFER", 1, 1, 0}, {"NOTIFY", 1, 1, 1},
           {"UPDATE", 0, 1, 0},  {"MESSAGE", 0, 0, 0},   {"INFO", 0, 0, 0},  {"BYE", 0, 0, 0},
           {"OPTIONS", 0, 0, 0}, {"PUBLISH", 0, 0, 0}};
  char text[4096], token[1024];
  proxy_begin(conf);
  begins("SUBSCRIBE", "", "", text, sizeof(text));
  cr_assert_eq(recorded(text, sizeof(text)), 1);
  const char *own = strstr(text, "\r\nRecord-Route:") + strlen("\r\nRecord-");
  snprintf(token, sizeof(token), "%.*s\r\n", (int)strcspn(own, "\r"), own);
  for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
    begins(r[i].method, "", "", text, sizeof(text));
    cr_expect_eq(recorded(text, sizeof(text)), r[i].first, "first %s", r[i].method);
    begins(r[i].method, ";tag=t", "", text, sizeof(text));
    cr_expect_eq(recorded(text, sizeof(text)), r[i].stray, "%s without our Route", r[i].method);
    begins(r[i].method, ";tag=t", token, text, sizeof(text));
    cr_expect_eq(recorded(text, sizeof(text)), r[i].inside, "%s inside", r[i].method);
    cr_expect(plan.in_dialog);
  }
  proxy_end();
}
