# SPDX-License-Identifier: Apache-2.0
"""Calls over every pair of transports and address families; routing inside dialogs.

Issue items 2.7 and 2.8; RFC 3261 12, 16.4, 16.6, 16.12, 17.
"""
import time

import pytest
from flowlib import sip
from flowlib.steps import check_forwarded, check_in_dialog, options_works, pattern, whole_call
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls

V4, V6 = "127.0.0.1", "::1"


def pairs(t, transport_a, transport_b):
    """Calls from A to B over both families each way, two calls per connection."""
    d = t.daemon(hosts=(V4, V6))
    for host_a in (V4, V6):
        for host_b in (V4, V6):
            alice = t.uac()
            alice.listen(transport_a, host_a, t.port(),
                         t.server_ctx() if transport_a == "tls" else None)
            bob = t.uas(transport_b, host=host_b)
            conn = t.dial(alice, d, transport_a, host_a)
            for _ in range(2):
                whole_call(alice, conn, bob, t.uri(bob, transport_b, host_b))
            assert not alice.strays and not bob.strays, (alice.strays, bob.strays)


def test_2_7_call_tls_to_tls(t):
    pairs(t, "tls", "tls")


def test_2_7_call_tls_to_tcp(t):
    pairs(t, "tls", "tcp")


def test_2_7_call_tls_to_udp(t):
    pairs(t, "tls", "udp")


def test_2_7_call_tcp_to_tls(t):
    pairs(t, "tcp", "tls")


@pytest.mark.host_only("no TLS in it")
def test_2_7_call_tcp_to_tcp(t):
    pairs(t, "tcp", "tcp")


@pytest.mark.host_only("no TLS in it")
def test_2_7_call_tcp_to_udp(t):
    pairs(t, "tcp", "udp")


def test_2_7_call_udp_to_tls(t):
    pairs(t, "udp", "tls")


@pytest.mark.host_only("no TLS in it")
def test_2_7_call_udp_to_tcp(t):
    pairs(t, "udp", "tcp")


@pytest.mark.host_only("no TLS in it")
def test_2_7_call_udp_to_udp(t):
    pairs(t, "udp", "udp")


def test_2_8_in_dialog_over_live_connection(t):
    """The caller listens nowhere: requests from the callee must use the caller's connection."""
    d = t.daemon()
    bob = t.uas("tls", "udp")
    for tr_a, tr_b in (("tls", "tls"), ("tcp", "udp")):
        alice = t.uac()
        conn = t.dial(alice, d, tr_a)
        whole_call(alice, conn, bob, t.uri(bob, tr_b))


def test_2_8_callee_sends_on_new_connection(t):
    """The callee follows the route set over a connection of its own."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    own = t.dial(bob, d, "tls")
    whole_call(alice, conn, bob, t.uri(bob, "tls"), callee_conn=own)


def test_2_8_caller_moves_to_new_connection(t):
    """The caller's connection is replaced during the call: ACK and BYE on the new one arrive."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    first = t.dial(alice, d, "tls")
    call = Call(alice, first, t.uri(bob, "tls")).answered()
    first.close()
    assert call.bye(t.dial(alice, d, "tls")).status == 200
    assert bob.count("BYE") == 1


