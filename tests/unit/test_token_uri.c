/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URIs of keys in a PKCS#11 token, as text. The tokens themselves are met by
 * tests/flow/test_47_tokens.py.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/tls_domain.h"
#include "tls/pkcs11.h"

Test(token_uri, d17_pin_is_left_out_of_what_is_shown) {
  static const char *const cases[][2] = {
      {"pkcs11:object=a", "pkcs11:object=a"},
      {"pkcs11:", "pkcs11:"},
      {"pkcs11:object=a?pin-value=1234", "pkcs11:object=a?pin-value=(not shown)"},
      {"pkcs11:?pin-value=1234&x=y", "pkcs11:?pin-value=(not shown)&x=y"},
      {"pkcs11:object=a?x=y&pin-value=12;3?4&z=1", "pkcs11:object=a?x=y&pin-value=(not shown)&z=1"},
      /* not where RFC 7512 has it, but where libp11 takes it as well */
      {"pkcs11:pin-value=12&34;object=a", "pkcs11:pin-value=(not shown);object=a"},
      {"pkcs11:object=a?pin-source=file:/etc/pin", "pkcs11:object=a?pin-source=file:/etc/pin"},
      {"file:/etc/pin-value=1", "file:/etc/pin-value=1"},
      {"/etc/a.key", "/etc/a.key"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char *shown = tl_tls_uri_shown(cases[i][0]);
    cr_assert_not_null(shown);
    cr_expect_str_eq(shown, cases[i][1]);
    cr_expect_eq((int)tl_tls_uri_has_pin(cases[i][0]), (int)(strstr(shown, "(not") != NULL));
    free(shown);
  }
}

Test(token_uri, d17_taken_apart) {
  char err[300];
  const char *option = NULL;
  struct tl_blame b = {err, sizeof(err), &option};
  struct tl_pkcs11_uri u;
  cr_assert_eq(tl_pkcs11_parse("pkcs11:token=a%20b;object=c?module-name=m&pin-value=%31%3b%3F"
                               "&module-path=/l%2fm.so",
                               &u, &b),
               0);
  cr_expect_str_eq(u.path, "pkcs11:token=a%20b;object=c");
  cr_expect_str_eq(u.bare, "pkcs11:token=a%20b;object=c?module-name=m&module-path=/l%2fm.so");
  cr_expect_str_eq(u.pin, "1;?");
  cr_expect_str_eq(u.module, "/l/m.so");
  cr_expect_null(u.pin_file);
  tl_pkcs11_clear(&u);
  static const char *const files[] = {"/etc/pin", "file:/etc/pin", "file:///etc/pin",
                                      "file://localhost/etc/pin", "file:%2Fetc/pin"};
  for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
    char uri[100];
    snprintf(uri, sizeof(uri), "pkcs11:object=c?pin-source=%s", files[i]);
    cr_assert_eq(tl_pkcs11_parse(uri, &u, &b), 0, "%s", uri);
    cr_expect_str_eq(u.pin_file, "/etc/pin");
    cr_expect_str_eq(u.bare, "pkcs11:object=c");
    tl_pkcs11_clear(&u);
  }
}

Test(token_uri, d17_what_is_no_uri) {
  static const char *const cases[][2] = {
      {"pkcs11:object=a b?pin-value=77", "write a blank as %20"},
      {"pkcs11:object=a?pin-value=(not shown)", "write a blank as %20"},
      {"pkcs11:object=a?pin-value=", "pin-value is empty, there twice, or no text"},
      {"pkcs11:object=a?pin-value=77&pin-value=77", "pin-value is empty, there twice"},
      {"pkcs11:object=a?pin-value=77%0", "or no text"},
      {"pkcs11:object=a?pin-value=77%00", "or no text"},
      {"pkcs11:object=a?module-path=%zz", "module-path is empty"},
      {"pkcs11:object=a?pin-value=77&pin-source=/p", "exclude each other"},
      {"pkcs11:object=a?pin-source=|cat /p", "write a blank as %20"},
      {"pkcs11:object=a?pin-source=|cat", "pin-source must be a file"},
      {"pkcs11:object=a?pin-source=pin", "pin-source must be a file"},
      {"pkcs11:object=a?pin-source=https://x/p", "pin-source must be a file"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char err[300] = "";
    const char *option = NULL;
    struct tl_blame b = {err, sizeof(err), &option};
    struct tl_pkcs11_uri u;
    cr_expect_eq(tl_pkcs11_parse(cases[i][0], &u, &b), (int)TL_ECONFIG, "%s", cases[i][0]);
    cr_expect(strstr(err, cases[i][1]), "%s: %s", cases[i][0], err);
    cr_expect_null(strstr(err, "77"), "%s", err);
    cr_expect_str_eq(option, "private_key");
    tl_pkcs11_clear(&u);
  }
}
