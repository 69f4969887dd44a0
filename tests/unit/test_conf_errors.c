/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rule of the configuration by its breach: the line that is blamed and the
 * sentence that is said.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test_conf_util.h"

TestSuite(conf_errors, .init = conf_setup, .fini = conf_teardown);

#define L "listen \"tcp:127.0.0.1:5999\" {}\n" /* what every configuration needs: line 1 */
#define CERT "certificate = a.pem private_key = a.key ca_list = a.pem "

struct breach {
  const char *text, *want;
};

static void check(const struct breach *b, size_t n) {
  conf_certificate("a", 1, 0600);
  for (size_t i = 0; i < n; i++) {
    struct conf_try t = conf_try(b[i].text, NULL);
    cr_expect_eq(t.rc, TL_ECONFIG, "accepted: %s", b[i].text);
    cr_expect(conf_complains(&t, b[i].want), "%s\nwanted: %s\n   got: %s", b[i].text, b[i].want,
              t.complaint[0]);
    conf_try_free(&t);
  }
}
#define CHECK(table) check(table, sizeof(table) / sizeof((table)[0]))

Test(conf_errors, text_that_is_no_configuration) {
  static const struct breach b[] = {
      {"\n\ndomains = \"a\nb\"\n", "t.conf:3: the string that starts here has no closing quote"},
      {"domains = 'a", "t.conf:1: the string that starts here has no closing quote"},
      {L "/* no end\n\n", "t.conf:2: the comment that starts here has no end"},
      {L "\ndomains = \"a\\nb\"", "t.conf:3: \"\\n\" is not a valid escape"},
      {L "domains = ${TIELINE_TEST_UNSET}",
       "t.conf:2: the environment variable TIELINE_TEST_UNSET is not set"},
      {L "domains = \"${oops\"", "t.conf:2: \"${\" has no closing \"}\" on this line"},
      {L "domains = \"a\x01z\"", "t.conf:2: this text holds a control character (U+0001)"},
      {L "domains = \"a\xffz\"", "t.conf:2: this text is not UTF-8"},
      {L "domains = \"a\xe2\x80\xae\"", "t.conf:2: this text holds a control character (U+202E)"},
      {L "\nworkers = (2)", "t.conf:3: unexpected \"(\""},
      {"", "t.conf:0: there is no listen block"},
      {"# nothing\n", "t.conf:0: there is no listen block"},
  };
  unsetenv("TIELINE_TEST_UNSET");
  CHECK(b);
}

Test(conf_errors, grammar) {
  static const struct breach b[] = {
      {L "peer \"a\" {\n uri = \"sip:b\"\n", "t.conf:2: the brace opened here is never closed"},
      {L "domains = { \"a\"", "t.conf:2: the brace opened here is never closed"},
      {L "\n}\n", "t.conf:3: this closing brace closes nothing"},
      {L "workers 5\n", "t.conf:2: missing equal sign after option 'workers'"},
      {L "workers =\n", "t.conf:2: the configuration ends where a value"},
      {L "workers = { 5 }", "t.conf:2: workers takes one value, not a list"},
      {"tls_domain \"a\" {\n crl_file = {\n\"a.crl\", \"b.crl\" }\n}",
       "t.conf:2: crl_file takes one value, not a list"},
      {L "workers += 5", "t.conf:2: attempt to append to non-list option 'workers'"},
      {L "peer { uri = x }", "t.conf:2: peer opens a block and needs a name"},
      {L "limits \"x\" { }", "t.conf:2: missing opening brace for section 'limits'"},
      {L "peer \"a\" {\n peer \"b\" {}\n}",
       "t.conf:3: a peer block cannot stand inside a peer block"},
      {L "= 3", "t.conf:2: unexpected token '='"},
      {L "peer \"a\"", "t.conf:2: the configuration ends where a value or a block should follow"},
      {L "peer = { }", "t.conf:2: peer opens a block and needs a name"},
      {L "domains = = a", "t.conf:2: unexpected token '='"},
      {L "domains = { a\n, , b }", "t.conf:3: unexpected token ','"},
      {L "domains = { a\n b }", "t.conf:3: unexpected token 'b'"},
      {L "domains = { { a } }", "t.conf:2: unexpected token '{'"},
      {L "workers += { 5 }", "t.conf:2: attempt to append to non-list option 'workers'"},
      {L "limits { max_head = 4k }\n\nlimits { max_head = 8k }", "t.conf:4: max_head is set twice"},
      {L "workers = x\nworkrs = 2", "t.conf:2: workers must be a whole number"},
  };
  CHECK(b);
}

