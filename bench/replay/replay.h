/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's proxy in one thread over a kernel made of memory: no socket, no
 * ring, no clock and no chance, so that the same replay always takes the same
 * instructions. bench/check counts those of replay_turn.
 *
 * Ownership: everything is static and lives as long as the process. Threads:
 * one. Errors: a replay that does not go as it must ends the process with a
 * sentence.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/proxy.h"

/* Says why on standard error and ends the process with status 2. */
void replay_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- kernel.c: the kernel that the worker sees. Nothing here is counted: bench/check leaves out
 * the functions of this file that a turn calls. */

void replay_clock_advance(uint32_t ms);
/* A descriptor that stands for a connection to PEER. */
int replay_socket(const struct tl_addr *peer);
/* A client connects to the TCP listener; its other end is the descriptor returned. */
int replay_connect(const struct tl_addr *client);
/* The descriptor of the UDP listener. */
int replay_udp_socket(void);
/* The descriptor with which the worker has connected to PEER over TCP, or -1. */
int replay_dialed(const struct tl_addr *peer);
/* N bytes arrive on the stream FD. */
void replay_receive(int fd, const void *p, size_t n);
/* A datagram of FROM arrives at the UDP listener. */
void replay_receive_from(const struct tl_addr *from, const void *p, size_t n);
/* What the worker has sent on the stream FD, or to TO by datagram, since the last call: at most CAP
 * bytes at P, one datagram at a time. */
size_t replay_take_sent(int fd, uint8_t *p, size_t cap);
size_t replay_take_datagram(const struct tl_addr *to, uint8_t *p, size_t cap);
/* The mailbox of the worker is looked at in its next turn. */
void replay_poll_mail(int efd);

/* ---- worker.c: the worker */

/* Reads the configuration in FILE and makes the worker. */
void replay_worker_begin(const char *file);
/* One turn of the worker's loop: what bench/check counts. */
void replay_turn(void);
/* A TLS connection with keys of its own: accepted from PEER, or answering the worker's wish for one
 * to PEER; PEER proved to be CERT (a file). *OUT_FD is its descriptor, *OUT_RECORD the record layer
 * of the other side. False: the worker does not ask for one. */
bool replay_tls_accept(const struct tl_addr *peer, const char *cert, enum tl_tls_version version,
                       enum tl_cipher cipher, int *out_fd, struct tl_record **out_record);
bool replay_tls_dialed(struct tl_addr *out_peer, const char *cert, enum tl_tls_version version,
                       enum tl_cipher cipher, int *out_fd, struct tl_record **out_record);
/* Messages that the worker has received so far. */
uint64_t replay_received(void);
/* Transactions that it has. */
uint64_t replay_transactions(void);

/* ---- neighbour.c: the user agents on both sides */

/* One side: a stream, or an address that sends and takes datagrams. */
struct replay_side {
  struct tl_addr addr;
  enum tl_transport transport;
  int fd;                   /* -1: not connected yet */
  struct tl_record *record; /* TLS */
  uint8_t *in;              /* received, not handled yet */
  size_t n, cap;
};

enum replay_kind { REPLAY_OPTIONS, REPLAY_CALL, REPLAY_CANCEL };

/* A new request of the caller, numbered N. */
void replay_ask(struct replay_side *caller, enum replay_kind kind, unsigned n);
/* Handles what has arrived at a side; gives how many transactions of the caller have ended. */
unsigned replay_caller_turn(struct replay_side *caller, enum replay_kind kind);
void replay_callee_turn(struct replay_side *callee, enum replay_kind kind);
