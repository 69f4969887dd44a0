/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as text: a snapshot with every option resolved, in a form
 * that loads again, and the reference of all options for the manual.
 */
#include <stdlib.h>

#include "conf/conf_block.h"
#include "tieline/time.h"
#include "tieline/view.h"

static void print_default(const struct tl_opt *o, FILE *f) {
  if (o->def)
    fprintf(f, "%s", o->def);
  else
    fprintf(f, "%s", o->def_note ? o->def_note : "none");
}

/* TEXT as a comment, in lines of at most 100 columns. */
static void print_comment(const char *text, const char *indent, FILE *f) {
  size_t width = 97 - strlen(indent);
  for (const char *p = text, *end = text + strlen(text); p < end;) {
    size_t left = (size_t)(end - p), k = left;
    if (left > width)
      for (k = width; k > 1 && p[k] != ' '; k--) {
      }
    fprintf(f, "%s# %.*s\n", indent, (int)k, p);
    p += k;
    while (p < end && *p == ' ') p++;
  }
}

static void print_why(const struct tl_opt *o, const char *indent, FILE *f) {
  char text[600];
  snprintf(text, sizeof(text), "%s. Default: %s.", o->why,
           o->def        ? o->def
           : o->def_note ? o->def_note
                         : "none");
  print_comment(text, indent, f);
}

static void print_options(const struct tl_block *b, const char *indent, bool explain, FILE *f) {
  for (size_t i = 0; i < b->sec->n_opt; i++) {
    const struct tl_opt *o = &b->sec->opt[i];
    if (o->flags & TL_OPT_ALIAS) continue;
    if (explain) print_why(o, indent, f);
    fprintf(f, "%s%s = ", indent, o->name);
    tl_value_print(o, b, f);
    fputc('\n', f);
  }
}

/* B up to before the brace that closes it, at the level of INDENT. */
static void print_block(const struct tl_block *b, const char *indent, bool explain, FILE *f) {
  char inner[16];
  snprintf(inner, sizeof(inner), "%s  ", indent);
  if (explain && b->sec->name) print_comment(b->sec->why, indent, f);
  fprintf(f, "%s%s", indent, b->sec->name);
  if (b->sec->titled) {
    fputs(" \"", f);
    for (const char *p = b->title; *p; p++) {
      if (*p == '"' || *p == '\\' || *p == '$') fputc('\\', f);
      fputc(*p, f);
    }
    fputc('"', f);
  }
  fputs(" {\n", f);
  print_options(b, inner, explain, f);
}

static void print_section(const struct tl_block *b, bool explain, FILE *f) {
  fputc('\n', f);
  print_block(b, "", explain, f);
}

/* The rows are printed as the blocks they became; with url printed as well, loading the output
 * again would create them twice. */
static void print_database(const struct tl_conf *c, bool explain, FILE *f) {
  struct tl_block b = c->raw->sec[TL_SEC_DATABASE].b[0];
  struct tl_v_database v = *tl_raw_database(c->raw);
  const char *url = v.url;
  v.url = NULL;
  b.values = &v;
  print_section(&b, explain, f);
  if (url) fprintf(f, "  # url = \"%s\": its rows are TLS domains below\n", url);
  fputs("}\n", f);
}

static void print_global(const struct tl_conf *c, bool explain, FILE *f) {
  struct tl_block b = c->raw->sec[TL_SEC_GLOBAL].b[0];
  struct tl_conf_options o = c->opt; /* with what the command line has overridden */
  b.values = &o;
  fprintf(f, "# %s, every option with its value\n", c->file);
  if (explain) fputc('\n', f);
  print_options(&b, "", explain, f);
  for (enum tl_section_id id = TL_SEC_LIMITS; id <= TL_SEC_TIMEOUTS; id++) {
    print_section(&c->raw->sec[id].b[0], explain, f);
    fputs("}\n", f);
  }
  print_database(c, explain, f);
}

static void print_listen(const struct tl_conf *c, size_t i, bool explain, FILE *f) {
  struct tl_block b = c->raw->sec[TL_SEC_LISTEN].b[i];
  struct tl_listen_options v = *(const struct tl_listen_options *)b.values;
  char *advertise = NULL;
  if (asprintf(&advertise, "%s:%u", c->listen[i].advertise_host, c->listen[i].advertise_port) >= 0)
    v.advertise = advertise;
  b.values = &v;
  print_section(&b, explain, f);
  fputs("}\n", f);
  free(advertise);
}

static void print_domain(const struct tl_conf *c, size_t i, bool explain, FILE *f) {
  const struct tl_tls_domain *d = c->domain[i];
  char until[TL_TIME_STRLEN];
  const struct tl_block *b = &c->raw->sec[TL_SEC_DOMAIN].b[i];
  print_section(b, explain, f);
  if (b->pos.file && b->pos.file == c->raw->database)
    fprintf(f, "  # from %s %d\n", b->pos.file, b->pos.line);
  if (d->subject && *d->subject)
    fprintf(f, "  # first certificate: %s, serial %s, until %s\n", d->subject, d->serial,
            tl_time_text(d->not_after, until));
  fputs("}\n", f);
}

