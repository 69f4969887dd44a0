/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of the proxy's tests; the promises stand in the header. */
#include "test_proxy_rig.h"
#include "tieline/time.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

struct tl_proxy px;
static struct tl_net px_net;

void proxy_begin(const char *extra) {
  memset(&px, 0, sizeof(px));
  px.net = &px_net;
  rig_begin_with(px.net, &px.th, &tl_proxy_handler, &px, extra);
  cr_assert_eq(tl_mailbox_init(&rig.rt.resolver, 100), 0);
  cr_assert_eq(tl_proxy_init(&px), 0);
}

static size_t saved_used(void) {
  size_t n = 0;
  for (unsigned i = 0; i < sizeof(px.saved) / sizeof(px.saved[0]); i++) n += px.saved[i].used;
  return n;
}

static void expect_nothing_saved(void) {
  cr_expect_eq(px.txns->n, 0);
  cr_expect_eq(rig_count(TL_C_TXN_NOW), 0);
  cr_expect_eq(px.txns->pool.used, 0, "%zu transactions left", px.txns->pool.used);
  cr_expect_eq(px.branches->pool.used, 0, "%zu branches left", px.branches->pool.used);
  cr_expect_eq(px.plans.used, 0, "%zu plans left", px.plans.used);
  cr_expect_eq(saved_used(), 0, "%zu saved messages left", saved_used());
  cr_expect_eq(px.saved_large, 0, "%zu bytes of saved messages left", px.saved_large);
}

/* The end of the tables asserts that each pool has its objects back. */
void proxy_end(void) {
  tl_proxy_exit(&px);
  cr_expect_eq(rig_count(TL_C_TXN_NOW), 0);
  cr_expect_eq(px.saved_large, 0, "%zu bytes of saved messages left", px.saved_large);
  tl_mailbox_destroy(&rig.rt.resolver);
  net_end();
}

static bool nothing_saved(void) {
  return px.txns->n == 0 && rig_count(TL_C_TXN_NOW) == 0 && px.txns->pool.used == 0 &&
         px.branches->pool.used == 0 && px.plans.used == 0 && saved_used() == 0;
}

/* A thread that did not run for a while sees its timers late, and those that they start later. */
void proxy_end_clean(void) {
  rig_sleep(LINGER_MS);
  for (uint64_t until = tl_now_ms() + 5000; !nothing_saved() && tl_now_ms() < until;) rig_sleep(10);
  expect_nothing_saved();
  proxy_end();
}

int rig_plan(struct tl_req *req, const struct tl_flow *from, const struct tl_msg *m,
             struct tl_plan *plan, unsigned *status) {
  static const struct tl_body none;
  tl_req_init(req, &px, &(struct tl_origin){.from = from}, m, &none);
  req->plan = plan;
  int rc = tl_stages_plan(req);
  *status = req->status;
  return rc;
}

/* ---- neighbours ---- */

static void bound(struct ua *u, int type) {
  struct tl_addr a;
  socklen_t len = sizeof(a);
  memset(u, 0, sizeof(*u));
  u->conn = -1;
  tl_addr_parse(TL_STR("127.0.0.1"), 0, &a);
  u->fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
  cr_assert_eq(bind(u->fd, &a.sa, sizeof(a.v4)), 0);
  cr_assert_eq(getsockname(u->fd, &a.sa, &len), 0);
  u->port = tl_addr_port(&a);
}

void ua_udp(struct ua *u) { bound(u, SOCK_DGRAM); }

void ua_tcp_listen(struct ua *u) {
  bound(u, SOCK_STREAM);
  cr_assert_eq(listen(u->fd, 10), 0);
}

