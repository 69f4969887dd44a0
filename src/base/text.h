/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from outside: which code points may reach a terminal, a log or JSON.
 *
 * Ownership: none. Threads: any. Errors: none; bytes that are not UTF-8 are
 * reported as such.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed UTF-8 sequence at P (N bytes left), its code point in *OUT_CP; 0 when
 * the bytes are not UTF-8 (overlong forms, surrogates and values above U+10FFFF included). */
size_t tl_utf8_next(const uint8_t *p, size_t n, uint32_t *out_cp);

/* Could CP forge a line, move a cursor or hide text? Controls, line separators, the byte order
 * mark and the bidirectional overrides. */
bool tl_text_unsafe(uint32_t cp);
