/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's parts: JSON-RPC envelopes, tables, the socket's bounds and the order of
 * replies. The loop as a whole is in test_control_loop.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/rpc.h"
#include "control/server.h"
#include "ctl/table.h"
#include "tieline/control.h"

/* ---- JSON-RPC */

static int parse(const char *line, struct tl_rpc *r) {
  const char *why = NULL;
  int rc = tl_rpc_parse(line, strlen(line), r, &why);
  cr_assert_not_null(why);
  return rc;
}

Test(control, a_request_is_method_params_and_id) {
  struct tl_rpc r;
  cr_assert_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"log\",\"params\":{\"level\":"
                     "\"debug\"}}",
                     &r),
               0);
  cr_assert_str_eq(r.method, "log");
  cr_assert_str_eq(json_string_value(r.id), "a");
  cr_assert_str_eq(json_string_value(json_object_get(r.params, "level")), "debug");
  cr_assert_not(r.notification);
  tl_rpc_clear(&r);
  cr_assert_eq(parse("{\"jsonrpc\":\"2.0\",\"method\":\"stop\"}", &r), 0);
  cr_assert(r.notification);
  tl_rpc_clear(&r);
}

Test(control, what_is_no_request_is_refused_by_its_code) {
  static const struct {
    const char *line;
    int code;
  } cases[] = {
      {"", TL_RPC_PARSE},
      {"stats", TL_RPC_PARSE},
      {"{\"jsonrpc\":\"2.0\",", TL_RPC_PARSE},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"x\"}", TL_RPC_PARSE},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", TL_RPC_PARSE},
      {"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats\"}]", TL_RPC_REQUEST},
      {"{\"id\":1,\"method\":\"stats\"}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"stats\"}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"stats\"}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":\"2.0\",\"id\":1}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"stats\"}", TL_RPC_REQUEST},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats\",\"params\":[1]}", TL_RPC_PARAMS},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_rpc r;
    cr_assert_eq(parse(cases[i].line, &r), cases[i].code, "%s", cases[i].line);
    tl_rpc_clear(&r);
  }
}

Test(control, deep_nesting_is_refused_not_followed) {
  enum { DEPTH = 60000 };
  char *line = malloc(DEPTH);
  struct tl_rpc r;
  const char *why;
  memset(line, '[', DEPTH);
  cr_assert_eq(tl_rpc_parse(line, DEPTH, &r, &why), TL_RPC_PARSE);
  tl_rpc_clear(&r);
  free(line);
}

Test(control, replies_are_one_line_with_the_id_of_the_request) {
  size_t n = 0;
  json_t *id = json_string("x\ny");
  char *line = tl_rpc_result(id, json_pack("{s:s}", "text", "two\nlines"), &n);
  cr_assert_str_eq(
      line, "{\"jsonrpc\":\"2.0\",\"id\":\"x\\ny\",\"result\":{\"text\":\"two\\nlines\"}}\n");
  cr_assert_eq(n, strlen(line));
  free(line);
  line = tl_rpc_error(NULL, TL_RPC_METHOD, "no", json_pack("{s:i}", "n", 1), &n);
  cr_assert_str_eq(line, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32601,\"message\":"
                         "\"no\",\"data\":{\"n\":1}}}\n");
  free(line);
  json_decref(id);
}

Test(control, text_from_the_network_becomes_valid_json) {
  json_t *j = tl_rpc_text("ok\xff\xc3(\xed\xa0\x80.", SIZE_MAX);
  cr_assert_str_eq(json_string_value(j), "ok\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd"
                                         "\xef\xbf\xbd.");
  json_decref(j);
  const char fixed[4] = {'a', 'b', 'c', 'd'}; /* no NUL inside its bounds */
  j = tl_rpc_text(fixed, sizeof(fixed));
  cr_assert_str_eq(json_string_value(j), "abcd");
  json_decref(j);
  j = tl_rpc_text(NULL, SIZE_MAX);
  cr_assert_str_eq(json_string_value(j), "");
  json_decref(j);
}

/* ---- tables */

static char *print(const struct tl_table *t) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  tl_table_print(t, f);
  fclose(f);
  return text;
}

