/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of tokens, and their file:
 *
 *   seed HEX              hashes inside tokens; stays for ever
 *   key ID BEGIN HEX      ID: one hex digit; BEGIN: 2026-01-31T12:00:00Z
 *
 * in lines, blank ones and "#" to the end of the line aside. A file is written beside
 * the old one and takes its name, so that nobody ever reads half of one.
 */
#include "tieline/token_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tieline/err.h"

#define FILE_MAX 8192
#define PATH_MAX_LEN 4096

static int fail(struct tl_token_keys_error *err, int rc, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(struct tl_token_keys_error *err, int rc, int line, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(err->text, sizeof(err->text), fmt, ap);
  va_end(ap);
  err->line = line;
  return rc;
}

/* ---- life ---- */

static bool draw_bytes(uint8_t *out, size_t n) { return getrandom(out, n, 0) == (ssize_t)n; }

static struct tl_token_keys *alloc_keys(void) {
  struct tl_token_keys *k = calloc(1, sizeof(*k));
  if (k) atomic_init(&k->refs, 1);
  return k;
}

struct tl_token_keys *tl_token_keys_new(void) {
  struct tl_token_keys *k = alloc_keys();
  if (!k) return NULL;
  k->n = 1;
  k->key[0].id = 1;
  if (draw_bytes(k->seed, sizeof(k->seed)) && draw_bytes(k->key[0].key, TL_TOKEN_KEY_LEN)) return k;
  tl_token_keys_unref(k);
  return NULL;
}

struct tl_token_keys *tl_token_keys_ref(struct tl_token_keys *k) {
  atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
  return k;
}

void tl_token_keys_unref(struct tl_token_keys *k) {
  if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1) return;
  explicit_bzero(k, sizeof(*k));
  free(k);
}

/* ---- finding ---- */

static size_t index_of(const struct tl_token_keys *k, unsigned id) {
  size_t i = 0;
  while (i < k->n && k->key[i].id != id) i++;
  return i;
}

/* Was the successor of key I begun so long ago that no call under key I can be up? */
static bool is_over(const struct tl_token_keys *k, size_t i, int64_t now_s, int64_t keep_s) {
  return i + 1 < k->n && k->key[i + 1].begin_s < now_s - keep_s;
}

const struct tl_token_key *tl_token_keys_find(const struct tl_token_keys *k, unsigned id,
                                              int64_t now_s, int64_t keep_s) {
  size_t i = index_of(k, id);
  return i < k->n && !is_over(k, i, now_s, keep_s) ? &k->key[i] : NULL;
}

/* ---- reading ---- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

static bool read_hex(const char *text, uint8_t out[TL_TOKEN_KEY_LEN]) {
  if (strlen(text) != 2 * TL_TOKEN_KEY_LEN) return false;
  for (size_t i = 0; i < TL_TOKEN_KEY_LEN; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static bool read_time(const char *text, int64_t *out) {
  struct tm tm = {0};
  const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (!end || *end) return false;
  *out = timegm(&tm);
  return true;
}

/* Keys stand by their begin. */
static void insert_key(struct tl_token_keys *k, const struct tl_token_key *new) {
  size_t i = k->n++;
  for (; i > 0 && k->key[i - 1].begin_s > new->begin_s; i--) k->key[i] = k->key[i - 1];
  k->key[i] = *new;
}

static int take_key(struct tl_token_keys *k, char *const word[5], int line,
                    struct tl_token_keys_error *err) {
  struct tl_token_key new = {0};
  int id = word[1] && strlen(word[1]) == 1 ? hex_digit(word[1][0]) : -1;
  if (id < 0) return fail(err, TL_ECONFIG, line, "a key has an id of one hex digit");
  if (!word[2] || !read_time(word[2], &new.begin_s))
    return fail(err, TL_ECONFIG, line, "key %x has no begin such as 2026-01-31T12:00:00Z", id);
  if (!word[3] || word[4] || !read_hex(word[3], new.key))
    return fail(err, TL_ECONFIG, line, "key %x has not %d hex digits in lower case", id,
                2 * TL_TOKEN_KEY_LEN);
  if (index_of(k, (unsigned)id) < k->n)
    return fail(err, TL_ECONFIG, line, "there is already a key %x", id);
  for (size_t i = 0; i < k->n; i++)
    if (k->key[i].begin_s == new.begin_s)
      return fail(err, TL_ECONFIG, line, "key %x begins when key %x does: which one signs?", id,
                  k->key[i].id);
  new.id = (uint8_t)id;
  insert_key(k, &new);
  explicit_bzero(&new, sizeof(new));
  return TL_OK;
}

