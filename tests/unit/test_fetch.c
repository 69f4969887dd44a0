/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fetch threads against an HTTP server that is good, slow, dead, chatty or
 * hostile.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "test_fetch_server.h"
#include "trust/fetch.h"

static struct tl_runtime rt;
static struct tl_fetcher *fetcher;
static unsigned port;
static unsigned done_n;
static int last_rc;
static char last_why[192];
static uint8_t last_data[256];
static size_t last_n;

static const uint8_t der[] = {0x30, 0x03, 0x02, 0x01, 0x2a};

static void redirect(int fd, const char *where) {
  char text[512];
  snprintf(text, sizeof(text), "HTTP/1.0 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
           where);
  web_say(fd, text);
}

/* Until the client gives up. */
static void hold(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  poll(&p, 1, 20000);
}

static void serve(const struct web_request *r) {
  char there[128];
  snprintf(there, sizeof(there), "http://127.0.0.1:%u/der", port);
  if (strcmp(r->path, "/der") == 0 || strcmp(r->path, "/with?query=1") == 0)
    web_answer(r->fd, "application/pkix-crl", der, sizeof(der));
  else if (strcmp(r->path, "/near") == 0)
    redirect(r->fd, "/der");
  else if (strcmp(r->path, "/far") == 0)
    redirect(r->fd, there);
  else if (strcmp(r->path, "/loop") == 0)
    redirect(r->fd, "/loop");
  else if (strcmp(r->path, "/https") == 0)
    redirect(r->fd, "https://127.0.0.1/der");
  else if (strcmp(r->path, "/file") == 0)
    redirect(r->fd, "file:///etc/passwd");
  else if (strcmp(r->path, "/long") == 0)
    web_say(r->fd, "HTTP/1.0 200 OK\r\n\r\n\x30\x83\x7f\xff\xff");
  else if (strcmp(r->path, "/text") == 0)
    web_answer(r->fd, "text/html", "<html>no</html>", 15);
  else if (strcmp(r->path, "/hold") == 0)
    hold(r->fd);
  else if (strcmp(r->path, "/post") == 0)
    web_answer(r->fd, "application/ocsp-response", r->body, r->body_n);
  else if (strcmp(r->path, "/moved") == 0)
    redirect(r->fd, "/post");
  else if (strcmp(r->path, "/drip") == 0)
    for (int i = 0; i < 100 && web_say(r->fd, i ? "x" : "HTTP/1.0 200 OK\r\nA: "); i++)
      usleep(100000);
  else
    web_say(r->fd, "HTTP/1.0 404 Not Found\r\n\r\n");
}

static void open_all(void) {
  signal(SIGPIPE, SIG_IGN); /* as main does */
  memset(&rt, 0, sizeof(rt));
  done_n = 0;
  cr_assert_eq(tl_mailbox_init(&rt.control.mailbox, 1024), 0);
  port = web_open(serve);
  fetcher = tl_fetch_new(&rt);
  cr_assert_not_null(fetcher);
  cr_assert_eq(tl_fetch_start(fetcher), 0);
}

static void take(int timeout_ms) {
  struct pollfd p = {.fd = rt.control.mailbox.efd, .events = POLLIN};
  poll(&p, 1, timeout_ms);
  tl_mailbox_rearm(&rt.control.mailbox);
  tl_mailbox_deliver(&rt.control.mailbox, NULL, UINT32_MAX);
}

static void stop_threads(void) {
  if (fetcher) tl_fetch_stop(fetcher);
  tl_fetch_free(fetcher);
  fetcher = NULL;
}

static void close_all(void) {
  stop_threads();
  take(0);
  web_close();
  tl_mailbox_destroy(&rt.control.mailbox);
}

static void on_done(struct tl_fetch *f, void *arg) {
  cr_assert_eq(arg, &rt);
  done_n++;
  last_rc = f->rc;
  last_n = f->n < sizeof(last_data) ? f->n : sizeof(last_data);
  if (f->n) memcpy(last_data, f->data, last_n);
  snprintf(last_why, sizeof(last_why), "%s", f->why);
}

static struct tl_fetch *order(const char *path) {
  struct tl_fetch *f = calloc(1, sizeof(*f));
  snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u%s", port, path);
  f->timeout_ms = 5000;
  f->max_bytes = 100000;
  f->done = on_done;
  f->arg = &rt;
  return f;
}

static void run(struct tl_fetch *f) {
  unsigned before = done_n;
  cr_assert_eq(tl_fetch_order(fetcher, f), 0);
  for (int i = 0; i < 300 && done_n == before; i++) take(100);
  cr_assert_eq(done_n, before + 1);
}

static void expect(const char *path, int rc, const char *why) {
  run(order(path));
  cr_assert_eq(last_rc, rc, "%s: %d %s", path, last_rc, last_why);
  cr_assert(strstr(last_why, why), "%s: %s", path, last_why);
}

TestSuite(fetch, .init = open_all, .fini = close_all, .timeout = 60);

Test(fetch, an_object_comes_back_whole) {
  expect("/der", 0, "");
  cr_assert_eq(last_n, sizeof(der));
  cr_assert_arr_eq(last_data, der, sizeof(der));
  expect("/with?query=1", 0, "");
  cr_assert_eq(rt.control.counters.v[TL_C_FETCH_OK], 2);
  cr_assert_eq(rt.control.counters.v[TL_C_FETCH_NOW], 0);
}

