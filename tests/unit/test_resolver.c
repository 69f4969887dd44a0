/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver thread against a name server of the test's own on loopback, and
 * against hosts files.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/dnsd.h"
#include "dns/resolver.h"
#include "tieline/runtime.h"
#include "tieline/time.h"

static const struct zone_record zone[] = {
    {"plain.example", T_A, "192.0.2.1"},
    {"plain.example", T_A, "192.0.2.2"},
    {"six.example", T_AAAA, "2001:db8::6"},
    {"_sips._tcp.service.example", T_SRV, "20 0 5071 backup.example"},
    {"_sips._tcp.service.example", T_SRV, "10 5 5061 first.example"},
    {"first.example", T_A, "192.0.2.10"},
    {"backup.example", T_A, "192.0.2.20"},
    {"service.example", T_A, "192.0.2.99"},
    {"alias.example", T_CNAME, "plain.example"},
    /* NAPTR: what it prefers, what is broken, what is not SIP */
    {"naptr.example", T_NAPTR, "50 60 s SIP+D2U - _sip._udp.naptr.example"},
    {"naptr.example", T_NAPTR, "50 20 s SIPS+D2T - _sips._tcp.naptr.example"},
    {"naptr.example", T_NAPTR, "50 40 S sip+d2t - _sip._tcp.naptr.example"},
    {"naptr.example", T_NAPTR, "40 10 u E2U+sip !^.*$!sip:x@y! ."},
    {"naptr.example", T_NAPTR, "30 10 s SIP+D2S - _sip._sctp.naptr.example"},
    {"naptr.example", T_NAPTR, "20 10 s SIP+D2T !a!b! _sip._tcp.wrong.example"},
    {"naptr.example", T_NAPTR, "90 10 s SIP+D2T - _sip._tcp.wrong.example"},
    {"_sips._tcp.naptr.example", T_SRV, "10 1 5071 first.example"},
    {"_sips._tcp.naptr.example", T_SRV, "20 1 5072 backup.example"},
    {"_sip._tcp.naptr.example", T_SRV, "10 1 5073 backup.example"},
    {"_sip._udp.naptr.example", T_SRV, "10 1 5074 first.example"},
    {"lone.example", T_NAPTR, "10 10 s SIP+D2T - _sip._tcp.lone.example"},
    {"lone.example", T_A, "192.0.2.30"},
    {"both.example", T_A, "192.0.2.99"},
    {"_sip._tcp.both.example", T_SRV, "10 1 5081 first.example"},
    {"_sip._udp.both.example", T_SRV, "10 1 5082 first.example"},
    {"_sips._tcp.both.example", T_SRV, "10 1 5083 first.example"},
    {"closed.example", T_A, "192.0.2.98"},
    {"_sips._tcp.closed.example", T_SRV, "0 0 0 ."},
    {"half.example", T_A, "192.0.2.97"},
    {"_sip._udp.half.example", T_SRV, "10 1 5090 gone.example"},
    {"_sip._udp.half.example", T_SRV, "20 1 5091 silent.example"},
    {"_sip._udp.half.example", T_SRV, "30 1 5092 backup.example"},
};

static struct tl_runtime rt;
static struct tl_thread worker;

/* ---- set-up ---- */

