/* SPDX-License-Identifier: Apache-2.0 */
/* Responses, CANCEL and ACK made here: RFC 3261 8.2.6, 9.1, 17.1.1.3. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sip_text.h"
#include "tieline/reply.h"

static struct tl_msg m, made;
static struct tl_scan_error err;
static char out[4096];
static size_t len;

static void start(const char *text) {
  cr_assert_eq(tl_scan(text, strlen(text), true, 4096, &m, &err), 0, "%s", err.reason);
}

/* What was made is what was meant, and scans. */
static void expect(int rc, const char *want) {
  cr_assert_eq(rc, 0);
  cr_assert_lt(len, sizeof(out));
  out[len] = 0;
  cr_expect_str_eq(out, want);
  cr_expect_eq(tl_scan(out, len, true, 4096, &made, &err), 0, "%s", err.reason);
}

#define REQUEST                                                                                    \
  INVITE_LINE "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1 , SIP/2.0/TCP b\r\n"                       \
              "Timestamp: 54.2\r\nX-Other: 1\r\n"                                                  \
              "v: SIP/2.0/UDP c\r\nRecord-Route: <sip:r;lr>\r\n"                                   \
              "Route: <sip:x;lr>, <sip:y;lr>\r\nroute: <sip:z;lr>\r\n" FROM                        \
              "To:\r\n <sip:bob@b.example> \r\n" CALL_ID CSEQ LENGTH0 "\r\n"

Test(reply, final_gets_a_tag) {
  start(REQUEST);
  expect(tl_reply_build(&m,
                        &(struct tl_reply){.status = 486,
                                           .reason = TL_STR("Busy Here"),
                                           .to_tag = TL_STR("t1"),
                                           .extra = TL_STR("Retry-After: 5\r\n")},
                        out, sizeof(out) - 1, &len),
         "SIP/2.0 486 Busy Here\r\n"
         "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1 , SIP/2.0/TCP b\r\n"
         "v: SIP/2.0/UDP c\r\n" FROM "To: <sip:bob@b.example>;tag=t1\r\n" CALL_ID CSEQ
         "Retry-After: 5\r\n" LENGTH0 "\r\n");
  expect_slice(made.to_tag, "t1");
}

Test(reply, server_names_who_answers) {
  start(REQUEST);
  expect(tl_reply_build(&m,
                        &(struct tl_reply){.status = 100,
                                           .reason = TL_STR("Trying"),
                                           .server = TL_STR("who"),
                                           .extra = TL_STR("X-Extra: 1\r\n")},
                        out, sizeof(out) - 1, &len),
         "SIP/2.0 100 Trying\r\n"
         "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1 , SIP/2.0/TCP b\r\n"
         "v: SIP/2.0/UDP c\r\n" FROM "To: <sip:bob@b.example>\r\n" CALL_ID CSEQ
         "Timestamp: 54.2\r\nServer: who\r\nX-Extra: 1\r\n" LENGTH0 "\r\n");
}

Test(reply, trying_has_no_tag_but_the_timestamp) {
  start(REQUEST);
  expect(tl_reply_build(&m,
                        &(struct tl_reply){
                            .status = 100, .reason = tl_reason_phrase(100), .to_tag = TL_STR("t1")},
                        out, sizeof(out) - 1, &len),
         "SIP/2.0 100 Trying\r\n"
         "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1 , SIP/2.0/TCP b\r\n"
         "v: SIP/2.0/UDP c\r\n" FROM "To: <sip:bob@b.example>\r\n" CALL_ID CSEQ
         "Timestamp: 54.2\r\n" LENGTH0 "\r\n");
}

Test(reply, top_via_is_replaced_alone) {
  start(REQUEST);
  expect(tl_reply_build(
             &m,
             &(struct tl_reply){
                 .status = 404,
                 .reason = tl_reason_phrase(404),
                 .top_via = TL_STR("SIP/2.0/TLS a;rport=9;branch=z9hG4bK1;received=192.0.2.1")},
             out, sizeof(out) - 1, &len),
         "SIP/2.0 404 Not Found\r\n"
         "Via: SIP/2.0/TLS a;rport=9;branch=z9hG4bK1;received=192.0.2.1 , SIP/2.0/TCP b\r\n"
         "v: SIP/2.0/UDP c\r\n" FROM "To: <sip:bob@b.example>\r\n" CALL_ID CSEQ LENGTH0 "\r\n");
  cr_expect_eq(made.via.rport, 9);
}

