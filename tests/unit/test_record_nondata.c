/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control records mean: tables of records and the action each must lead to,
 * whole, split at every byte, and merged.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "tieline/record.h"

struct row {
  const char *name;
  enum tl_tls_version v;
  bool server;
  uint8_t type;
  const char *bytes;
  size_t n;
  enum tl_nondata_action action;
  uint8_t alert;
};

#define B(lit) lit, sizeof(lit) - 1
#define V2 TL_TLS_1_2
#define V3 TL_TLS_1_3
#define HS TL_CT_HANDSHAKE
#define AL TL_CT_ALERT

static const struct row rows[] = {
    {"close_notify", V3, true, AL, B("\1\0"), TL_NONDATA_CLOSE_NOTIFY, 0},
    {"close_notify sent as fatal", V3, true, AL, B("\2\0"), TL_NONDATA_CLOSE_NOTIFY, 0},
    {"close_notify 1.2", V2, false, AL, B("\1\0"), TL_NONDATA_CLOSE_NOTIFY, 0},
    {"fatal", V3, true, AL, B("\2\x14"), TL_NONDATA_FATAL, 20},
    {"fatal 1.2", V2, true, AL, B("\2\x28"), TL_NONDATA_FATAL, 40},
    {"1.3 has no other warnings", V3, true, AL, B("\1\x2a"), TL_NONDATA_FATAL, 42},
    {"user_canceled", V3, true, AL, B("\1\x5a"), TL_NONDATA_NONE, 0},
    {"warning 1.2", V2, true, AL, B("\1\x64"), TL_NONDATA_NONE, 0},
    {"alert level 3", V2, true, AL, B("\3\x64"), TL_NONDATA_UNEXPECTED, 47},
    {"key update", V3, true, HS, B("\x18\0\0\1\0"), TL_NONDATA_KEY_UPDATE, 0},
    {"key update request", V3, false, HS, B("\x18\0\0\1\1"), TL_NONDATA_KEY_UPDATE_REQ, 0},
    {"key update of 2", V3, false, HS, B("\x18\0\0\1\2"), TL_NONDATA_UNEXPECTED, 47},
    {"key update too long", V3, false, HS, B("\x18\0\0\2\0\0"), TL_NONDATA_UNEXPECTED, 50},
    {"empty key update", V3, false, HS, B("\x18\0\0\0"), TL_NONDATA_UNEXPECTED, 50},
    {"key update in 1.2", V2, true, HS, B("\x18\0\0\1\0"), TL_NONDATA_UNEXPECTED, 10},
    {"ticket for a client", V3, false, HS, B("\4\0\0\3abc"), TL_NONDATA_NONE, 0},
    {"two tickets", V3, false, HS, B("\4\0\0\1a\4\0\0\2bc"), TL_NONDATA_NONE, 0},
    {"ticket then key update", V3, false, HS, B("\4\0\0\1a\x18\0\0\1\0"), TL_NONDATA_KEY_UPDATE, 0},
    {"ticket for a server", V3, true, HS, B("\4\0\0\3abc"), TL_NONDATA_UNEXPECTED, 10},
    {"empty ticket", V3, false, HS, B("\4\0\0\0"), TL_NONDATA_UNEXPECTED, 50},
    {"endless ticket", V3, false, HS, B("\4\xff\xff\xff"), TL_NONDATA_UNEXPECTED, 50},
    {"certificate request", V3, false, HS, B("\x0d\0\0\3abc"), TL_NONDATA_UNEXPECTED, 10},
    {"client hello 1.3", V3, true, HS, B("\1\0\0\3abc"), TL_NONDATA_UNEXPECTED, 10},
    {"client hello 1.2", V2, true, HS, B("\1\0\0\3"), TL_NONDATA_RENEGOTIATE, 0},
    {"hello request 1.2", V2, false, HS, B("\0\0\0\0"), TL_NONDATA_RENEGOTIATE, 0},
    {"hello request with a body", V2, false, HS, B("\0\0\0\1"), TL_NONDATA_UNEXPECTED, 50},
    {"client hello without end 1.2", V2, true, HS, B("\1\xff\xff\xff"), TL_NONDATA_UNEXPECTED, 50},
    {"hello request to a server", V2, true, HS, B("\0\0\0\0"), TL_NONDATA_UNEXPECTED, 10},
    {"finished again", V2, true, HS, B("\x14\0\0\x0c"), TL_NONDATA_UNEXPECTED, 10},
    {"empty handshake record", V3, true, HS, B(""), TL_NONDATA_UNEXPECTED, 10},
    {"empty alert record", V2, true, AL, B(""), TL_NONDATA_UNEXPECTED, 10},
    {"encrypted CCS", V2, true, TL_CT_CCS, B("\1"), TL_NONDATA_UNEXPECTED, 10},
    {"heartbeat", V3, true, 24, B("\1\0\0"), TL_NONDATA_UNEXPECTED, 10},
    {"type 30", V3, true, 30, B("x"), TL_NONDATA_UNEXPECTED, 10},
};
#define ROWS (sizeof(rows) / sizeof(*rows))

