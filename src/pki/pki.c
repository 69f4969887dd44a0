/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands and options of `tieline pki`. The work is done by make.c and
 * index.c, files are store.c's.
 */
#include "tieline/pki.h"

#include <getopt.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pki/pki_internal.h"
#include "tieline/err.h"
#include "tieline/state_path.h"
#include "tieline/time.h"
#include "tieline/token_keys.h"

#define DIR_DEFAULT "pki"
#define DAYS_MAX 36500

static const char usage_text[] =
    "usage: tieline pki root-ca       make an authority that signs itself\n"
    "       tieline pki intermediate  make an authority under another\n"
    "       tieline pki cert          make a key and a certificate for it\n"
    "       tieline pki revoke NAME   take a certificate back, and renew the revocation list\n"
    "       tieline pki crl           renew the revocation list\n"
    "       tieline pki show FILE...  certificates, revocation lists and keys in words\n"
    "       tieline pki token-key     add a key to a key_file, for tokens in Record-Route\n"
    "\n"
    "where\n"
    "  --ca-dir DIR         the directory of all files (pki)\n"
    "  --ca NAME            the authority that signs (ca)\n"
    "  --name NAME          of the files NAME.pem and NAME.key (root-ca: ca; cert: first domain)\n"
    "  --force              replace files that are there\n"
    "root-ca, intermediate, cert\n"
    "  --cn, --organization, --unit, --locality, --state TEXT, --country XX   parts of the "
    "subject\n"
    "  --key ec|p384|rsa|rsa4096                    kind of key (ec, that is P-256)\n"
    "  --days N             how long it is valid (authorities 3650, certificates 365)\n"
    "  --from TIME --until TIME                     instead, as 2026-01-31 or "
    "2026-01-31T12:00:00Z\n"
    "cert\n"
    "  --domain NAME        a SIP domain: alternative names NAME and sip:NAME (RFC 5922)\n"
    "  --dns NAME --uri sip:USER@HOST --ip ADDRESS --email ADDRESS    single alternative names\n"
    "  --eku LIST           of sip, server, client, any, ocsp; or none (server,client)\n"
    "  --crl-url URL --ocsp-url URL                 where its state can be asked for\n"
    "revoke\n"
    "  --reason WORD        keyCompromise, superseded, ... (RFC 5280 5.3.1)\n"
    "revoke, crl\n"
    "  --days N             until the next revocation list (30)\n"
    "token-key\n"
    "  --file FILE          the key_file (" TL_TOKEN_KEYS_FILE ")\n"
    "  --from TIME          when it begins to sign (in one hour: every node must have read it by "
    "then)\n"
    "  --days N             a key is taken out when another has signed for so long (30)\n";

static int print_usage(void) {
  fputs(usage_text, stderr);
  return TL_EINVAL;
}

enum {
  DIR = 256,
  CA,
  NAME,
  FORCE,
  CN,
  ORGANIZATION,
  COUNTRY,
  UNIT,
  LOCALITY,
  STATE,
  KEY,
  DAYS,
  FROM,
  UNTIL,
  DOMAIN,
  DNS,
  URI,
  IP,
  EMAIL,
  EKU,
  CRL_URL,
  OCSP_URL,
  REASON,
  FILE_NAME,
};

static const struct option options[] = {{"ca-dir", required_argument, NULL, DIR},
                                        {"ca", required_argument, NULL, CA},
                                        {"name", required_argument, NULL, NAME},
                                        {"force", no_argument, NULL, FORCE},
                                        {"cn", required_argument, NULL, CN},
                                        {"organization", required_argument, NULL, ORGANIZATION},
                                        {"country", required_argument, NULL, COUNTRY},
                                        {"unit", required_argument, NULL, UNIT},
                                        {"locality", required_argument, NULL, LOCALITY},
                                        {"state", required_argument, NULL, STATE},
                                        {"key", required_argument, NULL, KEY},
                                        {"days", required_argument, NULL, DAYS},
                                        {"from", required_argument, NULL, FROM},
                                        {"until", required_argument, NULL, UNTIL},
                                        {"domain", required_argument, NULL, DOMAIN},
                                        {"dns", required_argument, NULL, DNS},
                                        {"uri", required_argument, NULL, URI},
                                        {"ip", required_argument, NULL, IP},
                                        {"email", required_argument, NULL, EMAIL},
                                        {"eku", required_argument, NULL, EKU},
                                        {"crl-url", required_argument, NULL, CRL_URL},
                                        {"ocsp-url", required_argument, NULL, OCSP_URL},
                                        {"reason", required_argument, NULL, REASON},
                                        {"file", required_argument, NULL, FILE_NAME},
                                        {NULL, 0, NULL, 0}};

