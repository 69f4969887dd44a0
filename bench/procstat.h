/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process and all its descendants use, read from /proc.
 *
 * Ownership: none. Threads: any. Errors: a process that vanishes while being
 * read counts for nothing; ps_tree_sum returns the number of processes seen.
 */
#pragma once

#include <stdint.h>

struct ps_sum {
  uint64_t cpu_ns; /* run time of all live threads */
  uint64_t rss_kb, pss_kb;
  unsigned processes, threads;
};

int ps_tree_sum(int root, struct ps_sum *out);
