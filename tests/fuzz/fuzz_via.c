/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for Via values and for the plain form in which every head
 * leaves. Beyond crashes it checks that a value read again says the same, that
 * what a proxy makes of a message scans again, needs no rewriting and means the
 * same, that the way back gives what came, and that an answer to a message that
 * was refused is one message of our fields.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/top_via.h"
#include "tieline/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(x)                                                                                    \
  do {                                                                                             \
    if (!(x)) abort();                                                                             \
  } while (0)

#define OURS "SIP/2.0/TLS us.example:5061;branch=z9hG4bKus"

static struct tl_msg m, went, back;
static struct tl_scan_error err;
static char text[1 << 17], out[1 << 18], twice[1 << 18];

static void same_via(const struct tl_via *a, const struct tl_via *b) {
  MUST(tl_str_eq(a->host, b->host) && a->port == b->port && tl_str_eq(a->branch, b->branch));
  MUST(tl_str_eq(a->transport, b->transport) && a->alias == b->alias);
  MUST(a->has_rport == b->has_rport);
}

/* Each value of the list V, read again by itself, says the same; returns how many there are. */
static unsigned values(struct tl_str v) {
  struct tl_via via, again;
  size_t used, all;
  unsigned n = 0;
  for (; v.n && tl_via_parse(v, &via, &used) == 0; v.p += used, v.n -= used, n++) {
    MUST(used > 0 && used <= v.n);
    MUST(via.whole.p >= v.p && via.whole.p + via.whole.n <= v.p + used);
    MUST(tl_via_parse(via.whole, &again, &all) == 0 && all == via.whole.n);
    same_via(&via, &again);
    MUST(tl_str_eq(via.received, again.received) && via.rport == again.rport);
  }
  return n;
}

static unsigned all_values(const struct tl_msg *k) {
  unsigned n = 0;
  for (uint16_t i = k->first[TL_H_VIA]; i != TL_HDR_NONE; i = k->hdr[i].next)
    n += values(tl_hdr_value(k, i));
  return n;
}

static bool has_fold(const char *p, size_t n) {
  for (size_t i = 0; i + 2 < n; i++)
    if (p[i] == '\r' && (p[i + 2] == ' ' || p[i + 2] == '\t')) return true;
  return false;
}

/* Writes E, which must give a head in its plain form, and reads it into K. */
static size_t write_plain(const struct tl_edit *e, char *dst, bool stream, struct tl_msg *k) {
  MUST(e->err == 0 && tl_edit_len(e) <= sizeof(out) - e->msg->body_len);
  size_t n = tl_edit_write(e, dst);
  MUST(n == tl_edit_len(e));
  memcpy(dst + n, e->msg->p + e->msg->head_len, e->msg->body_len);
  MUST(tl_scan(dst, n + e->msg->body_len, stream, sizeof(out), k, &err) == 0);
  MUST(k->head_len == n && k->rewrite == 0 && !has_fold(dst, n));
  return n;
}

static void same_meaning(const struct tl_msg *a, const struct tl_msg *b) {
  MUST(a->is_request == b->is_request && a->status == b->status && a->body_len == b->body_len);
  MUST(tl_str_eq(a->uri, b->uri) && tl_str_eq(a->method_name, b->method_name));
  MUST(tl_str_eq(a->call_id, b->call_id) && a->cseq == b->cseq);
  MUST(tl_str_eq(a->cseq_method, b->cseq_method));
  MUST(tl_str_eq(a->from_tag, b->from_tag) && tl_str_eq(a->to_tag, b->to_tag));
}

/* Fields of K but Content-Length. */
static unsigned other_fields(const struct tl_msg *k) {
  unsigned n = k->n_hdr;
  for (uint16_t i = k->first[TL_H_CONTENT_LENGTH]; i != TL_HDR_NONE; i = k->hdr[i].next) n--;
  return n;
}

