/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that no URI of a stranger's leads to. */
#include <criterion/criterion.h>

#include "proxy/guard.h"
#include "test_proxy_rig.h"

static struct tl_addr addr(const char *text, uint16_t port) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(text), port, &a), 0, "%s", text);
  return a;
}

static bool refused(const char *to, uint16_t port, const char *from) {
  struct tl_addr t = addr(to, port), f = addr(from, 40000);
  return tl_guard_refusal(tl_net_view(px.net)->conf, &t, &f) != NULL;
}

Test(proxy_guard, s1_inner_addresses_are_for_who_is_there) {
  static const struct {
    const char *to, *from;
    bool refused;
  } row[] = {
      {"192.0.2.1", "198.51.100.1", false},
      {"10.0.0.1", "198.51.100.1", false},
      {"2001:db8::1", "2001:db8::2", false},
      {"127.0.0.1", "198.51.100.1", true},
      {"127.255.0.9", "198.51.100.1", true},
      {"127.0.0.1", "2001:db8::2", true},
      {"127.0.0.1", "127.0.0.9", false},
      {"127.0.0.1", "::1", false},
      {"::1", "2001:db8::2", true},
      {"::1", "::1", false},
      {"::ffff:127.0.0.1", "198.51.100.1", true},
      {"::ffff:127.0.0.1", "127.0.0.1", false},
      {"::ffff:192.0.2.1", "198.51.100.1", false},
      {"169.254.169.254", "198.51.100.1", true},
      {"169.254.169.254", "127.0.0.1", true},
      {"169.254.1.1", "169.254.2.2", false},
      {"fe80::1", "2001:db8::2", true},
      {"fe80::1", "fe80::2", false},
      {"127.0.0.1", "169.254.2.2", true},
      {"0.0.0.0", "127.0.0.1", true},
      {"0.1.2.3", "127.0.0.1", true},
      {"::", "::1", true},
      {"::ffff:0.0.0.0", "127.0.0.1", true},
      {"224.0.1.75", "192.0.2.1", true},
      {"255.255.255.255", "192.0.2.1", true},
      {"ff02::1", "fe80::2", true},
  };
  proxy_begin("");
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
    cr_expect_eq(refused(row[i].to, 9, row[i].from), row[i].refused, "%s from %s", row[i].to,
                 row[i].from);
  proxy_end();
}

Test(proxy_guard, s1_a_listener_of_ours_is_for_nobody) {
  proxy_begin("");
  cr_assert_gt(tl_net_view(px.net)->conf->n_listen, 0);
  for (size_t i = 0; i < tl_net_view(px.net)->conf->n_listen; i++) {
    struct tl_addr to = tl_net_view(px.net)->conf->listen[i].addr, from = addr("127.0.0.1", 40000);
    cr_expect_not_null(tl_guard_refusal(tl_net_view(px.net)->conf, &to, &from));
    tl_addr_set_port(&to, 9);
    cr_expect_null(tl_guard_refusal(tl_net_view(px.net)->conf, &to, &from));
  }
  proxy_end();
}