static void drop_answer(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind answer_kind = {"answer", NULL, drop_answer};

static void begin(void) {
  dnsd_start(zone, sizeof(zone) / sizeof(*zone));
  dnsd_files("# comment\n192.0.2.77 Inhosts.example other # more\n2001:db8::77 inhosts.example\n");
  tl_dns_files(dnsd_file("hosts"), dnsd_file("resolv.conf"));
  cr_assert_eq(tl_mailbox_init(&worker.mailbox, 64), 0);
  rt.n_worker = 1;
  rt.worker[0] = &worker;
  cr_assert_eq(tl_resolver_start(&rt.resolver, &rt.resolver_counters), 0);
}

static void end(void) {
  tl_resolver_stop();
  dnsd_stop();
  tl_mailbox_destroy(&worker.mailbox);
  dnsd_files_gone();
}

TestSuite(resolver, .init = begin, .fini = end, .timeout = 60);

/* T: TL_TRANSPORTS for a sip URI, ANY_SECURE for a sips URI that names none. */
enum { ANY_SECURE = TL_TRANSPORTS + 1 };

static void ask_for(struct tl_dns_client client, const char *host, int t, uint16_t port,
                    uint64_t cookie) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  r->client = client;
  r->reply = (struct tl_mail_address){&worker.mailbox, &answer_kind};
  r->cookie = cookie;
  r->any_transport = t >= (int)TL_TRANSPORTS;
  r->secure = t == ANY_SECURE;
  r->transport = t == ANY_SECURE ? TL_TLS : r->any_transport ? TL_UDP : (enum tl_transport)t;
  r->port = port;
  snprintf(r->host, sizeof(r->host), "%s", host);
  cr_assert_eq(tl_resolve_ask(&rt.resolver, r), 0);
}

static void ask(const char *host, int t, uint16_t port, uint64_t cookie) {
  ask_for((struct tl_dns_client){0}, host, t, port, cookie);
}

static struct tl_resolve *answer(void) {
  struct pollfd p = {.fd = worker.mailbox.efd, .events = POLLIN};
  struct tl_mail *m = tl_mailbox_take(&worker.mailbox);
  for (int i = 0; i < 20 && !m; i++) {
    poll(&p, 1, 500);
    tl_mailbox_rearm(&worker.mailbox);
    m = tl_mailbox_take(&worker.mailbox);
  }
  cr_assert(m, "no answer");
  cr_assert_eq(m->kind, &answer_kind);
  return (struct tl_resolve *)m;
}

/* Looks HOST up and compares with WANT, addresses separated by blanks, "" for none. Where no
 * transport was asked for, each has the one found in front. */
static void looks_up(const char *host, int t, uint16_t port, int rc, const char *want) {
  char got[512] = "", buf[TL_ADDR_STRLEN];
  ask(host, t, port, 42);
  struct tl_resolve *r = answer();
  for (size_t i = 0; i < r->found.n; i++) {
    if (i) strcat(got, " ");
    if (r->any_transport) {
      strcat(got, tl_transport_param((enum tl_transport)r->found.via[i]));
      strcat(got, ":");
    } else {
      cr_assert_eq((int)r->found.via[i], t);
    }
    strcat(got, tl_addr_format(&r->found.addr[i], buf));
  }
  cr_assert_eq(r->rc, rc, "%s: %d", host, r->rc);
  cr_assert_eq(r->cookie, 42);
  cr_assert_str_eq(got, want, "%s: %s", host, got);
  free(r);
}

/* ---- tests ---- */

/* Names whose servers are silent are anybody's to make: they filled all places for five seconds. */
Test(resolver, s9_silent_names_keep_nobody_out) {
  char name[40];
  for (int i = 0; i < 1024 + 20; i++) {
    snprintf(name, sizeof(name), "silent%d.example", i);
    ask(name, TL_UDP, 5060, 1);
  }
  ask("plain.example", TL_TLS, 5061, 2);
  for (int i = 0; i < 21; i++) {
    struct tl_resolve *r = answer();
    cr_assert_eq(r->rc, TL_ELIMIT);
    snprintf(name, sizeof(name), "silent%d.example", i);
    cr_assert_str_eq(r->host, name);
    free(r);
  }
  struct tl_resolve *r = answer();
  cr_assert_eq(r->cookie, 2);
  cr_assert_eq(r->rc, 0);
  free(r);
  cr_assert_eq(tl_count_get(&rt.resolver_counters, TL_C_DNS_GAVE_WAY), 21);
}

