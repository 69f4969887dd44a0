/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections counted by source. Whether a source is a peer
 * is looked up only once it has more than strangers may have.
 */
#include "runtime/sources.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tieline/container.h"
#include "tieline/err.h"
#include "tieline/hash_table.h"
#include "tieline/peer_table.h"

#define KEPT                                                                                       \
  8u /* 1 / KEPT of all connections is for peers and those we open, half of it for the latter */

struct conn_source {
  struct tl_hash_node node;
  struct tl_addr addr;
  uint32_t n;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct tl_hash_table sources;

static uint64_t hash_of(const struct tl_addr *source) {
  const uint64_t h = tl_addr_hash(source);
  return h ^ h >> 32;
}

static struct conn_source *find_source(const struct tl_addr *source) {
  for (struct tl_hash_node *n = tl_hash_first(&sources, hash_of(source)); n; n = tl_hash_next(n)) {
    struct conn_source *s = tl_container_of(n, struct conn_source, node);
    if (tl_addr_eq(&s->addr, source)) return s;
  }
  return NULL;
}

static struct conn_source *add_source(const struct tl_addr *source) {
  struct conn_source *s = calloc(1, sizeof(*s));
  if (!s || tl_hash_add(&sources, &s->node, hash_of(source))) {
    free(s);
    return NULL;
  }
  s->addr = *source;
  return s;
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
  if (tl_peer_network(a->view->peers->set, p, a->addr)) return true;
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
  tl_peer_index_by_network(&view->peers->index, TL_PEER_BY_TLS, addr, take_peer, &a);
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

static int enter_source(const struct tl_addr *source, uint32_t most) {
  struct conn_source *s = find_source(source);
  if ((s ? s->n : 0) >= most) return TL_ELIMIT;
  if (!s) s = add_source(source);
  if (!s) return TL_ENOMEM;
  s->n++;
  return TL_OK;
}

int tl_conn_source_enter(const struct tl_view *view, const struct tl_addr *peer) {
  struct tl_addr source;
  tl_addr_source_prefix(peer, &source);
  pthread_mutex_lock(&mu);
  int rc = enter_source(&source, view->conf->limits.max_connections_source);
  pthread_mutex_unlock(&mu);
  if (rc != TL_ELIMIT) return rc;
  const uint32_t most = most_of(view, peer);
  if (most <= view->conf->limits.max_connections_source) return rc;
  pthread_mutex_lock(&mu);
  rc = enter_source(&source, most);
  pthread_mutex_unlock(&mu);
  return rc;
}

void tl_conn_source_leave(const struct tl_addr *peer) {
  struct tl_addr source;
  tl_addr_source_prefix(peer, &source);
  pthread_mutex_lock(&mu);
  struct conn_source *s = find_source(&source);
  if (s && --s->n == 0) {
    tl_hash_remove(&sources, &s->node);
    free(s);
  }
  pthread_mutex_unlock(&mu);
}
