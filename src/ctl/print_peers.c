/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the peers and their addresses for people.
 */
#include "ctl/print_json.h"

/* The age of a peer's addresses, the next look-up of its name, and the last error. */
static void lookup_cell(struct tl_table *t, const json_t *l) {
  const char *error = field_text(l, "error");
  char age[48] = "never";
  if (!json_is_object(l)) {
    tl_table_cell(t, "-");
    return;
  }
  if (json_is_integer(json_object_get(l, "age_s")))
    snprintf(age, sizeof(age), "%lld s ago", field_num(l, "age_s"));
  if (json_is_string(json_object_get(l, "error")))
    tl_table_cellf(t, "%s, next in %lld s; %lld failed: %s", age, field_num(l, "next_s"),
                   field_num(l, "failed_in_a_row"), error);
  else
    tl_table_cellf(t, "%s, next in %lld s", age, field_num(l, "next_s"));
}

/* ---- addresses ---- */

static void seconds_cell(struct tl_table *t, const json_t *o, const char *key) {
  char text[24];
  const json_t *v = json_object_get(o, key);
  tl_table_cell(t, json_is_integer(v)
                       ? tl_table_duration(1000 * (long long)json_integer_value(v), text)
                       : "-");
}

/* "down", "up, stale", "up; drain by alice at ...". */
static void state_cell(struct tl_table *t, const json_t *p, const json_t *d) {
  const long long pause_ms = field_num(d, "pause_ms");
  const json_t *admin = json_object_get(d, "admin");
  char pause[48] = "", set[192] = "";
  if (pause_ms) snprintf(pause, sizeof(pause), ", wants a pause, %lld s", (pause_ms + 999) / 1000);
  if (!json_is_object(admin)) admin = json_object_get(p, "admin");
  if (json_is_object(admin))
    snprintf(set, sizeof(set), "; %s by %s at %s", field_text(admin, "state"),
             field_text(admin, "by"), field_text(admin, "at"));
  tl_table_cellf(t, "%s%s%s%s", field_text(d, "state"), field_true(d, "stale") ? ", stale" : "",
                 pause, set);
}

static void cause_cell(struct tl_table *t, const json_t *d) {
  if (field_num(d, "status"))
    tl_table_cellf(t, "%s %lld", field_text(d, "cause"), field_num(d, "status"));
  else
    tl_table_cell(t, or_dash(field_text(d, "cause")));
}

static void probe_cells(struct tl_table *t, const json_t *probe) {
  if (!json_is_object(probe)) {
    for (int i = 0; i < 3; i++) tl_table_cell(t, "-");
    return;
  }
  tl_table_cellf(t, "%lld of %lld", field_num(probe, "failed"), field_num(probe, "sent"));
  if (field_num(probe, "last_status"))
    tl_table_cellf(t, "%lld in %lldms", field_num(probe, "last_status"),
                   field_num(probe, "rtt_ms"));
  else
    tl_table_cell(t, "-");
  seconds_cell(t, probe, "next_s");
}

static void dest_row(struct tl_table *t, const json_t *p, const json_t *d) {
  tl_table_cell(t, field_text(p, "name"));
  tl_table_cell(t, field_text(d, "address"));
  tl_table_cell(t, field_text(d, "transport"));
  tl_table_cell(t, or_dash(field_text(d, "tls_domain")));
  state_cell(t, p, d);
  seconds_cell(t, d, "since_s");
  cause_cell(t, d);
  tl_table_cellf(t, "%lld", field_num(d, "failed_in_a_row"));
  tl_table_cellf(t, "%lld", field_num(d, "failed"));
  seconds_cell(t, d, "tried_in_s");
  probe_cells(t, json_object_get(d, "probe"));
}

static void print_dests(const json_t *peers, FILE *f) {
  static const struct tl_column col[] = {
      {"PEER", TL_LEFT},       {"ADDRESS", TL_LEFT},     {"VIA", TL_LEFT},
      {"DOMAIN", TL_LEFT},     {"STATE", TL_LEFT},       {"FOR", TL_RIGHT},
      {"LAST CAUSE", TL_LEFT}, {"IN A ROW", TL_RIGHT},   {"FAILED", TL_RIGHT},
      {"TRIED IN", TL_RIGHT},  {"PROBES LOST", TL_LEFT}, {"ANSWER", TL_LEFT},
      {"NEXT PROBE", TL_RIGHT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i, k;
  json_t *p, *d;
  json_array_foreach(peers, i, p) {
    json_array_foreach(json_object_get(p, "destinations"), k, d) dest_row(t, p, d);
  }
  fputs("\n", f);
  tl_table_print(t, f);
  tl_table_free(t);
}

/* ---- peers ---- */

void tl_print_peers(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {
      {"PEER", TL_LEFT},   {"URI", TL_LEFT},      {"ADDRESSES", TL_LEFT}, {"LOOKED UP", TL_LEFT},
      {"DOMAIN", TL_LEFT}, {"IDENTITY", TL_LEFT}, {"OUT", TL_RIGHT},      {"IN", TL_RIGHT},
      {"CALLS", TL_RIGHT}, {"PROBES", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *p;
  json_array_foreach(json_object_get(r, "peers"), i, p) {
    const json_t *probe = json_object_get(p, "probe"), *calls = json_object_get(p, "calls");
    tl_table_cell(t, field_text(p, "name"));
    tl_table_cell(t, field_text(p, "uri"));
    tl_print_cell(t, json_object_get(p, "addresses"));
    lookup_cell(t, json_object_get(p, "lookup"));
    tl_table_cell(t, or_dash(field_text(p, "tls_domain")));
    tl_table_cell(t, or_dash(field_text(p, "identity")));
    tl_table_cellf(t, "%lld", field_num(p, "connections_out"));
    tl_table_cellf(t, "%lld", field_num(p, "connections_in"));
    if (json_is_object(calls))
      tl_table_cellf(t, "%lld/%lld", field_num(calls, "now"), field_num(calls, "max"));
    else
      tl_table_cell(t, "-");
    if (field_num(p, "pause_ms") > 0)
      tl_table_cellf(t, "wants a pause, %lld s", (field_num(p, "pause_ms") + 999) / 1000);
    else if (json_is_object(probe))
      tl_table_cellf(t, "%s, %lld of %lld failed", field_text(probe, "state"),
                     field_num(probe, "failed"), field_num(probe, "sent"));
    else
      tl_table_cell(t, "-");
  }
  tl_table_print(t, f);
  tl_table_free(t);
  print_dests(json_object_get(r, "peers"), f);
  tl_print_incomplete(r, f);
}
