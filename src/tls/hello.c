/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be said about a handshake's records before OpenSSL sees them: is this
 * TLS at all, how long is the record, and is the ClientHello complete. It reads
 * lengths only; handshake_hooks.c reads the contents of the ClientHello.
 */
#include <stdio.h>

#include "tls/handshake.h"

/* An honest client's ClientHello is far smaller; a larger one need not be collected whole. */
#define COLLECT_MAX 16384
#define RECORDS_MAX 64
#define HT_CLIENT_HELLO 1

static int fail_hello(struct tl_hs_failure *f, int cause, const char *reason) {
  f->cause = cause;
  snprintf(f->reason, sizeof(f->reason), "%s", reason);
  return TL_ETLS;
}

/* What came instead of a TLS record, for people; unprintable bytes as '.'. */
static int not_tls(struct tl_hs_failure *f, const uint8_t *h) {
  char text[TL_RECORD_HEADER + 1], reason[96];
  bool printable = true;
  for (int i = 0; i < TL_RECORD_HEADER; i++) {
    bool ok = h[i] >= 0x20 && h[i] < 0x7f;
    text[i] = ok && h[i] != '"' ? (char)h[i] : '.';
    printable = printable && ok;
  }
  text[TL_RECORD_HEADER] = '\0';
  if (printable)
    snprintf(reason, sizeof(reason), "the peer does not speak TLS, it sent text: \"%s...\"", text);
  else
    snprintf(reason, sizeof(reason),
             "the peer does not speak TLS, it sent %02x %02x %02x %02x %02x", h[0], h[1], h[2],
             h[3], h[4]);
  return fail_hello(f, TL_HS_NOT_TLS, reason);
}

int tl_record_header_judge(struct tl_hs_failure *f, bool first, bool server,
                           const uint8_t h[TL_RECORD_HEADER], size_t *out_len) {
  *out_len = (size_t)h[3] << 8 | h[4];
  bool type_ok = h[0] >= TL_CT_CCS && h[0] <= TL_CT_DATA;
  if (first) {
    /* A server may answer with an alert; a client always begins with a handshake record. */
    bool first_ok = h[0] == TL_CT_HANDSHAKE || (!server && h[0] == TL_CT_ALERT);
    if (!first_ok || h[1] != 3 || h[2] > 4) return not_tls(f, h);
  }
  if (!type_ok || h[1] != 3) return fail_hello(f, TL_HS_PROTOCOL, "malformed record header");
  if (*out_len > TL_RECORD_CIPHER_MAX - TL_RECORD_HEADER)
    return fail_hello(f, TL_HS_PROTOCOL, "record too long");
  if (*out_len == 0) return fail_hello(f, TL_HS_PROTOCOL, "empty record in a handshake");
  return TL_OK;
}

int tl_hello_record_len(struct tl_hs_failure *f, bool first, const uint8_t h[TL_RECORD_HEADER],
                        size_t *out_len) {
  return tl_record_header_judge(f, first, true, h, out_len);
}

bool tl_hello_feed(struct tl_hello *h, const uint8_t *rec, size_t n) {
  if (n < TL_RECORD_HEADER || rec[0] != TL_CT_HANDSHAKE) return true;
  for (size_t i = TL_RECORD_HEADER; i < n && h->have + i - TL_RECORD_HEADER < sizeof(h->head); i++)
    h->head[h->have + i - TL_RECORD_HEADER] = rec[i];
  h->have += (uint32_t)(n - TL_RECORD_HEADER);
  if (h->have && h->head[0] != HT_CLIENT_HELLO) return true;
  if (++h->records >= RECORDS_MAX || h->have >= COLLECT_MAX) return true;
  if (h->have < sizeof(h->head)) return false;
  uint32_t len = (uint32_t)h->head[1] << 16 | (uint32_t)h->head[2] << 8 | h->head[3];
  return h->have >= sizeof(h->head) + len;
}
