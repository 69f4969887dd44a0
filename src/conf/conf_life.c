/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a configuration: created empty, counted, freed. conf_load.c fills it.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/token_keys.h"

struct tl_conf *tl_conf_new(const char *file, const struct tl_conf *previous) {
  struct tl_conf *c = calloc(1, sizeof(*c));
  if (!c) return NULL;
  c->refs = 1;
  c->generation = previous ? previous->generation + 1 : 1;
  if ((c->file = strdup(file)) && (c->raw = tl_raw_new())) return c;
  tl_conf_unref(c);
  return NULL;
}

struct tl_conf *tl_conf_ref(struct tl_conf *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

static void free_parts(struct tl_conf *c) {
  for (size_t i = 0; i < c->n_listen; i++) {
    free(c->listen[i].name);
    free(c->listen[i].advertise_host);
  }
  for (size_t i = 0; i < c->n_domain; i++) tl_tls_domain_unref(c->domain[i]);
}

void tl_conf_unref(struct tl_conf *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1) return;
  free_parts(c);
  free(c->listen);
  free(c->domain);
  tl_tls_set_clear(&c->tls_set);
  tl_conf_list_free(c->local_domains);
  tl_conf_names_free(c->names);
  tl_listen_index_free(c->listen_index);
  tl_conf_map_free(c->map);
  tl_token_keys_unref(c->token_keys);
  free(c->file);
  tl_raw_unref(c->raw);
  free(c);
}
