/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to name servers, over c-ares: EDNS0, TCP where an answer did not fit
 * a datagram (RFC 2181 9, RFC 7766), and what makes a forged answer unlikely
 * (RFC 5452): a socket of its own, a random id and a random case of letters for
 * each question, and the same question never twice at a time. Answers are kept
 * as long as they hold, those of "no such name" too (RFC 2308).
 *
 * Ownership: a client is its caller's; answers are the client's and hold within
 * the callback. Threads: a client belongs to one thread, as many clients as
 * wanted. Errors: as said; a question that nobody answers is TL_DNS_FAILED.
 */
#pragma once

#include "tieline/addr.h"

enum tl_dns_type {
  TL_DNS_A = 1,
  TL_DNS_CNAME = 5,
  TL_DNS_SOA = 6,
  TL_DNS_AAAA = 28,
  TL_DNS_SRV = 33,
  TL_DNS_NAPTR = 35,
};

#define TL_DNS_NAME_MAX 256    /* with the NUL */
#define TL_DNS_RECORDS_MAX 256 /* kept of one answer */

enum tl_dns_status {
  TL_DNS_FAILED, /* no server answered, or all with an error */
  TL_DNS_BROKEN, /* what came cannot be used: cut off even over TCP, malformed, forged perhaps */
  TL_DNS_NONE,   /* there is no such name, or it has no such record */
  TL_DNS_FOUND,
};

struct tl_dns_record {
  uint16_t priority, weight, port; /* SRV */
  uint16_t order, preference;      /* NAPTR */
  char flags[4], service[16];      /* NAPTR; empty when longer than any of SIP's */
  bool rewrites;                   /* NAPTR with a regular expression */
  char name[TL_DNS_NAME_MAX];      /* SRV target, "." for none; NAPTR replacement */
  struct tl_addr addr;             /* A and AAAA, port 0 */
};

struct tl_dns_answer {
  enum tl_dns_status status;
  uint32_t ttl_s; /* how long it holds: the shortest of its records and of aliases on the way */
  size_t n;
  struct tl_dns_record at[];
};

/* ---- reading (dns_read.c) ---- */

/* Reads the message of N bytes that answers the question for NAME (its letters as they were sent)
 * and TYPE. Records of other owners than NAME and what it is an alias of are passed over; whatever
 * is broken makes all of it broken. The caller frees *OUT with free. TL_ESYNTAX: no answer to this
 * question, cut off, or broken; TL_EVERIFY: the question in it has other letter cases;
 * TL_ENOTSUP: the server takes the question for malformed (it may not know EDNS). */
int tl_dns_read(const uint8_t *msg, size_t n, const char *name, uint16_t type,
                struct tl_dns_answer **out);

/* ---- asking (dns.c) ---- */

struct tl_dns;
struct tl_dns_question;
struct tl_dns_wait;

/* A is there during the call only. */
typedef void (*tl_dns_fn)(struct tl_dns_wait *w, const struct tl_dns_answer *a);

/* Who waits for an answer; part of the asker's own state. */
struct tl_dns_wait {
  tl_dns_fn fn;
  struct tl_dns_wait *next, **link;
  struct tl_dns_question *q; /* NULL: waits for nothing */
};

struct tl_dns_counts {
  uint64_t asked;   /* questions sent */
  uint64_t refused; /* answers that were broken, cut off even over TCP, or of wrong letters */
  uint64_t again;   /* questions repeated over TCP because of the letters, or without EDNS */
};

/* RESOLV_CONF: NULL for the system's. It is read again when it has changed. */
struct tl_dns *tl_dns_new(const char *resolv_conf);
/* Nobody's callback is called. */
void tl_dns_free(struct tl_dns *d);

/* What is known: an answer that holds for now, or NULL. It is there until the next call. */
const struct tl_dns_answer *tl_dns_cached(struct tl_dns *d, uint16_t type, const char *name);

/* Asks name servers, whatever is known; W->fn is called later, never from within. TL_EINVAL: NAME
 * is no host name; TL_ELIMIT, TL_ENOMEM; TL_EIO: no name server can be reached. */
int tl_dns_ask(struct tl_dns *d, uint16_t type, const char *name, struct tl_dns_wait *w);
/* The answer comes to nobody. */
void tl_dns_forget(struct tl_dns_wait *w);

/* Readable when tl_dns_serve has something to do; besides, call that every TL_DNS_TICK_MS while
 * questions are open. */
#define TL_DNS_TICK_MS 100
int tl_dns_fd(const struct tl_dns *d);
bool tl_dns_busy(const struct tl_dns *d);
void tl_dns_serve(struct tl_dns *d);
const struct tl_dns_counts *tl_dns_counted(const struct tl_dns *d);

/* Asks and waits, at most TIMEOUT_MS; for threads that may block. What is known counts. The caller
 * frees the answer; NULL when memory is out or time is up. */
struct tl_dns_answer *tl_dns_ask_blocking(struct tl_dns *d, uint16_t type, const char *name,
                                          unsigned timeout_ms);
