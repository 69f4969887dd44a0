/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing among many TLS domains by the index gives what looking at each of them gives. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/tls_choice.h"

enum { DOMAINS = 60, LIST = 4, SETS = 300, ASKS = 200 };

static unsigned seed = 1;

static unsigned below(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static char *const patterns[] = {"a.example",   "b.example", "c.example", "*.example",
                                 "*.b.example", "x.org",     "*.org",     "example"};
static const char *const asked[] = {"a.example", "B.example.", "c.b.example", "y.example",
                                    "y.org",     "example",    "nobody.net",  ""};
static const char *const places[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"};

struct fake {
  struct tl_tls_domain domain;
  char *name[LIST];
  struct tl_addr addr[LIST];
};

static struct tl_addr any_place(void) {
  struct tl_addr a;
  uint16_t port = (uint16_t)(below(2) ? 0 : 5061 + below(2));
  cr_assert_eq(tl_addr_parse(tl_str_c(places[below(4)]), port, &a), TL_OK);
  return a;
}

static void fake_domain(struct fake *f) {
  struct tl_tls_domain *d = &f->domain;
  memset(f, 0, sizeof(*f));
  unsigned n_name = below(3) ? below(LIST) : 0, n_addr = below(2) ? below(LIST) : 0;
  for (unsigned i = 0; i < n_name; i++) f->name[i] = patterns[below(8)];
  for (unsigned i = 0; i < n_addr; i++) f->addr[i] = any_place();
  /* Only whether there is a context tells the role; it is not used for choosing. */
  if (below(4)) d->server = (struct ssl_ctx_st *)f;
  if (below(4)) d->client = (struct ssl_ctx_st *)f;
  d->match_sip_domain = f->name; /* ends with NULL */
  d->match_ip = f->addr;
  d->n_match_ip = n_addr;
  d->match_any_ip = below(8) == 0;
  d->policy.strict_sni = below(6) == 0;
}

static struct tl_tls_domain *any_of(struct fake *f, unsigned n) {
  return below(2) ? &f[below(n)].domain : NULL;
}

static void ask_both(const struct tl_tls_set *set, struct fake *f) {
  struct tl_tls_set plain = *set;
  struct tl_addr at = any_place();
  struct tl_tls_ask ask = {.server = below(2), .name = tl_str_c(asked[below(8)])};
  enum tl_choice by_index, by_all;
  plain.indexed = false;
  if (below(3)) ask.addr = &at;
  if (ask.server) ask.listener = any_of(f, DOMAINS);
  const struct tl_tls_domain *got = tl_tls_choose(set, &ask, NULL, &by_index);
  cr_assert_eq(got, tl_tls_choose(&plain, &ask, NULL, &by_all), "name %s", ask.name.p);
  cr_assert_eq(by_index, by_all, "name %s", ask.name.p);
}

Test(tls_choose, the_index_changes_nothing) {
  static struct fake fakes[DOMAINS];
  static struct tl_tls_domain *domains[DOMAINS];
  for (unsigned k = 0; k < SETS; k++) {
    struct tl_tls_set set = {.domain = domains, .n = DOMAINS - below(10)};
    for (unsigned i = 0; i < DOMAINS; i++) {
      fake_domain(&fakes[i]);
      domains[i] = &fakes[i].domain;
    }
    set.fallback = any_of(fakes, DOMAINS);
    cr_assert_eq(tl_tls_set_index(&set), TL_OK);
    for (unsigned i = 0; i < ASKS; i++) ask_both(&set, fakes);
    tl_tls_set_clear(&set);
  }
}
