/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tickets as server: the keys that seal them, made here and rotated, and
 * the question whether a session may go on (its client's certificate is verified
 * anew, or a full handshake follows).
 *
 * Ownership: the keys are the process's. Threads: any, under a lock that is held
 * for a copy of a key. Errors: none; a ticket that does not hold is ignored.
 */
#pragma once

#include "tls/internal.h"

#define TL_TICKET_LIFE_S 7200 /* of a ticket; RFC 8446 4.6.1 allows a week */

/* Hangs both on CTX, the front context. */
void tl_tickets_hook(SSL_CTX *ctx);
/* Forgets all keys: every ticket given so far is void. */
void tl_tickets_forget(void);
/* Lets the keys age by SECONDS at once, for tests. */
void tl_tickets_skip(uint64_t seconds);
/* May a session whose client showed LEAF (NULL: none) go on in D now? */
bool tl_tickets_client_ok(const struct tl_tls_domain *d, X509 *leaf);
