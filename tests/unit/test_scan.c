/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner: what it extracts, what it refuses and with which answer, and that no load goes past
 * the bytes that are there. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sip/header.h"
#include "sip/lines.h"
#include "sip_text.h"
#include "tieline/scan.h"

static struct tl_msg m;
static struct tl_scan_error err;

static int scan(const char *text, bool stream) {
  size_t n = strlen(text);
  return tl_scan(tl_guarded(text, n), n, stream, 65536, &m, &err);
}

Test(scan, request_fields) {
  cr_assert_eq(
      scan("INVITE sip:bob@b.example;transport=tls SIP/2.0\r\n"
           "Via: SIP/2.0/TLS a.example:5061;branch=z9hG4bK1;rport, SIP/2.0/UDP x.example\r\n"
           "Via: SIP/2.0/TCP y.example\r\n"
           "Max-Forwards: 69\r\n" FROM "To: sip:bob@b.example;tag=t9\r\n" CALL_ID CSEQ
           "X-Thing:  untouched \r\n"
           "Content-Length: 4\r\n\r\nbodyNEXT",
           true),
      0);
  cr_expect(m.is_request);
  cr_expect_eq(m.method, TL_M_INVITE);
  expect_slice(m.method_name, "INVITE");
  expect_slice(m.uri, "sip:bob@b.example;transport=tls");
  expect_slice(m.ruri.host, "b.example");
  expect_slice(m.ruri.params, ";transport=tls");
  cr_expect_eq(m.line_end, 48u);
  cr_expect_eq(m.max_forwards, 69);
  expect_slice(m.from_tag, "f1");
  expect_slice(m.from_uri, "sip:alice@a.example");
  expect_slice(m.to_tag, "t9");
  expect_slice(m.call_id, "c1@a.example");
  cr_expect_eq(m.cseq, 7u);
  expect_slice(m.cseq_method, "INVITE");
  expect_slice(m.via.host, "a.example");
  cr_expect_eq(m.via.port, 5061);
  expect_slice(m.via.branch, "z9hG4bK1");
  cr_expect(m.via.has_rport);
  cr_expect(m.has_length);
  cr_expect_eq(m.body_len, 4u);
  cr_expect_eq(memcmp(m.p + m.head_len, "body", 4), 0);
  cr_expect_eq(m.n_hdr, 9);
  uint16_t second = m.hdr[m.first[TL_H_VIA]].next;
  cr_assert_neq(second, TL_HDR_NONE);
  expect_slice(tl_hdr_value(&m, second), "SIP/2.0/TCP y.example");
  cr_expect_eq(m.hdr[second].next, TL_HDR_NONE);
  expect_slice(tl_hdr_value(&m, m.first[TL_H_OTHER]), "untouched");
  cr_expect(!tl_msg_has(&m, TL_H_ROUTE));
  cr_expect_null(tl_msg_header(&m, TL_H_ROUTE).p);
  cr_expect(tl_msg_answerable(&m));
}

Test(scan, response_fields) {
  cr_assert_eq(scan("SIP/2.0 486 Busy Here\r\n" BASIC LENGTH0 "\r\n", true), 0);
  cr_expect(!m.is_request);
  cr_expect_eq(m.status, 486);
  expect_slice(m.reason, "Busy Here");
  cr_expect_eq(m.method, TL_M_INVITE, "the method of a response is that of CSeq");
  cr_expect_eq(m.max_forwards, -1);
  cr_expect(!tl_msg_answerable(&m));
  cr_assert_eq(scan("sip/2.0 200\r\n" BASIC LENGTH0 "\r\n", true), 0);
  cr_expect_eq(m.reason.n, 0u);
  cr_assert_eq(scan("SIP/2.0 100 \r\n" BASIC LENGTH0 "\r\n", true), 0);
  cr_expect_eq(m.status, 100);
}

