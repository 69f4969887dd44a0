/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl handshakes failed`: the most recent failures in detail, and the counts of
 * all by peer and cause.
 */
#include <stdlib.h>
#include <string.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/failures.h"
#include "tieline/tls_handshake.h"
#include "tieline/verify.h"

#define TEXT(s) tl_rpc_text((s), sizeof(s))

static json_t *json_moment(const struct timespec *at) {
  char text[TL_TIME_STRLEN];
  return json_string(tl_time_text_ms(at, text));
}

static json_t *json_alert(uint8_t code) {
  return code == 0xff ? json_null() : json_string(tl_alert_name(code));
}

static json_t *json_failure(const struct tl_failure *f) {
  const struct tl_hs_failure *w = &f->what;
  json_t *j = json_pack("{s:I, s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:I}", "number",
                        (json_int_t)f->number, "at", json_moment(&f->at), "role",
                        f->outgoing ? "client" : "server", "peer", tl_json_address(&f->peer),
                        "local", f->local.sa.sa_family ? tl_json_address(&f->local) : json_null(),
                        "cause", tl_hs_cause_name((int)w->cause), "reason", TEXT(w->reason), "sni",
                        TEXT(w->sni), "domain", TEXT(w->domain), "took_ms", (json_int_t)f->took_ms);
  json_object_set_new(j, "alert_sent", json_alert(w->alert_sent));
  json_object_set_new(j, "alert_received", json_alert(w->alert_received));
  if (w->verify_code != TL_VERIFY_OK)
    json_object_set_new(j, "verify",
                        json_pack("{s:I, s:s, s:i, s:o, s:o}", "code", (json_int_t)w->verify_code,
                                  "text", tl_verify_text(w->verify_code), "depth", w->verify_depth,
                                  "subject", TEXT(w->subject), "required_name",
                                  TEXT(f->required_name)));
  else
    json_object_set_new(j, "verify", json_null());
  return j;
}

struct wish {
  const char *cause;
  bool by_peer;
  struct tl_addr peer;
};

static bool is_wanted(const struct wish *w, int cause, const struct tl_addr *peer) {
  if (*w->cause && strcmp(w->cause, tl_hs_cause_name(cause)) != 0) return false;
  return !w->by_peer || tl_addr_ip_eq(&w->peer, peer);
}

static json_t *last_failures(const struct wish *w, size_t limit, uint64_t *total) {
  struct tl_failure *f = calloc(TL_FAILURES_KEPT, sizeof(*f));
  json_t *list = json_array();
  size_t n = f ? tl_failures_copy(f, TL_FAILURES_KEPT, total) : 0;
  for (size_t i = 0; i < n && json_array_size(list) < limit; i++)
    if (is_wanted(w, (int)f[i].what.cause, &f[i].peer))
      json_array_append_new(list, json_failure(&f[i]));
  free(f);
  return list;
}

static int by_number(const void *a, const void *b) {
  const struct tl_failure_count *x = a, *y = b;
  return x->n < y->n ? 1 : x->n > y->n ? -1 : 0;
}

/* The worst first. */
static json_t *by_peer(const struct wish *w) {
  struct tl_failure_count *k = calloc(TL_FAILURE_PEERS, sizeof(*k));
  json_t *list = json_array();
  size_t n = k ? tl_failure_counts(k, TL_FAILURE_PEERS) : 0;
  if (n) qsort(k, n, sizeof(*k), by_number);
  for (size_t i = 0; i < n; i++) {
    char peer[TL_ADDR_STRLEN];
    if (!is_wanted(w, k[i].cause, &k[i].peer)) continue;
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:I, s:o, s:o}", "peer", tl_addr_format_host(&k[i].peer, peer),
                        "cause", tl_hs_cause_name(k[i].cause), "count", (json_int_t)k[i].n, "first",
                        tl_json_time(k[i].first), "last", tl_json_time(k[i].last)));
  }
  free(k);
  return list;
}

static json_t *by_cause(const struct tl_runtime *rt) {
  static const enum tl_counter of[] = {
      [TL_HS_TIMEOUT] = TL_C_HS_FAIL_TIMEOUT,  [TL_HS_PROTOCOL] = TL_C_HS_FAIL_PROTOCOL,
      [TL_HS_VERIFY] = TL_C_HS_FAIL_VERIFY,    [TL_HS_NAME] = TL_C_HS_FAIL_NAME,
      [TL_HS_ALERT] = TL_C_HS_FAIL_ALERT,      [TL_HS_CLOSED] = TL_C_HS_FAIL_CLOSED,
      [TL_HS_CONNECT] = TL_C_HS_FAIL_CONNECT,  [TL_HS_NOT_TLS] = TL_C_HS_FAIL_NOT_TLS,
      [TL_HS_INTERNAL] = TL_C_HS_FAIL_INTERNAL};
  json_t *o = json_object();
  for (int i = TL_HS_TIMEOUT; i <= TL_HS_INTERNAL; i++)
    json_object_set_new(o, tl_hs_cause_name(i),
                        json_integer((json_int_t)tl_runtime_counter(rt, of[i])));
  return o;
}

static bool is_cause(const char *word) {
  for (int i = TL_HS_TIMEOUT; i <= TL_HS_INTERNAL; i++)
    if (strcmp(tl_hs_cause_name(i), word) == 0) return true;
  return false;
}

int tl_command_handshakes(struct tl_control *c, struct tl_request *req, const json_t *params,
                          struct tl_answer *a) {
  struct wish w = {.cause = tl_param_text(params, "cause")};
  const char *what = tl_param_text(params, "what"), *peer = tl_param_text(params, "peer");
  const json_t *want = json_object_get(params, "limit");
  const json_int_t limit = want ? json_integer_value(want) : TL_FAILURES_KEPT;
  uint64_t total = 0;
  (void)req;
  if (*what && strcmp(what, "failed") != 0)
    return tl_command_fail(a, TL_RPC_PARAMS, "handshakes takes \"failed\"");
  if (limit < 1 || limit > TL_FAILURES_KEPT)
    return tl_command_fail(a, TL_RPC_PARAMS, "limit is a number from 1 to %d", TL_FAILURES_KEPT);
  if (*w.cause && !is_cause(w.cause))
    return tl_command_fail(a, TL_RPC_PARAMS,
                           "cause is one of timeout, protocol, verify, name, alert, closed, "
                           "connect, not_tls, internal");
  w.by_peer = *peer != '\0';
  if (w.by_peer && tl_param_address(peer, &w.peer))
    return tl_command_fail(a, TL_RPC_PARAMS, "\"%.80s\" is not a valid address", peer);
  json_t *list = last_failures(&w, (size_t)limit, &total);
  a->result = json_pack("{s:I, s:o, s:o, s:o}", "total", (json_int_t)total, "causes",
                        by_cause(c->rt), "peers", by_peer(&w), "failed", list);
  return 0;
}
