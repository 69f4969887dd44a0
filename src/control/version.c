/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `tieline --version`: what a bug report needs. `tieline probe` says more, and how
 * to add what is missing.
 */
#include <sys/utsname.h>

#include "tieline/control.h"
#include "tieline/tls.h"

static void print_direction(FILE *f, const char *name, const bool on[TL_CIPHERS]) {
  bool any = false;
  fprintf(f, " %s", name);
  for (int i = 0; i < TL_CIPHERS; i++)
    if (on[i]) {
      fprintf(f, "%s%s", any ? "," : " ", tl_cipher_name((enum tl_cipher)i));
      any = true;
    }
  if (!any) fputs(" none", f);
}

void tl_daemon_version(FILE *f) {
  struct tl_ktls_caps caps = {0};
  struct utsname u = {0};
  uname(&u);
  tl_ktls_probe(&caps);
  tl_record_backend_set(TL_AEAD_AUTO);
  fprintf(f, "tieline %s\n", TL_VERSION);
  fprintf(f, "openssl %s\n", tl_tls_library(false));
  fprintf(f, "kernel  %s %s %s\n", u.sysname, u.release, u.machine);
  fprintf(f, "aead    %s (records in user space)\n", tl_record_backend_name());
  if (!caps.ulp) {
    fprintf(f, "ktls    no: %s\n", tl_ktls_why_text(TL_KTLS_NO_ULP));
    return;
  }
  for (int v = 0; v < 2; v++) {
    fprintf(f, "ktls    %s", tl_tls_version_name(v ? TL_TLS_1_3 : TL_TLS_1_2));
    print_direction(f, "send", caps.tx[v]);
    print_direction(f, "; receive", caps.rx[v]);
    fputc('\n', f);
  }
}
