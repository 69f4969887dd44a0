/* SPDX-License-Identifier: Apache-2.0 */
/* Messages out of a stream: wherever it is cut, whatever is in it (RFC 3261 18.3, RFC 5626 3.5.1).
 */
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"

TestSuite(net_frame, .timeout = 30);

struct stream {
  char p[400000];
  size_t n, at[64], len[64]; /* messages: where they begin, their length */
  unsigned count;
};

static void put(struct stream *s, const char *text) {
  memcpy(s->p + s->n, text, strlen(text));
  s->n += strlen(text);
}

static void put_message(struct stream *s, size_t body) {
  s->at[s->count] = s->n;
  s->len[s->count] = rig_message(s->p + s->n, s->count, body);
  s->n += s->len[s->count++];
}

static void expect_messages(const struct stream *s, unsigned from) {
  cr_assert_eq(rig.n_got - from, s->count);
  for (unsigned i = 0; i < s->count; i++) {
    const struct rig_got *g = &rig.got[from + i];
    cr_assert(g->n == s->len[i] && memcmp(g->p, s->p + s->at[i], g->n) == 0, "message %u", i);
  }
}

static struct stream mixed;

/* Keep-alives, a bare CRLF, messages with and without a body. */
static void make_mixed(void) {
  mixed.n = mixed.count = 0;
  put(&mixed, "\r\n\r\n");
  put_message(&mixed, 40);
  put(&mixed, "\r\n");
  put_message(&mixed, 0);
  put_message(&mixed, 3);
  put(&mixed, "\r\n\r\n\r\n");
  put_message(&mixed, 17);
  put(&mixed, "\r\n\r\n");
}

Test(net_frame, cut_in_two_anywhere_it_says_the_same) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  make_mixed();
  for (size_t cut = 1; cut < mixed.n; cut++) {
    char pongs[6];
    rig_forget();
    uint64_t in = c->kept.bytes_in;
    rig_write(fd, mixed.p, cut);
    RIG_UNTIL(c->kept.bytes_in == in + cut);
    rig_write(fd, mixed.p + cut, mixed.n - cut);
    RIG_UNTIL(c->kept.bytes_in == in + mixed.n);
    expect_messages(&mixed, 0);
    rig_read(fd, pongs, sizeof(pongs));
    cr_assert(memcmp(pongs, "\r\n\r\n\r\n", 6) == 0);
    cr_assert(!c->kept.plain.p || c->kept.plain.n == 0, "%u bytes kept behind the last message",
              c->kept.plain.n);
  }
  cr_expect(rig_quiet(fd));
  cr_expect_eq(rig_count(TL_C_KEEPALIVE), 3 * (mixed.n - 1));
  close(fd);
  net_end();
}

Test(net_frame, byte_by_byte_it_says_the_same) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  make_mixed();
  for (size_t i = 0; i < mixed.n; i++) {
    rig_write(fd, mixed.p + i, 1);
    RIG_UNTIL(c->kept.bytes_in == i + 1);
  }
  expect_messages(&mixed, 0);
  close(fd);
  net_end();
}

Test(net_frame, many_messages_in_one_segment_keep_their_order) {
  static struct stream s;
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  for (int i = 0; i < 40; i++) put_message(&s, (size_t)i * 13);
  rig_write(fd, s.p, s.n);
  RIG_UNTIL(c->kept.bytes_in == s.n);
  expect_messages(&s, 0);
  close(fd);
  net_end();
}

/* One more message was handled, and its answer lost. */
Test(net_frame, nothing_is_handled_behind_a_keep_alive_that_broke_the_connection) {
  static struct stream s;
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  struct tl_pool *chunks = &rig.net->chunks;
  void *held = tl_pool_get(chunks);
  chunks->max = chunks->used; /* no memory for the answer to it */
  rig.starved = true;
  put(&s, "\r\n\r\n");
  put_message(&s, 5);
  rig_write(fd, s.p, s.n);
  RIG_UNTIL(rig.n_closed == 1);
  cr_expect_eq(rig.closed_rc, TL_ENOMEM);
  cr_expect_eq(rig.n_got, 0);
  chunks->max = 0;
  tl_pool_put(chunks, held);
  close(fd);
  net_end();
}

