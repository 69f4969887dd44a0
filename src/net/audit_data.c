/* SPDX-License-Identifier: Apache-2.0 */
/* Inventories and directives: created, compared, freed. audit.c carries them out. */
#include <stdlib.h>

#include "tieline/audit.h"
#include "tieline/tls_domain.h"

static const char *text_or_empty(const char *s) { return s ? s : ""; }

uint64_t tl_conn_class_key(const struct tl_conn_class *a) {
  uint64_t h = (uint64_t)(uintptr_t)a->identity * 0x9e3779b97f4a7c15u;
  h = (h ^ (uint64_t)(uintptr_t)a->domain) * 0xff51afd7ed558ccdu;
  for (const char *p = text_or_empty(a->name); *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001b3u;
  return tl_index_mix(h + (uint64_t)a->server * 2 + a->verified);
}

bool tl_conn_class_equal(const struct tl_conn_class *a, const struct tl_conn_class *b) {
  return a->identity == b->identity && a->domain == b->domain && a->server == b->server &&
         a->verified == b->verified && strcmp(text_or_empty(a->name), text_or_empty(b->name)) == 0;
}

int tl_conn_class_copy(const struct tl_conn_class *a, struct tl_conn_class *out) {
  memset(out, 0, sizeof(*out));
  if (a->name && *a->name && !(out->name = strdup(a->name))) return TL_ENOMEM;
  out->identity = a->identity ? tl_identity_ref(a->identity) : NULL;
  out->domain = a->domain ? tl_tls_domain_ref(a->domain) : NULL;
  out->server = a->server;
  out->verified = a->verified;
  return TL_OK;
}

void tl_conn_class_clear(struct tl_conn_class *a) {
  tl_identity_unref(a->identity);
  tl_tls_domain_unref(a->domain);
  free(a->name);
  memset(a, 0, sizeof(*a));
}

struct tl_audit *tl_audit_new(size_t n_directive) {
  struct tl_audit *s = calloc(1, sizeof(*s));
  if (!s) return NULL;
  s->inventory = n_directive == 0;
  if (n_directive && !(s->directive = calloc(n_directive, sizeof(*s->directive)))) {
    free(s);
    return NULL;
  }
  return s;
}

void tl_audit_free(struct tl_audit *s) {
  if (!s) return;
  for (size_t i = 0; i < s->n; i++) {
    tl_conn_class_clear(s->inventory ? &s->item[i].key : &s->directive[i].key);
    if (!s->inventory) tl_tls_domain_unref(s->directive[i].domain);
  }
  if (s->inventory)
    free(s->item);
  else
    free(s->directive);
  tl_index_map_clear(&s->index);
  free(s);
}
