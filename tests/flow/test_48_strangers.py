# SPDX-License-Identifier: Apache-2.0
"""What strangers can do with what we write into messages: the Record-Route token and the branch.
Issue 8, points 1 and 2.
"""
import socket

import pytest
from flowlib import dns, sip
from flowlib.certs import Authority
from flowlib.ua import Call, Ua

from test_45_identity import verifying

pytestmark = pytest.mark.host_only("tokens, branches and addresses are judged in user space")

CALLER = "<sip:a@caller.example>;tag=%s"


def _carrier_setting(t, **more):
    """Anybody may call amber; only the pbx, which is not there, may call the world."""
    amber, carrier = t.uas("tcp", "udp", name="amber"), t.uas("tcp", "udp", name="carrier")
    inner = t.uas("tcp", "udp", name="inner")
    d = t.daemon(extra='domains = "atlanta.example"\nanti_spoof = "all"', peers=[
        ("amber", {"uri": "sip:%s;transport=tcp" % amber.listener("tcp").hostport}),
        ("carrier", {"uri": "sip:%s;transport=tcp" % carrier.listener("tcp").hostport}),
        ("pbx", {"uri": "sip:127.0.0.77;transport=tcp"})],
        routes=[("amber", {"to_prefix": "amber", "peers": ["amber"]}),
                ("out", {"from_peer": ["pbx"], "to_prefix": "+", "peers": ["carrier"]})], **more)
    return amber, carrier, inner, d


def _call(t, d, alice, conn):
    call = Call(alice, conn, "sip:amber@atlanta.example",
                from_=CALLER % sip.token("f")).answered()
    return call


def test_s1_record_route_is_no_pass(t):
    """The token of an honest call, shown without a To tag, by strangers, toward the carrier and
    inner ports, with a From of ours: never relayed. The call itself goes on, both ways."""
    amber, carrier, inner, d = _carrier_setting(t, workers=2)
    alice, mallory = t.uac(), t.uac("mallory")
    mallory.listen("udp", "127.0.0.2")
    conn = t.dial(alice, d, "tcp")
    call = _call(t, d, alice, conn)
    away = [t.dial(mallory, d, "tcp", bind=("127.0.0.2", 0)),
            mallory.udps["127.0.0.2"].flow("127.0.0.1", d.port("udp"))]
    targets = ["sip:+900123@%s;transport=tcp" % carrier.listener("tcp").hostport,
               "sip:+900123@%s;transport=tcp" % inner.listener("tcp").hostport,
               "sip:x@%s" % inner.listener("udp").hostport]
    tried = 0
    for who, c, to in [(alice, conn, call.invite.get("to")), (alice, conn, call.remote)] + [
            (mallory, c, to) for c in away for to in (call.invite.get("to"), call.remote)]:
        for method in ("INVITE", "MESSAGE", "OPTIONS", "INFO", "BYE"):
            for uri in targets:
                data, key = who.make(c, method, uri, [("Route", r) for r in call.routes],
                                     cseq=100 + tried, call_id=call.call_id, from_=call.local,
                                     to=to)
                who.expect(key)
                c.send(data)
                rsp = who.final(key)
                assert rsp.status in (403, 404), (who.name, method, uri, to, rsp)
                tried += 1
    ceo = alice.request(conn, "MESSAGE", targets[0], from_="<sip:ceo@atlanta.example>;tag=x",
                        headers=[("Route", r) for r in call.routes], call_id=call.call_id)
    assert ceo.status == 403
    assert not carrier.seen and not inner.seen
    assert d.counter("legs.misused") and d.counter("legs.moved") and d.counter("legs.astray")
    assert call.request("INVITE").status == 200
    side = amber.dialogs[call.call_id]
    data, key = side.make("INFO")
    amber.expect(key)
    side.conn.send(data)
    where, req = alice.next_request("INFO")
    alice.reply(where, req, 200)
    assert amber.final(key).status == 200
    assert call.bye().status == 200


