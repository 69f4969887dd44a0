/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of src/net: a worker's loop and what its files call of each
 * other, each under the name of the file that has it. A connection itself
 * is in conn.h.
 *
 * Ownership, Threads, Errors: as in tieline/net.h.
 */
#pragma once

#include <stddef.h>

#include "net/conn.h"
#include "net/kernel_body.h"
#include "tieline/hash_table.h"
#include "tieline/net.h"
#include "tieline/pool.h"
#include "tieline/ring.h"
#include "tieline/runtime.h"
#include "tieline/slots.h"
#include "tieline/view.h"

#define TL_CHUNK_CAP 16768u /* one full record with its overhead, and some room */
#define TL_SEND_IOV 16
#define TL_SEND_SCRATCH 128
#define TL_BUF_KERNEL INT32_MAX
#define TL_STASH_SMALL 2048u
#define TL_STASH_MID 20480u
#define TL_LINGER_MS 1000u /* how long a finished connection waits for the peer's end */

/* An address to which TCP could not connect; until_ms 0: free. */
struct tl_unreached {
  struct tl_addr addr;
  uint64_t until_ms;
};
#define TL_UNREACHED_SLOTS 256

struct tl_net {
  union {
    struct tl_net_head head; /* first: tieline/net.h reads it there */
    struct {
      TL_NET_HEAD
    };
  };
  struct tl_thread *th;
  struct tl_runtime *rt;
  struct tl_counters *counters;
  struct tl_ring ring;
  struct tl_bufs bufs, dgrams;
  struct tl_pipes pipes; /* of bodies that stay in the kernel */
  const struct tl_net_handler *handler;

  struct tl_pool conns, chunks, refs, stash_small, stash_mid, dgram_small;
  struct tl_slots slots; /* of connections */
  uint32_t n_conn;
  struct tl_hash_table by_key; /* of struct tl_conn */
  struct tl_hash_table aliases,
      remote_aliases; /* see alias.c: of this worker's connections, of others' */
  struct tl_unreached unreached[TL_UNREACHED_SLOTS];
  struct cds_list_head begun; /* connections that have a part of a message, the oldest first */
  uint64_t begun_bytes;       /* memory of those parts */
  struct tl_conn *dirty;
  struct tl_conn *later;  /* have more to handle in the next turn */
  uint64_t turn;          /* counts turns */
  struct tl_conn *feeder; /* connection whose bytes are being handled, for back-pressure */

  struct tl_listener *listeners; /* TCP accepting and UDP sockets */
  struct tl_udp *udps;
  uint32_t dgrams_out;
  uint64_t slow_logged_ms;  /* of the last line about a peer that reads too slowly: its reset */
  uint64_t slow_refused_ms; /* and of one about what is not sent to it */
  unsigned next_handshaker;
  uint64_t n_picked; /* see tl_conn_spread */

  struct tl_audit *audits; /* inventories and directives under way */
  struct tl_op mail_op;
  struct tl_msg msg; /* the message being handled */
  uint64_t scans;    /* heads read, the same one again included; for tests */
  struct tl_body body;
  struct tl_sendmsg *send_scratch;
  uint32_t send_scratch_n;
  uint8_t *scratch; /* one message, limits.max_message + 64 KB */
  size_t scratch_cap;
};

_Static_assert(offsetof(struct tl_net, head) == 0 &&
                   offsetof(struct tl_net, stopping) == offsetof(struct tl_net_head, stopping),
               "the accessors read it there");

struct tl_chunk {
  struct tl_chunk *next;
  const uint8_t *data;           /* mem, or bytes of a receive buffer */
  uint32_t start, end;           /* bytes ready to be sent */
  int32_t buf;                   /* receive buffer held, -1: none, this chunk has its own memory */
  struct tl_kernel_body *kernel; /* BUF is TL_BUF_KERNEL: they are START to END of this */
  uint8_t mem[];
};

struct tl_pending {
  struct tl_pending *next;
  uint32_t len;
  char data[];
};

struct tl_sendmsg {
  struct msghdr msg;
  struct iovec iov[TL_SEND_IOV];
};

