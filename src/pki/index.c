/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an authority has issued and revoked, and the revocation list made from
 * it. The index is the text table of `openssl ca`: state, expiry, revocation,
 * serial, file, subject.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/txt_db.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "pki/pki_internal.h"
#include "tieline/err.h"

enum { STATE, EXPIRY, REVOKED, SERIAL, FILE_NAME, SUBJECT, COLUMNS };

/* RFC 5280 5.3.1, by the words that `openssl ca` writes. */
static const struct {
  const char *word;
  int code;
} reasons[] = {{"unspecified", 0},        {"keyCompromise", 1}, {"CACompromise", 2},
               {"affiliationChanged", 3}, {"superseded", 4},    {"cessationOfOperation", 5},
               {"privilegeWithdrawn", 9}, {"AACompromise", 10}};

static int reason_code(const char *word) {
  for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
    if (strcasecmp(word, reasons[i].word) == 0) return (int)i;
  return -1;
}

/* The table, under a lock of its directory, so that two commands at a time lose nothing. */
struct index {
  char path[TL_PKI_PATH];
  int lock;
  TXT_DB *db;
};

static void index_close(struct index *i) {
  TXT_DB_free(i->db);
  if (i->lock >= 0) close(i->lock);
}

static int index_open(const struct tl_pki_authority *a, struct index *i) {
  *i = (struct index){.lock = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (tl_pki_path(a->dir, a->name, ".index", i->path)) return TL_EINVAL;
  if (i->lock < 0 || flock(i->lock, LOCK_EX) < 0)
    return tl_pki_fail(TL_EIO, "%s: %s", a->dir, strerror(errno));
  BIO *b = BIO_new_file(i->path, "r");
  if (!b && errno == ENOENT) b = BIO_new(BIO_s_mem()); /* the first entry */
  ERR_clear_error();
  i->db = b ? TXT_DB_read(b, COLUMNS) : NULL;
  BIO_free(b);
  return i->db ? TL_OK : tl_pki_fail(TL_ESYNTAX, "%s is not a certificate index", i->path);
}

static int index_write(struct index *i) {
  BIO *mem = BIO_new(BIO_s_mem());
  int rc = mem && TXT_DB_write(mem, i->db) >= 0 ? tl_pki_write_text(i->path, mem) : TL_ENOMEM;
  BIO_free(mem);
  return rc;
}

/* OpenSSL wants whole bytes of the number. Free with OPENSSL_free. */
static char *serial_text(const X509 *x) {
  BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
  char *s = n ? BN_bn2hex(n) : NULL;
  BN_free(n);
  return s;
}

static char *time_text(const ASN1_TIME *t) {
  return OPENSSL_strndup((const char *)ASN1_STRING_get0_data(t), (size_t)ASN1_STRING_length(t));
}

static void free_row(char **row) {
  for (int k = 0; row && k < COLUMNS; k++) OPENSSL_free(row[k]);
  OPENSSL_free(row);
}

int tl_pki_index_add(const struct tl_pki_authority *a, const X509 *x, const char *file) {
  struct index i;
  int rc = index_open(a, &i);
  char **row = rc == 0 ? OPENSSL_zalloc((COLUMNS + 1) * sizeof(*row)) : NULL;
  if (row) {
    row[STATE] = OPENSSL_strdup("V");
    row[EXPIRY] = time_text(X509_get0_notAfter(x));
    row[REVOKED] = OPENSSL_strdup("");
    row[SERIAL] = serial_text(x);
    row[FILE_NAME] = OPENSSL_strdup(file);
    row[SUBJECT] = X509_NAME_oneline(X509_get_subject_name(x), NULL, 0);
  }
  for (int k = 0; rc == 0 && k < COLUMNS; k++)
    if (!row || !row[k]) rc = tl_pki_fail(TL_ENOMEM, "out of memory");
  if (rc == 0 && TXT_DB_insert(i.db, row))
    row = NULL; /* the table owns it now */
  else if (rc == 0)
    rc = tl_pki_fail(TL_EIO, "%s cannot take another entry", i.path);
  if (rc == 0) rc = index_write(&i);
  free_row(row);
  index_close(&i);
  return rc;
}

static char **find_row(const struct index *i, const char *serial) {
  for (int k = 0; k < sk_OPENSSL_PSTRING_num(i->db->data); k++) {
    char **row = sk_OPENSSL_PSTRING_value(i->db->data, k);
    if (strcasecmp(row[SERIAL], serial) == 0) return row;
  }
  return NULL;
}

static int mark_revoked(struct index *i, const X509 *x, const char *reason) {
  char *serial = serial_text(x);
  char **row = serial ? find_row(i, serial) : NULL;
  int rc = TL_OK;
  if (!row) {
    rc = tl_pki_fail(TL_ENOTFOUND, "serial number %s is not in %s", serial ? serial : "", i->path);
  } else if (row[STATE][0] == 'R') {
    rc = tl_pki_fail(TL_EEXIST, "serial number %s has been revoked already", serial);
  } else {
    char text[64];
    ASN1_TIME *now = ASN1_UTCTIME_set(NULL, time(NULL));
    snprintf(text, sizeof(text), "%s%s%s", now ? (const char *)ASN1_STRING_get0_data(now) : "",
             reason ? "," : "", reason ? reason : "");
    ASN1_TIME_free(now);
    /* The old text lies inside the row as it was read; TXT_DB_free knows both. */
    row[REVOKED] = OPENSSL_strdup(text);
    row[STATE][0] = 'R';
    rc = row[REVOKED] ? index_write(i) : TL_ENOMEM;
  }
  OPENSSL_free(serial);
  return rc;
}

int tl_pki_index_revoke(const struct tl_pki_authority *a, const X509 *x, const char *reason) {
  struct index i;
  int code = reason ? reason_code(reason) : 0;
  if (code < 0)
    return tl_pki_fail(TL_EINVAL,
                       "no reason \"%s\"; RFC 5280 has unspecified, keyCompromise, "
                       "CACompromise, affiliationChanged, superseded, "
                       "cessationOfOperation, privilegeWithdrawn, AACompromise",
                       reason);
  if (X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(a->x)) != 0)
    return tl_pki_fail(TL_EINVAL, "%s did not issue that certificate; --ca names who did", a->name);
  int rc = index_open(a, &i);
  if (rc == 0) rc = mark_revoked(&i, x, reason ? reasons[code].word : NULL);
  index_close(&i);
  return rc;
}

