/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which TLS domain serves a handshake, in the documented order: server side SNI
 * exact, SNI wildcard, the listener's own, the listener's address, the fallback;
 * client side destination domain exact, wildcard, destination address, the
 * fallback. Within one rule the first in file order wins. A domain without the
 * role is passed over.
 */
#include <ctype.h>

#include "tieline/tls.h"

static bool has_role(const struct tl_tls_domain *d, bool server) {
  return server ? d->server != NULL : d->client != NULL;
}

/* Lower case, without the dot at the end; false if it cannot be a domain name. */
static bool normalize(struct tl_str name, char out[256]) {
  if (name.n && name.p[name.n - 1] == '.') name.n--;
  if (name.n == 0 || name.n > 255) return false;
  for (size_t i = 0; i < name.n; i++) {
    out[i] = (char)tolower((unsigned char)name.p[i]);
    if (out[i] == '\0') return false;
  }
  out[name.n] = '\0';
  return true;
}

static bool match_name(const char *pattern, const char *name, bool wildcard) {
  if (strncmp(pattern, "*.", 2) != 0) return !wildcard && strcmp(pattern, name) == 0;
  if (!wildcard) return false;
  const char *dot = strchr(name, '.'); /* the star stands for exactly one label */
  return dot && dot != name && strcmp(dot, pattern + 1) == 0;
}

static struct tl_tls_domain *by_name(const struct tl_tls_set *set, bool server, const char *name,
                                     bool wildcard) {
  for (size_t i = 0; i < set->n; i++) {
    struct tl_tls_domain *d = set->domain[i];
    if (!has_role(d, server)) continue;
    for (char **p = d->match_sip_domain; *p; p++)
      if (match_name(*p, name, wildcard)) return d;
  }
  return NULL;
}

static struct tl_tls_domain *by_address(const struct tl_tls_set *set, bool server,
                                        const struct tl_addr *a) {
  for (size_t i = 0; i < set->n; i++) {
    struct tl_tls_domain *d = set->domain[i];
    if (!has_role(d, server)) continue;
    for (size_t k = 0; k < d->n_match_ip; k++) {
      const struct tl_addr *m = &d->match_ip[k];
      if (tl_addr_ip_eq(m, a) && (!tl_addr_port(m) || tl_addr_port(m) == tl_addr_port(a))) return d;
    }
  }
  return NULL;
}

static struct tl_tls_domain *choose(const struct tl_tls_set *set, bool server, struct tl_str name,
                                    struct tl_tls_domain *listener, const struct tl_addr *addr,
                                    enum tl_choice *out_rule) {
  char lower[256];
  struct tl_tls_domain *d = NULL;
  if (normalize(name, lower)) {
    *out_rule = TL_CHOICE_SNI_EXACT;
    if ((d = by_name(set, server, lower, false))) return d;
    *out_rule = TL_CHOICE_SNI_WILDCARD;
    if ((d = by_name(set, server, lower, true))) return d;
  }
  *out_rule = TL_CHOICE_LISTENER;
  if (listener && has_role(listener, server)) return listener;
  *out_rule = TL_CHOICE_ADDRESS;
  if (addr && (d = by_address(set, server, addr))) return d;
  *out_rule = TL_CHOICE_DEFAULT;
  if (set->fallback && has_role(set->fallback, server)) return set->fallback;
  *out_rule = TL_CHOICE_NONE;
  return NULL;
}

struct tl_tls_domain *tl_tls_choose_server(const struct tl_tls_set *set, struct tl_str sni,
                                           struct tl_tls_domain *listener,
                                           const struct tl_addr *local, enum tl_choice *out_rule) {
  enum tl_choice rule;
  return choose(set, true, sni, listener, local, out_rule ? out_rule : &rule);
}

struct tl_tls_domain *tl_tls_choose_client(const struct tl_tls_set *set, struct tl_str sip_domain,
                                           const struct tl_addr *dest, enum tl_choice *out_rule) {
  enum tl_choice rule;
  return choose(set, false, sip_domain, NULL, dest, out_rule ? out_rule : &rule);
}