struct tl_listener {
  struct tl_op op;
  struct tl_timer retry;
  struct tl_net *net;
  struct tl_listener *next;
  int fd, index; /* index in the snapshot's listen */
  enum tl_transport transport;
  struct tl_addr addr;
  bool armed, gone;
};

struct tl_udp {
  struct tl_op op;
  struct msghdr msg; /* shape of multishot recvmsg */
  struct tl_net *net;
  struct tl_udp *next;
  int fd, index;
  struct tl_addr addr;
  bool armed, gone, dirty;
};

/* conn.c */
struct tl_conn *tl_conn_new(struct tl_net *n, enum tl_transport t, const struct tl_addr *peer);
void tl_conn_opened(struct tl_conn *c); /* fd is set: arms it, sends what was queued */
void tl_conn_end_of_turn(struct tl_conn *c);
struct tl_handoff;
void tl_conn_adopt(struct tl_net *n, struct tl_handoff *h);
/* What a worker takes from handshake threads: struct tl_handoff. */
extern const struct tl_mail_kind tl_conn_handoff_kind;

/* conn_table.c */
/* From now on C is found by its address and what it was dialed for. */
void tl_conn_key_add(struct tl_conn *c);
void tl_conn_key_drop(struct tl_conn *c);
/* As tl_conn_find, but no alias. */
struct tl_conn *tl_conn_keyed(struct tl_net *n, const struct tl_conn_key *k);
/* The next one behind AFTER, which is one of them; NULL: the first. */
struct tl_conn *tl_conn_keyed_next(struct tl_net *n, const struct tl_conn_key *k,
                                   const struct tl_conn *after);

/* conn_spread.c */
/* Of the connections for K the one that is to be used now, NULL: there is none. *OUT_DIAL: K wants
 * another one, and the time has come to dial it. */
struct tl_conn *tl_conn_spread(struct tl_net *n, const struct tl_conn_key *k, bool *out_dial);

/* conn_state.c */
void tl_conn_mark(struct tl_conn *c); /* handle it at the end of the turn */
/* Stops reading from C until its peer has read its answers. */
void tl_conn_pause(struct tl_conn *c);
void tl_conn_resume(struct tl_conn *c);
/* No session ticket is waited for any more. */
void tl_conn_post_hs_end(struct tl_conn_tls *t);
/* tl_conn_finish of an open C; the proxy is told RC. */
void tl_conn_finish_as(struct tl_conn *c, int rc);

#define TL_RETIRE_MS 3000u       /* from the answer to a last request: its ACK is still to come */
#define TL_RETIRED_ACK_MS 2500u  /* time for the ACK to an answer; less than TL_RETIRE_MS */
#define TL_RETIRED_CHECK_MS 250u /* how often a retiring connection is checked */
/* Is a transaction open on C, in either direction? */
bool tl_conn_asked(const struct tl_conn *c);
/* The same, or the ACK to an answer may be on its way: must C not be ended yet merely because we
 * would like a new one? For at most timeouts.call_setup_max after its retirement. */
bool tl_conn_spared(const struct tl_conn *c);
/* Until when calls that are being set up keep the retired C open. */
uint64_t tl_conn_spared_until(const struct tl_conn *c);
/* New requests go elsewhere; ends when those it carries are answered, at the latest after
 * WITHIN_MS (0: no limit). */
void tl_conn_retire(struct tl_conn *c, uint32_t within_ms);

/* Takes C out of the tables: neither key nor alias finds it any more. */
void tl_conn_withdraw(struct tl_conn *c);

/* alert.c */
/* The handshake succeeded, but C is not used: waiting transactions get RC, the peer gets ALERT. */
void tl_conn_reject(struct tl_conn *c, uint8_t alert, int rc);
/* C->tx.alert leaves between two sends of the kernel's. False: not yet. */
bool tl_alert_in_kernel(struct tl_conn *c);
/* C->tx.no_reneg: the same with the warning. */
void tl_alert_no_reneg(struct tl_conn *c);

/* half.c */
/* The peer of C sends no more: C ends, now or when it owes no answer. */
void tl_half_begin(struct tl_conn *c);
void tl_half_turn(struct tl_conn *c);  /* C is half-closed, and the turn ends */
void tl_half_check(struct tl_conn *c); /* C is half-closed, and its timer fires */

