/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_files: reloads when a file of the configuration has changed and then been
 * quiet for a while.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * directory that cannot be watched is logged and left out.
 */
#pragma once

#include "control/control_internal.h"

extern const struct tl_control_service tl_watch_service;
/* From now on watches the files that CONF names, or nothing if it does not say watch_files. */
void tl_watch_conf(struct tl_control *c, const struct tl_conf *conf);