Test(conf_errors, unknown_options_and_the_nearest_name) {
  static const struct breach b[] = {
      {L "\n\nworkrs = 2\n", "t.conf:4: unknown option \"workrs\"; did you mean \"workers\"?"},
      {L "lisen \"tcp:1.2.3.4\" {}",
       "t.conf:2: unknown option \"lisen\"; did you mean \"listen\"?"},
      {"listen \"tls:127.0.0.1\" {}\ntls_domain \"a\" {\n verify_crt = true\n}",
       "t.conf:3: unknown option \"verify_crt\" in a tls_domain block; did you mean "
       "\"verify_cert\"?"},
      {L "ca_list = \"x\"", "t.conf:2: unknown option \"ca_list\"; it belongs into a tls_domain"},
      {L "peer \"a\" {\n\n workers = 2 }",
       "t.conf:4: unknown option \"workers\" in a peer block; it belongs outside any block"},
      {L "tls_domain \"a\" { tls_ca_list = \"x\" }",
       "t.conf:2: unknown option \"tls_ca_list\" in a tls_domain block: write ca_list inside"},
      {L "tls_port_no = 5061", "t.conf:2: unknown option \"tls_port_no\": write the port into"},
      {L "zzzzzzzz = 1", "t.conf:2: unknown option \"zzzzzzzz\""},
  };
  CHECK(b);
}

Test(conf_errors, values) {
  static const struct breach b[] = {
      {L "workers = many", "t.conf:2: workers must be a whole number, not \"many\""},
      {L "workers = 0", "t.conf:2: workers must be between 1 and 64, not 0"},
      {L "workers = -1", "t.conf:2: workers must be a whole number"},
      {L "workers = 99999999999999999999", "t.conf:2: workers must be between 1 and 64"},
      {L "workers = 2k", "t.conf:2: workers must be a whole number, not \"2k\""},
      {L "limits {\n max_head = 10z\n}", "t.conf:3: max_head must be a size such as"},
      {L "limits { max_message = 9999999m }", "max_message must be between 1k and 20m"},
      {L "limits { recv_buffers = 100 }", "t.conf:2: recv_buffers must be a power of two"},
      {L "limits {\n max_message = 2k\n max_head = 4k }",
       "t.conf:4: max_head (4096) is larger than max_message (2048)"},
      {L "timeouts {\n connect = 5\n}",
       "t.conf:3: connect must be a time such as 500ms, 30s, 5m, 1h or 0, not \"5\""},
      {L "timeouts { connect = 5x }", "t.conf:2: connect must be a time"},
      {L "timeouts { connect = 0 }", "t.conf:2: connect must be between 10ms and 24h, not 0"},
      {L "timeouts { t1 = 5s }", "t.conf:2: t1 is longer than t2"},
      {L "server_header = perhaps", "t.conf:2: server_header must be true or false"},
      {L "log_level = loud", "t.conf:2: log_level must be error, warn, info or debug"},
      {L "records = maybe", "t.conf:2: records must be auto, kernel or user, not \"maybe\""},
      {L "control_socket = \"\"", "t.conf:2: control_socket cannot be empty"},
      {L "control_socket = \"/0123456789012345678901234567890123456789012345678901234567890123456"
         "7890123456789012345678901234567890123456789\"",
       "t.conf:2: control_socket is longer than the 107 bytes that unix sockets allow"},
      {L "domains = { \"ok.example\", \"no good\" }",
       "t.conf:2: \"no good\" is not a valid domain name"},
      {L "user = \"nobody-has-this-name\"", "t.conf:2: there is no account"},
      {L "workers = 2\nlog_level = info\n\nworkers = 3\n", "t.conf:5: workers is set twice"},
      {L "domains = \"a\"\ndomains = { \"b\" }", "t.conf:3: domains is set twice"},
      {L "domains = {}\ndomains = { \"b\" }", "t.conf:3: domains is set twice, first at"},
      {L "domains += \"a\"\ndomains = { \"b\" }", "t.conf:3: domains is set twice"},
  };
  CHECK(b);
}