static const char no_length[] =
    "OPTIONS sip:b@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx\r\n"
    "From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n";

Test(net_frame, item_2_8_without_a_length_it_is_answered_and_closed) {
  struct tl_conn *c;
  char text[16];
  net_begin("");
  rig.answer_bad = true;
  int fd = rig_connect(&c);
  rig_write(fd, no_length, sizeof(no_length) - 1);
  rig_read(fd, text, sizeof(text));
  cr_expect(rig.n_bad == 1 && rig.bad_status == 400);
  rig_read_end(fd);
  cr_expect(rig.n_closed == 1 && rig.n_got == 0);
  cr_expect_eq(rig_count(TL_C_BAD_FRAMING), 1);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}

/* Max-Forwards that is not a number: bad, but its end is certain. */
static const char refused[] =
    "OPTIONS sip:b@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx\r\n"
    "From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: x\r\nContent-Length: 5\r\n\r\nabcde";

Test(net_frame, a_bad_request_with_a_certain_end_is_refused_alone_wherever_it_is_cut) {
  static struct stream s;
  struct tl_conn *c;
  net_begin("");
  rig.answer_bad = true;
  int fd = rig_connect(&c);
  put_message(&s, 5);
  put(&s, refused);
  put_message(&s, 5);
  for (size_t cut = 1; cut < s.n; cut++) {
    char text[16];
    uint64_t in = c->kept.bytes_in;
    rig_forget();
    rig_write(fd, s.p, cut);
    RIG_UNTIL(c->kept.bytes_in == in + cut);
    rig_write(fd, s.p + cut, s.n - cut);
    RIG_UNTIL(c->kept.bytes_in == in + s.n || rig.n_closed);
    cr_assert_eq(rig.n_closed, 0, "closed when cut at %zu", cut);
    cr_assert_eq(rig.n_bad, cut);
    expect_messages(&s, 0);
    rig_read(fd, text, sizeof(text));
  }
  close(fd);
  net_end();
}

Test(net_frame, s6_over_the_limits_it_gets_513_and_is_skipped) {
  static char m[20000], next[600];
  struct tl_conn *c;
  net_begin("limits { max_message = 4k max_head = 2k }");
  size_t n = rig_message(m, 1, 5000), n_next = rig_message(next, 7, 20);
  int fd = rig_connect(&c);
  rig_write(fd, m, n - 5000);
  RIG_UNTIL(rig.n_bad == 1); /* before its body is there */
  cr_expect_eq(rig.bad_status, 513);
  rig_write(fd, m + n - 5000, 5000);
  rig_write(fd, next, n_next);
  RIG_UNTIL(rig.n_got == 1);
  cr_expect(rig.got[0].n == n_next && memcmp(rig.got[0].p, next, n_next) == 0);
  /* A long head, in pieces. */
  size_t at = rig_message(m, 2, 0) - 2;
  while (at < 3500) at += (size_t)sprintf(m + at, "X-Filler: yes\r\n");
  at += (size_t)sprintf(m + at, "\r\n");
  for (size_t i = 0; i < at; i += 700) rig_write(fd, m + i, at - i < 700 ? at - i : 700);
  rig_write(fd, next, n_next);
  RIG_UNTIL(rig.n_got == 2);
  cr_expect_eq(rig.n_bad, 2);
  cr_expect_eq(rig_count(TL_C_BAD_TOO_LARGE), 2);
  cr_expect_eq(rig_count(TL_C_BAD_SKIPPED), 2);
  cr_expect_eq(rig_count(TL_C_BAD_FRAMING), 0);
  close(fd);
  net_end();
}

