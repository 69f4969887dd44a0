/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control thread asks of all TLS connections of a worker at once: an
 * inventory (which chains, domains and roles there are, and how many of each) and
 * directives (close, retire or go on, for all connections of one class). A worker
 * walks its connections in slices between turns, so that neither delays a
 * message.
 *
 * Ownership: a mail and all it holds go to the worker and come back to REPLY;
 * references in it belong to the mail. Threads: as said for mails. Errors: an
 * answer whose rc is TL_ENOMEM is incomplete.
 */
#pragma once

#include "tieline/index_map.h"
#include "tieline/runtime.h"

struct tl_identity;
struct tl_tls_domain;

/* Connections of one class share a verdict: one verification covers all of them. */
struct tl_conn_class {
  struct tl_identity *identity; /* a reference, NULL: no certificate */
  struct tl_tls_domain *domain; /* a reference */
  char *name;                   /* the name that was required, NULL: none */
  bool server, verified;
};
/* The key of an index. */
uint64_t tl_conn_class_key(const struct tl_conn_class *a);
bool tl_conn_class_equal(const struct tl_conn_class *a, const struct tl_conn_class *b);
/* Takes references of its own; TL_ENOMEM leaves *OUT empty. */
int tl_conn_class_copy(const struct tl_conn_class *a, struct tl_conn_class *out);
void tl_conn_class_clear(struct tl_conn_class *a);

struct tl_audit_row {
  struct tl_conn_class key;
  uint32_t n; /* connections */
};

enum tl_directive_action {
  TL_DIRECTIVE_PASS,   /* verified or not as PASS says; served from now on as of DOMAIN, if any */
  TL_DIRECTIVE_CLOSE,  /* at once, with ALERT (0: close_notify) */
  TL_DIRECTIVE_RETIRE, /* no new requests; closed when idle, at the latest after WITHIN_MS */
};

struct tl_directive {
  struct tl_conn_class key;
  enum tl_directive_action action;
  uint8_t alert;
  bool pass;
  struct tl_tls_domain *domain; /* a reference or NULL */
  uint32_t within_ms;
  char why[128];      /* for the log */
  uint32_t n_applied; /* out: connections it was done to */
};

struct tl_audit {
  struct tl_mail mail;
  struct tl_mail_address reply;
  unsigned worker;
  uint64_t run;   /* the asker's */
  bool inventory; /* else directives */
  int rc;
  size_t n;
  union {
    struct tl_audit_row *item; /* out */
    struct tl_directive *directive;
  };
  /* the worker's own */
  struct tl_audit *next;
  size_t cap;
  struct tl_index_map index; /* to items or directives, by tl_conn_class_key */
  uint32_t at;               /* next connection to look at */
};
struct tl_audit *tl_audit_new(size_t n_directive);
void tl_audit_free(struct tl_audit *s);
/* Asks WORKER; TL_ELIMIT: S stays the caller's. */
int tl_audit_ask(struct tl_thread *worker, struct tl_audit *s);
