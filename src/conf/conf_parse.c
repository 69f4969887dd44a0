/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar: libConfuse, fed with one token per line.
 *
 * libConfuse counts lines, so the line it reports is the number of our token,
 * and the token knows its file and line. Its option arrays are made from the
 * table; every value stays text here and gets its type from conf_value.c. What
 * values mean together is conf_check.c's.
 */
#include <confuse.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

struct seen {
  const cfg_opt_t *opt;
  size_t token;
};

struct glue {
  struct tl_raw *raw;
  struct tl_conf_ctx *ctx;
  struct seen *seen; /* one per value, in file order */
  size_t n_seen, cap;
  bool out_of_memory;
};

/* libConfuse has one lexer per process and its callbacks carry no argument. */
static pthread_mutex_t parse_mu = PTHREAD_MUTEX_INITIALIZER;
static struct glue *now;

static size_t token_index(const cfg_t *cfg) {
  size_t n = now->raw->source.n_token, line = cfg->line > 0 ? (size_t)cfg->line : 1;
  return line > n ? n - 1 : line - 1;
}

static struct tl_conf_pos token_pos(size_t i) { return now->raw->source.token[i].pos; }

static bool remember(const cfg_opt_t *opt, size_t token) {
  if (now->n_seen == now->cap) {
    size_t cap = now->cap ? now->cap * 2 : 128;
    struct seen *s = realloc(now->seen, cap * sizeof(*s));
    if (!s) return false;
    now->seen = s;
    now->cap = cap;
  }
  now->seen[now->n_seen++] = (struct seen){opt, token};
  return true;
}

static const struct seen *first_seen(const cfg_opt_t *opt) {
  for (size_t i = 0; i < now->n_seen; i++)
    if (now->seen[i].opt == opt) return &now->seen[i];
  return NULL;
}

/* Is the value at TOKEN the first behind its "="? Lists call back for each of theirs. */
static bool starts_assignment(size_t token) {
  const struct tl_conf_token *t = now->raw->source.token;
  return token > 0 && (t[token - 1].kind == '=' ||
                       (token > 1 && t[token - 1].kind == '{' && t[token - 2].kind == '='));
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result) {
  size_t token = token_index(cfg);
  const struct seen *first = starts_assignment(token) ? first_seen(opt) : NULL;
  if (first)
    tl_conf_fail(now->ctx, token_pos(token), "%s is set twice, first at %s:%d", opt->name,
                 token_pos(first->token).file, token_pos(first->token).line);
  *(const char **)result = value;
  if (remember(opt, token)) return 0;
  now->out_of_memory = true;
  return -1;
}

/* ---- what libConfuse says, as sentences ---- */

static const struct tl_conf_section *section_of(const cfg_t *cfg) {
  for (size_t i = 1; i < TL_SECTIONS; i++)
    if (strcmp(cfg->name, tl_conf_sections[i].name) == 0) return &tl_conf_sections[i];
  return &tl_conf_sections[TL_SEC_GLOBAL];
}

static void unknown_option(const cfg_t *cfg, size_t token) {
  const struct tl_conf_section *here = section_of(cfg);
  const char *name = now->raw->source.token[token].text;
  const char *names[128 + TL_SECTIONS], *foreign = tl_conf_foreign(name);
  struct tl_conf_pos at = token_pos(token);
  char where[64] = "";
  size_t n = 0;
  if (here->name) snprintf(where, sizeof(where), " in a %s block", here->name);
  if (foreign) {
    tl_conf_fail(now->ctx, at, "unknown option \"%s\"%s: %s", name, where, foreign);
    return;
  }
  for (size_t i = 0; i < TL_SECTIONS; i++) {
    const struct tl_conf_section *s = &tl_conf_sections[i];
    if (s->name && here->name && strcmp(s->name, name) == 0) {
      tl_conf_fail(now->ctx, at, "a %s block cannot stand inside a %s block", name, here->name);
      return;
    }
    if (s != here && tl_conf_option(s, name)) {
      tl_conf_fail(now->ctx, at, "unknown option \"%s\"%s; it belongs %s%s%s", name, where,
                   s->name ? "into a " : "outside any block", s->name ? s->name : "",
                   s->name ? " block" : "");
      return;
    }
  }
  for (size_t i = 0; i < here->n_opt; i++) names[n++] = here->opt[i].name;
  for (size_t i = 1; i < TL_SECTIONS && !here->name; i++) names[n++] = tl_conf_sections[i].name;
  names[n] = NULL;
  const char *near = tl_conf_nearest(name, names);
  if (near)
    tl_conf_fail(now->ctx, at, "unknown option \"%s\"%s; did you mean \"%s\"?", name, where, near);
  else
    tl_conf_fail(now->ctx, at, "unknown option \"%s\"%s", name, where);
}

