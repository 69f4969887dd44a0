/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains from an SQLite table: values of every kind, what stands beside
 * them in the file, and the sentences for rows that cannot work.
 */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test_conf_util.h"

#define L "listen \"tcp:127.0.0.1:5999\" {}\n"
#define DB "tls_database { url = \"sqlite:tls.db\" }\n"
#define SCHEMA                                                                                     \
  "CREATE TABLE tls_mgm (id INTEGER PRIMARY KEY, domain TEXT, match_ip_address TEXT,"              \
  " match_sip_domain TEXT, type INTEGER, method TEXT, verify_cert INTEGER, require_cert INTEGER,"  \
  " certificate BLOB, private_key BLOB, crl_check_all INTEGER, crl_dir TEXT, ca_list BLOB,"        \
  " ca_dir TEXT, cipher_list TEXT, dh_params BLOB, ec_curve TEXT)"

static sqlite3 *db;

static void run(const char *sql) {
  char *err = NULL;
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &err), SQLITE_OK, "%s: %s", sql, err);
}

static void open_db(void) {
  conf_setup();
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  cr_assert_eq(sqlite3_open(conf_path("tls.db"), &db), SQLITE_OK);
  cr_assert_eq(chmod(conf_path("tls.db"), 0600), 0);
  run(SCHEMA);
}

static void close_db(void) {
  sqlite3_close(db);
  conf_teardown();
}

TestSuite(conf_database, .init = open_db, .fini = close_db);

static struct tl_conf *good(const char *text) {
  struct conf_try t = conf_try(text, NULL);
  cr_assert_eq(t.rc, 0, "%s\n%s", text, t.complaint[0]);
  return t.conf;
}

static void bad(const char *text, const char *want) {
  struct conf_try t = conf_try(text, NULL);
  cr_expect_eq(t.rc, TL_ECONFIG, "%s", text);
  cr_expect(conf_complains(&t, want), "wanted: %s\ngot: %s", want, t.complaint[0]);
  conf_try_free(&t);
}

static struct tl_tls_domain *named(const struct tl_conf *c, const char *name) {
  for (size_t i = 0; i < c->n_domain; i++)
    if (strcmp(c->domain[i]->name, name) == 0) return c->domain[i];
  return NULL;
}

/* Binds a whole file, as PEM or turned into DER, to the first "?" of SQL; a key to the second. */
static size_t load(const char *file, uint8_t *buf, size_t cap) {
  FILE *f = fopen(conf_path(file), "r");
  cr_assert(f);
  size_t n = fread(buf, 1, cap, f);
  fclose(f);
  return n;
}

static size_t to_der(uint8_t *buf, size_t n) {
  BIO *b = BIO_new_mem_buf(buf, (int)n);
  char *name, *header;
  unsigned char *data;
  long len;
  cr_assert_eq(PEM_read_bio(b, &name, &header, &data, &len), 1);
  memcpy(buf, data, (size_t)len);
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(data);
  BIO_free(b);
  return (size_t)len;
}

static void insert(const char *sql, const char *pair, bool der) {
  uint8_t cert[8192], key[8192];
  char file[32];
  sqlite3_stmt *s;
  snprintf(file, sizeof(file), "%s.pem", pair);
  size_t n = load(file, cert, sizeof(cert));
  snprintf(file, sizeof(file), "%s.key", pair);
  size_t m = load(file, key, sizeof(key));
  if (der) n = to_der(cert, n), m = to_der(key, m);
  cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
  sqlite3_bind_blob(s, 1, cert, (int)n, SQLITE_TRANSIENT);
  sqlite3_bind_blob(s, 2, key, (int)m, SQLITE_TRANSIENT);
  cr_assert_eq(sqlite3_step(s), SQLITE_DONE, "%s", sqlite3_errmsg(db));
  sqlite3_finalize(s);
}

Test(conf_database, e1_rows_and_blocks_side_by_side) {
  insert("INSERT INTO tls_mgm (domain, match_sip_domain, match_ip_address, type, method, "
         "certificate, private_key, ca_list) VALUES ('row', 'x.example,*.x.example', "
         "'127.0.0.1:5061, 127.0.0.2', 2, 'TLSv1_3', ?1, ?2, ?1)",
         "a", false);
  struct tl_conf *c = good(
      L DB "tls_domain \"file\" { certificate = b.pem private_key = b.key ca_list = b.pem }\n");
  const struct tl_tls_domain *row = named(c, "row"), *file = named(c, "file");
  cr_assert(row && file);
  cr_expect(row->server && !row->client, "type 2");
  cr_expect_str_eq(row->subject, "CN=a");
  cr_expect_str_eq(row->match_sip_domain[1], "*.x.example");
  cr_expect_eq(row->n_match_ip, 2);
  cr_expect_eq(SSL_CTX_get_min_proto_version(row->server), TLS1_3_VERSION);
  cr_expect(file->client && file->server);
  char *text = conf_printed(c, false);
  cr_expect_not_null(strstr(text, "tls.db, table tls_mgm, row 1"));
  free(text);
  tl_conf_unref(c);
}

