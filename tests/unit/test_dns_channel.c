/* SPDX-License-Identifier: Apache-2.0 */
/* Which channel, and so which socket, a question gets: nothing is sent here. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dns/dns_internal.h"

static struct dns_channels *channels;

static void begin(void) {
  channels = calloc(1, sizeof(*channels));
  cr_assert(channels);
  cr_assert_eq(dns_channels_init(channels, "/nonexistent/resolv.conf"), 0);
}

static void end(void) {
  dns_channels_close(channels);
  free(channels);
}

TestSuite(dns_channel, .init = begin, .fini = end, .timeout = 60);

/* So many questions at once that way; how many are on the busiest channel that one of them got. */
static unsigned busiest(enum dns_way way, unsigned questions) {
  unsigned most = 0;
  for (unsigned i = 0; i < questions; i++) {
    const struct dns_channel *ch = dns_channel_take(channels, way);
    cr_assert(ch);
    if (ch->busy > most) most = ch->busy;
  }
  return most;
}

Test(dns_channel, s9_each_question_has_its_own_while_they_last) {
  cr_expect_eq(busiest(DNS_UDP_EDNS, DNS_UDP_CHANNELS), 1);
  cr_expect_eq(busiest(DNS_UDP_PLAIN, DNS_PLAIN_CHANNELS), 1);
  cr_expect_eq(busiest(DNS_TCP, DNS_TCP_CHANNELS), 1);
}

/* What waits for a connection is written at once, and no more than 1,024 pieces of it. */
Test(dns_channel, s9_many_questions_over_tcp_are_spread) {
  cr_expect_eq(busiest(DNS_TCP, 16384), 16384 / DNS_TCP_CHANNELS);
}

/* RFC 5452: names that are asked over TCP leave the others their ports. */
Test(dns_channel, s9_tcp_takes_no_port_of_the_others) {
  busiest(DNS_TCP, 2000);
  cr_expect_eq(busiest(DNS_UDP_EDNS, DNS_UDP_CHANNELS), 1);
}

Test(dns_channel, s9_one_about_to_be_closed_is_taken_before_two_share) {
  struct dns_channel *ch = dns_channel_take(channels, DNS_TCP);
  cr_assert(ch);
  busiest(DNS_TCP, DNS_TCP_CHANNELS - 1);
  ch->busy--;
  cr_expect_eq(dns_channel_take(channels, DNS_TCP), ch);
}
