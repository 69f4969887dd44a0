/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DNS client: it passes each question to c-ares once, and the answer to
 * every caller that waits for it. The defences against forged answers (RFC 5452)
 * are here, except for the sockets, which are dns_channel.c's: ids and letter
 * case come from the kernel's random numbers, an answer in another letter case
 * is asked for again over TCP, as is one that did not fit, and the same question
 * is never in flight twice.
 */
#include <arpa/nameser.h>
#include <ctype.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dns/dns_internal.h"
#include "tieline/container.h"
#include "tieline/err.h"
#include "tieline/hash_table.h"
#include "tieline/siphash.h"
#include "tieline/time.h"

/* In flight at once; one that is no longer wanted stays for six seconds, or twice that if it is
 * asked in several ways, so that a look-up which gave way still takes its place. An eighth is left
 * to the configuration's names, a quarter to those who are trusted, and once half is in use no
 * stranger has more than an eighth. */
#define QUESTIONS_MAX 16384u
#define OTHERS_MAX (QUESTIONS_MAX / 8 * 7)
#define STRANGERS_MAX (QUESTIONS_MAX / 4 * 3)
#define SHARE_MAX (QUESTIONS_MAX / 8)
_Static_assert(QUESTIONS_MAX / DNS_TCP_CHANNELS <= IOV_MAX / 2, "c-ares writes them at once");

struct tl_dns_question {
  struct tl_hash_node node; /* while it is in flight */
  struct tl_dns *d;
  struct dns_channel *on;
  struct cds_list_head waits;
  uint16_t type;
  uint16_t stranger; /* that it counts for: of struct tl_dns_client */
  bool tcp, plain;   /* asked over TCP, without EDNS */
  bool large;        /* over TCP because the answer did not fit a datagram */
  bool lower;        /* in lower case, because the server changes letter case and has no TCP */
  bool sending;      /* within ares_send: a failure now is returned to the caller */
  bool ended;        /* ended while it was sent */
  char name[TL_DNS_NAME_MAX], sent[TL_DNS_NAME_MAX]; /* lower case; as it was asked */
};

struct tl_dns {
  struct dns_channels channels;
  struct dns_cache *cache;
  struct tl_dns_counts counts;
  unsigned open, strange;         /* in flight; those of strangers */
  uint16_t shares[TL_DNS_SHARES]; /* of each of them */
  bool closing;
  uint8_t key[16];
  struct tl_hash_table questions;
};

static const struct tl_dns_answer no_answer = {.status = TL_DNS_FAILED},
                                  no_good_answer = {.status = TL_DNS_BROKEN};

/* ---- names ---- */

/* NAME in lower case without the trailing dot; false if it cannot be the name of a host or service,
 * so that no server need be asked. */
static bool take_name(const char *name, char out[TL_DNS_NAME_MAX]) {
  size_t n = strnlen(name, TL_DNS_NAME_MAX + 1), label = 0;
  while (n && name[n - 1] == '.') n--;
  if (n == 0 || n > 253) return false;
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)name[i];
    bool dot = c == '.';
    if (dot ? label == 0 : !isalnum(c) && c != '-' && c != '_') return false;
    label = dot ? 0 : label + 1;
    if (label > 63) return false;
    out[i] = (char)tolower(c);
  }
  out[n] = '\0';
  return true;
}

/* RFC 5452 takes the idea from draft-vixie-dnsext-dns0x20: each letter carries a bit. */
static bool mix_case(const char *name, bool lower, char *out) {
  uint8_t bits[TL_DNS_NAME_MAX / 8] = {0};
  size_t i = 0;
  if (!lower && getrandom(bits, sizeof(bits), 0) != sizeof(bits)) return false;
  for (; name[i]; i++)
    out[i] = bits[i / 8] >> i % 8 & 1 ? (char)toupper((unsigned char)name[i]) : name[i];
  out[i] = '\0';
  return true;
}

/* ---- questions in flight ---- */

/* Names come from strangers, so that the hash has a key. */
static uint64_t hash_of(const struct tl_dns *d, uint16_t type, const char *name) {
  return tl_siphash13(d->key, name, strlen(name)) ^ type;
}

static struct tl_dns_question *question_of(struct tl_hash_node *node) {
  return node ? tl_container_of(node, struct tl_dns_question, node) : NULL;
}

static struct tl_dns_question *under_way(struct tl_dns *d, uint16_t type, const char *name) {
  struct tl_hash_node *node = tl_hash_first(&d->questions, hash_of(d, type, name));
  while (node && (question_of(node)->type != type || strcmp(question_of(node)->name, name) != 0))
    node = tl_hash_next(node);
  return question_of(node);
}

static bool has_room(const struct tl_dns *d, const struct tl_dns_client *c) {
  if (d->open >= (c->own ? QUESTIONS_MAX : OTHERS_MAX)) return false;
  if (!c->stranger) return true;
  return d->strange < STRANGERS_MAX &&
         (d->open < QUESTIONS_MAX / 2 || d->shares[c->stranger - 1] < SHARE_MAX);
}

