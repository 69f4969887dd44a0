/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded queues between threads: many writers, one reader, woken through an
 * eventfd. Order is kept per writer.
 *
 * Ownership: a mail belongs to the sender until tl_mailbox_post returns 0, then
 * to the reader. Threads: post any; take only the owner. Errors: TL_ELIMIT when
 * CAP mails wait, or TL_MAILBOX_BYTES of messages; the sender keeps the mail and
 * its policy decides.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tieline/err.h"

struct tl_mail {
  struct tl_mail *next;
  int type;       /* meaning is the reader's: enum tl_mail_type in runtime.h */
  uint32_t bytes; /* of the message it carries, as posted */
};

#define TL_MAILBOX_BYTES ((size_t)64 << 20)

struct tl_mailbox {
  _Atomic(struct tl_mail *) posted; /* newest first */
  struct tl_mail *taken;            /* oldest first, the reader's alone */
  _Atomic uint32_t count;
  _Atomic size_t bytes;   /* of messages that are waiting */
  _Atomic uint32_t awake; /* a wake-up is already on its way */
  uint32_t cap;
  int efd;
};

int tl_mailbox_init(struct tl_mailbox *mb, uint32_t cap);
void tl_mailbox_destroy(struct tl_mailbox *mb);
/* Queues M and wakes the reader. */
int tl_mailbox_post(struct tl_mailbox *mb, struct tl_mail *m);
/* The same for mail that carries a message of BYTES. */
int tl_mailbox_post_bytes(struct tl_mailbox *mb, struct tl_mail *m, uint32_t bytes);
/* Wakes the reader without a mail. */
void tl_mailbox_wake(struct tl_mailbox *mb);
/* Next mail or NULL. Call tl_mailbox_rearm first, then take until NULL. */
struct tl_mail *tl_mailbox_take(struct tl_mailbox *mb);
/* Resets the eventfd after a wake-up, so that the next post wakes again. */
void tl_mailbox_rearm(struct tl_mailbox *mb);
static inline uint32_t tl_mailbox_depth(const struct tl_mailbox *mb) {
  return atomic_load_explicit(&mb->count, memory_order_relaxed);
}
