/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_files: reload by itself when a file of the configuration has changed and
 * been left alone for a while.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors:
 * what cannot be watched is logged and left out.
 */
#pragma once

#include "control/internal.h"

struct tl_watch;

int tl_watch_init(struct tl_control *c);
void tl_watch_exit(struct tl_control *c);
/* Watches what CONF names from now on, or nothing. */
void tl_watch_conf(struct tl_control *c, const struct tl_conf *conf);
/* The descriptor to poll, -1: none. */
int tl_watch_fd(const struct tl_control *c);
/* READABLE: poll said so. Reloads when it is time; *TIMEOUT_MS is lowered to when that is. */
void tl_watch_turn(struct tl_control *c, bool readable, uint64_t now_ms, int *timeout_ms);
