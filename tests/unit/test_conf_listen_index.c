/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "test_conf_util.h"

TestSuite(conf_listen_index, .init = conf_setup, .fini = conf_teardown);

static struct tl_addr addr(const char *text, uint16_t port) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(text), port, &a), 0);
  return a;
}

static int at(const struct tl_conf *c, enum tl_transport t, const char *host, uint16_t port) {
  const struct tl_addr a = addr(host, port);
  return tl_conf_listener_at(c, t, &a);
}

static bool reaches(const struct tl_conf *c, enum tl_transport t, const char *host, uint16_t port) {
  const struct tl_addr a = addr(host, port);
  return tl_conf_is_listener(c, t, &a);
}

#define FOUR                                                                                       \
  "listen \"tcp:127.0.0.1:5060\" {}\n"                                                             \
  "listen \"udp:127.0.0.1:5060\" { advertise = \"sip.example.com:5070\" }\n"                       \
  "listen \"udp:0.0.0.0:5080\" { advertise = \"sip.example.com\" }\n"                              \
  "listen \"tcp:[::1]:5060\" {}\n"

Test(conf_listen_index, d1_listeners_are_found_by_transport_and_address) {
  struct conf_try t = conf_try(FOUR, NULL);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect_eq(at(t.conf, TL_TCP, "127.0.0.1", 5060), 0);
  cr_expect_eq(at(t.conf, TL_UDP, "127.0.0.1", 5060), 1);
  cr_expect_eq(at(t.conf, TL_UDP, "0.0.0.0", 5080), 2);
  cr_expect_eq(at(t.conf, TL_TCP, "[::1]", 5060), 3);
  cr_expect_eq(at(t.conf, TL_UDP, "[::1]", 5060), -1);
  cr_expect_eq(at(t.conf, TL_TCP, "127.0.0.1", 5061), -1);
  conf_try_free(&t);
}

Test(conf_listen_index, d1_ports_are_those_listened_on_and_those_advertised) {
  struct conf_try t = conf_try(FOUR, NULL);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect(tl_conf_listens_on(t.conf, 5060));
  cr_expect(tl_conf_listens_on(t.conf, 5070), "advertised");
  cr_expect(tl_conf_listens_on(t.conf, 5080));
  cr_expect_not(tl_conf_listens_on(t.conf, 5061));
  cr_expect_not(tl_conf_listens_on(t.conf, 0));
  cr_expect_not(tl_conf_listens_on(t.conf, 65535));
  conf_try_free(&t);
}

/* A wildcard stands for each address of this machine, and for no other. */
Test(conf_listen_index, d1_sending_to_an_address_reaches_a_listener) {
  struct conf_try t = conf_try(FOUR, NULL);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect(reaches(t.conf, TL_UDP, "127.0.0.1", 5060));
  cr_expect(reaches(t.conf, TL_UDP, "127.0.0.1", 5080));
  cr_expect_not(reaches(t.conf, TL_TCP, "127.0.0.1", 5080));
  cr_expect_not(reaches(t.conf, TL_UDP, "192.0.2.1", 5080));
  cr_expect_not(reaches(t.conf, TL_UDP, "192.0.2.1", 5060));
  cr_expect(reaches(t.conf, TL_TCP, "[::1]", 5060));
  conf_try_free(&t);
}
