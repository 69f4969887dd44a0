/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded many-to-one queue and an eventfd. Writers push onto a shared stack;
 * the reader takes all of it at once and turns it round, so neither ever waits
 * for the other. (liburcu's wfcqueue does the same, but its assembly hides the
 * ordering from ThreadSanitizer.)
 */
#include "tieline/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

int tl_mailbox_init(struct tl_mailbox *mb, uint32_t cap) {
  atomic_init(&mb->posted, NULL);
  mb->taken = NULL;
  atomic_init(&mb->count, 0);
  atomic_init(&mb->bytes, 0);
  atomic_init(&mb->awake, 0);
  mb->cap = cap;
  mb->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return mb->efd < 0 ? TL_EIO : TL_OK;
}

void tl_mailbox_destroy(struct tl_mailbox *mb) {
  tl_mailbox_drop(mb);
  if (mb->efd >= 0) close(mb->efd);
  mb->efd = -1;
}

void tl_mailbox_wake(struct tl_mailbox *mb) {
  if (atomic_exchange(&mb->awake, 1)) return;
  uint64_t one = 1;
  ssize_t n;
  do n = write(mb->efd, &one, sizeof(one));
  while (n < 0 && errno == EINTR);
}

static int push_mail(struct tl_mailbox *mb, struct tl_mail *m) {
  if (atomic_fetch_add(&mb->count, 1) >= mb->cap) {
    atomic_fetch_sub(&mb->count, 1);
    return TL_ELIMIT;
  }
  m->next = atomic_load(&mb->posted);
  while (!atomic_compare_exchange_weak(&mb->posted, &m->next, m)) {
  }
  tl_mailbox_wake(mb);
  return TL_OK;
}

int tl_mailbox_post(struct tl_mailbox *mb, struct tl_mail *m) {
  m->bytes = 0;
  return push_mail(mb, m);
}

int tl_mailbox_post_bytes(struct tl_mailbox *mb, struct tl_mail *m, uint32_t bytes) {
  m->bytes = bytes;
  int rc = atomic_fetch_add(&mb->bytes, bytes) < TL_MAILBOX_BYTES ? push_mail(mb, m) : TL_ELIMIT;
  if (rc) atomic_fetch_sub(&mb->bytes, bytes);
  return rc;
}

void tl_mailbox_rearm(struct tl_mailbox *mb) {
  uint64_t n;
  ssize_t rc = read(mb->efd, &n, sizeof(n));
  (void)rc; /* EAGAIN: an io_uring read or another turn took it already */
  atomic_store(&mb->awake, 0);
}

struct tl_mail *tl_mailbox_take(struct tl_mailbox *mb) {
  if (!mb->taken) {
    struct tl_mail *m = atomic_exchange(&mb->posted, NULL);
    while (m) {
      struct tl_mail *next = m->next;
      m->next = mb->taken;
      mb->taken = m;
      m = next;
    }
  }
  struct tl_mail *m = mb->taken;
  if (!m) return NULL;
  mb->taken = m->next;
  atomic_fetch_sub(&mb->count, 1);
  if (m->bytes) atomic_fetch_sub(&mb->bytes, m->bytes);
  return m;
}

uint32_t tl_mailbox_deliver(struct tl_mailbox *mb, void *reader, uint32_t max) {
  uint32_t n = 0;
  for (struct tl_mail *m; n < max && (m = tl_mailbox_take(mb)) != NULL; n++)
    m->kind->deliver(reader, m);
  return n;
}

uint32_t tl_mailbox_drop(struct tl_mailbox *mb) {
  uint32_t n = 0;
  for (struct tl_mail *m; (m = tl_mailbox_take(mb)) != NULL; n++) m->kind->drop(m);
  return n;
}

int tl_mail_send(const struct tl_mail_address *a, struct tl_mail *m) {
  if (!a->to) return TL_EBUSY;
  m->kind = a->kind;
  return tl_mailbox_post(a->to, m);
}

void tl_mail_return(const struct tl_mail_address *a, struct tl_mail *m) {
  if (tl_mail_send(a, m)) a->kind->drop(m);
}
