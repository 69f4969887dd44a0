/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topmost Via of a message and the way back that it describes (RFC 3261 18.2,
 * RFC 3581).
 *
 * Ownership: slices point into the message or the caller's buffer. Threads: any.
 * Errors: none.
 */
#pragma once

#include "tieline/edit.h"
#include "tieline/net.h"

#define TL_VIA_MAX 1024u /* a top Via; a longer one is refused, because received must be added */
#define TL_VIA_TEXT (TL_VIA_MAX + 96)

/* The top Via as it must stand in what we send back and on: with received and rport filled in.
 * Returns an empty slice when nothing changes. */
struct tl_str tl_top_via_text(const struct tl_msg *m, const struct tl_flow *from, char *buf,
                              size_t cap);
/* Bytes of the first Via field that its topmost value takes, including a following comma and white
 * space. */
size_t tl_top_via_used(const struct tl_msg *m);
/* The value below the topmost one. TL_ENOTFOUND: there is none. */
int tl_top_via_below(const struct tl_msg *m, struct tl_via *out);
/* Is the topmost value the only one? A response with ours alone is not for anybody behind us (16.7
 * step 3). */
bool tl_top_via_is_only(const struct tl_msg *m);
/* Begins E with the topmost value removed, unless it is the only one. */
int tl_top_via_drop(struct tl_edit *e, const struct tl_msg *m);
/* Where responses to M go. */
struct tl_flow tl_top_via_way_back(const struct tl_msg *m, const struct tl_flow *from);
