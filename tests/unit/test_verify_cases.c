/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate cases: names by RFC 5922, Extended Key Usage by RFC 5924, paths by
 * RFC 5280. Each case builds a chain, verifies it as a peer's and states the
 * code. Alerts and handshakes are in test_verify_matrix.c.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_tls_duel.h"
#include "tieline/verify.h"

TestSuite(verify_cases, .init = pki_open, .fini = pki_close, .timeout = 60);

struct spec {
  const char *subject; /* NULL: there is none in this place, for a leaf O=Lab */
  const char *ext[6];  /* first NULL: the usual one */
  const char *from, *to;
  const EVP_MD *(*md)(void);
  void (*change)(X509 *x);
  unsigned rsa_bits;
};

/* The chain is root, above[0], above[1], leaf; all but the root is sent. */
struct verify_case {
  const char *what;
  struct spec leaf, above[2], root;
  const char *name; /* required; NULL: server.example; "": none */
  bool as_server;   /* we are: the peer is a client */
  bool allow_cn;
  enum tl_eku eku;
  int code; /* X509_V_OK = 0 */
};

#define LEAF_EXT "subjectAltName=DNS:server.example"
#define MISMATCH X509_V_ERR_HOSTNAME_MISMATCH
#define PURPOSE X509_V_ERR_INVALID_PURPOSE

static struct kit_cert build(const struct spec *s, const char *subject, const char *usual,
                             const struct kit_cert *issuer) {
  struct kit_options o = {.subject = s->subject ? s->subject : subject,
                          .issuer = issuer,
                          .from = s->from,
                          .to = s->to,
                          .md = s->md ? s->md() : NULL,
                          .rsa_bits = s->rsa_bits,
                          .change = s->change};
  memcpy(o.ext, s->ext, sizeof(o.ext));
  if (!o.ext[0]) o.ext[0] = usual;
  return kit_make(&o);
}

static struct tl_tls_domain *case_domain(const struct verify_case *c) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  o.policy.allow_cn = c->allow_cn;
  o.policy.eku = c->eku;
  return duel_domain(&o);
}

static void judge(const struct verify_case *c) {
  struct kit_cert root = build(&c->root, "O=Lab/CN=Case root", KIT_CA, NULL), mid[2], leaf;
  const struct kit_cert *roots[] = {&root, NULL}, *sent[3] = {NULL}, *issuer = &root;
  size_t n = 0;
  for (int i = 0; i < 2 && c->above[i].subject; i++) {
    mid[i] = build(&c->above[i], NULL, KIT_CA, issuer);
    issuer = &mid[i];
    n++;
  }
  for (size_t i = 0; i < n; i++) sent[i] = &mid[n - 1 - i];
  leaf = build(&c->leaf, NULL, LEAF_EXT, issuer);
  pki_trust(roots);
  struct tl_tls_domain *dom = case_domain(c);
  struct tl_identity *id = kit_identity(&leaf, sent);
  struct tl_verdict v;
  struct tl_str name = tl_str_c(c->name ? c->name : c->as_server ? "" : "server.example");
  int rc = tl_tls_verify_identity(dom, c->as_server, id, name, 0, &v);
  cr_expect_eq(v.code, c->code, "%s: %d (%s), not %d", c->what, v.code, v.why, c->code);
  cr_expect_eq(rc, c->code == X509_V_OK ? 0 : TL_EVERIFY, "%s", c->what);
  cr_expect_eq(v.why[0] != '\0', c->code != X509_V_OK, "%s", c->what);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
}

#define RUN(table)                                                                                 \
  for (size_t i = 0; i < sizeof(table) / sizeof(*(table)); i++) judge(&(table)[i])

/* ---- names ---- */

#define SAN(value) .leaf = {.subject = "CN=other.example", .ext = {"subjectAltName=" value}}

