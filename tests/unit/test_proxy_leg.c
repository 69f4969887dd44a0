/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Record-Route token of ours lets in, as a table: who shows it, from where, for what, and
 * toward where. Requests are planned, none is sent.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/leg.h"
#include "proxy/route.h"
#include "test_proxy_rig.h"

TestSuite(proxy_leg, .timeout = 30);

#define CALLER "203.0.113.5"
#define PHONE "192.0.2.20"
#define CARRIER "192.0.2.90"
#define STRANGER "203.0.113.66"

/* Anybody may call the phone; only the pbx may call the world, through the carrier. */
static const char conf[] =
    "domains = \"atlanta.example\"\nanti_spoof = \"all\"\n"
    "peer \"pbx\" { uri = \"sip:198.51.100.10;transport=udp\" networks = \"198.51.100.0/28\" }\n"
    "peer \"carrier\" { uri = \"sip:" CARRIER ":5090;transport=udp\" networks = "
    "\"192.0.2.80/28\" }\n"
    "peer \"phone\" { uri = \"sip:" PHONE ":5070;transport=udp\" }\n"
    "route \"amber\" { to_prefix = \"amber\" peers = \"phone\" }\n"
    "route \"out\" { from_peer = \"pbx\" to_prefix = \"+\" peers = \"carrier\" }\n"
    "route \"far\" { to_domain = { \"far.example\", \"192.0.2.44\" } relay = \"request-uri\" }\n";

static char token[TL_RR_TOKEN_MAX + 1];
static struct tl_plan plan;
static struct tl_msg msg;
static struct tl_req req;

/* Who sends, and as what. */
struct row {
  const char *method, *from_tag, *to_tag, *from_uri; /* from_uri NULL: nobody's of ours */
  const char *ip;
  uint16_t port;
  enum tl_transport transport;
  tl_conn_id conn;
  const char *uri;
  const char *more; /* header lines */
};

static struct tl_flow flow_of(const struct row *r) {
  struct tl_flow h = {.transport = r->transport, .conn = r->conn};
  cr_assert_eq(tl_addr_parse(tl_str_c(r->ip), r->port ? r->port : 5060, &h.addr), 0);
  return h;
}

static int plan_it(const struct row *r, bool routed, unsigned *status) {
  static char text[2048];
  struct tl_scan_error err;
  char route[TL_RR_TOKEN_MAX + 100] = "";
  if (routed)
    snprintf(route, sizeof(route), "Route: <sip:127.0.0.1:%u;lr;tl=%s>\r\n", tl_addr_port(&rig.udp),
             token);
  int n = snprintf(text, sizeof(text),
                   "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKx\r\n%sFrom: <%s>;tag=%s\r\n"
                   "To: <sip:amber@atlanta.example>%s%s\r\nCall-ID: c1\r\nCSeq: 2 %s\r\n%s"
                   "Content-Length: 0\r\n\r\n",
                   r->method, r->uri, r->ip, route, r->from_uri ? r->from_uri : "sip:x@y.example",
                   r->from_tag, *r->to_tag ? ";tag=" : "", r->to_tag, r->method,
                   r->more ? r->more : "");
  cr_assert_eq(tl_scan(text, (size_t)n, true, 65536, &msg, &err), 0, "%s", err.reason);
  struct tl_flow from = flow_of(r);
  return rig_plan(&req, &from, &msg, &plan, status);
}

/* The dialog: OPENER's INVITE as the daemon would pass it on. */
static void open_dialog(const struct row *opener) {
  unsigned status = 0;
  cr_assert_eq(plan_it(opener, false, &status), 0, "%u", status);
  struct tl_flow from = flow_of(opener);
  struct tl_flow to = {.transport = plan.target[0].transport, .addr = plan.target[0].addr};
  struct tl_route_token says = tl_leg_token(&px, &plan, &msg, &plan.target[0], &from, &to, true);
  token[tl_token_route(&px, &says, &msg, token)] = '\0';
}

