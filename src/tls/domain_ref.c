/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References to a TLS domain, and its end with the last of them. domain.c makes
 * domains.
 */
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tieline/crl.h"
#include "tls/ticket_keys.h"
#include "tls/tls_internal.h"

struct tl_tls_domain *tl_tls_domain_ref(struct tl_tls_domain *d) {
  atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
  return d;
}

void tl_tls_domain_unref(struct tl_tls_domain *d) {
  if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) > 1) return;
  SSL_CTX_free(d->server);
  SSL_CTX_free(d->client);
  tl_tickets_free(d->ticket_keys);
  tl_crls_free(d->crls); /* after the contexts, whose stores point to it */
  tl_domain_free_ocsp(d);
  for (char **p = d->match_sip_domain; p && *p; p++) free(*p);
  free(d->match_sip_domain);
  free(d->match_ip);
  tl_credentials_free(d);
  tl_identity_unref(d->own);
  free(d->subject);
  free(d->groups);
  free(d->advertise_host);
  free(d->name);
  free(d);
}
