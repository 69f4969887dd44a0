/* SPDX-License-Identifier: Apache-2.0 */
/* The DNS client against a name server of the test's own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/dnsd.h"
#include "dns/resolver.h"
#include "tieline/dns.h"
#include "tieline/err.h"
#include "tieline/runtime.h"
#include "tieline/time.h"

#define LONG_NAME "a-name-that-makes-an-answer-large.with-a-few-records-of-addresses-only.example"
#define LARGE_RECORD(word, n)                                                                      \
  { word "." LONG_NAME, T_A, "192.0.2." #n }
#define LARGE(word) /* over 1,232 bytes */                                                         \
  LARGE_RECORD(word, 1), LARGE_RECORD(word, 2), LARGE_RECORD(word, 3), LARGE_RECORD(word, 4),      \
      LARGE_RECORD(word, 5), LARGE_RECORD(word, 6), LARGE_RECORD(word, 7), LARGE_RECORD(word, 8),  \
      LARGE_RECORD(word, 9), LARGE_RECORD(word, 10), LARGE_RECORD(word, 11),                       \
      LARGE_RECORD(word, 12)
#define LARGE_ADDRESSES                                                                            \
  "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9 "     \
  "192.0.2.10 192.0.2.11 192.0.2.12"

static const struct zone_record zone[] = {
    {"plain.example", T_A, "192.0.2.1"},
    {"big.example", T_A, "203.0.113.1"}, /* all that is left of it over UDP */
    {"big.example", T_A, "192.0.2.1"},
    {"big.example", T_A, "192.0.2.2"},
    {"_sips._tcp.bigsrv.example", T_SRV, "20 0 5071 wrong.example"},
    {"_sips._tcp.bigsrv.example", T_SRV, "10 0 5061 plain.example"},
    {"wrong.example", T_A, "203.0.113.1"},
    {"bigsrv.example", T_A, "203.0.113.1"},
    {"cut.example", T_A, "203.0.113.1"},
    {"_sips._tcp.cut.only-srv.example", T_SRV, "10 0 5061 plain.example"},
    {"cut.only-srv.example", T_A, "203.0.113.1"},
    {"refused.only-srv.example", T_A, "203.0.113.1"},
    {"cut.only-naptr.example", T_NAPTR, "10 10 s SIPS+D2T - _sips._tcp.cut.only-naptr.example"},
    {"cut.only-naptr.example", T_A, "203.0.113.1"},
    {"letters.example", T_A, "192.0.2.3"},
    {"old.example", T_A, "192.0.2.4"},
    {"big.twice.example", T_A, "192.0.2.9"},
    {"big.twice.example", T_A, "192.0.2.10"},
    {"old.big.twice.example", T_A, "192.0.2.9"},
    {"old.big.twice.example", T_A, "192.0.2.10"},
    LARGE("old"),
    LARGE("new"),
};

static struct tl_dns *dns;

static void begin(void) {
  dnsd_start(zone, sizeof(zone) / sizeof(*zone));
  dnsd_files("");
  dns = tl_dns_new(dnsd_file("resolv.conf"));
  cr_assert(dns);
}

static void end(void) {
  tl_dns_free(dns);
  dnsd_stop();
  dnsd_files_gone();
}

TestSuite(dns, .init = begin, .fini = end, .timeout = 60);

static void finds(const char *name, enum tl_dns_status status, const char *want) {
  char got[256] = "", text[INET6_ADDRSTRLEN];
  struct tl_dns_answer *a = tl_dns_ask_blocking(dns, TL_DNS_A, name, 10000);
  cr_assert(a, "%s: no answer in time", name);
  cr_assert_eq(a->status, status, "%s: status %d", name, a->status);
  for (size_t i = 0; i < a->n; i++) {
    inet_ntop(AF_INET, &a->at[i].addr.v4.sin_addr, text, sizeof(text));
    if (i) strcat(got, " ");
    strcat(got, text);
  }
  cr_assert_str_eq(got, want, "%s: %s", name, got);
  free(a);
}

/* ---- RFC 2181 9, RFC 7766 ---- */

