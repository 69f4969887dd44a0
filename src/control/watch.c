/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches files by inotify. Directories are watched, not files: a new certificate
 * mostly arrives as a rename over the old one. A reload waits for a burst of
 * changes (a chain, then its key) to end, but not for ever, and finds out itself
 * what has changed. A directory that is taken away is looked for until there is one
 * of its name again.
 */
#include "control/watch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "control/reload.h"

#define QUIET_MS 2000
#define BURST_MS 30000 /* after this, reloads even while changes go on */
#define LOOK_MS 1000   /* for a directory that is not there */
#define LOST (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)
#define EVENTS                                                                                     \
  (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |         \
   IN_MOVE_SELF | IN_ONLYDIR)

struct directory {
  struct directory *next;
  struct tl_watch *watch;
  sd_event_source *source; /* NULL: it cannot be watched now */
  bool any;                /* each file in it, not only those of NAME */
  size_t n, cap;
  char **name;
  char path[];
};

struct tl_watch {
  sd_event *event;
  struct directory *directories;
  uint64_t first_ms, last_ms; /* of the changes not acted on, 0: none */
  uint64_t generation;        /* of the configuration whose files are watched */
  uint64_t look_ms;           /* when what is not watched is tried again, 0: all is */
};

static void free_directories(struct directory *d) {
  for (struct directory *next; d; d = next) {
    next = d->next;
    sd_event_source_unref(d->source);
    for (size_t i = 0; i < d->n; i++) free(d->name[i]);
    free(d->name);
    free(d);
  }
}

/* ---- what happens */

/* A mounted secret is replaced by renaming the link "..data" that all of its files lead through. */
static bool concerns_conf(const struct directory *d, const struct inotify_event *e) {
  if (e->mask & IN_Q_OVERFLOW || d->any || !e->len || strncmp(e->name, "..data", 6) == 0)
    return true;
  for (size_t i = 0; i < d->n; i++)
    if (strcmp(d->name[i], e->name) == 0) return true;
  return false;
}

static void note_change(struct tl_watch *w) {
  w->last_ms = tl_now_ms();
  if (!w->first_ms) w->first_ms = w->last_ms;
}

/* What is watched of D has another name by now, or none. */
static void lose_directory(struct directory *d) {
  d->source = sd_event_source_unref(d->source);
  d->watch->look_ms = tl_now_ms() + LOOK_MS;
}

static int on_event(sd_event_source *source, const struct inotify_event *e, void *arg) {
  struct directory *d = arg;
  (void)source;
  if (e->mask & LOST) lose_directory(d);
  if (concerns_conf(d, e)) note_change(d->watch);
  return 0;
}

/* ---- what is watched */

/* Where that fails it is tried again a little later. */
static int watch_directory(struct directory *d, uint64_t now_ms) {
  const int rc = sd_event_add_inotify(d->watch->event, &d->source, d->path, EVENTS, on_event, d);
  if (rc >= 0) return rc;
  d->source = NULL;
  d->watch->look_ms = now_ms + LOOK_MS;
  return rc;
}

static struct directory *find_directory(struct tl_watch *w, const char *path) {
  struct directory *d = w->directories;
  while (d && strcmp(d->path, path) != 0) d = d->next;
  if (d) return d;
  d = calloc(1, sizeof(*d) + strlen(path) + 1);
  if (!d) return NULL;
  d->watch = w;
  memcpy(d->path, path, strlen(path) + 1);
  d->next = w->directories;
  w->directories = d;
  const int rc = watch_directory(d, tl_now_ms());
  if (rc < 0)
    TL_LOG(TL_LOG_WARN, "A directory cannot be watched yet; reload by hand when it changes.",
           TL_FC("directory", path), TL_FC("cause", strerror(-rc)));
  return d;
}

