/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the control thread, which is sd-event's, and the list of the
 * services that it turns. Only mail from other threads is handled here; nothing
 * here is performance-critical.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "control/control_internal.h"
#include "control/gather.h"
#include "control/watch.h"
#include "tieline/control.h"
#include "tieline/rcu.h"

#define MAILBOX_CAP 4096
#define ERROR_PAUSE_MS 100 /* when waiting itself fails */

/* Signals and the socket belong to the process, so there is only one. */
static struct tl_control control;

/* ---- mail */

static void take_mail(struct tl_control *c) {
  struct tl_mailbox *mb = &c->rt->control.mailbox;
  tl_mailbox_rearm(mb);
  tl_count_add(&c->rt->control.counters, TL_C_MAIL_IN, tl_mailbox_deliver(mb, c, UINT32_MAX));
}

static int on_mail(sd_event_source *source, int fd, uint32_t events, void *arg) {
  (void)source, (void)fd, (void)events;
  take_mail(arg);
  return 0;
}

static int mail_start(struct tl_control *c) {
  struct tl_runtime *rt = c->rt;
  if (tl_mailbox_init(&rt->control.mailbox, MAILBOX_CAP)) return TL_EIO;
  rt->control.rt = rt;
  rt->ocsp_questions = (struct tl_mail_address){&rt->control.mailbox, &tl_ocsp_question};
  if (sd_event_add_io(c->event, &c->mail, rt->control.mailbox.efd, EPOLLIN, on_mail, c) >= 0)
    return 0;
  tl_mailbox_destroy(&rt->control.mailbox);
  return TL_ENOMEM;
}

/* Takes the answers that came too late; questions in the mailbox of a stopped worker belong to that
 * worker. */
static void mail_stop(struct tl_control *c) {
  take_mail(c);
  c->mail = sd_event_source_unref(c->mail);
  tl_mailbox_destroy(&c->rt->control.mailbox);
}

static const struct tl_control_service mail_service = {
    .name = "mail", .start = mail_start, .stop = mail_stop};

/* ---- the loop */

/* In the order of their turns. Stopped in reverse: what fetching leaves is handled by those above
 * it, and answers that come late by those above the mail. */
static const struct tl_control_service *const services[] = {
    &tl_signals_service, &tl_admin_service,  &tl_gather_service, &tl_watch_service,
    &tl_names_service,   &tl_trust_service,  &mail_service,      &tl_explain_service,
    &tl_drain_service,   &tl_socket_service, &tl_keylog_service, &tl_fetch_service};

int tl_control_init(struct tl_runtime *rt, char *err, size_t cap) {
  struct tl_control *c = &control;
  *c = (struct tl_control){.rt = rt, .server.fd = -1, .started_ms = tl_now_ms()};
  tl_rcu_thread_begin();
  int rc = sd_event_new(&c->event) < 0
               ? TL_ENOMEM
               : tl_services_start(c, services, sizeof(services) / sizeof(*services));
  if (rc == 0) return 0;
  snprintf(err, cap, "%s", *c->problem ? c->problem : tl_strerror(rc));
  c->event = sd_event_unref(c->event);
  tl_rcu_thread_end();
  return rc;
}

static void run_round(struct tl_control *c) {
  const int rc = sd_event_run(c->event, UINT64_MAX);
  if (rc >= 0) return;
  TL_LOG(TL_LOG_ERROR, "Waiting failed.", TL_FC("error", strerror(-rc)));
  poll(NULL, 0, ERROR_PAUSE_MS);
}

int tl_control_run(struct tl_runtime *rt) {
  struct tl_control *c = &control;
  int rc = tl_services_run(c);
  if (rc) return rc;
  c->rss_start = tl_stats_rss();
  sd_notifyf(0, "READY=1\nMAINPID=%d\nSTATUS=Running, configuration %llu", (int)getpid(),
             (unsigned long long)atomic_load_explicit(&rt->generation, memory_order_relaxed));
  while (c->state != TL_CONTROL_STOPPED) run_round(c);
  tl_server_flush(&c->server);
  return 0;
}

void tl_control_exit(struct tl_runtime *rt) {
  struct tl_control *c = &control;
  (void)rt;
  tl_services_stop(c);
  c->event = sd_event_unref(c->event);
  tl_rcu_thread_end();
}
