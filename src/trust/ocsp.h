/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP: ocsp_staple.c renews the staples of our own certificates before they
 * expire, ocsp_client.c queries the status of clients' certificates while their
 * connections wait.
 *
 * Ownership: what is made here is the caller's; it uses a fetcher that lives
 * longer. Threads: the control thread's. Errors: NULL: memory is short; later
 * failures are logged, counted and shown by `ctl ocsp`.
 */
#pragma once

#include "tieline/trust.h"
#include "trust/fetch.h"

struct x509_st; /* X509 of OpenSSL */

struct tl_ocsp_staples *tl_ocsp_staples_new(struct tl_runtime *rt, struct tl_fetcher *fetcher);
void tl_ocsp_staples_free(struct tl_ocsp_staples *o); /* NULL is fine */
/* Renews the staples that are due, of the domains in force; returns when to call again. */
uint64_t tl_ocsp_staple_turn(struct tl_ocsp_staples *o, uint64_t now_ms);

/* The answer about a connected client holds UNTIL then; REVOKED: its connections must end. */
typedef void (*tl_ocsp_answer_fn)(void *arg, time_t until, bool revoked);
struct tl_ocsp_clients *tl_ocsp_clients_new(struct tl_runtime *rt, struct tl_fetcher *fetcher,
                                            tl_ocsp_answer_fn on_answer, void *arg);
void tl_ocsp_clients_free(struct tl_ocsp_clients *o); /* NULL is fine */
/* Releases the connections past their deadline; returns when to call again. */
uint64_t tl_ocsp_client_turn(struct tl_ocsp_clients *o, uint64_t now_ms);
/* A worker's question; the caller's still. */
void tl_ocsp_client_consider(struct tl_ocsp_clients *o, const struct tl_ocsp_ask *a);
/* Does the last answer about the certificate ID of a client connected under D say revoked? An
 * answer that has expired is queried again, and on_answer called later. */
bool tl_ocsp_client_revoked(struct tl_ocsp_clients *o, const struct tl_tls_domain *d,
                            struct tl_identity *id);

/* Queries the responder at URL for the status of CERT, issued by ISSUER. */
int tl_ocsp_order(struct tl_fetcher *fetcher, struct x509_st *cert, struct x509_st *issuer,
                  const char *url, uint32_t timeout_ms, void (*done)(struct tl_fetch *f, void *arg),
                  void *arg);
