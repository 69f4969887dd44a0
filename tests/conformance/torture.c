/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 49 messages of RFC 4475 against the scanner, as datagrams and as streams,
 * and what a proxy needs from the valid ones. Usage: torture DIRECTORY, where
 * NAME.dat are the messages by the names of the RFC.
 *
 * What the daemon does with them on its sockets is the flow tests' subject.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/edit.h"
#include "tieline/uri.h"

static struct tl_msg m;
static struct tl_scan_error err;
static char text[1 << 16];
static size_t len;
static unsigned passed, failed;
static bool ok;

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void wrong(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  printf("    ");
  vprintf(format, ap);
  printf("\n");
  va_end(ap);
  ok = false;
}

#define EXPECT(x)                                                                                  \
  do {                                                                                             \
    if (!(x)) wrong("not so: %s", #x);                                                             \
  } while (0)
#define IS(slice, literal) tl_str_eq(slice, TL_STR(literal))

/* --- what the RFC says about single messages -------------------------------------------------- */

static void wsinv(void) {
  EXPECT(m.method == TL_M_INVITE && m.cseq == 9 && m.max_forwards == 68);
  EXPECT(IS(m.uri, "sip:vivekg@chair-dnrc.example.com;unknownparam"));
  EXPECT(IS(m.from_tag, "98asjd8") && IS(m.to_tag, "1918181833n"));
  EXPECT(IS(m.via.host, "192.0.2.2") && IS(m.via.branch, "390skdjuw") &&
         IS(m.via.transport, "UDP"));
  EXPECT(m.hdr[m.first[TL_H_VIA]].next != TL_HDR_NONE && m.body_len == 150);
}

static void intmeth(void) {
  EXPECT(m.method == TL_M_OTHER && m.max_forwards == 255 && m.cseq == 139122385);
  EXPECT(IS(m.method_name, "!interesting-Method0123456789_*+`.%indeed'~"));
  EXPECT(IS(m.via.branch, "z9hG4bK-.!%66*_+`'~") && IS(m.from_tag, "_token~1'+`*%!-."));
}

static void esc01(void) { EXPECT(IS(m.uri, "sip:sips%3Auser%40example.com@example.net")); }

static void esc02(void) {
  EXPECT(m.method == TL_M_OTHER && IS(m.method_name, "RE%47IST%45R"));
  uint16_t i = m.first[TL_H_CONTACT];
  EXPECT(i != TL_HDR_NONE && m.hdr[i].next != TL_HDR_NONE);
  EXPECT(m.hdr[m.hdr[i].next].next == TL_HDR_NONE); /* C%6Fntact is another header */
}

static void dblreq(void) {
  size_t at = m.head_len + m.body_len;
  EXPECT(m.method == TL_M_REGISTER && at < len);
  while (at < len && (text[at] == '\r' || text[at] == '\n')) at++;
  EXPECT(tl_scan(text + at, len - at, true, sizeof(text), &m, &err) == 0);
  EXPECT(m.method == TL_M_INVITE);
}

static void semiuri(void) {
  struct tl_uri u;
  EXPECT(tl_uri_parse(m.uri, &u) == 0 && IS(u.user, "user;par=u%40example.net"));
  EXPECT(IS(u.host, "example.com") && u.params.n == 0);
}

static void transports(void) {
  static const char *const name[] = {"UDP", "SCTP", "TLS", "UNKNOWN", "TCP"};
  unsigned n = 0;
  for (uint16_t i = m.first[TL_H_VIA]; i != TL_HDR_NONE; i = m.hdr[i].next, n++) {
    struct tl_via via;
    size_t used;
    EXPECT(n < 5 && tl_via_parse(tl_hdr_value(&m, i), &via, &used) == 0);
    EXPECT(n < 5 && tl_str_eq(via.transport, tl_str_c(name[n])));
  }
  EXPECT(n == 5);
}

static void unreason(void) { EXPECT(m.status == 200 && m.reason.n > 40); }
static void noreason(void) { EXPECT(m.status == 100 && m.reason.n == 0); }
static void mpart01(void) { EXPECT(tl_msg_has(&m, TL_H_IDENTITY) && m.body_len == 553); }
static void badbranch(void) { EXPECT(IS(m.via.branch, "z9hG4bK")); }
static void zeromf(void) { EXPECT(m.max_forwards == 0); }
static void bcast(void) { EXPECT(m.status == 200 && IS(m.via.host, "192.0.2.198")); }
static void inv2543(void) { EXPECT(m.via.branch.n == 0 && m.max_forwards == -1); }

static void other_scheme(void) {
  struct tl_uri u;
  EXPECT(tl_uri_parse(m.uri, &u) == 0 && u.scheme == TL_SCHEME_OTHER); /* 416 in the proxy */
}

static void bext01(void) {
  EXPECT(IS(tl_msg_header(&m, TL_H_PROXY_REQUIRE),
            "noProxiesSupportThis, norDoAnyProxiesSupportThis"));
}

/* --- the table ---------------------------------------------------------------------------------
 */

/* 0: valid. WAIT: a stream cannot tell yet, the body is missing. */
#define WAIT 1

static const struct message {
  const char *section, *name;
  unsigned datagram, stream; /* 0, WAIT, or the status of the refusal */
  void (*more)(void);
} table[] = {
    {"3.1.1.1", "wsinv", 0, 0, wsinv},
    /* has an escaped NUL in a quoted string: the one place where NUL is legal */
    {"3.1.1.2", "intmeth", 0, 0, intmeth},
    {"3.1.1.3", "esc01", 0, 0, esc01},
    {"3.1.1.4", "escnull", 0, 0, NULL},
    {"3.1.1.5", "esc02", 0, 0, esc02},
    {"3.1.1.6", "lwsdisp", 0, 0, NULL},
    {"3.1.1.7", "longreq", 0, 0, NULL},
    {"3.1.1.8", "dblreq", 0, 0, dblreq},
    {"3.1.1.9", "semiuri", 0, 0, semiuri},
    {"3.1.1.10", "transports", 0, 0, transports},
    {"3.1.1.11", "mpart01", 0, 0, mpart01},
    {"3.1.1.12", "unreason", 0, 0, unreason},
    {"3.1.1.13", "noreason", 0, 0, noreason},

    {"3.1.2.1", "badinv01", 400, 400, NULL},
    /* more announced than sent: refused where the end is known */
    {"3.1.2.2", "clerr", 400, WAIT, NULL},
    {"3.1.2.3", "ncl", 400, 400, NULL},
    {"3.1.2.4", "scalar02", 400, 400, NULL},
    {"3.1.2.5", "scalarlg", 400, 400, NULL}, /* a response: dropped */
    {"3.1.2.6", "quotbal", 400, 400, NULL},
    {"3.1.2.7", "ltgtruri", 400, 400, NULL},
    /* choice: 8 to 11 could be repaired; the start line is where we never guess */
    {"3.1.2.8", "lwsruri", 400, 400, NULL},
    {"3.1.2.9", "lwsstart", 400, 400, NULL},
    {"3.1.2.10", "trws", 400, 400, NULL},
    {"3.1.2.11", "escruri", 400, 400, NULL},
    /* choice: Date is not for a proxy to judge, it goes through untouched */
    {"3.1.2.12", "baddate", 0, 0, NULL},
    /* choice: Contact is the registrar's */
    {"3.1.2.13", "regbadct", 0, 0, NULL},
    /* choice: white space inside <> in To is refused, not skipped */
    {"3.1.2.14", "badaspec", 400, 400, NULL},
    /* choice: no guess at what an unquoted comma in From meant */
    {"3.1.2.15", "baddn", 400, 400, NULL},
    {"3.1.2.16", "badvers", 505, 505, NULL},
    {"3.1.2.17", "mismatch01", 400, 400, NULL},
    {"3.1.2.18", "mismatch02", 400, 400, NULL},
    {"3.1.2.19", "bigcode", 400, 400, NULL}, /* a response: dropped */

    /* the magic cookie and nothing else: a branch that is not unique, seen by the proxy */
    {"3.2.1", "badbranch", 0, 0, badbranch},

    {"3.3.1", "insuf", 400, 400, NULL},
    {"3.3.2", "unkscm", 0, 0, other_scheme},
    {"3.3.3", "novelsc", 0, 0, other_scheme},
    {"3.3.4", "unksm2", 0, 0, NULL},
    {"3.3.5", "bext01", 0, 0, bext01},
    {"3.3.6", "invut", 0, 0, NULL},
    {"3.3.7", "regaut01", 0, 0, NULL},
    {"3.3.8", "multi01", 400, 400, NULL},
    {"3.3.9", "mcl01", 400, 400, NULL},
    {"3.3.10", "bcast", 0, 0, bcast},
    {"3.3.11", "zeromf", 0, 0, zeromf},
    {"3.3.12", "cparam01", 0, 0, NULL},
    {"3.3.13", "cparam02", 0, 0, NULL},
    {"3.3.14", "regescrt", 0, 0, NULL},
    {"3.3.15", "sdp01", 0, 0, NULL},

    /* no Content-Length: fine where the datagram ends it, impossible on a stream (18.3) */
    {"3.4.1", "inv2543", 0, 400, inv2543},
};

static bool load(const char *dir, const char *name) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  len = fread(text, 1, sizeof(text), f);
  fclose(f);
  /* the package holds this one without its empty line */
  if (strcmp(name, "baddn") == 0 && len > 4 && memcmp(text + len - 4, "\r\n\r\n", 4) != 0) {
    memcpy(text + len, "\r\n", 2);
    len += 2;
  }
  return len > 0;
}

