/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel TLS: what this kernel can do, and putting keys into a socket. The only
 * header whose implementation includes linux/tls.h.
 *
 * Ownership: nothing is kept. Threads: probe once at start, the rest any thread.
 * Errors: TL_ENOTSUP with a reason, TL_EIO.
 */
#pragma once

#include "tieline/record.h"

/* Why a direction is not in the kernel. */
enum tl_ktls_why {
  TL_KTLS_ON,        /* it is */
  TL_KTLS_NO_ULP,    /* no tls module in this kernel */
  TL_KTLS_NO_CIPHER, /* kernel lacks this version or cipher */
  TL_KTLS_SLOW,      /* records = auto, and the kernel's cipher is not accelerated */
  TL_KTLS_CONFIG,    /* records = user */
  TL_KTLS_FRAGMENT,  /* max_fragment_length negotiated */
  TL_KTLS_FAILED,    /* setsockopt failed otherwise */
  TL_KTLS_PLAIN,     /* not a TLS connection */
  TL_KTLS_WHYS
};
const char *tl_ktls_why_text(enum tl_ktls_why w); /* a phrase for people and logs */

/* Room for a driver's name: the kernel's CRYPTO_MAX_ALG_NAME. */
#define TL_KTLS_DRIVER_CAP 128

struct tl_ktls_caps {
  bool ulp;               /* TCP_ULP "tls" attaches */
  bool tx[2][TL_CIPHERS]; /* [0] TLS 1.2, [1] TLS 1.3 */
  bool rx[2][TL_CIPHERS];
  bool rekey; /* a second TLS_RX/TLS_TX is accepted (6.14 and later) */
  bool expect_no_pad;
  int err_ulp; /* errno of the failed attach, 0 if none */
  /* What does each cipher, by /proc/crypto ("" where that is not known), and is a part of it plain
   * C: then each byte costs the kernel many times what it costs user space. */
  char driver[TL_CIPHERS][TL_KTLS_DRIVER_CAP];
  bool slow[TL_CIPHERS];
};
/* Tries every version, cipher and direction on loopback pairs with dummy keys. */
int tl_ktls_probe(struct tl_ktls_caps *out);
/* Is there a version and cipher that `records = auto` gives to the kernel? */
bool tl_ktls_any_fast(const struct tl_ktls_caps *caps);

/* Attaches the ULP, right after accept or connect (KTLS-FACTS 9). TL_ENOTSUP without the tls
 * module, TL_ECLOSED when the socket is not (or no longer) established, TL_EEXIST the second time.
 */
int tl_ktls_attach(int fd);

struct tl_ktls_state {
  enum tl_ktls_why tx, rx;
};
/* Installs both directions of KEYS, or none: if one is impossible, the whole connection stays in
 * user space, OUT says why, and the result is TL_ENOTSUP. CAPS = NULL (the kernel is not wanted)
 * only fills OUT with TL_KTLS_CONFIG. RX goes first: it needs the more memory, and while it is
 * refused nothing is in the kernel. TL_EIO when TX is refused behind it, which nothing undoes: what
 * arrives is plaintext from then on, what is sent leaves as it is, so that a last alert sealed in
 * user space still reaches the peer. */
int tl_ktls_install(int fd, const struct tl_ktls_caps *caps, const struct tl_tls_keys *keys,
                    struct tl_ktls_state *out);
/* Installs new keys of one direction after a KeyUpdate (KEYS already moved on by tl_keys_update);
 * TL_ENOTSUP where the kernel cannot. */
int tl_ktls_rekey(int fd, const struct tl_tls_keys *keys, bool tx);
/* What is sent from FD by splice and sendfile does not change until it has arrived
 * (TLS_TX_ZEROCOPY_RO): a card that does TLS may then read it where it lies. */
void tl_ktls_set_zerocopy(int fd);
/* The number of the next record of a direction, as the kernel counts it: for the limit of RFC 8446
 * 5.5, which the kernel does not enforce. */
int tl_ktls_seq(int fd, const struct tl_tls_keys *keys, bool tx, uint64_t *out_seq);

/* Room for one cmsg of a control record. */
#define TL_KTLS_CMSG 32
/* Prepares MSG (zeroed by the caller except for iov) to send a record of TYPE; CBUF has at least
 * TL_KTLS_CMSG bytes, aligned to 8, and lives until the send has completed. */
struct msghdr;
void tl_ktls_msg_type(struct msghdr *msg, uint8_t *cbuf, uint8_t type);
/* Reads what is queued of one type without blocking: *OUT_TYPE, *OUT_N bytes in BUF (0 for an empty
 * control record). TL_EAGAIN nothing queued; TL_ECLOSED end of stream; TL_EBADMAC, TL_ETLS record
 * errors; TL_EBUSY a KeyUpdate was read and its key is not installed yet; TL_EIO. */
int tl_ktls_recv(int fd, uint8_t *buf, size_t cap, uint8_t *out_type, size_t *out_n);
/* Sends an alert record now, best effort and without blocking; clears SO_ERROR first (KTLS-FACTS
 * 35). TL_EAGAIN when the socket is full. */
int tl_ktls_send_alert(int fd, uint8_t level, uint8_t alert);

/* Prints what the kernel, io_uring and OpenSSL can do, and how to get what is missing: the `probe`
 * command. Returns a process exit status: 0 kernel TLS complete, 1 something is missing. */
int tl_probe_print(void *file);