static void directory_name(X509 *x) {
  GENERAL_NAMES *names = GENERAL_NAMES_new();
  GENERAL_NAME *g = GENERAL_NAME_new();
  X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
  GENERAL_NAME_set0_value(g, GEN_DIRNAME, name);
  sk_GENERAL_NAME_push(names, g);
  cr_assert_eq(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
  GENERAL_NAMES_free(names);
}

static const struct verify_case names[] = {
    {"DNS name", SAN("DNS:server.example")},
    {"DNS name in other case", SAN("DNS:SERVER.Example")},
    {"final dot in the required name", SAN("DNS:server.example"), .name = "server.example."},
    {"final dot in the certificate", SAN("DNS:server.example.")},
    {"second of two names", SAN("DNS:a.example,DNS:server.example")},
    {"parent domain in the certificate", SAN("DNS:example"), .code = MISMATCH},
    {"child of the name", SAN("DNS:sip.server.example"), .code = MISMATCH},
    {"name as a suffix", SAN("DNS:myserver.example"), .code = MISMATCH},
    {"name as a prefix", SAN("DNS:server.example.org"), .code = MISMATCH},
    {"wildcard", SAN("DNS:*.example"), .code = MISMATCH},
    {"wildcard asked for literally", SAN("DNS:*.example"), .name = "*.example", .code = MISMATCH},
    {"partial wildcard", SAN("DNS:s*.example"), .code = MISMATCH},
    {"leading dot", SAN("DNS:.example"), .code = MISMATCH},
    {"service name", SAN("DNS:_sips._tcp.server.example"), .code = MISMATCH},
    {"sip URI", SAN("URI:sip:server.example")},
    {"scheme and host in other case", SAN("URI:SIP:Server.EXAMPLE")},
    {"sip URI with a port", SAN("URI:sip:server.example:5061")},
    {"sip URI with parameters", SAN("URI:sip:server.example;transport=tls")},
    {"sips URI", SAN("URI:sips:server.example"), .code = MISMATCH},
    {"https URI", SAN("URI:https://server.example"), .code = MISMATCH},
    {"URI of a user", SAN("URI:sip:alice@server.example"), .code = MISMATCH},
    {"URI of a user beside the DNS name", SAN("URI:sip:alice@server.example,DNS:server.example")},
    {"sip URI of another domain hides the DNS name",
     SAN("URI:sip:other.example,DNS:server.example"), .code = MISMATCH},
    {"sips URI hides nothing", SAN("URI:sips:other.example,DNS:server.example")},
    {"sip URI with a wildcard", SAN("URI:sip:*.example"), .code = MISMATCH},
    {"sip URI without a host", SAN("URI:sip:,DNS:server.example")},
    {"email is not a domain", SAN("email:a@server.example"), .code = MISMATCH},
    {"directory name only",
     .leaf = {.subject = "CN=server.example", .ext = {"nsComment=x"}, .change = directory_name},
     .allow_cn = true, .code = MISMATCH},
    {"registered identifier only", SAN("RID:1.2.3.4"), .code = MISMATCH},
    {"SRVName is not an identity of RFC 5922",
     SAN("otherName:1.3.6.1.5.5.7.8.7;IA5:_sips.server.example"), .code = MISMATCH},
    {"A-label", SAN("DNS:xn--bcher-kva.example"), .name = "XN--bcher-KVA.example"},
    {"empty subject, critical SAN",
     .leaf = {.subject = "", .ext = {"subjectAltName=critical,DNS:server.example"}}},
    {"common name alone", .leaf = {.subject = "CN=server.example", .ext = {"nsComment=x"}},
     .code = MISMATCH},
    {"common name alone, allowed", .leaf = {.subject = "CN=server.example", .ext = {"nsComment=x"}},
     .allow_cn = true},
    {"common name in other case, allowed",
     .leaf = {.subject = "CN=Server.Example", .ext = {"nsComment=x"}}, .allow_cn = true},
    {"wildcard as common name, allowed",
     .leaf = {.subject = "CN=*.example", .ext = {"nsComment=x"}}, .allow_cn = true,
     .code = MISMATCH},
    {"common name beside another DNS name, allowed",
     .leaf = {.subject = "CN=server.example", .ext = {"subjectAltName=DNS:a.example"}},
     .allow_cn = true, .code = MISMATCH},
    {"common name beside an email, allowed",
     .leaf = {.subject = "CN=server.example", .ext = {"subjectAltName=email:a@a.example"}},
     .allow_cn = true, .code = MISMATCH},
    {"two common names, allowed",
     .leaf = {.subject = "CN=other.example/CN=server.example", .ext = {"nsComment=x"}},
     .allow_cn = true, .code = MISMATCH},
    {"IPv4 address", SAN("IP:192.0.2.1"), .name = "192.0.2.1"},
    {"another IPv4 address", SAN("IP:192.0.2.2"), .name = "192.0.2.1", .code = MISMATCH},
    {"IPv6 address", SAN("IP:2001:db8::1"), .name = "[2001:db8:0:0::1]"},
    {"address as DNS name", SAN("DNS:192.0.2.1"), .name = "192.0.2.1", .code = MISMATCH},
    {"address as sip URI", SAN("URI:sip:192.0.2.1"), .name = "192.0.2.1", .code = MISMATCH},
    {"address as common name, allowed", .leaf = {.subject = "CN=192.0.2.1", .ext = {"nsComment=x"}},
     .name = "192.0.2.1", .allow_cn = true, .code = MISMATCH},
    {"address does not stand for a name", SAN("IP:192.0.2.1"), .code = MISMATCH},
    {"no name required", SAN("DNS:a.example"), .name = ""},
    {"a client's name is not compared", SAN("DNS:a.example"), .as_server = true},
};

Test(verify_cases, b11_names_by_rfc_5922) { RUN(names); }

/* ---- extended key usage ---- */

#define SIP_EKU "1.3.6.1.5.5.7.3.20"
#define EKU(value) .leaf = {.ext = {LEAF_EXT, "extendedKeyUsage=" value}}
#define CA_EKU(value)                                                                              \
  .above = {{.subject = "CN=Case CA", .ext = {KIT_CA, "extendedKeyUsage=" value}}}

static const struct verify_case ekus[] = {
    {"accept: none", .as_server = true},
    {"accept: SIP, server", EKU(SIP_EKU)},
    {"accept: SIP, client", EKU(SIP_EKU), .as_server = true},
    {"accept: critical SIP", EKU("critical," SIP_EKU)},
    {"accept: any", EKU("anyExtendedKeyUsage"), .as_server = true},
    {"accept: serverAuth of a server", EKU("serverAuth")},
    {"accept: clientAuth of a client", EKU("clientAuth"), .as_server = true},
    {"accept: serverAuth of a client", EKU("serverAuth"), .as_server = true, .code = PURPOSE},
    {"accept: clientAuth of a server", EKU("clientAuth"), .code = PURPOSE},
    {"accept: both, client", EKU("serverAuth,clientAuth"), .as_server = true},
    {"accept: serverAuth and SIP, client", EKU("serverAuth," SIP_EKU), .as_server = true},
    {"accept: email", EKU("emailProtection"), .code = PURPOSE},
    {"accept: email and SIP", EKU("emailProtection," SIP_EKU)},
    {"accept: unknown", EKU("1.2.3.4.5"), .code = PURPOSE},
    {"accept: longer than SIP", EKU(SIP_EKU ".1"), .code = PURPOSE},
    {"accept: next to SIP", EKU("1.3.6.1.5.5.7.3.2000"), .code = PURPOSE},
    {"accept: OCSP", EKU("OCSPSigning"), .as_server = true, .code = PURPOSE},
    {"require: SIP, server", EKU(SIP_EKU), .eku = TL_EKU_REQUIRE},
    {"require: SIP, client", EKU(SIP_EKU), .eku = TL_EKU_REQUIRE, .as_server = true},
    {"require: SIP among others", EKU("serverAuth," SIP_EKU), .eku = TL_EKU_REQUIRE},
    {"require: none", .eku = TL_EKU_REQUIRE, .code = PURPOSE},
    {"require: any", EKU("anyExtendedKeyUsage"), .eku = TL_EKU_REQUIRE, .code = PURPOSE},
    {"require: serverAuth", EKU("serverAuth"), .eku = TL_EKU_REQUIRE, .code = PURPOSE},
    {"ignore: email", EKU("emailProtection"), .eku = TL_EKU_IGNORE},
    {"ignore: serverAuth of a client", EKU("serverAuth"), .eku = TL_EKU_IGNORE, .as_server = true},
    {"authority for TLS", CA_EKU("serverAuth,clientAuth"), .as_server = true},
    {"authority for SIP, leaf for SIP", EKU(SIP_EKU), CA_EKU(SIP_EKU)},
    {"authority for SIP, leaf without", CA_EKU(SIP_EKU)},
    {"authority for email", CA_EKU("emailProtection"), .code = PURPOSE},
    {"authority for servers, leaf for SIP", EKU(SIP_EKU), CA_EKU("serverAuth"), .code = PURPOSE},
    {"authority for servers, a client", CA_EKU("serverAuth"), .as_server = true, .code = PURPOSE},
    {"authority for any", EKU(SIP_EKU), CA_EKU("anyExtendedKeyUsage")},
    {"authority for email, ignored", CA_EKU("emailProtection"), .eku = TL_EKU_IGNORE},
    {"require: authority for servers", EKU("serverAuth," SIP_EKU), CA_EKU("serverAuth"),
     .eku = TL_EKU_REQUIRE, .code = PURPOSE},
    {"require: authority without", EKU(SIP_EKU), .above = {{.subject = "CN=Case CA"}},
     .eku = TL_EKU_REQUIRE},
};

Test(verify_cases, c17_extended_key_usage_by_rfc_5924) { RUN(ekus); }

/* ---- paths ---- */

static void version_1(X509 *x) { X509_set_version(x, 0); }

static void one_bit_off(X509 *x) {
  /* the key identifier of the issuer names another key */
  ASN1_OCTET_STRING *other = ASN1_OCTET_STRING_new();
  AUTHORITY_KEYID *akid = AUTHORITY_KEYID_new();
  ASN1_OCTET_STRING_set(other, (const unsigned char *)"another key", 11);
  akid->keyid = other;
  X509_add1_ext_i2d(x, NID_authority_key_identifier, akid, 0, 0);
  AUTHORITY_KEYID_free(akid);
}

static void negative_serial(X509 *x) { ASN1_INTEGER_set_int64(X509_get_serialNumber(x), -5); }
static void zero_serial(X509 *x) { ASN1_INTEGER_set_int64(X509_get_serialNumber(x), 0); }

static void twice_constrained(X509 *x) {
  X509_EXTENSION *e = X509_get_ext(x, X509_get_ext_by_NID(x, NID_subject_alt_name, -1));
  X509_add_ext(x, e, -1);
}

#define MID(...) .above = {{.subject = "CN=Case CA", .ext = {__VA_ARGS__}}}
#define TWO(...) .above = {{.subject = "CN=Case CA", .ext = {__VA_ARGS__}}, {.subject = "CN=Next"}}
#define USAGE(value) .leaf = {.ext = {LEAF_EXT, "keyUsage=" value}}
#define LIMIT(value) MID(KIT_CA, "nameConstraints=" value)
#define INVALID_CA X509_V_ERR_INVALID_CA
#define POLICY "certificatePolicies=critical,1.2.3.4"
#define DEMAND "policyConstraints=critical,requireExplicitPolicy:0"

static const struct verify_case paths[] = {
    {"one authority between", MID(KIT_CA)},
    {"two authorities between", TWO(KIT_CA)},
    {"authority without basicConstraints", MID("nsComment=x"), .code = INVALID_CA},
    {"authority with CA:FALSE", MID("basicConstraints=CA:FALSE"), .code = INVALID_CA},
    {"authority without keyCertSign", MID(KIT_CA, "keyUsage=digitalSignature"), .code = INVALID_CA},
    {"authority with keyCertSign", MID(KIT_CA, "keyUsage=critical,keyCertSign,cRLSign")},
    {"path length 0, none below", MID("basicConstraints=critical,CA:TRUE,pathlen:0")},
    {"path length 0, one below", TWO("basicConstraints=critical,CA:TRUE,pathlen:0"),
     .code = X509_V_ERR_PATH_LENGTH_EXCEEDED},
    {"path length 1, one below", TWO("basicConstraints=critical,CA:TRUE,pathlen:1")},
    {"path length of the root", TWO(KIT_CA),
     .root = {.subject = "CN=Case root", .ext = {"basicConstraints=critical,CA:TRUE,pathlen:1"}},
     .code = X509_V_ERR_PATH_LENGTH_EXCEEDED},
    {"authority of version 1",
     .above = {{.subject = "CN=Case CA", .ext = {"nsComment=x"}, .change = version_1}},
     .code = INVALID_CA},
    {"authority expired", .above = {{.subject = "CN=Case CA", .from = "-9", .to = "-1"}},
     .code = X509_V_ERR_CERT_HAS_EXPIRED},
    {"authority not yet valid", .above = {{.subject = "CN=Case CA", .from = "1", .to = "9"}},
     .code = X509_V_ERR_CERT_NOT_YET_VALID},
    {"root expired", .root = {.subject = "CN=Case root", .from = "-9", .to = "-1"},
     .code = X509_V_ERR_CERT_HAS_EXPIRED},
    {"leaf expired", .leaf = {.from = "-9", .to = "-1"}, .code = X509_V_ERR_CERT_HAS_EXPIRED},
    {"leaf not yet valid", .leaf = {.from = "1", .to = "9"}, .code = X509_V_ERR_CERT_NOT_YET_VALID},
    {"leaf ends before it begins", .leaf = {.from = "9", .to = "-9"},
     .code = X509_V_ERR_CERT_NOT_YET_VALID},
    {"leaf names another key of its issuer", .leaf = {.change = one_bit_off},
     MID(KIT_CA, "subjectKeyIdentifier=hash"),
     .code = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
    {"unknown critical extension", .leaf = {.ext = {LEAF_EXT, "1.2.3.4=critical,ASN1:UTF8:x"}},
     .code = X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION},
    {"unknown extension", .leaf = {.ext = {LEAF_EXT, "1.2.3.4=ASN1:UTF8:x"}}},
    {"authority with an unknown critical extension", MID(KIT_CA, "1.2.3.4=critical,ASN1:UTF8:x"),
     .code = X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION},
    {"an extension twice", .leaf = {.change = twice_constrained},
     .code = X509_V_ERR_INVALID_EXTENSION},
    {"key usage for signatures, server", USAGE("critical,digitalSignature")},
    {"key usage for signatures, client", USAGE("digitalSignature"), .as_server = true},
    {"key usage for key transport, server", USAGE("keyEncipherment"), .code = PURPOSE},
    {"key usage for key transport, client", USAGE("keyEncipherment"), .as_server = true,
     .code = PURPOSE},
    {"key usage for certificates only", USAGE("keyCertSign"), .code = PURPOSE},
    {"key usage for contracts only", USAGE("nonRepudiation"), .as_server = true, .code = PURPOSE},
    {"name constraints kept", LIMIT("permitted;DNS:example")},
    {"name constraints kept, exact", LIMIT("critical,permitted;DNS:server.example")},
    {"name constraints broken", LIMIT("critical,permitted;DNS:other.example"),
     .code = X509_V_ERR_PERMITTED_VIOLATION},
    {"name constraints broken, not critical", LIMIT("permitted;DNS:other.example"),
     .code = X509_V_ERR_PERMITTED_VIOLATION},
    {"name excluded", LIMIT("critical,excluded;DNS:server.example"),
     .code = X509_V_ERR_EXCLUDED_VIOLATION},
    {"another name excluded", LIMIT("critical,excluded;DNS:other.example")},
    {"sip URI within constraints", SAN("URI:sip:server.example"), .name = "",
     LIMIT("permitted;DNS:other.example")},
    {"address outside of constraints", SAN("IP:192.0.2.1"), .name = "192.0.2.1",
     LIMIT("critical,permitted;IP:198.51.100.0/255.255.255.0"),
     .code = X509_V_ERR_PERMITTED_VIOLATION},
    {"address within constraints", SAN("IP:192.0.2.1"), .name = "192.0.2.1",
     LIMIT("critical,permitted;IP:192.0.2.0/255.255.255.0")},
    {"email outside of constraints", SAN("email:a@b.example,DNS:server.example"),
     LIMIT("critical,permitted;email:c.example"), .code = X509_V_ERR_PERMITTED_VIOLATION},
    {"policy demanded, but there is none", MID(KIT_CA, DEMAND, POLICY),
     .code = X509_V_ERR_NO_EXPLICIT_POLICY},
    {"policy demanded and there", .leaf = {.ext = {LEAF_EXT, POLICY}}, MID(KIT_CA, DEMAND, POLICY)},
    {"policy demanded, but there is another",
     .leaf = {.ext = {LEAF_EXT, "certificatePolicies=critical,1.2.3.5"}},
     MID(KIT_CA, DEMAND, POLICY), .code = X509_V_ERR_NO_EXPLICIT_POLICY},
    {"policies that differ, none demanded",
     .leaf = {.ext = {LEAF_EXT, "certificatePolicies=critical,1.2.3.5"}}, MID(KIT_CA, POLICY)},
    {"sip URI under a constraint on URIs, which it cannot be held against (RFC 5280 4.2.1.10)",
     SAN("URI:sip:server.example"), LIMIT("critical,permitted;URI:server.example"),
     .code = X509_V_ERR_UNSUPPORTED_NAME_SYNTAX},
    {"RSA of 2048 bits", .leaf = {.rsa_bits = 2048}},
    {"RSA of 1024 bits", .leaf = {.rsa_bits = 1024}, .code = X509_V_ERR_EE_KEY_TOO_SMALL},
    {"authority with RSA of 1024 bits", .above = {{.subject = "CN=Case CA", .rsa_bits = 1024}},
     .code = X509_V_ERR_CA_KEY_TOO_SMALL},
    {"signed with SHA-1", .leaf = {.md = EVP_sha1}, .code = X509_V_ERR_CA_MD_TOO_WEAK},
    {"signed with MD5", .leaf = {.md = EVP_md5}, .root = {.subject = "CN=R", .rsa_bits = 2048},
     .code = X509_V_ERR_CA_MD_TOO_WEAK},
    {"signed with SHA-512", .leaf = {.md = EVP_sha512}},
    {"root signed with SHA-1", .root = {.subject = "CN=Case root", .md = EVP_sha1}},
    /* "SHOULD be prepared to gracefully handle such certificates" (RFC 5280 4.1.2.2) */
    {"serial number below zero", .leaf = {.change = negative_serial}},
    {"serial number zero", .leaf = {.change = zero_serial}},
};

Test(verify_cases, c8_paths_by_rfc_5280) { RUN(paths); }

/* ---- chains as they come ---- */

static int verify(const struct tl_tls_options *o, const struct kit_cert *leaf,
                  const struct kit_cert *const *sent, struct tl_verdict *v) {
  struct tl_tls_domain *dom = duel_domain(o);
  struct tl_identity *id = kit_identity(leaf, sent);
  tl_tls_verify_identity(dom, false, id, TL_STR("server.example"), 0, v);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
  return v->code;
}

static struct kit_cert authority(const char *subject, const struct kit_cert *issuer,
                                 const struct kit_cert *same_key) {
  return kit_make(&(struct kit_options){.subject = subject,
                                        .issuer = issuer,
                                        .key = same_key ? same_key->key : NULL,
                                        .ext = {KIT_CA}});
}

static struct kit_cert holder(const struct kit_cert *issuer, const struct kit_cert *signer) {
  return kit_make(&(struct kit_options){
      .subject = "CN=leaf", .issuer = issuer, .signer = signer, .ext = {LEAF_EXT}});
}

static struct tl_tls_options strict(void) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  return o;
}

Test(verify_cases, c8_order_and_extra_certificates_do_not_matter) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert root = authority("CN=R", NULL, NULL), a = authority("CN=A", &root, NULL),
                  b = authority("CN=B", &a, NULL), x = authority("CN=X", NULL, NULL),
                  leaf = holder(&b, NULL);
  const struct kit_cert *roots[] = {&root, NULL};
  pki_trust(roots);
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&b, &a, NULL}, &v), 0, "%s", v.why);
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&a, &b, NULL}, &v), 0, "%s", v.why);
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&x, &a, &b, &root, &x, NULL}, &v), 0);
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&b, &b, &a, &a, NULL}, &v), 0);
  cr_expect_str_eq(v.anchor, "CN=R");
  cr_expect_neq(verify(&o, &leaf, (const struct kit_cert *[]){&b, NULL}, &v), 0);
}

