/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which library does the AEAD for record objects made from now on.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "aead.h"

static _Atomic(const struct tl_aead *) current;
static _Atomic(const char *) current_name = "none";
static pthread_mutex_t choose_mu = PTHREAD_MUTEX_INITIALIZER;

int tl_record_backend_set(enum tl_aead_backend b) {
  const struct tl_aead *table = NULL;
  const char *name = "ipsec-mb";
  pthread_mutex_lock(&choose_mu);
  if (b != TL_AEAD_EVP) table = tl_aead_ipsec_mb();
  if (!table && b != TL_AEAD_IPSEC_MB) {
    table = tl_aead_evp();
    name = "OpenSSL EVP";
  }
  if (table) {
    atomic_store(&current_name, name);
    atomic_store(&current, table);
  }
  pthread_mutex_unlock(&choose_mu);
  if (table) return TL_OK;
  return b == TL_AEAD_IPSEC_MB ? TL_ENOTSUP : TL_ENOMEM;
}

const struct tl_aead *tl_aead_current(void) {
  if (!atomic_load(&current)) tl_record_backend_set(TL_AEAD_AUTO);
  return atomic_load(&current);
}

const char *tl_record_backend_name(void) { return atomic_load(&current_name); }
