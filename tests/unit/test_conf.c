/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration becomes: defaults, units, the samples, what is printed,
 * what a reload may change, and which hosts are ours.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/conf_table.h"
#include "test_conf_util.h"

TestSuite(conf, .init = conf_setup, .fini = conf_teardown);

#define L "listen \"tcp:127.0.0.1:5999\" {}\n"

static struct tl_conf *good(const char *text) {
  struct conf_try t = conf_try(text, NULL);
  cr_assert_eq(t.rc, 0, "%s\n%s", text, t.complaint[0]);
  return t.conf;
}

Test(conf, defaults) {
  struct tl_conf *c = good(L);
  cr_expect_eq(c->generation, 1);
  cr_expect_geq(c->opt.workers, 1);
  cr_expect_eq(c->opt.handshakers, c->opt.workers > 1 ? c->opt.workers / 2 : 1);
  cr_expect_str_eq(c->opt.control_socket, "/run/tieline/tieline.sock");
  cr_expect_null(c->opt.user);
  cr_expect_eq(c->opt.log_level, TL_LOG_INFO);
  cr_expect_eq(c->opt.log_format, TL_LOG_KV);
  cr_expect_eq(c->opt.log_target, TL_LOG_STDERR);
  cr_expect_eq(c->opt.records, TL_RECORDS_AUTO);
  cr_expect(c->opt.server_header);
  cr_expect_eq(c->limits.max_connections, 100000);
  cr_expect_eq(c->limits.max_transactions, 65536);
  cr_expect_eq(c->limits.max_message, 262144);
  cr_expect_eq(c->limits.max_head, 65536);
  cr_expect_eq(c->limits.max_handshakes, 512);
  cr_expect_eq(c->limits.max_handshakes_source, 64);
  cr_expect_eq(c->limits.send_buffer, 1048576);
  cr_expect_eq(c->limits.send_min_rate, 4096);
  cr_expect_eq(c->limits.max_kept, 512u << 20);
  cr_expect_geq(c->limits.connect_queue, 200, "200 requests may wait for one connection");
  cr_expect_eq(c->limits.recv_buffers, 256);
  cr_expect_eq(c->limits.zero_copy_body, 4096);
  cr_expect_eq(c->timeouts.handshake, 10000);
  cr_expect_eq(c->timeouts.idle, 3600000);
  cr_expect_eq(c->timeouts.t1, 500);
  cr_expect_eq(c->timeouts.t2, 4000);
  cr_expect_eq(c->timeouts.t4, 5000);
  cr_expect_eq(c->timeouts.timer_b, 64 * c->timeouts.t1);
  cr_expect_gt(c->timeouts.timer_c, 180000, "RFC 3261 16.6: more than three minutes");
  cr_expect_eq(c->timeouts.timer_f, 64 * c->timeouts.t1);
  cr_expect_eq(c->timeouts.trying, 200);
  tl_conf_unref(c);
}

Test(conf, units_and_spellings) {
  struct tl_conf *c = good(L "limits { max_message = 1m max_head = 4096 send_buffer = 1g }\n"
                             "timeouts { connect = 250ms handshake = 2s idle = 0 drain = 2m "
                             "send = \"1h\" }\n"
                             "server_header = off\nrecords = \"user\" # a comment\n"
                             "log_level = debug // another\n/* and\none */ log_format = json\n");
  cr_expect_eq(c->limits.max_message, 1048576);
  cr_expect_eq(c->limits.max_head, 4096);
  cr_expect_eq(c->limits.send_buffer, 1u << 30);
  cr_expect_eq(c->timeouts.connect, 250);
  cr_expect_eq(c->timeouts.handshake, 2000);
  cr_expect_eq(c->timeouts.idle, 0);
  cr_expect_eq(c->timeouts.drain, 120000);
  cr_expect_eq(c->timeouts.send, 3600000);
  cr_expect_not(c->opt.server_header);
  cr_expect_eq(c->opt.records, TL_RECORDS_USER);
  cr_expect_eq(c->opt.log_level, TL_LOG_DEBUG);
  cr_expect_eq(c->opt.log_format, TL_LOG_JSON);
  tl_conf_unref(c);
}

