/* SPDX-License-Identifier: Apache-2.0 */
/* When the names of peers are looked up, with the test as the resolver and its clock. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "../support/dnsd.h"
#include "control/control_internal.h"
#include "test_conf_util.h"
#include "tieline/dns.h"
#include "tieline/rcu.h"
#include "tieline/resolve.h"

#define PEERS 100
#define ASKED_AT_ONCE 64

static struct tl_runtime rt;
static struct tl_control control;
static struct conf_try last; /* load of the configuration */

/* N peers with names, which the hosts file has. */
static void load(unsigned n, const char *name) {
  static char text[PEERS * 100];
  size_t at = (size_t)sprintf(text, "dns_ttl_min = 10s\nlisten \"udp:127.0.0.1:15060\" {}\n");
  for (unsigned i = 0; i < n; i++)
    at += (size_t)sprintf(text + at, "peer \"p%u\" { uri = \"sip:%s%u.example:5060\" }\n", i, name,
                          i);
  sprintf(text + at, "route \"r\" { peers = \"p0\" }\n");
  struct conf_try t = conf_try(text, last.conf);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  struct tl_view *v = tl_view_copy(conf_view(t.conf));
  cr_assert_not_null(v);
  tl_names_adopt(&control, v->peers);
  tl_runtime_publish(&rt, v);
  conf_try_free(&last);
  last = t;
}

static void begin(void) {
  static char hosts[2 * PEERS * 40];
  size_t at = 0;
  for (unsigned i = 0; i < PEERS; i++)
    at += (size_t)sprintf(hosts + at, "192.0.2.1 a%u.example b%u.example\n", i, i);
  tl_rcu_thread_begin();
  dnsd_files(hosts);
  tl_dns_files(dnsd_file("hosts"), dnsd_file("resolv.conf"));
  conf_setup();
  cr_assert_eq(tl_mailbox_init(&rt.resolver, 1000), 0);
  cr_assert_eq(tl_mailbox_init(&rt.control.mailbox, 1000), 0);
  control = (struct tl_control){.rt = &rt};
}

static void end(void) {
  tl_names_service.stop(&control);
  tl_mailbox_destroy(&rt.resolver);
  tl_mailbox_destroy(&rt.control.mailbox);
  tl_view_unref(rt.view);
  conf_try_free(&last);
  conf_teardown();
  dnsd_files_gone();
  tl_rcu_thread_end();
}

TestSuite(peer_names, .init = begin, .fini = end, .timeout = 60);

static uint64_t turn(uint64_t now_ms) { return tl_names_service.turn(&control, now_ms); }

static struct tl_resolve *next_question(void) {
  tl_mailbox_rearm(&rt.resolver);
  return (struct tl_resolve *)tl_mailbox_take(&rt.resolver);
}

static void answer_with(struct tl_resolve *r, const char *address, uint32_t ttl_s) {
  cr_assert_not_null(r);
  r->rc = ttl_s ? TL_OK : TL_ENOTFOUND;
  r->found.n = ttl_s ? 1 : 0;
  r->found.ttl_s = ttl_s;
  tl_addr_parse(tl_str_c(address), 5060, &r->found.addr[0]);
  cr_assert_eq(tl_mail_send(&r->reply, &r->mail), 0);
  tl_mailbox_rearm(&rt.control.mailbox);
  tl_mailbox_deliver(&rt.control.mailbox, &control, UINT32_MAX);
}

static void answer(struct tl_resolve *r, uint32_t ttl_s) { answer_with(r, "192.0.2.1", ttl_s); }

/* All that is asked from now on is answered; how much that was. */
static unsigned answer_all(uint64_t now_ms, uint32_t ttl_s) {
  unsigned n = 0;
  for (struct tl_resolve *r; turn(now_ms), (r = next_question()); n++) answer(r, ttl_s);
  return n;
}

Test(peer_names, each_is_asked_in_its_turn_and_so_many_at_once) {
  load(PEERS, "a");
  cr_expect_eq(turn(tl_now_ms()), TL_TIME_NEVER, "an answer makes room");
  cr_expect_eq(tl_mailbox_depth(&rt.resolver), ASKED_AT_ONCE);
  struct tl_resolve *first = next_question();
  answer(first, 3600);
  turn(tl_now_ms());
  cr_expect_eq(tl_mailbox_depth(&rt.resolver), ASKED_AT_ONCE);
  cr_expect_eq(answer_all(tl_now_ms(), 3600), PEERS - 1);
  uint64_t now_ms = tl_now_ms(), due_ms = turn(now_ms);
  cr_expect(due_ms > now_ms + 3500000 && due_ms <= now_ms + 3600000);
  cr_expect_eq(answer_all(due_ms - 1, 3600), 0, "before its time");
  turn(due_ms + 5000);
  cr_expect_eq(tl_mailbox_depth(&rt.resolver), ASKED_AT_ONCE);
  for (unsigned i = 0; i < ASKED_AT_ONCE; i++) answer(next_question(), 0);
  now_ms = tl_now_ms();
  due_ms = turn(now_ms); /* dns_ttl_min after a failure */
  cr_expect(due_ms > now_ms + 5000 && due_ms <= now_ms + 10000);
}

