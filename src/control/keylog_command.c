/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl keylog`: turns the key log on and off, and logs that. src/net writes the
 * file.
 */
#include "tieline/keylog.h"

#include <string.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/rpc.h"

#define FOR_DEFAULT_MS 60000

static const char *net_text(const struct tl_network *n, char out[TL_ADDR_STRLEN + 8]) {
  char host[TL_ADDR_STRLEN];
  snprintf(out, TL_ADDR_STRLEN + 8, "%s/%u", tl_addr_format_host(&n->addr, host), n->bits);
  return out;
}

static json_t *json_state(void) {
  struct tl_keylog_state s;
  char peer[TL_ADDR_STRLEN + 8];
  tl_keylog_get(&s);
  if (!s.file[0]) return json_pack("{s:b}", "on", 0);
  return json_pack("{s:b, s:s, s:s, s:I, s:I, s:I}", "on", s.on, "peer", net_text(&s.peer, peer),
                   "file", s.file, "left_ms", (json_int_t)s.left_ms, "connections",
                   (json_int_t)s.connections, "lines", (json_int_t)s.lines);
}

static void switch_off(const char *why) {
  struct tl_keylog_state s;
  tl_keylog_off();
  tl_keylog_get(&s);
  TL_LOG(TL_LOG_WARN, "TLS keys are no longer written to a file.", TL_FC("reason", why),
         TL_FC("file", s.file), TL_FI("connections", s.connections), TL_FI("lines", s.lines));
}

static bool is_permitted(struct tl_control *c, char file[256]) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  const bool yes = conf->opt.allow_keylog;
  snprintf(file, 256, "%s", yes ? conf->opt.keylog_file : "");
  tl_conf_unref(conf);
  return yes;
}

static uint64_t keylog_turn(struct tl_control *c, uint64_t now_ms) {
  uint64_t left_ms = 0;
  char file[256];
  if (tl_keylog_over(&left_ms)) {
    switch_off(left_ms ? "the file is full" : "the time is over");
    return TL_TIME_NEVER;
  }
  if (left_ms == 0) return TL_TIME_NEVER;
  if (!is_permitted(c, file)) {
    switch_off("the configuration does not permit it any more");
    return TL_TIME_NEVER;
  }
  return now_ms + left_ms + 1; /* one ms more, or the last turns would busy-loop */
}

static void keylog_stop(struct tl_control *c) {
  (void)c;
  tl_keylog_off();
}

const struct tl_control_service tl_keylog_service = {
    .name = "key log", .turn = keylog_turn, .stop = keylog_stop};

static int switch_on(struct tl_control *c, const json_t *params, struct tl_answer *a) {
  struct tl_network peer;
  char file[256], err[320] = "", text[TL_ADDR_STRLEN + 8];
  int64_t ms = tl_param_duration(params, "for", TL_KEYLOG_MAX_MS);
  if (!is_permitted(c, file))
    return tl_command_fail(a, TL_RPC_NOT_NOW,
                           "the configuration does not permit it: allow_keylog = true and a "
                           "keylog_file are needed");
  if (tl_network_parse(tl_str_c(tl_param_text(params, "peer")), &peer))
    return tl_command_fail(a, TL_RPC_PARAMS, "--peer is an address or address/bits");
  if (ms < 0) return tl_command_fail(a, TL_RPC_PARAMS, "--for is a time such as 60s, at most 1h");
  if (ms == 0) ms = FOR_DEFAULT_MS;
  if (tl_keylog_on(file, &peer, (uint64_t)ms, err, sizeof(err)))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "%.240s", err);
  TL_LOG(TL_LOG_WARN, "TLS keys of new connections are written to a file.",
         TL_FC("peer", net_text(&peer, text)), TL_FC("file", file), TL_FI("ms", ms));
  return 0;
}

int tl_command_keylog(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  const char *word = tl_param_text(params, "switch");
  struct tl_keylog_state s;
  (void)req;
  tl_keylog_get(&s);
  if (strcmp(word, "on") == 0)
    switch_on(c, params, a);
  else if (strcmp(word, "off") == 0 && s.on)
    switch_off("ctl asked for it");
  else if (*word && strcmp(word, "off") != 0 && strcmp(word, "status") != 0)
    tl_command_fail(a, TL_RPC_PARAMS, "keylog takes on, off or status");
  if (!a->code) a->result = json_state();
  return 0;
}
