/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper threads and their queue. OpenSSL (OSSL_HTTP_*) does the HTTP
 * exchange; the caller knows what is fetched and what it means.
 */
#include "trust/fetch.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/http.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SHARE (TL_FETCH_THREADS / 2)
#define STOP_S 3 /* for a thread that is resolving a name */
#define HOST_MAX 256

struct helper {
  struct tl_fetcher *by;
  pthread_t thread;
  bool started;
  char host[HOST_MAX]; /* being fetched from, "" = idle */
  int fd;              /* of the exchange, -1: none */
  struct tl_fetch *job;
};

struct tl_fetcher {
  pthread_mutex_t mu;
  pthread_cond_t work;
  struct tl_fetch *head, **tail;
  struct helper helper[TL_FETCH_THREADS];
  struct tl_runtime *rt;
  bool stopping, unowned;
  uint32_t open; /* orders not called back yet; the control thread's */
};

struct url {
  char *host, *port, *path;
};

static void url_clear(struct url *u) {
  OPENSSL_free(u->host);
  OPENSSL_free(u->port);
  OPENSSL_free(u->path);
  memset(u, 0, sizeof(*u));
}

static bool url_parse(const char *text, struct url *out, const char **why) {
  int ssl = 0;
  memset(out, 0, sizeof(*out));
  *why = "it is not a URL";
  for (const char *p = text; *p; p++)
    if (*p <= ' ' || *p == 0x7f) return false; /* no header line is smuggled into the request */
  if (strncmp(text, OSSL_HTTP_PREFIX, strlen(OSSL_HTTP_PREFIX)) != 0) {
    *why = "only http:// is fetched";
    return false;
  }
  if (!OSSL_HTTP_parse_url(text, &ssl, NULL, &out->host, &out->port, NULL, &out->path, NULL, NULL))
    return false;
  return !ssl && *out->host && strlen(out->host) < HOST_MAX;
}

bool tl_fetch_url_ok(const char *text, const char **why) {
  const char *ignored;
  struct url u;
  bool ok = url_parse(text, &u, why ? why : &ignored);
  url_clear(&u);
  ERR_clear_error();
  return ok;
}

/* ---- in a helper thread ---- */

static const char late[] = "the server did not answer in time";

static int set_failure(struct tl_fetch *f, int rc, const char *why) {
  f->rc = rc;
  snprintf(f->why, sizeof(f->why), "%s", why);
  ERR_clear_error();
  return rc;
}

/* OpenSSL queues several reasons; the first is the most specific. */
static int fail_by_openssl(struct tl_fetch *f) {
  unsigned long e = ERR_peek_error();
  const char *data = NULL, *text;
  int flags = 0;
  ERR_peek_error_data(&data, &flags);
  text = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
  char why[sizeof(f->why)];
  snprintf(why, sizeof(why), "%s%s%s", text ? text : "the server closed the connection",
           data && (flags & ERR_TXT_STRING) && *data ? ": " : "",
           data && (flags & ERR_TXT_STRING) ? data : "");
  bool timeout = false;
  while ((e = ERR_get_error()))
    timeout =
        timeout || (ERR_GET_LIB(e) == ERR_LIB_BIO && ERR_GET_REASON(e) == BIO_R_TRANSFER_TIMEOUT);
  return timeout ? set_failure(f, TL_ETIMEOUT, late) : set_failure(f, TL_EIO, why);
}

/* tl_fetch_stop shuts this descriptor down; FD -1: the exchange is over. */
static bool set_fd(struct helper *h, int fd) {
  pthread_mutex_lock(&h->by->mu);
  h->fd = fd;
  bool stopping = h->by->stopping;
  pthread_mutex_unlock(&h->by->mu);
  return !stopping;
}

static int wait_connected(int fd, time_t until) {
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  int err = 0;
  socklen_t len = sizeof(err);
  time_t left = until - time(NULL);
  int n = poll(&p, 1, left > 0 ? (int)left * 1000 : 0);
  if (n == 0) return ETIMEDOUT;
  if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) return errno;
  return err;
}

