/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `make oom`: every unit test again, once for each place where our code asks for
 * memory, and there it gets none. A test may then end early, because a call that
 * always succeeded returns TL_ENOMEM; what it must not do is crash, leak, or hang.
 *
 * First every test runs as it is, and the sites of its allocations are noted
 * (refuse.h). Then, the quick tests first, it runs once for each site that has
 * not been refused TRIES times yet, in this test or an earlier one: the first
 * time that the site is met, and the last. A test stops at its share of time;
 * the sum at the end says how many sites were not reached for that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pwd.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/plain/plain.h"
#include "refuse.h"

enum { STATUS_LEAK = 92, STATUS_WAITED = 93 };
enum { JOBS_MAX = 16, TESTS_MAX = 4096, TRIES = 3 };
#define OWN "oom_"              /* suites that refuse for themselves */
#define KNOWN_MAX (1u << 20)    /* sites of all tests: a power of two */
#define ENTRIES_MAX (1u << 24)  /* and of each test */
#define REPORT_MAX (64u * 1024) /* bytes of a failure that are shown */
#define STUCK_S 10.0            /* in one function of ours: a hang */
#define PATIENCE_S 0.5          /* beyond twice a test's time: it waits for what was refused */

struct entry {
  uint64_t site;
  uint32_t count; /* times in this test */
};

struct test {
  const struct criterion_test *t;
  double took_s;
  bool sound; /* passes when nothing is refused */
  uint32_t first, n;
};

/* Shared by all processes. */
static struct {
  _Atomic uint32_t next; /* test of the phase at hand */
  _Atomic uint32_t n_entry;
  _Atomic uint32_t runs, carried_on, ended_early, waited, missed, forgiven, unreached, failures,
      unsound, skipped;
  uint32_t n_test;
  struct test test[TESTS_MAX];
  uint32_t order[TESTS_MAX];
  _Atomic uint64_t known[KNOWN_MAX];
  _Atomic uint8_t tried[KNOWN_MAX];
  struct entry entry[ENTRIES_MAX];
} * all;

static int report_fd;
static double share_s = 2.5; /* all tests in twenty minutes on two processors */
static const char *pattern;

/* Leaks of libraries that only a want of memory brings about. */
const char *__lsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__lsan_default_suppressions(void) {
  return "leak:TXT_DB_read\n"; /* OpenSSL: the line under way when its columns find none */
}

/* ---- one run of a test ---- */

static void end_of_test(int status) {
  if (__lsan_do_recoverable_leak_check()) status = STATUS_LEAK;
  _exit(status);
}

/* Other threads may hold any lock, so nothing is flushed. */
static void end_of_patience(int sig) {
  (void)sig;
  _exit(__lsan_do_recoverable_leak_check() ? STATUS_LEAK : STATUS_WAITED);
}

static void child(const struct criterion_test *t) {
  setpgid(0, 0);
  dup2(report_fd, 1);
  dup2(report_fd, 2);
  /* a report is for us, also from within a test that has turned its outputs elsewhere */
  __sanitizer_set_report_fd((void *)(intptr_t)report_fd); /* NOLINT(performance-no-int-to-ptr) */
  signal(SIGUSR2, end_of_patience);
  signal(SIGPIPE,
         SIG_IGN); /* as the daemon does: a test that ends early leaves its peers writing */
  plain_end = end_of_test;
  plain_run(t);
}

struct watch {
  double begun_s, moved_s;
  double queued_s; /* of its waiting for a processor, what has been forgiven */
  uint64_t steps;
  double told_s; /* when it was told to end; 0: not yet */
  bool by_plan;  /* something of ours is refused, not something that the test itself chose */
};

/* How long the threads of PID have waited for a processor, together. */
static double queued_s(pid_t pid) {
  char path[300];
  double sum = 0;
  snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  for (struct dirent *e; tasks && (e = readdir(tasks)) != NULL;) {
    unsigned long long ran_ns, waited_ns;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
    FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
    if (!f) continue;
    if (fscanf(f, "%llu %llu", &ran_ns, &waited_ns) == 2) sum += (double)waited_ns / 1e9;
    fclose(f);
  }
  if (tasks) closedir(tasks);
  return sum;
}