/* A message that is not changed comes out as it went in, or in its plain form, which says the same.
 */
static void untouched(void) {
  static char out[sizeof(text)];
  static struct tl_msg again;
  struct tl_edit e;
  tl_edit_init(&e, &m);
  size_t n = tl_edit_len(&e);
  EXPECT(tl_edit_write(&e, out) == n);
  if (!m.rewrite) EXPECT(n == m.head_len && memcmp(out, text, n) == 0);
  EXPECT(tl_scan(out, n, true, sizeof(out), &again, &err) == 0 && again.rewrite == 0);
  EXPECT(again.body_len == m.body_len && again.cseq == m.cseq);
  EXPECT(tl_str_eq(again.call_id, m.call_id));
}

static void check(const struct message *t, bool stream) {
  const char *how = stream ? "stream" : "datagram";
  unsigned want = stream ? t->stream : t->datagram;
  int rc = tl_scan(text, len, stream, sizeof(text), &m, &err);
  if (want == WAIT) {
    if (rc || m.head_len + m.body_len <= len) wrong("%s: does not wait for the body", how);
  } else if (want) {
    if (rc != TL_ESYNTAX || err.status != want)
      wrong("%s: %u '%s', not %u", how, err.status, err.reason, want);
  } else if (rc) {
    wrong("%s: refused, %u '%s'", how, err.status, err.reason);
  } else {
    if (m.head_len + m.body_len > len) wrong("%s: longer than it is", how);
    untouched();
    if (t->more) t->more();
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: torture DIRECTORY\n");
    return 2;
  }
  for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
    const struct message *t = &table[i];
    ok = true;
    if (load(argv[1], t->name)) {
      check(t, false);
      check(t, true);
    } else {
      wrong("cannot be read");
    }
    printf("%s RFC 4475 %s %s\n", ok ? "ok  " : "FAIL", t->section, t->name);
    ok ? passed++ : failed++;
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed != 0;
}