Test(control, columns_are_aligned) {
  static const struct tl_column col[] = {{"NAME", TL_LEFT}, {"N", TL_RIGHT}, {"END", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 3);
  tl_table_cell(t, "a");
  tl_table_cellf(t, "%d", 1000);
  tl_table_cell(t, "x");
  tl_table_cell(t, "gr\xc3\xbc\xc3\x9f"
                   "e");
  tl_table_cellf(t, "%d", 7);
  tl_table_cell(t, "longer than its head");
  char *text = print(t);
  cr_assert_str_eq(text, "NAME      N  END\n"
                         "a      1000  x\n"
                         "gr\xc3\xbc\xc3\x9f"
                         "e     7  longer than its head\n");
  free(text);
  tl_table_free(t);
}

Test(control, a_cell_cannot_move_the_cursor) {
  static const struct tl_column col[] = {{"", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 1);
  tl_table_cell(t, "a\x1b[2Jb\nc\xff\xe2\x80\xae.");
  char *text = print(t);
  cr_assert_str_eq(text, "a?[2Jb?c??.\n");
  free(text);
  tl_table_free(t);
}

Test(control, durations_are_short) {
  static const struct {
    long long ms;
    const char *want;
  } cases[] = {{0, "0ms"},          {999, "999ms"},      {5149, "5.1s"},     {59999, "59.9s"},
               {60000, "1m00s"},    {3599999, "59m59s"}, {3600000, "1h00m"}, {86399999, "23h59m"},
               {86400000, "1d00h"}, {360000000, "4d04h"}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char buf[24];
    cr_assert_str_eq(tl_table_duration(cases[i].ms, buf), cases[i].want);
  }
}

/* ---- privileges */

static int as_nobody(void) {
  struct sockaddr_in low = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char err[200] = "";
  low.sin_port = htons(991);
  if (tl_privileges_harden(err, sizeof(err))) return 9;
  if (tl_privileges_drop("nobody", err, sizeof(err))) return 1;
  if (geteuid() == 0 || getuid() == 0 || getegid() == 0) return 2;
  if (setuid(0) == 0 || seteuid(0) == 0) return 3; /* there is no way back */
  if (access("/etc/shadow", R_OK) == 0) return 4;
  if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return 5;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 6;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(fd, (struct sockaddr *)&low, sizeof(low)) < 0) return 7;
  if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0) return 8;
  return 0;
}

Test(control, of_roots_power_only_low_ports_stay) {
  if (geteuid() != 0) cr_skip_test("needs root");
  pid_t pid = fork();
  int status = -1;
  if (pid == 0) _exit(as_nobody());
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
}

Test(control, a_user_that_does_not_exist_is_named) {
  char err[200] = "";
  cr_assert_eq(tl_privileges_drop("no-such-user-here", err, sizeof(err)), TL_ENOTFOUND);
  cr_assert_not_null(strstr(err, "no-such-user-here"));
}

/* ---- the socket */

static struct tl_server server;
static sd_event *event;
static char path[108], dir[64];
static struct {
  struct tl_client_ref client;
  char line[80];
  size_t n;
} asked[64];
static unsigned n_open_requests;
static bool later;        /* do not answer at once */
static size_t reply_size; /* 0: echo */

static void on_request(void *arg, struct tl_client_ref client, const char *line, size_t n) {
  cr_assert_eq(arg, (void *)asked);
  asked[n_open_requests].client = client;
  asked[n_open_requests].n = n;
  snprintf(asked[n_open_requests++].line, sizeof(asked->line), "%.*s", (int)n, line);
  if (later) return;
  char *out = malloc((reply_size ? reply_size : n) + 1);
  size_t len = reply_size ? reply_size : n;
  if (reply_size)
    memset(out, 'r', len);
  else
    memcpy(out, line, len);
  out[len] = '\n';
  tl_server_reply(&server, client, out, len + 1, 1000);
}

static void open_server(void) {
  char err[256] = "";
  snprintf(dir, sizeof(dir), "/tmp/tieline-ctl-XXXXXX");
  cr_assert_not_null(mkdtemp(dir));
  snprintf(path, sizeof(path), "%s/sub/sock", dir);
  server.request = on_request;
  server.arg = asked;
  cr_assert_geq(sd_event_new(&event), 0);
  cr_assert_eq(tl_server_open(&server, event, path, err, sizeof(err)), 0, "%s", err);
}

static void close_server(void) {
  char sub[108];
  snprintf(sub, sizeof(sub), "%s/sub", dir);
  tl_server_close(&server);
  sd_event_unref(event);
  rmdir(sub);
  rmdir(dir);
}

