/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What src/trust and the TLS domains know of trust, as JSON: `crl`, `ocsp`, and
 * when certificates and lists end. The ledger is shown by ledger_command.c.
 */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/ocsp.h"

#define DAY_S 86400
#define LISTS_MAX 256 /* shown of one domain */

/* ---- revocation lists ---- */

static json_t *list_row(const struct tl_tls_domain *d, const struct tl_crl_info *i) {
  const time_t now = time(NULL);
  return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:I, s:o, s:b, s:b, s:s}", "domain",
                   tl_rpc_text(d->name, SIZE_MAX), "issuer", tl_rpc_text(i->issuer, SIZE_MAX),
                   "number", i->number, "this_update", tl_json_time(i->this_update), "next_update",
                   tl_json_time(i->next_update), "seconds_left",
                   i->next_update ? json_integer((json_int_t)(i->next_update - now)) : json_null(),
                   "entries", (json_int_t)i->entries, "source", tl_rpc_text(i->source, SIZE_MAX),
                   "fetched", i->fetched, "stale", i->next_update && i->next_update < now,
                   "when_stale", d->policy.crl_stale == TL_STALE_ACCEPT ? "accept" : "reject");
}

static void add_lists(json_t *to, const struct tl_tls_domain *d) {
  struct tl_crl_info *info = d->crls ? calloc(LISTS_MAX, sizeof(*info)) : NULL;
  const size_t n = info ? tl_crls_list(d->crls, info, LISTS_MAX) : 0;
  for (size_t i = 0; i < n; i++) json_array_append_new(to, list_row(d, &info[i]));
  free(info);
}

int tl_command_crl(struct tl_control *c, struct tl_request *req, const json_t *params,
                   struct tl_answer *a) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  json_t *lists = json_array(), *places = json_array();
  (void)req, (void)params;
  for (size_t i = 0; i < conf->n_domain; i++) add_lists(lists, conf->domain[i]);
  for (const struct tl_crl_point *p = tl_crl_points(c->trust.crl); p; p = p->next)
    json_array_append_new(
        places, json_pack("{s:o, s:b, s:b, s:o, s:I}", "url", tl_rpc_text(p->url, SIZE_MAX),
                          "fetched", p->crl != NULL, "under_way", p->under_way, "error",
                          p->why[0] ? tl_rpc_text(p->why, SIZE_MAX) : json_null(), "next_look_ms",
                          p->due_ms > tl_now_ms() ? (json_int_t)(p->due_ms - tl_now_ms()) : 0));
  tl_conf_unref(conf);
  a->result = json_pack("{s:o, s:o}", "lists", lists, "places", places);
  return 0;
}

/* ---- OCSP ---- */

static json_t *json_staple(const struct tl_tls_domain *d, struct tl_staple *s) {
  struct tl_ocsp_verdict v;
  const time_t now = time(NULL);
  tl_staple_look(s, &v);
  const bool in_date = v.status == TL_OCSP_GOOD && v.next_update > now;
  char serial[64];
  tl_staple_serial(s, serial, sizeof(serial));
  json_t *j = json_pack("{s:o, s:s, s:s, s:s, s:b, s:o, s:o, s:I, s:o}", "domain",
                        tl_rpc_text(d->name, SIZE_MAX), "serial", serial, "source",
                        d->policy.ocsp.staple == TL_STAPLE_FILE ? "file" : "fetch", "status",
                        tl_ocsp_status_name(v.status), "stapled", in_date, "this_update",
                        tl_json_time(v.this_update), "next_update", tl_json_time(v.next_update),
                        "seconds_left", (json_int_t)(in_date ? v.next_update - now : 0), "problem",
                        s->problem[0] ? tl_rpc_text(s->problem, SIZE_MAX) : json_null());
  return j;
}

static json_t *json_staples(struct tl_control *c) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  json_t *list = json_array();
  for (size_t i = 0; i < conf->n_domain; i++)
    for (size_t k = 0; k < conf->domain[i]->n_staple; k++)
      json_array_append_new(list, json_staple(conf->domain[i], &conf->domain[i]->staple[k]));
  tl_conf_unref(conf);
  return list;
}

static json_t *json_clients(const struct tl_control *c) {
  enum { CAP = 256 };
  struct tl_ocsp_known *known = calloc(CAP, sizeof(*known));
  const size_t n = known ? tl_ocsp_known_all(time(NULL), known, CAP) : 0;
  json_t *list = json_array();
  for (size_t i = 0; i < n && i < CAP; i++) {
    char hex[65];
    for (int k = 0; k < 32; k++) snprintf(hex + 2 * k, 3, "%02x", known[i].sha256[k]);
    const bool asked = known[i].status != TL_OCSP_NONE;
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:o, s:o, s:I}", "certificate_sha256", hex, "status",
                        asked ? tl_ocsp_status_name(known[i].status) : "unreachable", "this_update",
                        tl_json_time(known[i].this_update), "until", tl_json_time(known[i].until),
                        "seconds_left", (json_int_t)(known[i].until - time(NULL))));
  }
  free(known);
  return json_pack("{s:I, s:I, s:o}", "waiting",
                   (json_int_t)tl_ocsp_client_waiting(c->trust.ocsp_client), "known", (json_int_t)n,
                   "certificates", list);
}

int tl_command_ocsp(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  (void)req, (void)params;
  a->result = json_pack("{s:o, s:o}", "staples", json_staples(c), "clients", json_clients(c));
  return 0;
}

/* ---- what ends when ---- */

static json_t *seconds_left(time_t at) {
  return at ? json_integer((json_int_t)(at - time(NULL))) : json_null();
}

json_t *tl_json_expiry(struct tl_control *c) {
  struct tl_expiry_first first;
  tl_expiry_first(c->trust.expiry, &first);
  return json_pack("{s:o, s:o, s:o, s:o}", "own_certificate_s", seconds_left(first.own),
                   "authority_s", seconds_left(first.authority), "peer_chain_s",
                   seconds_left(first.peer), "revocation_list_s", seconds_left(first.list));
}

static void add_authority(void *arg, const struct tl_tls_domain *d,
                          const struct tl_authority_info *a) {
  (void)d;
  json_array_append_new(arg, json_pack("{s:o, s:I}", "subject",
                                       tl_rpc_text(a->subject, sizeof(a->subject)), "days_left",
                                       (json_int_t)((a->not_after - time(NULL)) / DAY_S)));
}

json_t *tl_json_authorities(const struct tl_tls_domain *d) {
  json_t *list = json_array();
  tl_tls_domain_authorities(d, add_authority, list);
  return list;
}
