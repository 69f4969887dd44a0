/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe command: the findings as tables, and for everything missing a
 * sentence that says what to do about it.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ktls/ktls_internal.h"

/* The advice is printed at the end. */
struct report {
  FILE *f;
  struct utsname kernel;
  struct tl_ktls_caps ktls;
  struct tl_uring_caps uring;
  unsigned advices;
};

static const char *yes_no(bool b) { return b ? "yes" : "no"; }

__attribute__((format(printf, 2, 3))) static void print_advice(struct report *r, const char *fmt,
                                                               ...) {
  if (r->advices++ == 0) fprintf(r->f, "\nWhat to do:\n");
  fprintf(r->f, "  - ");
  va_list ap;
  va_start(ap, fmt);
  vfprintf(r->f, fmt, ap);
  va_end(ap);
  fprintf(r->f, "\n");
}

static void print_row(FILE *f, const char *name, const char *value) {
  fprintf(f, "  %-34s %s\n", name, value);
}

static void print_driver(FILE *f, const char *name, const struct tl_ktls_caps *k,
                         enum tl_cipher c) {
  char title[64];
  if (!k->driver[c][0]) return;
  snprintf(title, sizeof(title), "%s is done by", name);
  fprintf(f, "  %-34s %s%s\n", title, k->driver[c], k->slow[c] ? " (not accelerated)" : "");
}

static void print_ktls(const struct report *r) {
  const struct tl_ktls_caps *k = &r->ktls;
  fprintf(r->f, "Kernel TLS\n");
  fprintf(r->f, "  %-34s %s\n", "TCP_ULP \"tls\"", k->ulp ? "yes" : strerror(k->err_ulp));
  for (int v = 0; v < 2; v++)
    for (int c = 0; c < TL_CIPHERS; c++) {
      char name[64];
      snprintf(name, sizeof(name), "%s %s", tl_tls_version_name(v ? TL_TLS_1_3 : TL_TLS_1_2),
               tl_cipher_name((enum tl_cipher)c));
      fprintf(r->f, "  %-34s tx %-3s  rx %s\n", name, yes_no(k->tx[v][c]), yes_no(k->rx[v][c]));
    }
  print_driver(r->f, "AES-GCM", k, TL_AES_128_GCM);
  print_driver(r->f, "CHACHA20-POLY1305", k, TL_CHACHA20_POLY1305);
  print_row(r->f, "TLS_RX_EXPECT_NO_PAD", yes_no(k->expect_no_pad));
  print_row(r->f, "new keys after a KeyUpdate", yes_no(k->rekey));
  print_row(r->f, "/proc/net/tls_stat", yes_no(access("/proc/net/tls_stat", R_OK) == 0));
}

static void print_uring(const struct report *r) {
  const struct tl_uring_caps *u = &r->uring;
  fprintf(r->f, "io_uring\n");
  fprintf(r->f, "  %-34s %s\n", "rings", u->err_setup ? strerror(u->err_setup) : "yes");
  print_row(r->f, "SINGLE_ISSUER + DEFER_TASKRUN", yes_no(u->single_issuer));
  print_row(r->f, "multishot accept", yes_no(u->accept_multishot));
  print_row(r->f, "multishot receive", yes_no(u->recv_multishot));
  print_row(r->f, "provided buffer rings", yes_no(u->buf_ring));
  print_row(r->f, "MSG_RING", yes_no(u->msg_ring));
}

/* What /boot says about CONFIG_TLS: 'y', 'm', 'n', or 0 when there is no such file. */
static char config_tls(const struct report *r) {
  char path[sizeof(r->kernel.release) + 16], line[256], found = 'n';
  snprintf(path, sizeof(path), "/boot/config-%s", r->kernel.release);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  while (fgets(line, sizeof(line), f))
    if (strncmp(line, "CONFIG_TLS=", 11) == 0) found = line[11];
  fclose(f);
  return found;
}

static void advise_ulp(struct report *r) {
  char config = config_tls(r);
  if (r->ktls.err_ulp != ENOENT)
    print_advice(r, "TCP_ULP failed with \"%s\"; the probe needs TCP over 127.0.0.1 (is lo up?).",
                 strerror(r->ktls.err_ulp));
  else if (config == 'n')
    print_advice(r, "this kernel was built without CONFIG_TLS: boot one that has it (every "
                    "Debian and Ubuntu kernel does).");
  else
    print_advice(
        r,
        "load the module as root: modprobe tls (and write tls to "
        "/etc/modules-load.d/tls.conf).%s",
        config ? ""
               : " If modprobe finds none, this kernel was built without CONFIG_TLS: boot one "
                 "that has it.");
  print_advice(r, "until then records are protected in user space: nothing else changes.");
}

