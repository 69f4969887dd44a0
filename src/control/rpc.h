/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 envelopes, and texts as JSON.
 *
 * Ownership: values that are returned are the caller's. Threads: any. Errors: codes
 * of JSON-RPC; NULL: memory is short.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
  TL_RPC_PARSE = -32700,
  TL_RPC_REQUEST = -32600,
  TL_RPC_METHOD = -32601,
  TL_RPC_PARAMS = -32602,
  TL_RPC_NOT_NOW = -32000,
  TL_RPC_REFUSED = -32001
};

struct tl_rpc {
  json_t *root;         /* owns all below */
  const char *method;   /* NULL when the request is not valid */
  const json_t *params; /* an object, or NULL */
  const json_t *id;     /* NULL: a notification, or not readable */
  bool notification;
};
/* Reads one request of N bytes. 0, or the code to answer with and a sentence in *OUT_WHY. Always
 * end with tl_rpc_clear. */
int tl_rpc_parse(const char *line, size_t n, struct tl_rpc *out, const char **out_why);
void tl_rpc_clear(struct tl_rpc *r);
/* An envelope as one line with its newline, malloc'd. Takes RESULT and DATA (may be NULL) over. */
char *tl_rpc_result(const json_t *id, json_t *result, size_t *out_n);
char *tl_rpc_error(const json_t *id, int code, const char *message, json_t *data, size_t *out_n);
/* A JSON string of at most N bytes up to the first NUL; bytes that are not UTF-8 become U+FFFD. */
json_t *tl_rpc_text(const char *s, size_t n);
