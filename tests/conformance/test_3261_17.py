# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 17: transactions and their timers. T1 is short in the configuration; what is counted is
how often something was sent, never how long it took.
"""
import time

from kit import HUNT, over, sip

T1, T2 = 60, 480        # ms; T2 is 8 * T1 as in the RFC


def _times(c, **more):
    return dict({"t1": c.t.ms(T1), "t2": c.t.ms(T2), "t4": c.t.ms(2 * T1),
                 "timer_b": c.t.ms(64 * T1), "timer_f": c.t.ms(64 * T1)}, **more)


def _long(c, n=64):
    """Sleeps N times T1."""
    time.sleep(n * T1 / 1000 * c.t.slow)


def _call(c, limits=None, **times):
    c.proxy(timeouts=_times(c, **times), limits=limits)
    bob = c.callee()
    call = c.invite(c.uri(bob))
    return bob, call, bob.take("INVITE")


# ---- 17.1.1 INVITE client transactions ----------------------------------------------------------

@over("udp")
def test_17_1_1_2_timer_a(c):
    """An unanswered INVITE is repeated after T1, 2*T1, 4*T1 ... until Timer B: seven times in all,
    then 408."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    call = c.invite(c.uri(bob))
    assert call.final().status == 408
    assert 6 <= bob.total("INVITE") <= 7, bob.total("INVITE")
    assert len(bob.copies) == 1, "repeats must be the same request"


@over("tls", "tcp")
def test_17_1_1_2_no_timer_a_on_streams(c):
    """On a reliable transport nothing is repeated; Timer B holds all the same."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    call = c.invite(c.uri(bob))
    assert call.final().status == 408
    assert bob.total("INVITE") == 1


@over("udp")
def test_17_1_1_2_provisional_stops_repeats(c):
    """From the first provisional response on the INVITE is not repeated."""
    bob, call, got = _call(c)
    bob.reply(got, 100)
    c.drain(bob)                        # what was repeated until then has come
    before = bob.total("INVITE")
    _long(c, 20)
    assert bob.total("INVITE") == before, "repeated behind a 100"
    bob.reply(got, 486)
    assert call.final().status == 486


def test_17_1_1_2_timer_b_not_behind_provisional(c):
    """Timer B ends only what was never answered."""
    bob, call, got = _call(c, timer_b=c.t.ms(2500))
    bob.reply(got, 180)
    time.sleep(4 * c.t.slow)
    assert not [m for m in c.alice.left(call.key) if m.status >= 200]
    bob.reply(got, 200)
    assert call.final().status == 200


def test_17_1_1_3_ack_for_a_failure(c):
    """The ACK to a 300 to 699 is made here, on the same hop: its fields are those of the INVITE as
    we sent it, To is that of the response."""
    bob, call, got = _call(c)
    invite = got[1]
    bob.reply(got, 486, tag="busy")
    ack = bob.take("ACK")[1]
    assert ack.uri == invite.uri
    assert ack.all("via") == [invite.all("via")[0]], ack.all("via")
    assert ack.cseq == (invite.cseq[0], "ACK")
    assert ack.get("to") == invite.get("to") + ";tag=busy"
    for name in ("call-id", "from"):
        assert ack.get(name) == invite.get(name), name
    assert ack.all("route") == invite.all("route")
    assert call.final().status == 486
    c.drain(bob)
    assert bob.total("ACK") == 1, "the caller's ACK must end here"


def test_17_1_1_3_route_of_ack_and_cancel(c):
    """9.1 and 17.1.1.3: CANCEL and ACK carry the Route values that the INVITE went on with."""
    c.proxy()
    bob = c.callee()
    routes = ["<%s>" % c.uri(bob, "next", params=";lr"), "<sip:after.example;lr>"]
    call = c.invite("sip:bob@far.example", headers=[("Route", r) for r in
                                                    ["<%s>" % c.our_uri()] + routes])
    got = bob.take("INVITE")
    assert got[1].all("route") == routes, got[1].all("route")
    bob.reply(got, 180)
    while c.alice.next_response(call.key).status == 100:
        pass
    assert call.cancel().status == 200
    assert bob.take("CANCEL")[1].all("route") == routes
    bob.reply(got, 487)
    assert bob.take("ACK")[1].all("route") == routes
    assert call.final().status == 487


@over("udp")
def test_17_1_1_2_repeated_failure_acked_again(c):
    """Timer D: each repeat of the failure is acknowledged, and none is forwarded."""
    bob, call, got = _call(c)
    bob.reply(got, 486)
    bob.take("ACK")
    assert call.final().status == 486
    for n in (2, 3):
        bob.reply(got, 486)
        c.t.wait(lambda n=n: bob.total("ACK") == n, "the ACK to a repeat")
    c.drain(bob)
    assert not [m for m in c.alice.left(call.key) if m.status != 486]


# ---- 17.1.2 other client transactions -----------------------------------------------------------

@over("udp")
def test_17_1_2_2_timer_e(c):
    """Another request is repeated at T1, doubling up to T2, until Timer F: eleven times in all."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    bob.take("MESSAGE")
    _long(c, 66)
    assert 9 <= bob.total("MESSAGE") <= 11, bob.total("MESSAGE")
    assert not [m for m in c.alice.left(key) if m.status >= 200]


