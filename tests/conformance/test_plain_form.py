# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 7.1, 7.3.1, 18.3 and 20.14 on what leaves: no folds, Content-Length once and true, the
version in upper case, in everything that the proxy sends, forwards, repeats and makes.
"""
import re

from kit import HUNT, over, sip


def check_plain(msg):
    head, _, body = msg.raw.partition(b"\r\n\r\n")
    assert not re.search(rb"\r\n[ \t]", head), "a fold in %r" % head
    lengths = re.findall(rb"\r\n(?:content-length|l)[ \t]*:[^\r]*", head, re.I)
    assert lengths == [b"\r\nContent-Length: %d" % len(body)], (lengths, len(body))
    assert b"SIP/2.0" in head.split(b"\r\n")[0], head


def folded(data):
    """DATA, a message, with a fold behind the colon and before the parameters of each field, and a
    length that is folded too."""
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines[0] = lines[0].replace(b"SIP/2.0", b"sip/2.0")
    for i, line in enumerate(lines[1:], 1):
        if line[:1] == b" ":                # folded already
            continue
        name, _, value = line.partition(b": ")
        lines[i] = name + b":\r\n\t" + value.replace(b";branch", b"\r\n ;branch").replace(
            b";tag", b"\r\n  ;tag")
    return b"\r\n".join(lines) + end + body


def watch(peer):
    """Every request that comes to PEER, repeats too, is in its plain form."""
    took, peer.all = peer.on_request, []

    def on_request(conn, msg):
        peer.all.append(msg)
        took(conn, msg)
    peer.on_request = on_request


def send(c, method, uri, **kw):
    data, key = c.alice.make(c.conn, method, uri, **kw)
    c.alice.expect(key)
    c.conn.send(folded(data))
    return data, key


def test_s5_a_failed_call(c):
    """INVITE, its repeats, 100, 180, CANCEL, 487 and ACK; the answers come folded as well."""
    c.proxy()
    bob = c.callee()
    watch(bob)
    _, key = send(c, "INVITE", c.uri(bob), body=sip.SDP)
    conn, msg = bob.take("INVITE")
    if c.tr == "udp":                       # the copy kept for repeating
        c.t.wait(lambda: bob.copies[(msg.branch, "INVITE")] > 1, "a repeated INVITE")
    conn.send(folded(sip.response(msg, 180, "Ringing", "t", [("X-Fold", "a b")], b"")))
    ringing = c.alice.next_response(key)
    while ringing.status == 100:
        check_plain(ringing)
        ringing = c.alice.next_response(key)
    assert ringing.status == 180 and ringing.get("x-fold") == "a b"
    check_plain(ringing)
    cancel = folded(sip.build("CANCEL %s SIP/2.0" % c.uri(bob), [
        ("Via", ringing.get("via")), ("From", ringing.get("from")),
        ("To", sip.uri_of(ringing.get("to"))), ("Call-ID", key[0]), ("CSeq", "1 CANCEL"),
        ("Max-Forwards", "70")]))
    c.alice.expect((key[0], 1, "CANCEL"))
    c.conn.send(cancel)
    check_plain(c.alice.final((key[0], 1, "CANCEL")))
    bob.take("CANCEL")
    conn.send(folded(sip.response(msg, 487, "Terminated", "t", [], b"")))
    rsp = c.alice.final(key)
    assert rsp.status == 487
    check_plain(rsp)
    bob.take("ACK")
    assert {m.method for m in bob.all} == {"INVITE", "CANCEL", "ACK"}
    for m in bob.all:
        check_plain(m)
    c.conn.send(sip.build("ACK %s SIP/2.0" % c.uri(bob), [
        ("Via", rsp.get("via")), ("From", rsp.get("from")), ("To", rsp.get("to")),
        ("Call-ID", key[0]), ("CSeq", "1 ACK"), ("Max-Forwards", "70")]))


def test_s5_answers_made_here(c):
    """400, 403, 416, 420 and 483 repeat Via, From, To, Call-ID and CSeq without folds; 420 what it
    does not support."""
    c.proxy(routes=[("some", {"to_domain": ["b.example"], "relay": "request-uri"})])
    for status, uri, kw in ((416, "mailto:x", {}), (403, "sip:x@c.example", {}),
                            (483, "sip:x@c.example", {"max_forwards": 0}),
                            (400, "sip:x@c.example", {"headers": [("To", "twice")]}),
                            (420, "sip:x@c.example",
                             {"headers": [("Proxy-Require", "one,\r\n two")]})):
        _, key = send(c, "MESSAGE", uri, **kw)
        rsp = c.alice.final(key)
        assert rsp.status == status, (rsp, status)
        check_plain(rsp)
        if status == 420:
            assert rsp.get("unsupported") == "one, two"


def test_s5_challenges_of_several(c):
    """Challenges that are collected from several callees (16.7 step 7)."""
    bobs = [c.callee("b%d" % i) for i in range(2)]
    c.proxy(hunt=[c.target(b) for b in bobs], route={"fork": "parallel"}, need=("fork",))
    _, key = send(c, "MESSAGE", HUNT)
    for i, b in enumerate(bobs):
        conn, msg = b.take("MESSAGE")
        check_plain(msg)
        conn.send(sip.response(msg, 401, "Unauthorized", "t", [
            ("WWW-Authenticate", "Digest\r\n realm=\"r%d\",\r\n\tnonce=\"n\"" % i)], b""))
    rsp = c.alice.final(key)
    assert rsp.status == 401
    check_plain(rsp)
    assert sorted(rsp.all("www-authenticate")) == [
        "Digest realm=\"r%d\", nonce=\"n\"" % i for i in range(2)]


def test_s5_next_target_and_stateless(c):
    """The copy for the next target, made of what was kept; and a route without transactions."""
    for route in ({"fork": "serial"}, {"stateless": True}):
        bobs = [c.callee("b%d%s" % (i, "".join(route))) for i in range(2)]
        c.proxy(hunt=[c.target(b) for b in bobs], route=route)
        _, key = send(c, "MESSAGE", HUNT, body=b"hello")
        got = bobs[0].take("MESSAGE")
        check_plain(got[1])
        if "fork" in route:
            bobs[0].reply(got, 404)
            got = bobs[1].take("MESSAGE")
            check_plain(got[1])
        got[0].send(folded(sip.response(got[1], 200, "OK", "t", [], b"body")))
        rsp = c.alice.final(key)
        assert rsp.status == 200 and rsp.body == b"body"
        check_plain(rsp)


@over("tcp", "tls")
def test_s5_a_large_body(c):
    """A body that is passed on while it still comes."""
    c.proxy(limits={"zero_copy_body": 4096})
    bob = c.callee()
    _, key = send(c, "MESSAGE", c.uri(bob), body=b"x" * 50000)
    got = bob.take("MESSAGE")
    check_plain(got[1])
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


@over("udp")
def test_s5_datagrams_without_length(c):
    """Content-Length is added where a datagram has none, both ways."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"hello")
    c.alice.expect(key)
    c.conn.send(data.replace(b"Content-Length: 5\r\n", b""))
    conn, msg = bob.take("MESSAGE")
    check_plain(msg)
    conn.send(sip.response(msg, 200, "OK", "t", [], b"body").replace(b"Content-Length: 4\r\n", b""))
    rsp = c.alice.final(key)
    assert rsp.body == b"body"
    check_plain(rsp)
