/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for everything that reads SIP: the scanner, Via, URI and
 * name-addr values, edits and locally made messages. Beyond crashes it checks
 * what the proxy relies on: slices inside the message, the same verdict however
 * the bytes arrive, and that an edited head scans again with everything that was
 * not edited unchanged.
 */
#include <stdlib.h>
#include <string.h>

#include "sip/lines.h"
#include "tieline/edit.h"
#include "tieline/reply.h"
#include "tieline/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(x)                                                                                    \
  do {                                                                                             \
    if (!(x)) abort();                                                                             \
  } while (0)

static struct tl_msg m, again;
static char out[1 << 18];

static void inside(struct tl_str s, const char *p, size_t n) {
  MUST(s.n == 0 || (s.p >= p && s.p + s.n <= p + n));
}

static void all_inside(const struct tl_msg *k, size_t n) {
  const struct tl_str all[] = {k->method_name,  k->uri,           k->reason,         k->cseq_method,
                               k->call_id,      k->from_uri,      k->from_tag,       k->to_tag,
                               k->via.whole,    k->via.host,      k->via.params,     k->via.branch,
                               k->via.received, k->via.transport, k->via.rport_param};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) inside(all[i], k->p, n);
  MUST(k->n_hdr <= TL_HDR_MAX && k->head_len <= n);
  for (uint16_t i = 0; i < k->n_hdr; i++) {
    const struct tl_hdr *h = &k->hdr[i];
    MUST(h->off < h->val && h->val + h->val_len <= h->end - 2 && h->end <= n);
    MUST(h->next == TL_HDR_NONE || (h->next > i && k->hdr[h->next].id == h->id));
  }
}

/* Each value of a list, and the URIs in it; positions must move forward. */
static void walk_values(struct tl_str v) {
  struct tl_nameaddr na;
  struct tl_via via;
  struct tl_uri uri;
  size_t used;
  for (struct tl_str r = v; r.n && tl_via_parse(r, &via, &used) == 0; r.p += used, r.n -= used) {
    MUST(used > 0 && used <= r.n);
    inside(via.whole, r.p, used);
    inside(via.params, r.p, used);
  }
  for (struct tl_str r = v; r.n && tl_nameaddr_parse(r, &na, &used) == 0;
       r.p += used, r.n -= used) {
    MUST(used > 0 && used <= r.n);
    inside(na.whole, r.p, used);
    inside(na.uri, na.whole.p, na.whole.n);
    inside(na.params, na.whole.p, na.whole.n);
    if (tl_uri_parse(na.uri, &uri)) continue;
    inside(uri.user, na.uri.p, na.uri.n);
    inside(uri.host, na.uri.p, na.uri.n);
    inside(uri.params, na.uri.p, na.uri.n);
    inside(uri.headers, na.uri.p, na.uri.n);
  }
}

static void rescan(const char *p, size_t n) {
  struct tl_scan_error err;
  MUST(tl_scan(p, n, false, sizeof(out), &again, &err) == 0);
  MUST(again.head_len == n);
  all_inside(&again, n);
}

/* The field of M at I is the one of AGAIN at K, byte for byte. */
static void same_field(uint16_t i, uint16_t k) {
  const struct tl_hdr *a = &m.hdr[i], *b = &again.hdr[k];
  MUST(a->id == b->id && a->end - a->off == b->end - b->off);
  MUST(memcmp(m.p + a->off, again.p + b->off, a->end - a->off) == 0);
}

static void write_and_rescan(struct tl_edit *e) {
  size_t len = tl_edit_len(e);
  MUST(e->err == 0 && len <= sizeof(out));
  MUST(tl_edit_write(e, out) == len);
  rescan(out, len);
}

