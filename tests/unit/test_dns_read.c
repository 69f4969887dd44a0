/* SPDX-License-Identifier: Apache-2.0 */
/* Reading DNS answers: what counts, what is passed over, what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/dns.h"
#include "tieline/err.h"

#define ASKED "Q.eXample"

/* ---- a message under construction ---- */

static struct {
  uint8_t p[65536];
  size_t n;
  unsigned answers;
} m;

static void put8(unsigned v) { m.p[m.n++] = (uint8_t)v; }
static void put16(unsigned v) { put8(v >> 8 & 0xff), put8(v & 0xff); }
static void put32(uint32_t v) { put16(v >> 16), put16(v & 0xffff); }

/* "" is the root; "*N" a pointer to N. */
static void put_name(const char *name) {
  while (*name && *name != '*') {
    size_t n = strcspn(name, ".");
    put8((unsigned)n);
    for (size_t i = 0; i < n; i++) put8((unsigned char)name[i]);
    name += n + (name[n] == '.');
  }
  if (*name)
    put16(0xc000u | (unsigned)atoi(name + 1));
  else
    put8(0);
}

static void begin(uint16_t type) {
  m.n = 0;
  m.answers = 0;
  put16(1), put16(0x8180), put16(1), put16(0), put16(0), put16(0);
  put_name(ASKED);
  put16(type), put16(1);
}

static void head(const char *owner, unsigned type, uint32_t ttl_s, unsigned len) {
  put_name(owner);
  put16(type), put16(1), put32(ttl_s), put16(len);
  m.p[7] = (uint8_t)++m.answers;
  m.p[6] = (uint8_t)(m.answers >> 8);
}

static void put_a(const char *owner, uint32_t ttl_s, uint32_t addr) {
  head(owner, TL_DNS_A, ttl_s, 4);
  put32(addr);
}

/* What stands between these two is the data of the record that was begun. */
static void end_data(size_t from) {
  size_t len = m.n - from;
  m.p[from - 2] = (uint8_t)(len >> 8);
  m.p[from - 1] = (uint8_t)len;
}

static void put_alias(const char *owner, uint32_t ttl_s, const char *of) {
  head(owner, TL_DNS_CNAME, ttl_s, 0);
  size_t from = m.n;
  put_name(of);
  end_data(from);
}

static void put_srv(const char *owner, uint32_t ttl_s, unsigned priority, const char *target) {
  head(owner, TL_DNS_SRV, ttl_s, 0);
  size_t from = m.n;
  put16(priority), put16(2), put16(5060);
  put_name(target);
  end_data(from);
}

static void put_text(const char *text) {
  put8((unsigned)strlen(text));
  while (*text) put8((unsigned char)*text++);
}

static void put_naptr(const char *owner, const char *flags, const char *service, const char *regexp,
                      const char *to) {
  head(owner, TL_DNS_NAPTR, 60, 0);
  size_t from = m.n;
  put16(10), put16(20);
  put_text(flags), put_text(service), put_text(regexp);
  put_name(to);
  end_data(from);
}

/* The message lies at the end of its memory, so that a byte too far is seen. */
static int read_it(uint16_t type, struct tl_dns_answer **out) {
  uint8_t *p = malloc(m.n ? m.n : 1);
  memcpy(p, m.p, m.n);
  *out = NULL;
  int rc = tl_dns_read(p, m.n, ASKED, type, out);
  free(p);
  return rc;
}

static struct tl_dns_answer *reads(uint16_t type, enum tl_dns_status status, size_t n,
                                   uint32_t ttl_s) {
  struct tl_dns_answer *a;
  int rc = read_it(type, &a);
  cr_assert_eq(rc, 0, "%s", tl_strerror(rc));
  cr_assert_eq(a->status, status, "status %d", a->status);
  cr_assert_eq(a->n, n, "%zu records", a->n);
  cr_assert_eq(a->ttl_s, ttl_s, "ttl %u", a->ttl_s);
  return a;
}

static void refuses(uint16_t type, int want, const char *what) {
  struct tl_dns_answer *a;
  int rc = read_it(type, &a);
  cr_assert_eq(rc, want, "%s: %s", what, tl_strerror(rc));
  free(a);
}

/* ---- what counts ---- */

