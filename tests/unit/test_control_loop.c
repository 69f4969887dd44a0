/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control loop as a process of its own, with a fake runtime: no worker, or two whose mailboxes
 * the test plays. Asked over its real socket, stopped by its real signals.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tieline/conf.h"
#include "tieline/conn_info.h"
#include "tieline/control.h"
#include "tieline/ctl.h"
#include "tieline/tls.h"
#include "tieline/view.h"

/* A sanitizer keeps freed memory back, so there its leak check at the daemon's end is the judge. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RSS_TELLS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RSS_TELLS false
#endif
#endif
#ifndef RSS_TELLS
#define RSS_TELLS true
#endif

static char dir[64], conf_file[108], socket_path[108];
static pid_t daemon_pid;

#define CONF_HEAD                                                                                  \
  "listen \"udp:127.0.0.1:15999\" {}\ncontrol_socket = \"%s\"\ntimeouts { drain = 300ms } "        \
  "log_level = error\n"
#define CONF_PEER                                                                                  \
  "peer \"%s\" { uri = \"sip:127.0.0.1:16999;transport=tcp\" }\n"                                  \
  "route \"all\" { peers = { \"%s\" } }\n"

static void write_conf(const char *peer, const char *more) {
  FILE *f = fopen(conf_file, "w");
  fprintf(f, CONF_HEAD, socket_path);
  fprintf(f, CONF_PEER, peer, peer);
  fputs(more, f);
  fclose(f);
}

static void report(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  fprintf(stderr, "%s:%d: %s\n", file, line, sentence);
}

static _Atomic bool *may_answer; /* shared with the daemon's process */

/* A worker that answers, and one that is silent until the test lets it answer. */
static void *fake_worker(void *arg) {
  struct tl_thread *t = arg;
  for (;;) {
    tl_mailbox_rearm(&t->mailbox);
    struct tl_mail *m = tl_mailbox_take(&t->mailbox);
    if (!m) {
      if (atomic_load(&t->stop)) return NULL;
      usleep(2000);
      continue;
    }
    struct tl_dump *d = (struct tl_dump *)m;
    while (t->index == 1 && !atomic_load(may_answer)) usleep(10000);
    d->total = 5;
    d->n = d->cap < 2 ? d->cap : 2;
    d->info = calloc(d->n, sizeof(*d->info));
    for (size_t i = 0; i < d->n; i++) {
      struct tl_conn_info *c = &d->info[i];
      c->id = 7 + i;
      c->worker = t->index;
      c->state = "open";
      c->outgoing = i == 0;
      c->transport = i == 0 ? TL_TCP : TL_TLS;
      c->version = TL_TLS_1_3;
      c->ktls.tx = TL_KTLS_ON;
      c->ktls.rx = TL_KTLS_NO_CIPHER;
      strcpy(c->sni, "bad\xff");
      tl_addr_parse(TL_STR("127.0.0.1"), i == 0 ? 16999 : 40000, &c->peer);
      tl_addr_parse(TL_STR("127.0.0.1"), 15999, &c->local);
    }
    tl_mail_return(&d->reply, m);
  }
}

static struct tl_runtime rt;

static void start_fakes(unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    /* Room for whatever a real worker keeps behind its thread. */
    struct tl_thread *t = calloc(1, 1 << 20);
    t->index = i;
    t->rt = &rt;
    tl_mailbox_init(&t->mailbox, 64);
    tl_count_add(&t->counters, TL_C_MSG_IN_TLS, 10 + i);
    rt.worker[i] = t;
    pthread_t th;
    pthread_create(&th, NULL, fake_worker, t);
    pthread_detach(th);
  }
  rt.n_worker = n;
}

static int daemon_main(unsigned fakes) {
  struct tl_view *view = NULL;
  char err[256] = "";
  if (tl_tls_init() || tl_conf_load(conf_file, NULL, report, NULL, &view)) return 10;
  tl_runtime_publish(&rt, view);
  if (tl_control_init(&rt, err, sizeof(err))) {
    fprintf(stderr, "%s\n", err);
    tl_view_unref(view);
    return 11;
  }
  start_fakes(fakes);
  int rc = tl_control_run(&rt);
  tl_control_exit(&rt);
  if (fakes) _exit(rc); /* their threads still run */
  tl_view_unref(rt.view);
  rt.view = NULL;
  return rc;
}

