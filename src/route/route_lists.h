/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of what the long lists of routes have in them; route_table.h tells how
 * it is asked.
 *
 * Ownership: the table's. Threads: the one that makes the table. Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/route_table.h"

/* Counts what R, a route of T, lists, and indexes lists longer than TL_INDEX_FEW; once. */
int tl_route_lists_index(struct tl_route_table *t, struct tl_conf_route *r);
