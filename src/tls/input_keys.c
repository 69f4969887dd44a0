/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that an operator names: in a file, as PEM text, or by a URI for
 * OpenSSL's stores (file:, and pkcs11: if a provider takes it; otherwise
 * pkcs11.c does). Keys may be encrypted with a passphrase from a file, which also
 * holds a token's PIN; the terminal is never asked.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>

#include "tls/pkcs11.h"

#define PASSPHRASE_MAX 1024

static bool is_uri(const char *input) {
  size_t n = strspn(input, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
  return n > 1 && input[n] == ':';
}

static int check_mode(const char *file, const struct stat *st, const char *option,
                      const struct tl_tls_options *o, struct tl_blame *b) {
  if (!(st->st_mode & S_IRWXO) || o->allow_readable_key) return TL_OK;
  return tl_blame_option(
      b, option,
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

/* The first line of FILE, without its end. */
static int read_line(const char *file, const char *option, const struct tl_tls_options *o,
                     struct passphrase *p, struct tl_blame *b) {
  struct stat st;
  BIO *bio;
  int rc = tl_input_open(file, option, &st, &bio, b);
  if (rc) return rc;
  rc = check_mode(file, &st, option, o, b);
  int n = rc == 0 ? BIO_gets(bio, p->text, sizeof(p->text)) : 0;
  BIO_free(bio);
  if (rc) return rc;
  while (n > 0 && (p->text[n - 1] == '\n' || p->text[n - 1] == '\r')) n--;
  if (n <= 0) return tl_blame_option(b, option, "%s holds no passphrase in its first line", file);
  p->n = n;
  p->text[n] = '\0';
  return TL_OK;
}

static const char passphrase_option[] = "private_key_passphrase_file";

static int read_passphrase(const struct tl_tls_options *o, struct passphrase *p,
                           struct tl_blame *b) {
  return o->private_key_passphrase_file
             ? read_line(o->private_key_passphrase_file, passphrase_option, o, p, b)
             : TL_OK;
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

/* The file behind a file: URI is checked like one that is named directly. */
static int check_uri(const char *uri, const struct tl_tls_options *o, struct tl_blame *b) {
  struct stat st;
  const char *path = strncmp(uri, "file:", 5) == 0 ? uri + 5 : NULL;
  if (!path) return TL_OK;
  if (strncmp(path, "//localhost/", 12) == 0) path += 11;
  if (strncmp(path, "///", 3) == 0) path += 2;
  if (stat(path, &st) != 0)
    return tl_blame_option(b, "private_key", "cannot read %s: %s", uri, strerror(errno));
  return check_mode(path, &st, "private_key", o, b);
}

static int blame_key(const char *input, const struct tl_tls_options *o, const struct passphrase *p,
                     struct tl_blame *b) {
  const char *what = tl_input_label(input);
  if (p->asked && !p->n)
    return tl_blame_option(b, "private_key",
                           "%s holds no private key that can be read without a password: set "
                           "private_key_passphrase_file",
                           what);
  if (p->asked)
    return tl_blame_option(b, "private_key_passphrase_file",
                           "the passphrase in %s does not open %s: %s",
                           o->private_key_passphrase_file, what, tl_blame_reason());
  return tl_blame_option(b, "private_key", "%s holds no private key in PEM form: %s", what,
                         tl_blame_reason());
}

/* ---- keys of a token ---- */

/* The URI's own PIN takes precedence over the domain's passphrase, which may be for other keys. */
static int find_pin(const struct tl_pkcs11_uri *u, const struct tl_tls_options *o,
                    struct passphrase *p, struct tl_pkcs11_pin *out, struct tl_blame *b) {
  int rc = TL_OK;
  *out = (struct tl_pkcs11_pin){.from = "pin-value", .option = "private_key"};
  if (u->pin) {
    p->n = snprintf(p->text, sizeof(p->text), "%s", u->pin);
    if (p->n >= (int)sizeof(p->text))
      rc = tl_blame_option(b, out->option, "%s: its pin-value is too long", u->shown);
  } else if (u->pin_file) {
    out->from = u->pin_file;
    rc = read_line(u->pin_file, out->option, o, p, b);
  } else if (o->private_key_passphrase_file) {
    out->from = o->private_key_passphrase_file;
    rc = read_line(o->private_key_passphrase_file, out->option = passphrase_option, o, p, b);
  }
  out->text = rc == 0 && p->n ? p->text : NULL;
  return rc;
}

static bool provider_takes_tokens(void) {
  OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(NULL, "pkcs11", NULL);
  OSSL_STORE_LOADER_free(loader);
  ERR_clear_error();
  return loader;
}

static int key_of_token(const char *uri, const struct tl_tls_options *o, EVP_PKEY **out,
                        struct tl_blame *b) {
  struct passphrase p = {.n = 0};
  struct tl_pkcs11_uri u;
  struct tl_pkcs11_pin pin;
  int rc = tl_pkcs11_parse(uri, &u, b);
  if (rc == 0) rc = find_pin(&u, o, &p, &pin, b);
  if (rc == 0 && !provider_takes_tokens()) {
    rc = tl_pkcs11_load(&u, &pin, out, b);
  } else if (rc == 0 && !(*out = from_store(u.bare, &p))) {
    rc = tl_blame_option(b, p.asked && pin.text ? pin.option : "private_key",
                         "%s: OpenSSL's provider for PKCS#11 gives no private key: %s", u.shown,
                         tl_blame_reason());
  }
  OPENSSL_cleanse(&p, sizeof(p));
  tl_pkcs11_clear(&u);
  return rc;
}

int tl_input_key(const char *input, const struct tl_tls_options *o, EVP_PKEY **out,
                 struct tl_blame *b) {
  struct passphrase p = {.n = 0};
  struct stat st;
  BIO *bio = NULL;
  if (tl_tls_uri_of_token(input)) return key_of_token(input, o, out, b);
  int rc = read_passphrase(o, &p, b);
  if (rc) goto out;
  if (!tl_input_is_pem(input) && is_uri(input)) {
    if ((rc = check_uri(input, o, b))) goto out;
    *out = from_store(input, &p);
  } else {
    if ((rc = tl_input_open(input, "private_key", &st, &bio, b))) goto out;
    if ((rc = check_mode(input, &st, "private_key", o, b))) goto out;
    *out = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &p);
  }
  if (!*out) rc = blame_key(input, o, &p, b);
out:
  OPENSSL_cleanse(&p, sizeof(p));
  BIO_free(bio);
  return rc;
}
