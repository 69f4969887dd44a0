/* SPDX-License-Identifier: Apache-2.0 */
/* The log: escaping of what the network sends, bounds of line and queue, the writer thread. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log_format.h"
#include "tieline/err.h"
#include "tieline/log.h"

static const struct timespec at = {.tv_sec = 1795634096, .tv_nsec = 7654321};

static char *line(enum tl_log_format format, const char *sentence, const struct tl_field *f,
                  size_t n) {
  static char buf[TL_LOG_LINE + 1];
  struct tl_log_record r = {TL_LOG_WARN, at, sentence, f, n};
  size_t len = tl_log_format(&r, format, buf);
  cr_assert_leq(len, TL_LOG_LINE);
  buf[len] = 0;
  return buf;
}

Test(log, key_value_line) {
  const struct tl_field f[] = {TL_FC("peer", "192.0.2.1:5061"), TL_FI("port", -3),
                               TL_FC("reason", "no shared cipher"), TL_FC("sni", "")};
  cr_assert_str_eq(line(TL_LOG_KV, "Handshake failed.", f, 4),
                   "time=2026-11-25T19:14:56.007Z level=warn msg=\"Handshake failed.\" "
                   "peer=192.0.2.1:5061 port=-3 reason=\"no shared cipher\" sni=\"\"\n");
}

Test(log, json_line) {
  const struct tl_field f[] = {TL_FC("peer", "192.0.2.1:5061"), TL_FI("port", 5061)};
  cr_assert_str_eq(line(TL_LOG_JSON, "Handshake failed.", f, 2),
                   "{\"time\":\"2026-11-25T19:14:56.007Z\",\"level\":\"warn\",\"msg\":\"Handshake "
                   "failed.\",\"peer\":\"192.0.2.1:5061\",\"port\":5061}\n");
}

Test(log, a_value_cannot_start_a_line_or_a_field) {
  const struct tl_field f[] = {
      TL_FC("sni", "a\r\ntime=x level=error msg=\"forged\"\\ \x1b[2J\x7f")};
  const char *s = line(TL_LOG_KV, "x", f, 1);
  cr_assert_not_null(
      strstr(s, "sni=\"a\\r\\ntime=x level=error msg=\\\"forged\\\"\\\\ \\x1b[2J\\x7f\"\n"), "%s",
      s);
  cr_assert_eq(strchr(s, '\n'), s + strlen(s) - 1);
}

Test(log, letters_used_by_escapes_stay_letters) {
  const struct tl_field f[] = {TL_FC("v", "n r t nrt")};
  cr_assert_not_null(strstr(line(TL_LOG_KV, "x", f, 1), "v=\"n r t nrt\"\n"));
}

Test(log, bytes_that_are_no_text_are_shown_as_bytes) {
  const struct tl_field f[] = {
      TL_F("v", TL_STR("\xff\xc0\x80 gr\xc3\xbc\xc3\x9f e \xe2\x80\xae \xc2\x85 \0."))};
  const char *s = line(TL_LOG_KV, "x", f, 1);
  cr_assert_not_null(strstr(s, "v=\"\\xff\\xc0\\x80 gr\xc3\xbc\xc3\x9f e \\xe2\\x80\\xae "
                               "\\xc2\\x85 \\x00.\"\n"),
                     "%s", s);
}

Test(log, json_is_valid_for_every_byte) {
  for (unsigned a = 0; a < 256; a++)
    for (unsigned b = 0; b < 256; b += 3) {
      char v[] = {(char)a, (char)b, 'x'};
      const struct tl_field f[] = {TL_F("v", ((struct tl_str){v, sizeof(v)}))};
      json_error_t e;
      json_t *j = json_loads(line(TL_LOG_JSON, "x", f, 1), 0, &e);
      cr_assert_not_null(j, "%02x %02x: %s", a, b, e.text);
      if (a >= 0x20 && a < 0x7f && b >= 0x20 && b < 0x7f)
        cr_assert_eq(memcmp(json_string_value(json_object_get(j, "v")), v, 3), 0);
      json_decref(j);
    }
}

/* Every length around the bound: a line stays whole, ends once and says that it was cut. */
Test(log, a_long_line_is_cut_and_stays_well_formed) {
  char big[3000];
  memset(big, '"', sizeof(big));
  for (size_t n = 400; n < sizeof(big); n += 7) {
    const struct tl_field f[] = {TL_F("v", ((struct tl_str){big, n})), TL_FC("after", "b")};
    json_t *j = json_loads(line(TL_LOG_JSON, "Sentence.", f, 2), 0, NULL);
    cr_assert_not_null(j, "length %zu", n);
    const size_t got = json_string_length(json_object_get(j, "v"));
    cr_assert_eq(got < n || !json_object_get(j, "after"),
                 json_is_true(json_object_get(j, "truncated")));
    json_decref(j);
    const char *s = line(TL_LOG_KV, "Sentence.", f, 2);
    cr_assert_eq(strchr(s, '\n'), s + strlen(s) - 1);
    if (n > TL_LOG_LINE) cr_assert_not_null(strstr(s, "\" truncated=true\n"));
  }
}

