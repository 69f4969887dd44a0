/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of options: units, lists and words to typed fields and back. It judges
 * one value at a time; contradictions between values are found by conf_check.c.
 */
#include <ctype.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "conf/conf_block.h"

struct unit {
  const char *name;
  uint64_t factor;
};

/* Largest first: printing takes the first that divides. */
static const struct unit size_units[] = {{"g", 1u << 30}, {"m", 1u << 20}, {"k", 1u << 10}};
static const struct unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static const struct unit *units_of(enum tl_opt_kind k, size_t *n) {
  if (k == TL_OPT_SIZE) {
    *n = sizeof(size_units) / sizeof(size_units[0]);
    return size_units;
  }
  *n = k == TL_OPT_TIME ? sizeof(time_units) / sizeof(time_units[0]) : 0;
  return time_units;
}

static void *value_field(const struct tl_block *b, const struct tl_opt *o) {
  return (char *)b->values + o->offset;
}

static void format_number(enum tl_opt_kind k, uint32_t v, char *buf, size_t cap) {
  size_t n;
  const struct unit *u = units_of(k, &n);
  for (size_t i = 0; v && i < n; i++)
    if (v % u[i].factor == 0) {
      snprintf(buf, cap, "%" PRIu64 "%s", v / u[i].factor, u[i].name);
      return;
    }
  snprintf(buf, cap, "%" PRIu32, v);
}

static int parse_number(const struct tl_opt *o, const char *text, uint32_t *out, char *err,
                        size_t cap) {
  size_t digits = strspn(text, "0123456789"), n_unit;
  const struct unit *u = units_of(o->kind, &n_unit);
  uint64_t v = 0, factor = 1;
  for (size_t i = 0; i < digits && v <= UINT32_MAX; i++) v = v * 10 + (uint64_t)(text[i] - '0');
  if (text[digits] || digits == 0) {
    factor = 0;
    for (size_t i = 0; i < n_unit && digits; i++)
      if (strcmp(text + digits, u[i].name) == 0) factor = u[i].factor;
  }
  if (factor == 0 || (o->kind == TL_OPT_TIME && !text[digits] && v)) {
    const char *want = o->kind == TL_OPT_TIME   ? "a time such as 500ms, 30s, 5m, 1h or 0"
                       : o->kind == TL_OPT_SIZE ? "a size such as 4096, 64k or 1m"
                                                : "a whole number";
    snprintf(err, cap, "%s must be %s, not \"%s\"", o->name, want, text);
    return TL_ECONFIG;
  }
  v = v > UINT32_MAX ? v : v * factor;
  if (v < o->lo || v > o->hi) {
    char lo[32], hi[32];
    format_number(o->kind, o->lo, lo, sizeof(lo));
    format_number(o->kind, o->hi, hi, sizeof(hi));
    snprintf(err, cap, "%s must be between %s and %s, not %s", o->name, lo, hi, text);
    return TL_ECONFIG;
  }
  *out = (uint32_t)v;
  return TL_OK;
}

static int parse_bool(const struct tl_opt *o, const char *text, bool *out, char *err, size_t cap) {
  static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
  for (size_t i = 0; i < 3; i++) {
    if (strcasecmp(text, yes[i]) == 0) return *out = true, 0;
    if (strcasecmp(text, no[i]) == 0) return *out = false, 0;
  }
  snprintf(err, cap, "%s must be true or false, not \"%s\"", o->name, text);
  return TL_ECONFIG;
}

static int parse_word(const struct tl_opt *o, const char *text, uint32_t *out, char *err,
                      size_t cap) {
  char all[160] = "";
  if (!*text && !o->def) return *out = TL_CONF_UNSET, 0;
  for (uint32_t i = 0; o->word[i]; i++) {
    if (strcmp(text, o->word[i]) == 0) return *out = i, 0;
    size_t n = strlen(all);
    snprintf(all + n, sizeof(all) - n, "%s%s",
             i == 0           ? ""
             : o->word[i + 1] ? ", "
                              : " or ",
             o->word[i]);
  }
  snprintf(err, cap, "%s must be %s, not \"%s\"", o->name, all, text);
  return TL_ECONFIG;
}

