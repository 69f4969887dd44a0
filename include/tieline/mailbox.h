/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded queues between threads: many writers, one reader, woken through an
 * eventfd. Order is kept per writer. What becomes of a mail, its kind says: the
 * mailbox knows nothing of its payload.
 *
 * Ownership: a mail belongs to the sender until tl_mailbox_post returns 0, then
 * to the mailbox, whose reader delivers or drops it. Threads: post any; take,
 * deliver and drop only the reader, or whoever has joined it. Errors: TL_ELIMIT
 * when CAP mails wait, or TL_MAILBOX_BYTES of messages; the sender keeps the mail
 * and its policy decides.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tieline/err.h"

struct tl_mail;

/* One kind of mail, for one kind of reader: a constant in the file that owns the payload, which
 * holds its struct tl_mail as first member. */
struct tl_mail_kind {
  const char *name;
  /* Handles M, which it takes over. READER is what the reader's loop gives tl_mailbox_deliver. */
  void (*deliver)(void *reader, struct tl_mail *m);
  /* Nobody will read M: frees it and all it holds, or returns a question to its sender. */
  void (*drop)(struct tl_mail *m);
};

struct tl_mail {
  struct tl_mail *next;
  const struct tl_mail_kind *kind;
  uint32_t bytes; /* of the message in it, as it was posted */
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
/* Drops what is left. */
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
/* Takes and delivers at most MAX; returns how many. */
uint32_t tl_mailbox_deliver(struct tl_mailbox *mb, void *reader, uint32_t max);
/* Takes and drops all; returns how many. */
uint32_t tl_mailbox_drop(struct tl_mailbox *mb);
static inline uint32_t tl_mailbox_depth(const struct tl_mailbox *mb) {
  return atomic_load_explicit(&mb->count, memory_order_relaxed);
}

/* Where mail of one kind goes: what a question carries for its answer, and how a lower room reaches
 * a reader it does not know. Mail to an address whose TO is NULL is refused. */
struct tl_mail_address {
  struct tl_mailbox *to;
  const struct tl_mail_kind *kind;
};
/* Makes M mail of A's kind and posts it; the sender keeps it on an error: TL_ELIMIT, TL_EBUSY. */
int tl_mail_send(const struct tl_mail_address *a, struct tl_mail *m);
/* The same, but M is dropped where A takes it no more. */
void tl_mail_return(const struct tl_mail_address *a, struct tl_mail *m);
