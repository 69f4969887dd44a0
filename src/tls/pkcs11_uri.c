/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pkcs11: URIs as text (RFC 7512): split into parts, and made fit to be shown.
 * pkcs11.c loads the object.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/pkcs11.h"

#define SCHEME "pkcs11:"

bool tl_tls_uri_of_token(const char *input) {
  return strncmp(input, SCHEME, sizeof(SCHEME) - 1) == 0;
}

/* ---- attributes ---- */

/* Walks over the attributes: separated by ';' in the path, by '&' after the '?' (RFC 7512 2.3). */
struct walk {
  const char *next; /* NULL at the end */
  bool query;
};

static struct walk walk_over(const char *uri) {
  return (struct walk){.next = uri + sizeof(SCHEME) - 1};
}

/* The next attribute, which may be empty. *QUERY: it comes after the '?'. */
static bool walk_on(struct walk *w, bool *query, struct tl_str *out) {
  if (!w->next) return false;
  *out = (struct tl_str){w->next, strcspn(w->next, w->query ? "&" : ";?")};
  *query = w->query;
  const char *end = out->p + out->n;
  w->query = w->query || *end == '?';
  w->next = *end ? end + 1 : NULL;
  return true;
}

/* The value, where the attribute has that name. */
static bool value_of(struct tl_str attr, const char *name, struct tl_str *out) {
  size_t n = strlen(name);
  if (attr.n <= n || attr.p[n] != '=' || strncmp(attr.p, name, n) != 0) return false;
  *out = (struct tl_str){attr.p + n + 1, attr.n - n - 1};
  return true;
}

/* Writes a URI attribute by attribute. */
struct writer {
  FILE *f;
  char *text;
  size_t len, n; /* n: attributes so far */
  bool query;
};

static bool writer_open(struct writer *w) {
  memset(w, 0, sizeof(*w));
  w->f = open_memstream(&w->text, &w->len);
  if (w->f) fputs(SCHEME, w->f);
  return w->f;
}

static void write_attribute(struct writer *w, bool query, struct tl_str a) {
  if (a.n == 0) return;
  if (query && !w->query)
    fputc('?', w->f);
  else if (w->n)
    fputc(query ? '&' : ';', w->f);
  w->query = query;
  w->n++;
  fwrite(a.p, 1, a.n, w->f);
}

static char *writer_close(struct writer *w) {
  if (w->f && fclose(w->f) == 0) return w->text;
  free(w->text);
  return NULL;
}

/* ---- for display ---- */

bool tl_tls_uri_has_pin(const char *input) {
  struct walk w = walk_over(input);
  struct tl_str a, value;
  bool query;
  if (!tl_tls_uri_of_token(input)) return false;
  while (walk_on(&w, &query, &a))
    if (value_of(a, "pin-value", &value)) return true;
  return false;
}

char *tl_tls_uri_shown(const char *uri) {
  struct walk w = walk_over(uri);
  struct writer out;
  struct tl_str a, value;
  bool query;
  if (!tl_tls_uri_of_token(uri)) return strdup(uri);
  if (!writer_open(&out)) return NULL;
  /* No URI contains a blank: what is printed here is refused, and never tried as a PIN. */
  while (walk_on(&w, &query, &a))
    write_attribute(&out, query,
                    value_of(a, "pin-value", &value) ? TL_STR("pin-value=(not shown)") : a);
  return writer_close(&out);
}

/* ---- parsing ---- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 2.1. NULL if it is not text: an invalid escape, or NUL. */
static char *decode_value(struct tl_str s) {
  char *out = OPENSSL_zalloc(s.n + 1);
  size_t k = 0;
  for (size_t i = 0; out && i < s.n; i++) {
    int c = (unsigned char)s.p[i];
    if (c == '%') {
      int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1,
          low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
      c = high < 0 || low < 0 ? 0 : high * 16 + low;
      i += 2;
    }
    if (c == 0) {
      OPENSSL_clear_free(out, s.n + 1);
      return NULL;
    }
    out[k++] = (char)c;
  }
  return out;
}

/* Stores the attributes for PIN and module; false if NAME has an unusable value. */
static bool take_attribute(struct tl_pkcs11_uri *u, struct tl_str a, bool *pin, const char **name) {
  static const char *const names[] = {"pin-value", "pin-source", "module-path"};
  char **field[] = {&u->pin, &u->pin_file, &u->module};
  struct tl_str value;
  *pin = false;
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    if (!value_of(a, *name = names[i], &value)) continue;
    *pin = i < 2;
    return value.n && !*field[i] && (*field[i] = decode_value(value));
  }
  return true;
}

/* RFC 7512 2.4: a file: URI, here also a plain path. "|command" is never run. */
static int check_pin_file(struct tl_pkcs11_uri *u, struct tl_blame *b) {
  char *p = u->pin_file;
  if (!p) return TL_OK;
  if (strncmp(p, "file:", 5) == 0) p += 5;
  if (strncmp(p, "//localhost/", 12) == 0) p += 11;
  if (strncmp(p, "///", 3) == 0) p += 2;
  if (*p != '/')
    return tl_blame_option(b, "private_key", "%s: pin-source must be a file, as in file:/etc/pin",
                           u->shown);
  memmove(u->pin_file, p, strlen(p) + 1);
  return TL_OK;
}

static bool is_printable(const char *uri) {
  for (; *uri; uri++)
    if (*uri <= ' ' || *uri > '~') return false;
  return true;
}

int tl_pkcs11_parse(const char *uri, struct tl_pkcs11_uri *out, struct tl_blame *b) {
  struct walk w = walk_over(uri);
  struct writer bare = {0}, path = {0};
  const char *name = NULL;
  struct tl_str a;
  bool query, pin, good = true;
  memset(out, 0, sizeof(*out));
  if (!(out->shown = tl_tls_uri_shown(uri))) return TL_ENOMEM;
  if (!is_printable(uri))
    return tl_blame_option(b, "private_key", "%s is no URI: write a blank as %%20 (RFC 3986)",
                           out->shown);
  bool open = writer_open(&bare) && writer_open(&path);
  while (open && good && walk_on(&w, &query, &a)) {
    if (!(good = take_attribute(out, a, &pin, &name)) || pin) continue;
    write_attribute(&bare, query, a);
    if (!query) write_attribute(&path, query, a);
  }
  out->bare = writer_close(&bare);
  out->path = writer_close(&path);
  if (!out->bare || !out->path) return TL_ENOMEM;
  if (!good)
    return tl_blame_option(b, "private_key", "%s: %s is empty, there twice, or no text", out->shown,
                           name);
  if (out->pin && out->pin_file)
    return tl_blame_option(b, "private_key", "%s: pin-value and pin-source exclude each other",
                           out->shown);
  return check_pin_file(out, b);
}

void tl_pkcs11_clear(struct tl_pkcs11_uri *u) {
  free(u->shown);
  free(u->bare);
  free(u->path);
  OPENSSL_free(u->module);
  OPENSSL_free(u->pin_file);
  if (u->pin) OPENSSL_clear_free(u->pin, strlen(u->pin));
  memset(u, 0, sizeof(*u));
}
