/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of `tieline ctl` as parameters, and values of parameters.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/command.h"
#include "ctl/ctl_args.h"
#include "test_tls_pki.h"

/* The parameters of WORDS as compact JSON in one of four buffers, "-" if they are refused. */
static const char *params(const char *words, struct tl_ctl_words *w) {
  static char out[4][512], copy[256]; /* W may point into the words */
  static unsigned at;
  char *argv[16], *save = NULL, *buf = out[at++ % 4];
  int argc = 0;
  snprintf(copy, sizeof(copy), "%s", words);
  for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) argv[argc++] = p;
  json_t *j = tl_ctl_params(argc, argv, w);
  char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
  snprintf(buf, 512, "%s", text ? text : "-");
  free(text);
  json_decref(j);
  return buf;
}

Test(ctl_args, words_become_parameters) {
  static const struct {
    const char *words, *want;
  } cases[] = {
      {"stats", "{}"},
      {"stats threads", "{\"threads\":true}"},
      {"stats --threads", "{\"threads\":true}"},
      {"log debug", "{\"level\":\"debug\"}"},
      {"log level=debug", "{\"level\":\"debug\"}"},
      {"connections 50", "{\"limit\":50}"},
      {"connections --limit 50 --peer carrier", "{\"limit\":50,\"peer\":\"carrier\"}"},
      {"connections --peer=carrier", "{\"peer\":\"carrier\"}"},
      {"connection 0100000000000003", "{\"id\":\"0100000000000003\"}"},
      {"connection 1000000000000003", "{\"id\":\"1000000000000003\"}"},
      {"explain tls --sni a.example", "{\"sni\":\"a.example\",\"what\":\"tls\"}"},
      {"explain request --uri sip:a@b;x=y", "{\"uri\":\"sip:a@b;x=y\",\"what\":\"request\"}"},
      {"show config explain", "{\"explain\":true,\"what\":\"config\"}"},
      {"keylog on --peer 192.0.2.1 --for 60s",
       "{\"for\":\"60s\",\"peer\":\"192.0.2.1\",\"switch\":\"on\"}"},
      {"reload drain=graceful:5", "{\"drain\":\"graceful:5\"}"},
      {"stats surplus", "-"},
      {"connection 1 2", "-"},
      {"connections --peer", "-"},
      {"connections =3", "-"},
      {"explain tls --ca-names /nonexistent", "-"},
  };
  FILE *quiet = freopen("/dev/null", "w", stderr);
  cr_assert_not_null(quiet);
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_ctl_words w = {.socket = "x"};
    cr_expect_str_eq(params(cases[i].words, &w), cases[i].want, "%s: %s", cases[i].words,
                     params(cases[i].words, &w));
  }
}

Test(ctl_args, options_of_ctl_itself_may_stand_behind) {
  struct tl_ctl_words w = {.socket = "default"};
  cr_assert_str_eq(params("stats all --json -s /run/x.sock", &w), "{}");
  cr_assert(w.json && w.all);
  cr_assert_str_eq(w.socket, "/run/x.sock");
}

/* The daemon may not be allowed to read the file. */
Test(ctl_args, b5_authorities_of_a_file_are_sent_by_name) {
  struct tl_ctl_words w = {.socket = "x"};
  char words[256], want[512], *at = want;
  uint8_t *der = NULL;
  pki_open();
  int n = i2d_X509_NAME(X509_get_subject_name(pki_ca.x), &der);
  cr_assert(n > 0 && n < 200);
  at += sprintf(at, "{\"ca_names\":[\"");
  for (int i = 0; i < n; i++) at += sprintf(at, "%02x", der[i]);
  sprintf(at, "\"],\"what\":\"tls\"}");
  OPENSSL_free(der);
  snprintf(words, sizeof(words), "explain tls --ca-names %s", pki_path("ca.pem"));
  cr_expect_str_eq(params(words, &w), want);
  pki_close();
}

Test(ctl_args, durations) {
  static const struct {
    const char *json;
    int64_t ms;
  } cases[] = {{"{}", 0},
               {"{\"t\":5}", 5000},
               {"{\"t\":\"5\"}", 5000},
               {"{\"t\":\"250ms\"}", 250},
               {"{\"t\":\"2m\"}", 120000},
               {"{\"t\":\"1h\"}", 3600000},
               {"{\"t\":\"2h\"}", -1},
               {"{\"t\":0}", -1},
               {"{\"t\":-5}", -1},
               {"{\"t\":\"s\"}", -1},
               {"{\"t\":\"5 s\"}", -1},
               {"{\"t\":\"99999999999\"}", -1},
               {"{\"t\":4000}", -1},
               {"{\"t\":true}", -1}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    json_t *j = json_loads(cases[i].json, 0, NULL);
    cr_expect_eq(tl_param_duration(j, "t", 3600000), cases[i].ms, "%s", cases[i].json);
    json_decref(j);
  }
}

Test(ctl_args, addresses) {
  struct tl_addr a;
  char text[TL_ADDR_STRLEN];
  static const struct {
    const char *in, *out;
  } good[] = {{"192.0.2.1", "192.0.2.1:0"},
              {"192.0.2.1:5061", "192.0.2.1:5061"},
              {"2001:db8::1", "[2001:db8::1]:0"},
              {"[2001:db8::1]:5061", "[2001:db8::1]:5061"}};
  for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
    cr_expect_eq(tl_param_address(good[i].in, &a), 0, "%s", good[i].in);
    cr_expect_str_eq(tl_addr_format(&a, text), good[i].out);
  }
  static const char *const bad[] = {
      "", ":5061", "host", "host:5061", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:70000", "192.0.2"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    cr_expect_neq(tl_param_address(bad[i], &a), 0, "%s", bad[i]);
}
