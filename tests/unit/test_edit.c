/* SPDX-License-Identifier: Apache-2.0 */
/* Edits: order, byte-for-byte copies of the rest, and refusal of what collides. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sip_text.h"
#include "tieline/edit.h"

#define HEAD                                                                                       \
  INVITE_LINE "Via: SIP/2.0/TLS a, SIP/2.0/TCP b\r\n"                                              \
              "v: SIP/2.0/UDP c\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n"

static struct tl_msg m;
static struct tl_edit e;
static struct tl_scan_error err;
static char out[4096];

static void start(const char *text) {
  cr_assert_eq(tl_scan(text, strlen(text), true, 4096, &m, &err), 0, "%s", err.reason);
  tl_edit_init(&e, &m);
}

static void expect(const char *want) {
  cr_assert_eq(e.err, 0);
  size_t len = tl_edit_len(&e);
  memset(out, 0x55, sizeof(out));
  cr_assert_eq(tl_edit_write(&e, out), len);
  cr_expect_eq((unsigned char)out[len], 0x55, "no byte more than said");
  out[len] = 0;
  cr_expect_str_eq(out, want);
}

Test(edit, nothing_changes_nothing) {
  start(HEAD);
  tl_edit_replace(&e, 5, 0, TL_STR(""));
  cr_expect_eq(e.n, 0u);
  expect(HEAD);
}

Test(edit, a_proxy_hop) {
  start(HEAD);
  tl_edit_insert_lines(&e, m.n_hdr, TL_STR("X-End: 1\r\n"));
  tl_edit_replace_str(&e, m.uri, TL_STR("sip:next"));
  tl_edit_insert_lines(&e, m.first[TL_H_VIA], TL_STR("Via: SIP/2.0/TLS us\r\n"));
  tl_edit_insert_lines(&e, m.first[TL_H_VIA], TL_STR("Record-Route: <sip:us;lr>\r\n"));
  tl_edit_remove_header(&e, m.first[TL_H_CALL_ID]);
  expect("INVITE sip:next SIP/2.0\r\nVia: SIP/2.0/TLS us\r\nRecord-Route: <sip:us;lr>\r\n"
         "Via: SIP/2.0/TLS a, SIP/2.0/TCP b\r\nv: SIP/2.0/UDP c\r\n" FROM TO CSEQ LENGTH0
         "X-End: 1\r\n\r\n");
}

Test(edit, values_are_taken_one_by_one) {
  struct tl_via via;
  size_t used;
  start(HEAD);
  uint16_t i = m.first[TL_H_VIA];
  cr_assert_eq(tl_via_parse(tl_hdr_value(&m, i), &via, &used), 0);
  tl_edit_remove_value(&e, i, used);
  expect(INVITE_LINE "Via: SIP/2.0/TCP b\r\nv: SIP/2.0/UDP c\r\n" FROM TO CALL_ID CSEQ LENGTH0
                     "\r\n");
  tl_edit_init(&e, &m);
  i = m.hdr[i].next;
  cr_assert_eq(tl_via_parse(tl_hdr_value(&m, i), &via, &used), 0);
  tl_edit_remove_value(&e, i, used);
  expect(INVITE_LINE "Via: SIP/2.0/TLS a, SIP/2.0/TCP b\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n");
}

Test(edit, removal_and_insertion_at_one_place) {
  uint16_t i;
  start(HEAD);
  i = m.first[TL_H_FROM];
  tl_edit_insert_lines(&e, i, TL_STR("A: 1\r\n"));
  tl_edit_remove_header(&e, i);
  tl_edit_insert_lines(&e, i, TL_STR("B: 2\r\n"));
  expect(INVITE_LINE
         "Via: SIP/2.0/TLS a, SIP/2.0/TCP b\r\nv: SIP/2.0/UDP c\r\nA: 1\r\nB: 2\r\n" TO CALL_ID CSEQ
             LENGTH0 "\r\n");
}

Test(edit, neighbours_may_touch) {
  start(HEAD);
  tl_edit_remove_header(&e, 1);
  tl_edit_remove_header(&e, 0);
  tl_edit_insert_lines(&e, 2, TL_STR("X: y\r\n"));
  expect(INVITE_LINE "X: y\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n");
}

Test(edit, collisions_are_refused) {
  uint32_t off;
  start(HEAD);
  off = m.hdr[2].off;
  struct tl_edit base = e;
  tl_edit_replace(&e, off, 10, TL_STR("x"));
  struct tl_edit one = e;
  tl_edit_replace(&e, off + 9, 0, TL_STR("y"));
  cr_expect_eq(e.err, TL_EINVAL, "an insertion inside a removal");
  e = one;
  tl_edit_replace(&e, off - 1, 2, TL_STR("y"));
  cr_expect_eq(e.err, TL_EINVAL, "overlap from the left");
  e = one;
  tl_edit_replace(&e, off, 3, TL_STR("y"));
  cr_expect_eq(e.err, TL_EINVAL, "two removals at one place");
  e = one;
  tl_edit_replace(&e, off + 10, 1, TL_STR("y"));
  tl_edit_replace(&e, off - 1, 1, TL_STR("y"));
  cr_expect_eq(e.err, 0);
  e = base;
  tl_edit_insert_lines(&e, 3, TL_STR("X: y\r\n"));
  tl_edit_replace(&e, off, m.hdr[2].end - off + 1, TL_STR(""));
  cr_expect_eq(e.err, TL_EINVAL, "a removal around an insertion");
}

Test(edit, bounds) {
  start(HEAD "");
  struct tl_edit base = e;
  tl_edit_replace(&e, m.head_len, 1, TL_STR(""));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_replace(&e, 0xffffffffu, 1, TL_STR(""));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_replace(&e, 1, 0xffffffffu, TL_STR(""));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_replace_str(&e, TL_STR("elsewhere"), TL_STR("x"));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_replace_str(&e, (struct tl_str){m.p + m.head_len - 1, 2}, TL_STR("x"));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_remove_header(&e, m.n_hdr);
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_remove_value(&e, 0, m.hdr[0].val_len + 1);
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  tl_edit_insert_lines(&e, (uint16_t)(m.n_hdr + 1), TL_STR("X: y\r\n"));
  cr_expect_eq(e.err, TL_EINVAL);
  e = base;
  for (unsigned i = 0; i < TL_EDIT_MAX; i++) tl_edit_insert_lines(&e, 0, TL_STR("X: y\r\n"));
  cr_expect_eq(e.err, 0);
  tl_edit_insert_lines(&e, 0, TL_STR("X: y\r\n"));
  cr_expect_eq(e.err, TL_ELIMIT);
  tl_edit_replace(&e, m.head_len, 1, TL_STR(""));
  cr_expect_eq(e.err, TL_ELIMIT, "the first error stays");
}

/* ---- the plain form: what two parsers could read differently ---- */