Test(conf_errors, every_bad_value_is_reported_at_once) {
  struct conf_try t = conf_try(L "workers = x\nlog_level = y\ntimeouts { t1 = z }\n", NULL);
  cr_expect_eq(t.n, 3);
  cr_expect(conf_complains(&t, "t.conf:2: workers"));
  cr_expect(conf_complains(&t, "t.conf:3: log_level"));
  cr_expect(conf_complains(&t, "t.conf:4: t1"));
}

Test(conf_errors, d38_listeners) {
  static const struct breach b[] = {
      {"listen \"dtls:127.0.0.1\" {}", "t.conf:1: listen \"dtls:127.0.0.1\": SIP over DTLS"},
      {"listen \"127.0.0.1:5060\" {}",
       "t.conf:1: listen \"127.0.0.1:5060\": a listener is written"},
      {"listen \"tcp:localhost\" {}", "needs a numeric address; a name belongs into advertise"},
      {"listen \"tcp:127.0.0.1:70000\" {}", "a port from 1 to 65535"},
      {"listen \"tcp:127.0.0.1:0\" {}", "a port from 1 to 65535"},
      {"listen \"tcp:[::1\" {}", "t.conf:1: listen \"tcp:[::1\": a listener needs"},
      {L "\nlisten \"tcp:127.0.0.1:5999\" {}",
       "t.conf:3: there is already a listen block named \"tcp:127.0.0.1:5999\""},
      {"listen \"tcp:127.0.0.1\" {}\nlisten \"TCP:127.0.0.1:5060\" {}",
       "t.conf:2: listen \"TCP:127.0.0.1:5060\" is the same socket as \"tcp:127.0.0.1\""},
      {"listen \"tcp:127.0.0.1\" { advertise = \"a b\" }", "advertise is \"host[:port]\""},
      {"listen \"tcp:127.0.0.1\" {\n tls_domain = \"x\" }",
       "t.conf:2: a tcp listener has no tls_domain"},
      {"\nlisten \"tls:127.0.0.1\" {}",
       "t.conf:2: listen \"tls:127.0.0.1\" has no tls_domain to serve with"},
      {"listen \"tls:127.0.0.1\" {}\ntls_domain \"a\" { role = client ca_list = a.pem }",
       "has no tls_domain to serve with"},
      {"listen \"tls:127.0.0.1\" {}\ntls_domain \"a\" { " CERT "}\ntls_domain \"b\" { " CERT "}",
       "t.conf:1: listen \"tls:127.0.0.1\" would never find a tls_domain: name one"},
      {"listen \"tls:127.0.0.1\" { tls_domain = \"mian\" }\ntls_domain \"main\" { " CERT "}",
       "t.conf:1: there is no tls_domain \"mian\"; did you mean \"main\"?"},
      {"listen \"tls:127.0.0.1\" { tls_domain = \"c\" }\ntls_domain \"c\" { ca_list = a.pem }",
       "t.conf:1: tls_domain \"c\" has no certificate or only the client role"},
  };
  CHECK(b);
}

