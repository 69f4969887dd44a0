/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is trusted, over time: revocation lists and OCSP responses are renewed
 * before they end, what expires soon is warned of, expired ticket keys are wiped,
 * and connected chains are verified anew when something of this or the
 * configuration changes. The control thread turns all of it, and shows it.
 *
 * Ownership: one struct tl_trust_state and what it points to, the control thread's.
 * Threads: that one only. Errors: TL_ENOMEM at the start; later ones are logged,
 * counted and tried again.
 */
#pragma once

#include "tieline/audit.h"
#include "tieline/conf.h"
#include "tieline/conn_order.h"
#include "tieline/crl.h"
#include "tieline/hash_table.h"

struct tl_trust_state {
  struct tl_runtime *rt;
  struct tl_fetcher *fetcher;
  struct tl_ocsp_clients *ocsp_client; /* of clients that connect */
  struct tl_ocsp_staples *ocsp_staple; /* of our own certificates */
  struct tl_ledger *ledger;
  struct tl_expiry *expiry;
  struct tl_crl_life *crl;
  uint64_t tickets_ms; /* ticket keys are looked at again then */
  bool closing;
};

/* Before other threads run. AUDITED is the mail by which workers answer an audit; its reader calls
 * tl_trust_audited. The caller gives it because mail is delivered to the owner of the mailbox: that
 * is the caller's, and this room does not know it. On an error tl_trust_stop is not called. */
int tl_trust_start(struct tl_trust_state *t, struct tl_runtime *rt,
                   const struct tl_mail_kind *audited);
/* When all threads run: from now on something can be fetched. */
int tl_trust_run(struct tl_trust_state *t);
/* Does what is due; returns when to call again, or TL_TIME_NEVER. */
uint64_t tl_trust_turn(struct tl_trust_state *t, uint64_t now_ms);
/* Ends what is being fetched; mail that still comes is dropped. */
void tl_trust_close(struct tl_trust_state *t);
/* When no mail comes any more; after tl_trust_run only after tl_trust_close. */
void tl_trust_stop(struct tl_trust_state *t);

/* A worker's answer to an audit, which is taken over. */
void tl_trust_audited(struct tl_trust_state *t, struct tl_audit *s);
/* A worker's question about a client, which is taken over. */
void tl_trust_asked(struct tl_trust_state *t, struct tl_ocsp_ask *a);

/* ---- The ledger: which chains are connected under which TLS domain, and whether each passes */

/* One chain under one domain, role and name; by value, so that it outlives the run. */
struct tl_known {
  struct tl_hash_node node;
  uint8_t chain_sha256[32]; /* zero: no certificate */
  char *domain, *name, *subject, *serial;
  bool server;
  uint32_t n; /* connections */
  time_t not_after;
  long code; /* X509_V_* of the last verification */
  char why[160];
  time_t at;    /* of the last verification here, 0: the handshake's */
  uint64_t run; /* that verified it */
};

/* Has a run begin soon; ALL: it verifies every chain, not only those out of date. */
void tl_ledger_wake(struct tl_ledger *l, bool all);
/* Notes the domains of BEFORE that AFTER has removed, or changed in more than trust. Returns how
 * many domains of BEFORE are not in AFTER. */
size_t tl_ledger_reloaded(struct tl_ledger *l, const struct tl_conf *before,
                          const struct tl_conf *after, enum tl_reload_drain mode,
                          uint32_t within_ms);

/* Who waits for the end of a run; the waiter's memory. */
struct tl_ledger_wait {
  struct tl_ledger_wait *next; /* the ledger's */
  /* Once, and W is the waiter's again. L is NULL when the process ends. */
  void (*ended)(struct tl_ledger_wait *w, const struct tl_ledger *l);
};
/* For the end of the next run, which this asks for. */
void tl_ledger_wait(struct tl_ledger *l, struct tl_ledger_wait *w);

/* At the end of a run: did every worker answer? */
bool tl_ledger_is_complete(const struct tl_ledger *l);
/* At the end of a run: calls FN for each kind of connections of DOMAIN, by name, that had to be
 * dealt with: N of them were. */
typedef void (*tl_ledger_fn)(void *arg, enum tl_directive_action action, uint32_t n);
void tl_ledger_orders(const struct tl_ledger *l, const char *domain, tl_ledger_fn fn, void *arg);
/* How many chains are known. */
size_t tl_known_count(const struct tl_ledger *l);
/* All of them: the one after K, NULL for the first. */
struct tl_known *tl_known_next(const struct tl_ledger *l, const struct tl_known *k);

/* ---- Revocation lists */

/* A distribution point. */
struct tl_crl_point {
  struct tl_crl_point *next;
  char url[TL_CRL_URL_MAX];
  struct tl_crl *crl;          /* the last good one, NULL: none yet */
  uint64_t due_ms, ordered_ms; /* 0: never yet */
  unsigned failures;
  bool under_way;
  char why[192]; /* the last fetch failed, "": it did not */
};

/* Gives the lists fetched so far to the domains of CONF, which is about to replace BEFORE. */
void tl_crl_prepare(struct tl_crl_life *l, const struct tl_conf *before,
                    const struct tl_conf *conf);
/* The first of all that are known, NULL: none is. */
const struct tl_crl_point *tl_crl_points(const struct tl_crl_life *l);

/* ---- OCSP */

/* How many connections wait for an answer about their client. */
size_t tl_ocsp_client_waiting(const struct tl_ocsp_clients *o);

/* ---- What ends when */

/* The first of each kind, 0: none. */
struct tl_expiry_first {
  time_t own, authority, peer, list; /* our certificates; chains of peers; revocation lists */
};
void tl_expiry_first(const struct tl_expiry *e, struct tl_expiry_first *out);