Test(verify_cases, c8_signature_of_another_key) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert root = authority("CN=R", NULL, NULL), twin = authority("CN=R", NULL, NULL),
                  leaf = holder(&root, &twin);
  pki_trust((const struct kit_cert *[]){&root, NULL});
  cr_expect_eq(verify(&o, &leaf, NULL, &v), X509_V_ERR_CERT_SIGNATURE_FAILURE);
  cr_expect_eq(v.alert, SSL_AD_BAD_CERTIFICATE);
  /* the twin that is sent is not an anchor, though it signed and has the name */
  cr_expect_neq(verify(&o, &leaf, (const struct kit_cert *[]){&twin, NULL}, &v), 0);
}

Test(verify_cases, b1_own_self_signed_certificate_as_anchor) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert own = holder(NULL, NULL), other = holder(NULL, NULL);
  pki_trust((const struct kit_cert *[]){&own, NULL});
  cr_expect_eq(verify(&o, &own, NULL, &v), 0, "%s", v.why);
  cr_expect_str_eq(v.anchor, "CN=leaf");
  cr_expect_eq(verify(&o, &other, NULL, &v), X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
}

Test(verify_cases, b1_anchor_renewed_with_the_same_key) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert old = authority("CN=R", NULL, NULL), renewed = authority("CN=R", NULL, &old),
                  leaf = holder(&old, NULL);
  pki_trust((const struct kit_cert *[]){&renewed, NULL});
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&old, NULL}, &v), 0, "%s", v.why);
}

