/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name server for tests: one zone, UDP on loopback, a thread of its own. Names
 * that contain "silent" get no answer, "refused" a server failure; what is not in
 * the zone does not exist.
 *
 * Ownership: the zone stays the caller's and alive. Threads: one server at a
 * time, started and stopped by one thread. Errors: asserted, none is expected.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { T_A = 1, T_CNAME = 5, T_AAAA = 28, T_SRV = 33, T_NAPTR = 35 };

struct zone_record {
  const char *name;
  uint16_t type;
  const char *data; /* address; "priority weight port target"; NAPTR: "order preference flags
                       service regexp replacement", - for an empty text */
};

void dnsd_start(const struct zone_record *zone, size_t n);
void dnsd_stop(void);
unsigned dnsd_asked(void); /* questions that came so far */
/* A folder with hosts (HOSTS is its text) and a resolv.conf that names the server. FILE: "hosts" or
 * "resolv.conf" in it. */
void dnsd_files(const char *hosts);
const char *dnsd_file(const char *file);
void dnsd_files_gone(void);
