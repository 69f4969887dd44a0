/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an SSL object to the handshake that owns it: how OpenSSL's callbacks find
 * theirs.
 */
#include "tieline/once.h"
#include "tls/handshake.h"

static struct tl_once index_once = TL_ONCE_INIT;
static int ex_index = -1;

static bool make_index(void) {
  return (ex_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL)) >= 0;
}

int tl_hs_own_ssl(struct tl_hs *hs) {
  return tl_once(&index_once, make_index) && SSL_set_ex_data(hs->ssl, ex_index, hs) == 1
             ? 0
             : TL_ENOMEM;
}

struct tl_hs *tl_hs_of_ssl(const SSL *ssl) {
  return SSL_get_ex_data(ssl, ex_index);
}
