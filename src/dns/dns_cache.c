/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of name servers for as long as they are valid. The names come from
 * strangers: the table is hashed with a key, and its size is bounded.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "dns/dns_internal.h"
#include "tieline/siphash.h"
#include "tieline/time.h"

#define BUCKETS 4096
#define ANSWERS_MAX 8192
#define RECORDS_MAX 16384 /* about 330 bytes each */

struct entry {
  struct entry *next;
  uint64_t until_ms;
  struct tl_dns_answer *answer;
  uint16_t type;
  char name[];
};

struct dns_cache {
  uint8_t key[16];
  size_t answers, records;
  struct entry *bucket[BUCKETS];
};

struct dns_cache *dns_cache_new(void) {
  struct dns_cache *c = calloc(1, sizeof(*c));
  if (c && getrandom(c->key, sizeof(c->key), 0) == sizeof(c->key)) return c;
  free(c);
  return NULL;
}

static void drop_entry(struct dns_cache *c, struct entry **link) {
  struct entry *e = *link;
  *link = e->next;
  c->answers--;
  c->records -= e->answer->n;
  free(e->answer);
  free(e);
}

static void empty_cache(struct dns_cache *c) {
  for (size_t i = 0; i < BUCKETS; i++)
    while (c->bucket[i]) drop_entry(c, &c->bucket[i]);
}

void dns_cache_free(struct dns_cache *c) {
  if (c) empty_cache(c);
  free(c);
}

static struct entry **find_entry(struct dns_cache *c, uint16_t type, const char *name) {
  uint64_t h = tl_siphash13(c->key, name, strlen(name)) ^ type;
  struct entry **link = &c->bucket[h % BUCKETS];
  while (*link && ((*link)->type != type || strcmp((*link)->name, name) != 0))
    link = &(*link)->next;
  return link;
}

const struct tl_dns_answer *dns_cache_get(struct dns_cache *c, uint16_t type, const char *name) {
  struct entry **link = find_entry(c, type, name), *e = *link;
  uint64_t now = tl_now_ms();
  if (!e) return NULL;
  if (e->until_ms <= now) {
    drop_entry(c, link);
    return NULL;
  }
  e->answer->ttl_s = (uint32_t)((e->until_ms - now + 999) / 1000);
  return e->answer;
}

void dns_cache_put(struct dns_cache *c, uint16_t type, const char *name, struct tl_dns_answer *a) {
  struct entry **link = find_entry(c, type, name);
  size_t len = strlen(name) + 1;
  if (*link) drop_entry(c, link);
  if (c->answers >= ANSWERS_MAX || c->records + a->n > RECORDS_MAX) empty_cache(c);
  struct entry *e = malloc(sizeof(*e) + len);
  if (!e) {
    free(a);
    return;
  }
  *e = (struct entry){
      .until_ms = tl_now_ms() + a->ttl_s * (uint64_t)1000, .answer = a, .type = type};
  memcpy(e->name, name, len);
  link = find_entry(c, type, name);
  e->next = *link;
  *link = e;
  c->answers++;
  c->records += a->n;
}