/* A dead address fails the first OPTIONS an interval later at most. */
static void print_worst_time(const struct tl_conf_peer *p, FILE *f) {
  const struct tl_peer_options *v = &p->opt;
  const uint64_t ms = (uint64_t)v->probe_ms * v->probe_down_after + v->probe_timeout_ms;
  if (v->probe_ms && v->probe_mode == TL_PROBE_ALWAYS)
    fprintf(
        f, "  # by its probes an address that is dead is passed over after %llu.%03llu s at most\n",
        (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

static void print_peer(const struct tl_peer_table *t, size_t i, bool explain, FILE *f) {
  const struct tl_conf_peer *p = &t->peer[i];
  const struct tl_addr_list *l = t->addrs[i];
  struct tl_block b = t->set->raw->sec[TL_SEC_PEER].b[i];
  struct tl_peer_options v = *(const struct tl_peer_options *)b.values;
  char text[TL_ADDR_STRLEN];
  char *own[] = {p->identity, NULL};
  if (tl_transport_is_secure(p->transport) && !v.identity) v.identity = own;
  b.values = &v;
  print_section(&b, explain, f);
  print_worst_time(p, f);
  fputs("  # addresses:", f);
  for (size_t k = 0; k < l->n; k++) {
    const enum tl_transport via = (enum tl_transport)l->at[k].via;
    fprintf(f, " %s", tl_addr_format(&l->at[k].addr, text));
    if (via != p->transport) fprintf(f, ";transport=%s", tl_transport_param(via));
  }
  fputs(l->n ? "\n}\n" : " none yet\n}\n", f);
}

static void print_group(const struct tl_raw *r, size_t number, bool explain, FILE *f) {
  const struct tl_blocks *members = &r->sec[TL_SEC_MEMBER];
  const uint32_t owner = (uint32_t)number;
  print_section(&r->sec[TL_SEC_GROUP].b[number], explain, f);
  for (size_t i = tl_blocks_first_in(members, owner); tl_blocks_are_in(members, i, owner); i++) {
    print_block(&members->b[i], "  ", explain, f);
    fputs("  }\n", f);
  }
  fputs("}\n", f);
}

static void print_route(const struct tl_route_table *t, size_t i, bool explain, FILE *f) {
  print_section(&t->raw->sec[TL_SEC_ROUTE].b[i], explain, f);
  fputs("}\n", f);
}

void tl_conf_print(const struct tl_view *v, bool explain, FILE *f) {
  const struct tl_conf *c = v->conf;
  print_global(c, explain, f);
  for (size_t i = 0; i < c->n_listen; i++) print_listen(c, i, explain, f);
  for (size_t i = 0; i < c->n_domain; i++) print_domain(c, i, explain, f);
  for (size_t i = 0; i < v->peers->n; i++) print_peer(v->peers, i, explain, f);
  for (size_t i = 0; i < v->routes->n_group; i++) print_group(v->routes->raw, i, explain, f);
  for (size_t i = 0; i < v->routes->n; i++) print_route(v->routes, i, explain, f);
}

static void reference_value(const struct tl_opt *o, FILE *f) {
  static const char *const kinds[] = {
      [TL_OPT_STR] = "text",    [TL_OPT_LIST] = "list",        [TL_OPT_PATH] = "file",
      [TL_OPT_PATHS] = "files", [TL_OPT_BOOL] = "true, false", [TL_OPT_NUM] = "number",
      [TL_OPT_SIZE] = "size",   [TL_OPT_TIME] = "time"};
  if (o->kind != TL_OPT_WORD) {
    fputs(kinds[o->kind], f);
    return;
  }
  for (size_t i = 0; o->word[i]; i++) fprintf(f, "%s%s", i ? ", " : "", o->word[i]);
}

void tl_conf_reference(FILE *f) {
  for (size_t i = 0; i < TL_SECTIONS; i++) {
    const struct tl_conf_section *s = &tl_conf_sections[i];
    if (s->name && s->titled)
      fprintf(f, "### %s \"%s\" { }\n\n", s->name, s->title_means);
    else
      fprintf(f, "### %s%s\n\n", s->name ? s->name : "Top level", s->name ? " { }" : "");
    fprintf(f, "%s\n\n| option | value | default | what it does |\n|---|---|---|---|\n", s->why);
    for (size_t k = 0; k < s->n_opt; k++) {
      const struct tl_opt *o = &s->opt[k];
      fprintf(f, "| `%s` | ", o->name);
      reference_value(o, f);
      fputs(" | ", f);
      print_default(o, f);
      fprintf(f, " | %s%s |\n", o->why,
              o->flags & TL_OPT_FIXED ? "; a change needs a restart" : "");
    }
    fputs(i + 1 < TL_SECTIONS ? "\n" : "", f);
  }
}
