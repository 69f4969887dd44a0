# SPDX-License-Identifier: Apache-2.0
"""The RFCs that amend RFC 3261 for a proxy: 6026 (2xx to INVITE), 4320 (other methods), 3581
(rport), 5393 (loops and breadth), 5630 (sips). Tests are named by RFC and section.
"""
import time

from kit import HUNT, over, sip

# ---- RFC 6026 -----------------------------------------------------------------------------------

def _answered(c, **conf):
    c.proxy(**conf)
    bob = c.callee()
    call = c.invite(c.uri(bob))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    return bob, call, got


def test_6026_7_2_repeated_2xx_forwarded(c):
    """The client transaction stays for repeats of the 2xx; each goes on to the caller."""
    bob, call, got = _answered(c)
    for _ in range(3):
        bob.reply(got, 200)
        assert c.alice.final(call.key).status == 200
    call.ack()
    bob.take("ACK")


@over("udp")
def test_6026_7_1_repeated_invite_absorbed(c):
    """In Accepted a repeated INVITE is absorbed: not forwarded, and not answered by the proxy, since
    repeating the 2xx is the callee's."""
    bob, call, got = _answered(c)
    c.conn.send(call.data)
    c.conn.send(call.data)
    c.drain(bob)
    assert len([k for k in bob.copies if k[1] == "INVITE"]) == 1, "forwarded again"
    assert not c.alice.left(call.key), "answered from the proxy"
    call.ack()
    bob.take("ACK")


def test_6026_7_1_ack_of_2xx_passes(c):
    """In Accepted the ACK is not absorbed: each one goes on to the callee."""
    bob, call, got = _answered(c)
    data, _ = call.make("ACK", cseq=call.invite.cseq[0])
    for _ in range(2):
        c.conn.send(data)
    c.t.wait(lambda: bob.total("ACK") == 2, "both ACKs")


def test_6026_8_9_stray_2xx_dropped(c):
    """A 2xx that comes when the transaction is gone (Timer L, M) is not forwarded."""
    bob, call, got = _answered(c, timeouts={"t1": "10ms", "t2": "40ms"})
    call.ack()
    bob.take("ACK")
    time.sleep(64 * 0.01 + 0.5 * c.t.slow)
    before = c.d.counter("drops.stray_response") + c.d.counter("drops.forged")
    bob.reply(got, 200)
    c.drain(bob)
    assert not c.alice.left(call.key) and not c.alice.strays
    c.t.wait(lambda: c.d.counter("drops.stray_response") + c.d.counter("drops.forged") > before,
             "the drop")


# ---- RFC 4320 -----------------------------------------------------------------------------------

def test_4320_4_1_100_when_timer_e_reaches_t2(c):
    """A request of another method gets a 100 when a client's Timer E would have reached T2, and not
    before that."""
    c.proxy(timeouts={"t1": c.t.ms(200), "t2": c.t.ms(1600)})
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    assert c.alice.next_response(key).status == 100
    if not c.reliable:
        c.drain(bob)
        assert bob.total("MESSAGE") >= 3, "before Timer E was at T2"
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


def test_4320_4_1_no_100_at_once(c):
    """A request that is answered in time gets no 100."""
    c.proxy(timeouts={"t1": "500ms", "trying": "50ms"})
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    time.sleep(0.3)
    bob.reply(got, 200)
    assert c.alice.next_response(key).status == 200


def test_4320_4_1_other_provisional_is_forwarded(c):
    """A choice: a provisional response that the callee should not have sent is not held back, as
    16.7 step 5 has it."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    bob.reply(got, 183)
    assert c.alice.next_response(key).status == 183
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


def test_4320_4_2_timeout_is_not_answered(c):
    """A request of another method that times out gets no 408: nobody would be waiting for it."""
    c.proxy(timeouts={"t1": "20ms", "t2": "80ms", "timer_f": c.t.ms(2500)})
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    bob.take("MESSAGE")
    c.d.wait_counter("transactions.timeout", 1)
    time.sleep(0.3 * c.t.slow)
    assert not [m for m in c.alice.left(key) if m.status >= 200]


def test_4320_4_2_408_is_not_forwarded(c):
    """A 408 from downstream is not sent to another method's client either."""
    c.proxy(timeouts={"t1": "500ms", "t2": "4s", "timer_f": c.t.ms(4000)})
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    bob.reply(bob.take("MESSAGE"), 408)
    c.drain(bob)
    time.sleep(0.3)
    assert not [m for m in c.alice.left(key) if m.status >= 200]


