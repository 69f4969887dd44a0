/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client says it trusts: the grammar of both extensions, and the choice
 * among domains and certificates by it, in TLS 1.3 and 1.2, as server and as
 * client.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "test_tls_duel.h"
#include "tls/tls_internal.h"

TestSuite(tls_ca, .init = pki_open, .fini = pki_close);

/* ---- grammar ---- */

static uint8_t ext[70000];
static size_t ext_n;

static void put(const void *p, size_t n) {
  memcpy(ext + ext_n, p, n);
  ext_n += n;
}
static void put_u16(size_t v) { put((uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }
static void begin(void) { ext_n = 2; }
static void end_list(void) {
  ext[0] = (uint8_t)((ext_n - 2) >> 8);
  ext[1] = (uint8_t)(ext_n - 2);
}
static void put_name(const X509 *x) {
  unsigned char *der = NULL;
  int n = i2d_X509_NAME(X509_get_subject_name(x), &der);
  put_u16((size_t)n);
  put(der, (size_t)n);
  OPENSSL_free(der);
}

static int names(size_t n, size_t *count) {
  struct tl_ca_wanted *w;
  cr_assert_eq(tl_ca_wanted_new(&w), 0);
  int rc = tl_ca_wanted_names(w, ext, n);
  if (count) *count = tl_ca_wanted_count(w);
  tl_ca_wanted_free(w);
  return rc;
}

static int keys(size_t n, size_t *count) {
  struct tl_ca_wanted *w;
  cr_assert_eq(tl_ca_wanted_new(&w), 0);
  int rc = tl_ca_wanted_keys(w, ext, n);
  if (count) *count = tl_ca_wanted_count(w);
  tl_ca_wanted_free(w);
  return rc;
}

Test(tls_ca, b5_certificate_authorities_are_read_strictly) {
  size_t count;
  begin();
  put_name(pki_ca.x);
  put_name(pki_ca.x);
  end_list();
  cr_expect_eq(names(ext_n, &count), 0);
  cr_expect_eq(count, 2);
  for (size_t n = 0; n < ext_n; n++) cr_expect_eq(names(n, NULL), TL_ESYNTAX, "cut to %zu", n);
  put("x", 1);
  cr_expect_eq(names(ext_n, NULL), TL_ESYNTAX, "a byte behind the list");
  begin();
  end_list();
  cr_expect_eq(names(ext_n, NULL), TL_ESYNTAX, "an empty list");
  begin();
  put_u16(0);
  end_list();
  cr_expect_eq(names(ext_n, NULL), TL_ESYNTAX, "an empty name");
  begin();
  put_u16(3);
  put("\x02\x01\x05", 3);
  end_list();
  cr_expect_eq(names(ext_n, NULL), TL_ESYNTAX, "an INTEGER for a Name");
  begin();
  put_u16(4);
  put("\x30\x00\x30\x00", 4);
  end_list();
  cr_expect_eq(names(ext_n, NULL), TL_ESYNTAX, "two names in one entry");
}

Test(tls_ca, b5_trusted_ca_keys_are_read_strictly) {
  static const uint8_t sha1[20] = {1, 2, 3};
  size_t count;
  begin();
  put("\x00", 1);
  put("\x01", 1);
  put(sha1, 20);
  put("\x02", 1);
  put_name(pki_ca.x);
  put("\x03", 1);
  put(sha1, 20);
  end_list();
  cr_expect_eq(keys(ext_n, &count), 0);
  cr_expect_eq(count, 3, "pre_agreed names nobody");
  for (size_t n = 0; n < ext_n; n++) cr_expect_eq(keys(n, NULL), TL_ESYNTAX, "cut to %zu", n);
  begin();
  end_list();
  cr_expect_eq(keys(ext_n, &count), 0, "the list may be empty");
  cr_expect_eq(count, 0);
  begin();
  put("\x04", 1);
  end_list();
  cr_expect_eq(keys(ext_n, NULL), TL_ESYNTAX, "an unknown type");
  begin();
  put("\x01", 1);
  put(sha1, 19);
  end_list();
  cr_expect_eq(keys(ext_n, NULL), TL_ESYNTAX, "a hash of 19 bytes");
}

Test(tls_ca, b5_what_is_kept_of_a_hello_is_bounded) {
  size_t count;
  begin();
  while (ext_n < 65000) {
    put_u16(2);
    put("\x30\x00", 2);
  }
  end_list();
  cr_expect_eq(names(ext_n, &count), TL_ELIMIT);
  cr_expect_eq(count, TL_CA_WANTED_MAX);
}

static void put_header(uint8_t tag, size_t n) {
  put((uint8_t[]){tag, n ? 0x82 : 0}, 2);
  if (n) put_u16(n);
}

/* Adds a name of RDNS sets with AVAS attributes each. */
static void put_made_name(size_t rdns, size_t avas) {
  static const uint8_t ava[] = {0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 'x'};
  size_t set = avas * sizeof(ava), n = rdns * ((set ? 4 : 2) + set);
  put_u16((n ? 4 : 2) + n);
  put_header(0x30, n);
  for (size_t i = 0; i < rdns; i++) {
    put_header(0x31, set);
    for (size_t j = 0; j < avas; j++) put(ava, sizeof(ava));
  }
}

/* What one ClientHello makes us read is bounded, in both extensions together: shapes of 60 KB that
 * took 2 to 6.6 ms. OpenSSL reads the first of them too: what is over ends the handshake. */
Test(tls_ca, s10_what_a_hello_makes_us_read_is_bounded) {
  static const struct {
    size_t names, rdns, avas, kept;
    bool over;
  } cases[] = {
      {200, 1, 1, 200, false}, {1300, 3, 1, 256, true}, {10000, 0, 0, 256, true},
      {3500, 1, 1, 256, true}, {1, 4200, 1, 0, true},   {1, 1, 6000, 0, true},
      {1, 15000, 0, 0, true},  {60, 20, 2, 25, true},   {100, 100, 0, 10, true},
      {2, 1, 300, 2, false},   {20, 3, 100, 3, true},   {256, 4, 1, 256, false},
      {256, 5, 1, 204, true},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_ca_wanted *w;
    begin();
    for (size_t k = 0; k < cases[i].names && ext_n < 60000; k++)
      put_made_name(cases[i].rdns, cases[i].avas);
    end_list();
    cr_assert_eq(tl_ca_wanted_new(&w), 0);
    cr_expect_eq(tl_ca_wanted_names(w, ext, ext_n), cases[i].over ? TL_ELIMIT : 0, "%zu", i);
    size_t kept = tl_ca_wanted_count(w);
    cr_expect_eq(kept, cases[i].kept, "%zu: %zu", i, kept);
    /* The same once more, as trusted_ca_keys: what is full stays full. */
    begin();
    for (size_t k = 0; k < cases[i].names && ext_n < 60000; k++) {
      put("\x02", 1);
      put_made_name(cases[i].rdns, cases[i].avas);
    }
    end_list();
    cr_expect_eq(tl_ca_wanted_keys(w, ext, ext_n), 0, "%zu", i);
    cr_expect_leq(tl_ca_wanted_count(w), TL_CA_WANTED_MAX);
    tl_ca_wanted_free(w);
  }
}

/* Lengths are checked in what is not kept, too. */
Test(tls_ca, s10_what_is_over_the_bounds_must_still_be_well_formed) {
  for (int bad = 0; bad < 4; bad++) {
    begin();
    put("\x02", 1);
    put_made_name(2000, 1);
    put("\x02", 1);
    size_t at = ext_n;
    put_made_name(2, 2);
    static const size_t where[] = {0, 2, 6, 10}; /* list entry, sequence, set, attribute */
    ext[at + where[bad]] ^= 0x41;
    end_list();
    cr_expect_eq(keys(ext_n, NULL), TL_ESYNTAX, "%d", bad);
  }
}

/* ---- two federations: the same name, certificates of two authorities ---- */

struct federations {
  struct kit_cert ca[2], leaf[2];
  const char *cert[2][3], *key[2][3];
  struct tl_tls_domain *domain[2];
  struct tl_tls_set set;
};

static const char *name_list[] = {"server.example", NULL};

static void federations_open(struct federations *f, bool rsa) {
  static char path[8][128];
  static const char *const tags[] = {"fed-a", "fed-b"};
  struct tl_tls_options o = duel_options();
  for (int i = 0; i < 2; i++) {
    char file[32], subject[32];
    snprintf(subject, sizeof(subject), "O=Lab/CN=Federation %c", 'A' + i);
    f->ca[i] = kit_make(
        &(struct kit_options){.subject = subject, .ext = {KIT_CA}, .rsa_bits = rsa ? 2048 : 0});
    f->leaf[i] = kit_make(&(struct kit_options){.subject = "O=Lab/CN=server.example",
                                                .ext = {"subjectAltName=DNS:server.example"},
                                                .issuer = &f->ca[i]});
    pki_write(tags[i], &f->leaf[i], &f->ca[i]);
    snprintf(file, sizeof(file), "%s.pem", tags[i]);
    snprintf(path[2 * i], sizeof(path[0]), "%s", pki_path(file));
    snprintf(file, sizeof(file), "%s.key", tags[i]);
    snprintf(path[2 * i + 1], sizeof(path[0]), "%s", pki_path(file));
    f->cert[i][0] = path[2 * i];
    f->key[i][0] = path[2 * i + 1];
    f->cert[i][1] = f->key[i][1] = NULL;
    o.name = tags[i];
    o.certificate = f->cert[i];
    o.private_key = f->key[i];
    o.match_sip_domain = name_list;
    f->domain[i] = duel_domain(&o);
  }
  f->set = (struct tl_tls_set){.domain = f->domain, .n = 2, .fallback = NULL};
}

static void federations_close(struct federations *f) {
  for (int i = 0; i < 2; i++) tl_tls_domain_unref(f->domain[i]);
}

/* What the client gets to see; "" if the handshake fails. */
static const char *shown(struct federations *f, SSL_CTX *client, int *out_alert) {
  static char issuer[64];
  struct duel d;
  struct tl_hs_params p = {.server = true, .set = &f->set, .sni = TL_STR("server.example")};
  duel_begin_with(&d, client, &p);
  duel_run(&d);
  issuer[0] = '\0';
  X509 *x = d.rc == 0 ? SSL_get0_peer_certificate(d.peer) : NULL;
  if (x) X509_NAME_get_text_by_NID(X509_get_issuer_name(x), NID_commonName, issuer, sizeof(issuer));
  if (out_alert) *out_alert = tl_hs_failure(d.hs)->alert_sent;
  duel_end(&d);
  return issuer;
}

static SSL_CTX *any_client(int version) {
  SSL_CTX *c = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(c, version);
  SSL_CTX_set_max_proto_version(c, version);
  SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
  return c;
}

Test(tls_ca, b5_tls13_certificate_authorities_pick_the_domain) {
  struct federations f;
  federations_open(&f, false);
  SSL_CTX *client = any_client(TLS1_3_VERSION);
  cr_expect_str_eq(shown(&f, client, NULL), "Federation A", "who says nothing gets the first");
  for (int i = 0; i < 2; i++) {
    STACK_OF(X509_NAME) *list = sk_X509_NAME_new_null();
    sk_X509_NAME_push(list, X509_NAME_dup(X509_get_subject_name(pki_ca.x)));
    sk_X509_NAME_push(list, X509_NAME_dup(X509_get_subject_name(f.ca[i].x)));
    SSL_CTX_set0_CA_list(client, list);
    cr_expect_str_eq(shown(&f, client, NULL), i ? "Federation B" : "Federation A");
  }
  STACK_OF(X509_NAME) *none = sk_X509_NAME_new_null();
  sk_X509_NAME_push(none, X509_NAME_dup(X509_get_subject_name(pki_ca.x)));
  SSL_CTX_set0_CA_list(client, none);
  cr_expect_str_eq(shown(&f, client, NULL), "Federation A", "no match: the order of the file");
  SSL_CTX_free(client);
  federations_close(&f);
}

/* trusted_ca_keys as the client sends it, and whether the server answered. */
static bool answered;
static int send_keys(SSL *s, unsigned t, unsigned c, const unsigned char **out, size_t *n, X509 *x,
                     size_t i, int *al, void *arg) {
  (void)s, (void)t, (void)c, (void)x, (void)i, (void)al, (void)arg;
  *out = ext;
  *n = ext_n;
  return 1;
}
static int see_answer(SSL *s, unsigned t, unsigned c, const unsigned char *in, size_t n, X509 *x,
                      size_t i, int *al, void *arg) {
  (void)s, (void)t, (void)c, (void)in, (void)x, (void)i, (void)al, (void)arg;
  answered = n == 0;
  return 1;
}

static SSL_CTX *client_with_keys(void) {
  SSL_CTX *client = any_client(TLS1_2_VERSION);
  cr_assert_eq(SSL_CTX_add_custom_ext(client, 3, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO,
                                      send_keys, NULL, NULL, see_answer, NULL),
               1);
  return client;
}

/* KIND of RFC 6066 6 for CA; PREFIX stands before it in the list. */
static void trusted(int kind, const struct kit_cert *ca) {
  uint8_t md[20], t = (uint8_t)kind;
  begin();
  put("\x00", 1);
  put(&t, 1);
  if (kind == 2) {
    put_name(ca->x);
  } else if (kind == 3) {
    X509_digest(ca->x, EVP_sha1(), md, NULL);
    put(md, 20);
  } else {
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(ca->key, "n", &n) == 1) { /* RSA: the modulus alone */
      uint8_t buf[512];
      int len = BN_bn2bin(n, buf);
      EVP_Digest(buf, (size_t)len, md, NULL, EVP_sha1(), NULL);
      BN_free(n);
    } else {
      ERR_clear_error();
      X509_pubkey_digest(ca->x, EVP_sha1(), md, NULL);
    }
    put(md, 20);
  }
  end_list();
}

Test(tls_ca, b5_tls12_trusted_ca_keys_pick_the_domain) {
  for (int rsa = 0; rsa < 2; rsa++) {
    struct federations f;
    federations_open(&f, rsa);
    SSL_CTX *client = client_with_keys();
    for (int kind = 1; kind <= 3; kind++)
      for (int i = 0; i < 2; i++) {
        answered = false;
        trusted(kind, &f.ca[i]);
        cr_expect_str_eq(shown(&f, client, NULL), i ? "Federation B" : "Federation A", "kind %d",
                         kind);
        cr_expect(answered, "the server says that it looked (RFC 6066 6)");
      }
    begin();
    put("\x00", 1);
    end_list();
    cr_expect_str_eq(shown(&f, client, NULL), "Federation A", "pre_agreed alone decides nothing");
    SSL_CTX_free(client);
    federations_close(&f);
  }
}

Test(tls_ca, b5_malformed_extension_ends_with_decode_error) {
  struct federations f;
  federations_open(&f, false);
  SSL_CTX *client = client_with_keys();
  static const struct {
    const char *bytes;
    size_t n;
  } bad[] = {{"", 0}, {"\x00", 1}, {"\x00\x01\x09", 3}, {"\x00\x02\x01\x00", 4}, {"\x00\x00x", 3}};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    int alert = 0;
    ext_n = 0;
    put(bad[i].bytes, bad[i].n);
    cr_expect_str_eq(shown(&f, client, &alert), "");
    cr_expect_eq(alert, SSL_AD_DECODE_ERROR, "case %zu: alert %d", i, alert);
  }
  SSL_CTX_free(client);
  federations_close(&f);
}

