/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: permission to connect, lines in, replies out, all without
 * blocking.
 *
 * Ownership: the server's memory is its user's; it owns its descriptors, event
 * sources and buffers. Threads: that of the event loop. Errors: TL_EINVAL,
 * TL_EBUSY, TL_EIO and TL_ENOMEM with a sentence.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "tieline/slots.h"

#define TL_SERVER_CLIENTS 16
#define TL_SERVER_REQUEST 65536     /* bytes of one request */
#define TL_SERVER_PATIENCE_MS 30000 /* for a client to read its reply */

/* A client by name: a late answer reaches that client or none. */
struct tl_client_ref {
  uint32_t slot, gen;
};

struct tl_server;

struct tl_client {
  struct tl_server *server;
  sd_event_source *io;
  int fd;
  struct tl_client_ref name;
  char *in;
  size_t in_n, in_cap;
  char *out;
  size_t out_n, out_off;
  uint64_t out_since_ms;
  bool busy;    /* its request is being handled */
  bool eof;     /* it will send no more */
  bool closing; /* close once the reply is out */
};

struct tl_server {
  int fd;
  sd_event *event;
  sd_event_source *io;
  char path[108];
  bool made_dir;            /* we made the directory too */
  uint64_t accept_after_ms; /* 0: it accepts */
  struct tl_slots clients;
  unsigned n_client;
  /* Called with each request, which tl_server_reply answers now or later. LINE is valid only during
   * the call. */
  void (*request)(void *arg, struct tl_client_ref client, const char *line, size_t n);
  void *arg;
};

/* Listens at PATH and serves in the loop EVENT. */
int tl_server_open(struct tl_server *s, sd_event *event, const char *path, char *err, size_t cap);
void tl_server_close(struct tl_server *s);
/* Closes clients past their deadline, and accepts again after a pause. Returns the next such time,
 * UINT64_MAX: none. */
uint64_t tl_server_expire(struct tl_server *s, uint64_t now_ms);
/* Takes LINE over (malloc'd, with its newline); NULL: the request gets no answer. */
void tl_server_reply(struct tl_server *s, struct tl_client_ref client, char *line, size_t n,
                     uint64_t now_ms);
/* There is no memory for the answer that CLIENT waits for: its connection ends. */
void tl_server_give_up(struct tl_server *s, struct tl_client_ref client, uint64_t now_ms);
/* Sends what can be sent without waiting; called once before the process ends. */
void tl_server_flush(struct tl_server *s);
