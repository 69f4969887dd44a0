/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel seals with, read from text as in /proc/crypto: excerpts as x86 and
 * arm64 kernels print them, and some that none prints.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ktls/ktls_internal.h"

#define ENTRY_OF(name, driver, priority, selftest, internal)                                       \
  "name         : " name "\ndriver       : " driver                                                \
  "\nmodule       : some_module\npriority     : " priority                                         \
  "\nrefcnt       : 1\nselftest     : " selftest "\ninternal     : " internal                      \
  "\ntype         : aead\nasync        : no\nblocksize    : 1\nivsize       : 12\n"                \
  "maxauthsize  : 16\ngeniv        : <none>\n\n"
#define ENTRY(name, driver, priority) ENTRY_OF(name, driver, priority, "passed", "no")

#define C_GCM "gcm_base(ctr(aes-generic),ghash-generic)"
#define C_CHACHA "rfc7539(chacha20-generic,poly1305-generic)"
#define GENERIC ENTRY("gcm(aes)", C_GCM, "100")
#define AESNI ENTRY("gcm(aes)", "generic-gcm-aesni", "400")
#define CHACHA "rfc7539(chacha20,poly1305)"

static const struct {
  const char *text, *gcm, *chacha; /* the drivers */
  bool slow_gcm, slow_chacha;
} row[] = {
    {"", "", "", false, false},
    {GENERIC, C_GCM, "", true, false},
    {AESNI, "generic-gcm-aesni", "", false, false},
    {AESNI GENERIC, "generic-gcm-aesni", "", false, false},
    {GENERIC AESNI, "generic-gcm-aesni", "", false, false},
    /* Others of similar names, one for IPsec. */
    {ENTRY("rfc4106(gcm(aes))", "rfc4106-gcm-aesni", "400") ENTRY("ghash", "ghash-generic", "100")
         GENERIC,
     C_GCM, "", true, false},
    {ENTRY("aes", "aes-generic", "100"), "", "", false, false},
    /* Half of it: GHASH takes as long as the rest. */
    {ENTRY("gcm(aes)", "gcm_base(ctr-aes-aesni,ghash-generic)", "300"),
     "gcm_base(ctr-aes-aesni,ghash-generic)", "", true, false},
    {ENTRY("gcm(aes)", "gcm_base(ctr-aes-aesni,ghash-clmulni)", "300"),
     "gcm_base(ctr-aes-aesni,ghash-clmulni)", "", false, false},
    /* arm64, and later x86 */
    {GENERIC ENTRY("gcm(aes)", "gcm-aes-ce", "300"), "gcm-aes-ce", "", false, false},
    {ENTRY("gcm(aes)", "gcm_base(ctr-aes-neonbs,ghash-neon)", "200"),
     "gcm_base(ctr-aes-neonbs,ghash-neon)", "", false, false},
    {ENTRY("gcm(aes)", "generic-gcm-vaes-avx10_512", "800") AESNI, "generic-gcm-vaes-avx10_512", "",
     false, false},
    /* A card for the processor: it is asked first. */
    {GENERIC ENTRY("gcm(aes)", "some-card-gcm", "4001"), "some-card-gcm", "", false, false},
    /* Not to be had: inner parts of others, and what failed its test. */
    {GENERIC ENTRY_OF("gcm(aes)", "inner-gcm-aesni", "400", "passed", "yes"), C_GCM, "", true,
     false},
    {ENTRY_OF("gcm(aes)", "broken-gcm", "400", "unknown", "no") GENERIC, C_GCM, "", true, false},
    /* Of equals the first. */
    {ENTRY("gcm(aes)", "gcm-one", "100") GENERIC, "gcm-one", "", false, false},
    {ENTRY(CHACHA, C_CHACHA, "100"), "", C_CHACHA, false, true},
    {ENTRY(CHACHA, C_CHACHA, "100") ENTRY(CHACHA, "rfc7539(chacha20-simd,poly1305-simd)", "300")
         GENERIC,
     C_GCM, "rfc7539(chacha20-simd,poly1305-simd)", true, false},
    {ENTRY(CHACHA, "rfc7539(chacha20-neon,poly1305-neon)", "300"), "",
     "rfc7539(chacha20-neon,poly1305-neon)", false, false},
    /* The last entry without its empty line, and a line without its end. */
    {"name : gcm(aes)\ndriver : " C_GCM "\npriority : 100\nselftest : passed\ninternal : no", C_GCM,
     "", true, false},
    /* Garbage */
    {"name", "", "", false, false},
    {":\n:::\n\n: gcm(aes)\nname\n\n\n", "", "", false, false},
    {"name : gcm(aes)\n\ndriver : " C_GCM "\npriority : 1\nselftest : passed\ninternal : no\n", "",
     "", false, false},
    {"name : gcm(aes)\npriority : 100\nselftest : passed\ninternal : no\n\n", "", "", false, false},
    {ENTRY("gcm(aes)", C_GCM, "-7"), "", "", false, false},
    {ENTRY("gcm(aes)", C_GCM, "many"), C_GCM, "", true, false},
    {"names : gcm(aes)\ndrivers : " C_GCM "\n" GENERIC, C_GCM, "", true, false},
};

