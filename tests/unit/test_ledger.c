/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of the ledger, the test playing the workers: connections of a class, what
 * is verified again and how often, who is told, when the next run is due, and
 * what happens when a worker is silent or its mailbox full.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "conf/conf_block.h"
#include "test_tls_duel.h"
#include "tieline/ocsp.h"
#include "tieline/rcu.h"
#include "tieline/time.h"
#include "tieline/view.h"
#include "tls/identity_read.h"
#include "trust/ledger.h"

#define WORKERS 3
#define MAILBOX 4

static struct tl_runtime rt;
static struct tl_thread worker[WORKERS];
static struct tl_ocsp_clients *clients;
static struct tl_ledger *ledger;
static struct tl_conf conf;
static struct tl_view view = {.conf = &conf, .refs = 1};
static struct tl_tls_domain *domains[1];
static struct tl_tls_options options;

static void drop_audit(struct tl_mail *m) { tl_audit_free((struct tl_audit *)m); }

/* What workers answer by; here the answers are taken from their hands. */
static const struct tl_mail_kind audited = {"audited", NULL, drop_audit};

static void on_told(void *arg, time_t until, bool revoked) {
  (void)arg;
  tl_ledger_ocsp(ledger, until, revoked);
}

static void set_up(void) {
  pki_open();
  cr_assert_eq(tl_tls_init(), 0);
  tl_rcu_thread_begin();
  options = duel_options();
  options.policy.verify_cert = options.policy.require_cert = true;
  domains[0] = duel_domain(&options);
  conf = (struct tl_conf){.refs = 100, .domain = domains, .n_domain = 1, .raw = tl_raw_new()};
  struct tl_block *written;
  cr_assert(conf.raw);
  cr_assert_eq(tl_blocks_add(&conf.raw->sec[TL_SEC_DOMAIN], &tl_conf_sections[TL_SEC_DOMAIN],
                             domains[0]->name, &written),
               0);
  rt.view = &view;
  rt.n_worker = WORKERS;
  cr_assert_eq(tl_mailbox_init(&rt.control.mailbox, 64), 0);
  for (unsigned i = 0; i < WORKERS; i++) {
    rt.worker[i] = &worker[i];
    cr_assert_eq(tl_mailbox_init(&worker[i].mailbox, MAILBOX), 0);
  }
  clients = tl_ocsp_clients_new(&rt, NULL, on_told, NULL);
  ledger = tl_ledger_new(&rt, &audited, clients);
  cr_assert(clients && ledger);
}

static void tear_down(void) {
  tl_ledger_free(ledger);
  tl_ocsp_clients_free(clients);
  tl_tls_domain_unref(domains[0]);
  tl_raw_unref(conf.raw);
  for (unsigned i = 0; i < WORKERS; i++) {
    tl_mailbox_destroy(&worker[i].mailbox);
  }
  tl_mailbox_destroy(&rt.control.mailbox);
  tl_rcu_thread_end();
  pki_close();
}

TestSuite(ledger, .init = set_up, .fini = tear_down, .timeout = 30);

/* Somebody's certificate of our authority, taken as verified when its connection came. */
static struct tl_identity *someone(const char *cn, const char *from, const char *to) {
  char subject[64];
  snprintf(subject, sizeof(subject), "O=Lab/CN=%s", cn);
  struct kit_cert c = kit_make(&(struct kit_options){.subject = subject,
                                                     .issuer = &pki_ca,
                                                     .ext = {"subjectAltName=DNS:peer.example"},
                                                     .from = from,
                                                     .to = to});
  struct tl_identity *id;
  cr_assert_eq(tl_identity_of_cert(c.x, NULL, &id), 0);
  id->verified = true;
  id->chain_not_after = id->not_after;
  return id;
}

static int turn(uint64_t now_ms) {
  const uint64_t due_ms = tl_ledger_turn(ledger, now_ms);
  return due_ms == TL_TIME_NEVER ? -1 : due_ms < now_ms ? 0 : (int)(due_ms - now_ms);
}

static struct tl_audit *mail_of(unsigned w) {
  tl_mailbox_rearm(&worker[w].mailbox);
  return (struct tl_audit *)tl_mailbox_take(&worker[w].mailbox);
}

/* Worker W answers an inventory: N connections of each of ROWS. */
struct row {
  struct tl_identity *id;
  bool verified;
  uint32_t n;
};
static void tells(unsigned w, const struct row *rows, size_t n_rows) {
  struct tl_audit *s = mail_of(w);
  cr_assert(s && s->inventory, "worker %u was not asked", w);
  s->item = calloc(n_rows + 1, sizeof(*s->item));
  for (size_t i = 0; i < n_rows; i++) {
    struct tl_conn_class a = {
        .identity = rows[i].id, .domain = domains[0], .server = true, .verified = rows[i].verified};
    cr_assert_eq(tl_conn_class_copy(&a, &s->item[i].key), 0);
    s->item[i].n = rows[i].n;
  }
  s->n = n_rows;
  tl_ledger_take(ledger, s);
}