Test(conf_errors, tls_domains) {
  static const struct breach b[] = {
      {L "tls_domain \"a\" {\n certificate = a.pem ca_list = a.pem }",
       "t.conf:3: tls_domain \"a\" has 1 certificates and 0 private keys"},
      {L "tls_domain \"a\" {\n\n verify_cert = true }",
       "t.conf:4: tls_domain \"a\" verifies certificates but trusts no authority"},
      {L "tls_domain \"a\" { }", "t.conf:2: tls_domain \"a\" verifies certificates but trusts"},
      {L "tls_domain \"a\" { ca_list = a.pem\n role = server }",
       "t.conf:3: tls_domain \"a\" cannot be a server without a certificate"},
      {L "tls_domain \"a\" { ca_list = a.pem crl_check_all = true }",
       "t.conf:2: crl_check_all needs revocation lists"},
      {L "tls_domain \"a\" { " CERT "\n tls_method = TLSv1_1 }",
       "t.conf:3: tls_method \"TLSv1_1\": versions before TLS 1.2 are broken"},
      {L "tls_domain \"a\" { " CERT "\n tls_method = \"SSLv3\" }",
       "t.conf:3: tls_method \"SSLv3\": versions before TLS 1.2 are broken"},
      {L "tls_domain \"a\" { " CERT "\n tls_method = \"TLSv1-TLSv1_2\" }",
       "t.conf:3: tls_method \"TLSv1-TLSv1_2\": versions before TLS 1.2 are broken"},
      {L "tls_domain \"a\" { " CERT "\n tls_method = \"TLSv1_3-TLSv1_2\" }",
       "t.conf:3: tls_method \"TLSv1_3-TLSv1_2\": the lowest version is above the highest"},
      {L "tls_domain \"a\" { " CERT "\n tls_method = \"TLS\" }",
       "t.conf:3: tls_method \"TLS\": this is no TLS version"},
      {L "tls_domain \"a\" { " CERT " verify_cert = false\n require_cert = true }",
       "t.conf:3: tls_domain \"a\": require_cert = true contradicts verify_cert = false"},
      {L "tls_domain \"a\" { " CERT "\n match_sip_domain = \"a.*.example\" }",
       "t.conf:3: \"a.*.example\" is not a valid domain name"},
      {L "tls_domain \"a\" { " CERT "\n match_ip_address = { \"127.0.0.1\", \"host\" } }",
       "t.conf:3: \"host\" is not a numeric address"},
      {L "tls_domain \"a\" { " CERT " groups = \"X25519\"\n ec_curve = \"P-256\" }",
       "t.conf:3: ec_curve is another name of groups"},
      {L "tls_domain \"a\" { " CERT "\n ec_curve = \"P-256\"\n groups = \"X25519\" }",
       "t.conf:3: ec_curve is another name of groups"},
      {L "tls_domain \"\" { " CERT " }", "t.conf:2: the name of a tls_domain block has 1 to 63"},
  };
  CHECK(b);
}

Test(conf_errors, d6_files_of_tls_domains) {
  static const struct breach b[] = {
      {L "tls_domain \"a\" {\n certificate = none.pem\n private_key = a.key ca_list = a.pem }",
       "t.conf:3: tls_domain \"a\": "},
      {L "tls_domain \"a\" {\n certificate = a.pem\n private_key = none.key ca_list = a.pem }",
       "t.conf:4: tls_domain \"a\": "},
      {L "tls_domain \"a\" {\n certificate = a.pem\n private_key = b.key\n ca_list = a.pem }",
       "t.conf:4: tls_domain \"a\": "},
      {L "tls_domain \"a\" {\n certificate = a.pem\n private_key = open.key\n ca_list = a.pem }",
       "t.conf:4: tls_domain \"a\": "},
      {L "tls_domain \"a\" { certificate = a.pem private_key = a.key\n\n ca_list = none.pem }",
       "t.conf:4: tls_domain \"a\": "},
      {L "tls_domain \"a\" { " CERT "\n ciphers_list = \"NULL\" }", "t.conf:3: tls_domain \"a\": "},
      {L "tls_domain \"default\" {\n certificate = none.pem private_key = a.key\n verify_cert = "
         "false\n}\ntls_domain \"b\" { }",
       "t.conf:3: tls_domain \"b\": "},
  };
  conf_certificate("b", 2, 0600);
  conf_certificate("open", 3, 0644);
  CHECK(b);
}