def test_s1_an_own_token_opens_no_other_dialog(t):
    """A stranger has a call of his own, with the Call-ID and the tag of another's whose token he has
    read. Shown behind his own that token leads neither to the carrier nor back to the pbx."""
    _, carrier, _, d = _carrier_setting(t, workers=2)
    pbx, mallory = t.uac("pbx"), t.uac("mallory")
    honest = Call(pbx, t.dial(pbx, d, "tcp", bind=("127.0.0.77", 0)), "sip:+49@atlanta.example",
                  from_=CALLER % sip.token("f")).answered()
    t.wait(lambda: carrier.count("ACK") == 1, "the ACK")
    conn = t.dial(mallory, d, "tcp", bind=("127.0.0.2", 0))
    there = "sip:+900@%s;transport=tcp" % carrier.listener("tcp").hostport
    rows = ((honest.local, None, there), (CALLER % "m", honest.local, "sip:pbx@127.0.0.77:9"))
    for from_, to, uri in rows:
        own = Call(mallory, conn, "sip:amber@atlanta.example", from_=from_,
                   call_id=honest.call_id).answered()
        for routes in (own.routes + honest.routes, honest.routes + own.routes,
                       own.routes + honest.routes + own.routes):
            for method in ("INVITE", "MESSAGE", "BYE"):
                own.cseq += 1
                data, key = mallory.make(conn, method, uri, [("Route", r) for r in routes],
                                         cseq=own.cseq, call_id=own.call_id, from_=from_,
                                         to=to or own.remote)
                mallory.expect(key)
                conn.send(data)
                assert mallory.final(key).status in (403, 404), (from_, routes, method)
        assert own.bye().status == 200
    assert not pbx.seen and carrier.count("INVITE") == carrier.count("ACK") == len(carrier.seen) - 1
    assert d.counter("legs.misused") >= 12
    assert honest.bye().status == 200


class Around(Ua):
    """A proxy that stays in no dialog: what comes goes back to where it came from, to URI."""

    def __init__(self, name, wait_s, uri):
        super().__init__(name, wait_s)
        self.uri, self.back = uri, {}

    def _on_msg(self, conn, msg):
        lines = msg.raw.split(b"\r\n")
        if msg.method:
            self.back[msg.branch] = conn
            lines[0] = ("%s %s SIP/2.0" % (msg.method, self.uri)).encode()
            lines.insert(1, ("Via: SIP/2.0/TCP %s;branch=%sx" % (conn.hostport, msg.branch)).encode())
        else:
            branch = msg.branch[:-1]
            lines = lines[:1] + [x for x in lines[1:] if branch.encode() + b"x" not in x]
            conn = self.back[branch]
        conn.send(b"\r\n".join(lines))


def test_s1_a_call_that_comes_by_twice(t):
    """By way of a proxy that records nothing: the route set names us twice, and inside the dialog
    either side reaches the other."""
    bob = t.uas("tcp")
    around = Around("around", 20 * t.slow, t.uri(bob, "tcp"))
    t.agents.append(around)
    around.listen("tcp", "127.0.0.1", t.port())
    d = t.daemon(workers=2, peers=[
        ("around", {"uri": "sip:%s;transport=tcp" % around.listener("tcp").hostport})],
        routes=[("first", {"to_domain": "atlanta.example", "peers": ["around"]}),
                ("second", {"from_peer": ["around"], "to_domain": "127.0.0.1",
                            "relay": "request-uri", "relay_networks": "127.0.0.0/8"})])
    alice = t.uac()
    alice.listen("tcp", "127.0.0.1", t.port())
    for tr in ("tcp", "udp"):
        call = Call(alice, t.dial(alice, d, tr), "sip:bob@atlanta.example").answered()
        assert len(call.routes) == (2 if tr == "tcp" else 3), call.routes
        assert call.request("INFO").status == call.request("INVITE").status == 200
        side = bob.dialogs[call.call_id]
        data, key = side.make("BYE")
        bob.expect(key)
        side.conn.send(data)
        where, req = alice.next_request("BYE")
        alice.reply(where, req, 200)
        assert bob.final(key).status == 200
    assert d.counter("legs.misused") == d.counter("legs.moved") == 0


