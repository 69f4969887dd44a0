/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger as JSON, and the requests that wait for the end of one of its runs:
 * `ledger`, which shows the chains, and `reload`, which tells what became of the
 * connections of changed domains. src/trust keeps the ledger.
 */
#include <stdlib.h>
#include <string.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/verify.h"

struct waiter {
  struct tl_ledger_wait wait; /* first */
  struct tl_control *c;
  struct tl_request req;
  json_t *result; /* of a reload, to be completed; NULL: the ledger is wanted */
  size_t limit;
};

/* ---- shown ---- */

static json_t *json_row(const struct tl_known *k) {
  char hex[65];
  for (size_t i = 0; i < sizeof(k->chain_sha256); i++)
    snprintf(hex + 2 * i, 3, "%02x", k->chain_sha256[i]);
  const char *verdict = k->why[0] ? k->why : "ok";
  return json_pack("{s:o, s:o, s:s, s:o, s:s, s:o, s:I, s:o, s:I, s:o, s:o}", "subject",
                   tl_rpc_text(k->subject, SIZE_MAX), "serial", tl_rpc_text(k->serial, SIZE_MAX),
                   "chain_sha256", hex, "domain", tl_rpc_text(k->domain, SIZE_MAX), "role",
                   k->server ? "server" : "client", "name", tl_rpc_text(k->name, SIZE_MAX),
                   "connections", (json_int_t)k->n, "not_after", tl_json_time(k->not_after), "code",
                   (json_int_t)k->code, "verdict",
                   tl_rpc_text(k->code == TL_VERIFY_OK && k->at ? "ok" : verdict, SIZE_MAX),
                   "verified_at", tl_json_time(k->at));
}

static json_t *json_ledger(const struct tl_ledger *l, size_t limit) {
  json_t *list = json_array();
  for (struct tl_known *k = NULL; json_array_size(list) < limit && (k = tl_known_next(l, k));)
    json_array_append_new(list, json_row(k));
  return json_pack("{s:I, s:I, s:b, s:o}", "total", (json_int_t)tl_known_count(l), "shown",
                   (json_int_t)json_array_size(list), "complete", tl_ledger_is_complete(l),
                   "chains", list);
}

static void add_count(json_t *entry, const char *key, uint32_t n) {
  json_object_set_new(entry, key,
                      json_integer(json_integer_value(json_object_get(entry, key)) + n));
}

static void add_outcome(void *arg, enum tl_directive_action action, uint32_t n) {
  static const char *const key[] = {"verified", "closed", "retiring"};
  add_count(arg, "connections", n);
  add_count(arg, key[action], n);
}

/* The outcome of a reload for the connections of each domain. */
static void complete_reload(const struct tl_ledger *l, json_t *result) {
  json_t *e;
  size_t i;
  json_array_foreach(json_object_get(result, "domains"), i, e) {
    const char *name = json_string_value(json_object_get(e, "name"));
    if (name) tl_ledger_orders(l, name, add_outcome, e);
  }
  json_object_set_new(result, "complete", json_boolean(tl_ledger_is_complete(l)));
}

/* ---- waiting ---- */

static void answer_waiter(struct waiter *w, const struct tl_ledger *l) {
  struct tl_answer a = {.result = w->result};
  if (w->result)
    complete_reload(l, w->result);
  else
    a.result = json_ledger(l, w->limit);
  tl_command_answer(w->c, &w->req, &a);
}

static void on_run_ended(struct tl_ledger_wait *wait, const struct tl_ledger *l) {
  struct waiter *w = (struct waiter *)wait;
  if (l) {
    answer_waiter(w, l);
  } else {
    json_decref(w->req.id);
    json_decref(w->result);
  }
  free(w);
}

int tl_ledger_request(struct tl_control *c, struct tl_request *req, json_t *result, size_t limit) {
  struct waiter *w = calloc(1, sizeof(*w));
  if (!w) return TL_ENOMEM;
  *w = (struct waiter){{.ended = on_run_ended}, c, *req, result, limit};
  tl_ledger_wait(c->trust.ledger, &w->wait);
  return 0;
}

int tl_command_ledger(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  const json_t *want = json_object_get(params, "limit");
  const json_int_t limit = want ? json_integer_value(want) : 10000;
  if (limit < 1 || limit > 100000)
    return tl_command_fail(a, TL_RPC_PARAMS, "limit is a number from 1 to 100000");
  if (tl_ledger_request(c, req, NULL, (size_t)limit))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}