/* Both certificates in one domain: the same choice within it. */
Test(tls_ca, b5_certificate_within_a_domain) {
  struct federations f;
  struct duel d;
  federations_open(&f, false);
  struct tl_tls_options o = duel_options();
  const char *certs[] = {f.cert[0][0], f.cert[1][0], NULL};
  const char *keys_[] = {f.key[0][0], f.key[1][0], NULL};
  o.certificate = certs;
  o.private_key = keys_;
  struct tl_tls_domain *both = duel_domain(&o);
  for (int i = 0; i < 2; i++) {
    SSL_CTX *client = any_client(TLS1_3_VERSION);
    STACK_OF(X509_NAME) *list = sk_X509_NAME_new_null();
    sk_X509_NAME_push(list, X509_NAME_dup(X509_get_subject_name(f.ca[i].x)));
    SSL_CTX_set0_CA_list(client, list);
    duel_begin(&d, client, true, both, "server.example", NULL);
    duel_run(&d);
    X509 *x = SSL_get0_peer_certificate(d.peer);
    cr_assert(x);
    cr_expect_eq(X509_cmp(x, f.leaf[i].x), 0);
    duel_end(&d);
    SSL_CTX_free(client);
  }
  tl_tls_domain_unref(both);
  federations_close(&f);
}