/* audit.c */
/* Continues what is under way by a slice, once per turn. */
void tl_audit_turn(struct tl_net *n);
/* Sends back unfinished what is under way. */
void tl_audit_drop(struct tl_net *n);
/* A TLS connection was adopted: has it verified again if its TLS domain is no longer in force, and
 * notes when its certificates expire. */
void tl_audit_adopted(struct tl_conn *c);

/* unreached.c */
/* The dialing C ended with RC; only TL_ETIMEOUT and TL_EIO say something about its peer. */
void tl_unreached_note(struct tl_conn *c, int rc);
void tl_unreached_forget(struct tl_net *n, const struct tl_addr *a);

/* alias.c */
void tl_alias_drop(struct tl_conn *c);
struct tl_conn *tl_alias_find(struct tl_net *n, const struct tl_conn_key *key);
void tl_alias_exit(struct tl_net *n);
/* C has been verified again: tells the other workers the result. */
void tl_alias_changed(struct tl_conn *c);

/* keys.c: called now and then for each connection, and after sends */
void tl_keys_check(struct tl_conn *c);
/* A KeyUpdate was received; ANSWER: it requests one of ours. On an error C must end. */
int tl_keys_received(struct tl_conn *c, bool answer);
/* C->tx.rekey: our KeyUpdate leaves and the kernel's sending key changes, once no send is busy. */
void tl_keys_turn(struct tl_conn *c);

/* park.c */
/* Asks the control thread about C's client; TL_ELIMIT, TL_ENOMEM: C must end. */
int tl_park_ask(struct tl_conn *c);
void tl_conn_unpark(struct tl_conn *c);

#define TL_FRAME_HEAD_MAX 16 /* bytes, RFC 6455's is the longest: 14 */

/* How a stream carries messages: a file each, tl_NAME_framer, see TL_FRAMING_ROWS. */
struct tl_framer {
  /* N bytes of plaintext at P, in receive buffer BUF or, if that is -1, in memory valid for this
   * call only. What is unfinished is kept with C; whole messages are passed on by tl_recv_deliver.
   */
  void (*take)(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf);
  /* What goes in front of a message of LEN bytes that is about to be sent, into DST; returns its
   * length. NULL: messages leave as they are. What the framer itself says to the other side it
   * sends by tl_send_unframed. */
  size_t (*head)(struct tl_conn *c, size_t len, uint8_t dst[TL_FRAME_HEAD_MAX]);
  /* C ends: frees C->framing, if the framer keeps anything there. */
  void (*drop)(struct tl_conn *c);
};

/* recv.c */
const struct tl_framer *tl_framer_of(enum tl_transport t);

/* deliver.c */
/* C sent what cannot be framed: it closes, after a reply if its head allows one. */
void tl_recv_bad(struct tl_conn *c, const struct tl_scan_error *err, bool answerable);
void tl_recv_deliver(struct tl_conn *c, const struct tl_msg *m, const struct tl_body *b);

/* stash.c */
int tl_stash_put(struct tl_net *n, struct tl_stash *s, const uint8_t *p, size_t len);
void tl_stash_drop(struct tl_net *n, struct tl_stash *s);

/* recv.c */
bool tl_recv_wanted(const struct tl_conn *c); /* is a receive missing? */
void tl_recv_arm(struct tl_conn *c);
void tl_recv_done(struct tl_op *op, int res, uint32_t flags);
void tl_recv_held(struct tl_conn *c); /* no longer paused: handles the held bytes */
void tl_recv_later(
    struct tl_net *n); /* a turn begins: connections that had used up their share go on */
void tl_recv_forget(struct tl_conn *c);
/* Plaintext of C: counted, and given to the framer of its transport. */
void tl_recv_plain(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf);

/* Takes one record, of whatever type, from the kernel, with at most CAP bytes in BUF; what follows
 * from it is done. TL_EAGAIN: there was none, or C is ending. */
int tl_recv_kernel_record(struct tl_conn *c, uint8_t *buf, size_t cap);
/* N bytes of data have passed that no framer sees; false: they may not, C ends. */
bool tl_recv_passed(struct tl_conn *c, size_t n);
/* The stream of C has ended, or cannot be read: RES is as a receive's. */
void tl_recv_ended(struct tl_conn *c, int res);
/* Has C used up its share of this turn? If not, N bytes more are counted, else the rest waits for
 * the next turn. */
