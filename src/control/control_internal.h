/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of the control thread and how they call each other.
 *
 *   server.c        unix socket, clients, lines (server.h); control_socket.c hands each line to
 *                   command.c
 *   rpc.c           JSON-RPC envelopes
 *   command.c       the table of commands, dispatch; command_answer.c their answers
 *   gather.c        collects the connections of all workers, within a deadline
 *   show_commands.c connections, peers, tls_list; connection.c one connection, and closing it;
 *                   handshakes.c, keylog_command.c, explain_*.c, stats.c, reload.c as named;
 *                   json_values.c, params.c the values they have in common
 *   peer_names.c    re-resolves the names of peers; due_heap.c which is the next
 *   trust_service.c runs what src/trust does; trust_commands.c and ledger_command.c show it
 *   watch.c         reloads when files have changed
 *   control_loop.c  the loop and the list of its services (service.h): most of the above are some,
 *                   and so are signals.c and drain.c
 *
 * Ownership: one struct tl_control, the main thread's. Threads: that one only.
 * Errors: enum tl_err; towards clients JSON-RPC codes.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/due_heap.h"
#include "control/server.h"
#include "control/service.h"
#include "tieline/conn_info.h"
#include "tieline/conn_order.h"
#include "tieline/control.h"
#include "tieline/resolve.h"
#include "tieline/time.h"
#include "tieline/trust.h"
#include "tieline/view.h"
#include "tieline/worker.h"

/* ---- rpc.c: JSON-RPC 2.0 */

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

/* ---- control_loop.c */

enum tl_control_state { TL_CONTROL_RUNNING, TL_CONTROL_DRAINING, TL_CONTROL_STOPPED };

struct tl_gather;
struct tl_question;
struct tl_explain;
struct tl_watch;
struct tl_signals;

struct tl_control {
  struct tl_runtime *rt;
  sd_event *event;
  struct tl_control_services services;
  char problem[256]; /* why a service does not start, "": its error tells */
  struct tl_server server;
  struct tl_signals *signals;
  sd_event_source *mail;
  enum tl_control_state state;
  uint64_t started_ms, drain_until_ms;
  uint64_t rss_start; /* bytes, once all threads ran */
  struct tl_gather *gathers;
  struct tl_question *questions; /* of `explain request`, under way to workers */
  struct tl_trust_state trust;
  struct tl_watch *watch;
  struct {
    struct tl_due_heap row; /* ids of the peers whose names are not being looked up, by next_ms */
    unsigned asking;        /* look-ups under way */
    bool changed;           /* the published table of peers lacks some of their addresses */
    bool incomplete;        /* for want of memory some peers are not in the row */
    uint64_t retry_ms;      /* when either is tried again */
  } names;
};

/* ---- drain.c */

/* Begins to drain; when already draining, ends at once. */
void tl_control_shutdown(struct tl_control *c);
/* While draining: has everything ended, or is the time over? */
extern const struct tl_control_service tl_drain_service;

/* ---- signals.c, control_socket.c */

extern const struct tl_control_service tl_signals_service, tl_socket_service;

/* ---- peer_names.c: names of peers, re-resolved when their answers expire */

struct tl_peer_addrs;
/* T's set of peers is about to be in force: takes over the addresses found while it was made, and
 * looks its names up at once. */
void tl_names_adopt(struct tl_control *c, const struct tl_peer_table *t);
/* Looks up the names whose answers have expired. */
extern const struct tl_control_service tl_names_service;
/* The state of the look-up as `ctl peers` shows it; null for a peer without a name. */
json_t *tl_names_show(const struct tl_peer_addrs *p);

/* ---- command.c */

/* A request being handled. Owns ID: answering frees it. */
struct tl_request {
  struct tl_client_ref who;
  json_t *id;
  bool notification;
};

/* The outcome of a command: RESULT, or CODE with a sentence and DATA. */
struct tl_answer {
  json_t *result, *data;
  int code;
  char message[256];
};

/* 0 with *A filled in, or TL_EAGAIN: *REQ was taken over and will be answered later. */
typedef int (*tl_command_fn)(struct tl_control *c, struct tl_request *req, const json_t *params,
                             struct tl_answer *a);

