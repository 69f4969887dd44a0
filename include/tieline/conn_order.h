/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control thread has a worker do to one connection, and the question
 * about a client's certificate to which that is the answer.
 *
 * Ownership: a question and its references go to the control thread. Threads:
 * tl_conn_order_* any; they only post. Errors: TL_ELIMIT when the worker's mailbox
 * is full, TL_ENOMEM.
 */
#pragma once

#include "tieline/runtime.h"

struct tl_identity;
struct tl_tls_domain;

/* CONN of WORKER ends, with ALERT (0: close_notify). */
int tl_conn_order_close(struct tl_thread *worker, tl_conn_id conn, uint8_t alert);
/* CONN of WORKER, which is parked, is read from. */
int tl_conn_order_unpark(struct tl_thread *worker, tl_conn_id conn);

/* Is the client's certificate revoked? A worker asks by the runtime's OCSP_QUESTIONS; one of the
 * orders above is the answer. */
struct tl_ocsp_ask {
  struct tl_mail mail;
  unsigned worker;
  tl_conn_id conn;
  bool parked;                  /* nothing is read from it meanwhile */
  struct tl_tls_domain *domain; /* references */
  struct tl_identity *identity;
};
/* Its references too. */
void tl_ocsp_ask_free(struct tl_ocsp_ask *a);
