/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket. It shares no code with the daemon but the ground,
 * and knows of it what it answers.
 *
 * Ownership: nothing is kept. Threads: one. Errors: exit statuses.
 */
#pragma once

#include <stdbool.h>

/* The `ctl` command: sends COMMAND with ARGS to SOCKET, prints a table or (JSON) the raw result.
 * Returns a process exit status: 0, 1 the command failed, 2 no daemon there. */
int tl_ctl_main(const char *socket, int argc, char **argv, bool json);