Test(log, journal_entry_has_priority_message_and_fields) {
  char buf[TL_LOG_LINE];
  const struct tl_field f[] = {TL_FC("peer-name", "a\nb"), TL_FI("n", 7)};
  struct tl_log_record r = {TL_LOG_ERROR, at, "It failed.", f, 2};
  size_t n = tl_log_format_journal(&r, buf);
  static const char want[] = "PRIORITY=3\0MESSAGE=It failed. peer-name=\"a\\nb\" n=7\0"
                             "TIELINE_PEER_NAME=a\\nb\0TIELINE_N=7";
  cr_assert_eq(n, sizeof(want));
  cr_assert_eq(memcmp(buf, want, sizeof(want)), 0);
}

Test(log, a_long_journal_entry_keeps_whole_fields) {
  char big[3000], buf[TL_LOG_LINE];
  memset(big, 'x', sizeof(big));
  const struct tl_field f[] = {TL_F("v", ((struct tl_str){big, sizeof(big)})), TL_FI("n", 7)};
  struct tl_log_record r = {TL_LOG_ERROR, at, "It failed.", f, 2};
  size_t n = tl_log_format_journal(&r, buf);
  cr_assert_leq(n, sizeof(buf));
  cr_assert_eq(buf[n - 1], 0);
  cr_assert_str_eq(buf + n - sizeof("TIELINE_N=7"), "TIELINE_N=7");
}

Test(log, levels_by_name) {
  enum tl_log_level l = TL_LOG_INFO;
  for (int i = TL_LOG_ERROR; i <= TL_LOG_DEBUG; i++) {
    cr_assert_eq(tl_log_level_parse(tl_str_c(tl_log_level_name((enum tl_log_level)i)), &l), 0);
    cr_assert_eq((int)l, i);
  }
  cr_assert_eq(tl_log_level_parse(TL_STR("loud"), &l), TL_EINVAL);
  cr_assert_eq(tl_log_level_parse(TL_STR(""), &l), TL_EINVAL);
}

/* Standard error becomes a pipe; what was written to it comes back from the returned end. */
static int capture(bool nonblocking_reader) {
  int p[2];
  cr_assert_eq(pipe(p), 0);
  cr_assert_geq(dup2(p[1], STDERR_FILENO), 0);
  close(p[1]);
  if (nonblocking_reader) fcntl(p[0], F_SETFL, O_NONBLOCK);
  return p[0];
}

static size_t read_all(int fd, char *buf, size_t cap) {
  size_t n = 0;
  for (;;) {
    ssize_t r = read(fd, buf + n, cap - 1 - n);
    if (r <= 0) break;
    n += (size_t)r;
  }
  buf[n] = 0;
  return n;
}

Test(log, the_level_decides_and_values_are_copied) {
  int fd = capture(true);
  char text[2048], name[] = "first";
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 16), 0);
  tl_log_set_level(TL_LOG_WARN);
  TL_LOG(TL_LOG_INFO, "Not wanted.");
  TL_LOG(TL_LOG_WARN, "Wanted.", TL_FC("name", name));
  memset(name, 'z', sizeof(name) - 1);
  tl_log_stop();
  read_all(fd, text, sizeof(text));
  cr_assert_null(strstr(text, "Not wanted"));
  cr_assert_not_null(strstr(text, "msg=Wanted. name=first\n")
                         ?: strstr(text, "msg=\"Wanted.\" name=first\n"),
                     "%s", text);
}

Test(log, lines_before_start_and_after_stop_reach_stderr) {
  int fd = capture(true);
  char text[4096];
  TL_LOG(TL_LOG_INFO, "Before.");
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 16), 0);
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 16), TL_EEXIST);
  TL_LOG(TL_LOG_INFO, "During.");
  tl_log_stop();
  TL_LOG(TL_LOG_INFO, "After.");
  read_all(fd, text, sizeof(text));
  const char *b = strstr(text, "Before."), *d = strstr(text, "During."),
             *a = strstr(text, "After.");
  cr_assert(b && d && a && b < d && d < a, "%s", text);
}

