/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tickets as server: the keys that seal them, made here and rotated, and
 * the decision whether a session may resume (its client's certificate is
 * verified again, or a full handshake follows).
 *
 * Ownership: the keys are their domain's. Threads: any, under a lock that is
 * held while a key is copied. Errors: none; an invalid ticket is ignored.
 */
#pragma once

#include <pthread.h>

#include "tls/tls_internal.h"

#define TL_TICKET_LIFE_S 7200 /* of a ticket, unless its domain says otherwise */
#define TL_TICKET_NAME_LEN 16
#define TL_TICKET_KEY_LEN 32

struct tl_ticket_key {
  bool set;
  uint64_t born_ms; /* of the monotonic clock */
  uint8_t name[TL_TICKET_NAME_LEN], aes[TL_TICKET_KEY_LEN], hmac[TL_TICKET_KEY_LEN];
};

struct tl_ticket_keys {
  uint64_t life_ms;
  pthread_mutex_t mu; /* guards the next two */
  struct tl_ticket_key present, former;
};

/* The keys of a domain whose tickets live for LIFE_S; a key is made when it is first needed. */
struct tl_ticket_keys *tl_tickets_new(uint32_t life_s);
/* Wipes them. */
void tl_tickets_free(struct tl_ticket_keys *t);
/* Installs both callbacks in CTX, the front context. */
void tl_tickets_hook(SSL_CTX *ctx);
/* Limits the session of SSL, a server's, to its domain's lifetime. */
void tl_tickets_limit(SSL *ssl);
/* May a session whose client showed LEAF (NULL: none) resume in D now? */
bool tl_tickets_client_ok(const struct tl_tls_domain *d, X509 *leaf);