/* The first N answers are for look-ups that gave way, of names that begin with PREFIX. */
static void gave_way(unsigned n, const char *prefix) {
  for (unsigned i = 0; i < n; i++) {
    struct tl_resolve *r = answer();
    cr_assert_eq(r->rc, TL_ELIMIT);
    cr_assert_eq(strncmp(r->host, prefix, strlen(prefix)), 0, "%s", r->host);
    free(r);
  }
}

/* What is older stays: of a peer, of the configuration, of a stranger who has few. */
Test(resolver, s9_who_has_most_look_ups_under_way_gives_way) {
  const struct tl_dns_client flood = {.stranger = 7}, few = {.stranger = 8}, own = {.own = true};
  char name[40];
  ask_for(own, "silent-own.example", TL_UDP, 5060, 1);
  ask("silent-peer.example", TL_UDP, 5060, 1);
  ask_for(few, "silent-few.example", TL_UDP, 5060, 1);
  for (int i = 0; i < 1024 + 20; i++) {
    snprintf(name, sizeof(name), "silent-flood%d.example", i);
    ask_for(flood, name, TL_UDP, 5060, 1);
  }
  gave_way(23, "silent-flood");
  ask_for(few, "silent-again.example", TL_UDP, 5060, 1);
  gave_way(1, "silent-flood");
}

/* Strangers who each have few give way to one another, not peers to them. */
Test(resolver, s9_strangers_give_way_before_peers) {
  char name[40];
  for (int i = 0; i < 1024 + 20; i++) {
    snprintf(name, sizeof(name), "silent-%s%d.example", i < 100 ? "peer" : "stranger", i);
    const struct tl_dns_client who = {.stranger = i < 100 ? 0 : (uint16_t)(1 + i % 64)};
    ask_for(who, name, TL_UDP, 5060, 1);
  }
  gave_way(20, "silent-stranger");
}

Test(resolver, numbers_and_default_ports) {
  looks_up("192.0.2.5", TL_UDP, 0, 0, "192.0.2.5:5060");
  looks_up("[2001:db8::5]", TL_TLS, 0, 0, "[2001:db8::5]:5061");
  looks_up("192.0.2.5", TL_TCP, 7000, 0, "192.0.2.5:7000");
  looks_up("", TL_TCP, 0, TL_EINVAL, "");
  cr_assert_eq(dnsd_asked(), 0);
}

Test(resolver, hosts_file_goes_first) {
  looks_up("inhosts.EXAMPLE.", TL_TLS, 5061, 0, "192.0.2.77:5061 [2001:db8::77]:5061");
  looks_up("other", TL_UDP, 0, 0, "192.0.2.77:5060");
  looks_up("localhost", TL_UDP, 0, 0, "127.0.0.1:5060 [::1]:5060");
  cr_assert_eq(dnsd_asked(), 0);
}

Test(resolver, addresses_from_dns_and_its_cache) {
  looks_up("plain.example", TL_TLS, 5061, 0, "192.0.2.1:5061 192.0.2.2:5061");
  unsigned before = dnsd_asked();
  looks_up("plain.example", TL_TLS, 5062, 0, "192.0.2.1:5062 192.0.2.2:5062");
  cr_assert_eq(dnsd_asked(), before, "the second look-up comes from the cache");
  looks_up("six.example", TL_TCP, 5060, 0, "[2001:db8::6]:5060");
}

Test(resolver, d33_srv_by_priority_when_there_is_no_port) {
  looks_up("service.example", TL_TLS, 0, 0, "192.0.2.10:5061 192.0.2.20:5071");
  looks_up("service.example", TL_TLS, 5061, 0, "192.0.2.99:5061");
  looks_up("service.example", TL_UDP, 0, 0, "192.0.2.99:5060"); /* no such SRV: the name itself */
}

Test(resolver, alias_is_followed) {
  looks_up("alias.example", TL_TCP, 5060, 0, "192.0.2.1:5060 192.0.2.2:5060");
}

Test(resolver, name_that_does_not_exist) {
  looks_up("nobody.example", TL_TCP, 5060, TL_ENOTFOUND, "");
  looks_up("nobody.example", TL_TLS, 0, TL_ENOTFOUND, "");
}