/* A machine that is busy with others is not a hang of ours. */
static bool is_stuck(pid_t pid, struct watch *w, double now_s) {
  if (now_s - w->moved_s <= STUCK_S) return false;
  double queued = queued_s(pid), more = queued - w->queued_s;
  w->queued_s = queued;
  w->moved_s = more > now_s - w->moved_s ? now_s : w->moved_s + more;
  return now_s - w->moved_s > STUCK_S;
}

/* Tells a test that waits for ever to end, and stops one that hangs so that its stack is seen. */
static void look_after(pid_t pid, struct watch *w, double took_s) {
  bool ours;
  double now_s = plain_clock_s();
  uint64_t steps = oom_steps(&ours);
  if (steps != w->steps || !ours) w->moved_s = now_s;
  w->steps = steps;
  if (is_stuck(pid, w, now_s)) {
    kill(pid, SIGABRT);
    w->moved_s = now_s;
  }
  if (w->by_plan && !w->told_s && oom_refused() && now_s - w->begun_s > 2 * took_s + PATIENCE_S) {
    kill(pid, SIGUSR2);
    w->told_s = now_s;
  }
}

/* One that was told may have been in the allocator, whose lock the look for leaks needs. */
static bool is_over(const struct watch *w, const struct test *t) {
  double now_s = plain_clock_s();
  return now_s - w->begun_s > plain_limit_s(t->t) || (w->told_s && now_s - w->told_s > STUCK_S);
}

/* The wait status; -1: it took too long and was ended. */
static int wait_for(pid_t pid, const struct test *t, bool by_plan) {
  const struct timespec nap = {.tv_nsec = 500000};
  struct watch w = {.begun_s = plain_clock_s(), .moved_s = plain_clock_s(), .by_plan = by_plan};
  int status;
  while (waitpid(pid, &status, WNOHANG) != pid) {
    look_after(pid, &w, t->took_s);
    if (is_over(&w, t)) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return w.told_s ? STATUS_WAITED << 8 : -1;
    }
    nanosleep(&nap, NULL);
  }
  return status;
}

static int run(const struct test *t, bool by_plan) {
  if (report_fd > 2 && ftruncate(report_fd, 0)) perror("oom");
  pid_t pid = fork();
  if (pid == 0) child(t->t);
  int status = wait_for(pid, t, by_plan);
  kill(-pid, SIGKILL); /* what a test started and could not stop */
  return status;
}

/* ---- what a run was like ---- */