def test_s1_a_dialog_leads_not_back_to_us(t):
    """Who may call the pbx names inside that call an address of ours, by a name: not as the pbx,
    whose networks it is in, does the request come back. Nor does what another's forwarding brings
    straight from us to us, whatever has become of its Request-URI: it is looped."""
    pbx, carrier = t.uas(name="pbx"), t.uas(name="carrier")
    pbx.listen("tcp", "127.0.0.5", t.port())
    carrier.listen("tcp", "127.0.0.9", t.port())
    dns.use(t, dns.NameServer().port, hosts="127.0.0.1 us.example\n")
    d = t.daemon(start=False)
    tcp = "sip:%s;transport=tcp"
    d.configure(extra='domains = "atlanta.example"', peers=[
        ("pbx", {"uri": tcp % pbx.listener("tcp").hostport, "networks": "127.0.0.0/29"}),
        ("carrier", {"uri": tcp % carrier.listener("tcp").hostport})],
        routes=[("out", {"from_peer": ["pbx"], "to_prefix": "+", "peers": ["carrier"]}),
                ("in", {"to_domain": "atlanta.example", "peers": ["pbx"]})])
    d.start()
    mallory = t.uac("mallory")
    for tr in ("tcp", "udp"):
        conn = t.dial(mallory, d, "tcp", bind=("127.0.0.22", 0))
        call = Call(mallory, conn, "sip:bob@atlanta.example", from_=CALLER % "m").answered()
        call.target = "sip:+900@us.example:%d;transport=%s" % (d.port(tr), tr)
        for method in ("INVITE", "MESSAGE", "REFER"):
            assert call.request(method).status in (403, 503), method
    assert d.counter("legs.astray") == 6 and d.counter("messages.in.udp") == 0
    mallory.request(conn, "MESSAGE", "sip:bob@atlanta.example", from_=CALLER % "m")
    line, rest = pbx.seen[-1].raw.split(b"\r\n", 1)
    assert line.startswith(b"MESSAGE ")
    with socket.create_connection(("127.0.0.1", d.port("tcp")), 20 * t.slow) as back:
        back.sendall(b"MESSAGE sip:+900@far.example SIP/2.0\r\n" + rest)
        assert back.recv(65536).startswith(b"SIP/2.0 482 ")
    assert not carrier.seen


@pytest.mark.kernel_tls
def test_s1_a_leg_comes_back_on_another_connection(t):
    """Whoever is where the leg was is the leg: the caller on a new connection, the callee on one of
    its own making; each on whatever worker."""
    amber, _, _, d = _carrier_setting(t, workers=3)
    alice = t.uac()
    alice.listen("tcp", "127.0.0.1", t.port())
    for _ in range(4):
        conn = t.dial(alice, d, "tcp")
        call = _call(t, d, alice, conn)
        conn.close()
        assert call.request("INFO", t.dial(alice, d, "tcp")).status == 200
        side = amber.dialogs[call.call_id]
        data, key = side.make("BYE", t.dial(amber, d, "tcp"))
        amber.expect(key)
        amber.conns[-1].send(data)
        where, req = alice.next_request("BYE")
        alice.reply(where, req, 200)
        assert amber.final(key).status == 200
    assert d.counter("legs.moved") == 0 and d.counter("legs.astray") == 0


def test_s1_a_leg_that_moved_is_judged_as_a_first_request(t):
    """From another address, without proof: by the route table and the From check. Toward amber that
    is enough, with a From of ours it is not."""
    amber, carrier, _, d = _carrier_setting(t)
    alice = t.uac()
    call = _call(t, d, alice, t.dial(alice, d, "tcp"))
    call.conn = t.dial(alice, d, "tcp", bind=("127.0.0.3", 0))
    call.target = call.target.replace("sip:", "sip:amber@", 1) if "@" not in call.target \
        else call.target
    assert call.request("INFO").status == 200
    assert d.counter("legs.moved") >= 1
    call.local = "<sip:ceo@atlanta.example>;tag=" + call.local.split("tag=")[1]
    before = d.counter("claims.refused.spoofed")
    assert call.request("INFO").status == 403
    assert d.counter("claims.refused.spoofed") == before + 1
    assert [m.method for m in amber.seen].count("INFO") == 1


def test_s1_a_certificate_is_the_leg_wherever_it_comes_from(t):
    """A caller whose certificate was verified is that leg from any address with the same
    certificate; without it, or with another, he is not, even at the same address."""
    lab = Authority(t, "lab").cert("atlanta.example")
    for name in ("caller.example", "other.example"):
        lab.cert(name, "--domain", name)
    amber = t.uas("tcp", name="amber")
    d = t.daemon(domain=verifying(lab, require_cert=False), peers=[
        ("amber", {"uri": "sip:%s;transport=tcp" % amber.listener("tcp").hostport})],
        routes=[("amber", {"to_prefix": "amber", "peers": ["amber"]})])
    alice = t.uac()

    def dial(ctx, where):
        return t.dial(alice, d, "tls", ctx=ctx, bind=(where, 0))

    call = _call(t, d, alice, dial(lab.client("caller.example"), "127.0.0.1"))
    call.target = call.target.replace("amber@", "b@", 1)   # no route takes that as a first request
    rows = ((lab.client("caller.example"), "127.0.0.1", 200),
            (lab.client("caller.example"), "127.0.0.4", 200),
            (lab.client("other.example"), "127.0.0.1", 403),
            (lab.client(), "127.0.0.1", 403))
    for ctx, where, want in rows:
        assert call.request("INFO", dial(ctx, where)).status == want, (where, want)
    assert call.request("INFO", t.dial(alice, d, "tcp")).status == 403
    assert d.counter("legs.moved") == 3