/* BIO_do_connect_retry would try a closed port again until the deadline. Returns errno's value. */
static int try_address(struct helper *h, const struct addrinfo *a, time_t until, int *out_fd) {
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int err = set_fd(h, fd) ? 0 : ECANCELED;
  if (!err && connect(fd, a->ai_addr, a->ai_addrlen) < 0) err = errno;
  if (err == EINPROGRESS) err = wait_connected(fd, until);
  if (!err) {
    *out_fd = fd;
    return 0;
  }
  set_fd(h, -1);
  close(fd);
  return err;
}

static int connect_to(struct helper *h, struct tl_fetch *f, const struct url *u, time_t until,
                      int *out_fd) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  struct addrinfo *list = NULL;
  int err = 0, rc = getaddrinfo(u->host, u->port, &hints, &list);
  if (rc) return set_failure(f, TL_ENOTFOUND, gai_strerror(rc));
  *out_fd = -1;
  for (const struct addrinfo *a = list; a && *out_fd < 0; a = a->ai_next)
    err = try_address(h, a, until, out_fd);
  freeaddrinfo(list);
  if (*out_fd >= 0) return TL_OK;
  return set_failure(f, err == ETIMEDOUT ? TL_ETIMEOUT : TL_EIO, strerror(err));
}

static int take_body(struct tl_fetch *f, BIO *mem) {
  const uint8_t *p = NULL;
  long n = BIO_get_mem_data(mem, &p);
  if (n <= 0 || (size_t)n > f->max_bytes)
    return set_failure(f, TL_EIO, "the answer is empty or too long");
  f->data = malloc((size_t)n);
  if (!f->data) return set_failure(f, TL_ENOMEM, "out of memory");
  memcpy(f->data, p, (size_t)n);
  f->n = (size_t)n;
  f->rc = 0;
  return TL_OK;
}

static int send_request(struct tl_fetch *f, const struct url *u, BIO *sock, int timeout_s,
                        char **out_next) {
  BIO *body = f->body ? BIO_new_mem_buf(f->body, (int)f->body_n) : NULL;
  OSSL_HTTP_REQ_CTX *ctx =
      OSSL_HTTP_open(u->host, u->port, NULL, NULL, 0, sock, sock, NULL, NULL, 0, timeout_s);
  BIO *mem = NULL;
  int rc;
  if (ctx && OSSL_HTTP_set1_request(ctx, u->path, NULL, f->content_type, body, f->expected_type, 1,
                                    f->max_bytes, timeout_s, 0))
    mem = OSSL_HTTP_exchange(ctx, out_next);
  if (mem)
    rc = take_body(f, mem);
  else if (*out_next && !f->body)
    rc = TL_EAGAIN;
  else
    rc = fail_by_openssl(f);
  if (ctx) OSSL_HTTP_close(ctx, mem != NULL);
  BIO_free(mem); /* OSSL_HTTP_exchange gave us a reference of our own */
  BIO_free(body);
  ERR_clear_error();
  return rc;
}

/* One connection, one request. TL_EAGAIN: the server points to *OUT_NEXT (OpenSSL's memory). */
static int exchange_once(struct helper *h, struct tl_fetch *f, const struct url *u, time_t until,
                         char **out_next) {
  int fd;
  int rc = connect_to(h, f, u, until, &fd);
  if (rc) return rc;
  time_t left = until - time(NULL);
  BIO *sock = BIO_new_socket(fd, BIO_NOCLOSE);
  if (left <= 0)
    rc = set_failure(f, TL_ETIMEOUT, late);
  else
    rc = sock ? send_request(f, u, sock, (int)left, out_next)
              : set_failure(f, TL_ENOMEM, "out of memory");
  BIO_free(sock);
  set_fd(h, -1);
  close(fd);
  return rc;
}

