/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the laboratory authority: names that stay in their directory, keys
 * that nobody else can read, files that appear whole or not at all.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pki/pki_internal.h"
#include "tieline/err.h"

int tl_pki_fail(int code, const char *fmt, ...) {
  va_list ap;
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  fputs("tieline pki: ", stderr);
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  if (reason)
    fprintf(stderr, ": %s\n", reason);
  else
    fputc('\n', stderr);
  ERR_clear_error();
  return code;
}

static bool name_ok(const char *name) {
  const size_t n = strlen(name);
  if (n == 0 || n > 200 || name[0] == '.' || name[0] == '-') return false;
  for (size_t i = 0; i < n; i++)
    if (!isalnum((unsigned char)name[i]) && !strchr("._-+@", name[i])) return false;
  return true;
}

int tl_pki_path(const char *dir, const char *name, const char *suffix, char out[TL_PKI_PATH]) {
  if (!name_ok(name))
    return tl_pki_fail(TL_EINVAL, "\"%s\" cannot be a file name; use letters, digits and . _ - + @",
                       name);
  int n = snprintf(out, TL_PKI_PATH, "%s/%s%s", dir, name, suffix);
  if (n < 0 || n >= TL_PKI_PATH) return tl_pki_fail(TL_EINVAL, "the path %s is too long", dir);
  return TL_OK;
}

int tl_pki_directory(const char *dir) {
  struct stat st;
  if (mkdir(dir, 0755) < 0 && errno != EEXIST)
    return tl_pki_fail(TL_EIO, "%s: %s", dir, strerror(errno));
  if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
    return tl_pki_fail(TL_EIO, "%s is not a directory", dir);
  return TL_OK;
}

int tl_pki_free_to_write(const char *path, bool force) {
  struct stat st;
  if (force || lstat(path, &st) < 0) return TL_OK;
  return tl_pki_fail(TL_EEXIST, "%s is there already; --force replaces it, --name chooses another",
                     path);
}