/* Strength is level 2 of OpenSSL, unless the operator says otherwise. */
Test(verify_cases, c8_strength_is_the_operators_to_lower) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert root = authority("CN=R", NULL, NULL),
                  leaf = kit_make(&(struct kit_options){
                      .subject = "CN=l", .issuer = &root, .rsa_bits = 1024, .ext = {LEAF_EXT}});
  pki_trust((const struct kit_cert *[]){&root, NULL});
  cr_expect_eq(verify(&o, &leaf, NULL, &v), X509_V_ERR_EE_KEY_TOO_SMALL);
  cr_expect_eq(v.alert, SSL_AD_BAD_CERTIFICATE);
  o.ciphers_list = "ECDHE+AESGCM:@SECLEVEL=1";
  cr_expect_eq(verify(&o, &leaf, NULL, &v), 0, "%s", v.why);
}

Test(verify_cases, c8_two_ways_up_one_of_which_is_trusted) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert known = authority("CN=Known", NULL, NULL), odd = authority("CN=Odd", NULL, NULL),
                  by_odd = authority("CN=A", &odd, NULL),
                  by_known = authority("CN=A", &known, &by_odd), leaf = holder(&by_odd, NULL);
  pki_trust((const struct kit_cert *[]){&known, NULL});
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&by_known, &by_odd, NULL}, &v), 0);
  cr_expect_str_eq(v.anchor, "CN=Known");
  cr_expect_neq(verify(&o, &leaf, (const struct kit_cert *[]){&by_odd, NULL}, &v), 0);
}

