/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP reloads, SIGTERM and SIGINT stop. They come to the loop; every thread blocks them. */
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include "control/control_internal.h"
#include "control/reload.h"

static const int handled[] = {SIGHUP, SIGTERM, SIGINT};
#define HANDLED (sizeof(handled) / sizeof(*handled))

struct tl_signals {
  sd_event_source *source[HANDLED];
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *arg) {
  struct tl_control *c = arg;
  (void)source;
  if (si->ssi_signo == SIGHUP) {
    if (c->state == TL_CONTROL_RUNNING) tl_reload_unasked(c);
    return 0;
  }
  TL_LOG(TL_LOG_INFO, "Stopping: requested by a signal.",
         TL_FC("signal", si->ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT"),
         TL_FI("from_pid", si->ssi_pid));
  tl_control_shutdown(c);
  return 0;
}

static void signals_stop(struct tl_control *c) {
  for (size_t i = 0; i < HANDLED; i++) sd_event_source_unref(c->signals->source[i]);
  free(c->signals);
  c->signals = NULL;
}

/* Threads that are made later block them, too. */
static int block_signals(void) {
  sigset_t s;
  sigemptyset(&s);
  for (size_t i = 0; i < HANDLED; i++) sigaddset(&s, handled[i]);
  return pthread_sigmask(SIG_BLOCK, &s, NULL) ? TL_EIO : 0;
}

static int signals_start(struct tl_control *c) {
  int rc = block_signals();
  if (rc) return rc;
  c->signals = calloc(1, sizeof(*c->signals));
  if (!c->signals) return TL_ENOMEM;
  for (size_t i = 0; rc >= 0 && i < HANDLED; i++)
    rc = sd_event_add_signal(c->event, &c->signals->source[i], handled[i], on_signal, c);
  if (rc >= 0) return 0;
  signals_stop(c);
  return TL_EIO;
}

const struct tl_control_service tl_signals_service = {
    .name = "signals", .start = signals_start, .stop = signals_stop};