Test(edit, s5_folds_become_one_space) {
  static const struct {
    const char *came, *leaves;
  } row[] = {
      {"Subject: x\r\n Content-Length: 0\r\n", "Subject: x Content-Length: 0\r\n"},
      {"Subject: x\r\n\tl: 7\r\n", "Subject: x l: 7\r\n"},
      {"Subject:\r\n x\r\n", "Subject: x\r\n"},
      {"Subject:   \r\n \t x\r\n", "Subject: x\r\n"},
      {"Subject : x  \r\n  y \t\r\n\tz\r\n", "Subject : x y z\r\n"},
      {"Subject: \"a\r\n b\"\r\n c\r\n", "Subject: \"a b\" c\r\n"},
      {"Subject: x  y \r\n", "Subject: x  y \r\n"},
      {"m: <sip:a@b>\r\n ;x\r\n", "m: <sip:a@b> ;x\r\n"},
  };
  char in[1024], want[1024];
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    snprintf(in, sizeof(in), "%s%s%s", INVITE_LINE BASIC, row[i].came, LENGTH0 "\r\n");
    snprintf(want, sizeof(want), "%s%s%s", INVITE_LINE BASIC, row[i].leaves, LENGTH0 "\r\n");
    start(in);
    expect(want);
  }
}

Test(edit, s5_folds_of_what_is_inserted_too) {
  static const char via[] =
      "Via: SIP/2.0/TLS\r\n a\r\n\t;branch=z9hG4bK1\r\n ;x=y, SIP/2.0/UDP b\r\n";
  char in[1024];
  snprintf(in, sizeof(in), "%s%s%s", INVITE_LINE, via, FROM TO CALL_ID CSEQ LENGTH0 "\r\n");
  start(in);
  tl_edit_replace_str(&e, m.via.whole, m.via.whole);
  tl_edit_insert_lines(&e, m.first[TL_H_VIA], TL_STR("Via: SIP/2.0/TLS us\r\n"));
  expect(INVITE_LINE "Via: SIP/2.0/TLS us\r\nVia: SIP/2.0/TLS a ;branch=z9hG4bK1 ;x=y, SIP/2.0/UDP "
                     "b\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n");
}

