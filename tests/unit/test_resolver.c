/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver thread against a name server of the test's own on loopback, and
 * against hosts files.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/resolver.h"

enum { T_A = 1, T_CNAME = 5, T_AAAA = 28, T_SRV = 33 };

struct zone_record {
  const char *name;
  uint16_t type;
  const char *data; /* address; "priority weight port target" */
};

static const struct zone_record zone[] = {
    {"plain.example", T_A, "192.0.2.1"},
    {"plain.example", T_A, "192.0.2.2"},
    {"six.example", T_AAAA, "2001:db8::6"},
    {"_sips._tcp.service.example", T_SRV, "20 0 5071 backup.example"},
    {"_sips._tcp.service.example", T_SRV, "10 5 5061 first.example"},
    {"first.example", T_A, "192.0.2.10"},
    {"backup.example", T_A, "192.0.2.20"},
    {"service.example", T_A, "192.0.2.99"},
    {"alias.example", T_CNAME, "plain.example"},
};

static struct tl_runtime rt;
static struct tl_thread worker;
static char dir[64];
static int dns_fd;
static pthread_t dns_thread;
static _Atomic unsigned asked; /* questions that reached the server */

/* ---- the name server ---- */

static size_t put16(uint8_t *p, unsigned v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
  return 2;
}

static size_t put_name(uint8_t *p, const char *name) {
  size_t at = 0;
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

static size_t put_data(uint8_t *p, const struct zone_record *r) {
  unsigned priority, weight, port;
  char target[128];
  size_t at = 0;
  switch (r->type) {
  case T_A: inet_pton(AF_INET, r->data, p); return 4;
  case T_AAAA: inet_pton(AF_INET6, r->data, p); return 16;
  case T_CNAME: return put_name(p, r->data);
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
  for (size_t i = 0; i < sizeof(zone) / sizeof(*zone); i++) {
    if (strcasecmp(zone[i].name, name) != 0) continue;
    *known = true;
    if (zone[i].type != type && zone[i].type != T_CNAME) continue;
    *at += put_record(p + *at, &zone[i]);
    n++;
    if (zone[i].type == T_CNAME && type != T_CNAME) n += answers(p, at, zone[i].data, type, known);
  }
  return n;
}

static void *serve(void *arg) {
  (void)arg;
  for (;;) {
    uint8_t q[512], r[2048];
    char name[256];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    ssize_t n = recvfrom(dns_fd, q, sizeof(q), 0, (struct sockaddr *)&from, &len);
    if (n < 17) return NULL; /* a short one ends the server */
    size_t name_len = get_name(q + 12, (size_t)n - 12, name, sizeof(name)), at = 12 + name_len + 4;
    unsigned type = (unsigned)q[12 + name_len] << 8 | q[12 + name_len + 1];
    bool known = false;
    asked++;
    if (strstr(name, "silent")) continue;
    memcpy(r, q, at);
    unsigned count = answers(r, &at, name, type, &known);
    put16(r + 2, known ? 0x8580 : 0x8583);
    put16(r + 4, 1);
    put16(r + 6, count);
    put16(r + 8, 0);
    put16(r + 10, 0);
    sendto(dns_fd, r, at, 0, (struct sockaddr *)&from, len);
  }
}

/* ---- set-up ---- */

static const char *path(const char *file) {
  static char buf[2][128];
  static unsigned at;
  char *p = buf[at++ % 2];
  snprintf(p, sizeof(buf[0]), "%s/%s", dir, file);
  return p;
}

static void write_file(const char *file, const char *text) {
  FILE *f = fopen(path(file), "w");
  fputs(text, f);
  fclose(f);
}

static void begin(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  char conf[64];
  snprintf(dir, sizeof(dir), "/tmp/tieline-dns-XXXXXX");
  cr_assert(mkdtemp(dir));
  dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(dns_fd, (struct sockaddr *)&a, sizeof(a)), 0);
  getsockname(dns_fd, (struct sockaddr *)&a, &len);
  snprintf(conf, sizeof(conf), "nameserver 127.0.0.1\nport %u\n", ntohs(a.sin_port));
  write_file("resolv.conf", conf);
  write_file("hosts",
             "# comment\n192.0.2.77 Inhosts.example other # more\n2001:db8::77 inhosts.example\n");
  pthread_create(&dns_thread, NULL, serve, NULL);
  tl_resolver_files(path("hosts"), path("resolv.conf"));
  cr_assert_eq(tl_mailbox_init(&worker.mailbox, 64), 0);
  rt.n_worker = 1;
  rt.worker[0] = &worker;
  cr_assert_eq(tl_resolver_start(&rt), 0);
}

static void end(void) {
  struct sockaddr_in a;
  socklen_t len = sizeof(a);
  struct tl_mail *m;
  tl_resolver_stop(&rt);
  getsockname(dns_fd, (struct sockaddr *)&a, &len);
  sendto(dns_fd, "x", 1, 0, (struct sockaddr *)&a, len);
  pthread_join(dns_thread, NULL);
  close(dns_fd);
  while ((m = tl_mailbox_take(&worker.mailbox))) free(m);
  tl_mailbox_destroy(&worker.mailbox);
  unlink(path("hosts"));
  unlink(path("resolv.conf"));
  rmdir(dir);
}

TestSuite(resolver, .init = begin, .fini = end, .timeout = 60);

static void ask(const char *host, enum tl_transport t, uint16_t port, uint64_t cookie) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  r->mail.type = TL_MAIL_RESOLVE;
  r->cookie = cookie;
  r->transport = t;
  r->port = port;
  snprintf(r->host, sizeof(r->host), "%s", host);
  cr_assert_eq(tl_mailbox_post(&rt.resolver, &r->mail), 0);
}

