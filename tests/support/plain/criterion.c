/* SPDX-License-Identifier: Apache-2.0 */
/* What Criterion's macros call, in the process of one test; plain.h says why. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plain.h"

/* A sanitizer makes a test up to ten times slower than its author saw. */
enum { SLOWER = 10 };

/* Weak: a program without suites has no such section. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;
static const struct criterion_test *current;
static const struct criterion_suite *current_suite;
static bool failed;

void (*plain_end)(int status) = exit; /* not _exit: the sanitizer reports what it found */

static _Noreturn void end_child(int status) {
  fflush(NULL);
  plain_end(status);
  abort();
}

void criterion_abort_test(void) { end_child(PLAIN_FAILED); }
void criterion_continue_test(void) { failed = true; }
void cri_asserts_passed_incr(void) {}

void criterion_skip_test(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  printf("[SKIP] %s::%s: ", current->category, current->name);
  vprintf(format, ap);
  putchar('\n');
  va_end(ap);
  end_child(PLAIN_SKIPPED);
}

void criterion_send_assert(struct criterion_assert_stats *s) {
  if (s->passed) return;
  fprintf(stderr, "[----] %s:%u: Assertion Failed: %s\n", s->file, s->line,
          s->message ? s->message : "");
}

static char *format_text(const char *format, va_list ap) {
  char *text = NULL;
  return vasprintf(&text, format, ap) < 0 ? NULL : text;
}

int cr_asprintf(char **strp, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  *strp = format_text(fmt, ap);
  va_end(ap);
  return *strp ? (int)strlen(*strp) : -1;
}

void cr_asprintf_free(char *strp) { free(strp); }

/* Criterion has a table of sentences; the expression itself says enough. */
char *cr_translate_assert_msg(int msg_index, ...) {
  (void)msg_index;
  va_list ap;
  va_start(ap, msg_index);
  const char *text = va_arg(ap, const char *);
  va_end(ap);
  return strdup(text ? text : "");
}

void cr_log(enum criterion_severity severity, const char *msg, ...) {
  (void)severity;
  va_list ap;
  va_start(ap, msg);
  vfprintf(stderr, msg, ap);
  fputc('\n', stderr);
  va_end(ap);
}

void criterion_internal_test_setup(void) {
  if (current_suite && current_suite->data && current_suite->data->init)
    current_suite->data->init();
  if (current->data->init) current->data->init();
}

void criterion_internal_test_main(void (*fn)(void)) { fn(); }

void criterion_internal_test_teardown(void) {
  if (current->data->fini) current->data->fini();
  if (current_suite && current_suite->data && current_suite->data->fini)
    current_suite->data->fini();
}

/* --- what runners ask --------------------------------------------------------------------------
 */

static const struct criterion_suite *suite_of(const struct criterion_test *t) {
  for (struct criterion_suite **s = __start_cr_sts; s && s < __stop_cr_sts; s++)
    if (*s && strcmp((*s)->name, t->category) == 0) return *s;
  return NULL;
}

void plain_run(const struct criterion_test *t) {
  current = t;
  current_suite = suite_of(t);
  t->test();
  end_child(failed ? PLAIN_FAILED : 0);
}

bool plain_wanted(const struct criterion_test *t, const char *pattern) {
  char name[256];
  if (!t || t->data->disabled) return false;
  snprintf(name, sizeof(name), "%s/%s", t->category, t->name);
  return !pattern || fnmatch(pattern, name, 0) == 0;
}

double plain_limit_s(const struct criterion_test *t) {
  const struct criterion_suite *s = suite_of(t);
  double limit = t->data->timeout > 0 ? t->data->timeout : s && s->data ? s->data->timeout : 0;
  return limit > 0 ? limit * SLOWER : 300;
}

double plain_clock_s(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
