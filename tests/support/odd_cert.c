/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes what no authority should sign and `tieline pki` does not make, for the
 * flow tests: NAME.pem and NAME.key with any subject and extensions, signed by
 * CA.pem and CA.key.
 *
 *   odd_cert CA NAME SUBJECT EXTENSION...
 *
 * SUBJECT is "CN=x", an extension "keyUsage=critical,digitalSignature" as in
 * openssl.cnf. 0, or it aborts.
 */
#include "cert_kit.h"

#include <stdio.h>

static const char *file(const char *name, const char *suffix) {
  static char path[4][512];
  static unsigned n;
  char *p = path[n++ % 4];
  snprintf(p, sizeof(path[0]), "%s%s", name, suffix);
  return p;
}

int main(int argc, char **argv) {
  struct kit_options o = {0};
  const int fixed = 4, most = (int)(sizeof(o.ext) / sizeof(*o.ext));
  if (argc < fixed || argc > fixed + most) {
    fprintf(stderr, "usage: odd_cert CA NAME SUBJECT EXTENSION... (at most %d)\n", most);
    return 1;
  }
  struct kit_cert ca = kit_read(file(argv[1], ".pem"), file(argv[1], ".key"));
  o.issuer = &ca;
  o.subject = argv[3];
  for (int i = fixed; i < argc; i++) o.ext[i - fixed] = argv[i];
  struct kit_cert c = kit_make(&o);
  kit_write_cert(file(argv[2], ".pem"), &c, NULL);
  kit_write_key(file(argv[2], ".key"), &c, 0600);
  kit_free();
  return 0;
}