Test(reply, a_tag_that_is_there_stays) {
  start(INVITE_LINE VIA FROM "t: sip:b@b;tag=old\r\n" CALL_ID CSEQ LENGTH0 "\r\n");
  expect(tl_reply_build(
             &m, &(struct tl_reply){.status = 481, .reason = TL_STR("X"), .to_tag = TL_STR("new")},
             out, sizeof(out) - 1, &len),
         "SIP/2.0 481 X\r\n" VIA FROM "t: sip:b@b;tag=old\r\n" CALL_ID CSEQ LENGTH0 "\r\n");
}

Test(reply, every_short_buffer_is_refused) {
  start(REQUEST);
  size_t full;
  cr_assert_eq(tl_reply_build(
                   &m,
                   &(struct tl_reply){.status = 200, .reason = TL_STR("OK"), .to_tag = TL_STR("t")},
                   out, sizeof(out), &full),
               0);
  for (size_t cap = 0; cap < full; cap++) {
    memset(out, 0x55, sizeof(out));
    cr_assert_eq(
        tl_reply_build(
            &m, &(struct tl_reply){.status = 200, .reason = TL_STR("OK"), .to_tag = TL_STR("t")},
            out, cap, &len),
        TL_ELIMIT, "%zu of %zu", cap, full);
    cr_assert_eq((unsigned char)out[cap], 0x55);
  }
  cr_expect_eq(tl_cancel_build(&m, out, 20, &len), TL_ELIMIT);
  cr_expect_eq(tl_ack_build(&m, &m, out, 20, &len), TL_ELIMIT);
}

Test(reply, cancel_follows_the_request) {
  start(REQUEST);
  expect(tl_cancel_build(&m, out, sizeof(out) - 1, &len),
         "CANCEL sip:bob@b.example SIP/2.0\r\n"
         "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
         "Route: <sip:x;lr>, <sip:y;lr>\r\nroute: <sip:z;lr>\r\n" FROM
         "To: <sip:bob@b.example> \r\n" CALL_ID "CSeq: 7 CANCEL\r\n" LENGTH0 "\r\n");
  cr_expect_eq(made.method, TL_M_CANCEL);
}

Test(reply, ack_takes_to_from_the_response) {
  static struct tl_msg resp;
  static const char busy[] = "SIP/2.0 486 Busy\r\n" VIA FROM
                             "To: <sip:bob@b.example>;tag=far\r\n" CALL_ID CSEQ LENGTH0 "\r\n";
  start(REQUEST);
  cr_assert_eq(tl_scan(busy, sizeof(busy) - 1, true, 4096, &resp, &err), 0);
  expect(tl_ack_build(&m, &resp, out, sizeof(out) - 1, &len),
         "ACK sip:bob@b.example SIP/2.0\r\n"
         "Via: SIP/2.0/TLS a;rport;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
         "Route: <sip:x;lr>, <sip:y;lr>\r\nroute: <sip:z;lr>\r\n" FROM
         "To: <sip:bob@b.example>;tag=far\r\n" CALL_ID "CSeq: 7 ACK\r\n" LENGTH0 "\r\n");
}

