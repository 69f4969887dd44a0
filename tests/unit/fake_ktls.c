/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel's TLS in user space; the promises stand in the header. */
#include "fake_ktls.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tieline/container.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define PROBED_MAX 16
#define OLD_MAX 128

int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

union info {
  struct tls_crypto_info info;
  struct tls12_crypto_info_aes_gcm_128 aes_128;
  struct tls12_crypto_info_aes_gcm_256 aes_256;
  struct tls12_crypto_info_chacha20_poly1305 chacha;
};

struct direction {
  bool set;
  union info given;
  struct tl_record *record; /* NULL on sockets that carry nothing */
};

/* Those of a probe have the ULP and keys, but no wire. */
struct sock {
  int fd; /* 0: none */
  bool ulp;
  struct direction tx, rx;
};

struct bytes {
  uint8_t p[1u << 20];
  size_t n;
};

struct fake_ktls fake_ktls;
static bool active;
static struct sock socks[PROBED_MAX]; /* the first one has the wire */
static struct sock *const wired = &socks[0];
static int inner = -1;   /* our end of its pair */
static int old[OLD_MAX]; /* of the pairs before, until their last byte is sent, oldest first */
static unsigned n_old;
static struct bytes in, out;
static uint8_t control[TL_RECORD_PLAIN_MAX];
static size_t control_n;
static uint8_t control_type; /* 0: no record waits for recvmsg */
static bool key_pending;     /* a KeyUpdate was received, its key has not come */
static int broken;           /* errno that receives get for ever */
static bool stopped;         /* the pair tells its reader to look at the three above */

/* ---- keys ---- */

static socklen_t info_len(const union info *c) {
  switch (c->info.cipher_type) {
  case TLS_CIPHER_AES_GCM_128: return sizeof(c->aes_128);
  case TLS_CIPHER_AES_GCM_256: return sizeof(c->aes_256);
  case TLS_CIPHER_CHACHA20_POLY1305: return sizeof(c->chacha);
  default: return 0;
  }
}

static unsigned char *info_seq(union info *c) {
  switch (c->info.cipher_type) {
  case TLS_CIPHER_AES_GCM_128: return c->aes_128.rec_seq;
  case TLS_CIPHER_AES_GCM_256: return c->aes_256.rec_seq;
  default: return c->chacha.rec_seq;
  }
}

static void read_gcm(struct tl_dir_keys *d, const unsigned char *key, size_t key_len,
                     const unsigned char *salt, const unsigned char *iv) {
  memcpy(d->key, key, key_len);
  memcpy(d->iv, salt, 4);
  memcpy(d->iv + 4, iv, 8);
  memcpy(d->explicit_iv, iv, 8);
}

static struct tl_record *record_of(union info *c, bool tx) {
  struct tl_tls_keys k = {.version = (enum tl_tls_version)c->info.version};
  struct tl_dir_keys *d = tx ? &k.tx : &k.rx;
  struct tl_record *r;
  uint64_t seq;
  switch (c->info.cipher_type) {
  case TLS_CIPHER_AES_GCM_128:
    k.cipher = TL_AES_128_GCM;
    read_gcm(d, c->aes_128.key, sizeof(c->aes_128.key), c->aes_128.salt, c->aes_128.iv);
    break;
  case TLS_CIPHER_AES_GCM_256:
    k.cipher = TL_AES_256_GCM;
    read_gcm(d, c->aes_256.key, sizeof(c->aes_256.key), c->aes_256.salt, c->aes_256.iv);
    break;
  default:
    k.cipher = TL_CHACHA20_POLY1305;
    memcpy(d->key, c->chacha.key, sizeof(c->chacha.key));
    memcpy(d->iv, c->chacha.iv, sizeof(c->chacha.iv));
  }
  k.key_len = k.cipher == TL_AES_128_GCM ? 16 : 32;
  memcpy(&seq, info_seq(c), sizeof(seq));
  d->seq = be64toh(seq);
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  return r;
}

/* The errno, 0 if the key may be taken. */
static int judge_key(const struct sock *s, bool tx, const union info *c, socklen_t len) {
  const struct direction *d = tx ? &s->tx : &s->rx, *other = tx ? &s->rx : &s->tx;
  if (d->set && (!fake_ktls.rekeys || d->given.info.version != TLS_1_3_VERSION)) return EBUSY;
  const struct direction *same = d->set ? d : other;
  if (same->set && (c->info.version != same->given.info.version ||
                    c->info.cipher_type != same->given.info.cipher_type))
    return EINVAL;
  if (c->info.version != TLS_1_2_VERSION && c->info.version != TLS_1_3_VERSION) return EINVAL;
  return info_len(c) == len ? 0 : EINVAL;
}

