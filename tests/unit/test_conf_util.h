/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the configuration share: a directory of their own, files and
 * certificates in it, and a load whose complaints are kept.
 *
 * Ownership: conf_try_free frees a try. Threads: one. Errors: abort the test.
 */
#pragma once

#include <sys/types.h>

#include "tieline/err.h"
#include "tieline/runtime.h"
#include "tieline/view.h"

#define CONF_COMPLAINTS 16

struct conf_try {
  int rc;
  struct tl_conf *conf;                  /* a reference of its own */
  struct tl_view *view;                  /* as conf_view */
  unsigned n;                            /* complaints, all of them */
  char complaint[CONF_COMPLAINTS][1024]; /* "file:line: sentence", FILE without directory */
};

/* Suite hooks: make and remove the directory, which is the state directory, too. */
void conf_setup(void);
void conf_teardown(void);
/* Name of FILE in the directory; constant until the next call but seven. */
const char *conf_path(const char *file);
void conf_write(const char *file, const char *text);
/* NAME.pem, self-signed for NAME with serial SERIAL, and NAME.key of MODE. */
void conf_certificate(const char *name, long serial, mode_t mode);
/* FILE: an empty revocation list signed with NAME.key. */
void conf_crl(const char *name, const char *file);
/* Loads TEXT as "t.conf". */
struct conf_try conf_try(const char *text, const struct tl_conf *previous);
/* Loads a file of the tree or of the directory. */
struct conf_try conf_try_file(const char *path, const struct tl_conf *previous);
void conf_try_free(struct conf_try *t);
/* Drops the reference to C and its view. */
void conf_drop(struct tl_conf *c);
/* C with its peers and routes; until conf_drop or conf_teardown. */
struct tl_view *conf_view(const struct tl_conf *c);
/* The same as the threads of RT see it; RT->view is the caller's. */
void conf_publish(struct tl_runtime *rt, const struct tl_conf *c);
/* The configuration as printed; free it. */
char *conf_printed(const struct tl_conf *c, bool explain);
/* Copies a file of the tree into the directory, as "t.conf", and loads that. */
struct conf_try conf_try_sample(const char *path);
/* Does one complaint of T contain WANT? */
bool conf_complains(const struct conf_try *t, const char *want);
