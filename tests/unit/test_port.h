/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that a test can name before it listens on them.
 *
 * Ownership: claims end with the test's process or with test_ports_release.
 * Threads: the test's own. Errors: the test fails.
 */
#pragma once

#include "tieline/addr.h"

/* An address of 127.0.0.1 whose port is free for TYPE (SOCK_STREAM or SOCK_DGRAM), outside the
 * range that the kernel gives away by itself, and claimed: tests beside this one take another. */
struct tl_addr test_port(int type);
void test_ports_release(void);
