# SPDX-License-Identifier: Apache-2.0
"""Requests that cannot be delivered, timers, failover, UDP retransmission.

Issue item 2.8; RFC 3261 16.3, 16.7, 16.9, 17; RFC 4320; PITFALLS (first messages behind a dial).
"""
import re
import socket
import time

import pytest
from flowlib import sip
from flowlib.steps import options_works, pattern
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("what the proxy answers does not depend on who seals it")


def refused_uri(t, transport):
    """A URI whose port nobody listens on."""
    return "sip:bob@127.0.0.1:%d;transport=%s" % (t.port(), transport)


def test_2_8_404_no_route(t):
    """No route matches: 404 to the caller, nothing goes out, the connection stays."""
    bob = t.uas("tls")
    d = t.daemon(extra='domains = "biloxi.example"',
                 peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                 "tls_domain": "lab"})],
                 routes=[("numbers", {"to_prefix": "+1", "peers": ["bob"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for method in ("OPTIONS", "MESSAGE", "SUBSCRIBE"):
        assert alice.request(conn, method, "sip:+49@biloxi.example").status == 404
    call = Call(alice, conn, "sip:+49@biloxi.example").send()
    assert call.final().status == 404
    assert not bob.seen
    assert options_works(t, d, alice, conn, "sip:+1303@biloxi.example")
    assert d.counter("responses.local.4xx") >= 4


def test_3_unreached_peer_is_logged_once_a_second(t):
    """A peer that is down has a line in the log now and then, with the number of requests that had
    none: callers cannot fill the disk. Another peer has its own line."""
    down = {"uri": refused_uri(t, "tcp").replace("bob@", "")}
    other = {"uri": refused_uri(t, "tcp").replace("bob@", "")}
    d = t.daemon(workers=1, peers=[("down", down), ("other", other)],
                 routes=[("one", {"to_prefix": "1", "peers": ["down"]}),
                         ("two", {"peers": ["other"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")

    def lines(peer):
        return re.findall(r"No target .*peer=%s.*more_since_last=(\d+)" % peer, d.log())

    made = [alice.make(conn, "MESSAGE", "sip:1@a.example") for _ in range(40)]
    for _, key in made:
        alice.expect(key)
    conn.send(b"".join(data for data, _ in made))       # they wait for one dial and fail together
    assert [alice.final(key).status for _, key in made] == [503] * 40
    for sent in range(41, 200):
        assert alice.request(conn, "MESSAGE", "sip:1@a.example").status == 503
        time.sleep(0.05)
        if sum(1 + int(n) for n in lines("down")) == sent:
            break
    assert 1 < len(lines("down")) < sent / 2, "%s lines for %d requests" % (lines("down"), sent)
    assert alice.request(conn, "MESSAGE", "sip:2@a.example").status == 503
    d.wait_log("No target .*peer=other")


def test_d30_2_8_route_strip_prepend(t):
    """d30: a prefix route strips and prepends digits of the Request-URI's user."""
    bob = t.uas("tls")
    d = t.daemon(peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                 "tls_domain": "lab"})],
                 routes=[("numbers", {"to_prefix": "201", "strip": 3, "prepend": "+49",
                                      "peers": ["bob"]})])
    alice = t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tls"), "sip:2015551@atlanta.example")
    _, req = bob.next_request("OPTIONS")
    assert req.uri.startswith("sip:+495551@"), req.uri


def test_d29_d34_domains_to_peers_and_ours(t):
    """A domain is routed to its peer over TLS, whatever the URI's own transport; what is for one of our
    names and no route's is 404, for others' 403; OPTIONS to a name of ours is for the proxy itself."""
    bob = t.uas("tls")
    d = t.daemon(extra='domains = { "atlanta.example", "atlanta.example.org:5070" }',
                 peers=[("biloxi", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                    "tls_domain": "lab"})],
                 routes=[("biloxi", {"to_domain": ["biloxi.example"], "peers": ["biloxi"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    assert alice.request(conn, "MESSAGE", "sip:bob@BILOXI.example;transport=tcp").status == 200
    where, req = bob.next_request("MESSAGE")
    assert where.transport == "tls" and req.uri == "sip:bob@BILOXI.example;transport=tcp"
    for uri, status in (("sip:x@atlanta.example", 404), ("sip:x@Atlanta.Example.:5061", 404),
                        ("sip:x@atlanta.example.org:5070", 404), ("sip:x@elsewhere.example", 403),
                        ("sip:x@atlanta.example.org:5080", 403), ("sip:x@127.0.0.1:%d" % d.port("tcp"), 404)):
        assert alice.request(conn, "MESSAGE", uri).status == status, uri
    assert alice.request(conn, "OPTIONS", "sip:atlanta.example").status == 200
    assert bob.count("MESSAGE") == 1 and not bob.count("OPTIONS")


def test_d25_2_8_483_max_forwards(t):
    """d25: Max-Forwards 0 is answered 483, 1 goes on as 0, none becomes 70 or less."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    uri = t.uri(bob, "tls")
    assert alice.request(conn, "MESSAGE", uri, max_forwards=0).status == 483
    assert not bob.seen
    assert alice.request(conn, "MESSAGE", uri, max_forwards=1).status == 200
    assert bob.next_request()[1].get("max-forwards") == "0"
    assert alice.request(conn, "MESSAGE", uri, max_forwards=None).status == 200
    assert bob.next_request()[1].get("max-forwards") in ("69", "70")


def test_2_8_408_timer_b(t):
    """An INVITE without any answer is 408 by Timer B, over every transport."""
    d = t.daemon(timeouts={"t1": "50ms", "timer_b": t.ms(3000)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for tr in ("udp", "tcp", "tls"):
        bob = t.uas(tr, silent=True)
        call = Call(alice, conn, t.uri(bob, tr)).send()
        assert call.final().status == 408, tr
        assert bob.count("INVITE") >= 1
    assert d.counter("transactions.timeout") >= 3


def test_2_8_timer_f_ends_non_invite(t):
    """A non-INVITE without any answer ends by Timer F. RFC 4320 4.2 forbids to answer it 408 then,
    so the caller gets a 408 only from an element that predates it: never another final."""
    d = t.daemon(timeouts={"t1": "50ms", "timer_f": t.ms(1000)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for tr in ("udp", "tls"):
        bob = t.uas(tr, silent=True)
        data, key = alice.make(conn, "OPTIONS", t.uri(bob, tr))
        q = alice.expect(key)
        conn.send(data)
        bob.next_request("OPTIONS")
        before = d.counter("transactions.timeout")
        d.wait_counter("transactions.timeout", before or 1)
        time.sleep(0.2)
        while not q.empty():
            assert q.get()[1].status in (100, 408)


def test_2_8_trying(t):
    """An INVITE that the callee leaves unanswered gets a 100 from the proxy (16.2, 17.2.1)."""
    d = t.daemon(timeouts={"trying": "100ms"})
    alice, bob = t.uac(), t.uas("tls", ring=False, answer=None)
    call = Call(alice, t.dial(alice, d, "tls"), t.uri(bob, "tls")).send()
    assert alice.next_response(call.key).status == 100
    bob.next_request("INVITE")
    bob.answer(call.call_id, 480)
    assert call.final().status == 480


@pytest.mark.kernel_tls
def test_2_8_503_connect_refused(t):
    """A target that refuses the connection: 503 at once, for INVITE and others (16.9)."""
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for tr in ("tls", "tcp"):
        began = time.monotonic()
        assert alice.request(conn, "OPTIONS", refused_uri(t, tr)).status == 503, tr
        assert Call(alice, conn, refused_uri(t, tr)).send().final().status == 503, tr
        assert time.monotonic() - began < 10 * t.slow
    assert d.counter("connections.dial_failed") >= 2


def two_peers(t, first_uri, second_uri, **kw):
    peers = []
    for name, uri in (("first", first_uri), ("second", second_uri)):
        options = {"uri": uri}
        if "transport=tls" in uri:
            options["tls_domain"] = "lab"
        peers.append((name, options))
    return t.daemon(peers=peers, routes=[("all", {"peers": ["first", "second"]})], **kw)


def test_2_8_failover_refused(t):
    """The first peer of a route refuses connections: the second answers."""
    bob = t.uas("tls")
    for tr in ("tls", "tcp"):
        d = two_peers(t, refused_uri(t, tr).replace("bob@", ""),
                      t.uri(bob, "tls").replace("bob@", ""))
        alice = t.uac()
        conn = t.dial(alice, d, "tls")
        for _ in range(3):
            options_works(t, d, alice, conn, "sip:carol@atlanta.example")
        call = Call(alice, conn, "sip:carol@atlanta.example").answered()
        assert call.bye().status == 200
        assert d.counter("transactions.failover") >= 1


@pytest.mark.kernel_tls
def test_2_8_failover_handshake(t):
    """The first peer accepts TCP but does not speak TLS: the second answers."""
    bob = t.uas("tls")
    with socket.socket() as dumb:
        dumb.bind(("127.0.0.1", t.port()))
        dumb.listen(16)
        d = two_peers(t, "sip:127.0.0.1:%d;transport=tls" % dumb.getsockname()[1],
                      t.uri(bob, "tls").replace("bob@", ""), timeouts={"handshake": t.ms(1000)})
        alice = t.uac()
        options_works(t, d, alice, t.dial(alice, d, "tls"), "sip:carol@atlanta.example")
        assert d.counter("transactions.failover") >= 1


@pytest.mark.kernel_tls
def test_2_8_failover_connection_dies(t):
    """The first peer's connection is reset with the request in it: failover or 503, no silence."""
    good, bad = t.uas("tls"), t.uas("tcp", silent=True)
    d = two_peers(t, t.uri(bad, "tcp").replace("bob@", ""), t.uri(good, "tls").replace("bob@", ""),
                  timeouts={"timer_f": t.ms(3000), "timer_b": t.ms(3000)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    call = Call(alice, conn, "sip:carol@atlanta.example").send()
    where, _ = bad.next_request("INVITE")
    where.reset()
    rsp = call.final()
    assert rsp.status in (200, 503), repr(rsp)
    if rsp.status == 200:
        call.ack()
        assert call.bye().status == 200


@pytest.mark.kernel_tls
def test_2_8_peer_closes_idle_connection(t):
    """A next hop that closed its idle connection gets a new one for the next request."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    bob.listener("tls").conns[0].close()
    t.wait(lambda: len(d.connections()) == 1, "the closed connection to go")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    assert bob.listener("tls").accepted == 2


@pytest.mark.kernel_tls
def test_2_8_response_to_gone_caller(t):
    """The caller's TCP connection is gone when the answer comes: nothing breaks, it is counted or
    delivered as 18.2.2 says, and the transaction ends."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls", delay_s=0.3)
    conn = t.dial(alice, d, "tcp")
    data, _ = alice.make(conn, "OPTIONS", t.uri(bob, "tls"))
    conn.send(data)
    bob.next_request("OPTIONS")
    conn.close()
    other = t.dial(alice, d, "tls")
    bob.policy["delay_s"] = 0
    options_works(t, d, alice, other, t.uri(bob, "tls"))


def test_2_8_udp_requests_absorbed(t):
    """Retransmissions of a request over UDP reach the callee once; the last response is resent."""
    d = t.daemon(timeouts={"trying": "50ms", "timer_b": t.ms(60000)})
    alice, bob = t.uac(), t.uas("tls", ring=False, answer=None)
    conn = t.dial(alice, d, "udp")
    call = Call(alice, conn, t.uri(bob, "tls"))
    for _ in range(4):
        call.send()
        assert alice.next_response(call.key).status == 100
    bob.next_request("INVITE")
    assert bob.count("INVITE") == 1
    bob.answer(call.call_id, 486)
    assert call.final().status == 486
    assert d.counter("retransmissions.absorbed") >= 3


def test_2_8_udp_non_invite_absorbed(t):
    """The same for OPTIONS: after the final response a retransmission gets it again (Timer J)."""
    d = t.daemon(timeouts={"t1": "200ms"})
    alice, bob = t.uac(), t.uas("udp")
    conn = t.dial(alice, d, "udp")
    data, key = alice.make(conn, "OPTIONS", t.uri(bob, "udp"))
    alice.expect(key)
    for _ in range(3):
        conn.send(data)
        assert alice.final(key).status == 200
    assert bob.count("OPTIONS") == 1


def test_2_8_udp_proxy_retransmits(t):
    """Towards a silent UDP callee the proxy repeats the request, Timers A and E, same branch."""
    d = t.daemon(timeouts={"t1": "50ms", "timer_b": t.ms(2000), "timer_f": t.ms(2000)})
    alice, bob = t.uac(), t.uas("udp", silent=True)
    conn = t.dial(alice, d, "tls")
    call = Call(alice, conn, t.uri(bob, "udp")).send()
    branches = {bob.next_request("INVITE")[1].branch for _ in range(3)}
    assert len(branches) == 1, branches
    assert call.final().status == 408
    assert d.counter("retransmissions.sent") >= 2


def test_2_8_udp_final_repeated_until_ack(t):
    """A non-2xx final over UDP is repeated until its ACK comes (Timer G), then no more."""
    d = t.daemon(timeouts={"t1": "50ms", "t2": "100ms"})
    alice, bob = t.uac(), t.uas("tls", answer=404)
    conn = t.dial(alice, d, "udp")
    # who is not a peer gets three bytes for each of his (s24): enough of them for four answers
    call = Call(alice, conn, t.uri(bob, "tls"), body=pattern(1000)).send()
    finals = [alice.final(call.key).status for _ in range(3)]
    assert finals == [404] * 3
    assert call.final().status == 404       # sends the ACK
    time.sleep(0.5 * t.slow)
    q = alice.expect(call.key)
    while not q.empty():
        q.get()
    time.sleep(0.5 * t.slow)
    assert q.empty(), "repeated after the ACK"


def test_2_8_udp_large_to_stream(t):
    """A request from TLS too large for a datagram of the path still reaches a UDP callee whole or
    is refused; a 1,200-byte one passes byte for byte (18.1.1)."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("udp")
    conn = t.dial(alice, d, "tls")
    for size in (0, 400, 800, 1200):
        rsp = alice.request(conn, "MESSAGE", t.uri(bob, "udp"), body=pattern(size))
        assert rsp.status == 200 and rsp.body == pattern(size), (size, rsp)


def test_s24_who_swallows_tcp_delays_one_large_request(t):
    """A UDP callee whose TCP port drops SYNs: the first large request waits for the connect timeout
    and comes by UDP, those behind it come by UDP at once."""
    d = t.daemon(timeouts={"connect": t.ms(1000)}, workers=1)
    alice, bob = t.uac(), t.uas("udp")
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", bob.listener("udp").port))
        trap.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for s in fill:
            s.setblocking(False)
            s.connect_ex(trap.getsockname())
        conn = t.dial(alice, d, "tls")
        for n in range(4):
            rsp = alice.request(conn, "MESSAGE", t.uri(bob, "udp"), body=pattern(3000))
            assert rsp.status == 200 and rsp.body == pattern(3000), rsp
            assert d.counter("connections.dial_failed") == 1, "TCP was tried again"
            assert d.counter("transactions.large_by_udp") == n
        for s in fill:
            s.close()


@pytest.mark.kernel_tls
@pytest.mark.timeout(120)
def test_2_8_200_at_once_to_new_peer(t):
    """200 requests in one go to a peer to which no connection exists: all answered."""
    for tr in ("tls", "tcp"):
        d = t.daemon()
        alice, bob = t.uac(), t.uas(tr)
        conn = t.dial(alice, d, "tls")
        made = [alice.make(conn, "MESSAGE", t.uri(bob, tr), body=pattern(400, i))
                for i in range(200)]
        for _, key in made:
            alice.expect(key)
        conn.send(b"".join(data for data, _ in made))
        for i, (_, key) in enumerate(made):
            rsp = alice.final(key)
            assert rsp.status == 200 and rsp.body == pattern(400, i), (i, rsp)
        assert [m.key() for m in bob.seen] == [key for _, key in made], "order changed"


@pytest.mark.kernel_tls
def test_2_8_200_at_once_to_refusing_peer(t):
    """The same 200 to a peer that refuses: each is answered 503, nothing is lost."""
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    uri = refused_uri(t, "tls")
    made = [alice.make(conn, "MESSAGE", uri) for i in range(200)]
    for _, key in made:
        alice.expect(key)
    conn.send(b"".join(data for data, _ in made))
    statuses = {alice.final(key).status for _, key in made}
    assert statuses == {503}, statuses


def test_2_8_forged_response_dropped(t):
    """Responses with a branch that is not ours, or ours with one character changed, are dropped and
    counted; the true one still arrives."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("udp", silent=True)
    conn = t.dial(alice, d, "udp")
    data, key = alice.make(conn, "OPTIONS", t.uri(bob, "udp"))
    alice.expect(key)
    conn.send(data)
    where, req = bob.next_request("OPTIONS")
    branch = req.branch
    for bad in ("z9hG4bKnothing", branch[:-1] + ("0" if branch[-1] != "0" else "1"),
                branch[:12] + ("0" if branch[12] != "0" else "1") + branch[13:]):
        where.send(sip.response(req, 299).replace(branch.encode(), bad.encode()))
    t.wait(lambda: d.counter("drops.stray_response") + d.counter("drops.forged") >= 3,
           "three dropped responses")
    where.send(sip.response(req, 200, to_tag="x"))
    assert alice.final(key).status == 200