@over("tls", "tcp")
def test_17_1_2_2_no_timer_e_on_streams(c):
    """Nothing is repeated on a reliable transport."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    c.send("MESSAGE", c.uri(bob))
    bob.take("MESSAGE")
    _long(c, 66)
    assert bob.total("MESSAGE") == 1


@over("udp")
def test_17_1_2_2_repeats_at_t2_behind_provisional(c):
    """Behind a provisional response the request is still repeated, every T2."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    bob.reply(got, 100)
    c.drain(bob)
    before, since = bob.total("MESSAGE"), time.monotonic()
    _long(c, 30)
    more = bob.total("MESSAGE") - before
    took_t2 = (time.monotonic() - since) * 1000 / (T2 * c.t.slow)
    assert 2 <= more <= took_t2 + 1, "%d repeats within %.1f * T2" % (more, took_t2)
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


@over("udp")
def test_17_1_2_2_timer_k(c):
    """Repeats of a final response are absorbed."""
    c.proxy(timeouts=_times(c))
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    for _ in range(3):
        bob.reply(got, 200)
    assert c.alice.final(key).status == 200
    c.drain(bob)
    assert not c.alice.left(key)


def test_17_1_4_timeout_is_408(c):
    """An INVITE that nobody answers is 408, over every transport."""
    c.proxy(timeouts=_times(c, timer_b=c.t.ms(500)))
    call = c.invite(c.uri(c.callee()))
    rsp = call.final()
    assert rsp.status == 408 and sip.param(rsp.get("to"), "tag")


# ---- 17.2.1 INVITE server transactions ----------------------------------------------------------

def test_17_2_1_trying(c):
    """16.2: an INVITE that has no answer within 200 ms gets a 100, without a To tag, with its
    Timestamp."""
    c.proxy(timeouts={"trying": "200ms"})
    bob = c.callee()
    call = c.invite(c.uri(bob), headers=[("Timestamp", "54.25")])
    got = bob.take("INVITE")
    rsp = c.alice.next_response(call.key)
    assert rsp.status == 100, repr(rsp)
    assert sip.param(rsp.get("to"), "tag") is None, rsp.get("to")
    assert rsp.get("timestamp", "").startswith("54.25"), rsp.headers
    bob.reply(got, 486)
    assert call.final().status == 486


@over("udp")
def test_17_2_1_repeated_invite_absorbed(c):
    """A repeated INVITE gets the last provisional response again and goes nowhere."""
    bob, call, got = _call(c, t1="500ms", t2="4s")
    bob.reply(got, 183)
    assert [m.status for m in (c.alice.next_response(call.key),)][-1] in (100, 183)
    c.drain(bob)
    c.alice.left(call.key)
    c.conn.send(call.data)
    again = c.alice.next_response(call.key)
    assert again.status == 183, repr(again)
    c.drain(bob)
    assert len([k for k in bob.copies if k[1] == "INVITE"]) == 1, "forwarded twice"
    bob.reply(got, 486)
    assert call.final().status == 486


@over("udp")
def test_17_2_1_timer_g(c):
    """A failure is repeated until the ACK comes: T1, 2*T1, ... up to T2; Timer H ends it."""
    bob, call, got = _call(c, limits={"udp_answer_factor": 0})
    bob.reply(got, 486)
    c.t.wait(lambda: bob.total("ACK"), "our ACK")
    _long(c, 70)
    n = len([m for m in c.alice.left(call.key) if m.status == 486])
    assert 9 <= n <= 11, "%d copies" % n
    _long(c, 20)
    assert not c.alice.left(call.key), "repeated behind Timer H"


@over("udp")
def test_17_2_1_ack_stops_timer_g(c):
    """The ACK ends the repeats; a repeated ACK is absorbed (Timer I)."""
    bob, call, got = _call(c)
    bob.reply(got, 486)
    rsp = call.final()              # sends the ACK
    assert rsp.status == 486
    c.conn.send(call.hop_request("ACK", rsp.get("to")))
    c.drain(bob)
    c.alice.left(call.key)
    _long(c, 20)
    assert not c.alice.left(call.key), "repeated behind the ACK"
    assert bob.total("ACK") == 1, "the caller's ACK was forwarded"