def test_4320_4_2_408_to_invite_is_forwarded(c):
    """To an INVITE it is."""
    c.proxy()
    bob = c.callee()
    call = c.invite(c.uri(bob))
    bob.reply(bob.take("INVITE"), 408)
    assert call.final().status == 408


def test_4320_4_3_late_response_dropped(c):
    """A final response behind the time-out finds no transaction and is not forwarded."""
    c.proxy(timeouts={"t1": "20ms", "t2": "80ms", "timer_f": c.t.ms(2500)})
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    c.d.wait_counter("transactions.timeout", 1)
    bob.reply(got, 200)
    c.drain(bob)
    assert not [m for m in c.alice.left(key) if m.status >= 200] and not c.alice.strays


# ---- RFC 3581 -----------------------------------------------------------------------------------

def test_3581_4_rport_filled_in(c):
    """rport gets the source port, and received the source address even if sent-by is the same."""
    c.proxy()
    bob = c.callee()
    msg, rsp = c.through(bob, sent_by="127.0.0.1:%d" % c.conn.local[1])
    for via in (msg.all("via")[1], rsp.get("via")):
        assert sip.param(via, "rport") == str(c.conn.local[1]), via
        assert sip.param(via, "received") == "127.0.0.1", via


def test_3581_4_rport_not_asked_for(c):
    """Without rport in the request none is added."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), sent_by="127.0.0.1:%d" %
                             c.conn.local[1])
    c.alice.expect(key)
    c.conn.send(data.replace(b";rport", b"", 1))
    got = bob.take("MESSAGE")
    assert "rport" not in got[1].all("via")[1], got[1].all("via")
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


@over("udp")
def test_3581_4_response_to_the_source(c):
    """With rport the response goes to the source address and port, and comes from the address and
    port that the request was sent to; local answers as well."""
    c.proxy()
    bob = c.callee()
    for uri, status in ((c.uri(bob), 200), ("mailto:x", 416)):
        data, key = c.alice.make(c.conn, "MESSAGE", uri, to="<sip:x@y.example>",
                                 sent_by="alice.example:5099")
        c.alice.expect(key)
        c.conn.send(data)
        if status == 200:
            bob.reply(bob.take("MESSAGE"), 200)
        rsp = c.alice.final(key)
        assert rsp.status == status
        assert rsp.conn.remote == ("127.0.0.1", c.d.port("udp")), rsp.conn.remote


# ---- RFC 5393 -----------------------------------------------------------------------------------

def test_5393_4_2_loop_between_two_proxies(c):
    """Two proxies that send the same request to each other: the first sees it again and says 482;
    it does not go round until Max-Forwards ends it."""
    other = c.t.daemon(start=False)
    c.proxy(hunt=["sip:127.0.0.1:%d;transport=%s" % (other.ports.setdefault(
        (c.tr, "127.0.0.1"), c.t.port()), c.tr)], extra="domains = { \"mine.example\" }")
    back = {"uri": "sip:127.0.0.1:%d;transport=%s" % (c.d.port(c.tr), c.tr)}
    if c.tr == "tls":
        back["tls_domain"] = "lab"
    # nothing is repeated, however late the first one answers: the arrivals are counted
    other.configure(timeouts={"t1": c.t.ms(4000), "t2": c.t.ms(4000)}, peers=[("first", back)],
                    routes=[("all", {"peers": ["first"]})])
    other.start()
    call = c.invite(HUNT)
    assert call.final().status == 482
    assert c.d.counter("requests.INVITE") == 2, c.d.counter("requests.INVITE")
    c.d.keeps = other.keeps = 4


def test_5393_5_3_3_breadth_added(c):
    """A request without Max-Breadth is forwarded with 60."""
    c.proxy()
    assert c.through(c.callee())[0].all("max-breadth") == ["60"]


def test_5393_5_3_3_one_breadth(c):
    """Two Max-Breadth fields become one."""
    c.proxy()
    msg, _ = c.through(c.callee(), headers=[("Max-Breadth", "9"), ("Max-Breadth", "8")])
    assert len(msg.all("max-breadth")) == 1, msg.all("max-breadth")


def test_5393_5_3_3_breadth_not_used_up(c):
    """Toward one target the whole breadth goes on: it is not counted down by hop."""
    c.proxy()
    msg, _ = c.through(c.callee(), headers=[("Max-Breadth", "13")])
    assert msg.all("max-breadth") == ["13"]


def test_5393_5_3_3_breadth_bounded(c):
    """More than our maximum of 60 is cut to it."""
    c.proxy()
    msg, _ = c.through(c.callee(), headers=[("Max-Breadth", "5000")])
    assert msg.all("max-breadth") == ["60"]


def test_5393_5_3_3_breadth_is_shared(c):
    """Targets that are asked at the same time share the breadth of the request."""
    bobs = [c.callee("b%d" % i) for i in range(3)]
    c.proxy(hunt=[c.target(b) for b in bobs], route={"fork": "parallel"}, need=["fork"])
    call = c.invite(HUNT, headers=[("Max-Breadth", "7")])
    got = [b.take("INVITE") for b in bobs]
    for b, g in zip(bobs, got):
        b.reply(g, 486)
    assert call.final().status == 486
    shares = [int(m.get("max-breadth")) for _, m in got]
    assert sum(shares) <= 7 and min(shares) >= 1, shares


def test_5393_5_3_3_breadth_of_one(c):
    """With a breadth of 1 two targets are not asked at the same time: serially, or 440."""
    bobs = [c.callee("b%d" % i) for i in range(2)]
    c.proxy(hunt=[c.target(b) for b in bobs], route={"fork": "parallel"}, need=["fork"])
    call = c.invite(HUNT, headers=[("Max-Breadth", "1")])
    answers = c.alice.expect(call.key)
    c.t.wait(lambda: any(b.count("INVITE") for b in bobs) or not answers.empty(), "a first one")
    time.sleep(0.5 * c.t.slow)
    asked = [b for b in bobs if b.count("INVITE")]
    for b in asked:
        b.reply(b.take("INVITE"), 603)
    assert call.final().status in (603, 440)
    assert len(asked) <= 1, "both were asked at once"


# ---- RFC 5630 -----------------------------------------------------------------------------------

def _sips(bob):
    return "sips:bob@%s" % bob.listener("tls").hostport


@over("tls")
def test_5630_3_sips_goes_on_as_sips(c):
    """A sips Request-URI is forwarded by TLS with its scheme, and Record-Route is sips too."""
    c.proxy()
    bob = c.callee()
    call = c.invite(_sips(bob))
    got = bob.take("INVITE")
    assert got[1].uri == _sips(bob) and got[0].transport == "tls"
    routes = got[1].all("record-route")
    assert routes and all(sip.uri_of(r).startswith("sips:") for r in routes), routes
    bob.reply(got, 486)
    assert call.final().status == 486


def test_5630_4_sip_stays_sip(c):
    """A sip Request-URI is not upgraded: neither it nor Record-Route becomes sips."""
    c.proxy()
    bob = c.callee(tr="tls")
    call = c.invite(c.uri(bob, tr="tls"))
    got = bob.take("INVITE")
    assert got[1].uri.startswith("sip:")
    assert all(sip.uri_of(r).startswith("sip:") for r in got[1].all("record-route"))
    bob.reply(got, 486)
    assert call.final().status == 486


def test_5630_5_3_sips_not_downgraded(c):
    """When no target can be reached by TLS a sips request is 480, and none of it goes out."""
    for tr in ("tcp", "udp"):
        bob = c.callee(tr=tr)
        c.proxy(hunt=[c.target(bob, tr)])
        c.refused(480, "MESSAGE", HUNT.replace("sip:", "sips:"))
        c.refused(480, "INVITE", HUNT.replace("sip:", "sips:"))
        rsp = c.alice.request(c.conn, "MESSAGE", c.uri(bob, "probe", tr),
                              headers=[("X-Probe", "1")])
        assert rsp.status == 200 and not bob.seen, bob.seen


def test_5630_5_3_sips_takes_only_secure_targets(c):
    """Of several targets only those that TLS reaches are asked."""
    clear, secure = c.callee("clear", "tcp"), c.callee("secure", "tls")
    c.proxy(hunt=[c.target(clear, "tcp"), c.target(secure, "tls")])
    msg, _ = c.through(secure, uri=HUNT.replace("sip:", "sips:"))
    assert msg.uri.startswith("sips:")
    assert not clear.seen


@over("tls")
def test_5630_sips_route_is_kept_secure(c):
    """A next hop by Route of a sips request is reached by TLS or not at all."""
    c.proxy()
    carol = c.callee("carol", "tcp")
    route = "<%s>" % c.uri(carol, tr="tcp", params=";lr")
    c.refused(480, "MESSAGE", "sips:bob@far.example", headers=[("Route", route)])
    assert not carol.seen
