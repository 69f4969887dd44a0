/* SPDX-License-Identifier: Apache-2.0 */
/* Names of peers while the configuration is read, against a name server of the test's own. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "../support/dnsd.h"
#include "tieline/err.h"
#include "tieline/locate.h"
#include "tieline/lookup.h"

/* Addresses stand in the hosts file: getaddrinfo asks the machine's name server, not the test's. */
static const struct zone_record zone[] = {
    {"naptr.example", T_NAPTR, "10 20 s SIP+D2U - _sip._udp.naptr.example"},
    {"naptr.example", T_NAPTR, "10 10 s SIPS+D2T - _sips._tcp.naptr.example"},
    {"_sips._tcp.naptr.example", T_SRV, "20 0 5072 second.test"},
    {"_sips._tcp.naptr.example", T_SRV, "10 0 5071 first.test"},
    {"_sip._udp.naptr.example", T_SRV, "10 0 5073 first.test"},
    {"_sip._tcp.srv.example", T_SRV, "10 0 5080 first.test"},
    {"_sip._tcp.srv.example", T_SRV, "5 0 5081 second.test"},
    {"_sips._tcp.closed.example", T_SRV, "0 0 0 ."},
    {"_sip._tcp.big.example", T_SRV, "20 0 5080 wrong.test"}, /* all that UDP brings */
    {"_sip._tcp.big.example", T_SRV, "10 0 5080 first.test"},
    {"_sip._tcp.cut.example", T_SRV, "10 0 5080 wrong.test"},
};

static void begin(void) {
  dnsd_start(zone, sizeof(zone) / sizeof(*zone));
  dnsd_files("192.0.2.1 first.test listed.example\n192.0.2.2 second.test\n192.0.2.9 wrong.test\n");
  tl_dns_files(dnsd_file("hosts"), dnsd_file("resolv.conf"));
}

static void end(void) {
  dnsd_stop();
  dnsd_files_gone();
}

TestSuite(lookup, .init = begin, .fini = end, .timeout = 60);

static void finds(const char *host, uint16_t port, enum tl_transport t, bool any,
                  const char *want) {
  struct tl_lookup l = {.host = host, .port = port, .transport = t, .any_transport = any};
  char got[512] = "", buf[TL_ADDR_STRLEN];
  cr_assert_eq(tl_lookup_all(&l, 1, 5000), 0);
  for (size_t i = 0; i < l.n; i++) {
    if (i) strcat(got, " ");
    strcat(got, tl_transport_param((enum tl_transport)l.via[i]));
    strcat(got, ":");
    strcat(got, tl_addr_format(&l.addr[i], buf));
  }
  cr_assert_str_eq(got, want, "%s: %s (%s)", host, got, l.why ? l.why : "");
  cr_assert(l.n || l.why);
  free(l.addr);
  free(l.via);
}

Test(lookup, d33_naptr_srv_and_addresses_in_order) {
  finds("naptr.example", 0, TL_UDP, true,
        "tls:192.0.2.1:5071 tls:192.0.2.2:5072 udp:192.0.2.1:5073");
  finds("naptr.example", 0, TL_TLS, true, "tls:192.0.2.1:5071 tls:192.0.2.2:5072");
}

Test(lookup, d33_srv_when_no_port_is_given) {
  finds("srv.example", 0, TL_TCP, false, "tcp:192.0.2.2:5081 tcp:192.0.2.1:5080");
  finds("srv.example", 0, TL_UDP, true, "tcp:192.0.2.2:5081 tcp:192.0.2.1:5080");
}

Test(lookup, hosts_file_and_ports_ask_no_name_server) {
  finds("listed.example", 0, TL_TLS, false, "tls:192.0.2.1:5061");
  finds("second.test", 7000, TL_TCP, false, "tcp:192.0.2.2:7000");
  cr_assert_eq(dnsd_asked(), 0);
}

Test(lookup, service_that_is_decidedly_not_there) { finds("closed.example", 0, TL_TLS, false, ""); }

Test(lookup, s9_cut_off_services_are_asked_for_over_tcp) {
  finds("big.example", 0, TL_TCP, false, "tcp:192.0.2.1:5080 tcp:192.0.2.9:5080");
}

/* The name itself has an address, which is not a replacement. */
Test(lookup, s9_unusable_answers_about_services_lead_nowhere) {
  struct tl_lookup l = {.host = "cut.example", .transport = TL_TCP};
  cr_assert_eq(tl_lookup_all(&l, 1, 5000), 0);
  cr_assert_eq(l.n, 0);
  cr_assert(strstr(l.why, "cannot be used"), "%s", l.why);
}

Test(lookup, silent_name_server_ends_in_time) {
  struct tl_lookup l[2] = {{.host = "silent.example", .transport = TL_TLS},
                           {.host = "srv.example", .transport = TL_TCP}};
  cr_assert_eq(tl_lookup_all(l, 2, 1000), 0);
  cr_assert_eq(l[0].n, 0);
  cr_assert_str_eq(l[0].why, "no answer in time");
  cr_assert_eq(l[1].n, 2);
  free(l[1].addr);
  free(l[1].via);
}
