/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer's certificate must be beyond trusted: issued under one of certain
 * authorities, or carrying one of certain keys (FEATURES B2, B8).
 *
 * Ownership: immutable, reference-counted (atomic; per connection, never per
 * message). Threads: any. Errors: TL_ECONFIG with a sentence, TL_ENOMEM.
 */
#pragma once

#include "tieline/identity.h"

struct tl_binding {
  _Atomic uint64_t refs;
  uint8_t digest[32]; /* equal bindings have equal digests */
  size_t n_ca, n_pin;
  uint8_t (*ca)[32];  /* SHA-256 of the authorities' public keys */
  uint8_t (*pin)[32]; /* SHA-256 of peers' public keys */
};

/* CA_FILE: authorities in PEM, or NULL. PINS: NULL-terminated SHA-256 digests in hex (colons
 * allowed), or NULL. At least one of both. *OUT_OPTION: "ca_list" or "spki_sha256", to blame. */
int tl_binding_new(const char *ca_file, char *const *pins, char *err, size_t cap,
                   const char **out_option, struct tl_binding **out);
struct tl_binding *tl_binding_ref(struct tl_binding *b);
void tl_binding_unref(struct tl_binding *b); /* NULL is fine */

/* Does the certificate ID (NULL: none) satisfy B? VERIFIED: its chain was verified on this
 * connection; without that no authority vouches for it, but a pinned key still counts. */
bool tl_binding_holds(const struct tl_binding *b, const struct tl_identity *id, bool verified);
/* The same demands? NULL demands nothing. */
bool tl_binding_same(const struct tl_binding *a, const struct tl_binding *b);

/* Parses the digest TEXT; TL_ESYNTAX if it is not one. */
int tl_binding_parse_pin(const char *text, uint8_t out[32]);
