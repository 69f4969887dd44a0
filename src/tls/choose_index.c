/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which TLS domains of a set can fit at all: those that list the name or the
 * address asked for, or any address. Whether and how well they do is choose.c's to
 * say, so that a key which two names share only costs a comparison.
 */
#include "tls/tls_internal.h"

#define ANY_ADDRESS 1u /* beside hashes of names and addresses */

/* Names and patterns are in lower case here. FIRST and REST are hashed as if they were one text. */
static uint64_t name_key(const char *first, const char *rest) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *first; first++) h = (h ^ (unsigned char)*first) * 0x100000001b3u;
  for (; *rest; rest++) h = (h ^ (unsigned char)*rest) * 0x100000001b3u;
  return tl_index_mix(h);
}

/* With any port: a domain may list the address alone. */
static uint64_t address_key(const struct tl_addr *a) {
  struct tl_addr ip = *a;
  tl_addr_set_port(&ip, 0);
  return tl_index_mix(tl_addr_hash(&ip));
}

/* ---- filling ---- */

static int add_names(struct tl_index_map *m, char *const *names, uint32_t number) {
  int rc = TL_OK;
  for (; names && *names && !rc; names++) rc = tl_index_map_add(m, name_key(*names, ""), number);
  return rc;
}

static int add_domain(struct tl_index_map *m, const struct tl_tls_domain *d, uint32_t number) {
  int rc = add_names(m, d->match_sip_domain, number);
  if (!rc) rc = add_names(m, d->own_names, number);
  for (size_t i = 0; i < d->n_match_ip && !rc; i++)
    rc = tl_index_map_add(m, address_key(&d->match_ip[i]), number);
  return !rc && d->match_any_ip ? tl_index_map_add(m, ANY_ADDRESS, number) : rc;
}

int tl_tls_set_index(struct tl_tls_set *s) {
  int rc = TL_OK;
  for (size_t i = 0; i < s->n && !rc; i++) rc = add_domain(&s->index, s->domain[i], (uint32_t)i);
  if (rc)
    tl_index_map_clear(&s->index);
  else
    s->indexed = true;
  return rc;
}

/* ---- finding ---- */

static void add_list(struct tl_tls_fitting *f, const struct tl_index_map *m, uint64_t key) {
  uint32_t first = tl_index_map_first(m, key);
  if (first) f->list[f->n++] = first;
}

void tl_tls_fitting_begin(struct tl_tls_fitting *f, const struct tl_tls_set *s, const char *lower,
                          const struct tl_addr *addr) {
  const char *dot = lower ? strchr(lower, '.') : NULL;
  f->map = &s->index;
  f->n = 0;
  if (lower) add_list(f, f->map, name_key(lower, ""));
  if (dot) add_list(f, f->map, name_key("*", dot));
  if (addr) add_list(f, f->map, address_key(addr));
  add_list(f, f->map, ANY_ADDRESS);
}

/* Each list ascends, so the smallest of their heads comes next in the order of the file. */
bool tl_tls_fitting_next(struct tl_tls_fitting *f, uint32_t *out_number) {
  uint32_t least = UINT32_MAX;
  for (unsigned i = 0; i < f->n; i++) {
    const uint32_t number = f->list[i] ? tl_index_map_node(f->map, f->list[i])->value : UINT32_MAX;
    if (number < least) least = number;
  }
  for (unsigned i = 0; i < f->n; i++)
    while (f->list[i] && tl_index_map_node(f->map, f->list[i])->value == least)
      f->list[i] = tl_index_map_node(f->map, f->list[i])->next;
  *out_number = least;
  return least != UINT32_MAX;
}