static struct tl_resolve *answer(void) {
  struct pollfd p = {.fd = worker.mailbox.efd, .events = POLLIN};
  struct tl_mail *m = tl_mailbox_take(&worker.mailbox);
  for (int i = 0; i < 20 && !m; i++) {
    poll(&p, 1, 500);
    tl_mailbox_rearm(&worker.mailbox);
    m = tl_mailbox_take(&worker.mailbox);
  }
  cr_assert(m, "no answer");
  cr_assert_eq(m->type, TL_MAIL_RESOLVE);
  return (struct tl_resolve *)m;
}

/* Looks HOST up and compares with WANT, addresses separated by blanks, "" for none. */
static void looks_up(const char *host, enum tl_transport t, uint16_t port, int rc,
                     const char *want) {
  char got[512] = "", buf[TL_ADDR_STRLEN];
  ask(host, t, port, 42);
  struct tl_resolve *r = answer();
  for (size_t i = 0; i < r->n; i++) {
    if (i) strcat(got, " ");
    strcat(got, tl_addr_format(&r->addr[i], buf));
  }
  cr_assert_eq(r->rc, rc, "%s: %d", host, r->rc);
  cr_assert_eq(r->cookie, 42);
  cr_assert_str_eq(got, want, "%s: %s", host, got);
  free(r);
}

/* ---- tests ---- */

Test(resolver, numbers_and_default_ports) {
  looks_up("192.0.2.5", TL_UDP, 0, 0, "192.0.2.5:5060");
  looks_up("[2001:db8::5]", TL_TLS, 0, 0, "[2001:db8::5]:5061");
  looks_up("192.0.2.5", TL_TCP, 7000, 0, "192.0.2.5:7000");
  looks_up("", TL_TCP, 0, TL_EINVAL, "");
  cr_assert_eq(asked, 0);
}

Test(resolver, hosts_file_goes_first) {
  looks_up("inhosts.EXAMPLE.", TL_TLS, 5061, 0, "192.0.2.77:5061 [2001:db8::77]:5061");
  looks_up("other", TL_UDP, 0, 0, "192.0.2.77:5060");
  looks_up("localhost", TL_UDP, 0, 0, "127.0.0.1:5060 [::1]:5060");
  cr_assert_eq(asked, 0);
}