static void drain(void);
static void go_on(void);

static int take_key(struct sock *s, bool tx, const void *value, socklen_t len) {
  struct direction *d = tx ? &s->tx : &s->rx;
  int *refuse = tx ? &fake_ktls.refuse_tx : &fake_ktls.refuse_rx, err = *refuse;
  union info c = {0};
  if (!s->ulp) return ENOPROTOOPT;
  if (len < sizeof(c.info) || len > sizeof(c)) return EINVAL;
  memcpy(&c, value, len);
  *refuse = 0;
  if (!err) err = judge_key(s, tx, &c, len);
  if (err) return err;
  if (s == wired) {
    if (tx) drain(); /* what was sent before is under the key before */
    tl_record_free(d->record);
    d->record = record_of(&c, tx);
    *(tx ? &fake_ktls.tx_keys : &fake_ktls.rx_keys) += 1;
  }
  d->given = c;
  d->set = true;
  if (s == wired && !tx) {
    key_pending = false;
    go_on();
  }
  return 0;
}

/* ---- from the wire ---- */

static void stop(void) {
  if (!stopped) shutdown(inner, SHUT_WR);
  stopped = true;
}

static void keep_control(const struct tl_record_view *v) {
  memcpy(control, v->p, v->n);
  control_n = v->n;
  control_type = v->type;
  if (v->type == TL_CT_HANDSHAKE && v->n && v->p[0] == 24) key_pending = true;
}

/* Opens what has arrived, up to a record that is no data, or one that cannot be opened. */
static void advance(void) {
  size_t at = 0;
  while (!stopped && wired->rx.record) {
    struct tl_record_view v;
    int rc = tl_record_open(wired->rx.record, in.p + at, in.n - at, &v);
    if (rc == TL_EAGAIN) break;
    if (rc) {
      broken = EBADMSG;
      stop();
      break;
    }
    at += v.used;
    if (v.type == TL_CT_DATA) {
      if (v.n) cr_assert_eq(send(inner, v.p, v.n, MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t)v.n);
      continue;
    }
    keep_control(&v);
    stop();
  }
  memmove(in.p, in.p + at, in.n - at);
  in.n -= at;
}

/* The connection's socket is another pair from here on: the one before has told its end. */
static void renew_pair(void) {
  int pair[2];
  drain();
  cr_assert_lt(n_old, OLD_MAX);
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  old[n_old++] = inner;
  inner = pair[1];
  cr_assert_eq(dup2(pair[0], wired->fd), wired->fd);
  close(pair[0]);
  stopped = false;
}

static void go_on(void) {
  if (stopped && !control_type && !key_pending && !broken) renew_pair();
  advance();
}

void fake_ktls_feed(const void *p, size_t n) {
  cr_assert(in.n + n <= sizeof(in.p));
  memcpy(in.p + in.n, p, n);
  in.n += n;
  advance();
}

/* What a receive gives now that its pair has ended. */
static int end_result(void) {
  if (control_type) return -EIO;
  if (broken) return -broken;
  if (key_pending) {
    fake_ktls.expired++;
    return -EKEYEXPIRED;
  }
  return 0;
}

static void recv_done(struct tl_op *op, int res, uint32_t flags) {
  tl_recv_done(op, res == 0 && stopped ? end_result() : res, flags);
}

void fake_ktls_hook(struct tl_conn *c) { c->recv_op.fn = recv_done; }

/* ---- to the wire ---- */

static void seal(uint8_t type, const uint8_t *p, size_t n) {
  size_t len;
  cr_assert(out.n + n + 256 <= sizeof(out.p));
  cr_assert_eq(tl_record_seal_from(wired->tx.record, type, p, n, out.p + out.n, &len), 0);
  out.n += len;
}

/* True once FD has ended. */
static bool drain_one(int fd) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  ssize_t n;
  while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) seal(TL_CT_DATA, buf, (size_t)n);
  return n == 0 || errno != EAGAIN;
}

static void drain(void) {
  while (n_old && drain_one(old[0])) {
    close(old[0]);
    memmove(old, old + 1, --n_old * sizeof(old[0]));
  }
  if (!n_old) drain_one(inner);
}

size_t fake_ktls_wire(void *buf, size_t cap) {
  drain();
  size_t n = out.n < cap ? out.n : cap;
  memcpy(buf, out.p, n);
  memmove(out.p, out.p + n, out.n - n);
  out.n -= n;
  return n;
}

bool fake_ktls_ended(void) {
  drain();
  return out.n == 0 && n_old == 0 && drain_one(inner);
}

/* ---- the seam ---- */

