/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the configuration share: tokens with their position in the
 * files, the table of options, and the values as written.
 *
 * text -> tokens (conf_source) -> grammar (conf_parse) -> blocks of typed values,
 * driven by the table (conf_table, conf_value) -> checks (conf_check) -> the
 * snapshot (conf_build, conf_domain, conf_names).
 *
 * Ownership: said at each structure. Threads: one load at a time uses them, then
 * they are constant. Errors: TL_ECONFIG, after the report.
 */
#pragma once

#include "tieline/conf.h"
#include "tieline/err.h"
#include "tieline/view.h"

#define TL_CONF_INCLUDE_MAX 10 /* depth of include() */
/* Bytes of all files together: 100,000 peers and as many routes, at 200 to 300 bytes each. It
 * bounds what a mistaken include can cost, some 10 times as much memory while loading. */
#define TL_CONF_TEXT_MAX (64u << 20)
#define TL_CONF_NAME_MAX 63      /* of a block's title */
#define TL_CONF_FINGERPRINT 32   /* SHA-256 */
#define TL_CONF_UNSET UINT32_MAX /* an OPT_WORD without a value */

/* ---- problems ---- */

/* A place in a file; FILE is owned by the source. line 0: nowhere. */
struct tl_conf_pos {
  const char *file;
  int line;
};

struct tl_conf_ctx {
  tl_conf_report_fn report;
  void *arg;
  unsigned problems;
  bool quiet; /* no warnings; set by fuzz targets */
};

__attribute__((format(printf, 3, 4))) int tl_conf_fail(struct tl_conf_ctx *ctx,
                                                       struct tl_conf_pos at, const char *fmt, ...);
/* A sentence for the log that does not stop the load. */
__attribute__((format(printf, 3, 4))) void
tl_conf_warn(struct tl_conf_ctx *ctx, struct tl_conf_pos at, const char *fmt, ...);

/* The entry of NAMES (NULL-terminated) nearest to WORD by edit distance, NULL if none is near. */
const char *tl_conf_nearest(const char *word, const char *const *names);

/* ---- tokens ---- */

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

/* ---- options ---- */

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
       TL_OPT_TRUST = 8, /* whom to trust or how long to wait: nothing that a handshake agreed on */
       TL_OPT_ALIAS = 4, /* another name of the option before it, not printed */
       TL_OPT_PEM = 16,  /* of paths: may be PEM text itself, its lines parted by '|' inside */
       TL_OPT_URI = 32,  /* of paths: may be a URI (pkcs11:, file:) */
       TL_OPT_SECRET = 64, /* PEM text of it is never printed */
       TL_OPT_LOWER = 256, /* of lists: kept in lower case, case does not matter */
       TL_OPT_LIVE = 128, /* of paths: read again by itself, its content is no part of the domain */
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

struct tl_conf_section {
  const char *name; /* NULL: the top level */
  bool titled;
  size_t size; /* of the values */
  const struct tl_opt *opt;
  size_t n_opt;
  const char *title_means;
  const char *why;
};

enum tl_section_id {
  TL_SEC_GLOBAL,
  TL_SEC_LIMITS,
  TL_SEC_TIMEOUTS,
  TL_SEC_LISTEN,
  TL_SEC_DOMAIN,
  TL_SEC_DATABASE,
  TL_SEC_PEER,
  TL_SEC_ROUTE,
  TL_SECTIONS
};
extern const struct tl_conf_section tl_conf_sections[TL_SECTIONS];

const struct tl_opt *tl_conf_option(const struct tl_conf_section *s, const char *name);
/* What to say to an option of another product's configuration; NULL if there is nothing. */
const char *tl_conf_foreign(const char *name);

/* ---- values ---- */

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

/* The grammar: tokens of R->source into R's blocks. Stops at the first breach of grammar, reports
 * every bad value. */
int tl_conf_parse(struct tl_raw *r, struct tl_conf_ctx *ctx);
/* Finds values that contradict each other and names that do not exist: every check that needs
 * neither a file nor the network. Also fills in defaults that depend on other options (inheritance,
 * roles, cores). */
int tl_conf_check(struct tl_raw *r, struct tl_conf_ctx *ctx);
/* Runs between the two: turns the rows of tls_database into TLS domains beside those of the files.
 * A row named default replaces the files' default. */
int tl_conf_read_database(struct tl_raw *r, struct tl_conf_ctx *ctx);
struct tl_raw *tl_raw_new(void);
struct tl_raw *tl_raw_ref(struct tl_raw *r);
/* R may be NULL. */
void tl_raw_unref(struct tl_raw *r);

/* ---- addresses as written ---- */

