/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Printers of `connection` with its certificates, `handshakes`, `explain` and
 * `show config`.
 */
#include <string.h>

#include "ctl/print_json.h"

void tl_print_show(const json_t *r, FILE *f) { fputs(field_text(r, "config"), f); }

/* Names and values; inner objects are left to the caller. */
static void print_pairs(const char *title, const json_t *o, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}, {"", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 2);
  const char *key;
  json_t *v;
  if (title) fprintf(f, "\n%s\n", title);
  json_object_foreach((json_t *)(uintptr_t)o, key, v) {
    if (json_is_object(v)) continue;
    tl_table_cellf(t, "%s%s", title ? "  " : "", key);
    if (json_is_array(v) && json_array_size(v) == 0)
      tl_table_cell(t, "-");
    else
      tl_print_cell(t, v);
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_certificate(const char *title, const json_t *o, FILE *f) {
  if (!json_is_object(o)) {
    fprintf(f, "\n%s\n  none\n", title);
    return;
  }
  print_pairs(title, o, f);
  print_pairs("  alternative names", json_object_get(o, "san"), f);
}

void tl_print_connection(const json_t *r, FILE *f) {
  const json_t *tls = json_object_get(r, "tls");
  print_pairs(NULL, r, f);
  if (!json_is_object(tls)) return;
  print_pairs("TLS", tls, f);
  print_certificate("PEER CERTIFICATE", json_object_get(tls, "peer_certificate"), f);
  print_certificate("MY CERTIFICATE", json_object_get(tls, "my_certificate"), f);
}

/* ---- handshakes */

static void append_item(char *line, size_t cap, const char *key, const char *text) {
  size_t at = strlen(line);
  if (*text) snprintf(line + at, cap - at, "%s%s %s", at ? ", " : "", key, text);
}

/* The reason and everything known beyond it, as one sentence. */
static void cell_detail(struct tl_table *t, const json_t *e) {
  char line[1024] = "";
  const json_t *v = json_object_get(e, "verify");
  snprintf(line, sizeof(line), "%s", field_text(e, "reason"));
  if (json_is_object(v)) {
    append_item(line, sizeof(line), "verify", field_text(v, "text"));
    append_item(line, sizeof(line), "subject", field_text(v, "subject"));
    append_item(line, sizeof(line), "required name", field_text(v, "required_name"));
  }
  append_item(line, sizeof(line), "alert sent", field_text(e, "alert_sent"));
  append_item(line, sizeof(line), "alert received", field_text(e, "alert_received"));
  tl_table_cell(t, line);
}

static void print_failed(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {
      {"AT", TL_LEFT},  {"ROLE", TL_LEFT},  {"PEER", TL_LEFT},  {"DOMAIN", TL_LEFT},
      {"SNI", TL_LEFT}, {"CAUSE", TL_LEFT}, {"TOOK", TL_RIGHT}, {"DETAIL", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  char took[24];
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, field_text(e, "at"));
    tl_table_cell(t, field_text(e, "role"));
    tl_table_cell(t, field_text(e, "peer"));
    tl_table_cell(t, or_dash(field_text(e, "domain")));
    tl_table_cell(t, or_dash(field_text(e, "sni")));
    tl_table_cell(t, field_text(e, "cause"));
    tl_table_cell(t, tl_table_duration(field_num(e, "took_ms"), took));
    cell_detail(t, e);
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void by_peer(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"PEER", TL_LEFT},
                                         {"CAUSE", TL_LEFT},
                                         {"FAILED", TL_RIGHT},
                                         {"FIRST", TL_LEFT},
                                         {"LAST", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, field_text(e, "peer"));
    tl_table_cell(t, field_text(e, "cause"));
    tl_table_cellf(t, "%lld", field_num(e, "count"));
    tl_table_cell(t, field_text(e, "first"));
    tl_table_cell(t, field_text(e, "last"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

void tl_print_handshakes(const json_t *r, FILE *f) {
  if (field_num(r, "total") == 0) {
    fputs("No TLS handshake has failed.\n", f);
    return;
  }
  by_peer(json_object_get(r, "peers"), f);
  fprintf(f, "\n%zu of %lld failed handshakes, newest first\n",
          json_array_size(json_object_get(r, "failed")), field_num(r, "total"));
  print_failed(json_object_get(r, "failed"), f);
}

/* ---- explain */

static void print_candidates(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT},
                                         {"TLS DOMAIN", TL_LEFT},
                                         {"RULE", TL_LEFT},
                                         {"NAMED AUTHORITY", TL_LEFT},
                                         {"WHY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, field_true(e, "chosen") ? "->" : "");
    tl_table_cell(t, field_text(e, "domain"));
    tl_table_cell(t, or_dash(field_text(e, "rule")));
    tl_table_cell(t, field_true(e, "wanted") ? "yes" : "-");
    tl_table_cell(t, field_text(e, "why"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void named_by(const json_t *list, FILE *f) {
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e)
      fprintf(f, "But what goes by %s \"%s\" takes \"%s\", which that one names.\n",
              field_text(e, "what"), field_text(e, "name"), field_text(e, "domain"));
}

static void print_routes(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}, {"ROUTE", TL_LEFT}, {"WHY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, field_true(e, "chosen") ? "->" : "");
    tl_table_cell(t, field_text(e, "route"));
    tl_table_cell(t, field_text(e, "why"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_targets(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {
      {"TARGET", TL_LEFT}, {"VIA", TL_LEFT},        {"PEER", TL_LEFT},      {"OF GROUP", TL_LEFT},
      {"HEALTH", TL_LEFT}, {"TLS DOMAIN", TL_LEFT}, {"MUST CARRY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, field_text(e, "address"));
    tl_table_cell(t, field_text(e, "transport"));
    tl_table_cell(t, or_dash(field_text(e, "peer")));
    tl_table_cell(t, or_dash(field_text(e, "group")));
    tl_table_cell(t, or_dash(field_text(e, "health")));
    tl_table_cell(t, or_dash(field_text(e, "tls_domain")));
    tl_table_cell(t, or_dash(field_text(e, "must_carry")));
  }
  if (json_array_size(list)) {
    fputc('\n', f);
    tl_table_print(t, f);
  }
  tl_table_free(t);
}

static void explain_request(const json_t *r, FILE *f) {
  fprintf(f, "The request comes from %s%s (%s%s%s).\n",
          *field_text(r, "source_peer") ? "peer " : "no configured peer",
          field_text(r, "source_peer"), or_dash(field_text(r, "trust")),
          *field_text(r, "identity") ? ", " : "", field_text(r, "identity"));
  if (field_num(r, "status"))
    fprintf(f, "It is %s: %lld %s.\n\n", field_text(r, "outcome"), field_num(r, "status"),
            field_text(r, "reason"));
  else if (*field_text(r, "resolve"))
    fprintf(f, "It goes by route \"%s\" once %s has been looked up.\n\n", field_text(r, "route"),
            field_text(r, "resolve"));
  else
    fprintf(f, "It goes by route \"%s\".\n\n", field_text(r, "route"));
  print_routes(json_object_get(r, "routes"), f);
  if (field_num(r, "routes_left_out"))
    fprintf(f, "%lld more routes are for other peers, domains or prefixes.\n",
            field_num(r, "routes_left_out"));
  print_targets(json_object_get(r, "targets"), f);
}

void tl_print_explain(const json_t *r, FILE *f) {
  if (json_object_get(r, "outcome")) {
    explain_request(r, f);
    return;
  }
  const bool server = strcmp(field_text(r, "side"), "server") == 0;
  if (server)
    fprintf(f, "A client of %s at %s that asks for %s", field_text(r, "listener"),
            field_text(r, "local"), *field_text(r, "sni") ? field_text(r, "sni") : "no name");
  else
    fprintf(f, "A connection to %s%s%s",
            *field_text(r, "to") ? field_text(r, "to") : "an address without a name",
            *field_text(r, "address") ? " at " : "", field_text(r, "address"));
  if (*field_text(r, "domain"))
    fprintf(f, " gets \"%s\", by %s%s.\n\n", field_text(r, "domain"), field_text(r, "rule"),
            field_true(r, "by_authority") ? " and the authorities it named" : "");
  else
    fprintf(f, " gets no TLS domain%s.\n\n", server ? ": alert unrecognized_name" : "");
  print_candidates(json_object_get(r, "candidates"), f);
  named_by(json_object_get(r, "named_by"), f);
}
