/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the answers of the control socket for people. The daemon sends facts;
 * wording and alignment are made here.
 */
#include "ctl/ctl_print.h"

#include <string.h>

#include "ctl/print_json.h"
#include "tieline/counters.h"

static void print_pairs(const json_t *o, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}, {"", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 2);
  const char *key;
  json_t *v;
  json_object_foreach((json_t *)(uintptr_t)o, key, v) {
    tl_table_cell(t, key);
    tl_print_cell(t, v);
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static const char *help_of(const char *name) {
  for (int i = 0; i < TL_C_COUNT; i++)
    if (strcmp(tl_counter_name((enum tl_counter)i), name) == 0)
      return tl_counter_help((enum tl_counter)i);
  return "";
}

static void print_counters(const json_t *counters, bool all, FILE *f) {
  static const struct tl_column col[] = {
      {"COUNTER", TL_LEFT}, {"VALUE", TL_RIGHT}, {"WHAT IT COUNTS", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 3);
  const char *key;
  json_t *v;
  bool any = false;
  json_object_foreach((json_t *)(uintptr_t)counters, key, v) {
    if (json_integer_value(v) == 0 && !all) continue;
    any = true;
    tl_table_cell(t, key);
    tl_print_cell(t, v);
    tl_table_cell(t, help_of(key));
  }
  if (any)
    tl_table_print(t, f);
  else
    fputs("Nothing has been counted yet.\n", f);
  tl_table_free(t);
}

static void print_section(const char *title, const json_t *o, FILE *f) {
  if (json_object_size(o) == 0) return;
  fprintf(f, "\n%s\n", title);
  print_pairs(o, f);
}

static void print_stats(const json_t *r, bool all, FILE *f) {
  char up[24];
  const char *key;
  json_t *v;
  fprintf(f, "%s since %s, configuration %lld\n\n", field_text(r, "state"),
          tl_table_duration(field_num(r, "uptime_ms"), up), field_num(r, "generation"));
  print_counters(json_object_get(r, "counters"), all, f);
  print_section("PROCESS", json_object_get(r, "process"), f);
  print_section("SECONDS LEFT (until the first of its kind ends)",
                json_object_get(r, "seconds_left"), f);
  print_section("LOG", json_object_get(r, "log"), f);
  print_section("MAILBOXES (waiting)", json_object_get(r, "mailboxes"), f);
  print_section("KERNEL TLS (/proc/net/tls_stat)", json_object_get(r, "kernel_tls"), f);
  json_object_foreach(json_object_get(r, "threads"), key, v) print_section(key, v, f);
}

static void cell_ktls(struct tl_table *t, const json_t *tls, const char *on, const char *why) {
  if (!tls)
    tl_table_cell(t, "-");
  else if (field_true(tls, on))
    tl_table_cell(t, "kernel");
  else
    tl_table_cellf(t, "user: %s", field_text(tls, why));
}

static void connection_row(struct tl_table *t, const json_t *c) {
  char age[24], idle[24];
  const json_t *tls = json_object_get(c, "tls");
  if (!json_is_object(tls)) tls = NULL;
  tl_table_cell(t, field_text(c, "id"));
  tl_table_cell(t, field_text(c, "direction"));
  tl_table_cell(t, field_text(c, "transport"));
  tl_table_cell(t, field_text(c, "peer"));
  tl_table_cellf(t, "%s%s", field_text(c, "state"), field_true(c, "paused") ? ", paused" : "");
  tl_table_cell(t, tls ? field_text(tls, "version") : "-");
  tl_table_cell(t, tls ? field_text(tls, "cipher") : "-");
  cell_ktls(t, tls, "ktls_tx", "ktls_tx_reason");
  cell_ktls(t, tls, "ktls_rx", "ktls_rx_reason");
  tl_table_cell(t, tls ? or_dash(field_text(tls, "domain")) : "-");
  tl_table_cellf(
      t, "%s%s", tls ? or_dash(field_text(tls, "identity")) : "-",
      tls && *field_text(tls, "identity") && !field_true(tls, "verified") ? " (not verified)" : "");
  tl_table_cell(t, tl_table_duration(field_num(c, "age_ms"), age));
  tl_table_cell(t, tl_table_duration(field_num(c, "idle_ms"), idle));
  tl_table_cellf(t, "%lld", field_num(c, "messages_in"));
  tl_table_cellf(t, "%lld", field_num(c, "messages_out"));
  tl_table_cellf(t, "%lld", field_num(c, "queued_bytes"));
  tl_table_cellf(t, "%lld", field_num(c, "memory_bytes"));
  tl_table_cellf(t, "%lld", field_num(c, "kernel_bytes"));
}

static void print_connections(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {
      {"ID", TL_LEFT},      {"DIR", TL_LEFT},    {"VIA", TL_LEFT},      {"PEER", TL_LEFT},
      {"STATE", TL_LEFT},   {"TLS", TL_LEFT},    {"CIPHER", TL_LEFT},   {"SEND", TL_LEFT},
      {"RECEIVE", TL_LEFT}, {"DOMAIN", TL_LEFT}, {"IDENTITY", TL_LEFT}, {"AGE", TL_RIGHT},
      {"IDLE", TL_RIGHT},   {"IN", TL_RIGHT},    {"OUT", TL_RIGHT},     {"QUEUED", TL_RIGHT},
      {"MEMORY", TL_RIGHT}, {"KERNEL", TL_RIGHT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *c;
  json_array_foreach(json_object_get(r, "connections"), i, c) connection_row(t, c);
  tl_table_print(t, f);
  tl_table_free(t);
  fprintf(f, "%lld of %lld connections\n", field_num(r, "shown"), field_num(r, "total"));
  tl_print_incomplete(r, f);
}

static void print_groups(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {
      {"GROUP", TL_LEFT},   {"METHOD", TL_LEFT},     {"PEER", TL_LEFT},   {"PRIORITY", TL_RIGHT},
      {"WEIGHT", TL_RIGHT}, {"ADDRESSES", TL_RIGHT}, {"CALLS", TL_RIGHT}, {"STATE", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i, k;
  json_t *g, *m;
  json_array_foreach(json_object_get(r, "groups"), i, g) {
    json_array_foreach(json_object_get(g, "members"), k, m) {
      tl_table_cell(t, field_text(g, "name"));
      tl_table_cell(t, field_text(g, "method"));
      tl_table_cell(t, field_text(m, "peer"));
      tl_table_cellf(t, "%lld", field_num(m, "priority"));
      tl_table_cellf(t, "%lld", field_num(m, "weight"));
      tl_table_cellf(t, "%lld", field_num(m, "addresses"));
      if (json_is_integer(json_object_get(m, "calls")))
        tl_table_cellf(t, "%lld", field_num(m, "calls"));
      else
        tl_table_cell(t, "-");
      tl_table_cell(t, field_text(m, "state"));
    }
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_domains(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {
      {"DOMAIN", TL_LEFT},      {"ROLES", TL_LEFT}, {"SERIAL", TL_LEFT},   {"SUBJECT", TL_LEFT},
      {"VALID UNTIL", TL_LEFT}, {"DAYS", TL_RIGHT}, {"VERIFY", TL_LEFT},   {"REQUIRE", TL_LEFT},
      {"RECORDS", TL_LEFT},     {"NAMES", TL_LEFT}, {"ADDRESSES", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *d;
  json_array_foreach(json_object_get(r, "domains"), i, d) {
    tl_table_cellf(t, "%s%s", field_text(d, "name"), field_true(d, "fallback") ? " *" : "");
    tl_print_cell(t, json_object_get(d, "roles"));
    tl_table_cell(t, or_dash(field_text(d, "serial")));
    tl_table_cell(t, or_dash(field_text(d, "subject")));
    tl_table_cell(t, or_dash(field_text(d, "not_after")));
    tl_print_cell(t, json_object_get(d, "days_left"));
    tl_print_cell(t, json_object_get(d, "verify_cert"));
    tl_print_cell(t, json_object_get(d, "require_cert"));
    tl_table_cell(t, field_text(d, "records"));
    tl_print_cell(t, json_object_get(d, "match_sip_domain"));
    tl_print_cell(t, json_object_get(d, "match_ip_address"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
  fputs("* used where no rule names another\n", f);
}

/* Whether the key has changed; the digests themselves are for programs. */
static const char *key_change(const json_t *e) {
  const char *before = field_text(e, "spki_sha256_before"),
             *after = field_text(e, "spki_sha256_after");
  if (!*before || !*after) return "-";
  return strcmp(before, after) == 0 ? "same" : "new";
}

static void cell_outcome(struct tl_table *t, const json_t *e) {
  static const char *const key[] = {"verified", "retiring", "closed"};
  char buf[128] = "";
  size_t at = 0;
  for (int i = 0; i < 3; i++)
    if (field_num(e, key[i]) && at < sizeof(buf))
      at += (size_t)snprintf(buf + at, sizeof(buf) - at, "%s%lld %s", at ? ", " : "",
                             field_num(e, key[i]), key[i]);
  tl_table_cell(t, or_dash(buf));
}

static void reload_rows(struct tl_table *t, const char *what, const json_t *list) {
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) {
    tl_table_cell(t, what);
    tl_table_cell(t, field_text(e, "name"));
    tl_table_cell(t, field_text(e, "change"));
    tl_table_cell(t, or_dash(field_text(e, "serial_before")));
    tl_table_cell(t, or_dash(field_text(e, "serial_after")));
    tl_table_cell(t, or_dash(field_text(e, "not_after_after")));
    tl_table_cell(t, key_change(e));
    cell_outcome(t, e);
  }
}

static void print_list(const json_t *list, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 1);
  size_t i;
  json_t *e;
  json_array_foreach((json_t *)(uintptr_t)list, i, e) tl_print_cell(t, e);
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_reload(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {{"WHAT", TL_LEFT},         {"NAME", TL_LEFT},
                                         {"CHANGE", TL_LEFT},       {"SERIAL BEFORE", TL_LEFT},
                                         {"SERIAL AFTER", TL_LEFT}, {"VALID UNTIL", TL_LEFT},
                                         {"KEY", TL_LEFT},          {"CONNECTIONS", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  fprintf(f, "Configuration %lld is in force.\n", field_num(r, "generation"));
  reload_rows(t, "tls_domain", json_object_get(r, "domains"));
  reload_rows(t, "peer", json_object_get(r, "peers"));
  reload_rows(t, "group", json_object_get(r, "groups"));
  reload_rows(t, "route", json_object_get(r, "routes"));
  reload_rows(t, "listen", json_object_get(r, "listeners"));
  tl_table_print(t, f);
  tl_table_free(t);
  if (json_array_size(json_object_get(r, "options"))) fprintf(f, "Options that have changed:\n");
  print_list(json_object_get(r, "options"), f);
  print_list(json_object_get(r, "warnings"), f);
}

static void print_ledger(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {
      {"SUBJECT", TL_LEFT},     {"SERIAL", TL_LEFT},  {"DOMAIN", TL_LEFT},
      {"ROLE", TL_LEFT},        {"NAME", TL_LEFT},    {"CONNECTIONS", TL_RIGHT},
      {"VALID UNTIL", TL_LEFT}, {"VERDICT", TL_LEFT}, {"VERIFIED AGAIN", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *k;
  json_array_foreach(json_object_get(r, "chains"), i, k) {
    tl_table_cell(t, or_dash(field_text(k, "subject")));
    tl_table_cell(t, or_dash(field_text(k, "serial")));
    tl_table_cell(t, field_text(k, "domain"));
    tl_table_cell(t, field_text(k, "role"));
    tl_table_cell(t, or_dash(field_text(k, "name")));
    tl_table_cellf(t, "%lld", field_num(k, "connections"));
    tl_table_cell(t, or_dash(field_text(k, "not_after")));
    tl_table_cell(t, field_text(k, "verdict"));
    tl_table_cell(t, or_dash(field_text(k, "verified_at")));
  }
  tl_table_print(t, f);
  tl_table_free(t);
  fprintf(f, "%lld of %lld chains\n", field_num(r, "shown"), field_num(r, "total"));
  tl_print_incomplete(r, f);
}

static void print_crl(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {{"DOMAIN", TL_LEFT},      {"ISSUER", TL_LEFT},
                                         {"NUMBER", TL_LEFT},      {"THIS UPDATE", TL_LEFT},
                                         {"NEXT UPDATE", TL_LEFT}, {"LEFT", TL_RIGHT},
                                         {"ENTRIES", TL_RIGHT},    {"SOURCE", TL_LEFT}};
  static const struct tl_column place[] = {
      {"PLACE", TL_LEFT}, {"STATE", TL_LEFT}, {"NEXT LOOK", TL_RIGHT}};
  struct tl_table *t = tl_table_new(col, sizeof(col) / sizeof(*col));
  size_t i;
  json_t *e;
  char left[24];
  json_array_foreach(json_object_get(r, "lists"), i, e) {
    tl_table_cell(t, field_text(e, "domain"));
    tl_table_cell(t, field_text(e, "issuer"));
    tl_table_cell(t, or_dash(field_text(e, "number")));
    tl_table_cell(t, field_text(e, "this_update"));
    tl_table_cell(t, or_dash(field_text(e, "next_update")));
    if (field_true(e, "stale"))
      tl_table_cellf(t, "stale: %s", field_text(e, "when_stale"));
    else if (json_is_null(json_object_get(e, "seconds_left")))
      tl_table_cell(t, "-");
    else
      tl_table_cell(t, tl_table_duration(field_num(e, "seconds_left") * 1000, left));
    tl_table_cellf(t, "%lld", field_num(e, "entries"));
    tl_table_cell(t, field_text(e, "source"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
  if (!json_array_size(json_object_get(r, "places"))) return;
  t = tl_table_new(place, sizeof(place) / sizeof(*place));
  fputc('\n', f);
  json_array_foreach(json_object_get(r, "places"), i, e) {
    const char *error = field_text(e, "error");
    tl_table_cell(t, field_text(e, "url"));
    tl_table_cell(t, *error ? error : field_true(e, "fetched") ? "fetched" : "not fetched yet");
    tl_table_cell(t, field_true(e, "under_way")
                         ? "now"
                         : tl_table_duration(field_num(e, "next_look_ms"), left));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_rows(const json_t *list, const struct tl_column *col, const char *const *key,
                       size_t n, FILE *f) {
  struct tl_table *t = tl_table_new(col, n);
  size_t i;
  json_t *row;
  json_array_foreach(list, i, row) for (size_t k = 0; k < n; k++)
      tl_print_cell(t, json_object_get(row, key[k]));
  tl_table_print(t, f);
  tl_table_free(t);
}

static void print_ocsp(const json_t *r, FILE *f) {
  static const struct tl_column ours[] = {{"DOMAIN", TL_LEFT},      {"SERIAL", TL_LEFT},
                                          {"SOURCE", TL_LEFT},      {"STATUS", TL_LEFT},
                                          {"STAPLED", TL_LEFT},     {"THIS UPDATE", TL_LEFT},
                                          {"NEXT UPDATE", TL_LEFT}, {"PROBLEM", TL_LEFT}};
  static const char *const ours_key[] = {"domain",  "serial",      "source",      "status",
                                         "stapled", "this_update", "next_update", "problem"};
  static const struct tl_column theirs[] = {{"CERTIFICATE SHA-256", TL_LEFT},
                                            {"STATUS", TL_LEFT},
                                            {"THIS UPDATE", TL_LEFT},
                                            {"UNTIL", TL_LEFT}};
  static const char *const theirs_key[] = {"certificate_sha256", "status", "this_update", "until"};
  const json_t *clients = json_object_get(r, "clients");
  print_rows(json_object_get(r, "staples"), ours, ours_key, 8, f);
  fputc('\n', f);
  print_rows(json_object_get(clients, "certificates"), theirs, theirs_key, 4, f);
  fprintf(f, "%lld waiting, %lld known\n",
          (long long)json_integer_value(json_object_get(clients, "waiting")),
          (long long)json_integer_value(json_object_get(clients, "known")));
}

static void print_help(const json_t *r, FILE *f) {
  static const struct tl_column col[] = {{"", TL_LEFT}, {"", TL_LEFT}, {"", TL_LEFT}};
  struct tl_table *t = tl_table_new(col, 3);
  size_t i;
  json_t *c;
  json_array_foreach(json_object_get(r, "commands"), i, c) {
    tl_table_cell(t, field_text(c, "name"));
    tl_table_cell(t, field_text(c, "params"));
    tl_table_cell(t, field_text(c, "help"));
  }
  tl_table_print(t, f);
  tl_table_free(t);
}

void tl_ctl_print(const char *command, const json_t *result, bool all, FILE *f) {
  static const struct {
    const char *command;
    void (*fn)(const json_t *r, FILE *f);
  } printers[] = {{"connections", print_connections},
                  {"peers", tl_print_peers},
                  {"groups", print_groups},
                  {"tls_list", print_domains},
                  {"reload", print_reload},
                  {"tls_reload", print_reload},
                  {"ledger", print_ledger},
                  {"crl", print_crl},
                  {"help", print_help},
                  {"ocsp", print_ocsp},
                  {"show", tl_print_show},
                  {"connection", tl_print_connection},
                  {"handshakes", tl_print_handshakes},
                  {"explain", tl_print_explain},
                  {NULL, NULL}};
  if (strcmp(command, "stats") == 0) {
    print_stats(result, all, f);
    return;
  }
  for (int i = 0; printers[i].command; i++)
    if (strcmp(printers[i].command, command) == 0) {
      printers[i].fn(result, f);
      return;
    }
  print_pairs(result, f);
}

void tl_ctl_print_problems(const json_t *error, FILE *f) {
  const json_t *list = json_object_get(json_object_get(error, "data"), "problems");
  if (json_array_size(list)) print_list(list, f);
}
