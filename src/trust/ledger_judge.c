/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges existing connections by the configuration in force: whether the peer's
 * chain still passes, and how a reload drains the connections of a domain that it
 * changed. src/tls/verify.c does the verification itself.
 */
#include <stdio.h>
#include <string.h>

#include "tieline/verify.h"
#include "trust/ledger.h"

#define ALERT_CERTIFICATE_REQUIRED 116 /* RFC 8446 6.2 */

static const struct tl_drained *drained_domain(const struct tl_ledger *l,
                                               const struct tl_tls_domain *d) {
  const struct tl_drained *r = l->drained;
  while (r && r->domain != d) r = r->next;
  return r;
}

/* Verifies the chain under D as it is now; once in a run for the same chain, role and name. */
static void verify_chain(struct tl_ledger *l, const struct tl_ledger_item *it,
                         const struct tl_tls_domain *d) {
  struct tl_known *k = it->known;
  struct tl_verdict v = {0};
  const char *name = !it->key.server && d->policy.verify_name && it->key.name ? it->key.name : "";
  if (k->run == l->run) return;
  k->run = l->run;
  k->at = time(NULL);
  int rc = tl_tls_verify_identity(d, it->key.server, it->key.identity, tl_str_c(name), k->at, &v);
  k->code = v.code;
  if (k->code == TL_VERIFY_OK && !v.name_ok) k->code = TL_VERIFY_WRONG_NAME;
  if (k->code == TL_VERIFY_OK && rc) k->code = TL_VERIFY_UNSPECIFIED; /* it cannot be verified */
  if (v.chain_not_after) k->not_after = v.chain_not_after;
  snprintf(k->why, sizeof(k->why), "%s", v.why[0] ? v.why : tl_verify_text(k->code));
}

/* Does the chain pass, or may the connection go on without? */
static bool is_allowed(struct tl_ledger *l, const struct tl_ledger_item *it,
                       const struct tl_tls_domain *d, struct tl_directive *out) {
  out->pass = false;
  if (!d->policy.verify_cert) return true;
  if (!it->key.identity) {
    if (!it->key.server || !d->policy.require_cert) return true;
    out->alert = ALERT_CERTIFICATE_REQUIRED;
    snprintf(out->why, sizeof(out->why), "the peer has shown no certificate");
    return false;
  }
  verify_chain(l, it, d);
  out->pass = it->known->code == TL_VERIFY_OK;
  if (out->pass || d->policy.on_unverified == TL_UNVERIFIED_ACCEPT) return true;
  out->alert = tl_verify_alert((int)it->known->code);
  snprintf(out->why, sizeof(out->why), "%.*s", (int)sizeof(out->why) - 1, it->known->why);
  return false;
}

static bool out_of_date(const struct tl_conn_class *class) {
  return class->identity && class->verified && class->identity->chain_not_after &&
         class->identity->chain_not_after < time(NULL);
}

/* The certificate was good or unknown at the handshake, and is revoked now. */
static bool revoked_since(struct tl_ledger *l, struct tl_ledger_item *it,
                          const struct tl_tls_domain *d, struct tl_directive *out) {
  const struct tl_conn_class *class = &it->key;
  if (!class->server || !class->verified || !class->identity ||
      d->policy.ocsp.client == TL_OCSP_CLIENT_OFF)
    return false;
  if (!tl_ocsp_client_revoked(l->ocsp_client, d, class->identity)) return false;
  it->known->code = TL_VERIFY_REVOKED;
  it->known->at = time(NULL);
  snprintf(it->known->why, sizeof(it->known->why), "certificate revoked (OCSP)");
  out->action = TL_DIRECTIVE_CLOSE;
  out->pass = false;
  out->alert = TL_ALERT_CERTIFICATE_REVOKED;
  snprintf(out->why, sizeof(out->why), "%s", "its certificate is revoked (OCSP)");
  return true;
}

/* For a domain that was removed, or whose certificate or protocol changed. */
static bool apply_drain(const struct tl_drained *r, struct tl_directive *out) {
  if (!r || r->mode == TL_DRAIN_KEEP) return false;
  out->action = r->mode == TL_DRAIN_NOW ? TL_DIRECTIVE_CLOSE : TL_DIRECTIVE_RETIRE;
  out->alert = 0;
  out->within_ms = r->within_ms;
  snprintf(out->why, sizeof(out->why), "a reload changed or removed its TLS domain");
  return true;
}

static bool decide_order(struct tl_ledger *l, struct tl_ledger_item *it, struct tl_directive *out) {
  const struct tl_conn_class *class = &it->key;
  if (!it->known) return false;
  struct tl_tls_domain *now = tl_conf_domain_named(l->conf, class->domain->name);
  if (now && revoked_since(l, it, now, out)) return true;
  if (now == class->domain && !l->verify_all && !out_of_date(class)) return false;
  const struct tl_drained *r = now == class->domain ? NULL : drained_domain(l, class->domain);
  if (!now) return apply_drain(r, out);
  out->action = TL_DIRECTIVE_CLOSE;
  if (!is_allowed(l, it, now, out)) return true;
  if (apply_drain(r, out)) return true;
  out->action = TL_DIRECTIVE_PASS;
  const bool same_core = memcmp(now->core, class->domain->core, sizeof(now->core)) == 0;
  if (now != class->domain && same_core) out->domain = now;
  return out->domain || out->pass != class->verified;
}

bool tl_ledger_judge(struct tl_ledger *l, struct tl_ledger_item *it, struct tl_directive *out) {
  memset(out, 0, sizeof(*out));
  out->pass = it->key.verified;
  if (!decide_order(l, it, out)) return false;
  if (tl_conn_class_copy(&it->key, &out->key)) {
    l->complete = false;
    return false;
  }
  if (out->domain) tl_tls_domain_ref(out->domain);
  return true;
}
