/* SPDX-License-Identifier: Apache-2.0 */
/* No memory for the threads, the network side, and the control socket. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/test_conf_util.h"
#include "../unit/test_port.h"
#include "net/net_internal.h"
#include "proxy/proxy.h"
#include "test_oom_kit.h"
#include "tieline/handshaker.h"
#include "tieline/rcu.h"
#include "tieline/resolve.h"
#include "tieline/worker.h"

static char err[256];
static struct tl_runtime runtime;
static struct tl_thread thread;
static struct tl_net net;

static void begin(void) {
  char text[512];
  struct tl_addr tcp = test_port(SOCK_STREAM), udp = test_port(SOCK_DGRAM);
  conf_setup();
  snprintf(text, sizeof(text),
           "workers = 1 listen \"tcp:127.0.0.1:%u\" {}\nlisten \"udp:127.0.0.1:%u\" {}\n"
           "peer \"p\" { uri = \"sip:127.0.0.1:9;transport=tcp\" max_calls = 3 probe = 1s }\n"
           "route \"all\" { peers = \"p\" }\n",
           tl_addr_port(&tcp), tl_addr_port(&udp));
  struct conf_try t = conf_try(text, NULL);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  conf_publish(&runtime, t.conf);
  conf_try_free(&t);
  runtime.n_worker = runtime.n_handshaker = 1;
  cr_assert_eq(tl_mailbox_init(&runtime.resolver, 100), 0);
}

static void end(void) {
  tl_mailbox_destroy(&runtime.resolver);
  tl_view_unref(runtime.view);
  conf_teardown();
}

TestSuite(oom_net, .init = begin, .fini = end);

static struct tl_ring ring;
static int make_ring(void) { return tl_ring_init(&ring, 64); }
static void drop_ring(void) { tl_ring_exit(&ring); }

static struct tl_bufs bufs;
static int make_bufs(void) { return tl_bufs_init(&bufs, &ring, 1, 64, 4096); }
static void drop_bufs(void) { tl_bufs_exit(&bufs, &ring); }

static void closed(struct tl_net *n, struct tl_conn *c, int rc) {
  (void)n;
  (void)c;
  (void)rc;
}
static const struct tl_net_handler handler = {.closed = closed};

static int make_net(void) { return tl_net_init(&net, &thread, &handler, NULL, err, sizeof(err)); }
static void drop_net(void) {
  tl_net_exit(&net);
  tl_pool_destroy(&net.conns);
}

static struct tl_conn *conn;
static int make_conn(void) {
  struct tl_conn_key key = {.transport = TL_TCP};
  cr_assert_eq(tl_addr_parse(TL_STR("127.0.0.1"), 9, &key.addr), 0);
  return tl_conn_open(&net, &key, &conn);
}
static void drop_conn(void) { tl_conn_abort(conn, TL_EIO); }

Test(oom_net, the_network_side_is_refused_or_whole) {
  static const struct oom_case bufs_case = {"receive buffers", make_bufs, drop_bufs, 0, false};
  static const struct oom_case net_case = {"network side", make_net, drop_net, 0, false};
  static const struct oom_case conn_case = {"connection", make_conn, drop_conn, 0, false};
  tl_rcu_thread_begin();
  cr_assert_eq(make_ring(), 0);
  oom_case_run(&bufs_case);
  drop_ring();
  thread.rt = &runtime;
  cr_assert_eq(tl_mailbox_init(&thread.mailbox, 100), 0);
  oom_case_run(&net_case);
  cr_assert_eq(make_net(), 0);
  oom_case_run(&conn_case);
  drop_net();
  tl_mailbox_destroy(&thread.mailbox);
  tl_rcu_thread_end();
}

static void free_thread(_Atomic(struct tl_thread *) *at) {
  struct tl_thread *th = *at;
  tl_mailbox_destroy(&th->mailbox);
  free(th);
  *at = NULL;
}

static int make_worker(void) { return tl_worker_start(&runtime, 0, err, sizeof(err)); }
static void drop_worker(void) {
  struct tl_proxy *p = (struct tl_proxy *)runtime.worker[0];
  tl_worker_stop(&runtime, 0);
  free(p->net);
  free_thread(&runtime.worker[0]);
}

static int make_handshaker(void) { return tl_handshaker_start(&runtime, 0, err, sizeof(err)); }
static void drop_handshaker(void) {
  tl_handshaker_stop(&runtime, 0);
  free_thread(&runtime.handshaker[0]);
}

static int make_resolver(void) {
  tl_mailbox_destroy(&runtime.resolver);
  return tl_resolver_start(&runtime.resolver, &runtime.resolver_counters);
}
static void drop_resolver(void) { tl_resolver_stop(); }

Test(oom_net, threads_start_or_say_why_not, .timeout = 30) {
  static const struct oom_case cases[] = {
      {"worker", make_worker, drop_worker, 0, true},
      {"handshake thread", make_handshaker, drop_handshaker, 0, true},
      {"resolver", make_resolver, drop_resolver, 0, true},
  };
  OOM_RUN_ALL(cases);
}