/* A redirection names a path or another http:// URL. */
static int follow_redirect(const char *next, struct url *u) {
  const char *why;
  if (next[0] == '/' && next[1] != '/') {
    for (const char *p = next; *p; p++)
      if (*p <= ' ' || *p == 0x7f) return TL_EINVAL;
    OPENSSL_free(u->path);
    u->path = OPENSSL_strdup(next);
    return u->path ? TL_OK : TL_ENOMEM;
  }
  url_clear(u);
  return url_parse(next, u, &why) ? TL_OK : TL_EINVAL;
}

static void run_order(struct helper *h, struct tl_fetch *f) {
  struct url u;
  const char *why;
  time_t until = time(NULL) + (f->timeout_ms + 999) / 1000;
  int rc = url_parse(f->url, &u, &why) ? TL_EAGAIN : set_failure(f, TL_EINVAL, why);
  for (int i = 0; rc == TL_EAGAIN; i++) {
    char *next = NULL;
    if (i > TL_FETCH_REDIRECTS)
      rc = set_failure(f, TL_EIO, "too many redirections");
    else
      rc = exchange_once(h, f, &u, until, &next);
    if (rc == TL_EAGAIN && follow_redirect(next, &u))
      rc = set_failure(f, TL_EIO, "the server redirects to something that is not an http:// URL");
    OPENSSL_free(next);
  }
  url_clear(&u);
}

static bool host_of(const struct tl_fetch *f, char out[HOST_MAX]) {
  struct url u;
  const char *why;
  bool ok = url_parse(f->url, &u, &why);
  snprintf(out, HOST_MAX, "%s", ok ? u.host : "?");
  url_clear(&u);
  ERR_clear_error();
  return ok;
}

static bool has_share(const struct tl_fetcher *q, const char *host) {
  int n = 0;
  for (int i = 0; i < TL_FETCH_THREADS; i++) n += strcasecmp(q->helper[i].host, host) == 0;
  return n < SHARE;
}

/* The oldest order whose server is below its share of threads. */
static struct tl_fetch *next_job(struct helper *h) {
  struct tl_fetcher *q = h->by;
  for (struct tl_fetch **p = &q->head, *f; (f = *p); p = &f->next) {
    char host[HOST_MAX];
    host_of(f, host);
    if (!has_share(q, host)) continue;
    *p = f->next;
    if (!f->next) q->tail = p;
    f->next = NULL;
    memcpy(h->host, host, sizeof(h->host));
    return f;
  }
  return NULL;
}

/* Answers are bounded by TL_FETCH_MAX, so a full mailbox is soon drained. */
static void post_answer(struct tl_fetch *f) {
  const struct timespec pause = {.tv_nsec = 10000000};
  while (tl_mailbox_post(&f->by->rt->control.mailbox, &f->mail)) nanosleep(&pause, NULL);
}

static void *helper_main(void *arg) {
  struct helper *h = arg;
  struct tl_fetcher *q = h->by;
  pthread_setname_np(pthread_self(), "fetch");
  pthread_mutex_lock(&q->mu);
  while (!q->stopping) {
    h->job = next_job(h);
    if (!h->job) {
      pthread_cond_wait(&q->work, &q->mu);
      continue;
    }
    struct tl_fetch *f = h->job;
    pthread_mutex_unlock(&q->mu);
    run_order(h, f);
    pthread_mutex_lock(&q->mu);
    h->host[0] = '\0';
    pthread_cond_broadcast(&q->work); /* the server's next order may go */
    if (q->stopping) break;           /* tl_fetch_stop answers the rest */
    h->job = NULL;
    pthread_mutex_unlock(&q->mu);
    post_answer(f);
    pthread_mutex_lock(&q->mu);
  }
  pthread_mutex_unlock(&q->mu);
  return NULL;
}

/* ---- in the control thread ---- */

static const struct tl_mail_kind answer_kind;

/* A thread that was abandoned has an order that is never called back, and keeps Q. */
static void free_unused(struct tl_fetcher *q) {
  if (!q->unowned || q->open) return;
  pthread_cond_destroy(&q->work);
  pthread_mutex_destroy(&q->mu);
  free(q);
}