/* An ACK repeats the credentials of its INVITE, a BYE has none; folds do not leave. */
Test(reply, f24_requests_in_the_dialog_of_a_2xx) {
  static const char response[] = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
                                 "Record-Route: <sip:q;lr>;\r\n x, <sip:p;lr>\r\n" FROM
                                 "To: <sip:bob@b.example>\r\n ;tag=t1\r\n" CALL_ID CSEQ
                                 "Contact: <sip:b@10.0.0.1>\r\n" LENGTH0 "\r\n";
  static const char request[] = INVITE_LINE
      "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n" FROM
      "To: <sip:bob@b.example>\r\n" CALL_ID CSEQ "Authorization: Digest a\r\n"
      "Proxy-Authorization: Digest b\r\nProxy-Authorization: Digest c\r\n" LENGTH0 "\r\n";
  static struct tl_msg invite;
  struct tl_nameaddr route[2];
  size_t used;
  cr_assert_eq(tl_scan(request, sizeof(request) - 1, true, 4096, &invite, &err), 0);
  start(response);
  struct tl_str all = tl_msg_header(&m, TL_H_RECORD_ROUTE);
  cr_assert_eq(tl_nameaddr_parse(all, &route[1], &used), 0);
  cr_assert_eq(tl_nameaddr_parse((struct tl_str){all.p + used, all.n - used}, &route[0], &used), 0);
  struct tl_dialog_request r = {.method = TL_STR("ACK"),
                                .cseq = m.cseq,
                                .uri = TL_STR("sip:b@10.0.0.1"),
                                .branch = TL_STR("z9hG4bK2"),
                                .route = route,
                                .n_route = 2,
                                .invite = &invite};
  expect(tl_dialog_request_build(&m, &r, out, sizeof(out) - 1, &len),
         "ACK sip:b@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 0.0.0.0;branch=z9hG4bK2\r\n"
         "Max-Forwards: 70\r\nRoute: <sip:p;lr>, <sip:q;lr>; x\r\n" FROM
         "To: <sip:bob@b.example> ;tag=t1\r\n" CALL_ID "CSeq: 7 ACK\r\n"
         "Authorization: Digest a\r\nProxy-Authorization: Digest b\r\n"
         "Proxy-Authorization: Digest c\r\n" LENGTH0 "\r\n");
  r = (struct tl_dialog_request){
      .method = TL_STR("BYE"), .cseq = m.cseq + 1, .uri = r.uri, .branch = r.branch};
  expect(tl_dialog_request_build(&m, &r, out, sizeof(out) - 1, &len),
         "BYE sip:b@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 0.0.0.0;branch=z9hG4bK2\r\n"
         "Max-Forwards: 70\r\n" FROM "To: <sip:bob@b.example> ;tag=t1\r\n" CALL_ID
         "CSeq: 8 BYE\r\n" LENGTH0 "\r\n");
  for (size_t cap = 0; cap < len; cap++) {
    size_t n;
    cr_expect_eq(tl_dialog_request_build(&m, &r, out, cap, &n), TL_ELIMIT);
  }
}

Test(reply, reason_phrases) {
  expect_slice(tl_reason_phrase(100), "Trying");
  expect_slice(tl_reason_phrase(483), "Too Many Hops");
  expect_slice(tl_reason_phrase(513), "Message Too Large");
  for (unsigned s = 0; s < 1000; s++) {
    struct tl_str r = tl_reason_phrase(s);
    cr_expect_gt(r.n, 0u);
    cr_expect_eq(strlen(r.p), r.n, "%u", s);
  }
}