Test(log, a_full_queue_drops_counts_and_says_so) {
  int fd = capture(true);
  static char text[1 << 20];
  /* A pipe that nobody reads and that is full: the writer cannot move. */
  fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  char fill[4096];
  memset(fill, '#', sizeof(fill));
  while (write(STDERR_FILENO, fill, sizeof(fill)) > 0) continue;
  while (write(STDERR_FILENO, "#", 1) > 0) continue;
  cr_assert_eq(errno, EAGAIN);
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 8), 0);
  for (int i = 0; i < 100; i++) TL_LOG(TL_LOG_INFO, "Line.", TL_FI("i", i));
  const uint64_t lost = tl_log_dropped();
  cr_assert_eq(lost, 92);
  read_all(fd, text, sizeof(text));
  for (int i = 0; i < 200 && !strstr(text, "lost=92 lost_total=92\n"); i++) {
    usleep(10000);
    read_all(fd, text + strlen(text), sizeof(text) - strlen(text));
  }
  cr_assert_not_null(strstr(text, " i=7\n"));
  cr_assert_null(strstr(text, " i=8\n"));
  cr_assert_not_null(strstr(text, "lost=92 lost_total=92\n"), "%s", strchr(text, 116));
  tl_log_stop();
  cr_assert_eq(tl_log_dropped(), lost);
}

Test(log, a_stuck_reader_delays_the_end_by_a_second_at_most, .timeout = 10) {
  capture(false);
  fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  while (write(STDERR_FILENO, "################", 16) > 0) continue;
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 64), 0);
  for (int i = 0; i < 50; i++) TL_LOG(TL_LOG_INFO, "Line.", TL_FI("i", i));
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  tl_log_stop();
  clock_gettime(CLOCK_MONOTONIC, &b);
  cr_assert_lt(b.tv_sec - a.tv_sec, 4);
  cr_assert_gt(tl_log_dropped(), 0);
}

static void *stop(void *arg) {
  tl_log_stop();
  atomic_store((_Atomic bool *)arg, true);
  return NULL;
}

/* The writer looks last into the queue, then is held up telling of lost lines: what comes into the
 * queue meanwhile is still written when the log stops. A pipe of one page takes one line at a time,
 * so this thread decides where the writer stands. */
Test(log, a_line_that_comes_while_the_writer_ends_is_written, .timeout = 30) {
  int fd = capture(true);
  char text[16384];
  cr_assert_gt(fcntl(fd, F_SETPIPE_SZ, 1), 0);
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 8), 0);
  int pushed = 0;
  for (; tl_log_dropped() == 0; pushed++) TL_LOG(TL_LOG_INFO, "Line.", TL_FI("i", pushed));
  size_t n = 0;
  for (int lines = 0; lines < pushed - 2;) { /* all that were taken but one */
    const ssize_t r = read(fd, text + n, sizeof(text) - n);
    if (r > 0) n += (size_t)r, lines++;
  }
  usleep(100000); /* the writer has looked and waits for room to tell of the lost line */
  TL_LOG(TL_LOG_INFO, "Late.");
  _Atomic bool stopped = false;
  pthread_t t;
  pthread_create(&t, NULL, stop, &stopped);
  usleep(100000); /* the log is stopping now */
  while (!atomic_load(&stopped)) n += read_all(fd, text + n, sizeof(text) - n);
  pthread_join(t, NULL);
  read_all(fd, text + n, sizeof(text) - n);
  cr_assert_eq(tl_log_dropped(), 1);
  cr_assert_not_null(strstr(text, "lost=1 lost_total=1\n"), "%s", text);
  cr_assert_not_null(strstr(text, "Late."), "%s", text);
}

#define THREADS 4
#define LINES 2000

static void *shout(void *arg) {
  for (int i = 0; i < LINES; i++)
    TL_LOG(TL_LOG_INFO, "Shout.", TL_FI("who", (intptr_t)arg), TL_FI("i", i), TL_FC("end", "yes"));
  return NULL;
}

/* Many writers: every line arrives whole, in the order of its thread, or is counted as lost. */
Test(log, lines_of_many_threads_stay_whole_and_ordered) {
  char path[] = "/tmp/tieline-log-XXXXXX";
  int fd = mkstemp(path);
  cr_assert_geq(fd, 0);
  unlink(path);
  dup2(fd, STDERR_FILENO);
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 256), 0);
  pthread_t t[THREADS];
  for (intptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, shout, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  tl_log_stop();
  int next[THREADS] = {0}, lines = 0;
  FILE *f = fdopen(fd, "r");
  rewind(f);
  char text[2048];
  while (fgets(text, sizeof(text), f)) {
    int who = -1, i = -1;
    if (strstr(text, "lost=")) continue;
    const char *p = strstr(text, "who=");
    cr_assert_not_null(p, "%s", text);
    cr_assert_eq(sscanf(p, "who=%d i=%d", &who, &i), 2);
    cr_assert(strstr(p, " end=yes\n"));
    cr_assert_geq(i, next[who]);
    next[who] = i + 1;
    lines++;
  }
  cr_assert_eq((uint64_t)lines + tl_log_dropped(), THREADS * LINES);
  fclose(f);
}

Test(log, a_queue_needs_a_size) {
  cr_assert_eq(tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 0), TL_EINVAL);
  tl_log_stop();
}