Test(conf, lists_strings_and_line_ends) {
  struct tl_conf *c = good("\xef\xbb\xbflisten \"tcp:127.0.0.1\" {}\r\n"
                           "domains = { \"One.Example\", # with a comment inside\r\n two.example, }"
                           "\r\ndomains += 'three.example'\n");
  cr_expect_str_eq(c->local_domains[0], "one.example");
  cr_expect_str_eq(c->local_domains[1], "two.example");
  cr_expect_str_eq(c->local_domains[2], "three.example");
  cr_expect_str_eq(c->local_domains[3], "127.0.0.1");
  cr_expect_null(c->local_domains[4]);
  tl_conf_unref(c);
}

Test(conf, environment_is_expanded_outside_single_quotes) {
  setenv("TIELINE_TEST_NAME", "from.environment", 1);
  unsetenv("TIELINE_TEST_UNSET");
  struct tl_conf *c = good(L "domains = { \"x.${TIELINE_TEST_NAME}\", ${TIELINE_TEST_NAME}, "
                             "\"${TIELINE_TEST_UNSET:-otherwise}\" }\n"
                             "control_socket = '/tmp/${x}$'\n");
  cr_expect_str_eq(c->local_domains[0], "x.from.environment");
  cr_expect_str_eq(c->local_domains[1], "from.environment");
  cr_expect_str_eq(c->local_domains[2], "otherwise");
  cr_expect_str_eq(c->opt.control_socket, "/tmp/${x}$");
  char *text = conf_printed(c, false);
  struct tl_conf *again = good(text);
  cr_expect_str_eq(again->opt.control_socket, "/tmp/${x}$", "printed text must not expand again");
  free(text);
  tl_conf_unref(c);
  tl_conf_unref(again);
}

Test(conf, environment_is_a_value_never_grammar) {
  setenv("TIELINE_TEST_ODD", "/tmp/a\"} workers = \\3", 1);
  struct tl_conf *c = good(L "control_socket = ${TIELINE_TEST_ODD}\nworkers = 1\n");
  cr_expect_str_eq(c->opt.control_socket, "/tmp/a\"} workers = \\3");
  cr_expect_eq(c->opt.workers, 1);
  tl_conf_unref(c);
}

Test(conf, includes_are_relative_to_the_including_file) {
  conf_write("one.conf", "include(\"two.conf\")\ninclude( 'three.conf' ) log_level = warn");
  conf_write("two.conf", "workers = 3");
  conf_write("three.conf", "peer \"p\" { uri = \"sip:127.0.0.1\" }\n");
  struct tl_conf *c = good("include(\"one.conf\") " L);
  cr_expect_eq(c->opt.workers, 3);
  cr_expect_eq(conf_view(c)->peers->n, 1);
  cr_expect_eq(c->opt.log_level, TL_LOG_WARN);
  tl_conf_unref(c);
}

Test(conf, d2_d3_listeners_and_default_ports) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good("listen \"tls:0.0.0.0\" { advertise = \"sbc.example\" }\n"
           "listen \"tls:[::1]:15061\" {}\nlisten \"udp:127.0.0.1\" {}\n"
           "listen \"tcp:[::1]\" { advertise = \"[2001:db8::1]:7000\" }\n"
           "tls_domain \"d\" { certificate = a.pem private_key = a.key ca_list = a.pem }\n");
  static const struct {
    enum tl_transport t;
    const char *addr, *host;
    uint16_t port;
  } want[] = {{TL_TLS, "0.0.0.0:5061", "sbc.example", 5061},
              {TL_TLS, "[::1]:15061", "[::1]", 15061},
              {TL_UDP, "127.0.0.1:5060", "127.0.0.1", 5060},
              {TL_TCP, "[::1]:5060", "[2001:db8::1]", 7000}};
  cr_assert_eq(c->n_listen, 4);
  for (size_t i = 0; i < 4; i++) {
    char text[TL_ADDR_STRLEN];
    cr_expect_eq(c->listen[i].transport, want[i].t);
    cr_expect_str_eq(tl_addr_format(&c->listen[i].addr, text), want[i].addr);
    cr_expect_str_eq(c->listen[i].advertise_host, want[i].host);
    cr_expect_eq(c->listen[i].advertise_port, want[i].port);
  }
  tl_conf_unref(c);
}