/* The body of a message whose head is too long is not a message, wherever the stream is cut. */
Test(net_frame, s6_the_body_behind_a_long_head_is_skipped_too) {
  static char m[20000], inner[1200], next[600];
  struct tl_conn *c;
  net_begin("limits { max_message = 4k max_head = 2k }");
  size_t n_inner = rig_message(inner, 9, 30), n_next = rig_message(next, 7, 20);
  size_t at = rig_message(m, 2, 0);
  char *length = strstr(m, "Content-Length: 0");
  cr_assert(length);
  at = (size_t)(length - m);
  while (at < 3000) at += (size_t)sprintf(m + at, "X-Filler: yes\r\n");
  at += (size_t)sprintf(m + at, "Content-Length: %zu\r\n\r\n", n_inner);
  memcpy(m + at, inner, n_inner);
  memcpy(m + at + n_inner, next, n_next);
  size_t n = at + n_inner + n_next;
  static const size_t steps[] = {20000, 3100, 2500, 2049, 2048, 2000, 700, 64};
  for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
    rig_forget();
    int fd = rig_connect(&c);
    for (size_t k = 0; k < n; k += steps[i]) {
      rig_write(fd, m + k, n - k < steps[i] ? n - k : steps[i]);
      rig_settle();
    }
    RIG_UNTIL(rig.n_got == 1);
    rig_settle();
    cr_expect(rig.n_got == 1 && rig.got[0].n == n_next && !memcmp(rig.got[0].p, next, n_next),
              "%u messages by %zu bytes", rig.n_got, steps[i]);
    close(fd);
    RIG_UNTIL(rig.net->n_conn == 0);
  }
  net_end();
}

Test(net_frame, s6_what_never_ends_is_closed) {
  static char m[40000];
  struct tl_conn *c;
  net_begin("limits { max_message = 4k max_head = 2k }");
  int fd = rig_connect(&c); /* a head without end */
  size_t at = rig_message(m, 2, 0) - 2;
  while (at < 9000) at += (size_t)sprintf(m + at, "X-Filler: yes\r\n");
  rig_write(fd, m, at);
  rig_read_end(fd);
  close(fd);
  fd = rig_connect(&c); /* a body that nobody would wait for */
  rig_write(fd, m, rig_message(m, 3, 17000));
  rig_read_end(fd);
  close(fd);
  cr_expect_eq(rig.n_closed, 2);
  cr_expect_eq(rig.n_got, 0);
  net_end();
}

#define HEAD                                                                                       \
  "OPTIONS sip:b@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx\r\n"              \
  "From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
#define TEXT(s) s, sizeof(s) - 1

