/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every dial gets exactly one answer: the connection or why there is none. One that
 * finds the worker's mailbox full waits here; there are never more of them than
 * dials.
 */
#include <stdlib.h>

#include "hs/handshaker.h"
#include "tieline/container.h"
#include "tieline/log.h"

#define RETRY_MS 10

/* Retries the waiting answers from the front, so that each worker gets its answers in order. */
void tl_hk_retry(struct tl_timer *t, void *arg) {
  (void)arg;
  struct tl_handshaker *hk = tl_container_of(t, struct tl_handshaker, retry);
  struct tl_handoff *h = hk->unanswered;
  hk->unanswered = NULL;
  while (h) {
    struct tl_handoff *next = (struct tl_handoff *)h->mail.next;
    tl_hk_post_answer(hk, h, h->worker);
    h = next;
  }
}

void tl_hk_post_answer(struct tl_handshaker *hk, struct tl_handoff *h, unsigned worker) {
  if (tl_handoff_post(hk->th.rt->worker[worker], h) == 0) return;
  tl_count(&hk->th.counters, TL_C_MAIL_FULL);
  h->worker = worker;
  struct tl_handoff **p = &hk->unanswered;
  while (*p) p = (struct tl_handoff **)&(*p)->mail.next;
  h->mail.next = NULL;
  *p = h;
  if (!tl_timer_running(&hk->retry)) tl_hk_timer_at(hk, &hk->retry, tl_now_ms() + RETRY_MS);
}

void tl_hk_dial_answer(struct tl_handshaker *hk, struct tl_dial *d, int rc) {
  struct tl_handoff *h = calloc(1, sizeof(*h));
  if (h) {
    h->rt = hk->th.rt;
    h->rc = rc ? rc : TL_EIO;
    h->fd = -1;
    h->conn = d->conn;
    h->peer = d->addr;
    tl_hk_post_answer(hk, h, d->worker);
  } else {
    TL_LOG(TL_LOG_ERROR, "Out of memory: a failed dial could not be reported to its worker.",
           TL_FI("worker", d->worker)); /* whose own deadline covers it */
  }
  tl_dial_free(d);
}

void tl_hk_answers_drop(struct tl_handshaker *hk) {
  while (hk->unanswered) {
    struct tl_handoff *h = hk->unanswered;
    hk->unanswered = (struct tl_handoff *)h->mail.next;
    tl_handoff_free(h);
  }
  tl_timer_stop(&hk->wheel, &hk->retry);
}