Test(conf, wildcard_listener_advertises_an_address_that_can_be_reached) {
  struct tl_conf *c = good("listen \"udp:0.0.0.0:5999\" {}\nlisten \"udp:[::]:5998\" {}\n");
  struct tl_addr a;
  for (size_t i = 0; i < 2; i++) {
    cr_assert_eq(tl_addr_parse(tl_str_c(c->listen[i].advertise_host), 0, &a), 0);
    cr_expect_not(tl_addr_is_any(&a));
  }
  cr_expect_eq(c->listen[0].advertise_port, 5999);
  cr_expect(tl_conf_is_local(c, TL_STR("127.0.0.1"), 5999));
  cr_expect(tl_conf_is_local(c, TL_STR("[::1]"), 5998));
  tl_conf_unref(c);
}

Test(conf, peers) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good(L "tls_domain \"d\" { certificate = a.pem private_key = a.key ca_list = a.pem }\n"
             "peer \"one\" { uri = \"sip:127.0.0.1:16061;transport=tls\" identity = \"x.example\" "
             "tls_domain = d max_cps = 500 max_calls = 20000 max_connections = 9000 probe = 30s }\n"
             "peer \"two\" { uri = \"sips:[::1]\" }\n"
             "peer \"three\" { uri = \"sip:127.0.0.2\" }\n"
             "peer \"four\" { uri = \"sip:localhost:7000;transport=tcp\" }\n"
             "peer \"five\" { uri = \"sips:127.0.0.1;transport=tcp\" }\n");
  cr_assert_eq(conf_view(c)->peers->n, 5);
  const struct tl_conf_peer *p = conf_view(c)->peers->peer;
  cr_expect_eq(p[0].transport, TL_TLS);
  cr_expect_eq(p[0].port, 16061);
  cr_expect_eq(p[0].domain, c->domain[0]);
  cr_expect_str_eq(p[0].identity, "x.example");
  cr_expect_eq(p[0].n_addr, 1);
  cr_expect_eq(tl_addr_port(&p[0].addr[0]), 16061);
  cr_expect_eq(p[0].opt.max_cps, 500);
  cr_expect_eq(p[0].opt.max_calls, 20000);
  cr_expect_eq(p[0].opt.max_connections, 9000);
  cr_expect_eq(p[1].opt.max_connections, 0);
  cr_expect_eq(c->opt.call_max_ms, 12 * 3600 * 1000);
  cr_expect_eq(c->limits.max_open_calls, 262144);
  cr_expect_eq(p[0].opt.probe_ms, 30000);
  cr_expect_eq(p[1].transport, TL_TLS);
  cr_expect(p[1].sips);
  cr_expect_str_eq(p[1].host, "[::1]");
  cr_expect_str_eq(p[1].identity, "::1");
  cr_expect_eq(p[1].port, 5061);
  cr_expect_null(p[1].domain);
  cr_expect_eq(p[2].transport, TL_UDP);
  cr_expect_eq(p[2].port, 5060);
  cr_expect_eq(p[3].transport, TL_TCP);
  cr_assert_geq(p[3].n_addr, 1);
  cr_expect_eq(tl_addr_port(&p[3].addr[0]), 7000);
  cr_expect_eq(p[4].transport, TL_TLS, "RFC 3261 26.2.2: sips over tcp is TLS");
  tl_conf_unref(c);
}

Test(conf, unresolvable_peer_is_no_error) {
  struct tl_conf *c = good(L "peer \"a\" { uri = \"sip:no-such-host.invalid\" }\n"
                             "peer \"b\" { uri = \"sip:127.0.0.1\" }\n");
  cr_expect_eq(conf_view(c)->peers->peer[0].n_addr, 0);
  cr_expect_eq(conf_view(c)->peers->peer[1].n_addr, 1);
  tl_conf_unref(c);
}

