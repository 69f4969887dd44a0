/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the configuration's tests; the promises stand in the header. */
#include "test_conf_util.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/cert_kit.h"

static char dir[64];

/* Of every configuration loaded since conf_setup. */
static struct tl_view **views;
static unsigned n_view;

void conf_setup(void) {
  snprintf(dir, sizeof(dir), "/tmp/tieline-conf-XXXXXX");
  cr_assert_not_null(mkdtemp(dir));
  setenv("STATE_DIRECTORY", dir, 1); /* else the machine's own token keys would count */
  tl_log_set_level(TL_LOG_ERROR);
}

void conf_teardown(void) {
  while (n_view) tl_view_unref(views[--n_view]);
  free(views);
  views = NULL;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.') unlinkat(dirfd(d), e->d_name, 0);
  if (d) closedir(d);
  rmdir(dir);
  kit_free();
}

const char *conf_path(const char *file) {
  static char path[8][192];
  static unsigned next;
  char *p = path[next++ % 8];
  snprintf(p, sizeof(path[0]), "%s/%s", dir, file);
  return p;
}

void conf_write(const char *file, const char *text) {
  FILE *f = fopen(conf_path(file), "w");
  cr_assert_not_null(f);
  cr_assert_geq(fputs(text, f), 0);
  cr_assert_eq(fclose(f), 0);
}

void conf_certificate(const char *name, long serial, mode_t mode) {
  char file[80], subject[96], alt[96];
  snprintf(subject, sizeof(subject), "CN=%s", name);
  snprintf(alt, sizeof(alt), "subjectAltName=DNS:%s", name);
  struct kit_cert c =
      kit_make(&(struct kit_options){.subject = subject, .serial = serial, .ext = {alt}});
  snprintf(file, sizeof(file), "%s.pem", name);
  kit_write_cert(conf_path(file), &c, NULL);
  snprintf(file, sizeof(file), "%s.key", name);
  kit_write_key(conf_path(file), &c, mode);
}

void conf_crl(const char *name, const char *file) {
  char pem[80], key[80];
  snprintf(pem, sizeof(pem), "%s.pem", name);
  snprintf(key, sizeof(key), "%s.key", name);
  struct kit_cert ca = kit_read(conf_path(pem), conf_path(key));
  kit_write_crl(conf_path(file), &ca, NULL, NULL);
}

static void keep(void *arg, const char *file, int line, const char *sentence) {
  struct conf_try *t = arg;
  const char *slash = strrchr(file, '/');
  if (t->n < CONF_COMPLAINTS)
    snprintf(t->complaint[t->n], sizeof(t->complaint[0]), "%s:%d: %s", slash ? slash + 1 : file,
             line, sentence);
  t->n++;
}

struct tl_view *conf_view(const struct tl_conf *c) {
  for (unsigned i = 0; i < n_view; i++)
    if (views[i]->conf == c) return views[i];
  cr_assert_fail("that configuration was not loaded here");
  return NULL;
}

void conf_publish(struct tl_runtime *rt, const struct tl_conf *c) {
  struct tl_view *v = tl_view_copy(conf_view(c));
  cr_assert_not_null(v);
  tl_runtime_publish(rt, v);
}

struct conf_try conf_try_file(const char *path, const struct tl_conf *previous) {
  struct conf_try t = {0};
  t.rc = tl_conf_load(path, previous ? conf_view(previous) : NULL, keep, &t, &t.view);
  cr_assert_eq(t.rc == 0, t.view != NULL, "a view if and only if it succeeds");
  if (t.view) {
    views = realloc(views, (n_view + 1) * sizeof(struct tl_view *));
    cr_assert_not_null(views);
    views[n_view++] = t.view;
    t.conf = tl_conf_ref(t.view->conf);
  }
  cr_assert_eq(t.rc == 0, t.n == 0, "complaints if and only if it fails: %s", t.complaint[0]);
  return t;
}

struct conf_try conf_try(const char *text, const struct tl_conf *previous) {
  conf_write("t.conf", text);
  return conf_try_file(conf_path("t.conf"), previous);
}

struct conf_try conf_try_sample(const char *path) {
  char text[8192];
  FILE *f = fopen(path, "r");
  cr_assert_not_null(f, "%s: the tests run at the top of the tree", path);
  text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
  fclose(f);
  return conf_try(text, NULL);
}

void conf_drop(struct tl_conf *c) {
  for (unsigned i = 0; i < n_view; i++)
    if (views[i]->conf == c) {
      tl_view_unref(views[i]);
      views[i] = views[--n_view];
    }
  tl_conf_unref(c);
}

void conf_try_free(struct conf_try *t) {
  conf_drop(t->conf);
  t->conf = NULL;
  t->view = NULL;
}

char *conf_printed(const struct tl_conf *c, bool explain) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  cr_assert_not_null(f);
  tl_conf_print(conf_view(c), explain, f);
  fclose(f);
  return text;
}

bool conf_complains(const struct conf_try *t, const char *want) {
  for (unsigned i = 0; i < t->n && i < CONF_COMPLAINTS; i++)
    if (strstr(t->complaint[i], want)) return true;
  return false;
}
