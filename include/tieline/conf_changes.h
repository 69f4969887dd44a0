/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between two configurations: for the answer to a reload.
 *
 * Ownership: the caller's; the texts are those of the configurations. Threads: any that holds
 * both. Errors: none.
 */
#pragma once

#include "tieline/conf.h"

enum tl_conf_kind { TL_CONF_LISTENERS, TL_CONF_PEERS, TL_CONF_GROUPS, TL_CONF_ROUTES };
enum tl_conf_change { TL_CONF_ADDED, TL_CONF_REMOVED, TL_CONF_CHANGED, TL_CONF_SAME };

typedef void (*tl_conf_change_fn)(void *arg, const char *name, enum tl_conf_change change);
/* Calls FN for each block of KIND in AFTER, in the order of the file, then for those of BEFORE that
 * are gone. Changed is one of which any option has another value. Linear. */
void tl_conf_each_change(const struct tl_conf *before, const struct tl_conf *after,
                         enum tl_conf_kind kind, tl_conf_change_fn fn, void *arg);

/* BLOCK: NULL for an option outside any. */
typedef void (*tl_conf_option_fn)(void *arg, const char *block, const char *option);
/* Calls FN for each option that stands once, in a file, and has another value. */
void tl_conf_each_changed_option(const struct tl_conf *before, const struct tl_conf *after,
                                 tl_conf_option_fn fn, void *arg);
