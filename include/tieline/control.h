/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread: signals, reloads, and the stats socket (JSON-RPC 2.0, one
 * request per line, over a unix socket of mode 0600).
 *
 * Ownership: the runtime is main's. Threads: tl_control_run is the main thread's
 * loop. Errors: TL_EIO when the socket cannot be made.
 */
#pragma once

#include <stdio.h>

#include "tieline/runtime.h"

/* Opens the socket of the snapshot and blocks the signals it handles. Call before threads start. */
int tl_control_init(struct tl_runtime *rt, char *err, size_t cap);
/* Serves until SIGTERM or SIGINT, drains, returns 0. */
int tl_control_run(struct tl_runtime *rt);
void tl_control_exit(struct tl_runtime *rt);

/* The `ctl` command: sends COMMAND with ARGS to SOCKET, prints a table or (JSON) the raw result.
 * Returns a process exit status: 0, 1 the command failed, 2 no daemon there. */
int tl_ctl_main(const char *socket, int argc, char **argv, bool json);

/* ---- The daemon itself (src/control/start.c) */

struct tl_run_options {
  const char *file;              /* the configuration */
  unsigned workers, handshakers; /* 0: as configured */
};

/* The `run` command: loads, starts every thread, serves until told to stop, ends in order. Problems
 * go to stderr before the log runs, to the log after. Returns a process exit status. */
int tl_daemon_run(const struct tl_run_options *o);
/* The `check` command: validates FILE, prints the resolved configuration. Returns 0 or 1. */
int tl_daemon_check(const char *file, bool explain);
/* `--version`: ours, OpenSSL's, the kernel's, and what the kernel does of TLS. */
void tl_daemon_version(FILE *f);

/* Becomes USER for good, keeping only the right to bind ports below 1024; no core dumps from now
 * on. Call before threads start. TL_EPERM or TL_ENOTFOUND with a sentence in ERR. */
int tl_privileges_drop(const char *user, char *err, size_t cap);