Test(conf, d30_routes) {
  struct tl_conf *c =
      good(L "peer \"a\" { uri = \"sip:127.0.0.1\" }\n"
             "peer \"b\" { uri = \"sip:127.0.0.2\" }\n"
             "route \"x\" { to_prefix = +1 to_domain = { \"A.Example\", b.example } "
             "from_peer = a strip = 2 prepend = \"00\" peers = { b, a } }\n"
             "route \"y\" { relay = \"request-uri\" }\n");
  cr_assert_eq(conf_view(c)->routes->n, 2);
  const struct tl_conf_route *r = conf_view(c)->routes->route;
  cr_expect_str_eq(r[0].opt.to_prefix, "+1");
  cr_expect_str_eq(r[0].opt.to_domain[0], "a.example");
  cr_expect_str_eq(r[0].opt.to_domain[1], "b.example");
  cr_expect_null(r[0].opt.to_domain[2]);
  cr_expect_str_eq(r[0].opt.from_peer[0], "a");
  cr_expect_eq(r[0].opt.strip, 2);
  cr_expect_str_eq(r[0].opt.prepend, "00");
  cr_assert_eq(r[0].n_peer, 2);
  cr_expect_str_eq(r[0].peer[0]->name, "b");
  cr_expect_str_eq(r[0].peer[1]->name, "a");
  cr_expect_not(r[0].relay_request_uri);
  cr_expect(r[1].relay_request_uri);
  cr_expect_null(r[1].opt.to_prefix);
  cr_expect_null(r[1].opt.to_domain);
  cr_expect_null(r[1].opt.from_peer);
  cr_expect_neq(r[0].id, r[1].id);
  struct conf_try t = conf_try(L "route \"y\" { relay = \"request-uri\" }\n", c);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect_eq(t.view->routes->route[0].id, r[1].id,
               "the id is the name's, whatever stands before it");
  conf_try_free(&t);
  tl_conf_unref(c);
}

/* ---- which hosts are ours ---- */

static bool ours(const struct tl_conf *c, const char *host, uint16_t port) {
  return tl_conf_is_local(c, tl_str_c(host), port);
}

Test(conf, d34_domains_are_ours) {
  struct tl_conf *c = good("listen \"udp:127.0.0.1\" {}\n"
                           "listen \"tcp:[::1]:7000\" { advertise = \"Sbc.Example:7001\" }\n"
                           "domains = { \"Atlanta.example\", \"b.example:7070\" }\n");
  cr_expect(ours(c, "atlanta.example", 0));
  cr_expect(ours(c, "ATLANTA.Example", 5060));
  cr_expect(ours(c, "atlanta.example.", 9999), "a domain is ours with any port");
  cr_expect_not(ours(c, "x.atlanta.example", 0));
  cr_expect_not(ours(c, "atlanta.example.net", 0));
  cr_expect_not(ours(c, "tlanta.example", 0));
  cr_expect(ours(c, "b.example", 7070));
  cr_expect_not(ours(c, "b.example", 0));
  cr_expect_not(ours(c, "b.example", 7071));
  cr_expect(ours(c, "sbc.example", 7001));
  cr_expect(ours(c, "sbc.example", 0));
  cr_expect_not(ours(c, "sbc.example", 7000));
  cr_expect(ours(c, "127.0.0.1", 5060));
  cr_expect(ours(c, "127.0.0.1", 0));
  cr_expect_not(ours(c, "127.0.0.1", 16061), "another server on our address is not us");
  cr_expect(ours(c, "[::1]", 7000));
  cr_expect(ours(c, "[0:0:0:0:0:0:0:1]", 7000), "every spelling of the address");
  cr_expect_not(ours(c, "[::1]", 0));
  cr_expect_not(ours(c, "", 0));
  cr_expect_not(ours(c, "[::1", 7000));
  char longest[4000];
  memset(longest, 'a', sizeof(longest));
  cr_expect_not(tl_conf_is_local(c, (struct tl_str){longest, sizeof(longest)}, 0));
  tl_conf_unref(c);
}

