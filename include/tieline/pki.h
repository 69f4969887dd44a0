/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `tieline pki`: a certificate authority for laboratories and tests, in one
 * directory, made with OpenSSL's library alone.
 *
 * Ownership: nothing is kept. Threads: one. Errors: reported on standard error;
 * the return value is an exit status.
 */
#pragma once

/* argv[0] is the program's name, argv[1] the word after `pki`. Returns 0 or 1. */
int tl_pki_main(int argc, char **argv);
