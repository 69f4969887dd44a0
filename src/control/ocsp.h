/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP in the control thread: the staples of our own certificates are renewed
 * before they end (ocsp_staple.c), clients' certificates are asked about while
 * their connections wait (ocsp_client.c).
 *
 * Ownership: all state is the control thread's. Threads: that one. Errors: none
 * come back; what went wrong is logged, counted and shown by `ctl ocsp`.
 */
#pragma once

#include "control/internal.h"

/* Renews what is due, of the domains of the present snapshot; lowers *TIMEOUT_MS. */
void tl_ocsp_staple_tick(struct tl_control *c, uint64_t now_ms, int *timeout_ms);
void tl_ocsp_staple_exit(void);
/* For `ctl ocsp`: one object for each certificate with a staple. */
json_t *tl_ocsp_staple_list(struct tl_control *c);

/* Does what was heard last of the certificate ID of a client connected under D say that it is
 * revoked? Where that no longer counts it is asked about again, and the ledger told. */
bool tl_ocsp_client_revoked(struct tl_control *c, const struct tl_tls_domain *d,
                            struct tl_identity *id);
/* A worker's question, TL_MAIL_OCSP_ASK. */
void tl_ocsp_client_ask(struct tl_control *c, struct tl_mail *m);
/* Answers those that waited long enough; lowers *TIMEOUT_MS. */
void tl_ocsp_client_tick(struct tl_control *c, uint64_t now_ms, int *timeout_ms);
void tl_ocsp_client_exit(struct tl_control *c);
json_t *tl_ocsp_client_list(void);

/* RFC 3339, or null for 0. */
json_t *tl_ocsp_time(time_t t);
/* Orders a question about CERT from the responder at URL. ISSUER is asked for its signature. */
struct tl_fetch;
int tl_ocsp_order(struct tl_control *c, struct x509_st *cert, struct x509_st *issuer,
                  const char *url, uint32_t timeout_ms, void (*done)(struct tl_fetch *f, void *arg),
                  void *arg);

int tl_command_ocsp(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a);
