/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of values as peers and routes have them: copies, and networks. It knows of
 * no option but by its name.
 */
#include <ctype.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

void tl_conf_check_networks(const struct tl_block *b, const char *option, char *const *list,
                            struct tl_conf_ctx *ctx) {
  struct tl_network net;
  for (; list && *list; list++)
    if (tl_network_parse(tl_str_c(*list), &net))
      tl_conf_fail(ctx, tl_block_at(b, option),
                   "\"%s\" is no network: write \"192.0.2.0/24\" with no bit set behind the "
                   "prefix, or an address",
                   *list);
}

void tl_conf_list_free(char **l) {
  for (size_t i = 0; l && l[i]; i++) free(l[i]);
  free(l);
}

int tl_conf_list_copy(char *const *from, bool low, char ***out) {
  size_t n = 0;
  while (from && from[n]) n++;
  if (n == 0) return TL_OK;
  if (!(*out = calloc(n + 1, sizeof(**out)))) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) {
    if (!((*out)[i] = strdup(from[i]))) return TL_ENOMEM;
    for (char *p = (*out)[i]; low && *p; p++) *p = (char)tolower((unsigned char)*p);
  }
  return TL_OK;
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