#define BIT(o) (1u << ((o)-DIR))
#define BITS_PLACE (BIT(DIR) | BIT(NAME) | BIT(FORCE))
#define BITS_CERT                                                                                  \
  (BIT(CN) | BIT(ORGANIZATION) | BIT(COUNTRY) | BIT(UNIT) | BIT(LOCALITY) | BIT(STATE) |           \
   BIT(KEY) | BIT(DAYS) | BIT(FROM) | BIT(UNTIL))
#define BITS_NAMES (BIT(DOMAIN) | BIT(DNS) | BIT(URI) | BIT(IP) | BIT(EMAIL))

static int parse_time(const char *text, time_t *out) {
  struct tm tm = {0};
  const char *end = strptime(text, "%Y-%m-%d", &tm);
  if (end && *end == 'T') end = strptime(end, "T%H:%M:%SZ", &tm);
  if (!end || *end)
    return tl_pki_fail(TL_ESYNTAX, "\"%s\" is not a valid time such as 2026-01-31", text);
  *out = timegm(&tm);
  return TL_OK;
}

static int parse_days(const char *text, long *out) {
  char *end;
  *out = strtol(text, &end, 10);
  if (*text && !*end && *out > 0 && *out <= DAYS_MAX) return TL_OK;
  return tl_pki_fail(TL_ESYNTAX, "--days takes a number from 1 to %d", DAYS_MAX);
}

static int add_san(struct tl_pki_request *r, int kind, const char *value) {
  if (!tl_pki_san_ok(kind, value)) return TL_ESYNTAX;
  if (r->n_san == TL_PKI_NAMES)
    return tl_pki_fail(TL_ELIMIT, "at most %d alternative names", TL_PKI_NAMES);
  r->san[r->n_san++] = (struct tl_pki_san){kind, value};
  return TL_OK;
}

/* RFC 5922 7.1 wants the URI, older peers look at the DNS name: add both. */
static int add_domain(struct tl_pki_request *r, const char *name) {
  static char uri[TL_PKI_NAMES][260];
  int rc = add_san(r, GEN_DNS, name);
  if (rc || strchr(name, '*')) return rc;
  char *text = uri[r->n_san - 1];
  snprintf(text, sizeof(uri[0]), "sip:%s", name);
  return add_san(r, GEN_URI, text);
}

static int take_option(struct tl_pki_request *r, int opt, const char *arg) {
  switch (opt) {
  case DIR: r->dir = arg; return TL_OK;
  case CA: r->authority = arg; return TL_OK;
  case NAME: r->name = arg; return TL_OK;
  case FORCE: r->force = true; return TL_OK;
  case CN: r->cn = arg; return TL_OK;
  case ORGANIZATION: r->organization = arg; return TL_OK;
  case COUNTRY: r->country = arg; return TL_OK;
  case UNIT: r->unit = arg; return TL_OK;
  case LOCALITY: r->locality = arg; return TL_OK;
  case STATE: r->state = arg; return TL_OK;
  case KEY: r->key = arg; return TL_OK;
  case DAYS: return parse_days(arg, &r->days);
  case FROM: return parse_time(arg, &r->from);
  case UNTIL: return parse_time(arg, &r->until);
  case DOMAIN: return add_domain(r, arg);
  case DNS: return add_san(r, GEN_DNS, arg);
  case URI: return add_san(r, GEN_URI, arg);
  case IP: return add_san(r, GEN_IPADD, arg);
  case EMAIL: return add_san(r, GEN_EMAIL, arg);
  case EKU: r->eku = arg; return TL_OK;
  case CRL_URL: r->crl_url = arg; return TL_OK;
  case OCSP_URL: r->ocsp_url = arg; return TL_OK;
  case REASON: r->reason = arg; return TL_OK;
  case FILE_NAME: r->file = arg; return TL_OK;
  default: return print_usage();
  }
}

/* ---- commands */

