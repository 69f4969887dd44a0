/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: shared types of its parts.
 *
 * One thread and one epoll set hold both sides: callers that connect to the
 * proxy (or straight to a callee) and callee servers that the Request-URI
 * points to. Because both ends live here, a callee checks every message
 * against what the caller's slot says it sent. Nothing of tieline's own
 * sources is used: this program judges them.
 *
 * Ownership: struct load owns everything; a struct conn owns its socket, SSL
 * object, buffers and (callers) slots. Threads: one. Errors: functions that
 * can fail return 0 or -1; a wrong message is not an error of this program
 * but a counted failure (load_fail).
 */
#pragma once

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { MAX_SERVERS = 64, MAX_VIAS = 8, MAX_RR = 8, BODY_MAX = 2 << 20, MSG_MAX = 4 << 20 };

enum transport { TR_UDP, TR_TCP, TR_TLS };
enum kind { KIND_OPTIONS, KIND_MESSAGE, KIND_CALL, KIND_COUNT };
enum phase { PH_CONNECT, PH_PRIME, PH_WARM, PH_MEASURE, PH_DRAIN, PH_END };

struct str {
  const char *p;
  size_t n;
};

struct buf {
  char *p;
  size_t off, len, cap; /* live bytes are p[off..len) */
};

struct addr {
  struct sockaddr_storage ss;
  socklen_t len;
  char text[64]; /* host:port, as written in Via and URIs */
};

/* A method as this program uses it; the branch's last digit is the value. */
enum method { M_OPTIONS, M_MESSAGE, M_INVITE, M_ACK, M_BYE, M_COUNT };

/* One scenario in flight. The caller drives it, the callee checks against it. */
struct slot {
  uint32_t seq; /* 0: never used */
  bool busy;
  enum kind kind;
  enum method at; /* the request that waits for its final response */
  unsigned server;
  size_t req_body, rsp_body;
  uint64_t t_start_ns, t_req_ns, t_resend_ns;
  unsigned resends;  /* of the request in `at` */
  unsigned seen;     /* callee: bit per enum method that arrived */
  bool ringing;      /* caller: the 180 came */
  bool provisional;  /* caller: any 1xx came, so INVITE is not resent */
  char remote[160];  /* caller: Contact of the callee, from the 200 */
  char routes[1024]; /* caller: Route header lines made of the Record-Routes */
  struct buf ok;     /* callee on UDP: its 200, resent until the ACK */
  struct addr ok_to;
  uint64_t ok_next_ns;
  unsigned ok_resends;
};

enum role { ROLE_CALLER, ROLE_LISTEN, ROLE_CALLEE };
enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSED };

struct conn {
  int fd;
  enum role role;
  enum transport tr;
  enum conn_state state;
  SSL *ssl;
  struct addr local;
  struct addr peer; /* UDP callee: source of the datagram at hand */
  struct buf in, out;
  bool dirty, want_write, dead;
  unsigned index;    /* caller number, or server number for the other roles */
  struct conn *next; /* accepted connections */
  struct conn *next_dirty;
  /* callers only */
  struct slot *slots;
  uint32_t next_seq;
  uint32_t done_since_update;
  uint32_t txn_order[MAX_SERVERS]; /* stamp of the last request to each server */
  uint32_t at_server[MAX_SERVERS]; /* highest stamp that the server saw */
  uint32_t rx_order[MAX_SERVERS];  /* highest response stamp that came back */
  uint32_t rsp_order[MAX_SERVERS]; /* stamp of the server's last response */
};

/* What a message says, as far as this program needs it. Slices of the buffer. */
struct msg {
  bool request;
  int status;
  struct str method, uri;
  struct str via_line[MAX_VIAS], rr[MAX_RR];
  unsigned n_via_line, n_via, n_rr, n_route;
  struct str via_top, via_last;
  struct str from, to, call_id, contact, cseq, stamp;
  const char *fixed; /* start of the header block that nobody may touch */
  int max_forwards;  /* -1 if absent */
  size_t content_length;
  bool has_length;
  struct str body;
};

struct options {
  struct addr proxy;
  enum transport caller_tr, callee_tr;
  bool direct, no_order;
  unsigned hops;
  const char *callee_host;
  unsigned callee_port, servers;
  unsigned connections, window, handshakes;
  unsigned weight[KIND_COUNT];
  size_t body_min, body_max, reply_min, reply_max, pad;
  uint64_t count;
  double seconds, warmup_s, timeout_s, limit_s;
  bool prime, json, quiet;
  int tls_min, tls_max;
  const char *cipher, *cert, *key, *ca, *sni;
  bool client_cert, require_cert;
  bool flush_each, split;
  unsigned key_update;
  int tickets;
  uint64_t seed, max_failures;
  int watch; /* pid of the proxy, 0: none */
};

