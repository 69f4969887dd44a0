/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains from an SQL table, in the layout of OpenSIPS' tls_mgm: each row
 * becomes a block as if it stood in a file, so that inheritance, checks and the
 * reload's swap are the same. A row's number serves as its line. Only SQLite is
 * supported; the whole table is read in one transaction.
 */
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/text.h"
#include "conf/conf_internal.h"
#include "tieline/tls_input.h"

#define BUSY_MS 2000         /* for a writer to finish */
#define ROWS_MAX 100000      /* more is a mistake, not a table of domains */
#define VALUE_MAX (1u << 20) /* bytes of one column */
#define LIST_MAX 256         /* values of one list */

/* The option a column sets, and how its value is converted. */
enum meaning { TEXT, FLAG, ROLE, PEM };
static const struct column {
  const char *col, *option; /* option NULL: the name of the domain */
  enum meaning meaning;
  enum tl_pem_kind kind; /* of PEM */
} columns[] = {{"domain_col", NULL, TEXT, 0},
               {"match_ip_address_col", "match_ip_address", TEXT, 0},
               {"match_sip_domain_col", "match_sip_domain", TEXT, 0},
               {"type_col", "role", ROLE, 0},
               {"method_col", "tls_method", TEXT, 0},
               {"verify_cert_col", "verify_cert", FLAG, 0},
               {"require_cert_col", "require_cert", FLAG, 0},
               {"certificate_col", "certificate", PEM, TL_PEM_CERTIFICATE},
               {"private_key_col", "private_key", PEM, TL_PEM_PRIVATE_KEY},
               {"crl_check_all_col", "crl_check_all", FLAG, 0},
               {"crl_dir_col", "crl_dir", TEXT, 0},
               {"ca_list_col", "ca_list", PEM, TL_PEM_CERTIFICATE},
               {"ca_dir_col", "ca_dir", TEXT, 0},
               {"cipher_list_col", "ciphers_list", TEXT, 0},
               {"dh_params_col", "dh_params", PEM, TL_PEM_DH_PARAMETERS},
               {"ec_curve_col", "groups", TEXT, 0}};
enum { COLUMNS = sizeof(columns) / sizeof(*columns) };

struct reading {
  struct tl_raw *raw;
  struct tl_conf_ctx *ctx;
  const struct tl_block *conf; /* the tls_database block */
  const struct tl_v_database *v;
  const char *path;
  bool readable; /* the file is open to every user */
  sqlite3 *db;
  sqlite3_stmt *rows;
  int at[COLUMNS]; /* of the query, -1: the table lacks it */
};

static const char *column_name(const struct reading *r, size_t i) {
  const struct tl_opt *o = tl_conf_option(r->conf->sec, columns[i].col);
  return *(char *const *)((const char *)r->v + o->offset);
}

static int sql_fail(struct reading *r, const char *doing) {
  return tl_conf_fail(r->ctx, tl_block_at(r->conf, "table"),
                      "tls_database: cannot %s table %s of %s: %s", doing, r->v->table, r->path,
                      sqlite3_errmsg(r->db));
}

/* ---- the query ---- */

static bool has_column(sqlite3_stmt *info, const char *name) {
  sqlite3_reset(info);
  while (sqlite3_step(info) == SQLITE_ROW)
    if (sqlite3_stricmp((const char *)sqlite3_column_text(info, 1), name) == 0) return true;
  return false;
}

/* Selects the columns that exist; fails for one that was named but does not. */
static int choose_columns(struct reading *r, sqlite3_stmt *info, sqlite3_str *sql) {
  int n = 1;
  for (size_t i = 0; i < COLUMNS; i++) {
    const char *name = column_name(r, i);
    bool there = name && has_column(info, name);
    r->at[i] = there ? n : -1;
    if (!there && (i == 0 || (name && tl_block_given(r->conf, columns[i].col))))
      return tl_conf_fail(r->ctx, tl_block_at(r->conf, columns[i].col),
                          "tls_database: table %s of %s has no column %s", r->v->table, r->path,
                          name ? name : "for names");
    if (!there) continue;
    sqlite3_str_appendf(sql, ", \"%w\"", name);
    n++;
  }
  return TL_OK;
}

static int prepare_query(struct reading *r) {
  sqlite3_stmt *info = NULL;
  sqlite3_str *sql = sqlite3_str_new(r->db);
  char *ask = sqlite3_mprintf("SELECT * FROM pragma_table_info(%Q)", r->v->table), *text = NULL;
  int rc = TL_OK;
  if (!ask || sqlite3_exec(r->db, "BEGIN", NULL, NULL, NULL) ||
      sqlite3_prepare_v2(r->db, ask, -1, &info, NULL)) {
    rc = sql_fail(r, "look at");
    goto out;
  }
  if (sqlite3_step(info) != SQLITE_ROW) {
    rc = tl_conf_fail(r->ctx, tl_block_at(r->conf, "table"), "tls_database: %s has no table %s",
                      r->path, r->v->table);
    goto out;
  }
  sqlite3_str_appendall(sql, "SELECT rowid");
  if ((rc = choose_columns(r, info, sql))) goto out;
  sqlite3_str_appendf(sql, " FROM \"%w\" ORDER BY rowid", r->v->table);
  text = sqlite3_str_finish(sql);
  sql = NULL;
  if (!text || sqlite3_prepare_v2(r->db, text, -1, &r->rows, NULL)) rc = sql_fail(r, "read");
out:
  sqlite3_finalize(info);
  sqlite3_free(ask);
  sqlite3_free(text);
  sqlite3_free(sqlite3_str_finish(sql));
  return rc;
}

