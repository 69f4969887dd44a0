/* SPDX-License-Identifier: Apache-2.0 */
/* See dnsd.h. It knows as much of RFC 1035 as stub resolvers ask for. */
#include "dnsd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "must.h"

#define ANSWER_MAX 16384
#define RECORD_MAX 1024 /* more than any record takes */

static struct dnsd_options opt;
static pthread_mutex_t zone_mu = PTHREAD_MUTEX_INITIALIZER;
static const struct zone_record *zone;
static size_t zone_n;
static int dns_fd, tcp_fd;
static pthread_t dns_thread;
static _Atomic unsigned asked;
static struct dnsd_question seen[DNSD_SEEN];
static char dir[64];

static size_t put16(uint8_t *p, unsigned v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
  return 2;
}

static size_t put_name(uint8_t *p, const char *name) {
  size_t at = 0;
  if (strcmp(name, ".") == 0) name = "";
  while (*name) {
    size_t n = strcspn(name, ".");
    p[at++] = (uint8_t)n;
    memcpy(p + at, name, n);
    at += n;
    name += n + (name[n] == '.');
  }
  p[at++] = 0;
  return at;
}

static size_t get_name(const uint8_t *p, size_t n, char *out, size_t cap) {
  size_t at = 0, o = 0;
  while (at < n && p[at]) {
    size_t len = p[at++];
    if (o && o + 2 < cap) out[o++] = '.';
    for (size_t i = 0; i < len && at < n && o + 2 < cap; i++) out[o++] = (char)p[at++];
  }
  out[o] = '\0';
  return at + 1;
}

/* A character-string; "-" is the empty one. */
static size_t put_text(uint8_t *p, const char *text) {
  size_t n = strcmp(text, "-") == 0 ? 0 : strlen(text);
  p[0] = (uint8_t)n;
  memcpy(p + 1, text, n);
  return n + 1;
}

static size_t put_naptr(uint8_t *p, const char *data) {
  unsigned order, preference;
  char flags[8], service[32], regexp[64], replacement[128];
  size_t at = 0;
  assert(sscanf(data, "%u %u %7s %31s %63s %127s", &order, &preference, flags, service, regexp,
                replacement) == 6);
  at += put16(p + at, order);
  at += put16(p + at, preference);
  at += put_text(p + at, flags);
  at += put_text(p + at, service);
  at += put_text(p + at, regexp);
  return at + put_name(p + at, replacement);
}

static size_t put_data(uint8_t *p, const struct zone_record *r) {
  unsigned priority, weight, port;
  char target[128];
  size_t at = 0;
  switch (r->type) {
  case T_A: inet_pton(AF_INET, r->data, p); return 4;
  case T_AAAA: inet_pton(AF_INET6, r->data, p); return 16;
  case T_CNAME: return put_name(p, r->data);
  case T_NAPTR: return put_naptr(p, r->data);
  default:
    sscanf(r->data, "%u %u %u %127s", &priority, &weight, &port, target);
    at += put16(p + at, priority);
    at += put16(p + at, weight);
    at += put16(p + at, port);
    return at + put_name(p + at, target);
  }
}

static size_t put_record(uint8_t *p, const struct zone_record *r) {
  size_t at = put_name(p, r->name);
  at += put16(p + at, r->type);
  at += put16(p + at, 1);
  at += put16(p + at, opt.ttl >> 16);
  at += put16(p + at, opt.ttl);
  size_t n = put_data(p + at + 2, r);
  put16(p + at, (unsigned)n);
  return at + 2 + n;
}

/* What is made of an answer. */
struct answer {
  uint8_t *p;
  size_t at, room;
  unsigned count;
  bool known, cut;
};

/* Records of NAME, following an alias. */
static void answers(struct answer *a, const char *name, unsigned type) {
  for (size_t i = 0; i < zone_n && !a->cut; i++) {
    if (strcasecmp(zone[i].name, name) != 0) continue;
    a->known = true;
    if (zone[i].type != type && zone[i].type != T_CNAME) continue;
    size_t n = put_record(a->p + a->at, &zone[i]);
    assert(n <= RECORD_MAX);
    a->cut = a->at + n > a->room;
    if (a->cut) return;
    a->at += n;
    a->count++;
    if (zone[i].type == T_CNAME && type != T_CNAME) answers(a, zone[i].data, type);
  }
}

