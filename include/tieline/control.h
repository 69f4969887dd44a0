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

/* For every way of starting, before the first key is read: no core files (RLIMIT_CORE 0), no ptrace
 * and no /proc/PID/mem for others (PR_SET_DUMPABLE 0), nothing gained by exec
 * (PR_SET_NO_NEW_PRIVS). TL_EPERM with a sentence in ERR. */
int tl_privileges_harden(char *err, size_t cap);
/* Gives up all capabilities of the calling thread, and of those it makes later, but for
 * CAP_NET_BIND_SERVICE where it is held. TL_EPERM with a sentence in ERR. */
int tl_privileges_bind_only(char *err, size_t cap);
/* Becomes USER for good, in all threads, with the capabilities of tl_privileges_bind_only.
 * TL_EPERM, TL_ENOTFOUND or TL_ENOMEM with a sentence in ERR. */
int tl_privileges_drop(const char *user, char *err, size_t cap);