static struct sock *sock_of(int fd) {
  for (size_t i = 0; active && i < PROBED_MAX; i++)
    if (socks[i].fd == fd) return &socks[i];
  return NULL;
}

/* A probe closes its sockets and gets the same numbers again. */
static struct sock *sock_for_ulp(int fd) {
  struct sock *s = sock_of(fd);
  for (size_t i = 1; active && !s && i < PROBED_MAX; i++)
    if (!socks[i].fd) s = &socks[i];
  if (s && s != wired) *s = (struct sock){.fd = fd};
  return s;
}

static int failed(int err) {
  if (err) errno = err;
  return err ? -1 : 0;
}

static int set_ulp(struct sock *s) {
  if (s->ulp) return failed(EEXIST);
  s->ulp = true;
  return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
  struct sock *s = level == IPPROTO_TCP && name == TCP_ULP ? sock_for_ulp(fd) : sock_of(fd);
  if (!s || (level != SOL_TLS && name != TCP_ULP))
    return __real_setsockopt(fd, level, name, value, len);
  if (level != SOL_TLS) return set_ulp(s);
  switch (name) {
  case TLS_TX:
  case TLS_RX: return failed(take_key(s, name == TLS_TX, value, len));
  case TLS_RX_EXPECT_NO_PAD:
    return failed(s->rx.set && s->rx.given.info.version == TLS_1_3_VERSION ? 0 : EINVAL);
  default: return failed(ENOPROTOOPT);
  }
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len) {
  struct sock *s = sock_of(fd);
  if (!s || level != SOL_TLS) return __real_getsockopt(fd, level, name, value, len);
  bool tx = name == TLS_TX;
  struct direction *d = tx ? &s->tx : &s->rx;
  if (!d->set || *len != info_len(&d->given)) return failed(EINVAL);
  if (tx) drain();
  union info c = d->given;
  uint64_t seq = htobe64(tx ? tl_record_seq_tx(d->record) : tl_record_seq_rx(d->record));
  memcpy(info_seq(&c), &seq, sizeof(seq));
  memcpy(value, &c, *len);
  return 0;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags) {
  struct cmsghdr *c = sock_of(fd) == wired && active ? CMSG_FIRSTHDR(msg) : NULL;
  if (!c || c->cmsg_level != SOL_TLS) return __real_sendmsg(fd, msg, flags);
  cr_assert(wired->tx.record && c->cmsg_type == TLS_SET_RECORD_TYPE && msg->msg_iovlen == 1);
  if (fake_ktls.full) {
    fake_ktls.full--;
    return failed(EAGAIN);
  }
  drain(); /* the order of what was sent stays */
  seal(*CMSG_DATA(c), msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len);
  return (ssize_t)msg->msg_iov[0].iov_len;
}

static void tell_type(struct msghdr *msg, uint8_t type) {
  cr_assert_geq(msg->msg_controllen, CMSG_SPACE(1));
  msg->msg_controllen = CMSG_SPACE(1);
  struct cmsghdr *c = CMSG_FIRSTHDR(msg);
  c->cmsg_level = SOL_TLS;
  c->cmsg_type = TLS_GET_RECORD_TYPE;
  c->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(c) = type;
}

static ssize_t give_control(struct msghdr *msg) {
  size_t n = control_n;
  cr_assert(msg->msg_iov[0].iov_len >= n);
  memcpy(msg->msg_iov[0].iov_base, control, n);
  tell_type(msg, control_type);
  control_type = 0;
  go_on();
  return (ssize_t)n;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags) {
  if (!active || sock_of(fd) != wired) return __real_recvmsg(fd, msg, flags);
  ssize_t n = recv(fd, msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len, flags);
  msg->msg_flags = 0;
  if (n == 0 && stopped) return control_type ? give_control(msg) : failed(-end_result());
  if (n > 0)
    tell_type(msg, TL_CT_DATA);
  else
    msg->msg_controllen = 0;
  return n;
}

/* ---- begin and end ---- */

void fake_ktls_begin(bool rekeys) {
  fake_ktls = (struct fake_ktls){.rekeys = rekeys};
  memset(socks, 0, sizeof(socks));
  in.n = out.n = 0;
  control_type = 0;
  key_pending = stopped = false;
  broken = 0;
  active = true;
}

int fake_ktls_socket(void) {
  int pair[2];
  cr_assert(active && !wired->fd);
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  inner = pair[1];
  wired->fd = pair[0];
  return pair[0];
}

void fake_ktls_end(void) {
  tl_record_free(wired->tx.record);
  tl_record_free(wired->rx.record);
  memset(socks, 0, sizeof(socks));
  if (inner >= 0) close(inner);
  while (n_old) close(old[--n_old]);
  inner = -1;
  active = false;
}
