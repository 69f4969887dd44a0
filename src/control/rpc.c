/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 envelopes: one request out of a line, one line out of a result.
 * Knows no command and no socket.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "control/rpc.h"

static bool id_ok(const json_t *id) {
  return json_is_string(id) || json_is_number(id) || json_is_null(id);
}

int tl_rpc_parse(const char *line, size_t n, struct tl_rpc *out, const char **out_why) {
  json_error_t e;
  memset(out, 0, sizeof(*out));
  out->root = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e);
  if (!out->root) {
    *out_why = "the request is not valid JSON";
    return TL_RPC_PARSE;
  }
  *out_why = "batches are not supported, send one request per line";
  if (json_is_array(out->root)) return TL_RPC_REQUEST;
  const json_t *id = json_object_get(out->root, "id");
  *out_why = "\"id\" must be a string, a number or null";
  if (id && !id_ok(id)) return TL_RPC_REQUEST;
  out->id = id;
  const char *version = json_string_value(json_object_get(out->root, "jsonrpc"));
  *out_why = "a request is an object with \"jsonrpc\":\"2.0\"";
  if (!version || strcmp(version, "2.0") != 0) return TL_RPC_REQUEST;
  const char *method = json_string_value(json_object_get(out->root, "method"));
  *out_why = "\"method\" must be a string";
  if (!method) return TL_RPC_REQUEST;
  out->notification = id == NULL; /* section 4.1: only a valid request can be one */
  out->method = method;
  out->params = json_object_get(out->root, "params");
  *out_why = "\"params\" must be an object: parameters go by name";
  if (out->params && !json_is_object(out->params)) return TL_RPC_PARAMS;
  return 0;
}

void tl_rpc_clear(struct tl_rpc *r) {
  json_decref(r->root);
  memset(r, 0, sizeof(*r));
}

static char *make_envelope(const json_t *id, const char *key, json_t *value, size_t *out_n) {
  json_t *root = json_object();
  char *line = NULL;
  int rc = json_object_set_new(root, "jsonrpc", json_string("2.0"));
  rc |= json_object_set_new(root, "id", id ? json_deep_copy(id) : json_null());
  rc |= json_object_set_new(root, key, value);
  if (rc == 0) line = json_dumps(root, JSON_COMPACT);
  json_decref(root);
  *out_n = line ? strlen(line) : 0;
  char *whole = line ? realloc(line, *out_n + 2) : NULL;
  if (!whole) {
    free(line);
    *out_n = 0;
    return NULL;
  }
  memcpy(whole + *out_n, "\n", 2);
  *out_n += 1;
  return whole;
}

char *tl_rpc_result(const json_t *id, json_t *result, size_t *out_n) {
  return make_envelope(id, "result", result, out_n);
}

char *tl_rpc_error(const json_t *id, int code, const char *message, json_t *data, size_t *out_n) {
  json_t *e = json_pack("{s:i, s:o}", "code", code, "message", tl_rpc_text(message, SIZE_MAX));
  if (data && json_object_set_new(e, "data", data)) {
    json_decref(e);
    e = NULL;
  }
  return make_envelope(id, "error", e, out_n);
}

json_t *tl_rpc_text(const char *s, size_t n) {
  n = strnlen(s ? s : "", n);
  json_t *j = json_stringn(s ? s : "", n);
  if (j) return j;
  char *fixed = malloc(n * 3 + 1); /* U+FFFD takes three bytes */
  size_t m = 0;
  if (!fixed) return NULL;
  for (size_t i = 0; i < n;) {
    uint32_t cp = 0;
    size_t used = tl_utf8_next((const uint8_t *)s + i, n - i, &cp);
    memcpy(fixed + m, used ? s + i : "\xef\xbf\xbd", used ? used : 3);
    m += used ? used : 3;
    i += used ? used : 1;
  }
  j = json_stringn(fixed, m);
  free(fixed);
  return j;
}
