/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start and end of the daemon: from a configuration file to running threads, and
 * back in reverse order. While they run, the main thread is in control_loop.c.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/sources.h"
#include "tieline/control.h"
#include "tieline/handshaker.h"
#include "tieline/resolve.h"
#include "tieline/tls.h"
#include "tieline/view.h"
#include "tieline/worker.h"

#define LOG_QUEUE 2048
#define PROBLEM_CAP 512

/* Never freed: counters and mailboxes outlive the threads that use them. */
static struct tl_runtime runtime;
static bool resolver_runs, started_as_root;
static char not_kept[PROBLEM_CAP]; /* why key_file could not be made; "": it is there */

static void to_stderr(void *arg, const char *file, int line, const char *sentence) {
  unsigned *n = arg;
  ++*n;
  fprintf(stderr, "%s:%d: %s\n", file ? file : "tieline", line, sentence);
}

static struct tl_view *load_view(const char *file) {
  struct tl_view *view = NULL;
  unsigned said = 0;
  int rc = tl_conf_load(file, NULL, to_stderr, &said, &view);
  if (rc == 0) return view;
  if (said == 0) fprintf(stderr, "%s:0: %s\n", file, tl_strerror(rc));
  return NULL;
}

int tl_daemon_check(const char *file, bool explain) {
  tl_tls_init();
  struct tl_view *view = load_view(file);
  if (!view) return 1;
  tl_conf_print(view, explain, stdout);
  tl_view_unref(view);
  return fflush(stdout) == 0 ? 0 : 1;
}

/* A connection is a descriptor; systemd and shells leave the soft limit at 1024. */
static void raise_files(const struct tl_conf *conf) {
  struct rlimit l;
  if (getrlimit(RLIMIT_NOFILE, &l) < 0) return;
  l.rlim_cur = l.rlim_max;
  setrlimit(RLIMIT_NOFILE, &l);
  if (l.rlim_max < conf->limits.max_connections + (unsigned long)TL_FILES_OWN)
    TL_LOG(TL_LOG_WARN, "The limit of open files is below max_connections; raise LimitNOFILE.",
           TL_FI("open_files", l.rlim_max), TL_FI("max_connections", conf->limits.max_connections));
}

/* Rings of io_uring are locked memory, limited for all processes of a user together. Root's
 * exemption goes with its capabilities. */
static void raise_locked(void) {
  struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &l) == 0 || getrlimit(RLIMIT_MEMLOCK, &l) < 0) return;
  l.rlim_cur = l.rlim_max;
  setrlimit(RLIMIT_MEMLOCK, &l);
}

static int start_log(const struct tl_conf *conf) {
  tl_log_set_level(conf->opt.log_level);
  int rc = tl_log_start(conf->opt.log_target, conf->opt.log_format, LOG_QUEUE);
  if (rc == TL_ENOTSUP) {
    rc = tl_log_start(TL_LOG_STDERR, conf->opt.log_format, LOG_QUEUE);
    TL_LOG(TL_LOG_WARN, "There is no journal here; the log goes to standard error.");
  }
  return rc;
}

/* Checked before threads start, so that the error can say what to change. */
static bool uring_works(void) {
  struct io_uring u;
  int rc = io_uring_queue_init(4, &u, 0);
  if (rc == 0) {
    io_uring_queue_exit(&u);
    return true;
  }
  const char *what = strerror(-rc);
  if (rc == -EPERM)
    what = "not permitted: set sysctl kernel.io_uring_disabled=0 (1 needs kernel.io_uring_group), "
           "or allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile "
           "of the container";
  else if (rc == -ENOMEM)
    what = "no memory that may be locked: raise LimitMEMLOCK= of the unit, or ulimit -l";
  else if (rc == -ENOSYS)
    what = "this kernel or its seccomp profile has no io_uring: it takes Linux 6.1 or later with "
           "CONFIG_IO_URING, and a profile that allows it";
  TL_LOG(TL_LOG_ERROR, "io_uring cannot be used.", TL_FC("reason", what));
  return false;
}

static int start_failed(const char *what, const char *why) {
  TL_LOG(TL_LOG_ERROR, "Start failed.", TL_FC("step", what), TL_FC("reason", why));
  return TL_EIO;
}

static unsigned thread_count(unsigned wanted, unsigned configured) {
  unsigned n = wanted ? wanted : configured;
  return n < 1 ? 1 : n > TL_THREADS_MAX ? TL_THREADS_MAX : n;
}

