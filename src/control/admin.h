/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administrators' states of peers and of their addresses: who set which and when, the file that
 * keeps them over restarts, and the peers that they are for. Peers that the configuration does not
 * have at present keep theirs.
 *
 * Ownership: struct tl_control's. Threads: the control thread's. Errors: TL_ENOMEM, TL_ELIMIT; of
 * the file TL_EIO and TL_ECONFIG with a sentence.
 */
#pragma once

#include <jansson.h>
#include <time.h>

#include "tieline/peer_admin.h"
#include "tieline/peer_table.h"

struct tl_control;
struct tl_admin;

/* One setting. */
struct tl_admin_entry {
  char *peer;
  char *address; /* "192.0.2.1", "192.0.2.1:5060"; NULL: of the peer itself */
  struct tl_addr addr;
  enum tl_admin_state state;
  char *by;
  time_t at;
};

/* E (copied) counts from now on, at once, and is written to the file; with TL_ADMIN_NONE there is
 * none any more. WHY: a sentence where it could not be kept, but counts; "": it is kept. */
int tl_admin_set(struct tl_control *c, const struct tl_admin_entry *e, char *why, size_t cap);
/* Those that were set for the peers of T apply to them, before T is in force. */
void tl_admin_adopt(struct tl_control *c, const struct tl_peer_table *t);
/* That of PEER, or with ADDR the one that counts for that address; NULL: there is none. */
const struct tl_admin_entry *tl_admin_find(const struct tl_control *c, const char *peer,
                                           const struct tl_addr *addr);
/* For ctl: {state, by, at}, null without E. */
json_t *tl_admin_json(const struct tl_admin_entry *e);
