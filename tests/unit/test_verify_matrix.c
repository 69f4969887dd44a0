/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole matrix of authentication: what the domain demands, what the peer
 * shows, who is server, which TLS version; and in each cell the outcome, the
 * code and the alert that left (RFC 8446 6.2). Shapes of certificates beyond the
 * matrix are in test_verify_cases.c and test_verify_hostile.c.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "test_tls_duel.h"
#include "tieline/verify.h"

enum shown {
  NONE,
  GOOD,
  EXPIRED,
  NOT_YET_VALID,
  REVOKED,
  WRONG_CA,
  WRONG_NAME,
  SELF_SIGNED,
  WRONG_EKU,
  TOO_DEEP,
  INTERMEDIATE_MISSING,
  SHOWN
};

enum { VERIFIED, ANONYMOUS, UNVERIFIED, REFUSED, PEER_GIVES_UP };
/* What must come of it with verification on: as server with require_cert off and on, as client. */
struct cell {
  int outcome, code, alert; /* code and alert where it is refused or UNVERIFIED */
};
#define BAD(code, alert)                                                                           \
  { REFUSED, X509_V_ERR_##code, SSL_AD_##alert }
#define SAME(code, alert) BAD(code, alert), BAD(code, alert), BAD(code, alert)

static const struct {
  const char *name;
  struct cell optional, required, client;
} matrix[SHOWN] = {
    /* without a certificate a server has no suite in common with anyone */
    [NONE] = {"none",
              {ANONYMOUS, 0, 0},
              {REFUSED, 0, SSL_AD_CERTIFICATE_REQUIRED},
              {PEER_GIVES_UP, 0, SSL_AD_HANDSHAKE_FAILURE}},
    [GOOD] = {"good", {VERIFIED, 0, 0}, {VERIFIED, 0, 0}, {VERIFIED, 0, 0}},
    [EXPIRED] = {"expired", SAME(CERT_HAS_EXPIRED, CERTIFICATE_EXPIRED)},
    [NOT_YET_VALID] = {"not yet valid", SAME(CERT_NOT_YET_VALID, CERTIFICATE_EXPIRED)},
    [REVOKED] = {"revoked", SAME(CERT_REVOKED, CERTIFICATE_REVOKED)},
    [WRONG_CA] = {"wrong CA", SAME(UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNKNOWN_CA)},
    /* a server has no name to compare with (RFC 5922 7.4) */
    [WRONG_NAME] = {"wrong name",
                    {VERIFIED, 0, 0},
                    {VERIFIED, 0, 0},
                    BAD(HOSTNAME_MISMATCH, BAD_CERTIFICATE)},
    [SELF_SIGNED] = {"self-signed", SAME(DEPTH_ZERO_SELF_SIGNED_CERT, UNKNOWN_CA)},
    [WRONG_EKU] = {"wrong EKU", SAME(INVALID_PURPOSE, UNSUPPORTED_CERTIFICATE)},
    [TOO_DEEP] = {"chain too deep", SAME(CERT_CHAIN_TOO_LONG, UNKNOWN_CA)},
    [INTERMEDIATE_MISSING] = {"intermediate missing",
                              SAME(UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNKNOWN_CA)}};

#define NAMES "subjectAltName=DNS:server.example"

static struct kit_cert leaf[SHOWN], above[4];
static const struct kit_cert *chain[SHOWN][4];

static struct kit_cert authority(const char *subject, const struct kit_cert *issuer) {
  return kit_make(&(struct kit_options){.subject = subject, .issuer = issuer, .ext = {KIT_CA}});
}

static struct kit_cert holder(const struct kit_cert *issuer, const char *ext) {
  return kit_make(
      &(struct kit_options){.subject = "O=Lab/CN=peer", .issuer = issuer, .ext = {NAMES, ext}});
}

static void open_matrix(void) {
  pki_open();
  struct kit_cert root = above[0] = authority("O=Lab/CN=Matrix root", NULL);
  const struct kit_cert *roots[] = {&root, NULL};
  pki_trust(roots);
  above[1] = authority("O=Lab/CN=First", &above[0]);
  above[2] = authority("O=Lab/CN=Second", &above[1]);
  struct kit_cert stranger = authority("O=Lab/CN=Stranger", NULL);
  leaf[GOOD] = holder(&root, NULL);
  leaf[EXPIRED] = kit_make(&(struct kit_options){
      .subject = "CN=old", .issuer = &root, .ext = {NAMES}, .from = "-9", .to = "-1"});
  leaf[NOT_YET_VALID] = kit_make(&(struct kit_options){
      .subject = "CN=new", .issuer = &root, .ext = {NAMES}, .from = "2", .to = "9"});
  leaf[REVOKED] = holder(&root, NULL);
  leaf[WRONG_CA] = holder(&stranger, NULL);
  leaf[WRONG_NAME] = kit_make(&(struct kit_options){
      .subject = "CN=x", .issuer = &root, .ext = {"subjectAltName=DNS:elsewhere.example"}});
  leaf[SELF_SIGNED] = kit_make(&(struct kit_options){.subject = "CN=me", .ext = {NAMES}});
  leaf[WRONG_EKU] = holder(&root, "extendedKeyUsage=emailProtection");
  leaf[TOO_DEEP] = leaf[INTERMEDIATE_MISSING] = holder(&above[2], NULL);
  chain[TOO_DEEP][0] = &above[2];
  chain[TOO_DEEP][1] = &above[1];
  chain[INTERMEDIATE_MISSING][0] = &above[1];
  pki_write_crl("matrix", &root, &leaf[REVOKED]);
}

TestSuite(verify_matrix, .init = open_matrix, .fini = pki_close, .timeout = 60);

static int alert_seen; /* by the peer */

static void note_alert(const SSL *ssl, int where, int ret) {
  (void)ssl;
  if (where & SSL_CB_ALERT && where & SSL_CB_READ) alert_seen = ret & 0xff;
}

static SSL_CTX *peer_context(enum shown what, bool server, int version) {
  SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  SSL_CTX_set_info_callback(ctx, note_alert);
  if (what != NONE) kit_show(ctx, &leaf[what], chain[what]);
  return ctx;
}

static void check_refused(struct duel *d, const struct cell *c, bool server, int version) {
  const struct tl_hs_failure *f = tl_hs_failure(d->hs);
  char byte;
  int alert = c->alert;
  /* TLS 1.2 has no alert of its own for a certificate that is not there */
  if (version == TL_TLS_1_2 && alert == SSL_AD_CERTIFICATE_REQUIRED)
    alert = SSL_AD_HANDSHAKE_FAILURE;
  if (c->outcome == PEER_GIVES_UP) {
    /* OpenSSL counts TLS 1.3 as not spoken by a server that has no certificate */
    if (version == TL_TLS_1_3) alert = SSL_AD_PROTOCOL_VERSION;
    cr_assert_eq(d->rc, TL_ETLS);
    cr_assert_eq((int)f->cause, (int)TL_HS_ALERT);
    cr_assert_eq(f->alert_received, alert, "%d %d", f->alert_received, version);
    return;
  }
  cr_assert_eq(d->rc, TL_EVERIFY, "%s", f->reason);
  bool name = c->code == X509_V_ERR_HOSTNAME_MISMATCH;
  cr_assert_eq((int)f->cause, name ? (int)TL_HS_NAME : (int)TL_HS_VERIFY);
  cr_assert_eq(f->verify_code, c->code, "%ld %s", f->verify_code, f->reason);
  cr_assert_eq(f->alert_sent, alert, "%d, not %d", f->alert_sent, alert);
  cr_assert(f->reason[0]);
  if (server && version == TL_TLS_1_3) SSL_read(d->peer, &byte, 1); /* it believes to be done */
  ERR_clear_error();
  cr_assert_eq(alert_seen, alert, "the peer saw %d", alert_seen);
}

static void check_accepted(struct duel *d, const struct cell *c, const struct tl_tls_options *o) {
  struct tl_hs_result s;
  duel_prove(d, &s);
  cr_assert_eq(s.peer_verified, c->outcome == VERIFIED);
  cr_assert_eq(s.peer == NULL, c->outcome == ANONYMOUS);
  if (s.peer) {
    cr_assert_eq(s.peer->verified, c->outcome == VERIFIED);
    cr_assert_eq(s.peer->checked, o->policy.verify_cert);
    cr_assert_eq(tl_identity_flag(s.peer, TL_ID_VERIFIED), c->outcome == VERIFIED);
    if (o->policy.verify_cert) cr_assert_eq(s.peer->verify_code, c->code);
    cr_assert_eq(s.peer->anchor != NULL, c->outcome == VERIFIED);
  }
  tl_hs_result_clear(&s);
}

static void play(const struct tl_tls_options *o, enum shown what, const struct cell *c, bool server,
                 int version) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = peer_context(what, !server, version);
  struct duel d;
  alert_seen = -1;
  duel_begin(&d, peer, server, dom, "server.example", server ? NULL : "server.example");
  duel_run(&d);
  if (c->outcome == REFUSED || c->outcome == PEER_GIVES_UP)
    check_refused(&d, c, server, version);
  else
    check_accepted(&d, c, o);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

static struct tl_tls_options matrix_options(enum shown what) {
  static char crl[128];
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  o.policy.verify_depth = what == TOO_DEEP ? 1 : 9;
  if (what != GOOD && what != REVOKED) return o;
  snprintf(crl, sizeof(crl), "%s", pki_path("matrix.crl"));
  o.crl_file = crl;
  return o;
}

static void both_versions(const struct tl_tls_options *o, enum shown what, const struct cell *c,
                          bool server) {
  play(o, what, c, server, TL_TLS_1_2);
  play(o, what, c, server, TL_TLS_1_3);
}

Test(verify_matrix, d19_verify_on_certificate_optional_as_server) {
  for (int i = 0; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    both_versions(&o, (enum shown)i, &matrix[i].optional, true);
  }
}

Test(verify_matrix, c3_verify_on_certificate_required_as_server) {
  for (int i = 0; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    o.policy.require_cert = true;
    both_versions(&o, (enum shown)i, &matrix[i].required, true);
  }
}

/* e11: require_cert has no meaning as client, a server always shows one. */
Test(verify_matrix, e11_verify_on_as_client_whatever_is_required) {
  for (int i = 0; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    both_versions(&o, (enum shown)i, &matrix[i].client, false);
    o.policy.require_cert = true;
    both_versions(&o, (enum shown)i, &matrix[i].client, false);
  }
}

Test(verify_matrix, d20_verify_off_connects_anyway) {
  static const struct cell as_server = {ANONYMOUS, 0, 0}, as_client = {UNVERIFIED, 0, 0};
  for (int i = 0; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    o.policy.verify_cert = false;
    o.crl_file = NULL;
    both_versions(&o, (enum shown)i, &as_server, true); /* not asked for, so not sent */
    both_versions(&o, (enum shown)i, i == NONE ? &matrix[i].client : &as_client, false);
  }
}

Test(verify_matrix, d9_verify_off_and_required_contradict_each_other) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *d;
  char err[256];
  const char *option;
  o.policy.require_cert = true;
  cr_assert_eq(tl_tls_domain_new(&o, err, sizeof(err), &option, &d), TL_ECONFIG);
  cr_assert_str_eq(option, "require_cert");
  cr_assert(strstr(err, "contradicts"), "%s", err);
}

