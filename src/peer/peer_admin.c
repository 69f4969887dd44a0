/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administrators' states as workers read them. Who set them and when is the control thread's to
 * know, and it keeps them over restarts.
 */
#include "tieline/peer_admin.h"

#include <stdlib.h>

#include "tieline/rcu.h"

const char *const tl_admin_state_names[TL_ADMIN_STATES + 1] = {"none", "up", "drain", "down", NULL};

void tl_peer_admin_set(struct tl_peer_admin *a, enum tl_admin_state all,
                       struct tl_admin_list *list) {
  struct tl_admin_list *old = atomic_exchange_explicit(&a->list, list, memory_order_acq_rel);
  atomic_store_explicit(&a->all, (uint32_t)all | (list ? TL_ADMIN_LISTED : 0),
                        memory_order_release);
  if (!old) return;
  tl_rcu_wait();
  free(old);
}

void tl_peer_admin_end(struct tl_peer_admin *a) {
  free(a->list);
  a->list = NULL;
}

static bool fits(const struct tl_admin_address *at, const struct tl_addr *addr) {
  return tl_addr_port(&at->addr) ? tl_addr_eq(&at->addr, addr) : tl_addr_ip_eq(&at->addr, addr);
}

/* One with a port is more exact than one without. */
static enum tl_admin_state find_address(const struct tl_admin_list *l, const struct tl_addr *addr) {
  enum tl_admin_state any_port = TL_ADMIN_NONE;
  for (size_t i = 0; i < l->n; i++) {
    if (!fits(&l->at[i], addr)) continue;
    if (tl_addr_port(&l->at[i].addr)) return l->at[i].state;
    any_port = l->at[i].state;
  }
  return any_port;
}

enum tl_admin_state tl_peer_admin_find(struct tl_peer_admin *a, const struct tl_addr *addr) {
  enum tl_admin_state state = TL_ADMIN_NONE;
  tl_rcu_read_begin();
  const struct tl_admin_list *l = atomic_load_explicit(&a->list, memory_order_acquire);
  if (l) state = find_address(l, addr);
  tl_rcu_read_end();
  if (state) return state;
  return (enum tl_admin_state)(atomic_load_explicit(&a->all, memory_order_relaxed) &
                               ~TL_ADMIN_LISTED);
}