static int dial(void) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  strcpy(sun.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
    close(fd);
    return -1;
  }
  return fd;
}

/* What is ready now is handled, and nothing is waited for. */
static void turn_at(uint64_t now_ms) {
  for (int i = 0; i < 100 && sd_event_run(event, 0) > 0; i++) {
  }
  tl_server_expire(&server, now_ms);
}

static void turns(int n) {
  while (n--) turn_at(1000);
}

static const char *take(int fd) {
  static char buf[4096];
  ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
  buf[n > 0 ? n : 0] = 0;
  return n == 0 || (n < 0 && errno == ECONNRESET) ? "<closed>" : buf;
}

TestSuite(control_socket, .init = open_server, .fini = close_server);

Test(control_socket, it_is_for_its_owner_alone) {
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  cr_assert(S_ISSOCK(st.st_mode));
  cr_assert_eq(st.st_mode & 0777, 0600);
}

Test(control_socket, a_second_daemon_is_refused_and_a_dead_socket_replaced) {
  struct tl_server other = {0};
  char err[256] = "";
  cr_assert_eq(tl_server_open(&other, event, path, err, sizeof(err)), TL_EBUSY);
  cr_assert_not_null(strstr(err, "another process answers there"));
  sd_event_source_unref(server.io); /* as if the daemon had been killed: the file stays */
  close(server.fd);
  server.fd = -1;
  cr_assert_eq(tl_server_open(&server, event, path, err, sizeof(err)), 0, "%s", err);
}

Test(control_socket, a_name_too_long_is_a_sentence) {
  struct tl_server other = {0};
  char err[256] = "", name[200];
  memset(name, 'x', sizeof(name) - 1);
  name[sizeof(name) - 1] = 0;
  cr_assert_eq(tl_server_open(&other, event, name, err, sizeof(err)), TL_EINVAL);
  cr_assert_not_null(strstr(err, "longer than 107"));
}

Test(control_socket, a_plain_file_is_left_alone) {
  struct tl_server other = {0};
  char err[256] = "", name[200];
  snprintf(name, sizeof(name), "%s/sub/file", dir);
  fclose(fopen(name, "w"));
  cr_assert_eq(tl_server_open(&other, event, name, err, sizeof(err)), TL_EIO);
  cr_assert_eq(access(name, F_OK), 0);
  unlink(name);
}

Test(control_socket, lines_are_answered_in_order_however_they_are_cut) {
  int fd = dial();
  cr_assert_eq(send(fd, "fir", 3, 0), 3);
  turns(2);
  cr_assert_eq(n_open_requests, 0);
  cr_assert_eq(send(fd, "st\r\n\nsecond\nthi", 15, 0), 15);
  turns(4);
  cr_assert_str_eq(take(fd), "first\nsecond\n");
  cr_assert_eq(send(fd, "rd", 2, 0), 2);
  shutdown(fd, SHUT_WR); /* the last line may lack its newline */
  turns(4);
  cr_assert_str_eq(take(fd), "third\n");
  cr_assert_str_eq(take(fd), "<closed>");
  close(fd);
}

Test(control_socket, the_next_line_waits_for_a_late_answer) {
  int fd = dial();
  later = true;
  cr_assert_eq(send(fd, "one\ntwo\n", 8, 0), 8);
  turns(4);
  cr_assert_eq(n_open_requests, 1);
  tl_server_reply(&server, asked[0].client, strdup("1\n"), 2, 1000);
  turns(3);
  cr_assert_eq(n_open_requests, 2);
  tl_server_reply(&server, asked[1].client, NULL, 0, 1000); /* a notification */
  turns(3);
  cr_assert_str_eq(take(fd), "1\n");
  close(fd);
}

/* It waited for ever. */
Test(control_socket, who_cannot_be_answered_is_closed) {
  int fd = dial();
  later = true;
  cr_assert_eq(send(fd, "one\ntwo\n", 8, 0), 8);
  turns(4);
  tl_server_give_up(&server, asked[0].client, 1000);
  turns(3);
  cr_expect_str_eq(take(fd), "<closed>");
  cr_expect_eq(server.n_client, 0);
  cr_expect_eq(n_open_requests, 1);
  tl_server_give_up(&server, asked[0].client, 1000); /* it has gone */
  close(fd);
}