/* ---- values ---- */

/* PEM text somewhere in the N bytes (OpenSSL's -text output may stand before it), or NULL. */
static const char *find_pem(const char *p, size_t n) { return memmem(p, n, "-----BEGIN ", 11); }

/* As in a file: control characters could forge lines. */
static bool is_clean_text(const char *p, size_t n) {
  for (size_t i = 0; i < n;) {
    uint32_t cp;
    size_t len = tl_utf8_next((const uint8_t *)p + i, n - i, &cp);
    if (len == 0 || tl_text_unsafe(cp)) return false;
    i += len;
  }
  return true;
}

static bool is_clean_pem(const char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if ((p[i] < ' ' && p[i] != '\n' && p[i] != '\r') || p[i] > '~') return false;
  return true;
}

/* The value as an operator would write it, malloc'd; *OUT is NULL for none. On TL_ECONFIG *WHY says
 * what is wrong. */
static int value_of(const struct column *col, const char *p, size_t n, char **out,
                    const char **why) {
  const char *pem = col->meaning == PEM ? find_pem(p, n) : NULL;
  *out = NULL;
  if (n == 0) return TL_OK;
  if (pem) {
    size_t len = n - (size_t)(pem - p);
    *why = "PEM text holds something else than lines of ASCII";
    if (!is_clean_pem(pem, len)) return TL_ECONFIG;
    *out = strndup(pem, len);
  } else if (is_clean_text(p, n)) {
    *out = strndup(p, n);
  } else if (col->meaning == PEM) {
    *why = "neither PEM nor DER of its kind, nor the name of a file";
    int rc = tl_tls_pem_of_der(col->kind, (const uint8_t *)p, n, out);
    return rc == TL_ESYNTAX ? TL_ECONFIG : rc;
  } else {
    *why = "a control character, or bytes that are no UTF-8";
    return TL_ECONFIG;
  }
  return *out ? TL_OK : TL_ENOMEM;
}

static const char *word_of(const struct column *col, const char *text) {
  if (col->meaning == FLAG)
    return strcmp(text, "1") == 0 ? "true" : strcmp(text, "0") == 0 ? "false" : text;
  if (col->meaning == ROLE)
    return strcmp(text, "1") == 0   ? "client"
           : strcmp(text, "2") == 0 ? "server"
           : strcmp(text, "0") == 0 ? "both"
                                    : text;
  return text;
}