/* What is bad is let in where the operator wants it, with its code, and is never called verified.
 */
static struct cell let_in(const struct cell *c) {
  struct cell in = *c;
  if (c->outcome == REFUSED && c->code) in.outcome = UNVERIFIED;
  return in;
}

Test(verify_matrix, a4_accepted_unverified_counts_as_unauthenticated) {
  for (int i = 0; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    struct cell optional = let_in(&matrix[i].optional), required = let_in(&matrix[i].required),
                client = let_in(&matrix[i].client);
    o.policy.on_unverified = TL_UNVERIFIED_ACCEPT;
    both_versions(&o, (enum shown)i, &optional, true);
    both_versions(&o, (enum shown)i, &client, false);
    o.policy.require_cert = true;
    both_versions(&o, (enum shown)i, &required, true);
  }
}

/* A client that looks at the authorities we name, and has no certificate under any of them. */
static int sends_what_is_wanted(SSL *ssl, void *arg) {
  const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(ssl);
  const struct kit_cert *mine = arg;
  for (int i = 0; i < sk_X509_NAME_num(names); i++)
    if (X509_NAME_cmp(sk_X509_NAME_value(names, i), X509_get_issuer_name(mine->x)) == 0)
      return SSL_use_certificate(ssl, mine->x) == 1 && SSL_use_PrivateKey(ssl, mine->key) == 1;
  return 1;
}