static char *report_text(void) {
  static char text[REPORT_MAX];
  ssize_t n = pread(report_fd, text, sizeof(text) - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  return text;
}

/* A process that the test itself started does not show in the status. */
static bool sanitizer_spoke(const char *text) {
  return strstr(text, "ERROR: AddressSanitizer") || strstr(text, "ERROR: LeakSanitizer") ||
         strstr(text, "runtime error:");
}

/* Crashes of libraries that cannot be mended here, by a function in their stack. */
static bool is_library_fault(const char *text) {
  static const char *const within[] = {
      "in OSSL_STORE_load (", /* OpenSSL 3.0 goes on with a decoder that was not made */
  };
  if (!strstr(text, "AddressSanitizer:DEADLYSIGNAL")) return false;
  for (size_t i = 0; i < sizeof(within) / sizeof(*within); i++)
    if (strstr(text, within[i])) return true;
  return false;
}

static void tell_failure(const struct test *t, const char *what, const struct entry *e,
                         uint32_t occurrence) {
  atomic_fetch_add(&all->failures, 1);
  printf("[FAIL] %s/%s: %s", t->t->category, t->t->name, what);
  if (e) printf(" (--site %lx --occurrence %u)", e->site, occurrence);
  printf("\n%s\n", report_text());
  fflush(stdout);
}

static void judge(const struct test *t, int status, const struct entry *e, uint32_t occurrence) {
  int code = status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  atomic_fetch_add(&all->runs, 1);
  if (is_library_fault(report_text()))
    atomic_fetch_add(&all->forgiven, 1);
  else if (sanitizer_spoke(report_text()))
    tell_failure(t, code == STATUS_LEAK ? "leaks" : "crashes", e, occurrence);
  else if (status < 0)
    tell_failure(t, "does not end", e, occurrence);
  else if (code == STATUS_WAITED)
    atomic_fetch_add(&all->waited, 1);
  else if (code == PLAIN_FAILED && !oom_refused())
    atomic_fetch_add(&all->missed, 1); /* another order of threads, and time lost to it */
  else if (code == 0)
    atomic_fetch_add(oom_refused() ? &all->carried_on : &all->missed, 1);
  else if (code == PLAIN_FAILED || code == PLAIN_SKIPPED)
    atomic_fetch_add(&all->ended_early, 1);
  else
    tell_failure(t, "ends in a way of its own", e, occurrence);
}

/* ---- first: as it is ---- */

static int by_site(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void keep_sites(struct test *t) {
  uint32_t n;
  static uint64_t sorted[OOM_SITES_MAX];
  memcpy(sorted, oom_sites(&n), sizeof(sorted));
  qsort(sorted, n, sizeof(*sorted), by_site);
  uint32_t distinct = 0;
  for (uint32_t i = 0; i < n; i++) distinct += i == 0 || sorted[i] != sorted[i - 1];
  t->first = atomic_fetch_add(&all->n_entry, distinct);
  if (t->first + distinct > ENTRIES_MAX) return;
  struct entry *e = &all->entry[t->first] - 1;
  for (uint32_t i = 0; i < n; i++) {
    if (i == 0 || sorted[i] != sorted[i - 1]) (++e)->site = sorted[i];
    e->count++;
  }
  t->n = distinct;
}

static void first_run(struct test *t) {
  double begun_s = plain_clock_s();
  oom_plan(0, 0);
  int status = run(t, false);
  t->took_s = plain_clock_s() - begun_s;
  if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == PLAIN_SKIPPED) {
    atomic_fetch_add(&all->skipped, 1);
    fputs(report_text(), stdout); /* the reason */
    fflush(stdout);
    return;
  }
  t->sound = status == 0 && !sanitizer_spoke(report_text());
  if (t->sound) {
    if (strncmp(t->t->category, OWN, strlen(OWN)) != 0) keep_sites(t);
    return;
  }
  atomic_fetch_add(&all->unsound, 1);
  printf("[LEFT] %s/%s: fails as it is, wait status %x\n%s\n", t->t->category, t->t->name,
         (unsigned)status, report_text());
  fflush(stdout);
}

/* ---- then: once for each site ---- */

/* May SITE be refused once more? Counts it. */
static bool take_site(uint64_t site) {
  for (uint32_t i = (uint32_t)(site >> 20) % KNOWN_MAX;; i = (i + 1) % KNOWN_MAX) {
    uint64_t there = 0;
    if (!atomic_compare_exchange_strong(&all->known[i], &there, site) && there != site) continue;
    return atomic_fetch_add(&all->tried[i], 1) < TRIES || (atomic_fetch_sub(&all->tried[i], 1), 0);
  }
}

static void refuse_one(struct test *t, const struct entry *e, uint32_t occurrence) {
  oom_plan(e->site, occurrence);
  judge(t, run(t, true), e, occurrence);
}

static void refuse_each(struct test *t) {
  double end_s = plain_clock_s() + share_s;
  for (uint32_t i = 0; i < t->n; i++) {
    const struct entry *e = &all->entry[t->first + i];
    if (plain_clock_s() > end_s) {
      atomic_fetch_add(&all->unreached, t->n - i);
      return;
    }
    if (take_site(e->site)) refuse_one(t, e, 1);
    if (e->count > 1 && take_site(e->site)) refuse_one(t, e, e->count);
  }
}

/* ---- the parent ---- */

/* What libraries make once and cannot do without: OpenSSL and the C library's name services crash
 * later if they lack memory here. The daemon meets it at its start. */
static void wake_libraries(void) {
  uint8_t byte;
  struct addrinfo *found = NULL;
  if (OPENSSL_init_ssl(0, NULL) != 1 || RAND_bytes(&byte, 1) != 1 || RAND_priv_bytes(&byte, 1) != 1)
    exit(2);
  SSL_CTX_free(SSL_CTX_new(TLS_method()));
  EVP_KDF_free(EVP_KDF_fetch(NULL, "HKDF", NULL));
  EVP_MD_free(EVP_MD_fetch(NULL, "SHA2-256", NULL));
  EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL));
  getpwnam("root");
  if (getaddrinfo("localhost", NULL, NULL, &found) == 0) freeaddrinfo(found);
}