Test(record_nondata, whole_records) {
  for (size_t i = 0; i < ROWS; i++) {
    struct tl_nondata_state s = {0};
    const struct row *r = &rows[i];
    size_t used;
    uint8_t alert = 99;
    enum tl_nondata_action a = tl_nondata_input(&s, r->v, r->server, r->type,
                                                (const uint8_t *)r->bytes, r->n, &used, &alert);
    cr_expect_eq(a, r->action, "%s: action %d", r->name, a);
    cr_expect_eq(alert, r->alert, "%s: alert %u", r->name, alert);
    cr_expect_leq(used, r->n, "%s", r->name);
  }
}

/* Kernel and user space may hand a message over in any pieces (KTLS-FACTS 22). */
Test(record_nondata, byte_by_byte_means_the_same) {
  for (size_t i = 0; i < ROWS; i++) {
    struct tl_nondata_state s = {0};
    const struct row *r = &rows[i];
    enum tl_nondata_action a = TL_NONDATA_NONE;
    size_t used;
    uint8_t alert = 0;
    if (r->n == 0) continue;
    for (size_t at = 0; at < r->n && a == TL_NONDATA_NONE; at++) {
      a = tl_nondata_input(&s, r->v, r->server, r->type, (const uint8_t *)r->bytes + at, 1, &used,
                           &alert);
      cr_assert_eq(used, 1);
    }
    cr_expect_eq(a, r->action, "%s: action %d", r->name, a);
    cr_expect_eq(alert, r->alert, "%s: alert %u", r->name, alert);
  }
}

Test(record_nondata, counts_tickets_and_key_updates) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  const uint8_t tickets[] = "\4\0\0\1a\4\0\0\2bc\4\0\0\1";
  cr_assert_eq(tl_nondata_input(&s, V3, false, HS, tickets, sizeof(tickets) - 1, &used, &alert),
               TL_NONDATA_NONE);
  cr_assert_eq(s.tickets, 2);
  cr_assert_eq(tl_nondata_input(&s, V3, false, HS, (const uint8_t *)"z", 1, &used, &alert),
               TL_NONDATA_NONE);
  cr_assert_eq(s.tickets, 3);
  for (unsigned i = 1; i <= 3; i++) {
    cr_assert_eq(
        tl_nondata_input(&s, V3, false, HS, (const uint8_t *)"\x18\0\0\1\1", 5, &used, &alert),
        TL_NONDATA_KEY_UPDATE_REQ);
    cr_assert_eq(s.key_updates, i);
  }
}

Test(record_nondata, merged_alerts_come_one_by_one) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  const uint8_t two[] = {1, 100, 1, 0, 2, 20};
  cr_assert_eq(tl_nondata_input(&s, V2, true, AL, two, sizeof(two), &used, &alert),
               TL_NONDATA_CLOSE_NOTIFY);
  cr_assert_eq(used, 4);
  cr_assert_eq(tl_nondata_input(&s, V2, true, AL, two + used, sizeof(two) - used, &used, &alert),
               TL_NONDATA_FATAL);
  cr_assert_eq(alert, 20);
}

Test(record_nondata, key_update_must_end_its_record) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  const uint8_t two[] = {24, 0, 0, 1, 0, 24, 0, 0, 1, 0};
  cr_assert_eq(tl_nondata_input(&s, V3, true, HS, two, sizeof(two), &used, &alert),
               TL_NONDATA_UNEXPECTED);
  cr_assert_eq(alert, TL_ALERT_UNEXPECTED_MESSAGE);
}

/* Found by fuzzing: whoever goes on after a HelloRequest must not be led astray. */
Test(record_nondata, message_without_body_is_over_at_once) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  const uint8_t two[] = {0, 0, 0, 0, 0, 0, 0, 0};
  cr_assert_eq(tl_nondata_input(&s, V2, false, HS, two, sizeof(two), &used, &alert),
               TL_NONDATA_RENEGOTIATE);
  cr_assert_eq(used, 4);
  cr_assert_eq(tl_nondata_input(&s, V2, false, HS, two + 4, 4, &used, &alert),
               TL_NONDATA_RENEGOTIATE);
  cr_assert_eq(used, 4);
}

