/* SPDX-License-Identifier: Apache-2.0 */
/* No memory while a configuration is read: it is refused as a whole, with a sentence. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../unit/test_conf_util.h"
#include "test_oom_kit.h"

TestSuite(oom_conf, .init = conf_setup, .fini = conf_teardown);

static struct tl_view *view, *previous;
static unsigned complaints;

static void count_complaint(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  (void)file;
  (void)line;
  cr_assert_gt(strlen(sentence), 0);
  complaints++;
}

/* What is refused may look like a file that cannot be read; that is a refusal too. */
static int make_conf(void) {
  complaints = 0;
  int rc = tl_conf_load(conf_path("t.conf"), previous, count_complaint, NULL, &view);
  cr_assert_eq(rc == TL_OK, view != NULL);
  if (rc) cr_assert_gt(complaints, 0, "%d without a sentence", rc);
  return rc == TL_ECONFIG ? TL_ENOMEM : rc;
}
static void drop_conf(void) { tl_view_unref(view); }

static const char plain[] =
    "domains = { \"atlanta.example\", \"biloxi.example\" }\n"
    "listen \"udp:127.0.0.1:5060\" {}\n"
    "listen \"tcp:127.0.0.1:5060\" { advertise = \"sbc.atlanta.example\" }\n"
    "peer \"pbx\" { uri = \"sip:127.0.0.1:5080;transport=udp\" domains = { \"atlanta.example\" }\n"
    "  networks = { \"192.0.2.0/24\" } max_calls = 10 probe = 30s }\n"
    "peer \"other\" { uri = \"sip:127.0.0.1:5090;transport=tcp\" }\n"
    "route \"in\" { to_domain = { \"atlanta.example\" } peers = { \"pbx\", \"other\" } }\n"
    "route \"out\" { from_peer = \"pbx\" to_prefix = \"+\" peers = \"other\" }\n";

static const char secure[] =
    "listen \"tls:127.0.0.1:5061\" { tls_domain = \"lab\" }\n"
    "tls_domain \"lab\" { certificate = \"a.example.pem\" private_key = \"a.example.key\"\n"
    "  ca_list = \"a.example.pem\" crl_file = \"a.crl\" }\n"
    "peer \"far\" { uri = \"sip:127.0.0.1:5071;transport=tls\" identity = \"far.example\"\n"
    "  tls_domain = \"lab\" ca_list = \"a.example.pem\" }\n"
    "route \"all\" { peers = \"far\" }\n";

Test(oom_conf, a_configuration_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case c = {"configuration", make_conf, drop_conf, 0, true};
  conf_write("t.conf", plain);
  oom_case_run(&c);
}

Test(oom_conf, a_configuration_with_tls_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case c = {"configuration with TLS", make_conf, drop_conf, 0, true};
  conf_certificate("a.example", 7, 0600);
  conf_crl("a.example", "a.crl");
  conf_write("t.conf", secure);
  oom_case_run(&c);
}

Test(oom_conf, a_reload_is_refused_or_whole, .timeout = 60) {
  static const struct oom_case c = {"reload", make_conf, drop_conf, 0, true};
  conf_write("t.conf", plain);
  cr_assert_eq(make_conf(), TL_OK);
  previous = view;
  oom_case_run(&c);
  tl_view_unref(previous);
}
