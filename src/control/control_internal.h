/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of the control thread and how they call each other.
 *
 *   server.c        unix socket, clients, lines (server.h); control_socket.c hands each line to
 *                   command.c
 *   rpc.c           JSON-RPC envelopes (rpc.h)
 *   command.c       the table of commands, dispatch; command_answer.c their answers (command.h)
 *   gather.c        collects the connections of all workers, within a deadline (gather.h)
 *   show_commands.c connections, tls_list; connection.c one connection, and closing it;
 *                   peers_command.c, handshakes.c, keylog_command.c, explain_*.c, stats.c,
 *                   reload.c (reload.h) as named; params.c, json_values.c what they have in common
 *                   (json_values.h)
 *   admin.c         administrators' states of peers (admin.h); admin_command.c sets them
 *   peer_names.c    re-resolves the names of peers; due_heap.c which is the next
 *   trust_service.c runs what src/trust does; trust_commands.c and ledger_command.c show it
 *   watch.c         reloads when files have changed (watch.h)
 *   control_loop.c  the loop and the list of its services (service.h): most of the above are some,
 *                   and so are signals.c and drain.c
 *
 * Here is what they are part of, and the services that control_loop.c lists.
 *
 * Ownership: one struct tl_control, the main thread's. Threads: that one only.
 * Errors: enum tl_err; towards clients JSON-RPC codes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/due_heap.h"
#include "control/server.h"
#include "control/service.h"
#include "tieline/time.h"
#include "tieline/trust.h"
#include "tieline/view.h"

/* ---- control_loop.c */

enum tl_control_state { TL_CONTROL_RUNNING, TL_CONTROL_DRAINING, TL_CONTROL_STOPPED };

struct tl_admin;
struct tl_gather;
struct tl_question;
struct tl_explain;
struct tl_watch;
struct tl_signals;

struct tl_control {
  struct tl_runtime *rt;
  sd_event *event;
  struct tl_control_services services;
  char problem[256]; /* why a service does not start, "": its error tells */
  struct tl_server server;
  struct tl_signals *signals;
  sd_event_source *mail;
  enum tl_control_state state;
  uint64_t started_ms, drain_until_ms;
  uint64_t rss_start; /* bytes, once all threads ran */
  struct tl_gather *gathers;
  struct tl_question *questions; /* of `explain request`, under way to workers */
  struct tl_admin *admin;        /* admin.c */
  struct tl_trust_state trust;
  struct tl_watch *watch;
  struct {
    struct tl_due_heap row; /* ids of the peers whose names are not being looked up, by next_ms */
    unsigned asking;        /* look-ups under way */
    bool changed;           /* the published table of peers lacks some of their addresses */
    bool incomplete;        /* for want of memory some peers are not in the row */
    uint64_t next_ms;       /* before it neither is made up for */
  } names;
};

/* ---- drain.c */

/* Begins to drain; when already draining, ends at once. */
void tl_control_shutdown(struct tl_control *c);
/* While draining: has everything ended, or is the time over? */
extern const struct tl_control_service tl_drain_service;

/* ---- signals.c, control_socket.c */

extern const struct tl_control_service tl_signals_service, tl_socket_service;

/* ---- peer_names.c: names of peers, re-resolved when their answers expire */

struct tl_peer_addrs;
/* T's set of peers is about to be in force: takes over the addresses found while it was made, and
 * looks its names up at once. */
void tl_names_adopt(struct tl_control *c, const struct tl_peer_table *t);
/* Looks up the names whose answers have expired. */
extern const struct tl_control_service tl_names_service;

/* ---- admin.c: reads the states that administrators have set */

extern const struct tl_control_service tl_admin_service;

/* ---- stats.c */

/* Resident bytes of this process, 0 if unknown. */
uint64_t tl_stats_rss(void);

/* ---- explain_request.c */

/* Answers the questions past their deadline. */
extern const struct tl_control_service tl_explain_service;

/* ---- keylog_command.c */

/* Ends the key log when its time is over or a reload has withdrawn the permission. */
extern const struct tl_control_service tl_keylog_service;

/* ---- trust_service.c: src/trust */

/* A worker's struct tl_ocsp_ask. */
extern const struct tl_mail_kind tl_ocsp_question;
/* Does what is due; stopped when the mailbox has been emptied. */
extern const struct tl_control_service tl_trust_service;
/* The part of it that waits for servers and comes back by mail. */
extern const struct tl_control_service tl_fetch_service;
