/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of name servers for as long as they are valid. The names come from
 * strangers: the table is hashed with a key, and its size is bounded.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "dns/dns_internal.h"
#include "tieline/container.h"
#include "tieline/hash_table.h"
#include "tieline/siphash.h"
#include "tieline/time.h"

#define ANSWERS_MAX 8192
#define RECORDS_MAX 16384 /* about 330 bytes each */

struct entry {
  struct tl_hash_node node;
  uint64_t until_ms;
  struct tl_dns_answer *answer;
  uint16_t type;
  char name[];
};

struct dns_cache {
  uint8_t key[16];
  size_t records;
  struct tl_hash_table table; /* of struct entry */
};

struct dns_cache *dns_cache_new(void) {
  struct dns_cache *c = calloc(1, sizeof(*c));
  if (c && getrandom(c->key, sizeof(c->key), 0) == sizeof(c->key)) return c;
  free(c);
  return NULL;
}

static struct entry *entry_of(struct tl_hash_node *node) {
  return node ? tl_container_of(node, struct entry, node) : NULL;
}

static void drop_entry(struct dns_cache *c, struct entry *e) {
  tl_hash_remove(&c->table, &e->node);
  c->records -= e->answer->n;
  free(e->answer);
  free(e);
}

static void empty_cache(struct dns_cache *c) {
  for (struct tl_hash_node *at = tl_hash_walk(&c->table, NULL), *next; at; at = next) {
    next = tl_hash_walk(&c->table, at);
    drop_entry(c, entry_of(at));
  }
}

void dns_cache_free(struct dns_cache *c) {
  if (!c) return;
  empty_cache(c);
  tl_hash_free(&c->table);
  free(c);
}

static uint64_t hash_of(const struct dns_cache *c, uint16_t type, const char *name) {
  return tl_siphash13(c->key, name, strlen(name)) ^ type;
}

static struct entry *find_entry(const struct dns_cache *c, uint16_t type, const char *name) {
  struct tl_hash_node *at = tl_hash_first(&c->table, hash_of(c, type, name));
  while (at && (entry_of(at)->type != type || strcmp(entry_of(at)->name, name) != 0))
    at = tl_hash_next(at);
  return entry_of(at);
}

const struct tl_dns_answer *dns_cache_get(struct dns_cache *c, uint16_t type, const char *name) {
  struct entry *e = find_entry(c, type, name);
  uint64_t now = tl_now_ms();
  if (!e) return NULL;
  if (e->until_ms <= now) {
    drop_entry(c, e);
    return NULL;
  }
  e->answer->ttl_s = (uint32_t)((e->until_ms - now + 999) / 1000);
  return e->answer;
}

void dns_cache_put(struct dns_cache *c, uint16_t type, const char *name, struct tl_dns_answer *a) {
  struct entry *e = find_entry(c, type, name);
  size_t len = strlen(name) + 1;
  if (e) drop_entry(c, e);
  if (c->table.n >= ANSWERS_MAX || c->records + a->n > RECORDS_MAX) empty_cache(c);
  if (!(e = malloc(sizeof(*e) + len))) goto out;
  *e = (struct entry){
      .until_ms = tl_now_ms() + a->ttl_s * (uint64_t)1000, .answer = a, .type = type};
  memcpy(e->name, name, len);
  if (tl_hash_add(&c->table, &e->node, hash_of(c, type, name))) goto out;
  c->records += a->n;
  return;
out:
  free(e);
  free(a);
}
