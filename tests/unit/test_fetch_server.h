/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP server on the loopback, for what fetches: one thread per
 * connection, an answer by path.
 *
 * Ownership: web_open and web_close around each test. Threads: the answer
 * function runs in the server's threads. Errors: the test fails.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct web_request {
  char method[8], path[256], type[64];
  uint8_t body[8192];
  size_t body_n;
  int fd; /* the answer goes here */
};

typedef void (*web_fn)(const struct web_request *r);

/* Serves on a port of its own, which it gives. */
unsigned web_open(web_fn fn);
void web_close(void);
/* Requests seen so far. */
unsigned web_requests(void);
/* False: the other side has left. */
bool web_say(int fd, const char *text);
bool web_send(int fd, const void *p, size_t n);
/* 200 with an object of TYPE. */
void web_answer(int fd, const char *type, const void *p, size_t n);
