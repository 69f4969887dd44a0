/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator names, as bytes: a file, or PEM text in the configuration
 * itself. Private keys are input_keys.c's; credentials_load.c and domain_files.c
 * interpret the contents.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls/tls_internal.h"

bool tl_input_is_pem(const char *input) { return strncmp(input, "-----BEGIN ", 11) == 0; }

const char *tl_input_label(const char *input) {
  return tl_input_is_pem(input) ? "the PEM text" : input;
}

int tl_input_no_password(char *buf, int size, int rwflag, void *arg) {
  (void)buf, (void)size, (void)rwflag, (void)arg;
  return 0;
}

int tl_input_open(const char *input, const char *option, struct stat *st, BIO **out,
                  struct tl_blame *b) {
  memset(st, 0, sizeof(*st));
  if (tl_input_is_pem(input)) return (*out = BIO_new_mem_buf(input, -1)) ? TL_OK : TL_ENOMEM;
  *out = NULL;
  errno = 0;
  int fd = open(input, O_RDONLY | O_CLOEXEC);
  FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
  if (!f || fstat(fd, st) != 0 || S_ISDIR(st->st_mode)) {
    int rc = tl_blame_option(b, option, "cannot read %s: %s", input,
                             f && errno == 0 ? "it is a directory" : strerror(errno));
    if (f)
      fclose(f);
    else if (fd >= 0)
      close(fd);
    return rc;
  }
  if (!(*out = BIO_new_fp(f, BIO_CLOSE))) fclose(f);
  return *out ? TL_OK : TL_ENOMEM;
}

int tl_input_chain(BIO *bio, X509 **out_leaf, STACK_OF(X509) * chain) {
  X509 *x;
  tl_blame_begin();
  while ((x = PEM_read_bio_X509(bio, NULL, tl_input_no_password, NULL))) {
    if (!*out_leaf) {
      *out_leaf = x;
    } else if (!sk_X509_push(chain, x)) {
      X509_free(x);
      return TL_ENOMEM;
    }
  }
  return errno == ENOMEM ? TL_ENOMEM : TL_OK; /* the queue is the caller's */
}

/* PEM reading stops with "no start line" at the regular end of a file. */
bool tl_input_at_end(void) {
  unsigned long e = ERR_peek_last_error();
  bool end = e == 0 || (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE);
  if (end) ERR_clear_error();
  return end;
}
