/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's network side in the test's own thread, with sockets of the test as
 * its peers, and a handler that keeps what comes up.
 *
 * Ownership: net_begin and net_end around each test; net_end proves that nothing
 * is left behind. Threads: the test's own. Errors: the test fails.
 */
#pragma once

#include <criterion/criterion.h>

#include "net/net_internal.h"
#include "test_conf_util.h"
#include "tieline/time.h"

#define RIG_GOT_MAX 4096

struct rig_got {
  char *p; /* head and body, but for what of it stays in the kernel */
  size_t n;
  tl_conn_id conn;
};

struct rig {
  struct tl_runtime rt;
  struct tl_thread th;
  struct tl_net *net;
  struct tl_addr tcp, udp; /* the listeners */
  struct rig_got got[RIG_GOT_MAX];
  unsigned n_got, n_bad, n_closed;
  int closed_rc;         /* of the last */
  bool starved;          /* the test itself takes memory away */
  bool no_memory;        /* one closed for want of it, and not starved */
  uint16_t bad_status;   /* of the last */
  bool answer_bad;       /* with 16 bytes that say BAD */
  tl_conn_id forward_to; /* each message goes there, if it is a connection */
  tl_conn_id fork_to;    /* and there, too, its body kept before */
  int forward_rc;        /* of the last */
  tl_conn_id last_conn;  /* that a message came on, or that closed */
  void (*on_message)(struct rig *r, struct tl_conn *c, const struct tl_msg *m);
};
extern struct rig rig;

/* A network side with a TCP and a UDP listener on free ports of 127.0.0.1; EXTRA: configuration. */
void net_begin(const char *extra);
/* A proxy brings its own NET and handler. TH is set up too. */
void rig_begin_with(struct tl_net *net, struct tl_thread *th, const struct tl_net_handler *h,
                    void *proxy, const char *extra);
/* Reads EXTRA as a new configuration with the same listeners, UDP only if UDP, and publishes it. */
void rig_reload(const char *extra, bool udp);
void net_end(void);
/* Turns of the loop until COND holds, at most five seconds. */
#define RIG_UNTIL(cond)                                                                            \
  do {                                                                                             \
    uint64_t until_ = tl_now_ms() + 5000;                                                          \
    while (!(cond)) {                                                                              \
      cr_assert_lt(tl_now_ms(), until_, "never: %s", #cond);                                       \
      rig_turn();                                                                                  \
    }                                                                                              \
  } while (0)
void rig_turn(void);
/* As many turns as it takes for all that is on its way to be there. */
void rig_settle(void);
void rig_sleep(unsigned ms); /* with turns */
uint64_t rig_count(enum tl_counter id);

/* A TCP connection to the listener; *OUT_C its other end. */
int rig_connect(struct tl_conn **out_c);
/* A connection of the worker with user-space records; *OUT_PEER: the peer's record layer. */
int rig_tls(enum tl_tls_version v, enum tl_cipher cipher, unsigned max_fragment,
            struct tl_conn **out_c, struct tl_record **out_peer);
/* The same over TCP, with the worker's keys in the kernel, which must have TLS. */
int rig_kernel_tls(enum tl_tls_version v, enum tl_cipher cipher, struct tl_conn **out_c,
                   struct tl_record **out_peer);
/* The same on FD with what is given, which is taken over; RECORD = NULL: the kernel has KEYS, REKEY
 * is for the next ones, or NULL. */
struct tl_conn *rig_adopt(int fd, const struct tl_tls_keys *keys, bool server,
                          struct tl_record *record, struct tl_tls_keys *rekey);
/* Writes all of it, turning the loop while the socket is full. */
void rig_write(int fd, const void *p, size_t n);
/* Reads exactly N bytes. */
void rig_read(int fd, void *p, size_t n);
/* Nothing is there to be read. */
bool rig_quiet(int fd);
/* Turns until FD ends; what comes before is dropped. */
void rig_read_end(int fd);
void rig_forget(void); /* what was got */

/* An OPTIONS numbered N with a body of BODY bytes; its length. DST: room for 512 + BODY. */
size_t rig_message(char *dst, unsigned n, size_t body);