Test(resolver, silent_server_delays_nobody_and_ends_in_time) {
  uint64_t start = tl_now_ms();
  ask("silent.example", TL_TCP, 5060, 1);
  ask("plain.example", TL_TCP, 5060, 2);
  struct tl_resolve *r = answer();
  cr_assert_eq(r->cookie, 2);
  cr_assert_leq(tl_now_ms() - start, 1000);
  free(r);
  r = answer();
  cr_assert_eq(r->cookie, 1);
  cr_assert_eq(r->rc, TL_ETIMEOUT);
  cr_assert_leq(tl_now_ms() - start, 6000);
  free(r);
}

Test(resolver, stop_with_questions_under_way) {
  for (int i = 0; i < 20; i++) ask("silent.example", TL_TLS, 0, 1);
  usleep(100000);
}

/* ---- what goes with an answer ---- */

/* For the control thread: past the cache. */
static struct tl_resolve *asks_afresh(const char *host, enum tl_transport t, uint16_t port) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  r->reply = (struct tl_mail_address){&worker.mailbox, &answer_kind};
  r->transport = t;
  r->port = port;
  r->fresh = true;
  snprintf(r->host, sizeof(r->host), "%s", host);
  cr_assert_eq(tl_resolve_ask(&rt.resolver, r), 0);
  return answer();
}

Test(resolver, d33_answer_tells_how_long_it_holds) {
  struct tl_resolve *r = asks_afresh("plain.example", TL_TLS, 5061);
  cr_assert_eq(r->found.ttl_s, 60);
  cr_assert_not(r->found.unsure);
  free(r);
  unsigned before = dnsd_asked();
  r = asks_afresh("plain.example", TL_TLS, 5061);
  cr_assert_eq(r->found.n, 2);
  cr_assert_gt(dnsd_asked(), before, "the cache is passed by");
  free(r);
  r = asks_afresh("other", TL_TLS, 5061); /* the hosts file says nothing of time */
  cr_assert_eq(r->found.n, 1);
  cr_assert_eq(r->found.ttl_s, 30);
  free(r);
}

Test(resolver, d33_answer_tells_priority_and_weight) {
  struct tl_resolve *r = asks_afresh("service.example", TL_TLS, 0);
  cr_assert_eq(r->found.n, 2);
  cr_assert_eq(r->found.group[0], 0);
  cr_assert_eq(r->found.weight[0], 5);
  cr_assert_eq(r->found.group[1], 1);
  cr_assert_eq(r->found.weight[1], 0);
  cr_assert_neq(r->found.target[0], r->found.target[1]);
  free(r);
  r = asks_afresh("plain.example", TL_TLS, 5061); /* two addresses of one host */
  cr_assert_eq(r->found.n, 2);
  cr_assert_eq(r->found.target[0], r->found.target[1]);
  cr_assert_eq(r->found.group[0], r->found.group[1]);
  free(r);
}

Test(resolver, d33_failed_question_about_services_is_told) {
  struct tl_resolve *r = asks_afresh("refused.example", TL_TLS, 0);
  cr_assert(r->found.unsure, "its SRV records may be there: its address is not a replacement");
  free(r);
  r = asks_afresh("nobody.example", TL_TLS, 0);
  cr_assert_not(r->found.unsure);
  cr_assert_eq(r->rc, TL_ENOTFOUND);
  free(r);
}