/* Those that are there again have changed. */
static void look_again(struct tl_watch *w, uint64_t now_ms) {
  w->look_ms = 0;
  for (struct directory *d = w->directories; d; d = d->next)
    if (!d->source && watch_directory(d, now_ms) >= 0) note_change(w);
}

static void add_name(struct tl_watch *w, const char *path, const char *name) {
  struct directory *d = find_directory(w, path);
  char *copy = d ? strdup(name) : NULL;
  if (!copy) return;
  if (d->n == d->cap) {
    const size_t cap = d->cap ? 2 * d->cap : 16;
    char **more = realloc(d->name, cap * sizeof(*more));
    if (!more) {
      free(copy);
      return;
    }
    d->name = more;
    d->cap = cap;
  }
  d->name[d->n++] = copy;
}

static void watch_file(void *arg, const char *path) {
  struct tl_watch *w = arg;
  struct stat st;
  const char *slash = strrchr(path, '/');
  if (stat(path, &st) < 0 || strlen(path) >= 4096) return; /* PEM text, a URI */
  if (S_ISDIR(st.st_mode)) {
    struct directory *d = find_directory(w, path);
    if (d) d->any = true;
  }
  if (!slash) {
    add_name(w, ".", path);
    return;
  }
  char dir[4096];
  size_t n = slash == path ? 1 : (size_t)(slash - path);
  memcpy(dir, path, n);
  dir[n] = '\0';
  add_name(w, dir, slash + 1);
}

/* The old ones go last: a change between two snapshots must not be missed, and inotify keeps what
 * it has seen of a directory as long as anybody watches it. */
static void watch_conf(struct tl_watch *w, const struct tl_conf *conf) {
  struct directory *old = w->directories;
  w->directories = NULL;
  w->generation = conf->generation;
  w->look_ms = 0;
  if (conf->opt.watch_files)
    tl_conf_each_file(conf, watch_file, w);
  else
    w->first_ms = 0;
  free_directories(old);
}

/* A reload, whoever wanted it, may have changed what is to be watched. */
static void follow_conf(struct tl_control *c) {
  if (c->watch->generation == atomic_load_explicit(&c->rt->generation, memory_order_relaxed))
    return;
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  watch_conf(c->watch, conf);
  tl_conf_unref(conf);
}

/* ---- when */

static uint64_t reload_due_ms(const struct tl_watch *w) {
  const uint64_t quiet_ms = w->last_ms + QUIET_MS, at_last_ms = w->first_ms + BURST_MS;
  return quiet_ms < at_last_ms ? quiet_ms : at_last_ms;
}

static uint64_t watch_turn(struct tl_control *c, uint64_t now_ms) {
  struct tl_watch *w = c->watch;
  follow_conf(c);
  if (c->state != TL_CONTROL_RUNNING) return TL_TIME_NEVER;
  if (w->look_ms && now_ms >= w->look_ms) look_again(w, now_ms);
  if (w->first_ms && now_ms >= reload_due_ms(w)) {
    w->first_ms = 0;
    TL_LOG(TL_LOG_INFO, "Files of the configuration have changed: reloading.");
    tl_reload_unasked(c);
    follow_conf(c);
  }
  uint64_t due_ms = w->look_ms ? w->look_ms : TL_TIME_NEVER;
  if (w->first_ms) tl_time_sooner(&due_ms, reload_due_ms(w));
  return due_ms;
}

static int watch_start(struct tl_control *c) {
  c->watch = calloc(1, sizeof(*c->watch));
  if (!c->watch) return TL_ENOMEM;
  c->watch->event = c->event;
  return 0;
}

static int watch_run(struct tl_control *c) {
  follow_conf(c);
  return 0;
}

static void watch_stop(struct tl_control *c) {
  free_directories(c->watch->directories);
  free(c->watch);
  c->watch = NULL;
}

const struct tl_control_service tl_watch_service = {.name = "files",
                                                    .start = watch_start,
                                                    .run = watch_run,
                                                    .turn = watch_turn,
                                                    .stop = watch_stop};
