/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: phases and event loop. Connect all callers, prime (one
 * request per server), warm up, measure, drain, report.
 *
 * Exit status: 0 all was right, 1 failures were counted, 2 wrong usage or the
 * set-up failed.
 */
#include "load.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { CONNECT_FAILURES = 10 }; /* before the start: nobody is there, so why go on */

struct load L;

static volatile sig_atomic_t interrupted;

static void on_signal(int sig) { interrupted = sig; }

static void raise_limits(void) {
  struct rlimit r;
  if (!getrlimit(RLIMIT_NOFILE, &r)) {
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
  }
}

static int set_up(void) {
  L.rnd = L.o.seed * 0x9e3779b97f4a7c15u | 1;
  /* Two runs against one proxy must not share Call-IDs. */
  L.run_id = (uint32_t)(next_random() ^ mono_ns());
  raise_limits();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  L.ep = epoll_create1(EPOLL_CLOEXEC);
  L.callers = calloc(L.o.connections, sizeof(*L.callers));
  L.listeners = calloc(L.o.servers, sizeof(*L.listeners));
  if (L.ep < 0 || !L.callers || !L.listeners || build_setup()) return -1;
  bool tls = L.o.caller_tr == TR_TLS || L.o.callee_tr == TR_TLS;
  if (tls && tls_setup()) return -1;
  for (unsigned i = 0; i < L.o.servers; i++)
    if (io_listen(i)) return -1;
  for (unsigned i = 0; i < L.o.connections; i++) {
    struct conn *c = &L.callers[i];
    c->index = i;
    c->role = ROLE_CALLER;
    c->tr = L.o.caller_tr;
    c->fd = -1;
    c->state = CONN_CLOSED;
    c->slots = calloc(L.o.window, sizeof(*c->slots));
    if (!c->slots) return -1;
  }
  return 0;
}

/* Opens what is closed, a few at a time: a storm of handshakes is not what is measured. */
static void keep_open(void) {
  if (L.opened + L.connecting == L.o.connections) return;
  for (unsigned i = 0; i < L.o.connections && L.connecting < L.o.handshakes; i++)
    if (L.callers[i].state == CONN_CLOSED && L.failures < L.o.max_failures)
      io_connect(&L.callers[i]);
}

static void enter(enum phase p) {
  L.phase = p;
  L.phase_t_ns = L.now_ns;
  if (p == PH_MEASURE) {
    latency_reset();
    mark_take(&L.m_start);
    L.base = L.c;
  }
  if (p == PH_DRAIN) {
    mark_take(&L.m_end);
    if (!L.m_start.t_ns) L.m_start = L.m_end; /* it never came to measuring */
    L.at_end = L.c;
  }
  if (p == PH_PRIME || p == PH_WARM || p == PH_MEASURE)
    for (unsigned i = 0; i < L.o.connections; i++) caller_fill(&L.callers[i]);
}

static void begin_load(void) { enter(L.o.warmup_s > 0 ? PH_WARM : PH_MEASURE); }

static bool measured_share(double share) {
  if (L.o.count) return (double)(L.c.done - L.base.done) >= (double)L.o.count * share;
  return (double)(L.now_ns - L.phase_t_ns) >= L.o.seconds * 1e9 * share;
}

static void step(void) {
  switch (L.phase) {
  case PH_CONNECT:
    if (L.opened < L.o.connections) break;
    if (L.o.prime && !L.o.direct)
      enter(PH_PRIME);
    else
      begin_load();
    break;
  case PH_PRIME:
    if (L.primed == L.o.servers && !L.in_flight) begin_load();
    break;
  case PH_WARM:
    if ((double)(L.now_ns - L.phase_t_ns) >= L.o.warmup_s * 1e9) enter(PH_MEASURE);
    break;
  case PH_MEASURE:
    if (!L.m_tenth.t_ns && measured_share(.1)) mark_take(&L.m_tenth);
    /* With a count, what failed will not be done: the last answer ends it too. */
    if (measured_share(1) || (L.o.count && !L.in_flight && L.opened == L.o.connections))
      enter(PH_DRAIN);
    break;
  case PH_DRAIN:
    if (!L.in_flight) L.phase = PH_END;
    break;
  case PH_END: break;
  }
  bool hopeless = L.failures >= (L.phase == PH_CONNECT ? CONNECT_FAILURES : L.o.max_failures);
  if (hopeless || interrupted || L.now_ns > L.deadline_ns) {
    if (L.now_ns > L.deadline_ns)
      load_fail("time limit", NULL, NULL, "--limit %.0f s", L.o.limit_s);
    if (interrupted) load_fail("interrupted", NULL, NULL, "signal %d", (int)interrupted);
    if (L.phase < PH_DRAIN) enter(PH_DRAIN);
    L.phase = PH_END;
  }
}

static void run(void) {
  struct epoll_event ev[256];
  uint64_t next_sweep_ns = 0, next_progress_ns = mono_ns() + 5000000000ull;
  L.now_ns = mono_ns();
  L.deadline_ns = L.now_ns + (uint64_t)(L.o.limit_s * 1e9);
  while (L.phase != PH_END) {
    keep_open();
    int n = epoll_wait(L.ep, ev, 256, 20);
    L.now_ns = mono_ns();
    for (int i = 0; i < n; i++) io_event(ev[i].data.ptr, ev[i].events);
    step();
    if (L.now_ns >= next_sweep_ns) {
      caller_sweep();
      next_sweep_ns = L.now_ns + 50000000;
    }
    io_flush_all();
    if (L.now_ns >= next_progress_ns) {
      progress_print();
      next_progress_ns = L.now_ns + 5000000000ull;
    }
  }
}

static void tear_down(void) {
  for (unsigned i = 0; i < L.o.connections; i++) {
    io_close(&L.callers[i], "end");
    for (unsigned k = 0; k < L.o.window; k++) free(L.callers[i].slots[k].ok.p);
    free(L.callers[i].slots);
    free(L.callers[i].in.p);
    free(L.callers[i].out.p);
  }
  for (struct conn *c = L.accepted; c; c = c->next) io_close(c, "end");
  io_flush_all();
  for (unsigned i = 0; i < L.o.servers; i++) {
    tls_close(&L.listeners[i]);
    free(L.listeners[i].in.p);
    free(L.listeners[i].out.p);
  }
  SSL_CTX_free(L.ctx_caller);
  SSL_CTX_free(L.ctx_callee);
  free(L.callers);
  free(L.listeners);
  free(L.pool);
  free(L.fixed);
}

int main(int argc, char **argv) {
  if (options_parse(argc, argv, &L.o)) return 2;
  if (set_up()) {
    fputs("load: set-up failed\n", stderr);
    return 2;
  }
  run();
  if (!L.o.count && L.c.done == L.base.done)
    load_fail("nothing done", NULL, NULL, "no transaction");
  int rc = report_print();
  tear_down();
  return rc;
}
