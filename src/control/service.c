/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts, turns and stops the services of the control thread in the order of
 * their list. One timer does for all turns: there are few, and what one of them
 * leaves for the next is seen by it in the same round.
 */
#include "control/service.h"

#include "control/control_internal.h"

/* Called when an event source other than itself was dispatched, before the loop sleeps. */
static int on_after(sd_event_source *source, void *arg) {
  struct tl_control *c = arg;
  struct tl_control_services *s = &c->services;
  const uint64_t now_ms = tl_now_ms();
  uint64_t due_ms = TL_TIME_NEVER;
  (void)source;
  for (size_t i = 0; i < s->n; i++)
    if (s->list[i]->turn) tl_time_sooner(&due_ms, s->list[i]->turn(c, now_ms));
  if (due_ms != TL_TIME_NEVER) sd_event_source_set_time(s->timer, due_ms * 1000);
  sd_event_source_set_enabled(s->timer, due_ms == TL_TIME_NEVER ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
  return 0;
}

/* The turns follow in on_after. */
static int on_time(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source, (void)usec, (void)arg;
  return 0;
}

static int start_all(struct tl_control *c) {
  struct tl_control_services *s = &c->services;
  for (; s->n_started < s->n; s->n_started++) {
    const struct tl_control_service *one = s->list[s->n_started];
    const int rc = one->start ? one->start(c) : 0;
    if (rc) return rc;
  }
  return 0;
}

int tl_services_start(struct tl_control *c, const struct tl_control_service *const *list,
                      size_t n) {
  struct tl_control_services *s = &c->services;
  *s = (struct tl_control_services){.list = list, .n = n};
  int rc = TL_ENOMEM;
  /* The first turns come with the first round of the loop. */
  if (sd_event_add_time(c->event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_time, c) >= 0 &&
      sd_event_add_post(c->event, &s->after, on_after, c) >= 0)
    rc = start_all(c);
  if (rc) tl_services_stop(c);
  return rc;
}

int tl_services_run(struct tl_control *c) {
  const struct tl_control_services *s = &c->services;
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < s->n; i++)
    if (s->list[i]->run) rc = s->list[i]->run(c);
  return rc;
}

void tl_services_stop(struct tl_control *c) {
  struct tl_control_services *s = &c->services;
  while (s->n_started > 0) {
    const struct tl_control_service *one = s->list[--s->n_started];
    if (one->stop) one->stop(c);
  }
  s->timer = sd_event_source_unref(s->timer);
  s->after = sd_event_source_unref(s->after);
}