Test(dns_read, s9_records_of_each_kind) {
  begin(TL_DNS_SRV);
  put_srv("*12", 60, 7, "host.example");
  put_srv(ASKED, 30, 8, "");
  struct tl_dns_answer *a = reads(TL_DNS_SRV, TL_DNS_FOUND, 2, 30);
  cr_assert_eq(a->at[0].priority, 7);
  cr_assert_eq(a->at[0].weight, 2);
  cr_assert_eq(a->at[0].port, 5060);
  cr_assert_str_eq(a->at[0].name, "host.example");
  cr_assert_str_eq(a->at[1].name, ".");
  free(a);
  begin(TL_DNS_NAPTR);
  put_naptr("*12", "s", "SIPS+D2T", "", "_sips._tcp.q.example");
  put_naptr("*12", "s", "a service with a long name", "!a!b!", "");
  a = reads(TL_DNS_NAPTR, TL_DNS_FOUND, 2, 60);
  cr_assert_str_eq(a->at[0].flags, "s");
  cr_assert_str_eq(a->at[0].service, "SIPS+D2T");
  cr_assert_str_eq(a->at[0].name, "_sips._tcp.q.example");
  cr_assert_not(a->at[0].rewrites);
  cr_assert_str_eq(a->at[1].service, "");
  cr_assert(a->at[1].rewrites);
  free(a);
  begin(TL_DNS_AAAA);
  head("*12", TL_DNS_AAAA, 5, 16);
  for (unsigned i = 0; i < 16; i++) put8(i);
  a = reads(TL_DNS_AAAA, TL_DNS_FOUND, 1, 5);
  cr_assert_eq(a->at[0].addr.v6.sin6_addr.s6_addr[15], 15);
  free(a);
}

Test(dns_read, s9_aliases_are_followed_in_any_order) {
  begin(TL_DNS_A);
  put_a("end.example", 60, 0xc0000201);
  put_alias("middle.example", 20, "end.example");
  put_alias("*12", 40, "middle.example");
  struct tl_dns_answer *a = reads(TL_DNS_A, TL_DNS_FOUND, 1, 20);
  cr_assert_eq(a->at[0].addr.v4.sin_addr.s_addr, htonl(0xc0000201));
  free(a);
}

Test(dns_read, s9_records_of_other_owners_do_not_count) {
  begin(TL_DNS_A);
  put_a("bank.example", 1, 0xcb007101);
  put_a("*12", 60, 0xc0000201);
  put_alias("elsewhere.example", 1, "bank.example");
  put_a("x.q.example", 1, 0xcb007102);
  struct tl_dns_answer *a = reads(TL_DNS_A, TL_DNS_FOUND, 1, 60);
  cr_assert_eq(a->at[0].addr.v4.sin_addr.s_addr, htonl(0xc0000201));
  free(a);
  begin(TL_DNS_SRV);
  put_srv("_sip._tcp.other.example", 1, 1, "evil.example");
  put_srv("*12", 60, 5, "good.example");
  a = reads(TL_DNS_SRV, TL_DNS_FOUND, 1, 60);
  cr_assert_str_eq(a->at[0].name, "good.example");
  free(a);
  begin(TL_DNS_NAPTR);
  put_naptr("other.example", "s", "SIP+D2T", "", "_sip._tcp.evil.example");
  free(reads(TL_DNS_NAPTR, TL_DNS_NONE, 0, 10));
}

/* Authority and additional sections say nothing that was asked for. */
Test(dns_read, s9_other_sections_do_not_count) {
  begin(TL_DNS_A);
  put_a("*12", 60, 0xcb007101);
  m.p[7] = 0;
  m.p[11] = 1;
  free(reads(TL_DNS_A, TL_DNS_NONE, 0, 10));
}

Test(dns_read, s9_time_of_an_answer) {
  begin(TL_DNS_A);
  put_a("*12", 0x80000000u, 1); /* RFC 2181 8 */
  free(reads(TL_DNS_A, TL_DNS_FOUND, 1, 0));
  begin(TL_DNS_A);
  put_a("*12", 0x7fffffffu, 1);
  free(reads(TL_DNS_A, TL_DNS_FOUND, 1, 86400));
  begin(TL_DNS_A);
  put_a("*12", 0, 1);
  free(reads(TL_DNS_A, TL_DNS_FOUND, 1, 0));
}