struct tl_fetcher *tl_fetch_new(struct tl_runtime *rt) {
  struct tl_fetcher *q = calloc(1, sizeof(*q));
  if (!q) return NULL;
  q->rt = rt;
  q->tail = &q->head;
  pthread_mutex_init(&q->mu, NULL);
  pthread_cond_init(&q->work, NULL);
  return q;
}

int tl_fetch_start(struct tl_fetcher *q) {
  for (int i = 0; i < TL_FETCH_THREADS; i++) {
    struct helper *h = &q->helper[i];
    h->by = q;
    h->fd = -1;
    if (pthread_create(&h->thread, NULL, helper_main, h) != 0) return TL_ENOMEM;
    h->started = true;
  }
  return TL_OK;
}

int tl_fetch_order(struct tl_fetcher *q, struct tl_fetch *f) {
  if (q->stopping || q->open >= TL_FETCH_MAX) {
    tl_count(&q->rt->control.counters, TL_C_FETCH_REFUSED);
    return TL_ELIMIT;
  }
  f->mail.kind = &answer_kind;
  f->by = q;
  f->rc = TL_ECLOSED;
  f->why[0] = '\0';
  f->data = NULL;
  f->n = 0;
  f->next = NULL;
  q->open++;
  tl_count(&q->rt->control.counters, TL_C_FETCH_NOW);
  pthread_mutex_lock(&q->mu);
  *q->tail = f;
  q->tail = &f->next;
  pthread_cond_signal(&q->work);
  pthread_mutex_unlock(&q->mu);
  return TL_OK;
}

static void finish_order(struct tl_fetch *f) {
  struct tl_fetcher *q = f->by;
  struct tl_counters *counters = &q->rt->control.counters;
  tl_count_sub(counters, TL_C_FETCH_NOW, 1);
  tl_count(counters, f->rc ? TL_C_FETCH_FAILED : TL_C_FETCH_OK);
  f->done(f, f->arg);
  free(f->data);
  free(f->body);
  free(f);
  q->open--;
  free_unused(q);
}

static void drop_order(struct tl_fetch *f) {
  free(f->data);
  f->data = NULL;
  f->n = 0;
  set_failure(f, TL_ECLOSED, "the process ends");
  finish_order(f);
}

static void deliver_answer(void *reader, struct tl_mail *m) {
  (void)reader;
  finish_order((struct tl_fetch *)m);
}

static void drop_answer(struct tl_mail *m) { drop_order((struct tl_fetch *)m); }

static const struct tl_mail_kind answer_kind = {"fetched", deliver_answer, drop_answer};

/* A thread that is resolving a name cannot be interrupted: it is abandoned with its order. Every
 * other order that is left is dropped. */
static void drop_orders(struct tl_fetcher *q) {
  struct timespec until; /* for all of them */
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += STOP_S;
  for (int i = 0; i < TL_FETCH_THREADS; i++) {
    struct helper *h = &q->helper[i];
    if (h->started && pthread_timedjoin_np(h->thread, NULL, &until) == 0 && h->job)
      drop_order(h->job);
    h->started = false;
  }
  while (q->head) {
    struct tl_fetch *f = q->head;
    q->head = f->next;
    drop_order(f);
  }
}

void tl_fetch_stop(struct tl_fetcher *q) {
  pthread_mutex_lock(&q->mu);
  q->stopping = true;
  for (int i = 0; i < TL_FETCH_THREADS; i++)
    if (q->helper[i].started && q->helper[i].fd >= 0) shutdown(q->helper[i].fd, SHUT_RDWR);
  pthread_cond_broadcast(&q->work);
  pthread_mutex_unlock(&q->mu);
  drop_orders(q);
}

void tl_fetch_free(struct tl_fetcher *q) {
  if (!q) return;
  q->unowned = true;
  free_unused(q);
}
