/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP (RFC 6960): judging what a responder says about a certificate; the answer
 * that we staple for our own; and what is known about clients' certificates.
 *
 * Ownership: a staple belongs to its TLS domain and goes with it; the table of
 * verdicts is the process's. Threads: judging and asking any; a staple is
 * written by the control thread and read by handshake threads under its lock;
 * the table has a lock of its own. None of it is on a message's path. Errors:
 * TL_EVERIFY with a sentence where an answer is not valid, TL_ENOMEM.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tieline/err.h"

/* X509, STACK_OF(X509) and SSL_CTX of OpenSSL. */
struct x509_st;
struct stack_st_X509;
struct ssl_ctx_st;

/* What a TLS domain wants of OCSP, as written by the operator. */
enum tl_ocsp_staple { TL_STAPLE_OFF, TL_STAPLE_FILE, TL_STAPLE_FETCH };      /* ours, as server */
enum tl_ocsp_stapled { TL_STAPLED_OFF, TL_STAPLED_ASK, TL_STAPLED_REQUIRE }; /* theirs, as client */
enum tl_ocsp_client { TL_OCSP_CLIENT_OFF, TL_OCSP_CLIENT_SOFT, TL_OCSP_CLIENT_HARD };
struct tl_ocsp_policy {
  enum tl_ocsp_staple staple;
  enum tl_ocsp_stapled stapled;
  enum tl_ocsp_client client; /* clients' certificates, checked after the handshake */
  bool park;                  /* hold their messages until the answer */
  uint32_t timeout_ms;        /* of an answer */
  uint32_t recheck_ms;        /* how long an answer about a connected client counts at most */
};

enum tl_ocsp_status {
  TL_OCSP_NONE,    /* no valid answer */
  TL_OCSP_GOOD,    /* not revoked */
  TL_OCSP_REVOKED, /* revoked or on hold */
  TL_OCSP_UNKNOWN  /* the responder does not know the certificate */
};
struct tl_ocsp_verdict {
  enum tl_ocsp_status status;
  time_t this_update, next_update; /* next_update is never 0 in a valid answer */
  char why[112];                   /* NONE: what is wrong; REVOKED: the reason */
};
const char *tl_ocsp_status_name(enum tl_ocsp_status s);

/* Judges an answer in DER about CERT of ISSUER: signature by ISSUER or its delegate (RFC 6960
 * 4.2.2.2), the certificate's id, and its time at NOW. 0: it is valid. */
int tl_ocsp_judge(const uint8_t *der, size_t n, struct x509_st *cert, struct x509_st *issuer,
                  time_t now, struct tl_ocsp_verdict *out);
/* A question in DER, malloc'd. */
int tl_ocsp_request(struct x509_st *cert, struct x509_st *issuer, uint8_t **out, size_t *out_n);
/* The issuer of CERT: in CHAIN (may be NULL), else among CTX's authorities (may be NULL). The
 * signature is checked. A reference, or NULL. */
struct x509_st *tl_ocsp_issuer(struct x509_st *cert, struct stack_st_X509 *chain,
                               struct ssl_ctx_st *ctx);
/* The first http:// responder that CERT names; the caller frees. NULL: none. */
char *tl_ocsp_responder(struct x509_st *cert);

/* ---- Staples */

struct tl_staple {
  struct x509_st *cert, *issuer; /* constant; ISSUER NULL: not found, so no answer can be judged */
  pthread_mutex_t mu;            /* guards the next three */
  uint8_t *der;
  size_t n;
  struct tl_ocsp_verdict verdict; /* of DER */
  /* The control thread's. */
  uint64_t due_ms; /* of the monotonic clock: when to look again */
  unsigned failures;
  bool busy;         /* an answer is being fetched */
  char problem[192]; /* the last attempt's, "" if it went well */
};
/* Stores DER if it is good for S at NOW; else TL_EVERIFY, V says why and the old one is kept. */
int tl_staple_set(struct tl_staple *s, const uint8_t *der, size_t n, time_t now,
                  struct tl_ocsp_verdict *out);
/* Copies the answer of FROM if it is about the same certificate and S has none. */
void tl_staple_inherit(struct tl_staple *s, struct tl_staple *from, time_t now);
/* The serial number of its certificate in hex, "" if there is no memory. */
void tl_staple_serial(const struct tl_staple *s, char *out, size_t cap);
/* The verdict of S; status NONE if it has no answer. */
void tl_staple_look(struct tl_staple *s, struct tl_ocsp_verdict *out);

/* ---- What is known of certificates, by their SHA-256 */

#define TL_OCSP_KNOWN_MAX 4096 /* the one that expires first is replaced */

struct tl_ocsp_known {
  uint8_t sha256[32];
  enum tl_ocsp_status status; /* NONE: the responder could not be asked */
  time_t this_update, until;  /* UNTIL: when to ask again */
};
/* Until when verdict V, received at NOW, counts: its next update, RECHECK_S at most, and without a
 * valid answer half a minute at most; by RANDOM up to a tenth less, so that answers that came
 * together do not expire together. Always in the future. */
time_t tl_ocsp_until(const struct tl_ocsp_verdict *v, time_t now, uint32_t recheck_s,
                     uint32_t random);
void tl_ocsp_remember(const struct tl_ocsp_known *k);
/* False: not known, or out of date. */
bool tl_ocsp_recall(const uint8_t sha256[32], time_t now, struct tl_ocsp_known *out);
/* When the next of them expires after AFTER, 0: none does. */
time_t tl_ocsp_known_next(time_t after);
/* Copies at most CAP of those valid at NOW; returns how many there are. */
size_t tl_ocsp_known_all(time_t now, struct tl_ocsp_known *out, size_t cap);
