/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two configurations, by the table of options: a new option needs nothing
 * here. */
#include <string.h>

#include "conf/conf_block.h"
#include "tieline/conf_changes.h"

static const enum tl_section_id section_of[] = {[TL_CONF_LISTENERS] = TL_SEC_LISTEN,
                                                [TL_CONF_PEERS] = TL_SEC_PEER,
                                                [TL_CONF_GROUPS] = TL_SEC_GROUP,
                                                [TL_CONF_ROUTES] = TL_SEC_ROUTE};

/* A listener's name has the port that its title may leave out. */
static const char *name_of(const struct tl_conf *c, enum tl_conf_kind kind,
                           const struct tl_block *b) {
  const struct tl_blocks *bs = &c->raw->sec[section_of[kind]];
  return kind == TL_CONF_LISTENERS ? c->listen[b - bs->b].name : b->title;
}

static bool same_values(const struct tl_block *a, const struct tl_block *b) {
  for (size_t i = 0; i < a->sec->n_opt; i++)
    if (!tl_value_equal(&a->sec->opt[i], a, b)) return false;
  return true;
}

/* Do A of block section WAS and B of NOW have the same blocks inside, in the same order? */
static bool same_inner(const struct tl_raw *was, const struct tl_block *a, const struct tl_raw *now,
                       const struct tl_block *b) {
  for (size_t s = 1; s < TL_SECTIONS; s++) {
    if (!tl_conf_sections[s].within || &tl_conf_sections[tl_conf_sections[s].within] != a->sec)
      continue;
    const struct tl_blocks *x = &was->sec[s], *y = &now->sec[s];
    const uint32_t in_a = (uint32_t)(a - was->sec[tl_conf_sections[s].within].b);
    const uint32_t in_b = (uint32_t)(b - now->sec[tl_conf_sections[s].within].b);
    size_t i = tl_blocks_first_in(x, in_a), k = tl_blocks_first_in(y, in_b);
    for (; tl_blocks_are_in(x, i, in_a) && tl_blocks_are_in(y, k, in_b); i++, k++)
      if (strcmp(x->b[i].title, y->b[k].title) != 0 || !same_values(&x->b[i], &y->b[k]))
        return false;
    if (tl_blocks_are_in(x, i, in_a) || tl_blocks_are_in(y, k, in_b)) return false;
  }
  return true;
}

void tl_conf_each_change(const struct tl_conf *before, const struct tl_conf *after,
                         enum tl_conf_kind kind, tl_conf_change_fn fn, void *arg) {
  const struct tl_blocks *was = &before->raw->sec[section_of[kind]],
                         *now = &after->raw->sec[section_of[kind]];
  for (size_t i = 0; i < now->n; i++) {
    const struct tl_block *b = tl_blocks_find(was, now->b[i].title);
    bool same =
        b && same_values(b, &now->b[i]) && same_inner(before->raw, b, after->raw, &now->b[i]);
    fn(arg, name_of(after, kind, &now->b[i]),
       !b     ? TL_CONF_ADDED
       : same ? TL_CONF_SAME
              : TL_CONF_CHANGED);
  }
  for (size_t i = 0; i < was->n; i++)
    if (!tl_blocks_find(now, was->b[i].title))
      fn(arg, name_of(before, kind, &was->b[i]), TL_CONF_REMOVED);
}

void tl_conf_each_changed_option(const struct tl_conf *before, const struct tl_conf *after,
                                 tl_conf_option_fn fn, void *arg) {
  static const enum tl_section_id single[] = {TL_SEC_GLOBAL, TL_SEC_LIMITS, TL_SEC_TIMEOUTS};
  for (size_t k = 0; k < sizeof(single) / sizeof(single[0]); k++) {
    const struct tl_block *was = &before->raw->sec[single[k]].b[0],
                          *now = &after->raw->sec[single[k]].b[0];
    for (size_t i = 0; i < now->sec->n_opt; i++)
      if (!tl_value_equal(&now->sec->opt[i], was, now))
        fn(arg, now->sec->name, now->sec->opt[i].name);
  }
}
