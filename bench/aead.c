/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one TLS 1.3 record costs in the user-space record layer: nanoseconds to
 * seal and to open, per cipher, size and AEAD library. In-place sealing is what
 * small messages do, sealing from elsewhere what large bodies do.
 *
 * Prints the minimum of several rounds on one core, warm caches.
 */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tieline/record.h"

#define ROUNDS 7
#define ROUND_BYTES (4u << 20)
#define BATCH 32 /* records sealed before they are opened */
#define SLOT (TL_RECORD_CIPHER_MAX + 64)

static const unsigned sizes[] = {64, 400, 700, 4096, 16384};

struct result {
  double seal, seal_from, open;
};

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(int rc, const char *what) {
  if (rc == 0) return;
  fprintf(stderr, "aead: %s: %d\n", what, rc);
  exit(1);
}

/* A pair of records whose directions mirror each other. */
static void make_pair(enum tl_cipher c, struct tl_record **a, struct tl_record **b) {
  struct tl_tls_keys k = {.version = TL_TLS_1_3, .cipher = c, .secret_len = 32};
  k.key_len = c == TL_AES_128_GCM ? 16 : 32;
  RAND_bytes(k.tx.key, sizeof(k.tx.key));
  RAND_bytes(k.tx.iv, sizeof(k.tx.iv));
  k.rx = k.tx;
  must(tl_record_new(&k, 0, a), "new");
  must(tl_record_new(&k, 0, b), "new");
}

static void keep_min(double *best, double v) {
  if (*best == 0 || v < *best) *best = v;
}

static void one_round(enum tl_cipher c, unsigned size, uint8_t *mem, const uint8_t *src,
                      struct result *best) {
  struct tl_record *tx, *rx;
  make_pair(c, &tx, &rx);
  unsigned batches = ROUND_BYTES / size / BATCH + 1;
  double seal = 0, seal_from = 0, open = 0, t;
  size_t len = 0;
  for (unsigned b = 0; b < 2 * batches; b++) {
    bool from = b & 1;
    t = now_ns();
    for (unsigned i = 0; i < BATCH; i++)
      must(from ? tl_record_seal_from(tx, TL_CT_DATA, src, size, mem + i * SLOT, &len)
                : tl_record_seal(tx, TL_CT_DATA, mem + i * SLOT, size, &len),
           "seal");
    *(from ? &seal_from : &seal) += now_ns() - t;
    t = now_ns();
    for (unsigned i = 0; i < BATCH; i++) {
      struct tl_record_view v;
      must(tl_record_open(rx, mem + i * SLOT, len, &v), "open");
    }
    open += now_ns() - t;
  }
  double n = (double)batches * BATCH;
  keep_min(&best->seal, seal / n);
  keep_min(&best->seal_from, seal_from / n);
  keep_min(&best->open, open / n / 2);
  tl_record_free(tx);
  tl_record_free(rx);
}

static void run(enum tl_aead_backend b, uint8_t *mem, const uint8_t *src) {
  if (tl_record_backend_set(b) < 0) {
    printf("ipsec-mb: not on this processor\n");
    return;
  }
  for (int c = 0; c < TL_CIPHERS; c++) {
    printf("%-12s %-18s", tl_record_backend_name(), tl_cipher_name((enum tl_cipher)c));
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
      struct result best = {0};
      for (int r = 0; r < ROUNDS; r++) one_round((enum tl_cipher)c, sizes[s], mem, src, &best);
      printf(" %5.0f/%5.0f/%5.0f", best.seal, best.seal_from, best.open);
    }
    printf("\n");
  }
}

int main(void) {
  uint8_t *mem = aligned_alloc(64, (size_t)BATCH * SLOT), *src = aligned_alloc(64, SLOT);
  if (!mem || !src) return 1;
  memset(mem, 'x', (size_t)BATCH * SLOT);
  memset(src, 'y', SLOT);
  printf("ns per TLS 1.3 record: seal in place / seal from elsewhere / open in place\n%-31s", "");
  for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) printf(" %15u B", sizes[s]);
  printf("\n");
  run(TL_AEAD_EVP, mem, src);
  run(TL_AEAD_IPSEC_MB, mem, src);
  free(mem);
  free(src);
  return 0;
}
