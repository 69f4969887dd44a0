/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of the network side's tests; the promises stand in the header. */
#include "test_net_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/handoff.h"
#include "test_port.h"
#include "tieline/edit.h"
#include "tieline/rcu.h"
#include "tieline/time.h"

struct rig rig;
static struct tl_net own_net;

/* ---- handler ---- */

static void keep(struct rig *r, const struct tl_flow *from, const struct tl_msg *m,
                 const struct tl_body *b) {
  cr_assert_lt(r->n_got, RIG_GOT_MAX);
  struct rig_got *g = &r->got[r->n_got++];
  size_t len = 0;
  for (uint32_t i = 0; i < b->n; i++) len += b->seg[i].n;
  cr_assert_eq(len + (b->kernel ? tl_kernel_body_len(b->kernel) : 0), b->len,
               "pieces and length of a body");
  g->p = malloc(m->head_len + len);
  memcpy(g->p, m->p, m->head_len);
  g->n = m->head_len;
  g->conn = from->conn;
  for (uint32_t i = 0; i < b->n; i++) {
    memcpy(g->p + g->n, b->seg[i].p, b->seg[i].n);
    g->n += b->seg[i].n;
  }
}

static void message(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                    const struct tl_msg *m, const struct tl_body *body) {
  struct rig *r = n->proxy;
  r->last_conn = from->conn;
  keep(r, from, m, body);
  struct tl_conn *to = r->forward_to ? tl_conn_get(n, r->forward_to) : NULL;
  struct tl_conn *fork = r->fork_to ? tl_conn_get(n, r->fork_to) : NULL;
  struct tl_edit e;
  tl_edit_init(&e, m);
  if (fork && body->kernel) cr_assert_eq(tl_kernel_body_settle(body->kernel), TL_OK);
  if (to) r->forward_rc = tl_conn_send_edit(to, &e, body);
  if (fork && r->forward_rc == TL_OK) r->forward_rc = tl_conn_send_edit(fork, &e, body);
  if (r->on_message) r->on_message(r, c, m);
}

static void bad(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                const struct tl_msg *m, const struct tl_scan_error *err) {
  struct rig *r = n->proxy;
  (void)from;
  (void)m;
  r->n_bad++;
  r->bad_status = err->status;
  if (r->answer_bad && c) tl_conn_send(c, "BAD BAD BAD BAD\n", 16);
}

static void closed(struct tl_net *n, struct tl_conn *c, int rc) {
  struct rig *r = n->proxy;
  r->n_closed++;
  r->closed_rc = rc;
  r->no_memory |= rc == TL_ENOMEM && !r->starved;
  r->last_conn = tl_conn_id_of(c);
}

static const struct tl_net_handler handler = {.message = message, .bad = bad, .closed = closed};

/* ---- begin and end ---- */

static struct tl_conf *load(const char *extra, bool udp, const struct tl_conf *previous) {
  size_t cap = strlen(extra) + 512;
  char *text = malloc(cap);
  cr_assert_not_null(text);
  int n = snprintf(text, cap, "workers = 1 log_level = error\nlisten \"tcp:127.0.0.1:%u\" {}\n",
                   tl_addr_port(&rig.tcp));
  if (udp)
    n += snprintf(text + n, cap - (size_t)n, "listen \"udp:127.0.0.1:%u\" {}\n",
                  tl_addr_port(&rig.udp));
  snprintf(text + n, cap - (size_t)n, "%s\n%s", extra,
           strstr(extra, "route ")
               ? ""
               : "route \"all\" { relay = \"request-uri\" preloaded_route = \"allow\" }\n");
  struct conf_try t = conf_try(text, previous);
  free(text);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  return t.conf;
}

/* C is taken over. */
static void publish(struct tl_conf *c) {
  conf_publish(&rig.rt, c);
  tl_conf_unref(c);
}

void rig_begin_with(struct tl_net *net, struct tl_thread *th, const struct tl_net_handler *h,
                    void *proxy, const char *extra) {
  char err[256] = "";
  conf_setup();
  tl_rcu_thread_begin();
  memset(&rig, 0, sizeof(rig));
  rig.net = net;
  rig.tcp = test_port(SOCK_STREAM);
  rig.udp = test_port(SOCK_DGRAM);
  publish(load(extra, true, NULL));
  rig.rt.n_worker = 1;
  rig.rt.worker[0] = th;
  for (unsigned i = 0; i < sizeof(rig.rt.secret); i++) rig.rt.secret[i] = (uint8_t)(i * 7 + 1);
  rig.rt.incarnation = 11;
  th->rt = &rig.rt;
  cr_assert_eq(tl_mailbox_init(&th->mailbox, 1024), 0);
  cr_assert_eq(tl_net_init(net, th, h, proxy, err, sizeof(err)), 0, "%s", err);
}

void net_begin(const char *extra) { rig_begin_with(&own_net, &rig.th, &handler, &rig, extra); }

