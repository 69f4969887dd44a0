/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4: the keyed hash for tables that peers fill and for tokens that
 * peers carry (J.-P. Aumasson and D. J. Bernstein, 2012). OpenSSL has it only
 * behind EVP_MAC, whose set-up costs more than the hash.
 *
 * Ownership: none. Threads: any. Errors: none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t tl_siphash(const uint8_t key[16], const void *p, size_t n);
/* SipHash-1-3, for table keys that leave the process only as equal or not equal. */
uint64_t tl_siphash13(const uint8_t key[16], const void *p, size_t n);