Test(conf_errors, peers) {
  static const struct breach b[] = {
      {L "\npeer \"a\" {\n}", "t.conf:3: peer \"a\" has no uri"},
      {L "peer \"a\" {\n uri = \"http://x\" }", "t.conf:3: a peer's uri is \"sip:host"},
      {L "peer \"a\" { uri = \"sip:bob@x\" }", "has no user and no headers"},
      {L "peer \"a\" { uri = \"sip:x;transport=sctp\" }", "the transport of a peer's uri is"},
      {L "peer \"a\" { uri = \"sips:x;transport=udp\" }", "a sips uri cannot use udp"},
      {L "peer \"a\" { uri = \"sip:x y\" }", "t.conf:2: a peer's uri is"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\"\n identity = \"x\" }",
       "t.conf:3: identity means nothing for a udp peer"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1;transport=tcp\"\n tls_domain = \"x\" }",
       "t.conf:3: tls_domain means nothing for a tcp peer"},
      {L "\npeer \"a\" { uri = \"sips:127.0.0.1\" }",
       "t.conf:3: peer \"a\" is a TLS peer, but there is no tls_domain to connect with"},
      {L "tls_domain \"a\" { " CERT "role = server }\npeer \"a\" { uri = \"sips:127.0.0.1\" "
         "tls_domain = \"a\" }",
       "t.conf:3: tls_domain \"a\" has only the server role"},
      {L "tls_domain \"a\" { " CERT
         "}\npeer \"a\" { uri = \"sips:127.0.0.1\"\n identity = \"x:1\" }",
       "t.conf:4: identity is a host name"},
  };
  CHECK(b);
}

/* Who a peer is: FEATURES B2 B8 C14 D35 D39, and conditions of routes, B15 E4. */
Test(conf_errors, b15_who_peers_are) {
#define PIN "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define P "tls_domain \"a\" { " CERT "}\npeer \"p\" { uri = \"sip:127.0.0.1;transport=tls\"\n "
  static const struct breach b[] = {
      {L P "networks = { \"192.0.2.0/24\", \"192.0.2.1/24\" } }",
       "t.conf:4: \"192.0.2.1/24\" is not a valid network"},
      {L P "domains = { \"x.example\", \"y y\" } }", "t.conf:4: domains is a host name"},
      {L P "spki_sha256 = \"" PIN "00\" }", "t.conf:4: \"" PIN "00\" is no SHA-256 digest"},
      {L P "spki_sha256 = \"00:01\" }", "is no SHA-256 digest"},
      {L P "ca_list = none.pem }", "t.conf:4: peer \"p\": cannot read "},
      {L P "ca_list = a.key }", "holds no certificate"},
      {L P "transit = true\n domains = x.example }",
       "t.conf:4: transit lets every From pass, but domains checks it"},
      {L P "transit = true check_from = from }",
       "t.conf:4: transit lets every From pass, but check_from checks it"},
      {L P "check_from = to }", "t.conf:4: check_from must be off, from or from+pai"},
      {L "peer \"p\" { uri = \"sip:127.0.0.1\"\n connections = 2 }",
       "t.conf:3: connections means nothing for a udp peer: add ;transport=tls to its uri"},
      {L P "connections = 17 }", "t.conf:4: connections"},
      {L "peer \"p\" { uri = \"sip:127.0.0.1\"\n tls_only = true }",
       "t.conf:3: tls_only contradicts the udp in its uri"},
      {L "peer \"p\" { uri = \"sip:127.0.0.1\"\n spki_sha256 = \"" PIN "\" }",
       "t.conf:3: spki_sha256 means nothing for a udp peer"},
      {L "route \"r\" { relay = \"request-uri\" peer_san = \"x\"\n peer_verified = false }",
       "t.conf:3: peer_verified = false never meets a condition on a verified certificate"},
      {L "anti_spoof = some\n", "t.conf:2: anti_spoof must be off, peers or all"},
      {L "tls_domain \"a\" { " CERT "\n advertise = \"a b\" }",
       "t.conf:3: advertise is \"host[:port]\""},
  };
  CHECK(b);
}

Test(conf_errors, s4_relay_networks_and_preloaded_route) {
  static const struct breach b[] = {
      {L "route \"r\" { relay = \"request-uri\"\n relay_networks = \"127.0.0.1/8\" }",
       "t.conf:3: \"127.0.0.1/8\" is not a valid network"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\" }\nroute \"r\" { peers = \"a\"\n relay_networks = "
         "\"127.0.0.0/8\" }",
       "t.conf:4: relay_networks means nothing without relay"},
      {L "route \"r\" { relay = \"request-uri\"\n preloaded_route = true }",
       "t.conf:3: preloaded_route must be refuse or allow"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\"\n preloaded_route = maybe }",
       "t.conf:3: preloaded_route must be refuse or allow"},
  };
  CHECK(b);
}

