/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a DNS answer. This file walks over the record headers only: which
 * records belong to the question (owner, type, class; RFC 1034 3.6.2 for
 * aliases) and how long they are valid. In a copy, all others get a type that
 * means nothing, and c-ares reads the data of those that are left.
 *
 * Before a name is expanded, its length is checked, and that its pointers lead
 * strictly backwards: a chain of pointers costs no time.
 */
#include <ares.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/dns.h"
#include "tieline/err.h"

#define HEAD 12
#define ALIASES_MAX 8
#define POINTERS_MAX 64
#define NEGATIVE_MAX_S 300 /* RFC 2308 5 advises a bound */
#define NEGATIVE_BARE_S 10 /* without an SOA; a stub resolver cannot loop (RFC 2308 5) */
#define TTL_MAX_S 86400
#define CLASS_IN 1
#define TYPE_NOBODYS 0xff00 /* private use (RFC 6895 3.1): no parser knows it */

struct message {
  const uint8_t *p;
  size_t n;
};

/* A record's header. */
struct head {
  size_t owner, type_at, data; /* offsets */
  uint16_t type, class, len;
  uint32_t ttl_s;
};

static uint16_t read_u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t read_u32(const uint8_t *p) { return (uint32_t)read_u16(p) << 16 | read_u16(p + 2); }

/* The bytes that the name at AT occupies there; 0 if it is malformed. */
static size_t name_len(const struct message *m, size_t at) {
  size_t floor = at, begin = at, here = 0, total = 1;
  for (unsigned pointers = 0; at < m->n;) {
    uint8_t c = m->p[at];
    if (c == 0) return here ? here : at + 1 - begin;
    if (c < 64) {
      at += 1u + c;
      total += 1u + c;
      if (total > 255) return 0;
      continue;
    }
    if (c < 0xc0 || at + 1 >= m->n) return 0;
    if (!here) here = at + 2 - begin;
    at = read_u16(m->p + at) & 0x3fff;
    if (at < HEAD || at >= floor || ++pointers > POINTERS_MAX) return 0;
    floor = at;
  }
  return 0;
}

/* What c-ares says, as an error of ours. */
static int parse_error(int status) { return status == ARES_ENOMEM ? TL_ENOMEM : TL_ESYNTAX; }

/* The name at AT as text; its length in the message was checked before. */
static int name_text(const struct message *m, size_t at, char out[TL_DNS_NAME_MAX]) {
  char *text = NULL;
  long used;
  if (!name_len(m, at)) return TL_ESYNTAX;
  int rc = ares_expand_name(m->p + at, m->p, (int)m->n, &text, &used);
  if (rc) return parse_error(rc);
  size_t len = strlen(text);
  bool fits = len < TL_DNS_NAME_MAX;
  if (fits) memcpy(out, text, len + 1);
  ares_free_string(text);
  return fits ? TL_OK : TL_ESYNTAX;
}

/* 1: it is, 0: it is not, TL_ENOMEM: nobody knows, so that no record is taken for another's. */
static int name_is(const struct message *m, size_t at, const char *name) {
  char text[TL_DNS_NAME_MAX];
  int rc = name_text(m, at, text);
  if (rc == TL_ENOMEM) return rc;
  return rc == 0 && strcasecmp(text, name) == 0;
}

static bool next_head(const struct message *m, size_t *at, struct head *h) {
  size_t len = name_len(m, *at);
  h->owner = *at;
  h->type_at = *at + len;
  if (!len || m->n - h->type_at < 10) return false;
  const uint8_t *p = m->p + h->type_at;
  h->type = read_u16(p);
  h->class = read_u16(p + 2);
  h->ttl_s = read_u32(p + 4);
  h->len = read_u16(p + 8);
  h->data = h->type_at + 10;
  if (h->ttl_s > INT32_MAX) h->ttl_s = 0; /* RFC 2181 8 */
  if (h->ttl_s > TTL_MAX_S) h->ttl_s = TTL_MAX_S;
  *at = h->data + h->len;
  return m->n - h->data >= h->len;
}

/* ---- the question ---- */

static int check_question(const struct message *m, const char *name, uint16_t type,
                          size_t *out_end) {
  char text[TL_DNS_NAME_MAX];
  size_t len;
  if (m->n < HEAD || m->n > UINT16_MAX) return TL_ESYNTAX;
  bool response = m->p[2] & 0x80, query = (m->p[2] & 0x78) == 0, cut = m->p[2] & 0x02;
  uint8_t rcode = m->p[3] & 0x0f;
  if (response && rcode == 1) return TL_ENOTSUP; /* a server without EDNS may leave out all else */
  if (!response || !query || read_u16(m->p + 4) != 1) return TL_ESYNTAX;
  len = name_len(m, HEAD);
  if (!len || m->n - HEAD - len < 4) return TL_ESYNTAX;
  int rc = name_text(m, HEAD, text);
  if (rc) return rc;
  if (read_u16(m->p + HEAD + len) != type || read_u16(m->p + HEAD + len + 2) != CLASS_IN)
    return TL_ESYNTAX;
  *out_end = HEAD + len + 4;
  if (strcmp(text, name) == 0) return cut ? TL_ELARGE : TL_OK;
  return strcasecmp(text, name) == 0 ? TL_EVERIFY : TL_ESYNTAX;
}

