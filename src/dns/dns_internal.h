/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the DNS client: dns.c (questions and their waiting
 * callers), dns_channel.c (c-ares: servers, sockets, time), dns_cache.c.
 *
 * Ownership: the client's. Threads: the client's own. Errors: as described.
 */
#pragma once

#include <ares.h>
#include <sys/stat.h>

#include "tieline/dns.h"

/* ---- dns_cache.c ---- */

struct dns_cache;
struct dns_cache *dns_cache_new(void);
void dns_cache_free(struct dns_cache *c);
/* NAME in lower case. The answer's ttl_s is what is left of it; NULL: nothing valid is known. */
const struct tl_dns_answer *dns_cache_get(struct dns_cache *c, uint16_t type, const char *name);
/* Takes ownership of A. The cache is bounded: when it is full, all other answers are dropped. */
void dns_cache_put(struct dns_cache *c, uint16_t type, const char *name, struct tl_dns_answer *a);

/* ---- dns_channel.c ---- */

#define DNS_UDP_SIZE 1232 /* no fragment on any path (DNS flag day 2020) */

/* How a question is asked: over UDP with EDNS, without, over TCP. It has a channel, and thus a
 * socket, of its own while no more than so many are asked that way; beyond that they share. 73 KB
 * each. */
enum dns_way { DNS_UDP_EDNS, DNS_UDP_PLAIN, DNS_TCP };
#define DNS_UDP_CHANNELS 256
#define DNS_PLAIN_CHANNELS 32
#define DNS_TCP_CHANNELS 128 /* what shares one must fit a writev, see IOV_MAX */
#define DNS_CHANNELS (DNS_UDP_CHANNELS + DNS_PLAIN_CHANNELS + DNS_TCP_CHANNELS)

struct dns_channels;

struct dns_channel {
  ares_channel ares; /* NULL: not open */
  struct dns_channels *all;
  unsigned busy; /* questions on it */
};

struct dns_channels {
  int epfd;
  const char *resolv_conf;
  struct ares_addr_port_node *servers;
  unsigned n_server;
  struct stat read; /* resolv.conf when it was last read */
  uint64_t next_tick_ms;
  struct dns_channel at[DNS_CHANNELS];
};

int dns_channels_init(struct dns_channels *c, const char *resolv_conf);
void dns_channels_close(struct dns_channels *c);
/* A channel for one more question that goes this WAY, counted as busy; NULL: out of memory. An
 * answer that did not fit is the caller's to ask for again over TCP. */
struct dns_channel *dns_channel_take(struct dns_channels *c, enum dns_way way);
/* Reads and writes what is ready, repeats what got no answer, closes what is no longer used. */
void dns_channels_serve(struct dns_channels *c);