Test(verify_cases, c8_issuers_in_a_circle_end) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert a = authority("CN=A", NULL, NULL), b = authority("CN=B", &a, NULL),
                  a_by_b = authority("CN=A", &b, &a), leaf = holder(&b, NULL);
  pki_trust((const struct kit_cert *[]){&pki_ca, NULL});
  cr_expect_eq(verify(&o, &leaf, (const struct kit_cert *[]){&b, &a_by_b, NULL}, &v),
               X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "%s", v.why);
  cr_expect_eq(v.alert, SSL_AD_UNKNOWN_CA);
}

/* OpenSSL alone goes up by the first that fits, and does not come back (RFC 8446 4.4.2). */
Test(verify_cases, c8_dead_ends_among_the_certificates_sent) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert known = authority("CN=Known", NULL, NULL), odd = authority("CN=Odd", NULL, NULL),
                  self = authority("CN=A", NULL, NULL), by_odd = authority("CN=A", &odd, &self),
                  by_known = authority("CN=A", &known, &self), mid = authority("CN=M", &self, NULL),
                  leaf = holder(&mid, NULL);
  pki_trust((const struct kit_cert *[]){&known, NULL});
  const struct kit_cert *orders[][6] = {{&mid, &by_known, &self, &by_odd, &odd, NULL},
                                        {&mid, &self, &by_known, NULL},
                                        {&mid, &by_odd, &by_known, NULL},
                                        {&odd, &self, &by_odd, &mid, &by_known, NULL}};
  for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
    cr_expect_eq(verify(&o, &leaf, orders[i], &v), 0, "%zu: %s", i, v.why);
    cr_expect_str_eq(v.anchor, "CN=Known");
  }
  const struct kit_cert *none[] = {&mid, &self, &by_odd, &odd, NULL};
  cr_expect_neq(verify(&o, &leaf, none, &v), 0);
  cr_expect_eq(v.alert, SSL_AD_UNKNOWN_CA);
}

