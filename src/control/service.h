/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services of the control thread: parts with work of their own, each a row of
 * control_loop.c. A service adds the descriptors, signals and files that it waits
 * for to the thread's event loop (sd-event, in struct tl_control) itself, and
 * tells by its turn when it must be called again.
 *
 * Ownership: part of struct tl_control; a service owns its event sources.
 * Threads: the control thread's. Errors: TL_ENOMEM, TL_EIO, or what a service's
 * start returns.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct tl_control;

/* Any of the functions may be NULL. */
struct tl_control_service {
  const char *name;
  /* Before threads run and privileges are given up. Undoes what it did where it fails. */
  int (*start)(struct tl_control *c);
  /* When all threads run, just before the loop. */
  int (*run)(struct tl_control *c);
  /* Does what is due; returns when to call again, or TL_TIME_NEVER. Called then, and whenever the
   * loop has handled anything else: a turn may look at what other services and threads have left.
   */
  uint64_t (*turn)(struct tl_control *c, uint64_t now_ms);
  /* When the other threads have ended; only if start went well. */
  void (*stop)(struct tl_control *c);
};

/* Those that run; part of struct tl_control. */
struct tl_control_services {
  const struct tl_control_service *const *list;
  size_t n, n_started;
  sd_event_source *timer, *after; /* of all turns: at the first time, and after other events */
};

/* Starts the N services of LIST in order; where one fails, those before it are stopped. */
int tl_services_start(struct tl_control *c, const struct tl_control_service *const *list, size_t n);
int tl_services_run(struct tl_control *c);
/* In reverse order. */
void tl_services_stop(struct tl_control *c);