/* Stores TEXT in the option of COL; list items are separated by commas. Modifies TEXT. */
static int store_text(struct reading *r, struct tl_block *b, const struct column *col, char *text) {
  const struct tl_opt *o = tl_conf_option(b->sec, col->option);
  const char *list[LIST_MAX];
  char err[256], *save = NULL;
  size_t n = 0;
  if (o->kind == TL_OPT_LIST) {
    for (char *w = strtok_r(text, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
      if (n == LIST_MAX)
        return tl_conf_fail(r->ctx, b->pos,
                            "tls_domain \"%s\": column %s lists more than %d values", b->title,
                            column_name(r, (size_t)(col - columns)), LIST_MAX);
      list[n++] = w;
    }
  } else {
    list[n++] = word_of(col, text);
  }
  int rc = tl_value_store(b, o, list, n, r->raw->dir, err, sizeof(err));
  if (rc == TL_ECONFIG) return tl_conf_fail(r->ctx, b->pos, "tls_domain \"%s\": %s", b->title, err);
  b->at[o - b->sec->opt] = b->pos;
  return rc;
}

static int take_column(struct reading *r, struct tl_block *b, size_t i) {
  const struct column *col = &columns[i];
  const struct tl_tls_options *d = b->values;
  const char *why = NULL;
  char *text = NULL;
  if (r->at[i] < 0 || sqlite3_column_type(r->rows, r->at[i]) == SQLITE_NULL) return TL_OK;
  const char *p = sqlite3_column_blob(r->rows, r->at[i]);
  size_t n = (size_t)sqlite3_column_bytes(r->rows, r->at[i]);
  if (n > VALUE_MAX)
    return tl_conf_fail(r->ctx, b->pos, "tls_domain \"%s\": column %s has more than %u bytes",
                        b->title, column_name(r, i), VALUE_MAX);
  int rc = value_of(col, p, n, &text, &why);
  if (rc == TL_ECONFIG)
    rc = tl_conf_fail(r->ctx, b->pos, "tls_domain \"%s\": column %s: %s", b->title,
                      column_name(r, i), why);
  if (!rc && text) rc = store_text(r, b, col, text);
  bool pin = text && tl_tls_uri_has_pin(text);
  if (!rc && r->readable && d->private_key && text && (pin || tl_conf_is_pem(text)) &&
      strcmp(col->option, "private_key") == 0)
    rc = tl_conf_fail(r->ctx, b->pos,
                      "tls_domain \"%s\": a %s stands in %s, which is open to every user of "
                      "this machine: chmod o-rwx it",
                      b->title, pin ? "token's PIN" : "private key", r->path);
  if (text) OPENSSL_cleanse(text, strlen(text));
  free(text);
  return rc;
}

/* ---- rows ---- */

/* The block for a row: the files' default with its values dropped, or one more. */
static int block_for_row(struct reading *r, const char *title, struct tl_conf_pos pos,
                         struct tl_block **out) {
  const struct tl_conf_section *sec = &tl_conf_sections[TL_SEC_DOMAIN];
  struct tl_blocks *bs = &r->raw->sec[TL_SEC_DOMAIN];
  struct tl_block *same = tl_blocks_find(bs, title);
  if (!same) return tl_blocks_add(bs, sec, title, out);
  *out = same;
  if (same->pos.file == r->raw->database || strcmp(title, "default") != 0)
    return tl_conf_fail(r->ctx, pos,
                        "there is already a tls_domain block named \"%s\", at %s:%d; one that is "
                        "client and server has type 0",
                        title, same->pos.file, same->pos.line);
  tl_block_free(same);
  return tl_block_init(same, sec, title);
}

static int take_row(struct reading *r) {
  sqlite3_int64 id = sqlite3_column_int64(r->rows, 0);
  struct tl_conf_pos pos = {r->raw->database, id > 0 && id < INT32_MAX ? (int)id : INT32_MAX};
  const char *title = (const char *)sqlite3_column_text(r->rows, r->at[0]);
  size_t n = (size_t)sqlite3_column_bytes(r->rows, r->at[0]);
  struct tl_block *b = NULL;
  if (!title || n == 0 || n > TL_CONF_NAME_MAX || strlen(title) != n || !is_clean_text(title, n))
    return tl_conf_fail(r->ctx, pos,
                        "column %s: the name of a TLS domain has 1 to %d bytes of text",
                        column_name(r, 0), TL_CONF_NAME_MAX);
  int rc = block_for_row(r, title, pos, &b);
  if (rc) return rc;
  b->pos = pos;
  for (size_t i = 1; i < COLUMNS; i++) {
    int bad = take_column(r, b, i);
    if (bad == TL_ENOMEM) return bad;
    if (bad) rc = bad;
  }
  return rc;
}

static int read_rows(struct reading *r) {
  int step, n = 0, rc = 0;
  while ((step = sqlite3_step(r->rows)) == SQLITE_ROW) {
    if (++n > ROWS_MAX)
      return tl_conf_fail(r->ctx, tl_block_at(r->conf, "table"),
                          "tls_database: table %s of %s has more than %d rows", r->v->table,
                          r->path, ROWS_MAX);
    int bad = take_row(r);
    if (bad == TL_ENOMEM) return bad;
    if (bad) rc = bad;
  }
  return step == SQLITE_DONE ? rc : sql_fail(r, "read");
}

/* FILE of "sqlite:FILE", also written sqlite:///FILE as other products do; malloc'd. */
static char *path_of(const char *url, const char *dir) {
  char *out = NULL;
  if (strncmp(url, "sqlite:", 7) != 0 || !url[7]) return NULL;
  url += 7;
  if (strncmp(url, "///", 3) == 0) url += 2;
  if (asprintf(&out, "%s%s%s", *url == '/' ? "" : dir, *url == '/' ? "" : "/", url) < 0)
    return NULL;
  return out;
}

static int open_database(struct reading *r) {
  struct stat st;
  if (stat(r->path, &st) == 0) r->readable = st.st_mode & S_IRWXO;
  if (sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL))
    return tl_conf_fail(r->ctx, tl_block_at(r->conf, "url"), "tls_database: cannot open %s: %s",
                        r->path, r->db ? sqlite3_errmsg(r->db) : "out of memory");
  sqlite3_busy_timeout(r->db, BUSY_MS);
  return TL_OK;
}

int tl_conf_read_database(struct tl_raw *raw, struct tl_conf_ctx *ctx) {
  struct reading r = {
      .raw = raw, .ctx = ctx, .conf = &raw->sec[TL_SEC_DATABASE].b[0], .v = tl_raw_database(raw)};
  if (!r.v->url) return TL_OK;
  char *path = path_of(r.v->url, raw->dir);
  r.path = path;
  int rc;
  if (!path || !r.v->table)
    rc = tl_conf_fail(ctx, tl_block_at(r.conf, path ? "table" : "url"),
                      path ? "tls_database needs a table"
                           : "url is written \"sqlite:FILE\"; no other database is spoken");
  else if (asprintf(&raw->database, "%s, table %s, row", path, r.v->table) < 0)
    rc = TL_ENOMEM;
  else
    rc = open_database(&r);
  if (!rc) rc = prepare_query(&r);
  if (!rc) rc = read_rows(&r);
  sqlite3_finalize(r.rows);
  sqlite3_close(r.db);
  free(path);
  return rc;
}
