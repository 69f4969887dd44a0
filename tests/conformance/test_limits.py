# SPDX-License-Identifier: Apache-2.0
"""What the proxy may not do whatever it is sent: answer a forged datagram with much more than it
cost, let a value become a header of its own, refuse dialogs that exist before new ones.
"""
import re

from kit import over, sip, ua

# The shortest request that can be answered, and requests of each kind that is refused or answered
# here. Changes to the one are (pattern, replacement).
SHORT = (b"MESSAGE sip:a@127.0.0.1:9;transport=tcp SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bKx\r\nf:sip:a;tag=1\r\n"
         b"t:sip:a\r\ni:a\r\nCSeq:1 MESSAGE\r\n\r\n")
KINDS = {
    "503": [],
    "400": [(rb"\r\n\r\n$", b"\r\nMax-Forwards:x\r\n\r\n")],
    "400 by many fields": [(rb"\r\n\r\n$", b"\r\nf:sip:b;tag=2\r\n\r\n")],
    "416": [(rb"sip:a@[^ ]+", b"x:y")],
    "420": [(rb"\r\n\r\n$", b"\r\nProxy-Require:a\r\n\r\n")],
    "483": [(rb"\r\n\r\n$", b"\r\nMax-Forwards:0\r\n\r\n")],
    "505": [(rb" SIP/2.0", b" SIP/3.0")],
    "481": [(rb"MESSAGE", b"CANCEL")],
    "OPTIONS": [(rb"MESSAGE", b"OPTIONS"), (rb"\r\n\r\n$", b"\r\nMax-Forwards:0\r\n\r\n")],
    "INVITE": [(rb"MESSAGE", b"INVITE")],
}


@over("udp")
def test_no_amplification(c):
    """No answer to a datagram, whose sender may be forged, is larger than ten times it, not even to
    the shortest requests that are answered."""
    c.proxy(workers=1)
    answers = c.alice.strays                # nobody waits for them by a key
    for n, (kind, changes) in enumerate(KINDS.items()):
        data = SHORT.replace(b"z9hG4bKx", b"z9hG4bK%d" % n).replace(b"i:a", b"i:%d" % n)
        for pattern, new in changes:
            data, found = re.subn(pattern, new, data)
            assert found, kind
        before = len(answers)
        c.conn.send(data)
        c.t.wait(lambda: any(m.status >= 200 for m in answers[before:]), "an answer: " + kind)
        for msg in answers[before:]:
            assert len(msg.raw) <= 10 * len(data), "%s: %d bytes for %d" % (
                kind, len(msg.raw), len(data))
        if kind == "INVITE":                # or the refusal would be repeated
            c.conn.send(data.replace(b"INVITE", b"ACK"))


def test_values_stay_values(c):
    """Folds, quotes and bytes that look like line ends in what an answer repeats: the answer has the
    fields of an answer and no others."""
    c.proxy()
    allowed = {"via", "from", "to", "call-id", "cseq", "content-length", "unsupported", "server",
               "record-route", "timestamp"}
    values = [b"x\r\n X-Injected: 1", b"x,\r\n\tX-Injected: 1\r\n , y", b"%0d%0aX-Injected:1",
              b"x" * 700, b"x\r\n\r\n y"]
    for value in values:
        data, key = c.alice.make(c.conn, "MESSAGE", c.nowhere(), headers=[("Proxy-Require", "MARK")],
                                 from_="\"A \\\" B\r\n X-Injected: 1\" <sip:a@a.example>;tag=f")
        c.alice.expect(key)
        conn = c.dial()
        conn.send(data.replace(b"MARK", value))
        rsp = c.alice.final(key)
        assert rsp.status in (400, 420), repr(rsp)
        names = {n.lower() for n, _ in rsp.headers}
        assert names <= allowed, names - allowed


def test_dialogs_before_new_calls(c):
    """Near the limit of transactions new requests are 503 with Retry-After, those of dialogs still
    pass; at the limit these are 503 as well, and nothing is dropped. A peer's, because a stranger
    alone does not come so near (s13)."""
    alice = {"uri": "sip:127.0.0.1:%d;transport=%s" % (c.t.port(), c.tr),
             "networks": ["127.0.0.1/32"], **({"tls_domain": "lab"} if c.tr == "tls" else {})}
    c.proxy(workers=1, limits={"max_transactions": 100}, peers=[("alice", alice)])
    bob = c.callee()
    call = c.invite(c.uri(bob))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    bob.take("ACK")
    keys = [c.send("MESSAGE", c.uri(bob)) for _ in range(90)]
    waiting = [bob.take("MESSAGE") for _ in keys]
    rsp = c.refused(503, "MESSAGE", c.uri(bob))
    assert rsp.get("retry-after"), "no Retry-After"
    inside = []
    for _ in range(10):
        data, key = call.make("INFO")
        c.alice.expect(key)
        c.conn.send(data)
        inside.append((key, bob.take("INFO")))
    assert call.request("INFO").status == 503
    for key, got in inside:
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200
    for key, got in zip(keys, waiting):
        bob.reply(got, 200)
    for key in keys:
        assert c.alice.final(key).status == 200
    assert c.d.counter("transactions.refused") >= 2


def test_every_method_in_both_directions(c):
    """Inside a dialog every method, known or not, passes both ways by the route set."""
    c.proxy()
    bob = c.callee()
    call = c.invite(c.uri(bob))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    bob.take("ACK")
    side = ua.Dialog(bob, got[0], call.call_id, call.remote, call.local,
                     got[1].all("record-route"), sip.uri_of(got[1].get("contact")))
    for method in ("INFO", "UPDATE", "PRACK", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "OPTIONS",
                   "PUBLISH", "FROBNICATE", "BYE"):
        for here, there, dialog in ((c.alice, bob, call), (bob, c.alice, side)):
            if method == "BYE" and here is bob:
                break
            data, key = dialog.make(method)
            here.expect(key)
            dialog.conn.send(data)
            arrived = there.take(method)
            assert not arrived[1].all("route"), method
            there.reply(arrived, 202)
            assert here.final(key).status == 202, method


def test_13_2_2_4_ack_keeps_its_place(c):
    """The ACK of a 2xx and what the caller sends right behind it reach the callee in this order,
    whichever worker has which connection."""
    c.proxy(workers=3)
    bob = c.callee()
    for _ in range(12):
        conn = c.dial()
        call = c.invite(c.uri(bob), conn=conn)
        got = bob.take("INVITE")
        bob.reply(got, 200)
        assert call.final().status == 200
        ack, _ = call.make("ACK", conn=conn, cseq=1)
        bye, key = call.make("BYE", conn=conn)
        c.alice.expect(key)
        if c.reliable:
            conn.send(ack + bye)
        else:
            conn.send(ack)
            conn.send(bye)
        came = [bob.next_request() for _ in range(2)]
        assert [m.method for _, m in came] == ["ACK", "BYE"], came
        bob.reply(came[1], 200)
        assert c.alice.final(key).status == 200
