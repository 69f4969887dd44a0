/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failed handshakes that are kept, and the key log's file.
 */
#include "tieline/failures.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tieline/keylog.h"

static struct tl_failure made(unsigned host, int cause, time_t at) {
  char text[32];
  struct tl_failure f = {.what.cause = cause, .at.tv_sec = at};
  snprintf(text, sizeof(text), "10.0.%u.%u", host / 250, host % 250);
  cr_assert_eq(tl_addr_parse(tl_str_c(text), (uint16_t)(1000 + host), &f.peer), 0);
  return f;
}

Test(failures, f10_the_newest_are_kept_and_numbered) {
  static struct tl_failure got[TL_FAILURES_KEPT];
  uint64_t total = 7;
  cr_assert_eq(tl_failures_copy(got, TL_FAILURES_KEPT, &total), 0u);
  cr_assert_eq(total, 0u);
  for (unsigned i = 0; i < TL_FAILURES_KEPT + 44; i++) {
    struct tl_failure f = made(i, TL_HS_VERIFY, 1000 + i);
    tl_failure_note(&f);
  }
  cr_assert_eq(tl_failures_copy(got, 3, &total), 3u);
  cr_assert_eq(total, TL_FAILURES_KEPT + 44u);
  cr_assert_eq(got[0].number, total);
  cr_assert_eq(got[2].at.tv_sec, 1000 + (time_t)total - 3);
  cr_assert_eq(tl_failures_copy(got, TL_FAILURES_KEPT, &total), (size_t)TL_FAILURES_KEPT);
  cr_assert_eq(got[TL_FAILURES_KEPT - 1].number, 45u);
}

Test(failures, f10_counts_by_peer_and_cause) {
  struct tl_failure_count k[TL_FAILURE_PEERS];
  for (unsigned i = 0; i < 10; i++) {
    struct tl_failure f = made(1, i % 5 ? TL_HS_VERIFY : TL_HS_TIMEOUT, 100 + i);
    tl_addr_set_port(&f.peer, (uint16_t)(5000 + i));
    tl_failure_note(&f);
  }
  cr_assert_eq(tl_failure_counts(k, TL_FAILURE_PEERS), 2u, "ports do not matter");
  cr_assert_eq(k[0].cause, (int)TL_HS_TIMEOUT);
  cr_assert_eq(k[0].n, 2u);
  cr_assert_eq(k[1].n, 8u);
  cr_assert_eq(k[1].first, 101);
  cr_assert_eq(k[1].last, 109);
  cr_assert_eq(tl_addr_port(&k[1].peer), 0);
}

/* A scan over many addresses must not push out who fails all the time. */
Test(failures, f10_who_was_quiet_longest_makes_room) {
  struct tl_failure_count k[TL_FAILURE_PEERS];
  bool busy = false;
  struct tl_failure f;
  for (unsigned i = 0; i < 3 * TL_FAILURE_PEERS; i++) {
    f = made(10 + i, TL_HS_CLOSED, 100 + i);
    tl_failure_note(&f);
    f = made(1, TL_HS_VERIFY, 100 + i);
    tl_failure_note(&f);
  }
  size_t n = tl_failure_counts(k, TL_FAILURE_PEERS);
  cr_assert_eq(n, (size_t)TL_FAILURE_PEERS);
  for (size_t i = 0; i < n; i++)
    if (tl_addr_ip_eq(&k[i].peer, &f.peer)) busy = k[i].n == 3 * TL_FAILURE_PEERS;
  cr_assert(busy);
}

/* ---- key log */

static char file[64];

static void make_name(void) {
  snprintf(file, sizeof(file), "/tmp/tl-keylog-%d", getpid());
  unlink(file);
}

static void drop_name(void) {
  tl_keylog_off();
  unlink(file);
}

TestSuite(keylog, .init = make_name, .fini = drop_name);

static struct tl_addr address(const char *text) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(text), 5061, &a), 0);
  return a;
}

static int on(const char *net, uint64_t ms, char *err, size_t cap) {
  struct tl_network n;
  cr_assert_eq(tl_network_parse(tl_str_c(net), &n), 0);
  return tl_keylog_on(file, &n, ms, err, cap);
}

Test(keylog, d36_for_one_network_in_a_private_file) {
  char err[256] = "", text[64] = "";
  struct stat st;
  struct tl_keylog_state s;
  struct tl_addr in = address("192.0.2.9"), out = address("192.0.3.9"),
                 six = address("2001:db8::1");
  cr_assert_not(tl_keylog_wants(&in), "off");
  cr_assert_eq(on("192.0.2.0/24", 60000, err, sizeof(err)), 0, "%s", err);
  cr_assert_eq(on("192.0.2.0/24", 60000, err, sizeof(err)), (int)TL_EBUSY);
  cr_assert(tl_keylog_wants(&in));
  cr_assert_not(tl_keylog_wants(&out));
  cr_assert_not(tl_keylog_wants(&six));
  tl_keylog_line("CLIENT_RANDOM 00 11");
  cr_assert_eq(stat(file, &st), 0);
  cr_assert_eq(st.st_mode & 0777u, 0600u);
  tl_keylog_get(&s);
  cr_assert_eq(s.lines, 1u);
  cr_assert_eq(s.connections, 1u);
  tl_keylog_off();
  tl_keylog_line("CLIENT_RANDOM 22 33");
  cr_assert_not(tl_keylog_wants(&in));
  FILE *f = fopen(file, "r");
  cr_assert_eq(fread(text, 1, sizeof(text), f), strlen("CLIENT_RANDOM 00 11\n"));
  cr_assert_str_eq(text, "CLIENT_RANDOM 00 11\n");
  fclose(f);
}

Test(keylog, d36_ends_with_its_time) {
  char err[256] = "";
  uint64_t left;
  struct tl_addr in = address("192.0.2.9");
  cr_assert_not(tl_keylog_over(&left));
  cr_assert_eq(on("192.0.2.9", 30, err, sizeof(err)), 0, "%s", err);
  cr_assert(tl_keylog_over(&left) || left <= 30);
  for (int i = 0; i < 200 && !tl_keylog_over(&left); i++) usleep(10000);
  cr_assert(tl_keylog_over(&left));
  cr_assert_not(tl_keylog_wants(&in));
  tl_keylog_line("CLIENT_RANDOM 00 11");
  struct stat st;
  cr_assert_eq(stat(file, &st), 0);
  cr_assert_eq(st.st_size, 0, "nothing is written behind the end");
}

Test(keylog, d36_files_that_others_read_are_refused) {
  char err[256] = "", target[80];
  FILE *f = fopen(file, "w");
  fclose(f);
  chmod(file, 0640);
  cr_assert_eq(on("192.0.2.9", 1000, err, sizeof(err)), (int)TL_EIO);
  cr_assert(strstr(err, "0600"), "%s", err);
  unlink(file);
  snprintf(target, sizeof(target), "%s.target", file);
  cr_assert_eq(symlink(target, file), 0);
  cr_assert_eq(on("192.0.2.9", 1000, err, sizeof(err)), (int)TL_EIO, "a link may lead anywhere");
  cr_assert_neq(access(target, F_OK), 0);
  unlink(file);
  cr_assert_eq(mkfifo(file, 0600), 0);
  cr_assert_eq(on("192.0.2.9", 1000, err, sizeof(err)), (int)TL_EIO, "nor may a pipe");
}