Test(resolver, addresses_from_dns_and_its_cache) {
  looks_up("plain.example", TL_TLS, 5061, 0, "192.0.2.1:5061 192.0.2.2:5061");
  unsigned before = asked;
  looks_up("plain.example", TL_TLS, 5062, 0, "192.0.2.1:5062 192.0.2.2:5062");
  cr_assert_eq(asked, before, "the second look-up comes from the cache");
  looks_up("six.example", TL_TCP, 5060, 0, "[2001:db8::6]:5060");
}

Test(resolver, d33_srv_by_priority_when_there_is_no_port) {
  looks_up("service.example", TL_TLS, 0, 0, "192.0.2.10:5061 192.0.2.20:5071");
  looks_up("service.example", TL_TLS, 5061, 0, "192.0.2.99:5061");
  looks_up("service.example", TL_UDP, 0, 0, "192.0.2.99:5060"); /* no such SRV: the name itself */
}

Test(resolver, alias_is_followed) {
  looks_up("alias.example", TL_TCP, 5060, 0, "192.0.2.1:5060 192.0.2.2:5060");
}

Test(resolver, name_that_does_not_exist) {
  looks_up("nobody.example", TL_TCP, 5060, TL_ENOTFOUND, "");
  looks_up("nobody.example", TL_TLS, 0, TL_ENOTFOUND, "");
}

Test(resolver, silent_server_delays_nobody_and_ends_in_time) {
  uint64_t start = tl_now_ms();
  ask("silent.example", TL_TCP, 5060, 1);
  ask("plain.example", TL_TCP, 5060, 2);
  struct tl_resolve *r = answer();
  cr_assert_eq(r->cookie, 2);
  cr_assert_leq(tl_now_ms() - start, 1000);
  free(r);
  r = answer();
  cr_assert_eq(r->cookie, 1);
  cr_assert_eq(r->rc, TL_ETIMEOUT);
  cr_assert_leq(tl_now_ms() - start, 6000);
  free(r);
}

Test(resolver, stop_with_questions_under_way) {
  for (int i = 0; i < 20; i++) ask("silent.example", TL_TLS, 0, 1);
  usleep(100000);
}

Test(resolver, too_many_at_once_are_told_so) {
  enum { MANY = 1100 };
  int refused = 0;
  char host[64];
  worker.mailbox.cap = MANY;
  for (int i = 0; i < MANY; i++) {
    snprintf(host, sizeof(host), "silent%d.example", i);
    ask(host, TL_TCP, 5060, (uint64_t)i);
  }
  for (int i = 0; i < MANY; i++) {
    struct tl_resolve *r = answer();
    if (r->rc == TL_ELIMIT)
      refused++;
    else
      cr_assert(r->rc == TL_ETIMEOUT || r->rc == TL_EIO, "%d", r->rc);
    free(r);
  }
  cr_assert_eq(refused, MANY - 1024);
}

Test(resolver, full_mailbox_delays_an_answer_but_loses_none) {
  worker.mailbox.cap = 1;
  for (int i = 0; i < 5; i++) ask("192.0.2.5", TL_TCP, 5060, 9);
  usleep(300000);
  for (int i = 0; i < 5; i++) free(answer());
  worker.mailbox.cap = 64;
}

Test(resolver, srv_weights_share_the_load) {
  int first[2] = {0, 0};
  for (int i = 0; i < 2000; i++) {
    struct tl_resolve_target t[3];
    memset(t, 0, sizeof(t));
    t[0] = (struct tl_resolve_target){.port = 9, .priority = 20};
    t[1] = (struct tl_resolve_target){.port = 0, .priority = 10, .weight = 75};
    t[2] = (struct tl_resolve_target){.port = 1, .priority = 10, .weight = 25};
    tl_resolver_srv_order(t, 3);
    cr_assert_eq(t[2].port, 9, "the higher priority number comes last");
    first[t[0].port]++;
  }
  cr_assert(first[0] > 1350 && first[0] < 1650, "%d of 2000", first[0]);
}
