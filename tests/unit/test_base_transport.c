/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the transports: names that are found again, properties that agree with each other. */
#include <criterion/criterion.h>

#include "tieline/err.h"
#include "tieline/transport.h"

Test(base_transport, transports_are_named_and_parsed) {
  static const char *const none[] = {"sctp", "", "t", "tcpp", "?", "transport", "tl3"};
  enum tl_transport got;
  for (enum tl_transport t = 0; t < TL_TRANSPORTS; t++) {
    got = TL_TRANSPORTS;
    cr_expect_eq(tl_transport_parse(tl_str_c(tl_transport_name(t)), &got), TL_OK);
    cr_expect_eq(got, t);
    got = TL_TRANSPORTS;
    cr_expect_eq(tl_transport_parse(tl_str_c(tl_transport_param(t)), &got), TL_OK);
    cr_expect_eq(got, t);
  }
  for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
    cr_expect_eq(tl_transport_parse(tl_str_c(none[i]), &got), TL_ENOTFOUND, "%s", none[i]);
  cr_expect_str_eq(tl_transport_name(TL_TRANSPORTS), "?");
}

Test(base_transport, rows_are_whole_and_agree_with_themselves) {
  for (enum tl_transport t = 0; t < TL_TRANSPORTS; t++) {
    const struct tl_transport_traits *row = &tl_transports[t];
    cr_expect(strstr(TL_TRANSPORT_LIST, row->param), "%s", row->param);
    cr_expect(strstr(TL_TRANSPORT_CHOICE, row->param), "%s", row->param);
    cr_expect(row->framing > TL_FRAMING_NONE && row->framing < TL_FRAMINGS, "%s", row->via);
    cr_expect(row->reliable || !row->secure, "%s", row->via); /* TLS needs a stream */
    cr_expect(tl_transport_is_secure(tl_transport_secured(t)), "%s", row->via);
    cr_expect(tl_transport_is_default_port(row->port), "%s", row->via);
    cr_expect_not_null(row->naptr);
  }
  cr_expect_not(tl_transport_is_default_port(0));
}

/* RFC 3261 19.1.2, 26.2.2. */
Test(base_transport, ports_and_properties_of_rfc_3261) {
  cr_expect_eq(tl_transport_port(TL_UDP), 5060);
  cr_expect_eq(tl_transport_port(TL_TCP), 5060);
  cr_expect_eq(tl_transport_port(TL_TLS), 5061);
  cr_expect(tl_transport_is_datagram(TL_UDP) && !tl_transport_is_reliable(TL_UDP));
  cr_expect(!tl_transport_is_datagram(TL_TCP) && tl_transport_is_reliable(TL_TCP));
  cr_expect(!tl_transport_is_secure(TL_TCP) && tl_transport_is_secure(TL_TLS));
  cr_expect_eq(tl_transport_secured(TL_TCP), TL_TLS);
}
