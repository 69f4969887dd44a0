/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner against Sofia-SIP: what tl_scan accepts, Sofia accepts and reads
 * the same, or the difference is one of those listed with their reasons. The
 * corpus is made here from templates and mutations with a fixed seed; what
 * tl_scan refuses is not compared, being stricter is its business.
 */
#include <criterion/criterion.h>
#include <sofia-sip/msg.h>
#include <sofia-sip/msg_addr.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/url.h>
#include <stdio.h>
#include <stdlib.h>

#include "sip_text.h"
#include "tieline/scan.h"
#include "tieline/uri.h"

static const char *const templates[] = {
    "INVITE sip:+13125550142@gw2.chicago.example:5061;transport=tls;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/TLS sbc1.atlanta.example:5061;branch=z9hG4bK-524287-1---4c2d;rport\r\n"
    "Via: SIP/2.0/TLS 192.0.2.17:5061;branch=z9hG4bK776asdhds;received=192.0.2.17\r\n"
    "Max-Forwards: 69\r\n"
    "Record-Route: <sip:sbc1.atlanta.example:5061;transport=tls;lr>\r\n"
    "From: \"Alice Example\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n"
    "To: <sip:+13125550142@chicago.example;user=phone>\r\n"
    "Call-ID: 3848276298220188511@atlanta.example\r\n"
    "CSeq: 31862 INVITE\r\n"
    "Contact: <sip:alice@192.0.2.17:5061;transport=tls>\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 5\r\n\r\nv=0\r\n",

    "OPTIONS sip:[2001:db8::10]:5070 SIP/2.0\r\n"
    "v: SIP/2.0/TCP [2001:db8::9:1]:5070;received=2001:db8::5;branch=z9hG4bKas3-111\r\n"
    "f: sip:a@[2001:db8::9:1];tag=81x2\r\n"
    "t: <sip:b@[2001:db8::10]>\r\n"
    "i: id-3.14\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n"
    "l: 0\r\n\r\n",

    "SIP/2.0 183 Session Progress\r\n"
    "Via: SIP/2.0/UDP one.example;branch=z9hG4bKone, SIP/2.0/UDP two.example;branch=z9hG4bKtwo\r\n"
    "From: sip:a@one.example;tag=a1\r\n"
    "To: sip:b@two.example;tag=b2\r\n"
    "Call-ID: x@one.example\r\n"
    "CSeq: 4294967 INVITE\r\n"
    "Content-Length: 0\r\n\r\n",

    "MESSAGE sips:bob;x=y@b.example SIP/2.0\r\n"
    "Via:\r\n SIP / 2.0 / TLS  a.example : 5061 ;\r\n branch = z9hG4bKq ; rport=4711 ; alias\r\n"
    "from  : A B <sips:a@a.example> ; tag = f1\r\n"
    "TO:\"B \\\"x\\\" <b>, c\" <sips:b@b.example>;x=\"q;tag=no\"\r\n"
    "CALL-ID:fold\r\n"
    "cseq: 0009\r\n  MESSAGE\r\n"
    "max-forwards: 0070\r\n"
    "Subject: one\r\n two\r\n\tthree\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 11\r\n\r\nhello\r\nyou\r\n",

    "REGISTER sip:registrar.example SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.4;rport;branch=z9hG4bKnashds7\r\n"
    "Max-Forwards: 70\r\n"
    "From: Bob <sip:bob@registrar.example>;tag=456248\r\n"
    "To: Bob <sip:bob@registrar.example>\r\n"
    "Call-ID: 843817637684230@998sdasdh09\r\n"
    "CSeq: 1826 REGISTER\r\n"
    "Contact: <sip:bob@192.0.2.4>, <sip:bob@192.0.2.5>;q=0.5\r\n"
    "Expires: 7200\r\n"
    "Content-Length: 0\r\n\r\n",

    "BYE tel:+1-201-555-0123;phone-context=example SIP/2.0\r\n"
    "Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks\r\n"
    "From: <tel:+12015550100>;tag=a\r\n"
    "To: <tel:+12015550123>;tag=b\r\n"
    "Call-ID: tel-1\r\n"
    "CSeq: 2 BYE\r\n"
    "Content-Length: 0\r\n\r\n",

    "NEWMETHOD sip:user%20name@h.example;lr;maddr=192.0.2.9 SIP/2.0\r\n"
    "Via: SIP/2.0/SCTP h.example;ttl=1;branch=z9hG4bK.%41\r\n"
    "From: sip:x@h.example;tag=-.!%*_+`'~\r\n"
    "To: sip:y@h.example\r\n"
    "Call-ID: word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n"
    "CSeq: 2147483647 NEWMETHOD\r\n"
    "X-Empty:\r\n"
    "Content-Length: 3\r\n\r\nabc",
};