Test(scan, compact_forms_and_white_space) {
  cr_assert_eq(scan(INVITE_LINE "v:SIP/2.0/TLS a.example\r\n"
                                "f \t:\r\n <sip:a@a.example>\r\n ;tag=x1\r\n"
                                "t: <sip:b@b.example>\r\n"
                                "I: id\r\n"
                                "cSEQ:\t0007\r\n\tINVITE\t\r\n"
                                "m: <sip:a@a.example>\r\n"
                                "k: timer\r\nc: a/b\r\ny: z\r\n"
                                "L:0\r\n\r\n",
                    true),
               0);
  expect_slice(m.from_tag, "x1");
  expect_slice(m.call_id, "id");
  cr_expect_eq(m.cseq, 7u);
  cr_expect(tl_msg_has(&m, TL_H_CONTACT) && tl_msg_has(&m, TL_H_SUPPORTED) &&
            tl_msg_has(&m, TL_H_CONTENT_TYPE) && tl_msg_has(&m, TL_H_IDENTITY));
  const struct tl_hdr *from = &m.hdr[m.first[TL_H_FROM]];
  cr_expect_eq(memcmp(m.p + from->end - 9, ";tag=x1\r\n", 9), 0, "a fold belongs to its field");
  cr_expect_eq(from->next, TL_HDR_NONE);
}

Test(scan, every_name_has_its_id) {
  static const struct {
    const char *name;
    enum tl_hdr_id id;
  } row[] = {{"Via", TL_H_VIA},
             {"Route", TL_H_ROUTE},
             {"Record-Route", TL_H_RECORD_ROUTE},
             {"Max-Forwards", TL_H_MAX_FORWARDS},
             {"From", TL_H_FROM},
             {"To", TL_H_TO},
             {"Call-ID", TL_H_CALL_ID},
             {"CSeq", TL_H_CSEQ},
             {"Contact", TL_H_CONTACT},
             {"Proxy-Require", TL_H_PROXY_REQUIRE},
             {"Require", TL_H_REQUIRE},
             {"Supported", TL_H_SUPPORTED},
             {"Content-Length", TL_H_CONTENT_LENGTH},
             {"Content-Type", TL_H_CONTENT_TYPE},
             {"Max-Breadth", TL_H_MAX_BREADTH},
             {"Proxy-Authorization", TL_H_PROXY_AUTHORIZATION},
             {"Authorization", TL_H_AUTHORIZATION},
             {"Proxy-Authenticate", TL_H_PROXY_AUTHENTICATE},
             {"WWW-Authenticate", TL_H_WWW_AUTHENTICATE},
             {"Retry-After", TL_H_RETRY_AFTER},
             {"Identity", TL_H_IDENTITY},
             {"P-Asserted-Identity", TL_H_PAI},
             {"Expires", TL_H_EXPIRES},
             {"v", TL_H_VIA},
             {"f", TL_H_FROM},
             {"t", TL_H_TO},
             {"i", TL_H_CALL_ID},
             {"m", TL_H_CONTACT},
             {"l", TL_H_CONTENT_LENGTH},
             {"c", TL_H_CONTENT_TYPE},
             {"k", TL_H_SUPPORTED},
             {"y", TL_H_IDENTITY},
             {"s", TL_H_OTHER},
             {"r", TL_H_OTHER}};
  bool seen[TL_HDRS] = {false};
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    char text[32];
    size_t n = strlen(row[i].name);
    cr_expect_eq(header_id(row[i].name, n), row[i].id, "%s", row[i].name);
    seen[row[i].id] = true;
    for (size_t k = 0; k < n; k++) {
      memcpy(text, row[i].name, n);
      text[k] ^= 0x20;
      if (row[i].name[k] != '-')
        cr_expect_eq(header_id(text, n), row[i].id, "the case of a letter of %s", text);
      text[k] = '_';
      cr_expect_eq(header_id(text, n), TL_H_OTHER, "%.*s is another name", (int)n, text);
    }
  }
  for (int id = 0; id < TL_HDRS; id++) cr_expect(seen[id], "id %d has no row here", id);
}

struct refusal {
  const char *text;
  bool stream;
  int rc;
  unsigned status;
  const char *reason;
};

static void refuse(const struct refusal *r, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int rc = scan(r[i].text, r[i].stream);
    cr_expect_eq(rc, r[i].rc, "row %zu: %d, %s", i, rc, err.reason);
    cr_expect_eq(err.status, r[i].status, "row %zu: status %d, %s", i, err.status, err.reason);
    cr_expect_str_eq(err.reason, r[i].reason, "row %zu", i);
  }
}
#define REFUSE(rows) refuse(rows, sizeof(rows) / sizeof((rows)[0]))
#define BAD TL_ESYNTAX