Test(control_socket, an_answer_for_a_client_that_went_reaches_nobody_else) {
  int fd = dial();
  later = true;
  cr_assert_eq(send(fd, "one\n", 4, 0), 4);
  turns(3);
  close(fd);
  turns(3);
  fd = dial();
  turns(2);
  cr_assert_eq(send(fd, "two\n", 4, 0), 4);
  turns(2);
  cr_assert_eq(n_open_requests, 2);
  cr_assert_eq(asked[0].client.slot, asked[1].client.slot);
  tl_server_reply(&server, asked[0].client, strdup("wrong\n"), 6, 1000);
  tl_server_reply(&server, asked[1].client, strdup("right\n"), 6, 1000);
  turns(2);
  cr_assert_str_eq(take(fd), "right\n");
  close(fd);
}

/* Sends N bytes while the server runs its turns. */
static void push(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t w = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w < 0 && errno != EAGAIN) return;
    if (w > 0) p += w, n -= (size_t)w;
    turns(1);
  }
}

Test(control_socket, a_request_may_have_64_kilobytes_and_not_one_more) {
  char *line = malloc(TL_SERVER_REQUEST + 2);
  memset(line, 'a', TL_SERVER_REQUEST + 2);
  int fd = dial();
  later = true;
  turns(1);
  line[TL_SERVER_REQUEST] = '\n';
  push(fd, line, TL_SERVER_REQUEST + 1);
  turns(4);
  cr_assert_eq(n_open_requests, 1);
  cr_assert_eq(asked[0].n, TL_SERVER_REQUEST);
  close(fd);
  line[TL_SERVER_REQUEST] = 'a';
  fd = dial();
  turns(2);
  push(fd, line, TL_SERVER_REQUEST + 2);
  turns(4);
  cr_assert_eq(n_open_requests, 1);
  cr_assert_not_null(strstr(take(fd), "-32600"));
  cr_assert_str_eq(take(fd), "<closed>");
  close(fd);
  free(line);
}

Test(control_socket, clients_are_bounded_and_slots_come_back) {
  int fd[TL_SERVER_CLIENTS + 1];
  for (int i = 0; i < TL_SERVER_CLIENTS; i++) fd[i] = dial();
  turns(2);
  fd[TL_SERVER_CLIENTS] = dial();
  turns(2);
  cr_assert_not_null(strstr(take(fd[TL_SERVER_CLIENTS]), "too many clients"));
  close(fd[TL_SERVER_CLIENTS]);
  close(fd[3]);
  turns(2);
  fd[3] = dial();
  turns(2);
  cr_assert_eq(send(fd[3], "x\n", 2, 0), 2);
  turns(2);
  cr_assert_str_eq(take(fd[3]), "x\n");
  for (int i = 0; i < TL_SERVER_CLIENTS; i++) close(fd[i]);
}

Test(control_socket, a_client_that_does_not_read_holds_only_itself_and_not_for_long) {
  int slow = dial(), quick = dial();
  reply_size = 4 << 20;
  turns(1);
  cr_assert_eq(send(slow, "big\n", 4, 0), 4);
  turns(5);
  cr_assert_eq(n_open_requests, 1);
  cr_assert_eq(send(slow, "again\n", 6, 0), 6);
  reply_size = 0;
  cr_assert_eq(send(quick, "small\n", 6, 0), 6);
  turns(5);
  cr_assert_str_eq(take(quick), "small\n");
  cr_assert_eq(n_open_requests, 2); /* the slow one's next request is not even read */
  turn_at(1000 + TL_SERVER_PATIENCE_MS - 1);
  cr_assert_eq(server.n_client, 2);
  turn_at(1000 + TL_SERVER_PATIENCE_MS);
  cr_assert_eq(server.n_client, 1);
  cr_assert_str_eq(take(quick), "");
  close(slow);
  close(quick);
}

Test(control_socket, a_big_reply_arrives_whole) {
  int fd = dial();
  size_t got = 0;
  reply_size = 3 << 20;
  cr_assert_eq(send(fd, "big\n", 4, 0), 4);
  for (int i = 0; i < 20000 && got < reply_size + 1; i++) {
    static char buf[65536];
    turns(1);
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n > 0) got += (size_t)n;
  }
  cr_assert_eq(got, reply_size + 1);
  close(fd);
}
