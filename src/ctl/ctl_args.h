/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns the words after `tieline ctl` into the parameters of a command.
 *
 * Ownership: the parameters are the caller's. Threads: one. Errors: a sentence on
 * standard error.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* Options of ctl itself, wherever they stand. */
struct tl_ctl_words {
  const char *socket;
  bool json, all;
};

/* ARGV[0] is the command. NULL after the sentence. */
json_t *tl_ctl_params(int argc, char **argv, struct tl_ctl_words *out);
