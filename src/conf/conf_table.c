/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of options: names, defaults, bounds and reasons. Parsing, printing,
 * `check --explain` and the manual all read it; nothing about an option is said
 * anywhere else. It stores and checks no value: conf_value.c does.
 */
#include <assert.h>

#include "conf/conf_block.h"
#include "tieline/peer_table.h"
#include "tieline/record.h"
#include "tieline/route_table.h"
#include "tieline/token_keys.h"

#define OPT_AS(name_, type, member, k, d, ...)                                                     \
  {                                                                                                \
    .name = #name_, .kind = TL_OPT_##k, .offset = offsetof(struct type, member), .def = d,         \
    __VA_ARGS__                                                                                    \
  }
#define OPT(type, field, k, d, ...) OPT_AS(field, type, field, k, d, __VA_ARGS__)
#define OPT_MS(type, field, d, ...) OPT_AS(field, type, field##_ms, TIME, d, __VA_ARGS__)

#define NONE .def_note
#define RANGE(a, b) .lo = (a), .hi = (b)
#define WHY .why
#define DAY_MS 86400000u

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"kv", "json", NULL};
static const char *const log_targets[] = {"stderr", "journal", NULL};
static const char *const records_modes[] = {"auto", "kernel", "user", NULL};
static const char *const body_relays[] = {"buffer", "splice", NULL};
static const char *const roles[] = {"both", "server", "client", NULL};
static const char *const unverified[] = {"reject", "accept", NULL};
static const char *const stale[] = {"reject", "accept", NULL};
static const char *const checked_headers[] = {"off", "from", "from+pai", NULL};
static const char *const ekus[] = {"accept", "require", "ignore", NULL};
static const char *const yes_no[] = {"false", "true", NULL};
static const char *const spoofs[] = {"off", "peers", "all", NULL};
static const char *const preloads[] = {"refuse", "allow", NULL};
static const char *const in_dialogs[] = {"trust-connection", "revalidate", NULL};
static const char *const trusts[] = {"verified", "encrypted", NULL};
static const char *const staples[] = {"off", "file", "fetch", NULL};
static const char *const stapleds[] = {"off", "ask", "require", NULL};
static const char *const ocsp_clients[] = {"off", "soft", "hard", NULL};
static const char *const relays[] = {"request-uri", NULL};
static const char *const drains[] = {"graceful", "now", "keep", NULL};
static const char *const probe_modes[] = {"always", "when-down", NULL};
static const char *const forks[] = {"failover", "serial", "parallel", NULL};

static const struct tl_opt global_opts[] = {
    OPT(tl_conf_options, workers, NUM, NULL, NONE = "one per processor", RANGE(1, 64),
        .flags = TL_OPT_FIXED,
        WHY = "threads that carry messages; each keeps its own connections and shares nothing"),
    OPT(tl_conf_options, handshakers, NUM, NULL, NONE = "half the workers, at least 1",
        RANGE(1, 64), .flags = TL_OPT_FIXED,
        WHY = "threads that do TLS handshakes, so that a storm of them delays no message"),
    OPT(tl_conf_options, control_socket, PATH, "/run/tieline/tieline.sock", .flags = TL_OPT_FIXED,
        WHY = "unix socket (mode 0600) that `tieline ctl` talks to"),
    OPT(tl_conf_options, user, STR, NULL, NONE = "the user that started it", .flags = TL_OPT_FIXED,
        WHY = "account to change to once sockets are open; to reload it must be able to read the "
              "certificates and keys, so let them belong to it"),
    OPT(tl_conf_options, domains, LIST, NULL, NONE = "only the listeners' own names",
        WHY = "SIP domains that are ours; \"name\" for any port or \"name:port\""),
    OPT(tl_conf_options, records, WORD, "auto", .word = records_modes,
        WHY = "who encrypts TLS records: auto takes the kernel where it can do the cipher and "
              "its code for it is accelerated, user space where not; kernel insists; user never "
              "asks the kernel, and is the cheapest without a network card that does TLS"),
    OPT(tl_conf_options, body_relay, WORD, "buffer", .word = body_relays,
        WHY =
            "where bodies of limits.splice_body and more pass: buffer, through the receive buffer; "
            "splice, from socket to socket within the kernel, between connections whose records "
            "are not in user space. It pays with a network card that does TLS"),
    OPT(tl_conf_options, anti_spoof, WORD, "peers", .word = spoofs,
        WHY = "who is refused (403) with one of our domains in From: peers and holders of "
              "certificates, unless their certificate or the peer's domains cover it; all; or "
              "nobody"),
    OPT(tl_conf_options, identity_map, PATH, NULL, NONE = "none",
        WHY = "file of what certificates may name in From beside their own names: common name, "
              "subjectAltName or fingerprint, a tabulator, a comma list of domain and user@domain"),
    OPT(tl_conf_options, key_file, PATH, TL_TOKEN_KEYS_FILE, .flags = TL_OPT_STATE,
        WHY = "keys of the tokens in our Record-Route, made at the first start and kept, so that "
              "calls outlive a restart; it must be its owner's alone. tieline pki token-key adds a "
              "key; the newest whose time has come signs, and one before it is good for call_max "
              "yet. Where it is not set and cannot be made, the keys end with the process"),
    OPT(tl_conf_options, peer_state_file, PATH, "/var/lib/tieline/peers.json",
        .flags = TL_OPT_FIXED,
        WHY = "states that `ctl peer` has set, which outlive a restart; written there by each such "
              "command"),
    OPT(tl_conf_options, server_header, BOOL, "true",
        WHY = "put Server with our name, but no version, into the responses made here"),
    OPT(tl_conf_options, reload_drain, WORD, "graceful", .word = drains,
        WHY =
            "connections of a TLS domain whose certificate or protocol a reload changed: graceful "
            "ends each when it is idle, at the latest after timeouts.retire; now; keep"),
    OPT_MS(tl_conf_options, crl_refresh, "1h", RANGE(1000, DAY_MS),
           WHY =
               "how often a fetched revocation list is looked for again, if its next update is not "
               "sooner"),
    OPT_MS(tl_conf_options, dns_ttl_min, "5s", RANGE(1000, 3600000),
           WHY = "names of peers are looked up again when DNS says that the answer is old, but not "
                 "sooner than this; also the first wait when no answer came"),
    OPT_MS(tl_conf_options, dns_ttl_max, "1h", RANGE(1000, DAY_MS),
           WHY = "and at least this often"),
    OPT(tl_conf_options, watch_files, BOOL, "false",
        WHY = "reload by itself when this file or one it names has changed and been left alone for "
              "two seconds"),
    OPT(tl_conf_options, allow_keylog, BOOL, "false",
        WHY =
            "let `tieline ctl keylog` write the secrets of TLS connections for Wireshark; whoever "
            "has that file reads what it covers"),
    OPT(tl_conf_options, keylog_file, PATH, NULL, NONE = "none",
        WHY = "where `ctl keylog` writes (mode 0600); needed with allow_keylog"),
    OPT(tl_conf_options, log_level, WORD, "info", .word = log_levels,
        WHY = "least important line that is written; `tieline ctl log` changes it while running"),
    OPT(tl_conf_options, log_calls, BOOL, "false",
        WHY =
            "a line at level info for each call answered, failed or ended: who, to whom, when, and "
            "the certificates, TLS and kernel TLS of both connections"),
    OPT_MS(tl_conf_options, call_max, "12h", RANGE(1000, 30 * DAY_MS),
           WHY =
               "after this a call that has had no BYE counts no longer for a peer's max_calls, and "
               "our token in Record-Route no longer lets the requests of its dialog in: they are "
               "judged as first ones"),
    OPT(tl_conf_options, log_format, WORD, "kv", .word = log_formats, .flags = TL_OPT_FIXED,
        WHY = "kv for people and grep, json for collectors"),
    OPT(tl_conf_options, log_target, WORD, "stderr", .word = log_targets, .flags = TL_OPT_FIXED,
        WHY = "stderr, or the systemd journal with its fields"),
};

