/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk by itself: what it asks, in what order, and that it finds the same whether its driver
 * answers at once, later, or last question first.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/err.h"
#include "tieline/walk.h"

/* What a name has; TYPE 0 ends the list. */
struct known {
  const char *name;
  uint16_t type, priority, port;
  const char *value; /* address, target or, of NAPTR, the replacement; NULL: no answer */
};

static const struct known *zone;
static enum { AT_ONCE, LATER, BACKWARDS } mode;
static struct {
  struct tl_walk_query *q;
  char name[256];
} waiting[64];
static size_t n_waiting, n_asked;
static struct tl_walk walk;

static void fill(struct tl_dns_record *r, const struct known *z) {
  r->priority = z->priority;
  r->port = z->port;
  if (z->type == TL_DNS_A || z->type == TL_DNS_AAAA) {
    cr_assert_eq(tl_addr_parse(tl_str_c(z->value), 0, &r->addr), 0);
    return;
  }
  r->order = 1;
  r->preference = z->priority;
  strcpy(r->flags, "s");
  strcpy(r->service, z->port ? "SIPS+D2T" : "SIP+D2U");
  snprintf(r->name, sizeof(r->name), "%s", z->value);
}

static void answer(struct tl_walk_query *q, const char *name) {
  struct tl_dns_answer *a = calloc(1, sizeof(*a) + 8 * sizeof(a->at[0]));
  a->status = TL_DNS_NONE;
  a->ttl_s = 60;
  for (const struct known *z = zone; z->type; z++) {
    if (z->type != q->type || strcmp(z->name, name) != 0) continue;
    a->status = z->value ? TL_DNS_FOUND : TL_DNS_FAILED;
    if (z->value) fill(&a->at[a->n++], z);
  }
  tl_walk_answer(q, a);
  free(a);
}

static void ask(struct tl_walk_query *q, const char *name) {
  n_asked++;
  if (mode == AT_ONCE) {
    answer(q, name);
    return;
  }
  waiting[n_waiting].q = q;
  snprintf(waiting[n_waiting++].name, sizeof(waiting->name), "%s", name);
}

static void answer_all(void) {
  while (n_waiting) {
    const size_t at = mode == BACKWARDS ? n_waiting - 1 : 0;
    char name[256];
    struct tl_walk_query *q = waiting[at].q;
    memcpy(name, waiting[at].name, sizeof(name));
    memmove(&waiting[at], &waiting[at + 1], (n_waiting - at - 1) * sizeof(*waiting));
    n_waiting--;
    answer(q, name);
  }
  cr_assert(tl_walk_is_over(&walk));
}

static const char *text_of(const struct tl_walk_found *f) {
  static char text[512];
  text[0] = '\0';
  for (size_t i = 0; i < f->n; i++) {
    char one[TL_ADDR_STRLEN];
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s:%s", i ? " " : "",
             tl_transport_param((enum tl_transport)f->via[i]), tl_addr_format(&f->addr[i], one));
  }
  return text;
}

static void leads_to(const struct tl_walk_wanted *w, int rc, const char *want) {
  struct tl_walk_found found;
  for (mode = AT_ONCE; mode <= BACKWARDS; mode++) {
    tl_walk_begin(&walk, w, ask);
    answer_all();
    cr_expect_eq(tl_walk_result(&walk, &found), rc);
    cr_expect_str_eq(text_of(&found), want, "mode %d: %s", mode, text_of(&found));
  }
}

