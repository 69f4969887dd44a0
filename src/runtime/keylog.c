/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key log's file and the peers it covers. Handshake threads write a few lines
 * per handshake under a mutex; workers never come here. Secrets that follow from a
 * KeyUpdate are derived by the reader of the file.
 */
#include "tieline/keylog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tieline/err.h"
#include "tieline/time.h"

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool on; /* read at each handshake, without the mutex */
static struct tl_keylog_state state;
static uint64_t until_ms;
static int fd = -1;

/* A regular file of our own: the daemon may run as root, and the name may be a trap. */
static int open_file(const char *file, char *err, size_t cap) {
  struct stat st;
  int d = open(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
  if (d < 0) {
    snprintf(err, cap, "%s: %s", file, strerror(errno));
    return -1;
  }
  if (fstat(d, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077))
    return d;
  snprintf(err, cap, "%s is not a file of mode 0600 that belongs to this user", file);
  close(d);
  return -1;
}

int tl_keylog_on(const char *file, const struct tl_network *peer, uint64_t for_ms, char *err,
                 size_t cap) {
  if (atomic_load(&on)) {
    snprintf(err, cap, "a key log is being written already");
    return TL_EBUSY;
  }
  int d = open_file(file, err, cap);
  if (d < 0) return TL_EIO;
  pthread_mutex_lock(&mu);
  fd = d;
  until_ms = tl_now_ms() + for_ms;
  state = (struct tl_keylog_state){.on = true, .peer = *peer};
  snprintf(state.file, sizeof(state.file), "%s", file);
  pthread_mutex_unlock(&mu);
  atomic_store(&on, true);
  return TL_OK;
}

void tl_keylog_off(void) {
  atomic_store(&on, false);
  pthread_mutex_lock(&mu);
  if (fd >= 0) close(fd);
  fd = -1;
  state.on = false;
  pthread_mutex_unlock(&mu);
}

void tl_keylog_get(struct tl_keylog_state *out) {
  pthread_mutex_lock(&mu);
  *out = state;
  uint64_t now = tl_now_ms();
  out->left_ms = state.on && until_ms > now ? until_ms - now : 0;
  pthread_mutex_unlock(&mu);
}

bool tl_keylog_over(uint64_t *out_left_ms) {
  struct tl_keylog_state s;
  *out_left_ms = 0;
  if (!atomic_load(&on)) return false;
  tl_keylog_get(&s);
  *out_left_ms = s.left_ms;
  return s.left_ms == 0 || s.lines >= TL_KEYLOG_MAX_LINES;
}

bool tl_keylog_wants(const struct tl_addr *peer) {
  if (!atomic_load_explicit(&on, memory_order_relaxed)) return false;
  pthread_mutex_lock(&mu);
  bool yes = state.on && tl_now_ms() < until_ms && tl_network_has(&state.peer, peer);
  state.connections += yes;
  pthread_mutex_unlock(&mu);
  return yes;
}

void tl_keylog_line(const char *line) {
  char text[1024];
  int n = snprintf(text, sizeof(text), "%s\n", line);
  if (n > 0 && (size_t)n < sizeof(text)) {
    pthread_mutex_lock(&mu);
    /* In one write, so that lines of two threads do not mix. */
    if (fd >= 0 && tl_now_ms() < until_ms && state.lines < TL_KEYLOG_MAX_LINES &&
        write(fd, text, (size_t)n) == n)
      state.lines++;
    pthread_mutex_unlock(&mu);
  }
  explicit_bzero(text, sizeof(text));
}