/* Key and certificate under R->name; CHAIN is what follows the certificate in its file. */
static int make_pair(const struct tl_pki_request *r, enum tl_pki_kind kind,
                     struct tl_pki_authority *by) {
  char pem[TL_PKI_PATH], key_path[TL_PKI_PATH];
  int rc = tl_pki_path(r->dir, r->name, ".pem", pem);
  if (rc == 0) rc = tl_pki_path(r->dir, r->name, ".key", key_path);
  if (rc == 0) rc = tl_pki_free_to_write(pem, r->force);
  if (rc == 0) rc = tl_pki_free_to_write(key_path, r->force);
  EVP_PKEY *key = rc == 0 ? tl_pki_key(r->key) : NULL;
  X509 *x = key ? tl_pki_certificate(r, kind, key, by ? by->x : NULL, by ? by->key : NULL) : NULL;
  STACK_OF(X509) *chain = sk_X509_new_null();
  if (rc == 0) rc = x && chain && sk_X509_push(chain, x) ? TL_OK : TL_EIO;
  /* Peers know the root; they may lack the intermediates. */
  for (int i = 0; rc == 0 && by && i < sk_X509_num(by->chain); i++) {
    X509 *c = sk_X509_value(by->chain, i);
    if (!(X509_get_extension_flags(c) & EXFLAG_SS)) rc = sk_X509_push(chain, c) ? TL_OK : TL_ENOMEM;
  }
  if (rc == 0) rc = tl_pki_write_key(key_path, key, r->force);
  if (rc == 0) rc = tl_pki_write_chain(pem, chain, r->force);
  if (rc == 0 && by) rc = tl_pki_index_add(by, x, r->name);
  if (rc == 0) printf("%s and %s\n", pem, key_path);
  sk_X509_free(chain);
  X509_free(x);
  EVP_PKEY_free(key);
  return rc;
}

static int make_under(const struct tl_pki_request *r, enum tl_pki_kind kind) {
  struct tl_pki_authority by;
  int rc = tl_pki_authority_open(r->dir, r->authority, &by);
  if (rc) return rc;
  if (strcmp(r->name, r->authority) == 0)
    rc = tl_pki_fail(TL_EINVAL, "--name %s is the name of the authority that signs", r->name);
  if (rc == 0) rc = make_pair(r, kind, &by);
  tl_pki_authority_close(&by);
  return rc;
}

static int root_ca(struct tl_pki_request *r, int argc, char **argv) {
  (void)argc, (void)argv;
  if (!r->name) r->name = "ca";
  if (!r->cn) r->cn = "tieline lab CA";
  if (!r->days) r->days = 3650;
  int rc = tl_pki_directory(r->dir);
  return rc ? rc : make_pair(r, TL_PKI_ROOT, NULL);
}

static int cmd_intermediate(struct tl_pki_request *r, int argc, char **argv) {
  (void)argc, (void)argv;
  if (!r->name) return tl_pki_fail(TL_EINVAL, "intermediate needs --name");
  if (!r->cn) r->cn = r->name;
  if (!r->days) r->days = 3650;
  return make_under(r, TL_PKI_INTERMEDIATE);
}

static int cmd_cert(struct tl_pki_request *r, int argc, char **argv) {
  static char name[256];
  const char *first = NULL;
  (void)argc, (void)argv;
  for (size_t i = 0; i < r->n_san && !first; i++)
    if (r->san[i].kind == GEN_DNS) first = r->san[i].value;
  if (!first && !r->name) return tl_pki_fail(TL_EINVAL, "cert needs --domain, or --name");
  snprintf(name, sizeof(name), "%s", r->name ? r->name : first);
  if (name[0] == '*') name[0] = '_';
  r->name = name;
  if (!r->cn) r->cn = first && strlen(first) <= 64 ? first : name;
  if (!r->days) r->days = 365;
  return make_under(r, TL_PKI_LEAF);
}

static int cmd_crl(struct tl_pki_request *r, int argc, char **argv) {
  struct tl_pki_authority by;
  (void)argc, (void)argv;
  int rc = tl_pki_authority_open(r->dir, r->authority, &by);
  if (rc == 0) rc = tl_pki_crl(&by, r->days ? r->days : 30);
  if (rc == 0) printf("%s/%s.crl\n", r->dir, r->authority);
  tl_pki_authority_close(&by);
  return rc;
}

/* A certificate by its NAME in this directory, or a file anywhere. */
static X509 *read_named(const struct tl_pki_request *r, const char *word) {
  char path[TL_PKI_PATH];
  if (strchr(word, '/')) return tl_pki_read_cert(word);
  const size_t n = strlen(word);
  const char *suffix = n > 4 && strcmp(word + n - 4, ".pem") == 0 ? "" : ".pem";
  return tl_pki_path(r->dir, word, suffix, path) ? NULL : tl_pki_read_cert(path);
}

static int cmd_revoke(struct tl_pki_request *r, int argc, char **argv) {
  struct tl_pki_authority by;
  if (argc < 1) return tl_pki_fail(TL_EINVAL, "revoke needs the name of a certificate");
  int rc = tl_pki_authority_open(r->dir, r->authority, &by);
  for (int i = 0; rc == 0 && i < argc; i++) {
    X509 *x = read_named(r, argv[i]);
    rc = x ? tl_pki_index_revoke(&by, x, r->reason) : TL_ENOTFOUND;
    X509_free(x);
  }
  tl_pki_authority_close(&by);
  return rc ? rc : cmd_crl(r, 0, NULL);
}

