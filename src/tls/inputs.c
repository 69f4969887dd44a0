/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator names becomes certificates and keys: a file, PEM text that
 * stands in the configuration itself, or a URI for OpenSSL's stores (pkcs11: of
 * a provider, file:). Keys may be encrypted with a passphrase from a file; no
 * terminal is ever asked. What the contents mean is credentials.c's and
 * domain_files.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls/internal.h"

#define PASSPHRASE_MAX 1024

bool tl_input_is_pem(const char *input) { return strncmp(input, "-----BEGIN ", 11) == 0; }

static bool is_uri(const char *input) {
  size_t n = strspn(input, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
  return n > 1 && input[n] == ':';
}

const char *tl_input_label(const char *input) {
  return tl_input_is_pem(input) ? "the PEM text" : input;
}

int tl_input_no_password(char *buf, int size, int rwflag, void *arg) {
  (void)buf, (void)size, (void)rwflag, (void)arg;
  return 0;
}

BIO *tl_input_open(const char *input, const char *option, struct stat *st, struct tl_blame *b) {
  memset(st, 0, sizeof(*st));
  if (tl_input_is_pem(input)) return BIO_new_mem_buf(input, -1);
  errno = 0;
  int fd = open(input, O_RDONLY | O_CLOEXEC);
  FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
  if (!f || fstat(fd, st) != 0 || S_ISDIR(st->st_mode)) {
    tl_blame(b, option, "cannot read %s: %s", input,
             f && errno == 0 ? "it is a directory" : strerror(errno));
    if (f)
      fclose(f);
    else if (fd >= 0)
      close(fd);
    return NULL;
  }
  BIO *bio = BIO_new_fp(f, BIO_CLOSE);
  if (!bio) fclose(f);
  return bio;
}

/* PEM reading stops with "no start line" at the end of a good file. */
bool tl_input_at_end(void) {
  unsigned long e = ERR_peek_last_error();
  bool end = e == 0 || (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE);
  if (end) ERR_clear_error();
  return end;
}

static int check_mode(const char *file, const struct stat *st, const char *option,
                      const struct tl_tls_options *o, struct tl_blame *b) {
  if (!(st->st_mode & S_IRWXO) || o->allow_readable_key) return 0;
  return tl_blame(b, option,
                  "%s is open to every user of this machine (mode %03o): chmod o-rwx it, or set "
                  "allow_readable_key = true",
                  file, (unsigned)st->st_mode & 0777);
}

/* The passphrase for one key, and whether it was asked for. */
struct passphrase {
  char text[PASSPHRASE_MAX];
  int n; /* 0: there is none */
  bool asked;
};

static int on_passphrase(char *buf, int size, int rwflag, void *arg) {
  struct passphrase *p = arg;
  (void)rwflag;
  p->asked = true;
  if (p->n > size) return 0;
  memcpy(buf, p->text, (size_t)p->n);
  return p->n;
}

/* The first line of the file, without its end. */
static int read_passphrase(const struct tl_tls_options *o, struct passphrase *p,
                           struct tl_blame *b) {
  static const char option[] = "private_key_passphrase_file";
  struct stat st;
  if (!o->passphrase_file) return 0;
  BIO *bio = tl_input_open(o->passphrase_file, option, &st, b);
  if (!bio) return TL_ECONFIG;
  int rc = check_mode(o->passphrase_file, &st, option, o, b);
  int n = rc == 0 ? BIO_gets(bio, p->text, sizeof(p->text)) : 0;
  BIO_free(bio);
  if (rc) return rc;
  while (n > 0 && (p->text[n - 1] == '\n' || p->text[n - 1] == '\r')) n--;
  if (n <= 0)
    return tl_blame(b, option, "%s holds no passphrase in its first line", o->passphrase_file);
  p->n = n;
  return 0;
}

static EVP_PKEY *from_store(const char *uri, struct passphrase *p) {
  UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(on_passphrase, 0);
  OSSL_STORE_CTX *store = ui ? OSSL_STORE_open(uri, ui, p, NULL, NULL) : NULL;
  EVP_PKEY *key = NULL;
  while (store && !key && !OSSL_STORE_eof(store)) {
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
      key = OSSL_STORE_INFO_get1_PKEY(info);
    OSSL_STORE_INFO_free(info);
    if (!info && OSSL_STORE_error(store)) break;
  }
  OSSL_STORE_close(store);
  UI_destroy_method(ui);
  return key;
}

/* The file behind a file: URI is judged like one that is named plainly. */
static int check_uri(const char *uri, const struct tl_tls_options *o, struct tl_blame *b) {
  struct stat st;
  const char *path = strncmp(uri, "file:", 5) == 0 ? uri + 5 : NULL;
  if (!path) return 0;
  if (strncmp(path, "//localhost/", 12) == 0) path += 11;
  if (strncmp(path, "///", 3) == 0) path += 2;
  if (stat(path, &st) != 0)
    return tl_blame(b, "private_key", "cannot read %s: %s", uri, strerror(errno));
  return check_mode(path, &st, "private_key", o, b);
}

static int blame_key(const char *input, const struct tl_tls_options *o, const struct passphrase *p,
                     struct tl_blame *b) {
  const char *what = tl_input_label(input);
  if (p->asked && !p->n)
    return tl_blame(b, "private_key",
                    "%s holds no private key that can be read without a password: set "
                    "private_key_passphrase_file",
                    what);
  if (p->asked)
    return tl_blame(b, "private_key_passphrase_file", "the passphrase in %s does not open %s: %s",
                    o->passphrase_file, what, tl_blame_reason());
  return tl_blame(b, "private_key", "%s holds no private key in PEM form: %s", what,
                  tl_blame_reason());
}

int tl_input_key(const char *input, const struct tl_tls_options *o, EVP_PKEY **out,
                 struct tl_blame *b) {
  struct passphrase p = {.n = 0};
  struct stat st;
  BIO *bio = NULL;
  int rc = read_passphrase(o, &p, b);
  if (rc) goto out;
  if (!tl_input_is_pem(input) && is_uri(input)) {
    if ((rc = check_uri(input, o, b))) goto out;
    *out = from_store(input, &p);
  } else {
    if (!(bio = tl_input_open(input, "private_key", &st, b))) {
      rc = TL_ECONFIG;
      goto out;
    }
    if ((rc = check_mode(input, &st, "private_key", o, b))) goto out;
    *out = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &p);
  }
  if (!*out) rc = blame_key(input, o, &p, b);
out:
  OPENSSL_cleanse(&p, sizeof(p));
  BIO_free(bio);
  return rc;
}
