/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edits on the head of a scanned message: a short sorted list of replacements.
 *
 * What no edit names is written out byte for byte, in order, but for what two
 * parsers could read differently (enum tl_rewrite): each fold becomes one space,
 * Content-Length is there once, new and in digits, the SIP version is in upper
 * case. Inserted text is not copied until tl_edit_write, so it must live until
 * then; a struct tl_edit is not to be copied.
 *
 * Ownership: the caller's struct, nothing to free. Threads: one at a time.
 * Errors: TL_ELIMIT when more than TL_EDIT_MAX edits are made, TL_EINVAL when
 * two edits overlap.
 */
#pragma once

#include "tieline/scan.h"

#define TL_EDIT_MAX 32

struct tl_edit_op {
  uint32_t off; /* in the message */
  uint32_t del; /* bytes that disappear from there */
  struct tl_str ins;
};

struct tl_edit {
  const struct tl_msg *msg;
  unsigned n;
  int err; /* first error; tl_edit_* calls after it do nothing, so check once at the end */
  struct tl_edit_op op[TL_EDIT_MAX];
  char length[32]; /* the Content-Length line, if it is rewritten */
};

void tl_edit_init(struct tl_edit *e, const struct tl_msg *m);
/* Replaces DEL bytes at OFF by INS. Several at one OFF keep their order; only the last may delete.
 */
void tl_edit_replace(struct tl_edit *e, uint32_t off, uint32_t del, struct tl_str ins);
/* Replaces the bytes of slice OLD, which must lie inside the message. */
void tl_edit_replace_str(struct tl_edit *e, struct tl_str old, struct tl_str ins);
/* Removes header field I with its line end. */
void tl_edit_remove_header(struct tl_edit *e, uint16_t i);
/* Removes the first value of header field I (all of the field if it was the only one):
 * USED as given by tl_via_parse or tl_nameaddr_parse. */
void tl_edit_remove_value(struct tl_edit *e, uint16_t i, size_t used);
/* Inserts complete header lines, each with CRLF, before header field I; I = n_hdr: at the end. */
void tl_edit_insert_lines(struct tl_edit *e, uint16_t i, struct tl_str lines);

/* Copies N bytes of header fields to DST, each fold as one space (RFC 3261 7.3.1); returns the
 * length, never more than N. DST may be NULL: only counts. */
size_t tl_unfold_lines(char *dst, const char *src, size_t n);

/* Length of the edited head. */
size_t tl_edit_len(const struct tl_edit *e);
/* Writes the edited head, exactly tl_edit_len bytes; returns their number. */
size_t tl_edit_write(const struct tl_edit *e, char *dst);