static const char *const odd_users[] = {
    "OPTIONS sip:#31#+49301234567@gw.example;user=phone SIP/2.0\r\n",
    "OPTIONS sip:{a}[b]|c^d`e@gw.example:5070 SIP/2.0\r\n",
    "OPTIONS sip:J\xc3\xb6rg@gw.example SIP/2.0\r\n",
    "OPTIONS sip:@gw.example SIP/2.0\r\n",
    "OPTIONS sip:a#b;c=d?e@gw.example SIP/2.0\r\n",
};

static const char *const pieces[] = {
    " ",
    "\t",
    "\r\n ",
    ";",
    ",",
    "\"",
    "<",
    ">",
    "=",
    ":",
    "@",
    "%41",
    "%",
    "[::1]",
    ".",
    "..",
    "0",
    "9",
    "/",
    "?",
    "&",
    "*",
    "\\",
    "\r\n",
    "a",
    "Z",
    "_",
    "-",
    "\x80",
    "\x7f",
    "\x01",
    ";tag=x",
    ";lr",
    ";branch=b",
    ";rport",
    ";x=\"y\"",
    "sip:",
    ", ",
    "(c)",
    "'",
    "Content-Length: 2\r\n",
    "To: <sip:x@y>\r\n",
    "X: y\r\n",
    ";received=1.2.3.4",
    "#",
    "{",
    "|",
    "^",
    "`",
    "$",
    "+",
    "!",
    "~",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint32_t seed = 3261;
static uint32_t rnd(uint32_t below) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % below;
}

/* Replaces, inserts or deletes something at a random place of TEXT (N bytes, room for more). */
static size_t mutate(char *text, size_t n) {
  size_t at = rnd((uint32_t)n), del = rnd(3) ? rnd(3) : rnd(12);
  const char *ins = rnd(5) ? pieces[rnd(COUNT(pieces))] : "";
  size_t len = strlen(ins);
  if (del > n - at) del = n - at;
  memmove(text + at + len, text + at + del, n - at - del);
  memcpy(text + at, ins, len);
  return n - del + len;
}

struct diff {
  const char *field;
  struct tl_str ours;
  const char *theirs;
};

static bool has(struct tl_str s, const char *any) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] && strchr(any, s.p[i])) return true;
  return false;
}

static bool is(const struct diff *d, const char *field) { return strcmp(d->field, field) == 0; }

/* --- the differences that are meant ---------------------------------------------------------- */

static bool bad_party_uri(const struct tl_msg *m, enum tl_hdr_id id) {
  struct tl_nameaddr na;
  struct tl_uri u;
  size_t used;
  cr_assert_eq(tl_nameaddr_parse(tl_msg_header(m, id), &na, &used), 0);
  return tl_uri_parse(na.uri, &u) != 0 || u.scheme == TL_SCHEME_OTHER;
}

static bool party_uri(const struct tl_msg *m, const struct diff *d) {
  return is(d, "refused") && (bad_party_uri(m, TL_H_FROM) || bad_party_uri(m, TL_H_TO));
}

static bool escape(const struct tl_msg *m, const struct diff *d) {
  (void)m;
  return strncmp(d->field, "uri ", 4) == 0 && has(d->ours, "%");
}

static bool reason(const struct tl_msg *m, const struct diff *d) {
  (void)m;
  return is(d, "reason") && tl_str_eq(tl_str_trim(d->ours), tl_str_trim(tl_str_c(d->theirs)));
}

static bool utf8_name(const struct tl_msg *m, const struct diff *d) {
  struct tl_str from = tl_msg_header(m, TL_H_FROM), to = tl_msg_header(m, TL_H_TO);
  return is(d, "refused") && (memchr(from.p, 0x80, from.n) || memchr(to.p, 0x80, to.n));
}

static bool odd_method(const struct tl_msg *m, const struct diff *d) {
  return is(d, "refused") && tl_method_parse(m->cseq_method) == TL_M_OTHER;
}

static bool folded_addr_spec(const struct tl_msg *m, const struct diff *d) {
  struct tl_str from = tl_msg_header(m, TL_H_FROM), to = tl_msg_header(m, TL_H_TO);
  return is(d, "refused") && ((!memchr(from.p, '<', from.n) && memchr(from.p, '\r', from.n)) ||
                              (!memchr(to.p, '<', to.n) && memchr(to.p, '\r', to.n)));
}

static bool odd_byte(struct tl_str s) {
  for (size_t i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] >= 0x80) return true;
  return has(s, "#[]{}|^`");
}