/* The orders that worker W got, carried out on HIT connections each; how many. They may come in
 * several mails: the ledger judges for a few milliseconds at a time. */
static size_t obeys(unsigned w, uint32_t hit, struct tl_directive *out_first) {
  size_t n = 0;
  for (struct tl_audit *s; (s = mail_of(w));) {
    cr_assert_not(s->inventory);
    if (n == 0) *out_first = s->directive[0];
    for (size_t i = 0; i < s->n; i++) s->directive[i].n_applied = hit;
    n += s->n;
    tl_ledger_take(ledger, s);
  }
  return n;
}

/* Until the run that goes on has judged everything. */
static void judge(uint64_t now_ms) {
  for (int i = 0; i < 1000 && ledger->phase == TL_LEDGER_JUDGING; i++) turn(now_ms);
  cr_assert_neq((int)ledger->phase, (int)TL_LEDGER_JUDGING);
}

Test(ledger, f3_what_is_alike_is_one_chain_verified_once) {
  struct tl_ledger *l = ledger;
  struct tl_identity *a = someone("a.example", "-1", "100"), *b = someone("b.example", "-1", "100");
  tl_ledger_wake(ledger, true);
  turn(1000);
  tells(0, (struct row[]){{a, true, 3}, {b, true, 1}}, 2);
  tells(1, (struct row[]){{a, true, 4}, {a, false, 2}}, 2);
  cr_assert_eq((int)l->phase, (int)TL_LEDGER_ASKING, "one has not answered");
  tells(2, NULL, 0);
  cr_assert_eq(l->n_item, 3, "a verified, a not verified, b");
  cr_assert_eq(l->known.n, 2, "two chains");
  cr_expect_eq(l->item[0].n, 7);
  cr_expect_eq(l->item[0].workers, 3, "workers 0 and 1");
  cr_assert(l->item[0].known && l->item[1].known);
  cr_expect_eq(l->item[0].known, l->item[2].known, "one verdict for both kinds of a");
  cr_expect_eq(l->item[0].known->n, 9);
  l->item[0].known->run = l->run; /* as if it had been judged just now ... */
  l->item[0].known->code = X509_V_ERR_CERT_REVOKED;
  judge(1000);
  struct tl_directive o;
  cr_assert_eq(l->n_item, 3);
  cr_expect_eq(l->item[1].known->code, X509_V_OK);
  cr_expect_eq(obeys(0, 3, &o), 1, "... so that it is not judged a second time");
  cr_expect_eq((int)o.action, (int)TL_DIRECTIVE_CLOSE);
  cr_expect_eq(o.alert, SSL_AD_CERTIFICATE_REVOKED);
  cr_expect_eq(obeys(1, 3, &o), 2);
  cr_expect_eq(obeys(2, 3, &o), 0, "it has none of them");
  cr_expect_eq((int)l->phase, (int)TL_LEDGER_REST);
  cr_expect_eq(l->n_item, 0, "references are given back at the end of a run");
  tl_identity_unref(a);
  tl_identity_unref(b);
}

Test(ledger, f3_only_what_is_out_of_date_is_looked_at_unless_all_is) {
  struct tl_directive o;
  struct tl_identity *old = someone("old.example", "-10", "-1"),
                     *new = someone("new.example", "-1", "9");
  for (int all = 0; all < 2; all++) {
    tl_ledger_wake(ledger, all);
    turn(1000);
    for (unsigned w = 0; w < WORKERS; w++)
      tells(w, (struct row[]){{old, true, 1}, {new, true, 1}}, 2);
    judge(1000);
    const struct tl_ledger_item *it = ledger->item;
    cr_assert(ledger->n_item == 2 && it[0].known && it[1].known);
    cr_expect_eq(it[0].known->code, X509_V_ERR_CERT_HAS_EXPIRED);
    cr_expect_eq(it[1].known->at != 0, all, "verified again");
    cr_expect(it[0].ordered && !it[1].ordered);
    for (unsigned w = 0; w < WORKERS; w++) cr_expect_eq(obeys(w, 1, &o), 1);
    cr_expect_eq(o.alert, SSL_AD_CERTIFICATE_EXPIRED);
  }
  cr_expect_eq(atomic_load(&rt.next_expiry), new->chain_not_after, "the next to end");
  tl_identity_unref(old);
  tl_identity_unref(new);
}

