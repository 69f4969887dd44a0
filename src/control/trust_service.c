/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs what src/trust does, and hands it the mail that other threads send it.
 */
#include "control/control_internal.h"

/* ---- mail */

static void deliver_audit(void *reader, struct tl_mail *m) {
  struct tl_control *c = reader;
  tl_trust_audited(&c->trust, (struct tl_audit *)m);
}

static void drop_audit(struct tl_mail *m) { tl_audit_free((struct tl_audit *)m); }

static const struct tl_mail_kind audited = {"audited", deliver_audit, drop_audit};

static void deliver_question(void *reader, struct tl_mail *m) {
  struct tl_control *c = reader;
  tl_trust_asked(&c->trust, (struct tl_ocsp_ask *)m);
}

static void drop_question(struct tl_mail *m) { tl_ocsp_ask_free((struct tl_ocsp_ask *)m); }

const struct tl_mail_kind tl_ocsp_question = {"OCSP question", deliver_question, drop_question};

/* ---- the services */

static int trust_start(struct tl_control *c) { return tl_trust_start(&c->trust, c->rt, &audited); }

static uint64_t trust_turn(struct tl_control *c, uint64_t now_ms) {
  return tl_trust_turn(&c->trust, now_ms);
}

static void trust_stop(struct tl_control *c) { tl_trust_stop(&c->trust); }

const struct tl_control_service tl_trust_service = {
    .name = "trust", .start = trust_start, .turn = trust_turn, .stop = trust_stop};

static int fetch_run(struct tl_control *c) { return tl_trust_run(&c->trust); }

static void fetch_stop(struct tl_control *c) { tl_trust_close(&c->trust); }

const struct tl_control_service tl_fetch_service = {
    .name = "fetching", .run = fetch_run, .stop = fetch_stop};