def test_2_8_responses_on_the_requests_connection(t):
    """Two connections of one caller: each response returns where its request came from."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    one, two = t.dial(alice, d, "tls"), t.dial(alice, d, "tls")
    for i in range(10):
        conn = (one, two)[i % 2]
        assert options_works(t, d, alice, conn, t.uri(bob, "tls")).conn is conn


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_d28_2_8_loose_route_to_third_hop(t):
    """A preloaded Route set: ours removed, the next followed, the R-URI untouched (16.4, 16.6)."""
    d = t.daemon(hosts=(V4,))
    alice, edge = t.uac(), t.uas("tcp", name="edge")
    conn = t.dial(alice, d, "tls")
    ours = "<sip:127.0.0.1:%d;transport=tls;lr>" % d.port("tls")
    edge_route = "<sip:%s;transport=tcp;lr>" % edge.listener("tcp").hostport
    rsp = alice.request(conn, "OPTIONS", "sip:carol@far.example",
                        headers=[("Route", ours + ", " + edge_route)])
    assert rsp.status == 200, repr(rsp)
    _, req = edge.next_request("OPTIONS")
    assert req.uri == "sip:carol@far.example", req.uri
    assert [sip.uri_of(r) for r in req.all("route")] == [sip.uri_of(edge_route)], req.headers


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_strict_router_before_us(t):
    """A strict router left our own Record-Route as the R-URI: the last Route is the target."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    call = Call(alice, conn, t.uri(bob, "tls")).answered()
    target, routes = call.target, list(call.routes)
    call.target = sip.uri_of(routes[0])
    call.routes = routes[1:] + ["<%s>" % target]
    rsp = call.request("INFO")
    assert rsp.status == 200, repr(rsp)
    while True:
        _, req = bob.next_request()
        if req.method == "INFO":
            break
    assert req.uri == target and not req.all("route"), (req.uri, req.all("route"))
    call.target, call.routes = target, routes
    assert call.bye().status == 200


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_unknown_headers_untouched(t):
    """Headers a proxy does not know keep bytes, case and order; so does the body."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tcp")
    conn = t.dial(alice, d, "tls")
    odd = [("X-First", "a  b\t c"), ("x-Second", '"q;uo,ted" <sip:x@y>;z=1'), ("Subject", "caf\xe9"),
           ("X-First", "again"), ("P-Asserted-Identity", "<sip:+1@atlanta.example>")]
    rsp = alice.request(conn, "MESSAGE", t.uri(bob, "tcp"), headers=odd, body=pattern(2000))
    assert rsp.status == 200 and rsp.body == pattern(2000)
    _, req = bob.next_request("MESSAGE")
    names = [h[0] for h in odd]
    assert [h for h in req.headers if h[0] in names] == odd, req.headers
    assert req.body == pattern(2000)


def test_2_8_cancel(t):
    """CANCEL: 200 to it, CANCEL to the callee, 487 back, the 487 acknowledged by the proxy."""
    for tr in ("tls", "udp"):
        d = t.daemon()
        alice, bob = t.uac(), t.uas(tr, answer=None)
        conn = t.dial(alice, d, tr)
        call = Call(alice, conn, t.uri(bob, tr)).send()
        _, invite = bob.next_request("INVITE")
        while alice.next_response(call.key).status != 180:
            pass
        assert call.cancel().status == 200
        rsp = call.final()
        assert rsp.status == 487, repr(rsp)
        _, cancel = bob.next_request("CANCEL")
        assert cancel.branch == invite.branch and cancel.uri == invite.uri
        assert len(cancel.all("via")) == 1 and cancel.cseq == (invite.cseq[0], "CANCEL")
        _, ack = bob.next_request("ACK")
        assert ack.branch == invite.branch, "the ACK to a non-2xx is the proxy's own (16.7)"


def test_2_8_cancel_on_another_connection(t):
    """A CANCEL that arrives on another connection (another worker) finds its transaction."""
    d = t.daemon(workers=4)
    alice, bob = t.uac(), t.uas("tls", answer=None)
    conns = [t.dial(alice, d, "tls") for _ in range(6)]
    for other in conns[1:]:
        call = Call(alice, conns[0], t.uri(bob, "tls")).send()
        bob.next_request("INVITE")
        key = (call.call_id, 1, "CANCEL")
        alice.expect(key)
        other.send(call.hop_request("CANCEL"))
        assert alice.final(key).status == 200
        assert call.final().status == 487
        bob.next_request("CANCEL")
        bob.next_request("ACK")


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_cancel_without_invite(t):
    """CANCEL for nothing: 481, nothing forwarded (16.10)."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    assert alice.request(conn, "CANCEL", t.uri(bob, "tls")).status == 481
    assert not bob.seen


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_reject_acked_hop_by_hop(t):
    """A 486: the caller's ACK ends at the proxy, the callee gets the proxy's own, once."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls", answer=486)
    conn = t.dial(alice, d, "tls")
    call = Call(alice, conn, t.uri(bob, "tls")).send()
    assert call.final().status == 486
    _, invite = bob.next_request("INVITE")
    _, ack = bob.next_request("ACK")
    assert ack.branch == invite.branch and len(ack.all("via")) == 1
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    assert bob.count("ACK") == 1


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_2xx_ack_forwarded_end_to_end(t):
    """The ACK to a 2xx travels to the callee with a branch of its own and no response."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, t.uri(bob, "tls")).answered()
    where, invite = bob.next_request("INVITE")
    check_forwarded(invite, conn, where)
    _, ack = bob.next_request("ACK")
    check_in_dialog(ack)
    assert len(ack.all("via")) == 2 and ack.branch != invite.branch
    assert call.bye().status == 200


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_2_8_2xx_retransmission_forwarded(t):
    """A repeated 2xx is passed on while the transaction is accepted (RFC 6026 7.1, 7.2)."""
    d = t.daemon(timeouts={"t1": "200ms"})
    alice, bob = t.uac(), t.uas("udp")
    conn = t.dial(alice, d, "udp")
    call = Call(alice, conn, t.uri(bob, "udp")).send()
    assert call.final().status == 200
    side, invite = bob.next_request("INVITE")
    side.send(bob.replies[(invite.branch, "INVITE")])
    assert alice.next_response(call.key).status == 200
    call.ack()
    assert call.bye().status == 200