/* Takes VIEW over and publishes it. */
static int prepare_runtime(struct tl_runtime *rt, struct tl_view *view,
                           const struct tl_run_options *o) {
  rt->n_worker = thread_count(o->workers, view->conf->opt.workers);
  rt->n_handshaker = thread_count(o->handshakers, view->conf->opt.handshakers);
  tl_runtime_publish(rt, view);
  tl_record_backend_set(TL_AEAD_AUTO);
  if (getrandom(rt->secret, sizeof(rt->secret), 0) != (ssize_t)sizeof(rt->secret) ||
      getrandom(&rt->incarnation, sizeof(rt->incarnation), 0) != (ssize_t)sizeof(rt->incarnation))
    return start_failed("random numbers", strerror(errno));
  rt->incarnation |= 1;
  return uring_works() ? 0 : TL_ENOTSUP;
}

static int start_threads(struct tl_runtime *rt) {
  char err[256] = "";
  int rc = tl_resolver_start(&rt->resolver, &rt->resolver_counters);
  if (rc) return start_failed("resolver", tl_strerror(rc));
  resolver_runs = true;
  for (unsigned i = 0; i < rt->n_worker; i++) {
    rc = tl_worker_start(rt, i, err, sizeof(err));
    if (rc) return start_failed("worker", *err ? err : tl_strerror(rc));
  }
  for (unsigned i = 0; i < rt->n_handshaker; i++) {
    rc = tl_handshaker_start(rt, i, err, sizeof(err));
    if (rc) return start_failed("handshake thread", *err ? err : tl_strerror(rc));
  }
  return 0;
}

static void stop_threads(struct tl_runtime *rt) {
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i] && rt->handshaker[i]->started) tl_handshaker_stop(rt, i);
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i] && rt->worker[i]->started) tl_worker_stop(rt, i);
  if (resolver_runs) tl_resolver_stop();
}

/* Where records = auto puts AES-GCM, and why. */
static const char *why_kernel(const struct tl_runtime *rt, const struct tl_conf *conf) {
  if (conf->opt.records == TL_RECORDS_USER) return tl_ktls_why_text(TL_KTLS_CONFIG);
  if (!rt->caps.ulp) return tl_ktls_why_text(TL_KTLS_NO_ULP);
  if (conf->opt.records == TL_RECORDS_AUTO && rt->caps.slow[TL_AES_128_GCM])
    return tl_ktls_why_text(TL_KTLS_SLOW);
  return "the kernel does it";
}

static void log_slow(const struct tl_ktls_caps *caps, enum tl_cipher c) {
  if (caps->slow[c])
    TL_LOG(TL_LOG_WARN,
           "The kernel's cipher is not accelerated: records = auto leaves it to user space.",
           TL_FC("cipher", tl_cipher_name(c)), TL_FC("driver", caps->driver[c]));
}

static void log_started(struct tl_runtime *rt, const struct tl_conf *conf) {
  TL_LOG(TL_LOG_INFO, "Started.", TL_FC("version", TL_VERSION), TL_FI("pid", getpid()),
         TL_FI("workers", rt->n_worker), TL_FI("handshakers", rt->n_handshaker),
         TL_FI("listeners", conf->n_listen), TL_FI("peers", tl_runtime_published(rt)->peers->n),
         TL_FC("kernel_tls", rt->caps.ulp ? "yes" : "no"),
         TL_FC("kernel_tls_reason", why_kernel(rt, conf)), TL_FC("aead", tl_record_backend_name()),
         TL_FC("control", conf->opt.control_socket));
  if (*not_kept)
    TL_LOG(TL_LOG_WARN,
           "Calls will not outlive a restart: the keys of our Record-Route cannot be kept. Set "
           "key_file, or make its directory.",
           TL_FC("reason", not_kept));
  for (int c = 0; conf->opt.records == TL_RECORDS_AUTO && c < TL_CIPHERS; c++)
    log_slow(&rt->caps, (enum tl_cipher)c);
  for (size_t i = 0; i < conf->n_listen; i++)
    TL_LOG(TL_LOG_INFO, "Listening.", TL_FC("on", conf->listen[i].name));
}

static void first_problem(void *arg, const char *file, int line, const char *sentence) {
  char *text = arg;
  if (!*text)
    snprintf(text, PROBLEM_CAP, "%s:%d: %s", file ? file : "configuration", line, sentence);
}

