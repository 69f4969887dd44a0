/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handshake thread with a worker that is only a mailbox, and clients for it.
 *
 * Ownership: rig_begin and rig_end around each test. Threads: the test's own.
 * Errors: the test fails.
 */
#pragma once

#include <openssl/ssl.h>

#include "hs/handshaker.h"
#include "test_port.h"
#include "test_tls_duel.h"
#include "tieline/handshaker.h"

extern struct tl_runtime rig_rt;
extern struct tl_thread rig_worker;
extern struct tl_addr rig_at; /* the TLS listener */
/* What the kernel shall be said to do, if not what it does; for the next rig_begin. */
extern const struct tl_ktls_caps *rig_kernel;

#define OPEN_DOMAIN "verify_cert = false require_cert = false"
#define TIMES(hs, con) "timeouts { handshake = " hs " connect = " con " }\n"

/* A snapshot with a listener on rig_at; EXTRA goes in front of the domain, DOMAIN_EXTRA into it. */
struct tl_view *rig_load(const struct tl_view *previous, const char *extra,
                         const char *domain_extra);
void rig_begin(const char *extra, const char *domain_extra);
/* Stops, and checks that every connection was counted down again. */
void rig_stop(void);
/* The same when the test has closed what it opened: no descriptor may be left. */
void rig_end(void);
uint64_t rig_counter(enum tl_counter id);
void rig_wait(enum tl_counter id, uint64_t least);
/* The next connection, or failed dial, for the worker. */
struct tl_handoff *rig_handoff(void);
void rig_drop(struct tl_handoff *h);
int rig_dial(void);
/* Does the other side close FD within MS? What it sends before does not matter. */
bool rig_closes(int fd, int ms);
SSL *rig_client(SSL_CTX *ctx, int fd);
/* The worker's end of a connection: in the kernel or with our records. */
void rig_reads(struct tl_handoff *h, const char *want);
void rig_writes(struct tl_handoff *h, const char *text);
/* A message each way. */
void rig_talk(SSL *ssl, struct tl_handoff *h);
