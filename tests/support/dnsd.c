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
    if (o) out[o++] = '.';
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
  at += put16(p + at, 0);
  at += put16(p + at, 60);
  size_t n = put_data(p + at + 2, r);
  put16(p + at, (unsigned)n);
  return at + 2 + n;
}

/* Records of NAME, following an alias. */
static unsigned answers(uint8_t *p, size_t *at, const char *name, unsigned type, bool *known) {
  unsigned n = 0;
  for (size_t i = 0; i < zone_n; i++) {
    if (strcasecmp(zone[i].name, name) != 0) continue;
    *known = true;
    if (zone[i].type != type && zone[i].type != T_CNAME) continue;
    *at += put_record(p + *at, &zone[i]);
    n++;
    if (zone[i].type == T_CNAME && type != T_CNAME) n += answers(p, at, zone[i].data, type, known);
  }
  return n;
}

/* Answers the question of N bytes in Q into R; 0: not at all. */
static size_t answer(const uint8_t *q, size_t n, bool tcp, uint16_t port, uint8_t *r) {
  char name[256];
  size_t name_len = get_name(q + 12, n - 12, name, sizeof(name)), at = 12 + name_len + 4;
  unsigned type = (unsigned)q[12 + name_len] << 8 | q[12 + name_len + 1], flags = 0x8580;
  bool known = false, edns = q[11] == 1;
  bool well = (type != T_SRV && strcasestr(name, "only-srv")) ||
              (type != T_NAPTR && strcasestr(name, "only-naptr"));
  struct dnsd_question *now = &seen[asked % DNSD_SEEN];
  *now = (struct dnsd_question){.id = (uint16_t)(q[0] << 8 | q[1]), .port = port, .tcp = tcp};
  if (edns) now->edns = (uint16_t)(q[at + 3] << 8 | q[at + 4]);
  snprintf(now->name, sizeof(now->name), "%.63s", name);
  asked++;
  if (strcasestr(name, "silent") || (tcp && strcasestr(name, "mute"))) return 0;
  memcpy(r, q, at);
  if (strcasestr(name, "letters") && !tcp)
    for (size_t i = 12; i < 12 + name_len; i++) r[i] = (uint8_t)tolower(r[i]);
  if (strcasestr(name, "shout") && !tcp)
    for (size_t i = 12; i < 12 + name_len; i++) r[i] = (uint8_t)toupper(r[i]);
  unsigned count = 0;
  if (!well && strcasestr(name, "refused")) {
    flags = 0x8182;
  } else if (strcasestr(name, "old") && edns) {
    flags = 0x8181; /* as a server that does not know EDNS: no OPT record in its answer */
  } else {
    count = answers(r, &at, name, type, &known);
    if (!known) flags = 0x8583;
    if (strcasestr(name, "big") && !tcp) flags |= 0x0200;
    if (strcasestr(name, "big") && !tcp && count > 1) count = 1; /* what is left misleads */
    if (!well && strcasestr(name, "cut")) flags |= 0x0200;
  }
  put16(r + 2, flags);
  put16(r + 4, 1);
  put16(r + 6, count);
  put16(r + 8, 0);
  put16(r + 10, 0);
  return at;
}

static void serve_tcp(void) {
  const struct timeval wait = {.tv_sec = 2};
  uint8_t q[514], r[2 + 8192];
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
    uint8_t q[512], r[8192];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    poll(p, 2, -1);
    if (p[1].revents) serve_tcp();
    if (!p[0].revents) continue;
    ssize_t n = recvfrom(dns_fd, q, sizeof(q), 0, (struct sockaddr *)&from, &len);
    if (n < 17) return NULL; /* a short one ends the server */
    size_t out = answer(q, (size_t)n, false, ntohs(from.sin_port), r);
    if (out) sendto(dns_fd, r, out, 0, (struct sockaddr *)&from, len);
  }
}

static uint16_t own_port(void) {
  struct sockaddr_in a;
  socklen_t len = sizeof(a);
  getsockname(dns_fd, (struct sockaddr *)&a, &len);
  return ntohs(a.sin_port);
}

/* A port that is free for both. */
static bool bind_both(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(dns_fd, (struct sockaddr *)&a, sizeof(a))) abort();
  a.sin_port = htons(own_port());
  if (bind(tcp_fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(tcp_fd, 8) == 0) return true;
  close(dns_fd);
  close(tcp_fd);
  return false;
}

void dnsd_start(const struct zone_record *z, size_t n) {
  zone = z;
  zone_n = n;
  asked = 0;
  while (!bind_both()) continue;
  if (pthread_create(&dns_thread, NULL, serve, NULL)) abort();
}

void dnsd_stop(void) {
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                          .sin_port = htons(own_port())};
  sendto(dns_fd, "x", 1, 0, (struct sockaddr *)&a, sizeof(a));
  pthread_join(dns_thread, NULL);
  close(dns_fd);
  close(tcp_fd);
}

unsigned dnsd_asked(void) { return asked; }

/* Counted behind its writing, by the other thread. */
const struct dnsd_question *dnsd_question(unsigned i) {
  if (i >= asked) abort();
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
  snprintf(conf, sizeof(conf), "nameserver 127.0.0.1\nport %u\n", own_port());
  write_file("resolv.conf", conf);
  write_file("hosts", hosts);
}

void dnsd_files_gone(void) {
  unlink(dnsd_file("hosts"));
  unlink(dnsd_file("resolv.conf"));
  rmdir(dir);
}