static void advise_slow(struct report *r) {
  const struct tl_ktls_caps *k = &r->ktls;
  if (k->slow[TL_AES_128_GCM])
    print_advice(r,
                 "AES-GCM in this kernel is plain C: records = auto keeps its connections in user "
                 "space, which is faster. With modprobe aesni_intel (or the module of this "
                 "processor) and a restart they go to the kernel.");
  if (k->slow[TL_CHACHA20_POLY1305])
    print_advice(r,
                 "CHACHA20-POLY1305 in this kernel is plain C, with the same effect: modprobe -a "
                 "chacha_x86_64 poly1305_x86_64 (or the ones of this processor).");
}

static void advise_ciphers(struct report *r) {
  const struct tl_ktls_caps *k = &r->ktls;
  bool chacha = true, gcm = true, v13_rx = true;
  for (int v = 0; v < 2; v++) {
    chacha &= k->tx[v][TL_CHACHA20_POLY1305] && k->rx[v][TL_CHACHA20_POLY1305];
    for (int c = TL_AES_128_GCM; c <= TL_AES_256_GCM; c++) {
      gcm &= k->tx[v][c];
      if (v) v13_rx &= k->rx[v][c];
    }
  }
  if (!chacha)
    print_advice(r,
                 "CHACHA20-POLY1305 needs kernel 5.11 and its module: modprobe chacha20poly1305.");
  if (!gcm)
    print_advice(r, "AES-GCM needs its modules: modprobe -a gcm aesni_intel (or the ones of this "
                    "processor).");
  advise_slow(r);
  if (!v13_rx) print_advice(r, "receiving TLS 1.3 in the kernel needs 5.1 or later.");
  if (!k->rekey)
    print_advice(r,
                 "a KeyUpdate of the peer will close its connection cleanly; kernels from 6.14 on "
                 "can change keys. (No need to act: SIP peers rarely send one.)");
}

static void advise_uring(struct report *r) {
  const struct tl_uring_caps *u = &r->uring;
  if (u->err_setup == EPERM && u->disabled > 0)
    print_advice(r, "io_uring is switched off: sysctl -w kernel.io_uring_disabled=0.");
  else if (u->err_setup == EPERM || (u->err_setup == ENOSYS && u->disabled >= 0))
    print_advice(r, "a seccomp filter refuses io_uring (containers do that): allow io_uring_setup, "
                    "io_uring_enter and io_uring_register in its profile.");
  else if (u->err_setup == ENOSYS)
    print_advice(r,
                 "this kernel has no io_uring: tieline needs 6.0 or later with CONFIG_IO_URING.");
  else if (u->err_setup)
    print_advice(r, "io_uring fails with \"%s\": look at ulimit -l and at the free memory.",
                 strerror(u->err_setup));
  else if (!u->accept_multishot || !u->recv_multishot || !u->buf_ring || !u->msg_ring)
    print_advice(r, "tieline needs all of these parts of io_uring: use kernel 6.0 or later.");
  else if (!u->single_issuer)
    print_advice(r, "kernel 6.1 or later saves system calls (SINGLE_ISSUER, DEFER_TASKRUN).");
}

static bool ktls_complete(const struct tl_ktls_caps *k) {
  bool all = k->ulp;
  for (int v = 0; v < 2; v++)
    for (int c = 0; c < TL_CIPHERS; c++) all &= k->tx[v][c] && k->rx[v][c] && !k->slow[c];
  return all;
}

static bool uring_complete(const struct tl_uring_caps *u) {
  return !u->err_setup && u->accept_multishot && u->recv_multishot && u->buf_ring && u->msg_ring;
}

int tl_probe_print(void *file) {
  struct report r = {.f = file};
  uname(&r.kernel);
  tl_ktls_probe(&r.ktls);
  tl_uring_probe(&r.uring);
  tl_record_backend_set(TL_AEAD_AUTO);

  fprintf(r.f, "Kernel %s %s (%s)\n", r.kernel.sysname, r.kernel.release, r.kernel.machine);
  print_ktls(&r);
  print_uring(&r);
  fprintf(r.f, "Libraries\n");
  print_row(r.f, "OpenSSL", OpenSSL_version(OPENSSL_VERSION));
  print_row(r.f, "AEAD of user-space records", tl_record_backend_name());

  if (!r.ktls.ulp)
    advise_ulp(&r);
  else
    advise_ciphers(&r);
  advise_uring(&r);
  bool complete = ktls_complete(&r.ktls) && uring_complete(&r.uring);
  fprintf(r.f, "\n%s\n",
          complete ? "Everything is there: records go through the kernel."
                   : "Something is missing, see above.");
  return complete ? 0 : 1;
}