/* ---- as client ---- */

static X509 *seen_by_server;
static int see_client(X509_STORE_CTX *sc, void *arg) {
  (void)arg;
  seen_by_server = X509_STORE_CTX_get0_cert(sc);
  X509_up_ref(seen_by_server);
  return 1;
}

/* The certificate that a domain with both federations shows a server that names NAMED. */
static X509 *answer(struct tl_tls_domain *dom, int version, X509 *named) {
  SSL_CTX *server = duel_context(true, "server");
  struct duel d;
  SSL_CTX_set_min_proto_version(server, version);
  SSL_CTX_set_max_proto_version(server, version);
  SSL_CTX_set_verify(server, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_cert_verify_callback(server, see_client, NULL);
  if (named) SSL_CTX_add_client_CA(server, named);
  seen_by_server = NULL;
  duel_begin(&d, server, false, dom, "server.example", NULL);
  duel_run(&d);
  cr_expect_eq(d.rc, 0, "%s", tl_hs_failure(d.hs)->reason);
  duel_end(&d);
  SSL_CTX_free(server);
  return seen_by_server;
}

Test(tls_ca, c5_client_certificate_by_the_servers_names) {
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  struct federations f;
  federations_open(&f, false);
  struct tl_tls_options o = duel_options();
  const char *certs[] = {f.cert[0][0], f.cert[1][0], NULL};
  const char *keys_[] = {f.key[0][0], f.key[1][0], NULL};
  o.certificate = certs;
  o.private_key = keys_;
  struct tl_tls_domain *both = duel_domain(&o);
  for (int v = 0; v < 2; v++) {
    for (int i = 0; i < 2; i++) {
      X509 *x = answer(both, versions[v], f.ca[i].x);
      cr_assert(x);
      cr_expect_eq(X509_cmp(x, f.leaf[i].x), 0);
      X509_free(x);
    }
    X509 *x = answer(both, versions[v], NULL);
    cr_assert(x, "a server that names nobody takes any");
    cr_expect_eq(X509_cmp(x, f.leaf[0].x), 0);
    X509_free(x);
    cr_expect_null(answer(both, versions[v], pki_ca.x), "none of ours was asked for");
  }
  tl_tls_domain_unref(both);
  federations_close(&f);
}

/* A chain that does not reach its root here may still be under the authority asked for. */
Test(tls_ca, c5_incomplete_chain_is_shown_all_the_same) {
  struct kit_cert middle = kit_make(
      &(struct kit_options){.subject = "O=Lab/CN=Middle CA", .ext = {KIT_CA}, .issuer = &pki_ca});
  struct kit_cert leaf = kit_make(&(struct kit_options){
      .subject = "O=Lab/CN=a.example", .ext = {"subjectAltName=DNS:a.example"}, .issuer = &middle});
  pki_write("short", &leaf, NULL);
  struct tl_tls_options o = duel_options();
  const char *cert[] = {pki_path("short.pem"), NULL}, *key[] = {pki_path("short.key"), NULL};
  o.certificate = cert;
  o.private_key = key;
  struct tl_tls_domain *d = duel_domain(&o);
  X509 *x = answer(d, TLS1_3_VERSION, pki_ca.x);
  cr_assert(x);
  cr_expect_eq(X509_cmp(x, leaf.x), 0);
  X509_free(x);
  tl_tls_domain_unref(d);
}
