/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator wants of TLS: the options of a TLS domain.
 *
 * Ownership: options and all they point to are the caller's. Threads: constant
 * once filled in. Errors: none here; what is wrong shows when a domain is built.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tieline/ocsp.h"
#include "tieline/str.h"

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
