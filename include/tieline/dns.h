/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to name servers, over c-ares: EDNS0, TCP where an answer did not fit
 * a datagram (RFC 2181 9, RFC 7766), and the defences against forged answers
 * (RFC 5452): a socket of its own, a random id and random letter case for each
 * question, and the same question never twice at a time. Answers are kept while
 * they are valid, negative ones too (RFC 2308).
 *
 * Ownership: a client is its caller's; answers are the client's and valid within
 * the callback. Threads: a client belongs to one thread; there may be any number
 * of clients. Errors: as described; a question that no server answers is
 * TL_DNS_FAILED.
 */
#pragma once

#include <urcu/list.h>

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
  TL_DNS_BROKEN, /* unusable: truncated even over TCP, malformed, perhaps forged */
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
  uint32_t ttl_s; /* the shortest TTL of its records and of the aliases on the way */
  size_t n;
  struct tl_dns_record at[];
};

/* ---- reading (dns_read.c) ---- */

/* Reads the message of N bytes that answers the question for NAME (in the letter case that was
 * sent) and TYPE. Records of owners other than NAME and its aliases are skipped; one malformed part
 * makes the whole answer malformed. The caller frees *OUT with free. TL_ESYNTAX: not an answer to
 * this question, or malformed; TL_ELARGE: truncated; TL_EVERIFY: its question has another letter
 * case; TL_ENOTSUP: the server calls the question malformed (it may not know EDNS); TL_ENOMEM. */
int tl_dns_read(const uint8_t *msg, size_t n, const char *name, uint16_t type,
                struct tl_dns_answer **out);

/* ---- asking (dns.c) ---- */

struct tl_dns;
struct tl_dns_question;
struct tl_dns_wait;

/* A is valid during the call only. */
typedef void (*tl_dns_fn)(struct tl_dns_wait *w, const struct tl_dns_answer *a);

#define TL_DNS_SHARES 4096u

/* For whom names are looked up, and so what it may take of all that is under way. Zeros: for one
 * who is trusted. */
struct tl_dns_client {
  uint16_t stranger; /* 1 to TL_DNS_SHARES: its place among those who are not trusted; 0: it is */
  bool own;          /* for the configuration, which bounds it: has a reserve */
};

/* A caller that waits for an answer; part of the caller's own state. */
struct tl_dns_wait {
  tl_dns_fn fn;
  struct tl_dns_client client; /* the caller sets it before it asks */
  struct cds_list_head node;   /* among those who wait for the same */
  struct tl_dns_question *q;   /* NULL: not waiting */
};

struct tl_dns_counts {
  uint64_t asked;   /* questions sent */
  uint64_t refused; /* malformed, truncated even over TCP, or in another letter case */
  uint64_t again; /* questions repeated over TCP, for the letter case or because the answer did not
                     fit, or without EDNS */
};

/* RESOLV_CONF: NULL for the system's. It is read again when it has changed. */
struct tl_dns *tl_dns_new(const char *resolv_conf);
/* No callback is called. */
void tl_dns_free(struct tl_dns *d);

/* The answer if a valid one is cached, else NULL. It is good until the next call. */
const struct tl_dns_answer *tl_dns_cached(struct tl_dns *d, uint16_t type, const char *name);

/* Asks name servers, whatever is cached; W->fn is called later, never from within. TL_EINVAL: NAME
 * is not a host name; TL_ELIMIT: as much is under way as W->client may have; TL_ENOMEM; TL_EIO: no
 * name server can be reached. */
int tl_dns_ask(struct tl_dns *d, uint16_t type, const char *name, struct tl_dns_wait *w);
/* Cancels W: its callback will not be called. */
void tl_dns_forget(struct tl_dns_wait *w);

/* Readable when tl_dns_serve has work; besides, call that every TL_DNS_TICK_MS while questions are
 * open. */
#define TL_DNS_TICK_MS 100
int tl_dns_fd(const struct tl_dns *d);
bool tl_dns_busy(const struct tl_dns *d);
void tl_dns_serve(struct tl_dns *d);
const struct tl_dns_counts *tl_dns_counted(const struct tl_dns *d);

/* Asks and waits, at most TIMEOUT_MS; for threads that may block. A cached answer is used. The
 * caller frees the answer; NULL when out of memory or time. */
struct tl_dns_answer *tl_dns_ask_blocking(struct tl_dns *d, uint16_t type, const char *name,
                                          unsigned timeout_ms);