@over("tls", "tcp")
def test_17_2_1_no_timer_g_on_streams(c):
    """On a reliable transport the failure is sent once."""
    bob, call, got = _call(c)
    bob.reply(got, 486)
    assert c.alice.final(call.key).status == 486       # and no ACK
    _long(c, 70)
    assert not c.alice.left(call.key)


def test_17_2_1_ack_of_our_own_refusal(c):
    """The ACK to a failure that the proxy made itself goes no further."""
    bob = c.callee()
    c.proxy(hunt=[c.nowhere("x").replace("x@", "")], timeouts=_times(c))
    for call in (c.invite(c.uri(bob), max_forwards=0),
                 c.invite(c.uri(bob), headers=[("Proxy-Require", "x")])):
        rsp = call.final()
        assert rsp.status in (483, 420)
        time.sleep(0.1 * c.t.slow)      # another worker might forward it
        c.nothing_came(bob, "ACK")


# ---- 17.2.2 other server transactions -----------------------------------------------------------

@over("udp")
def test_17_2_2_repeats_absorbed(c):
    """Before the final response a repeat is absorbed in silence, behind it answered with it."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob))
    c.alice.expect(key)
    c.conn.send(data)
    got = bob.take("MESSAGE")
    c.conn.send(data)
    c.drain(bob)
    assert not c.alice.left(key)
    bob.reply(got, 202)
    assert c.alice.final(key).status == 202
    for _ in range(2):
        c.conn.send(data)
        assert c.alice.final(key).status == 202
    assert len([k for k in bob.copies if k[1] == "MESSAGE" and bob.copies[k]]) >= 1
    assert bob.count("MESSAGE") == 1


@over("udp")
def test_17_2_2_timer_j(c):
    """Timer J is 64*T1: after it the same request is a new one."""
    c.proxy(timeouts=_times(c, t1="20ms"))
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob))
    c.alice.expect(key)
    for _ in range(2):
        c.conn.send(data)
        bob.reply(bob.take("MESSAGE"), 200)
        assert c.alice.final(key).status == 200
        time.sleep(64 * 0.02 + c.t.slow)


# ---- 17.2.3 and 17.1.3 matching -----------------------------------------------------------------

@over("udp")
def test_17_2_3_sent_by_is_part_of_the_match(c):
    """The same branch with another sent-by is another transaction."""
    c.proxy()
    bob = c.callee()
    branch = sip.token("z9hG4bK")
    for by in ("a.example:5099", "b.example:5099", "b.example:5098"):
        key = c.send("MESSAGE", c.uri(bob), branch=branch, sent_by=by)
        bob.reply(bob.take("MESSAGE"), 200)
        assert c.alice.final(key).status == 200
    assert bob.count("MESSAGE") == 3


@over("udp")
def test_17_2_3_method_is_part_of_the_match(c):
    """The same branch with another method is another transaction."""
    c.proxy()
    bob = c.callee()
    branch = sip.token("z9hG4bK")
    for method in ("MESSAGE", "INFO", "XYZ", "ZYX"):
        key = c.send(method, c.uri(bob), branch=branch)
        bob.reply(bob.take(method), 200)
        assert c.alice.final(key).status == 200


@over("udp")
def test_17_2_3_without_cookie(c):
    """A branch without the cookie does not identify a transaction: Call-ID, tags and CSeq do."""
    c.proxy()
    bob = c.callee()
    seen = []
    for call_id, cseq in (("old-a", 1), ("old-a", 2), ("old-b", 1)):
        data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), branch="1", cseq=cseq,
                                 call_id=call_id + str(id(c)), from_="<sip:a@x.example>;tag=1")
        c.alice.expect(key)
        c.conn.send(data)
        got = bob.take("MESSAGE")
        c.conn.send(data)               # a repeat is one here too
        c.drain(bob)
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200
        seen.append(got[1].key())
    assert len(set(seen)) == 3 and bob.count("MESSAGE") == 3


def test_17_2_3_ack_of_a_2xx_is_its_own(c):
    """The ACK to a 2xx has another branch and is forwarded to the callee."""
    c.proxy()
    bob = c.callee()
    call = c.invite(c.uri(bob))
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    ack = bob.take("ACK")[1]
    assert ack.branch != got[1].branch and ack.cseq[0] == got[1].cseq[0]


def test_17_2_3_cancel_finds_its_invite(c):
    """A CANCEL matches by the INVITE's branch, also when it comes over another connection."""
    bob = c.callee()
    c.proxy(hunt=[c.target(bob)])
    call = c.invite(HUNT)
    got = bob.take("INVITE")
    bob.reply(got, 180)
    key = (call.call_id, 1, "CANCEL")
    c.alice.expect(key)
    other = c.dial() if c.reliable else c.conn
    other.send(call.hop_request("CANCEL"))
    assert c.alice.final(key).status == 200
    bob.take("CANCEL")
    bob.reply(got, 487)
    assert call.final().status == 487