static const struct tl_opt limit_opts[] = {
    OPT(tl_conf_limits, max_connections, NUM, "100000", RANGE(1, 10000000),
        WHY = "TCP and TLS connections of the whole process; more are refused and counted; the "
              "last eighth is for peers and for those that we open"),
    OPT(tl_conf_limits, max_connections_source, NUM, "4096", RANGE(1, 10000000),
        WHY = "of those, opened by one source (an IPv4 address, a /64 of IPv6), so that one cannot "
              "take all; telephones behind one NAT are fewer"),
    OPT(tl_conf_limits, max_connections_peer, NUM, "65536", RANGE(1, 10000000),
        WHY = "the same for a source with the address of a peer, or in its networks, if that is "
              "more and the peer says nothing else: a carrier may bring all its calls from one "
              "address"),
    OPT(tl_conf_limits, max_unfinished, SIZE, "256m", RANGE(16777216, 1073741824),
        WHY = "memory for messages of which only a part has come over TCP or TLS, of the whole "
              "process and equally shared by the workers: a thousand of the largest; beyond, the "
              "connection whose message began first is closed"),
    OPT(tl_conf_limits, max_transactions, NUM, "65536", RANGE(16, 16777216), .flags = TL_OPT_FIXED,
        WHY = "transactions alive per worker; further requests get 503, and those of a source that "
              "is not a peer and has an eighth once half are taken"),
    OPT(tl_conf_limits, max_transactions_peer, NUM, "16384", RANGE(1, 16777216),
        WHY = "requests of one worker waiting for one peer; beyond, the next target or 503"),
    OPT(tl_conf_limits, max_waiting, NUM, "16384", RANGE(1, 16777216),
        WHY = "requests of one worker waiting for an answer from elsewhere, as for the address of "
              "a name; further ones get 503, and those of a source that is not a peer and has an "
              "eighth once half are taken; the last eighth is for dialogs that our token shows"),
    OPT(tl_conf_limits, max_kept, SIZE, "512m", RANGE(65536, 2147483648),
        WHY =
            "bytes of messages that a worker keeps for its transactions; beyond, new requests get "
            "503 and nothing more is kept for those under way; dialogs that our token shows have "
            "a quarter more"),
    OPT(tl_conf_limits, udp_answer_factor, NUM, "3", RANGE(0, 1000),
        WHY =
            "bytes of answers repeated (Timer G) to a UDP source that is not a peer, for each byte "
            "that came from it: its address may be forged; 0: no bound, as RFC 3261 17.2.1"),
    OPT(tl_conf_limits, max_open_calls, NUM, "262144", RANGE(1, 100000000),
        WHY = "calls of the whole process toward peers that have max_calls; beyond, as if their "
              "peer had its max_calls"),
    OPT(tl_conf_limits, max_message, SIZE, "256k", RANGE(1024, 20971520),
        WHY = "one SIP message; a larger one is answered 513 and skipped, one four times as large "
              "ends its connection"),
    OPT(tl_conf_limits, max_head, SIZE, "64k", RANGE(512, 1048576),
        WHY = "start line and headers of one message, so that nobody fills memory with a head"),
    OPT(tl_conf_limits, max_handshakes, NUM, "512", RANGE(1, 1000000),
        WHY =
            "TLS handshakes in progress per handshake thread, each from its complete "
            "ClientHello on; further ones wait, and a client that then is silent for over a second "
            "is dropped; as many again that we open, of which a silent one gives way"),
    OPT(tl_conf_limits, max_handshakes_source, NUM, "64", RANGE(1, 1000000),
        WHY = "of those, from one source (an IPv4 address, a /64 of IPv6), so that one cannot "
              "take all; further ones wait"),
    OPT(tl_conf_limits, max_half_open, NUM, "16384", RANGE(1, 1000000),
        WHY = "TLS connections per handshake thread without a complete ClientHello, which cost "
              "no more than a socket and a kilobyte or two; at the bound, at max_connections "
              "and when descriptors run out the oldest gives way"),
    OPT(tl_conf_limits, max_half_open_source, NUM, "1024", RANGE(1, 1000000),
        WHY = "of those, from one source; at the bound its own oldest gives way"),
    OPT(tl_conf_limits, send_buffer, SIZE, "1m", RANGE(4096, 1073741824),
        WHY = "bytes that may wait for a peer; what comes beyond, but for a burst of up to eight "
              "times as much and 2 s, goes to the next target or is answered 503, and a peer that "
              "can take no response is reset: a slow peer delays no other"),
    OPT(tl_conf_limits, send_min_rate, SIZE, "4k", RANGE(0, 1073741824),
        WHY = "bytes a second that a peer must take while bytes wait for it, over send_timeout; "
              "a slower one is reset: no link fit for calls is that slow, and a peer that takes a "
              "byte now and then would hold memory for ever; 0: any rate will do"),
    OPT(tl_conf_limits, connect_queue, NUM, "1024", RANGE(1, 1000000),
        WHY = "messages that may wait for a connection being established; each beyond it is "
              "answered or goes to the next target"),
    OPT(tl_conf_limits, recv_buffers, NUM, "256", RANGE(8, 32768), .flags = TL_OPT_FIXED,
        WHY = "buffers in a worker's receive ring, a power of two (io_uring's demand)"),
    OPT(tl_conf_limits, zero_copy_body, SIZE, "4k", RANGE(1, 16777216),
        WHY = "bodies of at least this size go from the receive buffer to the kernel without a "
              "copy; copying is cheaper below"),
    OPT(tl_conf_limits, splice_body, SIZE, "64k", RANGE(4096, 16777216),
        WHY = "with body_relay = splice, bodies of at least this size stay in the kernel"),
};