/* "tls:[::1]:5061"; ERR says what is wrong. */
int tl_conf_parse_listen(const char *text, enum tl_transport *out_t, struct tl_addr *out,
                         const char **err);
/* "host[:port]", HOST without port in *OUT_HOST (brackets kept); *OUT_PORT 0 if absent. */
int tl_conf_parse_hostport(const char *text, struct tl_str *out_host, uint16_t *out_port);
/* What "sip:host[:port][;transport=t]" of a peer says; HOST points into the text. */
struct tl_conf_peer_uri {
  enum tl_transport transport; /* udp if none is written */
  struct tl_str host;
  uint16_t port; /* 0: none is written */
  bool sips, any_transport;
};
int tl_conf_parse_peer_uri(const char *text, struct tl_conf_peer_uri *out, const char **err);

/* "TLSv1_2-TLSv1_3", "TLSv1_2-", "TLSv1_3", "SSLv23" or a list of them, to enum tl_tls_version. On
 * TL_ECONFIG *OUT_NOTE says what is wrong; on success it may hold a warning, else NULL. */
int tl_conf_parse_method(const char *text, int *out_min, int *out_max, const char **out_note);

/* ---- the snapshot ---- */

/* An empty one of FILE with the generation after PREVIOUS's (may be NULL); one reference. */
struct tl_conf *tl_conf_new(const char *file, const struct tl_conf *previous);
/* Fills C from C->raw. PREVIOUS lends TLS domains that have not changed. */
int tl_conf_build(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx);
int tl_conf_build_domains(struct tl_conf *c, const struct tl_conf *previous,
                          struct tl_conf_ctx *ctx);
/* The TLS domain of C named NAME (may be NULL), or NULL. Constant time. */
struct tl_tls_domain *tl_conf_domain_named(const struct tl_conf *c, const char *name);

/* conf_peer.c. The peers of C->raw, whose TLS domains are C's; PREVIOUS (may be NULL) lends what is
 * known of them. */
void tl_conf_check_identity(const struct tl_block *b, enum tl_transport t, struct tl_conf_ctx *ctx);
int tl_conf_build_peers(const struct tl_conf *c, const struct tl_peer_table *previous,
                        struct tl_conf_ctx *ctx, struct tl_peer_set **out);
/* conf_route.c: conditions on the source of a request; the routes of C->raw to PEERS. */
void tl_conf_check_source(const struct tl_block *b, struct tl_conf_ctx *ctx);
int tl_conf_build_routes(const struct tl_conf *c, struct tl_peer_set *peers,
                         struct tl_route_table **out);

/* conf_list.c. L may be NULL. */
void tl_conf_list_free(char **l);
/* Is text NUMBER of LIST the first of its kind? SEEN has those that were asked for. TL_ENOMEM. */
int tl_conf_list_note(struct tl_index_map *seen, char *const *list, uint32_t number,
                      bool *out_first);
void tl_conf_check_networks(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx);
int tl_conf_build_networks(char *const *list, struct tl_network **out, size_t *out_n);
/* Warns of suites whose records the running kernel cannot take. */
void tl_conf_warn_offload(const struct tl_conf *c, struct tl_conf_ctx *ctx);
/* The suites of CTX that a kernel with CAN does not take, separated by blanks. */
struct tl_ktls_caps;
void tl_conf_not_offloaded(struct ssl_ctx_st *ctx, const struct tl_ktls_caps *can, char *text,
                           size_t cap);
/* Fails if an option changed that cannot change while running. */
int tl_conf_check_reload(const struct tl_raw *now, const struct tl_raw *before,
                         struct tl_conf_ctx *ctx);

/* A domain's options and every byte of the files they name, as one digest. */
void tl_conf_fingerprint(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]);
/* The same without the options that only decide whom to trust: when one of those changes, connected
 * peers are verified again instead of being disconnected. */
void tl_conf_fingerprint_core(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]);

/* The identity map. OPTION is where the configuration names FILE. */
int tl_conf_map_read(const char *file, struct tl_conf_pos option, struct tl_conf_ctx *ctx,
                     struct tl_conf_map **out);
void tl_conf_map_free(struct tl_conf_map *m);

/* Names and addresses that are ours, for tl_conf_is_local. */
struct tl_conf_names;
int tl_conf_names_new(const struct tl_conf *c, char *const *domains, struct tl_conf_names **out);
void tl_conf_names_free(struct tl_conf_names *n);

/* ---- listeners by address (listen_index.c) ---- */

int tl_listen_index_new(const struct tl_conf *c, struct tl_listen_index **out);
void tl_listen_index_free(struct tl_listen_index *x);
/* The first address of this machine, of the family of ANY, that is not loopback. */
int tl_conf_own_address(const struct tl_addr *any, struct tl_addr *out);
