/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words behind `tieline ctl`, made into a command's parameters.
 *
 * Ownership: the parameters are the caller's. Threads: one. Errors: a sentence on
 * standard error.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* What is for ctl itself, wherever it stands. */
struct tl_ctl_words {
  const char *socket;
  bool json, all;
};

/* ARGV[0] is the command. NULL after the sentence. */
json_t *tl_ctl_params(int argc, char **argv, struct tl_ctl_words *out);
