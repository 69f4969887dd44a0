/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a certificate speak for a SIP domain (RFC 5922 7)? The domain is the one
 * the operator or the request named, before any SRV lookup. Wildcards in
 * certificates are never honoured (RFC 5922 7.2).
 */
#include "tieline/addr.h"
#include "tieline/identity.h"

static struct tl_str without_dot(struct tl_str s) {
  if (s.n && s.p[s.n - 1] == '.') s.n--;
  return s;
}

/* Host of a "sip:" URI without a user part; n = 0 if it names no domain. */
static struct tl_str sip_uri_host(const char *uri) {
  struct tl_str s = tl_str_c(uri), none = {NULL, 0};
  if (s.n < 4 || strncasecmp(s.p, "sip:", 4) != 0) return none;
  s.p += 4, s.n -= 4;
  if (memchr(s.p, '@', s.n)) return none; /* an individual user, not a domain */
  size_t end = 0;
  if (s.n && s.p[0] == '[') {
    while (end < s.n && s.p[end] != ']') end++;
    end += end < s.n;
  } else {
    while (end < s.n && !strchr(":;?/", s.p[end])) end++;
  }
  return (struct tl_str){s.p, end};
}

static bool same_address(struct tl_str text, const struct tl_addr *want) {
  struct tl_addr a;
  return tl_addr_parse(text, 0, &a) == 0 && tl_addr_ip_eq(&a, want);
}

static bool match_address(const struct tl_identity *id, const struct tl_addr *want) {
  for (size_t i = 0; i < id->n_san; i++) {
    const struct tl_san *s = &id->san[i];
    if (s->kind == TL_SAN_IP && same_address(tl_str_c(s->value), want)) return true;
    if (s->kind == TL_SAN_URI && same_address(sip_uri_host(s->value), want)) return true;
  }
  return false;
}

static bool same_name(struct tl_str have, struct tl_str want) {
  return have.n && !memchr(have.p, '*', have.n) && tl_str_ieq(without_dot(have), want);
}

bool tl_identity_matches(const struct tl_identity *id, struct tl_str domain, bool allow_cn) {
  struct tl_addr addr;
  domain = without_dot(domain);
  if (domain.n == 0) return false;
  if (tl_addr_parse(domain, 0, &addr) == 0) return match_address(id, &addr);
  bool any_uri = false;
  for (size_t i = 0; i < id->n_san; i++) {
    struct tl_str host = {NULL, 0};
    if (id->san[i].kind == TL_SAN_URI) host = sip_uri_host(id->san[i].value);
    if (host.n) any_uri = true;
    if (same_name(host, domain)) return true;
  }
  if (any_uri) return false; /* 7.1: DNS names count only where no sip: URI does */
  for (size_t i = 0; i < id->n_san; i++)
    if (id->san[i].kind == TL_SAN_DNS && same_name(tl_str_c(id->san[i].value), domain)) return true;
  return !id->has_san && allow_cn && id->cn && same_name(tl_str_c(id->cn), domain);
}
