/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's proxy in the test's own thread, with sockets of the test as its
 * neighbours. Time is real; timers are configured short.
 *
 * Ownership: proxy_begin and proxy_end around each test; proxy_end proves that
 * no transaction, branch or saved message is left. Threads: the test's own.
 * Errors: the test fails.
 */
#pragma once

#include "proxy/branch.h"
#include "proxy/plan.h"
#include "proxy/proxy.h"
#include "proxy/saved.h"
#include "proxy/stage.h"
#include "proxy/txn.h"
#include "test_net_rig.h"
#include "tieline/resolve.h"
#include "tieline/view.h"

extern struct tl_proxy px;

/* A neighbour over UDP, or a listener and later connection over TCP. */
struct ua {
  int fd; /* UDP; TCP: listening */
  int conn;
  uint16_t port;
  char in[80000]; /* the last message received */
  size_t n;
  bool repeats;       /* wants to see what is the same as the last; else it is passed over */
  uint64_t seen[256]; /* hashes of the last messages received */
  unsigned n_seen;
  bool again; /* IN has been received before */
};

#define TIMERS                                                                                     \
  "timeouts { t1 = 10ms t2 = 40ms t4 = 40ms timer_b = 400ms timer_c = 600ms timer_f = 400ms "      \
  "trying = 60s connect = 300ms }\n"
/* Until everything that T1 = 10 ms keeps alive has gone. */
#define LINGER_MS 800u

void proxy_begin(const char *extra);
void proxy_end(void);
/* The same after all timers had their time: nothing may be left by itself. */
void proxy_end_clean(void);

/* What the stages make of M from FROM, in PLAN: 0, TL_EAGAIN, or TL_ENOTFOUND with *STATUS. REQ has
 * it for more questions. */
int rig_plan(struct tl_req *req, const struct tl_flow *from, const struct tl_msg *m,
             struct tl_plan *plan, unsigned *status);

void ua_udp(struct ua *u);
void ua_tcp_listen(struct ua *u);
void ua_tcp_connect(struct ua *u); /* to the proxy */
void ua_close(struct ua *u);
/* Three of them at once. */
void ua_udp_each(struct ua *a, struct ua *b, struct ua *c);
void ua_close_each(struct ua *a, struct ua *b, struct ua *c);
void ua_send(struct ua *u, const char *text); /* to the proxy */
void ua_send_n(struct ua *u, const char *text, size_t n);
/* Waits for a message; it must start with START. */
void ua_expect(struct ua *u, const char *start);
/* Nothing comes within MS, but what a slow machine makes: repeats, a late 100 (RFC 4320 4.1). */
void ua_expect_silence(struct ua *u, unsigned ms);
/* Number of header fields NAME in the last message; value of the I-th in *OUT. */
unsigned ua_headers(const struct ua *u, const char *name);
const char *ua_header(const struct ua *u, const char *name, unsigned i);
const char *ua_body(const struct ua *u);
/* An INFO of U to a name, in the dialog of its request with id "d", which bob answered with tag
 * "b". LINES: header lines. Good until the next one. */
const char *ua_info_to_name(const struct ua *u, const char *lines);

/* A request of U: METHOD to URI, branch and Call-ID made of ID, EXTRA header lines, a body. */
char *ua_request(const struct ua *u, const char *method, const char *uri, const char *id,
                 const char *extra, const char *body);
/* The response of U to what it received last: all Via, Record-Route, From, To with TAG. */
char *ua_response(const struct ua *u, const char *status_line, const char *tag, const char *extra);
