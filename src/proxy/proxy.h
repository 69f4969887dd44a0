/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy of one worker: what its concerns share, and its doors to the network
 * side. Each concern has a header of its own: txn.h, branch.h, plan.h, route.h, source.h ...
 *
 * Ownership: everything belongs to the worker; what is only a pointer here is private to the
 * file named beside it. Threads: the worker's own. Errors: codes of err.h; what a peer must
 * be told is sent as a response.
 */
#pragma once

#include "tieline/net.h"
#include "tieline/pool.h"

/* What is made of a head fits: the largest max_head, and what we add. Unused pages cost nothing. */
#define TL_OUT_MAX ((1u << 20) + 8192)

struct tl_origin;
struct tl_stage;
struct tl_xw_kinds;

struct tl_proxy {
  struct tl_thread th; /* first: runtime.worker points here */
  struct tl_net *net;
  const struct tl_stage *stages;      /* of requests: tl_request_stages */
  const struct tl_xw_kinds *xw_kinds; /* of mail to other workers: tl_xw_all_kinds */
  struct tl_txns *txns;               /* txn.h */
  struct tl_waits *waits;             /* wait_table.h */
  struct tl_branches *branches;       /* branch.h */
  struct tl_pool plans;               /* plan.c */
  struct tl_pool tried;               /* hunt.c: targets of plans that have tried many */
  struct tl_pool saved[3];            /* saved.c: by size; larger messages come from malloc */
  size_t saved_bytes;                 /* of all of them, room in the pools included */
  size_t saved_large;                 /* of those from malloc */
  struct tl_source_table *sources;
  struct tl_token_cache *tokens;
  struct tl_peer_share_table *shares; /* peer_share.c */
  struct tl_call_table *calls;
  struct tl_call_start *starts; /* account.c */
  struct tl_merge_table *merged;
  struct tl_back_search *back;
  struct tl_probe *probes;
  uint64_t probed_generation; /* peer_probe.c: of the peers that they are for */
  char out[TL_OUT_MAX];       /* a message made here, between building and sending it */
};

/* proxy.c: what the network side hands up. */
extern const struct tl_net_handler tl_proxy_handler;
/* P has its thread and its network side; tables are made. TL_ENOMEM. */
int tl_proxy_init(struct tl_proxy *p);
/* Ends all transactions without an answer. Before the network side's end, which would tell them. */
void tl_proxy_exit(struct tl_proxy *p);

/* dispatch.c: M has come, from the network or from another worker. */
void tl_proxy_message(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                      const struct tl_body *body);

static inline struct tl_proxy *tl_proxy_of(struct tl_net *n) { return tl_net_head(n)->proxy; }
/* The proxy of the worker that reads a mail. */
static inline struct tl_proxy *tl_proxy_reader(void *reader) { return tl_proxy_of(reader); }
static inline struct tl_counters *tl_proxy_counters(struct tl_proxy *p) { return &p->th.counters; }
