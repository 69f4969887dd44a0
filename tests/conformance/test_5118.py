# SPDX-License-Identifier: Apache-2.0
"""RFC 5118: IPv6 in SIP messages, at a proxy that listens on IPv6. The messages are written here
after the cases of its section 4; the addresses are the RFC's, or ::1 where something must be
reached.
"""
import re

from kit import check_untouched, over, sip

V6 = "::1"


class Six:
    """A rule's stage on IPv6: every request goes to bob, whatever it names, unless relayed."""

    def __init__(self, c, relay=False):
        self.c, t, tr = c, c.t, c.tr
        self.bob = c.peer("bob", listen=True, host=V6)
        where = "sip:%s;transport=%s" % (self.bob.listener(tr, V6).hostport, tr)
        peer = dict({"uri": where}, **({"tls_domain": "lab"} if tr == "tls" else {}))
        routes = [("all", {"relay": "request-uri", "tls_domain": "lab"} if relay else
                   {"peers": ["bob"]})]
        self.d = c.d = t.daemon(hosts=(V6,), peers=[("bob", peer)], routes=routes,
                                timeouts={"t1": "500ms", "t2": "4s"})
        self.alice = c.alice = c.peer("alice")
        self.conn = c.conn = t.dial(self.alice, self.d, tr, V6)

    def send(self, method, uri, change=(), **kw):
        kw.setdefault("to", "<sip:user@example.com>")
        data, key = self.alice.make(self.conn, method, uri, **kw)
        for old, new in change:
            assert old in data, old
            data = data.replace(old, new, 1)
        self.alice.expect(key)
        self.conn.send(data)
        return data, key

    def forwarded(self, method, uri, change=(), **kw):
        """It reaches BOB untouched and his answer comes back: as BOB has it."""
        data, key = self.send(method, uri, change, **kw)
        got = self.bob.take(method)
        check_untouched(data, got[1].raw)
        self.bob.reply(got, 200 if method != "INVITE" else 486)
        rsp = self.alice.final(key)
        assert rsp.status in (200, 486), repr(rsp)
        return got[1]


def test_5118_4_1_ipv6_reference(c):
    """A Request-URI with an IPv6 reference."""
    msg = Six(c).forwarded("REGISTER", "sip:[2001:db8::10]")
    assert msg.uri == "sip:[2001:db8::10]"


def test_5118_4_2_without_brackets_400(c):
    """An IPv6 address without brackets in a Request-URI is not a URI: 400."""
    six = Six(c)
    _, key = six.send("REGISTER", "sip:2001:db8::10")
    assert six.alice.final(key).status == 400
    assert not six.bob.seen


def test_5118_4_3_port_ambiguous(c):
    """[2001:db8::10:5070] is an address whose last group is 5070, and no port: it is valid, and is
    taken as it stands."""
    msg = Six(c).forwarded("REGISTER", "sip:[2001:db8::10:5070]")
    assert msg.uri == "sip:[2001:db8::10:5070]"


def test_5118_4_4_port_unambiguous(c):
    """Behind the bracket it is a port: the request goes to that port."""
    six = Six(c, relay=True)
    port = six.bob.listener(c.tr, V6).port
    uri = "sip:user@[::1]:%d;transport=%s" % (port, c.tr)
    assert six.forwarded("MESSAGE", uri).uri == uri
    long_form = "sip:user@[0:0:0:0:0:0:0:1]:%d;transport=%s" % (port, c.tr)
    assert six.forwarded("MESSAGE", long_form).uri == long_form


def test_5118_4_5_received_with_and_without_brackets(c):
    """received holds an IPv6 address bare by the grammar; with brackets it is accepted too, in the
    top Via and below it."""
    six = Six(c)
    for value in ("2001:db8::9:255", "[2001:db8::9:255]"):
        mine = "[::1]:%d" % six.conn.local[1]
        data, key = six.alice.make(six.conn, "MESSAGE", "sip:user@example.com", sent_by=mine)
        data = data.replace(b";rport", b";received=" + value.encode(), 1)
        below = "Via: SIP/2.0/UDP [2001:db8::9:1];received=%s;branch=z9hG4bKas3-111\r\n" % value
        data = data.replace(b"Max-Forwards", below.encode() + b"Max-Forwards", 1)
        six.alice.expect(key)
        six.conn.send(data)
        got = six.bob.take("MESSAGE")
        assert got[1].all("via")[2] == below[5:].strip(), got[1].all("via")
        six.bob.reply(got, 200)
        _, rsp = six.alice.expect(key).get(timeout=c.wait_s)
        assert rsp.status == 200 and rsp.all("via")[1] == below[5:].strip()


