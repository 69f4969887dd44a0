/* SPDX-License-Identifier: Apache-2.0 */
/* No memory for the parts of tls: domains, handshakes, what is told by certificates. */
#include <criterion/criterion.h>
#include <openssl/pem.h>

#include "../unit/test_tls_pki.h"
#include "refuse.h"
#include "test_oom_kit.h"
#include "tieline/audit.h"
#include "tieline/binding.h"
#include "tieline/ca_names.h"
#include "tieline/crl.h"
#include "tieline/ocsp.h"
#include "tieline/verify.h"
#include "tls/identity_read.h"
#include "tls/ticket_keys.h"

TestSuite(oom_tls, .init = pki_open, .fini = pki_close);

static int made(const void *p) { return p ? TL_OK : TL_ENOMEM; }

static char text[512];
static const char *option;
static const char *certs[2], *keys[2];
static struct tl_tls_options options;
static struct tl_tls_domain *domain;

static int make_domain(void) {
  return tl_tls_domain_new(&options, text, sizeof(text), &option, &domain);
}
static void drop_domain(void) { tl_tls_domain_unref(domain); }

static void set_options(void) {
  certs[0] = pki_path("server.pem");
  keys[0] = pki_path("server.key");
  options = (struct tl_tls_options){.name = "lab",
                                    .certificate = certs,
                                    .private_key = keys,
                                    .ca_list = pki_path("ca.pem"),
                                    .crl_file = pki_path("ca.crl"),
                                    .policy.verify_cert = true,
                                    .policy.require_cert = true,
                                    .policy.verify_depth = 9,
                                    .min_version = TL_TLS_1_2,
                                    .max_version = TL_TLS_1_3,
                                    .policy.tickets = 2,
                                    .server = true,
                                    .client = true};
}

Test(oom_tls, a_domain_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case c = {"TLS domain", make_domain, drop_domain, 0, true};
  set_options();
  oom_case_run(&c);
}

static struct tl_hs *handshake;
static int make_server(void) {
  const struct tl_tls_set set = {.domain = &domain, .n = 1, .fallback = domain};
  struct tl_hs_params p = {.server = true, .set = &set, .domain = domain};
  return tl_hs_new(&p, &handshake);
}
static int make_client(void) {
  struct tl_hs_params p = {.domain = domain, .sni = TL_STR("server.example")};
  int rc = tl_hs_new(&p, &handshake);
  if (rc) return rc;
  rc = tl_hs_start(handshake);
  if (rc == TL_EAGAIN) return TL_OK;
  cr_assert_eq(tl_hs_failure(handshake)->cause, TL_HS_INTERNAL, "%s",
               tl_hs_cause_name(tl_hs_failure(handshake)->cause));
  tl_hs_free(handshake);
  return TL_ENOMEM;
}
static void drop_handshake(void) { tl_hs_free(handshake); }

Test(oom_tls, a_handshake_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case cases[] = {
      {"server's handshake", make_server, drop_handshake, 0, true},
      {"client's handshake and its first flight", make_client, drop_handshake, 0, true},
  };
  set_options();
  cr_assert_eq(make_domain(), TL_OK, "%s", text);
  OOM_RUN_ALL(cases);
  drop_domain();
}

static X509 *read_cert(const char *file) {
  FILE *f = fopen(pki_path(file), "r");
  cr_assert_not_null(f);
  X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
  fclose(f);
  return x;
}

static X509 *leaf;

/* certificate_authorities with one name, the issuer's of LEAF. */
static uint8_t extension[2 + 2 + 1000];
static size_t extension_n;
static void set_extension(void) {
  uint8_t *der = extension + 4;
  int n = i2d_X509_NAME(X509_get_issuer_name(leaf), NULL);
  cr_assert(n > 0 && n <= 1000);
  i2d_X509_NAME(X509_get_issuer_name(leaf), &der);
  extension_n = (size_t)n + 4;
  extension[0] = (uint8_t)((n + 2) >> 8), extension[1] = (uint8_t)(n + 2);
  extension[2] = (uint8_t)(n >> 8), extension[3] = (uint8_t)n;
}

