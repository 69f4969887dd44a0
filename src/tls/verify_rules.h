/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that OpenSSL does not know, for verify.c.
 *
 * Ownership: none. Threads: any. Errors: none; a finding is an X509_V_* code.
 */
#pragma once

#include <openssl/x509.h>

#include "tieline/verify.h"

struct tl_finding {
  int code, depth;
  const char *why;
};

/* Bounds and names of the peer's own certificate, checked before any time is spent on its chain.
 * False: *OUT says what is wrong. */
bool tl_leaf_acceptable(X509 *leaf, struct tl_finding *out);
/* Judges CHAIN, verified and leaf first, as that of a client (PEER_IS_CLIENT) or a server. False:
 * *OUT says what is wrong. */
bool tl_chain_acceptable(STACK_OF(X509) * chain, const struct tl_tls_domain *d, bool peer_is_client,
                         struct tl_finding *out);

/* Does the extended key usage of LEAF allow SIP or TLS as client or server? */
bool tl_leaf_for_role(X509 *leaf, bool client);

/* verify_path.c: SC's untrusted certificates, sorted so that those which lead to trust come first
 * (RFC 8446 4.4.2: "arbitrary orderings"). A stack of the caller's, without references; NULL: leave
 * them as they are. */
STACK_OF(X509) * tl_path_order(X509_STORE_CTX *sc);
/* Where two of CAS have the same name but different keys, lets STORE tell them apart by
 * signatures. */
void tl_path_tell_twins(X509_STORE *store, STACK_OF(X509) * cas);
