/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands, the dispatch of a request line, and the commands that
 * need nothing else: help, version, log, stop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/rpc.h"
#include "tieline/tls.h"

static int run_version(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a) {
  struct utsname u;
  (void)req, (void)params;
  if (uname(&u) < 0) snprintf(u.release, sizeof(u.release), "unknown");
  a->result =
      json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:i, s:i}", "version", TL_VERSION, "kernel",
                u.release, "openssl", tl_tls_library(true), "aead", tl_record_backend_name(), "pid",
                (int)getpid(), "kernel_tls", c->rt->caps.ulp, "workers", (int)c->rt->n_worker,
                "handshakers", (int)c->rt->n_handshaker);
  return 0;
}

static int run_log_level(struct tl_control *c, struct tl_request *req, const json_t *params,
                         struct tl_answer *a) {
  const enum tl_log_level before = tl_log_level();
  enum tl_log_level level = before;
  const json_t *want = json_object_get(params, "level");
  (void)c, (void)req;
  if (want && tl_log_level_parse(tl_str_c(json_string_value(want)), &level))
    return tl_command_fail(a, TL_RPC_PARAMS, "level is one of error, warn, info, debug");
  tl_log_set_level(level);
  if (want)
    TL_LOG(TL_LOG_INFO, "The log level was set by ctl.", TL_FC("level", tl_log_level_name(level)),
           TL_FC("previous", tl_log_level_name(before)));
  a->result = json_pack("{s:s, s:s}", "level", tl_log_level_name(level), "previous",
                        tl_log_level_name(before));
  return 0;
}

static int run_stop(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  (void)req, (void)params;
  TL_LOG(TL_LOG_INFO, "Stopping: requested by ctl.");
  tl_control_shutdown(c);
  a->result = json_pack("{s:b}", "stopping", 1);
  return 0;
}

static int run_help(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a);

static const struct command {
  const char *name, *params, *help;
  tl_command_fn fn;
} commands[] = {
    {"close", "ID", "close a connection once what is queued for it has left", tl_command_close},
    {"connection", "ID", "everything known of one connection and its certificate",
     tl_command_connection},
    {"connections", "[N] [--peer NAME|ADDRESS[:PORT]] [--identity TEXT] [--domain TLS-DOMAIN]",
     "every stream connection", tl_command_connections},
    {"crl", "", "revocation lists, and where they are fetched", tl_command_crl},
    {"explain",
     "tls [--listener ADDRESS:PORT] [--sni NAME] [--ca-names FILE] | tls --to DOMAIN [--address "
     "ADDRESS] | request --uri URI [--source ADDRESS] [--transport T] [--connection ID] [--from "
     "URI] [--route URI] [--method M]",
     "which TLS domain a handshake would get, which route a request; and why not the others",
     tl_command_explain},
    {"groups", "", "the groups of peers: who serves, and for which share", tl_command_groups},
    {"handshakes", "failed [--cause CAUSE] [--peer ADDRESS] [--limit N]",
     "the last TLS handshakes that failed, and how often by peer and cause", tl_command_handshakes},
    {"help", "[COMMAND]", "this list, or one line of it", run_help},
    {"keylog", "on --peer ADDRESS[/BITS] [--for 60s] | off | status",
     "write secrets of new TLS connections for Wireshark, if allow_keylog permits",
     tl_command_keylog},
    {"ledger", "[N]", "chains that are connected, and their last verification", tl_command_ledger},
    {"log", "[error|warn|info|debug]", "show or set the log level", run_log_level},
    {"ocsp", "", "OCSP staples and what is known of clients' certificates", tl_command_ocsp},
    {"peer", "NAME up|drain|down|none [--address ADDRESS[:PORT]]",
     "take a peer or one of its addresses out, or put it back; none: its health counts again",
     tl_command_peer},
    {"peers", "", "the configured peers, their connections and calls", tl_command_peers},
    {"reload", "[drain=graceful[:SECONDS]|now|keep]", "read the configuration and its files again",
     tl_command_reload},
    {"show", "config [explain]", "the configuration in force, every option resolved",
     tl_command_show},
    {"stats", "[all] [threads]", "counters and gauges", tl_command_stats},
    {"stop", "", "drain and end", run_stop},
    {"tls_list", "", "the TLS domains", tl_command_tls_list},
    {"tls_reload", "[drain=graceful[:SECONDS]|now|keep]", "another name of reload",
     tl_command_reload},
    {"version", "", "versions of tieline, kernel and OpenSSL", run_version},
};
#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

static int run_help(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  json_t *list = json_array();
  const char *one = tl_param_text(params, "command");
  (void)c, (void)req;
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (!*one || strcmp(one, commands[i].name) == 0)
      json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", commands[i].name, "params",
                                            commands[i].params, "help", commands[i].help));
  if (json_array_size(list) == 0) {
    json_decref(list);
    return tl_command_fail(a, TL_RPC_PARAMS, "no command \"%.64s\"", one);
  }
  a->result = json_pack("{s:o}", "commands", list);
  return 0;
}

static int dispatch_command(struct tl_control *c, const struct tl_rpc *rpc, struct tl_request *req,
                            struct tl_answer *a) {
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (strcmp(commands[i].name, rpc->method) == 0) return commands[i].fn(c, req, rpc->params, a);
  return tl_command_fail(a, TL_RPC_METHOD, "no command \"%.64s\"; \"help\" lists them",
                         rpc->method);
}

void tl_command_line(void *control, struct tl_client_ref client, const char *line, size_t n) {
  struct tl_control *c = control;
  struct tl_rpc rpc;
  struct tl_answer a = {0};
  const char *why = "";
  int code = tl_rpc_parse(line, n, &rpc, &why);
  struct tl_request req = {.client = client,
                           .id = rpc.id ? json_deep_copy(rpc.id) : NULL,
                           .notification = rpc.notification};
  int rc = code ? tl_command_fail(&a, code, "%s", why) : dispatch_command(c, &rpc, &req, &a);
  if (rc != TL_EAGAIN) tl_command_answer(c, &req, &a);
  tl_rpc_clear(&rpc);
}