/* RFC 2308: how long there is no such name the SOA of its zone says, and of no other. */
Test(dns_read, s9_time_of_no_answer) {
  static const struct {
    const char *zone;
    uint32_t ttl_s, minimum_s, want;
  } soa[] = {{"example", 60, 30, 30},      {"example", 20, 30, 20}, {"", 60, 30, 30},
             {"example", 9000, 9000, 300}, {"ample", 60, 30, 10},   {"a.q.example", 60, 30, 10}};
  for (size_t i = 0; i < sizeof(soa) / sizeof(soa[0]); i++) {
    begin(TL_DNS_A);
    head(soa[i].zone, TL_DNS_SOA, soa[i].ttl_s, 22);
    put8(0), put8(0);
    for (int k = 0; k < 5; k++) put32(k == 4 ? soa[i].minimum_s : 1);
    m.p[3] |= 3;
    m.p[7] = 0;
    m.p[9] = 1;
    free(reads(TL_DNS_A, TL_DNS_NONE, 0, soa[i].want));
  }
}

Test(dns_read, s9_codes_of_the_answer) {
  begin(TL_DNS_A);
  m.p[3] = 0x82;
  free(reads(TL_DNS_A, TL_DNS_FAILED, 0, 0));
  m.p[3] = 0x85;
  free(reads(TL_DNS_A, TL_DNS_FAILED, 0, 0));
  m.p[3] = 0x81;
  refuses(TL_DNS_A, TL_ENOTSUP, "format error");
  m.n = 12;
  m.p[5] = 0;
  refuses(TL_DNS_A, TL_ENOTSUP, "format error without the question");
}

Test(dns_read, s9_many_records_are_bounded) {
  begin(TL_DNS_A);
  for (uint32_t i = 0; i < 400; i++) put_a("*12", 60, i);
  free(reads(TL_DNS_A, TL_DNS_FOUND, TL_DNS_RECORDS_MAX, 60));
}

/* ---- what is refused ---- */

Test(dns_read, s9_answers_to_another_question) {
  static const struct {
    size_t at;
    uint8_t value;
    int rc;
    const char *what;
  } change[] = {
      {2, 0x01, TL_ESYNTAX, "a question"},     {2, 0xa9, TL_ESYNTAX, "another operation"},
      {2, 0x83, TL_ELARGE, "cut off"},         {5, 0, TL_ESYNTAX, "no question"},
      {5, 2, TL_ESYNTAX, "two questions"},     {13, 'r', TL_ESYNTAX, "another name"},
      {13, 'q', TL_EVERIFY, "another letter"}, {16, 'y', TL_ESYNTAX, "another name"},
      {12, 2, TL_ESYNTAX, "another label"},    {24, 28, TL_ESYNTAX, "another type"},
      {26, 3, TL_ESYNTAX, "another class"},
  };
  begin(TL_DNS_A);
  put_a("*12", 60, 1);
  free(reads(TL_DNS_A, TL_DNS_FOUND, 1, 60));
  for (size_t i = 0; i < sizeof(change) / sizeof(change[0]); i++) {
    uint8_t was = m.p[change[i].at];
    m.p[change[i].at] = change[i].value;
    refuses(TL_DNS_A, change[i].rc, change[i].what);
    m.p[change[i].at] = was;
  }
}

Test(dns_read, s9_every_cut_is_refused) {
  begin(TL_DNS_NAPTR);
  put_alias("*12", 60, "real.example");
  put_naptr("real.example", "s", "SIP+D2T", "", "_sip._tcp.q.example");
  size_t whole = m.n;
  free(reads(TL_DNS_NAPTR, TL_DNS_FOUND, 1, 60));
  for (m.n = 0; m.n < whole; m.n++) refuses(TL_DNS_NAPTR, TL_ESYNTAX, "a piece");
}

static void loops(void) { put_a("*27", 60, 1); } /* the record begins there */
static void forward(void) { put_a("*40", 60, 1), put_a("*12", 60, 1); }
static void into_the_head(void) { put_a("*4", 60, 1); }
static void beyond(void) { put_a("*16000", 60, 1); }
static void long_label(void) { put8(64), head("", TL_DNS_A, 60, 4), put32(1); }
static void short_address(void) { head("*12", TL_DNS_A, 60, 3), put16(1), put8(1); }
static void long_address(void) { head("*12", TL_DNS_A, 60, 5), put32(1), put8(1); }
static void data_beyond(void) { head("*12", TL_DNS_A, 60, 400), put32(1); }
static void fewer_records(void) { put_a("*12", 60, 1), m.p[7] = 2; }