/* The file is there a moment before anybody listens. */
static bool answers(void) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  strcpy(sun.sun_path, socket_path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  bool ok = connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
  close(fd);
  return ok;
}

static void start_daemon(unsigned fakes) {
  fflush(NULL);
  daemon_pid = fork();
  if (daemon_pid == 0) exit(daemon_main(fakes));
  for (int i = 0; i < 500; i++) {
    if (answers()) return;
    usleep(10000);
  }
  cr_assert_fail("the daemon did not start");
}

static int wait_daemon(void) {
  int status = -1;
  cr_assert_eq(waitpid(daemon_pid, &status, 0), daemon_pid);
  daemon_pid = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void set_up(void) {
  snprintf(dir, sizeof(dir), "/tmp/tieline-loop-XXXXXX");
  cr_assert_not_null(mkdtemp(dir));
  setenv("STATE_DIRECTORY", dir, 1);
  snprintf(conf_file, sizeof(conf_file), "%s/t.conf", dir);
  snprintf(socket_path, sizeof(socket_path), "%s/t.sock", dir);
  write_conf("one", "");
  may_answer =
      mmap(NULL, sizeof(*may_answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  cr_assert(may_answer != MAP_FAILED);
}

static void tear_down(void) {
  if (daemon_pid) {
    kill(daemon_pid, SIGKILL);
    waitpid(daemon_pid, NULL, 0);
  }
  unlink(conf_file);
  unlink(socket_path);
  rmdir(dir);
}

/* One request on a connection of its own; the whole reply. */
static json_t *ask(const char *request) {
  static char buf[1 << 20];
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  size_t n = 0;
  strcpy(sun.sun_path, socket_path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  cr_assert_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
  cr_assert_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
  cr_assert_eq(send(fd, "\n", 1, 0), 1);
  while (n < sizeof(buf) && !memchr(buf, '\n', n)) {
    ssize_t r = recv(fd, buf + n, sizeof(buf) - n, 0);
    cr_assert_gt(r, 0);
    n += (size_t)r;
  }
  close(fd);
  json_t *j = json_loadb(buf, n, 0, NULL);
  cr_assert_not_null(j);
  return j;
}

static json_t *call(const char *method, const char *params) {
  char line[512];
  snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"%s\"%s%s}", method,
           *params ? ",\"params\":" : "", params);
  json_t *j = ask(line);
  cr_assert_eq(json_integer_value(json_object_get(j, "id")), 5);
  return j;
}

static long long at(const json_t *j, const char *a, const char *b, const char *c) {
  j = json_object_get(j, a);
  if (b) j = json_object_get(j, b);
  if (c) j = json_object_get(j, c);
  return json_is_boolean(j) ? json_is_true(j) : json_integer_value(j);
}

TestSuite(control_loop, .init = set_up, .fini = tear_down, .timeout = 60);

Test(control_loop, every_command_answers_with_no_worker_at_all) {
  static const char *const commands[] = {"help",  "version",  "stats", "connections",
                                         "peers", "tls_list", "log",   "reload"};
  start_daemon(0);
  for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
    json_t *j = call(commands[i], "");
    cr_assert(json_is_object(json_object_get(j, "result")), "%s", commands[i]);
    json_decref(j);
  }
  json_t *j = call("version", "");
  cr_assert_eq(at(j, "result", "pid", NULL), daemon_pid);
  json_decref(j);
  kill(daemon_pid, SIGTERM);
  cr_assert_eq(wait_daemon(), 0);
  cr_assert_neq(access(socket_path, F_OK), 0);
}

Test(control_loop, errors_carry_their_codes) {
  static const struct {
    const char *request;
    int code;
  } cases[] = {
      {"nonsense", -32700},
      {"[]", -32600},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rm\"}", -32601},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log\",\"params\":{\"level\":\"x\"}}", -32602},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log\",\"params\":{\"level\":3}}", -32602},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"connections\",\"params\":{\"limit\":0}}",
       -32602}};
  start_daemon(0);
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    json_t *j = ask(cases[i].request);
    cr_assert_eq(at(j, "error", "code", NULL), cases[i].code, "%s", cases[i].request);
    json_decref(j);
  }
}