Test(dns, s9_what_was_cut_off_is_asked_over_tcp) {
  finds("big.example", TL_DNS_FOUND, "203.0.113.1 192.0.2.1 192.0.2.2");
  unsigned asked = dnsd_asked();
  cr_assert(dnsd_question(asked - 1)->tcp);
  finds("big.example", TL_DNS_FOUND, "203.0.113.1 192.0.2.1 192.0.2.2");
  cr_assert_eq(dnsd_asked(), asked, "the second look-up comes from the cache");
}

/* One answer more, for a question that has gone to TCP and waits there for its connection:
 * c-ares 1.18 would have sent bytes that it had freed. */
Test(dns, s9_format_error_behind_what_was_cut_off) {
  finds("big.twice.example", TL_DNS_FOUND, "192.0.2.9 192.0.2.10");
  finds("old.big.twice.example", TL_DNS_FOUND, "192.0.2.9 192.0.2.10");
}

/* From a server that keeps to no bound and says nothing of it: c-ares cuts at what was asked for.
 */
Test(dns, s9_what_c_ares_cut_off_is_asked_over_tcp) {
  finds("new." LONG_NAME, TL_DNS_FOUND, LARGE_ADDRESSES);
  cr_assert(dnsd_question(dnsd_asked() - 1)->tcp);
  finds("old." LONG_NAME, TL_DNS_FOUND, LARGE_ADDRESSES);
  cr_assert(dnsd_question(dnsd_asked() - 1)->tcp);
}

Test(dns, s9_what_is_cut_off_without_tcp_is_asked_no_third_time) {
  finds("big.mute.example", TL_DNS_FAILED, "");
  cr_assert_eq(tl_dns_counted(dns)->again, 1);
}

Test(dns, s9_what_stays_cut_off_is_no_answer) {
  finds("cut.example", TL_DNS_BROKEN, "");
  cr_assert_eq(tl_dns_counted(dns)->refused, 1);
}

/* ---- RFC 5452 ---- */

static void fail_fn(struct tl_dns_wait *w, const struct tl_dns_answer *a) {
  (void)w;
  (void)a;
  cr_assert_fail("nobody waits for it");
}

static void serve_all(void) {
  struct pollfd p = {.fd = tl_dns_fd(dns), .events = POLLIN};
  while (tl_dns_busy(dns)) {
    poll(&p, 1, TL_DNS_TICK_MS);
    tl_dns_serve(dns);
  }
}

enum { QUESTIONS = 40 };

static void ask_many(bool at_once) {
  struct tl_dns_wait w[QUESTIONS];
  char name[32];
  for (int i = 0; i < QUESTIONS; i++) {
    snprintf(name, sizeof(name), "n%02d.abcdefgh.example", i);
    w[i] = (struct tl_dns_wait){.fn = fail_fn};
    cr_assert_eq(tl_dns_ask(dns, TL_DNS_A, name, &w[i]), 0);
    tl_dns_forget(&w[i]);
    if (!at_once) serve_all();
  }
  serve_all();
}

/* The questions that came, each once: a slow machine repeats some. */
static unsigned each_once(const struct dnsd_question *out[DNSD_SEEN]) {
  unsigned n = 0, asked = dnsd_asked() < DNSD_SEEN ? dnsd_asked() : DNSD_SEEN;
  for (unsigned i = 0; i < asked; i++) {
    bool new = true;
    for (unsigned k = 0; k < n; k++) new &= strcmp(out[k]->name, dnsd_question(i)->name) != 0;
    if (new) out[n++] = dnsd_question(i);
  }
  return n;
}

static unsigned distinct(const struct dnsd_question **q, unsigned n, size_t offset) {
  unsigned found = 0;
  for (unsigned i = 0; i < n; i++) {
    bool new = true;
    for (unsigned k = 0; k < i; k++)
      new &= memcmp((const char *)q[i] + offset, (const char *)q[k] + offset, 2) != 0;
    found += new;
  }
  return found;
}