/* What a proxy does to a request and takes back from its response. */
static void hop(void) {
  struct tl_edit e;
  uint16_t via = m.first[TL_H_VIA], cl = m.first[TL_H_CONTENT_LENGTH];
  if (m.n_hdr == TL_HDR_MAX || m.rewrite) return; /* the plain form is fuzz_via's */
  tl_edit_init(&e, &m);
  tl_edit_insert_lines(&e, via, TL_STR("Via: SIP/2.0/TLS us.example;branch=z9hG4bKus\r\n"));
  for (; cl != TL_HDR_NONE; cl = m.hdr[cl].next)
    tl_edit_replace(&e, m.hdr[cl].val, m.hdr[cl].val_len, TL_STR("0"));
  if (m.is_request) tl_edit_replace_str(&e, m.uri, TL_STR("sip:next.example"));
  if (e.err == TL_ELIMIT) return;
  write_and_rescan(&e);
  MUST(again.n_hdr == m.n_hdr + 1 && again.is_request == m.is_request);
  MUST(tl_str_eq(again.via.branch, TL_STR("z9hG4bKus")));
  MUST(tl_str_eq(again.call_id, m.call_id) && tl_str_eq(again.from_tag, m.from_tag));
  MUST(tl_str_eq(again.to_tag, m.to_tag) && again.cseq == m.cseq);
  for (uint16_t i = 0; i < m.n_hdr; i++)
    if (m.hdr[i].id != TL_H_CONTENT_LENGTH) same_field(i, (uint16_t)(i < via ? i : i + 1));

  /* and back: our value off the top gives the old head again, but for URI and lengths */
  static struct tl_msg fwd;
  static char back[sizeof(out)];
  struct tl_via top;
  size_t used;
  fwd = again;
  tl_edit_init(&e, &fwd);
  uint16_t i = fwd.first[TL_H_VIA];
  MUST(tl_via_parse(tl_hdr_value(&fwd, i), &top, &used) == 0);
  tl_edit_remove_value(&e, i, used);
  MUST(e.err == 0);
  size_t len = tl_edit_write(&e, back);
  rescan(back, len);
  MUST(again.n_hdr == m.n_hdr && tl_str_eq(again.via.whole, m.via.whole));
}

/* The topmost Via value away, as for a response that goes on. */
static void pop_via(void) {
  struct tl_edit e;
  struct tl_via top, next;
  size_t used, at;
  uint16_t i = m.first[TL_H_VIA];
  struct tl_str v = tl_hdr_value(&m, i);
  MUST(tl_via_parse(v, &top, &used) == 0);
  if (used == v.n || m.rewrite) return;
  MUST(tl_via_parse((struct tl_str){v.p + used, v.n - used}, &next, &at) == 0);
  tl_edit_init(&e, &m);
  tl_edit_remove_value(&e, i, used);
  size_t len = tl_edit_write(&e, out);
  struct tl_scan_error err;
  MUST(len == m.head_len - used);
  tl_scan(out, len, true, sizeof(out), &again, &err);
  MUST(tl_str_eq(again.via.whole, next.whole));
}

static void made_here(void) {
  size_t len;
  if (!tl_msg_answerable(&m)) return;
  MUST(tl_reply_build(&m,
                      &(struct tl_reply){
                          .status = 400, .reason = tl_reason_phrase(400), .to_tag = TL_STR("t")},
                      out, sizeof(out), &len) == 0);
  rescan(out, len);
  MUST(again.status == 400 && again.to_tag.n && tl_str_eq(again.via.branch, m.via.branch));
  MUST((m.rewrite & TL_REWRITE_FOLDS) || tl_str_eq(again.via.whole, m.via.whole));
  MUST(tl_cancel_build(&m, out, sizeof(out), &len) == 0);
  rescan(out, len);
  MUST(again.method == TL_M_CANCEL && tl_str_eq(again.uri, m.uri) && again.cseq == m.cseq);
}

static void lines_agree(const char *p, size_t n) {
  struct lines a, b;
  const struct lines_impl *impl = tl_lines_impls();
  impl[0].find(p, (uint32_t)n, &a);
  for (unsigned i = 1; impl[i].name; i++) {
    impl[i].find(p, (uint32_t)n, &b);
    MUST(a.n == b.n && a.head_len == b.head_len && !a.stray == !b.stray && !a.nul == !b.nul);
    MUST(memcmp(a.end, b.end, a.n * sizeof(a.end[0])) == 0);
  }
}

static void good(const char *p, size_t n, size_t split) {
  static struct tl_msg part;
  struct tl_scan_error err;
  MUST(m.head_len > 0);
  if (split < m.head_len) MUST(tl_scan(p, split, true, n, &part, &err) == TL_EAGAIN);
  if (n < 60000) {
    hop();
    pop_via();
    made_here();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct tl_scan_error err;
  struct tl_str rest;
  if (n < 2) return 0;
  bool stream = data[0] & 1;
  size_t split = data[1];
  char *p = malloc(n - 2); /* its own block: a load past the end is seen */
  n -= 2;
  if (n) memcpy(p, data + 2, n);
  tl_looks_like(p, n);
  lines_agree(p, n);
  int rc = tl_scan(p, n, stream, 1 << 16, &m, &err);
  if (rc != TL_EAGAIN) all_inside(&m, n);
  if (rc == 0) good(p, n, split);
  if (rc && rc != TL_EAGAIN) MUST(err.reason[0] && (err.status == 0 || err.status >= 400));
  rest = (struct tl_str){p, n};
  walk_values(rest);
  for (uint16_t i = 0; rc != TL_EAGAIN && i < m.n_hdr; i++) walk_values(tl_hdr_value(&m, i));
  free(p);
  return 0;
}
