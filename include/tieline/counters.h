/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters: one block per thread, written only by its owner, read by anyone.
 *
 * Each is named once, here, with the sentence that ctl and the metrics show.
 * Gauges go up and down; their sum over threads is the value.
 *
 * Ownership: a block belongs to its thread object and outlives it until the
 * process ends. Threads: writing by the owner alone (relaxed stores, no locked
 * instruction); reading by any. Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "tieline/transport.h"

/* What each transport counts; plaintext, where TLS is below it. */
#define TL_COUNT_MSG_IN(X, id, param, ...)                                                         \
  X(MSG_IN_##id, "messages.in." param, "SIP messages received over " #id)
#define TL_COUNT_MSG_OUT(X, id, param, ...)                                                        \
  X(MSG_OUT_##id, "messages.out." param, "SIP messages sent over " #id)
#define TL_COUNT_BYTES_IN(X, id, param, ...)                                                       \
  X(BYTES_IN_##id, "bytes.in." param, "bytes of SIP received over " #id)
#define TL_COUNT_BYTES_OUT(X, id, param, ...)                                                      \
  X(BYTES_OUT_##id, "bytes.out." param, "bytes of SIP sent over " #id)

/* X(identifier, "dotted.name", "what it counts") */
#define TL_COUNTERS(X)                                                                             \
  TL_TRANSPORT_ROWS(TL_COUNT_MSG_IN, X, , )                                                        \
  TL_TRANSPORT_ROWS(TL_COUNT_MSG_OUT, X, , )                                                       \
  TL_TRANSPORT_ROWS(TL_COUNT_BYTES_IN, X, , )                                                      \
  TL_TRANSPORT_ROWS(TL_COUNT_BYTES_OUT, X, , )                                                     \
  X(REQ_INVITE, "requests.INVITE", "INVITE requests received")                                     \
  X(REQ_ACK, "requests.ACK", "ACK requests received")                                              \
  X(REQ_BYE, "requests.BYE", "BYE requests received")                                              \
  X(REQ_CANCEL, "requests.CANCEL", "CANCEL requests received")                                     \
  X(REQ_OPTIONS, "requests.OPTIONS", "OPTIONS requests received")                                  \
  X(REQ_REGISTER, "requests.REGISTER", "REGISTER requests received")                               \
  X(REQ_MESSAGE, "requests.MESSAGE", "MESSAGE requests received")                                  \
  X(REQ_OTHER, "requests.other", "requests received with any other method")                        \
  X(RESP_1XX, "responses.1xx", "1xx responses received")                                           \
  X(RESP_2XX, "responses.2xx", "2xx responses received")                                           \
  X(RESP_3XX, "responses.3xx", "3xx responses received")                                           \
  X(RESP_4XX, "responses.4xx", "4xx responses received")                                           \
  X(RESP_5XX, "responses.5xx", "5xx responses received")                                           \
  X(RESP_6XX, "responses.6xx", "6xx responses received")                                           \
  X(LATE_PASSED, "responses.late_passed",                                                          \
    "2xx of targets that had been given up, passed on to the caller")                              \
  X(LATE_ENDED, "responses.late_ended",                                                            \
    "2xx of targets that had been given up, ended by ACK and BYE: the caller had another answer")  \
  X(LATE_ACKED, "responses.late_acknowledged",                                                     \
    "such 2xx inside a dialog, which goes on, acknowledged for the caller")                        \
  X(LATE_LOST, "responses.late_lost",                                                              \
    "such 2xx whose call could not be ended: no room, no way there, or the BYE failed")            \
  X(GIVEN_UP_NOW, "given_up.now", "INVITEs given up whose target may still answer (gauge)")        \
  X(GIVEN_UP_DROPPED, "given_up.dropped",                                                          \
    "of those, the oldest forgotten before their time because there were too many")                \
  X(LOCAL_1XX, "responses.local.1xx", "1xx responses made here")                                   \
  X(LOCAL_2XX, "responses.local.2xx", "2xx responses made here")                                   \
  X(LOCAL_4XX, "responses.local.4xx", "4xx responses made here")                                   \
  X(LOCAL_5XX, "responses.local.5xx", "5xx responses made here")                                   \
  X(TXN_NOW, "transactions.now", "transactions alive (gauge)")                                     \
  X(TXN_TOTAL, "transactions.total", "transactions created")                                       \
  X(TXN_TIMEOUT, "transactions.timeout", "transactions ended by Timer B, C or F")                  \
  X(TXN_FAILOVER, "transactions.failover", "requests moved to the next target")                    \
  X(HUNT_ATTEMPTS, "hunts.ended.attempts",                                                         \
    "requests with targets left that their route's max_attempts kept them from")                   \
  X(HUNT_TIME, "hunts.ended.time",                                                                 \
    "requests with targets left that their route's setup_timeout kept them from")                  \
  X(HUNT_RANG, "hunts.ended.ringing",                                                              \
    "requests with targets left that were not tried because one had rung")                         \
  X(LARGE_BY_UDP, "transactions.large_by_udp",                                                     \
    "large requests sent by UDP at once: TCP could not connect there recently")                    \
  X(TXN_CONN_LOST, "transactions.connection_lost",                                                 \
    "INVITEs whose connection ended while the callee rang; they wait for an answer on another")    \
  X(TXN_REFUSED, "transactions.refused", "requests refused because the table was full")            \
  X(WAITING_NOW, "waiting.now", "requests waiting for an answer from elsewhere (gauge)")           \
  X(WAITING_MOST, "waiting.most", "of those, the most at once, each worker its own")               \
  X(WAITING_REFUSED, "waiting.refused", "requests refused because max_waiting left no room")       \
  X(WAITING_EXPIRED, "waiting.expired", "requests refused because no answer came in time")         \
  X(TXN_REFUSED_PEER, "transactions.refused_peer",                                                 \
    "requests not sent to a peer that has its share")                                              \
  X(CALLS_NOW, "calls.now", "calls toward peers that have max_calls (gauge)")                      \
  X(CALLS_REFUSED_MAX, "calls.refused.max_calls", "calls not sent to a peer that has max_calls")   \
  X(CALLS_REFUSED_CPS, "calls.refused.max_cps", "calls not sent to a peer that has max_cps")       \
  X(CALLS_REFUSED_TABLE, "calls.refused.max_open_calls",                                           \
    "calls not sent because max_open_calls are counted")                                           \
  X(CALLS_EXPIRED, "calls.expired", "calls without a BYE that count no longer (call_max)")         \
  X(CALLS_UNCOUNTED, "calls.uncounted", "calls of forks behind a peer that could not be counted")  \
  X(PROBES, "probes.sent", "OPTIONS sent to see whether a peer answers")                           \
  X(PROBES_LOST, "probes.failed", "of those, without an answer or with 503")                       \
  X(PEER_SILENT, "peers.silent", "requests that a peer did not answer within its answer_timeout")  \
  X(PEER_PASSED_OVER, "peers.passed_over",                                                         \
    "times a route passed an address of a peer over that is down or wants a pause")                \
  X(DEST_FAILED, "peers.failures",                                                                 \
    "requests to addresses of peers that failed: no connection, no answer, or one of down_on")     \
  X(PEER_SELF, "peers.self", "times a peer's address was left out: it is a listener of our own")   \
  X(PEER_PAUSES, "peers.pauses", "pauses that peers asked for by a 503 with Retry-After")          \
  X(DNS_FAILED, "dns.failed", "look-ups of peers' names that gave no address")                     \
  X(DNS_CHANGED, "dns.changed", "look-ups that changed the addresses of a peer")                   \
  X(DNS_ASKED, "dns.asked", "questions sent to name servers")                                      \
  X(DNS_REFUSED, "dns.refused", "answers that were broken, cut off over TCP or had other letters") \
  X(DNS_GAVE_WAY, "dns.gave_way", "look-ups ended unanswered because 1,024 others are newer")      \
  X(DNS_AGAIN, "dns.again", "questions asked again over TCP (letters, size), or without EDNS")     \
  X(RETRANS_ABSORBED, "retransmissions.absorbed", "retransmitted requests absorbed")               \
  X(RETRANS_SENT, "retransmissions.sent", "requests and responses retransmitted over UDP")         \
  X(CONN_NOW, "connections.now", "stream connections open (gauge)")                                \
  X(CONN_ACCEPTED, "connections.accepted", "stream connections accepted")                          \
  X(CONN_DIALED, "connections.dialed", "stream connections established outward")                   \
  X(CONN_DIAL_FAILED, "connections.dial_failed", "outgoing connections that failed")               \
  X(CONN_REFUSED, "connections.refused",                                                           \
    "connections refused because of max_connections, or without memory")                           \
  X(CONN_REFUSED_SOURCE, "connections.refused_source",                                             \
    "connections refused because of max_connections_source, or of a peer's bound")                 \
  X(CONN_NOT_BOUND, "connections.not_bound",                                                       \
    "outgoing connections not used: not the peer's ca_list or spki_sha256")                        \
  X(ALIAS_USED, "alias.used", "requests sent on a connection that the other side opened")          \
  X(ALIAS_REFUSED, "alias.refused", "connections whose certificate does not entitle their alias")  \
  X(CONN_STUCK, "connections.stuck", "connections reset because the peer stopped reading")         \
  X(CONN_SLOW, "connections.slow", "connections reset because the peer read too slowly")           \
  X(CONN_MESSAGE_TIMEOUT, "connections.message_timeout",                                           \
    "connections closed: a message took longer than timeouts.message")                             \
  X(CONN_UNFINISHED, "connections.unfinished",                                                     \
    "connections closed: parts of messages took max_unfinished, and theirs was the oldest")        \
  X(UNFINISHED_BYTES, "unfinished.bytes", "bytes kept of messages that came in part (gauge)")      \
  X(CONN_IDLE, "connections.idle_closed", "connections closed after their idle time")              \
  X(CONN_HALF_CLOSED, "connections.half_closed",                                                   \
    "connections kept for answers though their peer sends no more")                                \
  X(CONN_AGED, "connections.aged", "connections renewed because of max_age")                       \
  X(CONN_WORN, "connections.worn",                                                                 \
    "connections renewed because of max_records, before their keys had sealed too much")           \
  X(CONN_RETIRED, "connections.retired", "connections renewed because their TLS domain changed")   \
  X(CONN_DRAINED, "connections.drained", "connections closed at once by a reload")                 \
  X(CONN_UNVERIFIED, "connections.unverified",                                                     \
    "connections closed because their peer's certificate no longer passes")                        \
  X(CONN_PUT_OFF, "connections.put_off", "times a connection had its share of a turn and waited")  \
  X(CONN_PAUSED, "connections.paused", "times reading was paused: a peer's own answers wait")      \
  X(KEEPALIVE, "keepalive.crlf", "CRLF keep-alives answered")                                      \
  X(HS_NOW, "handshakes.now", "TLS handshakes in progress (gauge)")                                \
  X(HS_HALF_OPEN, "handshakes.half_open", "of those, without a complete ClientHello (gauge)")      \
  X(HS_GAVE_WAY, "handshakes.gave_way",                                                            \
    "TLS connections ended in the handshake because others needed their place")                    \
  X(HS_OK, "handshakes.ok", "TLS handshakes completed")                                            \
  X(HS_OK_RESUMED, "handshakes.resumed", "of those, resumed sessions")                             \
  X(HS_FAIL_TIMEOUT, "handshakes.failed.timeout", "TLS handshakes past their deadline")            \
  X(HS_FAIL_PROTOCOL, "handshakes.failed.protocol", "TLS handshakes with a protocol error")        \
  X(HS_FAIL_VERIFY, "handshakes.failed.verify", "TLS handshakes with a bad certificate")           \
  X(HS_FAIL_NAME, "handshakes.failed.name", "TLS handshakes whose certificate lacks the name")     \
  X(HS_FAIL_ALERT, "handshakes.failed.alert", "TLS handshakes the peer ended by an alert")         \
  X(HS_FAIL_CLOSED, "handshakes.failed.closed", "TLS handshakes cut off by the peer")              \
  X(HS_FAIL_CONNECT, "handshakes.failed.connect", "outgoing TLS that could not connect")           \
  X(HS_FAIL_NOT_TLS, "handshakes.failed.not_tls", "connections that did not speak TLS")            \
  X(HS_FAIL_INTERNAL, "handshakes.failed.internal",                                                \
    "TLS handshakes failed for lack of memory or keys")                                            \
  X(HS_REFUSED_SOURCE, "handshakes.refused.source", "handshakes over the budget of one source")    \
  X(HS_REFUSED_FULL, "handshakes.refused.full", "handshakes when too many waited for their turn")  \
  X(HS_ACCEPT_PAUSED, "handshakes.accept_paused",                                                  \
    "times accepting paused at the handshake budget")                                              \
  X(KTLS_TX_ON, "ktls.tx.on", "connections whose sending keys are in the kernel")                  \
  X(KTLS_RX_ON, "ktls.rx.on", "connections whose receiving keys are in the kernel")                \
  X(KTLS_OFF_KERNEL, "ktls.off.kernel", "connections in user space: kernel has no TLS")            \
  X(KTLS_OFF_CIPHER, "ktls.off.cipher", "connections in user space: kernel lacks the cipher")      \
  X(KTLS_OFF_SLOW, "ktls.off.slow",                                                                \
    "connections in user space: records = auto, and the kernel's cipher is not accelerated")       \
  X(KTLS_OFF_CONFIG, "ktls.off.config", "connections in user space: records = user")               \
  X(KTLS_OFF_MFL, "ktls.off.max_fragment", "connections in user space: max_fragment_length")       \
  X(KTLS_OFF_ERROR, "ktls.off.error", "connections in user space: installation failed")            \
  X(KTLS_REFUSED, "ktls.refused",                                                                  \
    "connections ended: the kernel took no keys, or those of one direction alone")                 \
  X(REC_IN, "records.in", "TLS records opened in user space")                                      \
  X(REC_OUT, "records.out", "TLS records sealed in user space")                                    \
  X(REC_BADMAC, "records.bad_mac", "TLS records that failed authentication")                       \
  X(REC_CONTROL, "records.control", "TLS control records received after the handshake")            \
  X(REC_KEYUPDATE, "records.key_update", "KeyUpdate messages received")                            \
  X(REC_KEYUPDATE_SENT, "records.key_update_sent", "KeyUpdate messages sent")                      \
  X(REC_TICKET, "records.ticket", "NewSessionTicket messages received")                            \
  X(KREC_BYTES_IN, "ktls.bytes.in", "plaintext bytes the kernel decrypted for us")                 \
  X(KREC_BYTES_OUT, "ktls.bytes.out", "plaintext bytes the kernel encrypted for us")               \
  X(BYTES_SPLICED, "bytes.spliced",                                                                \
    "bytes of bodies sent from a pipe, without leaving the kernel")                                \
  X(BYTES_SENDFILE, "bytes.sendfile", "bytes of bodies sent from a memfd")                         \
  X(SPLICE_OFF_SOURCE, "splice.off.source",                                                        \
    "large bodies received through user space: the sender's records are there")                    \
  X(SPLICE_OFF_TARGET, "splice.off.target",                                                        \
    "bodies brought to user space: the receiver's records are there")                              \
  X(SPLICE_OFF_COPIED, "splice.off.copied",                                                        \
    "bodies brought to user space: for UDP, another worker or a connection not yet open")          \
  X(SPLICE_OFF_FULL, "splice.off.full",                                                            \
    "large bodies received through user space: too many lie in the kernel, or no descriptors")     \
  X(SPLICE_KEPT, "splice.kept",                                                                    \
    "bodies moved to a memfd: forked, kept for failover, or too large")                            \
  X(IDENTITY_FROM, "claims.refused.from", "requests refused: From is not the source's to use")     \
  X(IDENTITY_PAI, "claims.refused.pai",                                                            \
    "requests refused: P-Asserted-Identity is not the source's")                                   \
  X(IDENTITY_SPOOFED, "claims.refused.spoofed", "requests refused: one of our domains in From")    \
  X(RELAY_DENIED, "requests.relay_denied", "requests refused: not for us and no route takes them") \
  X(LEG_MISUSED, "legs.misused",                                                                   \
    "our Record-Route that counted for nothing: the request is of no dialog, or of two")           \
  X(LEG_AGED, "legs.aged", "the same: its dialog is older than call_max")                          \
  X(LEG_MOVED, "legs.moved", "the same: the sender is not where that leg of the dialog was")       \
  X(LEG_ASTRAY, "legs.astray", "the same: the request goes to where the other leg never was")      \
  X(DROP_PARSE, "drops.parse", "messages dropped: not SIP")                                        \
  X(DROP_STRAY_RESPONSE, "drops.stray_response", "responses dropped: no such transaction")         \
  X(DROP_FORGED, "drops.forged", "responses dropped: our branch token did not verify")             \
  X(DROP_NOT_ASKED, "drops.not_asked",                                                             \
    "responses dropped: not from where the request was sent to")                                   \
  X(DROP_SENT_BY, "drops.sent_by", "responses dropped: their top Via names somebody else than us") \
  X(DROP_ACK_ANSWERED, "drops.ack_answered", "responses dropped: an ACK has none")                 \
  X(DROP_STRAY_ACK, "drops.stray_ack", "ACKs dropped: nothing to acknowledge or no route")         \
  X(RESP_ELSEWHERE, "responses.other_connection",                                                  \
    "responses sent on another connection of the sender: his request's had ended")                 \
  X(TOO_LARGE_FOR_PEER, "messages.too_large_for_peer",                                             \
    "messages not sent: larger than the max_message of their peer")                                \
  X(DROP_NO_ROUTE_BACK, "drops.no_route_back", "responses dropped: the way back is gone")          \
  X(DROP_QUEUE_FULL, "drops.queue_full", "messages not sent: send queue full")                     \
  X(DROP_TRUNCATED, "drops.truncated", "datagrams dropped: larger than the buffer")                \
  X(DROP_SEND, "drops.send", "datagrams the kernel refused to send")                               \
  X(DROP_NOMEM, "drops.nomem", "messages dropped: out of memory")                                  \
  X(BAD_PROTOCOL, "bad.protocol", "connections closed: another protocol on a SIP listener")        \
  X(BAD_FRAMING, "bad.framing", "connections closed: Content-Length missing or wrong")             \
  X(BAD_SKIPPED, "bad.skipped", "messages refused or dropped alone, their connections go on")      \
  X(BAD_STRAY, "bad.stray_bytes", "bytes between messages that are no CRLF, skipped")              \
  X(BAD_TOO_LARGE, "bad.too_large", "messages over max_message or max_head")                       \
  X(SENDS, "sends", "send operations issued")                                                      \
  X(RECVS, "receives", "receive completions handled")                                              \
  X(RECV_NO_BUFFER, "receives.no_buffer",                                                          \
    "receives that found all recv_buffers taken, armed anew")                                      \
  X(TURNS, "turns", "turns of the event loop")                                                     \
  X(KEPT_FULL, "transactions.kept_full", "messages not kept for repeats: far over max_kept")       \
  X(MAIL_FULL, "mailbox.full", "messages between threads refused by a full queue")                 \
  X(MAIL_IN, "mailbox.in", "messages taken from other threads")                                    \
  X(SENDQ_BYTES, "sendq.bytes", "bytes waiting in send buffers (gauge)")                           \
  X(WAIT_DIAL, "waiting.dial", "messages waiting for a connection (gauge)")                        \
  X(CRL_FETCHED, "crl.fetched", "revocation lists fetched")                                        \
  X(CRL_FETCH_FAILED, "crl.fetch_failed", "revocation lists that could not be fetched")            \
  X(RELOAD_OK, "reloads.ok", "configurations taken over")                                          \
  X(RELOAD_FAILED, "reloads.failed", "configurations refused")                                     \
  X(RESUME_OFFERED, "handshakes.resume_offered", "handshakes in which a session was offered")      \
  X(RESUME_REFUSED, "handshakes.resume_refused",                                                   \
    "of those as server, not resumed: the client must show its certificate again")                 \
  X(OCSP_STAPLED, "ocsp.stapled", "handshakes in which we stapled an OCSP answer")                 \
  X(OCSP_STAPLE_SEEN, "ocsp.staple_good", "handshakes as client with a good staple")               \
  X(OCSP_ASKED, "ocsp.asked", "questions to responders about clients' certificates")               \
  X(OCSP_AGAIN, "ocsp.asked_again", "certificates asked about again while the client stays")       \
  X(OCSP_FAILED, "ocsp.failed", "of those, without an answer that holds")                          \
  X(OCSP_PARKED, "ocsp.parked", "connections that waited for such an answer")                      \
  X(OCSP_GOOD, "ocsp.good", "connections whose client is not revoked (OCSP)")                      \
  X(OCSP_REVOKED, "ocsp.revoked", "connections closed: the client is revoked (OCSP)")              \
  X(OCSP_PASSED_SOFT, "ocsp.passed_soft", "connections that stay without an answer (soft)")        \
  X(OCSP_CLOSED_HARD, "ocsp.closed_hard", "connections closed without an answer (hard)")           \
  X(OCSP_REFUSED, "ocsp.refused", "connections not asked about: too many wait already")            \
  X(FETCH_NOW, "fetches.now", "HTTP fetches waiting or under way (gauge)")                         \
  X(FETCH_OK, "fetches.ok", "objects fetched over HTTP (CRLs, OCSP answers)")                      \
  X(FETCH_FAILED, "fetches.failed", "HTTP fetches that failed")                                    \
  X(FETCH_REFUSED, "fetches.refused", "HTTP fetches not begun: too many are under way")

#define TL_COUNTER_ENUM(id, name, help) TL_C_##id,
enum tl_counter { TL_COUNTERS(TL_COUNTER_ENUM) TL_C_COUNT };
#undef TL_COUNTER_ENUM

struct tl_counters {
  _Atomic uint64_t v[TL_C_COUNT];
};

static inline void tl_count_add(struct tl_counters *c, enum tl_counter id, uint64_t by) {
  uint64_t v = atomic_load_explicit(&c->v[id], memory_order_relaxed);
  atomic_store_explicit(&c->v[id], v + by, memory_order_relaxed);
}
static inline void tl_count(struct tl_counters *c, enum tl_counter id) { tl_count_add(c, id, 1); }
static inline void tl_count_sub(struct tl_counters *c, enum tl_counter id, uint64_t by) {
  uint64_t v = atomic_load_explicit(&c->v[id], memory_order_relaxed);
  atomic_store_explicit(&c->v[id], v - by, memory_order_relaxed);
}
static inline uint64_t tl_count_get(const struct tl_counters *c, enum tl_counter id) {
  return atomic_load_explicit(&c->v[id], memory_order_relaxed);
}

const char *tl_counter_name(enum tl_counter id);
const char *tl_counter_help(enum tl_counter id);
