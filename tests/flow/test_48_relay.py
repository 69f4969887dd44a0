# SPDX-License-Identifier: Apache-2.0
"""What a sender may say about the next hop: Route without our token, maddr, names that lead to us.

Issue points s4, s24, s25. Addresses that only others may not name are a table of the unit tests
(proxy_route): here everybody is on loopback.
"""
import subprocess
import pytest

pytestmark = pytest.mark.host_only("what a relay refuses does not depend on who seals it")


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


def test_s4_a_number_is_the_same_with_escapes(t):
    """What a route takes off a wider one's hands it takes in each spelling that the next hop dials;
    an escape is one character to strip."""
    bob, trap = t.uas("tcp"), t.uas("tcp", name="trap")
    d = t.daemon(peers=[(name, {"uri": "sip:%s;transport=tcp" % who.listener("tcp").hostport})
                        for name, who in (("bob", bob), ("trap", trap))],
                 routes=[("dear", {"to_prefix": "+900", "peers": ["trap"]}),
                         ("out", {"to_prefix": "+", "peers": ["bob"], "strip": 2})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for user in ("+9001", "+%39001", "%2b9001", "%2B%39%30%30%31"):
        assert alice.request(conn, "MESSAGE", "sip:%s@far.example" % user).status == 200
    assert trap.count("MESSAGE") == 4 and not bob.seen
    for user in ("+%391", "%2B%391"):
        assert alice.request(conn, "MESSAGE", "sip:%s@far.example" % user).status == 200
    assert [m.uri for m in bob.seen] == ["sip:1@far.example"] * 2


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


def test_s4_refusals_are_told(t):
    """Whoever looks at a refusal that the issue brought learns from the log, and from ctl explain by
    the same request, which option would let it pass."""
    pbx, bob = t.uas("udp", name="pbx"), t.uas("tcp")
    d = t.daemon(peers=[("pbx", {"uri": "sip:%s;transport=udp" % pbx.listener("udp").hostport}),
                        ("bob", {"uri": t.uri(bob, "tcp").replace("bob@", "")})],
                 routes=[("out", {"to_prefix": "+", "peers": ["bob"]}),
                         ("near", {"to_prefix": "near", "relay": "request-uri"})])
    conn = pbx.connect("udp", "127.0.0.1", d.port("udp"))
    for uri, route, reason, line in (
            ("sip:+1@far.example", "sip:evil.example;lr", "Preloaded Route Not Allowed",
             "preloaded_route of the route or of the peer"),
            ("sip:near@169.254.7.7", None, "Relaying To An Inner Address Denied",
             "relay_networks of the route"),
            ("sip:x@far.example", None, "Relaying Denied", "no route takes it")):
        headers = [("Route", "<%s>" % route)] if route else ()
        rsp = pbx.request(conn, "MESSAGE", uri, headers=headers)
        assert (rsp.status, rsp.reason) == (403, reason), uri
        said = d.wait_log(line)
        assert "level=info" in said and "peer=pbx" in said and "host=" in said, said
        asked = ["explain", "request", "--uri", uri, "--source", conn.hostport]
        out = d.ctl(*asked + (["--route", route] if route else [])).stdout
        assert "refused: 403 %s." % reason in out and "comes from peer pbx" in out, out
    assert not bob.seen


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


def test_s24_a_peer_at_our_own_listener_is_left_out(t):
    """A peer that is a listener of ours, by its address, a wildcard's or a name, is passed over for
    the next; alone it is 503 with the cause, nothing loops, and check warns."""
    bob = t.uas("tcp")
    d = t.daemon(peers=[], routes=[])
    them = ("bob", {"uri": t.uri(bob, "tcp").replace("bob@", "")})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for host in ("127.0.0.1", "localhost"):
        for tr in ("udp", "tcp", "tls"):
            uri = "sip:%s:%d;transport=%s" % (host, d.port(tr), tr)
            us = {"uri": uri, "tls_domain": "lab"} if tr == "tls" else {"uri": uri}
            d.configure(peers=[("us", us), them], routes=[
                ("both", {"to_prefix": "both", "peers": ["us", "bob"]}), ("us", {"peers": ["us"]})])
            out = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True,
                                 text=True, check=False)
            assert out.returncode == 0 and "peer us is this proxy itself" in out.stderr, out.stderr
            d.rpc("reload")
            assert alice.request(conn, "MESSAGE", "sip:both@x.example").status == 200
            rsp = alice.request(conn, "MESSAGE", "sip:x@x.example")
            assert (rsp.status, rsp.reason) == (503, "Next Hop Is This Proxy Itself"), uri
            said = d.ctl("explain", "request", "--uri", "sip:x@x.example", "--source",
                         "127.0.0.1:5070", check=False).stdout
            assert "Next Hop Is This Proxy Itself" in said, said
        if host == "127.0.0.1":
            assert d.counter("peers.self") == 6
    # Each address counts, and the name may have two.
    assert d.counter("messages.in.udp") == 0 and d.counter("peers.self") in (12, 18)
    assert bob.count("MESSAGE") == 6


WARNING = "have no TLS domain to be reached"


def _client_domain(t, **more):
    return dict({"ca_list": t.pki("ca.pem")}, **more)


def test_s25_no_tls_domain_for_a_destination_is_told(t):
    """The answer, the log, ctl explain and check say that no TLS domain is for a destination."""
    bob = t.uas("tls")
    d = t.daemon(domains=[("other", _client_domain(t))], routes=[
        ("quick", {"to_prefix": "quick", "relay": "request-uri", "stateless": True}),
        ("all", {"relay": "request-uri"})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    port = bob.listener("tls").port
    for uri in (t.uri(bob, "tls"), t.uri(bob, "tls", user="quick"),
                "sip:x@localhost:%d;transport=tls" % port):
        rsp = alice.request(conn, "MESSAGE", uri)
        assert (rsp.status, rsp.reason) == (503, "No TLS Domain For The Destination"), uri
    line = d.wait_log("No TLS domain is for the destination")
    assert "level=warn" in line and "match_sip_domain" in line, line
    said = d.ctl("explain", "request", "--uri", t.uri(bob, "tls"), "--source", "127.0.0.1:5070",
                 check=False).stdout
    assert "No TLS Domain For The Destination" in said and "503" in said, said
    assert not bob.seen


def test_s25_a_destination_without_an_address_is_told(t):
    """The neighbour: a name that has no address."""
    d = t.daemon()
    alice = t.uac()
    rsp = alice.request(t.dial(alice, d, "tcp"), "MESSAGE", "sip:x@nowhere.invalid")
    assert (rsp.status, rsp.reason) == (503, "Next Hop Has No Address"), rsp
    line = d.wait_log("No target of a request")
    assert "host=nowhere.invalid" in line and 'why="Next Hop Has No Address"' in line, line


def test_s25_check_warns_of_destinations_without_a_tls_domain(t):
    """Two client domains without match_sip_domain and no default: check says so, where anything
    looks for one by its destination; not where each destination has one."""
    d = t.daemon(start=False)
    plain, listed = _client_domain(t), _client_domain(t, match_sip_domain="a.example")
    relay = ("all", {"relay": "request-uri"})
    named = ("all", {"relay": "request-uri", "tls_domain": "lab"})
    peer = ("bob", {"uri": "sip:127.0.0.1:5071;transport=tls"})
    to_bob = ("bob", {"peers": "bob"})
    for domains, peers, routes, told in (
            ([("one", plain)], [], [relay], True),
            ([("one", plain), ("two", plain)], [peer], [to_bob], True),
            ([("one", plain)], [peer], [named, to_bob], True),
            ([("one", plain)], [], [named], False),
            ([("one", plain)], [(peer[0], dict(peer[1], tls_domain="one"))], [to_bob], False),
            ([("default", plain)], [], [relay], False),
            ([("one", _client_domain(t, match_ip_address="*"))], [], [relay], False),
            ([("one", listed)], [], [relay], False),
            ([], [], [relay], False)):
        d.configure(domains=domains, peers=peers, routes=routes)
        out = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True,
                             text=True, check=False)
        assert out.returncode == 0, out.stderr
        assert (WARNING in out.stderr) == told, (domains, routes, out.stderr)
