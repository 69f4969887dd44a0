/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ledger keeps between runs, by value: chains with their last verdict.
 */
#include <stdlib.h>
#include <string.h>

#include "tieline/container.h"
#include "tieline/verify.h"
#include "trust/ledger.h"

static const char *text_or_empty(const char *s) { return s ? s : ""; }

static uint64_t hash_of(const uint8_t *chain, const char *domain, const char *name, bool server) {
  uint64_t h;
  memcpy(&h, chain, sizeof(h)); /* a digest: as good as random */
  for (const char *p = domain; *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001b3u;
  for (const char *p = name; *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001b3u;
  return (h ^ h >> 32) * 2 + server;
}

static const uint8_t *chain_of(const struct tl_conn_class *a) {
  static const uint8_t none[32];
  return a->identity ? a->identity->chain_sha256 : none;
}

static struct tl_known *known_of(struct tl_hash_node *node) {
  return node ? tl_container_of(node, struct tl_known, node) : NULL;
}

struct tl_known *tl_known_next(const struct tl_ledger *l, const struct tl_known *k) {
  return known_of(tl_hash_walk(&l->known, k ? &k->node : NULL));
}

static bool is_of(const struct tl_known *k, const struct tl_conn_class *a) {
  return memcmp(k->chain_sha256, chain_of(a), sizeof(k->chain_sha256)) == 0 &&
         strcmp(k->domain, a->domain->name) == 0 && strcmp(k->name, text_or_empty(a->name)) == 0 &&
         k->server == a->server;
}

static struct tl_known *find_known(const struct tl_ledger *l, const struct tl_conn_class *a) {
  const uint64_t h = hash_of(chain_of(a), a->domain->name, text_or_empty(a->name), a->server);
  struct tl_hash_node *node = tl_hash_first(&l->known, h);
  while (node && !is_of(known_of(node), a)) node = tl_hash_next(node);
  return known_of(node);
}

static void known_free(struct tl_known *k) {
  if (!k) return;
  free(k->domain);
  free(k->name);
  free(k->subject);
  free(k->serial);
  free(k);
}

static struct tl_known *known_new(const struct tl_conn_class *a) {
  struct tl_known *k = calloc(1, sizeof(*k));
  const struct tl_identity *id = a->identity;
  if (!k) return NULL;
  memcpy(k->chain_sha256, chain_of(a), sizeof(k->chain_sha256));
  k->domain = strdup(a->domain->name);
  k->name = strdup(text_or_empty(a->name));
  k->subject = strdup(id ? id->subject : "");
  k->serial = strdup(id ? id->serial : "");
  k->server = a->server;
  k->not_after = id ? id->chain_not_after : 0;
  /* The handshake's verdict; a chain that was not verified has not passed. */
  k->code = a->verified ? TL_VERIFY_OK : id ? id->verify_code : TL_VERIFY_OK;
  if (!a->verified) snprintf(k->why, sizeof(k->why), "%s", id ? "not verified" : "no certificate");
  if (k->domain && k->name && k->subject && k->serial) return k;
  known_free(k);
  return NULL;
}

static struct tl_known *add_known(struct tl_ledger *l, const struct tl_conn_class *a) {
  struct tl_known *k = known_new(a);
  if (!k ||
      !tl_hash_add(&l->known, &k->node, hash_of(k->chain_sha256, k->domain, k->name, k->server)))
    return k;
  known_free(k);
  return NULL;
}

/* Those that have no connection, or ALL. */
static void drop_known(struct tl_ledger *l, bool all) {
  for (struct tl_known *k = tl_known_next(l, NULL), *next; k; k = next) {
    next = tl_known_next(l, k);
    if (!all && k->n) continue;
    tl_hash_remove(&l->known, &k->node);
    known_free(k);
  }
}

void tl_ledger_know(struct tl_ledger *l) {
  for (struct tl_known *k = NULL; (k = tl_known_next(l, k));) k->n = 0;
  for (size_t i = 0; i < l->n_item; i++) {
    struct tl_ledger_item *it = &l->item[i];
    it->known = find_known(l, &it->key);
    if (!it->known) it->known = add_known(l, &it->key);
    if (it->known)
      it->known->n += it->n;
    else
      l->complete = false; /* left to the next run */
  }
  drop_known(l, false);
}

void tl_ledger_forget(struct tl_ledger *l) {
  drop_known(l, true);
  tl_hash_free(&l->known);
}

size_t tl_known_count(const struct tl_ledger *l) { return l->known.n; }