static const struct row call = {"INVITE",
                                "f",
                                "",
                                NULL,
                                CALLER,
                                0,
                                TL_UDP,
                                0,
                                "sip:amber@atlanta.example",
                                "Contact: <sip:x@" CALLER ":5062>\r\n"};

/* A request with the token: inside the dialog, or counted as WHY and then refused with STATUS (0:
 * it may go on as a first request). */
struct outcome {
  struct row r;
  enum tl_counter why; /* TL_C_REQ_OTHER: it is inside the dialog */
  unsigned status;
};
#define INSIDE TL_C_REQ_OTHER

static void judge(const struct outcome *o, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned status = 0;
    uint64_t before = rig_count(o[i].why);
    int rc = plan_it(&o[i].r, true, &status);
    bool inside = o[i].why == INSIDE;
    cr_expect_eq(plan.in_dialog, inside, "row %zu: %s %s from %s", i, o[i].r.method, o[i].r.uri,
                 o[i].r.ip);
    cr_expect_eq(rig_count(o[i].why), before + !inside, "row %zu: its reason is not counted", i);
    if (inside || !o[i].status)
      cr_expect(rc == 0 || rc == TL_EAGAIN, "row %zu: refused with %u", i, status);
    else
      cr_expect(rc == TL_ENOTFOUND && status == o[i].status, "row %zu: %d, %u", i, rc, status);
  }
}

#define TO_PHONE "sip:amber@" PHONE ":5070"
#define TO_CALLER "sip:x@" CALLER ":5062"
#define TO_CARRIER "sip:+900@" CARRIER ":5090"
#define OURS "sip:ceo@atlanta.example"