Test(scan, refuses_start_lines) {
  static const struct refusal row[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, BAD, 0, "Not SIP"},
      {"HTTP/1.1 200 OK\r\n\r\n", true, BAD, 0, "Not SIP"},
      {"\r\nINVITE sip:a@b SIP/2.0\r\n\r\n", true, BAD, 0, "Not SIP"},
      {"INVITE sip:a@b\r\n" BASIC LENGTH0 "\r\n", true, BAD, 0, "Not SIP"},
      {" SIP/2.0\r\n" BASIC "\r\n", true, BAD, 0, "Not SIP"},
      {"SIP/2.0\r\n" BASIC "\r\n", true, BAD, 0, "Not SIP"},
      {"SIP/x.0 200 OK\r\n" BASIC "\r\n", true, BAD, 0, "Not SIP"},
      {"IN\"VITE sip:a@b SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 0, "Not SIP"},
      {"INVITE  sip:a@b SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE sip:a@b  SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE sip:a@b SIP/2.0 \r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE sip:a@b; lr SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE sip:a@b\tSIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request Line"},
      {"INVITE <sip:a@b> SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request-URI"},
      {"INVITE sip:a@b?Route=x SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400,
       "Bad Request-URI"},
      {"INVITE bob SIP/2.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Request-URI"},
      {"INVITE sip:a@b SIP/3.0\r\n" BASIC LENGTH0 "\r\n", true, BAD, 505,
       "SIP Version Not Supported"},
      {"INVITE sip:a@b SIP/2.00\r\n" BASIC LENGTH0 "\r\n", true, BAD, 505,
       "SIP Version Not Supported"},
      {"SIP/3.0 200 OK\r\n" BASIC LENGTH0 "\r\n", true, BAD, 505, "SIP Version Not Supported"},
      {"SIP/2.0 99 X\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Status Code"},
      {"SIP/2.0 700 X\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Status Code"},
      {"SIP/2.0 2000 X\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Status Code"},
      {"SIP/2.0  200 X\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Status Code"},
      {"SIP/2.0 200OK\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400, "Bad Status Line"},
  };
  REFUSE(row);
}

Test(scan, refuses_headers) {
  static const struct refusal row[] = {
      {INVITE_LINE FROM TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD, 400, "Missing Via"},
      {INVITE_LINE VIA TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD, 400, "Missing From"},
      {INVITE_LINE VIA FROM CALL_ID CSEQ LENGTH0 "\r\n", true, BAD, 400, "Missing To"},
      {INVITE_LINE VIA FROM TO CSEQ LENGTH0 "\r\n", true, BAD, 400, "Missing Call-ID"},
      {INVITE_LINE VIA FROM TO CALL_ID LENGTH0 "\r\n", true, BAD, 400, "Missing CSeq"},
      {INVITE_LINE BASIC FROM LENGTH0 "\r\n", true, BAD, 400, "Several From"},
      {INVITE_LINE BASIC "t: <sip:x@y>\r\n" LENGTH0 "\r\n", true, BAD, 400, "Several To"},
      {INVITE_LINE BASIC "i: other\r\n" LENGTH0 "\r\n", true, BAD, 400, "Several Call-ID"},
      {INVITE_LINE BASIC CSEQ LENGTH0 "\r\n", true, BAD, 400, "Several CSeq"},
      {INVITE_LINE BASIC "Max-Forwards: 1\r\nMax-Forwards: 1\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Several Max-Forwards"},
      {INVITE_LINE BASIC "Max-Forwards: 256\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bad Max-Forwards"},
      {INVITE_LINE BASIC "Max-Forwards: -1\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Max-Forwards"},
      {INVITE_LINE BASIC "Max-Forwards:\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Max-Forwards"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7 OPTIONS\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "CSeq Method Differs"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7 invite\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "CSeq Method Differs"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 2147483648 INVITE\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bad CSeq"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: INVITE\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bad CSeq"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad CSeq"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7INVITE\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bad CSeq"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7 INVITE x\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bad CSeq"},
      {INVITE_LINE VIA FROM TO "Call-ID: a b\r\n" CSEQ LENGTH0 "\r\n", true, BAD, 400,
       "Bad Call-ID"},
      {INVITE_LINE VIA FROM TO "Call-ID:\r\n" CSEQ LENGTH0 "\r\n", true, BAD, 400, "Bad Call-ID"},
      {INVITE_LINE "Via: SIP/2.0/TLS\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD, 400,
       "Bad Via"},
      {INVITE_LINE VIA "From: \"A <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD,
       400, "Bad From"},
      {INVITE_LINE VIA "From: Bell, A <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n", true,
       BAD, 400, "Bad From"},
      {INVITE_LINE VIA "From: <sip:a@b>;tag=1;tag=2\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD,
       400, "Bad From"},
      {INVITE_LINE VIA "From: <sip:a@b>;tag=\"1\"\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD,
       400, "Bad From"},
      {INVITE_LINE VIA "From: <sip:a@b>;tag\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n", true, BAD, 400,
       "Bad From"},
      {INVITE_LINE VIA FROM "To: <sip:a@b>, <sip:c@d>\r\n" CALL_ID CSEQ LENGTH0 "\r\n", true, BAD,
       400, "Bad To"},
      {INVITE_LINE BASIC "Nonsense\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Header Line"},
      {INVITE_LINE BASIC ": x\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Header Line"},
      {INVITE_LINE BASIC "X Y: x\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Header Line"},
      {INVITE_LINE BASIC "X@Y: x\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bad Header Line"},
      {INVITE_LINE " folded\r\n" BASIC LENGTH0 "\r\n", true, BAD, 400,
       "White Space Before First Header"},
  };
  REFUSE(row);
}

Test(scan, refuses_what_two_elements_frame_differently) {
  static const struct refusal row[] = {
      {INVITE_LINE BASIC "\r\n", true, BAD, 400, "Missing Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 3\r\nl: 4\r\n\r\nabcd", true, BAD, 400,
       "Conflicting Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 3\r\nl: 4\r\n\r\nabcd", false, BAD, 400,
       "Conflicting Content-Length"},
      {INVITE_LINE BASIC "Content-Length: -1\r\n\r\n", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: +1\r\n\r\nx", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 0x1\r\n\r\nx", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 1 1\r\n\r\nx", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 1, 1\r\n\r\nx", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length:\r\n\r\n", true, BAD, 400, "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 4294967296\r\n\r\n", true, BAD, 400,
       "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 18446744073709551617\r\n\r\nx", true, BAD, 400,
       "Bad Content-Length"},
      {INVITE_LINE BASIC "Content-Length: 5\r\n\r\nabcd", false, BAD, 400,
       "Content-Length Beyond Datagram"},
      {INVITE_LINE BASIC "X: a\nY: b\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bare CR Or LF In Header"},
      {INVITE_LINE BASIC "X: a\r\n \t\r\n" LENGTH0 "\r\n", true, BAD, 400, "Blank Folded Line"},
      {INVITE_LINE VIA FROM TO CALL_ID "CSeq: 7\r\n \r\n INVITE\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Blank Folded Line"},
      {INVITE_LINE BASIC "X: a\rY: b\r\n" LENGTH0 "\r\n", true, BAD, 400,
       "Bare CR Or LF In Header"},
      {INVITE_LINE BASIC "X: a\r\r\n" LENGTH0 "\r\n", true, BAD, 400, "Bare CR Or LF In Header"},
      {INVITE_LINE BASIC "X: a\n\r\n" LENGTH0 "\r\n", false, BAD, 400, "Bare CR Or LF In Header"},
      {"INVITE sip:bob@b.example SIP/2.0\nVia: x\n\n", true, BAD, 400, "Bare CR Or LF In Header"},
  };
  REFUSE(row);
  cr_expect_eq(scan(INVITE_LINE BASIC "Content-Length: 4\r\nl: 04\r\n\r\nabcd", true), 0,
               "twice the same length says one thing");
  cr_expect_eq(m.body_len, 4u);
}

Test(scan, stray_line_ends_are_not_echoed) {
  scan(INVITE_LINE BASIC "X: a\nVia: y\r\n" LENGTH0 "\r\n", true);
  cr_expect(!tl_msg_answerable(&m));
  cr_expect_eq(scan(INVITE_LINE BASIC "Content-Length: 3\r\n\r\n\na\r", true), 0,
               "a body may hold what it likes");
}

Test(scan, refusals_can_be_answered) {
  cr_assert_eq(scan("INVITE sip:a@b SIP/3.0\r\n" BASIC LENGTH0 "\r\n", true), BAD);
  cr_expect(tl_msg_answerable(&m));
  cr_assert_eq(scan(INVITE_LINE BASIC "Content-Length: x\r\n\r\n", true), BAD);
  cr_expect(tl_msg_answerable(&m));
  cr_expect_eq(m.body_len, 0u);
  cr_assert_eq(scan(INVITE_LINE "Nonsense\r\n" BASIC LENGTH0 "\r\n", true), BAD);
  cr_expect(tl_msg_answerable(&m), "what comes behind the bad line is read too");
  cr_assert_eq(scan("ACK sip:a@b SIP/2.0\r\n" BASIC "\r\n", true), BAD);
  cr_expect(!tl_msg_answerable(&m), "an ACK is never answered");
}

/* RFC 3261 16.3 step 1, RFC 4475 3.1.2.1: what cannot be read is answered all the same. */
Test(scan, s18_bad_requests_can_be_answered) {
  static const char *const bad[] = {
      INVITE_LINE "Via: SIP/2.0/UDP a;rport=\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via: SIP/2.0/UDP a;\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via: SIP/2.0/UDP a;received=\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via: SIP/2.0/UDP a;branch=x@y\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via: SIP/2.0/UDP a:65536\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via:\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE VIA "Via: ,\r\nX\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE "Via: SIP/2.0/UDP a;branch=z9hG4bK1, x\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE VIA TO CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE VIA FROM CALL_ID CSEQ LENGTH0 "\r\n",
      INVITE_LINE VIA FROM TO CSEQ LENGTH0 "\r\n",
      INVITE_LINE VIA FROM TO CALL_ID LENGTH0 "\r\n",
      INVITE_LINE VIA LENGTH0 "\r\n"};
  char text[1024];
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    cr_expect_eq(scan(bad[i], true), BAD);
    cr_expect(tl_msg_answerable(&m) && err.status == 400 && m.framed, "%s", bad[i]);
    snprintf(text, sizeof(text), "ACK%s", bad[i] + strlen("INVITE"));
    cr_expect_eq(scan(text, true), BAD);
    cr_expect(!tl_msg_answerable(&m), "%s", text);
    snprintf(text, sizeof(text), "SIP/2.0 200 OK%s", bad[i] + strlen(INVITE_LINE) - 2);
    cr_expect_eq(scan(text, true), BAD);
    cr_expect(!tl_msg_answerable(&m), "%s", text);
  }
  cr_expect_eq(scan(INVITE_LINE FROM TO CALL_ID CSEQ LENGTH0 "\r\n", true), BAD);
  cr_expect(!tl_msg_answerable(&m), "without Via nobody would know the answer again");
  cr_expect_eq(scan(INVITE_LINE "Via: a\nb\r\n" FROM TO CALL_ID CSEQ LENGTH0 "\r\n", true), BAD);
  cr_expect(!tl_msg_answerable(&m), "stray line ends are not repeated");
}

Test(scan, nul_only_as_quoted_pair) {
  static const char fine[] =
      INVITE_LINE VIA "From: \"a\\\0b\" <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n";
  static const char bare[] =
      INVITE_LINE VIA "From: \"a\0b\" <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n";
  static const char other[] = INVITE_LINE BASIC "Subject: \0\r\n" LENGTH0 "\r\n";
  static const char outside[] = INVITE_LINE BASIC "Subject: \\\0\r\n" LENGTH0 "\r\n";
  static const char body[] = INVITE_LINE BASIC "Content-Length: 1\r\n\r\n\0";
  cr_expect_eq(tl_scan(fine, sizeof(fine) - 1, true, 4096, &m, &err), 0, "%s", err.reason);
  cr_expect_eq(tl_scan(bare, sizeof(bare) - 1, true, 4096, &m, &err), BAD);
  cr_expect_str_eq(err.reason, "NUL In Header");
  cr_expect(!tl_msg_answerable(&m));
  cr_expect_eq(tl_scan(other, sizeof(other) - 1, true, 4096, &m, &err), BAD);
  cr_expect_eq(tl_scan(outside, sizeof(outside) - 1, true, 4096, &m, &err), BAD);
  cr_expect_eq(tl_scan(body, sizeof(body) - 1, true, 4096, &m, &err), 0);
}

Test(scan, waits_at_every_byte_of_the_head) {
  static const char text[] = INVITE_LINE VIA "From: \"A\"\r\n <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ
                                             "Content-Length: 5\r\n\r\nhello";
  size_t head = sizeof(text) - 1 - 5;
  for (size_t n = 0; n < head; n++)
    cr_expect_eq(tl_scan(tl_guarded(text, n), n, true, 4096, &m, &err), TL_EAGAIN, "%zu bytes", n);
  for (size_t n = head; n <= head + 5; n++) {
    cr_expect_eq(tl_scan(tl_guarded(text, n), n, true, 4096, &m, &err), 0, "%zu bytes", n);
    cr_expect_eq(m.head_len, head);
    cr_expect_eq(m.body_len, 5u);
  }
}

Test(scan, garbage_is_refused_before_its_end) {
  cr_expect_eq(scan("GET / HTTP/1.1\r\nHost", true), BAD);
  cr_expect_eq(err.status, 0);
  cr_expect_eq(scan("INVITE\nsip:b", true), BAD);
  /* Behind a good start line its end is waited for: others use the stream too. */
  cr_expect_eq(scan(INVITE_LINE "Via: x\nTo", true), TL_EAGAIN);
  cr_expect_eq(scan(INVITE_LINE "Via: x\nTo: y\r\n\r\n", true), BAD);
  cr_expect_eq(err.status, 400);
}

Test(scan, a_datagram_is_all_there_is) {
  cr_expect_eq(scan(INVITE_LINE BASIC "\r\nbody", false), 0);
  cr_expect(!m.has_length);
  cr_expect_eq(m.body_len, 4u);
  cr_expect_eq(scan(INVITE_LINE BASIC "l: 2\r\n\r\nbody", false), 0);
  cr_expect_eq(m.body_len, 2u, "what follows is padding, RFC 3261 18.3");
  cr_expect_eq(scan(INVITE_LINE BASIC LENGTH0, false), BAD);
  cr_expect_str_eq(err.reason, "No Empty Line Behind Headers");
  cr_expect(tl_msg_answerable(&m));
  cr_expect_eq(scan("INVITE", false), BAD);
  cr_expect_eq(err.status, 0);
  cr_expect_eq(scan("", false), BAD);
}

Test(scan, head_limit) {
  size_t n = strlen(INVITE);
  cr_expect_eq(tl_scan(INVITE, n, true, n, &m, &err), 0);
  cr_expect_eq(tl_scan(INVITE, n, true, n - 1, &m, &err), TL_ELIMIT);
  cr_expect_eq(err.status, 513);
  cr_expect_eq(tl_scan(INVITE, n - 1, true, n - 1, &m, &err), TL_ELIMIT,
               "the limit is reached without the empty line");
  cr_expect(tl_msg_answerable(&m), "and can be answered by what came");
  cr_expect_eq(tl_scan(INVITE, n - 2, true, n - 1, &m, &err), TL_EAGAIN);
  cr_expect_eq(tl_scan("SIP/2.0 200 OK\r\nVia: x", 22, true, 20, &m, &err), TL_ELIMIT);
  cr_expect(!tl_msg_answerable(&m));
  cr_expect_eq(tl_scan("XXXXXXXXXXXXXXXXXXXXXXXXXXX", 27, true, 20, &m, &err), TL_ELIMIT);
  cr_expect_eq(err.status, 0);
}

static char *many(const char *line, unsigned count) {
  char *text = malloc(4096 + strlen(line) * count), *p = text;
  p += sprintf(p, "%s", INVITE_LINE BASIC);
  while (count--) p += sprintf(p, "%s", line);
  sprintf(p, "%s", LENGTH0 "\r\n");
  return text;
}

Test(scan, header_limit) {
  char *text = many("X: y\r\n", TL_HDR_MAX - 6);
  cr_expect_eq(scan(text, true), 0);
  cr_expect_eq(m.n_hdr, TL_HDR_MAX);
  free(text);
  text = many("X: y\r\n", TL_HDR_MAX - 5);
  cr_expect_eq(scan(text, true), TL_ELIMIT);
  cr_expect_eq(err.status, 400);
  cr_expect_str_eq(err.reason, "Too Many Headers");
  cr_expect(tl_msg_answerable(&m));
  free(text);
  text = many("X: y\r\n z\r\n z\r\n", 200);
  cr_expect_eq(scan(text, true), TL_ELIMIT);
  cr_expect_str_eq(err.reason, "Too Many Header Lines");
  text[strlen(text) - 2] = 0;
  cr_expect_eq(scan(text, true), TL_ELIMIT, "before the end too: there is no point in waiting");
  free(text);
}

/* All implementations say the same about random text of the bytes that matter, at all lengths. */
Test(scan, line_search_implementations_agree) {
  static const char alphabet[] = "\r\n\r\n\r\n\r\nab: \0z";
  const struct lines_impl *impl = tl_lines_impls();
  uint32_t seed = 20261121;
  size_t heads = 0;
  for (unsigned round = 0; round < 20000; round++) {
    char text[300];
    unsigned span = round % 4 ? 15 : 11;
    size_t n = round % sizeof(text);
    char *p = text + sizeof(text) - n;
    for (size_t i = 0; i < n; i++) {
      seed = seed * 1664525 + 1013904223;
      p[i] = alphabet[(seed >> 16) % span];
    }
    struct lines first, next;
    impl[0].find(p, (uint32_t)n, &first);
    heads += first.head_len != 0;
    const char *empty = memmem(p, n, "\r\n\r\n", 4);
    cr_assert_eq(first.head_len, empty ? (size_t)(empty - p) + 4 : 0, "round %u", round);
    for (unsigned k = 1; impl[k].name; k++) {
      impl[k].find(p, (uint32_t)n, &next);
      cr_assert_eq(next.n, first.n, "%s, round %u", impl[k].name, round);
      cr_assert_eq(next.head_len, first.head_len, "%s, round %u", impl[k].name, round);
      cr_assert_eq(!next.stray, !first.stray, "%s, round %u", impl[k].name, round);
      cr_assert_eq(!next.nul, !first.nul, "%s, round %u", impl[k].name, round);
      cr_assert_eq(memcmp(next.end, first.end, first.n * sizeof(first.end[0])), 0);
    }
  }
  cr_expect_gt(heads, 1000);
}

Test(scan, first_bytes_of_a_stream) {
  static const struct {
    const char *text;
    size_t n;
    enum tl_looks looks;
  } row[] = {
      {"\x16\x03\x01\x02\x00\x01\x00\x01", 8, TL_LOOKS_TLS},
      {"\x16", 1, TL_LOOKS_TLS},
      {"\x16\x07zzzzzz", 8, TL_LOOKS_GARBAGE},
      {"GET / HT", 8, TL_LOOKS_HTTP},
      {"POST /x ", 8, TL_LOOKS_HTTP},
      {"PRI * HT", 8, TL_LOOKS_HTTP},
      {"HTTP/1.1", 8, TL_LOOKS_HTTP},
      {"CONNECT ", 8, TL_LOOKS_HTTP},
      {"GE", 2, TL_LOOKS_UNKNOWN},
      {"INVITE s", 8, TL_LOOKS_UNKNOWN},
      {"OPTIONS ", 8, TL_LOOKS_UNKNOWN},
      {"SIP/2.0 ", 8, TL_LOOKS_UNKNOWN},
      {"\r\n\r\n", 4, TL_LOOKS_UNKNOWN},
      {"", 0, TL_LOOKS_UNKNOWN},
      {"\x80\x2e\x01\x00\x02", 5, TL_LOOKS_GARBAGE},
      {"{\"json\":", 8, TL_LOOKS_GARBAGE},
      {"abc/defg", 8, TL_LOOKS_GARBAGE},
      {" INVITE ", 8, TL_LOOKS_GARBAGE},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
    cr_expect_eq(tl_looks_like(row[i].text, row[i].n), row[i].looks, "row %zu", i);
}

Test(scan, method_names) {
  for (int k = TL_M_OTHER + 1; k < TL_METHODS; k++)
    cr_expect_eq((int)tl_method_parse(tl_str_c(tl_method_name((enum tl_method)k))), k);
  cr_expect_eq(tl_method_parse(TL_STR("invite")), TL_M_OTHER, "methods are case-sensitive");
  cr_expect_eq(tl_method_parse(TL_STR("INVITES")), TL_M_OTHER);
  cr_expect_eq(tl_method_parse(TL_STR("")), TL_M_OTHER);
  cr_expect_eq(
      scan("XYZ sip:a@b SIP/2.0\r\n" VIA FROM TO CALL_ID "CSeq: 1 XYZ\r\n" LENGTH0 "\r\n", true),
      0);
  cr_expect_eq(m.method, TL_M_OTHER);
  expect_slice(m.method_name, "XYZ");
}