static const struct tl_opt timeout_opts[] = {
    OPT(tl_conf_timeouts, hello, TIME, "2s", RANGE(10, DAY_MS),
        WHY = "a complete ClientHello, counted from accept; time for one lost segment to be "
              "sent again"),
    OPT(tl_conf_timeouts, handshake, TIME, "10s", RANGE(10, DAY_MS),
        WHY = "a TLS handshake, counted from accept: a client that drips bytes gains nothing"),
    OPT(tl_conf_timeouts, connect, TIME, "5s", RANGE(10, DAY_MS),
        WHY = "a TCP connection outward; then the next target is tried"),
    OPT(tl_conf_timeouts, message, TIME, "30s", RANGE(0, DAY_MS),
        WHY =
            "a message over TCP or TLS, from its first byte to its last: a sender gains nothing by "
            "dripping bytes, and after this it has given up (RFC 3261 17.1.2.2); 0: no limit"),
    OPT(tl_conf_timeouts, send, TIME, "10s", RANGE(10, DAY_MS),
        WHY = "bytes waiting without progress; then the peer is stuck and its connection reset"),
    OPT(tl_conf_timeouts, idle, TIME, "1h", RANGE(0, 30 * DAY_MS),
        WHY = "a connection without a message is closed after this; 0 keeps it"),
    OPT(tl_conf_timeouts, half_closed, TIME, "200s", RANGE(0, DAY_MS),
        WHY = "a connection whose peer has closed its sending side is kept for the answers to what "
              "it asked, a ringing INVITE's too; 0 closes it at once"),
    OPT(tl_conf_timeouts, drain, TIME, "10s", RANGE(0, DAY_MS),
        WHY = "what SIGTERM grants running transactions"),
    OPT(tl_conf_timeouts, retire, TIME, "30s", RANGE(0, DAY_MS),
        WHY = "what a connection that is being renewed may take to become idle; 0: no limit"),
    OPT(tl_conf_timeouts, call_setup_max, TIME, "180s", RANGE(0, DAY_MS),
        WHY = "a connection that is being renewed (max_age, max_records, retire, reload_drain) "
              "stays so long while a transaction is open on it: no telephone rings longer; not "
              "for a peer that no longer passes"),
    OPT(tl_conf_timeouts, t1, TIME, "500ms", RANGE(10, 60000),
        WHY = "round-trip estimate, base of the retransmissions (RFC 3261 17.1.1.1)"),
    OPT(tl_conf_timeouts, t2, TIME, "4s", RANGE(10, DAY_MS),
        WHY = "longest interval between retransmissions (RFC 3261 17.1.2.2)"),
    OPT(tl_conf_timeouts, t4, TIME, "5s", RANGE(0, DAY_MS),
        WHY = "how long the network may keep a message (RFC 3261 17.1.2.2)"),
    OPT(tl_conf_timeouts, timer_b, TIME, "32s", RANGE(20, DAY_MS),
        WHY = "an INVITE without any answer fails over or gets 408 (RFC 3261 17.1.1.2)"),
    OPT(tl_conf_timeouts, timer_c, TIME, "185s", RANGE(20, DAY_MS),
        WHY = "an INVITE that rings is cancelled after this; RFC 3261 16.6 wants more than 3 "
              "minutes"),
    OPT(tl_conf_timeouts, timer_f, TIME, "32s", RANGE(20, DAY_MS),
        WHY = "any other request without an answer fails over or ends (RFC 3261 17.1.2.2)"),
    OPT(tl_conf_timeouts, trying, TIME, "200ms", RANGE(0, 60000),
        WHY = "an INVITE unanswered for this long gets a 100 (RFC 3261 17.2.1)"),
};

static const struct tl_opt listen_opts[] = {
    OPT(tl_listen_options, advertise, STR, NULL, NONE = "the address",
        WHY = "\"host[:port]\" that goes into Via and Record-Route: what others can reach"),
    OPT(tl_listen_options, tls_domain, STR, NULL, NONE = "by server name, else the default",
        WHY = "TLS domain for clients whose server name matches no other"),
};

