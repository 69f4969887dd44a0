/* SPDX-License-Identifier: Apache-2.0 */
/* The timing wheel against what a list of due times says. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/wheel.h"

struct probe {
  struct tl_timer t;
  uint64_t due_ms; /* earliest, in true time */
  unsigned fired;
};

struct fixture {
  struct tl_wheel w;
  uint64_t now_ms;
  unsigned early, late, fired;
};

static void fire(struct tl_timer *t, void *arg) {
  struct probe *p = (struct probe *)t;
  struct fixture *f = arg;
  uint64_t at = f->w.now * TL_WHEEL_TICK_MS; /* true time is this at the least */
  p->fired++;
  f->fired++;
  f->early += at < p->due_ms;
  f->late += at > p->due_ms + 2 * TL_WHEEL_TICK_MS;
}

static void start(struct fixture *f, struct probe *p, uint32_t delay_ms) {
  p->t.fn = fire;
  p->due_ms = f->now_ms + delay_ms;
  tl_timer_start(&f->w, &p->t, delay_ms);
}

static void go_to(struct fixture *f, uint64_t ms) {
  f->now_ms = ms;
  tl_wheel_advance(&f->w, ms, f);
}

static void begin(struct fixture *f, uint64_t ms) {
  memset(f, 0, sizeof(*f));
  f->now_ms = ms;
  tl_wheel_init(&f->w, ms);
}

Test(base_wheel, no_delay_is_cut_short_wherever_a_tick_begins) {
  struct fixture f;
  for (uint64_t from = 1000; from < 1004; from++)
    for (uint32_t delay = 0; delay < 40; delay++) {
      struct probe p = {.fired = 0};
      begin(&f, from);
      start(&f, &p, delay);
      for (uint64_t ms = from; ms < from + delay + 12; ms++) go_to(&f, ms);
      cr_expect_eq(p.fired, 1);
      cr_expect(!f.early && !f.late, "delay %u from %lu", delay, (unsigned long)from);
    }
}

Test(base_wheel, delays_of_every_level_fire_in_time) {
  static const uint32_t delay[] = {0,       4,        1019,     1020,     1024,
                                   1028,    262139,   262140,   262144,   262148,
                                   1000000, 67108860, 67108864, 67108868, 80000000};
  struct fixture f;
  for (uint64_t from = 0; from < 5000; from += 1237) {
    struct probe p[sizeof(delay) / sizeof(delay[0])] = {0};
    begin(&f, from);
    for (size_t i = 0; i < sizeof(delay) / sizeof(delay[0]); i++) start(&f, &p[i], delay[i]);
    go_to(&f, from + 80000100);
    cr_expect_eq(f.fired, sizeof(delay) / sizeof(delay[0]));
    cr_expect(!f.early && !f.late);
    cr_expect_eq(f.w.running, 0);
  }
}

Test(base_wheel, random_starts_restarts_and_stops_agree_with_the_list) {
  static struct probe p[500];
  static bool stopped[500];
  struct fixture f;
  begin(&f, 123457);
  srand(7);
  for (int round = 0; round < 20000; round++) {
    int i = rand() % 500, what = rand() % 8;
    if (what == 0) {
      tl_timer_stop(&f.w, &p[i].t);
      stopped[i] = true;
    } else if (what < 4) {
      start(&f, &p[i], (uint32_t)(rand() % (what == 1 ? 300000 : 3000)));
      stopped[i] = false;
    } else {
      go_to(&f, f.now_ms + (uint64_t)(rand() % 40));
    }
    for (int k = 0; k < 500; k += 97)
      cr_assert(stopped[k] ? !tl_timer_running(&p[k].t) : true, "a stopped timer runs");
  }
  cr_expect(f.fired > 1000 && !f.early && !f.late, "%u early, %u late", f.early, f.late);
  go_to(&f, f.now_ms + 400000);
  for (int i = 0; i < 500; i++) cr_expect(!tl_timer_running(&p[i].t));
  cr_expect_eq(f.w.running, 0);
}

struct chain {
  struct tl_timer t;
  struct tl_timer *victim;
  unsigned n;
};

static void again_and_stop(struct tl_timer *t, void *arg) {
  struct chain *c = (struct chain *)t;
  struct fixture *f = arg;
  c->n++;
  if (c->victim) tl_timer_stop(&f->w, c->victim);
  tl_timer_start(&f->w, t, 0);
}

/* A timer that starts itself anew without delay must let time go on. */
Test(base_wheel, callbacks_may_start_themselves_and_stop_others) {
  struct fixture f;
  begin(&f, 0);
  struct probe victim = {.fired = 0};
  struct chain c = {.t = {.fn = again_and_stop}, .victim = &victim.t};
  start(&f, &victim, 8);
  tl_timer_start(&f.w, &c.t, 4);
  go_to(&f, 400);
  cr_expect_eq(victim.fired, 0);
  cr_expect(c.n > 50 && c.n <= 100, "%u", c.n);
  tl_timer_stop(&f.w, &c.t);
  tl_timer_stop(&f.w, &c.t);
  cr_expect_eq(f.w.running, 0);
}

Test(base_wheel, sleeping_as_told_never_misses_a_timer) {
  struct fixture f;
  srand(3);
  begin(&f, 1000);
  for (int round = 0; round < 300; round++) {
    struct probe p = {.fired = 0};
    start(&f, &p, (uint32_t)(rand() % 5000));
    for (int turns = 0; !p.fired; turns++) {
      uint32_t ms = tl_wheel_next_ms(&f.w, 1000);
      cr_assert(ms >= 1 && ms <= 1024, "%u", ms);
      cr_assert_lt(turns, 20);
      go_to(&f, f.now_ms + ms);
      cr_assert(f.now_ms <= p.due_ms + 3 * TL_WHEEL_TICK_MS, "overslept");
    }
  }
  cr_expect_eq(f.early, 0);
  cr_expect_eq(tl_wheel_next_ms(&f.w, 777), 777);
}
