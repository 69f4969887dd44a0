/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How c-ares is used: which servers, how long, and its sockets in an epoll set.
 * c-ares 1.18 keeps one datagram socket for all questions of a channel, so each
 * question gets a channel, closed afterwards: a different port each time.
 *
 * No channel has both TCP and c-ares's own step back from EDNS. That step (at a
 * format error) moves the question's bytes, which c-ares 1.18 may still have queued
 * for a TCP connection: a server that says "truncated" and then "format error" had
 * it read freed memory. So what did not fit, and a format error over TCP, are dns.c's
 * to ask again.
 *
 * c-ares is told to ignore the hosts file, search lists and nsswitch.conf. In
 * resolv.conf only the lines nameserver and, for servers on a port other than
 * 53, port matter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "dns/dns_internal.h"
#include "tieline/err.h"
#include "tieline/once.h"
#include "tieline/time.h"

#define BLANK " \t\r\n"
#define SERVERS_MAX 6
#define FIRST_WAIT_MS 800 /* c-ares doubles it after each round of the servers */
#define UDP_SIZE 1232     /* no fragment on any path (DNS flag day 2020) */
#define EVENTS_AT_ONCE 64

/* ---- servers ---- */

static void add_server(struct dns_channels *c, const struct tl_addr *a) {
  struct ares_addr_port_node *s = calloc(1, sizeof(*s)), **end = &c->servers;
  if (!s) return;
  s->family = a->sa.sa_family;
  if (s->family == AF_INET)
    s->addr.addr4 = a->v4.sin_addr;
  else
    memcpy(&s->addr.addr6, &a->v6.sin6_addr, sizeof(s->addr.addr6));
  while (*end) end = &(*end)->next;
  *end = s;
  c->n_server++;
}

static void drop_servers(struct dns_channels *c) {
  while (c->servers) {
    struct ares_addr_port_node *s = c->servers;
    c->servers = s->next;
    free(s);
  }
  c->n_server = 0;
}

static void take_line(struct dns_channels *c, char *line, int *port) {
  char *save = NULL, *word = strtok_r(line, BLANK, &save);
  char *value = word ? strtok_r(NULL, BLANK, &save) : NULL;
  struct tl_addr a;
  if (!value) return;
  if (strcmp(word, "port") == 0) *port = (int)strtoul(value, NULL, 10) & UINT16_MAX;
  if (strcmp(word, "nameserver") == 0 && c->n_server < SERVERS_MAX &&
      tl_addr_parse(tl_str_c(value), 0, &a) == 0)
    add_server(c, &a);
}

static void read_servers(struct dns_channels *c) {
  FILE *f = fopen(c->resolv_conf, "re");
  char *line = NULL;
  size_t cap = 0;
  int port = 53;
  drop_servers(c);
  while (f && getline(&line, &cap, f) > 0) take_line(c, line, &port);
  free(line);
  if (f) fclose(f);
  if (c->n_server == 0) { /* resolv.conf(5): then the one on this host */
    struct tl_addr here;
    tl_addr_parse(TL_STR("127.0.0.1"), 0, &here);
    add_server(c, &here);
  }
  for (struct ares_addr_port_node *s = c->servers; s; s = s->next) s->udp_port = s->tcp_port = port;
}

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void look_at_servers(struct dns_channels *c) {
  struct stat now;
  if (stat(c->resolv_conf, &now) != 0) memset(&now, 0, sizeof(now));
  if (c->servers && same_file(&now, &c->read)) return;
  c->read = now;
  read_servers(c);
}

/* ---- channels ---- */

/* Each way has channels of its own, so that what is slow over TCP takes no port from the others.
 * Over TCP a server may answer one after the other, and c-ares 1.18 writes all that waits for a
 * connection at once: see DNS_TCP_CHANNELS. */
static const struct {
  uint32_t first, n;
} part[] = {
    [DNS_UDP_EDNS] = {0, DNS_UDP_CHANNELS},
    [DNS_UDP_PLAIN] = {DNS_UDP_CHANNELS, DNS_PLAIN_CHANNELS},
    [DNS_TCP] = {DNS_UDP_CHANNELS + DNS_PLAIN_CHANNELS, DNS_TCP_CHANNELS},
};

/* The tag of an event: the channel's index and the socket. c-ares ignores a socket that no longer
 * belongs to the channel. */
static uint64_t tag_of(const struct dns_channels *c, const struct dns_channel *ch, int fd) {
  return (uint64_t)(ch - c->at) << 32 | (uint32_t)fd;
}

