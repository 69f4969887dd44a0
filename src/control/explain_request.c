/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl explain request`: composes a request and asks a worker how it would be
 * handled (src/proxy/explain_answer.c).
 */
#include <stdlib.h>
#include <string.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/explain.h"

#define PATIENCE_MS 2000
#define CLAIMS_NOTHING "sip:anonymous@anonymous.invalid" /* RFC 3323 4.1.1.3 */

struct tl_question {
  struct tl_explain e; /* first: the mail that comes back is the question */
  struct tl_request req;
  struct tl_question *next;
  uint64_t deadline_ms;
  bool answered; /* past its deadline; freed when the worker returns it */
};

/* ---- the answer */

static json_t *json_routes(const struct tl_explain *e) {
  json_t *list = json_array();
  for (size_t i = 0; i < e->n_route; i++)
    json_array_append_new(list,
                          json_pack("{s:o, s:b, s:s}", "route", tl_json_text(e->route[i].name),
                                    "chosen", e->route[i].chosen, "why", e->route[i].why));
  return list;
}

static json_t *or_null(const char *text) { return *text ? tl_json_text(text) : json_null(); }

static json_t *json_targets(const struct tl_explain *e) {
  json_t *list = json_array();
  for (size_t i = 0; i < e->n_target; i++)
    json_array_append_new(
        list,
        json_pack("{s:s, s:o, s:o, s:o, s:s?, s:o, s:o}", "transport",
                  tl_transport_param(e->target[i].transport), "address",
                  tl_json_address(&e->target[i].addr), "peer", or_null(e->target[i].peer), "group",
                  or_null(e->target[i].group), "health", e->target[i].health, "tls_domain",
                  or_null(e->target[i].domain), "must_carry", or_null(e->target[i].verify)));
  return list;
}

static const char *json_chosen(const struct tl_explain *e) {
  for (size_t i = 0; i < e->n_route; i++)
    if (e->route[i].chosen) return e->route[i].name;
  return "";
}

static json_t *json_result(const struct tl_explain *e) {
  const char *outcome = e->rc == 0           ? "forwarded"
                        : e->rc == TL_EAGAIN ? "resolved first"
                        : e->status < 300    ? "answered here"
                                             : "refused";
  json_t *j = json_pack("{s:s, s:o, s:o, s:o, s:o}", "outcome", outcome, "route",
                        or_null(json_chosen(e)), "source_peer", or_null(e->source_peer), "trust",
                        or_null(e->trust), "identity", or_null(e->identity));
  json_object_set_new(j, "status", e->rc == TL_ENOTFOUND ? json_integer(e->status) : json_null());
  json_object_set_new(j, "reason", or_null(e->reason));
  json_object_set_new(j, "resolve", or_null(e->resolve));
  json_object_set_new(j, "targets", json_targets(e));
  json_object_set_new(j, "routes", json_routes(e));
  json_object_set_new(j, "routes_left_out", json_integer((json_int_t)e->n_left_out));
  return j;
}

static void send_answer(struct tl_control *c, struct tl_question *q, bool in_time) {
  struct tl_answer a = {0};
  if (!in_time)
    tl_command_fail(&a, TL_RPC_NOT_NOW, "the worker did not answer in time");
  else if (q->e.rc == TL_ESYNTAX)
    tl_command_fail(&a, TL_RPC_PARAMS, "uri, from or route is no SIP URI");
  else if (q->e.rc == TL_ECLOSED)
    tl_command_fail(&a, TL_RPC_NOT_NOW, "there is no such connection");
  else if (q->e.rc == TL_ENOMEM || !(a.result = json_result(&q->e)))
    tl_command_fail(&a, TL_RPC_NOT_NOW, "out of memory");
  tl_command_answer(c, &q->req, &a);
  q->answered = true;
}

static void take_answer(struct tl_control *c, struct tl_explain *e) {
  struct tl_question *q = (struct tl_question *)e;
  if (!q->answered) send_answer(c, q, true);
  for (struct tl_question **p = &c->questions; *p; p = &(*p)->next)
    if (*p == q) {
      *p = q->next;
      break;
    }
  tl_explain_clear(e);
  free(q);
}

static void deliver_answer(void *reader, struct tl_mail *m) {
  take_answer(reader, (struct tl_explain *)m);
}

/* The question stays in the control thread's list, where its deadline ends it. */
static void drop_answer(struct tl_mail *m) { (void)m; }

static const struct tl_mail_kind answer_kind = {"explained", deliver_answer, drop_answer};

static uint64_t explain_turn(struct tl_control *c, uint64_t now_ms) {
  uint64_t due_ms = TL_TIME_NEVER;
  for (struct tl_question *q = c->questions; q; q = q->next) {
    if (q->answered) continue;
    if (now_ms >= q->deadline_ms)
      send_answer(c, q, false);
    else
      tl_time_sooner(&due_ms, q->deadline_ms);
  }
  return due_ms;
}

const struct tl_control_service tl_explain_service = {.name = "explain", .turn = explain_turn};

/* ---- the question */

/* May stand in a request line and in angle brackets. */
static bool is_word(const char *text) {
  for (const char *p = text; *p; p++)
    if (*p <= ' ' || *p == '<' || *p == '>' || *p == '"' || *p == 0x7f) return false;
  return *text != '\0';
}

static bool write_request(struct tl_explain *e, const char *method, const char *uri,
                          const char *from, const char *route) {
  int n = snprintf(e->request, sizeof(e->request),
                   "%s %s SIP/2.0\r\nVia: SIP/2.0/%s explain.invalid;branch=z9hG4bKexplain\r\n"
                   "Max-Forwards: 70\r\nFrom: <%s>;tag=explain\r\nTo: <%s>\r\n"
                   "Call-ID: explain\r\nCSeq: 1 %s\r\n%s%s%sContent-Length: 0\r\n\r\n",
                   method, uri, tl_transport_name(e->transport), from, uri, method,
                   *route ? "Route: <" : "", route, *route ? ">\r\n" : "");
  e->n = n > 0 ? (size_t)n : 0;
  return n > 0 && (size_t)n < sizeof(e->request);
}

/* The source: a connection, or an address and a transport. *OUT_WORKER is the worker to ask. */
static int source_of(const struct tl_control *c, const json_t *params, struct tl_explain *e,
                     unsigned *out_worker, struct tl_answer *a) {
  const char *id = tl_param_text(params, "connection"), *source = tl_param_text(params, "source");
  const char *transport = tl_param_text(params, "transport");
  char *end = NULL;
  e->transport = TL_UDP;
  if (*transport && tl_transport_parse(tl_str_c(transport), &e->transport)) {
    tl_command_fail(a, TL_RPC_PARAMS, "transport is " TL_TRANSPORT_LIST);
    return TL_ESYNTAX;
  }
  if (*id) {
    e->conn = strlen(id) <= 16 ? strtoull(id, &end, 16) : 0;
    const uint64_t worker = e->conn >> 56;
    *out_worker = (unsigned)worker - 1;
    if (end && !*end && worker >= 1 && worker <= c->rt->n_worker) return 0;
    tl_command_fail(a, TL_RPC_NOT_NOW, "there is no such connection");
    return TL_ENOTFOUND;
  }
  if (tl_param_address(*source ? source : "127.0.0.1", &e->source) == 0) return 0;
  tl_command_fail(a, TL_RPC_PARAMS, "source is an address");
  return TL_ESYNTAX;
}

int tl_explain_request(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a) {
  const char *uri = tl_param_text(params, "uri"), *from = tl_param_text(params, "from");
  const char *method = tl_param_text(params, "method"), *route = tl_param_text(params, "route");
  unsigned worker = 0;
  if (!*method) method = "INVITE";
  if (!*from) from = CLAIMS_NOTHING;
  if (!is_word(uri) || !is_word(from) || !is_word(method) || (*route && !is_word(route)))
    return tl_command_fail(a, TL_RPC_PARAMS,
                           "--uri is needed; --from, --route and --method are optional");
  struct tl_question *q = calloc(1, sizeof(*q));
  if (!q) return 0;
  if (source_of(c, params, &q->e, &worker, a)) {
    free(q);
    return 0;
  }
  q->e.reply = (struct tl_mail_address){&c->rt->control.mailbox, &answer_kind};
  if (!write_request(&q->e, method, uri, from, route))
    tl_command_fail(a, TL_RPC_PARAMS, "the request is longer than %d bytes", TL_EXPLAIN_TEXT);
  else if (!c->rt->worker[worker] || tl_explain_ask(c->rt->worker[worker], &q->e))
    tl_command_fail(a, TL_RPC_NOT_NOW, "the worker cannot be asked now; try again");
  if (a->code) {
    free(q);
    return 0;
  }
  q->req = *req;
  q->deadline_ms = tl_now_ms() + PATIENCE_MS;
  q->next = c->questions;
  c->questions = q;
  return TL_EAGAIN;
}
