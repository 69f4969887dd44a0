/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of src/ktls.
 *
 * Ownership: nothing is kept. Threads: any. Errors: errno values where noted.
 */
#pragma once

#include <stdio.h>

#include "tieline/ktls.h"

/* Sets TLS_TX or TLS_RX. Returns 0 or the errno. */
int tl_ktls_set_keys(int fd, const struct tl_tls_keys *keys, bool tx);
/* TLS_RX_EXPECT_NO_PAD; false where the kernel does not know it. */
bool tl_ktls_set_no_pad(int fd);

/* Fills `driver` and `slow` of OUT from text as in /proc/crypto. */
void tl_ktls_read_drivers(FILE *f, struct tl_ktls_caps *out);
/* The same from the file itself, after the probe; leaves OUT as it is where there is none. */
void tl_ktls_find_drivers(struct tl_ktls_caps *out);

/* What io_uring can do here, found by trying it. */
struct tl_uring_caps {
  int err_setup;      /* errno of the plainest ring, 0 if it works */
  bool single_issuer; /* SINGLE_ISSUER and DEFER_TASKRUN */
  bool msg_ring, buf_ring, accept_multishot, recv_multishot;
  int disabled; /* sysctl kernel.io_uring_disabled, -1: no such sysctl */
};
void tl_uring_probe(struct tl_uring_caps *out);

/* A connected pair of TCP sockets over loopback. TL_EIO. */
int tl_tcp_pair(int out_fd[2]);