Test(ledger, f3_who_is_gone_is_forgotten) {
  struct tl_identity *a = someone("a.example", "-1", "100"), *b = someone("b.example", "-1", "100");
  for (int run = 0; run < 3; run++) {
    tl_ledger_wake(ledger, false);
    turn(1000);
    tells(0, (struct row[]){{a, true, 1}, {b, true, 1}}, run == 0 ? 2 : run == 1 ? 1 : 0);
    tells(1, NULL, 0);
    tells(2, NULL, 0);
    cr_expect_eq(ledger->known.n, (size_t)(2 - run));
    judge(1000);
    turn(1000);
    cr_expect_eq((int)ledger->phase, (int)TL_LEDGER_REST);
  }
  tl_identity_unref(a);
  tl_identity_unref(b);
}

/* A table that begins with 64 places: more chains than that, some twice. */
Test(ledger, f3_grows_with_the_number_of_chains) {
  enum { N = 150 };
  struct row rows[N];
  for (int i = 0; i < N; i++) {
    char cn[32];
    snprintf(cn, sizeof(cn), "peer%d.example", i);
    rows[i] = (struct row){someone(cn, "-1", "100"), true, 2};
  }
  tl_ledger_wake(ledger, false);
  turn(1000);
  for (unsigned w = 0; w < WORKERS; w++) tells(w, rows + 10 * w, N - 10 * (size_t)w);
  struct tl_ledger *l = ledger;
  cr_expect_eq(l->n_item, N);
  cr_expect_eq(l->known.n, N);
  uint32_t sum = 0;
  for (size_t i = 0; i < l->n_item; i++) sum += l->item[i].n;
  cr_expect_eq(sum, 2 * (3 * N - 30));
  judge(1000);
  for (int i = 0; i < N; i++) tl_identity_unref(rows[i].id);
}

/* A worker that says nothing is left out after a while, and asked again by the next run; what it
 * says then about the former run counts no more. */
Test(ledger, f3_a_silent_worker_is_asked_again) {
  struct tl_ledger *l = ledger;
  struct tl_identity *a = someone("a.example", "-1", "100");
  tl_ledger_wake(ledger, false);
  cr_expect_eq(turn(1000), TL_LEDGER_MS);
  tells(0, NULL, 0);
  tells(2, NULL, 0);
  cr_expect_eq(turn(1000 + TL_LEDGER_MS - 1), 1);
  cr_expect_eq((int)l->phase, (int)TL_LEDGER_ASKING);
  const uint64_t run = l->run;
  turn(1000 + TL_LEDGER_MS);
  judge(1000 + TL_LEDGER_MS);
  turn(1000 + TL_LEDGER_MS);
  cr_assert_eq((int)l->phase, (int)TL_LEDGER_ASKING);
  cr_expect_eq(l->run, run + 1);
  tells(1, (struct row[]){{a, true, 1}}, 1); /* late: of the former run */
  cr_expect_eq(l->n_item, 0);
  tells(1, (struct row[]){{a, true, 1}}, 1);
  cr_expect_eq(l->n_item, 1);
  tl_identity_unref(a);
}