Test(edit, s5_content_length_is_written_once) {
  static const char *const came[] = {
      "Content-Length:\r\n 4\r\n",
      "Content-Length: 4\r\nContent-Length: 4\r\n",
      "l: 4\r\n",
      "content-length: 4\r\n",
      "Content-Length: 0004\r\n",
      "Content-Length : 4\r\n",
      "Content-Length:4\r\n",
      "Content-Length:  4\r\n",
      "Content-Length: 4 \r\n",
      "Content-Length: 4\r\nl: 04\r\nL:4\r\n",
      "Content-Length:\t4\r\n",
      "Content-Length\t:\r\n\t4\t\r\n",
      "Content-Length: 4\r\n",
  };
  char in[1024];
  for (size_t i = 0; i < sizeof(came) / sizeof(came[0]); i++) {
    snprintf(in, sizeof(in), "%s%s%s", INVITE_LINE BASIC, came[i], "X: y\r\n\r\nabcd");
    start(in);
    cr_expect_eq(m.rewrite != 0, i + 1 < sizeof(came) / sizeof(came[0]), "%s", came[i]);
    expect(INVITE_LINE BASIC "Content-Length: 4\r\nX: y\r\n\r\n");
  }
}

Test(edit, s5_content_length_is_added_to_a_datagram) {
  static const char text[] = INVITE_LINE BASIC "\r\nabcde";
  cr_assert_eq(tl_scan(text, sizeof(text) - 1, false, 4096, &m, &err), 0);
  tl_edit_init(&e, &m);
  expect(INVITE_LINE BASIC "Content-Length: 5\r\n\r\n");
}

Test(edit, s5_so_many_lengths_are_refused) {
  char in[2048] = INVITE_LINE BASIC;
  for (unsigned i = 0; i < 8; i++) strcat(in, "l: 0\r\n");
  char *end = in + strlen(in);
  memcpy(end, "\r\n", 3);
  start(in);
  expect(INVITE_LINE BASIC LENGTH0 "\r\n");
  memcpy(end, "l: 0\r\n\r\n", 9);
  cr_assert_eq(tl_scan(in, strlen(in), true, 4096, &m, &err), TL_ESYNTAX);
  cr_expect_str_eq(err.reason, "Several Content-Length");
  cr_expect(m.framed, "it alone is refused, the stream goes on");
}

Test(edit, s5_the_version_leaves_in_upper_case) {
  start("INVITE sip:bob@b.example sip/2.0\r\n" BASIC LENGTH0 "\r\n");
  tl_edit_replace_str(&e, m.uri, TL_STR("sip:next"));
  expect("INVITE sip:next SIP/2.0\r\n" BASIC LENGTH0 "\r\n");
  start("sIp/2.0 200 OK\r\n" BASIC LENGTH0 "\r\n");
  expect("SIP/2.0 200 OK\r\n" BASIC LENGTH0 "\r\n");
}

/* Hot path: a head in its plain form costs no edit at all. */
Test(edit, s5_a_plain_head_gets_no_edit) {
  start(HEAD);
  cr_expect_eq(m.rewrite, 0);
  cr_expect_eq(e.n, 0u);
}
