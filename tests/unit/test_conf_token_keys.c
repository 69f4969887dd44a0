/* SPDX-License-Identifier: Apache-2.0 */
/* Where a configuration takes the keys of its tokens from, and what becomes of them at a reload. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test_conf_util.h"
#include "tieline/state_path.h"
#include "tieline/token_keys.h"

TestSuite(conf_token_keys, .init = conf_setup, .fini = conf_teardown, .timeout = 30);

#define L "listen \"tcp:127.0.0.1:5999\" {}\n"

Test(conf_token_keys, f24_the_default_is_in_the_state_directory) {
  static const struct {
    const char *variable, *want;
  } t[] = {{NULL, "/var/lib/tieline/token.keys"},
           {"", "/var/lib/tieline/token.keys"},
           {"relative", "/var/lib/tieline/token.keys"},
           {"/var/lib/sbc", "/var/lib/sbc/token.keys"},
           {"/var/lib/sbc:/var/lib/other", "/var/lib/sbc/token.keys"},
           {":/var/lib/other", "/var/lib/tieline/token.keys"}};
  static char long_dir[TL_STATE_PATH_MAX], path[TL_STATE_PATH_MAX];
  for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
    if (t[i].variable)
      setenv("STATE_DIRECTORY", t[i].variable, 1);
    else
      unsetenv("STATE_DIRECTORY");
    cr_assert_eq(tl_state_path(TL_TOKEN_KEYS_FILE, path), TL_OK);
    cr_expect_str_eq(path, t[i].want);
  }
  memset(long_dir, 'a', sizeof(long_dir) - 1);
  long_dir[0] = '/';
  setenv("STATE_DIRECTORY", long_dir, 1);
  cr_expect_eq(tl_state_path(TL_TOKEN_KEYS_FILE, path), TL_ELIMIT);
  struct conf_try refused = conf_try(L, NULL);
  cr_expect_neq(refused.rc, TL_OK);
}

Test(conf_token_keys, f24_only_an_unset_option_takes_the_default) {
  struct conf_try t = conf_try(L, NULL);
  cr_assert_eq(t.rc, TL_OK, "%s", t.complaint[0]);
  cr_expect_str_eq(t.conf->opt.key_file, conf_path("token.keys"));
  cr_expect(!tl_conf_wants_key_file(t.conf) && !t.conf->token_keys->kept);
  conf_try_free(&t);
  t = conf_try(L "key_file = \"mine\"\n", NULL);
  cr_expect_str_eq(t.conf->opt.key_file, conf_path("mine"));
  cr_expect(tl_conf_wants_key_file(t.conf));
  conf_try_free(&t);
  t = conf_try(L "key_file = \"\"\n", NULL);
  cr_expect_eq(t.rc, TL_ECONFIG);
  cr_expect(conf_complains(&t, "t.conf:2: key_file names no file"), "%s", t.complaint[0]);
}
