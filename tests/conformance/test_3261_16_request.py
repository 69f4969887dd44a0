# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 16.3 to 16.6 and 16.12: what a proxy does with a request. Each test is named by the
section whose rule it holds the proxy to.
"""
import re

from kit import HUNT, check_untouched, fields, over, sip, ua


def _raw(c, method, uri, change=(), headers=(), **kw):
    """Sends a request with parts of its bytes replaced; (bytes, key)."""
    data, key = c.alice.make(c.conn, method, uri, headers, **kw)
    for old, new in change:
        assert old in data, old
        data = data.replace(old, new, 1)
    c.alice.expect(key)
    c.conn.send(data)
    return data, key


# ---- 16.3 validation ----------------------------------------------------------------------------

def test_16_3_1_bad_syntax_400(c):
    """What the proxy must read and cannot is refused, and nothing is forwarded."""
    c.proxy()
    bob = c.callee()
    for old, new in ((b"Max-Forwards: 70", b"Max-Forwards: seven"),
                     (b"From: <", b"From: \"unbalanced <"),
                     (b"MESSAGE SIP/2.0", b"MESSAGE  SIP/2.0")):
        if old.startswith(b"MESSAGE"):
            old = b" SIP/2.0\r\n"
            new = b"  SIP/2.0\r\n"
        _, key = _raw(c, "MESSAGE", c.uri(bob), [(old, new)])
        rsp = c.alice.final(key)
        assert rsp.status == 400, repr(rsp)
        assert rsp.reason.lower() != "bad request", "the reason does not say what is wrong"
    c.nothing_came(bob)


def test_16_3_1_unknown_method_forwarded(c):
    """A proxy must not refuse a method that it does not know."""
    c.proxy()
    bob = c.callee()
    for method in ("FROBNICATE", "PRACK", "PUBLISH"):
        assert c.through(bob, method)[0].method == method


def test_16_3_1_unknown_header_not_judged(c):
    """Malformed or unknown headers that a proxy has no need of do not stop a request."""
    c.proxy()
    bob = c.callee()
    odd = [("Date", "yesterday evening"), ("Contact", ";;;"), ("X-Unknown", ",,;=\"<"),
           ("Expires", "-1")]
    msg, _ = c.through(bob, headers=odd)
    for name, value in odd:
        assert (name, value) in msg.headers, name


def test_16_3_2_scheme_416(c):
    """A Request-URI whose scheme the proxy does not understand is 416."""
    bob = c.callee()
    for route in (None, [("all", {"peers": ["bob"]})]):
        peer = dict({"uri": c.target(bob)}, **({"tls_domain": "lab"} if c.tr == "tls" else {}))
        c.proxy(peers=[("bob", peer)], routes=route)
        c.refused(416, "OPTIONS", "mailto:bob@example.com")
        c.refused(416, "INVITE", "h323:bob@example.com")
    assert not bob.seen


def test_16_3_3_max_forwards_zero(c):
    """Max-Forwards 0 goes no further: 483."""
    c.proxy()
    bob = c.callee()
    c.refused(483, "MESSAGE", c.uri(bob), max_forwards=0)
    call = c.invite(c.uri(bob), max_forwards=0)
    assert call.final().status == 483
    c.nothing_came(bob)


def test_16_3_3_max_forwards_one(c):
    """Max-Forwards 1 may go one hop more, as 0."""
    c.proxy()
    bob = c.callee()
    assert c.through(bob, max_forwards=1)[0].get("max-forwards") == "0"


def test_16_3_3_options_max_forwards_zero(c):
    """Section 11: OPTIONS with Max-Forwards 0 may be answered here; we do."""
    c.proxy()
    bob = c.callee()
    c.refused(200, "OPTIONS", c.uri(bob), max_forwards=0)
    c.nothing_came(bob)


def _send_back(c, bob, got, change=()):
    """BOB as a proxy that returns to us what we sent him; the key of it."""
    conn, msg = got
    data = msg.raw
    via = "Via: SIP/2.0/%s %s;branch=%s\r\nVia:" % (c.tr.upper(), conn.hostport,
                                                   sip.token("z9hG4bK"))
    data = re.sub(rb"\r\nVia:", b"\r\n" + via.encode(), data, count=1)
    for old, new in change:
        assert old in data, old
        data = data.replace(old, new, 1)
    bob.expect(msg.key())
    back = c.dial(bob)
    back.send(data)
    return msg.key()


def _final_via_bob(c, bob, key):
    """The answer to what _send_back sent. It has alice's and our first Via below bob's."""
    _, rsp = bob.expect(key).get(timeout=c.wait_s)
    while rsp.status < 200:
        _, rsp = bob.expect(key).get(timeout=c.wait_s)
    return rsp


def test_16_3_4_loop_482(c):
    """A request that comes back unchanged has looped: 482."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    back = _send_back(c, bob, got)
    assert _final_via_bob(c, bob, back).status == 482
    bob.reply(got, 482)
    assert c.alice.final(key).status == 482
    assert bob.count("MESSAGE") == 1