Test(conf, a_thousand_domains_are_found) {
  char *text = NULL, name[40];
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  fputs(L "domains = {", f);
  for (int i = 0; i < 1000; i++) fprintf(f, "\"d%d.example\",\n", i);
  fputs("}\n", f);
  fclose(f);
  struct tl_conf *c = good(text);
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof(name), "D%d.example", i);
    cr_expect(ours(c, name, 0), "%s", name);
  }
  cr_expect_not(ours(c, "d1000.example", 0));
  free(text);
  tl_conf_unref(c);
}

/* ---- reload ---- */

Test(conf, d16_reload_changes_what_may_change) {
  struct tl_conf *one = good(L "workers = 2\nlog_level = info\n");
  one->opt.workers = 7; /* what --workers does */
  struct conf_try t =
      conf_try("listen \"udp:127.0.0.1:5998\" {}\nworkers = 2\nlog_level = debug\n"
               "limits { max_connections = 5 }\npeer \"a\" { uri = \"sip:127.0.0.1\" }\n",
               one);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect_eq(t.conf->generation, 2);
  cr_expect_eq(t.conf->opt.workers, 7);
  cr_expect_eq(t.conf->limits.max_connections, 5);
  cr_expect_eq(t.conf->opt.log_level, TL_LOG_DEBUG);
  cr_expect_eq(t.view->peers->n, 1);
  conf_try_free(&t);
  tl_conf_unref(one);
}

Test(conf, reload_refuses_what_cannot_change) {
  static const char *const fixed[] = {"workers = 9",
                                      "handshakers = 9",
                                      "control_socket = \"/tmp/other\"",
                                      "user = \"root\"",
                                      "limits { recv_buffers = 512 }",
                                      "limits { max_transactions = 99 }",
                                      "log_format = json",
                                      "log_target = journal"};
  struct tl_conf *one = good(L "workers = 2\nhandshakers = 1\n");
  for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
    char text[256], want[64];
    const char *name = strncmp(fixed[i], "limits", 6) == 0 ? fixed[i] + 9 : fixed[i];
    snprintf(text, sizeof(text), L "%s%s\n%s\n", i == 0 ? "" : "workers = 2 ",
             i == 1 ? "" : "handshakers = 1", fixed[i]);
    struct conf_try t = conf_try(text, one);
    snprintf(want, sizeof(want), "t.conf:3: %.*s cannot change", (int)strcspn(name, " "), name);
    cr_expect_eq(t.rc, TL_ECONFIG);
    cr_expect(conf_complains(&t, want), "%s\nwanted: %s\n   got: %s", text, want, t.complaint[0]);
    conf_try_free(&t);
  }
  struct conf_try t = conf_try(L "handshakers = 1\n", one);
  bool same = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) == 2; /* the default may be the same number */
  cr_expect(same || conf_complains(&t, "t.conf:0: workers cannot change"), "%s", t.complaint[0]);
  conf_try_free(&t);
  tl_conf_unref(one);
}

Test(conf, references_are_counted) {
  struct tl_conf *c = good(L);
  cr_expect_eq(tl_conf_ref(c), c);
  tl_conf_unref(c);
  cr_expect_eq(c->n_listen, 1, "still there");
  tl_conf_unref(c);
  tl_conf_unref(NULL);
}

/* ---- samples, printing, manual ---- */

Test(conf, lab_sample_loads) {
  conf_certificate("proxy", 1, 0600);
  conf_certificate("ca", 2, 0600);
  struct conf_try t = conf_try_sample("configs/lab.conf");
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  struct tl_conf *c = t.conf;
  cr_expect_eq(c->n_listen, 3);
  cr_expect_eq(c->listen[0].domain, c->domain[0]);
  cr_expect_not(c->domain[0]->policy.verify_cert);
  cr_expect_not(c->domain[0]->policy.require_cert);
  cr_expect(conf_view(c)->routes->route[0].relay_request_uri);
  cr_expect_eq(conf_view(c)->routes->route[0].domain, c->domain[0]);
  cr_expect_str_eq(c->opt.control_socket, "/run/tieline/lab.sock");
  conf_try_free(&t);
}

