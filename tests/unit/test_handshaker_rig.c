/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rig of the handshake thread's tests: a runtime with one handshake thread
 * and a worker that is only a mailbox. No test by itself.
 */
#include "test_handshaker_rig.h"
#include "tieline/time.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct tl_runtime rig_rt;
struct tl_thread rig_worker;
struct tl_addr rig_at;
const struct tl_ktls_caps *rig_kernel;

/* ---- set-up ---- */

static void on_report(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  cr_log_error("%s:%d: %s", file, line, sentence);
}

struct tl_view *rig_load(const struct tl_view *previous, const char *extra,
                         const char *domain_extra) {
  char text[4096], where[TL_ADDR_STRLEN];
  struct tl_view *v;
  snprintf(text, sizeof(text),
           "listen \"tls:%s\" { tls_domain = \"lab\" }\n"
           "control_socket = \"%s\"\n%s\n"
           "tls_domain \"lab\" {\n certificate = \"server.pem\" private_key = \"server.key\"\n"
           " ca_list = \"ca.pem\"\n %s\n}\n"
           "route \"all\" { relay = \"request-uri\" tls_domain = \"lab\" }\n",
           tl_addr_format(&rig_at, where), pki_path("ctl.sock"), extra, domain_extra);
  pki_write_text("lab.conf", text);
  cr_assert_eq(tl_conf_load(pki_path("lab.conf"), previous, on_report, NULL, &v), 0);
  return v;
}

static int fds_before;

static int open_fds(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

static void drop_handoff(struct tl_mail *m) { tl_handoff_free((struct tl_handoff *)m); }

/* The test is the worker. */
static const struct tl_mail_kind handoff_kind = {"handoff", NULL, drop_handoff};

void rig_begin(const char *extra, const char *domain_extra) {
  char err[256] = "";
  fds_before = open_fds();
  pki_open();
  memset(&rig_rt, 0, sizeof(rig_rt));
  memset(&rig_worker, 0, sizeof(rig_worker));
  rig_at = test_port(SOCK_STREAM);
  cr_assert_eq(tl_mailbox_init(&rig_worker.mailbox, 1024), 0);
  rig_worker.rt = &rig_rt;
  rig_worker.takes = &handoff_kind;
  rig_rt.n_worker = rig_rt.n_handshaker = 1;
  rig_rt.worker[0] = &rig_worker;
  tl_runtime_publish(&rig_rt, rig_load(NULL, extra, domain_extra));
  tl_ktls_probe(&rig_rt.caps);
  if (rig_kernel) memcpy(&rig_rt.caps, rig_kernel, sizeof(rig_rt.caps));
  cr_assert_eq(tl_handshaker_start(&rig_rt, 0, err, sizeof(err)), 0, "%s", err);
}

void rig_stop(void) {
  tl_handshaker_stop(&rig_rt, 0);
  tl_mailbox_drop(&rig_worker.mailbox);
  cr_assert_eq(atomic_load(&rig_rt.connections), 0, "connections are counted wrongly");
  cr_assert_eq(tl_count_get(&rig_rt.handshaker[0]->counters, TL_C_HS_NOW), 0);
  tl_mailbox_destroy(&rig_rt.handshaker[0]->mailbox);
  free(rig_rt.handshaker[0]);
  tl_mailbox_destroy(&rig_worker.mailbox);
  tl_view_unref(rig_rt.view);
  pki_close();
}

void rig_end(void) {
  rig_stop();
  test_ports_release();
  cr_assert_eq(open_fds(), fds_before, "descriptors were left open");
}

uint64_t rig_counter(enum tl_counter id) {
  return tl_count_get(&rig_rt.handshaker[0]->counters, id);
}

void rig_wait(enum tl_counter id, uint64_t least) {
  for (int i = 0; i < 500 && rig_counter(id) < least; i++) usleep(10000);
  cr_assert_geq(rig_counter(id), least, "%s stays at %lu", tl_counter_name(id), rig_counter(id));
}

static struct tl_mail *next_mail(void) {
  struct pollfd p = {.fd = rig_worker.mailbox.efd, .events = POLLIN};
  struct tl_mail *m = tl_mailbox_take(&rig_worker.mailbox);
  for (int i = 0; i < 10 && !m; i++) {
    poll(&p, 1, 1000);
    tl_mailbox_rearm(&rig_worker.mailbox);
    m = tl_mailbox_take(&rig_worker.mailbox);
  }
  cr_assert(m, "no handoff came");
  return m;
}

struct tl_handoff *rig_handoff(void) {
  return (struct tl_handoff *)next_mail();
}

void rig_drop(struct tl_handoff *h) { tl_handoff_free(h); }

/* ---- the other side ---- */

int rig_dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(connect(fd, &rig_at.sa, tl_addr_len(&rig_at)), 0);
  return fd;
}

