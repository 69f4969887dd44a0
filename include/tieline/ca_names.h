/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which authorities a TLS client says it trusts: certificate_authorities
 * (RFC 8446 4.2.4) and trusted_ca_keys (RFC 6066 6) of a ClientHello.
 *
 * Ownership: the object belongs to its maker. Threads: one. Errors: TL_ESYNTAX
 * for an extension that breaks its grammar, TL_ELIMIT, TL_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tieline/err.h"

/* Names in one ClientHello, and the attributes that they may have together: reading one costs us a
 * microsecond, and OpenSSL another. All authorities that browsers trust are 144 names of 526
 * attributes, in 15 KB. No certificate's name has an attribute of a kilobyte (RFC 5280 A.1) or
 * needs more bytes than TL_CA_NAME_MAX. */
#define TL_CA_WANTED_MAX 256
#define TL_CA_ATTRIBUTES_MAX 1024
#define TL_CA_NAME_MAX 4096

struct tl_ca_wanted;

int tl_ca_wanted_new(struct tl_ca_wanted **out);
void tl_ca_wanted_free(struct tl_ca_wanted *w); /* NULL is fine */
/* Adds the extension_data of certificate_authorities. TL_ELIMIT: it exceeds a bound, and OpenSSL
 * must not read it. */
int tl_ca_wanted_names(struct tl_ca_wanted *w, const uint8_t *p, size_t n);
/* Adds the extension_data of trusted_ca_keys, all four types of identifier. OpenSSL does not read
 * it: beyond a bound only the lengths are checked. */
int tl_ca_wanted_keys(struct tl_ca_wanted *w, const uint8_t *p, size_t n);
/* The identifiers kept. pre_agreed names no authority, so it does not count. */
size_t tl_ca_wanted_count(const struct tl_ca_wanted *w);
