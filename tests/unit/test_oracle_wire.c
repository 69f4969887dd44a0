/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves, against Sofia-SIP as the next hop on a stream: behind every
 * message that we pass on it finds where the next one begins, and reads the same
 * Call-ID, CSeq and Content-Length. The messages are those of
 * tests/data/tricks.txt and mutations of them with a fixed seed.
 */
#include <criterion/criterion.h>
#include <sofia-sip/msg.h>
#include <sofia-sip/msg_addr.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/edit.h"

#define LINES "Max-Forwards: 70\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\n"
#define MESSAGE_TO(via, id)                                                                        \
  "MESSAGE sip:x@b.example SIP/2.0\r\n" via LINES "Call-ID: " id "\r\nCSeq: 1 MESSAGE\r\n"
#define VIA "Via: SIP/2.0/TCP a.example;branch=z9hG4bKt;rport\r\n"

static const char fields[] = VIA LINES "Call-ID: t\r\nCSeq: 1 MESSAGE\r\n";
static const char inside[] = MESSAGE_TO(VIA, "inside") "Content-Length: 0\r\n\r\n";
static const char behind[] = MESSAGE_TO(VIA, "behind") "Content-Length: 0\r\n\r\n";

struct buf {
  char p[8192];
  size_t n;
};

static void put(struct buf *b, const char *p, size_t n) {
  cr_assert_lt(b->n + n, sizeof(b->p));
  memcpy(b->p + b->n, p, n);
  b->n += n;
}

static void put_c(struct buf *b, const char *s) { put(b, s, strlen(s)); }

/* One slot or escape of the table; returns how many characters it was. */
static size_t put_slot(struct buf *b, const char *s) {
  char number[16];
  unsigned byte;
  if (s[0] == '\\' && s[1] == 'x') {
    cr_assert_eq(sscanf(s + 2, "%2x", &byte), 1);
    put(b, &(char){(char)byte}, 1);
    return 4;
  }
  static const char *const escape[128] = {['n'] = "\r\n", ['l'] = "\n", ['r'] = "\r", ['t'] = "\t"};
  static const char *const slot[128] = {['R'] = "MESSAGE sip:x@b.example SIP/2.0\r\n",
                                        ['V'] = VIA,
                                        ['H'] = fields,
                                        ['F'] = LINES,
                                        ['I'] = "t",
                                        ['S'] = "1 MESSAGE",
                                        ['U'] = "sip:x@b.example",
                                        ['E'] = inside};
  snprintf(number, sizeof(number), "%zu", sizeof(inside) - 1);
  if (s[0] == '\\' && s[1] == '0')
    put(b, "", 1);
  else if (s[0] == '%' && s[1] == 'L')
    put_c(b, number);
  else
    put_c(b, (s[0] == '%' ? slot : escape)[(unsigned char)s[1] & 127]);
  return 2;
}

static void expand(const char *text, struct buf *out) {
  out->n = 0;
  while (*text && *text != '\n') {
    if (*text == '%' || *text == '\\')
      text += put_slot(out, text);
    else
      put(out, text++, 1);
  }
}

/* ---- Sofia as it reads a stream ---- */

struct seen {
  char call_id[256];
  unsigned long cseq, length;
  bool bad;
};

static void look(const sip_t *sip, struct seen *s) {
  s->bad = !sip || !sip->sip_call_id || !sip->sip_cseq || !sip->sip_content_length;
  if (s->bad) return;
  snprintf(s->call_id, sizeof(s->call_id), "%s", sip->sip_call_id->i_id);
  s->cseq = sip->sip_cseq->cs_seq;
  s->length = sip->sip_content_length->l_length;
}

/* The messages in the N bytes at P, at most MAX; -1 when some bytes are left over or make none. */
static int read_stream(const char *p, size_t n, struct seen *out, int max) {
  msg_iovec_t iov[8];
  int found = 0, rc;
  msg_t *msg = msg_create(sip_default_mclass(), MSG_DO_EXTRACT_COPY);
  isize_t parts = (isize_t)msg_recv_iovec(msg, iov, 8, n, 1);
  for (isize_t i = 0, at = 0; i < parts; i++) {
    memcpy(iov[i].mv_base, p + at, iov[i].mv_len);
    at += iov[i].mv_len;
  }
  msg_recv_commit(msg, n, 1);
  while ((rc = msg_extract(msg)) > 0 && found < max) {
    look(sip_object(msg), &out[found++]);
    msg_t *next = msg_next(msg);
    msg_destroy(msg);
    msg = next;
    if (!msg) break;
  }
  if (msg) msg_destroy(msg);
  return rc < 0 ? -1 : found;
}

