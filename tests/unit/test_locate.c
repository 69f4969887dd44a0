/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3263's choices, without a name server. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tieline/locate.h"

static void naptr(struct tl_services *s, unsigned order, unsigned preference, const char *service,
                  const char *replacement, bool secure) {
  const struct tl_naptr r = {.order = (uint16_t)order,
                             .preference = (uint16_t)preference,
                             .flags = "s",
                             .service = service,
                             .regexp = "",
                             .replacement = replacement};
  tl_locate_naptr(s, &r, secure);
}

Test(locate, naptr_lowest_order_alone_by_preference) {
  struct tl_services s = {.n = 0};
  naptr(&s, 20, 1, "SIP+D2U", "u20.", false);
  naptr(&s, 10, 9, "SIP+D2U", "u9", false);
  naptr(&s, 10, 3, "SIP+D2T", "t3", false);
  naptr(&s, 10, 5, "SIPS+D2T", "s5", false);
  naptr(&s, 10, 4, "SIPS+D2T", "s4", false); /* a fourth: the least preferred goes */
  naptr(&s, 30, 0, "SIP+D2U", "u30", false);
  cr_assert_eq(s.n, 3);
  cr_assert_str_eq(s.at[0].name, "t3");
  cr_assert_str_eq(s.at[1].name, "s4");
  cr_assert_str_eq(s.at[2].name, "s5");
  cr_assert_eq((int)s.at[0].transport, (int)TL_TCP);
  cr_assert_eq((int)s.at[1].transport, (int)TL_TLS);
}

Test(locate, naptr_that_is_not_ours_is_left_out) {
  struct tl_services s = {.n = 0};
  struct tl_naptr r = {1, 1, "s", "SIP+D2T", "", "x"};
  naptr(&s, 1, 1, "SIP+D2T", "t", true); /* sips: SIPS alone */
  naptr(&s, 1, 1, "SIP+D2S", "sctp", false);
  naptr(&s, 1, 1, "SIPS+D2T", ".", false);
  r.flags = "u";
  tl_locate_naptr(&s, &r, false);
  r.flags = "";
  tl_locate_naptr(&s, &r, false);
  r.flags = "s";
  r.regexp = "!a!b!";
  tl_locate_naptr(&s, &r, false);
  r.regexp = NULL;
  r.flags = r.service = r.replacement = NULL;
  tl_locate_naptr(&s, &r, false);
  cr_assert_eq(s.n, 0);
}

Test(locate, names_to_ask_for) {
  struct tl_services s;
  tl_locate_services(&s, "x.example", true, TL_UDP);
  cr_assert_eq(s.n, 2);
  cr_assert_str_eq(s.at[0].name, "_sip._udp.x.example");
  cr_assert_str_eq(s.at[1].name, "_sip._tcp.x.example");
  tl_locate_services(&s, "x.example", true, TL_TLS);
  cr_assert_eq(s.n, 1);
  cr_assert_str_eq(s.at[0].name, "_sips._tcp.x.example");
}

Test(locate, of_many_srv_targets_the_best_stay) {
  struct tl_srvs s = {.n = 0};
  char host[16];
  for (unsigned i = 0; i < 40; i++) {
    snprintf(host, sizeof(host), "h%u.", 39 - i);
    tl_locate_srv(&s, host, (uint16_t)(39 - i), 0, 1);
  }
  tl_locate_order(&s);
  cr_assert_eq(s.n, (size_t)TL_SRV_MAX);
  for (unsigned i = 0; i < TL_SRV_MAX; i++) cr_assert_eq(s.at[i].priority, i);
  cr_assert_str_eq(s.at[0].host, "h0");
  cr_assert_not(s.none);
  tl_locate_srv(&s, ".", 0, 0, 0);
  cr_assert(s.none);
}

Test(locate, srv_weights_share_the_load) {
  int first[2] = {0, 0};
  for (int i = 0; i < 2000; i++) {
    struct tl_srvs s = {.n = 0};
    tl_locate_srv(&s, "last", 20, 0, 9);
    tl_locate_srv(&s, "most", 10, 75, 0);
    tl_locate_srv(&s, "some", 10, 25, 1);
    tl_locate_order(&s);
    cr_assert_eq(s.at[2].port, 9, "the higher priority number comes last");
    first[s.at[0].port]++;
  }
  cr_assert(first[0] > 1350 && first[0] < 1650, "%d of 2000", first[0]);
}