/* Has the name of Q the meaning of WORD? */
static bool means(const struct dnsd_question *q, const char *word) {
  return !opt.plain && strcasestr(q->name, word);
}

/* False: a stranger's, it ends too early. */
static bool take_question(const uint8_t *q, size_t n, struct dnsd_question *out, size_t *out_end) {
  const size_t type = 12 + get_name(q + 12, n - 12, out->name, sizeof(out->name));
  if (type + 4 > n) return false;
  out->type = (uint16_t)(q[type] << 8 | q[type + 1]);
  out->id = (uint16_t)(q[0] << 8 | q[1]);
  *out_end = type + 4;
  if (q[11] == 1 && type + 9 <= n) out->edns = (uint16_t)(q[type + 7] << 8 | q[type + 8]);
  seen[asked % DNSD_SEEN] = *out;
  asked++;
  return true;
}

/* The records of the zone, and flags as the name has it. */
static unsigned usual(const struct dnsd_question *q, struct answer *a) {
  const bool well =
      (q->type != T_SRV && means(q, "only-srv")) || (q->type != T_NAPTR && means(q, "only-naptr"));
  unsigned flags = 0x8580;
  if (!well && means(q, "refused")) return 0x8182;
  /* as a server that does not know EDNS: no OPT record in its answer */
  if (means(q, "old") && q->edns) return 0x8181;
  pthread_mutex_lock(&zone_mu);
  answers(a, q->name, q->type);
  pthread_mutex_unlock(&zone_mu);
  if (!a->known) flags = 0x8583;
  if (means(q, "big") && !q->tcp) a->cut = true;
  if (means(q, "big") && !q->tcp && a->count > 1) a->count = 1; /* what is left misleads */
  if (!well && means(q, "cut")) a->cut = true;
  return a->cut ? flags | 0x0200 : flags;
}

/* Answers the question of N bytes in Q into R; 0: not at all. */
static size_t answer(const uint8_t *q, size_t n, bool tcp, uint16_t port, uint8_t *r) {
  struct dnsd_question now = {.port = port, .tcp = tcp};
  struct answer a = {.p = r, .room = ANSWER_MAX - RECORD_MAX};
  if (!tcp && opt.udp_size) a.room = opt.udp_size;
  if (!take_question(q, n, &now, &a.at) || opt.silent || means(&now, "silent") ||
      (tcp && means(&now, "mute")))
    return 0;
  memcpy(r, q, a.at);
  for (size_t i = 12; i < a.at - 4 && !tcp; i++)
    r[i] = (uint8_t)(means(&now, "letters") ? tolower(r[i])
                     : means(&now, "shout") ? toupper(r[i])
                                            : r[i]);
  put16(r + 2, usual(&now, &a));
  put16(r + 4, 1);
  put16(r + 6, a.count);
  put16(r + 8, 0);
  put16(r + 10, 0);
  return a.at;
}

