/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Problems in a configuration, with their place.
 *
 * Ownership: names of files are the source's. Threads: one load at a time. Errors:
 * TL_ECONFIG is what reporting one returns.
 */
#pragma once

#include <stdbool.h>

#include "tieline/conf.h"

/* A place in a file; FILE is owned by the source. line 0: nowhere. */
struct tl_conf_pos {
  const char *file;
  int line;
};

struct tl_conf_ctx {
  tl_conf_report_fn report;
  void *arg;
  unsigned problems;
  bool quiet; /* no warnings; set by fuzz targets */
};

__attribute__((format(printf, 3, 4))) int tl_conf_fail(struct tl_conf_ctx *ctx,
                                                       struct tl_conf_pos at, const char *fmt, ...);
/* A sentence for the log that does not stop the load. */
__attribute__((format(printf, 3, 4))) void
tl_conf_warn(struct tl_conf_ctx *ctx, struct tl_conf_pos at, const char *fmt, ...);

/* The entry of NAMES (NULL-terminated) nearest to WORD by edit distance, NULL if none is near. */
const char *tl_conf_nearest(const char *word, const char *const *names);
