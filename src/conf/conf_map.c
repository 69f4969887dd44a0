/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The identity map: which SIP domains and users a certificate may name beside
 * those in it (FEATURES C12). A line is a key, a tabulator, and a comma list of
 * "domain" and "user@domain"; the key is a common name, a subjectAltName or a
 * SHA-256 fingerprint. The proxy applies it (identity_check.c).
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

#define LINES_MAX 100000u
#define LINE_MAX_BYTES 4096

struct tl_conf_map {
  size_t n, cap;
  struct tl_conf_mapping *row;
};

static void row_free(struct tl_conf_mapping *r) {
  for (char **w = r->granted; w && *w; w++) free(*w);
  free(r->granted);
  free(r->key);
}

void tl_conf_map_free(struct tl_conf_map *m) {
  if (!m) return;
  for (size_t i = 0; i < m->n; i++) row_free(&m->row[i]);
  free(m->row);
  free(m);
}

static char *trim_blanks(char *s) {
  while (*s == ' ' || *s == '\t') s++;
  size_t n = strlen(s);
  while (n && strchr(" \t\r\n", s[n - 1])) s[--n] = '\0';
  return s;
}

/* Fingerprints as tl_identity has them: lower case, no colons. Names in lower case. */
static void fold_key(char *s) {
  size_t hex = strspn(s, "0123456789abcdefABCDEF:");
  char *out = s;
  bool digest = s[hex] == '\0' && strlen(s) == 95;
  for (; *s; s++)
    if (!digest || *s != ':') *out++ = (char)tolower((unsigned char)*s);
  *out = '\0';
}

/* "domain" or "user@domain"; the domain in lower case. */
static const char *check_granted(char *granted) {
  struct tl_str host;
  uint16_t port;
  char *at = strrchr(granted, '@'), *domain = at ? at + 1 : granted;
  if (at == granted) return "has no user before the @";
  if (tl_conf_parse_hostport(domain, &host, &port) || port) return "is not a domain or user@domain";
  for (; *domain; domain++) *domain = (char)tolower((unsigned char)*domain);
  return NULL;
}

static int add_granted(struct tl_conf_mapping *r, size_t n, const char *granted) {
  char **more = realloc(r->granted, (n + 2) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  r->granted = more;
  r->granted[n + 1] = NULL;
  return (r->granted[n] = strdup(granted)) ? TL_OK : TL_ENOMEM;
}

static int read_list(struct tl_conf_mapping *r, char *list, struct tl_conf_ctx *ctx,
                     struct tl_conf_pos at) {
  char *save = NULL;
  size_t n = 0;
  int rc = TL_OK;
  for (char *w = strtok_r(list, ",", &save); w && !rc; w = strtok_r(NULL, ",", &save)) {
    w = trim_blanks(w);
    if (!*w) continue;
    const char *wrong = check_granted(w);
    rc = wrong ? tl_conf_fail(ctx, at, "\"%s\" %s", w, wrong) : add_granted(r, n++, w);
  }
  if (!rc && n == 0) rc = tl_conf_fail(ctx, at, "\"%s\" is mapped to nothing", r->key);
  return rc;
}

static int read_row(struct tl_conf_map *m, char *line, struct tl_conf_ctx *ctx,
                    struct tl_conf_pos at) {
  char *tab = strchr(line, '\t');
  if (!tab)
    return tl_conf_fail(ctx, at,
                        "a line is a name or fingerprint, a tabulator, and a comma list of domains "
                        "and user@domain");
  if (m->n == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 64;
    struct tl_conf_mapping *row = realloc(m->row, cap * sizeof(*row));
    if (!row) return TL_ENOMEM;
    m->row = row;
    m->cap = cap;
  }
  struct tl_conf_mapping *r = &m->row[m->n];
  memset(r, 0, sizeof(*r));
  *tab = '\0';
  if (!(r->key = strdup(trim_blanks(line)))) return TL_ENOMEM;
  m->n++;
  if (!*r->key) return tl_conf_fail(ctx, at, "a line begins with a name or fingerprint");
  fold_key(r->key);
  return read_list(r, tab + 1, ctx, at);
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const struct tl_conf_mapping *)a)->key, ((const struct tl_conf_mapping *)b)->key);
}

static int read_rows(struct tl_conf_map *m, FILE *f, const char *file, struct tl_conf_ctx *ctx) {
  char line[LINE_MAX_BYTES];
  struct tl_conf_pos at = {.file = file};
  int rc = TL_OK;
  while (!rc && fgets(line, sizeof(line), f)) {
    at.line++;
    if (!strchr(line, '\n') && !feof(f))
      return tl_conf_fail(ctx, at, "the line is longer than %d bytes", LINE_MAX_BYTES - 2);
    if (m->n == LINES_MAX) return tl_conf_fail(ctx, at, "more than %u entries", LINES_MAX);
    if (line[0] != '#' && line[strspn(line, " \t\r\n")]) rc = read_row(m, line, ctx, at);
  }
  if (m->n) qsort(m->row, m->n, sizeof(*m->row), by_key);
  for (size_t i = 1; i < m->n && !rc; i++)
    if (by_key(&m->row[i - 1], &m->row[i]) == 0)
      rc =
          tl_conf_fail(ctx, (struct tl_conf_pos){file, 0}, "\"%s\" is mapped twice", m->row[i].key);
  return rc;
}

int tl_conf_map_read(const char *file, struct tl_conf_pos option, struct tl_conf_ctx *ctx,
                     struct tl_conf_map **out) {
  FILE *f = fopen(file, "re");
  if (!f) return tl_conf_fail(ctx, option, "cannot read %s: %s", file, strerror(errno));
  *out = calloc(1, sizeof(**out));
  int rc = *out ? read_rows(*out, f, file, ctx) : TL_ENOMEM;
  fclose(f);
  return rc;
}

const struct tl_conf_mapping *tl_conf_mapped(const struct tl_conf *c, const char *key) {
  char low[256];
  size_t n = key ? strlen(key) : 0;
  if (!c->map || n == 0 || n >= sizeof(low)) return NULL;
  for (size_t i = 0; i <= n; i++) low[i] = (char)tolower((unsigned char)key[i]);
  const struct tl_conf_mapping want = {.key = low};
  return bsearch(&want, c->map->row, c->map->n, sizeof(want), by_key);
}