static void read_text(const char *text, size_t n, struct tl_ktls_caps *out) {
  FILE *f = tmpfile();
  cr_assert(f);
  cr_assert_eq(fwrite(text, 1, n, f), n);
  rewind(f);
  memset(out, 1, sizeof(*out));
  tl_ktls_read_drivers(f, out);
  fclose(f);
}

Test(kernel_cipher, f1_slow_ciphers_are_known_by_their_drivers) {
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    struct tl_ktls_caps c;
    read_text(row[i].text, strlen(row[i].text), &c);
    cr_expect_str_eq(c.driver[TL_AES_128_GCM], row[i].gcm, "row %zu", i);
    cr_expect_str_eq(c.driver[TL_AES_256_GCM], row[i].gcm, "row %zu", i);
    cr_expect_str_eq(c.driver[TL_CHACHA20_POLY1305], row[i].chacha, "row %zu", i);
    cr_expect_eq(c.slow[TL_AES_128_GCM], row[i].slow_gcm, "row %zu", i);
    cr_expect_eq(c.slow[TL_AES_256_GCM], row[i].slow_gcm, "row %zu", i);
    cr_expect_eq(c.slow[TL_CHACHA20_POLY1305], row[i].slow_chacha, "row %zu", i);
  }
}

/* Cut anywhere, with a zero byte anywhere, with names that are too long: it ends, and without its
 * last word a driver is none. */
Test(kernel_cipher, f1_any_bytes_are_survived) {
  static const char text[] = GENERIC AESNI;
  struct tl_ktls_caps c;
  for (size_t n = 0; n < sizeof(text); n++) {
    char hurt[sizeof(text)];
    read_text(text, n, &c);
    cr_expect(!c.slow[0] || strcmp(c.driver[0], C_GCM) == 0, "%zu", n);
    memcpy(hurt, text, sizeof(text));
    hurt[n] = '\0';
    read_text(hurt, sizeof(hurt), &c);
    cr_expect(!c.slow[0] || strcmp(c.driver[0], C_GCM) == 0, "%zu", n);
  }
  for (size_t n = TL_KTLS_DRIVER_CAP - 2; n < 4 * TL_KTLS_DRIVER_CAP; n++) {
    char is_long[1024];
    snprintf(is_long, sizeof(is_long),
             "name : gcm(aes)\npriority : 9\nselftest : passed\ninternal : no\ndriver : %0*d\n",
             (int)n, 0);
    read_text(is_long, strlen(is_long), &c);
    cr_expect_eq(strlen(c.driver[0]), n < TL_KTLS_DRIVER_CAP ? n : 0, "%zu", n);
  }
}

Test(kernel_cipher, f1_a_file_without_end_is_bounded) {
  struct tl_ktls_caps c;
  FILE *f = fopen("/dev/zero", "re");
  cr_assert(f);
  tl_ktls_read_drivers(f, &c);
  fclose(f);
  cr_expect_str_eq(c.driver[0], "");
  cr_expect_not(c.slow[0]);
}

Test(kernel_cipher, f1_auto_wants_the_kernel_for_one_fast_cipher) {
  struct tl_ktls_caps c = {.ulp = true};
  cr_expect_not(tl_ktls_any_fast(&c));
  c.tx[1][TL_AES_128_GCM] = true;
  cr_expect_not(tl_ktls_any_fast(&c), "one direction is as good as none");
  c.rx[1][TL_AES_128_GCM] = true;
  cr_expect(tl_ktls_any_fast(&c));
  c.slow[TL_AES_128_GCM] = true;
  cr_expect_not(tl_ktls_any_fast(&c));
  c.tx[0][TL_CHACHA20_POLY1305] = c.rx[0][TL_CHACHA20_POLY1305] = true;
  cr_expect(tl_ktls_any_fast(&c));
}