/* Q is in flight (BY 1) or no longer (-1). */
static void count_question(const struct tl_dns_question *q, int by) {
  struct tl_dns *d = q->d;
  d->open += (unsigned)by;
  if (!q->stranger) return;
  d->strange += (unsigned)by;
  d->shares[q->stranger - 1] = (uint16_t)(d->shares[q->stranger - 1] + by);
}

static struct tl_dns_question *question_new(struct tl_dns *d, uint16_t type, const char *name,
                                            uint16_t stranger) {
  struct tl_dns_question *q = calloc(1, sizeof(*q));
  if (!q || tl_hash_add(&d->questions, &q->node, hash_of(d, type, name))) {
    free(q);
    return NULL;
  }
  CDS_INIT_LIST_HEAD(&q->waits);
  q->d = d;
  q->type = type;
  q->stranger = stranger;
  memcpy(q->name, name, strlen(name) + 1);
  count_question(q, 1);
  return q;
}

/* The last who came, NULL: nobody waits. */
static struct tl_dns_wait *first_wait(struct tl_dns_question *q) {
  if (cds_list_empty(&q->waits)) return NULL;
  return cds_list_first_entry(&q->waits, struct tl_dns_wait, node);
}

static void question_drop(struct tl_dns_question *q) {
  for (struct tl_dns_wait *w; (w = first_wait(q));) tl_dns_forget(w);
  tl_hash_remove(&q->d->questions, &q->node);
  count_question(q, -1);
  free(q);
}

static void notify_waiters(struct tl_dns_question *q, const struct tl_dns_answer *a) {
  for (struct tl_dns_wait *w; (w = first_wait(q));) {
    tl_dns_forget(w);
    w->fn(w, a);
  }
}

/* Q is no longer in flight: a question asked from here on, even from the callbacks, is a new
 * one. */
static void end_question(struct tl_dns_question *q, struct tl_dns_answer *a, int rc) {
  struct tl_dns *d = q->d;
  tl_hash_remove(&d->questions, &q->node);
  notify_waiters(q, a ? a : rc == TL_EIO ? &no_answer : &no_good_answer);
  if (a && a->status != TL_DNS_FAILED && a->ttl_s)
    dns_cache_put(d->cache, q->type, q->name, a);
  else
    free(a);
  count_question(q, -1);
  free(q);
}

/* ---- to c-ares and back ---- */

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int n);

static enum dns_way way_of(const struct tl_dns_question *q) {
  return q->tcp ? DNS_TCP : q->plain ? DNS_UDP_PLAIN : DNS_UDP_EDNS;
}

static int send_question(struct tl_dns_question *q) {
  struct tl_dns *d = q->d;
  unsigned char *msg = NULL;
  uint16_t id;
  int n, rc = TL_EIO;
  if (!mix_case(q->name, q->lower, q->sent) || getrandom(&id, sizeof(id), 0) != sizeof(id))
    return TL_EIO;
  if (ares_create_query(q->sent, 1, q->type, id, 1, &msg, &n, q->plain ? 0 : DNS_UDP_SIZE))
    return TL_EINVAL;
  struct dns_channel *ch = dns_channel_take(&d->channels, way_of(q));
  if (ch) {
    q->on = ch;
    q->sending = true;
    q->ended = false;
    ares_send(ch->ares, msg, n, on_answer, q);
    q->sending = false;
    rc = q->ended ? TL_EIO : TL_OK;
    if (rc) ch->busy--;
  }
  ares_free_string(msg);
  d->counts.asked += rc == 0;
  return rc;
}

/* Another way for Q, whose last ended with RC; false when there is none left. */
static bool choose_way(struct tl_dns_question *q, int rc) {
  if ((rc == TL_EVERIFY || rc == TL_ELARGE) && !q->tcp && !q->lower) {
    q->tcp = true; /* a server that changes letter case, or a forger who guessed all the rest */
    q->large = rc == TL_ELARGE;
  } else if (rc == TL_EIO && q->tcp && !q->large) { /* no TCP: a forger must guess again */
    q->tcp = false, q->lower = true;
  } else if (rc == TL_ENOTSUP && !q->plain) {
    q->plain = true;
  } else {
    return false;
  }
  return true;
}

static bool ask_again(struct tl_dns_question *q, int rc) {
  while (choose_way(q, rc)) {
    rc = TL_EIO;
    if (send_question(q)) continue;
    q->d->counts.again++;
    return true;
  }
  return false;
}

/* c-ares 1.18 cuts a datagram that is larger than we asked for: at 512 bytes on a channel with a
 * server that did not know EDNS. */
static bool may_be_cut(size_t n) { return n == NS_PACKETSZ || n == DNS_UDP_SIZE; }

