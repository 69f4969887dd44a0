/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains and handshakes, without sockets.
 *
 * A domain is an immutable pair of OpenSSL contexts (server and client role)
 * built from options. A handshake runs over memory BIOs: records in, bytes out,
 * and at the end a result: keys, identity and facts. The SSL object does not
 * outlive tl_hs_free.
 *
 * Ownership: domains are reference-counted (atomic). A handshake belongs to its
 * caller. Threads: domains any; one handshake one thread. Errors: TL_ECONFIG
 * with text for options; TL_ETLS, TL_EVERIFY, TL_ECLOSED for handshakes, detail
 * in struct tl_hs_failure.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/err.h"
#include "tieline/identity.h"
#include "tieline/index_map.h"
#include "tieline/ocsp.h"
#include "tieline/record.h"

enum tl_records_mode { TL_RECORDS_AUTO, TL_RECORDS_KERNEL, TL_RECORDS_USER };
/* Which headers of a request must agree with the identity of its connection. */
enum tl_check_from { TL_CHECK_FROM_OFF, TL_CHECK_FROM_FROM, TL_CHECK_FROM_PAI /* From and PAI */ };

/* What a peer's Extended Key Usage must allow (RFC 5924): SIP, anything, nothing said or TLS in the
 * peer's role; SIP by name; no matter. */
enum tl_eku { TL_EKU_ACCEPT, TL_EKU_REQUIRE, TL_EKU_IGNORE };

/* What becomes of a handshake whose certificate does not verify. */
enum tl_on_unverified { TL_UNVERIFIED_REJECT, TL_UNVERIFIED_ACCEPT };
/* What a revocation list past its next update means. */
enum tl_crl_stale { TL_STALE_REJECT, TL_STALE_ACCEPT };
enum tl_tls_role { TL_ROLE_BOTH, TL_ROLE_SERVER, TL_ROLE_CLIENT };

/* The options of a TLS domain that are used as they are written. The configuration's table stores
 * into this struct, and handshakes and connections read it: a new one is a field here and a row
 * there. The words of each enum stand in the table in the same order. */
struct tl_tls_policy {
  bool verify_cert, require_cert; /* check the other side's certificate; insist on one */
  bool verify_name, allow_cn;
  bool strict_sni;    /* never the fallback of a client that asks for a name not listed */
  bool send_ca_names; /* as server, in the CertificateRequest */
  bool alias;         /* connections serve both directions where certificates entitle them */
  bool resumption;    /* sessions may go on in another connection */
  enum tl_on_unverified on_unverified;
  enum tl_crl_stale crl_stale;
  enum tl_check_from check_from;
  enum tl_eku eku;
  enum tl_records_mode records;
  uint32_t verify_depth;
  uint32_t tickets;                               /* TLS 1.3, per handshake as server */
  uint32_t ticket_lifetime_ms;                    /* of a session as server, 0: two hours */
  uint32_t handshake_timeout_ms, send_timeout_ms; /* 0: the global ones */
  uint32_t max_age_ms;                            /* of a connection, 0: none */
  uint32_t max_records; /* under one AES-GCM key, in each direction; 0: as TLS allows */
  struct tl_ocsp_policy ocsp;
};

/* Options as written by the operator; strings and lists belong to whoever fills this in. What is
 * not policy is needed only to build the domain. */
struct tl_tls_options {
  struct tl_tls_policy policy;
  const char **match_sip_domain; /* NULL-terminated; "*.example" one label */
  const char **match_ip_address; /* NULL-terminated; "addr" or "addr:port" */
  const char **certificate;      /* NULL-terminated: PEM chains, files or the text itself */
  const char **private_key;      /* in the order of certificate; also URIs (pkcs11:, file:) */
  const char *private_key_passphrase_file; /* its first line */
  const char *credentials_dir;             /* further pairs, found by their keys */
  const char *ca_list, *ca_dir;            /* ca_list: a file or PEM text */
  const char *ca_names; /* file of names for the CertificateRequest; NULL: those trusted */
  const char *crl_file, *crl_dir;
  const char *tls_method;
  const char *ciphers_list; /* TLS 1.2, OpenSSL syntax; NULL: ours */
  const char *ciphersuites; /* TLS 1.3; NULL: ours */
  const char *groups;       /* NULL: ours */
  const char *dh_params;    /* file or PEM text for DHE in TLS 1.2; NULL: by key strength */
  const char *advertise;
  const char *ocsp_file, *ocsp_url; /* staple; responder, NULL: the certificate names it */
  bool ca_system;                   /* trust the authorities of this machine, too */
  bool crl_check_all;
  bool crl_fetch;          /* from the distribution points of certificates, while running */
  bool allow_readable_key; /* accept key files readable by others */
  bool allow_expired;      /* load own certificates out of their time */
  enum tl_tls_role role;

