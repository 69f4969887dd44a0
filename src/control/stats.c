/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl stats`: counters, memory, mailboxes, and the TLS counters of the kernel.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "tieline/log_limit.h"

/* With fewer, warmed-up buffers would be attributed to connections. */
#define CONNS_TO_DIVIDE 100

uint64_t tl_stats_rss(void) {
  unsigned long size = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (!f) return 0;
  if (fscanf(f, "%lu %lu", &size, &resident) != 2) resident = 0;
  fclose(f);
  return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_int_t open_files(void) {
  json_int_t n = -3; /* ".", ".." and the directory itself */
  DIR *d = opendir("/proc/self/fd");
  if (!d) return -1;
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

static json_t *kernel_tls(void) {
  char name[64];
  long long value = 0;
  FILE *f = fopen("/proc/net/tls_stat", "re");
  if (!f) return json_null();
  json_t *j = json_object();
  while (fscanf(f, "%63s %lld", name, &value) == 2)
    json_object_set_new(j, name, json_integer(value));
  fclose(f);
  return j;
}

/* A gauge is summed over threads that are read one after the other, so it may be negative briefly.
 */
static json_t *json_sum(const struct tl_control *c, enum tl_counter id) {
  const int64_t v = (int64_t)tl_runtime_counter(c->rt, id);
  return json_integer(v < 0 ? 0 : v);
}

static json_t *json_counters(const struct tl_control *c) {
  json_t *j = json_object();
  for (int i = 0; i < TL_C_COUNT; i++)
    json_object_set_new(j, tl_counter_name((enum tl_counter)i), json_sum(c, (enum tl_counter)i));
  return j;
}

/* The counters of one thread that are not zero. A gauge may be negative here; its sum is not. */
static json_t *thread_counters(const struct tl_counters *t) {
  json_t *j = json_object();
  for (int i = 0; i < TL_C_COUNT; i++) {
    const int64_t v = (int64_t)tl_count_get(t, (enum tl_counter)i);
    if (v) json_object_set_new(j, tl_counter_name((enum tl_counter)i), json_integer(v));
  }
  return j;
}

static json_t *json_threads(const struct tl_control *c) {
  const struct tl_runtime *rt = c->rt;
  json_t *j = json_object();
  char name[32];
  json_object_set_new(j, "control", thread_counters(&rt->control.counters));
  json_object_set_new(j, "resolver", thread_counters(&rt->resolver_counters));
  for (unsigned i = 0; i < rt->n_worker; i++) {
    snprintf(name, sizeof(name), "worker/%u", i);
    if (rt->worker[i]) json_object_set_new(j, name, thread_counters(&rt->worker[i]->counters));
  }
  for (unsigned i = 0; i < rt->n_handshaker; i++) {
    snprintf(name, sizeof(name), "handshaker/%u", i);
    if (rt->handshaker[i])
      json_object_set_new(j, name, thread_counters(&rt->handshaker[i]->counters));
  }
  return j;
}

static json_t *json_depth(const struct tl_mailbox *mb) {
  return json_integer(tl_mailbox_depth(mb));
}

static json_t *json_mailboxes(const struct tl_control *c) {
  const struct tl_runtime *rt = c->rt;
  json_t *j = json_object();
  char name[32];
  json_object_set_new(j, "control", json_depth(&rt->control.mailbox));
  json_object_set_new(j, "resolver", json_depth(&rt->resolver));
  for (unsigned i = 0; i < rt->n_worker; i++) {
    snprintf(name, sizeof(name), "worker/%u", i);
    if (rt->worker[i]) json_object_set_new(j, name, json_depth(&rt->worker[i]->mailbox));
  }
  for (unsigned i = 0; i < rt->n_handshaker; i++) {
    snprintf(name, sizeof(name), "handshaker/%u", i);
    if (rt->handshaker[i]) json_object_set_new(j, name, json_depth(&rt->handshaker[i]->mailbox));
  }
  return j;
}

static json_t *json_process(struct tl_control *c) {
  const uint64_t rss = tl_stats_rss();
  const uint32_t conns = c->rt->connections;
  const uint64_t grown = rss > c->rss_start ? rss - c->rss_start : 0;
  json_t *each = conns < CONNS_TO_DIVIDE ? json_null() : json_integer((json_int_t)(grown / conns));
  return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o}", "pid", (int)getpid(), "rss_bytes",
                   (json_int_t)rss, "rss_start_bytes", (json_int_t)c->rss_start, "open_files",
                   open_files(), "connections", (json_int_t)conns, "bytes_per_connection", each);
}

int tl_command_stats(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a) {
  static const char *const states[] = {"running", "draining", "stopped"};
  (void)req;
  a->result = json_pack(
      "{s:I, s:I, s:s, s:o, s:o, s:{s:s, s:I, s:I}, s:o, s:o}", "uptime_ms",
      (json_int_t)(tl_now_ms() - c->started_ms), "generation",
      (json_int_t)atomic_load_explicit(&c->rt->generation, memory_order_relaxed), "state",
      states[c->state], "counters", json_counters(c), "process", json_process(c), "log", "level",
      tl_log_level_name(tl_log_level()), "lines_lost", (json_int_t)tl_log_dropped(), "lines_held",
      (json_int_t)tl_log_held(), "mailboxes", json_mailboxes(c), "kernel_tls", kernel_tls());
  if (a->result) json_object_set_new(a->result, "seconds_left", tl_json_expiry(c));
  if (a->result && json_is_true(json_object_get(params, "threads")))
    json_object_set_new(a->result, "threads", json_threads(c));
  return 0;
}
