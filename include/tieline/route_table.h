/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routes of a configuration, found by id and by what they demand of a request.
 *
 * Ownership: a part of its configuration. Threads: filled while that is built, then
 * read by any. Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/index_map.h"
#include "tieline/route_index.h"

struct tl_conf;
struct tl_conf_route;

struct tl_route_table {
  struct tl_route_index index; /* numbers are those of the configuration */
  struct tl_index_map ids;
};

/* Fills C's table from its routes. */
int tl_route_table_fill(struct tl_conf *c);
void tl_route_table_clear(struct tl_route_table *t);
/* C's route with that id, or NULL. */
const struct tl_conf_route *tl_route_table_by_id(const struct tl_conf *c, uint64_t id);