Test(conf, design_sample_loads) {
  conf_certificate("atlanta", 1, 0600);
  conf_certificate("federation-a", 2, 0600);
  conf_crl("federation-a", "federation-a.crl");
  struct conf_try t = conf_try_sample("tests/data/conf-design.conf");
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  struct tl_conf *c = t.conf;
  cr_expect_str_eq(c->domain[0]->match_sip_domain[1], "*.atlanta.example");
  cr_expect_eq(conf_view(c)->routes->route[0].n_peer, 2);
  cr_expect_eq(conf_view(c)->routes->route[0].opt.strip, 1);
  cr_expect_str_eq(c->listen[0].advertise_host, "sbc.atlanta.example");
  cr_expect_str_eq(conf_view(c)->peers->peer[0].identity, "chicago.example");
  cr_expect_str_eq(conf_view(c)->peers->peer[1].identity, "sip.denver.example",
                   "the host of its uri");
  conf_try_free(&t);
}

Test(conf, demo_sample_loads) {
  conf_certificate("proxy", 1, 0600);
  conf_certificate("ca", 2, 0600);
  conf_crl("ca", "crl.pem");
  char dir[192];
  snprintf(dir, sizeof(dir), "%s", conf_path(""));
  setenv("TIELINE_PKI", dir, 1);
  struct conf_try t = conf_try_sample("configs/demo.conf");
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect(t.conf->domain[0]->policy.verify_cert && t.conf->domain[0]->policy.verify_name);
  cr_expect_eq(t.conf->n_listen, 4);
  cr_expect_eq(t.view->routes->route[0].peer[0], &t.view->peers->peer[0]);
  conf_try_free(&t);
  unsetenv("TIELINE_PKI");
  t = conf_try_file("configs/demo.conf", NULL);
  cr_expect(conf_complains(&t, "TIELINE_PKI is not set"), "%s", t.complaint[0]);
}

Test(conf, interconnect_sample_loads) {
  static const char *const names[] = {"atlanta", "atlanta-at-chicago", "federation", "chicago-ca"};
  for (int i = 0; i < 4; i++) conf_certificate(names[i], i + 1, 0600);
  conf_crl("federation", "federation.crl");
  conf_crl("chicago-ca", "chicago.crl");
  struct conf_try t = conf_try_sample("configs/interconnect.conf");
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  struct tl_conf *c = t.conf;
  cr_expect_str_eq(c->tls_set.fallback->name, "default");
  cr_expect_str_eq(conf_view(c)->peers->peer[1].domain->name, "chicago");
  cr_expect(c->domain[1]->policy.require_cert, "inherited");
  cr_expect_eq(SSL_CTX_get_min_proto_version(c->domain[1]->server), TLS1_3_VERSION);
  cr_expect(tl_conf_is_local(c, TL_STR("sbc.atlanta.example"), 5061));
  conf_try_free(&t);
}

Test(conf, printed_configuration_loads_to_the_same) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good("listen \"tls:127.0.0.1\" { tls_domain = \"d\" }\nlisten \"udp:[::1]\" {}\n"
           "workers = 3 domains = { \"x.example\" } records = user\n"
           "timeouts { idle = 90s timer_c = 200s }\nlimits { max_head = 5000 }\n"
           "tls_domain \"d\" { certificate = { a.pem } private_key = a.key ca_list = a.pem\n"
           " tls_method = TLSv1_3 match_sip_domain = \"*.x.example\" }\n"
           "tls_domain \"default\" { ca_list = a.pem verify_depth = 3 }\n"
           "peer \"p\" { uri = \"sips:127.0.0.1\" }\npeer \"q\" { uri = \"sip:127.0.0.1\" }\n"
           "route \"r \\\"1\\\"\" { to_prefix = \"0$\" peers = { p, q } from_peer = q }\n");
  char *text = conf_printed(c, false), *explained = conf_printed(c, true);
  struct tl_conf *again = good(text);
  char *text2 = conf_printed(again, false);
  cr_expect_str_eq(text, text2);
  struct tl_conf *third = good(explained);
  char *text3 = conf_printed(third, false);
  cr_expect_str_eq(text, text3);
  cr_expect_str_eq(conf_view(third)->routes->route[0].name, "r \"1\"");
  cr_expect_not_null(strstr(text, "verify_depth = 3"));
  cr_expect_not_null(strstr(text, "idle = 90s"));
  cr_expect_not_null(strstr(text, "max_head = 5000"));
  free(text), free(text2), free(text3), free(explained);
  tl_conf_unref(c), tl_conf_unref(again), tl_conf_unref(third);
}