# ---- branches -----------------------------------------------------------------------------------

def _drops(d):
    return sum(d.counter("drops." + k) for k in (
        "forged", "ack_answered", "not_asked", "sent_by", "stray_response"))


def _refused(t, d, conn, data, which):
    """DATA, sent on CONN, is dropped, and counted as WHICH of the drops."""
    before, others = d.counter("drops." + which), _drops(d)
    conn.send(data)
    t.wait(lambda: _drops(d) > others, "the drop of %r" % data[:40])
    assert d.counter("drops." + which) == before + 1, (which, data)


def _response_to_ack(ack, below, method, status=b"200 Anything"):
    """What a thief of ACK's branch makes of it: the next Via is BELOW."""
    lines = [b"SIP/2.0 " + status, b"Via: " + ack.all("via")[0].encode(), b"Via: " + below,
             b"From: " + ack.get("from").encode(), b"To: " + ack.get("to").encode(),
             b"Call-ID: " + ack.call_id.encode(), b"CSeq: %d %s" % (ack.cseq[0], method),
             b"Content-Length: 0"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_s2_the_branch_of_an_ack_lets_nothing_through(t):
    """By whomever, from wherever, with whatever CSeq, toward the caller or a third: an ACK has no
    response, and its branch is none of the INVITE's."""
    for transport in ("udp", "tcp", "tls"):
        bob = t.uas(transport)
        d = t.daemon()
        alice, mallory, victim = t.uac(), t.uac("mallory"), t.uac("victim")
        mallory.listen("udp", "127.0.0.2")
        port = victim.listen("udp", "127.0.0.3")
        Call(alice, t.dial(alice, d, transport), t.uri(bob, transport)).answered()
        t.wait(lambda: bob.count("ACK") == 1, "the ACK")
        ack = [m for m in bob.seen if m.method == "ACK"][0]
        here = bob.listener(transport).conns[0] if transport != "udp" else \
            bob.udps["127.0.0.1"].flow("127.0.0.1", d.port("udp"))
        away = mallory.udps["127.0.0.2"].flow("127.0.0.1", d.port("udp"))
        for conn in (here, away, t.dial(mallory, d, "tcp")):
            for below in (ack.all("via")[1].encode(),
                          b"SIP/2.0/UDP 127.0.0.3:%d;branch=z9hG4bKx" % port):
                for method, which in ((b"ACK", "ack_answered"), (b"INVITE", "forged"),
                                      (b"OPTIONS", "forged")):
                    _refused(t, d, conn, _response_to_ack(ack, below, method), which)
        assert not victim.strays and not victim.seen and not alice.strays
        for agent in (bob, mallory, victim, alice):
            agent.close()
        d.stop()


def _spoil(data, spoil):
    """The rows of what an honest response may be spoilt by."""
    old, new = spoil
    assert old in data, (old, data)
    return data.replace(old, new, 1)


def test_s2_a_stateless_branch_is_for_its_response_alone(t):
    """A stateless route over UDP and TCP: a response with another Call-ID, CSeq, method, next Via,
    sent-by or sender is dropped; the right one passes, a repeated one too."""
    for transport in ("udp", "tcp"):
        bob = t.uas(transport, silent=True)
        d = t.daemon(peers=[("bob", {"uri": t.uri(bob, transport).replace("bob@", "")})],
                     routes=[("out", {"peers": ["bob"], "stateless": True})])
        alice, mallory, victim = t.uac(), t.uac("mallory"), t.uac("victim")
        mallory.listen("udp", "127.0.0.2")
        port = victim.listen("udp", "127.0.0.3")
        conn = t.dial(alice, d, "udp")
        data, key = alice.make(conn, "MESSAGE", "sip:x@far.example")
        alice.expect(key)
        conn.send(data)
        where, req = bob.next_request("MESSAGE")
        good = sip.response(req, 200, to_tag="t")
        below = req.all("via")[1].encode()
        ours = req.all("via")[0].split()[1].split(";")[0].encode()
        rows = ((req.call_id.encode(), b"other"), (b"1 MESSAGE", b"2 MESSAGE"),
                (b"1 MESSAGE", b"1 INVITE"), (ours, b"127.0.0.9:5060"), (ours, b"proxy.example"),
                (below, b"SIP/2.0/UDP 127.0.0.3:%d;branch=z9hG4bKx" % port),
                (below, below + b";received=127.0.0.3"),
                (below.split(b";")[0], b"SIP/2.0/UDP 127.0.0.3:%d" % port))
        for row in rows:
            _refused(t, d, where, _spoil(good, row), "forged")
        senders = [mallory.udps["127.0.0.2"].flow("127.0.0.1", d.port("udp")),
                   t.dial(mallory, d, "tcp")]
        for stranger in senders:
            _refused(t, d, stranger, good, "forged")
        assert not victim.strays and not alice.strays
        for _ in range(2):
            where.send(good)
            assert alice.next_response(key).status == 200
        for agent in (bob, mallory, victim, alice):
            agent.close()
        d.stop()


def test_s2_a_via_that_holds_no_received_leads_nowhere(t):
    """A stateless route answers over UDP to where the Via below ours says: to the source, which we
    write there, however long the Via is and whatever it says itself. One that has no room for it is
    refused."""
    bob, victim = t.uas("udp"), t.uac("victim")
    port = victim.listen("udp", "127.0.0.3")
    d = t.daemon(peers=[("bob", {"uri": t.uri(bob, "udp").replace("bob@", "")})],
                 routes=[("out", {"peers": ["bob"], "stateless": True})])
    alice = t.uac()
    conn = t.dial(alice, d, "udp")
    for pad, status in ((10, 200), (400, 200), (600, 200), (900, 200), (1100, 400), (5000, 400)):
        data, key = alice.make(conn, "MESSAGE", "sip:x@far.example")
        lie = b"rport=%d;received=127.0.0.3;x=%s\r\nMax-F" % (port, b"y" * pad)
        alice.expect(key)
        conn.send(_spoil(data, (b"rport\r\nMax-F", lie)))
        assert alice.final(key).status == status, pad
    assert bob.count("MESSAGE") == 4 and not victim.strays


def test_s2_responses_count_only_from_where_the_request_went(t):
    """Statefully: a final response from another address or connection, or whose top Via has our
    branch and another's sent-by, ends nothing; the callee's own does. CANCEL's as well."""
    for transport in ("udp", "tcp", "tls"):
        bob = t.uas(transport, silent=True)
        d = t.daemon(workers=2)
        alice, mallory = t.uac(), t.uac("mallory")
        mallory.listen("udp", "127.0.0.2")
        call = Call(alice, t.dial(alice, d, "tcp"), t.uri(bob, transport)).send()
        where, req = bob.next_request("INVITE")
        where.send(sip.response(req, 100))      # from here on it has time
        good = sip.response(req, 603, to_tag="t")
        strangers = [mallory.udps["127.0.0.2"].flow("127.0.0.1", d.port("udp")),
                     t.dial(mallory, d, "tcp"), t.dial(mallory, d, "tls")]
        for stranger in strangers:
            for status in (180, 200, 603):
                _refused(t, d, stranger, good.replace(b" 603 ", b" %d " % status, 1), "not_asked")
        ours = req.all("via")[0].split()[1].split(";")[0].encode()
        for other in (b"127.0.0.9:5060", b"proxy.example", ours.split(b":")[0], ours.split(b":")[0] + b":1"):
            _refused(t, d, where, _spoil(good, (ours + b";", other + b";")), "sent_by")
        where.send(good)
        assert call.final().status == 603
        for agent in (bob, mallory, alice):
            agent.close()
        d.stop()


def test_s2_a_peer_may_answer_from_another_of_its_addresses(t):
    """Over UDP: from another port, and from another address that the configuration gives it."""
    bob = t.uas("udp", silent=True)
    d = t.daemon(peers=[("bob", {"uri": t.uri(bob, "udp").replace("bob@", ""),
                                 "networks": "127.0.0.0/30"})], routes=[("out", {"peers": ["bob"]})])
    bob.listen("udp", "127.0.0.2")
    alice = t.uac()
    flows = [bob.connect("udp", "127.0.0.1", d.port("udp")),
             bob.udps["127.0.0.2"].flow("127.0.0.1", d.port("udp"))]
    for flow in flows:
        data, key = alice.make(t.dial(alice, d, "tcp"), "MESSAGE", "sip:x@far.example")
        alice.expect(key)
        alice.conns[-1].send(data)
        _, req = bob.next_request("MESSAGE")
        flow.send(sip.response(req, 200, to_tag="t"))
        assert alice.final(key).status == 200
    assert d.counter("drops.not_asked") == 0
