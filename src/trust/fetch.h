/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches small objects from HTTP servers for the control thread: CRLs and OCSP
 * responses. Helper threads do the waiting (name resolution included), so that
 * neither the control socket nor a signal waits for a dead server. Only http://
 * and one DER object per answer: the objects carry signatures of their own
 * (RFC 5280 4.2.1.13, RFC 6960 A).
 *
 * Ownership: an order is malloc'd by the caller and taken over by tl_fetch_order
 * when that returns 0; it is freed after its callback. Threads: everything here
 * is called, and calls back, in the control thread. Errors: TL_ELIMIT when
 * TL_FETCH_MAX orders are under way (counted; the caller keeps the order and
 * decides), else in struct tl_fetch.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tieline/runtime.h"

#define TL_FETCH_MAX 256      /* orders waiting or under way */
#define TL_FETCH_THREADS 4    /* one server gets at most half of them */
#define TL_FETCH_REDIRECTS 3  /* followed by a GET; a POST follows none (RFC 9110 15.4) */
#define TL_FETCH_URL_MAX 1024 /* with its end */

struct tl_fetch {
  struct tl_mail mail;
  /* The order. */
  char url[TL_FETCH_URL_MAX];
  uint32_t timeout_ms; /* for everything but the look-up of the name; whole seconds, rounded up */
  size_t max_bytes;    /* of the response body */
  const char *content_type;  /* of BODY; a constant */
  const char *expected_type; /* of the answer; a constant, NULL: any */
  uint8_t *body;             /* malloc'd and taken over: POST; NULL: GET */
  size_t body_n;
  void (*done)(struct tl_fetch *f,
               void *arg); /* once, also when it failed or is dropped at the end */
  void *arg;
  /* The answer. */
  int rc; /* 0; TL_EINVAL url, TL_ENOTFOUND host, TL_ETIMEOUT, TL_EIO, TL_ECLOSED: the end */
  char why[192];
  uint8_t *data; /* the DER object; DONE may keep it by setting this to NULL */
  size_t n;
  struct tl_fetch *next; /* this and BY are private */
  struct tl_fetcher *by;
};

/* The helper threads and their queue. */
struct tl_fetcher;
/* Answers will go to RT's control mailbox. NULL: memory is short. */
struct tl_fetcher *tl_fetch_new(struct tl_runtime *rt);
/* Starts the threads. TL_ENOMEM: perhaps not all; stop them. */
int tl_fetch_start(struct tl_fetcher *q);
/* Ends the orders under way; every order not answered yet is called back with TL_ECLOSED. Answers
 * that are in the mailbox may still be read. */
void tl_fetch_stop(struct tl_fetcher *q);
/* After tl_fetch_stop, if it was started. Q may be NULL. */
void tl_fetch_free(struct tl_fetcher *q);
int tl_fetch_order(struct tl_fetcher *q, struct tl_fetch *f);
/* Would URL be tried? If not, WHY (may be NULL) gets a constant sentence. */
bool tl_fetch_url_ok(const char *url, const char **why);
