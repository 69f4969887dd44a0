# SPDX-License-Identifier: Apache-2.0
"""Peers that close their sending side and wait for their answers: `printf ... | nc -N`, a client
that sends close_notify behind its request. RFC 8446 6.1, RFC 3261 18.2.2.
"""
import socket
import ssl
import pytest

pytestmark = pytest.mark.kernel_tls

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def half_close(conn, notify, fin):
    with conn.lock:
        if notify:
            try:
                conn.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            conn._flush()
        if fin:
            conn.sock.shutdown(socket.SHUT_WR)


def ask(alice, bob, conn, method, uri):
    """A request that waits at BOB."""
    data, key = alice.make(conn, method, uri)
    alice.expect(key)
    conn.send(data)
    return (key,) + bob.next_request(method)


def half_closed(t, d):
    t.wait(lambda: "half-closed" in [c["state"] for c in d.connections()], "it to be half-closed")


def test_s23_half_closed_tcp_is_answered(t):
    """FIN behind a request: provisional and final response arrive, then the connection ends."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tcp", silent=True)
    uri = t.uri(bob, "tcp")
    cases = ("MESSAGE", 200), ("INVITE", 486), ("INVITE", 200)
    for method, status in cases:
        conn = t.dial(alice, d, "tcp")
        key, where, req = ask(alice, bob, conn, method, uri)
        half_close(conn, False, True)
        half_closed(t, d)
        if method == "INVITE":
            bob.reply(where, req, 180)
            while alice.next_response(key).status != 180:
                pass
            assert not conn.closed.is_set()
        bob.reply(where, req, status)
        assert alice.final(key).status == status
        if (method, status) == ("INVITE", 486):
            bob.next_request("ACK")         # the hop's own
        t.wait(conn.closed.is_set, "the connection to end behind its answer")
        assert conn.how == "eof", conn.how
    assert d.counter("connections.half_closed") == len(cases)
    t.wait(lambda: not [c for c in d.connections() if c["direction"] == "in"], "them to be gone")


def test_s23_half_closed_tls_is_answered(t):
    """The same with close_notify, with FIN alone and with both, in both versions; ours comes behind
    the answer."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls", silent=True)
    uri = t.uri(bob, "tls")
    for version in (V12, V13):
        for notify, fin in ((False, True), (True, False), (True, True)):
            conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
            key, where, req = ask(alice, bob, conn, "MESSAGE", uri)
            half_close(conn, notify, fin)
            half_closed(t, d)
            bob.reply(where, req, 200)
            assert alice.final(key).status == 200
            t.wait(conn.closed.is_set, "the connection to end behind its answer")
            assert conn.how == "close_notify", conn.how


def test_s23_half_closed_options_for_the_proxy_itself(t):
    """The proxy's own answer, which another worker may make, to a request with the FIN behind it."""
    d = t.daemon(workers=4)
    alice = t.uac()
    for transport in ("tcp", "tls"):
        for _ in range(12):
            conn = t.dial(alice, d, transport)
            data, key = alice.make(conn, "OPTIONS", "sip:127.0.0.1:%d;transport=%s"
                                   % (d.port(transport), transport))
            alice.expect(key)
            conn.send(data)
            half_close(conn, False, True)
            assert alice.final(key).status == 200
            t.wait(conn.closed.is_set, "the connection to end")


def test_s23_half_closed_on_a_stateless_route(t):
    """No transaction waits there, the connection does."""
    alice, bob = t.uac(), t.uas("udp", silent=True)
    d = t.daemon(routes=[("all", {"relay": "request-uri", "stateless": True})])
    conn = t.dial(alice, d, "tcp")
    key, where, req = ask(alice, bob, conn, "MESSAGE", t.uri(bob, "udp"))
    half_close(conn, False, True)
    half_closed(t, d)
    bob.reply(where, req, 200)
    assert alice.final(key).status == 200
    t.wait(conn.closed.is_set, "the connection to end behind its answer")


def test_s23_half_closed_peers_that_vanish(t):
    """A reset behind the FIN ends the connection before the answer; the transaction goes its way."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("udp", silent=True)
    conn = t.dial(alice, d, "tcp")
    _, where, req = ask(alice, bob, conn, "MESSAGE", t.uri(bob, "udp"))
    half_close(conn, False, True)
    half_closed(t, d)
    conn.reset()
    t.wait(lambda: not d.connections(), "the connection to be gone")
    bob.reply(where, req, 200)


def test_s23_half_closed_connections_get_no_new_requests(t):
    """A callee half-closes while its own request is open: the next request for it is sent on a new
    connection."""
    d = t.daemon()
    alice, bob, carol = t.uac(), t.uas("tcp", silent=True), t.uas("udp", silent=True)
    caller = t.dial(alice, d, "udp")
    key, where, req = ask(alice, bob, caller, "MESSAGE", t.uri(bob, "tcp"))
    bob.reply(where, req, 200)
    assert alice.final(key).status == 200
    mine, there, asked = ask(bob, carol, where, "MESSAGE", t.uri(carol, "udp"))
    half_close(where, False, True)
    half_closed(t, d)
    key, again, req = ask(alice, bob, caller, "MESSAGE", t.uri(bob, "tcp"))
    assert again is not where
    bob.reply(again, req, 200)
    assert alice.final(key).status == 200
    carol.reply(there, asked, 200)
    assert bob.final(mine).status == 200