/* Keys are often readable by root only, or owned by a user whose files root could read while it had
 * its capabilities: better to learn of it now than when a certificate is renewed. */
static void check_reload(const struct tl_view *view) {
  char problem[PROBLEM_CAP] = "";
  const struct tl_conf *conf = view->conf;
  struct tl_view *again = NULL;
  if (tl_conf_load(conf->file, view, first_problem, problem, &again) == 0)
    tl_view_unref(again);
  else
    TL_LOG(TL_LOG_WARN, "Reloads will be refused: the daemon cannot read what the start could.",
           TL_FC("user", conf->opt.user ? conf->opt.user : "unchanged"), TL_FC("problem", problem));
}

/* A token may be usable by root and not by the user; then every handshake would fail. */
static int try_keys(const struct tl_conf *conf) {
  char why[PROBLEM_CAP] = "";
  for (size_t i = 0; i < conf->n_domain; i++)
    if (tl_tls_domain_try_keys(conf->domain[i], why, sizeof(why)))
      return start_failed("private keys", why);
  return 0;
}

static int run_daemon(struct tl_runtime *rt, const struct tl_conf *conf) {
  char err[256] = "";
  int rc = tl_control_init(rt, err, sizeof(err));
  if (rc) return start_failed("control thread", err);
  if (conf->opt.user && (rc = tl_privileges_drop(conf->opt.user, err, sizeof(err))))
    start_failed("user", err);
  else if (!conf->opt.user || (rc = try_keys(conf)) == 0)
    rc = start_threads(rt);
  if (rc == 0) {
    log_started(rt, conf);
    if (started_as_root) check_reload(tl_runtime_published(rt));
    rc = tl_control_run(rt);
    if (rc) start_failed("services", tl_strerror(rc));
  }
  stop_threads(rt);
  tl_control_exit(rt);
  return rc;
}

/* Where no file can keep the keys of tokens, calls that are up end with the process: an operator
 * who has named a file is not to find that out by a restart. */
static bool keep_calls(struct tl_conf *conf) {
  char err[PROBLEM_CAP];
  if (tl_conf_keep_token_keys(conf, err, sizeof(err)) == TL_OK) return true;
  if (tl_conf_wants_key_file(conf)) {
    fprintf(stderr, "tieline: %s\n", err);
    return false;
  }
  snprintf(not_kept, sizeof(not_kept), "%s", err);
  return true;
}

/* Everything that needs more privileges than the daemon keeps: reads the files, and has the kernel
 * load its TLS module. With `user` more follows in run_daemon. NULL: reported on stderr. */
static struct tl_view *load_with_power(struct tl_runtime *rt, const char *file) {
  char err[256] = "";
  started_as_root = geteuid() == 0;
  raise_locked();
  if (tl_privileges_harden(err, sizeof(err))) {
    fprintf(stderr, "tieline: %s\n", err);
    return NULL;
  }
  if (tl_tls_init()) {
    fprintf(stderr, "tieline: OpenSSL could not be initialised\n");
    return NULL;
  }
  struct tl_view *view = load_view(file);
  if (!view) return NULL;
  tl_ktls_probe(&rt->caps); /* what is missing is in caps */
  if (!keep_calls(view->conf)) {
    tl_view_unref(view);
    return NULL;
  }
  if (view->conf->opt.user || tl_privileges_bind_only(err, sizeof(err)) == 0) return view;
  fprintf(stderr, "tieline: %s\n", err);
  tl_view_unref(view);
  return NULL;
}

int tl_daemon_run(const struct tl_run_options *o) {
  struct tl_runtime *rt = &runtime;
  struct tl_view *view = load_with_power(rt, o->file);
  if (!view) return 1;
  struct tl_conf *conf = tl_conf_ref(view->conf);
  int rc = start_log(conf);
  if (rc) {
    fprintf(stderr, "tieline: the log could not be started: %s\n", tl_strerror(rc));
    tl_view_unref(view);
    tl_conf_unref(conf);
    return 1;
  }
  raise_files(conf);
  rc = prepare_runtime(rt, view, o);
  if (rc == 0) rc = run_daemon(rt, conf);
  tl_conf_unref(conf);
  if (rc == 0)
    TL_LOG(TL_LOG_INFO, "Stopped.", TL_FI("transactions", tl_runtime_counter(rt, TL_C_TXN_TOTAL)),
           TL_FI("handshakes", tl_runtime_counter(rt, TL_C_HS_OK)));
  tl_log_stop();
  return rc ? 1 : 0;
}