static struct tl_ca_wanted *wanted;
static int make_wanted(void) {
  int rc = tl_ca_wanted_new(&wanted);
  if (rc == TL_OK && (rc = tl_ca_wanted_names(wanted, extension, extension_n)))
    tl_ca_wanted_free(wanted);
  return rc;
}
static void drop_wanted(void) { tl_ca_wanted_free(wanted); }

static struct tl_binding *binding;
static int make_binding(void) {
  static char pin[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  static char *const pins[] = {pin, NULL};
  return tl_binding_new(pki_path("ca.pem"), pins, text, sizeof(text), &option, &binding);
}
static void drop_binding(void) { tl_binding_unref(binding); }

static struct tl_crls *crls;
static int make_crls(void) { return made(crls = tl_crls_new(true, false, false)); }
static void drop_crls(void) { tl_crls_free(crls); }

static struct tl_ticket_keys *tickets;
static int make_tickets(void) { return made(tickets = tl_tickets_new(3600)); }
static void drop_tickets(void) { tl_tickets_free(tickets); }

static struct tl_identity *identity;
/* A record without some of its names would be another's. */
static int make_identity(void) {
  int rc = tl_identity_of_cert(leaf, NULL, &identity);
  if (rc == TL_OK) {
    cr_expect_eq(identity->n_san, 2);
    for (size_t i = 0; i < identity->n_san; i++) cr_expect_not_null(identity->san[i].value);
    cr_expect_str_eq(identity->cn, "client.example");
  }
  return rc;
}
static void drop_identity(void) { tl_identity_unref(identity); }

static struct tl_conn_class class;
static int make_class(void) {
  struct tl_conn_class from = {.domain = domain, .identity = identity};
  return tl_conn_class_copy(&from, &class);
}
static void drop_class(void) { tl_conn_class_clear(&class); }

static uint8_t *request;
static int make_request(void) {
  size_t n;
  return tl_ocsp_request(leaf, pki_ca.x, &request, &n);
}
static void drop_request(void) { OPENSSL_free(request); }

Test(oom_tls, what_certificates_tell_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case before[] = {
      {"names of authorities", make_wanted, drop_wanted, 0, true},
      {"binding of a peer", make_binding, drop_binding, 0, true},
      {"revocation lists", make_crls, drop_crls, 0, false},
      {"ticket keys", make_tickets, drop_tickets, 0, true},
      {"identity", make_identity, drop_identity, 0, true},
      {"question to a responder", make_request, drop_request, 0, true},
  };
  static const struct oom_case after = {"key of an audit", make_class, drop_class, 0, true};
  leaf = read_cert("client.pem");
  set_extension();
  OOM_RUN_ALL(before);
  set_options();
  cr_assert_eq(make_domain(), TL_OK, "%s", text);
  cr_assert_eq(make_identity(), TL_OK);
  oom_case_run(&after);
  drop_identity();
  drop_domain();
  X509_free(leaf);
}

/* Who forgives a missing list (crl_stale = accept) does not forgive one that there was no memory
 * for: the certificate was taken as good. */
Test(oom_tls, a_revoked_certificate_never_passes, .timeout = 60) {
  struct tl_verdict v;
  unsigned n;
  set_options();
  options.policy.crl_stale = TL_STALE_ACCEPT;
  cr_assert_eq(make_domain(), TL_OK, "%s", text);
  leaf = read_cert("revoked.pem");
  cr_assert_eq(tl_identity_of_cert(leaf, NULL, &identity), TL_OK);
  for (n = 1; oom_begin(n); n++) {
    int rc = tl_tls_verify_identity(domain, true, identity, TL_STR(""), 0, &v);
    bool refused = oom_end();
    cr_assert_neq(rc, TL_OK, "when allocation %u is refused", n);
    if (!refused) break;
  }
  cr_assert_eq(v.code, X509_V_ERR_CERT_REVOKED, "%s", v.why);
  cr_assert_gt(n, 10);
  drop_identity();
  drop_domain();
  X509_free(leaf);
}
