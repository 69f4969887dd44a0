/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key logging on request: TLS secrets of new connections with some peers, for
 * some time, into a file of mode 0600 that Wireshark reads (NSS key log format).
 * Whoever has the file reads those connections; so it needs the configuration's
 * leave, is said in the log, and ends by itself.
 *
 * Ownership: one for the process. Threads: tl_keylog_wants and tl_keylog_line
 * any but workers; the others the control thread's. Errors: TL_EIO with a
 * sentence, TL_EBUSY.
 */
#pragma once

#include "tieline/addr.h"

#define TL_KEYLOG_MAX_MS 3600000    /* longest time that one request gives */
#define TL_KEYLOG_MAX_LINES 1000000 /* then it ends: a file must not fill the disk */

struct tl_keylog_state {
  bool on;
  struct tl_network peer;
  uint64_t left_ms;
  uint64_t lines, connections;
  char file[256];
};

/* Begins, for connections with addresses in PEER. The file is appended to; one that others may read
 * is refused. */
int tl_keylog_on(const char *file, const struct tl_network *peer, uint64_t for_ms, char *err,
                 size_t cap);
void tl_keylog_off(void);
void tl_keylog_get(struct tl_keylog_state *out);
/* Is the time over or the file full? Then tl_keylog_off is due. *OUT_LEFT_MS: until it is. */
bool tl_keylog_over(uint64_t *out_left_ms);

/* Shall the connection with PEER that begins now be logged? Counts it if so. Cheap when off. */
bool tl_keylog_wants(const struct tl_addr *peer);
/* One line of OpenSSL's, without its end; nothing happens when logging has ended. */
void tl_keylog_line(const char *line);
