/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small stand-in for Criterion's runner, for builds where that one cannot
 * start: its arena lies at addresses that ThreadSanitizer keeps for itself. Runs
 * the same Test() and TestSuite() entries, each in a child process, one after
 * the other, and ends with Criterion's summary line. Only what our tests use of
 * Criterion is here; a new use fails to link.
 */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_FAILED = 90, STATUS_SKIPPED = 91 };
/* A sanitizer makes a test up to ten times slower than its author saw. */
enum { SLOWER = 10 };

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
/* Weak: a program without suites has no such section. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;
static const struct criterion_test *current;
static const struct criterion_suite *current_suite;
static bool failed;

/* --- what the assertion macros call, in the child ------------------------------------------------
 */

static _Noreturn void end_child(int status) {
  fflush(NULL);
  exit(status); /* not _exit: the sanitizer reports what it found on the way out */
}

void criterion_abort_test(void) { end_child(STATUS_FAILED); }
void criterion_continue_test(void) { failed = true; }
void cri_asserts_passed_incr(void) {}

void criterion_skip_test(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  printf("[SKIP] %s::%s: ", current->category, current->name);
  vprintf(format, ap);
  putchar('\n');
  va_end(ap);
  end_child(STATUS_SKIPPED);
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

/* --- the parent ----------------------------------------------------------------------------------
 */

static const struct criterion_suite *suite_of(const struct criterion_test *t) {
  for (struct criterion_suite **s = __start_cr_sts; s && s < __stop_cr_sts; s++)
    if (*s && strcmp((*s)->name, t->category) == 0) return *s;
  return NULL;
}

static double seconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double limit_of(const struct criterion_test *t) {
  const struct criterion_suite *s = suite_of(t);
  double limit = t->data->timeout > 0 ? t->data->timeout : s && s->data ? s->data->timeout : 0;
  return limit > 0 ? limit * SLOWER : 300;
}

/* The wait status of the child, or -1 when it took too long and was ended. */
static int wait_for(pid_t pid, double limit) {
  double end = seconds() + limit;
  const struct timespec nap = {.tv_nsec = 2000000};
  for (;;) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) return status;
    if (seconds() > end) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    nanosleep(&nap, NULL);
  }
}

static bool as_expected(const struct criterion_test *t, int status) {
  if (status < 0) return false;
  if (t->data->signal) return WIFSIGNALED(status) && WTERMSIG(status) == t->data->signal;
  return WIFEXITED(status) && WEXITSTATUS(status) == t->data->exit_code;
}

static int run_child(const struct criterion_test *t) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    current = t;
    current_suite = suite_of(t);
    t->test();
    end_child(failed ? STATUS_FAILED : 0);
  }
  return pid < 0 ? -1 : wait_for(pid, limit_of(t));
}

static bool wanted(const struct criterion_test *t, const char *pattern) {
  char name[256];
  snprintf(name, sizeof(name), "%s/%s", t->category, t->name);
  return !pattern || fnmatch(pattern, name, 0) == 0;
}

/* Usage: unit [--verbose] [--filter SUITE/NAME-PATTERN] */
int main(int argc, char **argv) {
  unsigned tested = 0, passing = 0, failing = 0, crashing = 0;
  bool verbose = false;
  const char *pattern = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--verbose") == 0) verbose = true;
    if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) pattern = argv[++i];
  }
  for (struct criterion_test **p = __start_cr_tst; p < __stop_cr_tst; p++) {
    const struct criterion_test *t = *p;
    if (!t || t->data->disabled || !wanted(t, pattern)) continue;
    double begun = seconds();
    int status = run_child(t);
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED) continue;
    tested++;
    if (as_expected(t, status)) {
      passing++;
      if (verbose) printf("[PASS] %s::%s: (%.2fs)\n", t->category, t->name, seconds() - begun);
      continue;
    }
    bool crash = status >= 0 && WIFSIGNALED(status);
    crash ? crashing++ : failing++;
    printf("[%s] %s::%s: (%.2fs) %s %d\n", crash ? "CRASH" : "FAIL", t->category, t->name,
           seconds() - begun, status < 0 ? "timed out" : "wait status", status);
  }
  printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n", tested,
         passing, failing, crashing);
  return failing || crashing ? 1 : 0;
}
