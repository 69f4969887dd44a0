/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS handshakes, without sockets. A handshake runs over memory BIOs: records in,
 * bytes out, and at the end a result: keys, identity and facts. The SSL object does
 * not outlive tl_hs_free.
 *
 * Ownership: a handshake belongs to its caller. Threads: one handshake one thread.
 * Errors: TL_ETLS, TL_EVERIFY, TL_ECLOSED, detail in struct tl_hs_failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tieline/record.h"
#include "tieline/str.h"

struct tl_addr;
struct tl_identity;
struct tl_tls_domain;
struct tl_tls_set;

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
/* The plaintext of a handshake record that came after the handshake. True: HS is of no more use.
 */
bool tl_hs_post_input(struct tl_hs *hs, const uint8_t *p, size_t n);
const struct tl_hs_failure *tl_hs_failure(const struct tl_hs *hs);
void tl_hs_result_clear(struct tl_hs_result *s); /* wipes keys, drops references */

/* "timeout", "protocol", "verify" ...: what ctl and logs call a cause. */
const char *tl_hs_cause_name(int cause);
/* Server sessions' lookup of the domain chosen so far, for logs; may be NULL. */
const struct tl_tls_domain *tl_hs_domain(const struct tl_hs *hs);