void rig_reload(const char *extra, bool udp) {
  publish(load(extra, udp, rig.rt.view->conf));
  rig_turn();
}

void rig_forget(void) {
  for (unsigned i = 0; i < rig.n_got; i++) free(rig.got[i].p);
  rig.n_got = 0;
}

static void expect_empty(struct tl_pool *p, const char *name) {
  cr_expect_eq(p->used, 0, "%zu of %s left", p->used, name);
  if (p->used == 0) tl_pool_destroy(p);
}

void net_end(void) {
  struct tl_net *n = rig.net;
  tl_net_exit(n);
  cr_expect_eq(n->n_conn, 0);
  cr_expect_eq(rig_count(TL_C_CONN_NOW), 0);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 0);
  cr_expect_eq(rig_count(TL_C_WAIT_DIAL), 0);
  cr_expect_eq(atomic_load(&rig.rt.connections), 0);
  expect_empty(&n->conns, "conns");
  expect_empty(&n->chunks, "chunks");
  expect_empty(&n->refs, "refs");
  expect_empty(&n->stash_small, "stash_small");
  expect_empty(&n->stash_mid, "stash_mid");
  expect_empty(&n->dgram_small, "dgram_small");
  rig_forget();
  tl_mailbox_destroy(&n->th->mailbox);
  tl_view_unref(rig.rt.view);
  tl_rcu_thread_end();
  conf_teardown();
}

/* ---- time ---- */

static void turn(void) {
  tl_mailbox_wake(&rig.net->th->mailbox); /* or the turn would wait */
  cr_assert_eq(tl_net_turn(rig.net), 0);
}

/* Without memory a connection ends that the test goes on to look at: it ends, too, but not before
 * all is cleared away. */
void rig_turn(void) {
  turn();
  for (int i = 0; rig.no_memory && i < 12; i++) turn();
  cr_assert_not(rig.no_memory, "a connection closed for want of memory");
}

void rig_settle(void) {
  for (int i = 0; i < 12; i++) rig_turn();
}

void rig_sleep(unsigned ms) {
  for (uint64_t until = tl_now_ms() + ms; tl_now_ms() < until; usleep(500)) rig_turn();
}

uint64_t rig_count(enum tl_counter id) { return tl_count_get(rig.net->counters, id); }

/* ---- peers ---- */

static struct tl_conn *with_fd(int fd) {
  for (uint32_t i = 0; i < rig.net->slots.n; i++) {
    struct tl_conn *c = rig.net->slots.at[i].object;
    if (c && c->kept.fd == fd) return c;
  }
  return NULL;
}

int rig_connect(struct tl_conn **out_c) {
  struct tl_addr me;
  socklen_t len = sizeof(me);
  uint64_t before = rig_count(TL_C_CONN_ACCEPTED);
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  cr_assert_eq(connect(fd, &rig.tcp.sa, sizeof(rig.tcp.v4)), 0);
  getsockname(fd, &me.sa, &len);
  RIG_UNTIL(rig_count(TL_C_CONN_ACCEPTED) > before);
  *out_c = NULL;
  for (uint32_t i = 0; i < rig.net->slots.n; i++) {
    struct tl_conn *c = rig.net->slots.at[i].object;
    if (c && tl_addr_eq(&c->view.peer, &me)) *out_c = c;
  }
  cr_assert_not_null(*out_c);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void random_dir(struct tl_dir_keys *d, unsigned seed) {
  for (unsigned i = 0; i < sizeof(d->key); i++) d->key[i] = (uint8_t)(seed * 31 + i);
  for (unsigned i = 0; i < sizeof(d->iv); i++) d->iv[i] = (uint8_t)(seed * 17 + i * 3);
  for (unsigned i = 0; i < sizeof(d->secret); i++) d->secret[i] = (uint8_t)(seed * 5 + i * 11);
}

static unsigned made;

static void make_keys(enum tl_tls_version v, enum tl_cipher cipher, struct tl_tls_keys *ours,
                      struct tl_tls_keys *theirs) {
  *ours = (struct tl_tls_keys){.version = v, .cipher = cipher};
  ours->key_len = cipher == TL_AES_128_GCM ? 16 : 32;
  ours->secret_len = v != TL_TLS_1_3 ? 0 : cipher == TL_AES_256_GCM ? 48 : 32;
  random_dir(&ours->tx, ++made);
  random_dir(&ours->rx, ++made);
  *theirs = *ours;
  theirs->tx = ours->rx;
  theirs->rx = ours->tx;
}

struct tl_conn *rig_adopt(int fd, const struct tl_tls_keys *keys, bool server,
                          struct tl_record *record, struct tl_tls_keys *rekey) {
  enum tl_ktls_why why = record ? TL_KTLS_CONFIG : TL_KTLS_ON;
  struct tl_handoff *h = calloc(1, sizeof(*h));
  h->rt = &rig.rt;
  h->fd = fd;
  h->version = keys->version;
  h->cipher = keys->cipher;
  h->server = server;
  h->ktls = (struct tl_ktls_state){why, why};
  h->transport = TL_TLS;
  cr_assert_eq(tl_addr_parse(TL_STR("192.0.2.9"), (uint16_t)(10000 + ++made), &h->peer), 0);
  h->local = rig.tcp;
  h->record = record;
  h->rekey = rekey;
  atomic_fetch_add(&rig.rt.connections, 1);
  tl_conn_adopt(rig.net, h);
  struct tl_conn *c = with_fd(fd);
  cr_assert_not_null(c);
  return c;
}

int rig_tls(enum tl_tls_version v, enum tl_cipher cipher, unsigned max_fragment,
            struct tl_conn **out_c, struct tl_record **out_peer) {
  struct tl_tls_keys ours, theirs;
  struct tl_record *record;
  int pair[2];
  make_keys(v, cipher, &ours, &theirs);
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  cr_assert_eq(tl_record_new(&ours, max_fragment, &record), 0);
  cr_assert_eq(tl_record_new(&theirs, 0, out_peer), 0);
  *out_c = rig_adopt(pair[0], &ours, true, record, NULL);
  fcntl(pair[1], F_SETFL, O_NONBLOCK);
  return pair[1];
}

/* Two ends of a TCP connection over loopback. */
static void tcp_pair(int fd[2]) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(bind(listener, (struct sockaddr *)&a, len), 0);
  cr_assert_eq(listen(listener, 1), 0);
  getsockname(listener, (struct sockaddr *)&a, &len);
  fd[1] = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(connect(fd[1], (struct sockaddr *)&a, len), 0);
  fd[0] = accept(listener, NULL, NULL);
  cr_assert_geq(fd[0], 0);
  for (int i = 0; i < 2; i++) setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  close(listener);
}

