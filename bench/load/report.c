/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures, latencies and the summary of the load generator, as text or JSON.
 * Judges nothing; it counts what the other parts found.
 */
#include "load.h"

#include "../procstat.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SUB = 32, BUCKETS = 40 * SUB, MAX_REASONS = 48, SHOWN = 10 };

static uint64_t histogram[BUCKETS];
static uint64_t samples;
static struct {
  char name[32];
  uint64_t n;
} reasons[MAX_REASONS];
static unsigned n_reasons;

void load_fail(const char *reason, const struct conn *c, const struct msg *m, const char *fmt,
               ...) {
  unsigned i = 0;
  while (i < n_reasons && strcmp(reasons[i].name, reason)) i++;
  if (i == n_reasons && n_reasons < MAX_REASONS)
    snprintf(reasons[n_reasons++].name, sizeof(reasons[0].name), "%s", reason);
  if (i < MAX_REASONS) reasons[i].n++;
  if (L.failures++ >= SHOWN) return;
  va_list ap;
  fprintf(stderr, "load: failure: %s: ", reason);
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  if (c) fprintf(stderr, " [%s %u]", c->role == ROLE_CALLER ? "caller" : "server", c->index);
  if (m && m->request)
    fprintf(stderr, " %.*s %.*s", (int)m->method.n, m->method.p, (int)m->uri.n, m->uri.p);
  else if (m)
    fprintf(stderr, " %d to %.*s", m->status, (int)m->cseq.n, m->cseq.p);
  if (m && m->call_id.n) fprintf(stderr, ", %.*s", (int)m->call_id.n, m->call_id.p);
  fputc('\n', stderr);
}

/* Log-linear: 32 steps per power of two, so a percentile is within 3 %. */
static unsigned bucket_of(uint64_t ns) {
  if (ns < SUB) return (unsigned)ns;
  unsigned top = 63u - (unsigned)__builtin_clzll(ns);
  unsigned b = (top - 4) * SUB + (unsigned)(ns >> (top - 5) & (SUB - 1));
  return b < BUCKETS ? b : BUCKETS - 1;
}

static uint64_t bucket_ns(unsigned b) {
  if (b < SUB) return b;
  return (uint64_t)(SUB + b % SUB) << (b / SUB - 1);
}

void latency_add(uint64_t ns) {
  if (L.phase != PH_MEASURE && L.phase != PH_DRAIN) return;
  histogram[bucket_of(ns)]++;
  samples++;
}

void latency_reset(void) {
  memset(histogram, 0, sizeof(histogram));
  samples = 0;
}

static double percentile_ms(double share) {
  uint64_t want = (uint64_t)((double)samples * share), sum = 0;
  for (unsigned b = 0; b < BUCKETS; b++) {
    sum += histogram[b];
    if (sum > want || (sum == samples && sum)) return (double)bucket_ns(b) / 1e6;
  }
  return 0;
}

void mark_take(struct watch_mark *m) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  m->own_cpu_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
  m->t_ns = mono_ns();
  if (!L.o.watch) return;
  struct ps_sum s;
  ps_tree_sum(L.o.watch, &s);
  m->cpu_ns = s.cpu_ns;
  m->rss_kb = s.rss_kb;
  m->pss_kb = s.pss_kb;
}

void progress_print(void) {
  if (L.o.quiet || L.o.json) return;
  fprintf(stderr, "load: %llu done, %llu in flight, %llu failures, %u of %u connections\n",
          (unsigned long long)L.c.done, (unsigned long long)L.in_flight,
          (unsigned long long)L.failures, L.opened, L.o.connections);
}

static json_t *failures_json(void) {
  json_t *o = json_object();
  for (unsigned i = 0; i < n_reasons; i++)
    json_object_set_new(o, reasons[i].name, json_integer((json_int_t)reasons[i].n));
  return o;
}

