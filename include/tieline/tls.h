/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS library under src/tls: its start and its version. What is done with it
 * is in tls_domain.h, tls_choice.h and tls_handshake.h.
 *
 * Ownership: nothing. Threads: any, after tl_tls_init. Errors:
 * TL_ENOMEM.
 */
#pragma once

#include <stdbool.h>

/* OpenSSL's version, with its name and date if IN_FULL. */
const char *tl_tls_library(bool in_full);

/* One start-up call: OpenSSL, ex_data indices, keylog hook. */
int tl_tls_init(void);
