/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_files: reloads when a file of the configuration has changed and then been
 * quiet for a while.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * directory that cannot be watched is logged, and tried again.
 */
#pragma once

#include "control/control_internal.h"

/* Watches the files that the configuration in force names, or nothing if it does not say
 * watch_files. */
extern const struct tl_control_service tl_watch_service;