/* An authority with a new key under its old name, and leaves that do not say by which. */
Test(verify_cases, c8_authorities_of_one_name) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert old = authority("CN=R", NULL, NULL), new = authority("CN=R", NULL, NULL),
                  alien = authority("CN=R", NULL, NULL), by_old = holder(&old, NULL),
                  by_new = holder(&new, NULL), by_alien = holder(&alien, NULL);
  pki_trust((const struct kit_cert *[]){&old, &new, NULL});
  cr_expect_eq(verify(&o, &by_old, NULL, &v), 0, "%s", v.why);
  cr_expect_eq(verify(&o, &by_new, NULL, &v), 0, "%s", v.why);
  cr_expect_neq(verify(&o, &by_alien, NULL, &v), 0);
  cr_expect_neq(verify(&o, &by_alien, (const struct kit_cert *[]){&alien, NULL}, &v), 0);
}

/* Who signs must be allowed to; who decrypts, only where suites have servers decrypt. */
Test(verify_cases, c8_key_usage_and_rsa_key_exchange) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  struct kit_cert root = authority("CN=R", NULL, NULL),
                  leaf = kit_make(
                      &(struct kit_options){.subject = "CN=l",
                                            .issuer = &root,
                                            .rsa_bits = 2048,
                                            .ext = {LEAF_EXT, "keyUsage=keyEncipherment"}});
  pki_trust((const struct kit_cert *[]){&root, NULL});
  cr_expect_eq(verify(&o, &leaf, NULL, &v), PURPOSE);
  cr_expect_eq(v.alert, SSL_AD_UNSUPPORTED_CERTIFICATE);
  o.ciphers_list = "AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
  cr_expect_eq(verify(&o, &leaf, NULL, &v), 0, "%s", v.why);
}

