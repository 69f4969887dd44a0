/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a configuration as tokens, each with its file and line.
 *
 * Strings, comments, ${NAME} and include() are dealt with here, so that the
 * grammar sees one flat sequence of tokens and every later error can name its
 * line. Nothing here knows about options: see conf_parse.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "conf/conf_source.h"

/* One file being read. */
struct reader {
  struct tl_conf_source *s;
  struct tl_conf_ctx *ctx;
  const char *p, *end;
  struct tl_conf_pos pos;
  unsigned depth;
  bool allow_include;
};

/* A word under construction. */
struct word {
  char *p;
  size_t n, cap;
};

static int read_file(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *name,
                     struct tl_conf_pos from, unsigned depth);

static int word_add(struct word *w, const char *p, size_t n) {
  if (w->n + n + 1 > w->cap) {
    size_t cap = (w->n + n + 1) * 2;
    char *q = realloc(w->p, cap);
    if (!q) return TL_ENOMEM;
    w->p = q;
    w->cap = cap;
  }
  if (n) memcpy(w->p + w->n, p, n);
  w->n += n;
  w->p[w->n] = '\0';
  return TL_OK;
}

/* Takes ownership of TEXT of kind 's', unless memory is short. */
static int token_add(struct reader *r, char kind, char *text, struct tl_conf_pos pos) {
  struct tl_conf_source *s = r->s;
  if (s->n_token == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 256;
    struct tl_conf_token *t = realloc(s->token, cap * sizeof(*t));
    if (!t) return TL_ENOMEM;
    s->token = t;
    s->cap = cap;
  }
  s->token[s->n_token++] = (struct tl_conf_token){.kind = kind, .text = text, .pos = pos};
  return TL_OK;
}

/* ${NAME} or ${NAME:-otherwise} at R->p, after the "${". */
static int expand_variable(struct reader *r, struct word *w) {
  const char *start = r->p;
  while (r->p < r->end && *r->p != '}' && *r->p != '\n') r->p++;
  if (r->p == r->end || *r->p != '}')
    return tl_conf_fail(r->ctx, r->pos, "\"${\" has no closing \"}\" on this line");
  size_t n = (size_t)(r->p++ - start);
  char name[256];
  if (n == 0 || n >= sizeof(name))
    return tl_conf_fail(r->ctx, r->pos, "the name in ${...} is empty or too long");
  memcpy(name, start, n);
  name[n] = '\0';
  char *otherwise = strstr(name, ":-");
  if (otherwise) *otherwise = '\0', otherwise += 2;
  const char *value = getenv(name);
  if (!value) value = otherwise;
  if (!value)
    return tl_conf_fail(r->ctx, r->pos,
                        "the environment variable %s is not set; ${%s:-value} gives a default",
                        name, name);
  return word_add(w, value, strlen(value));
}

/* The end of a line inside quotes: only PEM text has several. It becomes '|', which no PEM line
 * contains: the form in which PEM text is written on one line. */
static int pem_line_end(struct reader *r, struct word *w, struct tl_conf_pos start) {
  if (w->n < 11 || memcmp(w->p, "-----BEGIN ", 11) != 0)
    return tl_conf_fail(r->ctx, start, "the string that starts here has no closing quote");
  r->pos.line++;
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t')) r->p++;
  return word_add(w, "|", 1);
}

/* The rest of a word after its opening double quote. */
static int read_double_quoted(struct reader *r, struct word *w) {
  struct tl_conf_pos start = r->pos;
  int rc = TL_OK;
  while (!rc && r->p < r->end && *r->p != '"') {
    char c = *r->p++;
    if (c == '$' && r->p < r->end && *r->p == '{') {
      r->p++;
      rc = expand_variable(r, w);
    } else if (c == '\\') {
      if (r->p == r->end) break;
      c = *r->p++;
      if (c == '\n')
        r->pos.line++;
      else if (c == '\\' || c == '"' || c == '$')
        rc = word_add(w, &c, 1);
      else
        rc = tl_conf_fail(
            r->ctx, r->pos,
            "\"\\%c\" is not a valid escape: only \\\\, \\\" and \\$ are (in '...' a backslash "
            "is itself)",
            c >= ' ' && c < 127 ? c : '?');
    } else if (c == '\n') {
      rc = pem_line_end(r, w, start);
    } else if (c != '\r' || r->p == r->end || *r->p != '\n') {
      rc = word_add(w, &c, 1);
    }
  }
  if (rc) return rc;
  if (r->p == r->end)
    return tl_conf_fail(r->ctx, start, "the string that starts here has no closing quote");
  r->p++;
  return TL_OK;
}

