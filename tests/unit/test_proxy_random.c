/* SPDX-License-Identifier: Apache-2.0 */
/* Random messages through a whole worker: requests, responses and their ruins, over UDP and TCP,
 * with reloads in between. Nothing is asserted but that the worker lives, and leaves nothing
 * behind. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_proxy_rig.h"

TestSuite(proxy_random, .timeout = 50);

static struct ua alice, bob, carol;
static char pool[64][8000]; /* messages seen or made, to be sent again in parts */
static unsigned pooled;

static void remember(const char *text) {
  if (strlen(text) >= sizeof(pool[0])) return;
  snprintf(pool[pooled++ < 64 ? pooled - 1 : (unsigned)rand() % 64], sizeof(pool[0]), "%s", text);
}

static const char *any(void) {
  unsigned n = pooled < 64 ? pooled : 64;
  return pool[(unsigned)rand() % n];
}

/* A copy of TEXT with some damage. */
static size_t ruin(const char *text, char *out, size_t cap) {
  static const char *const bits[] = {"\r\n",
                                     "\r\n\r\n",
                                     ";",
                                     ",",
                                     "<",
                                     ">",
                                     "[",
                                     "\"",
                                     "%",
                                     "@",
                                     "sips:",
                                     ":99999",
                                     "Route: <sip:",
                                     "Via: ",
                                     "z9hG4bK",
                                     ";lr",
                                     ";maddr=[",
                                     "Content-Length: 4294967295\r\n",
                                     "SIP/2.0 ",
                                     "0",
                                     "\xff",
                                     ";tl="};
  size_t n = strlen(text);
  memcpy(out, text, n);
  for (int k = rand() % 4; k > 0 && n > 1; k--) {
    size_t at = (size_t)rand() % n;
    const char *bit = bits[(size_t)rand() % (sizeof(bits) / sizeof(bits[0]))];
    size_t len = strlen(bit), cut = (size_t)rand() % 40;
    switch (rand() % 5) {
    case 0: out[at] = (char)rand(); break;
    case 1: /* insert */
      if (n + len >= cap) break;
      memmove(out + at + len, out + at, n - at);
      memcpy(out + at, bit, len);
      n += len;
      break;
    case 2: /* cut out */
      if (at + cut > n) cut = n - at;
      memmove(out + at, out + at + cut, n - at - cut);
      n -= cut;
      break;
    case 3: { /* the end of another message */
      const char *other = any();
      size_t o = strlen(other), from = at < o ? at : 0;
      if (at + o - from >= cap) break;
      memcpy(out + at, other + from, o - from);
      n = at + o - from;
      break;
    }
    default: n = at + 1; break;
    }
  }
  return n;
}