static bool odd_user_and_escape(const struct tl_msg *m, const struct diff *d) {
  const struct tl_str in[] = {m->uri, tl_msg_header(m, TL_H_FROM), tl_msg_header(m, TL_H_TO)};
  for (size_t i = 0; i < COUNT(in); i++)
    if (is(d, "refused") && has(in[i], "%") && odd_byte(in[i])) return true;
  return false;
}

static const struct {
  bool (*is)(const struct tl_msg *m, const struct diff *d);
  const char *why, *example;
} known[] = {
    {party_uri,
     "URIs of From and To are not a proxy's to judge (RFC 3261 16.3): their characters are "
     "checked, "
     "their parts are not",
     INVITE_LINE VIA "From: <sip:a@b%zz>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n"},
    {escape, "Sofia unescapes what needs no escape; we forward and compare URIs as written",
     "INVITE sip:%41@b.example SIP/2.0\r\n" BASIC LENGTH0 "\r\n"},
    {reason, "Sofia trims the reason phrase; ours is forwarded as it came",
     "SIP/2.0 200  OK\r\n" BASIC LENGTH0 "\r\n"},
    {utf8_name, "display names in UTF-8 without quotes: the grammar says no, telephones do it",
     INVITE_LINE VIA "From: J\x80rg <sip:a@b>;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n"},
    {odd_method,
     "Sofia fails on an extension method in CSeq that begins like one it knows, or has a backquote "
     "in it; both are tokens",
     "INV sip:a@b SIP/2.0\r\n" VIA FROM TO CALL_ID "CSeq: 1 INV\r\n" LENGTH0 "\r\n"},
    {folded_addr_spec,
     "Sofia fails on a fold between an addr-spec with an IPv6 host and the parameters; LWS is "
     "legal "
     "before ';'",
     INVITE_LINE VIA "From: sip:a@[::1]\r\n ;tag=1\r\n" TO CALL_ID CSEQ LENGTH0 "\r\n"},
    {odd_user_and_escape,
     "what telephones send in users ('#', '{', UTF-8) passes through; Sofia takes it too, but "
     "fails "
     "on some of it where the URI has an escape as well",
     "INVITE tel:%412{ SIP/2.0\r\n" BASIC LENGTH0 "\r\n"},
};
static unsigned hits[COUNT(known)];

static bool is_known(const struct tl_msg *m, const struct diff *d) {
  for (size_t i = 0; i < COUNT(known); i++)
    if (known[i].is(m, d)) {
      hits[i]++;
      return true;
    }
  return false;
}

/* --- comparison ------------------------------------------------------------------------------- */

static unsigned failures;

static void report(const struct tl_msg *m, const struct diff *d) {
  if (is_known(m, d)) return;
  if (failures++ < 40)
    fprintf(stderr, "--- %s: ours '%.*s', Sofia's '%s'\n%.*s\n", d->field, (int)d->ours.n,
            d->ours.p, d->theirs ? d->theirs : "(none)", (int)m->head_len, m->p);
}

static void same(const struct tl_msg *m, const char *field, struct tl_str ours,
                 const char *theirs) {
  struct diff d = {field, ours, theirs};
  if (!tl_str_eq(ours, tl_str_c(theirs))) report(m, &d);
}

static void same_number(const struct tl_msg *m, const char *field, unsigned long ours,
                        unsigned long theirs) {
  char a[24], b[24];
  snprintf(a, sizeof(a), "%lu", ours);
  snprintf(b, sizeof(b), "%lu", theirs);
  same(m, field, tl_str_c(a), b);
}

/* 0 and NULL: absent. */
static void same_port(const struct tl_msg *m, const char *field, unsigned ours,
                      const char *theirs) {
  same_number(m, field, ours, theirs ? strtoul(theirs, NULL, 10) : 0);
}

static void compare_uri(const struct tl_msg *m, const url_t *theirs) {
  struct tl_uri ours;
  cr_assert_eq(tl_uri_parse(m->uri, &ours), 0, "an accepted Request-URI parses");
  if (ours.scheme == TL_SCHEME_OTHER || ours.scheme == TL_SCHEME_TEL) return;
  same(m, "uri scheme", ours.scheme == TL_SCHEME_SIP ? TL_STR("sip") : TL_STR("sips"),
       theirs->url_scheme);
  same(m, "uri user", ours.user, theirs->url_user);
  same(m, "uri host", ours.host, theirs->url_host);
  same_port(m, "uri port", ours.port, theirs->url_port);
}