Test(control_loop, reload_says_what_changed) {
  start_daemon(0);
  write_conf("two", "");
  json_t *j = call("reload", "");
  const json_t *r = json_object_get(j, "result"), *peers = json_object_get(r, "peers");
  cr_assert_eq(json_integer_value(json_object_get(r, "generation")), 2);
  cr_assert_eq(json_array_size(peers), 2);
  cr_assert_str_eq(json_string_value(json_object_get(json_array_get(peers, 0), "change")), "added");
  cr_assert_str_eq(json_string_value(json_object_get(json_array_get(peers, 1), "change")),
                   "removed");
  json_decref(j);
  j = call("peers", "");
  peers = json_object_get(json_object_get(j, "result"), "peers");
  cr_assert_str_eq(json_string_value(json_object_get(json_array_get(peers, 0), "name")), "two");
  json_decref(j);
  kill(daemon_pid, SIGINT);
  cr_assert_eq(wait_daemon(), 0);
}

Test(control_loop, a_refused_reload_names_file_and_line_and_changes_nothing) {
  start_daemon(0);
  write_conf("two", "colour = \"blue\"\n");
  for (int i = 0; i < 3; i++) {
    json_t *j = call("reload", "");
    const json_t *e = json_object_get(j, "error");
    const json_t *p = json_object_get(json_object_get(e, "data"), "problems");
    char want[200];
    cr_assert_eq(json_integer_value(json_object_get(e, "code")), -32001);
    snprintf(want, sizeof(want), "%s:6: ", conf_file);
    cr_assert_eq(json_array_size(p), 1);
    cr_assert_not_null(strstr(json_string_value(json_array_get(p, 0)), want), "%s",
                       json_string_value(json_array_get(p, 0)));
    json_decref(j);
  }
  json_t *j = call("stats", "");
  cr_assert_eq(at(j, "result", "generation", NULL), 1);
  cr_assert_eq(at(j, "result", "counters", "reloads.failed"), 3);
  cr_assert_eq(at(j, "result", "counters", "reloads.ok"), 0);
  json_decref(j);
  write_conf("three", "");
  kill(daemon_pid, SIGHUP);
  for (int i = 0; i < 200; i++) {
    j = call("stats", "");
    const long long ok = at(j, "result", "counters", "reloads.ok");
    json_decref(j);
    if (ok == 1) break;
    usleep(10000);
  }
  j = call("stats", "");
  cr_assert_eq(at(j, "result", "generation", NULL), 2);
  json_decref(j);
}

Test(control_loop, a_thousand_reloads_leave_nothing_behind, .timeout = 200) {
  start_daemon(0);
  json_t *j = NULL;
  long long before = 0, files = 0;
  for (int i = 0; i < 1000; i++) {
    write_conf(i % 2 ? "one" : "two", i % 50 == 49 ? "colour = 1\n" : "");
    json_decref(call("reload", ""));
    if (i != 100 && i != 999) continue;
    j = call("stats", "");
    if (i == 100) {
      before = at(j, "result", "process", "rss_bytes");
      files = at(j, "result", "process", "open_files");
    } else {
      if (RSS_TELLS) cr_assert_lt(at(j, "result", "process", "rss_bytes"), before + (1 << 20));
      cr_assert_eq(at(j, "result", "process", "open_files"), files);
      cr_assert_eq(at(j, "result", "counters", "reloads.ok"), 980);
    }
    json_decref(j);
  }
  kill(daemon_pid, SIGTERM);
  cr_assert_eq(wait_daemon(), 0);
}

