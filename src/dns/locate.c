/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choices that RFC 3263 makes among a name server's answers. It sends no
 * questions itself.
 */
#include "tieline/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- NAPTR ---- */

static bool service_transport(const char *service, enum tl_transport *out) {
  for (enum tl_transport t = 0; t < TL_TRANSPORTS; t++)
    if (strcasecmp(service, tl_transports[t].naptr) == 0) {
      *out = t;
      return true;
    }
  return false;
}

/* NAME without the trailing dot; false if nothing is left or it does not fit. */
static bool copy_name(const char *name, char *out, size_t cap) {
  size_t len = name ? strlen(name) : 0;
  while (len && name[len - 1] == '.') len--;
  if (len == 0 || len >= cap) return false;
  memcpy(out, name, len);
  out[len] = '\0';
  return true;
}

static bool sorts_before(const struct tl_service *a, const struct tl_service *b) {
  return a->order != b->order ? a->order < b->order : a->preference < b->preference;
}

void tl_locate_naptr(struct tl_services *s, const struct tl_naptr *r, bool secure) {
  struct tl_service new = {.order = r->order, .preference = r->preference};
  /* RFC 3263 4.1 has only the flag "s" and no rewriting by a regular expression. */
  if (!r->flags || strcasecmp(r->flags, "s") != 0 || (r->regexp && *r->regexp)) return;
  if (!r->service || !service_transport(r->service, &new.transport)) return;
  if (secure && !tl_transport_is_secure(new.transport)) return;
  if (!copy_name(r->replacement, new.name, sizeof(new.name))) return;
  if (s->n && new.order > s->at[0].order) return;
  if (s->n && new.order < s->at[0].order) s->n = 0;
  if (s->n == TL_SERVICES_MAX && !sorts_before(&new, &s->at[s->n - 1])) return;
  size_t at = s->n < TL_SERVICES_MAX ? s->n++ : s->n - 1;
  for (; at > 0 && sorts_before(&new, &s->at[at - 1]); at--) s->at[at] = s->at[at - 1];
  s->at[at] = new;
}

/* ---- SRV ---- */

static void add_service(struct tl_services *s, const char *host, enum tl_transport t) {
  if (s->n == TL_SERVICES_MAX || !tl_transports[t].srv) return;
  struct tl_service *to = &s->at[s->n++];
  *to = (struct tl_service){.transport = t};
  snprintf(to->name, sizeof(to->name), "%s%s", tl_transports[t].srv, host);
}

void tl_locate_services(struct tl_services *s, const char *host, bool any, enum tl_transport t) {
  s->n = 0;
  add_service(s, host, t);
  if (!any || tl_transport_is_secure(t)) return;
  /* RFC 3263 4.1: for a sip URI, one question for each transport that we speak. */
  for (enum tl_transport other = 0; other < TL_TRANSPORTS; other++)
    if (other != t && !tl_transport_is_secure(other)) add_service(s, host, other);
}

void tl_locate_srv(struct tl_srvs *s, const char *target, uint16_t priority, uint16_t weight,
                   uint16_t port) {
  struct tl_srv new = {.port = port, .priority = priority, .weight = weight};
  size_t at = s->n;
  if (target && (!*target || strcmp(target, ".") == 0)) s->none = true;
  if (!copy_name(target, new.host, sizeof(new.host))) return;
  if (s->n < TL_SRV_MAX) {
    s->n++;
  } else {
    at = 0;
    for (size_t i = 1; i < s->n; i++)
      if (s->at[i].priority > s->at[at].priority) at = i;
    if (s->at[at].priority <= priority) return;
  }
  s->at[at] = new;
}

static int by_priority(const void *a, const void *b) {
  const struct tl_srv *x = a, *y = b;
  if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
  return (x->weight > 0) - (y->weight > 0); /* RFC 2782: weight 0 goes to the front */
}

static uint32_t random_below(uint32_t below) {
  uint32_t v = 0;
  if (below == 0 || getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v)) return 0;
  return v % below;
}

/* Draws which of the N targets of one priority comes first. */
static void draw_first(struct tl_srv *t, size_t n) {
  uint32_t sum = 0, running = 0;
  for (size_t i = 0; i < n; i++) sum += t[i].weight;
  uint32_t at = random_below(sum + 1);
  for (size_t i = 0; i < n; i++) {
    running += t[i].weight;
    if (running < at) continue;
    struct tl_srv drawn = t[i];
    t[i] = t[0];
    t[0] = drawn;
    return;
  }
}

void tl_locate_order(struct tl_srvs *s) {
  qsort(s->at, s->n, sizeof(s->at[0]), by_priority);
  for (size_t i = 0; i < s->n; i++) {
    size_t same = 1;
    while (i + same < s->n && s->at[i + same].priority == s->at[i].priority) same++;
    draw_first(&s->at[i], same);
  }
}