static int take_line(struct tl_token_keys *k, char *text, int line, bool *has_seed,
                     struct tl_token_keys_error *err) {
  char *word[5] = {NULL}, *save = NULL;
  text[strcspn(text, "#\r")] = '\0';
  for (int i = 0; i < 5 && (word[i] = strtok_r(i ? NULL : text, " \t", &save)); i++) {
  }
  if (!word[0]) return TL_OK;
  if (strcmp(word[0], "key") == 0) return take_key(k, word, line, err);
  if (strcmp(word[0], "seed") != 0)
    return fail(err, TL_ECONFIG, line, "a line begins with seed or key, not \"%.20s\"", word[0]);
  if (*has_seed) return fail(err, TL_ECONFIG, line, "there is already a seed");
  *has_seed = true;
  if (word[1] && !word[2] && read_hex(word[1], k->seed)) return TL_OK;
  return fail(err, TL_ECONFIG, line, "seed has not %d hex digits in lower case",
              2 * TL_TOKEN_KEY_LEN);
}

static int parse_text(char *text, struct tl_token_keys *k, struct tl_token_keys_error *err) {
  bool has_seed = false;
  int rc = TL_OK, number = 0;
  for (char *line = text, *next; line && rc == TL_OK; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = '\0';
    rc = take_line(k, line, ++number, &has_seed, err);
  }
  if (rc == TL_OK && !has_seed) rc = fail(err, TL_ECONFIG, 0, "it has no seed");
  if (rc == TL_OK && !k->n) rc = fail(err, TL_ECONFIG, 0, "it has no key");
  return rc;
}

/* The whole file, terminated; *OUT_STAT is what it is. */
static int read_file(const char *path, char text[FILE_MAX + 1], struct stat *out_stat,
                     struct tl_token_keys_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return fail(err, errno == ENOENT ? TL_ENOTFOUND : TL_ECONFIG, 0, "it cannot be read: %s",
                strerror(errno));
  size_t n = 0;
  ssize_t got = 0;
  int rc = TL_OK;
  if (fstat(fd, out_stat) < 0 || !S_ISREG(out_stat->st_mode))
    rc = fail(err, TL_ECONFIG, 0, "it is no regular file");
  else if (out_stat->st_mode & 077)
    rc = fail(err, TL_ECONFIG, 0, "it is open to others than its owner: chmod 600");
  while (rc == TL_OK && n < FILE_MAX && (got = read(fd, text + n, FILE_MAX - n)) > 0)
    n += (size_t)got;
  if (rc == TL_OK && (got < 0 || n == FILE_MAX))
    rc = fail(err, TL_ECONFIG, 0, got < 0 ? "it cannot be read" : "it is too long");
  text[n] = '\0';
  close(fd);
  if (rc == TL_OK && strlen(text) != n) rc = fail(err, TL_ECONFIG, 0, "it is no text");
  return rc;
}

static int read_keys(const char *path, struct tl_token_keys **out, struct stat *out_stat,
                     struct tl_token_keys_error *err) {
  char text[FILE_MAX + 1];
  struct tl_token_keys *k = alloc_keys();
  if (!k) return fail(err, TL_ENOMEM, 0, "out of memory");
  int rc = read_file(path, text, out_stat, err);
  if (rc == TL_OK) rc = parse_text(text, k, err);
  explicit_bzero(text, sizeof(text));
  k->kept = true;
  if (rc)
    tl_token_keys_unref(k);
  else
    *out = k;
  return rc;
}

int tl_token_keys_read(const char *path, struct tl_token_keys **out,
                       struct tl_token_keys_error *err) {
  struct stat st;
  *out = NULL;
  return read_keys(path, out, &st, err);
}

/* ---- writing ---- */

