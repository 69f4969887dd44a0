/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the tests one after the other, each in a child process, and ends with
 * Criterion's summary line.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plain.h"

/* The wait status of the child, or -1 when it took too long and was ended. */
static int wait_for(pid_t pid, double limit) {
  double end = plain_clock_s() + limit;
  const struct timespec nap = {.tv_nsec = 2000000};
  for (;;) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) return status;
    if (plain_clock_s() > end) {
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
  if (pid == 0) plain_run(t);
  return pid < 0 ? -1 : wait_for(pid, plain_limit_s(t));
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
    if (!plain_wanted(t, pattern)) continue;
    double begun = plain_clock_s();
    int status = run_child(t);
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == PLAIN_SKIPPED) continue;
    tested++;
    if (as_expected(t, status)) {
      passing++;
      if (verbose)
        printf("[PASS] %s::%s: (%.2fs)\n", t->category, t->name, plain_clock_s() - begun);
      continue;
    }
    bool crash = status >= 0 && WIFSIGNALED(status);
    crash ? crashing++ : failing++;
    printf("[%s] %s::%s: (%.2fs) %s %d\n", crash ? "CRASH" : "FAIL", t->category, t->name,
           plain_clock_s() - begun, status < 0 ? "timed out" : "wait status", status);
  }
  printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n", tested,
         passing, failing, crashing);
  return failing || crashing ? 1 : 0;
}
