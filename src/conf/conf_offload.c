/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warns of what the running kernel's TLS lacks: cipher suites of the TLS domains, and what
 * body_relay = splice would need. Everything still works, in user space. The kernel is probed once
 * per process. A kernel without any TLS is otherwise reported by `tieline probe`, not here.
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

static enum tl_records_mode mode_of(const struct tl_conf *c, size_t i) {
  const struct tl_conf_options *opt = c->raw->sec[TL_SEC_GLOBAL].b[0].values;
  enum tl_records_mode m = c->domain[i]->policy.records;
  return m == TL_RECORDS_AUTO ? opt->records : m;
}

bool tl_conf_domain_splices(const struct tl_conf *c, size_t i, const struct tl_ktls_caps *can) {
  enum tl_records_mode m = mode_of(c, i);
  if (m == TL_RECORDS_AUTO && can->slow[TL_AES_128_GCM]) return false;
  return can->ulp && m != TL_RECORDS_USER;
}

static void warn_domain(const struct tl_conf *c, size_t i, struct tl_conf_ctx *ctx) {
  const struct tl_block *g = &c->raw->sec[TL_SEC_GLOBAL].b[0],
                        *b = &c->raw->sec[TL_SEC_DOMAIN].b[i];
  bool user = mode_of(c, i) == TL_RECORDS_USER;
  tl_conf_warn(
      ctx, tl_block_given(b, "records") ? tl_block_at(b, "records") : tl_block_at(g, "records"),
      "tls_domain \"%s\": its records stay in user space (%s), so "
      "body_relay = splice does not reach the bodies of its connections.",
      b->title,
      user ? "records = user" : "records = auto, and the kernel's AES-GCM is not accelerated");
}

void tl_conf_warn_relay(const struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_block *g = &c->raw->sec[TL_SEC_GLOBAL].b[0];
  const struct tl_conf_options *opt = g->values;
  if (opt->body_relay != TL_BODY_RELAY_SPLICE || !c->n_domain) return;
  pthread_once(&once, probe_kernel);
  if (!caps.ulp) {
    tl_conf_warn(ctx, tl_block_at(g, "body_relay"),
                 "body_relay = splice needs TLS in the kernel, which this one does not have (see "
                 "`tieline probe`): only bodies from TCP to TCP will be spliced.");
    return;
  }
  for (size_t i = 0; i < c->n_domain; i++)
    if (!tl_conf_domain_splices(c, i, &caps)) warn_domain(c, i, ctx);
}
