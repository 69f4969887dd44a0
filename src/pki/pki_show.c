/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what is in a file of certificates, revocation lists or keys, as a SIP
 * operator wants to know it: which domains it speaks for (RFC 5922 7.1), for
 * which purposes (RFC 5924), how long it is valid.
 */
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "pki/pki_internal.h"
#include "tieline/err.h"
#include "tieline/time.h"

#define SIP_DOMAIN_OID "1.3.6.1.5.5.7.3.20"

static void print_label(FILE *f, const char *name) { fprintf(f, "  %-14s ", name); }

static void show_name(FILE *f, const char *name, const X509_NAME *n) {
  BIO *mem = BIO_new(BIO_s_mem());
  char *p = NULL;
  X509_NAME_print_ex(mem, n, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
  long len = BIO_get_mem_data(mem, &p);
  print_label(f, name);
  fprintf(f, "%.*s\n", (int)len, p);
  BIO_free(mem);
}

static void show_time(FILE *f, const ASN1_TIME *t) {
  struct tm tm;
  char text[TL_TIME_STRLEN];
  fputs(t && ASN1_TIME_to_tm(t, &tm) ? tl_time_text(timegm(&tm), text) : "never", f);
}

/* "(29 days left)", "(expired 3 days ago)" */
static void show_left(FILE *f, const ASN1_TIME *until, const char *over) {
  int days = 0, seconds = 0;
  if (!until || !ASN1_TIME_diff(&days, &seconds, NULL, until)) return;
  if (days < 0 || seconds < 0)
    fprintf(f, " (%s %d days ago)", over, -days);
  else
    fprintf(f, " (%d days left)", days);
}

static void show_validity(FILE *f, const X509 *x) {
  print_label(f, "valid");
  show_time(f, X509_get0_notBefore(x));
  fputs(" to ", f);
  show_time(f, X509_get0_notAfter(x));
  show_left(f, X509_get0_notAfter(x), "expired");
  fputc('\n', f);
}

static void show_serial(FILE *f, const char *name, const ASN1_INTEGER *serial) {
  BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
  char *hex = n ? BN_bn2hex(n) : NULL, *dec = n ? BN_bn2dec(n) : NULL;
  print_label(f, name);
  fprintf(f, "%s (%s)\n", hex ? hex : "?", dec ? dec : "?");
  OPENSSL_free(hex);
  OPENSSL_free(dec);
  BN_free(n);
}

/* KEY is NULL where OpenSSL does not know its kind, or has no memory for it. */
static void key_kind(FILE *f, EVP_PKEY *key) {
  char group[64];
  size_t n = 0;
  if (!key)
    fputs("cannot be read", f);
  else if (EVP_PKEY_get_group_name(key, group, sizeof(group), &n) == 1)
    fprintf(f, "%s %s", EVP_PKEY_get0_type_name(key), group);
  else
    fprintf(f, "%s %d bits", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
  ERR_clear_error();
}

static void show_digest(FILE *f, const char *name, const uint8_t *p, unsigned n) {
  print_label(f, name);
  for (unsigned i = 0; i < n; i++) fprintf(f, "%02x", p[i]);
  fputc('\n', f);
}

static void show_digests(FILE *f, X509 *x) {
  uint8_t md[EVP_MAX_MD_SIZE], *der = NULL;
  unsigned n = 0;
  if (X509_digest(x, EVP_sha256(), md, &n)) show_digest(f, "sha256", md, n);
  int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
  if (len > 0 && EVP_Digest(der, (size_t)len, md, &n, EVP_sha256(), NULL))
    show_digest(f, "spki sha256", md, n);
  OPENSSL_free(der);
}

static void show_alternatives(FILE *f, const GENERAL_NAMES *names) {
  print_label(f, "names");
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    BIO *mem = BIO_new(BIO_s_mem());
    char *p = NULL;
    GENERAL_NAME_print(mem, sk_GENERAL_NAME_value(names, i));
    long n = BIO_get_mem_data(mem, &p);
    fprintf(f, "%s%.*s", i ? ", " : "", (int)n, p);
    BIO_free(mem);
  }
  if (sk_GENERAL_NAME_num(names) < 1) fputs("none", f);
  fputc('\n', f);
}

/* The SIP domain in G; wildcards and URIs with a user have none (RFC 5922 7.1, 7.2). */
static struct tl_pki_san sip_domain(const GENERAL_NAME *g) {
  int kind = 0;
  const ASN1_STRING *s = GENERAL_NAME_get0_value(g, &kind);
  struct tl_pki_san none = {0};
  if (kind != GEN_URI && kind != GEN_DNS) return none;
  const char *p = (const char *)ASN1_STRING_get0_data(s);
  if (strlen(p) != (size_t)ASN1_STRING_length(s)) return none;
  if (kind == GEN_URI && strncasecmp(p, "sip:", 4) != 0) return none;
  if (kind == GEN_URI) p += 4;
  if (*p == '\0' || strpbrk(p, "@*?; \t\r\n\033")) return none;
  return (struct tl_pki_san){.kind = kind, .value = p};
}

/* URIs count if there is one, otherwise DNS names. */
static void show_domains(FILE *f, const GENERAL_NAMES *names) {
  int kind = GEN_DNS, shown = 0;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
    if (sip_domain(sk_GENERAL_NAME_value(names, i)).kind == GEN_URI) kind = GEN_URI;
  print_label(f, "SIP domains");
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    struct tl_pki_san d = sip_domain(sk_GENERAL_NAME_value(names, i));
    if (d.value && d.kind == kind) fprintf(f, "%s%s", shown++ ? ", " : "", d.value);
  }
  fputs(shown ? "\n" : "none\n", f);
}

