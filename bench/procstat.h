/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processor time and memory of a process and all its descendants, from /proc.
 * Time comes from the clock of each process (nanoseconds, threads that ended
 * included) and, where that cannot be read, from stat of each thread (ticks).
 * Processes that ended are not counted: take the difference of two sums only
 * where processes stay.
 *
 * All in a header, because each bench program is built from its own sources
 * alone and this is too little for a library.
 *
 * Ownership: none. Threads: any. Errors: a process that vanishes while being
 * read counts for nothing; ps_tree_sum returns the number of processes seen.
 */
#pragma once

#include <ctype.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct ps_sum {
  uint64_t cpu_ns; /* run time of all live processes */
  uint64_t rss_kb, pss_kb;
  unsigned processes, threads;
};

enum { PS_MAX = 256 };

static inline int ps_read_text(const char *path, char *out, size_t cap) {
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  size_t n = fread(out, 1, cap - 1, f);
  fclose(f);
  out[n] = 0;
  return n ? 0 : -1;
}

/* Fields of stat behind the name, which may itself hold blanks and brackets. */
static inline const char *ps_stat_fields(const char *text) {
  const char *close = strrchr(text, ')');
  return close && close[1] ? close + 2 : NULL;
}

static inline int ps_parent_of(int pid) {
  char path[64], text[1024];
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  if (ps_read_text(path, text, sizeof(text))) return -1;
  const char *f = ps_stat_fields(text);
  int ppid;
  return f && sscanf(f, "%*c %d", &ppid) == 1 ? ppid : -1;
}

static inline int ps_is_descendant(int pid, int root) {
  for (int depth = 0; pid > 1 && depth < 16; depth++) {
    if (pid == root) return 1;
    pid = ps_parent_of(pid);
  }
  return pid == root;
}

static inline unsigned ps_find_tree(int root, int *out) {
  unsigned n = 0;
  DIR *d = opendir("/proc");
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d)) && n < PS_MAX;) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    int pid = atoi(e->d_name);
    if (ps_is_descendant(pid, root)) out[n++] = pid;
  }
  closedir(d);
  return n;
}

static inline uint64_t ps_thread_ns(int pid, const char *tid) {
  char path[320], text[1024];
  unsigned long long user, sys;
  snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid, tid);
  if (ps_read_text(path, text, sizeof(text))) return 0;
  const char *f = ps_stat_fields(text);
  if (!f || sscanf(f, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys) != 2)
    return 0;
  return (user + sys) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* 0 where the process's clock cannot be read. io_uring's helpers come and go: it has them, too. */
static inline uint64_t ps_process_ns(int pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void ps_add_threads(int pid, struct ps_sum *out) {
  char path[64];
  uint64_t whole_ns = ps_process_ns(pid);
  out->cpu_ns += whole_ns;
  snprintf(path, sizeof(path), "/proc/%d/task", pid);
  DIR *d = opendir(path);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    if (!whole_ns) out->cpu_ns += ps_thread_ns(pid, e->d_name);
    out->threads++;
  }
  closedir(d);
}

static inline void ps_add_memory(int pid, struct ps_sum *out) {
  char path[64], text[2048];
  unsigned long long kb;
  snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
  if (ps_read_text(path, text, sizeof(text))) return;
  const char *p = strstr(text, "\nRss:");
  if (p && sscanf(p + 5, "%llu", &kb) == 1) out->rss_kb += kb;
  p = strstr(text, "\nPss:");
  if (p && sscanf(p + 5, "%llu", &kb) == 1) out->pss_kb += kb;
}

static inline int ps_tree_sum(int root, struct ps_sum *out) {
  int pids[PS_MAX];
  memset(out, 0, sizeof(*out));
  unsigned n = ps_find_tree(root, pids);
  for (unsigned i = 0; i < n; i++) {
    ps_add_threads(pids[i], out);
    ps_add_memory(pids[i], out);
  }
  out->processes = n;
  return (int)n;
}