Test(verify_matrix, a3_client_with_a_foreign_certificate_goes_on_without) {
  static const struct cell anonymous = {ANONYMOUS, 0, 0}, verified = {VERIFIED, 0, 0};
  struct tl_tls_options o = matrix_options(WRONG_CA);
  struct tl_tls_domain *dom = duel_domain(&o);
  for (int i = 0; i < 4; i++) {
    SSL_CTX *peer = peer_context(NONE, false, i % 2 ? TL_TLS_1_2 : TL_TLS_1_3);
    struct duel d;
    SSL_CTX_set_cert_cb(peer, sends_what_is_wanted, &leaf[i < 2 ? WRONG_CA : GOOD]);
    duel_begin(&d, peer, true, dom, "server.example", NULL);
    duel_run(&d);
    check_accepted(&d, i < 2 ? &anonymous : &verified, &o);
    duel_end(&d);
    SSL_CTX_free(peer);
  }
  tl_tls_domain_unref(dom);
}

/* ---- the same judgement without a connection ---- */

Test(verify_matrix, f8_verified_again_gives_the_same_answer) {
  for (int i = GOOD; i < SHOWN; i++) {
    struct tl_tls_options o = matrix_options((enum shown)i);
    struct tl_tls_domain *dom = duel_domain(&o);
    struct tl_identity *id = kit_identity(&leaf[i], chain[i]);
    struct tl_verdict v;
    const struct cell *c = &matrix[i].client;
    int rc = tl_tls_verify_identity(dom, false, id, TL_STR("server.example"), 0, &v);
    cr_assert_eq(rc, c->outcome == VERIFIED ? 0 : TL_EVERIFY, "%s: %s", matrix[i].name, v.why);
    cr_assert_eq(v.code, c->code, "%s: %s", matrix[i].name, v.why);
    cr_assert_eq(v.alert, c->outcome == VERIFIED ? 0xff : c->alert, "%s", matrix[i].name);
    cr_assert_eq(v.name_ok, i != WRONG_NAME);
    cr_assert_eq(v.anchor[0] != '\0', c->outcome == VERIFIED);
    rc = tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v);
    cr_assert_eq(rc, matrix[i].optional.outcome == VERIFIED ? 0 : TL_EVERIFY, "%s", matrix[i].name);
    tl_identity_unref(id);
    tl_tls_domain_unref(dom);
  }
}

