/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header names to ids.
 *
 * Ownership: none. Threads: any. Errors: none, an unknown name is TL_H_OTHER.
 */
#pragma once

#include "tieline/scan.h"

/* NAME by its long or compact form (RFC 3261 7.3.3), case-insensitive. */
enum tl_hdr_id tl_header_id(const char *name, size_t n);