Test(walk, services_hosts_and_addresses_come_out_in_their_order) {
  static const struct known here[] = {{"x.example", TL_DNS_NAPTR, 20, 0, "_sip._udp.x.example"},
                                      {"x.example", TL_DNS_NAPTR, 10, 1, "_sips._tcp.x.example"},
                                      {"_sips._tcp.x.example", TL_DNS_SRV, 2, 5072, "b.example"},
                                      {"_sips._tcp.x.example", TL_DNS_SRV, 1, 5071, "a.example"},
                                      {"_sip._udp.x.example", TL_DNS_SRV, 1, 5073, "a.example"},
                                      {"a.example", TL_DNS_A, 0, 0, "192.0.2.1"},
                                      {"b.example", TL_DNS_A, 0, 0, "192.0.2.2"},
                                      {"x.example", TL_DNS_A, 0, 0, "192.0.2.99"},
                                      {0}};
  zone = here;
  const struct tl_walk_wanted any = {.host = "x.example", .transport = TL_UDP, .any_transport = 1};
  leads_to(&any, 0, "tls:192.0.2.1:5071 tls:192.0.2.2:5072 udp:192.0.2.1:5073");
  const struct tl_walk_wanted port = {.host = "x.example", .transport = TL_TCP, .port = 7000};
  n_asked = 0;
  leads_to(&port, 0, "tcp:192.0.2.99:7000");
  cr_expect_eq(n_asked, 3 * 2, "A and AAAA alone");
}

Test(walk, without_services_the_name_itself_has_the_addresses) {
  static const struct known here[] = {{"x.example", TL_DNS_A, 0, 0, "192.0.2.1"}, {0}};
  zone = here;
  const struct tl_walk_wanted w = {.host = "x.example", .transport = TL_TLS};
  leads_to(&w, 0, "tls:192.0.2.1:5061");
  const struct tl_walk_wanted plain = {.host = "x.example", .transport = TL_UDP, .plain = true};
  leads_to(&plain, 0, "udp:192.0.2.1:5060");
}

Test(walk, silence_about_services_is_no_proof_that_there_are_none) {
  static const struct known here[] = {{"_sip._tcp.x.example", TL_DNS_SRV, 0, 0, NULL},
                                      {"_sips._tcp.y.example", TL_DNS_SRV, 0, 0, "."},
                                      {"x.example", TL_DNS_A, 0, 0, "192.0.2.1"},
                                      {"y.example", TL_DNS_A, 0, 0, "192.0.2.2"},
                                      {0}};
  zone = here;
  const struct tl_walk_wanted silent = {.host = "x.example", .transport = TL_TCP};
  leads_to(&silent, TL_EIO, "");
  const struct tl_walk_wanted closed = {.host = "y.example", .transport = TL_TLS};
  leads_to(&closed, TL_ENOTFOUND, "");
}

static size_t n_forgotten;
static void forget(struct tl_walk_query *q) {
  (void)q;
  n_forgotten++;
}

Test(walk, what_was_found_before_the_end_is_good_but_unsure) {
  static const struct known here[] = {{"_sip._tcp.x.example", TL_DNS_SRV, 1, 5061, "a.example"},
                                      {"a.example", TL_DNS_A, 0, 0, "192.0.2.1"},
                                      {0}};
  const struct tl_walk_wanted w = {.host = "x.example", .transport = TL_TCP};
  struct tl_walk_found found;
  zone = here;
  mode = LATER;
  tl_walk_begin(&walk, &w, ask);
  cr_assert_eq(n_waiting, 1);
  tl_walk_end(&walk, forget);
  cr_expect_eq(n_forgotten, 1);
  cr_expect_eq(tl_walk_result(&walk, &found), TL_EIO);
  cr_expect(found.unsure, "it may have services");
  n_waiting = n_forgotten = 0;
  tl_walk_begin(&walk, &w, ask);
  n_waiting = 0;
  answer(&walk.srv[0], "_sip._tcp.x.example");
  cr_assert_eq(n_waiting, 2);
  answer(&walk.target[0].a, "a.example");
  tl_walk_end(&walk, forget);
  cr_expect_eq(n_forgotten, 1, "AAAA");
  cr_expect_eq(tl_walk_result(&walk, &found), 0);
  cr_expect_str_eq(text_of(&found), "tcp:192.0.2.1:5061");
  cr_expect_not(found.unsure);
}