static size_t put_hex(const uint8_t *bytes, char *out) {
  for (size_t i = 0; i < TL_TOKEN_KEY_LEN; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
  return 2 * TL_TOKEN_KEY_LEN;
}

static size_t print_keys(const struct tl_token_keys *k, char out[FILE_MAX]) {
  size_t n = (size_t)snprintf(out, FILE_MAX,
                              "# Keys of the tokens that tieline writes into Record-Route: who "
                              "has them can forge tokens.\n# `tieline pki token-key` adds one.\n"
                              "seed ");
  n += put_hex(k->seed, out + n);
  out[n++] = '\n';
  for (size_t i = 0; i < k->n; i++) {
    const time_t begin = (time_t)k->key[i].begin_s;
    struct tm tm;
    n += (size_t)snprintf(out + n, FILE_MAX - n, "key %x ", k->key[i].id);
    n += strftime(out + n, FILE_MAX - n, "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&begin, &tm));
    n += put_hex(k->key[i].key, out + n);
    out[n++] = '\n';
  }
  return n;
}

static bool write_all(int fd, const char *text, size_t n) {
  while (n) {
    ssize_t k = write(fd, text, n);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return false;
    text += k;
    n -= (size_t)k;
  }
  return fsync(fd) == 0;
}

/* The directory of PATH: only then is the new name on the disk. */
static void sync_directory(const char *path) {
  char dir[PATH_MAX_LEN];
  const char *slash = strrchr(path, '/');
  int n = slash ? (int)(slash - path) : 0;
  snprintf(dir, sizeof(dir), "%.*s", n ? n : 1, n ? path : slash ? "/" : ".");
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

/* K beside PATH, in file TMP, whose name is made here. */
static int write_beside(const char *path, const struct tl_token_keys *k, uid_t owner, gid_t group,
                        char tmp[PATH_MAX_LEN], struct tl_token_keys_error *err) {
  char text[FILE_MAX];
  const int len = snprintf(tmp, PATH_MAX_LEN, "%s.XXXXXX", path);
  if (len < 0 || len >= PATH_MAX_LEN) return fail(err, TL_EINVAL, 0, "its name is too long");
  int fd = mkostemp(tmp, O_CLOEXEC); /* mode 0600 */
  if (fd < 0) return fail(err, TL_EIO, 0, "it cannot be made: %s", strerror(errno));
  bool ok =
      (geteuid() != 0 || fchown(fd, owner, group) == 0) && write_all(fd, text, print_keys(k, text));
  int rc = ok ? TL_OK : fail(err, TL_EIO, 0, "it cannot be written: %s", strerror(errno));
  explicit_bzero(text, sizeof(text));
  close(fd);
  if (rc) unlink(tmp);
  return rc;
}

int tl_token_keys_write_new(const char *path, const struct tl_token_keys *k, uid_t owner,
                            gid_t group, struct tl_token_keys_error *err) {
  char tmp[PATH_MAX_LEN];
  int rc = write_beside(path, k, owner, group, tmp, err);
  if (rc) return rc;
  /* Unlike rename, link leaves a file alone that another process has made meanwhile. */
  if (link(tmp, path) < 0)
    rc = errno == EEXIST ? fail(err, TL_EEXIST, 0, "there is one already")
                         : fail(err, TL_EIO, 0, "it cannot be made: %s", strerror(errno));
  unlink(tmp);
  if (rc == TL_OK) sync_directory(path);
  return rc;
}

static void drop_old(struct tl_token_keys *k, int64_t now_s, int64_t keep_s) {
  size_t over = 0;
  while (is_over(k, over, now_s, keep_s)) over++;
  memmove(k->key, k->key + over, (k->n - over) * sizeof(k->key[0]));
  k->n -= over;
}

/* The next digit behind that of the newest key which no key has. */
static int free_id(const struct tl_token_keys *k, uint8_t *out) {
  const unsigned last = k->key[k->n - 1].id;
  for (unsigned i = 1; i <= TL_TOKEN_KEYS_MAX; i++) {
    const unsigned id = (last + i) % TL_TOKEN_KEYS_MAX;
    if (index_of(k, id) < k->n) continue;
    *out = (uint8_t)id;
    return TL_OK;
  }
  return TL_ELIMIT;
}

static int add_key(struct tl_token_keys *k, int64_t begin_s, uint8_t *out_id,
                   struct tl_token_keys_error *err) {
  struct tl_token_key new = {.begin_s = begin_s};
  if (free_id(k, &new.id))
    return fail(err, TL_ELIMIT, 0, "it has %d keys in force: wait until one is old enough",
                TL_TOKEN_KEYS_MAX);
  for (size_t i = 0; i < k->n; i++)
    if (k->key[i].begin_s == begin_s)
      return fail(err, TL_EEXIST, 0, "key %x begins at that time", k->key[i].id);
  if (!draw_bytes(new.key, sizeof(new.key))) return fail(err, TL_EIO, 0, "no random numbers");
  *out_id = new.id;
  insert_key(k, &new);
  explicit_bzero(&new, sizeof(new));
  return TL_OK;
}

/* A first key may sign at once, whatever BEGIN_S says. */
static int make_first(const char *path, uint8_t *out_id, struct tl_token_keys_error *err) {
  struct tl_token_keys *k = tl_token_keys_new();
  if (!k) return fail(err, TL_ENOMEM, 0, "out of memory");
  int rc = tl_token_keys_write_new(path, k, geteuid(), getegid(), err);
  *out_id = k->key[0].id;
  tl_token_keys_unref(k);
  return rc;
}

int tl_token_keys_add(const char *path, int64_t begin_s, int64_t now_s, int64_t keep_s,
                      uint8_t *out_id, struct tl_token_keys_error *err) {
  char tmp[PATH_MAX_LEN];
  struct tl_token_keys *k = NULL;
  struct stat st = {.st_mode = 0};
  int rc = read_keys(path, &k, &st, err);
  if (rc == TL_ENOTFOUND) return make_first(path, out_id, err);
  if (rc || !k) return rc;
  drop_old(k, now_s, keep_s);
  rc = add_key(k, begin_s, out_id, err);
  if (rc == TL_OK) rc = write_beside(path, k, st.st_uid, st.st_gid, tmp, err);
  if (rc == TL_OK && rename(tmp, path) < 0) {
    rc = fail(err, TL_EIO, 0, "it cannot be replaced: %s", strerror(errno));
    unlink(tmp);
  }
  if (rc == TL_OK) sync_directory(path);
  tl_token_keys_unref(k);
  return rc;
}