static void work(void (*one)(struct test *)) {
  oom_init();
  report_fd = memfd_create("oom", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (report_fd < 0 || fcntl(report_fd, F_SETFL, O_APPEND)) _exit(2);
  for (uint32_t i; (i = atomic_fetch_add(&all->next, 1)) < all->n_test;)
    one(&all->test[all->order[i]]);
  _exit(0);
}

static void in_parallel(unsigned jobs, void (*one)(struct test *)) {
  atomic_store(&all->next, 0);
  fflush(stdout);
  for (unsigned i = 0; i < jobs; i++)
    if (fork() == 0) work(one);
  int status;
  while (wait(&status) > 0)
    if (status) atomic_fetch_add(&all->failures, 1);
}

static int by_time(const void *a, const void *b) {
  double x = all->test[*(const uint32_t *)a].took_s, y = all->test[*(const uint32_t *)b].took_s;
  return x < y ? -1 : x > y;
}

static void find_tests(void) {
  for (struct criterion_test **p = __start_cr_tst; p < __stop_cr_tst; p++) {
    if (!plain_wanted(*p, pattern) || all->n_test == TESTS_MAX) continue;
    all->order[all->n_test] = all->n_test;
    all->test[all->n_test++].t = *p;
  }
}

static int one_run(uint64_t site, uint32_t occurrence) {
  report_fd = 2;
  struct test *t = &all->test[0];
  if (all->n_test != 1) return 2;
  oom_init();
  t->took_s = plain_limit_s(t->t);
  oom_plan(site, occurrence);
  oom_trace(true);
  int status = run(t, true);
  printf("%s/%s: status %x, %s\n", t->t->category, t->t->name, (unsigned)status,
         oom_refused() ? "refused" : "site not met");
  return status ? 1 : 0;
}

static void tell_sum(double begun_s) {
  printf("oom: %u tests with %u sites; %u runs in %.0f s: %u carried on, %u ended early, %u waited "
         "for "
         "what was refused, %u did not meet the site, %u failed\n",
         all->n_test, atomic_load(&all->n_entry), all->runs, plain_clock_s() - begun_s,
         all->carried_on, all->ended_early, all->waited, all->missed, all->failures);
  if (all->unreached)
    printf("oom: %u sites of tests that used up their %.0f s were left out (--seconds)\n",
           all->unreached, share_s);
  if (all->forgiven) printf("oom: %u crashes were in libraries\n", all->forgiven);
  if (all->unsound) printf("oom: %u tests fail as they are and were left out\n", all->unsound);
}

/* Usage: oom [--filter SUITE/NAME] [--jobs N] [--seconds OF-EACH-TEST] [--site X --occurrence N] */
int main(int argc, char **argv) {
  unsigned jobs = 2;
  uint64_t site = 0;
  uint32_t occurrence = 1;
  double begun_s = plain_clock_s();
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--filter") == 0) pattern = argv[i + 1];
    if (strcmp(argv[i], "--jobs") == 0) jobs = (unsigned)atoi(argv[i + 1]);
    if (strcmp(argv[i], "--seconds") == 0) share_s = atof(argv[i + 1]);
    if (strcmp(argv[i], "--site") == 0) site = strtoull(argv[i + 1], NULL, 16);
    if (strcmp(argv[i], "--occurrence") == 0) occurrence = (uint32_t)atoi(argv[i + 1]);
  }
  all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
             -1, 0);
  if (all == MAP_FAILED || jobs < 1 || jobs > JOBS_MAX) return 2;
  oom_init();
  wake_libraries();
  find_tests();
  if (site) return one_run(site, occurrence);
  in_parallel(jobs, first_run);
  qsort(all->order, all->n_test, sizeof(*all->order), by_time);
  in_parallel(jobs, refuse_each);
  tell_sum(begun_s);
  unsigned failed = all->failures + all->unsound;
  printf("%u passed, %u failed", all->runs - all->failures, failed);
  printf(all->skipped ? ", %u skipped\n" : "\n", all->skipped);
  return failed ? 1 : 0;
}