static void request_of(struct ua *u, unsigned i) {
  static const char *const method[] = {"INVITE",  "ACK",     "CANCEL", "BYE",
                                       "OPTIONS", "MESSAGE", "FOO"};
  static const char *const params[] = {"", ";transport=tcp", ";maddr=127.0.0.1", ";lr", "?x=y"};
  static char body[5000];
  char uri[200], id[16], extra[300] = "";
  struct ua *to = rand() % 2 ? &bob : &carol;
  snprintf(uri, sizeof(uri), "%s:x@127.0.0.1:%u%s", rand() % 9 ? "sip" : "sips", to->port,
           params[(size_t)rand() % 5]);
  if (rand() % 20 == 0) snprintf(uri, sizeof(uri), "sip:x@far.example");
  snprintf(id, sizeof(id), "%u", i - (unsigned)rand() % 3);
  if (bob.n && rand() % 4 == 0 && ua_headers(&bob, "Record-Route"))
    snprintf(extra, sizeof(extra), "Route: %.250s\r\n", ua_header(&bob, "Record-Route", 0));
  memset(body, 'b', sizeof(body) - 1);
  body[rand() % 8 ? rand() % 30 : 4800] = '\0';
  char out[16000];
  const char *m = ua_request(u, method[(size_t)rand() % 7], uri, id, extra, body);
  remember(m);
  size_t n = ruin(rand() % 3 ? m : any(), out, sizeof(out));
  if (u->conn >= 0)
    send(u->conn, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  else
    sendto(u->fd, out, n, 0, &rig.udp.sa, sizeof(rig.udp.v4));
}

static void answer(struct ua *u) {
  static const char *const status[] = {"100 T", "180 R", "200 OK", "302 M", "401 U", "404 N",
                                       "408 T", "486 B", "503 S",  "603 D", "699 X"};
  ssize_t k = u->fd >= 0 ? recv(u->fd, u->in, sizeof(u->in) - 1, MSG_DONTWAIT) : -1;
  if (k <= 0) return;
  u->in[k] = '\0';
  u->n = (size_t)k;
  remember(u->in);
  if (strncmp(u->in, "SIP/2.0", 7) == 0 || !strstr(u->in, "\r\n\r\n") || !ua_headers(u, "To"))
    return;
  char out[16000];
  for (int times = rand() % 3; times > 0; times--) {
    const char *m = ua_response(u, status[(size_t)rand() % 11], rand() % 2 ? "t" : "u", "");
    if (strlen(m) > 7000) return;
    remember(m);
    size_t n = rand() % 4 ? strlen(m) : ruin(m, out, sizeof(out));
    sendto(u->fd, n == strlen(m) ? m : out, n, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  }
}

static void lookups(void) {
  struct tl_mail *m;
  tl_mailbox_rearm(&rig.rt.resolver);
  while ((m = tl_mailbox_take(&rig.rt.resolver)) != NULL) {
    struct tl_resolve *r = (struct tl_resolve *)m;
    r->found.n = (size_t)rand() % 3;
    r->rc = r->found.n ? 0 : TL_ENOTFOUND;
    for (size_t i = 0; i < r->found.n; i++)
      tl_addr_parse(TL_STR("127.0.0.1"), rand() % 2 ? bob.port : carol.port, &r->found.addr[i]);
    tl_mail_return(&r->reply, m);
  }
}

static void storm(unsigned seed, unsigned rounds, const char *extra) {
  struct ua tcp = {.fd = -1, .conn = -1};
  srand(seed);
  for (unsigned i = 0; i < rounds; i++) {
    if (tcp.conn < 0) ua_tcp_connect(&tcp);
    request_of(rand() % 3 ? &alice : &tcp, i + 3);
    answer(&bob);
    answer(&carol);
    answer(&alice);
    if (rand() % 4) rig_turn();
    if (rand() % 20 == 0) lookups();
    if (rand() % 100 == 0) rig_reload(extra, rand() % 4 != 0);
    if (recv(tcp.conn, tcp.in, sizeof(tcp.in), MSG_DONTWAIT) == 0 || rand() % 50 == 0) {
      close(tcp.conn);
      tcp.conn = -1;
    }
  }
  if (tcp.conn >= 0) close(tcp.conn);
  lookups();
}

Test(proxy_random, a_storm_of_damaged_messages_leaves_nothing) {
  static const char *const fork[] = {"failover", "serial", "parallel"};
  char extra[1500];
  const char *seed = getenv("TIELINE_SEED"), *rounds = getenv("TIELINE_ROUNDS");
  unsigned s = seed ? (unsigned)atoi(seed) : 1;
  ua_udp(&alice);
  ua_udp(&bob);
  ua_udp(&carol);
  snprintf(extra, sizeof(extra),
           "timeouts { t1 = 10ms t2 = 20ms t4 = 20ms timer_b = 100ms timer_c = 100ms timer_f = "
           "100ms trying = 5ms connect = 50ms idle = 1s }\n"
           "limits { zero_copy_body = 4k max_head = 3k }\n"
           "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
           "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
           "peer \"t\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
           "route \"r\" { to_prefix = \"x\" to_domain = { \"127.0.0.1\" } peers = { \"b\", \"t\", "
           "\"c\" } fork = %s stateless = %s }\nroute \"s\" { relay = \"request-uri\" }\n",
           bob.port, carol.port, carol.port, fork[s % 3], s % 7 == 6 ? "true" : "false");
  proxy_begin(extra);
  storm(s, rounds ? (unsigned)atoi(rounds) : 4000, extra);
  for (int i = 0; i < 5; i++) { /* what still comes is answered by nobody */
    rig_sleep(200);
    lookups();
  }
  proxy_end_clean();
  ua_close(&alice);
  ua_close(&bob);
  ua_close(&carol);
}