  /* What some of these mean, filled in by whoever has checked them (conf_check.c). */
  const char *name;
  bool server, client;          /* role */
  int min_version, max_version; /* tls_method: enum tl_tls_version */
  struct tl_str advertise_host; /* advertise; n = 0: the listener's */
  uint16_t advertise_port;      /* 0: the listener's */
};

struct tl_crls;
struct tl_ticket_keys;

struct tl_tls_domain {
  _Atomic uint64_t refs;
  uint64_t generation; /* new for each domain object made in this process */
  uint8_t core[32]; /* digest of all but trust and policy; set once, before the domain is shared */
  char *name;
  struct ssl_ctx_st *server, *client; /* SSL_CTX; NULL when not in that role */
  struct tl_tls_policy policy;
  bool rsa_key_exchange;    /* a suite of ciphers_list has the server decrypt, not sign */
  bool client_cert;         /* has a certificate to show as client */
  char *advertise_host;     /* for Via and Record-Route, NULL: the listener's */
  uint16_t advertise_port;  /* 0: the listener's */
  char **match_sip_domain;  /* NULL-terminated, lower case */
  struct tl_addr *match_ip; /* n_match_ip of them; port 0 matches any */
  size_t n_match_ip;
  bool match_any_ip;          /* "*" among match_ip_address */
  char **own_names;           /* server: those of credentials_dir, if match_sip_domain is unset */
  struct tl_credential *cred; /* private: certificates with their keys, n_cred of them */
  size_t n_cred;
  unsigned ca_names_n;                /* names in our CertificateRequest */
  size_t ca_names_bytes;              /* their list on the wire */
  struct tl_crls *crls;               /* revocation lists, NULL: none are asked for */
  struct tl_identity *own;            /* the first certificate, NULL if it has none */
  char serial[64];                    /* of the first certificate, hex */
  char *subject;                      /* of the first certificate, "" if none */
  time_t not_after;                   /* of the first certificate */
  struct tl_ticket_keys *ticket_keys; /* private; NULL: no role as server */
  char *ocsp_file, *ocsp_url;         /* as in the options, or NULL */
  struct tl_staple *staple;           /* one for each certificate; none: nothing is stapled */
  size_t n_staple;
  char *groups; /* key exchange groups, as written or ours */
};

/* URI, or anything else a key is named by, without the PIN in it. The caller frees; NULL: no
 * memory. */
char *tl_tls_uri_shown(const char *uri);
/* Is it a pkcs11: URI, whose key is in a token? */
bool tl_tls_uri_of_token(const char *input);
/* Is it one with a PIN in it (pin-value)? */
bool tl_tls_uri_has_pin(const char *input);

/* An authority that a domain trusts by name. */
struct tl_authority_info {
  char subject[256];
  time_t not_after;
  uint8_t sha256[32]; /* of the certificate */
};
typedef void (*tl_authority_fn)(void *arg, const struct tl_tls_domain *d,
                                const struct tl_authority_info *a);
/* Calls FN for each of them; for none if D verifies nobody. */
void tl_tls_domain_authorities(const struct tl_tls_domain *d, tl_authority_fn fn, void *arg);

/* Signs once with each key of D that is in a token. TL_ETLS with the sentence in ERR. */
int tl_tls_domain_try_keys(const struct tl_tls_domain *d, char *err, size_t cap);

/* Builds a domain. On TL_ECONFIG, ERR (CAP bytes) holds a sentence naming file and cause, and
 * *OUT_OPTION the name of the option to blame (a constant) for file:line. */
int tl_tls_domain_new(const struct tl_tls_options *o, char *err, size_t cap,
                      const char **out_option, struct tl_tls_domain **out);
struct tl_tls_domain *tl_tls_domain_ref(struct tl_tls_domain *d);
void tl_tls_domain_unref(struct tl_tls_domain *d);

/* Which rule chose a domain; a client's destination domain takes the place of the server name. */
enum tl_choice {
  TL_CHOICE_NONE,
  TL_CHOICE_SNI_EXACT,
  TL_CHOICE_SNI_WILDCARD,
  TL_CHOICE_LISTENER,
  TL_CHOICE_ADDRESS,
  TL_CHOICE_DEFAULT
};
/* "name_exact", "name_wildcard" ...: what ctl and logs call a rule. */
const char *tl_choice_name(enum tl_choice rule);

