/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of everything that reads a ClientHello before anything is proven.
 *
 * The first byte picks what the rest is: an extension that the client names
 * authorities in, the records of a ClientHello, or the contents of its
 * server_name, certificate_authorities and trusted_ca_keys, around which a
 * ClientHello is built that OpenSSL takes. The two federations of the set have
 * one name, so that the authorities decide.
 */
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/cert_kit.h"
#include "tieline/ca_names.h"
#include "tieline/tls.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_handshake.h"

#define RECORD_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct tl_tls_domain *domain[2];
static struct tl_tls_set set = {.domain = domain, .n = 2, .fallback = NULL};

static void must(bool ok) {
  if (!ok) abort();
}

/* A domain with a certificate of its own authority, which is itself. */
static struct tl_tls_domain *make_domain(const char *name) {
  static const char *names[] = {"server.example", NULL};
  char err[256];
  const char *blame;
  struct tl_tls_domain *d;
  char subject[64];
  snprintf(subject, sizeof(subject), "CN=%s", name);
  struct kit_cert c = kit_make(&(struct kit_options){.subject = subject});
  char *cert_text = kit_cert_text(&c), *key_text = kit_key_text(&c);
  const char *cert[] = {cert_text, NULL}, *keys[] = {key_text, NULL};
  struct tl_tls_options o = {.name = name,
                             .match_sip_domain = names,
                             .certificate = cert,
                             .private_key = keys,
                             .min_version = TL_TLS_1_2,
                             .max_version = TL_TLS_1_3,
                             .policy.send_ca_names = true,
                             .policy.resumption = true,
                             .policy.verify_depth = 5,
                             .server = true};
  must(tl_tls_domain_new(&o, err, sizeof(err), &blame, &d) == 0);
  free(cert_text);
  free(key_text);
  kit_free();
  return d;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  must(tl_tls_init() == 0);
  domain[0] = make_domain("federation-a");
  domain[1] = make_domain("federation-b");
  return 0;
}

/* ---- the extensions alone */

static void read_extension(const uint8_t *p, size_t n, bool keys) {
  struct tl_ca_wanted *w;
  must(tl_ca_wanted_new(&w) == 0);
  for (int twice = 0; twice < 2; twice++) {
    int rc = keys ? tl_ca_wanted_keys(w, p, n) : tl_ca_wanted_names(w, p, n);
    must(rc == 0 || rc == TL_ESYNTAX || (rc == TL_ELIMIT && !keys));
    must(tl_ca_wanted_count(w) <= TL_CA_WANTED_MAX);
  }
  for (int i = 0; i < 2; i++) {
    struct tl_tls_ask ask = {.server = true, .name = TL_STR("server.example"), .wanted = w};
    must(tl_tls_choose(&set, &ask, NULL, NULL) != NULL);
  }
  tl_ca_wanted_free(w);
}

/* ---- a whole ClientHello */

/* Records as they come from a socket, first collected and then read, as src/net does. */
static void read_records(const uint8_t *p, size_t n) {
  struct tl_hello hello = {0};
  struct tl_hs_failure f = {0};
  struct tl_hs *hs;
  struct tl_hs_params params = {.server = true, .set = &set};
  size_t at = 0, body, out_n;
  bool whole = false;
  while (!whole && n - at >= TL_RECORD_HEADER) {
    if (tl_hello_record_len(&f, at == 0, p + at, &body)) {
      must(f.reason[0] != '\0');
      return;
    }
    if (n - at - TL_RECORD_HEADER < body) break;
    whole = tl_hello_feed(&hello, p + at, TL_RECORD_HEADER + body);
    at += TL_RECORD_HEADER + body;
  }
  if (!whole) return;
  must(tl_hs_new(&params, &hs) == 0);
  int rc = tl_hs_start(hs);
  /* Those that were collected, and of a large ClientHello those behind them. */
  for (size_t done = 0; rc == TL_EAGAIN && n - done >= TL_RECORD_HEADER;) {
    if (done >= at && tl_hs_record_len(hs, p + done, &body)) break;
    body = (size_t)p[done + 3] << 8 | p[done + 4];
    if (n - done - TL_RECORD_HEADER < body) break;
    rc = tl_hs_input(hs, p + done, TL_RECORD_HEADER + body);
    done += TL_RECORD_HEADER + body;
  }
  must(rc != 0);
  must(rc == TL_EAGAIN || tl_hs_failure(hs)->cause != TL_HS_OK);
  tl_hs_output(hs, &out_n);
  tl_hs_free(hs);
}

struct writer {
  uint8_t p[200000];
  size_t n;
};
static void put(struct writer *w, const void *p, size_t n) {
  memcpy(w->p + w->n, p, n);
  w->n += n;
}
static void put_number(struct writer *w, size_t v, int bytes) {
  while (bytes--) w->p[w->n++] = (uint8_t)(v >> 8 * bytes);
}
static void put_extension(struct writer *w, unsigned type, const void *p, size_t n) {
  put_number(w, type, 2);
  put_number(w, n, 2);
  put(w, p, n);
}

/* The three extensions that we read hold parts of P, the others what OpenSSL wants. */
static void build_and_read(const uint8_t *p, size_t n) {
  static const uint8_t versions[] = {4, 3, 4, 3, 3}, groups[] = {0, 2, 0, 0x17},
                       signatures[] = {0, 4, 4, 3, 8, 4}, modes[] = {1, 1},
                       suites[] = {0, 6, 0x13, 1, 0xc0, 0x2b, 0xc0, 0x2c, 1, 0};
  static const uint16_t types[] = {0, 47, 3};
  static struct writer m, w;
  m.n = w.n = 0;
  put(&m, "\3\3", 2);
  put(&m, signatures, 6); /* any 32 bytes */
  put(&m, "abcdefghijklmnopqrstuvwxyz", 26);
  put_number(&m, 0, 1);
  put(&m, suites, sizeof(suites));
  size_t at = m.n;
  put_number(&m, 0, 2);
  put_extension(&m, 43, versions, sizeof(versions));
  put_extension(&m, 10, groups, sizeof(groups));
  put_extension(&m, 13, signatures, sizeof(signatures));
  put_extension(&m, 45, modes, sizeof(modes));
  put_extension(&m, 51, "\0\0", 2);
  for (int i = 0; i < 3 && n >= 2; i++) {
    size_t len = (size_t)p[0] << 8 | p[1];
    p += 2, n -= 2;
    if (len > n) len = n;
    if (m.n - at + len > 60000) break;
    put_extension(&m, types[i], p, len);
    p += len, n -= len;
  }
  size_t len = m.n - at - 2;
  m.p[at] = (uint8_t)(len >> 8);
  m.p[at + 1] = (uint8_t)len;
  static struct writer whole;
  whole.n = 0;
  put_number(&whole, 1, 1);
  put_number(&whole, m.n, 3);
  put(&whole, m.p, m.n);
  for (size_t done = 0; done < whole.n; done += RECORD_MAX) {
    size_t take = whole.n - done < RECORD_MAX ? whole.n - done : RECORD_MAX;
    put(&w, "\x16\3\1", 3);
    put_number(&w, take, 2);
    put(&w, whole.p + done, take);
  }
  read_records(w.p, w.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 1) return 0;
  switch (data[0] % 4) {
  case 0: read_extension(data + 1, n - 1, false); break;
  case 1: read_extension(data + 1, n - 1, true); break;
  case 2: read_records(data + 1, n - 1); break;
  default: build_and_read(data + 1, n - 1); break;
  }
  return 0;
}
