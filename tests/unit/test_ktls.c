/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel TLS as far as every kernel, with or without it, must answer the same:
 * refusals and what they say. What needs keys in a kernel is in tests/ktls.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktls/ktls_internal.h"

static const struct tl_tls_keys keys = {
    .version = TL_TLS_1_3, .cipher = TL_AES_128_GCM, .key_len = 16};

static struct tl_ktls_caps all_caps(void) {
  struct tl_ktls_caps c;
  memset(&c, 1, sizeof(c));
  return c;
}

Test(ktls, probe_is_consistent) {
  struct tl_ktls_caps c;
  int rc = tl_ktls_probe(&c);
  if (rc == 0) {
    cr_assert(c.ulp && c.err_ulp == 0);
    cr_assert(c.tx[0][TL_AES_128_GCM]);
    return;
  }
  cr_assert_eq(rc, TL_ENOTSUP);
  cr_assert_not(c.ulp);
  cr_assert_neq(c.err_ulp, 0);
  for (int v = 0; v < 2; v++)
    for (int i = 0; i < TL_CIPHERS; i++) cr_assert(!c.tx[v][i] && !c.rx[v][i]);
  cr_assert(!c.rekey && !c.expect_no_pad);
}

Test(ktls, install_says_why_not) {
  struct tl_ktls_caps c = all_caps();
  struct tl_ktls_state s;
  cr_assert_eq(tl_ktls_install(-1, NULL, &keys, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_CONFIG && s.rx == TL_KTLS_CONFIG);
  c.rx[1][TL_AES_128_GCM] = false; /* half is as good as nothing: the socket stays untouched */
  cr_assert_eq(tl_ktls_install(-1, &c, &keys, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_NO_CIPHER && s.rx == TL_KTLS_NO_CIPHER);
  c.ulp = false;
  cr_assert_eq(tl_ktls_install(-1, &c, &keys, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_NO_ULP && s.rx == TL_KTLS_NO_ULP);
}

Test(ktls, install_without_the_ulp_leaves_the_socket_alone) {
  struct tl_ktls_caps c = all_caps();
  struct tl_ktls_state s;
  char got[4];
  int fd[2];
  cr_assert_eq(tl_tcp_pair(fd), 0);
  cr_assert_eq(tl_ktls_install(fd[0], &c, &keys, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_NO_ULP && s.rx == TL_KTLS_NO_ULP);
  cr_assert_eq(send(fd[0], "abc", 4, 0), 4);
  cr_assert_eq(recv(fd[1], got, 4, MSG_WAITALL), 4);
  cr_assert_str_eq(got, "abc");
  close(fd[0]);
  close(fd[1]);
}

Test(ktls, plain_socket_gives_data_and_its_end) {
  uint8_t buf[8], type = 0;
  size_t n = 0;
  int fd[2];
  cr_assert_eq(tl_tcp_pair(fd), 0);
  cr_assert_eq(tl_ktls_recv(fd[0], buf, sizeof(buf), &type, &n), TL_EAGAIN);
  cr_assert_eq(send(fd[1], "x", 1, 0), 1);
  cr_assert_eq(tl_ktls_recv(fd[0], buf, sizeof(buf), &type, &n), 0);
  cr_assert(type == TL_CT_DATA && n == 1);
  close(fd[1]);
  cr_assert_eq(tl_ktls_recv(fd[0], buf, sizeof(buf), &type, &n), TL_ECLOSED);
  close(fd[0]);
  cr_assert_eq(tl_ktls_recv(-1, buf, sizeof(buf), &type, &n), TL_EIO);
}

Test(ktls, record_type_travels_in_a_control_message) {
  uint8_t cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct msghdr msg = {0};
  memset(cbuf, 0xff, sizeof(cbuf));
  tl_ktls_msg_type(&msg, cbuf, TL_CT_ALERT);
  struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
  cr_assert_not_null(c);
  cr_assert_eq(c->cmsg_level, 282); /* SOL_TLS */
  cr_assert_eq(c->cmsg_type, 1);    /* TLS_SET_RECORD_TYPE */
  cr_assert_eq(*CMSG_DATA(c), TL_CT_ALERT);
  cr_assert_null(CMSG_NXTHDR(&msg, c));
}

Test(ktls, every_reason_has_words) {
  for (int w = 0; w < TL_KTLS_WHYS; w++)
    cr_assert_gt(strlen(tl_ktls_why_text((enum tl_ktls_why)w)), 3);
  cr_assert_str_eq(tl_ktls_why_text(TL_KTLS_WHYS), "unknown");
}

Test(ktls, probe_prints_every_line) {
  static char text[8192];
  FILE *f = fmemopen(text, sizeof(text), "w");
  int rc = tl_probe_print(f);
  fclose(f);
  cr_assert(rc == 0 || rc == 1);
  const char *lines[] = {"Kernel Linux",
                         "TCP_ULP",
                         "TLSv1.2 AES-128-GCM",
                         "TLSv1.3 CHACHA20-POLY1305",
                         "TLS_RX_EXPECT_NO_PAD",
                         "multishot accept",
                         "provided buffer rings",
                         "MSG_RING",
                         "OpenSSL 3"};
  for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
    cr_assert_not_null(strstr(text, lines[i]), "no line %s", lines[i]);
  cr_assert(rc == 0 || strstr(text, "What to do:"));
}
