# SPDX-License-Identifier: Apache-2.0
"""What a sender may say about the next hop: Route without our token, maddr, names that lead to us.

Issue points s4, s24. Addresses that only others may not name are a table of the unit tests
(proxy_route): here everybody is on loopback.
"""


def test_s4_to_domain_bounds_a_relay(t):
    """A relay for one domain leads nowhere else by a Route or a maddr, over any transport."""
    victim = t.uas("tcp", "udp")
    d = t.daemon(routes=[("members", {"to_domain": "localhost", "relay": "request-uri"})])
    alice = t.uac()
    conns = [t.dial(alice, d, "tcp"), alice.connect("udp", "127.0.0.1", d.port("udp"))]
    for tr in ("tcp", "udp"):
        port = victim.listener(tr).port
        for conn in conns:
            there = "127.0.0.1:%d;transport=%s" % (port, tr)
            for uri, headers in (
                    ("sip:x@localhost", [("Route", "<sip:%s;lr>" % there)]),
                    ("sip:x@localhost", [("Route", "<sip:%s>" % there)]),
                    ("sip:x@localhost", [("Route", "<sip:127.0.0.1:%d;lr>, <sip:%s;lr>" % (
                        d.port("udp"), there))]),
                    ("sip:x@localhost:%d;maddr=127.0.0.1;transport=%s" % (port, tr), ())):
                rsp = alice.request(conn, "INFO", uri, headers=headers)
                assert rsp.status == 403, (uri, headers, rsp.status)
            good = "sip:x@localhost:%d;transport=%s" % (port, tr)
            assert alice.request(conn, "INFO", good).status == 200
    assert victim.count("INFO") == 4


def test_s4_peer_sees_no_preloaded_route(t):
    """Where a preloaded Route is allowed toward peers it is taken out; elsewhere it is refused."""
    bob = t.uas("tcp")
    peer = ("bob", {"uri": t.uri(bob, "tcp").replace("bob@", "")})
    d = t.daemon(peers=[peer], routes=[
        ("open", {"to_prefix": "open", "peers": ["bob"], "preloaded_route": "allow"}),
        ("rest", {"peers": ["bob"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    evil = [("Route", "<sip:evil.example;lr>")]
    rsp = alice.request(conn, "MESSAGE", "sip:x@far.example", headers=evil)
    assert (rsp.status, rsp.reason) == (403, "Preloaded Route Not Allowed")
    assert d.counter("requests.relay_denied") == 1 and not bob.seen
    assert alice.request(conn, "MESSAGE", "sip:open@far.example", headers=evil).status == 200
    assert alice.request(conn, "MESSAGE", "sip:x@far.example").status == 200
    assert [m.get("route") for m in bob.seen] == [None, None]


def test_s24_a_name_of_ours_that_is_not_listed_is_ours(t):
    """A next hop that resolves to a listener of ours is this proxy: there is nobody of that name,
    and nothing loops."""
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for tr in ("tcp", "udp"):
        uri = "sip:x@localhost:%d;transport=%s" % (d.port(tr), tr)
        for method in ("MESSAGE", "INFO"):
            assert alice.request(conn, method, uri).status == 404, uri
    assert d.counter("messages.in.tcp") == 4 and not d.counter("messages.in.udp")
