/* SPDX-License-Identifier: Apache-2.0 */
/* Lists the files a snapshot was built from, for the file watcher. */
#include "conf/conf_block.h"
#include "tieline/token_keys.h"

static void visit_block(const struct tl_block *b, tl_conf_file_fn fn, void *arg) {
  for (size_t i = 0; i < b->sec->n_opt; i++) {
    const struct tl_opt *o = &b->sec->opt[i];
    const void *v = (const char *)b->values + o->offset;
    if (o->flags & TL_OPT_ALIAS) continue;
    if (o->kind == TL_OPT_PATH && *(char *const *)v) fn(arg, *(char *const *)v);
    if (o->kind == TL_OPT_PATHS)
      for (char **l = *(char **const *)v; l && *l; l++) fn(arg, *l);
  }
}

void tl_conf_each_file(const struct tl_conf *c, tl_conf_file_fn fn, void *arg) {
  for (size_t i = 0; i < c->raw->source.n_file; i++) fn(arg, c->raw->source.file[i]);
  if (c->token_keys->kept) fn(arg, c->opt.key_file);
  for (int s = TL_SEC_LISTEN; s < TL_SECTIONS; s++)
    for (size_t i = 0; i < c->raw->sec[s].n; i++) visit_block(&c->raw->sec[s].b[i], fn, arg);
}