Test(verify_matrix, f3_verification_looks_at_the_time_it_is_given) {
  struct tl_tls_options o = matrix_options(GOOD);
  o.crl_file = NULL;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct tl_identity *id = kit_identity(&leaf[GOOD], NULL);
  struct tl_verdict v;
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v), 0);
  time_t end = v.chain_not_after;
  cr_assert(end == id->not_after || end == id->not_after - 1 || end == id->not_after + 1);
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), end - 1, &v), 0);
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), end + 2, &v), TL_EVERIFY);
  cr_assert_eq(v.code, X509_V_ERR_CERT_HAS_EXPIRED);
  cr_assert_eq(v.alert, SSL_AD_CERTIFICATE_EXPIRED);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
}

Test(verify_matrix, e11_a_domain_without_the_role_judges_nobody) {
  struct tl_tls_options o = matrix_options(GOOD);
  o.client = false;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct tl_identity *id = kit_identity(&leaf[GOOD], NULL);
  struct tl_verdict v;
  cr_assert_eq(tl_tls_verify_identity(dom, false, id, TL_STR(""), 0, &v), TL_EINVAL);
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v), 0);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
}

Test(verify_matrix, d19_not_verifying_says_so) {
  struct tl_tls_options o = matrix_options(EXPIRED);
  o.policy.verify_cert = false;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct tl_identity *id = kit_identity(&leaf[EXPIRED], NULL);
  struct tl_verdict v;
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v), 0);
  cr_assert_not(v.checked);
  cr_assert_neq(v.code, X509_V_OK);
  cr_assert_str_eq(tl_identity_field(id, TL_ID_VERIFY), "not checked");
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
}