/* PEM text as a token has it, its lines separated by '|', or as it was stored before. */
static char *pem_text(const char *text) {
  char *s = NULL;
  if (asprintf(&s, "%s\n", text) < 0) return NULL;
  for (char *p = s; *p; p++)
    if (*p == '|') *p = '\n';
  return s;
}

/* Begins with a scheme (RFC 3986 3.1). A file of such a name is written with "./". */
static bool is_uri(const char *text) {
  size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
  return n > 1 && text[n] == ':' && text[0] >= 'a' && text[0] <= 'z';
}

/* An empty string means no value, so that an inherited option can be unset. */
static int store_string(char **out, const struct tl_opt *o, const char *text, const char *dir) {
  bool path = o->kind == TL_OPT_PATH || o->kind == TL_OPT_PATHS;
  char *s = NULL;
  if (path && (o->flags & TL_OPT_PEM) && tl_conf_is_pem(text)) {
    if (!(s = pem_text(text))) return TL_ENOMEM;
  } else if (path && text[0] && text[0] != '/' && dir &&
             !((o->flags & TL_OPT_URI) && is_uri(text))) {
    if (asprintf(&s, "%s/%s", dir, text) < 0) return TL_ENOMEM;
  } else if (*text && !(s = strdup(text))) {
    return TL_ENOMEM;
  }
  free(*out);
  *out = s;
  return TL_OK;
}

static void string_free(const struct tl_opt *o, char *s) {
  if (s && (o->flags & TL_OPT_SECRET)) OPENSSL_cleanse(s, strlen(s));
  free(s);
}

static void list_free(const struct tl_opt *o, char **l) {
  for (size_t i = 0; l && l[i]; i++) string_free(o, l[i]);
  free(l);
}

static size_t list_len(char *const *l) {
  size_t n = 0;
  while (l && l[n]) n++;
  return n;
}

static void lower_text(char *s) {
  for (; *s; s++) *s = (char)tolower((unsigned char)*s);
}

static int store_list(char ***out, const struct tl_opt *o, const char *const *text, size_t n,
                      const char *dir) {
  char **l = calloc(n + 1, sizeof(*l));
  if (!l) return TL_ENOMEM;
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    if (store_string(&l[k], o, text[i], dir)) {
      list_free(o, l);
      return TL_ENOMEM;
    }
    if (l[k] && (o->flags & TL_OPT_LOWER)) lower_text(l[k]);
    if (l[k]) k++;
  }
  list_free(o, *out);
  *out = k ? l : NULL;
  if (!k) free(l);
  return TL_OK;
}

int tl_value_store(struct tl_block *b, const struct tl_opt *o, const char *const *text, size_t n,
                   const char *dir, char *err, size_t cap) {
  void *f = value_field(b, o);
  switch (o->kind) {
  case TL_OPT_STR:
  case TL_OPT_PATH: return store_string(f, o, n ? text[0] : "", dir);
  case TL_OPT_LIST:
  case TL_OPT_PATHS: return store_list(f, o, text, n, dir);
  case TL_OPT_BOOL: return parse_bool(o, text[0], f, err, cap);
  case TL_OPT_WORD: return parse_word(o, text[0], f, err, cap);
  case TL_OPT_NUM:
  case TL_OPT_SIZE:
  case TL_OPT_TIME: return parse_number(o, text[0], f, err, cap);
  }
  return TL_EINVAL;
}

int tl_value_append(struct tl_block *b, const struct tl_opt *o, const char *const *text, size_t n,
                    const char *dir) {
  char ***list = value_field(b, o), **more = NULL;
  int rc = store_list(&more, o, text, n, dir);
  if (rc || !more) return rc;
  size_t have = list_len(*list), add = list_len(more);
  char **joined = realloc(*list, (have + add + 1) * sizeof(*joined));
  if (!joined) {
    list_free(o, more);
    return TL_ENOMEM;
  }
  memcpy(joined + have, more, (add + 1) * sizeof(*joined));
  free(more);
  *list = joined;
  return TL_OK;
}

static bool is_string(const struct tl_opt *o) {
  return o->kind == TL_OPT_STR || o->kind == TL_OPT_PATH;
}

void tl_value_clear(struct tl_block *b, const struct tl_opt *o) {
  if (o->flags & TL_OPT_ALIAS) return;
  if (tl_opt_is_list(o)) {
    char ***l = value_field(b, o);
    list_free(o, *l);
    *l = NULL;
  } else if (is_string(o)) {
    char **s = value_field(b, o);
    string_free(o, *s);
    *s = NULL;
  }
}

