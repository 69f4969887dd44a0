/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel's TLS in the test's own thread, where the machine's cannot do what is tested: keys come
 * in by setsockopt and are read from the kernel's structures, data goes through the socket, other
 * records through sendmsg and recvmsg with their type in a control message. The record crypto is
 * tl_record's. It answers as Documentation/networking/tls.rst and net/tls of Linux 6.14 have it, or
 * as kernels before that.
 *
 *   connection under test <- socket pair -> fake <- wire -> a peer that does TLS itself
 *
 * What the fake does not do: cards, TLS_TX_ZEROCOPY_RO, splice, and sending anything by itself. A
 * receive completes in io_uring, which no wrapper reaches: fake_ktls_hook stands between its
 * completion and the connection, and says EIO, EKEYEXPIRED or EBADMSG where the kernel would. A key
 * is taken whether or not a KeyUpdate came before; Linux does not look at that either.
 *
 * Ownership: one fake per process; fake_ktls_end closes its end of the pair. Threads: the test's
 * own. Errors: as the kernel's, in errno.
 */
#pragma once

#include "net/net_internal.h"

struct fake_ktls {
  bool rekeys;              /* a second key is taken, as by 6.14 */
  int refuse_tx, refuse_rx; /* errno for the next key of that direction, once */
  unsigned full;            /* so many records by sendmsg get EAGAIN */
  /* what it has seen */
  unsigned tx_keys, rx_keys; /* taken, the first included */
  unsigned expired;          /* receives refused with EKEYEXPIRED */
};
extern struct fake_ktls fake_ktls;

/* Every socket that gets the ULP from now on is the fake's. */
void fake_ktls_begin(bool rekeys);
void fake_ktls_end(void);
/* A socket whose other end is the fake's wire. */
int fake_ktls_socket(void);
/* C receives through the fake. */
void fake_ktls_hook(struct tl_conn *c);

/* N bytes from the peer have arrived. */
void fake_ktls_feed(const void *p, size_t n);
/* Moves the next bytes for the peer to BUF; their number. */
size_t fake_ktls_wire(void *buf, size_t cap);
/* The connection under test has shut its sending side, and all that it sent is on the wire. */
bool fake_ktls_ended(void);