/* ---- revocation ---- */

Test(verify_cases, c8_revocation_lists) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  char crl[128];
  struct kit_cert root = authority("CN=R", NULL, NULL), mid = authority("CN=M", &root, NULL),
                  leaf = holder(&root, NULL), deep = holder(&mid, NULL);
  const struct kit_cert *by_mid[] = {&mid, NULL};
  pki_trust((const struct kit_cert *[]){&root, NULL});
  snprintf(crl, sizeof(crl), "%s", pki_path("root.crl"));
  o.crl_file = crl;
  pki_write_crl("root", &root, NULL);
  cr_expect_eq(verify(&o, &leaf, NULL, &v), 0, "%s", v.why);
  cr_expect_eq(verify(&o, &deep, by_mid, &v), X509_V_ERR_UNABLE_TO_GET_CRL);
  cr_expect_eq(v.alert, SSL_AD_CERTIFICATE_UNKNOWN);
  pki_write_crl("root", &root, &leaf);
  cr_expect_eq(verify(&o, &leaf, NULL, &v), X509_V_ERR_CERT_REVOKED);
  cr_expect_eq(v.alert, SSL_AD_CERTIFICATE_REVOKED);
  pki_trust((const struct kit_cert *[]){&root, &mid, NULL});
  pki_write_crl("root", &mid, NULL);
  cr_expect_eq(verify(&o, &deep, by_mid, &v), 0, "%s", v.why);
  o.crl_check_all = true;
  cr_expect_eq(verify(&o, &deep, by_mid, &v), X509_V_ERR_UNABLE_TO_GET_CRL);
  cr_expect_eq(v.depth, 1);
}