/* That chance fails this is less likely than one in ten millions: 28,000 ports, 65,536 ids. */
static void unforeseeable(void) {
  const struct dnsd_question *q[DNSD_SEEN];
  unsigned n = each_once(q), steps = 0;
  cr_assert_geq(n, QUESTIONS / 2);
  cr_assert_geq(distinct(q, n, offsetof(struct dnsd_question, port)), n - 6);
  cr_assert_geq(distinct(q, n, offsetof(struct dnsd_question, id)), n - 4);
  for (unsigned i = 2; i < n; i++)
    steps += (uint16_t)(q[i - 1]->id - q[i - 2]->id) == (uint16_t)(q[i]->id - q[i - 1]->id);
  cr_assert_leq(steps, 3, "ids count up");
}

Test(dns, s9_each_question_has_a_port_and_an_id_of_its_own) {
  ask_many(false);
  unforeseeable();
}

Test(dns, s9_questions_at_once_share_no_port) {
  ask_many(true);
  unforeseeable();
}

Test(dns, s9_letters_are_of_random_case) {
  const struct dnsd_question *q[DNSD_SEEN];
  unsigned upper = 0, all = 0, same = 0;
  ask_many(false);
  unsigned n = each_once(q);
  for (unsigned i = 0; i < n; i++) {
    for (const char *p = q[i]->name; *p; p++) {
      upper += isupper((unsigned char)*p) != 0;
      all += isalpha((unsigned char)*p) != 0;
    }
    same += i && strcmp(q[i]->name + 3, q[0]->name + 3) == 0;
  }
  /* 640 letters: five standard deviations around the half */
  cr_assert(upper * 10 > all * 4 && upper * 10 < all * 6, "%u of %u", upper, all);
  cr_assert_leq(same, 2);
}

/* A server that turns letters, or somebody who guessed all but these: TCP tells. */
Test(dns, s9_answer_with_other_letters_is_asked_for_over_tcp) {
  for (int i = 0; i < 8 && tl_dns_counted(dns)->again == 0; i++) {
    char name[32];
    snprintf(name, sizeof(name), "%dxyz.letters.example", i); /* no such name, but a question */
    struct tl_dns_answer *a = tl_dns_ask_blocking(dns, TL_DNS_A, name, 10000);
    cr_assert(a && a->status == TL_DNS_NONE);
    free(a);
  }
  cr_assert_eq(tl_dns_counted(dns)->again, 1);
  cr_assert(dnsd_question(dnsd_asked() - 1)->tcp);
  finds("letters.example", TL_DNS_FOUND, "192.0.2.3");
}

/* Where such a server has no TCP, the question goes out anew without mixed letters. */
Test(dns, s9_other_letters_and_no_tcp) {
  for (int i = 0; i < 8 && tl_dns_counted(dns)->again == 0; i++) {
    char name[48];
    snprintf(name, sizeof(name), "%dxyz.letters.mute.example", i);
    struct tl_dns_answer *a = tl_dns_ask_blocking(dns, TL_DNS_A, name, 20000);
    cr_assert(a && a->status == TL_DNS_NONE);
    free(a);
  }
  cr_assert_eq(tl_dns_counted(dns)->again, 2);
  for (const char *p = dnsd_question(dnsd_asked() - 1)->name; *p; p++)
    cr_assert_not(isupper((unsigned char)*p));
}

/* It changes the letters of that one, too: it was asked over TCP again, and so on without end. */
Test(dns, s9_other_letters_whatever_is_asked) {
  struct tl_dns_answer *a = tl_dns_ask_blocking(dns, TL_DNS_A, "xyz.shout.mute.example", 10000);
  cr_assert(a, "it is asked without end");
  cr_expect_eq(a->status, TL_DNS_BROKEN);
  free(a);
  cr_expect_eq(tl_dns_counted(dns)->again, 2);
  cr_expect_eq(tl_dns_counted(dns)->refused, 2);
}

Test(dns, s9_same_question_is_never_under_way_twice) {
  struct tl_dns_wait w[3] = {{.fn = fail_fn}, {.fn = fail_fn}, {.fn = fail_fn}};
  static const char *const name[] = {"silent.example", "SILENT.example.", "silent.Example"};
  for (int i = 0; i < 3; i++) cr_assert_eq(tl_dns_ask(dns, TL_DNS_A, name[i], &w[i]), 0);
  cr_assert_eq(tl_dns_counted(dns)->asked, 1);
  for (int i = 0; i < 3; i++) tl_dns_forget(&w[i]);
}

