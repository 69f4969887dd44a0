/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What idle TLS connections cost a server: opens many, lets them rest, reads
 * the memory of the server's process tree from /proc, closes them, and reads
 * it again until it stops falling. Any TLS server and any pid will do; nothing
 * is sent but the handshake. Counts user-space memory (RSS and PSS), not what
 * the kernel keeps for a socket.
 *
 * Exit status: 0 done, 1 a connection failed or a limit was passed, 2 usage.
 */
#include "procstat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

struct line {
  int fd;
  SSL *ssl;
  bool open;
};

static struct {
  struct sockaddr_in to;
  int pid, tls_min, tls_max;
  unsigned connections, parallel;
  double settle_s, drain_s;
  long max_bytes, max_left;
  bool json;
} o = {.connections = 2000,
       .parallel = 8,
       .settle_s = 2,
       .drain_s = 15,
       .max_bytes = -1,
       .max_left = -1,
       .tls_min = TLS1_2_VERSION,
       .tls_max = TLS1_3_VERSION};

static SSL_CTX *ctx;
static struct line *lines;
static int ep;
static unsigned opened, failed, under_way;
static char version[64] = "none";

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void drop(struct line *l, const char *why) {
  if (why) {
    if (failed++ < 5) fprintf(stderr, "idle: connection %td: %s\n", l - lines, why);
    l->open ? opened-- : under_way--;
  }
  if (!why) SSL_shutdown(l->ssl);
  SSL_free(l->ssl);
  close(l->fd);
  ERR_clear_error();
  *l = (struct line){.fd = -1};
}

static void begin(struct line *l) {
  l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  l->ssl = SSL_new(ctx);
  under_way++;
  if (l->fd < 0 || !l->ssl || SSL_set_fd(l->ssl, l->fd) != 1) {
    drop(l, "no socket or memory");
    return;
  }
  SSL_set_connect_state(l->ssl);
  if (connect(l->fd, (struct sockaddr *)&o.to, sizeof(o.to)) && errno != EINPROGRESS) {
    drop(l, strerror(errno));
    return;
  }
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = l};
  epoll_ctl(ep, EPOLL_CTL_ADD, l->fd, &e);
}

static const char *reason(const struct line *l, int rc) {
  unsigned long q = ERR_peek_error();
  if (q) return ERR_reason_error_string(q);
  if (SSL_get_error(l->ssl, rc) == SSL_ERROR_ZERO_RETURN) return "closed by the server";
  return errno ? strerror(errno) : "cut off by the server";
}

static void on_event(struct line *l) {
  char junk[4096];
  errno = 0;
  if (!l->ssl) return;
  int rc = l->open ? 1 : SSL_do_handshake(l->ssl);
  if (rc == 1 && !l->open) {
    l->open = true;
    opened++;
    under_way--;
    snprintf(version, sizeof(version), "%s %s", SSL_get_version(l->ssl), SSL_get_cipher(l->ssl));
  }
  /* Session tickets come as data that is none; anything that ends the line shows here too. */
  while (rc > 0) rc = SSL_read(l->ssl, junk, sizeof(junk));
  int e = SSL_get_error(l->ssl, rc);
  if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) drop(l, reason(l, rc));
}

static void turn(int wait_ms) {
  struct epoll_event ev[256];
  int n = epoll_wait(ep, ev, 256, wait_ms);
  for (int i = 0; i < n; i++) on_event(ev[i].data.ptr);
}

static void rest(double seconds) {
  for (double end = now_s() + seconds; now_s() < end;) turn(50);
}

static void open_all(void) {
  double told = now_s(), limit = told + 300;
  for (unsigned next = 0; (next < o.connections || under_way) && now_s() < limit;) {
    while (next < o.connections && under_way < o.parallel) begin(&lines[next++]);
    turn(50);
    if (now_s() - told > 5) {
      told = now_s();
      fprintf(stderr, "idle: %u open, %u failed\n", opened, failed);
    }
    if (failed > 100) return;
  }
}

/* Until memory has not fallen for two seconds, or the time is over. */
static double drain(struct ps_sum *out) {
  double start = now_s(), changed = start;
  ps_tree_sum(o.pid, out);
  uint64_t least = out->rss_kb;
  while (now_s() - start < o.drain_s && now_s() - changed < 2) {
    struct timespec nap = {.tv_nsec = 100000000};
    nanosleep(&nap, NULL);
    ps_tree_sum(o.pid, out);
    if (out->rss_kb < least) {
      least = out->rss_kb;
      changed = now_s();
    }
  }
  return changed - start;
}

static long per_line(uint64_t after_kb, uint64_t before_kb) {
  long kb = (long)after_kb - (long)before_kb;
  return kb * 1024 / (long)(o.connections ? o.connections : 1);
}