/* The head of M, with nothing named by an edit, twice: the second time nothing is left to do. */
static void plain_form(bool stream) {
  struct tl_edit e;
  tl_edit_init(&e, &m);
  size_t n = write_plain(&e, out, stream, &went);
  same_meaning(&m, &went);
  MUST(other_fields(&m) == other_fields(&went));
  if (!m.rewrite) MUST(n == m.head_len && memcmp(out, m.p, n) == 0);
  tl_edit_init(&e, &went);
  MUST(e.n == 0 && write_plain(&e, twice, stream, &back) == n && memcmp(out, twice, n) == 0);
}

/* What a proxy does to a request, and takes back from its response. */
static void hop(bool stream) {
  struct tl_edit e;
  struct tl_flow from = {.transport = TL_UDP};
  char buf[1024];
  if (m.n_hdr + 2 > TL_HDR_MAX) return;
  MUST(tl_addr_parse(TL_STR("192.0.2.77"), 4077, &from.addr) == TL_OK);
  struct tl_str top = tl_top_via_text(&m, &from, buf, sizeof(buf));
  tl_edit_init(&e, &m);
  tl_edit_insert_lines(&e, m.first[TL_H_VIA], TL_STR("Via: " OURS "\r\n"));
  if (top.n) tl_edit_replace_str(&e, m.via.whole, top);
  write_plain(&e, out, stream, &went);
  same_meaning(&m, &went);
  MUST(tl_str_eq(went.via.whole, TL_STR(OURS)) && all_values(&went) == all_values(&m) + 1);
  tl_edit_init(&e, &went);
  tl_edit_remove_value(&e, went.first[TL_H_VIA], tl_top_via_used(&went));
  write_plain(&e, twice, stream, &back);
  same_via(&m.via, &back.via);
  if (top.n) MUST(tl_str_eq(back.via.received, TL_STR("192.0.2.77")) || !back.via.received.n);
  if (top.n && m.via.has_rport) MUST(back.via.rport == 4077);
}

/* An answer repeats Via, From, To, Call-ID and CSeq and nothing else. */
static void answer(void) {
  size_t n;
  if (!tl_msg_answerable(&m)) return;
  MUST(tl_reply_build(
           &m, &(struct tl_reply){.status = 400, .reason = TL_STR("Bad"), .to_tag = TL_STR("t")},
           out, sizeof(out), &n) == 0);
  int rc = tl_scan(out, n, true, sizeof(out), &went, &err);
  MUST(rc == 0 || rc == TL_ESYNTAX);
  MUST(went.head_len == n && went.status == 400 && !has_fold(out, n) && went.body_len == 0);
  unsigned vias = 0;
  for (uint16_t i = m.first[TL_H_VIA]; i != TL_HDR_NONE; i = m.hdr[i].next) vias++;
  MUST(went.n_hdr <= vias + 5);
}

static void put(size_t *at, const void *p, size_t n) {
  memcpy(text + *at, p, n);
  *at += n;
}

static void put_c(size_t *at, const char *s) { put(at, s, strlen(s)); }

/* Bit 0: as from a stream. Bit 1: the input is a Via value in a message of ours; bit 2: it is a
 * field, or several. Else it is a message. */
static size_t message(uint8_t how, const uint8_t *data, size_t n) {
  size_t at = 0;
  if (how & 6) {
    put_c(&at, "MESSAGE sip:x@b.example SIP/2.0\r\n");
    if (!(how & 2)) put_c(&at, "Via: SIP/2.0/TCP a.example;branch=z9hG4bKa\r\n");
    if (how & 2) put_c(&at, "Via: ");
    put(&at, data, n);
    put_c(&at, "\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\n"
               "CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n");
  } else {
    put(&at, data, n);
  }
  return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 1 || n > 60000) return 0;
  bool stream = data[0] & 1;
  size_t len = message(data[0], data + 1, n - 1);
  char *p = malloc(len); /* its own block: a load past the end is seen */
  if (len) memcpy(p, text, len);
  values((struct tl_str){(const char *)data + 1, n - 1});
  int rc = tl_scan(p, len, stream, 1 << 16, &m, &err);
  if (rc == 0 && m.head_len + m.body_len <= len) {
    plain_form(stream);
    hop(stream);
  }
  if (rc != TL_EAGAIN) answer();
  free(p);
  return 0;
}
