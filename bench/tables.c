/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build/bench/tables [N...]: what the tables of peers and routes cost with N of
 * each (default 10, 1,000, 10,000 and 100,000): the reading of the configuration
 * for each, and the look-ups that a message makes. Times are of this thread's
 * processor time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tieline/log.h"
#include "tieline/rcu.h"
#include "tieline/tls.h"
#include "tieline/view.h"

#define ROUNDS 200000u

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report_problem(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  fprintf(stderr, "%s:%d: %s\n", file ? file : "tables", line, sentence);
}

/* A peer with an address, a network and a name of its own, and a route to it by a prefix. */
static void write_pair(FILE *f, unsigned i) {
  fprintf(f,
          "peer \"p%u\" { uri = \"sip:10.%u.%u.%u:5060;transport=tcp\" "
          "networks = \"172.%u.%u.%u/32\" }\n",
          i, i >> 16 & 255, i >> 8 & 255, i & 255, 16 + (i >> 16 & 15), i >> 8 & 255, i & 255);
  fprintf(f, "route \"r%u\" { to_prefix = \"+49%u\" peers = \"p%u\" }\n", i, 1000000 + i, i);
}

static void write_configuration(const char *file, unsigned n) {
  FILE *f = fopen(file, "w");
  if (!f) exit(2);
  fputs("workers = 1 log_level = error\nlisten \"tcp:127.0.0.1:5060\" {}\n", f);
  for (unsigned i = 0; i < n; i++) write_pair(f, i);
  fclose(f);
}

static unsigned offered;

static bool refuse_route(void *arg, uint32_t number) {
  (void)arg, (void)number;
  offered++;
  return false;
}

static bool note_peer(void *arg, uint32_t number) {
  (void)arg, (void)number;
  offered++;
  return true;
}

static double route_ns(const struct tl_view *v, const char *user) {
  struct tl_route_query q = {.user = tl_str_c(user), .host = TL_STR("carrier.example")};
  q.next_host = q.host;
  double began = now_s();
  for (unsigned i = 0; i < ROUNDS; i++) {
    q.peer = i | 1;
    if (tl_route_index_find(&v->routes->index, &q, refuse_route, NULL) != TL_ROUTE_NONE) exit(2);
  }
  return (now_s() - began) * 1e9 / ROUNDS;
}

/* As a source is looked for: by its address, then by the networks. */
static double source_ns(const struct tl_view *v, unsigned first) {
  const struct tl_peer_table *t = v->peers;
  struct tl_addr a;
  if (tl_addr_parse(TL_STR("192.0.2.1"), 5060, &a)) exit(2);
  double began = now_s();
  for (unsigned i = 0; i < ROUNDS; i++) {
    a.v4.sin_addr.s_addr = htonl(first + i % 251);
    tl_peer_index_by_addr(&t->index, &a, note_peer, NULL);
    tl_peer_index_by_network(&t->index, TL_PEER_BY_TLS, &a, note_peer, NULL);
  }
  return (now_s() - began) * 1e9 / ROUNDS;
}

static void measure(unsigned n) {
  char file[] = "/tmp/tieline-tables-XXXXXX";
  struct tl_view *v;
  int fd = mkstemp(file);
  if (fd < 0) exit(2);
  close(fd);
  write_configuration(file, n);
  double began = now_s();
  int rc = tl_conf_load(file, NULL, report_problem, NULL, &v);
  double load_us = (now_s() - began) * 1e6 / n;
  unlink(file);
  if (rc) exit(2);
  printf("%8u %10.1f %12.0f %12.0f %12.0f %12.0f\n", n, load_us, route_ns(v, "+4420123456"),
         route_ns(v, "+491000007123"), source_ns(v, 0xc0000200), source_ns(v, 0x0a000000));
  tl_view_unref(v);
}

int main(int argc, char **argv) {
  static const unsigned sizes[] = {10, 1000, 10000, 100000};
  tl_rcu_thread_begin();
  tl_log_set_level(TL_LOG_ERROR);
  tl_tls_init();
  setenv("STATE_DIRECTORY", "/proc/none", 1); /* no token keys of this machine */
  printf("%8s %10s %12s %12s %12s %12s\n", "n", "load us/n", "no route ns", "a prefix ns",
         "nobody ns", "a peer ns");
  for (int i = 1; i < argc; i++) measure((unsigned)strtoul(argv[i], NULL, 10));
  for (size_t i = 0; argc == 1 && i < sizeof(sizes) / sizeof(*sizes); i++) measure(sizes[i]);
  tl_rcu_thread_end();
  return 0;
}
