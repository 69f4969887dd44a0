/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: how one is called and answered, which there are, and their parameters.
 * command.c has their table.
 *
 * Ownership: a request owns its id; what a command returns goes to the answer.
 * Threads: the control thread's. Errors: in struct tl_answer.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/server.h"
#include "tieline/conn_info.h"

struct tl_control;

/* A request being handled. Owns ID: answering frees it. */
struct tl_request {
  struct tl_client_ref client;
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

void tl_command_line(void *control, struct tl_client_ref client, const char *line, size_t n);
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
int tl_command_groups(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a);
int tl_command_peers(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a);
int tl_command_peer(struct tl_control *c, struct tl_request *req, const json_t *params,
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
/* What tl_command_explain does for a request. */
int tl_explain_request(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a);
/* Takes REQ over and answers it at the end of the next run of the ledger, with RESULT (of a reload)
 * completed, or with the ledger if RESULT is NULL. On TL_ENOMEM both remain the caller's. */
int tl_ledger_request(struct tl_control *c, struct tl_request *req, json_t *result, size_t limit);

/* ---- params.c: what was given with a command */

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