Test(resolver, control_thread_gets_its_answers) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  cr_assert_eq(tl_mailbox_init(&rt.control.mailbox, 8), 0);
  r->reply = (struct tl_mail_address){&rt.control.mailbox, &answer_kind};
  r->client.own = true;
  r->cookie = 7;
  r->transport = TL_TLS;
  snprintf(r->host, sizeof(r->host), "192.0.2.7");
  cr_assert_eq(tl_resolve_ask(&rt.resolver, r), 0);
  struct pollfd p = {.fd = rt.control.mailbox.efd, .events = POLLIN};
  struct tl_mail *m = NULL;
  for (int i = 0; i < 20 && !m; i++) {
    poll(&p, 1, 500);
    tl_mailbox_rearm(&rt.control.mailbox);
    m = tl_mailbox_take(&rt.control.mailbox);
  }
  cr_assert(m);
  cr_assert_eq(((struct tl_resolve *)m)->cookie, 7);
  cr_assert_eq(((struct tl_resolve *)m)->found.n, 1);
  free(m);
  tl_mailbox_destroy(&rt.control.mailbox);
}

Test(resolver, too_many_at_once_are_told_so) {
  enum { MANY = 1100 };
  int refused = 0;
  char host[64];
  worker.mailbox.cap = MANY;
  for (int i = 0; i < MANY; i++) {
    snprintf(host, sizeof(host), "silent%d.example", i);
    ask(host, TL_TCP, 5060, (uint64_t)i);
  }
  for (int i = 0; i < MANY; i++) {
    struct tl_resolve *r = answer();
    if (r->rc == TL_ELIMIT)
      refused++;
    else
      cr_assert(r->rc == TL_ETIMEOUT || r->rc == TL_EIO, "%d", r->rc);
    free(r);
  }
  cr_assert_eq(refused, MANY - 1024);
}

Test(resolver, full_mailbox_delays_an_answer_but_loses_none) {
  worker.mailbox.cap = 1;
  for (int i = 0; i < 5; i++) ask("192.0.2.5", TL_TCP, 5060, 9);
  usleep(300000);
  for (int i = 0; i < 5; i++) free(answer());
  worker.mailbox.cap = 64;
}

Test(resolver, d33_naptr_chooses_transport_and_order) {
  looks_up("naptr.example", TL_TRANSPORTS, 0, 0,
           "tls:192.0.2.10:5071 tls:192.0.2.20:5072 tcp:192.0.2.20:5073 udp:192.0.2.10:5074");
  /* a sips URI takes the SIPS service alone */
  looks_up("naptr.example", ANY_SECURE, 0, 0, "tls:192.0.2.10:5071 tls:192.0.2.20:5072");
  /* a transport or a port in the URI leaves NAPTR nothing to say */
  looks_up("naptr.example", TL_UDP, 0, 0, "192.0.2.10:5074");
  looks_up("lone.example", TL_TRANSPORTS, 5062, 0, "udp:192.0.2.30:5062");
}

Test(resolver, d33_naptr_without_srv_keeps_its_transport) {
  looks_up("lone.example", TL_TRANSPORTS, 0, 0, "tcp:192.0.2.30:5060");
}

Test(resolver, d33_without_naptr_srv_of_each_transport) {
  looks_up("both.example", TL_TRANSPORTS, 0, 0, "udp:192.0.2.10:5082 tcp:192.0.2.10:5081");
  looks_up("both.example", ANY_SECURE, 0, 0, "tls:192.0.2.10:5083");
  looks_up("plain.example", TL_TRANSPORTS, 0, 0, "udp:192.0.2.1:5060 udp:192.0.2.2:5060");
  looks_up("plain.example", ANY_SECURE, 0, 0, "tls:192.0.2.1:5061 tls:192.0.2.2:5061");
}

Test(resolver, srv_that_says_no_is_believed) {
  looks_up("closed.example", TL_TLS, 0, TL_ENOTFOUND, "");
  looks_up("closed.example", TL_TCP, 0, 0, "192.0.2.98:5060");
}

Test(resolver, srv_targets_without_address_are_passed_over) {
  looks_up("half.example", TL_UDP, 0, 0, "192.0.2.20:5092");
}

Test(resolver, server_failure_ends_at_once) {
  uint64_t start = tl_now_ms();
  looks_up("refused.example", TL_TRANSPORTS, 0, TL_EIO, "");
  cr_assert_leq(tl_now_ms() - start, 4000);
}
