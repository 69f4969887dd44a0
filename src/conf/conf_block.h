/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values as written: blocks of typed values, driven by the table of options.
 *
 * Ownership: said at each structure. Threads: one load at a time uses them, then
 * they are constant. Errors: TL_ECONFIG, after the report or with a sentence.
 */
#pragma once

#include <stdio.h>
#include <string.h>

#include "conf/conf_report.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"
#include "tieline/conf.h"

#define TL_CONF_NAME_MAX 63    /* of a block's title */
#define TL_CONF_FINGERPRINT 32 /* SHA-256 */

/* Names of the columns; the order is that of the table's options. */
struct tl_v_database {
  char *url, *table;
  char *domain_col, *match_ip_address_col, *match_sip_domain_col, *type_col, *method_col;
  char *verify_cert_col, *require_cert_col, *certificate_col, *private_key_col;
  char *crl_check_all_col, *crl_dir_col, *ca_list_col, *ca_dir_col, *cipher_list_col;
  char *dh_params_col, *ec_curve_col;
};

/* Words of the options above, in the order of the table's lists. */
enum { TL_WORD_FALSE, TL_WORD_TRUE };

/* One block with its values. Owns title, values and at. */
struct tl_block {
  const struct tl_conf_section *sec;
  char *title;
  uint32_t owner; /* number of the block that it stands in, 0 at the top level */
  struct tl_conf_pos pos;
  void *values;
  struct tl_conf_pos *at;                   /* by option: where it is written, line 0 if not */
  uint8_t fingerprint[TL_CONF_FINGERPRINT]; /* TLS domains: options and files */
};

/* The blocks of one section in file order. */
struct tl_blocks {
  struct tl_block *b;
  size_t n, cap;
  uint32_t *slot; /* hash of titles: index + 1 of a block, 0: free */
  size_t n_slot;  /* a power of two */
};

/* Everything as written, defaults filled in; kept by what is made of it, for printing and reloads.
 */
struct tl_raw {
  _Atomic uint32_t refs;
  struct tl_conf_source source;
  char *dir;      /* of the main file: relative file names start here */
  char *database; /* "file" of positions that are rows of tls_database, NULL: none */
  struct tl_blocks sec[TL_SECTIONS];
};

static inline const struct tl_v_database *tl_raw_database(const struct tl_raw *r) {
  return r->sec[TL_SEC_DATABASE].b[0].values;
}
static inline struct tl_conf_options *tl_raw_options(const struct tl_raw *r) {
  return r->sec[TL_SEC_GLOBAL].b[0].values;
}
static inline struct tl_conf_limits *tl_raw_limits(const struct tl_raw *r) {
  return r->sec[TL_SEC_LIMITS].b[0].values;
}
static inline struct tl_conf_timeouts *tl_raw_timeouts(const struct tl_raw *r) {
  return r->sec[TL_SEC_TIMEOUTS].b[0].values;
}

static inline bool tl_opt_is_list(const struct tl_opt *o) {
  return o->kind == TL_OPT_LIST || o->kind == TL_OPT_PATHS;
}

/* A block with the defaults of SEC as its values. */
int tl_block_init(struct tl_block *b, const struct tl_conf_section *sec, const char *title);
void tl_block_free(struct tl_block *b);
/* Where option NAME of B is written, or else where B opens. */
struct tl_conf_pos tl_block_at(const struct tl_block *b, const char *name);
bool tl_block_given(const struct tl_block *b, const char *name);
/* The block titled TITLE, or NULL. Constant time. */
struct tl_block *tl_blocks_find(const struct tl_blocks *bs, const char *title);
/* One more block, as tl_block_init makes it; no other has its title. Blocks may move. */
int tl_blocks_add(struct tl_blocks *bs, const struct tl_conf_section *sec, const char *title,
                  struct tl_block **out);
/* The same for blocks that stand in block OWNER of another section. */
struct tl_block *tl_blocks_find_in(const struct tl_blocks *bs, uint32_t owner, const char *title);
int tl_blocks_add_in(struct tl_blocks *bs, const struct tl_conf_section *sec, uint32_t owner,
                     const char *title, struct tl_block **out);
/* The number of the first block of OWNER, whose blocks stand one behind the other; bs->n if there
 * are none. */
size_t tl_blocks_first_in(const struct tl_blocks *bs, uint32_t owner);
/* Is there a block number I, and does it stand in OWNER? */
static inline bool tl_blocks_are_in(const struct tl_blocks *bs, size_t i, uint32_t owner) {
  return i < bs->n && bs->b[i].owner == owner;
}
void tl_blocks_free(struct tl_blocks *bs);
/* "unknown peer "x"; did you mean "y"?" at the place of OPTION in B. */
int tl_conf_fail_unknown(struct tl_conf_ctx *ctx, const struct tl_block *b, const char *option,
                         const char *what, const char *name, const struct tl_blocks *bs);

/* Is TEXT itself PEM, not the name of a file? */
static inline bool tl_conf_is_pem(const char *text) {
  return strncmp(text, "-----BEGIN ", 11) == 0;
}
/* Stores TEXT (N of them; lists may have any number) into B. DIR completes paths. On TL_ECONFIG
 * ERR holds a sentence. */
int tl_value_store(struct tl_block *b, const struct tl_opt *o, const char *const *text, size_t n,
                   const char *dir, char *err, size_t cap);
/* Adds N texts to the list that is B's value of O. */
int tl_value_append(struct tl_block *b, const struct tl_opt *o, const char *const *text, size_t n,
                    const char *dir);
void tl_value_clear(struct tl_block *b, const struct tl_opt *o);
/* B's value of O becomes a copy of FROM's. */
int tl_value_copy(struct tl_block *b, const struct tl_opt *o, const struct tl_block *from);
bool tl_value_equal(const struct tl_opt *o, const struct tl_block *a, const struct tl_block *b);
/* The value as an operator would write it. */
void tl_value_print(const struct tl_opt *o, const struct tl_block *b, FILE *f);

struct tl_raw *tl_raw_new(void);
struct tl_raw *tl_raw_ref(struct tl_raw *r);
/* R may be NULL. */
void tl_raw_unref(struct tl_raw *r);
