/* SPDX-License-Identifier: Apache-2.0 */
/* The worker of the replay: set-up with fixed secrets, TLS connections with fixed keys. */
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_internal.h"
#include "proxy/peer_probe.h"
#include "replay.h"
#include "runtime/handoff.h"
#include "sip/lines.h"
#include "tieline/rcu.h"
#include "tieline/tls.h"
#include "tls/identity_read.h"

static struct tl_runtime rt;
static struct tl_thread handshaker;
static struct tl_net px_net;
static struct tl_proxy px = {.net = &px_net};

void replay_die(const char *fmt, ...) {
  va_list ap;
  fputs("replay: ", stderr);
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fputc('\n', stderr);
  exit(2);
}

static void report_problem(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  fprintf(stderr, "%s:%d: %s\n", file ? file : "replay", line, sentence);
}

static void begin_thread(struct tl_thread *th) {
  th->rt = &rt;
  if (tl_mailbox_init(&th->mailbox, 1024)) replay_die("out of memory");
}

/* Every x86-64 has SSE2: the scanner's choice by the processor would change the counts. */
static void pin_scanner(void) {
  struct lines_impl *impl = (struct lines_impl *)(uintptr_t)tl_lines_impls();
  while (impl->name && strcmp(impl->name, "avx2") == 0) memmove(impl, impl + 1, 3 * sizeof(*impl));
}

void replay_worker_begin(const char *file) {
  char err[256] = "";
  pin_scanner();
  tl_rcu_thread_begin();
  tl_log_set_level(TL_LOG_ERROR);
  tl_tls_init();
  setenv("STATE_DIRECTORY", "/proc/none", 1); /* no token keys of this machine */
  struct tl_view *view = NULL;
  if (tl_conf_load(file, NULL, report_problem, NULL, &view))
    replay_die("%s is not a good configuration", file);
  tl_runtime_publish(&rt, view);
  /* The library whose calls bench/check counts. */
  tl_record_backend_set(TL_AEAD_EVP);
  rt.n_worker = rt.n_handshaker = 1;
  rt.worker[0] = &px.th;
  rt.handshaker[0] = &handshaker;
  for (unsigned i = 0; i < sizeof(rt.secret); i++) rt.secret[i] = (uint8_t)(i * 7 + 1);
  begin_thread(&px.th);
  begin_thread(&handshaker);
  if (tl_mailbox_init(&rt.resolver, 16)) replay_die("out of memory");
  if (tl_net_init(px.net, &px.th, &tl_proxy_handler, &px, err, sizeof(err)))
    replay_die("the worker does not start: %s", err);
  if (tl_proxy_init(&px)) replay_die("out of memory");
  replay_turn();
}

__attribute__((noinline)) void replay_turn(void) {
  tl_peer_probe_refresh(&px);
  if (tl_net_turn(px.net)) replay_die("a turn failed");
}

uint64_t replay_received(void) {
  return tl_count_get(&px.th.counters, TL_C_MSG_IN_UDP) +
         tl_count_get(&px.th.counters, TL_C_MSG_IN_TCP) +
         tl_count_get(&px.th.counters, TL_C_MSG_IN_TLS);
}

uint64_t replay_transactions(void) { return tl_count_get(&px.th.counters, TL_C_TXN_NOW); }

/* ---- TLS ---- */

static struct tl_identity *read_identity(const char *cert) {
  FILE *f = fopen(cert, "r");
  X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
  struct tl_identity *id = NULL;
  if (!x || tl_identity_of_cert(x, NULL, &id)) replay_die("%s holds no certificate", cert);
  X509_free(x);
  fclose(f);
  return id;
}

static void make_keys(struct tl_dir_keys *d, unsigned seed) {
  for (unsigned i = 0; i < sizeof(d->key); i++) d->key[i] = (uint8_t)(seed * 31 + i);
  for (unsigned i = 0; i < sizeof(d->iv); i++) d->iv[i] = (uint8_t)(seed * 17 + i * 3);
  for (unsigned i = 0; i < sizeof(d->secret); i++) d->secret[i] = (uint8_t)(seed * 5 + i * 11);
}

/* Record layers of both ends with keys made up for them. */
static void make_records(struct tl_handoff *h, struct tl_record **out_theirs) {
  static unsigned made;
  struct tl_tls_keys ours = {.version = h->version, .cipher = h->cipher};
  ours.key_len = h->cipher == TL_AES_128_GCM ? 16 : 32;
  if (h->version == TL_TLS_1_3) ours.secret_len = h->cipher == TL_AES_256_GCM ? 48 : 32;
  make_keys(&ours.tx, ++made);
  make_keys(&ours.rx, ++made);
  struct tl_tls_keys theirs = ours;
  theirs.tx = ours.rx;
  theirs.rx = ours.tx;
  if (tl_record_new(&ours, 0, &h->record) || tl_record_new(&theirs, 0, out_theirs))
    replay_die("out of memory");
}

static struct tl_tls_domain *find_domain(void) {
  if (!rt.view->conf->n_domain) replay_die("the configuration has no TLS domain");
  return tl_tls_domain_ref(rt.view->conf->domain[0]);
}

/* As a handshake thread would hand it over. */
static struct tl_handoff *make_handoff(const struct tl_addr *peer, const char *cert,
                                       enum tl_tls_version version, enum tl_cipher cipher) {
  struct tl_handoff *h = calloc(1, sizeof(*h));
  if (!h) replay_die("out of memory");
  h->rt = &rt;
  h->fd = replay_socket(peer);
  h->version = version;
  h->cipher = cipher;
  h->ktls = (struct tl_ktls_state){TL_KTLS_CONFIG, TL_KTLS_CONFIG};
  h->transport = TL_TLS;
  h->peer = *peer;
  h->domain = find_domain();
  h->identity = read_identity(cert);
  h->peer_verified = true;
  atomic_fetch_add(&rt.connections, 1);
  return h;
}

bool replay_tls_accept(const struct tl_addr *peer, const char *cert, enum tl_tls_version version,
                       enum tl_cipher cipher, int *out_fd, struct tl_record **out_record) {
  struct tl_handoff *h = make_handoff(peer, cert, version, cipher);
  h->server = true;
  make_records(h, out_record);
  *out_fd = h->fd;
  tl_conn_adopt(px.net, h);
  return true;
}

bool replay_tls_dialed(struct tl_addr *out_peer, const char *cert, enum tl_tls_version version,
                       enum tl_cipher cipher, int *out_fd, struct tl_record **out_record) {
  struct tl_dial *d = (struct tl_dial *)tl_mailbox_take(&handshaker.mailbox);
  if (!d) return false;
  *out_peer = d->addr;
  struct tl_handoff *h = make_handoff(&d->addr, cert, version, cipher);
  h->conn = d->conn;
  make_records(h, out_record);
  *out_fd = h->fd;
  tl_tls_domain_unref(d->domain);
  free(d);
  tl_conn_adopt(px.net, h);
  return true;
}
