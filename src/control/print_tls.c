/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Printers for what concerns TLS: one connection with its certificates, failed
 * handshakes; and the configuration.
 */
#include <string.h>

#include "control/print_json.h"

void tl_print_show(const json_t *r, FILE *f) { fputs(str(r, "config"), f); }

/* Names and values, those of inner objects under a heading of their own. */
static void pairs(const char *title, const json_t *o, FILE *f) {
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

static void certificate(const char *title, const json_t *o, FILE *f) {
  if (!json_is_object(o)) {
    fprintf(f, "\n%s\n  none\n", title);
    return;
  }
  pairs(title, o, f);
  pairs("  alternative names", json_object_get(o, "san"), f);
}

void tl_print_connection(const json_t *r, FILE *f) {
  const json_t *tls = json_object_get(r, "tls");
  pairs(NULL, r, f);
  if (!json_is_object(tls)) return;
  pairs("TLS", tls, f);
  certificate("PEER CERTIFICATE", json_object_get(tls, "peer_certificate"), f);
  certificate("MY CERTIFICATE", json_object_get(tls, "my_certificate"), f);
}

/* ---- handshakes */

static void add(char *line, size_t cap, const char *key, const char *text) {
  size_t at = strlen(line);
  if (*text) snprintf(line + at, cap - at, "%s%s %s", at ? ", " : "", key, text);
}

/* What is known beyond the reason, as one sentence. */
static void cell_detail(struct tl_table *t, const json_t *e) {
  char line[1024] = "";
  const json_t *v = json_object_get(e, "verify");
  snprintf(line, sizeof line, "%s", str(e, "reason"));
  if (json_is_object(v)) {
    add(line, sizeof line, "verify", str(v, "text"));
    add(line, sizeof line, "subject", str(v, "subject"));
    add(line, sizeof line, "required name", str(v, "required_name"));
  }
  add(line, sizeof line, "alert sent", str(e, "alert_sent"));
  add(line, sizeof line, "alert received", str(e, "alert_received"));
  tl_table_cell(t, line);
}

static void failed(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {
      {"AT", TL_LEFT},  {"ROLE", TL_LEFT},  {"PEER", TL_LEFT},  {"DOMAIN", TL_LEFT},
      {"SNI", TL_LEFT}, {"CAUSE", TL_LEFT}, {"TOOK", TL_RIGHT}, {"DETAIL", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof col / sizeof *col);
  char took[24];
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, str(e, "at"));
    tl_table_cell(t, str(e, "role"));
    tl_table_cell(t, str(e, "peer"));
    tl_table_cell(t, dash(str(e, "domain")));
    tl_table_cell(t, dash(str(e, "sni")));
    tl_table_cell(t, str(e, "cause"));
    tl_table_cell(t, tl_table_duration(num(e, "took_ms"), took));
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
  struct tl_table *t = tl_table_new(col, sizeof col / sizeof *col);
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, str(e, "peer"));
    tl_table_cell(t, str(e, "cause"));
    tl_table_cellf(t, "%lld", num(e, "count"));
    tl_table_cell(t, str(e, "first"));
    tl_table_cell(t, str(e, "last"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

void tl_print_handshakes(const json_t *r, FILE *f) {
  if (num(r, "total") == 0) {
    fputs("No TLS handshake has failed.\n", f);
    return;
  }
  by_peer(json_object_get(r, "peers"), f);
  fprintf(f, "\n%zu of %lld failed handshakes, newest first\n",
          json_array_size(json_object_get(r, "failed")), num(r, "total"));
  failed(json_object_get(r, "failed"), f);
}

/* ---- explain */

static void candidates(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT},
                                         {"TLS DOMAIN", TL_LEFT},
                                         {"RULE", TL_LEFT},
                                         {"NAMED AUTHORITY", TL_LEFT},
                                         {"WHY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof col / sizeof *col);
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, yes(e, "chosen") ? "->" : "");
    tl_table_cell(t, str(e, "domain"));
    tl_table_cell(t, dash(str(e, "rule")));
    tl_table_cell(t, yes(e, "wanted") ? "yes" : "-");
    tl_table_cell(t, str(e, "why"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void named_by(const json_t *list, FILE *f) {
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e)
      fprintf(f, "But what goes by %s \"%s\" takes \"%s\", which that one names.\n", str(e, "what"),
              str(e, "name"), str(e, "domain"));
}

static void routes(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}, {"ROUTE", TL_LEFT}, {"WHY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof col / sizeof *col);
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, yes(e, "chosen") ? "->" : "");
    tl_table_cell(t, str(e, "route"));
    tl_table_cell(t, str(e, "why"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void targets(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"TARGET", TL_LEFT},
                                         {"VIA", TL_LEFT},
                                         {"PEER", TL_LEFT},
                                         {"TLS DOMAIN", TL_LEFT},
                                         {"MUST CARRY", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof col / sizeof *col);
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, str(e, "address"));
    tl_table_cell(t, str(e, "transport"));
    tl_table_cell(t, dash(str(e, "peer")));
    tl_table_cell(t, dash(str(e, "tls_domain")));
    tl_table_cell(t, dash(str(e, "must_carry")));
  }
  if (json_array_size(list)) {
    fputc('\n', f);
    tl_table_print(t, f);
  }
  tl_table_free(t);
}

static void explain_request(const json_t *r, FILE *f) {
  fprintf(f, "The request comes from %s%s (%s%s%s).\n",
          *str(r, "source_peer") ? "peer " : "no configured peer", str(r, "source_peer"),
          dash(str(r, "trust")), *str(r, "identity") ? ", " : "", str(r, "identity"));
  if (num(r, "status"))
    fprintf(f, "It is refused: %lld %s.\n\n", num(r, "status"), str(r, "reason"));
  else if (*str(r, "resolve"))
    fprintf(f, "It goes by route \"%s\" once %s has been looked up.\n\n", str(r, "route"),
            str(r, "resolve"));
  else
    fprintf(f, "It goes by route \"%s\".\n\n", str(r, "route"));
  routes(json_object_get(r, "routes"), f);
  targets(json_object_get(r, "targets"), f);
}

void tl_print_explain(const json_t *r, FILE *f) {
  if (json_object_get(r, "outcome")) {
    explain_request(r, f);
    return;
  }
  const bool server = strcmp(str(r, "side"), "server") == 0;
  if (server)
    fprintf(f, "A client of %s at %s that asks for %s", str(r, "listener"), str(r, "local"),
            *str(r, "sni") ? str(r, "sni") : "no name");
  else
    fprintf(f, "A connection to %s%s%s", *str(r, "to") ? str(r, "to") : "an address without a name",
            *str(r, "address") ? " at " : "", str(r, "address"));
  if (*str(r, "domain"))
    fprintf(f, " gets \"%s\", by %s%s.\n\n", str(r, "domain"), str(r, "rule"),
            yes(r, "by_authority") ? " and the authorities it named" : "");
  else
    fprintf(f, " gets no TLS domain%s.\n\n", server ? ": alert unrecognized_name" : "");
  candidates(json_object_get(r, "candidates"), f);
  named_by(json_object_get(r, "named_by"), f);
}