def test_2_8_order_per_connection(t):
    """400 requests on one connection arrive in the order they were sent; so do the responses."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    bob.seen.clear()
    sent, batch = [], []
    for i in range(400):
        data, key = alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(i % 90, i))
        alice.expect(key)
        sent.append(key)
        batch.append(data)
        if len(batch) == 1 + i % 7:      # several messages in one record, sizes varying
            conn.send(b"".join(batch))
            batch = []
    conn.send(b"".join(batch))
    for i, key in enumerate(sent):
        rsp = alice.final(key)
        assert rsp.status == 200 and rsp.body == pattern(i % 90, i), (i, rsp)
    assert [m.key() for m in bob.seen] == sent, "requests out of order"


def test_2_8_body_sizes_verified(t):
    """Bodies of 0 to 60,000 bytes over all stream transports, every byte compared both ways."""
    sizes = [0, 1, 63, 64, 500, 1300, 4095, 4096, 8191, 8192, 8193, 15000, 16383, 16384, 16385,
             20000, 32768, 40000, 49151, 60000]
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls", "tcp")
    for a, b in (("tls", "tls"), ("tcp", "tls"), ("tls", "tcp")):
        conn = t.dial(alice, d, a)
        for size in sizes:
            body = pattern(size, size)
            rsp = alice.request(conn, "MESSAGE", t.uri(bob, b), body=body)
            assert rsp.status == 200 and rsp.body == body, "%s to %s, %d bytes: %r" % (a, b, size,
                                                                                     rsp)
    assert all(m.body == pattern(len(m.body), len(m.body)) for m in bob.seen)


@pytest.mark.timeout(120)
def test_2_8_mixed_load_verified(t):
    """Eight callers over all transports at once, calls and messages of odd sizes, all verified."""
    import threading
    d = t.daemon(workers=2)
    bob = t.uas("tls", "tcp", "udp")
    problems = []

    def caller(number, transport):
        try:
            alice = t.uac("caller%d" % number)
            conn = t.dial(alice, d, transport)
            for i in range(25):
                to = ("tls", "tcp", "udp")[(number + i) % 3]
                uri = t.uri(bob, to)
                if i % 3 == 0:
                    assert Call(alice, conn, uri).answered().bye().status == 200
                else:
                    size = (number * 977 + i * 613) % (900 if "udp" in (to, transport) else 30000)
                    rsp = alice.request(conn, "MESSAGE", uri, body=pattern(size, i))
                    assert rsp.status == 200 and rsp.body == pattern(size, i), repr(rsp)
        except BaseException as e:
            problems.append("caller %d over %s: %r" % (number, transport, e))
    threads = [threading.Thread(target=caller, args=(i, ("tls", "tcp", "udp", "tls")[i % 4]))
               for i in range(8)]
    for th in threads:
        th.start()
    for th in threads:
        th.join()
    assert not problems, "\n".join(problems)


def test_2_9_messages_coalesce(t):
    """Messages that arrive together leave together: fewer sends than messages."""
    d = t.daemon(workers=1)
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    before = d.counters()
    made = [alice.make(conn, "OPTIONS", t.uri(bob, "tls")) for _ in range(64)]
    for _, key in made:
        alice.expect(key)
    conn.send(b"".join(data for data, _ in made))
    for _, key in made:
        assert alice.final(key).status == 200
    time.sleep(0.1)
    after = d.counters()
    out = after["messages.out.tls"] - before["messages.out.tls"]
    sends = after["sends"] - before["sends"]
    assert out >= 128, out
    assert sends < out, "%d sends for %d messages" % (sends, out)


@pytest.mark.timeout(120)
def test_2_8_memory_steady(t):
    """After the first round of mixed bodies, calls and new connections memory no longer grows."""
    d = t.daemon(workers=1)
    alice, bob = t.uac(), t.uas("tls", "tcp")
    steady = t.dial(alice, d, "tls")

    def round_of_traffic():
        conn = t.dial(alice, d, "tls")
        for i in range(4):
            made = [alice.make(conn, "MESSAGE", t.uri(bob, ("tls", "tcp")[j % 2]),
                               body=pattern(64 + (i * 20 + j) * 307 % 60000, j)) for j in range(20)]
            for _, key in made:
                alice.expect(key)
            conn.send(b"".join(data for data, _ in made))
            for _, key in made:
                assert alice.final(key).status == 200
            assert Call(alice, steady, t.uri(bob, "tls")).answered().bye().status == 200
        conn.close()
    round_of_traffic()
    round_of_traffic()
    t.wait(lambda: d.counter("transactions.now") == 0, "transactions to end", 45)
    before = d.rss_kb()
    for _ in range(4):
        round_of_traffic()
    t.wait(lambda: d.counter("transactions.now") == 0, "transactions to end", 45)
    t.check_growth(d, before, 1024)