Test(record_nondata, body_of_a_client_hello_is_skipped) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  const uint8_t hello[] = {1, 0, 0, 3, 'a', 'b', 'c', 1, 0, 0, 0};
  cr_assert_eq(tl_nondata_input(&s, V2, true, HS, hello, 9, &used, &alert), TL_NONDATA_RENEGOTIATE);
  cr_assert_eq(used, 4);
  cr_assert_eq(tl_nondata_input(&s, V2, true, HS, hello + 4, 7, &used, &alert),
               TL_NONDATA_RENEGOTIATE);
  cr_assert_eq(used, 7);
}

/* RFC 8446 5.1: nothing comes between the parts of a handshake message, or of an alert; what ends
 * the connection has no rest behind it. TLS 1.2 does not forbid it. */
Test(record_nondata, s22_what_comes_between_the_parts_of_a_message) {
  static const struct {
    enum tl_tls_version v;
    uint8_t first;
    const char *p;
    size_t n;
    uint8_t then;
    const char *q;
    size_t m;
    enum tl_nondata_action action;
    uint8_t alert;
  } cases[] = {
      {V3, HS, B("\x18\0"), AL, B("\1\x5a"), TL_NONDATA_UNEXPECTED, 10},
      {V3, HS, B("\x18\0\0\1"), AL, B("\1\x5a"), TL_NONDATA_UNEXPECTED, 10},
      {V3, HS, B("\4\0\0\3a"), AL, B("\1\x5a"), TL_NONDATA_UNEXPECTED, 10},
      {V3, HS, B("\4\0\0\3a"), AL, B("\1"), TL_NONDATA_UNEXPECTED, 10},
      {V3, HS, B("\x18\0"), AL, B("\1\0"), TL_NONDATA_CLOSE_NOTIFY, 0},
      {V3, HS, B("\x18\0"), AL, B("\2\x14"), TL_NONDATA_FATAL, 20},
      {V3, AL, B("\1"), HS, B("\x18\0\0\1\0"), TL_NONDATA_UNEXPECTED, 10},
      {V3, AL, B("\1\x5a"), HS, B("\x18\0\0\1\0"), TL_NONDATA_KEY_UPDATE, 0},
      {V3, HS, B("\x18\0"), HS, B("\0\1\0"), TL_NONDATA_KEY_UPDATE, 0},
      {V2, HS, B("\0\0\0"), AL, B("\1\x64"), TL_NONDATA_NONE, 0},
      {V2, AL, B("\1"), HS, B("\0\0\0\0"), TL_NONDATA_RENEGOTIATE, 0},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_nondata_state s = {0};
    size_t used;
    uint8_t alert;
    cr_assert_eq(tl_nondata_input(&s, cases[i].v, false, cases[i].first,
                                  (const uint8_t *)cases[i].p, cases[i].n, &used, &alert),
                 TL_NONDATA_NONE, "%zu", i);
    bool whole = cases[i].first == AL && cases[i].n == 2;
    cr_expect_eq(tl_nondata_is_cut(&s, cases[i].v), cases[i].v == V3 && !whole, "%zu", i);
    cr_expect_eq(tl_nondata_input(&s, cases[i].v, false, cases[i].then, (const uint8_t *)cases[i].q,
                                  cases[i].m, &used, &alert),
                 cases[i].action, "%zu", i);
    cr_expect_eq(alert, cases[i].alert, "%zu", i);
  }
}

Test(record_nondata, s7_endless_wishes_to_renegotiate_end_the_connection) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  enum tl_nondata_action a = TL_NONDATA_RENEGOTIATE;
  int n = 0;
  for (; a == TL_NONDATA_RENEGOTIATE && n < 1000; n++)
    a = tl_nondata_input(&s, V2, false, HS, (const uint8_t *)"\0\0\0\0", 4, &used, &alert);
  cr_assert_eq(a, TL_NONDATA_UNEXPECTED);
  cr_assert_leq(n, 100);
}

Test(record_nondata, endless_warnings_end_the_connection) {
  struct tl_nondata_state s = {0};
  size_t used;
  uint8_t alert;
  enum tl_nondata_action a = TL_NONDATA_NONE;
  int n = 0;
  while (a == TL_NONDATA_NONE && n < 1000) {
    a = tl_nondata_input(&s, V2, true, AL, (const uint8_t *)"\1\x64", 2, &used, &alert);
    n++;
  }
  cr_assert_eq(a, TL_NONDATA_UNEXPECTED);
  cr_assert_leq(n, 100);
}

Test(record_nondata, names) {
  cr_assert_str_eq(tl_alert_name(0), "close_notify");
  cr_assert_str_eq(tl_alert_name(116), "certificate_required");
  cr_assert_str_eq(tl_alert_name(1), "unknown");
  cr_assert_str_eq(tl_alert_name(255), "unknown");
  cr_assert_str_eq(tl_cipher_name(TL_CHACHA20_POLY1305), "CHACHA20-POLY1305");
  cr_assert_str_eq(tl_tls_version_name(TL_TLS_1_2), "TLSv1.2");
}