def test_16_3_4_spiral_passes(c):
    """A request that comes back with another Request-URI spirals: it is forwarded."""
    c.proxy()
    bob, carol = c.callee(), c.callee("carol")
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    back = _send_back(c, bob, got, [(c.uri(bob).encode(), c.uri(carol).encode())])
    carol.reply(carol.take("MESSAGE"), 200)
    assert _final_via_bob(c, bob, back).status == 200
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


def test_16_3_5_proxy_require_420(c):
    """Extensions required of the proxy that it does not know: 420, all of them in Unsupported."""
    c.proxy()
    bob = c.callee()
    rsp = c.refused(420, "MESSAGE", c.uri(bob), headers=[("Proxy-Require", "foo, bar"),
                                                         ("Proxy-Require", "baz")])
    listed = [x.strip() for v in rsp.all("unsupported") for x in v.split(",")]
    assert sorted(listed) == ["bar", "baz", "foo"], rsp.headers
    c.nothing_came(bob)


def test_16_3_5_require_is_the_callees(c):
    """Require is for the far end: forwarded, whatever it says."""
    c.proxy()
    msg, _ = c.through(c.callee(), headers=[("Require", "x-never-heard-of")])
    assert msg.get("require") == "x-never-heard-of"


# ---- 16.4 route preprocessing -------------------------------------------------------------------

def _dialog(c, bob):
    """An answered call through the proxy; (call, bob's INVITE)."""
    call = c.invite(c.uri(bob))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    bob.take("ACK")
    return call, got


def _bye(c, call, bob, uri, routes):
    """A BYE with the Request-URI and Route set given; as it reaches BOB, answered."""
    data, key = c.alice.make(c.conn, "BYE", uri, [("Route", r) for r in routes], cseq=2,
                             call_id=call.call_id, from_=call.local, to=call.remote)
    c.alice.expect(key)
    c.conn.send(data)
    got = bob.take("BYE")
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200
    return got[1]


def test_16_4_request_uri_is_our_record_route(c):
    """A strict router before us has put our Record-Route value into the Request-URI: the last Route
    value takes its place (16.12.1.2, proxy P4)."""
    c.proxy()
    bob = c.callee()
    call, got = _dialog(c, bob)
    ours = sip.uri_of(got[1].all("record-route")[0])
    msg = _bye(c, call, bob, ours, ["<%s>" % call.target])
    assert msg.uri == call.target, msg.uri
    assert not msg.all("route"), msg.all("route")


def test_16_4_maddr_is_ours(c):
    """A maddr that names us is stripped, with the port and transport it came in by, and the rest
    routed as if they had not been there."""
    bob = c.callee()
    c.proxy(hunt=[c.target(bob)])
    uri = "sip:line@hunt.example:%d;transport=%s;maddr=127.0.0.1;keep=this" % (
        c.d.port(c.tr), c.tr)
    msg, _ = c.through(bob, uri=uri)
    assert msg.uri == "sip:line@hunt.example;keep=this", msg.uri


def test_16_4_maddr_is_not_ours(c):
    """A maddr of somebody else stays and says where to go."""
    c.proxy()
    bob = c.callee()
    uri = c.uri(bob).replace("127.0.0.1", "elsewhere.example") + ";maddr=127.0.0.1"
    assert c.through(bob, uri=uri)[0].uri == uri