/* ---- EDNS0 ---- */

Test(dns, s9_edns_where_the_server_knows_it) {
  finds("plain.example", TL_DNS_FOUND, "192.0.2.1");
  cr_assert_eq(dnsd_question(0)->edns, 1232);
  finds("old.example", TL_DNS_FOUND, "192.0.2.4");
  cr_assert_eq(dnsd_question(dnsd_asked() - 1)->edns, 0);
  finds("plain2.example", TL_DNS_NONE, "");
  cr_assert_eq(dnsd_question(dnsd_asked() - 1)->edns, 1232, "the next question has it again");
}

/* ---- names ---- */

Test(dns, s9_what_is_no_name_is_not_asked) {
  static const char *const name[] = {"",
                                     ".",
                                     "a..example",
                                     ".example",
                                     "a b.example",
                                     "a\\.example",
                                     "a\001.example",
                                     "\303\244.example",
                                     "a/b.example"};
  char longer[300], label[80];
  struct tl_dns_wait w = {.fn = fail_fn};
  for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
    cr_assert_eq(tl_dns_ask(dns, TL_DNS_A, name[i], &w), TL_EINVAL, "%s", name[i]);
  memset(label, 'a', 64), memcpy(label + 64, ".example", 9);
  cr_assert_eq(tl_dns_ask(dns, TL_DNS_A, label, &w), TL_EINVAL);
  for (size_t i = 0; i < 254; i++) longer[i] = i % 50 == 49 ? '.' : 'a';
  longer[254] = '\0';
  cr_assert_eq(tl_dns_ask(dns, TL_DNS_A, longer, &w), TL_EINVAL);
  cr_assert_eq(dnsd_asked(), 0);
}

Test(dns, s9_resolv_conf_is_read_again) {
  finds("plain.example", TL_DNS_FOUND, "192.0.2.1");
  FILE *f = fopen(dnsd_file("resolv.conf"), "r+");
  char text[128];
  size_t n = fread(text, 1, sizeof(text), f);
  fclose(f);
  cr_assert_eq(remove(dnsd_file("resolv.conf")), 0);
  f = fopen(dnsd_file("resolv.conf"), "w");
  fputs("options edns0\nnameserver 127.0.0.1\nport 9\n", f); /* nobody is there */
  fclose(f);
  finds("one.example", TL_DNS_FAILED, "");
  f = fopen(dnsd_file("resolv.conf"), "w");
  fwrite(text, 1, n, f);
  fclose(f);
  finds("big.example", TL_DNS_FOUND, "203.0.113.1 192.0.2.1 192.0.2.2");
}

static struct tl_dns_wait open_wait[20000];
static size_t n_open_wait;

/* Asks for names whose servers are silent until there is no room for CLIENT; how many. FORGET: as
 * look-ups that gave way. */
static size_t fill_questions(struct tl_dns_client client, bool forget) {
  char name[32];
  const size_t before = n_open_wait;
  for (int rc = 0; rc == 0;) {
    cr_assert_lt(n_open_wait, sizeof(open_wait) / sizeof(*open_wait));
    struct tl_dns_wait *w = &open_wait[n_open_wait];
    snprintf(name, sizeof(name), "silent%zu.example", n_open_wait);
    *w = (struct tl_dns_wait){.fn = fail_fn, .client = client};
    rc = tl_dns_ask(dns, TL_DNS_A, name, w);
    if (rc) {
      cr_assert_eq(rc, TL_ELIMIT);
      break;
    }
    if (forget) tl_dns_forget(w);
    n_open_wait++;
  }
  return n_open_wait - before;
}

/* Open questions, and what they hold, end with the client. */
Test(dns, s9_open_questions_are_bounded) {
  cr_assert_eq(fill_questions((struct tl_dns_client){.own = true}, false), 16384);
}