/* One object holds all; the text form prints the same figures. */
static json_t *summary(void) {
  const struct counters *e = &L.at_end, *b = &L.base;
  double s = (double)(L.m_end.t_ns - L.m_start.t_ns) / 1e9;
  uint64_t done = e->done - b->done;
  uint64_t forwarded = e->requests_in + e->responses_in - b->requests_in - b->responses_in;
  uint64_t sent = e->requests_sent + e->responses_sent - b->requests_sent - b->responses_sent;
  uint64_t bytes = e->bytes_sent - b->bytes_sent;
  double cpu = (double)(L.m_end.cpu_ns - L.m_start.cpu_ns);
  double own = (double)(L.m_end.own_cpu_ns - L.m_start.own_cpu_ns);
  json_t *j =
      json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "transactions", (json_int_t)done, "options",
                (json_int_t)(e->by_kind[0] - b->by_kind[0]), "messages",
                (json_int_t)(e->by_kind[1] - b->by_kind[1]), "calls",
                (json_int_t)(e->by_kind[2] - b->by_kind[2]), "failures", (json_int_t)L.failures,
                "seconds", s, "per_second", s > 0 ? (double)done / s : 0);
  json_object_set_new(j, "failure_reasons", failures_json());
  json_object_set_new(j, "latency_ms",
                      json_pack("{s:f, s:f, s:f, s:f}", "p50", percentile_ms(.5), "p90",
                                percentile_ms(.9), "p99", percentile_ms(.99), "max",
                                percentile_ms(1)));
  json_object_set_new(j, "messages_on_the_wire",
                      json_pack("{s:I, s:I, s:I, s:f}", "forwarded", (json_int_t)forwarded, "sent",
                                (json_int_t)sent, "provisional",
                                (json_int_t)(e->provisional - b->provisional), "mean_bytes",
                                sent ? (double)bytes / (double)sent : 0));
  json_object_set_new(j, "noise",
                      json_pack("{s:I, s:I, s:I, s:I}", "resent", (json_int_t)L.c.resent, "repeats",
                                (json_int_t)L.c.dups, "late", (json_int_t)L.c.late, "reconnects",
                                (json_int_t)L.c.reconnects));
  json_object_set_new(j, "tls",
                      json_pack("{s:s, s:s}", "caller", L.caller_tls, "callee", L.callee_tls));
  json_object_set_new(j, "load_us_per_message",
                      json_real(forwarded ? own / 1e3 / (double)forwarded : 0));
  if (L.o.watch)
    json_object_set_new(j, "proxy",
                        json_pack("{s:f, s:f, s:f, s:I, s:I, s:I}", "cpu_us_per_message",
                                  forwarded ? cpu / 1e3 / (double)forwarded : 0, "cpu_share",
                                  s > 0 ? cpu / 1e9 / s : 0, "cpu_seconds", cpu / 1e9,
                                  "rss_start_kb", (json_int_t)L.m_start.rss_kb, "rss_tenth_kb",
                                  (json_int_t)L.m_tenth.rss_kb, "rss_end_kb",
                                  (json_int_t)L.m_end.rss_kb));
  return j;
}

static double real_at(json_t *j, const char *a, const char *b) {
  return json_number_value(json_object_get(json_object_get(j, a), b));
}

static void print_text(json_t *j) {
  printf("transactions  %lld (%lld OPTIONS, %lld MESSAGE, %lld calls) in %.2f s: %.0f per second\n",
         (long long)json_integer_value(json_object_get(j, "transactions")),
         (long long)json_integer_value(json_object_get(j, "options")),
         (long long)json_integer_value(json_object_get(j, "messages")),
         (long long)json_integer_value(json_object_get(j, "calls")),
         json_number_value(json_object_get(j, "seconds")),
         json_number_value(json_object_get(j, "per_second")));
  printf("latency ms    p50 %.3f  p90 %.3f  p99 %.3f  max %.3f\n", real_at(j, "latency_ms", "p50"),
         real_at(j, "latency_ms", "p90"), real_at(j, "latency_ms", "p99"),
         real_at(j, "latency_ms", "max"));
  printf("messages      %.0f out of the proxy, mean size %.0f bytes; resent %llu, repeats %llu, "
         "late %llu, reconnects %llu\n",
         real_at(j, "messages_on_the_wire", "forwarded"),
         real_at(j, "messages_on_the_wire", "mean_bytes"), (unsigned long long)L.c.resent,
         (unsigned long long)L.c.dups, (unsigned long long)L.c.late,
         (unsigned long long)L.c.reconnects);
  if (L.caller_tls[0] || L.callee_tls[0])
    printf("tls           callers %s, callees %s\n", L.caller_tls[0] ? L.caller_tls : "none",
           L.callee_tls[0] ? L.callee_tls : "none");
  printf("load itself   %.2f us per message\n",
         json_number_value(json_object_get(j, "load_us_per_message")));
  if (L.o.watch)
    printf("proxy         %.2f us per message, %.0f %% of a core; RSS KB start %llu, tenth %llu, "
           "end %llu\n",
           real_at(j, "proxy", "cpu_us_per_message"), 100 * real_at(j, "proxy", "cpu_share"),
           (unsigned long long)L.m_start.rss_kb, (unsigned long long)L.m_tenth.rss_kb,
           (unsigned long long)L.m_end.rss_kb);
  printf("failures      %llu\n", (unsigned long long)L.failures);
  for (unsigned i = 0; i < n_reasons; i++)
    printf("              %llu %s\n", (unsigned long long)reasons[i].n, reasons[i].name);
}

int report_print(void) {
  json_t *j = summary();
  if (L.o.json) {
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
  } else {
    print_text(j);
  }
  json_decref(j);
  return L.failures ? 1 : 0;
}
