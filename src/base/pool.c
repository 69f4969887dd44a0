/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equal-sized objects from aligned chunks, for one thread. The chunk of an
 * object is found by masking its address, so objects carry no header. Under
 * AddressSanitizer free objects are poisoned, and what the others point to is
 * no leak.
 *
 * Lists of chunks have heads of one pointer, not the two of liburcu's, which point to
 * themselves: zeros are empty lists.
 */
#include "tieline/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define __lsan_register_root_region(p, n) ((void)(p), (void)(n))
#define __lsan_unregister_root_region(p, n) ((void)(p), (void)(n))
#endif

struct tl_pool_chunk {
  struct tl_pool_chunk *next, **link;
  void *free;       /* objects given back, chained through their first word */
  size_t used, cut; /* objects out; objects ever cut from the chunk */
};

#define HEAD 64 /* the chunk header's room, keeps objects on cache lines */

static void list_add(struct tl_pool_chunk **list, struct tl_pool_chunk *c) {
  c->next = *list;
  c->link = list;
  if (c->next) c->next->link = &c->next;
  *list = c;
}

static void list_del(struct tl_pool_chunk *c) {
  *c->link = c->next;
  if (c->next) c->next->link = c->link;
}

void tl_pool_init(struct tl_pool *p, size_t size, size_t max) {
  memset(p, 0, sizeof(*p));
  p->size = (size + 63) & ~(size_t)63;
  p->chunk_len = 65536;
  while (p->chunk_len < HEAD + 8 * p->size) p->chunk_len *= 2;
  p->per_chunk = (p->chunk_len - HEAD) / p->size;
  p->max = max;
  p->keep = 1;
}

/* Maps twice the length and trims, because mmap promises page alignment only. */
static struct tl_pool_chunk *chunk_new(size_t len, bool secret) {
  char *m = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return NULL;
  size_t skip = (len - ((uintptr_t)m & (len - 1))) & (len - 1);
  if (skip) munmap(m, skip);
  munmap(m + skip + len, len - skip);
  struct tl_pool_chunk *c = (struct tl_pool_chunk *)(m + skip);
  if (secret) madvise(c, len, MADV_DONTDUMP);
  memset(c, 0, sizeof(*c));
  ASAN_POISON_MEMORY_REGION((char *)c + HEAD, len - HEAD);
  __lsan_register_root_region(c, len);
  return c;
}

static void chunk_free(struct tl_pool *p, struct tl_pool_chunk *c) {
  __lsan_unregister_root_region(c, p->chunk_len);
  ASAN_UNPOISON_MEMORY_REGION(c, p->chunk_len);
  munmap(c, p->chunk_len);
}

void tl_pool_destroy(struct tl_pool *p) {
  assert(p->used == 0);
  while (p->empty) {
    struct tl_pool_chunk *c = p->empty;
    p->empty = c->next;
    chunk_free(p, c);
  }
}

static struct tl_pool_chunk *chunk_with_room(struct tl_pool *p) {
  if (p->partial) return p->partial;
  struct tl_pool_chunk *c = p->empty;
  if (c) {
    p->empty = c->next;
    p->n_empty--;
  } else {
    c = chunk_new(p->chunk_len, p->secret);
  }
  if (c) list_add(&p->partial, c);
  return c;
}

void *tl_pool_get(struct tl_pool *p) {
  if (p->max && p->used >= p->max) return NULL;
  struct tl_pool_chunk *c = chunk_with_room(p);
  if (!c) return NULL;
  char *obj = c->free;
  if (obj) {
    ASAN_UNPOISON_MEMORY_REGION(obj, p->size);
    memcpy(&c->free, obj, sizeof(void *));
  } else {
    obj = (char *)c + HEAD + c->cut++ * p->size;
    ASAN_UNPOISON_MEMORY_REGION(obj, p->size);
  }
  /* Fetch the next one now, so that it is in the cache when it is asked for. */
  __builtin_prefetch(c->free ? c->free : obj + p->size, 1);
  p->used++;
  if (++c->used == p->per_chunk) {
    list_del(c);
    list_add(&p->full, c);
  }
  return obj;
}

void tl_pool_put(struct tl_pool *p, void *obj) {
  struct tl_pool_chunk *c =
      (struct tl_pool_chunk *)((uintptr_t)obj & ~(uintptr_t)(p->chunk_len - 1));
  memcpy(obj, &c->free, sizeof(void *));
  c->free = obj;
  ASAN_POISON_MEMORY_REGION(obj, p->size);
  p->used--;
  if (c->used-- == p->per_chunk) {
    list_del(c);
    list_add(&p->partial, c);
  }
  if (c->used) return;
  list_del(c);
  if (p->n_empty >= p->keep) {
    chunk_free(p, c);
    return;
  }
  c->next = p->empty;
  p->empty = c;
  p->n_empty++;
}

void tl_pool_touch(struct tl_pool *p, uint32_t n) {
  void **obj = malloc(n * sizeof(*obj));
  uint32_t got = 0;
  while (obj && got < n && (obj[got] = tl_pool_get(p)) != NULL) memset(obj[got++], 0, p->size);
  while (got) tl_pool_put(p, obj[--got]);
  free(obj);
}
