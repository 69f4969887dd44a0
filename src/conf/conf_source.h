/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a configuration as tokens with their positions.
 *
 * Ownership: a source owns its names and tokens. Threads: one load at a time.
 * Errors: TL_ECONFIG, after the report.
 */
#pragma once

#include <stddef.h>

#include "conf/conf_report.h"

#define TL_CONF_INCLUDE_MAX 10 /* depth of include() */
/* Bytes of all files together: 100,000 peers and as many routes, at 200 to 300 bytes each. It
 * bounds what a mistaken include can cost, some 10 times as much memory while loading. */
#define TL_CONF_TEXT_MAX (64u << 20)

struct tl_conf_token {
  char kind;  /* 's' a word or string, '+' for +=, else the character itself: { } = , */
  char *text; /* malloc'd if KIND is 's', else a constant */
  struct tl_conf_pos pos;
};

/* All files of one configuration. Owns everything in it. */
struct tl_conf_source {
  char **file; /* names as opened, the main one first */
  size_t n_file;
  struct tl_conf_token *token;
  size_t n_token, cap;
  size_t bytes;
};

/* Reads FILE and the files it includes. */
int tl_conf_source_read(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *file);
/* The same from memory, under the name FILE; ALLOW_INCLUDE false refuses include(). */
int tl_conf_source_text(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *file,
                        const char *text, size_t n, bool allow_include);
/* Frees the tokens, keeps the names that positions point to. */
void tl_conf_source_drop_tokens(struct tl_conf_source *s);
void tl_conf_source_free(struct tl_conf_source *s);
