/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of one scan against one full Sofia-SIP parse of the same message, in the
 * same run on the same processor, taking turns. It prints medians, spread and the
 * ratio, and fails if tl_scan allocates. It says nothing about forwarding.
 */
#include <malloc.h>
#include <sched.h>
#include <sofia-sip/msg.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>

#include "sip/lines.h"
#include "tieline/scan.h"

#define TURNS 31
#define SCANS 20000
#define PARSES 2000

/* The program's own malloc, so that a call from tl_scan cannot hide. */
void *__libc_malloc(size_t n);
static unsigned long mallocs;
void *malloc(size_t n) {
  mallocs++;
  return __libc_malloc(n);
}

static const char invite[] =
    "INVITE sip:+13125550142@gw2.chicago.example:5061;transport=tls;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/TLS sbc1.atlanta.example:5061;branch=z9hG4bK-524287-1---4c2d8e1f0a;rport\r\n"
    "Via: SIP/2.0/TLS 192.0.2.17:5061;branch=z9hG4bK776asdhds;received=192.0.2.17\r\n"
    "Max-Forwards: 69\r\n"
    "Record-Route: <sip:sbc1.atlanta.example:5061;transport=tls;lr>\r\n"
    "From: \"Alice Example\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n"
    "To: <sip:+13125550142@chicago.example;user=phone>\r\n"
    "Call-ID: 3848276298220188511@atlanta.example\r\n"
    "CSeq: 31862 INVITE\r\n"
    "Contact: <sip:alice@192.0.2.17:5061;transport=tls>\r\n"
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK\r\n"
    "Supported: 100rel, timer, replaces\r\n"
    "Session-Expires: 1800;refresher=uac\r\n"
    "User-Agent: Example-Phone/4.2 (build 20261121.7)\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 147\r\n"
    "\r\n"
    "v=0\r\n"
    "o=alice 2890844526 2890844526 IN IP4 192.0.2.17\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.17\r\n"
    "t=0 0\r\n"
    "m=audio 49172 RTP/SAVP 0 8\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=sendrecv\r\n";

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double scan_ns(size_t n, bool stream) {
  static struct tl_msg m;
  struct tl_scan_error err;
  unsigned good = 0;
  double begun = now_ns();
  for (unsigned i = 0; i < SCANS; i++) {
    good += tl_scan(invite, n, stream, 65536, &m, &err) == 0;
    __asm__ volatile("" : : "r"(&m) : "memory");
  }
  double each = (now_ns() - begun) / SCANS;
  if (n == sizeof(invite) - 1 && good != SCANS) {
    fprintf(stderr, "scan refused the message: %s\n", err.reason);
    exit(1);
  }
  return each;
}

static double sofia_ns(void) {
  double begun = now_ns();
  for (unsigned i = 0; i < PARSES; i++) {
    msg_t *msg = msg_make(sip_default_mclass(), 0, invite, sizeof(invite) - 1);
    if (!msg || !sip_object(msg) || msg_has_error(msg) || !sip_object(msg)->sip_via) {
      fprintf(stderr, "sofia refused the message\n");
      exit(1);
    }
    msg_destroy(msg);
  }
  return (now_ns() - begun) / PARSES;
}

static void pin(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(sched_getcpu(), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

static double report(const char *what, double *t) {
  qsort(t, TURNS, sizeof(t[0]), by_value);
  printf("%-34s %8.0f ns  (quartiles %.0f to %.0f)\n", what, t[TURNS / 2], t[TURNS / 4],
         t[TURNS * 3 / 4]);
  return t[TURNS / 2];
}

int main(void) {
  static double scan[TURNS], part[TURNS], parse[TURNS];
  struct utsname u;
  unsigned long allocated = 0;
  uname(&u);
  pin();
  scan_ns(sizeof(invite) - 1, true);
  sofia_ns();
  for (unsigned i = 0; i < TURNS; i++) {
    unsigned long before = mallocs;
    scan[i] = scan_ns(sizeof(invite) - 1, true);
    part[i] = scan_ns(sizeof(invite) / 2, true);
    allocated += mallocs - before;
    parse[i] = sofia_ns();
  }
  printf("INVITE of %zu bytes, kernel %s, vectors: %s, %d turns\n", sizeof(invite) - 1, u.release,
         tl_lines_impls()->name, TURNS);
  double s = report("tl_scan", scan);
  report("tl_scan, half the head there", part);
  double p = report("sofia-sip, full parse", parse);
  printf("ratio %.1f, allocations in tl_scan: %lu\n", p / s, allocated);
  return allocated ? 1 : 0;
}
