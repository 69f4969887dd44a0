/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions to resume as client, by destination and policy.
 *
 * Ownership: the table is the process's and bounded; a session taken out belongs
 * to the caller. Threads: any, under one lock, once per handshake. Errors: none;
 * a session that did not fit or has expired is simply not there.
 */
#pragma once

#include "tls/tls_internal.h"

#define TL_SESSIONS_MAX 512 /* the oldest is replaced */
#define TL_SESSIONS_KEY 32

/* Address and port, domain with its generation, server name and required name. */
int tl_sessions_key(const struct tl_addr *remote, const struct tl_tls_domain *d, const char *sni,
                    const char *verify_name, uint8_t out[TL_SESSIONS_KEY]);
/* Takes references of its own. */
void tl_sessions_put(const uint8_t key[TL_SESSIONS_KEY], SSL_SESSION *s, struct tl_identity *id);
/* The newest for KEY with the identity behind it; a TLS 1.3 session is given out once (RFC 8446
 * C.4). False: none. */
bool tl_sessions_take(const uint8_t key[TL_SESSIONS_KEY], SSL_SESSION **out,
                      struct tl_identity **out_id);
void tl_sessions_drop(const uint8_t key[TL_SESSIONS_KEY]);
