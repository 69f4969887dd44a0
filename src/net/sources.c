/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections counted by source, in a chained hash table. Whether a source is a peer
 * is looked up only once it has more than strangers may have.
 */
#include "net/sources.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tieline/err.h"
#include "tieline/peer_table.h"

#define BUCKETS 16384u
#define KEPT                                                                                       \
  8u /* 1 / KEPT of all connections is for peers and those we open, half of it for the latter */

struct conn_source {
  struct conn_source *next;
  struct tl_addr addr;
  uint32_t n;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct conn_source *bucket[BUCKETS];

static struct conn_source **find_source(const struct tl_addr *source) {
  const uint64_t h = tl_addr_hash(source);
  struct conn_source **p = &bucket[(h ^ h >> 32) % BUCKETS];
  while (*p && !tl_addr_eq(&(*p)->addr, source)) p = &(*p)->next;
  return p;
}

/* A search for the peers that an address may be. */
struct at_address {
  const struct tl_view *view;
  const struct tl_addr *addr;
  uint32_t n, most; /* peers found; the largest of their bounds */
};

static bool is_at(const struct at_address *a, uint32_t number) {
  const struct tl_conf_peer *p = &a->view->peers->peer[number];
  const struct tl_addr_list *l = a->view->peers->addrs[number];
  for (size_t i = 0; i < p->n_network; i++)
    if (tl_network_has(&p->network[i], a->addr)) return true;
  for (size_t i = 0; i < l->n; i++)
    if (tl_addr_ip_eq(&l->at[i].addr, a->addr)) return true;
  return false;
}

static bool take_peer(void *arg, uint32_t number) {
  struct at_address *a = arg;
  const struct tl_conf_peer *p = &a->view->peers->peer[number];
  if (!is_at(a, number)) return true;
  uint32_t its =
      p->opt.max_connections ? p->opt.max_connections : a->view->conf->limits.max_connections_peer;
  if (its > a->most) a->most = its;
  a->n++;
  return true;
}

static struct at_address peers_at(const struct tl_view *view, const struct tl_addr *addr) {
  struct at_address a = {.view = view, .addr = addr};
  tl_peer_index_by_addr(&view->peers->index, addr, take_peer, &a);
  tl_peer_index_by_network(&view->peers->index, addr, take_peer, &a);
  return a;
}

static uint32_t files; /* descriptors for connections */

static void count_files(void) {
  struct rlimit l;
  bool known = getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < UINT32_MAX;
  files = !known ? UINT32_MAX : (uint32_t)l.rlim_cur;
  files -= files / 2 > TL_FILES_OWN ? TL_FILES_OWN : files / 2;
}

bool tl_conn_room(const struct tl_view *view, uint32_t now, const struct tl_addr *peer) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, count_files);
  const uint32_t configured = view->conf->limits.max_connections;
  const uint32_t most = configured < files ? configured : files;
  if (!peer || now < most - most / KEPT) return now < most;
  return now < most - most / (2 * KEPT) && peers_at(view, peer).n > 0;
}

/* Of several peers at one address the largest bound counts: it is not known yet which one connects.
 */
static uint32_t most_of(const struct tl_view *view, const struct tl_addr *peer) {
  const uint32_t most = peers_at(view, peer).most,
                 anybodys = view->conf->limits.max_connections_source;
  return most > anybodys ? most : anybodys;
}

static int enter_source(struct conn_source **at, const struct tl_addr *source, uint32_t most) {
  if ((*at ? (*at)->n : 0) >= most) return TL_ELIMIT;
  if (!*at) {
    *at = calloc(1, sizeof(**at));
    if (!*at) return TL_ENOMEM;
    (*at)->addr = *source;
  }
  (*at)->n++;
  return TL_OK;
}

int tl_conn_source_enter(const struct tl_view *view, const struct tl_addr *peer) {
  struct tl_addr source;
  tl_addr_source_prefix(peer, &source);
  pthread_mutex_lock(&mu);
  int rc = enter_source(find_source(&source), &source, view->conf->limits.max_connections_source);
  pthread_mutex_unlock(&mu);
  if (rc != TL_ELIMIT) return rc;
  const uint32_t most = most_of(view, peer);
  if (most <= view->conf->limits.max_connections_source) return rc;
  pthread_mutex_lock(&mu);
  rc = enter_source(find_source(&source), &source, most);
  pthread_mutex_unlock(&mu);
  return rc;
}

void tl_conn_source_leave(const struct tl_addr *peer) {
  struct tl_addr source;
  tl_addr_source_prefix(peer, &source);
  pthread_mutex_lock(&mu);
  struct conn_source **at = find_source(&source), *s = *at;
  if (s && --s->n == 0) {
    *at = s->next;
    free(s);
  }
  pthread_mutex_unlock(&mu);
}
