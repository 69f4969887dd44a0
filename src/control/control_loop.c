/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the control thread: signals, mail from other threads, clients of the
 * socket, deadlines. It waits in poll(2): nothing here is performance-critical.
 */
#include <errno.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include <urcu/urcu-memb.h>

#include "control/control_internal.h"
#include "control/crl_refresh.h"
#include "control/fetch.h"
#include "control/ledger.h"
#include "control/ocsp.h"
#include "control/watch.h"
#include "tieline/explain.h"
#include "tieline/keylog.h"

#define MAILBOX_CAP 4096

/* Signals and the socket belong to the process, so there is only one. */
static struct tl_control control = {.sigfd = -1, .server.fd = -1};

static int block_signals(struct tl_control *c) {
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGHUP);
  sigaddset(&s, SIGTERM);
  sigaddset(&s, SIGINT);
  if (pthread_sigmask(SIG_BLOCK, &s, &c->old_mask)) return TL_EIO;
  c->sigfd = signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC);
  return c->sigfd < 0 ? TL_EIO : 0;
}

/* The daemon's user must be able to reach and remove the socket that root created. */
static void give_to_user(const struct tl_server *s, const char *user) {
  const struct passwd *pw = user && geteuid() == 0 ? getpwnam(user) : NULL;
  char dir[sizeof(s->path)];
  if (!pw) return;
  if (lchown(s->path, pw->pw_uid, pw->pw_gid) < 0)
    TL_LOG(TL_LOG_WARN, "The control socket could not be given to the user.", TL_FC("user", user));
  snprintf(dir, sizeof(dir), "%s", s->path);
  char *slash = strrchr(dir, '/');
  if (s->made_dir && slash) {
    *slash = 0;
    if (lchown(dir, pw->pw_uid, pw->pw_gid) < 0)
      TL_LOG(TL_LOG_WARN, "The control socket's directory could not be given to the user.",
             TL_FC("user", user));
  }
}

static void on_files_changed(struct tl_control *c) {
  struct tl_answer a = {0};
  TL_LOG(TL_LOG_INFO, "Files of the configuration have changed: reloading.");
  tl_reload_conf(c, NULL, &a); /* the log says how it went */
  json_decref(a.result);
  json_decref(a.data);
}

int tl_control_init(struct tl_runtime *rt, char *err, size_t cap) {
  struct tl_control *c = &control;
  memset(c, 0, sizeof(*c));
  c->rt = rt;
  c->ledger = calloc(1, sizeof(*c->ledger));
  c->sigfd = c->server.fd = -1;
  c->started_ms = tl_now_ms();
  c->server.request = tl_command_line;
  c->server.arg = c;
  if (!c->ledger || tl_crl_init(c) || tl_expiry_init(c) || tl_ocsp_client_init(c) ||
      tl_ocsp_staple_init(c) || tl_watch_init(c, on_files_changed) ||
      tl_mailbox_init(&rt->control.mailbox, MAILBOX_CAP) || block_signals(c)) {
    snprintf(err, cap, "no signal or event descriptor: %s", strerror(errno));
    return TL_EIO;
  }
  rt->control.rt = rt;
  rt->ocsp_questions = (struct tl_mail_address){&rt->control.mailbox, &tl_ocsp_question};
  urcu_memb_register_thread();
  struct tl_conf *conf = tl_runtime_conf(rt);
  int rc = tl_server_open(&c->server, conf->control_socket, err, cap);
  if (rc == 0) give_to_user(&c->server, conf->user);
  tl_conf_unref(conf);
  if (rc) tl_control_exit(rt);
  return rc;
}

static void reload_by_signal(struct tl_control *c) {
  struct tl_answer a = {0};
  if (c->state == TL_CONTROL_RUNNING) tl_reload_conf(c, NULL, &a); /* the log says how it went */
  json_decref(a.result);
  json_decref(a.data);
}

