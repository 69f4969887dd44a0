/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which hosts are local. The table is consulted for every message, so it is built
 * once per snapshot, and lookups allocate nothing.
 *
 * A key is a host and a port. IPv6 addresses are stored as bytes, so that every
 * spelling is found; names are stored in lower case without a trailing dot.
 */
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/index_map.h"

#define ANY_PORT 0x10000u /* the name with any port */
#define NO_PORT 0u        /* the name written without one */
#define KEY_MAX 256

struct name {
  uint32_t port;
  uint16_t n; /* of host */
  char host[];
};

/* The index tells where in TEXT the names of one hash begin. */
struct tl_conf_names {
  struct tl_index_map index;
  char *text; /* names, one after the other */
  uint32_t used, cap;
};

/* An IPv4 address has one spelling only (tl_addr_parse), so its text can be the key. Nothing else
 * made of digits and dots is a valid host name: no top-level domain is numeric. */
static bool is_dotted(struct tl_str host) {
  size_t i = 0;
  if (host.n < sizeof("0.0.0.0") - 1 || host.n > sizeof("255.255.255.255") - 1) return false;
  while (i < host.n && ((unsigned char)(host.p[i] - '0') <= 9 || host.p[i] == '.')) i++;
  return i == host.n && host.p[i - 1] != '.';
}

static size_t key_of_dotted(struct tl_str host, char out[KEY_MAX]) {
  out[0] = '4';
  memcpy(out + 1, host.p, host.n);
  return host.n + 1;
}

static size_t key_of_address(const struct tl_addr *a, char out[KEY_MAX]) {
  char text[TL_ADDR_STRLEN];
  if (a->sa.sa_family != AF_INET6)
    return key_of_dotted(tl_str_c(tl_addr_format_host(a, text)), out);
  out[0] = '6';
  memcpy(out + 1, &a->v6.sin6_addr, 16);
  return 17;
}

/* Writes HOST in the table's form; 0 if the table cannot contain it. Runs for every message. */
static size_t normalise_host(struct tl_str host, char out[KEY_MAX]) {
  struct tl_addr a;
  if (is_dotted(host)) return key_of_dotted(host, out);
  if (host.n && *host.p == '[' && !tl_addr_parse(host, 0, &a)) return key_of_address(&a, out);
  if (host.n && host.p[host.n - 1] == '.') host.n--;
  if (host.n == 0 || host.n > KEY_MAX - 2) return 0;
  out[0] = 'n';
  for (size_t i = 0; i < host.n; i++) out[i + 1] = (char)tolower((unsigned char)host.p[i]);
  return host.n + 1;
}

/* FNV-1a: the names come from the configuration, so nobody can provoke collisions. */
static uint64_t hash_host(const char *p, size_t n) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
  return h;
}

static uint64_t key_of(uint64_t h, uint32_t port) { return tl_index_mix(h ^ (uint64_t)port << 32); }

/* Is the host of N bytes at P, whose hash is H, there with PORT? */
static bool has_name(const struct tl_conf_names *t, const char *p, size_t n, uint64_t h,
                     uint32_t port) {
  const struct tl_index_node *at;
  for (uint32_t i = tl_index_map_first(&t->index, key_of(h, port)); i; i = at->next) {
    at = tl_index_map_node(&t->index, i);
    const struct name *name = (const void *)(t->text + at->value);
    if (name->n == n && name->port == port && memcmp(name->host, p, n) == 0) return true;
  }
  return false;
}

static int make_room(struct tl_conf_names *t, size_t n) {
  size_t cap = t->cap ? t->cap : 1024;
  while (cap - t->used < n) cap *= 2;
  if (cap == t->cap) return TL_OK;
  char *text = cap <= UINT32_MAX ? realloc(t->text, cap) : NULL;
  if (!text) return TL_ENOMEM;
  t->text = text;
  t->cap = (uint32_t)cap;
  return TL_OK;
}

static int add_name(struct tl_conf_names *t, struct tl_str host, uint32_t port) {
  char key[KEY_MAX];
  size_t n = normalise_host(host, key);
  if (n == 0) return TL_EINVAL;
  uint64_t h = hash_host(key, n);
  if (has_name(t, key, n, h, port)) return TL_OK;
  size_t size = (sizeof(struct name) + n + _Alignof(struct name) - 1) & -_Alignof(struct name);
  if (make_room(t, size) || tl_index_map_add(&t->index, key_of(h, port), t->used)) return TL_ENOMEM;
  struct name *name = (void *)(t->text + t->used);
  name->port = port;
  name->n = (uint16_t)n;
  memcpy(name->host, key, n);
  t->used += (uint32_t)size;
  return TL_OK;
}

/* HOST:PORT, and HOST alone where that means the same. */
static int add_port(struct tl_conf_names *t, struct tl_str host, uint16_t port, bool bare) {
  int rc = add_name(t, host, port);
  if (!rc && (bare || tl_transport_is_default_port(port))) rc = add_name(t, host, NO_PORT);
  return rc;
}

static int add_address(struct tl_conf_names *t, const struct tl_addr *a, uint16_t port) {
  char text[TL_ADDR_STRLEN];
  return add_port(t, tl_str_c(tl_addr_format_host(a, text)), port, false);
}