/* Without crl_check_all no list is demanded above the leaf; but who is listed is refused. */
Test(verify_cases, b19_listed_authorities_are_refused_at_any_level) {
  struct tl_tls_options o = strict();
  struct tl_verdict v;
  char crl[128];
  struct kit_cert root = authority("CN=R", NULL, NULL), mid = authority("CN=M", &root, NULL),
                  leaf = holder(&mid, NULL);
  const struct kit_cert *sent[] = {&mid, NULL};
  pki_trust((const struct kit_cert *[]){&root, &mid, NULL});
  pki_write_crl("mid", &mid, NULL);
  pki_write_crl("root", &root, &mid);
  snprintf(crl, sizeof(crl), "%s", pki_path("mid.crl"));
  o.crl_file = crl;
  cr_expect_eq(verify(&o, &leaf, sent, &v), 0, "%s", v.why);
  char both[128], dir[128];
  cr_assert_eq(mkdir(pki_path("lists"), 0700), 0);
  snprintf(both, sizeof(both), "%s", pki_path("lists/root.crl"));
  cr_assert_eq(rename(pki_path("root.crl"), both), 0);
  snprintf(dir, sizeof(dir), "%s", pki_path("lists"));
  o.crl_dir = dir;
  for (int stale = 0; stale < 2; stale++) {
    o.policy.crl_stale = stale ? TL_STALE_ACCEPT : TL_STALE_REJECT;
    cr_expect_eq(verify(&o, &leaf, sent, &v), X509_V_ERR_CERT_REVOKED, "%s", v.why);
    cr_expect_eq(v.alert, SSL_AD_CERTIFICATE_REVOKED);
    cr_expect_eq(v.depth, 1);
  }
  unlink(both);
  rmdir(dir);
}

/* Only the root is trusted; the authority between comes with the peer's chain, its list was there
 * before. Lists that another authority of that name has signed say nothing, alone or beside it. */
Test(verify_cases, s20_lists_of_authorities_that_chains_bring_count) {
  struct kit_cert root = authority("CN=R", NULL, NULL), mid = authority("CN=M", &root, NULL),
                  other = authority("CN=O", NULL, NULL), twin = authority("CN=M", &other, NULL),
                  good = holder(&mid, NULL), bad = holder(&mid, NULL);
  const struct kit_cert *sent[] = {&mid, NULL};
  const struct {
    const struct kit_cert *lists[3], *revoked;
    bool all, stale;
    int good, bad;
  } cases[] = {
      {{&root, &mid}, &bad, true, false, 0, X509_V_ERR_CERT_REVOKED},
      {{&root, &mid}, &bad, false, false, 0, X509_V_ERR_CERT_REVOKED},
      {{&mid}, &bad, false, false, 0, X509_V_ERR_CERT_REVOKED},
      {{&mid}, &bad, true, false, X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_CERT_REVOKED},
      {{&root, &twin},
       &bad,
       true,
       false,
       X509_V_ERR_UNABLE_TO_GET_CRL,
       X509_V_ERR_UNABLE_TO_GET_CRL},
      {{&root, &twin, &mid}, &bad, true, false, 0, X509_V_ERR_CERT_REVOKED},
      {{&root, &mid, &twin}, &bad, true, false, 0, X509_V_ERR_CERT_REVOKED},
      {{&root, &mid}, &bad, true, true, 0, X509_V_ERR_CERT_REVOKED},
      {{&root, &mid}, &mid, true, false, X509_V_ERR_CERT_REVOKED, X509_V_ERR_CERT_REVOKED},
      {{&other, &root},
       &bad,
       true,
       false,
       X509_V_ERR_UNABLE_TO_GET_CRL,
       X509_V_ERR_UNABLE_TO_GET_CRL},
  };
  static const char *const files[] = {"lists/a", "lists/b", "lists/c"};
  char dir[128];
  pki_trust((const struct kit_cert *[]){&root, NULL});
  cr_assert_eq(mkdir(pki_path("lists"), 0700), 0);
  snprintf(dir, sizeof(dir), "%s", pki_path("lists"));
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_tls_options o = strict();
    struct tl_verdict v;
    o.crl_dir = dir;
    o.crl_check_all = cases[i].all;
    o.policy.crl_stale = cases[i].stale ? TL_STALE_ACCEPT : TL_STALE_REJECT;
    for (int k = 0; k < 3 && cases[i].lists[k]; k++) {
      const struct kit_cert *by = cases[i].lists[k];
      bool lists_it = cases[i].revoked == &mid ? by == &root : by == &mid;
      pki_write_crl(files[k], by, lists_it ? cases[i].revoked : NULL);
    }
    cr_expect_eq(verify(&o, &good, sent, &v), cases[i].good, "%zu: %s", i, v.why);
    cr_expect_eq(verify(&o, &bad, sent, &v), cases[i].bad, "%zu: %s", i, v.why);
    for (int k = 0; k < 3 && cases[i].lists[k]; k++) {
      char file[32];
      snprintf(file, sizeof(file), "%s.crl", files[k]);
      unlink(pki_path(file));
    }
  }
  rmdir(dir);
}
