/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tickets as server: the keys that seal them, made here and rotated, and
 * the question whether a session may go on (its client's certificate is verified
 * anew, or a full handshake follows).
 *
 * Ownership: the keys are their domain's. Threads: any, under a lock that is held
 * for a copy of a key. Errors: none; a ticket that does not hold is ignored.
 */
#pragma once

#include "tls/tls_internal.h"

#define TL_TICKET_LIFE_S 7200 /* of a ticket, unless its domain says otherwise */

/* The keys of a domain whose tickets live for LIFE_S; none is made before it is needed. */
struct tl_ticket_keys *tl_tickets_new(uint32_t life_s);
/* Wipes them. */
void tl_tickets_free(struct tl_ticket_keys *t);
/* Hangs both on CTX, the front context. */
void tl_tickets_hook(SSL_CTX *ctx);
/* The session of SSL, a server's, ends as its domain says. */
void tl_tickets_limit(SSL *ssl);
/* Forgets all keys: every ticket given so far is void. */
void tl_tickets_forget(struct tl_ticket_keys *t);
/* Lets all keys age by MS at once, for tests. */
void tl_tickets_skip(uint64_t ms);
/* May a session whose client showed LEAF (NULL: none) go on in D now? */
bool tl_tickets_client_ok(const struct tl_tls_domain *d, X509 *leaf);
