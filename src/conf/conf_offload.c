/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warns of cipher suites of the TLS domains that the running kernel's TLS lacks;
 * their connections still work, in user space. The kernel is probed once per
 * process. A kernel without any TLS is reported by `tieline probe`, not here.
 */
#include <pthread.h>

#include "conf/conf_internal.h"
#include "tieline/ktls.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct tl_ktls_caps caps;

static void probe_kernel(void) {
  if (tl_ktls_probe(&caps)) caps.ulp = false;
}

void tl_conf_not_offloaded(const struct tl_tls_domain *d, const struct tl_ktls_caps *can,
                           char *text, size_t cap) {
  bool both[2][TL_CIPHERS];
  for (int v = 0; v < 2; v++)
    for (int k = 0; k < TL_CIPHERS; k++) both[v][k] = can->tx[v][k] && can->rx[v][k];
  tl_tls_domain_suites_without(d, both, text, cap);
}

void tl_conf_warn_offload(const struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_DOMAIN];
  for (size_t i = 0; i < c->n_domain; i++) {
    const struct tl_tls_domain *d = c->domain[i];
    const struct tl_block *b = &bs->b[i];
    char text[600];
    if (d->policy.records == TL_RECORDS_USER) continue;
    pthread_once(&once, probe_kernel);
    if (!caps.ulp) return;
    tl_conf_not_offloaded(d, &caps, text, sizeof(text));
    if (*text)
      tl_conf_warn(
          ctx, tl_block_at(b, tl_block_given(b, "ciphers_list") ? "ciphers_list" : "ciphersuites"),
          "tls_domain \"%s\": this kernel cannot take the records of %s; their "
          "connections stay in user space.",
          b->title, text);
  }
}
