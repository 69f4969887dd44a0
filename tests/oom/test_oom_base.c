/* SPDX-License-Identifier: Apache-2.0 */
/* No memory for the parts of base, record, ktls and number. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test_oom_kit.h"
#include "tieline/audit.h"
#include "tieline/dns.h"
#include "tieline/err.h"
#include "tieline/log.h"
#include "tieline/number_csv.h"
#include "tieline/peer_state.h"
#include "tieline/pool.h"
#include "tieline/record.h"

static int made(const void *p) { return p ? TL_OK : TL_ENOMEM; }

static struct tl_pool pool;
static void *object;
static int make_object(void) {
  tl_pool_init(&pool, 100, 0);
  return made(object = tl_pool_get(&pool));
}
static void drop_object(void) {
  tl_pool_put(&pool, object);
  tl_pool_destroy(&pool);
}

static struct tl_dns *dns;
static int make_dns(void) { return made(dns = tl_dns_new(NULL)); }
static void drop_dns(void) { tl_dns_free(dns); }

static struct tl_dns_answer *answer;
static int make_answer(void) {
  static const uint8_t msg[] = {0, 0,    0x81, 0x80, 0, 1, 0, 1, 0, 0, 0,  0, 1, 'a', 0, 0, 1, 0,
                                1, 0xc0, 12,   0,    1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
  return tl_dns_read(msg, sizeof(msg), "a", TL_DNS_A, &answer);
}
static void drop_answer(void) { free(answer); }

static int make_log(void) { return tl_log_start(TL_LOG_STDERR, TL_LOG_KV, 100); }
static void drop_log(void) { tl_log_stop(); }

static struct tl_peer_state *state;
static int make_state(void) {
  if (made(state = tl_peer_state_of(7, "carrier"))) return TL_ENOMEM;
  int rc = tl_peer_state_begin(state, "sip:carrier.example", tl_addr_list_new(), false);
  if (rc) tl_peer_state_unref(state);
  return rc;
}
static void drop_state(void) { tl_peer_state_unref(state); }

static struct tl_audit *audit;
static int make_audit(void) { return made(audit = tl_audit_new(3)); }
static void drop_audit(void) { tl_audit_free(audit); }

static struct tl_number_table *numbers;
static int make_numbers(void) {
  char text[] = "prefix,target,cost,time_rule\n49,a,1,day\n49,b,2\n33,a\n*1,c\n0,d\n";
  struct tl_number_build *b = tl_number_build_new(NULL, NULL);
  FILE *f = fmemopen(text, strlen(text), "r");
  int rc = b && f ? tl_number_build_file(b, "t.csv") : TL_ENOMEM;
  if (!rc) rc = tl_number_csv_read(b, f);
  if (!rc) rc = tl_number_build_end(b, &numbers);
  tl_number_build_free(b);
  if (f) fclose(f);
  return rc;
}
static void drop_numbers(void) { tl_number_table_unref(numbers); }

Test(oom_base, each_part_is_refused_or_whole) {
  static const struct oom_case cases[] = {
      {"pool", make_object, drop_object, 0, false},
      {"dns", make_dns, drop_dns, 0, true},
      {"numbers", make_numbers, drop_numbers, 0, true},
      {"dns answer", make_answer, drop_answer, TL_ESYNTAX, false},
      {"state of a peer", make_state, drop_state, 0, false},
      {"audit", make_audit, drop_audit, 0, false},
      {"log", make_log, drop_log, 0, false},
  };
  OOM_RUN_ALL(cases);
}

static enum tl_cipher cipher;
static struct tl_record *record;
static int make_record(void) {
  struct tl_tls_keys k = {.version = TL_TLS_1_3, .cipher = cipher, .secret_len = 32};
  k.key_len = cipher == TL_AES_128_GCM ? 16 : 32;
  return tl_record_new(&k, 0, &record);
}
static void drop_record(void) { tl_record_free(record); }

Test(oom_base, record_layers_are_refused_or_whole) {
  static const struct oom_case c = {"record layer", make_record, drop_record, 0, true};
  static const enum tl_aead_backend backends[] = {TL_AEAD_EVP, TL_AEAD_IPSEC_MB};
  for (unsigned b = 0; b < 2; b++) {
    if (tl_record_backend_set(backends[b])) continue;
    for (cipher = TL_AES_128_GCM; cipher <= TL_CHACHA20_POLY1305; cipher++) oom_case_run(&c);
  }
}