#define DOM(field, k, d, ...) OPT(tl_tls_options, field, k, d, __VA_ARGS__)
#define POL(field, k, d, ...) OPT_AS(field, tl_tls_options, policy.field, k, d, __VA_ARGS__)
#define POL_MS(field, d, ...) OPT_AS(field, tl_tls_options, policy.field##_ms, TIME, d, __VA_ARGS__)
#define OCSP(field, k, d, ...)                                                                     \
  OPT_AS(ocsp_##field, tl_tls_options, policy.ocsp.field, k, d, __VA_ARGS__)
#define OCSP_MS(field, d, ...)                                                                     \
  OPT_AS(ocsp_##field, tl_tls_options, policy.ocsp.field##_ms, TIME, d, __VA_ARGS__)
#define INH TL_OPT_INHERIT
#define INH_TRUST (TL_OPT_INHERIT | TL_OPT_TRUST)
#define KEYS (TL_OPT_PEM | TL_OPT_URI | TL_OPT_SECRET)

static const struct tl_opt domain_opts[] = {
    DOM(match_sip_domain, LIST, NULL, NONE = "any",
        WHY = "server names (SNI) and destination domains it serves; \"*.name\" stands for one "
              "label"),
    DOM(match_ip_address, LIST, NULL, NONE = "any",
        WHY = "listener or destination addresses it serves, \"address\", \"address:port\" or "
              "\"*\"; beside match_sip_domain both must fit"),
    POL(strict_sni, BOOL, "false", .flags = INH,
        WHY = "as server: refuse a client that asks for a name not listed here "
              "(unrecognized_name) where this domain would be the fallback"),
    DOM(role, WORD, "both", .word = roles, .flags = INH,
        WHY = "both, server or client; without a certificate it can only be a client"),
    DOM(certificate, PATHS, NULL, NONE = "none", .flags = INH | TL_OPT_PEM, .group = 1,
        WHY = "certificate chains in PEM, own certificate first; several (RSA and ECDSA, or of "
              "several authorities) may be listed; a file or the PEM text itself"),
    DOM(private_key, PATHS, NULL, NONE = "none", .flags = INH | KEYS, .group = 1,
        WHY = "their keys in PEM, in the order of the certificates; a file, the PEM text, or the "
              "URI of a key in a PKCS#11 token (pkcs11:...)"),
    DOM(private_key_passphrase_file, PATH, NULL, NONE = "none", .flags = INH, .group = 1,
        WHY = "file whose first line opens encrypted keys, and is the PIN of tokens; its mode is "
              "judged as a key's"),
    DOM(credentials_dir, PATH, NULL, NONE = "none", .flags = INH, .group = 1,
        WHY = "directory of certificates and keys that find each other by themselves; the name "
              "asked for picks by subjectAltName"),
    DOM(allow_readable_key, BOOL, "false", .flags = INH,
        WHY = "accept a key file that others can read; refused otherwise"),
    DOM(allow_expired, BOOL, "false", .flags = INH,
        WHY = "load an own certificate that has expired or is not valid yet; refused otherwise"),
    DOM(ca_list, PATH, NULL, NONE = "none", .flags = INH_TRUST | TL_OPT_PEM, .group = 2,
        WHY = "the authorities that are trusted for this domain, and no others; a file with any "
              "number of them, or the PEM text itself"),
    DOM(ca_dir, PATH, NULL, NONE = "none", .flags = INH_TRUST, .group = 2,
        WHY = "directory of such files, with hashed names or without"),
    DOM(ca_system, BOOL, "false", .flags = INH_TRUST, .group = 2,
        WHY = "trust the authorities of this machine as well"),
    POL(send_ca_names, BOOL, "true", .flags = INH_TRUST,
        WHY = "as server: name the trusted authorities when asking for a certificate, so that a "
              "client of several federations picks the right one"),
    DOM(ca_names, PATH, NULL, NONE = "those trusted", .flags = INH_TRUST, .group = 2,
        WHY = "file of the authorities to name instead, in PEM"),
    DOM(crl_file, PATH, NULL, NONE = "none", .flags = INH_TRUST, .group = 3,
        WHY =
            "file of revocation lists, any number of them; certificates listed there are refused"),
    DOM(crl_dir, PATH, NULL, NONE = "none", .flags = INH_TRUST, .group = 3,
        WHY = "directory of revocation lists"),
    DOM(crl_check_all, BOOL, "false", .flags = INH_TRUST,
        WHY = "demand a revocation list for each certificate of a chain, not only the first; those "
              "listed are refused anyway"),
    DOM(crl_fetch, BOOL, "false", .flags = INH_TRUST,
        WHY = "fetch revocation lists from the distribution points (http) that certificates name, "
              "and again before they are stale"),
    POL(crl_stale, WORD, "reject", .word = stale, .flags = INH_TRUST,
        WHY = "what a revocation list past its next update, or missing, means: reject refuses the "
              "certificates of its issuer, accept goes on with the old list or none"),
    POL(verify_cert, BOOL, "true", .flags = INH_TRUST,
        WHY = "check the other side's certificate, in either role"),
    POL(require_cert, BOOL, "true", .flags = INH_TRUST,
        WHY = "as server with verify_cert: refuse a client without a certificate"),
    POL(verify_name, BOOL, "true", .flags = INH_TRUST,
        WHY = "as client: the certificate must name the SIP domain asked for (RFC 5922 7)"),
    POL(allow_cn, BOOL, "false", .flags = INH_TRUST,
        WHY = "take the common name of a certificate without subjectAltName (RFC 5922 7.1)"),
    POL(on_unverified, WORD, "reject", .word = unverified, .flags = INH_TRUST,
        WHY = "reject ends a handshake whose certificate does not verify; accept goes on and "
              "counts the peer as not authenticated"),
    POL(check_from, WORD, "off", .word = checked_headers, .flags = INH_TRUST,
        WHY = "from refuses a request whose From names a domain (or exact sip: URI) that the "
              "connection's verified certificate does not speak for; from+pai looks at "
              "P-Asserted-Identity too; off, because trunks carry other domains' callers, but see "
              "anti_spoof"),
    POL(eku, WORD, "accept", .word = ekus, .flags = INH_TRUST,
        WHY = "extended key usage of peers: accept takes SIP (RFC 5924), any, none or TLS in the "
              "peer's role; require takes SIP alone; ignore does not look, nor at that of our own "
              "certificate, which else is shown only in a role that it is for"),
    POL(verify_depth, NUM, "9", RANGE(0, 100), .flags = INH_TRUST,
        WHY = "longest chain between a certificate and a trusted authority"),
    DOM(tls_method, STR, "TLSv1_2-TLSv1_3", .flags = INH,
        WHY = "TLS versions spoken: TLSv1_2, TLSv1_3 or a range, also TLSv1_2-; older ones are "
              "broken and refused (RFC 8996)"),
    DOM(ciphers_list, STR, NULL, NONE = "AES-GCM and ChaCha20 with forward secrecy", .flags = INH,
        WHY = "TLS 1.2 cipher suites in OpenSSL's syntax; AEAD only"),
    DOM(ciphersuites, STR, NULL, NONE = "the three of RFC 8446", .flags = INH,
        WHY = "TLS 1.3 cipher suites in OpenSSL's syntax"),
    DOM(groups, STR, NULL, NONE = "X25519, P-256, X448, P-384, P-521", .flags = INH,
        WHY = "key exchange groups in OpenSSL's syntax, best first"),
    {.name = "ec_curve",
     .kind = TL_OPT_STR,
     .offset = offsetof(struct tl_tls_options, groups),
     .flags = TL_OPT_ALIAS,
     WHY = "older name of groups"},
    DOM(dh_params, PATH, NULL, NONE = "by the strength of the key", .flags = INH | TL_OPT_PEM,
        WHY = "finite-field parameters for DHE suites of TLS 1.2, if ciphers_list names any; "
              "a file or the PEM text itself"),
    POL_MS(handshake_timeout, NULL, NONE = "the global one", RANGE(0, DAY_MS), .flags = INH_TRUST,
           WHY = "a TLS handshake of this domain, if not as said in timeouts; 0: as said there"),
    POL_MS(send_timeout, NULL, NONE = "the global one", RANGE(0, DAY_MS), .flags = INH_TRUST,
           WHY = "bytes waiting without progress on its connections, if not as said in timeouts; "
                 "0: as said there"),
    POL_MS(max_age, "0", RANGE(0, 30 * DAY_MS), .flags = INH,
           WHY = "a connection this old is replaced by a new one; 0: none is"),
    POL(max_records, NUM, "23726566", RANGE(64, TL_GCM_RECORDS_MAX), .flags = INH,
        WHY =
            "records that one AES-GCM key may protect, sent or received (RFC 8446 5.5: 2^24.5, "
            "which can only be lowered); at half of them keys are changed where TLS 1.3 and both "
            "sides can, else the connection is replaced by a new one; a call that is being set up "
            "may pass a lowered bound, never the RFC's"),
    POL(tickets, NUM, "1", RANGE(0, 8), .flags = INH,
        WHY = "TLS 1.3 session tickets per handshake as server; 0: no resumption"),
    POL_MS(ticket_lifetime, "2h", RANGE(1000, 7 * DAY_MS), .flags = INH,
           WHY = "how long a session that we gave may go on as server (RFC 8446 4.6.1: a week at "
                 "most); the keys of its tickets are replaced at half of it and wiped at its end"),
    POL(resumption, BOOL, "true", .flags = INH,
        WHY = "sessions may go on in a later connection, in either role, while the other side's "
              "certificate still passes"),
    OCSP(staple, WORD, "off", .word = staples, .flags = INH,
         WHY =
             "as server: staple an OCSP answer about our certificate for clients that ask; from a "
             "file that somebody renews, or fetched; never one that is out of date"),
    DOM(ocsp_file, PATH, NULL, NONE = "none", .flags = INH | TL_OPT_LIVE,
        WHY = "with ocsp_staple = file: the answer in DER, read again every five seconds"),
    OCSP(stapled, WORD, "off", .word = stapleds, .flags = INH,
         WHY = "as client: ask for the server's staple and refuse one that says revoked; require "
               "also refuses a server without a good one, as a must-staple certificate does by "
               "itself"),
    OCSP(client, WORD, "off", .word = ocsp_clients, .flags = INH,
         WHY = "as server: ask the responder about a client's certificate after the handshake; "
               "revoked ones are cut off; without an answer soft lets them stay, hard does not"),
    OCSP(park, BOOL, "true", .flags = INH,
         WHY = "with ocsp_client: messages wait for the answer, at most ocsp_timeout; false lets "
               "them pass meanwhile"),
    OCSP_MS(
        recheck, "1h", RANGE(1000, 7 * DAY_MS), .flags = INH,
        WHY = "with ocsp_client: a client that stays connected is asked about again after this, or "
              "when the answer's next update comes first; half a minute at most after a failure"),
    OCSP_MS(timeout, "5s", RANGE(100, 60000), .flags = INH,
            WHY = "longest wait for an OCSP responder"),
    DOM(ocsp_url, STR, NULL, NONE = "named by the certificate", .flags = INH,
        WHY = "the OCSP responder to ask, http:// only: answers carry their own signature"),
    DOM(advertise, STR, NULL, NONE = "the listener's",
        WHY = "\"host[:port]\" that goes into Via and Record-Route on this domain's connections: a "
              "name its certificate carries"),
    POL(alias, BOOL, "true", .flags = INH,
        WHY = "connection reuse in both directions (RFC 5923): say alias in Via where we have a "
              "certificate to show, and send requests back on a connection whose verified "
              "certificate entitles it"),
    POL(records, WORD, NULL, .word = records_modes, NONE = "the global one", .flags = INH,
        WHY = "who encrypts this domain's records, if not as said at the top"),
};

static const struct tl_opt database_opts[] = {
    OPT(tl_v_database, url, STR, NULL, NONE = "no database",
        WHY = "\"sqlite:FILE\": read when the configuration is, as of one moment; domains of the "
              "files stay beside it"),
    OPT(tl_v_database, table, STR, "tls_mgm",
        WHY = "the table whose rows are TLS domains, as OpenSIPS lays it out; a row named default "
              "replaces the files' default"),
    OPT(tl_v_database, domain_col, STR, "domain", WHY = "column: name of the TLS domain"),
    OPT(tl_v_database, match_ip_address_col, STR, "match_ip_address",
        WHY = "column: addresses, separated by commas"),
    OPT(tl_v_database, match_sip_domain_col, STR, "match_sip_domain",
        WHY = "column: names, separated by commas"),
    OPT(tl_v_database, type_col, STR, "type", WHY = "column: 1 client, 2 server, 0 or NULL both"),
    OPT(tl_v_database, method_col, STR, "method", WHY = "column: as tls_method"),
    OPT(tl_v_database, verify_cert_col, STR, "verify_cert", WHY = "column: 0 or 1"),
    OPT(tl_v_database, require_cert_col, STR, "require_cert", WHY = "column: 0 or 1"),
    OPT(tl_v_database, certificate_col, STR, "certificate", WHY = "column: PEM or DER, or a file"),
    OPT(tl_v_database, private_key_col, STR, "private_key", WHY = "column: PEM or DER, or a file"),
    OPT(tl_v_database, crl_check_all_col, STR, "crl_check_all", WHY = "column: 0 or 1"),
    OPT(tl_v_database, crl_dir_col, STR, "crl_dir", WHY = "column: a directory"),
    OPT(tl_v_database, ca_list_col, STR, "ca_list", WHY = "column: PEM or DER, or a file"),
    OPT(tl_v_database, ca_dir_col, STR, "ca_dir", WHY = "column: a directory"),
    OPT(tl_v_database, cipher_list_col, STR, "cipher_list", WHY = "column: as ciphers_list"),
    OPT(tl_v_database, dh_params_col, STR, "dh_params", WHY = "column: PEM or DER, or a file"),
    OPT(tl_v_database, ec_curve_col, STR, "ec_curve", WHY = "column: as groups"),
};

static const struct tl_opt peer_opts[] = {
    OPT(tl_peer_options, uri, STR, NULL, NONE = "must be given",
        WHY = "\"sip:host[:port][;transport=" TL_TRANSPORT_CHOICE
              "]\" or \"sips:host[:port]\"; what is left out "
              "DNS says (RFC 3263)"),
    OPT(tl_peer_options, tls_domain, STR, NULL, NONE = "by destination, else the default",
        WHY = "TLS domain whose certificate and trust are used toward it"),
    OPT(tl_peer_options, identity, LIST, NULL, NONE = "the host of uri",
        WHY = "name its certificate must carry; of several, requests may come with any, and the "
              "first is demanded when we connect"),
    OPT(tl_peer_options, ca_list, PATH, NULL, NONE = "all that the TLS domain trusts",
        WHY = "authorities of which one must stand above its certificate"),
    OPT(tl_peer_options, spki_sha256, LIST, NULL, NONE = "any key",
        WHY = "SHA-256 digests of public keys of which its certificate must hold one"),
    OPT(tl_peer_options, networks, LIST, NULL,
        NONE = "its addresses, if certificates are not checked",
        WHY =
            "networks that requests come from which no verified certificate tells; such a peer is "
            "encrypted at most, never authenticated"),
    OPT(tl_peer_options, domains, LIST, NULL, .flags = TL_OPT_LOWER, NONE = "none",
        WHY = "domains that it may name in From beside its identity; turns check_from on"),
    OPT(tl_peer_options, check_from, WORD, NULL, .word = checked_headers, NONE = "the TLS domain's",
        WHY = "as in tls_domain, for this peer alone, also where its network tells it"),
    OPT(tl_peer_options, transit, BOOL, "false",
        WHY = "it passes on others' requests: From is not checked, not even for our domains"),
    OPT(tl_peer_options, in_dialog, WORD, "trust-connection", .word = in_dialogs,
        WHY = "trust-connection takes requests inside a dialog that we let in by our own token; "
              "revalidate checks each as if it were the first"),
    OPT(tl_peer_options, preloaded_route, WORD, "refuse", .word = preloads,
        WHY = "may its requests bring a Route of others without our token, as route's "
              "preloaded_route says"),
    OPT(tl_peer_options, tls_only, BOOL, "false",
        WHY = "never send to its addresses in the clear, whatever a URI says; a sips: uri means "
              "the same"),
    OPT(tl_peer_options, max_cps, NUM, "0", RANGE(0, 10000000),
        WHY = "new calls per second toward it, in the whole process; 0: no limit"),
    OPT(tl_peer_options, cps_burst, NUM, "0", RANGE(0, 10000000),
        WHY = "new calls toward it that may come at once after a quiet time, under max_cps; 0: one "
              "second's worth"),
    OPT(tl_peer_options, max_calls, NUM, "0", RANGE(0, 100000000),
        WHY = "calls at a time toward it, in the whole process, from the INVITE until it fails or "
              "a BYE has ended the call; beyond, the next target or 503; 0: no limit"),
    OPT(tl_peer_options, max_connections, NUM, "0", RANGE(0, 10000000),
        WHY = "connections open at a time from its address or its networks (each an IPv4 address "
              "or a /64), if that is more than max_connections_source; where several peers are, "
              "the largest counts; 0: max_connections_peer"),
    OPT(tl_peer_options, connections, NUM, "0", RANGE(0, TL_PEER_CONNECTIONS_MAX),
        WHY = "TCP or TLS connections to each of its addresses that requests take in turn, in the "
              "whole process, for a neighbour that serves one connection by one of its workers, or "
              "allows a fixed number; each of our workers has its share of them, but at least "
              "one; a transaction stays on one; 0: one of each worker"),
    OPT(tl_peer_options, max_message, SIZE, "0", RANGE(0, 20971520),
        WHY = "bytes of the largest message that is sent to it, for a neighbour that ends the "
              "connection which all share at a larger one (Kamailio as it comes at 16 KB): beyond, "
              "a request gets 513 and a response is dropped; 0: no limit"),
    OPT_MS(
        tl_peer_options, probe, "0", RANGE(0, DAY_MS),
        WHY =
            "interval of OPTIONS to each of its addresses, which find out whether it takes "
            "requests: one that is down is passed over by routes while they have another; 0: none"),
    OPT(tl_peer_options, probe_mode, WORD, "always", .word = probe_modes,
        WHY = "when-down asks only an address of which something has failed"),
    OPT_MS(tl_peer_options, probe_timeout, "2s", RANGE(100, 60000),
           WHY = "each of its addresses is asked by itself, and without an answer for so long the "
                 "OPTIONS has failed; the worst time until a dead address is passed over is "
                 "probe_down_after times the interval and this"),
    OPT(tl_peer_options, probe_down_after, NUM, "3", RANGE(1, 100),
        WHY = "OPTIONS that fail in a row until the address is down; after the first routes try it "
              "last"),
    OPT(tl_peer_options, probe_up_after, NUM, "2", RANGE(1, 100),
        WHY = "OPTIONS that are answered well in a row until an address that was down is up"),
    OPT_MS(tl_peer_options, answer_timeout, "4s", RANGE(0, DAY_MS),
           WHY = "how long it may take to any answer, 100 included, before the request goes to the "
                 "next target; the last one is awaited until Timer B or F. 0: as long as these"),
    OPT_MS(
        tl_peer_options, ring_timeout, "0", RANGE(0, DAY_MS),
        WHY =
            "how long it may ring before the call is cancelled there: then the next target if the "
            "route has reroute_after_ringing, else 408; 0: Timer C"),
    OPT(tl_peer_options, reroute_on, LIST, NULL, NONE = "the route's",
        WHY =
            "ends of an attempt at it after which the next target is tried, as the route's option "
            "of this name"),
    OPT(tl_peer_options, stop_on, LIST, NULL, NONE = "the route's",
        WHY = "ends after which none is, as the route's option of this name"),
    OPT(tl_peer_options, probe_ok, LIST, NULL, NONE = "all but 408 and 503",
        WHY = "answers to OPTIONS that tell that the address takes requests: codes and classes "
              "(\"200\", \"4xx\"); another one is a failure"),
    OPT(tl_peer_options, down_after, NUM, "3", RANGE(0, 100),
        WHY =
            "requests in a row that fail at one of its addresses (no connection, no TLS, lost with "
            "the connection, no answer, one of down_on) until routes pass it over while they have "
            "another; after the first it is tried last; 0: what fails is not counted"),
    OPT_MS(tl_peer_options, down_for, "30s", RANGE(100, DAY_MS),
           WHY = "then one OPTIONS tries whether it is back, or without probe one request: an "
                 "answer and it is up, else it is down for as long again"),
    OPT_MS(tl_peer_options, slow_start, "0", RANGE(0, DAY_MS),
           WHY = "an address that was down takes a tenth of its requests at first and all after "
                 "this, so that a machine that has just started is not overrun"),
    OPT(tl_peer_options, down_on, LIST, NULL, NONE = "503",
        WHY =
            "answers to requests outside dialogs that count as failures: codes and classes; a 503 "
            "with Retry-After is a pause"),
    OPT_MS(tl_peer_options, heard_within, "0", RANGE(0, DAY_MS),
           WHY = "a peer from which no request, OPTIONS included, has come for so long is tried "
                 "behind the others; 0: it need not send any"),
    OPT_MS(tl_peer_options, retry_after_max, "60s", RANGE(0, DAY_MS),
           WHY =
               "a 503 with Retry-After leaves the address alone for that time, but no longer than "
               "this; requests go to the route's other addresses meanwhile, or get 503 with "
               "Retry-After; 0: such a 503 is like one without"),
    OPT_MS(
        tl_peer_options, max_age, "0", RANGE(0, 30 * DAY_MS),
        WHY =
            "a connection to it is renewed after this, a tenth more or less; 0: as its TLS domain "
            "says"),
};

static const struct tl_opt group_opts[] = {
    OPT(tl_group_options, method, WORD, "order", .word = tl_group_method_names,
        WHY = "which member of the same priority is the first to be tried: as written, in "
              "proportion to weight, in turn, by lot, the one with the fewest calls for its "
              "weight, or always the same for the same Call-ID, URI in From or To, or user of the "
              "Request-URI; the others follow when that one fails"),
};

static const struct tl_opt member_opts[] = {
    OPT(tl_member_options, priority, NUM, "1", RANGE(0, 65535),
        WHY = "the lowest first; the next serves when all before have failed, are down or full"),
    OPT(tl_member_options, weight, NUM, "1", RANGE(0, 65535),
        WHY = "its share among members of its priority; 0: only when the others have failed"),
};

static const struct tl_opt route_opts[] = {
    OPT(tl_route_options, to_prefix, STR, NULL, NONE = "any",
        WHY = "what the user part of the Request-URI starts with, escapes read"),
    OPT(tl_route_options, to_domain, LIST, NULL, .flags = TL_OPT_LOWER, NONE = "any",
        WHY = "hosts of the Request-URI"),
    OPT(tl_route_options, from_peer, LIST, NULL, NONE = "anyone",
        WHY = "peers the request may come from"),
    OPT(tl_route_options, peer_verified, WORD, NULL, .word = yes_no, NONE = "either",
        WHY = "was the certificate of the connection verified that the request came on"),
    OPT(tl_route_options, trust, WORD, NULL, .word = trusts, NONE = "any",
        WHY = "least that is known of the source: verified by certificate, or encrypted"),
    OPT(tl_route_options, peer_subject, LIST, NULL, NONE = "any",
        WHY = "globs of the verified certificate's subject (RFC 2253 text)"),
    OPT(tl_route_options, peer_issuer, LIST, NULL, NONE = "any", WHY = "globs of its issuer"),
    OPT(tl_route_options, peer_san, LIST, NULL, NONE = "any",
        WHY = "globs of its subjectAltName values, of which one must match"),
    OPT(tl_route_options, peer_fingerprint, LIST, NULL, NONE = "any",
        WHY = "globs of its SHA-256 fingerprint in hex, or of its public key's"),
    OPT(tl_route_options, peer_anchor, LIST, NULL, NONE = "any",
        WHY = "globs of the subject of the trust anchor that verified it"),
    OPT(tl_route_options, strip, NUM, "0", RANGE(0, 64),
        WHY = "characters taken off the front of the user part; an escape is one"),
    OPT(tl_route_options, prepend, STR, NULL, NONE = "nothing",
        WHY = "text put before the user part, after strip"),
    OPT(tl_route_options, peers, LIST, NULL, NONE = "this or relay",
        WHY = "peers and groups where the request goes, in order: the next is tried when one "
              "fails"),
    OPT(tl_route_options, relay, WORD, NULL, .word = relays, NONE = "this or peers",
        WHY = "request-uri sends it where its Request-URI or next Route points"),
    OPT(tl_route_options, relay_networks, LIST, NULL, NONE = "none",
        WHY = "loopback and link-local networks that relay may lead to from anywhere; without "
              "it they can be reached only from inside them"),
    OPT(tl_route_options, preloaded_route, WORD, "refuse", .word = preloads,
        WHY = "a request with a Route of others that no token of ours vouches for: refuse answers "
              "403, allow follows it by relay (to_domain judges it) and takes it out before peers"),
    OPT(tl_route_options, fork, WORD, "failover", .word = forks,
        WHY = "failover: the next target when one cannot serve; serial: after any refusal but 6xx; "
              "reroute_on and stop_on say it exactly; parallel: all at once, the best answer wins"),
    OPT(tl_route_options, max_attempts, NUM, "8", RANGE(1, TL_ROUTE_ATTEMPTS_MAX),
        WHY = "targets that a request is sent to before the best answer so far is given"),
    OPT_MS(tl_route_options, setup_timeout, "60s", RANGE(100, DAY_MS),
           WHY = "after which no further target is tried, and none awaited that does not ring"),
    OPT(tl_route_options, reroute_on, LIST, NULL,
        NONE = "transport, silence, 408, 500, 502, 503, 504; with fork = serial all",
        WHY =
            "ends of an attempt after which the next target is tried: codes, classes such as 5xx, "
            "transport (nobody could be reached) and silence (no answer in time)"),
    OPT(tl_route_options, stop_on, LIST, NULL,
        NONE = "404, 480, 484, 486, 488, 6xx; with fork = serial 6xx",
        WHY = "ends after which none is, whatever reroute_on says"),
    OPT(tl_route_options, reroute_after_ringing, BOOL, "false",
        WHY = "try further targets although one has rung, or sent another provisional response "
              "than 100: the callee may be rung twice, and the caller hears it ring anew"),
    OPT(tl_route_options, stateless, BOOL, "false",
        WHY = "forward to the first target without a transaction (RFC 3261 16.11): no timers, no "
              "failover; what is too large for a datagram gets one all the same"),
    OPT(tl_route_options, tls_domain, STR, NULL, NONE = "the peer's",
        WHY = "TLS domain used for this route's TLS targets"),
};

#define SECTION(n, titled_, type, opts, means, w)                                                  \
  { n, titled_, sizeof(struct type), opts, sizeof(opts) / sizeof((opts)[0]), means, w, 0 }

#define WITHIN(owner, n, type, opts, means, w)                                                     \
  { n, true, sizeof(struct type), opts, sizeof(opts) / sizeof((opts)[0]), means, w, owner }

const struct tl_conf_section tl_conf_sections[TL_SECTIONS] = {
    [TL_SEC_GLOBAL] = SECTION(NULL, false, tl_conf_options, global_opts, NULL,
                              "At the top level of the file, outside any block."),
    [TL_SEC_LIMITS] = SECTION("limits", false, tl_conf_limits, limit_opts, NULL,
                              "Everything that is queued or kept has a bound."),
    [TL_SEC_TIMEOUTS] =
        SECTION("timeouts", false, tl_conf_timeouts, timeout_opts, NULL, "Deadlines and timers."),
    [TL_SEC_LISTEN] =
        SECTION("listen", true, tl_listen_options, listen_opts, "transport:address[:port]",
                "A socket to serve, with its port if none is given: " TL_TRANSPORT_PORTS "."),
    [TL_SEC_DOMAIN] =
        SECTION("tls_domain", true, tl_tls_options, domain_opts, "its name",
                "Certificate, trust and policy under one name. What a domain does not set it takes "
                "from the domain named default, if there is one."),
    [TL_SEC_DATABASE] = SECTION(
        "tls_database", false, tl_v_database, database_opts, NULL,
        "TLS domains from an SQL table, beside those written here. A column that the table lacks "
        "or leaves NULL counts as not set."),
    [TL_SEC_PEER] = SECTION("peer", true, tl_peer_options, peer_opts, "its name", "A next hop."),
    [TL_SEC_GROUP] = SECTION("group", true, tl_group_options, group_opts, "its name",
                             "Peers that share requests. Routes name it as they name peers."),
    [TL_SEC_MEMBER] = WITHIN(TL_SEC_GROUP, "member", tl_member_options, member_opts,
                             "name of a peer", "A peer of the group, inside its block."),
    [TL_SEC_ROUTE] =
        SECTION("route", true, tl_route_options, route_opts, "its name",
                "Tried in the order of the file; the first whose conditions all hold is taken."),
};

/* Options of other products that operators are used to. */
static const struct {
  const char *name, *answer;
} foreign[] = {
    {"disable_tls", "a listen block says by itself whether it is tls"},
    {"tls_port_no", "write the port into the listen block: listen \"tls:address:port\""},
    {"tls_certificate", "write certificate inside a tls_domain block"},
    {"tls_private_key", "write private_key inside a tls_domain block"},
    {"tls_ca_list", "write ca_list inside a tls_domain block"},
    {"tls_verify_client", "write verify_cert inside a tls_domain block"},
    {"tls_verify_server", "write verify_cert inside a tls_domain block"},
    {"tls_require_client_certificate", "write require_cert inside a tls_domain block"},
    {"tls_handshake_timeout", "write handshake inside the timeouts block"},
    {"tls_send_timeout", "write send inside the timeouts block"},
    {"alias", "write domains = { \"name\" }"},
    {"children", "write workers"},
};

const char *tl_conf_foreign(const char *name) {
  for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
    if (strcmp(foreign[i].name, name) == 0) return foreign[i].answer;
  return NULL;
}

/* Words and times are stored as uint32_t, also where the field is an enum. */
static_assert(sizeof(enum tl_eku) == sizeof(uint32_t), "enums are as wide as words");

const struct tl_opt *tl_conf_option(const struct tl_conf_section *s, const char *name) {
  for (size_t i = 0; i < s->n_opt; i++)
    if (strcmp(s->opt[i].name, name) == 0) return &s->opt[i];
  return NULL;
}