def test_16_4_first_route_is_ours(c):
    """A first Route value that names us is removed; what follows decides."""
    c.proxy()
    bob, carol = c.callee(), c.callee("carol")
    via_carol = "<%s>" % c.uri(carol, "carol", params=";lr")
    msg, _ = c.through(carol, uri=c.uri(bob), headers=[("Route", "<%s>" % c.our_uri()),
                                                      ("Route", via_carol)])
    assert msg.all("route") == [via_carol], msg.all("route")
    assert msg.uri == c.uri(bob)
    both = "<%s>, %s" % (c.our_uri(), via_carol)        # the same in one field
    msg, _ = c.through(carol, uri=c.uri(bob), headers=[("Route", both)])
    assert msg.all("route") == [via_carol], msg.all("route")


def test_16_4_only_route_is_ours(c):
    """When the only Route value is ours, the Request-URI decides."""
    c.proxy()
    bob = c.callee()
    msg, _ = c.through(bob, headers=[("Route", "<%s>" % c.our_uri())])
    assert not msg.all("route") and msg.uri == c.uri(bob)


def test_16_4_first_route_is_not_ours(c):
    """A Route that does not name us is followed and not removed."""
    c.proxy()
    carol = c.callee("carol")
    route = "\"Next, one\" <%s>;x=y" % c.uri(carol, "carol", params=";lr")
    msg, _ = c.through(carol, uri="sip:bob@somewhere.example", headers=[("Route", route)])
    assert msg.get("route") == route and msg.uri == "sip:bob@somewhere.example"


def test_16_4_each_of_our_names(c):
    """Route values with any name and port that are ours are ours: of `domains`, of a listener's
    advertise, and the addresses of each listener."""
    c.proxy(extra="domains = { \"proxy.example\", \"other.example\" }",
            listen_options={"advertise": "edge.example:7061"})
    bob = c.callee()
    names = ["proxy.example", "Other.EXAMPLE", "proxy.example:%d" % c.d.port(c.tr),
             "edge.example:7061", "Edge.Example"]
    names += ["127.0.0.1:%d" % c.d.port(tr) for tr in ("tls", "tcp", "udp")]
    for name in names:
        msg, _ = c.through(bob, headers=[("Route", "<sip:%s;lr>" % name)])
        assert not msg.all("route"), "%s: %s" % (name, msg.all("route"))


# ---- 16.5 targets -------------------------------------------------------------------------------

def test_16_5_no_target_404(c):
    """We are responsible for the name and know nobody there: 404."""
    c.proxy(extra="domains = { \"proxy.example\" }")
    c.refused(404, "MESSAGE", "sip:nobody@proxy.example")
    call = c.invite("sip:nobody@proxy.example")
    assert call.final().status == 404


def test_16_5_foreign_request_uri_is_the_only_target(c):
    """A Request-URI of somebody else's domain is the only target."""
    c.proxy(extra="domains = { \"proxy.example\" }")
    bob = c.callee()
    assert c.through(bob)[0].uri == c.uri(bob)


def test_16_5_no_target_twice(c):
    """A target set holds each target once."""
    bob = c.callee()
    c.proxy(hunt=[c.target(bob), c.target(bob)])
    key = c.send("MESSAGE", HUNT)
    bob.reply(bob.take("MESSAGE"), 503)
    assert c.alice.final(key).status == 500
    assert bob.count("MESSAGE") == 1


# ---- 16.6 forwarding ----------------------------------------------------------------------------

_ODD = [("X-First", "1"), ("s", "compact  name,  two  blanks"), ("X-Second", "a"),
        ("Via-Like", "SIP/2.0/UDP not.a.via"), ("x-first", "again"), ("ROUTE-X", "<sip:x>"),
        ("Subject-2", "folded\r\n  over\r\n\ttwo lines"), ("X-Empty", ""),
        ("X-Utf8", "\u00e4\u00f6")]


def test_16_6_1_copy_is_untouched(c):
    """Everything that 16.6 does not name arrives as it was sent: names, order, body; folds are
    a space each."""
    c.proxy()
    bob = c.callee()
    body = bytes(range(256)) * 5 + b"\r\n\r\nINVITE sip:x SIP/2.0\r\n\r\n"
    for method in ("MESSAGE", "INVITE"):
        data, key = _raw(c, method, c.uri(bob), headers=_ODD, body=body)
        got = bob.take(method)
        check_untouched(data, got[1].raw)
        bob.reply(got, 486)
        assert c.alice.final(key).status == 486
        if method == "INVITE":
            c.conn.send(data.replace(b"INVITE", b"ACK").replace(body, b""))


