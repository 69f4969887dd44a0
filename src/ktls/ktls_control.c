/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records other than data through a socket with keys: the kernel passes their
 * type in a control message. Their meaning is src/record's matter.
 */
#include <errno.h>
#include <linux/tls.h>
#include <string.h>
#include <sys/socket.h>

#include "ktls/ktls_internal.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

_Static_assert(CMSG_SPACE(1) <= TL_KTLS_CMSG, "room for the record type");

void tl_ktls_msg_type(struct msghdr *msg, uint8_t *cbuf, uint8_t type) {
  memset(cbuf, 0, TL_KTLS_CMSG);
  msg->msg_control = cbuf;
  msg->msg_controllen = CMSG_SPACE(1);
  struct cmsghdr *c = CMSG_FIRSTHDR(msg);
  c->cmsg_level = SOL_TLS;
  c->cmsg_type = TLS_SET_RECORD_TYPE;
  c->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(c) = type;
}

/* False if MSG does not tell the type of its bytes. */
static bool record_type(struct msghdr *msg, uint8_t *out) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
    if (c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE) {
      *out = *CMSG_DATA(c);
      return true;
    }
  return false;
}

static int recv_error(int err) {
  switch (err) {
  case EAGAIN: return TL_EAGAIN;
  case EBADMSG: return TL_EBADMAC;
  case EINVAL: /* wrong version in the header */
  case EMSGSIZE: return TL_ETLS;
  case EKEYEXPIRED: return TL_EBUSY;
  case ECONNRESET:
  case EPIPE: return TL_ECLOSED;
  default: return TL_EIO;
  }
}

int tl_ktls_recv(int fd, uint8_t *buf, size_t cap, uint8_t *out_type, size_t *out_n) {
  uint8_t cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct iovec iov = {buf, cap};
  struct msghdr msg = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = cbuf, .msg_controllen = sizeof(cbuf)};
  ssize_t n;
  do n = recvmsg(fd, &msg, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) return recv_error(errno);
  if (msg.msg_flags & MSG_CTRUNC) return TL_EIO; /* the type would be a guess */
  bool typed = record_type(&msg, out_type);
  if (!typed && n == 0) return TL_ECLOSED; /* an empty control record has its type */
  if (!typed) *out_type = TL_CT_DATA;
  *out_n = (size_t)n;
  return TL_OK;
}

int tl_ktls_send_alert(int fd, uint8_t level, uint8_t alert) {
  uint8_t body[2] = {level, alert}, cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct iovec iov = {body, sizeof(body)};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  int err;
  socklen_t len = sizeof(err);
  /* A record that failed to authenticate leaves an error on the socket, which would refuse the
   * alert as well. */
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
  tl_ktls_msg_type(&msg, cbuf, TL_CT_ALERT);
  ssize_t n;
  do n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n == (ssize_t)sizeof(body)) return TL_OK;
  return n < 0 && errno == EAGAIN ? TL_EAGAIN : TL_EIO;
}
