/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a TLS test and who is in it; no test of anything by itself. */
#include "test_tls_pki.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct kit_cert pki_ca;

static char dir[64];

const char *pki_path(const char *file) {
  static char buf[8][384];
  static unsigned at;
  char *p = buf[at++ % 8];
  snprintf(p, sizeof(buf[0]), "%s/%s", dir, file);
  return p;
}

static const char *path_of(const char *name, const char *suffix) {
  char file[64];
  snprintf(file, sizeof(file), "%s%s", name, suffix);
  return pki_path(file);
}

void pki_write(const char *name, const struct kit_cert *c, const struct kit_cert *chain) {
  kit_write_cert(path_of(name, ".pem"), c, chain);
  kit_write_key(path_of(name, ".key"), c, 0600);
}

void pki_write_text(const char *file, const char *text) {
  FILE *f = fopen(pki_path(file), "we");
  cr_assert(f, "%s", file);
  fputs(text, f);
  fclose(f);
}

void pki_write_crl_with(const char *name, const struct kit_cert *ca, const struct kit_cert *revoked,
                        void (*change)(X509_CRL *crl)) {
  kit_write_crl(path_of(name, ".crl"), ca, revoked, change);
}

void pki_write_crl(const char *name, const struct kit_cert *ca, const struct kit_cert *revoked) {
  pki_write_crl_with(name, ca, revoked, NULL);
}

void pki_trust(const struct kit_cert *const *roots) {
  FILE *f = fopen(pki_path("ca.pem"), "we");
  cr_assert(f);
  for (; *roots; roots++) PEM_write_X509(f, (*roots)->x);
  fclose(f);
}

static struct kit_cert cast(const char *name, struct kit_options o) {
  struct kit_cert c = kit_make(&o);
  pki_write(name, &c, NULL);
  return c;
}

void pki_open(void) {
  snprintf(dir, sizeof(dir), "/tmp/tieline-pki-XXXXXX");
  cr_assert(mkdtemp(dir));
  setenv("STATE_DIRECTORY", dir, 1);
  const char *client = "O=Lab/CN=client.example",
             *server_name = "subjectAltName=DNS:server.example";
  pki_ca = cast("ca", (struct kit_options){.subject = "O=Lab/CN=Lab CA", .ext = {KIT_CA}});
  struct kit_cert other =
      cast("other-ca", (struct kit_options){.subject = "O=Lab/CN=Other CA", .ext = {KIT_CA}});
  cast("server", (struct kit_options){.subject = "O=Lab/CN=server.example",
                                      .issuer = &pki_ca,
                                      .ext = {"subjectAltName=DNS:server.example,"
                                              "URI:sip:server.example,IP:127.0.0.1"}});
  cast("client",
       (struct kit_options){.subject = client,
                            .issuer = &pki_ca,
                            .ext = {"subjectAltName=DNS:client.example,email:a@client.example"}});
  cast("foreign", (struct kit_options){.subject = client,
                                       .issuer = &other,
                                       .ext = {"subjectAltName=DNS:client.example"}});
  cast("expired",
       (struct kit_options){
           .subject = client, .issuer = &pki_ca, .ext = {server_name}, .from = "-30", .to = "-1"});
  cast("wrong", (struct kit_options){.subject = "O=Lab/CN=elsewhere.example",
                                     .issuer = &pki_ca,
                                     .ext = {"subjectAltName=DNS:elsewhere.example"}});
  struct kit_cert revoked = cast(
      "revoked", (struct kit_options){.subject = client, .issuer = &pki_ca, .ext = {server_name}});
  pki_write_crl("ca", &pki_ca, &revoked);
}

void pki_close(void) {
  DIR *d = opendir(dir);
  struct dirent *e;
  while (d && (e = readdir(d)))
    if (e->d_name[0] != '.') unlink(pki_path(e->d_name));
  if (d) closedir(d);
  rmdir(dir);
  kit_free();
}
