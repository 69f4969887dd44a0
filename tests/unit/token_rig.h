/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy with all that tokens ask of it: the secret of the process, and a view with the keys that
 * outlive it. No network, no configuration.
 *
 * Ownership: static. Threads: one. Errors: none.
 */
#pragma once

#include "proxy/proxy.h"
#include "tieline/token_keys.h"
#include "tieline/view.h"

struct token_rig {
  struct tl_proxy px;
  struct tl_runtime rt;
  struct tl_net_head head;
  struct tl_view view;
  struct tl_conf conf;
  struct tl_token_keys keys;
};

/* Key 1 has begun, key 2 begins in an hour; everything else follows from SEED. */
static inline void token_rig_begin(struct token_rig *r, unsigned seed, int64_t now_s) {
  memset(r, 0, sizeof(*r));
  for (unsigned i = 0; i < sizeof(r->rt.secret); i++) r->rt.secret[i] = (uint8_t)(i * 37 + seed);
  r->rt.incarnation = seed;
  r->keys.n = 2;
  r->keys.key[0].id = 1;
  r->keys.key[1].id = 2;
  r->keys.key[1].begin_s = now_s + 3600;
  for (unsigned i = 0; i < TL_TOKEN_KEY_LEN; i++) {
    r->keys.seed[i] = (uint8_t)(i * 11 + seed);
    r->keys.key[0].key[i] = (uint8_t)(i * 13 + seed);
    r->keys.key[1].key[i] = (uint8_t)(i * 17 + seed);
  }
  r->conf.opt.call_max_ms = 43200000;
  r->conf.token_keys = &r->keys;
  r->view.conf = &r->conf;
  r->head.view = &r->view;
  r->px.net = (struct tl_net *)&r->head;
  r->px.th.rt = &r->rt;
  r->px.th.index = 3;
}
