/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How commands answer: the error of a command, and the envelope that goes back to
 * the client. Which commands there are is command.c's.
 */
#include <stdarg.h>
#include <stdio.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/rpc.h"

int tl_command_fail(struct tl_answer *a, int code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(a->message, sizeof(a->message), fmt, ap);
  va_end(ap);
  a->code = code;
  return 0;
}

void tl_command_answer(struct tl_control *c, struct tl_request *req, struct tl_answer *a) {
  char *line = NULL;
  size_t n = 0;
  if (!a->result && !a->code) tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  if (req->notification) {
    json_decref(a->result);
    json_decref(a->data);
  } else if (a->result) {
    line = tl_rpc_result(req->id, a->result, &n);
  } else {
    line = tl_rpc_error(req->id, a->code, a->message, a->data, &n);
  }
  if (line || req->notification)
    tl_server_reply(&c->server, req->client, line, n, tl_now_ms());
  else
    tl_server_give_up(&c->server, req->client, tl_now_ms());
  json_decref(req->id);
  req->id = NULL;
}
