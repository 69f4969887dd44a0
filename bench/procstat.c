/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processor time and memory of a process tree. Time comes from schedstat of
 * each thread (nanoseconds) and, where the kernel lacks it, from stat (ticks).
 * Threads that ended are not counted: take the difference of two sums only
 * where threads stay.
 */
#include "procstat.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROCS = 256 };

static int read_text(const char *path, char *out, size_t cap) {
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  size_t n = fread(out, 1, cap - 1, f);
  fclose(f);
  out[n] = 0;
  return n ? 0 : -1;
}

/* Fields of stat behind the name, which may itself hold blanks and brackets. */
static const char *stat_fields(const char *text) {
  const char *close = strrchr(text, ')');
  return close && close[1] ? close + 2 : NULL;
}

static int parent_of(int pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (read_text(path, text, sizeof text)) return -1;
  const char *f = stat_fields(text);
  int ppid;
  return f && sscanf(f, "%*c %d", &ppid) == 1 ? ppid : -1;
}

static int is_descendant(int pid, int root) {
  for (int depth = 0; pid > 1 && depth < 16; depth++) {
    if (pid == root) return 1;
    pid = parent_of(pid);
  }
  return pid == root;
}

static unsigned find_tree(int root, int *out) {
  unsigned n = 0;
  DIR *d = opendir("/proc");
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d)) && n < MAX_PROCS;) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    int pid = atoi(e->d_name);
    if (is_descendant(pid, root)) out[n++] = pid;
  }
  closedir(d);
  return n;
}

static uint64_t thread_ns(int pid, const char *tid) {
  char path[320], text[1024];
  unsigned long long ns, user, sys;
  snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, tid);
  if (!read_text(path, text, sizeof text) && sscanf(text, "%llu", &ns) == 1) return ns;
  snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, tid);
  if (read_text(path, text, sizeof text)) return 0;
  const char *f = stat_fields(text);
  if (!f || sscanf(f, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys) != 2)
    return 0;
  return (user + sys) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void add_threads(int pid, struct ps_sum *out) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *d = opendir(path);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    out->cpu_ns += thread_ns(pid, e->d_name);
    out->threads++;
  }
  closedir(d);
}

static void add_memory(int pid, struct ps_sum *out) {
  char path[64], text[2048];
  unsigned long long kb;
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
  if (read_text(path, text, sizeof text)) return;
  const char *p = strstr(text, "\nRss:");
  if (p && sscanf(p + 5, "%llu", &kb) == 1) out->rss_kb += kb;
  p = strstr(text, "\nPss:");
  if (p && sscanf(p + 5, "%llu", &kb) == 1) out->pss_kb += kb;
}

int ps_tree_sum(int root, struct ps_sum *out) {
  int pids[MAX_PROCS];
  memset(out, 0, sizeof *out);
  unsigned n = find_tree(root, pids);
  for (unsigned i = 0; i < n; i++) {
    add_threads(pids[i], out);
    add_memory(pids[i], out);
  }
  out->processes = n;
  return (int)n;
}