def test_16_6_2_request_uri_kept(c):
    """A Request-URI that needs no change is not written anew, not even its escapes."""
    c.proxy()
    bob = c.callee()
    uri = "sip:%%62ob;isub=1:p%%2fw@127.0.0.1:%d;transport=%s;Foo=%%41;unknown?" % (
        bob.listener(c.tr).port, c.tr)
    uri = uri.rstrip("?")
    assert c.through(bob, uri=uri)[0].uri == uri


def test_16_6_3_max_forwards_decremented(c):
    """Max-Forwards goes down by one and keeps its place."""
    c.proxy()
    bob = c.callee()
    for n in (255, 70, 10, 2):
        data, key = _raw(c, "MESSAGE", c.uri(bob), max_forwards=n)
        got = bob.take("MESSAGE")
        assert got[1].get("max-forwards") == str(n - 1)
        check_untouched(data, got[1].raw)
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200


def test_16_6_3_max_forwards_added(c):
    """Without one, the copy gets Max-Forwards 70."""
    c.proxy()
    msg, _ = c.through(c.callee(), max_forwards=None)
    assert msg.all("max-forwards") == ["70"]


def test_16_6_4_record_route_names_us(c):
    """A request that may open a dialog carries our loose-routing URI, on top of others."""
    c.proxy()
    bob = c.callee()
    for method in ("INVITE", "SUBSCRIBE"):
        key = c.send(method, c.uri(bob), headers=[("Record-Route", "<sip:earlier.example;lr>")])
        got = bob.take(method)
        routes = got[1].all("record-route")
        assert len(routes) == 2 and routes[1] == "<sip:earlier.example;lr>", routes
        uri = sip.uri_of(routes[0])
        assert sip.uri_target(uri) == (c.tr, "127.0.0.1", c.d.port(c.tr)), uri
        assert ";lr" in uri, uri
        bob.reply(got, 486)
        rsp = c.alice.final(key)
        assert rsp.status == 486
        if method == "INVITE":
            c.conn.send(sip.build("ACK %s SIP/2.0" % c.uri(bob), [
                ("Via", got[1].all("via")[1].split(";received")[0]), ("From", got[1].get("from")),
                ("To", rsp.get("to")), ("Call-ID", got[1].call_id), ("CSeq", "1 ACK")]))


def test_16_6_4_record_route_finds_us(c):
    """Requests of either side that follow the Route set go through us to the other side, even if
    the callee's come over a new connection."""
    c.proxy()
    bob = c.callee()
    call, got = _dialog(c, bob)
    rsp_routes = call.routes
    assert rsp_routes, "no Record-Route in the 2xx"
    data, key = call.make("INFO")
    c.alice.expect(key)
    c.conn.send(data)
    info = bob.take("INFO")
    assert not info[1].all("route"), info[1].all("route")
    bob.reply(info, 200)
    assert c.alice.final(key).status == 200
    side = ua.Dialog(bob, c.dial(bob), call.call_id, call.remote, call.local,
                     got[1].all("record-route"), sip.uri_of(got[1].get("contact")))
    data, key = side.make("BYE")
    bob.expect(key)
    side.conn.send(data)
    back = c.alice.take("BYE")
    assert not back[1].all("route"), back[1].all("route")
    c.alice.reply(back, 200)
    assert bob.final(key).status == 200


def test_16_6_4_no_record_route_inside_a_dialog(c):
    """Requests that cannot open a dialog are not record-routed."""
    c.proxy()
    bob = c.callee()
    call, _ = _dialog(c, bob)
    for method in ("INVITE", "INFO", "BYE"):
        data, key = call.make(method)
        c.alice.expect(key)
        c.conn.send(data)
        got = bob.take(method)
        assert not got[1].all("record-route"), method
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200
        if method == "INVITE":
            call.invite = got[1]
            c.conn.send(call.make("ACK", cseq=got[1].cseq[0])[0])
    assert not c.through(bob)[0].all("record-route")


def test_16_6_4_double_between_transports(c):
    """Where the transport changes, each side gets a value of its own (RFC 5658)."""
    c.proxy()
    out = {"tls": "udp", "tcp": "tls", "udp": "tcp"}[c.tr]
    bob = c.callee(tr=out)
    call = c.invite(c.uri(bob, tr=out))
    got = bob.take("INVITE")
    kinds = [sip.uri_target(sip.uri_of(r)) for r in got[1].all("record-route")]
    assert kinds == [(out, "127.0.0.1", c.d.port(out)), (c.tr, "127.0.0.1", c.d.port(c.tr))], kinds
    bob.reply(got, 486)
    assert call.final().status == 486


