# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 16.3 step 1: requests that cannot be read are answered 400, not dropped in silence, and
what only passes through is not judged.
"""
from kit import over, sip, ua

VIAS = ("SIP/2.0/%s 127.0.0.1:%d;rport=;branch=%s", "SIP/2.0/%s 127.0.0.1:%d;branch=%s;",
        "SIP/2.0/%s 127.0.0.1:%d;received=;branch=%s", "SIP/2.0/%s 127.0.0.1:7%d;branch=%s",
        "SIP/2.0/%s 127.0.0.1:%d;branch=x@%s", "SIP/2.0/%s 127.0.0.1:%d;;branch=%s",
        "SIP/2.0/%s 127.0.0.1:%d;branch=%s;branch=y", "SIP/2.0/%s 127..1:%d;branch=%s", ";")
USERS = ("#31#", "#31#+49301234567", "*21*5#", "{guid}", "a[b]c", "a|b", "a^b`c",
         "J\u00c3\u00b6rg", "\u00e5\u00bc\u00a0")


class Wire(ua.Ua):
    """Takes every message that comes, whatever fields it has."""

    def _on_msg(self, conn, msg):
        self.requests.put((conn, msg))


def _wire(c):
    c.proxy()
    wire = Wire("alice", c.wait_s)
    c.t.agents.append(wire)
    return wire, c.dial(wire)


def _changed(conn, c, method, field, new):
    """A request whose FIELD is the line NEW, or gone."""
    data, _ = c.alice.make(conn, method, c.nowhere())
    at = data.index(b"\r\n" + field + b":") + 2
    end = data.index(b"\r\n", at) + 2
    return data[:at] + (new + b"\r\n" if new else b"") + data[end:]


def test_s18_bad_via_400(c):
    """A top Via that is not wholly grammatical: 400 with the Via as it came, on the connection, or to
    where the datagram came from."""
    wire, conn = _wire(c)
    for n, via in enumerate(VIAS):
        if "%s" in via:
            via %= (c.tr.upper(), 5070 + n, sip.token("z9hG4bK"))
        conn.send(_changed(conn, c, "MESSAGE", b"Via", b"Via: " + via.encode()))
        rsp = wire.next_request()[1]
        assert rsp.status == 400 and rsp.reason == "Bad Via", (via, rsp)
        assert [v for k, v in rsp.headers if k == "Via"] == [via], (via, rsp.headers)
        assert rsp.call_id and sip.param(rsp.get("to"), "tag"), rsp.headers


def test_s18_missing_fields_400(c):
    """Without To, From, Call-ID or CSeq: 400 with what is there."""
    wire, conn = _wire(c)
    names = ("To", "From", "Call-ID", "CSeq")
    for name in names:
        conn.send(_changed(conn, c, "MESSAGE", name.encode(), b""))
        rsp = wire.next_request()[1]
        assert rsp.status == 400 and rsp.reason == "Missing " + name, rsp.start
        assert rsp.get(name) is None
        assert all(rsp.get(other) for other in names if other != name), rsp.headers


def test_s18_acks_and_responses_are_not_answered(c):
    """Nothing answers an ACK or a response, however bad."""
    wire, conn = _wire(c)
    for field, new in ((b"Via", b"Via: ;"), (b"To", b""), (b"CSeq", b"CSeq: x")):
        data = _changed(conn, c, "ACK", field, new)
        before = c.d.counter("drops.parse")
        conn.send(data)
        conn.send(b"SIP/2.0 200 OK" + data[data.index(b"\r\n"):])
        c.d.wait_counter("drops.parse", before + 2)
    conn.send(c.alice.make(conn, "MESSAGE", "mailto:x", to="<sip:x@y>")[0])
    assert wire.next_request()[1].status == 416     # the first answer of all


@over("udp", "tcp", "tls")
def test_s18_cookie_alone(c):
    """Requests whose branch is the cookie and nothing else are told apart by their other fields."""
    c.proxy()
    bob = c.callee()
    for _ in range(2):
        data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), branch="z9hG4bK")
        c.alice.expect(key)
        c.conn.send(data)
        got = bob.take("MESSAGE")
        assert got[1].call_id == key[0]
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200


def test_s21_users_of_telephones(c):
    """What telephones and gateways put into users begins a call and ends it: in the Request-URI, in
    From and To, in the Contacts of both and so in the requests inside the dialog."""
    c.proxy()
    bob = c.callee()
    for user in USERS:
        c.alice.name = bob.name = user
        uri = c.uri(bob, user=user)
        call = c.invite(uri, to="<%s>" % uri.split(";")[0])
        got = bob.take("INVITE")
        assert got[1].uri == uri and "sip:%s@" % user in got[1].get("from"), got[1].headers
        bob.reply(got, 200, tag="b")
        assert call.final().status == 200, user
        call.ack()
        assert bob.take("ACK")[1].uri == call.target
        data, key = call.make("BYE")
        c.alice.expect(key)
        c.conn.send(data)
        got = bob.take("BYE")
        assert got[1].uri == call.target and user in call.target
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200


def test_s21_ambiguous_users_stay_refused(c):
    """What another parser would read differently gets 400."""
    c.proxy()
    for uri in ("sip:a@b@c.example", "sip:a\\@c.example", "sip:<a>@c.example", "sip:a\"@c.example",
                "sip:a#c.example", "sip:a@c.example#b", "sip:[::1]@c.example", "sip:%zz@c.example",
                "sip:a\x01@c.example", "sip:::p@c.example"):
        rsp = c.refused(400, uri=uri, to="<sip:x@c.example>")
        assert rsp.reason == "Bad Request-URI", (uri, rsp)
