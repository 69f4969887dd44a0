/* SPDX-License-Identifier: Apache-2.0 */
/* Peers bound to authorities and keys: what a binding demands of a certificate. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "test_tls_pki.h"
#include "tieline/binding.h"
#include "tls/tls_internal.h"

TestSuite(tls_binding, .init = pki_open, .fini = pki_close);

static struct tl_binding *make(const char *ca, const char *pin) {
  char *pins[] = {(char *)pin, NULL}, err[256] = "";
  const char *option;
  struct tl_binding *b;
  cr_assert_eq(
      tl_binding_new(ca ? pki_path(ca) : NULL, pin ? pins : NULL, err, sizeof(err), &option, &b), 0,
      "%s", err);
  return b;
}

static int refused(const char *ca, const char *pin, char *err, size_t cap) {
  char *pins[] = {(char *)pin, NULL};
  const char *option;
  struct tl_binding *b;
  int rc = tl_binding_new(ca ? pki_path(ca) : NULL, pin ? pins : NULL, err, cap, &option, &b);
  cr_expect_null(b);
  return rc;
}

/* Row by row: authority, key, verified or not. */
Test(tls_binding, b2_b8_bindings_hold_for_what_they_name) {
  uint8_t path[1][32];
  struct tl_identity id = {.n_path = 1, .path_spki = path};
  char colons[96], *c = colons;
  struct kit_options o = {.subject = "O=Lab/CN=one.example",
                          .issuer = &pki_ca,
                          .ext = {"subjectAltName=DNS:one.example"}};
  struct kit_cert leaf = kit_make(&o);
  uint8_t md[32];
  cr_assert_eq(tl_identity_spki_digest(pki_ca.x, path[0]), 0);
  cr_assert_eq(tl_identity_spki_digest(leaf.x, md), 0);
  for (int i = 0; i < 32; i++) {
    snprintf(id.spki_sha256 + 2 * i, 3, "%02x", md[i]);
    c += snprintf(c, 4, i < 31 ? "%02X:" : "%02X", md[i]);
  }
  static const char other[] = "00000000000000000000000000000000000000000000000000000000000000ff";
  struct tl_binding *ca = make("ca.pem", NULL), *foreign = make("other-ca.pem", NULL),
                    *pin = make(NULL, colons), *wrong = make(NULL, other),
                    *both = make("ca.pem", id.spki_sha256);
  cr_expect(tl_binding_holds(NULL, NULL, false), "no demands");
  cr_expect(tl_binding_holds(ca, &id, true));
  cr_expect_not(tl_binding_holds(ca, &id, false), "nobody has verified the path");
  cr_expect_not(tl_binding_holds(ca, NULL, true));
  cr_expect_not(tl_binding_holds(foreign, &id, true));
  cr_expect(tl_binding_holds(pin, &id, false), "the key itself was proved");
  cr_expect_not(tl_binding_holds(wrong, &id, true));
  cr_expect(tl_binding_holds(both, &id, true));
  cr_expect_not(tl_binding_holds(both, &id, false));
  struct tl_binding *again = make(NULL, id.spki_sha256);
  cr_expect(tl_binding_same(pin, again), "written otherwise, the same demand");
  cr_expect_not(tl_binding_same(pin, both));
  cr_expect_not(tl_binding_same(pin, NULL));
  cr_expect(tl_binding_same(NULL, NULL));
  struct tl_binding *all[] = {ca, foreign, pin, wrong, both, again};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) tl_binding_unref(all[i]);
}

Test(tls_binding, b8_what_cannot_be_read_is_refused_with_a_sentence) {
  char err[256];
  cr_expect_eq(refused("none.pem", NULL, err, sizeof(err)), TL_ECONFIG);
  cr_expect_not_null(strstr(err, "cannot read "));
  pki_write_text("empty.pem", "");
  cr_expect_eq(refused("empty.pem", NULL, err, sizeof(err)), TL_ECONFIG);
  cr_expect_not_null(strstr(err, "holds no certificate"));
  pki_write_text("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  cr_expect_eq(refused("torn.pem", NULL, err, sizeof(err)), TL_ECONFIG);
  cr_expect_not_null(strstr(err, "is damaged"));
  cr_expect_eq(refused(NULL, "12", err, sizeof(err)), TL_ECONFIG);
  cr_expect_not_null(strstr(err, "64 hex digits"));
}
