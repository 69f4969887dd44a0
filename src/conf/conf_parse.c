/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar: tokens to blocks, by recursive descent, one function per rule.
 *
 *   file    = *( block / option )
 *   block   = name [ title ] "{" *( block / option ) "}"   ; blocks: where the table allows them
 *   option  = name ( "=" / "+=" ) ( value / list )    ; += and lists: lists only
 *   list    = "{" [ value *( "," value ) [ "," ] ] "}"
 *   name, title, value = word
 *
 * Each value gets its type from conf_value.c as it is read; what values mean
 * together is checked by conf_check.c. A bad value is reported and parsing goes
 * on; the first breach of the grammar ends it.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

struct parser {
  struct tl_raw *raw;
  struct tl_conf_ctx *ctx;
  const struct tl_conf_token *token, *end; /* the next one, and one past the last */
  const char **value;                      /* of the option being read */
  size_t n_value, cap;
};

/* The next token if it is of KIND, and moves past it; else NULL. */
static const struct tl_conf_token *take_token(struct parser *p, char kind) {
  return p->token < p->end && p->token->kind == kind ? p->token++ : NULL;
}

/* ---- breaches of the grammar ---- */

/* Nothing more to read, or SENTENCE about the next token. */
__attribute__((format(printf, 2, 3))) static int fail_here(struct parser *p, const char *sentence,
                                                           ...) {
  char text[512];
  va_list ap;
  if (p->token == p->end)
    return tl_conf_fail(p->ctx, p->end[-1].pos,
                        "the configuration ends where a value or a block should follow");
  va_start(ap, sentence);
  vsnprintf(text, sizeof(text), sentence, ap);
  va_end(ap);
  return tl_conf_fail(p->ctx, p->token->pos, "%s", text);
}

static int fail_unexpected(struct parser *p) {
  return fail_here(p, "unexpected token '%s'", p->token < p->end ? p->token->text : "");
}

/* NAME is an option elsewhere, or a block that cannot stand here: says so. */
static bool fail_misplaced(struct parser *p, const struct tl_conf_token *name,
                           const struct tl_conf_section *here, const char *where) {
  for (size_t i = 0; i < TL_SECTIONS; i++) {
    const struct tl_conf_section *s = &tl_conf_sections[i];
    if (s->name && strcmp(s->name, name->text) == 0 && here->name) {
      tl_conf_fail(p->ctx, name->pos, "a %s block cannot stand inside a %s block", name->text,
                   here->name);
      return true;
    }
    if (s->name && strcmp(s->name, name->text) == 0) {
      tl_conf_fail(p->ctx, name->pos, "a %s block stands inside a %s block", name->text,
                   tl_conf_sections[s->within].name);
      return true;
    }
    if (s != here && tl_conf_option(s, name->text)) {
      tl_conf_fail(p->ctx, name->pos, "unknown option \"%s\"%s; it belongs %s%s%s", name->text,
                   where, s->name ? "into a " : "outside any block", s->name ? s->name : "",
                   s->name ? " block" : "");
      return true;
    }
  }
  return false;
}

static int fail_unknown(struct parser *p, const struct tl_conf_token *name,
                        const struct tl_conf_section *here) {
  const char *names[128 + TL_SECTIONS], *foreign = tl_conf_foreign(name->text);
  char where[64] = "";
  size_t n = 0;
  if (here->name) snprintf(where, sizeof(where), " in a %s block", here->name);
  if (foreign)
    return tl_conf_fail(p->ctx, name->pos, "unknown option \"%s\"%s: %s", name->text, where,
                        foreign);
  if (fail_misplaced(p, name, here, where)) return TL_ECONFIG;
  for (size_t i = 0; i < here->n_opt; i++) names[n++] = here->opt[i].name;
  for (size_t i = 1; i < TL_SECTIONS; i++)
    if (&tl_conf_sections[tl_conf_sections[i].within] == here)
      names[n++] = tl_conf_sections[i].name;
  names[n] = NULL;
  const char *near = tl_conf_nearest(name->text, names);
  if (near)
    return tl_conf_fail(p->ctx, name->pos, "unknown option \"%s\"%s; did you mean \"%s\"?",
                        name->text, where, near);
  return tl_conf_fail(p->ctx, name->pos, "unknown option \"%s\"%s", name->text, where);
}

/* ---- options ---- */

static int push_value(struct parser *p, const char *text) {
  if (p->n_value == p->cap) {
    size_t cap = p->cap ? 2 * p->cap : 16;
    const char **more = realloc(p->value, cap * sizeof(*more));
    if (!more) return TL_ENOMEM;
    p->value = more;
    p->cap = cap;
  }
  p->value[p->n_value++] = text;
  return TL_OK;
}