static int read_single_quoted(struct reader *r, struct word *w) {
  struct tl_conf_pos start = r->pos;
  int rc = TL_OK;
  while (!rc && r->p < r->end && *r->p != '\'') {
    size_t n = 0, left = (size_t)(r->end - r->p);
    while (n < left && r->p[n] != '\'' && r->p[n] != '\n') n++;
    size_t keep = n && n < left && r->p[n] == '\n' && r->p[n - 1] == '\r' ? n - 1 : n;
    rc = word_add(w, r->p, keep);
    r->p += n;
    if (!rc && r->p < r->end && *r->p == '\n') {
      r->p++;
      rc = pem_line_end(r, w, start);
    }
  }
  if (rc) return rc;
  if (r->p == r->end)
    return tl_conf_fail(r->ctx, start, "the string that starts here has no closing quote");
  r->p++;
  return TL_OK;
}

static bool ends_bare(const char *p, const char *end) {
  return strchr(" \t\r\n{}=(),#\"'", *p) != NULL || (*p == '+' && p + 1 < end && p[1] == '=');
}

static int read_bare(struct reader *r, struct word *w) {
  int rc = TL_OK;
  while (!rc && r->p < r->end && !ends_bare(r->p, r->end)) {
    if (*r->p == '$' && r->end - r->p > 1 && r->p[1] == '{') {
      r->p += 2;
      rc = expand_variable(r, w);
    } else {
      rc = word_add(w, r->p++, 1);
    }
  }
  return rc;
}

/* Refuses control characters, which could forge a line: values reach logs, terminals and SIP
 * headers. */
static int check_text(struct reader *r, const struct word *w, struct tl_conf_pos at) {
  for (size_t i = 0; i < w->n;) {
    uint32_t cp;
    size_t n = tl_utf8_next((const uint8_t *)w->p + i, w->n - i, &cp);
    if (n == 0) return tl_conf_fail(r->ctx, at, "this text is not UTF-8");
    if (tl_text_unsafe(cp))
      return tl_conf_fail(r->ctx, at, "this text holds a control character (U+%04X)", (unsigned)cp);
    i += n;
  }
  return TL_OK;
}

static int read_word(struct reader *r, struct word *w, struct tl_conf_pos *out_pos) {
  *out_pos = r->pos;
  int rc = word_add(w, "", 0);
  if (rc) return rc;
  if (*r->p == '"') {
    r->p++;
    rc = read_double_quoted(r, w);
  } else if (*r->p == '\'') {
    r->p++;
    rc = read_single_quoted(r, w);
  } else {
    rc = read_bare(r, w);
  }
  return rc ? rc : check_text(r, w, *out_pos);
}

/* White space and comments; an error only for an unterminated comment. */
static int skip_space(struct reader *r) {
  while (r->p < r->end) {
    if (*r->p == '\n') {
      r->pos.line++;
      r->p++;
    } else if (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') {
      r->p++;
    } else if (*r->p == '#' || (r->end - r->p > 1 && r->p[0] == '/' && r->p[1] == '/')) {
      while (r->p < r->end && *r->p != '\n') r->p++;
    } else if (r->end - r->p > 1 && r->p[0] == '/' && r->p[1] == '*') {
      struct tl_conf_pos start = r->pos;
      for (r->p += 2; r->end - r->p > 1 && !(r->p[0] == '*' && r->p[1] == '/'); r->p++)
        if (*r->p == '\n') r->pos.line++;
      if (r->end - r->p < 2)
        return tl_conf_fail(r->ctx, start, "the comment that starts here has no end");
      r->p += 2;
    } else {
      return TL_OK;
    }
  }
  return TL_OK;
}

/* NAME relative to the file that includes it. */
static char *path_beside(const char *file, const char *name) {
  const char *slash = strrchr(file, '/');
  char *path = NULL;
  if (name[0] == '/' || !slash) return strdup(name);
  if (asprintf(&path, "%.*s/%s", (int)(slash - file), file, name) < 0) return NULL;
  return path;
}

/* The ( "name" ) that follows the word include. */
static int read_include(struct reader *r, struct tl_conf_pos at) {
  struct word w = {0};
  struct tl_conf_pos pos;
  char *path = NULL;
  int rc = skip_space(r);
  if (rc) goto out;
  if (r->p == r->end || *r->p != '(') {
    rc = tl_conf_fail(r->ctx, at, "include is written include(\"file\")");
    goto out;
  }
  r->p++;
  if ((rc = skip_space(r))) goto out;
  if (r->p < r->end && !strchr("{}=(),", *r->p) && (rc = read_word(r, &w, &pos))) goto out;
  if ((rc = skip_space(r))) goto out;
  if (w.n == 0 || r->p == r->end || *r->p != ')') {
    rc = tl_conf_fail(r->ctx, at, "include is written include(\"file\")");
    goto out;
  }
  r->p++;
  if (!r->allow_include) {
    rc = tl_conf_fail(r->ctx, at, "include is not allowed here");
    goto out;
  }
  rc = (path = path_beside(r->pos.file, w.p)) ? read_file(r->s, r->ctx, path, at, r->depth + 1)
                                              : TL_ENOMEM;
out:
  free(path);
  free(w.p);
  return rc;
}

