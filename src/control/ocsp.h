/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP in the control thread: ocsp_staple.c renews the staples of our own
 * certificates before they expire, ocsp_client.c queries the status of clients'
 * certificates while their connections wait.
 *
 * Ownership: all state is the control thread's. Threads: that one. Errors: none
 * are returned; failures are logged, counted and shown by `ctl ocsp`.
 */
#pragma once

#include "control/control_internal.h"

/* Renews the staples that are due, of the domains in force. */
extern const struct tl_control_service tl_ocsp_staple_service;
/* For `ctl ocsp`: one object for each certificate with a staple. */
json_t *tl_ocsp_staple_list(struct tl_control *c);

/* Does the last answer about the certificate ID of a client connected under D say revoked? An
 * answer that has expired is queried again, and the ledger is told. */
bool tl_ocsp_client_revoked(struct tl_control *c, const struct tl_tls_domain *d,
                            struct tl_identity *id);
/* A worker's struct tl_ocsp_ask. */
extern const struct tl_mail_kind tl_ocsp_question;
/* Releases the connections past their deadline. */
extern const struct tl_control_service tl_ocsp_client_service;
json_t *tl_ocsp_client_list(const struct tl_control *c);

/* Queries the responder at URL for the status of CERT, issued by ISSUER. */
struct tl_fetch;
int tl_ocsp_order(struct tl_control *c, struct x509_st *cert, struct x509_st *issuer,
                  const char *url, uint32_t timeout_ms, void (*done)(struct tl_fetch *f, void *arg),
                  void *arg);

int tl_command_ocsp(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a);