/* Behind the "{" of a list. */
static int parse_list(struct parser *p) {
  while (!take_token(p, '}')) {
    const struct tl_conf_token *value = take_token(p, 's');
    if (!value) return fail_unexpected(p);
    int rc = push_value(p, value->text);
    if (rc) return rc;
    if (!take_token(p, ',') && (p->token == p->end || p->token->kind != '}'))
      return fail_unexpected(p);
  }
  return TL_OK;
}

/* Behind "=": one value, or a list where O takes one. *OUT_POS is where the first stands. */
static int parse_values(struct parser *p, const struct tl_opt *o, struct tl_conf_pos *out_pos) {
  const struct tl_conf_token *value;
  if (p->token < p->end) *out_pos = p->token->pos;
  if (tl_opt_is_list(o) && take_token(p, '{')) {
    if (p->token < p->end && p->token->kind == 's') *out_pos = p->token->pos;
    return parse_list(p);
  }
  if (p->token < p->end && p->token->kind == '{' && p->token[-1].kind == '=')
    return fail_here(p, "%s takes one value, not a list", o->name);
  if (!(value = take_token(p, 's'))) return fail_unexpected(p);
  return push_value(p, value->text);
}

/* Was option K of B, which is now set again at POS, set before, perhaps under another name? */
static bool is_set_twice(struct parser *p, const struct tl_block *b, size_t k,
                         struct tl_conf_pos pos) {
  const struct tl_opt *o = &b->sec->opt[k];
  size_t alias = o->flags & TL_OPT_ALIAS ? k : k + 1;
  bool has_alias = alias < b->sec->n_opt && (b->sec->opt[alias].flags & TL_OPT_ALIAS);
  const struct tl_conf_pos *before = &b->at[k];
  if (before->line && !(has_alias && k != alias && b->at[alias].line)) {
    tl_conf_fail(p->ctx, pos, "%s is set twice, first at %s:%d", o->name, before->file,
                 before->line);
    return true;
  }
  if (!has_alias || !b->at[alias == k ? k - 1 : k].line) return false;
  tl_conf_fail(p->ctx, alias == k ? pos : b->at[alias], "%s is another name of %s: set one of them",
               b->sec->opt[alias].name, b->sec->opt[alias - 1].name);
  return true;
}

/* What has been read becomes the value of option K of B; with MORE it is added to the list there.
 */
static int store_values(struct parser *p, struct tl_block *b, size_t k, struct tl_conf_pos pos,
                        bool more) {
  const struct tl_opt *o = &b->sec->opt[k];
  char err[256];
  int rc = more && b->at[k].line
               ? tl_value_append(b, o, p->value, p->n_value, p->raw->dir)
               : tl_value_store(b, o, p->value, p->n_value, p->raw->dir, err, sizeof(err));
  if (rc == TL_ENOMEM) return rc;
  if (rc) tl_conf_fail(p->ctx, pos, "%s", err);
  if (!b->at[k].line) b->at[k] = pos;
  if (o->flags & TL_OPT_ALIAS) b->at[k - 1] = b->at[k];
  return TL_OK;
}

/* Behind the name of option K of B. */
static int parse_option(struct parser *p, struct tl_block *b, size_t k) {
  const struct tl_opt *o = &b->sec->opt[k];
  struct tl_conf_pos pos = b->pos;
  bool more = false;
  if (take_token(p, '+')) {
    if (!tl_opt_is_list(o)) {
      p->token--;
      return fail_here(p, "attempt to append to non-list option '%s'", o->name);
    }
    more = true;
  } else if (!take_token(p, '=')) {
    return fail_here(p, "missing equal sign after option '%s'", o->name);
  }
  p->n_value = 0;
  int rc = parse_values(p, o, &pos);
  if (rc) return rc;
  if (!more && is_set_twice(p, b, k, pos)) return TL_OK;
  return store_values(p, b, k, pos, more);
}

/* ---- blocks ---- */

/* The section called NAME whose blocks stand in those of HERE. */
static enum tl_section_id section_named(const char *name, const struct tl_conf_section *here) {
  for (size_t i = 1; i < TL_SECTIONS; i++) {
    const struct tl_conf_section *s = &tl_conf_sections[i];
    if (&tl_conf_sections[s->within] == here && strcmp(name, s->name) == 0)
      return (enum tl_section_id)i;
  }
  return TL_SECTIONS;
}

static int parse_block(struct parser *p, enum tl_section_id id, uint32_t owner,
                       const struct tl_conf_token *name);

/* What NAME begins inside B, which is number OWNER of its section. */
static int parse_item(struct parser *p, struct tl_block *b, uint32_t owner,
                      const struct tl_conf_token *name) {
  const struct tl_opt *o = tl_conf_option(b->sec, name->text);
  if (o) return parse_option(p, b, (size_t)(o - b->sec->opt));
  enum tl_section_id id = section_named(name->text, b->sec);
  return id < TL_SECTIONS ? parse_block(p, id, owner, name) : fail_unknown(p, name, b->sec);
}

