/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a certificate speak for a SIP domain or user (RFC 5922 7, RFC 5923 8)?
 * The domain is the one the operator or the request named, before any SRV
 * lookup. Wildcards in certificates are never honoured (RFC 5922 7.2). Whether
 * the certificate is good at all is verify.c's question.
 */
#include <ctype.h>
#include <openssl/crypto.h>

#include "tieline/addr.h"
#include "tieline/identity.h"

/* What follows "sip:"; n = 0 if URI has another scheme. "sips" does not count (RFC 5922 7.1). */
static struct tl_str after_scheme(const char *uri) {
  struct tl_str s = tl_str_c(uri), none = {NULL, 0};
  return s.n > 4 && strncasecmp(s.p, "sip:", 4) == 0 ? (struct tl_str){s.p + 4, s.n - 4} : none;
}

/* The host at the start of S, with the brackets of an IPv6 reference. */
static struct tl_str host_of(struct tl_str s) {
  size_t end = 0;
  if (s.n && s.p[0] == '[') {
    while (end < s.n && s.p[end] != ']') end++;
    end += end < s.n;
  } else {
    while (end < s.n && !strchr(":;?/", s.p[end])) end++;
  }
  return (struct tl_str){s.p, end};
}

/* Host of a "sip:" URI without a user part; n = 0 if it names no domain. */
static struct tl_str sip_domain(const char *uri) {
  struct tl_str s = after_scheme(uri), none = {NULL, 0};
  /* a user is not a domain */
  return s.n && memchr(s.p, '@', s.n) ? none : host_of(s);
}

/* An address is not a domain name: only a SAN of type iPAddress proves it. */
static bool match_address(const struct tl_identity *id, const struct tl_addr *want) {
  struct tl_addr a;
  for (size_t i = 0; i < id->n_san; i++)
    if (id->san[i].kind == TL_SAN_IP && tl_addr_parse(tl_str_c(id->san[i].value), 0, &a) == 0 &&
        tl_addr_ip_eq(&a, want))
      return true;
  return false;
}

/* Letters, digits, hyphens, and dots between labels that are not empty; the underscore exists.
 * Anything outside ASCII must come as an A-label (RFC 5280 7.2). */
static bool is_name(struct tl_str s) {
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    bool dot = c == '.' && i > 0 && s.p[i - 1] != '.';
    if (!isalnum((unsigned char)c) && c != '-' && c != '_' && !dot) return false;
  }
  return s.n > 0 && s.n <= 253;
}

static bool same_name(struct tl_str have, struct tl_str want) {
  have = tl_host_without_dot(have);
  return is_name(have) && tl_str_ieq(have, want);
}

bool tl_identity_speaks_for(const struct tl_identity *id, struct tl_str domain, bool allow_cn) {
  struct tl_addr addr;
  domain = tl_host_without_dot(domain);
  if (domain.n == 0 || tl_addr_parse(domain, 0, &addr) == 0) return false;
  bool any_uri = false;
  for (size_t i = 0; i < id->n_san; i++) {
    struct tl_str host = {NULL, 0};
    if (id->san[i].kind == TL_SAN_URI) host = sip_domain(id->san[i].value);
    if (host.n) any_uri = true;
    if (same_name(host, domain)) return true;
  }
  if (any_uri) return false; /* 7.1: DNS names count only where no sip: URI does */
  for (size_t i = 0; i < id->n_san; i++)
    if (id->san[i].kind == TL_SAN_DNS && same_name(tl_str_c(id->san[i].value), domain)) return true;
  /* Of several common names it is unclear which one is meant. */
  return !id->has_san && allow_cn && id->cn && id->n_cn < 2 && same_name(tl_str_c(id->cn), domain);
}

void tl_identity_each_domain(const struct tl_identity *id, bool allow_cn, tl_identity_domain_fn fn,
                             void *arg) {
  bool any_uri = false;
  for (size_t i = 0; i < id->n_san; i++) {
    struct tl_str host = {NULL, 0};
    if (id->san[i].kind == TL_SAN_URI) host = sip_domain(id->san[i].value);
    if (host.n) fn(arg, tl_host_without_dot(host));
    any_uri |= host.n > 0;
  }
  if (any_uri) return;
  for (size_t i = 0; i < id->n_san; i++)
    if (id->san[i].kind == TL_SAN_DNS) fn(arg, tl_host_without_dot(tl_str_c(id->san[i].value)));
  if (!id->has_san && allow_cn && id->cn && id->n_cn < 2)
    fn(arg, tl_host_without_dot(tl_str_c(id->cn)));
}

bool tl_identity_matches(const struct tl_identity *id, struct tl_str domain, bool allow_cn) {
  struct tl_addr addr;
  domain = tl_host_without_dot(domain);
  if (tl_addr_parse(domain, 0, &addr) == 0) return match_address(id, &addr);
  return tl_identity_speaks_for(id, domain, allow_cn);
}

/* Takes one character off a user part: an escape of a character that needs none equals that
 * character (RFC 3261 19.1.4), any other escape equals only an escape. */
static int next_char(struct tl_str *s) {
  int c = (unsigned char)s->p[0];
  size_t n = 1;
  if (c == '%' && s->n >= 3 && isxdigit((unsigned char)s->p[1]) &&
      isxdigit((unsigned char)s->p[2])) {
    c = OPENSSL_hexchar2int((unsigned char)s->p[1]) << 4 |
        OPENSSL_hexchar2int((unsigned char)s->p[2]);
    bool unreserved = c && (c < 0x80 && (isalnum(c) || strchr("-_.!~*'()", c)));
    if (!unreserved) c += 256;
    n = 3;
  }
  s->p += n, s->n -= n;
  return c;
}

static bool same_user(struct tl_str a, struct tl_str b) {
  while (a.n && b.n)
    if (next_char(&a) != next_char(&b)) return false;
  return a.n == 0 && b.n == 0;
}

bool tl_identity_matches_user(const struct tl_identity *id, struct tl_str user,
                              struct tl_str host) {
  host = tl_host_without_dot(host);
  if (user.n == 0 || host.n == 0) return false;
  for (size_t i = 0; i < id->n_san; i++) {
    if (id->san[i].kind != TL_SAN_URI) continue;
    struct tl_str s = after_scheme(id->san[i].value);
    const char *at = s.n ? memchr(s.p, '@', s.n) : NULL;
    if (!at) continue;
    struct tl_str uri_user = {s.p, (size_t)(at - s.p)}, uri_host = {at + 1, s.n - uri_user.n - 1};
    /* Exactly this URI: with a port or parameters it is another one (RFC 3261 19.1.4). */
    if (same_user(uri_user, user) && same_name(uri_host, host)) return true;
  }
  return false;
}

bool tl_identity_may_alias(const struct tl_identity *id, bool peer_verified, struct tl_str sent_by,
                           bool allow_cn) {
  return id && peer_verified && id->verified && tl_identity_speaks_for(id, sent_by, allow_cn);
}
