/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an SSL object to the handshake that owns it: how OpenSSL's callbacks find
 * theirs.
 */
#include <pthread.h>

#include "tls/handshake.h"

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int ex_index = -1;

static void make_index(void) { ex_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

int tl_hs_own_ssl(struct tl_hs *hs) {
  pthread_once(&index_once, make_index);
  return ex_index >= 0 && SSL_set_ex_data(hs->ssl, ex_index, hs) == 1 ? 0 : TL_ENOMEM;
}

struct tl_hs *tl_hs_of_ssl(const SSL *ssl) {
  return SSL_get_ex_data(ssl, ex_index);
}