static void on_socket(void *arg, ares_socket_t fd, int readable, int writable) {
  struct dns_channel *ch = arg;
  struct dns_channels *c = ch->all;
  struct epoll_event e = {.data.u64 = tag_of(c, ch, fd)};
  if (!readable && !writable) {
    epoll_ctl(c->epfd, EPOLL_CTL_DEL, fd, NULL);
    return;
  }
  e.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  if (epoll_ctl(c->epfd, EPOLL_CTL_MOD, fd, &e) < 0) epoll_ctl(c->epfd, EPOLL_CTL_ADD, fd, &e);
}

static int flags_of(enum dns_way way) {
  static const int flags[] = {[DNS_UDP_EDNS] = ARES_FLAG_EDNS | ARES_FLAG_IGNTC,
                              [DNS_UDP_PLAIN] = ARES_FLAG_IGNTC,
                              [DNS_TCP] = ARES_FLAG_USEVC};
  return flags[way] | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
}

static bool open_channel(struct dns_channels *c, struct dns_channel *ch, enum dns_way way) {
  struct in_addr none = {.s_addr = htonl(INADDR_LOOPBACK)};
  char lookups[] = "b";
  struct ares_options o = {
      .flags = flags_of(way),
      .timeout = FIRST_WAIT_MS,
      .tries = c->n_server > 1 ? 2 : 3, /* about five seconds, as long as a look-up may take */
      .ndots = 1,
      .servers = &none,
      .nservers = 1,
      .lookups = lookups,
      .ednspsz = DNS_UDP_SIZE,
      .sock_state_cb = on_socket,
      .sock_state_cb_data = ch,
  };
  int set = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
            ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
            ARES_OPT_NOROTATE | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB;
  ch->all = c;
  look_at_servers(c);
  if (ares_init_options(&ch->ares, &o, set) != ARES_SUCCESS) {
    ch->ares = NULL;
    return false;
  }
  if (ares_set_servers_ports(ch->ares, c->servers) == ARES_SUCCESS) return true;
  ares_destroy(ch->ares);
  ch->ares = NULL;
  return false;
}

/* The choice: one that is not open, else one about to be closed, else the least busy. */
static unsigned how_busy(const struct dns_channel *ch) { return ch->ares ? ch->busy + 1 : 0; }

struct dns_channel *dns_channel_take(struct dns_channels *c, enum dns_way way) {
  struct dns_channel *first = &c->at[part[way].first], *best = first;
  for (uint32_t i = 1; best->ares && i < part[way].n; i++)
    if (how_busy(&first[i]) < how_busy(best)) best = &first[i];
  if (!best->ares && !open_channel(c, best, way)) return NULL;
  best->busy++;
  return best;
}

static void close_idle(struct dns_channel *ch) {
  if (!ch->ares || ch->busy) return;
  ares_destroy(ch->ares);
  ch->ares = NULL;
}

void dns_channels_serve(struct dns_channels *c) {
  struct epoll_event e[EVENTS_AT_ONCE];
  int n = epoll_wait(c->epfd, e, EVENTS_AT_ONCE, 0);
  for (int i = 0; i < n; i++) {
    struct dns_channel *ch = &c->at[e[i].data.u64 >> 32];
    int fd = (int)(uint32_t)e[i].data.u64;
    bool in = e[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP), out = e[i].events & EPOLLOUT;
    if (ch->ares) ares_process_fd(ch->ares, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
  }
  uint64_t now = tl_now_ms();
  bool tick = now >= c->next_tick_ms;
  if (tick) c->next_tick_ms = now + TL_DNS_TICK_MS;
  for (uint32_t i = 0; i < DNS_CHANNELS; i++) {
    struct dns_channel *ch = &c->at[i];
    if (tick && ch->ares) ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    close_idle(ch);
  }
}

static struct tl_once ares_once = TL_ONCE_INIT;

static bool init_ares(void) { return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS; }

int dns_channels_init(struct dns_channels *c, const char *resolv_conf) {
  c->resolv_conf = resolv_conf ? resolv_conf : "/etc/resolv.conf";
  c->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (c->epfd < 0) return TL_EIO;
  return tl_once(&ares_once, init_ares) ? TL_OK : TL_ENOMEM;
}

void dns_channels_close(struct dns_channels *c) {
  for (uint32_t i = 0; i < DNS_CHANNELS; i++)
    if (c->at[i].ares) ares_destroy(c->at[i].ares);
  drop_servers(c);
  if (c->epfd >= 0) close(c->epfd);
}