/* Every address of this machine of ANY's family. */
static int add_own_addresses(struct tl_conf_names *t, const struct tl_addr *any, uint16_t port) {
  struct ifaddrs *list = NULL;
  int rc = TL_OK;
  if (getifaddrs(&list) < 0)
    return TL_OK; /* without the list there are no names; the listener itself still works */
  for (struct ifaddrs *i = list; i && !rc; i = i->ifa_next) {
    struct tl_addr a = {0};
    if (!i->ifa_addr || i->ifa_addr->sa_family != any->sa.sa_family) continue;
    memcpy(&a, i->ifa_addr, tl_addr_len(any));
    rc = add_address(t, &a, port);
  }
  freeifaddrs(list);
  return rc;
}

static int add_listener(struct tl_conf_names *t, const struct tl_conf_listen *l) {
  struct tl_str host = tl_str_c(l->advertise_host);
  struct tl_addr a;
  uint16_t port = tl_addr_port(&l->addr);
  bool name = tl_addr_parse(host, 0, &a) != 0;
  int rc = add_port(t, host, l->advertise_port, name);
  if (rc) return rc;
  return tl_addr_is_any(&l->addr) ? add_own_addresses(t, &l->addr, port)
                                  : add_address(t, &l->addr, port);
}

/* The name that a TLS domain advertises is local on every port its connections may have. */
static int add_advertised(struct tl_conf_names *t, const struct tl_conf *c,
                          const struct tl_tls_domain *d) {
  struct tl_str host = tl_str_c(d->advertise_host ? d->advertise_host : "");
  struct tl_addr a;
  int rc = TL_OK;
  if (host.n == 0) return TL_OK;
  bool name = tl_addr_parse(host, 0, &a) != 0;
  if (d->advertise_port) return add_port(t, host, d->advertise_port, name);
  if (name) return add_name(t, host, ANY_PORT);
  for (size_t i = 0; i < c->n_listen && !rc; i++)
    if (tl_transport_is_secure(c->listen[i].transport))
      rc = add_port(t, host, tl_addr_port(&c->listen[i].addr), false);
  return rc;
}

int tl_conf_names_new(const struct tl_conf *c, char *const *domains, struct tl_conf_names **out) {
  struct tl_conf_names *t = calloc(1, sizeof(*t));
  struct tl_str host;
  uint16_t port;
  if (!t) return TL_ENOMEM;
  int rc = TL_OK;
  for (size_t i = 0; domains && domains[i] && !rc; i++)
    if (!(rc = tl_conf_parse_hostport(domains[i], &host, &port)))
      rc = port ? add_port(t, host, port, false) : add_name(t, host, ANY_PORT);
  for (size_t i = 0; i < c->n_listen && !rc; i++) rc = add_listener(t, &c->listen[i]);
  for (size_t i = 0; i < c->n_domain && !rc; i++) rc = add_advertised(t, c, c->domain[i]);
  if (rc) {
    tl_conf_names_free(t);
    return rc;
  }
  *out = t;
  return TL_OK;
}

void tl_conf_names_free(struct tl_conf_names *t) {
  if (!t) return;
  tl_index_map_clear(&t->index);
  free(t->text);
  free(t);
}

bool tl_conf_is_local(const struct tl_conf *c, struct tl_str host, uint16_t port) {
  char key[KEY_MAX];
  size_t n = normalise_host(host, key);
  if (n == 0) return false;
  uint64_t h = hash_host(key, n);
  return has_name(c->names, key, n, h, port) || has_name(c->names, key, n, h, ANY_PORT);
}

/* A wildcard listener accepts on every address of this machine; those are in the table. */
bool tl_conf_is_listener(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *to) {
  struct tl_addr any = {.sa.sa_family = to->sa.sa_family};
  char key[KEY_MAX];
  tl_addr_set_port(&any, tl_addr_port(to));
  if (!tl_conf_listens_on(c, tl_addr_port(to))) return false;
  if (tl_conf_listener_at(c, t, to) >= 0) return true;
  if (tl_conf_listener_at(c, t, &any) < 0) return false;
  size_t n = key_of_address(to, key);
  return has_name(c->names, key, n, hash_host(key, n), tl_addr_port(to));
}

bool tl_conf_is_local_domain(const struct tl_conf *c, struct tl_str host, uint16_t port) {
  char key[KEY_MAX];
  size_t n = normalise_host(host, key);
  if (n == 0 || key[0] != 'n') return false;
  uint64_t h = hash_host(key, n);
  return has_name(c->names, key, n, h, port) || has_name(c->names, key, n, h, NO_PORT) ||
         has_name(c->names, key, n, h, ANY_PORT);
}

int tl_conf_own_address(const struct tl_addr *any, struct tl_addr *out) {
  struct ifaddrs *list = NULL;
  bool found = false;
  if (getifaddrs(&list) < 0) list = NULL;
  for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != any->sa.sa_family) continue;
    if (!(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
    struct tl_addr a = {0};
    memcpy(&a, i->ifa_addr, tl_addr_len(any));
    if (a.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&a.v6.sin6_addr)) continue;
    *out = a;
    found = true;
  }
  if (list) freeifaddrs(list);
  if (!found) {
    *out = *any;
    if (any->sa.sa_family == AF_INET6)
      out->v6.sin6_addr = in6addr_loopback;
    else
      out->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  tl_addr_set_port(out, tl_addr_port(any));
  return 0;
}