static int cmd_show(struct tl_pki_request *r, int argc, char **argv) {
  int rc = TL_OK;
  (void)r;
  if (argc < 1) return tl_pki_fail(TL_EINVAL, "show needs a file");
  for (int i = 0; i < argc; i++) {
    if (argc > 1) printf("%s%s:\n", i ? "\n" : "", argv[i]);
    int one = tl_pki_show(argv[i], stdout);
    if (one) rc = one;
  }
  return rc;
}

#define HOUR_S 3600
#define DAY_S (24 * HOUR_S)

static int cmd_token_key(struct tl_pki_request *r, int argc, char **argv) {
  struct tl_token_keys_error err;
  char text[TL_TIME_STRLEN], path[TL_STATE_PATH_MAX];
  uint8_t id;
  const time_t now = time(NULL), begin = r->from ? r->from : now + HOUR_S;
  (void)argc, (void)argv;
  int rc = tl_state_path(TL_TOKEN_KEYS_FILE, path);
  if (rc) return tl_pki_fail(rc, "STATE_DIRECTORY is too long");
  const char *file = r->file ? r->file : path;
  const bool first = access(file, F_OK) < 0;
  rc = tl_token_keys_add(file, begin, now, (r->days ? r->days : 30) * DAY_S, &id, &err);
  if (rc && err.line) return tl_pki_fail(rc, "%s:%d: %s", file, err.line, err.text);
  if (rc) return tl_pki_fail(rc, "%s: %s", file, err.text);
  if (first)
    printf("%s: key %x, the first\n", file, id);
  else
    printf("%s: key %x, which signs from %s\n", file, id, tl_time_text(begin, text));
  return TL_OK;
}

static const struct {
  const char *word;
  int (*fn)(struct tl_pki_request *r, int argc, char **argv);
  unsigned may;   /* BIT of each option it takes */
  bool arguments; /* words after the options */
} commands[] = {
    {"root-ca", root_ca, BITS_PLACE | BITS_CERT, false},
    {"intermediate", cmd_intermediate,
     BITS_PLACE | BITS_CERT | BIT(CA) | BIT(CRL_URL) | BIT(OCSP_URL), false},
    {"cert", cmd_cert,
     BITS_PLACE | BITS_CERT | BITS_NAMES | BIT(CA) | BIT(EKU) | BIT(CRL_URL) | BIT(OCSP_URL),
     false},
    {"revoke", cmd_revoke, BIT(DIR) | BIT(CA) | BIT(REASON) | BIT(DAYS), true},
    {"crl", cmd_crl, BIT(DIR) | BIT(CA) | BIT(DAYS), false},
    {"show", cmd_show, 0, true},
    {"token-key", cmd_token_key, BIT(FILE_NAME) | BIT(FROM) | BIT(DAYS), false}};

static int run_command(size_t c, int argc, char **argv) {
  struct tl_pki_request r = {
      .dir = DIR_DEFAULT, .authority = "ca", .key = "ec", .eku = "server,client"};
  int opt, at = -1;
  optind = 0; /* as if called for the first time */
  while ((opt = getopt_long(argc, argv, "", options, &at)) != -1) {
    if (opt >= DIR && !(commands[c].may & BIT(opt)))
      return tl_pki_fail(TL_EINVAL, "%s takes no --%s", commands[c].word, options[at].name);
    int rc = take_option(&r, opt, optarg);
    if (rc) return rc;
  }
  if (r.until && r.until <= (r.from ? r.from : time(NULL)) && !r.from)
    return tl_pki_fail(TL_EINVAL, "--until is in the past; with --from that is taken as meant");
  if (r.from && r.until && r.until <= r.from)
    return tl_pki_fail(TL_EINVAL, "--until is not after --from");
  if (optind < argc && !commands[c].arguments)
    return tl_pki_fail(TL_EINVAL, "%s takes no \"%s\"", commands[c].word, argv[optind]);
  return commands[c].fn(&r, argc - optind, argv + optind);
}

int tl_pki_main(int argc, char **argv) {
  const char *word = argc > 1 ? argv[1] : "";
  if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0) {
    fputs(usage_text, stdout);
    return 0;
  }
  for (size_t c = 0; c < sizeof(commands) / sizeof(*commands); c++)
    if (strcmp(word, commands[c].word) == 0) {
      argv[1] = argv[0]; /* getopt names it in its complaints */
      int rc = run_command(c, argc - 1, argv + 1);
      return rc == 0 && fflush(stdout) == 0 ? 0 : 1;
    }
  if (*word) tl_pki_fail(0, "no command \"%s\"", word);
  print_usage();
  return 1;
}
