/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of values as peers and routes have them. It knows of no option but by its
 * name.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"

void tl_conf_check_networks(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx) {
  struct tl_network net;
  for (; list && *list; list++)
    if (tl_network_parse(tl_str_c(*list), &net))
      tl_conf_fail(
          ctx, tl_block_at(b, option),
          "\"%s\" is not a valid network: write \"192.0.2.0/24\" with no bit set behind the "
          "prefix, or an address",
          *list);
}

void tl_conf_check_statuses(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx) {
  struct tl_status_set any = {.bit = {0}};
  for (; list && *list; list++)
    if (tl_status_set_add(&any, *list))
      tl_conf_fail(ctx, tl_block_at(b, option),
                   "\"%s\" is no status: write a code such as \"503\" or a class such as \"5xx\"",
                   *list);
}

void tl_conf_build_statuses(char *const *list, struct tl_status_set *out) {
  for (; list && *list; list++) tl_status_set_add(out, *list);
}

void tl_conf_check_outcomes(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx) {
  struct tl_outcomes any = {.given = false};
  for (; list && *list; list++)
    if (tl_outcomes_add(&any, *list))
      tl_conf_fail(ctx, tl_block_at(b, option),
                   "\"%s\" is no end of an attempt: write a code such as \"503\", a class such as "
                   "\"5xx\", \"transport\" or \"silence\"",
                   *list);
}

void tl_conf_build_outcomes(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_outcomes *out) {
  out->given = tl_block_given(b, option);
  for (; list && *list; list++) tl_outcomes_add(out, *list);
}

int tl_conf_list_note(struct tl_index_map *seen, char *const *list, uint32_t number,
                      bool *out_first) {
  uint64_t key = tl_index_mix(tl_index_name_id(list[number]));
  const struct tl_index_node *at;
  *out_first = false;
  for (uint32_t node = tl_index_map_first(seen, key); node; node = at->next) {
    at = tl_index_map_node(seen, node);
    if (strcmp(list[at->value], list[number]) == 0) return TL_OK;
  }
  *out_first = true;
  return tl_index_map_add(seen, key, number);
}

void tl_conf_list_free(char **l) {
  for (size_t i = 0; l && l[i]; i++) free(l[i]);
  free(l);
}

int tl_conf_build_networks(char *const *list, struct tl_network **out, size_t *out_n) {
  size_t n = 0;
  while (list && list[n]) n++;
  if (n == 0) return TL_OK;
  if (!(*out = calloc(n, sizeof(**out)))) return TL_ENOMEM;
  for (; *out_n < n; ++*out_n)
    if (tl_network_parse(tl_str_c(list[*out_n]), &(*out)[*out_n])) return TL_ECONFIG;
  return TL_OK;
}