Test(conf, explain_gives_every_option_its_reason) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good(L "tls_domain \"d\" { ca_list = a.pem }\npeer \"p\" { uri = \"sip:127.0.0.1\" }\n"
             "group \"g\" { member \"p\" { } }\n"
             "route \"r\" { peers = p }\n");
  char *text = conf_printed(c, true);
  for (size_t i = 0; i < TL_SECTIONS; i++)
    for (size_t k = 0; k < tl_conf_sections[i].n_opt; k++) {
      const struct tl_opt *o = &tl_conf_sections[i].opt[k];
      char first[24], line[64];
      snprintf(first, sizeof(first), "# %.12s", o->why);
      const char *indent = tl_conf_sections[i].within ? "    " : i == TL_SEC_GLOBAL ? "" : "  ";
      snprintf(line, sizeof(line), "\n%s%s = ", indent, o->name);
      cr_expect(o->why && strlen(o->why) > 10, "%s has a reason", o->name);
      if (o->flags & TL_OPT_ALIAS) continue;
      cr_expect_not_null(strstr(text, first), "reason of %s", o->name);
      cr_expect_not_null(strstr(text, line), "value of %s", o->name);
    }
  for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1)
    cr_expect_leq(end - p, 100, "%.100s", p);
  free(text);
  tl_conf_unref(c);
}

Test(conf, how_long_a_dead_address_goes_unnoticed) {
  struct tl_conf *c =
      good(L "peer \"p\" { uri = \"sip:127.0.0.1\" probe = 60s }\n"
             "peer \"q\" { uri = \"sip:127.0.0.2\" probe = 10s probe_timeout = 1500ms "
             "probe_down_after = 2 }\n"
             "peer \"r\" { uri = \"sip:127.0.0.3\" probe = 10s probe_mode = when-down }\n"
             "route \"r\" { peers = p }\n");
  char *text = conf_printed(c, false);
  cr_expect_not_null(strstr(text, "passed over after 182.000 s at most"));
  char *second = strstr(text, "passed over after 21.500 s at most");
  cr_expect_not_null(second);
  cr_expect_null(strstr(second + 1, "passed over after"), "without probes nothing is said");
  free(text);
  tl_conf_unref(c);
}

/* The manual's tables are the table's own words; with RENEW in the environment they become so. */
Test(conf, manual_is_up_to_date) {
  static const char manual[] = "docs/configuration.md";
  char *want = NULL, *have = calloc(1, 1 << 20);
  size_t n = 0;
  FILE *f = open_memstream(&want, &n);
  tl_conf_reference(f);
  fclose(f);
  f = fopen(manual, "r");
  cr_assert(f && have);
  cr_assert_gt(fread(have, 1, (1 << 20) - 1, f), 0);
  fclose(f);
  char *tables = strstr(have, "### Top level");
  cr_assert_not_null(tables);
  if (getenv("RENEW")) {
    cr_assert_not_null(f = fopen(manual, "w"));
    *tables = '\0';
    fprintf(f, "%s%s", have, want);
    cr_assert_eq(fclose(f), 0);
  } else {
    cr_expect(strcmp(tables, want) == 0, "the manual has other tables: make manual");
  }
  free(want);
  free(have);
}