/* Over UDP. */
static void reply(const struct sockaddr_in *to, uint8_t *r, size_t n) {
  struct dnsd_question q;
  sendto(dns_fd, r, n, 0, (const struct sockaddr *)to, sizeof(*to));
  const size_t end = 12 + get_name(r + 12, n - 12, q.name, sizeof(q.name)) + 4;
  if (!means(&q, "twice")) return;
  put16(r + 2, 0x8181);
  put16(r + 6, 0);
  sendto(dns_fd, r, end, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void serve_tcp(void) {
  const struct timeval wait = {.tv_sec = 2};
  uint8_t q[514], r[2 + ANSWER_MAX];
  int fd = accept(tcp_fd, NULL, NULL);
  if (fd < 0) return;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
  while (recv(fd, q, 2, MSG_WAITALL) == 2) {
    size_t n = (size_t)q[0] << 8 | q[1];
    if (n < 17 || n > 512 || recv(fd, q, n, MSG_WAITALL) != (ssize_t)n) break;
    size_t len = answer(q, n, true, 0, r + 2);
    put16(r, (unsigned)len);
    if (!len || send(fd, r, len + 2, MSG_NOSIGNAL) < 0) break;
  }
  close(fd);
}

static void *serve(void *arg) {
  struct pollfd p[] = {{.fd = dns_fd, .events = POLLIN}, {.fd = tcp_fd, .events = POLLIN}};
  (void)arg;
  for (;;) {
    uint8_t q[512], r[ANSWER_MAX];
    struct sockaddr_in from = {0};
    socklen_t len = sizeof(from);
    poll(p, 2, -1);
    if (p[1].revents) serve_tcp();
    if (!p[0].revents) continue;
    ssize_t n = recvfrom(dns_fd, q, sizeof(q), 0, (struct sockaddr *)&from, &len);
    if (n == 0) return NULL; /* dnsd_stop's */
    if (n < 17) continue;    /* a stranger's */
    size_t out = answer(q, (size_t)n, false, ntohs(from.sin_port), r);
    if (out) reply(&from, r, out);
  }
}

uint16_t dnsd_port(void) {
  struct sockaddr_in a = {0};
  socklen_t len = sizeof(a);
  getsockname(dns_fd, (struct sockaddr *)&a, &len);
  return ntohs(a.sin_port);
}

/* A port that is free for both. */
static bool bind_both(void) {
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_port = htons(opt.port),
                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int on = 1;
  dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(tcp_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(dns_fd, (struct sockaddr *)&a, sizeof(a))) abort();
  a.sin_port = htons(dnsd_port());
  if (bind(tcp_fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(tcp_fd, 8) == 0) return true;
  if (opt.port) abort();
  close(dns_fd);
  close(tcp_fd);
  return false;
}

void dnsd_zone(const struct zone_record *z, size_t n) {
  pthread_mutex_lock(&zone_mu);
  zone = z;
  zone_n = n;
  pthread_mutex_unlock(&zone_mu);
}

void dnsd_start(const struct zone_record *z, size_t n) {
  dnsd_open(&(struct dnsd_options){.ttl = 60}, z, n);
}

void dnsd_open(const struct dnsd_options *o, const struct zone_record *z, size_t n) {
  opt = *o;
  asked = 0;
  dnsd_zone(z, n);
  while (!bind_both()) continue;
  if (pthread_create(&dns_thread, NULL, serve, NULL)) abort();
}

void dnsd_stop(void) {
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                          .sin_port = htons(dnsd_port())};
  sendto(dns_fd, "", 0, 0, (struct sockaddr *)&a, sizeof(a));
  pthread_join(dns_thread, NULL);
  close(dns_fd);
  close(tcp_fd);
}

unsigned dnsd_asked(void) { return asked; }

/* Counted behind its writing, by the other thread. */
const struct dnsd_question *dnsd_question(unsigned i) {
  MUST(i < asked);
  return &seen[i % DNSD_SEEN];
}

/* ---- files ---- */

/* Named once, in dnsd_files: a resolver's thread that nobody waits for may still read them. */
static struct {
  const char *name;
  char path[128];
} files[] = {{.name = "hosts"}, {.name = "resolv.conf"}};
#define N_FILES (sizeof(files) / sizeof(*files))

const char *dnsd_file(const char *file) {
  for (size_t i = 0; i < N_FILES; i++)
    if (!strcmp(files[i].name, file)) return files[i].path;
  abort();
}

static void write_file(const char *file, const char *text) {
  FILE *f = fopen(dnsd_file(file), "w");
  if (!f) abort();
  fputs(text, f);
  fclose(f);
}

void dnsd_files(const char *hosts) {
  char conf[64];
  snprintf(dir, sizeof(dir), "/tmp/tieline-dns-XXXXXX");
  if (!mkdtemp(dir)) abort();
  for (size_t i = 0; i < N_FILES; i++)
    snprintf(files[i].path, sizeof(files[i].path), "%s/%s", dir, files[i].name);
  snprintf(conf, sizeof(conf), "nameserver 127.0.0.1\nport %u\n", dnsd_port());
  write_file("resolv.conf", conf);
  write_file("hosts", hosts);
}

void dnsd_files_gone(void) {
  unlink(dnsd_file("hosts"));
  unlink(dnsd_file("resolv.conf"));
  rmdir(dir);
}
