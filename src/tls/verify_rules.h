/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that OpenSSL does not know, for verify.c.
 *
 * Ownership: none. Threads: any. Errors: none; a finding is an X509_V_* code.
 */
#pragma once

#include "tieline/verify.h"

struct tl_finding {
  int code, depth;
  const char *why;
};

/* Bounds and names of the peer's own certificate, looked at before any time is spent on its chain.
 * True: nothing is wrong; else *OUT says what. */
bool tl_leaf_acceptable(X509 *leaf, struct tl_finding *out);
/* Judges CHAIN, verified and leaf first, as that of a PEER_IS_CLIENT or server. True: nothing is
 * wrong; else *OUT says what. */
bool tl_chain_acceptable(STACK_OF(X509) * chain, enum tl_eku eku, bool peer_is_client,
                         struct tl_finding *out);
