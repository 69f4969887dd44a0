/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator has in one form and is needed in another: DER as PEM text, the
 * names of the authorities in a file as hexadecimal.
 *
 * Ownership: results are the caller's. Threads: any. Errors: TL_ESYNTAX for what is
 * not of its kind, TL_ENOTFOUND, TL_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tieline/err.h"

enum tl_pem_kind { TL_PEM_CERTIFICATE, TL_PEM_PRIVATE_KEY, TL_PEM_DH_PARAMETERS };

/* The N bytes of DER at P, all of them one object of KIND, as PEM text in *OUT; a private key of
 * any form becomes PKCS #8. Whoever frees a key's text wipes it first. */
int tl_tls_pem_of_der(enum tl_pem_kind kind, const uint8_t *p, size_t n, char **out);

typedef void (*tl_der_name_fn)(void *arg, const char *hex);
/* Calls FN with the subject of each certificate in FILE, in hexadecimal DER. TL_ENOTFOUND: it
 * cannot be read, or holds none. TL_ENOMEM: some were left out. */
int tl_tls_authority_names(const char *file, tl_der_name_fn fn, void *arg);