/* ---- which records belong to the question ---- */

/* Replaces OWNER by the name it is an alias of. 1: it is one, 0: it is not, otherwise an error. */
static int follow_alias(const struct message *m, size_t at, char owner[TL_DNS_NAME_MAX],
                        uint32_t *ttl_s) {
  struct head h;
  for (unsigned i = read_u16(m->p + 6); i > 0; i--) {
    if (!next_head(m, &at, &h)) return TL_ESYNTAX;
    if (h.type != TL_DNS_CNAME || h.class != CLASS_IN) continue;
    int rc = name_is(m, h.owner, owner);
    if (rc < 0) return rc;
    if (rc == 0) continue;
    if (name_len(m, h.data) != h.len) return TL_ESYNTAX;
    if ((rc = name_text(m, h.data, owner))) return rc;
    if (h.ttl_s < *ttl_s) *ttl_s = h.ttl_s;
    return 1;
  }
  return 0;
}

static bool data_is_sound(const struct message *m, const struct head *h) {
  size_t at = h->data, end = h->data + h->len;
  switch (h->type) {
  case TL_DNS_A: return h->len == 4;
  case TL_DNS_AAAA: return h->len == 16;
  case TL_DNS_SRV: return h->len > 6 && name_len(m, at + 6) == h->len - 6u;
  case TL_DNS_NAPTR:
    at += 4;
    for (int text = 0; text < 3; text++) {
      if (at >= end) return false;
      at += 1u + m->p[at];
    }
    return at < end && name_len(m, at) == end - at;
  default: return true;
  }
}

/* Keeps the records of OWNER and TYPE in COPY's answer section; all others become TYPE_NOBODYS. */
static int keep_own(const struct message *m, size_t *at, const char *owner, uint16_t type,
                    uint8_t *copy, struct tl_dns_answer *a) {
  struct head h;
  for (unsigned i = read_u16(m->p + 6); i > 0; i--) {
    if (!next_head(m, at, &h)) return TL_ESYNTAX;
    int own = h.type == type && h.class == CLASS_IN && a->n < TL_DNS_RECORDS_MAX
                  ? name_is(m, h.owner, owner)
                  : 0;
    if (own < 0) return own;
    if (!own) {
      copy[h.type_at] = TYPE_NOBODYS >> 8;
      copy[h.type_at + 1] = TYPE_NOBODYS & 0xff;
      continue;
    }
    if (!data_is_sound(m, &h)) return TL_ESYNTAX;
    a->n++;
    if (h.ttl_s < a->ttl_s) a->ttl_s = h.ttl_s;
  }
  return TL_OK;
}

static bool is_within_zone(const char *name, const char *zone) {
  size_t n = strlen(name), k = strlen(zone);
  if (k == 0) return true;
  return n >= k && strcasecmp(name + n - k, zone) == 0 && (n == k || name[n - k - 1] == '.');
}

/* How long a negative answer is valid, by the zone's SOA (RFC 2308 5). */
static uint32_t negative_ttl(const struct message *m, size_t at, const char *owner) {
  char zone[TL_DNS_NAME_MAX];
  struct head h;
  for (unsigned i = read_u16(m->p + 8); i > 0 && next_head(m, &at, &h); i--) {
    if (h.type != TL_DNS_SOA || h.class != CLASS_IN || h.len < 22) continue;
    if (name_text(m, h.owner, zone) || !is_within_zone(owner, zone)) continue;
    uint32_t minimum = read_u32(m->p + h.data + h.len - 4);
    if (h.ttl_s < minimum) minimum = h.ttl_s;
    return minimum < NEGATIVE_MAX_S ? minimum : NEGATIVE_MAX_S;
  }
  return NEGATIVE_BARE_S;
}

/* ---- record data ---- */

static void take_text(char *out, size_t cap, const char *text) {
  size_t len = text ? strlen(text) : 0;
  if (len >= cap) len = 0;
  if (len) memcpy(out, text, len);
  out[len] = '\0';
}

static int read_srv(const uint8_t *copy, size_t len, struct tl_dns_answer *a) {
  struct ares_srv_reply *all = NULL;
  size_t n = 0;
  int status = ares_parse_srv_reply(copy, (int)len, &all);
  if (status) return parse_error(status);
  for (const struct ares_srv_reply *s = all; s && n < a->n; s = s->next) {
    struct tl_dns_record *r = &a->at[n++];
    r->priority = s->priority;
    r->weight = s->weight;
    r->port = s->port;
    take_text(r->name, sizeof(r->name), s->host && *s->host ? s->host : ".");
  }
  ares_free_data(all);
  return n == a->n ? TL_OK : TL_ESYNTAX;
}