/* What is asked again by a reload meanwhile is asked once. */
Test(peer_names, a_reload_asks_all_but_those_that_are_being_asked) {
  load(3, "a");
  turn(tl_now_ms());
  struct tl_resolve *first = next_question(), *second = next_question();
  answer(next_question(), 3600);
  load(3, "a");
  turn(tl_now_ms());
  cr_expect_eq(tl_mailbox_depth(&rt.resolver), 1);
  answer(next_question(), 3600);
  load(3, "b"); /* other names: those questions are nobody's any more */
  answer(first, 3600);
  answer(second, 3600);
  cr_expect_eq(answer_all(tl_now_ms(), 3600), 3);
  cr_expect_eq(control.names.asking, 0);
}

/* Its answer came while it was out, and it was thought to be under way ever after. */
Test(peer_names, a_peer_that_comes_back_is_asked_again) {
  load(2, "a");
  turn(tl_now_ms());
  struct tl_resolve *q[2] = {next_question(), next_question()};
  struct tl_peer_state *kept = tl_peer_state_ref(rt.view->peers->peer[1].state); /* by calls */
  load(1, "a");
  answer(q[0], 3600);
  answer(q[1], 3600);
  cr_expect_eq(answer_all(tl_now_ms(), 3600), 0);
  load(2, "a");
  cr_expect_eq(rt.view->peers->peer[1].state, kept);
  cr_expect_eq(answer_all(tl_now_ms(), 3600), 2);
  tl_peer_state_unref(kept);
}

static uint64_t published(void) { return atomic_load(&rt.published); }

/* How many peers of the published table have another address than the hosts file says. */
static unsigned n_moved(void) {
  struct tl_addr a;
  unsigned n = 0;
  tl_addr_parse(TL_STR("192.0.2.2"), 5060, &a);
  for (size_t i = 0; i < rt.view->peers->n; i++)
    n += tl_addr_eq(&tl_view_addrs(rt.view, &rt.view->peers->peer[i])->at[0].addr, &a);
  return n;
}

/* How many have not the addresses there that their last answers gave. */
static unsigned n_lacking(void) {
  unsigned n = 0;
  for (size_t i = 0; i < rt.view->peers->n; i++) {
    const struct tl_conf_peer *peer = &rt.view->peers->peer[i];
    n += !tl_addr_list_equal(tl_view_addrs(rt.view, peer), peer->state->addrs.current);
  }
  return n;
}

/* A table for each answer was most of what 10,000 peers cost. */
Test(peer_names, changes_that_follow_each_other_share_a_table) {
  load(PEERS, "a");
  uint64_t now_ms = tl_now_ms(), before;
  turn(now_ms);
  turn(now_ms += 1000); /* what loading has found is in a table */
  before = published();
  answer_with(next_question(), "192.0.2.2", 3600);
  turn(now_ms);
  cr_expect_eq(published(), before + 1, "the first at once");
  cr_expect_eq(n_moved(), 1);
  for (int i = 0; i < 3; i++) {
    answer_with(next_question(), "192.0.2.2", 3600);
    uint64_t due_ms = turn(now_ms);
    cr_expect(due_ms > now_ms && due_ms <= now_ms + PEERS / 10, "the others wait");
  }
  cr_expect_eq(published(), before + 1);
  turn(now_ms += PEERS / 10);
  cr_expect_eq(published(), before + 2);
  cr_expect_eq(n_moved(), 4, "the last state counts");
  turn(now_ms += 1000);
  cr_expect_eq(published(), before + 2, "nothing has changed since");
  answer_with(next_question(), "192.0.2.2", 3600);
  turn(now_ms);
  cr_expect_eq(published(), before + 3, "the first after a pause at once");
}

Test(peer_names, a_change_that_waits_is_in_force_after_a_reload) {
  load(PEERS, "a");
  uint64_t now_ms = tl_now_ms();
  turn(now_ms);
  turn(now_ms += 1000);
  for (int i = 0; i < 2; i++) {
    answer_with(next_question(), "192.0.2.2", 3600);
    turn(now_ms);
  }
  cr_expect_eq(n_lacking(), 1);
  load(PEERS, "a");
  turn(now_ms);
  cr_expect_eq(n_lacking(), 0);
}

Test(peer_names, the_soonest_comes_first) {
  struct tl_due_heap h = {.n = 0};
  uint64_t before = 0;
  cr_expect_eq(tl_due_next_ms(&h), UINT64_MAX);
  cr_assert_eq(tl_due_reserve(&h, 1000), 0);
  for (uint64_t i = 0; i < 1000; i++) tl_due_push(&h, i * 7919 % 997, i);
  for (uint64_t i = 0; i < 1000; i++) {
    cr_assert_geq(tl_due_next_ms(&h), before);
    struct tl_due d = tl_due_pop(&h);
    cr_assert_eq(d.at_ms, d.what * 7919 % 997);
    before = d.at_ms;
    if (i < 500) tl_due_push(&h, (d.what + 1000) * 7919 % 997, d.what + 1000);
    if (i < 500) before = tl_due_next_ms(&h) < before ? tl_due_next_ms(&h) : before;
  }
  cr_expect_eq(h.n, 500);
  tl_due_free(&h);
}
