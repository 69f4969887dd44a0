/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClientHellos that hold more than any client needs: refused before OpenSSL reads
 * what they hold, in the answer to a HelloRetryRequest too. Those at the bounds
 * go on.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "test_tls_duel.h"
#include "tieline/ca_names.h"

TestSuite(tls_hello, .init = pki_open, .fini = pki_close);

struct writer {
  uint8_t p[140000];
  size_t n;
};

static void put(struct writer *w, const void *p, size_t n) {
  memcpy(w->p + w->n, p, n);
  w->n += n;
}
static void put_number(struct writer *w, size_t v, int bytes) {
  while (bytes--) w->p[w->n++] = (uint8_t)(v >> 8 * bytes);
}
/* What was put since AT has its length in two bytes before it. */
static void close_at(struct writer *w, size_t at) {
  w->p[at - 2] = (uint8_t)((w->n - at) >> 8);
  w->p[at - 1] = (uint8_t)(w->n - at);
}
static size_t open_at(struct writer *w) {
  put_number(w, 0, 2);
  return w->n;
}

/* How many of each a ClientHello holds; 0: as few as it must. */
struct amounts {
  size_t suites, groups, algorithms, cert_algorithms, shares, sessions, responders, names;
};

static void put_numbers(struct writer *w, unsigned type, size_t n, unsigned filler, unsigned last) {
  put_number(w, type, 2);
  size_t ext = open_at(w), list = open_at(w);
  for (size_t i = 1; i < n; i++) put_number(w, filler, 2);
  put_number(w, last, 2);
  close_at(w, list);
  close_at(w, ext);
}

/* Shares of a group that we do not have, which the client names last of all that it supports. */
static void put_shares(struct writer *w, size_t n) {
  put_number(w, TLSEXT_TYPE_key_share, 2);
  size_t ext = open_at(w), list = open_at(w);
  for (size_t i = 0; i < n; i++) put(w, "\x7a\x7b\x00\x01x", 5);
  close_at(w, list);
  close_at(w, ext);
}

static void put_responders(struct writer *w, size_t n) {
  put_number(w, TLSEXT_TYPE_status_request, 2);
  size_t ext = open_at(w);
  put_number(w, TLSEXT_STATUSTYPE_ocsp, 1);
  size_t list = open_at(w);
  for (size_t i = 0; i < n; i++) put(w, "\x00\x04\xa1\x02\x30\x00", 6);
  close_at(w, list);
  put_number(w, 0, 2);
  close_at(w, ext);
}

static void put_names(struct writer *w, size_t n) {
  put_number(w, TLSEXT_TYPE_certificate_authorities, 2);
  size_t ext = open_at(w), list = open_at(w);
  for (size_t i = 0; i < n; i++)
    put(w, "\x00\x0e\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x", 16);
  close_at(w, list);
  close_at(w, ext);
}

/* The last extension (RFC 8446 4.2.11). */
static void put_sessions(struct writer *w, size_t n) {
  put_number(w, TLSEXT_TYPE_psk, 2);
  size_t ext = open_at(w), list = open_at(w);
  for (size_t i = 0; i < n; i++) put(w, "\x00\x01x\x00\x00\x00\x00", 7);
  close_at(w, list);
  list = open_at(w);
  for (size_t i = 0; i < n; i++)
    put(w,
        "\x20"
        "0123456789abcdef0123456789abcdef",
        33);
  close_at(w, list);
  close_at(w, ext);
}

static void put_extensions(struct writer *w, const struct amounts *a) {
  put(w, "\x00\x00\x00\x13\x00\x11\x00\x00\x0eserver.example", 23);
  put(w, "\x00\x2b\x00\x05\x04\x03\x04\x03\x03", 9); /* versions */
  put(w, "\x00\x2d\x00\x02\x01\x01", 6);             /* psk_dhe_ke */
  put_numbers(w, TLSEXT_TYPE_supported_groups, a->groups ? a->groups : 2, 0x7a7b, 0x17);
  put_numbers(w, TLSEXT_TYPE_signature_algorithms, a->algorithms, 0x7a7a, 0x403);
  if (a->cert_algorithms)
    put_numbers(w, TLSEXT_TYPE_signature_algorithms_cert, a->cert_algorithms, 0x7a7a, 0x403);
  put_shares(w, a->shares);
  if (a->responders) put_responders(w, a->responders);
  if (a->names) put_names(w, a->names);
  if (a->sessions) put_sessions(w, a->sessions);
}