static int next_token(struct reader *r) {
  static char marks[][3] = {"{", "}", "=", ",", "+="};
  char c = *r->p;
  for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++) {
    size_t n = strlen(marks[i]);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, marks[i], n) != 0) continue;
    r->p += n;
    return token_add(r, c, marks[i], r->pos);
  }
  if (c == '(' || c == ')') return tl_conf_fail(r->ctx, r->pos, "unexpected \"%c\"", c);
  bool quoted = c == '"' || c == '\'';
  struct word w = {0};
  struct tl_conf_pos pos;
  int rc = read_word(r, &w, &pos);
  if (!rc && !quoted && strcmp(w.p, "include") == 0) {
    rc = read_include(r, pos);
  } else if (!rc) {
    rc = token_add(r, 's', w.p, pos);
    if (!rc) return TL_OK;
  }
  free(w.p);
  return rc;
}

static int read_text(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *name,
                     const char *text, size_t n, unsigned depth, bool allow_include) {
  char **file = realloc(s->file, (s->n_file + 1) * sizeof(*file));
  if (!file) return TL_ENOMEM;
  s->file = file;
  if (!(file[s->n_file] = strdup(name))) return TL_ENOMEM;
  struct reader r = {.s = s,
                     .ctx = ctx,
                     .p = text,
                     .end = text + n,
                     .pos = {file[s->n_file++], 1},
                     .depth = depth,
                     .allow_include = allow_include};
  if (n && memchr(text, '\0', n)) return tl_conf_fail(ctx, r.pos, "the file holds a NUL byte");
  if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) r.p += 3; /* byte order mark */
  for (;;) {
    int rc = skip_space(&r);
    if (rc || r.p == r.end) return rc;
    if ((rc = next_token(&r))) return rc;
  }
}

/* Everything from FD, at most TL_CONF_TEXT_MAX bytes. */
static int read_all(int fd, struct word *w, int *out_errno) {
  char buf[16384];
  for (;;) {
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      *out_errno = errno;
      return TL_EIO;
    }
    if (n == 0) return word_add(w, "", 0);
    if (w->n + (size_t)n > TL_CONF_TEXT_MAX) return TL_ELIMIT;
    if (word_add(w, buf, (size_t)n)) return TL_ENOMEM;
  }
}

static int read_file(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *name,
                     struct tl_conf_pos from, unsigned depth) {
  struct word w = {0};
  struct stat st;
  int err = 0, fd = -1, rc;
  if (depth > TL_CONF_INCLUDE_MAX)
    return tl_conf_fail(ctx, from, "%s is included more than %d files deep", name,
                        TL_CONF_INCLUDE_MAX);
  /* O_NONBLOCK: a FIFO under this name must not hang the control thread */
  fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, &st) < 0) {
    rc = tl_conf_fail(ctx, from, "cannot open %s: %s", name, strerror(errno));
    goto out;
  }
  if (!S_ISREG(st.st_mode)) {
    rc = tl_conf_fail(ctx, from, "%s is not a regular file", name);
    goto out;
  }
  rc = read_all(fd, &w, &err);
  if (rc == TL_EIO) rc = tl_conf_fail(ctx, from, "cannot read %s: %s", name, strerror(err));
  if (rc == TL_ELIMIT || (!rc && s->bytes + w.n > TL_CONF_TEXT_MAX))
    rc = tl_conf_fail(ctx, from, "the configuration is larger than %u bytes", TL_CONF_TEXT_MAX);
  if (rc) goto out;
  s->bytes += w.n;
  rc = read_text(s, ctx, name, w.p, w.n, depth, true);
out:
  if (fd >= 0) close(fd);
  if (w.p) OPENSSL_cleanse(w.p, w.n);
  free(w.p);
  return rc;
}

int tl_conf_source_read(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *file) {
  return read_file(s, ctx, file, (struct tl_conf_pos){file, 0}, 0);
}

int tl_conf_source_text(struct tl_conf_source *s, struct tl_conf_ctx *ctx, const char *file,
                        const char *text, size_t n, bool allow_include) {
  return read_text(s, ctx, file, text, n, 0, allow_include);
}

void tl_conf_source_drop_tokens(struct tl_conf_source *s) {
  for (size_t i = 0; i < s->n_token; i++) {
    if (s->token[i].kind != 's') continue;
    OPENSSL_cleanse(s->token[i].text, strlen(s->token[i].text)); /* it may be a key */
    free(s->token[i].text);
  }
  free(s->token);
  s->token = NULL;
  s->n_token = s->cap = 0;
}

void tl_conf_source_free(struct tl_conf_source *s) {
  tl_conf_source_drop_tokens(s);
  for (size_t i = 0; i < s->n_file; i++) free(s->file[i]);
  free(s->file);
  *s = (struct tl_conf_source){0};
}