def test_16_6_6_strict_next_hop(c):
    """A next hop without lr: the Request-URI goes to the end of Route, the first Route value takes
    its place (16.12.1.2, proxy P2)."""
    c.proxy()
    carol = c.callee("carol")
    strict, last = c.uri(carol, "strict"), "<sip:last.example;lr>"
    msg, _ = c.through(carol, uri="sip:bob@far.example;x=1", headers=[
        ("Route", "<%s>" % c.our_uri()), ("Route", "<%s>" % strict), ("Route", last)])
    assert msg.uri == strict, msg.uri
    assert msg.all("route") == [last, "<sip:bob@far.example;x=1>"], msg.all("route")


def test_16_6_7_route_decides_before_request_uri(c):
    """The next hop is the first Route value, else the Request-URI."""
    c.proxy()
    bob, carol = c.callee(), c.callee("carol")
    c.through(carol, uri=c.uri(bob), headers=[("Route", "<%s>" % c.uri(carol, params=";lr"))])
    c.through(bob)
    assert not [m for m in bob.seen if m.all("route")]


def test_16_6_7_name_is_looked_up(c):
    """A next hop by name is looked up (RFC 3263)."""
    c.proxy()
    bob = c.callee()
    uri = c.uri(bob).replace("127.0.0.1", "localhost")
    assert c.through(bob, uri=uri)[0].uri == uri


def test_16_6_7_unknown_name_is_503(c):
    """A name that does not exist is a next hop that cannot be reached."""
    c.proxy()
    c.refused(503, "MESSAGE", "sip:bob@does-not-exist.invalid;transport=%s" % c.tr)


def test_16_6_8_via_is_ours_and_unique(c):
    """The copy's top Via has our transport and address and a new branch with the cookie."""
    c.proxy()
    bob = c.callee()
    branches = set()
    for i in range(5):
        msg, _ = c.through(bob, call_id="same-%s" % id(c), cseq=i + 1)
        via = msg.all("via")[0]
        protocol, by = via.split(";")[0].split(" ")
        assert protocol == "SIP/2.0/" + c.tr.upper(), via
        assert by == "127.0.0.1:%d" % c.d.port(c.tr), via
        assert msg.branch.startswith("z9hG4bK") and len(msg.branch) > 20
        branches.add(msg.branch)
        assert len(msg.all("via")) == 2
    assert len(branches) == 5, "a branch came twice"


def test_16_6_8_branch_differs_per_target(c):
    """Each copy of a forked request is a transaction of its own."""
    bobs = [c.callee("b%d" % i) for i in range(3)]
    c.proxy(hunt=[c.target(b) for b in bobs], route={"fork": "parallel"}, need=["fork"])
    call = c.invite(HUNT)
    got = [b.take("INVITE") for b in bobs]
    assert len({m.branch for _, m in got}) == 3
    for b, g in zip(bobs, got):
        b.reply(g, 486)
    assert call.final().status == 486


@over("udp")
def test_16_6_9_content_length_added(c):
    """A datagram may lack Content-Length; on a stream it gets one (also 18.3)."""
    c.proxy()
    for out in ("tcp", "tls"):
        bob = c.callee(tr=out)
        for body in (b"", b"hello, world"):
            data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob, tr=out), body=body)
            data = re.sub(rb"Content-Length: \d+\r\n", b"", data)
            c.alice.expect(key)
            c.conn.send(data)
            got = bob.take("MESSAGE")
            assert got[1].all("content-length") == [str(len(body))] and got[1].body == body
            check_untouched(data, got[1].raw)
            bob.reply(got, 200)
            assert c.alice.final(key).status == 200


