/* SPDX-License-Identifier: Apache-2.0 */
/* A scan that moves with its message says the same as a fresh scan of the copy. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>

#include "tieline/scan.h"

static const char *const text[] = {
    "INVITE sips:bob:pw@b.example:5062;transport=tls;maddr=192.0.2.1 SIP/2.0\r\n"
    "Via: SIP/2.0/TLS a.example:5061;branch=z9hG4bK1;rport=77;received=192.0.2.7;alias, "
    "SIP/2.0/UDP z.example\r\n"
    "v: SIP/2.0/UDP y.example\r\nRoute: <sip:r1;lr>,\r\n <sip:r2;lr>\r\nRoute: <sip:r3;lr>\r\n"
    "From: <sip:a@a.example>;tag=f1\r\nTo: <sip:b@b.example>;tag=t1\r\nCall-ID: c1@a\r\n"
    "CSeq: 7 INVITE\r\nMax-Forwards: 20\r\nContact: <sip:a@192.0.2.7>\r\nX-Other: 1\r\n"
    "Content-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n",
    "sip/2.0 486 Busy Here\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bK2\r\n"
    "From: <sip:a@a.example>;tag=f1\r\nTo: <sip:b@b.example>;tag=t1\r\nCall-ID: c1@a\r\n"
    "CSeq: 7 INVITE\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n",
    ("OPTIONS tel:+49 SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@a>\r\nTo: <sip:b@b>\r\n"
     "Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"),
};

#define EQUAL(s)                                                                                   \
  cr_expect(tl_str_eq(a->s, b->s) && (!a->s.n || a->s.p - a->p == b->s.p - b->p), #s " of %.40s",  \
            a->p);

static void expect_equal(const struct tl_msg *a, const struct tl_msg *b) {
  EQUAL(method_name)
  EQUAL(uri)
  EQUAL(ruri.whole)
  EQUAL(ruri.user)
  EQUAL(ruri.password)
  EQUAL(ruri.host)
  EQUAL(ruri.params)
  EQUAL(ruri.headers)
  EQUAL(reason)
  EQUAL(cseq_method)
  EQUAL(call_id)
  EQUAL(from_uri)
  EQUAL(from_tag)
  EQUAL(to_tag)
  EQUAL(via.whole)
  EQUAL(via.transport)
  EQUAL(via.host)
  EQUAL(via.params)
  EQUAL(via.branch)
  EQUAL(via.received)
  EQUAL(via.rport_param)
  cr_expect_eq(a->head_len, b->head_len);
  cr_expect_eq(a->body_len, b->body_len);
  cr_expect_eq(a->rewrite, b->rewrite);
  cr_expect_eq(a->status, b->status);
  cr_expect_eq(a->cseq, b->cseq);
  cr_expect_eq(a->n_hdr, b->n_hdr);
  cr_expect_eq(memcmp(a->first, b->first, sizeof(a->first)), 0);
  cr_expect_eq(memcmp(a->hdr, b->hdr, a->n_hdr * sizeof(a->hdr[0])), 0);
}

/* A slice that is added to struct tl_msg must be added to scan_copy.c as well: this is to be
 * changed with it. */
_Static_assert(offsetof(struct tl_msg, hdr) == 492, "members of struct tl_msg");

Test(sip_scan_copy, equals_a_scan_of_the_copy) {
  for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
    size_t n = strlen(text[i]);
    static struct tl_msg m, fresh;
    struct tl_scan_error err;
    cr_assert_eq(tl_scan(text[i], n, false, 65536, &m, &err), 0, "%zu: %s", i, err.reason);
    char *copy = malloc(n);
    memcpy(copy, text[i], n);
    size_t size = tl_msg_scan_size(&m);
    cr_assert_lt(size, sizeof(m));
    struct tl_msg *kept = malloc(size);
    cr_assert_eq(tl_msg_copy_scan(&m, copy, kept), kept);
    cr_assert_eq(tl_scan(copy, n, false, 65536, &fresh, &err), 0);
    expect_equal(kept, &fresh);
    free(copy);
    free(kept);
  }
}

Test(sip_scan_copy, stands_aligned_behind_the_bytes) {
  for (size_t base = 0; base < 16; base++)
    for (size_t len = 0; len < 40; len++) {
      size_t at = tl_msg_scan_at(base, len);
      cr_expect_geq(at, len);
      cr_expect_lt(at, len + _Alignof(struct tl_msg));
      cr_expect_eq((base + at) % _Alignof(struct tl_msg), 0);
    }
}