int rig_kernel_tls(enum tl_tls_version v, enum tl_cipher cipher, struct tl_conn **out_c,
                   struct tl_record **out_peer) {
  struct tl_tls_keys ours, theirs;
  struct tl_ktls_state state;
  struct tl_ktls_caps caps;
  int fd[2];
  cr_assert(tl_ktls_probe(&caps) == TL_OK && caps.ulp, "this kernel has no TLS");
  tcp_pair(fd);
  cr_assert_eq(tl_ktls_attach(fd[0]), TL_OK);
  make_keys(v, cipher, &ours, &theirs);
  cr_assert_eq(tl_ktls_install(fd[0], &caps, &ours, &state), TL_OK);
  cr_assert_eq(tl_record_new(&theirs, 0, out_peer), 0);
  *out_c = rig_adopt(fd[0], &ours, true, NULL, NULL);
  fcntl(fd[1], F_SETFL, O_NONBLOCK);
  return fd[1];
}

void rig_write(int fd, const void *p, size_t n) {
  const char *at = p;
  uint64_t until = tl_now_ms() + 5000;
  while (n) {
    ssize_t k = send(fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    cr_assert(k > 0 || errno == EAGAIN, "write: %s", strerror(errno));
    cr_assert_lt(tl_now_ms(), until, "the socket stays full");
    if (k <= 0) {
      rig_turn();
      continue;
    }
    at += k;
    n -= (size_t)k;
  }
}

void rig_read(int fd, void *p, size_t n) {
  char *at = p;
  uint64_t until = tl_now_ms() + 5000;
  while (n) {
    ssize_t k = recv(fd, at, n, MSG_DONTWAIT);
    cr_assert(k > 0 || (k < 0 && errno == EAGAIN), "read: %s with %zu to come",
              k ? strerror(errno) : "end", n);
    cr_assert_lt(tl_now_ms(), until, "%zu bytes never come", n);
    if (k <= 0) {
      rig_turn();
      continue;
    }
    at += k;
    n -= (size_t)k;
  }
}

bool rig_quiet(int fd) {
  char c;
  rig_settle();
  return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

void rig_read_end(int fd) {
  static char buf[65536];
  uint64_t until = tl_now_ms() + 5000;
  ssize_t k;
  while ((k = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0 || (k < 0 && errno == EAGAIN)) {
    cr_assert_lt(tl_now_ms(), until, "the connection stays");
    rig_turn();
  }
}

size_t rig_message(char *dst, unsigned n, size_t body) {
  int head = sprintf(dst,
                     "OPTIONS sip:bob@192.0.2.7 SIP/2.0\r\n"
                     "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK%u\r\n"
                     "From: <sip:alice@192.0.2.1>;tag=%u\r\nTo: <sip:bob@192.0.2.7>\r\n"
                     "Call-ID: c%u@192.0.2.1\r\nCSeq: %u OPTIONS\r\nMax-Forwards: 70\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     n, n, n, n + 1, body);
  for (size_t i = 0; i < body; i++) dst[(size_t)head + i] = (char)('a' + (i * 7 + n) % 26);
  return (size_t)head + body;
}