/* ---- one message ---- */

static unsigned accepted, failures;

static void leave(const struct tl_msg *m, struct buf *wire) {
  struct tl_edit e;
  tl_edit_init(&e, m);
  tl_edit_insert_lines(&e, m->first[TL_H_VIA],
                       TL_STR("Via: SIP/2.0/TCP us.example;branch=z9hG4bKus\r\n"));
  cr_assert_eq(e.err, 0);
  cr_assert_lt(tl_edit_len(&e), sizeof(wire->p));
  wire->n = tl_edit_write(&e, wire->p);
  put(wire, m->p + m->head_len, m->body_len);
  put(wire, behind, sizeof(behind) - 1);
}

static void judge(const struct buf *text, bool stream) {
  static struct tl_msg m;
  static struct buf wire;
  struct tl_scan_error err;
  struct seen seen[4];
  const char *p = text->p, *end = p + text->n;
  while (end - p > 1 && memcmp(p, "\r\n", 2) == 0) p += 2; /* between messages: not the scanner's */
  size_t n_in = (size_t)(end - p);
  if (tl_scan(p, n_in, stream, 65536, &m, &err) || m.head_len + m.body_len > n_in) return;
  accepted++;
  leave(&m, &wire);
  int n = read_stream(wire.p, wire.n, seen, 4);
  if (n == 2 && !seen[0].bad && !seen[1].bad && seen[0].length == m.body_len &&
      seen[0].cseq == m.cseq && tl_str_eq(m.call_id, tl_str_c(seen[0].call_id)) &&
      strcmp(seen[1].call_id, "behind") == 0)
    return;
  if (failures++ < 10)
    fprintf(stderr, "--- Sofia reads %d messages%s in\n%.*s\n", n,
            n > 0 && seen[0].bad ? ", a bad one," : "", (int)wire.n, wire.p);
}

static uint32_t seed = 3261;
static uint32_t rnd(uint32_t below) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % below;
}

static const char *const pieces[] = {"\r\n ",
                                     "\r\n\t",
                                     "\r\n",
                                     " ",
                                     "\t",
                                     "0",
                                     "5",
                                     ":",
                                     ";",
                                     ",",
                                     "\"",
                                     "\\",
                                     "\r",
                                     "\n",
                                     "l: 0\r\n",
                                     "Content-Length: 0\r\n",
                                     "Content-Length:",
                                     "X: y\r\n",
                                     "\r\n Content-Length: 0\r\n",
                                     "sip/2.0",
                                     "a"};

static void mutate(struct buf *b) {
  const char *ins = pieces[rnd(sizeof(pieces) / sizeof(pieces[0]))];
  size_t at = rnd((uint32_t)b->n + 1), del = rnd(3), n = strlen(ins);
  if (del > b->n - at) del = b->n - at;
  memmove(b->p + at + n, b->p + at + del, b->n - at - del);
  memcpy(b->p + at, ins, n);
  b->n = b->n - del + n;
}

/* The fourth column of LINE, NULL for a comment; *OUT_PASSES: it is passed on some way. */
static const char *column(const char *line, bool *out_passes) {
  const char *first = strstr(line, " | ");
  if (line[0] == '#' || !first) return NULL;
  const char *second = strstr(first + 3, " | "), *third = strstr(second + 3, " | ");
  *out_passes = first[3] == '=' || second[3] == '=';
  return third + 3;
}

Test(oracle_wire, s5_sofia_reads_what_leaves_as_we_do) {
  static struct buf text, mutant;
  char line[1024];
  unsigned tricks = 0;
  bool passes;
  FILE *f = fopen("tests/data/tricks.txt", "r");
  cr_assert_not_null(f);
  while (fgets(line, sizeof(line), f)) {
    const char *trick = column(line, &passes);
    if (!trick) continue;
    tricks++;
    expand(trick, &text);
    unsigned before = accepted;
    judge(&text, true);
    judge(&text, false);
    cr_expect_eq(accepted > before, passes, "%s", line);
    for (unsigned i = 0; i < 3000; i++) {
      mutant = text;
      for (unsigned k = rnd(3) + 1; k; k--) mutate(&mutant);
      judge(&mutant, rnd(2));
    }
  }
  fclose(f);
  cr_expect_geq(tricks, 60u);
  cr_expect_geq(accepted, 20000u);
  cr_expect_eq(failures, 0, "%u messages are read differently", failures);
  fprintf(stderr, "oracle: %u messages passed on and read\n", accepted);
}