bool tl_recv_share_used(struct tl_conn *c, size_t n);

/* relay.c: bodies that stay in the kernel, with body_relay = splice */
/* tl_recv_arm, or where bodies of C may stay a poll, after which C is read here. */
void tl_relay_arm(struct tl_conn *c);
/* tl_send_flush, with the bodies in the kernel that are queued for C. */
void tl_relay_flush(struct tl_conn *c);

/* big.c: collects a message with a large body, without copying where possible */
/* Is a message with a body of LEN bytes, on C, one of these? */
bool tl_big_wanted(const struct tl_conn *c, uint32_t len);
int tl_big_begin(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf, bool from_stash,
                 const struct tl_msg *m);
size_t tl_big_feed(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf);
/* Where N bytes of a record may be decrypted to; NULL when they must go the ordinary way. */
uint8_t *tl_big_room(struct tl_conn *c, size_t record_len);
void tl_big_took(struct tl_conn *c, size_t n);
void tl_big_drop(struct tl_conn *c);
/* May bodies of C stay in the kernel? */
bool tl_big_may_stay(const struct tl_conn *c);
/* Where its remaining LEFT bytes go without leaving the kernel, NULL: they are to be fed. */
struct tl_kernel_body *tl_big_kernel(const struct tl_conn *c, uint32_t *left);
/* Bytes of memory it holds. */
uint32_t tl_big_bytes(const struct tl_conn *c);

/* unfinished.c */
/* C has received bytes: notes whether it holds part of a message now. */
void tl_unfinished_note(struct tl_conn *c);
void tl_unfinished_leave(struct tl_conn *c);
/* Ends connections that take too long, and the oldest while too much memory is held. */
void tl_unfinished_turn(struct tl_net *n);

/* send.c */
/* As tl_conn_send, but what it sends is not a message: it gets no head of the framer's. */
int tl_send_unframed(struct tl_conn *c, const void *p, size_t n);
/* What is queued up to the first body in the kernel, to M. */
void tl_send_gather(const struct tl_out *o, struct tl_sendmsg *m);
void tl_send_begun(struct tl_conn *c);            /* a send begins */
void tl_send_took(struct tl_conn *c, uint32_t n); /* the kernel has taken N bytes */
void tl_send_done(struct tl_op *op, int res, uint32_t flags);
void tl_send_flush(struct tl_conn *c);
/* C is marked when its socket takes bytes again; until then a send counts as busy. */
void tl_send_wait(struct tl_conn *c);
int tl_send_pending(
    struct tl_conn *c); /* moves messages queued while dialing into the send buffer */
int tl_send_record(struct tl_conn *c, uint8_t type, const uint8_t *p, size_t n); /* user space */
void tl_send_drop(struct tl_conn *c);
void tl_send_drop_pending(struct tl_conn *c);
void tl_send_close_notify(struct tl_conn *c);

/* slow.c: peers that read too slowly */
/* Called by C's timer: has its peer taken less than send_min_rate over WINDOW_MS, while bytes
 * waited all the time? */
bool tl_slow_now(struct tl_conn *c, uint32_t window_ms);
/* A line about a connection that is reset for it, one a second. */
void tl_slow_log(struct tl_conn *c);
void tl_slow_log_refused(struct tl_conn *c);
/* A response for C was refused: C is reset at the end of the turn. */
void tl_conn_slow(struct tl_conn *c);

/* udp.c, accept.c */
int tl_udp_open(struct tl_net *n, int index, char *err, size_t cap);
void tl_udp_close(struct tl_udp *u);
int tl_accept_open(struct tl_net *n, int index, char *err, size_t cap);
void tl_accept_close(struct tl_listener *l);

/* Bodies hold half of the receive buffers: from here on bodies are copied, so that peers that send
 * or read slowly never leave the others without buffers. */
static inline bool tl_net_crowded(const struct tl_net *n) { return n->bufs.out > n->bufs.n / 2; }
static inline bool tl_conn_user_tls(const struct tl_conn *c) {
  return c->kept.tls && c->kept.tls->record;
}
