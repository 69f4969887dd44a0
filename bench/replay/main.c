/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay DIRECTORY N: a fixed load through one worker, case after case, for
 * bench/check, which counts the instructions. DIRECTORY holds certificates made
 * by tests/support/pki, and gets the configuration. Prints for each case its name
 * and the messages that the worker received in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

/* A turn takes so long by the replay's clock. */
#define TURN_MS 1u
#define TURNS_MAX 1000000u
/* Until the last timer of RFC 3261 has fired. */
#define DRAIN_TURN_MS 50u

static const struct replay_case {
  const char *name;
  enum replay_kind kind;
  enum tl_transport transport;
  enum tl_tls_version version;
  enum tl_cipher cipher;
  unsigned window; /* requests at a time */
} cases[] = {
    {"options-tls", REPLAY_OPTIONS, TL_TLS, TL_TLS_1_3, TL_AES_128_GCM, 1},
    {"options-tls-16", REPLAY_OPTIONS, TL_TLS, TL_TLS_1_3, TL_AES_128_GCM, 16},
    {"options-tcp", REPLAY_OPTIONS, TL_TCP, 0, 0, 1},
    {"options-udp", REPLAY_OPTIONS, TL_UDP, 0, 0, 1},
    {"call-tls", REPLAY_CALL, TL_TLS, TL_TLS_1_3, TL_AES_256_GCM, 1},
    {"call-tls-16", REPLAY_CALL, TL_TLS, TL_TLS_1_2, TL_AES_128_GCM, 16},
    {"call-tcp", REPLAY_CALL, TL_TCP, 0, 0, 1},
    {"call-udp", REPLAY_CALL, TL_UDP, 0, 0, 1},
    {"cancel-tls", REPLAY_CANCEL, TL_TLS, TL_TLS_1_3, TL_AES_128_GCM, 1},
    {"cancel-udp", REPLAY_CANCEL, TL_UDP, 0, 0, 1},
};

#define CASES (sizeof(cases) / sizeof(*cases))
#define WARM_UP 64

static unsigned next_number = 1;

/* bench/check has the counts written down when this is called; not static, so that it keeps its
 * name. */
void replay_mark(void);
__attribute__((noinline)) void replay_mark(void) { __asm__ volatile(""); }

/* ---- configuration ---- */

static uint16_t port_of(const struct replay_case *k) {
  return k->transport == TL_TLS ? 5061 : 5060;
}

/* Each case has two peers and a route of its own, so that a message meets the others' as well. */
static void write_case(FILE *f, const struct replay_case *k) {
  static const char *const side[] = {"caller", "callee"};
  const unsigned i = (unsigned)(k - cases) + 1;
  for (unsigned s = 0; s < 2; s++) {
    fprintf(f, "peer \"%s-%s\" { uri = \"sip:127.0.%u.%u:%u;transport=%s\" ", side[s], k->name, i,
            s + 1, port_of(k), tl_transport_param(k->transport));
    fprintf(f, k->transport == TL_TLS ? "identity = \"%s.example\" }\n" : "}\n", side[s]);
  }
  fprintf(f,
          "route \"%s\" { from_peer = \"caller-%s\" to_prefix = \"+1\" peers = \"callee-%s\" }\n",
          k->name, k->name, k->name);
}

static void write_configuration(const char *file) {
  FILE *f = fopen(file, "w");
  if (!f) replay_die("%s cannot be written", file);
  fputs("workers = 1 log_level = error records = user\n"
        "listen \"tls:127.0.0.1:5061\" {}\nlisten \"tcp:127.0.0.1:5060\" {}\n"
        "listen \"udp:127.0.0.1:5060\" {}\n"
        "tls_domain \"lab\" { certificate = \"proxy.pem\" private_key = \"proxy.key\"\n"
        "  ca_list = \"ca.pem\" }\n",
        f);
  for (size_t i = 0; i < CASES; i++) write_case(f, &cases[i]);
  if (fclose(f)) replay_die("%s cannot be written", file);
}

