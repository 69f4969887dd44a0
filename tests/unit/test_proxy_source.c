/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a request comes from, in configurations drawn at random: what the indexes say is what a look
 * at each peer says. And lists of thousands: each member counts, and nothing beside them.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/guard.h"
#include "proxy/route.h"
#include "proxy/source.h"
#include "test_proxy_rig.h"

TestSuite(proxy_source, .timeout = 60);

static char *text;
static size_t text_n;

static FILE *begin_text(void) {
  FILE *f = open_memstream(&text, &text_n);
  cr_assert_not_null(f);
  fputs("tls_domain \"out\" { role = client verify_cert = false match_ip_address = \"*\" }\n", f);
  return f;
}

static void begin_proxy(FILE *f) {
  fclose(f);
  proxy_begin(text);
}

static void end_proxy(void) {
  proxy_end();
  free(text);
}

static const struct tl_view *view_now(void) { return tl_net_view(px.net); }

/* ---- drawn at random ---- */

#define PEERS 60u

static unsigned seed;

static unsigned below(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static const char *const places[] = {"10.0.0.1", "10.0.0.2", "10.0.1.1", "[2001:db8::1]"};
static const char *const networks[] = {"10.0.0.0/8", "10.0.0.0/24", "10.0.0.2/32",
                                       "0.0.0.0/0",  "10.0.1.0/24", "2001:db8::/32",
                                       "::/0",       "10.0.0.0/31"};

static void write_networks(FILE *f) {
  const unsigned n = below(3) ? 1 + below(3) : 0;
  if (below(2) || !n) return;
  fputs(" networks = { ", f);
  for (unsigned i = 0; i < n; i++) fprintf(f, "%s\"%s\"", i ? ", " : "", networks[below(8)]);
  /* So many that they are indexed. */
  for (unsigned i = 0; i < 20 && n == 3; i++) fprintf(f, ", \"172.16.%u.0/24\"", i);
  fputs(" }", f);
}

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void write_peers(void) {
  static const char *const transports[] = {"udp", "tcp", "tls"};
  FILE *f = begin_text();
  for (unsigned i = 0; i < PEERS; i++) {
    const unsigned t = below(3);
    fprintf(f, "peer \"p%u\" { uri = \"sip:%s:%u;transport=%s\"", i, places[below(4)],
            5060 + below(3), transports[t]);
    write_networks(f);
    if (t == 2 && below(2)) fputs(" tls_only = true", f);
    if (t == 2 && !below(3)) fputs(" spki_sha256 = \"" KEY "\"", f);
    fputs(" }\n", f);
  }
  begin_proxy(f);
}

/* How well PEER fits what comes from FROM without a certificate, 0: not at all. */
static unsigned fit_slowly(const struct tl_conf_peer *peer, const struct tl_flow *from) {
  const struct tl_addr_list *l = tl_view_addrs(view_now(), peer);
  unsigned network = 0, place = 0;
  if (tl_transport_is_secure(peer->transport) && !tl_transport_is_secure(from->transport)) return 0;
  for (size_t i = 0; i < peer->n_network; i++)
    if (tl_network_has(&peer->network[i], &from->addr) && peer->network[i].bits + 1u > network)
      network = peer->network[i].bits + 1u;
  if (!network && (peer->n_network || peer->by_cert)) return 0;
  for (size_t i = 0; i < l->n; i++)
    if (tl_addr_ip_eq(&l->at[i].addr, &from->addr))
      place = 1 + (l->at[i].via == from->transport && tl_addr_eq(&l->at[i].addr, &from->addr));
  return network + 256 * place;
}

static const struct tl_conf_peer *find_slowly(const struct tl_flow *from) {
  const struct tl_peer_table *t = view_now()->peers;
  const struct tl_conf_peer *best = NULL;
  unsigned most = 0;
  for (size_t i = 0; i < t->n; i++) {
    unsigned fit = fit_slowly(&t->peer[i], from);
    if (fit > most) best = &t->peer[i];
    if (fit > most) most = fit;
  }
  return best;
}

static struct tl_flow any_flow(void) {
  static const char *const more[] = {"10.0.0.3", "10.9.9.9", "192.0.2.1", "2001:db8::9",
                                     "172.16.7.7"};
  static const enum tl_transport transports[] = {TL_UDP, TL_TCP, TL_TLS};
  struct tl_flow from = {.transport = transports[below(3)]};
  const char *ip = below(2) ? places[below(4)] : more[below(5)];
  cr_assert_eq(tl_addr_parse(tl_str_c(ip), (uint16_t)(5060 + below(4)), &from.addr), 0);
  return from;
}

static const char *name_of(const struct tl_conf_peer *peer) { return peer ? peer->name : "nobody"; }

Test(proxy_source, the_indexes_find_whom_a_look_at_each_finds) {
  for (seed = 1; seed <= 10;) {
    const unsigned round = seed;
    write_peers();
    cr_assert_eq(view_now()->peers->n, PEERS);
    for (unsigned k = 0; k < 1000; k++) {
      struct tl_flow from = any_flow();
      const struct tl_source *s = tl_source_of(&px, &(struct tl_origin){.from = &from});
      char addr[TL_ADDR_STRLEN];
      cr_assert_not_null(s);
      cr_assert_eq(s->peer, find_slowly(&from), "round %u: %s by %s is %s, not %s", round,
                   tl_addr_format(&from.addr, addr), tl_transport_param(from.transport),
                   name_of(s->peer), name_of(find_slowly(&from)));
    }
    end_proxy();
    seed = round + 1;
  }
}

/* ---- long lists ---- */

#define MANY 3000u

static void write_list(FILE *f, const char *option, const char *format) {
  fprintf(f, " %s = { ", option);
  for (unsigned i = 0; i < MANY; i++) {
    if (i) fputs(", ", f);
    fprintf(f, format, i / 250, i % 250);
  }
  fputs(" }", f);
}

static void begin_long_lists(void) {
  FILE *f = begin_text();
  fputs("peer \"many\" { uri = \"sip:192.0.2.1;transport=udp\"", f);
  write_list(f, "domains", "\"d%u-%u.example\"");
  write_list(f, "networks", "\"10.1.%u.%u/32\"");
  fputs(" }\npeer \"named\" { uri = \"sip:192.0.2.2;transport=tls\"", f);
  write_list(f, "identity", "\"i%u-%u.example\"");
  fputs(" }\n", f);
  for (unsigned i = 0; i < MANY; i++)
    fprintf(f, "peer \"p%u-%u\" { uri = \"sip:10.2.%u.%u;transport=udp\" }\n", i / 250, i % 250,
            i / 250, i % 250);
  fputs("route \"long\" { relay = \"request-uri\"", f);
  write_list(f, "from_peer", "\"p%u-%u\"");
  write_list(f, "to_domain", "\"t%u-%u.example\"");
  write_list(f, "relay_networks", "\"127.0.%u.%u/32\"");
  fputs(" }\nroute \"peers\" {", f);
  write_list(f, "peers", "\"p%u-%u\"");
  fputs(" }\n", f);
  begin_proxy(f);
}

static struct tl_addr numbered(const char *format, unsigned i) {
  char ip[32];
  struct tl_addr a;
  snprintf(ip, sizeof(ip), format, i / 250, i % 250);
  cr_assert_eq(tl_addr_parse(tl_str_c(ip), 5060, &a), 0);
  return a;
}

static struct tl_str named(const char *format, unsigned i) {
  static char name[64];
  snprintf(name, sizeof(name), format, i / 250, i % 250);
  return tl_str_c(name);
}

Test(proxy_source, each_of_thousands_in_a_list_of_a_peer_counts) {
  begin_long_lists();
  const struct tl_peer_set *set = view_now()->peers->set;
  const struct tl_conf_peer *many = tl_peer_table_by_name(view_now()->peers, "many");
  const struct tl_conf_peer *other = tl_peer_table_by_name(view_now()->peers, "named");
  cr_assert(many && other);
  for (unsigned i = 0; i < MANY; i++) {
    struct tl_addr a = numbered("10.1.%u.%u", i), b = numbered("10.3.%u.%u", i);
    cr_assert_eq(tl_peer_network(set, many, &a), &many->network[i]);
    cr_assert_null(tl_peer_network(set, many, &b));
    cr_assert_null(tl_peer_network(set, other, &a));
    cr_assert(tl_peer_has_domain(set, many, named("D%u-%u.example.", i)));
    cr_assert(!tl_peer_has_domain(set, other, named("d%u-%u.example", i)));
    cr_assert(!tl_peer_has_domain(set, many, named("i%u-%u.example", i)));
    cr_assert(tl_peer_has_identity(set, other, named("i%u-%u.EXAMPLE", i)));
    cr_assert(!tl_peer_has_identity(set, other, named("d%u-%u.example", i)));
    cr_assert(!tl_peer_has_identity(set, many, named("i%u-%u.example", i)));
  }
  cr_expect(!tl_peer_has_domain(set, many, TL_STR("")));
  end_proxy();
}

Test(proxy_source, each_of_thousands_in_a_list_of_a_route_counts) {
  begin_long_lists();
  const struct tl_route_table *t = view_now()->routes;
  const struct tl_conf_route *r = &t->route[0], *other = &t->route[1];
  cr_assert_str_eq(r->name, "long");
  for (unsigned i = 0; i < MANY; i++) {
    struct tl_addr a = numbered("127.0.%u.%u", i), b = numbered("127.1.%u.%u", i);
    cr_assert(tl_route_relays_into(t, r, &a) && !tl_route_relays_into(t, r, &b));
    cr_assert(tl_route_has_domain(t, r, named("T%u-%u.example", i)));
    cr_assert(!tl_route_has_domain(t, r, named("d%u-%u.example", i)));
    cr_assert(tl_route_is_from(t, r, r->from[i]) && !tl_route_leads_to(t, r, r->from[i]));
    cr_assert(tl_route_leads_to(t, other, r->from[i]) && !tl_route_is_from(t, other, r->from[i]));
  }
  cr_expect(!tl_route_is_from(t, r, tl_peer_table_by_name(view_now()->peers, "many")));
  end_proxy();
}