Test(dns, s9_strangers_leave_questions_to_others) {
  cr_expect_eq(fill_questions((struct tl_dns_client){.stranger = 1}, true), 8192, "half");
  cr_expect_eq(fill_questions((struct tl_dns_client){.stranger = 1}, true), 0);
  cr_expect_eq(fill_questions((struct tl_dns_client){.stranger = 2}, true), 2048, "an eighth");
  cr_expect_eq(fill_questions((struct tl_dns_client){.stranger = TL_DNS_SHARES}, true), 2048);
  cr_expect_eq(fill_questions((struct tl_dns_client){.stranger = 3}, true), 0, "three quarters");
  cr_expect_eq(fill_questions((struct tl_dns_client){0}, true), 2048, "the trusted");
  cr_expect_eq(fill_questions((struct tl_dns_client){.own = true}, true), 2048, "what is ours");
}

/* ---- look-ups ---- */

static struct tl_runtime rt;
static struct tl_thread worker;

static void drop_answer(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind answer_kind = {"answer", NULL, drop_answer};

static void ask_resolver(const char *host, uint16_t port, bool any) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  r->reply = (struct tl_mail_address){&worker.mailbox, &answer_kind};
  r->transport = TL_TLS;
  r->any_transport = any;
  r->port = port;
  snprintf(r->host, sizeof(r->host), "%s", host);
  cr_assert_eq(tl_resolve_ask(&rt.resolver, r), 0);
}

static void start_resolver(void) {
  tl_dns_files(dnsd_file("hosts"), dnsd_file("resolv.conf"));
  cr_assert_eq(tl_mailbox_init(&worker.mailbox, 64), 0);
  rt.n_worker = 1;
  rt.worker[0] = &worker;
  cr_assert_eq(tl_resolver_start(&rt.resolver, &rt.resolver_counters), 0);
}

static void stop_resolver(void) {
  tl_resolver_stop();
  tl_mailbox_destroy(&worker.mailbox);
}

Test(dns, s9_cut_off_services_lead_to_the_right_address) {
  struct pollfd p = {.events = POLLIN};
  struct tl_mail *mail = NULL;
  char text[TL_ADDR_STRLEN];
  start_resolver();
  p.fd = worker.mailbox.efd;
  ask_resolver("bigsrv.example", 0, false);
  while (!(mail = tl_mailbox_take(&worker.mailbox))) {
    poll(&p, 1, 1000);
    tl_mailbox_rearm(&worker.mailbox);
  }
  struct tl_resolve *r = (struct tl_resolve *)mail;
  cr_assert_eq(r->rc, 0);
  cr_assert_eq(r->found.n, 2);
  cr_assert_str_eq(tl_addr_format(&r->found.addr[0], text), "192.0.2.1:5061");
  free(r);
  stop_resolver();
}

/* No usable answer about services does not say that there are none (RFC 3263 4.2). */
Test(dns, s9_unusable_answers_about_services_lead_nowhere) {
  static const char *const host[] = {"cut.only-srv.example", "refused.only-srv.example",
                                     "cut.only-naptr.example"};
  struct pollfd p = {.events = POLLIN};
  start_resolver();
  p.fd = worker.mailbox.efd;
  for (size_t i = 0; i < sizeof(host) / sizeof(host[0]); i++) {
    struct tl_mail *mail;
    ask_resolver(host[i], 0, true);
    while (!(mail = tl_mailbox_take(&worker.mailbox))) {
      poll(&p, 1, 1000);
      tl_mailbox_rearm(&worker.mailbox);
    }
    struct tl_resolve *r = (struct tl_resolve *)mail;
    cr_assert_eq(r->found.n, 0, "%s", host[i]);
    cr_assert_eq(r->rc, TL_EIO, "%s", host[i]);
    cr_assert(r->found.unsure);
    free(r);
  }
  stop_resolver();
}

Test(dns, s9_stop_does_not_wait_for_answers) {
  start_resolver();
  ask_resolver("silent.example", 0, false);
  ask_resolver("silent.example", 5061, false);
  while (dnsd_asked() == 0) poll(NULL, 0, 1);
  uint64_t before = tl_now_ms();
  stop_resolver();
  cr_assert_leq(tl_now_ms() - before, 4500, "a question takes five seconds");
}