/* Candidates for a listener or a destination, in file order; borrowed. */
struct tl_tls_set {
  struct tl_tls_domain **domain;
  size_t n;
  struct tl_tls_domain *fallback; /* named "default", or the only one; may be NULL */
  struct tl_index_map index;      /* private: names and addresses to domains, by number */
  bool indexed;                   /* private */
};
/* Indexes S, whose domains are complete, so that choosing does not look at each of many. Without
 * that it does. TL_ENOMEM. */
int tl_tls_set_index(struct tl_tls_set *s);
/* Frees what the index takes. */
static inline void tl_tls_set_clear(struct tl_tls_set *s) { tl_index_map_clear(&s->index); }
struct tl_ca_wanted;
/* What is asked for; all borrowed. */
struct tl_tls_ask {
  bool server;
  struct tl_str name;             /* server: SNI; client: destination domain; may be empty */
  struct tl_tls_domain *listener; /* server: the listener's own, may be NULL */
  const struct tl_addr *addr;     /* server: the listener's, client: the destination's, or NULL */
  const struct tl_ca_wanted *wanted; /* server: authorities the client trusts, NULL: not said */
};
/* Why a domain was chosen or not, for `explain`. */
struct tl_tls_candidate {
  const struct tl_tls_domain *domain;
  enum tl_choice rule; /* the best one by which it fits, TL_CHOICE_NONE: it does not */
  bool wanted;         /* a certificate of it ends in an authority that the client trusts */
  bool chosen;
  const char *why; /* a phrase, a constant */
};
struct tl_tls_trace {
  struct tl_tls_candidate *candidate; /* room for CAP, the caller's; the set's size + 2 suffices */
  size_t cap, n;
  bool by_authority; /* several fitted equally, and what the client trusts decided */
};
/* The one order of choice, in docs/configuration.md: best rule, then the authority the client
 * trusts, then the order of the file. TRACE and OUT_RULE may be NULL. */
struct tl_tls_domain *tl_tls_choose(const struct tl_tls_set *set, const struct tl_tls_ask *ask,
                                    struct tl_tls_trace *trace, enum tl_choice *out_rule);
/* What both A and B match in a role they share, so that B behind A would never be used; NULL if
 * there is nothing, or if what clients trust can tell them apart. In *BUF (CAP bytes). */
const char *tl_tls_domains_clash(const struct tl_tls_domain *a, const struct tl_tls_domain *b,
                                 char *buf, size_t cap);
/* Server side: SNI exact, SNI wildcard, LISTENER's own (may be NULL), listener address, fallback.
 */
struct tl_tls_domain *tl_tls_choose_server(const struct tl_tls_set *set, struct tl_str sni,
                                           struct tl_tls_domain *listener,
                                           const struct tl_addr *local, enum tl_choice *out_rule);
/* Client side, where neither route nor peer named one: destination domain, address, fallback. */
struct tl_tls_domain *tl_tls_choose_client(const struct tl_tls_set *set, struct tl_str sip_domain,
                                           const struct tl_addr *dest, enum tl_choice *out_rule);

struct tl_hs_params {
  bool server;
  const struct tl_tls_set *set; /* server: candidates; must outlive the handshake */
  struct tl_tls_domain *domain; /* server: the listener's own or NULL; client: the one to use */
  const struct tl_addr *local;  /* server: the listener's address */
  const struct tl_addr *remote; /* client: where it leads; NULL: no session is offered or kept */
  struct tl_str sni;            /* client: SIP domain of the next hop; sent only if it is a name */
  struct tl_str verify_name;    /* client: identity required; empty = do not check */
  void (*keylog)(const char *line); /* gets each secret, NULL: nobody does */
};

struct tl_hs_failure {
  enum {
    TL_HS_OK,
    TL_HS_TIMEOUT,
    TL_HS_PROTOCOL,
    TL_HS_VERIFY,
    TL_HS_NAME,
    TL_HS_ALERT,
    TL_HS_CLOSED,
    TL_HS_CONNECT,
    TL_HS_NOT_TLS,
    TL_HS_INTERNAL
  } cause;
  char sni[256];    /* offered by the client or sent by us */
  char domain[64];  /* name of the TLS domain chosen */
  char reason[160]; /* OpenSSL's reason, in words */
  long verify_code; /* X509_V_* */
  int verify_depth;
  char subject[256];                  /* of the certificate that failed */
  uint8_t alert_sent, alert_received; /* 0xff: none */
};

