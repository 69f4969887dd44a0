/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name server for tests: one zone, UDP and TCP on loopback, a thread of its own;
 * unit tests have it in their process, flow tests as the program name_server.
 * Unless it is plain, names that contain "silent" get no answer, "refused" a server failure, "big"
 * one record and TC over UDP, all over TCP, "cut" TC always; "letters" comes back in lower case
 * over UDP, "shout" in upper case; "mute" closes TCP; for "old" the server does not know EDNS;
 * "twice" gets a format error right behind each answer over UDP. With "only-srv" or "only-naptr" in
 * it a name is refused or cut for that type alone. What is not in the zone does not exist.
 *
 * Ownership: the zone stays the caller's and alive until the next one is in
 * force. Threads: one server at a time, started and stopped by one thread.
 * Errors: asserted, none is expected.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { T_A = 1, T_CNAME = 5, T_AAAA = 28, T_SRV = 33, T_NAPTR = 35 };

struct zone_record {
  const char *name;
  uint16_t type;
  const char *data; /* address; "priority weight port target"; NAPTR: "order preference flags
                       service regexp replacement", - for an empty text */
};

struct dnsd_options {
  uint16_t port;   /* 0: one that is free */
  unsigned ttl;    /* of all records */
  size_t udp_size; /* an answer over it keeps the records that fit, and gets TC; 0: no bound */
  bool silent;     /* never answers */
  bool plain;      /* no name has a meaning of its own */
};
void dnsd_open(const struct dnsd_options *o, const struct zone_record *zone, size_t n);
/* The usual options: a minute, names with meanings. */
void dnsd_start(const struct zone_record *zone, size_t n);
void dnsd_stop(void);
/* Another zone from now on. */
void dnsd_zone(const struct zone_record *zone, size_t n);
uint16_t dnsd_port(void);
unsigned dnsd_asked(void); /* questions that came so far */

#define DNSD_SEEN 1024 /* of them the last ones are kept */
struct dnsd_question {
  char name[256]; /* as it was written */
  uint16_t type, id, port;
  uint16_t edns; /* the size that it allows, 0 without EDNS */
  bool tcp;
};
const struct dnsd_question *dnsd_question(unsigned i);
/* A folder with hosts (HOSTS is its text) and a resolv.conf that names the server. FILE: "hosts" or
 * "resolv.conf" in it. */
void dnsd_files(const char *hosts);
const char *dnsd_file(const char *file);
void dnsd_files_gone(void);