/* ---- load ---- */

static void name_side(struct replay_side *s, enum tl_transport t, const char *host, uint16_t port) {
  s->transport = t;
  s->fd = -1;
  if (tl_addr_parse(tl_str_c(host), port, &s->addr)) replay_die("%s is not an address", host);
}

static const char *cert_path(const char *dir, const char *name) {
  static char path[512];
  snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
  return path;
}

static void connect_caller(struct replay_side *s, const struct replay_case *k, const char *certs) {
  struct tl_record *r = NULL;
  if (k->transport == TL_TLS)
    replay_tls_accept(&s->addr, cert_path(certs, "client"), k->version, k->cipher, &s->fd, &r);
  else if (k->transport == TL_TCP)
    s->fd = replay_connect(&s->addr);
  s->record = r;
  replay_turn(); /* it is accepted */
  replay_turn(); /* and read from */
}

/* The worker has dialed: the callee is at the other end. */
static void connect_callee(struct replay_side *s, const struct replay_case *k, const char *certs) {
  if (s->fd >= 0) return;
  if (k->transport == TL_TCP) s->fd = replay_dialed(&s->addr);
  if (k->transport != TL_TLS) return;
  struct tl_addr peer;
  replay_tls_dialed(&peer, cert_path(certs, "callee"), k->version, k->cipher, &s->fd, &s->record);
}

/* N transactions, and what is left of them until the last timer has fired. */
static void run_load(const struct replay_case *k, struct replay_side *caller,
                     struct replay_side *callee, const char *certs, unsigned n) {
  unsigned begun = 0, ended = 0;
  for (unsigned turn = 0; ended < n; turn++) {
    for (; begun < n && begun - ended < k->window && ended % k->window == 0; begun++)
      replay_ask(caller, k->kind, next_number++);
    replay_clock_advance(TURN_MS);
    replay_turn();
    connect_callee(callee, k, certs);
    replay_callee_turn(callee, k->kind);
    ended += replay_caller_turn(caller, k->kind);
    if (turn == TURNS_MAX) replay_die("%s does not end", k->name);
  }
  for (unsigned turn = 0; replay_transactions(); turn++) {
    replay_clock_advance(DRAIN_TURN_MS);
    replay_turn();
    replay_callee_turn(callee, k->kind);
    replay_caller_turn(caller, k->kind);
    if (turn == TURNS_MAX) replay_die("%s leaves transactions", k->name);
  }
}

static void run_case(const struct replay_case *k, const char *certs, unsigned n) {
  struct replay_side caller, callee;
  memset(&caller, 0, sizeof(caller));
  memset(&callee, 0, sizeof(callee));
  unsigned i = (unsigned)(k - cases);
  char host[2][32];
  snprintf(host[0], sizeof(host[0]), "127.0.%u.1", 1 + i);
  snprintf(host[1], sizeof(host[1]), "127.0.%u.2", 1 + i);
  name_side(&caller, k->transport, host[0], k->transport == TL_UDP ? 5060 : 40000);
  name_side(&callee, k->transport, host[1], port_of(k));
  connect_caller(&caller, k, certs);
  run_load(k, &caller, &callee, certs,
           WARM_UP); /* memory and caches of the worker are as in long use */
  replay_mark();
  const uint64_t before = replay_received();
  run_load(k, &caller, &callee, certs, n);
  printf("%s %llu\n", k->name, (unsigned long long)(replay_received() - before));
  replay_mark();
}

int main(int argc, char **argv) {
  const unsigned n = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
  char file[512];
  if (!n) replay_die("usage: replay DIRECTORY N");
  snprintf(file, sizeof(file), "%s/replay.conf", argv[1]);
  write_configuration(file);
  replay_worker_begin(file);
  for (size_t i = 0; i < CASES; i++) run_case(&cases[i], argv[1], n);
  return 0;
}