static int report(const struct ps_sum *before, const struct ps_sum *full,
                  const struct ps_sum *after, unsigned held, double back_s) {
  long grown = per_line(full->rss_kb, before->rss_kb),
       left = per_line(after->rss_kb, before->rss_kb);
  long grown_pss = per_line(full->pss_kb, before->pss_kb);
  bool over = (o.max_bytes >= 0 && grown > o.max_bytes) || (o.max_left >= 0 && left > o.max_left);
  const char *text =
      o.json
          ? "{\"connections\": %u, \"failed\": %u, \"tls\": \"%s\", \"rss_kb_before\": %llu, "
            "\"rss_kb_open\": %llu, \"rss_kb_closed\": %llu, \"bytes_per_connection\": %ld, "
            "\"pss_bytes_per_connection\": %ld, \"bytes_left_per_connection\": %ld, "
            "\"seconds_to_return\": %.1f}\n"
          : "idle connections  %u held, %u failed, %s\n"
            "RSS KB            before %llu, open %llu, closed %llu\n"
            "per connection    %ld bytes (PSS %ld), left after closing %ld, returned in %.1f s\n";
  if (o.json)
    printf(text, held, failed, version, (unsigned long long)before->rss_kb,
           (unsigned long long)full->rss_kb, (unsigned long long)after->rss_kb, grown, grown_pss,
           left, back_s);
  else
    printf(text, held, failed, version, (unsigned long long)before->rss_kb,
           (unsigned long long)full->rss_kb, (unsigned long long)after->rss_kb, grown, grown_pss,
           left, back_s);
  if (over) fprintf(stderr, "idle: over the limit\n");
  return failed || held != o.connections || over ? 1 : 0;
}

static int parse_target(const char *s) {
  char host[64];
  const char *colon = strrchr(s, ':');
  if (!strncmp(s, "tls:", 4)) s += 4;
  if (!colon || colon < s || (size_t)(colon - s) >= sizeof(host)) return -1;
  memcpy(host, s, (size_t)(colon - s));
  host[colon - s] = 0;
  o.to.sin_family = AF_INET;
  o.to.sin_port = htons((uint16_t)atoi(colon + 1));
  return inet_pton(AF_INET, host, &o.to.sin_addr) == 1 ? 0 : -1;
}

static int parse(int argc, char **argv) {
  static const struct option table[] = {{"target", 1, 0, 't'},
                                        {"pid", 1, 0, 'p'},
                                        {"connections", 1, 0, 'c'},
                                        {"tls", 1, 0, 'v'},
                                        {"parallel", 1, 0, 'h'},
                                        {"settle", 1, 0, 's'},
                                        {"drain", 1, 0, 'd'},
                                        {"max-bytes", 1, 0, 'm'},
                                        {"max-left", 1, 0, 'l'},
                                        {"json", 0, 0, 'j'},
                                        {0, 0, 0, 0}};
  for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
    switch (c) {
    case 't':
      if (parse_target(optarg)) return -1;
      break;
    case 'p': o.pid = atoi(optarg); break;
    case 'c': o.connections = (unsigned)atoi(optarg); break;
    case 'v':
      if (!strcmp(optarg, "1.2")) o.tls_max = TLS1_2_VERSION;
      if (!strcmp(optarg, "1.3")) o.tls_min = TLS1_3_VERSION;
      break;
    case 'h': o.parallel = (unsigned)atoi(optarg); break;
    case 's': o.settle_s = atof(optarg); break;
    case 'd': o.drain_s = atof(optarg); break;
    case 'm': o.max_bytes = atol(optarg); break;
    case 'l': o.max_left = atol(optarg); break;
    case 'j': o.json = true; break;
    default: return -1;
    }
  }
  return o.to.sin_port && o.pid > 0 && o.connections && o.parallel ? 0 : -1;
}

static int set_up(void) {
  struct rlimit r;
  if (!getrlimit(RLIMIT_NOFILE, &r)) {
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
  }
  signal(SIGPIPE, SIG_IGN);
  ep = epoll_create1(EPOLL_CLOEXEC);
  ctx = SSL_CTX_new(TLS_client_method());
  lines = calloc(o.connections, sizeof(*lines));
  if (ep < 0 || !ctx || !lines) return -1;
  SSL_CTX_set_min_proto_version(ctx, o.tls_min);
  SSL_CTX_set_max_proto_version(ctx, o.tls_max);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  return 0;
}

int main(int argc, char **argv) {
  if (parse(argc, argv)) {
    fputs(
        "usage: idle --target ADDR:PORT --pid PID [--connections N (2000)] [--tls 1.2|1.3|any]\n"
        "            [--parallel N (8)] [--settle S (2)] [--drain S (15)] [--json]\n"
        "            [--max-bytes N] [--max-left N]   limits per connection: open, after closing\n",
        stderr);
    return 2;
  }
  struct ps_sum before, full, after;
  if (set_up() || ps_tree_sum(o.pid, &before) < 1) {
    fprintf(stderr, "idle: set-up failed, or no process %d\n", o.pid);
    return 2;
  }
  open_all();
  rest(o.settle_s);
  ps_tree_sum(o.pid, &full);
  unsigned held = opened;
  for (unsigned i = 0; i < o.connections; i++)
    if (lines[i].ssl) drop(&lines[i], NULL);
  double back_s = drain(&after);
  int rc = report(&before, &full, &after, held, back_s);
  free(lines);
  SSL_CTX_free(ctx);
  return rc;
}