Test(conf_errors, call_max) {
  static const struct breach b[] = {
      {L "call_max = 0", "t.conf:2: call_max must be between 1s"},
      {L "call_max = 999ms", "t.conf:2: call_max must be between 1s"},
      {L "call_max = 31d", "t.conf:2: "},
      {L "limits { max_open_calls = 0 }", "t.conf:2: max_open_calls must be between 1"},
  };
  CHECK(b);
}

Test(conf_errors, routes) {
  static const struct breach b[] = {
      {L "\nroute \"r\" {\n}", "t.conf:3: route \"r\" leads nowhere"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\" }\nroute \"r\" { peers = \"a\"\n relay = "
         "\"request-uri\" }",
       "t.conf:4: route \"r\" has both peers and relay"},
      {L "peer \"chicago\" { uri = \"sip:127.0.0.1\" }\nroute \"r\" {\n peers = { \"chicago\", "
         "\"chcago\" } }",
       "t.conf:4: there is no peer \"chcago\"; did you mean \"chicago\"?"},
      {L "route \"r\" { peers = \"x\" }", "t.conf:2: there is no peer \"x\""},
      {L "peer \"p\" { uri = \"sip:127.0.0.1\"\n cps_burst = 5 }",
       "t.conf:3: cps_burst means nothing without max_cps"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\" }\nroute \"r\" { peers = { \"a\", \"a\" } }",
       "t.conf:3: peers names \"a\" twice"},
      {L "peer \"a\" { uri = \"sip:127.0.0.1\" max_calls = 1 }\n"
         "route \"r\" { peers = \"a\"\n stateless = true }",
       "t.conf:4: route \"r\" is stateless, so the max_calls of its peer \"a\""},
      {L "route \"r\" { relay = \"request-uri\"\n from_peer = \"z\" }",
       "t.conf:3: there is no peer \"z\""},
      {L "route \"r\" { relay = \"everywhere\" }", "t.conf:2: relay must be request-uri"},
      {L "route \"r\" { relay = \"request-uri\"\n to_prefix = \"a@\" }",
       "t.conf:3: to_prefix holds a character"},
      {L "route \"r\" { relay = \"request-uri\"\n prepend = \"a b\" }",
       "t.conf:3: prepend holds a character"},
      {L "route \"r\" { relay = \"request-uri\"\n strip = 65 }",
       "t.conf:3: strip must be between 0 and 64"},
      {L "route \"r\" { relay = \"request-uri\"\n tls_domain = \"x\" }",
       "t.conf:3: there is no tls_domain \"x\""},
      {L "route \"r\" { relay = \"request-uri\"\n to_domain = \"a:5\" }",
       "t.conf:3: \"a:5\" is not a valid domain name"},
  };
  CHECK(b);
}

Test(conf_errors, lines_of_included_files) {
  conf_write("inc.conf", "# a comment\n\npeer \"a\" {\n  uri = \"sip:127.0.0.1\"\n  uro = 1\n}\n");
  struct conf_try t = conf_try(L "include(\"inc.conf\")\nworkers = 2\n", NULL);
  cr_expect(conf_complains(&t, "inc.conf:5: unknown option \"uro\" in a peer block"), "%s",
            t.complaint[0]);
  conf_write("inc.conf", "domains = \"a\"\n");
  t = conf_try(L "include(\"inc.conf\")\n\nworkers = x\n", NULL);
  cr_expect(conf_complains(&t, "t.conf:4: workers must be"), "%s", t.complaint[0]);
  t = conf_try(L "include(\"inc.conf\")\n\ndomains = \"b\"\n", NULL);
  cr_expect(conf_complains(&t, "t.conf:4: domains is set twice, first at "), "%s", t.complaint[0]);
  cr_expect(conf_complains(&t, "inc.conf:1"), "%s", t.complaint[0]);
}