Test(fetch, a_post_carries_its_body_and_follows_nobody) {
  for (int i = 0; i < 2; i++) {
    struct tl_fetch *f = order(i ? "/moved" : "/post");
    f->body = malloc(sizeof(der));
    memcpy(f->body, der, sizeof(der));
    f->body_n = sizeof(der);
    f->content_type = "application/ocsp-request";
    f->expected_type = "application/ocsp-response";
    run(f);
    cr_assert_eq(last_rc, i ? TL_EIO : 0, "%s", last_why);
    if (i == 0) cr_assert_arr_eq(last_data, der, sizeof(der));
  }
}

Test(fetch, redirections_are_followed_but_not_for_ever_or_elsewhere) {
  expect("/near", 0, "");
  expect("/far", 0, "");
  unsigned before = web_requests();
  expect("/loop", TL_EIO, "too many redirections");
  cr_assert_eq(web_requests() - before, TL_FETCH_REDIRECTS + 1);
  expect("/https", TL_EIO, "not an http:// URL");
  expect("/file", TL_EIO, "not an http:// URL");
}

Test(fetch, what_is_no_object_is_refused) {
  expect("/gone", TL_EIO, "404");
  expect("/text", TL_EIO, "");
  expect("/long", TL_EIO, "");
  struct tl_fetch *f = order("/der");
  f->expected_type = "application/ocsp-response";
  run(f);
  cr_assert_eq(last_rc, TL_EIO);
}

Test(fetch, slow_servers_end_at_the_deadline) {
  static const char *const paths[] = {"/hold", "/drip"};
  for (int i = 0; i < 2; i++) {
    struct timespec a, b;
    struct tl_fetch *f = order(paths[i]);
    f->timeout_ms = 1000;
    clock_gettime(CLOCK_MONOTONIC, &a);
    run(f);
    clock_gettime(CLOCK_MONOTONIC, &b);
    cr_assert_eq(last_rc, TL_ETIMEOUT, "%s: %s", paths[i], last_why);
    cr_assert_leq(b.tv_sec - a.tv_sec, 4);
  }
}

Test(fetch, nobody_there_is_an_error_at_once) {
  struct tl_fetch *f = order("/der");
  snprintf(f->url, sizeof(f->url), "http://127.0.0.1:1/der");
  run(f);
  cr_assert_eq(last_rc, TL_EIO, "%s", last_why);
}

Test(fetch, only_plain_http_is_tried) {
  static const char *const bad[] = {"https://127.0.0.1/x",
                                    "ldap://127.0.0.1/x",
                                    "file:///etc/passwd",
                                    "127.0.0.1/x",
                                    "",
                                    "http://127.0.0.1/x\r\nHost: y",
                                    "http://[::1"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    const char *why = NULL;
    cr_assert_not(tl_fetch_url_ok(bad[i], &why), "%s", bad[i]);
    cr_assert_not_null(why);
    struct tl_fetch *f = order("");
    snprintf(f->url, sizeof(f->url), "%s", bad[i]);
    run(f);
    cr_assert_eq(last_rc, TL_EINVAL);
  }
  cr_assert(tl_fetch_url_ok("http://ocsp.example:8080/a?b", NULL));
}

Test(fetch, one_dead_server_leaves_threads_for_the_others) {
  for (int i = 0; i < 8; i++) {
    struct tl_fetch *f = order("/hold");
    cr_assert_eq(tl_fetch_order(fetcher, f), 0);
  }
  struct tl_fetch *f = order("");
  snprintf(f->url, sizeof(f->url), "http://localhost:%u/der", port);
  run(f); /* answered while the others still wait */
  cr_assert_eq(last_rc, 0, "%s", last_why);
}

Test(fetch, the_queue_is_bounded_and_the_end_answers_all) {
  for (int i = 0; i < TL_FETCH_MAX; i++) cr_assert_eq(tl_fetch_order(fetcher, order("/hold")), 0);
  struct tl_fetch *f = order("/der");
  cr_assert_eq(tl_fetch_order(fetcher, f), TL_ELIMIT);
  free(f);
  cr_assert_eq(rt.control.counters.v[TL_C_FETCH_REFUSED], 1);
  cr_assert_eq(rt.control.counters.v[TL_C_FETCH_NOW], TL_FETCH_MAX);
  stop_threads();
  take(0);
  cr_assert_eq(done_n, TL_FETCH_MAX);
  cr_assert_eq(last_rc, TL_ECLOSED);
  cr_assert_eq(rt.control.counters.v[TL_C_FETCH_NOW], 0);
}

/* An answer that nobody takes any more is called back all the same, once. */
Test(fetch, an_answer_left_in_the_mailbox_is_called_back) {
  cr_assert_eq(tl_fetch_order(fetcher, order("/der")), 0);
  for (int i = 0; i < 500 && !tl_mailbox_depth(&rt.control.mailbox); i++) usleep(10000);
  stop_threads();
  cr_expect_eq(done_n, 0);
  cr_expect_eq(tl_mailbox_drop(&rt.control.mailbox), 1);
  cr_expect_eq(done_n, 1);
  cr_expect_eq(last_rc, TL_ECLOSED);
  cr_expect_eq(rt.control.counters.v[TL_C_FETCH_NOW], 0);
}
