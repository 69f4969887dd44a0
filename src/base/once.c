/* SPDX-License-Identifier: Apache-2.0 */
/* What is made once, and tried again when it could not be made. What that is, is the callers'. */
#include "tieline/once.h"

bool tl_once(struct tl_once *o, bool (*make)(void)) {
  if (atomic_load_explicit(&o->made, memory_order_acquire)) return true;
  pthread_mutex_lock(&o->mu);
  bool made = atomic_load_explicit(&o->made, memory_order_relaxed) || make();
  atomic_store_explicit(&o->made, made, memory_order_release);
  pthread_mutex_unlock(&o->mu);
  return made;
}