static void show_purposes(FILE *f, const X509 *x) {
  EXTENDED_KEY_USAGE *list = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
  print_label(f, "purposes");
  if (!list) fputs("any (no extended key usage)", f);
  for (int i = 0; i < sk_ASN1_OBJECT_num(list); i++) {
    char oid[80], name[80];
    const ASN1_OBJECT *o = sk_ASN1_OBJECT_value(list, i);
    OBJ_obj2txt(oid, sizeof(oid), o, 1);
    OBJ_obj2txt(name, sizeof(name), o, 0);
    fprintf(f, "%s%s", i ? ", " : "",
            strcmp(oid, SIP_DOMAIN_OID) == 0 ? "SIP domain (RFC 5924)" : name);
  }
  fputc('\n', f);
  EXTENDED_KEY_USAGE_free(list);
}

static void show_certificate(FILE *f, X509 *x) {
  GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  const uint32_t flags = X509_get_extension_flags(x);
  fputs("certificate\n", f);
  show_name(f, "subject", X509_get_subject_name(x));
  show_name(f, "issuer", X509_get_issuer_name(x));
  show_serial(f, "serial", X509_get0_serialNumber(x));
  show_validity(f, x);
  print_label(f, "key");
  key_kind(f, X509_get0_pubkey(x));
  fprintf(f, "\n  %-14s %s\n", "signature", OBJ_nid2ln(X509_get_signature_nid(x)));
  fprintf(f, "  %-14s %s%s\n", "authority", flags & EXFLAG_CA ? "yes" : "no",
          flags & EXFLAG_SS ? ", signed by itself" : "");
  show_alternatives(f, names);
  if (!(flags & EXFLAG_CA)) {
    show_domains(f, names);
    show_purposes(f, x);
  }
  show_digests(f, x);
  GENERAL_NAMES_free(names);
}

static void show_crl(FILE *f, X509_CRL *crl) {
  ASN1_INTEGER *n = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
  STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
  fputs("revocation list\n", f);
  show_name(f, "issuer", X509_CRL_get_issuer(crl));
  if (n) show_serial(f, "number", n);
  print_label(f, "updated");
  show_time(f, X509_CRL_get0_lastUpdate(crl));
  fputc('\n', f);
  print_label(f, "next update");
  show_time(f, X509_CRL_get0_nextUpdate(crl));
  show_left(f, X509_CRL_get0_nextUpdate(crl), "stale since");
  fprintf(f, "\n  %-14s %d\n", "entries", list ? sk_X509_REVOKED_num(list) : 0);
  for (int i = 0; i < sk_X509_REVOKED_num(list); i++)
    show_serial(f, "revoked", X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(list, i)));
  ASN1_INTEGER_free(n);
}

/* Never the key itself. */
static void show_key(FILE *f, EVP_PKEY *key, const char *file) {
  struct stat st;
  fputs("private key\n", f);
  print_label(f, "key");
  key_kind(f, key);
  fputc('\n', f);
  if (stat(file, &st) == 0)
    fprintf(f, "  %-14s %04o%s\n", "mode", st.st_mode & 07777,
            st.st_mode & 077 ? " (others can read it: chmod 600)" : "");
}

static bool show_object(FILE *f, OSSL_STORE_INFO *info, const char *file) {
  switch (OSSL_STORE_INFO_get_type(info)) {
  case OSSL_STORE_INFO_CERT: show_certificate(f, OSSL_STORE_INFO_get0_CERT(info)); return true;
  case OSSL_STORE_INFO_CRL: show_crl(f, OSSL_STORE_INFO_get0_CRL(info)); return true;
  case OSSL_STORE_INFO_PKEY: show_key(f, OSSL_STORE_INFO_get0_PKEY(info), file); return true;
  default: return false;
  }
}

int tl_pki_show(const char *file, FILE *f) {
  struct stat st;
  int shown = 0;
  OSSL_STORE_CTX *store = NULL;
  if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
    store = OSSL_STORE_open(file, UI_null(), NULL, NULL, NULL);
  if (!store) return tl_pki_fail(TL_ENOTFOUND, "%s cannot be read", file);
  while (!OSSL_STORE_eof(store)) {
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    if (!info) continue; /* comments, and blocks that OpenSSL does not know */
    shown += show_object(f, info, file);
    OSSL_STORE_INFO_free(info);
  }
  OSSL_STORE_close(store);
  ERR_clear_error();
  if (shown) return TL_OK;
  return tl_pki_fail(TL_ESYNTAX, "%s holds no certificate, revocation list or key", file);
}