Test(conf_database, e2_blobs_in_der_and_columns_of_another_name) {
  run("CREATE TABLE mine (n TEXT, c BLOB, k BLOB, ca TEXT)");
  insert("INSERT INTO mine VALUES ('row', ?1, ?2, 'a.pem')", "a", true);
  struct tl_conf *c = good(L "tls_database { url = \"sqlite:tls.db\" table = mine domain_col = n\n"
                             " certificate_col = c private_key_col = k ca_list_col = ca }\n");
  cr_expect_str_eq(c->domain[0]->subject, "CN=a");
  cr_expect(c->domain[0]->server && c->domain[0]->client, "without a type: both");
  cr_expect(c->domain[0]->policy.verify_cert && c->domain[0]->policy.require_cert,
            "what is not said is secure");
  tl_conf_unref(c);
  bad(L "tls_database { url = \"sqlite:tls.db\"\n table = mine domain_col = name }\n",
      "t.conf:3: tls_database: table mine of ");
}

Test(conf_database, e1_e6_row_named_default_replaces_the_files) {
#define FILE_DEFAULT                                                                               \
  "tls_domain \"default\" { certificate = a.pem private_key = a.key ca_list = a.pem tickets = 0 "  \
  "}\n"                                                                                            \
  "tls_domain \"other\" { verify_depth = 2 }\n"
  insert("INSERT INTO tls_mgm (domain, certificate, private_key, ca_list) "
         "VALUES ('default', ?1, ?2, ?1)",
         "b", false);
  struct tl_conf *c = good(L DB FILE_DEFAULT);
  cr_expect_eq(c->n_domain, 2);
  cr_expect_str_eq(c->tls_set.fallback->subject, "CN=b");
  cr_expect_str_eq(named(c, "other")->subject, "CN=b", "inheritance follows");
  run("DELETE FROM tls_mgm");
  struct conf_try t = conf_try(L DB FILE_DEFAULT, c);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect_str_eq(t.conf->tls_set.fallback->subject, "CN=a", "the file's default is back");
  conf_try_free(&t);
  tl_conf_unref(c);
}

Test(conf_database, e6_unchanged_rows_keep_their_domain) {
  insert("INSERT INTO tls_mgm (domain, certificate, private_key, ca_list) VALUES ('x', ?1, ?2, ?1)",
         "a", false);
  insert("INSERT INTO tls_mgm (domain, certificate, private_key, ca_list) VALUES ('y', ?1, ?2, ?1)",
         "a", false);
  struct tl_conf *one = good(L DB);
  insert("UPDATE tls_mgm SET certificate = ?1, private_key = ?2, ca_list = ?1 WHERE domain = 'y'",
         "b", false);
  struct conf_try t = conf_try(L DB, one);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  cr_expect_eq(t.conf->domain[0], one->domain[0]);
  cr_expect_neq(t.conf->domain[1], one->domain[1]);
  conf_try_free(&t);
  tl_conf_unref(one);
}

Test(conf_database, e1_errors_name_table_and_row) {
  insert("INSERT INTO tls_mgm (id, domain, certificate, private_key, ca_list) "
         "VALUES (7, 'x', ?1, ?2, ?1)",
         "a", false);
#define AT7 "tls.db, table tls_mgm, row:7: "
  static const struct {
    const char *change, *want;
  } cases[] = {
      {"method = 'SSLv3'", AT7 "tls_method \"SSLv3\": versions before"},
      {"method = 'TLSv1_2', verify_cert = 0, require_cert = 1", AT7 "tls_domain \"x\": require"},
      {"verify_cert = 5, require_cert = NULL", AT7 "tls_domain \"x\": verify_cert must be true"},
      {"verify_cert = NULL, type = 9", AT7 "tls_domain \"x\": role must be"},
      {"type = 0, ca_list = x'00ff00'", AT7 "tls_domain \"x\": column ca_list: neither PEM"},
      {"ca_list = NULL", AT7 "tls_domain \"x\" verifies certificates but"},
      {"ca_list = certificate, private_key = x'3003020100'",
       AT7 "tls_domain \"x\": column private_key"},
      {"private_key = NULL", AT7 "tls_domain \"x\" has 1 certificates and 0"},
      {"certificate = NULL, type = 1, cipher_list = 'NULL-SHA'",
       AT7 "tls_domain \"x\": cipher suite"},
      {"cipher_list = 'a' || char(10)", AT7 "tls_domain \"x\": column cipher_list: a control"},
      {"cipher_list = NULL, domain = ''", AT7 "column domain: the name of"},
      {"domain = 'file'", AT7 "there is already a tls_domain block named \"file\""}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char sql[300];
    snprintf(sql, sizeof(sql), "UPDATE tls_mgm SET %s", cases[i].change);
    run(sql);
    bad(L DB "tls_domain \"file\" { ca_list = b.pem }\n", cases[i].want);
  }
}

Test(conf_database, e1_what_is_no_database) {
  conf_write("text.db", "this is not a database, however long one looks at it, at all, at all\n");
  bad(L "tls_database { url = \"mysql://root@localhost/opensips\" }\n",
      "t.conf:2: url is written \"sqlite:FILE\"");
  bad(L "tls_database {\n url = \"sqlite:absent.db\" }\n", "t.conf:3: tls_database: cannot open ");
  bad(L "tls_database { url = \"sqlite:text.db\" }\n", "file is not a database");
  bad(L "tls_database { url = \"sqlite:tls.db\" table = \"x\\\"; DROP TABLE tls_mgm; --\" }\n",
      "has no table x\"; DROP");
  insert("INSERT INTO tls_mgm (domain, certificate, private_key, ca_list) VALUES ('x', ?1, ?2, ?1)",
         "a", false);
  cr_assert_eq(chmod(conf_path("tls.db"), 0644), 0);
  bad(L DB, "a private key stands in ");
}
