/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OPTIONS that a peer's address is asked by: a transaction like any other, but without a
 * client, whose response ends here.
 *
 * Ownership: the transaction is the worker's; USER hears of its end. Threads: the first worker's.
 * Errors: false: none was begun.
 */
#pragma once

#include <stdbool.h>

#include "txn.h"

struct tl_conf_peer;
struct tl_dest_state;

struct tl_probe_request {
  const struct tl_conf_peer *peer;
  const struct tl_dest_state *dest;
  const struct tl_txn_user *user;
  void *user_data;
  struct tl_txn **txn; /* set before USER can hear of it */
  uint64_t call_id;
  uint32_t cseq;
};

/* Sends it, which may end it at once. */
bool tl_probe_request_send(struct tl_proxy *p, const struct tl_probe_request *r);
