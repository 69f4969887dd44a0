/* SPDX-License-Identifier: Apache-2.0 */
/* Mailboxes: order per writer, bounds, and no wake-up lost between many writers and one reader. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "tieline/mailbox.h"

#define WRITERS 4
#define EACH 20000

struct letter {
  struct tl_mail mail;
  int writer, number;
};

struct writer {
  pthread_t thread;
  struct tl_mailbox *mb;
  int id;
};

static void *write_all(void *arg) {
  struct writer *w = arg;
  for (int i = 0; i < EACH; i++) {
    struct letter *l = malloc(sizeof(*l));
    l->writer = w->id;
    l->number = i;
    while (tl_mailbox_post(w->mb, &l->mail)) sched_yield();
  }
  return NULL;
}

Test(base_mailbox, nothing_is_lost_and_each_writers_order_holds, .timeout = 40) {
  struct tl_mailbox mb;
  struct writer w[WRITERS];
  int next[WRITERS] = {0}, total = 0;
  cr_assert_eq(tl_mailbox_init(&mb, 1000), 0);
  for (int i = 0; i < WRITERS; i++) {
    w[i] = (struct writer){.mb = &mb, .id = i};
    pthread_create(&w[i].thread, NULL, write_all, &w[i]);
  }
  while (total < WRITERS * EACH) {
    struct pollfd p = {.fd = mb.efd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 20000), 1, "a wake-up was lost at %d", total);
    tl_mailbox_rearm(&mb);
    for (struct tl_mail *m; (m = tl_mailbox_take(&mb)) != NULL; total++) {
      struct letter *l = (struct letter *)m;
      cr_assert_eq(l->number, next[l->writer]);
      next[l->writer]++;
      free(l);
    }
  }
  for (int i = 0; i < WRITERS; i++) pthread_join(w[i].thread, NULL);
  cr_expect_eq(tl_mailbox_depth(&mb), 0);
  tl_mailbox_destroy(&mb);
}

Test(base_mailbox, a_full_box_refuses_and_the_sender_keeps_the_mail) {
  struct tl_mailbox mb;
  struct tl_mail m[3];
  cr_assert_eq(tl_mailbox_init(&mb, 2), 0);
  cr_expect_eq(tl_mailbox_post(&mb, &m[0]), 0);
  cr_expect_eq(tl_mailbox_post(&mb, &m[1]), 0);
  cr_expect_eq(tl_mailbox_post(&mb, &m[2]), TL_ELIMIT);
  cr_expect_eq(tl_mailbox_depth(&mb), 2);
  cr_expect_eq(tl_mailbox_take(&mb), &m[0]);
  cr_expect_eq(tl_mailbox_post(&mb, &m[2]), 0);
  cr_expect_eq(tl_mailbox_take(&mb), &m[1]);
  cr_expect_eq(tl_mailbox_take(&mb), &m[2]);
  cr_expect_null(tl_mailbox_take(&mb));
  tl_mailbox_destroy(&mb);
}

static bool readable(const struct tl_mailbox *mb) {
  struct pollfd p = {.fd = mb->efd, .events = POLLIN};
  return poll(&p, 1, 0) == 1;
}

Test(base_mailbox, one_wake_up_serves_until_rearmed) {
  struct tl_mailbox mb;
  struct tl_mail m[2];
  cr_assert_eq(tl_mailbox_init(&mb, 10), 0);
  cr_expect(!readable(&mb));
  tl_mailbox_wake(&mb);
  cr_expect(readable(&mb));
  tl_mailbox_rearm(&mb);
  cr_expect(!readable(&mb));
  tl_mailbox_post(&mb, &m[0]);
  tl_mailbox_post(&mb, &m[1]);
  cr_expect(readable(&mb));
  tl_mailbox_rearm(&mb);
  cr_expect(!readable(&mb), "two posts need one wake-up");
  cr_expect_eq(tl_mailbox_take(&mb), &m[0]);
  cr_expect_eq(tl_mailbox_take(&mb), &m[1]);
  tl_mailbox_destroy(&mb);
}
