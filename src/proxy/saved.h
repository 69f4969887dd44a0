/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages kept for later: a request for failover and for responses made here, a
 * response for retransmission, what was forwarded for CANCEL and ACK. A message that
 * was scanned keeps its scan, so that nothing is parsed twice.
 *
 * Ownership: the caller's, tl_saved_free gives it back. All of them together stay
 * within max_kept; what does not fit is refused and counted. Threads: the worker's own.
 * Errors: NULL when there is no room or no memory.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_edit;

struct tl_saved {
  uint32_t len;                  /* of the message, as far as it is in DATA */
  uint32_t size;                 /* of all of it */
  uint32_t scan_at;              /* where in DATA its scan is, 0: none was kept */
  uint8_t class;                 /* of its size */
  struct tl_kernel_body *kernel; /* the end of its body, NULL: all of it is in DATA */
  char data[];
};

void tl_saved_init(struct tl_proxy *p);
/* All of them must be back. */
void tl_saved_exit(struct tl_proxy *p);
/* Room for LEN bytes that belong to a transaction; IN_DIALOG: it may use the reserve. */
struct tl_saved *tl_saved_new(struct tl_proxy *p, bool in_dialog, size_t len);
/* The same with N bytes of DATA. */
struct tl_saved *tl_saved_bytes(struct tl_proxy *p, bool in_dialog, const void *data, size_t n);
/* M as it came, with its scan, and BODY (may be NULL: without). */
struct tl_saved *tl_saved_msg(struct tl_proxy *p, bool in_dialog, const struct tl_msg *m,
                              const struct tl_body *body);
/* What E makes of a message and BODY (may be NULL). */
struct tl_saved *tl_saved_edit(struct tl_proxy *p, bool in_dialog, const struct tl_edit *e,
                               const struct tl_body *body);
/* S may be NULL. */
void tl_saved_free(struct tl_proxy *p, struct tl_saved *s);

/* The message of tl_saved_msg, as long as S lives; *OUT_BODY: what was kept of its body. */
const struct tl_msg *tl_saved_scan(const struct tl_saved *s, struct tl_body *out_body);