void tl_command_line(void *control, struct tl_client_ref who, const char *line, size_t n);
void tl_command_answer(struct tl_control *c, struct tl_request *req, struct tl_answer *a);
/* Fills A with an error. */
int tl_command_fail(struct tl_answer *a, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

int tl_command_stats(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a);
int tl_command_connections(struct tl_control *c, struct tl_request *req, const json_t *params,
                           struct tl_answer *a);
int tl_command_connection(struct tl_control *c, struct tl_request *req, const json_t *params,
                          struct tl_answer *a);
int tl_command_close(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a);
int tl_command_explain(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a);
int tl_command_handshakes(struct tl_control *c, struct tl_request *req, const json_t *params,
                          struct tl_answer *a);
int tl_command_keylog(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a);
int tl_command_show(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a);
int tl_command_peers(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a);
int tl_command_tls_list(struct tl_control *c, struct tl_request *req, const json_t *params,
                        struct tl_answer *a);
int tl_command_crl(struct tl_control *c, struct tl_request *req, const json_t *params,
                   struct tl_answer *a);
int tl_command_ledger(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a);
int tl_command_ocsp(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a);
int tl_command_reload(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a);

/* ---- params.c: parameters in, JSON values out */

/* The text under NAME, or "" when it is absent or not a string. */
const char *tl_param_text(const json_t *params, const char *name);
/* "60s", "5m", "1h" or seconds as a number under NAME, in ms; 0 if it is absent, -1 if it is not a
 * duration of at most MAX_MS. */
int64_t tl_param_duration(const json_t *params, const char *name, int64_t max_ms);
/* "address" or "address:port"; TL_ESYNTAX. */
int tl_param_address(const char *text, struct tl_addr *out);
/* Reads peer=, identity= and domain= of PARAMS; on failure fills A with the error. */
int tl_param_filter(struct tl_control *c, const json_t *params, struct tl_conn_filter *out,
                    struct tl_answer *a);
/* "2026-11-21T22:00:00Z"; null for 0. */
json_t *tl_json_time(time_t at);
json_t *tl_json_address(const struct tl_addr *a);
/* S as JSON text, NULL as null. */
json_t *tl_json_text(const char *s);
/* One connection as `connections` shows it. */
json_t *tl_json_connection(const struct tl_conn_info *i);
/* Every field of a certificate; NULL as null. */
json_t *tl_json_identity(const struct tl_identity *id);

/* ---- stats.c */

/* Resident bytes of this process, 0 if unknown. */
uint64_t tl_stats_rss(void);

/* ---- gather.c: connections of all workers */

#define TL_GATHER_MS 2000

/* Turns the workers' answers into a result, or NULL with the error in A. COMPLETE: every worker
 * answered. */
typedef json_t *(*tl_gather_fn)(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                                bool complete, size_t limit, struct tl_answer *a);

/* Asks every worker for at most LIMIT connections that pass FILTER (NULL: all); DONE makes the
 * answer to REQ, which is taken over. On TL_ENOMEM REQ remains the caller's. */
int tl_gather_start(struct tl_control *c, struct tl_request *req, size_t limit,
                    const struct tl_conn_filter *filter, tl_gather_fn done);
/* Answers the gathers past their deadline. */
extern const struct tl_control_service tl_gather_service;

/* ---- explain_request.c */

int tl_explain_request(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a);
/* Answers the questions past their deadline. */
extern const struct tl_control_service tl_explain_service;

/* ---- keylog_command.c */

/* Ends the key log when its time is over or a reload has withdrawn the permission. */
extern const struct tl_control_service tl_keylog_service;

/* ---- trust_service.c: src/trust */

/* A worker's struct tl_ocsp_ask. */
extern const struct tl_mail_kind tl_ocsp_question;
/* Does what is due; stopped when the mailbox has been emptied. */
extern const struct tl_control_service tl_trust_service;
/* The part of it that waits for servers and comes back by mail. */
extern const struct tl_control_service tl_fetch_service;

/* ---- trust_commands.c, ledger_command.c */

/* For stats: seconds until the first own certificate, authority, peer's chain and list expire. */
json_t *tl_json_expiry(struct tl_control *c);
/* The authorities of a domain with their days left. */
json_t *tl_json_authorities(const struct tl_tls_domain *d);
/* Takes REQ over and answers it at the end of the next run of the ledger, with RESULT (of a reload)
 * completed, or with the ledger if RESULT is NULL. On TL_ENOMEM both remain the caller's. */
int tl_ledger_request(struct tl_control *c, struct tl_request *req, json_t *result, size_t limit);

/* ---- reload.c */

/* How to drain the connections of changed domains. */
struct tl_reload_how {
  enum tl_reload_drain mode;
  uint32_t within_ms;
};
/* Loads the configuration and publishes it, for ctl, SIGHUP and watch_files; HOW NULL: drain as
 * configured. Returns how many replaced domains may still have connections: their outcome is known
 * when the next run of the ledger has ended. */
size_t tl_reload_conf(struct tl_control *c, const struct tl_reload_how *how, struct tl_answer *a);
/* The same where nobody waits for an answer: the log says how it went. */
void tl_reload_unasked(struct tl_control *c);
/* The differences between two snapshots, as the reply shows them. */
json_t *tl_reload_diff(const struct tl_view *before, const struct tl_view *after);
