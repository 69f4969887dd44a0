/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that others bring about: limited by source and kind and in total, and never lost uncounted.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tieline/log_limit.h"

static struct tl_log_limit l;

static struct tl_addr at(const char *host) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(host), 5060, &a), 0, "%s", host);
  return a;
}

static unsigned take(unsigned n, const char *host, const char *sentence, const char *cause,
                     uint64_t now) {
  unsigned ok = 0;
  struct tl_addr a;
  if (host) a = at(host);
  for (unsigned i = 0; i < n; i++)
    ok += tl_log_limit_take(&l, host ? &a : NULL, sentence, cause, now);
  return ok;
}

Test(log_limit, s15_a_source_has_so_many_lines_of_a_kind_in_a_second) {
  cr_assert_eq(take(5000, "192.0.2.1", "One.", "a", 1000), TL_LOG_PER_SOURCE);
  cr_assert_eq(take(5000, "192.0.2.1", "One.", "a", 1000), 0);
  cr_assert_eq(take(5000, "192.0.2.1", "One.", "a", 1100), TL_LOG_PER_SOURCE / 10);
  cr_assert_eq(take(5000, "192.0.2.1", "One.", "a", 1000000), TL_LOG_PER_SOURCE,
               "no more for waiting");
  cr_assert_eq(l.held_total, 4 * 5000 - 2 * TL_LOG_PER_SOURCE - TL_LOG_PER_SOURCE / 10);
}

Test(log_limit, s15_what_is_one_source_and_one_kind) {
  static const struct {
    const char *host, *sentence, *cause;
    bool own;
  } row[] = {
      {"192.0.2.1", "One.", "a", false},      {"::ffff:192.0.2.1", "One.", "a", false},
      {"192.0.2.2", "One.", "a", true},       {"192.0.2.1", "Two.", "a", true},
      {"192.0.2.1", "One.", "b", true},       {"192.0.2.1", "One.", NULL, true},
      {"192.0.2.1", "One.", "", false},       {NULL, "One.", "a", true},
      {"2001:db8::1", "One.", "a", true},     {"2001:db8::2:ffff", "One.", "a", false},
      {"2001:db8:0:1::1", "One.", "a", true},
  };
  take(TL_LOG_PER_SOURCE, "192.0.2.1", "One.", "a", 1000);
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
    cr_assert_eq(take(TL_LOG_PER_SOURCE, row[i].host, row[i].sentence, row[i].cause, 1000),
                 row[i].own ? TL_LOG_PER_SOURCE : 0, "row %zu", i);
}

Test(log_limit, s15_many_sources_share_the_lines_of_the_process) {
  unsigned ok = 0;
  char host[32];
  for (unsigned i = 0; i < 20000; i++) {
    snprintf(host, sizeof(host), "2001:db8:%x:%x::1", i >> 8, i & 255);
    ok += take(1, host, "One.", NULL, 1000);
  }
  cr_assert_eq(ok, TL_LOG_PER_PROCESS);
  cr_assert_eq(take(1, "192.0.2.1", "One.", NULL, 2000), 1, "a second later there are more");
}

Test(log_limit, s15_every_line_held_back_is_told_of) {
  struct tl_log_limit_slot s;
  uint64_t told = 0;
  char host[32];
  for (unsigned i = 0; i < 5000; i++) {
    snprintf(host, sizeof(host), "10.0.%u.%u", i >> 8, i & 255);
    take(3, host, "One.", "a", 1000);
  }
  take(50, "192.0.2.1", "Two.", "b", 1001);
  bool two = false;
  while (tl_log_limit_next_held(&l, &s)) {
    told += s.held;
    if (s.sentence && strcmp(s.sentence, "Two.") == 0) {
      cr_assert_eq(s.held, 50);
      cr_assert_str_eq(s.cause, "b");
      two = true;
    }
  }
  cr_assert(two);
  cr_assert_eq(told, l.held_total);
  cr_assert_eq(told, 5000 * 3 - TL_LOG_PER_PROCESS + 50);
  cr_assert(!l.unreported);
  cr_assert(!tl_log_limit_next_held(&l, &s));
}

/* The writer tells of what was held back though no line follows. */
Test(log_limit, s15_the_log_says_how_many_lines_are_missing) {
  int fd[2];
  cr_assert_eq(pipe(fd), 0);
  dup2(fd[1], STDERR_FILENO);
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 1024), 0);
  struct tl_addr a = at("192.0.2.1");
  for (unsigned i = 0; i < 200; i++) TL_LOG_FROM(&a, "x", TL_LOG_WARN, "Bad.", TL_FI("i", i));
  const uint64_t held = tl_log_held();
  cr_assert_geq(held, 100);
  static char text[65536];
  uint64_t told = 0;
  for (size_t n = 0; told < held;) {
    const ssize_t r = read(fd[0], text + n, sizeof(text) - 1 - n);
    cr_assert_gt(r, 0, "%s", text);
    n += (size_t)r;
    text[n] = 0;
    if (text[n - 1] != '\n') continue;
    told = 0;
    for (const char *p = text; (p = strstr(p, "More lines of the same kind were held back."));
         p++) {
      cr_assert_not_null(strstr(p, "source=192.0.2.1 kind=Bad. cause=x count="), "%s", p);
      told += strtoull(strstr(p, "count=") + 6, NULL, 10);
    }
  }
  cr_assert_eq(told, held);
  tl_log_stop();
}
