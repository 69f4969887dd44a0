/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches files by inotify. Directories are watched, not files: a new certificate
 * mostly arrives as a rename over the old one. A reload waits for a burst of
 * changes (a chain, then its key) to end, but not for ever, and finds out itself
 * what has changed.
 */
#include "control/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_MS 2000
#define BURST_MS 30000 /* after this, reloads even while changes go on */
#define EVENTS                                                                                     \
  (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |         \
   IN_ONLYDIR)

struct entry {
  int wd;
  char *name; /* in that directory, NULL: any */
};

struct tl_watch {
  int fd;
  size_t n, cap;
  struct entry *entry;
  void (*on_change)(struct tl_control *c);
  uint64_t first_ms, last_ms; /* of the changes not acted on, 0: none */
};

int tl_watch_init(struct tl_control *c, void (*on_change)(struct tl_control *c)) {
  c->watch = calloc(1, sizeof(*c->watch));
  if (!c->watch) return TL_ENOMEM;
  c->watch->on_change = on_change;
  c->watch->fd = -1;
  return 0;
}

static void free_entries(struct entry *e, size_t n) {
  for (size_t i = 0; i < n; i++) free(e[i].name);
  free(e);
}

void tl_watch_exit(struct tl_control *c) {
  if (!c->watch) return;
  if (c->watch->fd >= 0) close(c->watch->fd);
  free_entries(c->watch->entry, c->watch->n);
  free(c->watch);
  c->watch = NULL;
}

int tl_watch_fd(const struct tl_control *c) { return c->watch ? c->watch->fd : -1; }

static void add_watch(struct tl_watch *w, const char *dir, const char *name) {
  if (w->n == w->cap) {
    size_t cap = w->cap ? 2 * w->cap : 16;
    struct entry *e = realloc(w->entry, cap * sizeof(*e));
    if (!e) return;
    w->entry = e;
    w->cap = cap;
  }
  int wd = inotify_add_watch(w->fd, dir, EVENTS);
  if (wd < 0) {
    TL_LOG(TL_LOG_WARN, "A directory cannot be watched; reload by hand when it changes.",
           TL_FC("directory", dir), TL_FC("cause", strerror(errno)));
    return;
  }
  char *copy = name ? strdup(name) : NULL;
  if (!name || copy) w->entry[w->n++] = (struct entry){wd, copy};
}

static void watch_file(void *arg, const char *path) {
  struct tl_watch *w = arg;
  struct stat st;
  const char *slash = strrchr(path, '/');
  if (stat(path, &st) < 0 || strlen(path) >= 4096) return; /* PEM text, a URI */
  if (S_ISDIR(st.st_mode)) add_watch(w, path, NULL);
  if (!slash) {
    add_watch(w, ".", path);
    return;
  }
  char dir[4096];
  size_t n = slash == path ? 1 : (size_t)(slash - path);
  memcpy(dir, path, n);
  dir[n] = '\0';
  add_watch(w, dir, slash + 1);
}

static bool has_wd(const struct entry *e, size_t n, int wd) {
  for (size_t i = 0; i < n; i++)
    if (e[i].wd == wd) return true;
  return false;
}

/* Keeps the descriptor: a change between two snapshots must not be missed. */
void tl_watch_conf(struct tl_control *c, const struct tl_conf *conf) {
  struct tl_watch *w = c->watch;
  struct entry *old = w->entry;
  size_t n_old = w->n;
  if (conf->watch_files && w->fd < 0) w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (conf->watch_files && w->fd < 0)
    TL_LOG(TL_LOG_ERROR, "Files cannot be watched.", TL_FC("cause", strerror(errno)));
  w->entry = NULL;
  w->n = w->cap = 0;
  if (conf->watch_files && w->fd >= 0) tl_conf_each_file(conf, watch_file, w);
  for (size_t i = 0; i < n_old; i++)
    if (!has_wd(w->entry, w->n, old[i].wd)) inotify_rm_watch(w->fd, old[i].wd);
  free_entries(old, n_old);
  if (!conf->watch_files && w->fd >= 0) {
    close(w->fd);
    w->fd = -1;
    w->first_ms = 0;
  }
}

/* A mounted secret is replaced by renaming the link "..data" that all of its files lead through. */
static bool concerns_conf(const struct tl_watch *w, const struct inotify_event *e) {
  if (e->mask & IN_Q_OVERFLOW) return true;
  for (size_t i = 0; i < w->n; i++)
    if (w->entry[i].wd == e->wd &&
        (!w->entry[i].name || !e->len || strcmp(w->entry[i].name, e->name) == 0 ||
         strncmp(e->name, "..data", 6) == 0))
      return true;
  return false;
}

static bool read_events(struct tl_watch *w) {
  char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  bool any = false;
  ssize_t n;
  while ((n = read(w->fd, buf, sizeof(buf))) > 0)
    for (char *p = buf; p < buf + n;) {
      const struct inotify_event *e = (const struct inotify_event *)p;
      any = any || concerns_conf(w, e);
      p += sizeof(*e) + e->len;
    }
  return any;
}

void tl_watch_turn(struct tl_control *c, bool readable, uint64_t now_ms, int *timeout_ms) {
  struct tl_watch *w = c->watch;
  if (readable && read_events(w)) {
    w->last_ms = now_ms;
    if (!w->first_ms) w->first_ms = now_ms;
  }
  if (!w->first_ms || c->state != TL_CONTROL_RUNNING) return;
  uint64_t due = w->last_ms + QUIET_MS;
  if (due > w->first_ms + BURST_MS) due = w->first_ms + BURST_MS;
  if (now_ms >= due) {
    w->first_ms = 0;
    w->on_change(c);
  } else if (*timeout_ms < 0 || due - now_ms < (uint64_t)*timeout_ms) {
    *timeout_ms = (int)(due - now_ms);
  }
}
