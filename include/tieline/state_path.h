/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where files lie that outlive the process, unless somebody names another place. A
 * unit of systemd may have a state directory of its own; STATE_DIRECTORY tells it.
 *
 * Ownership: the caller's text. Threads: any, while nobody changes the environment.
 * Errors: TL_ELIMIT.
 */
#pragma once

#include <stddef.h>

#define TL_STATE_PATH_MAX 4096

/* OUT: FILE (/var/lib/tieline/NAME), or NAME in the first directory of $STATE_DIRECTORY, if that is
 * an absolute one. TL_ELIMIT: longer than OUT. */
int tl_state_path(const char *file, char out[TL_STATE_PATH_MAX]);