void ua_tcp_connect(struct ua *u) {
  struct tl_addr a;
  socklen_t len = sizeof(a);
  int one = 1;
  memset(u, 0, sizeof(*u));
  u->fd = -1;
  u->conn = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(connect(u->conn, &rig.tcp.sa, sizeof(rig.tcp.v4)), 0);
  setsockopt(u->conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  fcntl(u->conn, F_SETFL, O_NONBLOCK);
  getsockname(u->conn, &a.sa, &len);
  u->port = tl_addr_port(&a);
}

void ua_close(struct ua *u) {
  if (u->fd >= 0) close(u->fd);
  if (u->conn >= 0) close(u->conn);
}

void ua_udp_each(struct ua *a, struct ua *b, struct ua *c) {
  ua_udp(a);
  ua_udp(b);
  ua_udp(c);
}

void ua_close_each(struct ua *a, struct ua *b, struct ua *c) {
  ua_close(a);
  ua_close(b);
  ua_close(c);
}

static bool is_stream(const struct ua *u) {
  int type = 0;
  socklen_t len = sizeof(type);
  if (u->fd < 0) return true;
  getsockopt(u->fd, SOL_SOCKET, SO_TYPE, &type, &len);
  return type == SOCK_STREAM;
}

void ua_send_n(struct ua *u, const char *text, size_t n) {
  if (is_stream(u))
    rig_write(u->conn, text, n);
  else
    cr_assert_eq(sendto(u->fd, text, n, 0, &rig.udp.sa, sizeof(rig.udp.v4)), (ssize_t)n);
}

void ua_send(struct ua *u, const char *text) { ua_send_n(u, text, strlen(text)); }

static size_t body_length(const char *head) {
  const char *p = strstr(head, "\r\nContent-Length:");
  return p ? strtoul(p + 17, NULL, 10) : 0;
}

/* One message of the stream, if all of it is there. */
static bool take_stream(struct ua *u) {
  static char peek[sizeof(u->in)];
  if (u->conn < 0) u->conn = accept4(u->fd, NULL, NULL, SOCK_NONBLOCK);
  ssize_t k = u->conn < 0 ? -1 : recv(u->conn, peek, sizeof(peek) - 1, MSG_PEEK);
  if (k <= 0) return false;
  peek[k] = '\0';
  const char *end = strstr(peek, "\r\n\r\n");
  if (!end) return false;
  size_t n = (size_t)(end - peek) + 4 + body_length(peek);
  if ((size_t)k < n) return false;
  u->n = (size_t)recv(u->conn, u->in, n, 0);
  return true;
}

static bool take_one(struct ua *u) {
  if (is_stream(u)) {
    if (!take_stream(u)) return false;
  } else {
    ssize_t k = recv(u->fd, u->in, sizeof(u->in) - 1, 0);
    if (k <= 0) return false;
    u->n = (size_t)k;
  }
  u->in[u->n] = '\0';
  return true;
}

static uint64_t hash_of(const char *text) {
  uint64_t h = 0xcbf29ce484222325u;
  while (*text) h = (h ^ (unsigned char)*text++) * 0x100000001b3u;
  return h;
}

/* Is the message at hand the same as an earlier one? */
static bool was_seen(struct ua *u, bool *out_last) {
  const unsigned most = sizeof(u->seen) / sizeof(*u->seen);
  uint64_t h = hash_of(u->in);
  *out_last = u->n_seen && u->seen[(u->n_seen - 1) % most] == h;
  bool seen = *out_last;
  for (unsigned i = 0; i < most && i < u->n_seen; i++) seen |= u->seen[i] == h;
  u->seen[u->n_seen++ % most] = h;
  return seen;
}

/* On a slow machine the proxy repeats what nobody has lost. */
static bool take(struct ua *u) {
  bool last;
  while (take_one(u)) {
    u->again = was_seen(u, &last);
    if (u->repeats || !last) return true;
  }
  return false;
}

/* A 100 depends on how slow the machine is; who does not ask for it passes it over. */
static bool is_trying(const struct ua *u, const char *start) {
  static const char trying[] = "SIP/2.0 100";
  return strncmp(u->in, trying, sizeof(trying) - 1) == 0 &&
         strncmp(start, trying, sizeof(trying) - 1) != 0;
}

/* Repeated a little late: the next message has overtaken it. */
static bool is_late(const struct ua *u, const char *start) {
  return u->again && !u->repeats && strncmp(u->in, start, strlen(start)) != 0;
}

void ua_expect(struct ua *u, const char *start) {
  uint64_t until = tl_now_ms() + 5000;
  while (!take(u) || is_trying(u, start) || is_late(u, start)) {
    cr_assert_lt(tl_now_ms(), until, "%s never comes", start);
    rig_turn();
  }
  cr_assert(strncmp(u->in, start, strlen(start)) == 0, "%s expected, not\n%s", start, u->in);
}

/* RFC 4320 4.1: late, the caller of anything but INVITE is told that we are still at it. */
static bool is_late_trying(const struct ua *u) {
  const char *method = strstr(u->in, "\r\nCSeq:");
  return is_trying(u, "") && method && !strstr(method, " INVITE\r\n");
}

void ua_expect_silence(struct ua *u, unsigned ms) {
  rig_sleep(ms);
  while (take(u))
    cr_assert((u->again && !u->repeats) || is_late_trying(u), "silence expected, not\n%s", u->in);
}

/* The I-th line that begins with NAME and a colon. */
static const char *find_header(const struct ua *u, const char *name, unsigned i) {
  const char *end = strstr(u->in, "\r\n\r\n");
  size_t n = strlen(name);
  for (const char *p = u->in; p && p < end; p = strstr(p, "\r\n")) {
    if (p != u->in) p += 2;
    if (strncasecmp(p, name, n) == 0 && p[n] == ':' && i-- == 0) return p + n + 1;
  }
  return NULL;
}

unsigned ua_headers(const struct ua *u, const char *name) {
  unsigned n = 0;
  while (find_header(u, name, n)) n++;
  return n;
}

const char *ua_header(const struct ua *u, const char *name, unsigned i) {
  static char value[8][80000];
  static unsigned next;
  char *out = value[next++ % 8];
  const char *p = find_header(u, name, i);
  cr_assert_not_null(p, "no %s (%u) in\n%s", name, i, u->in);
  while (*p == ' ') p++;
  size_t n = (size_t)(strstr(p, "\r\n") - p);
  cr_assert_lt(n, sizeof(value[0]));
  memcpy(out, p, n);
  out[n] = '\0';
  return out;
}

const char *ua_body(const struct ua *u) { return strstr(u->in, "\r\n\r\n") + 4; }

const char *ua_info_to_name(const struct ua *u, const char *lines) {
  static char text[4000];
  snprintf(text, sizeof(text),
           "INFO sip:x@far.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%u;branch=z9hG4bKd2\r\n"
           "From: <sip:alice@127.0.0.1>;tag=a-d\r\nTo: <sip:bob@example.com>;tag=b\r\n"
           "Call-ID: d@127.0.0.1\r\nCSeq: 2 INFO\r\nMax-Forwards: 70\r\n%s"
           "Content-Length: 0\r\n\r\n",
           u->port, lines);
  return text;
}

char *ua_request(const struct ua *u, const char *method, const char *uri, const char *id,
                 const char *extra, const char *body) {
  static char text[4][80000];
  static unsigned next;
  char *out = text[next++ % 4];
  snprintf(out, sizeof(text[0]),
           "%s %s SIP/2.0\r\nVia: SIP/2.0/%s 127.0.0.1:%u;branch=z9hG4bK%s\r\n"
           "From: <sip:alice@127.0.0.1>;tag=a-%s\r\nTo: <sip:bob@example.com>\r\n"
           "Call-ID: %s@127.0.0.1\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\n%sContent-Length: %zu\r\n"
           "\r\n%s",
           method, uri, is_stream(u) ? "TCP" : "UDP", u->port, id, id, id, method, extra,
           strlen(body), body);
  return out;
}

static size_t copy_headers(char *out, const struct ua *u, const char *name) {
  size_t n = 0;
  for (unsigned i = 0; i < ua_headers(u, name); i++)
    n += (size_t)sprintf(out + n, "%s: %s\r\n", name, ua_header(u, name, i));
  return n;
}

char *ua_response(const struct ua *u, const char *status_line, const char *tag, const char *extra) {
  static char text[4][80000];
  static unsigned next;
  char *out = text[next++ % 4];
  size_t n = (size_t)sprintf(out, "SIP/2.0 %s\r\n", status_line);
  n += copy_headers(out + n, u, "Via");
  n += copy_headers(out + n, u, "Record-Route");
  n += copy_headers(out + n, u, "From");
  n += (size_t)sprintf(out + n, "To: %s%s%s\r\n", ua_header(u, "To", 0), *tag ? ";tag=" : "", tag);
  n += copy_headers(out + n, u, "Call-ID");
  n += copy_headers(out + n, u, "CSeq");
  sprintf(out + n, "%sContent-Length: 0\r\n\r\n", extra);
  return out;
}