static void drop_plug(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind plug_kind = {"plug", NULL, drop_plug};

static void plug(unsigned w) {
  for (int i = 0; i < MAILBOX; i++) {
    struct tl_mail *m = calloc(1, sizeof(*m));
    m->kind = &plug_kind;
    cr_assert_eq(tl_mailbox_post(&worker[w].mailbox, m), 0);
  }
}

static void unplug(unsigned w) {
  for (int i = 0; i < MAILBOX; i++) free(tl_mailbox_take(&worker[w].mailbox));
}

Test(ledger, f3_an_order_that_finds_a_full_mailbox_is_given_by_the_next_run) {
  struct tl_directive o;
  struct tl_identity *old = someone("old.example", "-10", "-1");
  tl_ledger_wake(ledger, false);
  turn(1000);
  for (unsigned w = 0; w < WORKERS; w++) tells(w, (struct row[]){{old, true, 1}}, 1);
  plug(1);
  judge(1000);
  cr_expect_eq(tl_count_get(&rt.control.counters, TL_C_MAIL_FULL), 1);
  cr_expect_eq(obeys(0, 1, &o), 1);
  cr_expect_eq(obeys(2, 1, &o), 1);
  unplug(1);
  cr_expect_eq((int)ledger->phase, (int)TL_LEDGER_REST);
  cr_expect_not(ledger->complete);
  turn(1000);
  cr_assert_eq((int)ledger->phase, (int)TL_LEDGER_ASKING, "at once again");
  for (unsigned w = 0; w < WORKERS; w++) tells(w, (struct row[]){{old, true, 1}}, w == 1);
  judge(1000);
  cr_expect_eq(obeys(1, 1, &o), 1);
  cr_expect_eq(o.alert, SSL_AD_CERTIFICATE_EXPIRED);
  cr_expect_eq((int)ledger->phase, (int)TL_LEDGER_REST);
  cr_expect(ledger->complete);
  tl_identity_unref(old);
}

Test(ledger, f3_a_full_mailbox_leaves_the_run_incomplete) {
  plug(1);
  tl_ledger_wake(ledger, false);
  turn(1000);
  cr_expect_eq(tl_count_get(&rt.control.counters, TL_C_MAIL_FULL), 1);
  cr_expect_not(ledger->complete);
  tells(0, NULL, 0);
  tells(2, NULL, 0); /* nobody else is waited for */
  unplug(1);
  judge(1000);
  turn(1000);
  cr_expect_eq((int)ledger->phase, (int)TL_LEDGER_ASKING, "at once again");
  tells(1, NULL, 0);
}

/* notAfter is the last second of a certificate; what OCSP said ends with its second. */
Test(ledger, f3_f6_the_next_run_is_due_when_the_first_thing_ends) {
  const time_t now = time(NULL);
  struct tl_ledger *l = ledger;
  cr_expect_eq(turn(1000), -1, "nothing ends");
  atomic_store(&rt.next_expiry, now + 100);
  int ms = turn(1000);
  cr_expect(ms > 98000 && ms <= 101001, "%d", ms);
  tl_ledger_ocsp(ledger, now + 50, false);
  tl_ledger_ocsp(ledger, now + 70, false);
  ms = turn(1000);
  cr_expect(ms > 48000 && ms <= 50001, "%d", ms);
  atomic_store(&rt.next_expiry, now + 1000000);
  l->ocsp_at = 0;
  cr_expect_eq(turn(1000), 3600000, "the clock may be set: an hour at most");
  cr_expect_eq((int)l->phase, (int)TL_LEDGER_REST);
  tl_ledger_ocsp(ledger, now - 1, false);
  turn(1000);
  cr_expect_eq((int)l->phase, (int)TL_LEDGER_ASKING);
  for (unsigned w = 0; w < WORKERS; w++) tells(w, NULL, 0);
  judge(1000);
  turn(1000);
  cr_assert_eq((int)l->phase, (int)TL_LEDGER_REST);
  cr_expect_eq(l->ocsp_at, 0, "nothing is known any more");
  cr_expect_eq(atomic_load(&rt.next_expiry), 0);
  tl_ledger_ocsp(ledger, now + 9999, true);
  turn(1000);
  cr_expect_eq((int)l->phase, (int)TL_LEDGER_ASKING, "revoked: now");
}

/* Someone whom soft-fail let in, or who was good when he came. */
Test(ledger, f6_revoked_by_ocsp_ends_the_connections_of_that_certificate) {
  struct tl_identity *bad = someone("bad.example", "-1", "100"),
                     *ok = someone("ok.example", "-1", "100");
  struct tl_identity *const both[] = {bad, ok};
  for (int i = 0; i < 2; i++) {
    struct tl_ocsp_known k = {.status = i ? TL_OCSP_GOOD : TL_OCSP_REVOKED,
                              .until = time(NULL) + 500 * (i + 1)};
    cr_assert_eq(X509_digest(sk_X509_value(both[i]->chain, 0), EVP_sha256(), k.sha256, NULL), 1);
    tl_ocsp_remember(&k);
  }
  for (int on = 0; on < 2; on++) {
    struct tl_directive o;
    domains[0]->policy.ocsp.client = on ? TL_OCSP_CLIENT_SOFT : TL_OCSP_CLIENT_OFF;
    tl_ledger_wake(ledger, false);
    turn(1000);
    for (unsigned w = 0; w < WORKERS; w++)
      tells(w, (struct row[]){{bad, true, 1}, {ok, true, 1}}, 2);
    judge(1000);
    for (unsigned w = 0; w < WORKERS; w++) cr_expect_eq(obeys(w, 1, &o), (size_t)on);
    if (on) cr_expect_eq(o.alert, SSL_AD_CERTIFICATE_REVOKED);
    turn(1000);
    cr_expect_eq((int)ledger->phase, (int)TL_LEDGER_REST);
  }
  cr_expect_eq(ledger->ocsp_at, tl_ocsp_known_next(0));
  tl_identity_unref(bad);
  tl_identity_unref(ok);
}