static void compare(const struct tl_msg *m, const sip_t *sip) {
  if (m->is_request) {
    same(m, "method", m->method_name, sip->sip_request->rq_method_name);
    compare_uri(m, sip->sip_request->rq_url);
  } else {
    same_number(m, "status", m->status, (unsigned long)sip->sip_status->st_status);
    same(m, "reason", m->reason, sip->sip_status->st_phrase);
  }
  same(m, "via host", m->via.host, sip->sip_via->v_host);
  same_port(m, "via port", m->via.port, sip->sip_via->v_port);
  same(m, "via branch", m->via.branch, sip->sip_via->v_branch);
  same(m, "via received", m->via.received, sip->sip_via->v_received);
  same(m, "call-id", m->call_id, sip->sip_call_id->i_id);
  same_number(m, "cseq", m->cseq, sip->sip_cseq->cs_seq);
  same(m, "cseq method", m->cseq_method, sip->sip_cseq->cs_method_name);
  same(m, "from tag", m->from_tag, sip->sip_from->a_tag);
  same(m, "to tag", m->to_tag, sip->sip_to->a_tag);
  if (m->has_length)
    same_number(m, "content-length", m->body_len,
                sip->sip_content_length ? sip->sip_content_length->l_length : 0xffffffffu);
  if (m->max_forwards >= 0)
    same_number(m, "max-forwards", (unsigned long)m->max_forwards,
                sip->sip_max_forwards ? sip->sip_max_forwards->mf_count : 0xffffffffu);
}

static bool judge(const char *text, size_t n) {
  static struct tl_msg m;
  struct tl_scan_error err;
  if (tl_scan(text, n, false, 65536, &m, &err)) return false;
  msg_t *msg = msg_make(sip_default_mclass(), 0, text, (ssize_t)n);
  sip_t *sip = msg ? sip_object(msg) : NULL;
  struct diff d = {"refused", {"", 0}, NULL};
  if (!sip || msg_has_error(msg) || !(sip->sip_request || sip->sip_status) || !sip->sip_via ||
      !sip->sip_from || !sip->sip_to || !sip->sip_call_id || !sip->sip_cseq)
    report(&m, &d);
  else
    compare(&m, sip);
  if (msg) msg_destroy(msg);
  return true;
}

Test(oracle, what_we_accept_sofia_reads_the_same) {
  unsigned accepted = 0, mutants = 0;
  char text[4096];
  for (size_t t = 0; t < COUNT(templates); t++) {
    size_t len = strlen(templates[t]);
    cr_expect(judge(templates[t], len), "template %zu is refused", t);
    for (unsigned round = 0; round < 20000; round++) {
      size_t n = len;
      memcpy(text, templates[t], n);
      for (unsigned k = rnd(3) + 1; k; k--) n = mutate(text, n);
      mutants++;
      accepted += judge(text, n);
    }
  }
  cr_expect_eq(failures, 0, "%u differences that nobody meant", failures);
  cr_expect_geq(accepted, 5000);
  fprintf(stderr, "oracle: %u of %u mutants accepted and compared\n", accepted, mutants);
}

/* The users that telephones make up: Sofia finds the same user, host and port. */
Test(oracle, s21_odd_users_are_read_the_same) {
  char text[4096];
  unsigned accepted = 0;
  for (size_t i = 0; i < COUNT(odd_users); i++) {
    const char *user = strchr(odd_users[i], ':') + 1;
    int len = (int)(strchr(user, ' ') - user);
    int n =
        snprintf(text, sizeof(text),
                 "%sVia: SIP/2.0/TCP a.example;branch=z9hG4bKa\r\nFrom: \"x\" <sip:%.*s>;tag=f\r\n"
                 "To: <sip:%.*s>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                 odd_users[i], len, user, len, user);
    cr_expect(judge(text, (size_t)n), "refused: %s", odd_users[i]);
    char mutant[4096];
    for (unsigned round = 0; round < 20000; round++) {
      size_t size = (size_t)n;
      memcpy(mutant, text, size);
      for (unsigned k = rnd(3) + 1; k; k--) size = mutate(mutant, size);
      accepted += judge(mutant, size);
    }
  }
  cr_expect_eq(failures, 0, "%u differences that nobody meant", failures);
  cr_expect_geq(accepted, 10000u);
}

/* A difference that is gone must leave the list. */
Test(oracle, every_listed_difference_exists) {
  for (size_t i = 0; i < COUNT(known); i++) {
    cr_expect(judge(known[i].example, strlen(known[i].example)), "refused: %s", known[i].example);
    cr_expect_eq(hits[i], 1, "not shown by its example: %s", known[i].why);
  }
  cr_expect_eq(failures, 0);
}
