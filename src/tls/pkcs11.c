/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of a PKCS#11 token, through libp11's engine "pkcs11". OpenSSL 3 calls
 * engines deprecated, but where no provider for PKCS#11 is packaged (Debian 12)
 * they are the only way to a token: only this file uses them, and without them
 * (OPENSSL_NO_ENGINE) it still says what is missing. If a provider is loaded,
 * input_keys.c uses that and does not come here. pkcs11_uri.c reads the URIs.
 *
 * There is one engine per process. libp11 opens a session for each signature and
 * waits when the token has no more, so that handshake threads sign in parallel.
 * Keys are loaded by one thread at a time: the engine keeps one PIN until the
 * next.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "tls/pkcs11.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ui.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef OPENSSL_NO_ENGINE
#include <openssl/engine.h>

/* PKCS#11 v2.40, return values: the reasons in libp11's errors. */
enum {
  CKR_PIN_INCORRECT = 0xa0,
  CKR_PIN_INVALID = 0xa1,
  CKR_PIN_LEN_RANGE = 0xa2,
  CKR_PIN_LOCKED = 0xa4,
};

static struct {
  pthread_mutex_t mu;
  ENGINE *engine;    /* NULL until the first key */
  UI_METHOD *silent; /* never asks; the engine keeps it, so it lives as long */
  char *module;      /* what the engine was opened with; NULL: p11-kit's, which lists all modules */
} token = {.mu = PTHREAD_MUTEX_INITIALIZER};

/* At exit, but before OpenSSL and the token's library clean up: closing sessions after that would
 * touch freed memory. Exit handlers run in reverse order of registration, and this one is
 * registered after both were loaded. The engine itself stays in memory, or a leak check would
 * report what libp11 keeps in its own variables. */
static void close_engine(void) {
  ENGINE_finish(token.engine);
  UI_destroy_method(token.silent);
  free(token.module);
  token.silent = NULL;
  token.module = NULL;
}

static int same_module(const struct tl_pkcs11_uri *u, struct tl_blame *b) {
  if (!u->module || (token.module && strcmp(token.module, u->module) == 0)) return TL_OK;
  return tl_blame_option(
      b, "private_key",
      "%s: this process has loaded %s already, and takes one module-path only: leave "
      "it out and name both modules in /etc/pkcs11/modules",
      u->shown, token.module ? token.module : "p11-kit's modules");
}

static int open_engine(const struct tl_pkcs11_uri *u, struct tl_blame *b) {
  if (token.engine) return same_module(u, b);
  if (u->module && access(u->module, R_OK) != 0)
    return tl_blame_option(b, "private_key", "%s: cannot read the module %s: %s", u->shown,
                           u->module, strerror(errno));
  ENGINE_load_dynamic();
  ENGINE *e = ENGINE_by_id("pkcs11");
  if (!e)
    return tl_blame_option(
        b, "private_key",
        "%s: OpenSSL has neither a provider nor the engine for PKCS#11: install the "
        "package libengine-pkcs11-openssl",
        u->shown);
  char *module = u->module ? strdup(u->module) : NULL;
  UI_METHOD *silent = UI_UTIL_wrap_read_pem_callback(tl_input_no_password, 0);
  /* What libp11 would write to standard error is in the error queue as well. */
  bool ready =
      silent && (module || !u->module) && ENGINE_ctrl_cmd_string(e, "QUIET", NULL, 1) == 1 &&
      /* Otherwise a key that wants its PIN for each signature asks at the terminal. */
      ENGINE_ctrl_cmd(e, "SET_USER_INTERFACE", 0, silent, NULL, 1) == 1 &&
      (!module || ENGINE_ctrl_cmd_string(e, "MODULE_PATH", module, 0) == 1) && ENGINE_init(e) == 1;
  if (ready) {
    token.engine = e;
    token.silent = silent;
    token.module = module;
    return TL_OK;
  }
  ENGINE_free(e);
  UI_destroy_method(silent);
  free(module);
  return tl_blame_option(b, "private_key", "%s: OpenSSL's engine pkcs11 does not start: %s",
                         u->shown, tl_blame_reason());
}

/* The first reason that the token gave: later ones are consequences. */
static int token_reason(const char **out_text) {
  unsigned long e;
  while ((e = ERR_get_error())) {
    const char *lib = ERR_lib_error_string(e);
    if (!lib || strcmp(lib, "PKCS#11 module") != 0) continue;
    *out_text = ERR_reason_error_string(e);
    return ERR_GET_REASON(e);
  }
  return 0;
}