static void take_signals(struct tl_control *c) {
  struct signalfd_siginfo si;
  while (read(c->sigfd, &si, sizeof(si)) == sizeof(si)) {
    if (si.ssi_signo == SIGHUP) {
      reload_by_signal(c);
    } else {
      TL_LOG(TL_LOG_INFO, "Stop was asked for by a signal.",
             TL_FC("signal", si.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT"),
             TL_FI("from_pid", si.ssi_pid));
      tl_control_shutdown(c);
    }
  }
}

static void take_mail(struct tl_control *c) {
  struct tl_mailbox *mb = &c->rt->control.mailbox;
  tl_mailbox_rearm(mb);
  tl_count_add(&c->rt->control.counters, TL_C_MAIL_IN, tl_mailbox_deliver(mb, c, UINT32_MAX));
}

static void run_turn(struct tl_control *c) {
  struct pollfd p[3 + TL_SERVER_POLLFDS] = {{.fd = c->sigfd, .events = POLLIN},
                                            {.fd = c->rt->control.mailbox.efd, .events = POLLIN},
                                            {.events = POLLIN}};
  int timeout_ms = c->state == TL_CONTROL_DRAINING ? TL_DRAIN_TICK_MS : -1;
  uint64_t now_ms = tl_now_ms();
  tl_gather_expire(c, now_ms, &timeout_ms);
  tl_watch_turn(c, false, now_ms, &timeout_ms);
  tl_names_turn(c, now_ms, &timeout_ms);
  tl_crl_turn(c, now_ms, &timeout_ms);
  tl_ledger_turn(c, now_ms, &timeout_ms);
  tl_keylog_turn(c, &timeout_ms);
  tl_tickets_turn(c, now_ms, &timeout_ms);
  tl_explain_expire(c, now_ms, &timeout_ms);
  tl_ocsp_staple_tick(c, now_ms, &timeout_ms);
  tl_ocsp_client_tick(c, now_ms, &timeout_ms);
  p[2].fd = tl_watch_fd(c);
  size_t n = tl_server_poll(&c->server, p + 3, now_ms, &timeout_ms);
  if (poll(p, 3 + n, timeout_ms) < 0) {
    if (errno != EINTR) TL_LOG(TL_LOG_ERROR, "Waiting failed.", TL_FC("error", strerror(errno)));
    return;
  }
  now_ms = tl_now_ms();
  if (p[1].revents) take_mail(c);
  if (p[2].revents) tl_watch_turn(c, true, now_ms, &timeout_ms);
  tl_server_turn(&c->server, p + 3, n, now_ms);
  if (p[0].revents) take_signals(c);
  tl_control_drain(c, now_ms);
}

int tl_control_run(struct tl_runtime *rt) {
  struct tl_control *c = &control;
  struct tl_conf *conf = tl_runtime_conf(rt);
  tl_watch_conf(c, conf);
  tl_names_conf(c, conf);
  tl_conf_unref(conf);
  c->rss_start = tl_stats_rss();
  sd_notifyf(0, "READY=1\nMAINPID=%d\nSTATUS=Running, configuration %llu", (int)getpid(),
             (unsigned long long)atomic_load_explicit(&rt->generation, memory_order_relaxed));
  while (c->state != TL_CONTROL_STOPPED) run_turn(c);
  tl_server_flush(&c->server, tl_now_ms());
  return 0;
}

void tl_control_exit(struct tl_runtime *rt) {
  struct tl_control *c = &control;
  if (c->crl) c->crl->closing = true;
  tl_fetch_stop();
  tl_keylog_off();
  tl_server_close(&c->server);
  if (c->sigfd >= 0) close(c->sigfd);
  c->sigfd = -1;
  tl_ledger_exit(c);
  /* Answers that came too late; questions in the mailbox of a stopped worker belong to that worker.
   */
  take_mail(c);
  tl_crl_exit(c);
  tl_ocsp_client_exit(c);
  tl_ocsp_staple_exit(c);
  tl_expiry_exit(c);
  tl_watch_exit(c);
  tl_mailbox_destroy(&rt->control.mailbox);
  urcu_memb_unregister_thread();
}
