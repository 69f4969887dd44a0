/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker has under way toward each peer, across reloads. */
#include "proxy/peer_share.h"
#include "test_proxy_rig.h"

TestSuite(proxy_share, .timeout = 30);

static struct ua alice, bob, carol;

/* The peer "c", and MORE before it; both get every request. */
static void conf_with(char *out, size_t cap, const char *more) {
  char peer[200] = "", also[20] = "";
  if (*more) {
    snprintf(peer, sizeof(peer), "peer \"%s\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n", more,
             bob.port);
    snprintf(also, sizeof(also), "\"%s\", ", more);
  }
  snprintf(out, cap,
           TIMERS "%speer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { peers = { %s\"c\" } fork = parallel }\n",
           peer, carol.port, also);
}

/* The worker alone may still have what was before. */
static void reload_with(const char *more) {
  char text[1000];
  struct tl_conf *was = tl_conf_ref(rig.rt.view->conf);
  conf_with(text, sizeof(text), more);
  rig_reload(text, true);
  rig_settle();
  conf_drop(was);
}

static void request(const char *method, const char *id) {
  ua_send(&alice, ua_request(&alice, method, "sip:x@example.com", id, "", ""));
}

/* Its branch outlived the peer: the peer that came into the slot of its state was then one request
 * short of none, for ever. */
Test(proxy_share, a_branch_that_outlives_its_peer_counts_for_no_other) {
  char text[1000];
  ua_udp(&alice);
  ua_udp(&bob);
  ua_udp(&carol);
  conf_with(text, sizeof(text), "b");
  proxy_begin(text);
  request("INVITE", "1");
  ua_expect(&bob, "INVITE"); /* and is silent: his branch ends by Timer B */
  ua_expect(&carol, "INVITE");
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_expect(&alice, "SIP/2.0 200");
  reload_with(""); /* nobody has "b" any more but that branch */
  reload_with("d");
  request("MESSAGE", "2");
  do ua_expect(&bob, "");
  while (!strstr(bob.in, "Call-ID: 2@"));
  ua_send(&bob, ua_response(&bob, "200 OK", "d", ""));
  ua_expect(&alice, "SIP/2.0 200");
  rig_sleep(LINGER_MS);
  request("MESSAGE", "3");
  do ua_expect(&bob, "");
  while (!strstr(bob.in, "Call-ID: 3@"));
  ua_send(&bob, ua_response(&bob, "200 OK", "d", ""));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_eq(rig_count(TL_C_TXN_REFUSED_PEER), 0);
  proxy_end_clean();
  ua_close(&alice);
  ua_close(&bob);
  ua_close(&carol);
}