/* A fold in what an answer, CANCEL or ACK repeats is a space there. */
Test(reply, s5_no_fold_leaves) {
  static struct tl_msg resp;
  static const char request[] =
      INVITE_LINE "Via: SIP/2.0/TLS\r\n a\r\n ;branch=z9hG4bK1\r\n\t;x, SIP/2.0/UDP\r\n\tb\r\n"
                  "From: \"A\r\n B\"\r\n <sip:a@b>\r\n ;tag=1\r\nTo:\r\n\t<sip:b@c>\r\n"
                  "Call-ID:\r\n c1\r\nCSeq: 7\r\n\tINVITE\r\nTimestamp:\r\n 5\r\n"
                  "Route: <sip:x;lr>,\r\n <sip:y;lr>\r\nContent-Length:\r\n 0\r\n\r\n";
  static const char busy[] =
      "SIP/2.0 486 Busy\r\n" VIA FROM "To: <sip:b@c>\r\n\t;tag=2\r\n" CALL_ID CSEQ LENGTH0 "\r\n";
#define SAME                                                                                       \
  "From: \"A B\" <sip:a@b> ;tag=1\r\nTo: <sip:b@c>%s\r\nCall-ID: c1\r\nCSeq: 7 %s\r\n%s" LENGTH0   \
  "\r\n"
  char want[1024];
  start(request);
  snprintf(want, sizeof(want),
           "SIP/2.0 100 Trying\r\nVia: SIP/2.0/TLS a ;branch=z9hG4bK1 ;x, SIP/2.0/UDP b\r\n" SAME,
           "", "INVITE", "Timestamp: 5\r\n");
  expect(tl_reply_build(&m, &(struct tl_reply){.status = 100, .reason = TL_STR("Trying")}, out,
                        sizeof(out) - 1, &len),
         want);
  snprintf(want, sizeof(want),
           "SIP/2.0 404 No\r\nVia: SIP/2.0/TLS a ;branch=z9hG4bK1 ;x;y, SIP/2.0/UDP b\r\n" SAME,
           ";tag=t", "INVITE", "");
  expect(tl_reply_build(&m,
                        &(struct tl_reply){
                            .status = 404,
                            .reason = TL_STR("No"),
                            .to_tag = TL_STR("t"),
                            .top_via = TL_STR("SIP/2.0/TLS\r\n a\r\n ;branch=z9hG4bK1\r\n\t;x;y")},
                        out, sizeof(out) - 1, &len),
         want);
#define OURS                                                                                       \
  " sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a ;branch=z9hG4bK1 ;x\r\nMax-Forwards: 70\r\n"   \
  "Route: <sip:x;lr>, <sip:y;lr>\r\n"
  snprintf(want, sizeof(want), "CANCEL" OURS SAME, "", "CANCEL", "");
  expect(tl_cancel_build(&m, out, sizeof(out) - 1, &len), want);
  cr_assert_eq(tl_scan(busy, sizeof(busy) - 1, true, 4096, &resp, &err), 0);
  snprintf(want, sizeof(want), "ACK" OURS SAME, " ;tag=2", "ACK", "");
  expect(tl_ack_build(&m, &resp, out, sizeof(out) - 1, &len), want);
}

/* RFC 3261 16.3 step 1: an answer repeats what there is, a Via that cannot be read as it came. */
Test(reply, s18_a_bad_request_is_answered_with_what_it_has) {
  static const struct {
    const char *came, *leaves;
  } row[] = {
      {"Via: SIP/2.0/UDP a;rport=;branch=x@y\r\nVia: ;\r\n" FROM TO CALL_ID CSEQ,
       "Via: SIP/2.0/UDP a;rport=;branch=x@y\r\nVia: ;\r\n" FROM
       "To: <sip:bob@b.example>;tag=t\r\n" CALL_ID CSEQ},
      {VIA FROM CALL_ID CSEQ, VIA FROM CALL_ID CSEQ},
      {VIA TO CALL_ID CSEQ, VIA "To: <sip:bob@b.example>;tag=t\r\n" CALL_ID CSEQ},
      {VIA FROM TO, VIA FROM "To: <sip:bob@b.example>;tag=t\r\n"},
      {VIA "CSeq: x\r\n", VIA "CSeq: x\r\n"},
  };
  char in[1024], want[1024];
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    snprintf(in, sizeof(in), INVITE_LINE "%s" LENGTH0 "\r\n", row[i].came);
    snprintf(want, sizeof(want), "SIP/2.0 400 Bad\r\n%s" LENGTH0 "\r\n", row[i].leaves);
    cr_assert_eq(tl_scan(in, strlen(in), true, 4096, &m, &err), TL_ESYNTAX);
    cr_assert(tl_msg_answerable(&m));
    cr_assert_eq(
        tl_reply_build(
            &m, &(struct tl_reply){.status = 400, .reason = TL_STR("Bad"), .to_tag = TL_STR("t")},
            out, sizeof(out) - 1, &len),
        0);
    out[len] = 0;
    cr_expect_str_eq(out, want);
  }
}