Test(control_loop, the_log_level_is_set_and_a_notification_is_not_answered) {
  start_daemon(0);
  json_t *j = ask("{\"jsonrpc\":\"2.0\",\"method\":\"log\",\"params\":{\"level\":\"error\"}}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"log\"}");
  cr_assert_eq(json_integer_value(json_object_get(j, "id")), 9);
  cr_assert_str_eq(json_string_value(json_object_get(json_object_get(j, "result"), "level")),
                   "error");
  json_decref(j);
}

Test(control_loop, connections_of_a_silent_worker_are_missing_and_said_to_be) {
  start_daemon(2);
  json_t *j = call("connections", "{\"limit\":2}");
  const json_t *r = json_object_get(j, "result"), *list = json_object_get(r, "connections");
  cr_assert_not(json_is_true(json_object_get(r, "complete")));
  cr_assert_eq(json_integer_value(json_object_get(r, "total")), 5);
  cr_assert_eq(json_array_size(list), 2);
  const json_t *tcp = json_array_get(list, 0), *tls = json_array_get(list, 1);
  cr_assert_str_eq(json_string_value(json_object_get(tcp, "peer")), "127.0.0.1:16999");
  cr_assert_str_eq(json_string_value(json_object_get(tcp, "direction")), "out");
  cr_assert(json_is_null(json_object_get(tcp, "tls")));
  tls = json_object_get(tls, "tls");
  cr_assert(json_is_true(json_object_get(tls, "ktls_tx")));
  cr_assert(json_is_false(json_object_get(tls, "ktls_rx")));
  cr_assert_str_eq(json_string_value(json_object_get(tls, "ktls_rx_reason")),
                   tl_ktls_why_text(TL_KTLS_NO_CIPHER));
  cr_assert_str_eq(json_string_value(json_object_get(tls, "sni")), "bad\xef\xbf\xbd");
  json_decref(j);
  /* The late answer comes meanwhile and finds its question closed; the next question works. */
  atomic_store(may_answer, true);
  usleep(300 * 1000);
  j = call("peers", "");
  const json_t *peers = json_object_get(json_object_get(j, "result"), "peers");
  cr_assert_eq(json_array_size(peers), 1);
  cr_assert_geq(json_integer_value(json_object_get(json_array_get(peers, 0), "connections_out")),
                1);
  json_decref(j);
}

Test(control_loop, other_clients_are_served_while_a_worker_is_silent) {
  start_daemon(2);
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  strcpy(sun.sun_path, socket_path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  cr_assert_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
  static const char q[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"connections\"}\n";
  cr_assert_eq(send(fd, q, sizeof(q) - 1, 0), (ssize_t)sizeof(q) - 1);
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  json_t *j = call("stats", "{\"threads\":true}");
  clock_gettime(CLOCK_MONOTONIC, &b);
  cr_assert_lt((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, 1500);
  cr_assert_eq(at(j, "result", "counters", "messages.in.tls"), 21);
  const json_t *w1 =
      json_object_get(json_object_get(json_object_get(j, "result"), "threads"), "worker/1");
  cr_assert_eq(json_integer_value(json_object_get(w1, "messages.in.tls")), 11);
  json_decref(j);
  close(fd);
}

Test(control_loop, ctl_tells_by_its_exit_status) {
  char stats[] = "stats", bad[] = "nonsense", *argv_ok[] = {stats, NULL}, *argv_bad[] = {bad, NULL};
  cr_assert_eq(tl_ctl_main(socket_path, 1, argv_ok, true), 2);
  start_daemon(0);
  FILE *out = freopen("/dev/null", "w", stdout);
  cr_assert_not_null(out);
  cr_assert_eq(tl_ctl_main(socket_path, 1, argv_ok, false), 0);
  cr_assert_eq(tl_ctl_main(socket_path, 1, argv_ok, true), 0);
  cr_assert_eq(tl_ctl_main(socket_path, 1, argv_bad, false), 1);
}

Test(control_loop, stop_answers_before_it_ends) {
  start_daemon(0);
  json_t *j = call("stop", "");
  cr_assert(json_is_true(json_object_get(json_object_get(j, "result"), "stopping")));
  json_decref(j);
  cr_assert_eq(wait_daemon(), 0);
}