static void make_hello(struct writer *w, const struct amounts *a) {
  w->n = 0;
  put(w,
      "\1\0\0\0\3\3"
      "0123456789abcdef0123456789abcdef\0",
      39);
  size_t at = open_at(w);
  for (size_t i = 0; i < a->suites; i++) put_number(w, 0x7a7a, 2);
  put(w, "\x13\x01\xc0\x2b", 4);
  close_at(w, at);
  put(w, "\1\0", 2);
  at = open_at(w);
  put_extensions(w, a);
  close_at(w, at);
  w->p[1] = (uint8_t)((w->n - 4) >> 16);
  w->p[2] = (uint8_t)((w->n - 4) >> 8);
  w->p[3] = (uint8_t)(w->n - 4);
}

static int feed(struct tl_hs *hs, const struct amounts *a) {
  static struct writer hello;
  static uint8_t rec[TL_RECORD_HEADER + 16384];
  make_hello(&hello, a);
  int rc = TL_EAGAIN;
  for (size_t at = 0, n; rc == TL_EAGAIN && at < hello.n; at += n) {
    n = hello.n - at < 16384 ? hello.n - at : 16384;
    memcpy(rec, (uint8_t[]){TL_CT_HANDSHAKE, 3, 1, (uint8_t)(n >> 8), (uint8_t)n}, 5);
    memcpy(rec + TL_RECORD_HEADER, hello.p + at, n);
    rc = tl_hs_input(hs, rec, TL_RECORD_HEADER + n);
  }
  return rc;
}

static struct tl_tls_domain *domain(void) {
  static const char *names[] = {"server.example", NULL};
  struct tl_tls_options o = duel_options();
  o.match_sip_domain = names;
  return duel_domain(&o);
}

static struct tl_hs *server(struct tl_tls_domain *d) {
  static struct tl_tls_domain *domains[1];
  static struct tl_tls_set set = {.domain = domains, .n = 1, .fallback = NULL};
  struct tl_hs_params p = {.server = true, .set = &set};
  struct tl_hs *hs;
  domains[0] = d;
  cr_assert_eq(tl_hs_new(&p, &hs), 0);
  cr_assert_eq(tl_hs_start(hs), TL_EAGAIN);
  return hs;
}

static void expect_refused(struct tl_hs *hs, int rc, const char *what) {
  const struct tl_hs_failure *f = tl_hs_failure(hs);
  char reason[128];
  snprintf(reason, sizeof(reason), "too many %s in the ClientHello", what);
  cr_expect_eq(rc, TL_ETLS, "%s: %d", what, rc);
  cr_expect_eq(f->cause, TL_HS_PROTOCOL, "%s", what);
  cr_expect_str_eq(f->reason, reason);
  cr_expect_eq(f->alert_sent, SSL_AD_HANDSHAKE_FAILURE, "%s: alert %d", what, f->alert_sent);
}

static const struct {
  const char *what;
  struct amounts most, over;
} cases[] = {
    {"cipher suites", {.suites = 510}, {.suites = 511}},
    {"groups", {.groups = 256}, {.groups = 257}},
    {"signature algorithms", {.algorithms = 256}, {.algorithms = 257}},
    {"signature algorithms", {.cert_algorithms = 256}, {.cert_algorithms = 257}},
    {"key shares", {.shares = 32}, {.shares = 33}},
    {"key shares", {.shares = 1, .groups = 256}, {.shares = 6000, .groups = 256}},
    {"sessions", {.sessions = 32}, {.sessions = 33}},
    {"OCSP responders", {.responders = 340}, {.responders = 341}},
    {"authorities", {.names = TL_CA_WANTED_MAX}, {.names = TL_CA_WANTED_MAX + 1}},
    {"authorities", {.names = 1}, {.names = 3700}},
};

Test(tls_hello, s10_more_than_a_client_needs_is_refused_unread) {
  struct tl_tls_domain *d = domain();
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    size_t n;
    struct tl_hs *hs = server(d);
    cr_expect_eq(feed(hs, &cases[i].most), TL_EAGAIN, "%zu: %s", i, tl_hs_failure(hs)->reason);
    tl_hs_output(hs, &n);
    cr_expect(n > 0, "%zu: a HelloRetryRequest", i);
    tl_hs_free(hs);
    hs = server(d);
    expect_refused(hs, feed(hs, &cases[i].over), cases[i].what);
    tl_hs_free(hs);
  }
  tl_tls_domain_unref(d);
}

/* The domain is chosen by the first ClientHello, and its context asks nobody about the second. */
Test(tls_hello, s10_the_answer_to_a_retry_request_is_bounded_too) {
  struct tl_tls_domain *d = domain();
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_hs *hs = server(d);
    cr_expect_eq(feed(hs, &(struct amounts){.shares = 1}), TL_EAGAIN);
    expect_refused(hs, feed(hs, &cases[i].over), cases[i].what);
    cr_expect_str_eq(tl_hs_failure(hs)->sni, "server.example", "what the first one said stays");
    tl_hs_free(hs);
  }
  tl_tls_domain_unref(d);
}