static int read_answer(struct tl_dns_question *q, const uint8_t *msg, size_t n,
                       struct tl_dns_answer **out) {
  int rc = tl_dns_read(msg, n, q->sent, q->type, out);
  if (rc == TL_ESYNTAX && may_be_cut(n) && !q->tcp) rc = TL_ELARGE;
  q->d->counts.refused +=
      rc == TL_ESYNTAX || rc == TL_EVERIFY || (rc == TL_ELARGE && (q->tcp || q->lower));
  return rc;
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int n) {
  struct tl_dns_question *q = arg;
  struct tl_dns *d = q->d;
  struct dns_channel *ch = q->on;
  struct tl_dns_answer *a = NULL;
  int rc = TL_EIO;
  (void)timeouts;
  if (d->closing) return; /* the questions are freed with the client */
  if (q->sending) {
    q->ended = true;
    return;
  }
  if (status == ARES_SUCCESS && msg && n > 0) rc = read_answer(q, msg, (size_t)n, &a);
  if (rc == 0 || !ask_again(q, rc)) end_question(q, a, rc);
  ch->busy--; /* not before: its socket is the old question's until this returns */
}

/* ---- for callers that must not block ---- */

struct tl_dns *tl_dns_new(const char *resolv_conf) {
  struct tl_dns *d = calloc(1, sizeof(*d));
  if (!d) return NULL;
  d->channels.epfd = -1;
  d->cache = dns_cache_new();
  if (d->cache && getrandom(d->key, sizeof(d->key), 0) == sizeof(d->key) &&
      dns_channels_init(&d->channels, resolv_conf) == 0)
    return d;
  tl_dns_free(d);
  return NULL;
}

void tl_dns_free(struct tl_dns *d) {
  if (!d) return;
  d->closing = true;
  dns_channels_close(&d->channels);
  for (struct tl_hash_node *node; (node = tl_hash_walk(&d->questions, NULL));)
    question_drop(question_of(node));
  tl_hash_free(&d->questions);
  dns_cache_free(d->cache);
  free(d);
}

const struct tl_dns_answer *tl_dns_cached(struct tl_dns *d, uint16_t type, const char *name) {
  char lower[TL_DNS_NAME_MAX];
  return take_name(name, lower) ? dns_cache_get(d->cache, type, lower) : NULL;
}

int tl_dns_ask(struct tl_dns *d, uint16_t type, const char *name, struct tl_dns_wait *w) {
  char lower[TL_DNS_NAME_MAX];
  w->q = NULL;
  if (!take_name(name, lower)) return TL_EINVAL;
  struct tl_dns_question *q = under_way(d, type, lower);
  if (!q) {
    if (!has_room(d, &w->client)) return TL_ELIMIT;
    q = question_new(d, type, lower, w->client.stranger);
    if (!q) return TL_ENOMEM;
    int rc = send_question(q);
    if (rc) {
      question_drop(q);
      return rc;
    }
  }
  w->q = q;
  cds_list_add(&w->node, &q->waits);
  return TL_OK;
}

void tl_dns_forget(struct tl_dns_wait *w) {
  if (!w->q) return;
  cds_list_del(&w->node);
  w->q = NULL;
}

int tl_dns_fd(const struct tl_dns *d) { return d->channels.epfd; }

bool tl_dns_busy(const struct tl_dns *d) { return d->open > 0; }

void tl_dns_serve(struct tl_dns *d) { dns_channels_serve(&d->channels); }

const struct tl_dns_counts *tl_dns_counted(const struct tl_dns *d) { return &d->counts; }

/* ---- for threads that may block ---- */

struct blocked {
  struct tl_dns_wait wait; /* first: the callback gets it */
  struct tl_dns_answer *answer;
};

static struct tl_dns_answer *copy_of(const struct tl_dns_answer *a) {
  size_t len = sizeof(*a) + a->n * sizeof(a->at[0]);
  struct tl_dns_answer *copy = malloc(len);
  if (copy) memcpy(copy, a, len);
  return copy;
}

static void keep_answer(struct tl_dns_wait *w, const struct tl_dns_answer *a) {
  ((struct blocked *)w)->answer = copy_of(a);
}

struct tl_dns_answer *tl_dns_ask_blocking(struct tl_dns *d, uint16_t type, const char *name,
                                          unsigned timeout_ms) {
  struct blocked b = {.wait = {.fn = keep_answer, .client.own = true}};
  struct pollfd p = {.fd = tl_dns_fd(d), .events = POLLIN};
  uint64_t until_ms = tl_now_ms() + timeout_ms;
  const struct tl_dns_answer *known = tl_dns_cached(d, type, name);
  if (known) return copy_of(known);
  if (tl_dns_ask(d, type, name, &b.wait)) return copy_of(&no_answer);
  while (b.wait.q && tl_now_ms() < until_ms) {
    poll(&p, 1, TL_DNS_TICK_MS);
    tl_dns_serve(d);
  }
  tl_dns_forget(&b.wait);
  return b.answer;
}
