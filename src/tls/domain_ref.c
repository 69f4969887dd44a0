/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References to a TLS domain, and its end with the last of them. domain.c makes
 * domains.
 */
#include <openssl/ssl.h>
#include <stdlib.h>

#include "tieline/crl.h"
#include "tls/ticket_keys.h"
#include "tls/tls_internal.h"

struct tl_tls_domain *tl_tls_domain_ref(struct tl_tls_domain *d) {
  __atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
  return d;
}

void tl_tls_domain_unref(struct tl_tls_domain *d) {
  if (!d || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL)) return;
  SSL_CTX_free(d->server);
  SSL_CTX_free(d->client);
  tl_tickets_free(d->ticket_keys);
  tl_crls_unref(d->crls); /* after the contexts, whose stores point to it */
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