/* ---- the list */

static int add_entry(X509_CRL *crl, char **row) {
  char when[64];
  snprintf(when, sizeof(when), "%s", row[REVOKED]);
  char *comma = strchr(when, ',');
  if (comma) *comma++ = '\0';
  int code = comma ? reason_code(comma) : -1;
  X509_REVOKED *e = X509_REVOKED_new();
  ASN1_TIME *t = ASN1_TIME_new();
  BIGNUM *n = NULL;
  ASN1_INTEGER *serial = BN_hex2bn(&n, row[SERIAL]) ? BN_to_ASN1_INTEGER(n, NULL) : NULL;
  ASN1_ENUMERATED *why = ASN1_ENUMERATED_new();
  bool ok = e && t && serial && why && ASN1_TIME_set_string(t, when) &&
            X509_REVOKED_set_serialNumber(e, serial) && X509_REVOKED_set_revocationDate(e, t);
  /* "unspecified" is expressed by omitting the reason (RFC 5280 5.3.1) */
  if (ok && code > 0)
    ok = ASN1_ENUMERATED_set(why, reasons[code].code) &&
         X509_REVOKED_add1_ext_i2d(e, NID_crl_reason, why, 0, 0) == 1;
  ok = ok && X509_CRL_add0_revoked(crl, e);
  if (!ok) X509_REVOKED_free(e);
  ASN1_TIME_free(t);
  BN_free(n);
  ASN1_INTEGER_free(serial);
  ASN1_ENUMERATED_free(why);
  return ok ? TL_OK : TL_ESYNTAX;
}

/* One more than the number of the existing list. */
static long next_number(const char *path) {
  BIO *b = BIO_new_file(path, "r");
  X509_CRL *old = b ? PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) : NULL;
  ASN1_INTEGER *n = old ? X509_CRL_get_ext_d2i(old, NID_crl_number, NULL, NULL) : NULL;
  long number = n ? ASN1_INTEGER_get(n) + 1 : 1;
  ASN1_INTEGER_free(n);
  X509_CRL_free(old);
  BIO_free(b);
  ERR_clear_error();
  return number;
}

static int set_head(X509_CRL *crl, const struct tl_pki_authority *a, long days, long number) {
  ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL)),
            *next = ASN1_TIME_adj(NULL, time(NULL), (int)days, 0);
  ASN1_INTEGER *n = ASN1_INTEGER_new();
  bool ok = now && next && n && ASN1_INTEGER_set(n, number) &&
            X509_CRL_set_version(crl, X509_CRL_VERSION_2) &&
            X509_CRL_set_issuer_name(crl, X509_get_subject_name(a->x)) &&
            X509_CRL_set1_lastUpdate(crl, now) && X509_CRL_set1_nextUpdate(crl, next) &&
            X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0) == 1 &&
            tl_pki_extend(NULL, crl, a->x, NID_authority_key_identifier, "keyid") == 0;
  ASN1_TIME_free(now);
  ASN1_TIME_free(next);
  ASN1_INTEGER_free(n);
  return ok ? TL_OK : TL_EIO;
}

static int fill_entries(X509_CRL *crl, const struct index *i) {
  int rc = TL_OK;
  for (int k = 0; rc == 0 && k < sk_OPENSSL_PSTRING_num(i->db->data); k++) {
    char **row = sk_OPENSSL_PSTRING_value(i->db->data, k);
    if (row[STATE][0] == 'R') rc = add_entry(crl, row);
  }
  return rc;
}

int tl_pki_crl(const struct tl_pki_authority *a, long days) {
  struct index i;
  char path[TL_PKI_PATH];
  if (tl_pki_path(a->dir, a->name, ".crl", path)) return TL_EINVAL;
  int rc = index_open(a, &i);
  X509_CRL *crl = rc == 0 ? X509_CRL_new() : NULL;
  if (rc == 0 && (!crl || set_head(crl, a, days, next_number(path)) || fill_entries(crl, &i) ||
                  !X509_CRL_sort(crl) || !X509_CRL_sign(crl, a->key, EVP_sha256())))
    rc = tl_pki_fail(TL_EIO, "the revocation list of %s could not be made", a->name);
  if (rc == 0) rc = tl_pki_write_crl(path, crl);
  X509_CRL_free(crl);
  index_close(&i);
  return rc;
}