Test(conf_errors, includes) {
  static const struct breach b[] = {
      {L "\ninclude(\"gone.conf\")", "t.conf:3: cannot open "},
      {L "include(\"/dev/zero\")", "t.conf:2: /dev/zero is not a regular file"},
      {L "include(\"/\")", "t.conf:2: / is not a regular file"},
      {"include(\"t.conf\")", "is included more than 10 files deep"},
      {L "include \"x\"", "t.conf:2: include is written include(\"file\")"},
      {L "include(", "t.conf:2: include is written include(\"file\")"},
      {L "include()", "t.conf:2: include is written include(\"file\")"},
      {L "include(\"x\", \"y\")", "t.conf:2: include is written include(\"file\")"},
  };
  CHECK(b);
  struct conf_try t = conf_try_file(conf_path("nothing-here.conf"), NULL);
  cr_expect(conf_complains(&t, "nothing-here.conf:0: cannot open"), "%s", t.complaint[0]);
}

/* An error inside an include must not leave the reader standing in that file. */
Test(conf_errors, refused_loads_leave_nothing_behind) {
  conf_write("bad.conf", "domains = { \"a\"\n");
  for (int i = 0; i < 50; i++) {
    struct conf_try bad = conf_try(i % 2 ? L "include(\"bad.conf\")" : L "domains = \"open", NULL);
    cr_assert_eq(bad.rc, TL_ECONFIG);
    struct conf_try good = conf_try(L "workers = 1\n", NULL);
    cr_assert_eq(good.rc, 0, "%s", good.complaint[0]);
    conf_try_free(&good);
  }
}

Test(conf_errors, nul_bytes_are_refused) {
  FILE *f = fopen(conf_path("nul.conf"), "w");
  cr_assert_not_null(f);
  fwrite(L "workers = 2\0\n", 1, sizeof(L "workers = 2\0\n") - 1, f);
  fclose(f);
  struct conf_try t = conf_try_file(conf_path("nul.conf"), NULL);
  cr_expect(conf_complains(&t, "the file holds a NUL byte"), "%s", t.complaint[0]);
}

/* FEATURES C12. */
Test(conf_errors, c12_identity_map_lines) {
  static const struct {
    const char *map, *want; /* want NULL: good */
  } row[] = {{"# none\n\n \n", NULL},
             {"CN one\tb@branch.example , desk.example\r\nsip:x.example\ty.example", NULL},
             {"no tabulator x.example\n", "map:1: a line is a name or fingerprint, a tabulator"},
             {"#\na\t\n", "map:2: \"a\" is mapped to nothing"},
             {"a\tx y\n", "map:1: \"x y\" is not a domain or user@domain"},
             {"a\tx.example:5060\n", "map:1: \"x.example:5060\" is not a domain"},
             {"a\t@x.example\n", "map:1: \"@x.example\" has no user before the @"},
             {"\tx.example\n", "map:1: a line begins with a name"},
             {"A\tx.example\na\ty.example\n", "map:0: \"a\" is mapped twice"}};
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    conf_write("map", row[i].map);
    struct conf_try t = conf_try(L "identity_map = map\n", NULL);
    if (row[i].want)
      cr_expect(conf_complains(&t, row[i].want) ||
                    (i == 8 && conf_complains(&t, "is mapped twice")),
                "%s: %s", row[i].map, t.n ? t.complaint[0] : "no complaint");
    else
      cr_expect_eq(t.rc, 0, "%s: %s", row[i].map, t.n ? t.complaint[0] : "");
    if (i == 1 && t.conf) {
      const struct tl_conf_mapping *m = tl_conf_mapped(t.conf, "cn ONE");
      cr_assert_not_null(m);
      cr_expect_str_eq(m->granted[0], "b@branch.example");
      cr_expect_str_eq(m->granted[1], "desk.example");
      cr_expect_null(m->granted[2]);
      cr_expect_null(tl_conf_mapped(t.conf, "one"));
      cr_expect_null(tl_conf_mapped(t.conf, NULL));
    }
    conf_try_free(&t);
  }
}