def test_16_6_no_fork_inside_a_dialog(c):
    """A request inside a dialog goes to one place, also by a route that forks."""
    bobs = [c.callee("b%d" % i) for i in range(2)]
    port = c.t.port()
    c.proxy(hunt=[c.target(b) for b in bobs], route={"fork": "parallel"}, need=["fork"])
    c.alice.listen(c.tr, "127.0.0.1", port, c.t.server_ctx() if c.tr == "tls" else None)
    if not c.reliable:
        c.conn = c.dial()               # from where it listens
    call = c.invite(HUNT)
    got = [b.take("INVITE") for b in bobs]
    bobs[0].reply(got[0], 180)
    bobs[0].reply(got[0], 200)
    assert call.final().status == 200
    bobs[1].reply(got[1], 486)
    call.ack()
    conn, invite = got[0]
    side = ua.Dialog(bobs[0], conn, call.call_id, call.remote, call.local,
                     invite.all("record-route"), sip.uri_of(invite.get("contact")))
    data, key = side.make("INFO")
    bobs[0].expect(key)
    conn.send(data)
    c.alice.reply(c.alice.take("INFO"), 200)
    assert bobs[0].final(key).status == 200
    c.drain(bobs[0])
    assert c.alice.total("INFO") == 1, "it came %d times" % c.alice.total("INFO")


# ---- 16.12.1, the examples ----------------------------------------------------------------------

def test_16_12_1_1_basic_trapezoid(c):
    """Two proxies of our kind between caller and callee: both stay in the path of the BYE, which
    reaches the callee without Route."""
    c.proxy()
    p2 = c.t.daemon()
    bob = c.callee()
    route = "<sip:127.0.0.1:%d;transport=%s;lr>" % (p2.port(c.tr), c.tr)
    call = c.invite(c.uri(bob), headers=[("Route", route)])
    got = bob.take("INVITE")
    assert len(got[1].all("via")) == 3 and len(got[1].all("record-route")) == 2
    assert not got[1].all("route")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    ack = bob.take("ACK")[1]
    assert len(ack.all("via")) == 3 and not ack.all("route")
    key = call.make("BYE")
    c.alice.expect(key[1])
    c.conn.send(key[0])
    bye = bob.take("BYE")
    assert len(bye[1].all("via")) == 3 and not bye[1].all("route") and bye[1].uri == call.target
    bob.reply(bye, 200)
    assert c.alice.final(key[1]).status == 200
    c.d.keeps = p2.keeps = 1         # the connection between the two outlives the peers


def test_16_12_1_2_through_a_strict_router(c):
    """Before a strict router the URIs are swapped as in the example, behind it swapped back."""
    c.proxy()
    p3, bob = c.callee("p3"), c.callee()
    call, got = _dialog(c, bob)
    ours = got[1].all("record-route")[0]
    target = "<%s>" % call.target
    # toward P3: R-URI callee; Route us, P3, us again
    strict = "<%s>" % c.uri(p3, "strict")
    msg = _bye(c, call, p3, call.target, [ours, strict, ours])
    assert msg.uri == sip.uri_of(strict)
    assert msg.all("route") == [ours, target], msg.all("route")
    # what P3, a strict router, makes of it comes to us: R-URI us, Route callee
    msg = _bye(c, call, bob, sip.uri_of(ours), [target])
    assert msg.uri == call.target and not msg.all("route")


def test_16_12_1_3_record_route_values_are_not_rewritten(c):
    """The example rewrites Record-Route in responses; we double the value instead, so that the
    response's set is the request's."""
    c.proxy()
    out = "tcp" if c.tr != "tcp" else "tls"
    bob = c.callee(tr=out)
    call = c.invite(c.uri(bob, tr=out))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    rsp = call.final()
    assert rsp.status == 200 and rsp.all("record-route") == got[1].all("record-route")
    call.ack()
    bob.take("ACK")


# ---- 16.6 all together --------------------------------------------------------------------------

def test_16_6_only_the_named_fields_change(c):
    """Field by field: only Via (ours and the mark in the sender's), Max-Forwards, Max-Breadth, Route
    and Record-Route differ between what came and what went."""
    c.proxy()
    bob = c.callee()
    data, key = _raw(c, "INVITE", c.uri(bob), headers=[("Route", "<%s>" % c.our_uri())])
    got = bob.take("INVITE")
    was = {f[1] for f in fields(data)[1]}
    now = {f[1] for f in fields(got[1].raw)[1]}
    gone = sorted(f.split(b":")[0] for f in was - now)
    new = sorted(f.split(b":")[0] for f in now - was)
    assert gone == [b"Max-Forwards", b"Route", b"Via"], gone
    assert new == [b"Max-Breadth", b"Max-Forwards", b"Record-Route", b"Via", b"Via"], new
    bob.reply(got, 486)
    assert c.alice.final(key).status == 486