int tl_value_copy(struct tl_block *b, const struct tl_opt *o, const struct tl_block *from) {
  if (tl_opt_is_list(o)) {
    char **l = *(char ***)value_field(from, o);
    return store_list(value_field(b, o), o, (const char *const *)l, list_len(l), NULL);
  }
  if (is_string(o)) {
    char *s = *(char **)value_field(from, o);
    return store_string(value_field(b, o), o, s ? s : "", NULL);
  }
  memcpy(value_field(b, o), value_field(from, o),
         o->kind == TL_OPT_BOOL ? sizeof(bool) : sizeof(uint32_t));
  return TL_OK;
}

bool tl_value_equal(const struct tl_opt *o, const struct tl_block *a, const struct tl_block *b) {
  if (tl_opt_is_list(o)) {
    char **x = *(char ***)value_field(a, o), **y = *(char ***)value_field(b, o);
    if (!x || !y) return x == y;
    while (*x && *y && strcmp(*x, *y) == 0) x++, y++;
    return !*x && !*y;
  }
  if (is_string(o)) {
    const char *x = *(char **)value_field(a, o), *y = *(char **)value_field(b, o);
    return x && y ? strcmp(x, y) == 0 : x == y;
  }
  if (o->kind == TL_OPT_BOOL) return *(bool *)value_field(a, o) == *(bool *)value_field(b, o);
  return *(uint32_t *)value_field(a, o) == *(uint32_t *)value_field(b, o);
}

/* Of a key in the configuration only a digest is printed: enough to see that it changed. */
static void print_secret(const char *s, FILE *f) {
  uint8_t md[32];
  unsigned n = 0;
  if (EVP_Digest(s, strlen(s), md, &n, EVP_sha256(), NULL) != 1) n = 0;
  fputs("\"-----BEGIN (not shown; SHA-256 ", f);
  for (unsigned i = 0; i < n; i++) fprintf(f, "%02x", md[i]);
  fputs(")\"", f);
}

/* PEM text on one line, in a form that can be loaded again. */
static void print_pem(const char *s, FILE *f) {
  size_t n = strlen(s);
  while (n && s[n - 1] == '\n') n--;
  fputc('"', f);
  for (size_t i = 0; i < n; i++) fputc(s[i] == '\n' ? '|' : s[i], f);
  fputc('"', f);
}

static void print_quoted(const char *s, FILE *f) {
  fputc('"', f);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\' || *s == '$') fputc('\\', f);
    fputc(*s, f);
  }
  fputc('"', f);
}

static void print_string(const struct tl_opt *o, const char *s, FILE *f) {
  char *uri = NULL;
  if (tl_conf_is_pem(s) && (o->flags & TL_OPT_PEM)) {
    if (o->flags & TL_OPT_SECRET)
      print_secret(s, f);
    else
      print_pem(s, f);
    return;
  }
  /* Of a PIN not even a digest: it could be guessed from that. */
  if ((o->flags & TL_OPT_URI) && !(uri = tl_tls_uri_shown(s))) s = "";
  print_quoted(uri ? uri : s, f);
  free(uri);
}

void tl_value_print(const struct tl_opt *o, const struct tl_block *b, FILE *f) {
  const void *v = value_field(b, o);
  char buf[32];
  if (tl_opt_is_list(o)) {
    char **l = *(char *const *const *)v ? *(char ***)value_field(b, o) : NULL;
    fputc('{', f);
    for (size_t i = 0; l && l[i]; i++) {
      fputs(i ? ", " : " ", f);
      print_string(o, l[i], f);
    }
    fputs(l ? " }" : "}", f);
  } else if (is_string(o)) {
    const char *s = *(char *const *)v;
    print_string(o, s ? s : "", f);
  } else if (o->kind == TL_OPT_BOOL) {
    fputs(*(const bool *)v ? "true" : "false", f);
  } else if (o->kind == TL_OPT_WORD) {
    uint32_t w = *(const uint32_t *)v;
    fputs(w == TL_CONF_UNSET ? "\"\"" : o->word[w], f);
  } else {
    format_number(o->kind, *(const uint32_t *)v, buf, sizeof(buf));
    fputs(buf, f);
  }
}
