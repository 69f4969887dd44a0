/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a peer's certificate good by a TLS domain's policy? One set of rules for
 * the handshake, for connections that are verified again later (new CRL, new
 * trust, a certificate that ran out) and for resumed sessions: chain to an
 * anchor, validity, revocation, depth, key usage, Extended Key Usage (RFC 5924),
 * names (RFC 5922) and bounds that keep a hostile certificate cheap.
 *
 * Ownership: a verdict holds text of its own, nothing to free. Threads: any; a
 * verification reads the domain and the identity only. Errors: TL_EVERIFY where
 * the answer is no, TL_EINVAL where the domain lacks the role, TL_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "tieline/str.h"

struct tl_identity;
struct tl_tls_domain;

/* The codes that others than src/tls act on; like all codes they are OpenSSL's X509_V_*. */
enum {
  TL_VERIFY_OK = 0,
  TL_VERIFY_UNSPECIFIED = 1,
  TL_VERIFY_REVOKED = 23,
  TL_VERIFY_WRONG_NAME = 62,
};

struct tl_verdict {
  int code;                /* X509_V_*: of the first failure; X509_V_OK: none */
  int depth;               /* of the certificate that failed, 0: the peer's own */
  bool checked;            /* false: the domain verifies nobody, so the code says nothing */
  bool name_ok;            /* no name was required, or the certificate carries it */
  uint8_t alert;           /* to send to the peer, 0xff when nothing failed */
  char subject[256];       /* of the certificate that failed, "" if none did */
  char why[160];           /* the failure in words, "" if none */
  char anchor[256];        /* subject of the trust anchor, "" unless the chain verified */
  time_t chain_not_after;  /* earliest notAfter in the verified chain, 0 unless it verified */
  time_t chain_not_before; /* latest notBefore in it */
};

/* Verifies ID's chain by what D trusts, revokes and demands now, as our side of a connection where
 * we are the server (SERVER) or the client. NAME: what the certificate must carry if D checks
 * names; empty: no name. AT: the time, 0 for now. TL_EVERIFY also where D accepts the unverified:
 * then the connection may stay but counts as unauthenticated. Returns 0 with checked = false where
 * D has verify_cert = false. */
int tl_tls_verify_identity(const struct tl_tls_domain *d, bool server, const struct tl_identity *id,
                           struct tl_str name, time_t at, struct tl_verdict *out);

/* The alert for an X509_V_* code (RFC 8446 6.2); 0xff for X509_V_OK. */
uint8_t tl_verify_alert(int code);
/* The failure CODE in OpenSSL's words. */
const char *tl_verify_text(long code);
