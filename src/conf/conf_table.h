/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of options: what an operator may write, and what it means. The
 * manual's tables and `check` are made from it, too.
 *
 * Ownership: constants. Threads: any. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TL_CONF_UNSET UINT32_MAX /* a TL_OPT_WORD without a value */

enum tl_opt_kind {
  TL_OPT_STR,   /* char *, NULL when empty */
  TL_OPT_LIST,  /* char **, NULL-terminated, NULL when empty */
  TL_OPT_PATH,  /* char *, made absolute */
  TL_OPT_PATHS, /* char **, each made absolute */
  TL_OPT_BOOL,  /* bool */
  TL_OPT_NUM,   /* uint32_t */
  TL_OPT_SIZE,  /* uint32_t, bytes: 64k */
  TL_OPT_TIME,  /* uint32_t, milliseconds: 500ms, 30s */
  TL_OPT_WORD,  /* uint32_t, index into words, TL_CONF_UNSET */
};

enum {                     /* flags of an option */
       TL_OPT_FIXED = 1,   /* cannot change while running */
       TL_OPT_INHERIT = 2, /* an unset one takes the value of tls_domain "default" */
       TL_OPT_ALIAS = 4,   /* another name of the option before it, not printed */
       TL_OPT_TRUST = 8, /* whom to trust or how long to wait: nothing that a handshake agreed on */
       TL_OPT_PEM = 16,  /* of paths: may be PEM text itself, its lines parted by '|' inside */
       TL_OPT_URI = 32,  /* of paths: may be a URI (pkcs11:, file:) */
       TL_OPT_SECRET = 64, /* PEM text of it is never printed */
       TL_OPT_LIVE =
           128, /* of paths: read again by itself, its content is not part of the domain */
       TL_OPT_LOWER = 256, /* of lists: kept in lower case, case does not matter */
       TL_OPT_STATE = 512, /* of paths: the default moves with the state directory, state_path.h */
};

struct tl_opt {
  const char *name;
  enum tl_opt_kind kind;
  size_t offset;           /* in the block's values */
  const char *def;         /* as an operator would write it, NULL: none */
  const char *def_note;    /* the meaning of no value, for print and the manual */
  uint32_t lo, hi;         /* bounds of numbers */
  const char *const *word; /* NULL-terminated */
  unsigned flags;
  unsigned group;  /* options of one group (not 0) are inherited together or not at all */
  const char *why; /* one sentence: its effect, and the reason for it */
};

enum tl_section_id {
  TL_SEC_GLOBAL,
  TL_SEC_LIMITS,
  TL_SEC_TIMEOUTS,
  TL_SEC_LISTEN,
  TL_SEC_DOMAIN,
  TL_SEC_DATABASE,
  TL_SEC_PEER,
  TL_SEC_GROUP,
  TL_SEC_MEMBER,
  TL_SEC_ROUTE,
  TL_SECTIONS
};

struct tl_conf_section {
  const char *name; /* NULL: the top level */
  bool titled;
  size_t size; /* of the values */
  const struct tl_opt *opt;
  size_t n_opt;
  const char *title_means;
  const char *why;
  enum tl_section_id within; /* whose blocks its own stand in */
};

extern const struct tl_conf_section tl_conf_sections[TL_SECTIONS];

const struct tl_opt *tl_conf_option(const struct tl_conf_section *s, const char *name);
/* What to say to an option of another product's configuration; NULL if there is nothing. */
const char *tl_conf_foreign(const char *name);
