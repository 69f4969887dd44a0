/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: everything known about it and the certificates of both sides,
 * and closing it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/gather.h"
#include "control/json_values.h"
#include "control/rpc.h"

static json_t *describe_connection(const struct tl_conn_info *i) {
  json_t *j = tl_json_connection(i), *tls = json_object_get(j, "tls");
  if (json_is_object(tls)) {
    const int bits = i->cipher == TL_AES_128_GCM ? 128 : 256;
    json_object_set_new(tls, "cipher_bits", json_integer(bits));
    json_object_set_new(tls, "description",
                        json_sprintf("%s %s (%d bits)", tl_tls_version_name(i->version),
                                     tl_cipher_name(i->cipher), bits));
    json_object_set_new(tls, "generation",
                        json_integer(i->tls_domain ? (json_int_t)i->tls_domain->generation : 0));
    json_object_set_new(tls, "peer_certificate", tl_json_identity(i->peer_cert));
    json_object_set_new(tls, "my_certificate", tl_json_identity(i->own));
  }
  return j;
}

static const struct tl_conn_info *only_connection(struct tl_dump *const *dump, size_t n) {
  for (size_t d = 0; d < n; d++)
    if (dump[d]->n) return &dump[d]->info[0];
  return NULL;
}

static json_t *no_such_connection(bool complete, struct tl_answer *a) {
  tl_command_fail(a, TL_RPC_NOT_NOW, "%s",
                  complete ? "there is no such connection; `connections --json` lists their ids"
                           : "a worker did not answer in time");
  return NULL;
}

static json_t *connection_done(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                               bool complete, size_t limit, struct tl_answer *a) {
  const struct tl_conn_info *i = only_connection(dump, n);
  (void)c, (void)limit;
  return i ? describe_connection(i) : no_such_connection(complete, a);
}

static json_t *close_done(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                          bool complete, size_t limit, struct tl_answer *a) {
  char peer[TL_ADDR_STRLEN];
  const struct tl_conn_info *i = only_connection(dump, n);
  (void)limit;
  if (!i) return no_such_connection(complete, a);
  if (tl_conn_order_close(c->rt->worker[i->worker], i->id, 0)) {
    tl_command_fail(a, TL_RPC_NOT_NOW, "the worker's mailbox is full; try again");
    return NULL;
  }
  TL_LOG(TL_LOG_INFO, "A connection is closed because ctl asked for it.",
         TL_FC("peer", tl_addr_format(&i->peer, peer)), TL_FC("tls_domain", i->domain));
  json_t *j = tl_json_connection(i);
  json_object_set_new(j, "closing", json_true());
  return j;
}

/* The id is the text that `connections` prints; anything else names no connection. */
static int ask_one(struct tl_control *c, struct tl_request *req, const json_t *params,
                   tl_gather_fn done, struct tl_answer *a) {
  struct tl_conn_filter f = {0};
  const char *text = tl_param_text(params, "id");
  const json_t *number = json_object_get(params, "id");
  char digits[24], *end = digits;
  if (json_is_integer(number)) {
    snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(number));
    text = digits;
  }
  if (*text && strlen(text) <= 16) f.id = strtoull(text, &end, 16);
  if (f.id == 0 || *end)
    return tl_command_fail(a, TL_RPC_PARAMS, "id is what `connections --json` gives, 16 digits");
  const uint64_t worker = f.id >> 56;
  if (worker < 1 || worker > c->rt->n_worker) {
    no_such_connection(true, a);
    return 0;
  }
  if (tl_gather_start(c, req, 1, &f, done))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}

int tl_command_connection(struct tl_control *c, struct tl_request *req, const json_t *params,
                          struct tl_answer *a) {
  return ask_one(c, req, params, connection_done, a);
}

int tl_command_close(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a) {
  return ask_one(c, req, params, close_done, a);
}
