/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for the address of their next hop, with the test as the resolver: what becomes
 * of them by its answers. */
#include "test_proxy_rig.h"

TestSuite(proxy_lookup, .timeout = 30);

static struct ua alice, bob, carol;
static char uri[100];

static const char *sip(const struct ua *u, const char *params) {
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u%s", u->port, params);
  return uri;
}

static struct tl_resolve *asked(void) {
  tl_mailbox_rearm(&rig.rt.resolver);
  return (struct tl_resolve *)tl_mailbox_take(&rig.rt.resolver);
}

static void answer_lookup(struct tl_resolve *r, const uint16_t *port, size_t n) {
  r->rc = n ? 0 : TL_ENOTFOUND;
  r->found.n = n;
  for (size_t i = 0; i < n; i++) tl_addr_parse(TL_STR("127.0.0.1"), port[i], &r->found.addr[i]);
  cr_assert_eq(tl_mail_send(&r->reply, &r->mail), 0);
}

/* Targets found after a reload pointed into the new snapshot without holding it. */
Test(proxy_lookup, names_resolved_behind_a_reload_and_failover_behind_another) {
  char extra[1000];
  struct tl_resolve *r;
  ua_udp_each(&alice, &bob, &carol);
  snprintf(extra, sizeof(extra),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { relay = \"request-uri\" }\n",
           bob.port, carol.port);
  proxy_begin(extra);
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@far.example", "1", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  cr_expect_str_eq(r->host, "far.example");
  rig_reload(extra, true);
  answer_lookup(r, (uint16_t[]){bob.port, carol.port}, 2);
  ua_expect(&bob, "INVITE");
  rig_reload(extra, true);
  ua_send(&alice,
          ua_request(&alice, "OPTIONS", sip(&bob, ""), "2", "", "")); /* takes the new one */
  rig_settle();
  ua_expect(&carol, "INVITE"); /* Timer B of bob's */
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  do ua_expect(&alice, "SIP/2.0 ");
  while (strncmp(alice.in, "SIP/2.0 100", 11) == 0);
  cr_expect(strncmp(alice.in, "SIP/2.0 200", 11) == 0);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_lookup, names_without_an_address_and_answers_nobody_waits_for) {
  struct tl_resolve *r;
  ua_udp(&alice);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@far.example", "1", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  ua_send(&alice, ua_request(&alice, "CANCEL", "sip:x@far.example", "1", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect(&alice, "SIP/2.0 487");
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@far.example", "1", "", ""));
  answer_lookup(r, (uint16_t[]){1}, 1);
  rig_settle();
  ua_send(&alice, ua_request(&alice, "OPTIONS", "sip:x@far.example", "2", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  answer_lookup(r, NULL, 0);
  do ua_expect(&alice, "SIP/2.0 ");
  while (strncmp(alice.in, "SIP/2.0 487", 11) == 0);
  cr_expect(strncmp(alice.in, "SIP/2.0 503", 11) == 0, "%s", alice.in);
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@far.example", "3", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  answer_lookup(r, NULL, 0);
  rig_settle();
  cr_expect_eq(rig_count(TL_C_DROP_STRAY_ACK), 1);
  proxy_end_clean();
  ua_close(&alice);
}

/* ---- the same answer as without a look-up ---- */

#define TLS "tls_domain \"d\" { verify_cert = false }\n"

/* Nothing goes in the clear to the machine of a peer that is reached by TLS alone. */
Test(proxy_lookup, a_name_that_leads_where_only_tls_may_go_gets_480) {
  struct tl_resolve *r;
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS TLS
              "peer \"b\" { uri = \"sip:127.0.0.1:5999;transport=tls\" tls_only = true }\n"
              "route \"r\" { relay = \"request-uri\" }\n");
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), "1", "", ""));
  ua_expect(&alice, "SIP/2.0 480");
  ua_send(&alice, ua_request(&alice, "MESSAGE", "sip:x@far.example", "2", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  answer_lookup(r, (uint16_t[]){bob.port}, 1);
  ua_expect(&alice, "SIP/2.0 480");
  ua_expect_silence(&bob, 20);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* A name in a dialog that leads where none of its legs was. */
Test(proxy_lookup, a_name_that_leads_a_dialog_astray_gets_403) {
  char line[1024];
  struct tl_resolve *r;
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS "route \"r\" { to_domain = \"127.0.0.1\" relay = \"request-uri\" }\n");
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "d", "", ""));
  ua_expect(&bob, "INVITE");
  snprintf(line, sizeof(line), "Route: %s\r\n", ua_header(&bob, "Record-Route", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&alice, ua_info_to_name(&alice, line));
  RIG_UNTIL((r = asked()) != NULL);
  answer_lookup(r, (uint16_t[]){carol.port}, 1);
  ua_expect(&alice, "SIP/2.0 403");
  cr_expect_eq(rig_count(TL_C_LEG_ASTRAY), 1);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* A peer that is this proxy itself is no worse for having been looked up. */
Test(proxy_lookup, a_peer_whose_name_is_ours_says_so) {
  struct tl_resolve *r;
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS TLS "peer \"b\" { uri = \"sips:far.example\" }\n"
                         "route \"r\" { peers = \"b\" }\n");
  ua_send(&alice, ua_request(&alice, "MESSAGE", "sips:x@example.com", "1", "", ""));
  RIG_UNTIL((r = asked()) != NULL);
  answer_lookup(r, (uint16_t[]){tl_addr_port(&rig.udp)}, 1);
  ua_expect(&alice, "SIP/2.0 503 Next Hop Is This Proxy Itself");
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}
