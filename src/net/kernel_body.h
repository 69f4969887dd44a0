/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that stay in the kernel, from inside: how they fill and how they leave. Readers see
 * tieline/body.h, connections relay.c.
 *
 * Ownership: a body by its references; idle pipes by the worker's struct tl_pipes. Threads: one
 * worker's. Errors: negative errno where a system call's own matters, else as in tieline/body.h.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "tieline/body.h"
#include "tieline/counters.h"
#include "tieline/wheel.h"

#define TL_PIPES_IDLE 16u
#define TL_KERNEL_BODIES_MAX 128u /* per worker, a pipe or a memfd each: they take descriptors */

/* A worker's pipes between two bodies; those that nobody takes for some seconds are closed. */
struct tl_pipes {
  struct tl_counters *counters;
  struct tl_wheel *wheel;
  struct tl_timer timer;
  bool used; /* since the timer fired */
  int idle[TL_PIPES_IDLE][2];
  uint32_t n_idle;
  uint32_t n_bodies; /* that exist */
};
void tl_pipes_init(struct tl_pipes *s, struct tl_counters *counters, struct tl_wheel *wheel);
void tl_pipes_exit(struct tl_pipes *s);

/* An empty body with one reference. NULL: there are TL_KERNEL_BODIES_MAX, or no descriptors or no
 * memory. */
struct tl_kernel_body *tl_kernel_body_new(struct tl_pipes *s);
/* Takes up to MAX bytes that FD, a socket, has for us, and returns how many; 0 at the end of the
 * stream, but also at an empty TLS record. -EAGAIN: there is nothing; -EINVAL, with keys in the
 * kernel: a record other than data. Never waits; PLAIN: FD has no keys, its own splice would.
 * -ENOMEM: the body is lost. */
ssize_t tl_kernel_body_pull(struct tl_kernel_body *k, int fd, size_t max, bool plain);
/* Appends N bytes of memory. */
int tl_kernel_body_append(struct tl_kernel_body *k, const void *p, size_t n);
/* It is complete. */
int tl_kernel_body_done(struct tl_kernel_body *k);
/* Memory it takes at most. */
uint32_t tl_kernel_body_bytes(const struct tl_kernel_body *k);

/* Has its pipe been given to a connection? Then nobody else can have it. */
bool tl_kernel_body_gone(const struct tl_kernel_body *k);
/* Gives it to a connection, which pushes all of it once. */
void tl_kernel_body_give(struct tl_kernel_body *k);
/* Does it leave from a memfd? */
bool tl_kernel_body_in_file(const struct tl_kernel_body *k);
/* Sends up to MAX bytes from AT on to FD, a socket, without waiting; returns how many, or -errno.
 * MORE: others follow at once. The process must ignore SIGPIPE. From a pipe bytes leave in order,
 * AT says only where we are. */
ssize_t tl_kernel_body_push(struct tl_kernel_body *k, uint32_t at, size_t max, int fd, bool more);
/* Reads N bytes from AT on; K has been settled. */
int tl_kernel_body_read(const struct tl_kernel_body *k, uint32_t at, void *dst, size_t n);