/* A file beside PATH that only we can read. */
static BIO *begin_file(const char *path, char tmp[TL_PKI_PATH + 8]) {
  snprintf(tmp, TL_PKI_PATH + 8, "%s.XXXXXX", path);
  int fd = mkostemp(tmp, O_CLOEXEC);
  BIO *b = fd >= 0 ? BIO_new_fd(fd, BIO_CLOSE) : NULL;
  if (b) return b;
  tl_pki_fail(TL_EIO, "%s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  return NULL;
}

/* Without FORCE, a file that appeared in the meantime is left alone: link(2) replaces nothing. */
static int name_it(const char *tmp, const char *path, bool force) {
  if (force) return rename(tmp, path);
  return link(tmp, path) < 0 ? -1 : unlink(tmp);
}

static int finish_file(BIO *b, bool ok, const char *tmp, const char *path, mode_t mode,
                       bool force) {
  int fd = -1, rc = TL_OK;
  BIO_get_fd(b, &fd);
  if (!ok)
    rc = tl_pki_fail(TL_EIO, "%s could not be written", path);
  else if (fchmod(fd, mode) < 0 || fsync(fd) < 0 || name_it(tmp, path, force) < 0)
    rc = tl_pki_fail(TL_EIO, "%s: %s", path, strerror(errno));
  BIO_free(b);
  if (rc) unlink(tmp);
  return rc;
}

int tl_pki_write_key(const char *path, EVP_PKEY *key, bool force) {
  char tmp[TL_PKI_PATH + 8];
  BIO *b = begin_file(path, tmp);
  if (!b) return TL_EIO;
  bool ok = PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
  return finish_file(b, ok, tmp, path, 0600, force);
}

int tl_pki_write_chain(const char *path, STACK_OF(X509) * chain, bool force) {
  char tmp[TL_PKI_PATH + 8];
  BIO *b = begin_file(path, tmp);
  bool ok = true;
  if (!b) return TL_EIO;
  for (int i = 0; ok && i < sk_X509_num(chain); i++)
    ok = PEM_write_bio_X509(b, sk_X509_value(chain, i)) == 1;
  return finish_file(b, ok, tmp, path, 0644, force);
}

int tl_pki_write_crl(const char *path, X509_CRL *crl) {
  char tmp[TL_PKI_PATH + 8];
  BIO *b = begin_file(path, tmp);
  if (!b) return TL_EIO;
  return finish_file(b, PEM_write_bio_X509_CRL(b, crl) == 1, tmp, path, 0644, true);
}

int tl_pki_write_text(const char *path, const BIO *mem) {
  char tmp[TL_PKI_PATH + 8], *p;
  long n = BIO_get_mem_data((BIO *)(uintptr_t)mem, &p);
  BIO *b = begin_file(path, tmp);
  if (!b) return TL_EIO;
  return finish_file(b, n == 0 || BIO_write(b, p, (int)n) == n, tmp, path, 0644, true);
}

static BIO *open_to_read(const char *path) {
  BIO *b = BIO_new_file(path, "r");
  if (b) return b;
  ERR_clear_error();
  tl_pki_fail(TL_ENOTFOUND, "%s: %s", path, strerror(errno));
  return NULL;
}

STACK_OF(X509) * tl_pki_read_chain(const char *path) {
  STACK_OF(X509) *chain = sk_X509_new_null();
  BIO *b = open_to_read(path);
  bool room = true;
  for (X509 *x; b && room && (x = PEM_read_bio_X509(b, NULL, NULL, NULL));)
    if (!(room = sk_X509_push(chain, x) > 0)) X509_free(x);
  room = room && ERR_GET_REASON(ERR_peek_last_error()) != ERR_R_MALLOC_FAILURE;
  ERR_clear_error(); /* OpenSSL reports the end of the file as an error */
  BIO_free(b);
  if (room && sk_X509_num(chain) > 0) return chain;
  if (!room)
    tl_pki_fail(TL_ENOMEM, "%s: %s", path, tl_strerror(TL_ENOMEM));
  else if (b)
    tl_pki_fail(TL_ESYNTAX, "%s holds no certificate", path);
  sk_X509_pop_free(chain, X509_free);
  return NULL;
}

X509 *tl_pki_read_cert(const char *path) {
  STACK_OF(X509) *chain = tl_pki_read_chain(path);
  X509 *x = chain ? sk_X509_shift(chain) : NULL;
  sk_X509_pop_free(chain, X509_free);
  return x;
}

EVP_PKEY *tl_pki_read_key(const char *path) {
  BIO *b = open_to_read(path);
  EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
  if (b && !key) tl_pki_fail(TL_ESYNTAX, "%s holds no private key", path);
  BIO_free(b);
  return key;
}

int tl_pki_authority_open(const char *dir, const char *name, struct tl_pki_authority *out) {
  char pem[TL_PKI_PATH], key[TL_PKI_PATH];
  *out = (struct tl_pki_authority){.dir = dir, .name = name};
  if (tl_pki_path(dir, name, ".pem", pem) || tl_pki_path(dir, name, ".key", key)) return TL_EINVAL;
  if (access(pem, F_OK) < 0)
    return tl_pki_fail(TL_ENOTFOUND, "there is no authority %s; `tieline pki root-ca` makes one",
                       pem);
  out->chain = tl_pki_read_chain(pem);
  out->x = out->chain ? sk_X509_value(out->chain, 0) : NULL;
  out->key = out->x ? tl_pki_read_key(key) : NULL;
  int rc = out->key ? TL_OK : TL_ENOTFOUND;
  if (rc == 0 && X509_check_private_key(out->x, out->key) != 1)
    rc = tl_pki_fail(TL_EINVAL, "%s is not the key of %s", key, pem);
  else if (rc == 0 && !(X509_get_extension_flags(out->x) & EXFLAG_CA))
    rc = tl_pki_fail(TL_EINVAL, "%s is not an authority: it may not sign certificates", pem);
  if (rc) tl_pki_authority_close(out);
  return rc;
}

void tl_pki_authority_close(struct tl_pki_authority *a) {
  sk_X509_pop_free(a->chain, X509_free);
  EVP_PKEY_free(a->key);
  a->chain = NULL;
  a->key = NULL;
  a->x = NULL;
}