static void long_name(void) {
  for (int i = 0; i < 140; i++) put8(1), put8('a');
  put_a("", 60, 1);
}

/* A pointer to a pointer to a pointer ...: each may be right, together they cost time. */
static void pointers(void) {
  head("x.example", 99, 60, 0);
  size_t from = m.n;
  put16(0xc00c);
  for (int i = 0; i < 100; i++) put16(0xc000u | (unsigned)(m.n - 2));
  end_data(from);
  char owner[16];
  snprintf(owner, sizeof(owner), "*%zu", m.n - 2);
  put_a(owner, 60, 1);
}

static void alias_of_itself(void) { put_alias("*12", 60, ASKED); }
static void aliases_in_a_ring(void) {
  put_alias("*12", 60, "a.example");
  put_alias("a.example", 60, "b.example");
  put_alias("b.example", 60, "a.example");
}
static void alias_with_rest(void) {
  put_alias("*12", 60, "a.example");
  put8(0);
  end_data(m.n - 12);
}

Test(dns_read, s9_broken_addresses) {
  static const struct {
    void (*put)(void);
    const char *what;
  } broken[] = {{loops, "a name that points to itself"},
                {forward, "a name that points forward"},
                {into_the_head, "a name in the header"},
                {beyond, "a name behind the end"},
                {long_label, "a label of 64"},
                {long_name, "a name over 255"},
                {pointers, "a hundred pointers"},
                {short_address, "three bytes"},
                {long_address, "five bytes"},
                {data_beyond, "data behind the end"},
                {fewer_records, "a record that is not there"},
                {alias_of_itself, "an alias of itself"},
                {aliases_in_a_ring, "aliases in a ring"},
                {alias_with_rest, "an alias with bytes behind it"}};
  for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
    begin(TL_DNS_A);
    broken[i].put();
    if (!m.p[7]) m.p[7] = 1;
    refuses(TL_DNS_A, TL_ESYNTAX, broken[i].what);
  }
}

Test(dns_read, s9_broken_services) {
  begin(TL_DNS_SRV);
  head("*12", TL_DNS_SRV, 60, 6), put16(1), put16(1), put16(1);
  refuses(TL_DNS_SRV, TL_ESYNTAX, "SRV without a target");
  begin(TL_DNS_SRV);
  head("*12", TL_DNS_SRV, 60, 8), put16(1), put16(1), put16(1), put16(0xffff);
  refuses(TL_DNS_SRV, TL_ESYNTAX, "SRV whose target points behind the end");
  begin(TL_DNS_SRV);
  put_srv("*12", 60, 1, "a.example"), m.p[m.n++] = 0, m.p[38]++;
  refuses(TL_DNS_SRV, TL_ESYNTAX, "SRV with bytes behind its target");
  begin(TL_DNS_NAPTR);
  head("*12", TL_DNS_NAPTR, 60, 6), put16(1), put16(1), put8(200), put8('s');
  refuses(TL_DNS_NAPTR, TL_ESYNTAX, "NAPTR whose flags reach behind the record");
  begin(TL_DNS_NAPTR);
  head("*12", TL_DNS_NAPTR, 60, 7), put16(1), put16(1), put8(0), put8(0), put8(0);
  refuses(TL_DNS_NAPTR, TL_ESYNTAX, "NAPTR without a replacement");
  begin(TL_DNS_NAPTR);
  head("*12", TL_DNS_NAPTR, 60, 3), put16(1), put8(1);
  refuses(TL_DNS_NAPTR, TL_ESYNTAX, "NAPTR of three bytes");
}

/* The answer that wrote outside of a buffer of the resolver before. */
Test(dns_read, s9_answer_that_ended_the_process) {
  FILE *f = fopen("tests/data/dns-answer.hex", "r");
  unsigned byte;
  cr_assert(f);
  for (m.n = 0; fscanf(f, "%2x", &byte) == 1;) m.p[m.n++] = (uint8_t)byte;
  fclose(f);
  cr_assert_eq(m.n, 832);
  struct tl_dns_answer *a = NULL;
  int rc = tl_dns_read(m.p, m.n, "x278.h.example", TL_DNS_NAPTR, &a);
  cr_assert_eq(rc, TL_ESYNTAX);
}