Test(proxy_leg, s1_the_token_is_for_its_legs_alone) {
  static const struct outcome o[] = {
      /* both directions, and what a dialog has */
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL}, INSIDE, 0},
      {{"ACK", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL}, INSIDE, 0},
      {{"INVITE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL}, INSIDE, 0},
      {{"MESSAGE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "t", "f", NULL, PHONE, 5070, TL_UDP, 0, TO_CALLER, NULL}, INSIDE, 0},
      {{"NOTIFY", "t", "f", NULL, PHONE, 5070, TL_UDP, 0, TO_CALLER, NULL}, INSIDE, 0},
      {{"INVITE", "t", "f", OURS, PHONE, 5070, TL_UDP, 0, TO_CALLER, NULL}, INSIDE, 0},
      /* another port of the same machine: a NAT's mapping changed; a better transport */
      {{"BYE", "f", "t", NULL, CALLER, 49152, TL_UDP, 0, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, CALLER, 49152, TL_TCP, 7, TO_PHONE, NULL}, INSIDE, 0},
      /* SIP's own port there is another address of the leg */
      {{"BYE", "t", "f", NULL, PHONE, 0, TL_UDP, 0, "sip:x@" CALLER, NULL}, INSIDE, 0},
      /* no dialog: finding 1 */
      {{"INVITE", "f", "", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MISUSED, 403},
      {{"INVITE", "f", "", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL}, TL_C_LEG_MISUSED, 0},
      {{"MESSAGE", "f", "", OURS, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MISUSED, 403},
      {{"OPTIONS", "f", "", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MISUSED, 403},
      {{"REGISTER", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MISUSED, 403},
      /* from elsewhere */
      {{"BYE", "f", "t", NULL, STRANGER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MOVED, 403},
      {{"BYE", "t", "f", NULL, STRANGER, 0, TL_UDP, 0, TO_CALLER, NULL}, TL_C_LEG_MOVED, 403},
      {{"INVITE", "f", "t", OURS, STRANGER, 0, TL_UDP, 0, TO_PHONE, NULL}, TL_C_LEG_MOVED, 403},
      {{"BYE", "f", "t", NULL, PHONE, 5070, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MOVED, 403},
      {{"BYE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MOVED, 403},
      /* a leg that has moved is judged as a first request, not refused */
      {{"BYE", "f", "t", NULL, STRANGER, 0, TL_UDP, 0, TO_PHONE, NULL}, TL_C_LEG_MOVED, 0},
      /* toward elsewhere */
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_ASTRAY, 403},
      {{"INVITE", "f", "t", OURS, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_ASTRAY, 403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@" PHONE ":22;transport=tcp", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@127.0.0.1:9999", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE ";maddr=127.0.0.1", NULL},
       TL_C_LEG_ASTRAY,
       0},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@169.254.169.254", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@[::ffff:127.0.0.1]", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"BYE", "t", "f", NULL, PHONE, 5070, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_ASTRAY, 403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@" PHONE,
        "Route: <sip:127.0.0.1:7777;transport=tcp;lr>\r\n"},
       TL_C_LEG_ASTRAY,
       403},
  };
  proxy_begin(conf);
  open_dialog(&call);
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

/* A stream's leg is its connection; an address counts as far as the transport proves it. */
Test(proxy_leg, s1_a_leg_with_a_connection_is_not_spoken_for_by_datagrams) {
  static const struct outcome o[] = {
      {{"BYE", "f", "t", NULL, CALLER, 1, TL_TCP, 0x5500, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, STRANGER, 1, TL_TCP, 0x5500, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, CALLER, 2, TL_TCP, 0x5501, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, CALLER, 2, TL_TLS, 0x5501, TO_PHONE, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, CALLER, 2, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_MOVED, 403},
      {{"BYE", "f", "t", NULL, STRANGER, 2, TL_TCP, 0x5501, TO_CARRIER, NULL}, TL_C_LEG_MOVED, 403},
  };
  proxy_begin(conf);
  struct row opener = call;
  opener.transport = TL_TCP;
  opener.conn = 0x5500;
  open_dialog(&opener);
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

/* A peer is wherever the configuration says that it is. */
Test(proxy_leg, s1_a_peer_is_a_leg_from_all_its_addresses) {
  static const struct row opener = {
      "INVITE", "f", "", NULL, "198.51.100.10", 0, TL_UDP, 0, "sip:+1555@far.example", NULL};
  static const struct outcome o[] = {
      {{"BYE", "f", "t", NULL, "198.51.100.10", 0, TL_UDP, 0, TO_CARRIER, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, "198.51.100.11", 0, TL_UDP, 0, TO_CARRIER, NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, "198.51.100.11", 0, TL_UDP, 0, "sip:x@192.0.2.81:7000", NULL},
       INSIDE,
       0},
      {{"BYE", "t", "f", NULL, "192.0.2.82", 0, TL_UDP, 0, "sip:x@198.51.100.12", NULL}, INSIDE, 0},
      {{"BYE", "t", "f", NULL, STRANGER, 0, TL_UDP, 0, "sip:x@198.51.100.12", NULL},
       TL_C_LEG_MOVED,
       403},
      {{"BYE", "t", "f", NULL, "192.0.2.82", 0, TL_UDP, 0, TO_PHONE, NULL}, TL_C_LEG_ASTRAY, 0},
      {{"BYE", "t", "f", NULL, "192.0.2.82", 0, TL_UDP, 0, "sip:x@" PHONE, NULL},
       TL_C_LEG_ASTRAY,
       403},
  };
  proxy_begin(conf);
  open_dialog(&opener);
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

/* A peer at an address that another's networks hold is none of that one's telephones. */
Test(proxy_leg, s1_networks_of_a_leg_hold_no_other_peer) {
  static const struct row opener = {
      "INVITE", "f", "", NULL, "198.51.100.10", 0, TL_UDP, 0, "sip:+1555@far.example", NULL};
  static const struct outcome o[] = {
      {{"BYE", "t", "f", NULL, CARRIER, 0, TL_UDP, 0, "sip:x@198.51.100.12:7000", NULL}, INSIDE, 0},
      {{"BYE", "t", "f", NULL, CARRIER, 0, TL_UDP, 0, "sip:x@198.51.100.10:5099", NULL}, INSIDE, 0},
      {{"INVITE", "t", "f", NULL, CARRIER, 0, TL_UDP, 0, "sip:+900@198.51.100.14:5080", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"INVITE", "t", "f", NULL, CARRIER, 0, TL_UDP, 0, "sip:+900@198.51.100.14", NULL},
       TL_C_LEG_ASTRAY,
       403},
  };
  char text[sizeof(conf) + 100];
  snprintf(text, sizeof(text),
           "%speer \"gate\" { uri = \"sip:198.51.100.14:5080;transport=udp\" }\n", conf);
  proxy_begin(text);
  open_dialog(&opener);
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

/* The route that the pbx took relays it anywhere. Whom it called that way may name where the caller
 * is, whatever the address; the carrier serves others, by each of its ports and networks. */
Test(proxy_leg, s1_who_was_called_is_relayed_to_no_peer) {
  static const struct row opener = {"INVITE",        "f", "", NULL, "198.51.100.10", 0, TL_UDP, 0,
                                    "sip:x@" CALLER, NULL};
  static const struct outcome o[] = {
      {{"BYE", "f", "t", NULL, "198.51.100.10", 0, TL_UDP, 0, "sip:x@" STRANGER, NULL}, INSIDE, 0},
      {{"BYE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, "sip:x@198.51.100.12", NULL}, INSIDE, 0},
      {{"BYE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, "sip:x@" STRANGER ":7000", NULL}, INSIDE, 0},
      {{"INVITE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER, NULL}, TL_C_LEG_ASTRAY, 403},
      {{"INVITE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, TO_CARRIER ";transport=tcp", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"REFER", "t", "f", NULL, CALLER, 0, TL_UDP, 0, "sip:+900@" CARRIER, NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"REFER", "t", "f", NULL, CALLER, 0, TL_UDP, 0, "sip:+900@192.0.2.85:7000", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"MESSAGE", "t", "f", NULL, CALLER, 0, TL_UDP, 0, "sip:x@" PHONE ":5070", NULL},
       TL_C_LEG_ASTRAY,
       403},
  };
  char text[sizeof(conf) + 100];
  snprintf(text, sizeof(text), "%sroute \"any\" { from_peer = \"pbx\" relay = \"request-uri\" }\n",
           conf);
  proxy_begin(text);
  open_dialog(&opener);
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

/* A Contact where the peer never was is held to its certificate, and leads to no inner address for
 * all that: a handshake is a message too. */
Test(proxy_leg, s1_a_certificate_to_be_shown_opens_no_inner_address) {
  static const struct {
    const char *ip, *source;
    bool allowed;
  } rows[] = {{"192.0.2.200", CALLER, true},    {CARRIER, CALLER, true},
              {"127.0.0.1", CALLER, false},     {"169.254.169.254", CALLER, false},
              {"127.0.0.1", "127.0.0.9", true}, {"::ffff:127.0.0.1", CALLER, false}};
  proxy_begin(conf);
  const struct tl_conf_peer *carrier = &tl_net_view(px.net)->peers->peer[1];
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    struct tl_target *t = &plan.target[0];
    memset(&plan, 0, sizeof(plan));
    plan.in_dialog = true;
    plan.leg_peer = carrier->id;
    plan.n_target = 1;
    *t = (struct tl_target){.transport = TL_TLS, .peer = carrier, .by_leg = true};
    cr_assert_eq(tl_addr_parse(tl_str_c(rows[i].ip), 4443, &t->addr), 0);
    cr_assert_eq(tl_addr_parse(tl_str_c(rows[i].source), 5060, &plan.source), 0);
    const struct tl_req asked = {.p = &px, .view = tl_net_view(px.net), .plan = &plan};
    cr_expect_eq(tl_leg_bound(&asked), rows[i].allowed, "%s from %s", rows[i].ip, rows[i].source);
  }
  proxy_end();
}

Test(proxy_leg, s1_a_relay_is_bound_to_its_domains_and_to_outer_addresses) {
  static const struct outcome o[] = {
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@192.0.2.44:5066", NULL}, INSIDE, 0},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@127.0.0.1:7777", NULL},
       TL_C_LEG_ASTRAY,
       403},
      {{"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, "sip:x@10.0.0.1", NULL}, TL_C_LEG_ASTRAY, 403},
  };
  static const struct row opener = {
      "INVITE", "f", "", NULL, CALLER, 0, TL_UDP, 0, "sip:x@far.example;maddr=192.0.2.44", NULL};
  proxy_begin(conf);
  unsigned status = 0;
  cr_assert_eq(plan_it(&opener, false, &status), 0);
  struct tl_flow from = flow_of(&opener), to = {.transport = TL_UDP};
  cr_assert_eq(tl_addr_parse(TL_STR("192.0.2.44"), 5066, &to.addr), 0);
  struct tl_route_token says = tl_leg_token(&px, &plan, &msg, &plan.target[0], &from, &to, true);
  token[tl_token_route(&px, &says, &msg, token)] = '\0';
  judge(o, sizeof(o) / sizeof(o[0]));
  proxy_end();
}

static bool inside_if_made(int64_t seconds_ago) {
  unsigned status = 0;
  struct tl_flow from = flow_of(&call), to = {.transport = TL_UDP};
  cr_assert_eq(plan_it(&call, false, &status), 0);
  to.addr = plan.target[0].addr;
  struct tl_route_token says = tl_leg_token(&px, &plan, &msg, &plan.target[0], &from, &to, true);
  says.made_s = (uint32_t)(tl_token_now() - seconds_ago);
  token[tl_token_route(&px, &says, &msg, token)] = '\0';
  struct row bye = {"BYE", "f", "t", NULL, CALLER, 0, TL_UDP, 0, TO_PHONE, NULL};
  cr_expect_eq(plan_it(&bye, true, &status), 0);
  return plan.in_dialog;
}

Test(proxy_leg, s1_the_token_lives_for_call_max) {
  char text[sizeof(conf) + 40];
  snprintf(text, sizeof(text), "call_max = 1h\n%s", conf);
  proxy_begin(text);
  cr_expect(inside_if_made(0));
  cr_expect(inside_if_made(3500));
  cr_expect(inside_if_made(-3500), "the clock was set back");
  cr_expect_eq(rig_count(TL_C_LEG_AGED), 0);
  cr_expect_not(inside_if_made(3700));
  cr_expect_not(inside_if_made(1000000));
  cr_expect_not(inside_if_made(-3700));
  cr_expect_eq(rig_count(TL_C_LEG_AGED), 3);
  proxy_end();
}

/* Each part of the token is signed: where, when, whose connection, which peers. */
Test(proxy_leg, s1_no_part_of_the_token_can_be_changed) {
  proxy_begin(conf);
  struct row opener = call;
  opener.transport = TL_TCP;
  opener.conn = 0x5500;
  open_dialog(&opener);
  struct row bye = {"BYE", "f", "t", NULL, CALLER, 0, TL_TCP, 0x5500, TO_PHONE, NULL};
  unsigned status;
  size_t n = strlen(token);
  plan_it(&bye, true, &status);
  cr_assert(plan.in_dialog);
  for (size_t i = 0; i < n; i++) {
    char was = token[i];
    token[i] = was == '0' ? '1' : '0';
    plan_it(&bye, true, &status);
    cr_expect_not(plan.in_dialog, "at %zu of %s", i, token);
    token[i] = was;
  }
  proxy_end();
}