static void on_error(cfg_t *cfg, const char *fmt, va_list ap) {
  char text[512];
  size_t token = token_index(cfg);
  struct tl_conf_pos at = token_pos(token);
  vsnprintf(text, sizeof(text), fmt, ap);
  const struct tl_conf_token *t = &now->raw->source.token[token];
  if (strncmp(text, "no such option", 14) == 0)
    unknown_option(cfg, token);
  else if (strncmp(text, "premature end", 13) == 0)
    tl_conf_fail(now->ctx, at, "the configuration ends where a value or a block should follow");
  else if (strncmp(text, "found duplicate title", 21) == 0 && token >= 2) /* name title { */
    tl_conf_fail(now->ctx, t[-1].pos, "there is already a %s block named \"%s\"", t[-2].text,
                 t[-1].text);
  else if (strncmp(text, "missing title", 13) == 0 && token >= 1)
    tl_conf_fail(now->ctx, at, "%s opens a block and needs a name: %s \"name\" { }", t[-1].text,
                 t[-1].text);
  else if (t->kind == '{' && token >= 2 && t[-1].kind == '=') /* name = { */
    tl_conf_fail(now->ctx, at, "%s takes one value, not a list", t[-2].text);
  else
    tl_conf_fail(now->ctx, at, "%s", text);
}

/* ---- the arrays libConfuse wants ---- */

static cfg_opt_t *section_opts(const struct tl_conf_section *s, size_t extra) {
  cfg_opt_t *o = calloc(s->n_opt + extra + 1, sizeof(*o));
  for (size_t i = 0; o && i < s->n_opt; i++) {
    bool list = s->opt[i].kind == TL_OPT_LIST || s->opt[i].kind == TL_OPT_PATHS;
    cfg_opt_t v = CFG_STR_CB(s->opt[i].name, NULL, CFGF_NODEFAULT, on_value);
    o[i] = v;
    if (list) o[i].flags |= CFGF_LIST;
  }
  return o;
}

static void free_opts(cfg_opt_t *root) {
  for (cfg_opt_t *o = root; o && o->name; o++)
    if (o->type == CFGT_SEC) free(o->subopts);
  free(root);
}

static cfg_opt_t *root_opts(void) {
  const struct tl_conf_section *global = &tl_conf_sections[TL_SEC_GLOBAL];
  cfg_opt_t *root = section_opts(global, TL_SECTIONS - 1);
  for (size_t i = 1; root && i < TL_SECTIONS; i++) {
    const struct tl_conf_section *s = &tl_conf_sections[i];
    cfg_opt_t *sub = section_opts(s, 0);
    if (!sub) {
      free_opts(root);
      return NULL;
    }
    cfg_opt_t v = CFG_SEC(s->name, sub,
                          s->titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE);
    root[global->n_opt + i - 1] = v;
  }
  return root;
}

/* ---- tokens as text again, one per line ---- */

static char *flatten(const struct tl_conf_source *s) {
  size_t len = 1;
  for (size_t i = 0; i < s->n_token; i++) len += 2 * strlen(s->token[i].text) + 3;
  char *text = malloc(len), *w = text;
  if (!text) return NULL;
  for (size_t i = 0; i < s->n_token; i++) {
    const struct tl_conf_token *t = &s->token[i];
    if (i) *w++ = '\n';
    if (t->kind == 's') *w++ = '"';
    for (const char *p = t->text; *p; p++) {
      if (t->kind == 's' && (*p == '"' || *p == '\\' || *p == '$')) *w++ = '\\';
      *w++ = *p;
    }
    if (t->kind == 's') *w++ = '"';
  }
  *w = '\0';
  return text;
}

/* ---- from libConfuse's tree to blocks ---- */

/* Where the section that closes at token END (1-based) has its name. */
static struct tl_conf_pos section_start(const cfg_t *sec) {
  const struct tl_conf_source *s = &now->raw->source;
  size_t i = sec->line > 0 ? (size_t)sec->line : 0, depth = 0;
  if (i == 0 || i > s->n_token) return (struct tl_conf_pos){s->file[0], 0};
  for (i--; i > 0; i--) {
    if (s->token[i].kind == '}') depth++;
    if (s->token[i].kind == '{' && --depth == 0) break;
  }
  return s->token[i > 0 ? i - 1 : 0].pos;
}