/* What is wrong with one message, and whether those behind it are still found. */
static const struct {
  const char *name, *text;
  size_t len;
  bool goes_on;
} faults[] = {
    {"NUL in a value", TEXT(HEAD "X: a\0b\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"NUL in a name", TEXT(HEAD "X\0Y: b\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"NUL in the body alone", TEXT(HEAD "Content-Length: 3\r\n\r\na\0c"), true},
    {"bare CR", TEXT(HEAD "X: a\rb\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"bare LF", TEXT(HEAD "X: a\nb\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"bare LF behind a CRLF", TEXT(HEAD "X: a\r\n\nY: b\r\nContent-Length: 3\r\n\r\nabc"), false},
    {"two bare LF", TEXT(HEAD "X: a\n\nContent-Length: 3\r\n\r\nabc"), false},
    {"a length behind a bare LF", TEXT(HEAD "X: a\nl: 1\r\nContent-Length: 3\r\n\r\nabc"), false},
    {"a length behind a bare CR", TEXT(HEAD "X: a\rl : 1\r\nContent-Length: 3\r\n\r\nabc"), false},
    {"the same length there", TEXT(HEAD "X: a\nl: 3\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"all lines end in LF but the last",
     TEXT("OPTIONS sip:b@c SIP/2.0\nVia: x\nContent-Length: 3\r\n\r\nabc"), false},
    {"no length", TEXT(HEAD "\r\n"), false},
    {"two lengths", TEXT(HEAD "Content-Length: 3\r\nl: 4\r\n\r\nabc"), false},
    {"a length of no number", TEXT(HEAD "Content-Length: 3x\r\n\r\nabc"), false},
    {"a length below zero", TEXT(HEAD "Content-Length: -3\r\n\r\nabc"), false},
    {"a length with NUL", TEXT(HEAD "Content-Length: 3\0\r\n\r\nabc"), false},
    {"a header line without colon", TEXT(HEAD "X\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"a fold of white space", TEXT(HEAD "X: a\r\n \r\nContent-Length: 3\r\n\r\nabc"), true},
    {"a length in a fold", TEXT(HEAD "X:\0\r\n l: 1\r\nContent-Length:\r\n 3\r\n\r\nabc"), true},
    {"no SIP", TEXT("FOO\r\nContent-Length: 3\r\n\r\nabc"), false},
    {"another version", TEXT("OPTIONS sip:b@c SIP/7.0\r\nContent-Length: 3\r\n\r\nabc"), true},
    {"a response with NUL", TEXT("SIP/2.0 200 O\0K\r\nContent-Length: 3\r\n\r\nabc"), true},
};

/* Sends FAULT and a good message over a new connection, in pieces of STEP bytes. */
static void one_fault(size_t i, size_t step) {
  static char text[8192];
  struct tl_conn *c;
  rig_forget();
  int fd = rig_connect(&c);
  memcpy(text, faults[i].text, faults[i].len);
  size_t good = rig_message(text + faults[i].len, 5, 10), n = faults[i].len + good;
  unsigned closed = rig.n_closed;
  for (size_t at = 0; at < n && rig.n_closed == closed; at += step) {
    rig_write(fd, text + at, n - at < step ? n - at : step);
    if (step < n) rig_settle();
  }
  RIG_UNTIL(rig.n_closed > closed || (rig.n_got && rig.got[rig.n_got - 1].n == good));
  cr_expect_eq(rig.n_closed == closed, faults[i].goes_on, "%s, by %zu", faults[i].name, step);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
}

Test(net_frame, s6_one_bad_message_ends_nobody_elses_connection) {
  net_begin("");
  for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
    one_fault(i, 8192);
    one_fault(i, 7);
  }
  net_end();
}

Test(net_frame, s6_more_fields_and_lines_than_are_indexed) {
  static char m[40000];
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  for (unsigned fields = 250; fields < 1200; fields += 300) {
    rig_forget();
    size_t n = (size_t)sprintf(m, "%s", HEAD);
    for (unsigned i = 0; i < fields; i++) n += (size_t)sprintf(m + n, "X: %u\r\n", i);
    n += (size_t)sprintf(m + n, "Content-Length: 3\r\n\r\nabc");
    n += rig_message(m + n, 5, 10);
    rig_write(fd, m, n);
    RIG_UNTIL(rig.n_got == (fields > 250 ? 1u : 2u));
  }
  cr_expect_eq(rig_count(TL_C_BAD_SKIPPED), 3);
  /* Another length where it is no longer indexed: nobody knows the end. */
  size_t n = (size_t)sprintf(m, "%sContent-Length: 3\r\n", HEAD);
  for (unsigned i = 0; i < 300; i++) n += (size_t)sprintf(m + n, "X: %u\r\n", i);
  n += (size_t)sprintf(m + n, "l: 4\r\n\r\nabc");
  rig_write(fd, m, n);
  rig_read_end(fd);
  close(fd);
  net_end();
}

Test(net_frame, s6_stray_bytes_between_messages) {
  static const char *const between[] = {"\n", "\r\n", "\n\n", "\r\n\n", "\r"};
  static char m[600], many[4096];
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  size_t n = rig_message(m, 1, 5);
  for (size_t i = 0; i < 5; i++) {
    rig_write(fd, between[i], strlen(between[i]));
    rig_settle();
    rig_write(fd, m, n);
    RIG_UNTIL(rig.n_got == i + 1);
  }
  rig_write(fd, "\r\n\0\0\n", 5); /* CRLF NUL */
  rig_write(fd, m, n);
  RIG_UNTIL(rig.n_got == 6);
  cr_expect(rig_count(TL_C_BAD_STRAY) == 8, "%llu", (unsigned long long)rig_count(TL_C_BAD_STRAY));
  memset(many, '\n', sizeof(many)); /* but not for ever */
  rig_write(fd, many, sizeof(many));
  rig_read_end(fd);
  close(fd);
  net_end();
}

Test(net_frame, s10_one_connection_gets_its_share_of_a_turn) {
  static char m[600], flood[2 << 20];
  struct tl_conn *c, *other;
  net_begin("");
  int fd = rig_connect(&c), quiet = rig_connect(&other);
  size_t one = rig_message(m, 1, 0), n = 0, count = 0;
  while (n + one < sizeof(flood) && count < 4000) memcpy(flood + n, m, one), n += one, count++;
  int size = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  size_t sent = 0;
  for (ssize_t k; sent < n && (k = send(fd, flood + sent, n - sent, MSG_DONTWAIT)) > 0;)
    sent += (size_t)k; /* all that fits lies there before the first turn */
  rig_write(quiet, m, one);
  uint64_t before = rig.net->turn;
  RIG_UNTIL(rig.n_got && other->kept.msgs_in == 1);
  cr_expect_leq(rig.net->turn - before, 3, "the quiet one waits for the other");
  rig_write(fd, flood + sent, n - sent);
  RIG_UNTIL(c->kept.msgs_in == count);
  cr_expect_eq(c->kept.bytes_in, n);
  cr_expect(rig.net->later == NULL);
  cr_expect_gt(rig_count(TL_C_CONN_PUT_OFF), 0);
  close(fd);
  close(quiet);
  net_end();
}

Test(net_frame, s10_a_head_is_read_once_for_all_pieces_of_its_body) {
  static char m[9000];
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  size_t n = rig_message(m, 1, 4000);
  rig_write(fd, m, n - 4000);
  RIG_UNTIL(c->kept.bytes_in == n - 4000);
  for (size_t i = n - 4000; i < n; i++) {
    rig_write(fd, m + i, 1);
    RIG_UNTIL(c->kept.bytes_in == i + 1);
  }
  RIG_UNTIL(rig.n_got == 1);
  cr_expect_leq(rig.net->scans, 3, "%llu times", (unsigned long long)rig.net->scans);
  close(fd);
  net_end();
}

Test(net_frame, other_protocols_end_at_once) {
  static const char *const text[] = {
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "\x00\x01\x02\x03\x04\x05\x06\x07\x08", "SSH-2.0-OpenSSH_9.2\r\n"};
  static const size_t len[] = {27, 11, 9, 21};
  net_begin("");
  for (size_t i = 0; i < 4; i++) {
    struct tl_conn *c;
    int fd = rig_connect(&c);
    rig_write(fd, text[i], len[i]);
    rig_read_end(fd);
    close(fd);
  }
  cr_expect_eq(rig_count(TL_C_BAD_PROTOCOL) + rig_count(TL_C_BAD_FRAMING), 4);
  cr_expect_eq(rig.n_closed, 4);
  net_end();
}

static void end_it(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  (void)m;
  if (r->n_got == 2) tl_conn_abort(c, TL_ECLOSED);
}

/* The handler may end the connection while its bytes are still being looked at. */
Test(net_frame, nothing_is_handled_behind_the_end_of_a_connection) {
  static struct stream s;
  net_begin("");
  rig.on_message = end_it;
  for (int i = 0; i < 5; i++) put_message(&s, 30);
  for (int split = 0; split < 2; split++) {
    struct tl_conn *c;
    rig_forget();
    int fd = rig_connect(&c);
    rig_write(fd, s.p, split ? 20 : s.n);
    if (split) {
      RIG_UNTIL(c->kept.bytes_in == 20);
      rig_write(fd, s.p + 20, s.n - 20);
    }
    rig_read_end(fd);
    cr_expect_eq(rig.n_got, 2);
    close(fd);
  }
  cr_expect_eq(rig.n_closed, 2);
  net_end();
}

/* ---- large bodies ---- */

static char large[3][70000];
static size_t large_len[3];

static void make_large(void) {
  for (unsigned i = 0; i < 3; i++) large_len[i] = rig_message(large[i], i, 9000 + i * 25000);
}

static void expect_large(unsigned from) {
  for (unsigned i = 0; i < 3; i++) {
    const struct rig_got *g = &rig.got[from + i];
    cr_assert(g->n == large_len[i] && memcmp(g->p, large[i], g->n) == 0, "large message %u", i);
  }
}

/* In one go, in pieces of PIECE bytes with the loop turning in between. */
static void write_large(int fd, struct tl_conn *c, size_t piece) {
  for (unsigned i = 0; i < 3; i++)
    for (size_t at = 0; at < large_len[i]; at += piece) {
      size_t n = piece < large_len[i] - at ? piece : large_len[i] - at;
      uint64_t in = c->kept.bytes_in;
      rig_write(fd, large[i] + at, n);
      if (piece < 20000) RIG_UNTIL(c->kept.bytes_in >= in + n || rig.n_closed);
    }
}

Test(net_frame, item_2_9_large_bodies_arrive_whole_however_they_are_cut) {
  static const size_t piece[] = {100000, 16384, 5000, 1111, 100};
  net_begin("limits { zero_copy_body = 4k }");
  make_large();
  for (size_t i = 0; i < sizeof(piece) / sizeof(piece[0]); i++) {
    struct tl_conn *c;
    rig_forget();
    int fd = rig_connect(&c);
    write_large(fd, c, piece[i]);
    RIG_UNTIL(rig.n_got == 3);
    expect_large(0);
    cr_expect_eq(rig.net->bufs.out, 0, "%u receive buffers kept", rig.net->bufs.out);
    close(fd);
  }
  net_end();
}

/* They leave from the receive buffers, and not one stays held. */
Test(net_frame, item_2_9_large_bodies_are_passed_on_whole) {
  struct tl_conn *a, *b;
  static char back[70000];
  net_begin("limits { zero_copy_body = 4k }");
  make_large();
  int in = rig_connect(&a), out = rig_connect(&b);
  rig.forward_to = tl_conn_id_of(b);
  for (int round = 0; round < 10; round++) {
    rig_forget();
    write_large(in, a, round % 2 ? 100000 : 3000);
    for (unsigned i = 0; i < 3; i++) {
      rig_read(out, back, large_len[i]);
      cr_assert(memcmp(back, large[i], large_len[i]) == 0);
    }
    cr_assert_eq(rig.forward_rc, 0);
  }
  rig_settle();
  cr_expect_eq(rig.net->bufs.out, 0);
  close(in);
  close(out);
  net_end();
}

/* Connections that begin a large body and stall, and peers that do not read theirs, must leave
 * receive buffers for the others. */
Test(net_frame, stalled_bodies_do_not_take_all_receive_buffers) {
  struct tl_conn *c;
  int stalled[40], fd;
  net_begin("limits { zero_copy_body = 4k recv_buffers = 16 }");
  make_large();
  for (int i = 0; i < 40; i++) {
    stalled[i] = rig_connect(&c);
    for (int k = 0; k < 20; k++) { /* small pieces: each would hold a buffer of its own */
      uint64_t in = c->kept.bytes_in;
      rig_write(stalled[i], large[1] + (k ? 900 + k * 10 : 0), k ? 10 : 910);
      RIG_UNTIL(c->kept.bytes_in == in + (k ? 10 : 910));
    }
  }
  cr_expect_leq(rig.net->bufs.out, 9);
  fd = rig_connect(&c);
  uint64_t turns = rig_count(TL_C_TURNS), receives = rig_count(TL_C_RECVS);
  write_large(fd, c, 100000);
  RIG_UNTIL(rig.n_got == 3);
  expect_large(0);
  cr_expect_lt(rig_count(TL_C_RECVS) - receives, 200, "%lu turns",
               (unsigned long)(rig_count(TL_C_TURNS) - turns));
  for (int i = 0; i < 40; i++) close(stalled[i]);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig.net->bufs.out, 0);
  net_end();
}

Test(net_frame, half_closed_peers_are_answered) {
  struct tl_conn *c;
  char text[16];
  net_begin("");
  rig.answer_bad = true;
  int fd = rig_connect(&c);
  rig_write(fd, refused, sizeof(refused) - 1);
  shutdown(fd, SHUT_WR);
  rig_read(fd, text, sizeof(text));
  rig_read_end(fd);
  cr_expect(rig.n_bad == 1 && rig.n_closed == 1);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}