struct counters {
  uint64_t done, calls, by_kind[KIND_COUNT];
  uint64_t requests_sent, responses_sent;
  uint64_t requests_in, responses_in, provisional; /* what left the proxy */
  uint64_t bytes_sent, bytes_in;
  uint64_t resent, dups, late, reconnects;
};

struct watch_mark {
  uint64_t cpu_ns, rss_kb, pss_kb, t_ns, own_cpu_ns;
};

struct load {
  struct options o;
  enum phase phase;
  uint64_t now_ns, phase_t_ns, deadline_ns;
  int ep;
  struct conn *callers;   /* array of o.connections */
  struct conn *listeners; /* array of o.servers */
  struct conn *accepted, *dirty;
  SSL_CTX *ctx_caller, *ctx_callee;
  unsigned opened, connecting, primed;
  uint64_t in_flight, measured_target, started;
  uint64_t rnd;
  uint32_t run_id;
  char *pool; /* seeded bytes that bodies are cut from */
  char *fixed;
  size_t fixed_len;
  uint64_t failures, timeouts;
  struct counters c, base; /* all, and as they stood when measuring began */
  struct watch_mark m_start, m_tenth, m_end;
  struct counters at_end;
  char caller_tls[64], callee_tls[64];
};

extern struct load L;

/* util.c */
uint64_t mono_ns(void);
uint64_t next_random(void);
void buf_room(struct buf *b, size_t n);
void put(struct buf *b, const void *p, size_t n);
void put_s(struct buf *b, const char *s);
void put_str(struct buf *b, struct str s);
void put_u(struct buf *b, uint64_t v);
void put_hex(struct buf *b, uint32_t v, unsigned digits);
bool get_hex(const char *p, unsigned digits, uint32_t *out);
bool str_is(struct str a, const char *s);
bool str_eq(struct str a, struct str b);
bool str_starts(struct str a, struct str prefix);
int addr_parse(const char *host, unsigned port, struct addr *out);
int addr_parse_text(const char *host_port, struct addr *out);
void addr_text(struct addr *a);

/* options.c */
int options_parse(int argc, char **argv, struct options *o);

/* tls.c */
int tls_setup(void);
void tls_close(struct conn *c);
void tls_describe(SSL *ssl, char *out, size_t cap);

/* io.c */
int io_listen(unsigned server);
int io_connect(struct conn *c);
void io_event(struct conn *c, uint32_t events);
void io_dirty(struct conn *c);
void io_flush_all(void);
void io_flush(struct conn *c);
void io_close(struct conn *c, const char *why);

/* parse.c */
/* Length of the first whole message in p[0..n), 0 if more is needed, -1 if it is not SIP. */
ssize_t msg_parse(const char *p, size_t n, bool datagram, struct msg *out);

/* build.c */
struct ids {
  unsigned conn, slot;
  uint32_t seq;
};
int build_setup(void);
bool ids_parse(struct str call_id, struct ids *out);
const char *body_bytes(const struct ids *id, bool response);
void build_request(struct buf *b, struct conn *c, unsigned slot_no, enum method m);
void build_response(struct buf *b, const struct msg *req, struct conn *caller, unsigned slot_no,
                    enum method m, int status, struct conn *via);
struct str build_via(const struct conn *c, unsigned slot_no, uint32_t seq, enum method m);
bool via_is(struct str got, struct str want, const struct conn *c);
bool fixed_intact(const struct msg *m);
struct str build_uri(unsigned server);
struct str build_from(const struct conn *c, unsigned slot_no, uint32_t seq);
struct str build_to_tag(const struct conn *c, unsigned slot_no, uint32_t seq);
uint32_t cseq_of(enum method m);
const char *method_name(enum method m);
enum method method_of(struct str name);

/* caller.c */
void caller_fill(struct conn *c);
void caller_response(struct conn *c, const struct msg *m);
void caller_lost(struct conn *c);
void caller_sweep(void);
bool caller_waiting(void);

/* callee.c */
void callee_request(struct conn *c, const struct msg *m);
void callee_sweep(struct slot *s);
struct slot *slot_find(const struct ids *id, struct conn **out_caller);

/* report.c */
void load_fail(const char *reason, const struct conn *c, const struct msg *m, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void latency_add(uint64_t ns);
void latency_reset(void);
void mark_take(struct watch_mark *m);
int report_print(void);
void progress_print(void);