def test_5118_4_6_and_4_8_sdp_is_not_touched(c):
    """IPv6 and mixed addresses in a session description are not a proxy's business."""
    sdp = (b"v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live\r\n"
           b"c=IN IP6 2001:db8::1\r\nt=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\n"
           b"c=IN IP4 192.0.2.1\r\na=rtpmap:2 G726-32/8000\r\nm=video 6024 RTP/AVP 107\r\n"
           b"c=IN IP6 2001:db8::1:2:3\r\n")
    msg = Six(c).forwarded("INVITE", "sip:user@[2001:db8::10]", body=sdp,
                           headers=[("Content-Type", "application/sdp")])
    assert msg.body == sdp


def test_5118_4_7_several_addresses_in_via(c):
    """IPv6 and IPv4 in the Via values and Contact of one message: all stay, the response goes by the
    top one."""
    six = Six(c)
    below = (b"Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-1\r\n"
             b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKas3-2;received=192.0.2.7\r\n")
    data, key = six.alice.make(six.conn, "BYE", "sip:user@[2001:db8::10]")
    data = data.replace(b"Max-Forwards", below + b"Max-Forwards", 1)
    six.alice.expect(key)
    six.conn.send(data)
    got = six.bob.take("BYE")
    check_untouched(data, got[1].raw)
    six.bob.reply(got, 200)
    _, rsp = six.alice.expect(key).get(timeout=c.wait_s)
    assert rsp.status == 200
    assert b"\r\n".join(b"Via: " + v.encode() for v in rsp.all("via")[1:]) + b"\r\n" == below


def test_5118_4_9_mapped_addresses(c):
    """IPv4-mapped addresses in Via and Contact."""
    six = Six(c)
    data, key = six.alice.make(
        six.conn, "INVITE", "sip:user@example.com", contact=False,
        sent_by="[::ffff:192.0.2.10]:19823",
        headers=[("Contact", "\"T. desk phone\" <sip:ted@[::ffff:192.0.2.2]>")])
    below = b"Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111\r\n"
    data = data.replace(b"Max-Forwards", below + b"Max-Forwards", 1)
    six.alice.expect(key)
    six.conn.send(data)
    got = six.bob.take("INVITE")
    check_untouched(data, got[1].raw)
    assert sip.param(got[1].all("via")[1], "received") == "::1", got[1].all("via")
    six.bob.reply(got, 486)
    _, rsp = six.alice.expect(key).get(timeout=c.wait_s)
    while rsp.status < 200:
        _, rsp = six.alice.expect(key).get(timeout=c.wait_s)
    assert rsp.status == 486


def test_5118_4_10_two_colons(c):
    """The reference with an IPv4 address at its end, as RFC 4291 writes it."""
    uri = "sip:user@[2001:db8::192.0.2.1]"
    assert Six(c).forwarded("OPTIONS", uri).uri == uri


def test_5118_4_10_three_colons(c):
    """The same as the grammar of RFC 3261 would have it: both must be tolerated."""
    uri = "sip:user@[2001:db8:::192.0.2.1]"
    assert Six(c).forwarded("OPTIONS", uri).uri == uri


def test_5118_what_we_write(c):
    """Our own Via and Record-Route have IPv6 references, received has none."""
    six = Six(c)
    msg = six.forwarded("INVITE", "sip:user@example.com", sent_by="alice.example")
    ours = "[::1]:%d" % six.d.port(c.tr, V6)
    assert msg.all("via")[0].split(";")[0].endswith(" " + ours), msg.all("via")[0]
    assert ("sip:" + ours) in msg.all("record-route")[0], msg.all("record-route")
    assert re.search(r";received=::1(;|$)", msg.all("via")[1]), msg.all("via")[1]


@over("udp")
def test_5118_from_one_family_to_the_other(c):
    """IPv6 to IPv4 and back: each side gets Via and Record-Route of its own family."""
    t = c.t
    d = c.d = t.daemon(hosts=("127.0.0.1", V6))
    alice, bob = c.peer("alice"), c.callee()
    c.alice, c.conn = alice, t.dial(alice, d, "udp", V6)
    key = c.send("INVITE", c.uri(bob))
    got = bob.take("INVITE")
    assert got[1].all("via")[0].split(";")[0].endswith(" 127.0.0.1:%d" % d.port("udp"))
    hosts = [sip.uri_target(sip.uri_of(r))[1] for r in got[1].all("record-route")]
    assert hosts == ["127.0.0.1", "::1"], hosts
    bob.reply(got, 486)
    assert alice.final(key).status == 486