/* Does the other side close FD within MS? What it sends before does not matter. */
bool rig_closes(int fd, int ms) {
  uint64_t end_ms = tl_now_ms() + (uint64_t)ms;
  char buf[512];
  for (;;) {
    int left = (int)(end_ms - tl_now_ms());
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (left <= 0 || poll(&p, 1, left) <= 0) return false;
    if (recv(fd, buf, sizeof(buf), 0) <= 0) return true;
  }
}

SSL *rig_client(SSL_CTX *ctx, int fd) {
  SSL *ssl = SSL_new(ctx);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, "server.example");
  return ssl;
}

/* The kernel's plaintext; tickets of the peer come as records of their own. */
static void kernel_reads(struct tl_handoff *h, const char *want) {
  uint8_t buf[4096], type;
  size_t got = 0, n;
  while (got < strlen(want)) {
    struct pollfd p = {.fd = h->fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 5000), 1);
    int rc = tl_ktls_recv(h->fd, buf, sizeof(buf), &type, &n);
    if (rc == TL_EAGAIN) continue;
    cr_assert_eq(rc, 0, "%d", rc);
    if (type != TL_CT_DATA) continue;
    cr_assert(got + n <= strlen(want));
    cr_assert_arr_eq(buf, want + got, n);
    got += n;
  }
}

/* Reads WANT from a handed-over socket, decrypted by the kernel or by our records. */
void rig_reads(struct tl_handoff *h, const char *want) {
  uint8_t buf[4096], *p = buf;
  size_t n = strlen(want), have = 0, got = 0;
  struct tl_record_view v = {.p = buf};
  if (!h->record) {
    kernel_reads(h, want);
    return;
  }
  while (got < n) {
    ssize_t k = recv(h->fd, p + have, (size_t)(buf + sizeof(buf) - p) - have, 0);
    cr_assert(k > 0);
    have += (size_t)k;
    while (have && tl_record_open(h->record, p, have, &v) == 0) {
      if (v.type == TL_CT_DATA) {
        cr_assert_arr_eq(v.p, want + got, v.n);
        got += v.n;
      }
      p += v.used;
      have -= v.used;
    }
  }
}

void rig_writes(struct tl_handoff *h, const char *text) {
  uint8_t rec[4096];
  size_t n = strlen(text), len = n;
  if (h->record)
    cr_assert_eq(tl_record_seal_from(h->record, TL_CT_DATA, (const uint8_t *)text, n, rec, &len),
                 0);
  else
    memcpy(rec, text, n);
  cr_assert_eq(send(h->fd, rec, len, MSG_NOSIGNAL), (ssize_t)len);
}

void rig_talk(SSL *ssl, struct tl_handoff *h) {
  char buf[64];
  cr_assert_eq(SSL_write(ssl, "ping ping", 9), 9);
  rig_reads(h, "ping ping");
  rig_writes(h, "pong");
  cr_assert_eq(SSL_read(ssl, buf, sizeof(buf)), 4);
  cr_assert_arr_eq(buf, "pong", 4);
}