static int blame_token(const struct tl_pkcs11_uri *u, const struct tl_pkcs11_pin *pin,
                       struct tl_blame *b) {
  const char *text = NULL;
  int reason = token_reason(&text);
  bool of_pin =
      reason == CKR_PIN_INCORRECT || reason == CKR_PIN_INVALID || reason == CKR_PIN_LEN_RANGE;
  if (reason == CKR_PIN_LOCKED)
    return tl_blame_option(
        b, "private_key",
        "%s: the token has locked its PIN after too many wrong ones: unlock it with "
        "its security officer's PIN",
        u->shown);
  if (of_pin && pin->text)
    return tl_blame_option(
        b, pin->option,
        "%s: the token refuses the PIN in %s; after a few wrong ones it may lock "
        "itself",
        u->shown, pin->from);
  if (text && !of_pin)
    return tl_blame_option(b, "private_key", "%s: the token says: %s", u->shown, text);
  return tl_blame_option(
      b, "private_key",
      pin->text ? "%s: no token here has such a private key; `pkcs11-tool --module %s "
                  "-L` lists the tokens, -O their objects"
                : "%s: no private key can be had without a PIN: set "
                  "private_key_passphrase_file, or pin-source in the URI, if token and "
                  "object are right; `pkcs11-tool --module %s -L` lists the tokens",
      u->shown, token.module ? token.module : "p11-kit-proxy.so");
}

static EVP_PKEY *load_key(const struct tl_pkcs11_uri *u, const struct tl_pkcs11_pin *pin) {
  if (pin->text && ENGINE_ctrl_cmd_string(token.engine, "PIN", pin->text, 0) != 1) return NULL;
  EVP_PKEY *key = ENGINE_load_private_key(token.engine, u->path, token.silent, NULL);
  /* libp11 would try the last PIN on the next token as well: an empty one overwrites it. */
  ERR_set_mark();
  if (pin->text) ENGINE_ctrl_cmd_string(token.engine, "PIN", "", 0);
  ERR_pop_to_mark();
  return key;
}

int tl_pkcs11_load(const struct tl_pkcs11_uri *u, const struct tl_pkcs11_pin *pin, EVP_PKEY **out,
                   struct tl_blame *b) {
  pthread_mutex_lock(&token.mu);
  bool first = !token.engine;
  int rc = open_engine(u, b);
  if (rc == 0) {
    *out = load_key(u, pin);
    if (first) atexit(close_engine);
    if (!*out) rc = blame_token(u, pin, b);
  }
  pthread_mutex_unlock(&token.mu);
  return rc;
}

#else

int tl_pkcs11_load(const struct tl_pkcs11_uri *u, const struct tl_pkcs11_pin *pin, EVP_PKEY **out,
                   struct tl_blame *b) {
  (void)pin, (void)out;
  return tl_blame_option(
      b, "private_key",
      "%s: this OpenSSL has no engines: load a provider for PKCS#11 in openssl.cnf", u->shown);
}

#endif

/* ---- does it sign? ---- */

/* RSA-PSS is what TLS 1.3 demands and TLS 1.2 prefers (RFC 8446 4.2.3). */
static bool set_padding(EVP_PKEY_CTX *pctx, const EVP_PKEY *key) {
  return EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA ||
         (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
          EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* A key with CKA_ALWAYS_AUTHENTICATE asks for its PIN before each signature. */
static const char *no_signature(void) {
  const char *why = tl_blame_reason();
  unsigned long e;
  while ((e = ERR_get_error()))
    if (ERR_GET_LIB(e) == ERR_LIB_UI)
      why = "it demands its PIN for every signature, and tieline does not keep it";
  return why;
}

const char *tl_pkcs11_try(EVP_PKEY *key, X509 *leaf) {
  static const unsigned char text[] = "tieline asks the token for a signature";
  unsigned char sig[2048];
  size_t n = sizeof(sig);
  EVP_PKEY_CTX *pctx = NULL;
  EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
  const char *why = "out of memory";
  if (!sign || !verify) goto out;
  bool made = EVP_DigestSignInit(sign, &pctx, EVP_sha256(), NULL, key) == 1 &&
              set_padding(pctx, key) && EVP_DigestSign(sign, sig, &n, text, sizeof(text)) == 1;
  why = made ? NULL : no_signature();
  if (!made) goto out;
  EVP_PKEY *pub = X509_get0_pubkey(leaf);
  bool good = pub && EVP_DigestVerifyInit(verify, &pctx, EVP_sha256(), NULL, pub) == 1 &&
              set_padding(pctx, pub) && EVP_DigestVerify(verify, sig, n, text, sizeof(text)) == 1;
  if (!good) why = "its signature does not fit the certificate";
out:
  EVP_MD_CTX_free(sign);
  EVP_MD_CTX_free(verify);
  return why;
}