struct tl_hs;

/* What a finished handshake leaves behind. */
struct tl_hs_result {
  struct tl_tls_keys keys;      /* wipe with tl_hs_result_clear */
  struct tl_tls_domain *domain; /* a reference */
  struct tl_identity *peer;     /* a reference, NULL: anonymous */
  struct tl_identity *own;      /* a reference to the certificate we showed, NULL: none */
  bool server, resumed, peer_verified;
  bool resume_offered; /* an earlier session was offered; RESUMED: and taken */
  bool resume_refused; /* as server: it could be read, but may not go on */
  bool stapled; /* an OCSP answer went with the server's certificate; as client: a good one */
  unsigned max_fragment; /* RFC 6066 4 in bytes, 0 = none */
  char sni[256];
};

int tl_hs_new(const struct tl_hs_params *p, struct tl_hs **out);
void tl_hs_free(struct tl_hs *hs);
/* Starts (client: makes the ClientHello). Returns as tl_hs_input. */
int tl_hs_start(struct tl_hs *hs);
/* Judges the 5 header bytes of the next record before its body is read: *OUT_LEN body bytes follow.
 * TL_ETLS with the failure filled in if this is no TLS, or no record of a handshake. */
int tl_hs_record_len(struct tl_hs *hs, const uint8_t header[TL_RECORD_HEADER], size_t *out_len);
/* The same for a server that has no handshake object yet: FIRST is the first record of all; the
 * failure goes to F. */
int tl_hello_record_len(struct tl_hs_failure *f, bool first, const uint8_t header[TL_RECORD_HEADER],
                        size_t *out_len);
/* How far a ClientHello has come that may be cut into records anywhere. Zeros at the beginning. */
struct tl_hello {
  uint32_t have; /* bytes of the handshake message and what follows it */
  unsigned records;
  uint8_t head[4];
};
/* One more record. True: it is complete, or past what is worth collecting, or no ClientHello: a
 * handshake object shall read it. */
bool tl_hello_feed(struct tl_hello *h, const uint8_t *rec, size_t n);
/* Feeds exactly one TLS record, header included. TL_EAGAIN: more is needed; 0: finished, after the
 * pending output has been sent call tl_hs_take; else failed, output may hold an alert to send. */
int tl_hs_input(struct tl_hs *hs, const uint8_t *rec, size_t n);
/* Bytes to send, owned by HS and valid until the next call on it; *OUT_N = 0 when nothing waits.
 * Taking them marks them as sent. */
const uint8_t *tl_hs_output(struct tl_hs *hs, size_t *out_n);
/* After success: derives keys and record sequence numbers, reads the identity, checks the name,
 * marks the session resumable. Failure: TL_EVERIFY (name), TL_ETLS. */
int tl_hs_take(struct tl_hs *hs, struct tl_hs_result *out);
/* As client of TLS 1.3, after tl_hs_take: HS itself, to be kept until a session ticket has come, or
 * NULL if none is wanted (HS is as before). Another thread may go on with it. */
struct tl_hs *tl_hs_post(struct tl_hs *hs, const struct tl_hs_result *s);
/* The plaintext of a handshake record that came behind the handshake. True: HS is of no more use.
 */
bool tl_hs_post_input(struct tl_hs *hs, const uint8_t *p, size_t n);
const struct tl_hs_failure *tl_hs_failure(const struct tl_hs *hs);
void tl_hs_result_clear(struct tl_hs_result *s); /* wipes keys, drops references */

/* Reads D's ocsp_file into its staples, NOW deciding whether it is in date. TL_EIO: it cannot be
 * read or is no answer about D's certificates; TL_EVERIFY: it is, but says nothing good now. WHY
 * gets a sentence. */
int tl_staple_read(struct tl_tls_domain *d, time_t now, char *why, size_t cap);

/* Wipes the keys of T that have ended (else only the next handshake does); how many are left. Any
 * thread. */
unsigned tl_tickets_wipe(struct tl_ticket_keys *t);

/* OpenSSL's version, with its name and date if IN_FULL. */
const char *tl_tls_library(bool in_full);

/* One start-up call: OpenSSL, ex_data indices, keylog hook. */
int tl_tls_init(void);

/* "timeout", "protocol", "verify" ...: what ctl and logs call a cause. */
const char *tl_hs_cause_name(int cause);
/* Server sessions' lookup of the domain chosen so far, for logs; may be NULL. */
const struct tl_tls_domain *tl_hs_domain(const struct tl_hs *hs);