static int take_option(struct tl_block *b, size_t k, cfg_opt_t *opt) {
  const struct tl_opt *o = &b->sec->opt[k];
  char err[256];
  if (!(opt->flags & CFGF_MODIFIED)) return 0;
  const struct seen *first = first_seen(opt);
  b->at[k] = first ? token_pos(first->token) : b->pos;
  size_t n = opt->nvalues;
  const char **text = calloc(n + 1, sizeof(*text));
  if (!text) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) text[i] = opt->values[i]->string;
  int rc = 0;
  if (k > 0 && (o->flags & TL_OPT_ALIAS) && b->at[k - 1].line)
    rc = tl_conf_fail(now->ctx, b->at[k], "%s is another name of %s: set one of them", o->name,
                      o[-1].name);
  else if ((rc = tl_value_store(b, o, text, n, now->raw->dir, err, sizeof(err))) == TL_ECONFIG)
    tl_conf_fail(now->ctx, b->at[k], "%s", err);
  if (!rc && (o->flags & TL_OPT_ALIAS)) b->at[k - 1] = b->at[k];
  free(text);
  return rc == TL_ENOMEM ? rc : 0;
}

static int take_section(struct tl_block *b, const struct tl_conf_section *sec, cfg_t *cfg) {
  int rc = tl_block_init(b, sec, sec->titled ? cfg_title(cfg) : NULL);
  if (rc) return rc;
  b->pos = sec->name ? section_start(cfg) : (struct tl_conf_pos){now->raw->source.file[0], 0};
  for (size_t k = 0; k < sec->n_opt && !rc; k++)
    rc = take_option(b, k, cfg_getopt(cfg, sec->opt[k].name));
  if (!rc && sec->titled && (!*b->title || strlen(b->title) > TL_CONF_NAME_MAX))
    tl_conf_fail(now->ctx, b->pos, "the name of a %s block has 1 to %d bytes", sec->name,
                 TL_CONF_NAME_MAX);
  return rc;
}

static int take_all(cfg_t *root) {
  for (size_t i = 0; i < TL_SECTIONS; i++) {
    const struct tl_conf_section *sec = &tl_conf_sections[i];
    struct tl_blocks *bs = &now->raw->sec[i];
    size_t n = sec->titled ? cfg_size(root, sec->name) : 1;
    bs->b = calloc(n ? n : 1, sizeof(*bs->b));
    if (!bs->b) return TL_ENOMEM;
    for (size_t k = 0; k < n; k++) {
      cfg_t *cfg = sec->name ? cfg_getnsec(root, sec->name, (unsigned)k) : root;
      int rc = take_section(&bs->b[bs->n++], sec, cfg);
      if (rc) return rc;
    }
  }
  return 0;
}

/* libConfuse takes the end of its text for the end of a section as well, so it is asked only once
 * every brace has its match. */
static int check_braces(const struct tl_conf_source *s, struct tl_conf_ctx *ctx) {
  size_t depth = 0, closed = 0, i;
  for (i = 0; i < s->n_token; i++) {
    if (s->token[i].kind == '{') depth++;
    if (s->token[i].kind == '}' && depth-- == 0)
      return tl_conf_fail(ctx, s->token[i].pos, "this closing brace closes nothing");
  }
  if (depth == 0) return 0;
  while (i-- > 0) {
    if (s->token[i].kind == '}') closed++;
    if (s->token[i].kind == '{' && closed-- == 0) break;
  }
  return tl_conf_fail(ctx, s->token[i].pos, "the brace opened here is never closed");
}

static int parse_locked(void) {
  struct tl_conf_source *s = &now->raw->source;
  cfg_opt_t *opts = NULL;
  cfg_t *cfg = NULL;
  char *text = flatten(s);
  unsigned before = now->ctx->problems;
  int rc = TL_ENOMEM;
  if (!text || !(opts = root_opts()) || !(cfg = cfg_init(opts, CFGF_NONE))) goto out;
  cfg_set_error_function(cfg, on_error);
  if (s->n_token > 0 && cfg_parse_buf(cfg, text) != CFG_SUCCESS) {
    if (!now->out_of_memory && now->ctx->problems == before)
      tl_conf_fail(now->ctx, token_pos(token_index(cfg)), "this does not fit here");
    rc = now->out_of_memory ? TL_ENOMEM : TL_ECONFIG;
    goto out;
  }
  rc = take_all(cfg);
  if (!rc && now->ctx->problems > before) rc = TL_ECONFIG;
out:
  if (cfg) cfg_free(cfg);
  free_opts(opts);
  if (text) OPENSSL_cleanse(text, strlen(text)); /* keys may stand in it */
  free(text);
  return rc;
}

int tl_conf_parse(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct glue g = {.raw = r, .ctx = ctx};
  int rc = check_braces(&r->source, ctx);
  if (rc) return rc;
  pthread_mutex_lock(&parse_mu);
  now = &g;
  rc = parse_locked();
  now = NULL;
  pthread_mutex_unlock(&parse_mu);
  free(g.seen);
  return rc;
}