/* What B, number OWNER of its section, contains, up to the "}" that closes it. */
static int parse_body(struct parser *p, struct tl_block *b, uint32_t owner) {
  while (!take_token(p, '}')) {
    const struct tl_conf_token *name = take_token(p, 's');
    if (!name) return fail_unexpected(p);
    int rc = parse_item(p, b, owner, name);
    if (rc) return rc;
  }
  return TL_OK;
}

/* The block of section ID that is titled TITLE; one without a title is there already. */
static int open_block(struct parser *p, enum tl_section_id id, uint32_t owner,
                      const struct tl_conf_token *title, struct tl_block **out) {
  struct tl_blocks *bs = &p->raw->sec[id];
  const struct tl_conf_section *sec = &tl_conf_sections[id];
  *out = bs->b;
  if (!title) return TL_OK;
  if (tl_blocks_find_in(bs, owner, title->text))
    return tl_conf_fail(p->ctx, title->pos, "there is already a %s block named \"%s\"%s", sec->name,
                        title->text, sec->within ? " here" : "");
  if (!*title->text || strlen(title->text) > TL_CONF_NAME_MAX)
    tl_conf_fail(p->ctx, title->pos, "the name of a %s block has 1 to %d bytes", sec->name,
                 TL_CONF_NAME_MAX);
  return tl_blocks_add_in(bs, sec, owner, title->text, out);
}

/* Behind NAME, the first word of a block of section ID that stands in block OWNER. */
static int parse_block(struct parser *p, enum tl_section_id id, uint32_t owner,
                       const struct tl_conf_token *name) {
  const struct tl_conf_section *sec = &tl_conf_sections[id];
  const struct tl_conf_token *title = sec->titled ? take_token(p, 's') : NULL;
  struct tl_block *b;
  if (sec->titled && !title)
    return fail_here(p, "%s opens a block and needs a name: %s \"name\" { }", name->text,
                     name->text);
  if (!take_token(p, '{')) return fail_here(p, "missing opening brace for section '%s'", sec->name);
  int rc = open_block(p, id, owner, title, &b);
  if (rc) return rc;
  b->pos = title ? title->pos : name->pos;
  return parse_body(p, b, (uint32_t)(b - p->raw->sec[id].b));
}

static int parse_file(struct parser *p) {
  struct tl_block *global = p->raw->sec[TL_SEC_GLOBAL].b;
  int rc = TL_OK;
  while (!rc && p->token < p->end) {
    const struct tl_conf_token *name = take_token(p, 's');
    rc = name ? parse_item(p, global, 0, name) : fail_unexpected(p);
  }
  return rc;
}

/* An unmatched brace is better blamed by itself than by what it makes of all that follows. */
static int check_braces(const struct tl_conf_source *s, struct tl_conf_ctx *ctx) {
  size_t depth = 0, closed = 0, i;
  for (i = 0; i < s->n_token; i++) {
    if (s->token[i].kind == '{') depth++;
    if (s->token[i].kind == '}' && depth-- == 0)
      return tl_conf_fail(ctx, s->token[i].pos, "this closing brace closes nothing");
  }
  if (depth == 0) return TL_OK;
  while (i-- > 0) {
    if (s->token[i].kind == '}') closed++;
    if (s->token[i].kind == '{' && closed-- == 0) break;
  }
  return tl_conf_fail(ctx, s->token[i].pos, "the brace opened here is never closed");
}

/* The blocks without a title exist even where the file does not mention them. */
static int add_single_blocks(struct tl_raw *r) {
  int rc = TL_OK;
  for (size_t i = 0; i < TL_SECTIONS && !rc; i++) {
    const struct tl_conf_section *sec = &tl_conf_sections[i];
    struct tl_block *b;
    if (sec->titled) continue;
    if (!(rc = tl_blocks_add(&r->sec[i], sec, NULL, &b)))
      b->pos = (struct tl_conf_pos){r->source.file[0], 0};
  }
  return rc;
}

int tl_conf_parse(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct parser p = {.raw = r, .ctx = ctx, .token = r->source.token, .end = r->source.token};
  /* An empty file has no tokens, and no place for them. */
  if (r->source.n_token) p.end += r->source.n_token;
  unsigned before = ctx->problems;
  int rc = check_braces(&r->source, ctx);
  if (!rc) rc = add_single_blocks(r);
  if (!rc) rc = parse_file(&p);
  if (!rc && ctx->problems > before) rc = TL_ECONFIG;
  free(p.value);
  return rc;
}