static int read_naptr(const uint8_t *copy, size_t len, struct tl_dns_answer *a) {
  struct ares_naptr_reply *all = NULL;
  size_t n = 0;
  int status = ares_parse_naptr_reply(copy, (int)len, &all);
  if (status) return parse_error(status);
  for (const struct ares_naptr_reply *s = all; s && n < a->n; s = s->next) {
    struct tl_dns_record *r = &a->at[n++];
    r->order = s->order;
    r->preference = s->preference;
    r->rewrites = s->regexp && *s->regexp;
    take_text(r->flags, sizeof(r->flags), (const char *)s->flags);
    take_text(r->service, sizeof(r->service), (const char *)s->service);
    take_text(r->name, sizeof(r->name), s->replacement);
  }
  ares_free_data(all);
  return n == a->n ? TL_OK : TL_ESYNTAX;
}

/* The lengths are fixed and were checked: nothing to parse. */
static int read_addresses(const struct message *m, size_t at, uint16_t type,
                          struct tl_dns_answer *a) {
  struct head h;
  size_t n = 0;
  while (n < a->n && next_head(m, &at, &h)) {
    if (h.type != type || h.class != CLASS_IN) continue;
    struct tl_addr *to = &a->at[n++].addr;
    if (type == TL_DNS_A) {
      to->v4.sin_family = AF_INET;
      memcpy(&to->v4.sin_addr, m->p + h.data, 4);
    } else {
      to->v6.sin6_family = AF_INET6;
      memcpy(&to->v6.sin6_addr, m->p + h.data, 16);
    }
  }
  return n == a->n ? TL_OK : TL_ESYNTAX;
}

static int read_data(const uint8_t *copy, size_t len, size_t at, uint16_t type,
                     struct tl_dns_answer *a) {
  const struct message m = {copy, len};
  switch (type) {
  case TL_DNS_SRV: return read_srv(copy, len, a);
  case TL_DNS_NAPTR: return read_naptr(copy, len, a);
  case TL_DNS_A:
  case TL_DNS_AAAA: return read_addresses(&m, at, type, a);
  default: return TL_ESYNTAX;
  }
}

/* ---- the whole answer ---- */

/* A with its A->n records, read from COPY, as a new object. */
static int build_answer(const struct tl_dns_answer *a, const uint8_t *copy, size_t len, size_t at,
                        uint16_t type, struct tl_dns_answer **out) {
  struct tl_dns_answer *full = calloc(1, sizeof(*full) + a->n * sizeof(full->at[0]));
  if (!full) return TL_ENOMEM;
  *full = *a;
  int rc = a->n ? read_data(copy, len, at, type, full) : TL_OK;
  if (rc == 0)
    *out = full;
  else
    free(full);
  return rc;
}

static int find_answer(const struct message *m, size_t at, const char *name, uint16_t type,
                       uint8_t *copy, struct tl_dns_answer *a) {
  char owner[TL_DNS_NAME_MAX];
  int rc = 1;
  take_text(owner, sizeof(owner), name);
  for (int i = 0; i < ALIASES_MAX && rc > 0; i++) rc = follow_alias(m, at, owner, &a->ttl_s);
  if (rc) return rc < 0 ? rc : TL_ESYNTAX; /* a loop of aliases */
  rc = keep_own(m, &at, owner, type, copy, a);
  if (rc) return rc;
  a->status = a->n ? TL_DNS_FOUND : TL_DNS_NONE;
  if (a->n == 0) a->ttl_s = negative_ttl(m, at, owner);
  return TL_OK;
}

int tl_dns_read(const uint8_t *msg, size_t n, const char *name, uint16_t type,
                struct tl_dns_answer **out) {
  const struct message m = {msg, n};
  struct tl_dns_answer a = {.status = TL_DNS_FAILED, .ttl_s = TTL_MAX_S};
  size_t at;
  int rc = check_question(&m, name, type, &at);
  if (rc) return rc;
  uint8_t rcode = msg[3] & 0x0f, *copy = malloc(n);
  if (!copy) return TL_ENOMEM;
  memcpy(copy, msg, n);
  if (rcode != 0 && rcode != 3) {
    a.ttl_s = 0;
  } else {
    rc = find_answer(&m, at, name, type, copy, &a);
    if (rc == 0 && rcode == 3 && a.n) a = (struct tl_dns_answer){.status = TL_DNS_NONE};
  }
  if (rc == 0) rc = build_answer(&a, copy, n, at, type, out);
  free(copy);
  return rc;
}
