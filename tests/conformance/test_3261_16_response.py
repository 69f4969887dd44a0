# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 16.7 to 16.11: responses, Timer C, transport failures, CANCEL, stateless proxies. Each
test is named by the section whose rule it holds the proxy to.
"""
import re
import time

from kit import HUNT, fields, over, plain, sip


def _ringing(c, n=1, fork=None, uri=HUNT, need=(), **conf):
    """A call that has reached N callees: (call, callees, their INVITEs)."""
    bobs = [c.callee("b%d" % i) for i in range(n)]
    route = {"fork": fork} if fork else {}
    c.proxy(hunt=[c.target(b) for b in bobs], route=route,
            need=list(need) + (["fork"] if fork else []), **conf)
    call = c.invite(uri)
    got = [b.take("INVITE") for b in (bobs if fork == "parallel" else bobs[:1])]
    return call, bobs, got


def _provisional(c, call):
    """The next 1xx but 100."""
    while True:
        rsp = c.alice.next_response(call.key)
        if rsp.status != 100:
            assert rsp.status < 200, repr(rsp)
            return rsp


def _cancelled(bob, got):
    """BOB is sent a CANCEL for his INVITE and ends it."""
    _, cancel = bob.take("CANCEL")
    bob.reply(got, 487)
    return cancel


# ---- 16.7 steps 1 to 3 --------------------------------------------------------------------------

def test_16_7_1_unknown_branch_dropped(c):
    """A response whose branch is not one of ours is dropped and reaches nobody."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    conn, msg = bob.take("MESSAGE")
    data = sip.response(msg, 200, to_tag="x")
    branch = msg.branch.encode()
    forged = branch[:-1] + (b"0" if branch[-1:] != b"0" else b"1")
    before = c.d.counter("drops.forged") + c.d.counter("drops.stray_response")
    conn.send(data.replace(branch, forged))
    conn.send(data.replace(branch, b"z9hG4bKsomebodyelse"))
    c.drain(bob)
    assert not c.alice.left(key), "a forged response came through"
    c.t.wait(lambda: c.d.counter("drops.forged") + c.d.counter("drops.stray_response") >=
             before + 2, "two drops")
    bob.reply((conn, msg), 202)
    assert c.alice.final(key).status == 202


def test_16_7_1_method_must_match(c):
    """17.1.3: the CSeq method is part of the match."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    conn, msg = bob.take("MESSAGE")
    conn.send(sip.response(msg, 200, to_tag="x").replace(b"1 MESSAGE", b"1 INFO"))
    c.drain(bob)
    bob.reply((conn, msg), 202)
    assert c.alice.final(key).status == 202
    assert not c.alice.strays


def test_16_7_3_our_via_is_removed(c):
    """Only our Via goes; those below stay as they are, in as many fields."""
    c.proxy()
    bob = c.callee()
    below = ["SIP/2.0/UDP first.example;branch=z9hG4bKold1;x=1",
             "SIP/2.0/TCP second.example:99;branch=z9hG4bKold2, SIP/2.0/UDP [2001:db8::1];branch=3"]
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob))
    mine = re.search(rb"Via: [^\r]+\r\n", data).group(0)
    data = data.replace(mine, mine + b"".join(b"Via: %s\r\n" % v.encode() for v in below))
    c.alice.expect(key)
    c.conn.send(data)
    conn, msg = bob.take("MESSAGE")
    raw = sip.response(msg, 200, to_tag="t")
    conn.send(raw)
    _, rsp = c.alice.expect(key).get(timeout=c.wait_s)
    vias = [sip.param(v, "branch") for v in rsp.all("via")]
    assert vias == [sip.param(mine.decode(), "branch"), "z9hG4bKold1", "z9hG4bKold2", "3"], vias


def test_16_7_3_no_via_left_dropped(c):
    """A response with our Via alone was not for us to forward: dropped."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    conn, msg = bob.take("MESSAGE")
    alone = sip.response(msg, 180, to_tag="x")
    alone = re.sub(rb"\r\nVia: [^\r]*", b"", alone)
    alone = alone.replace(b"\r\n", b"\r\nVia: " + msg.all("via")[0].encode() + b"\r\n", 1)
    before = c.d.counter("drops.stray_response")
    conn.send(alone)
    c.d.wait_counter("drops.stray_response", before + 1)
    bob.reply((conn, msg), 200)
    assert c.alice.final(key).status == 200
    assert not c.alice.strays


def test_16_7_4_redirect_is_not_followed(c):
    """A choice: a 3xx goes to the caller, its Contacts are not tried here."""
    carol = c.callee("carol")
    call, (bob,), (got,) = _ringing(c)
    contact = "<%s>" % c.uri(carol)
    bob.reply(got, 302, headers=[("Contact", contact)])
    rsp = call.final()
    assert rsp.status == 302 and rsp.all("contact") == [contact], rsp.headers
    c.nothing_came(carol)


# ---- 16.7 step 5 --------------------------------------------------------------------------------

def test_16_7_5_provisional_forwarded(c):
    """Every 1xx but 100 goes on at once, early dialogs told apart by their tags."""
    call, (bob,), (got,) = _ringing(c)
    bob.reply(got, 100)
    for status, tag in ((180, "a"), (183, "b"), (199, "a"), (181, "a"), (182, "a"), (180, "b")):
        bob.reply(got, status, tag=tag, body=b"early" if status == 183 else b"")
        rsp = _provisional(c, call)
        assert (rsp.status, sip.param(rsp.get("to"), "tag")) == (status, tag), repr(rsp)
        assert rsp.body == (b"early" if status == 183 else b"")
    bob.reply(got, 486)
    assert call.final().status == 486


def test_16_7_5_100_not_forwarded(c):
    """A 100 is for this hop only."""
    call, (bob,), (got,) = _ringing(c, timeouts={"trying": "60s"})
    bob.reply(got, 100, headers=[("X-Mark", "of-bob")])
    bob.reply(got, 180)
    assert c.alice.next_response(call.key).status == 180
    bob.reply(got, 486)
    assert call.final().status == 486


def test_16_7_5_every_2xx_forwarded(c):
    """Each 2xx to an INVITE goes on, from whichever callee behind the next hop."""
    call, (bob,), (got,) = _ringing(c)
    for tag in ("one", "two", "three"):
        bob.reply(got, 200, tag=tag)
    tags = [sip.param(c.alice.final(call.key).get("to"), "tag") for _ in range(3)]
    assert tags == ["one", "two", "three"], tags


def test_16_7_5_2xx_of_each_branch(c):
    """A second callee's 2xx goes on too, though the call was answered already."""
    call, bobs, got = _ringing(c, 2, "parallel")
    for b, g in zip(bobs, got):
        b.reply(g, 180)
    bobs[0].reply(got[0], 200)
    assert call.final().status == 200
    bobs[1].take("CANCEL")
    bobs[1].reply(got[1], 200)       # it crossed the CANCEL
    second = c.alice.final(call.key)
    assert second.status == 200 and "b1" in sip.param(second.get("to"), "tag")


def test_16_7_5_2xx_behind_a_6xx(c):
    """A 2xx that crosses the CANCEL a 6xx has caused still goes on: the call exists."""
    call, bobs, got = _ringing(c, 2, "parallel")
    for b, g in zip(bobs, got):
        b.reply(g, 180)
    bobs[0].reply(got[0], 603)
    bobs[1].take("CANCEL")
    bobs[1].reply(got[1], 200)
    assert call.final().status == 200
    c.drain(bobs[1])
    assert not [m for m in c.alice.left(call.key) if m.status >= 300]


def test_16_7_5_non_invite_final_once(c):
    """Of several finals to another method, one goes on."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    got = bob.take("MESSAGE")
    for status in (200, 200, 202, 486):
        bob.reply(got, status)
    assert c.alice.final(key).status == 200
    c.drain(bob)
    assert not c.alice.left(key)


# ---- 16.7 steps 6 and 7 -------------------------------------------------------------------------

def test_16_7_6_only_response_forwarded_as_it_is(c):
    """With one target its final response is the best, whatever it is."""
    c.proxy()
    bob = c.callee()
    for status in (300, 302, 404, 415, 480, 486, 500, 504, 600, 603):
        key = c.send("MESSAGE", c.uri(bob))
        got = bob.take("MESSAGE")
        bob.reply(got, status, reason="Just So", headers=[("X-From", "bob"),
                                                         ("Retry-After", "7")])
        rsp = c.alice.final(key)
        assert (rsp.status, rsp.reason) == (status, "Just So"), repr(rsp)
        assert rsp.get("x-from") == "bob" and rsp.get("retry-after") == "7"


def test_16_7_6_503_as_500(c):
    """A 503 would say that we are overloaded: it goes on as 500, without Retry-After."""
    c.proxy()
    bob = c.callee()
    for method in ("MESSAGE", "INVITE"):
        key = c.send(method, c.uri(bob))
        bob.reply(bob.take(method), 503, headers=[("Retry-After", "120")])
        rsp = c.alice.final(key)
        assert rsp.status == 500, repr(rsp)
        assert not rsp.all("retry-after")


def _parallel_finals(c, finals):
    """Final responses of parallel targets, in this order: the response that comes of them."""
    call, bobs, got = _ringing(c, len(finals), "parallel")
    for b, g, status in zip(bobs, got, finals):
        b.reply(g, status, headers=[("X-From", b.name)])
    return call.final()


def test_16_7_6_waits_for_all(c):
    """No final but 2xx and 6xx goes on while another target may still answer."""
    call, bobs, got = _ringing(c, 2, "parallel")
    bobs[1].reply(got[1], 180)
    assert _provisional(c, call).status == 180
    bobs[0].reply(got[0], 486)
    bobs[0].take("ACK")
    bobs[1].reply(got[1], 183)
    assert _provisional(c, call).status == 183
    assert not [m for m in c.alice.left(call.key) if m.status >= 200]
    bobs[1].reply(got[1], 200)
    assert call.final().status == 200


def test_16_7_6_lowest_class(c):
    """The best is of the lowest class."""
    assert _parallel_finals(c, [500, 302, 404]).status == 302


def test_16_7_6_4xx_before_5xx(c):
    """4xx before 5xx."""
    assert _parallel_finals(c, [500, 480, 504]).status == 480


def test_16_7_6_tells_what_to_do(c):
    """Within 4xx, those first that tell the client how to change its request."""
    assert _parallel_finals(c, [404, 415, 486]).status == 415


def test_16_7_6_challenge_preferred(c):
    """A challenge before a plain refusal."""
    assert _parallel_finals(c, [404, 407, 486]).status == 407


def test_16_7_6_6xx_wins(c):
    """A 6xx is final for all: the others are cancelled, and it is the answer."""
    call, bobs, got = _ringing(c, 3, "parallel")
    for b, g in zip(bobs, got):
        b.reply(g, 180)
    bobs[1].reply(got[1], 603)
    for i in (0, 2):
        _cancelled(bobs[i], got[i])
    assert call.final().status == 603


def test_16_7_6_503_alone_of_several_as_500(c):
    """When 503 is all there is, 500 goes on."""
    assert _parallel_finals(c, [503, 503]).status == 500


def test_16_7_6_other_answer_before_503(c):
    """A 503 never hides another answer."""
    assert _parallel_finals(c, [503, 501]).status == 501


def test_16_7_7_challenges_collected(c):
    """All WWW-Authenticate and Proxy-Authenticate values of all 401 and 407 are in the best one."""
    call, bobs, got = _ringing(c, 3, "parallel")
    bobs[0].reply(got[0], 401, headers=[("WWW-Authenticate", "Digest realm=\"a\", nonce=\"1\""),
                                        ("WWW-Authenticate", "Digest realm=\"a2\", nonce=\"2\"")])
    bobs[1].reply(got[1], 407, headers=[("Proxy-Authenticate", "Digest realm=\"b\", nonce=\"3\"")])
    bobs[2].reply(got[2], 401, headers=[("WWW-Authenticate", "Digest realm=\"c\", nonce=\"4\"")])
    rsp = call.final()
    assert rsp.status in (401, 407), repr(rsp)
    realms = [re.search('realm="([^"]+)"', v).group(1) for v in rsp.all("www-authenticate")]
    assert sorted(realms) == ["a", "a2", "c"], realms
    assert [v for v in rsp.all("proxy-authenticate") if "\"b\"" in v], rsp.headers
    assert len(rsp.all("proxy-authenticate")) == 1


def test_16_7_9_response_untouched(c):
    """Beyond our Via a response is forwarded byte for byte, folds a space each."""
    c.proxy()
    bob = c.callee()
    body = bytes(range(256)) * 3
    for status in (200, 486):
        key = c.send("MESSAGE", c.uri(bob))
        conn, msg = bob.take("MESSAGE")
        raw = sip.response(msg, status, "\u00dcber  all", "t", [
            ("X-Odd", ",,;;  \t x"), ("s", "compact"), ("X-Fold", "a\r\n b"), ("X-Odd", "")], body)
        conn.send(raw)
        rsp = c.alice.final(key)
        line, was, _ = fields(raw)
        its_line, now, its_body = fields(rsp.raw)
        assert its_line == line and its_body == body
        assert [f[1] for f in now] == [plain(f[1]) for f in was if f[1] != was[0][1]], now


# ---- 16.7 step 10, serial and failover ----------------------------------------------------------

def test_16_7_10_2xx_cancels_the_rest(c):
    """A 2xx ends the search: what still rings is cancelled."""
    call, bobs, got = _ringing(c, 3, "parallel")
    for b, g in zip(bobs, got):
        b.reply(g, 180)
    bobs[2].reply(got[2], 200)
    assert call.final().status == 200
    for i in (0, 1):
        cancel = _cancelled(bobs[i], got[i])
        assert cancel.branch == got[i][1].branch and cancel.uri == got[i][1].uri
        bobs[i].take("ACK")
    c.drain(bobs[2])
    assert not [m for m in c.alice.left(call.key) if m.status >= 200]


def test_16_6_serial_search(c):
    """Serially, the next target is tried behind any final but 2xx and 6xx."""
    call, bobs, got = _ringing(c, 3, "serial")
    assert not bobs[1].seen and not bobs[2].seen
    bobs[0].reply(got[0], 486)
    second = bobs[1].take("INVITE")
    assert second[1].branch != got[0][1].branch
    bobs[1].reply(second, 404)
    third = bobs[2].take("INVITE")
    bobs[2].reply(third, 200)
    assert call.final().status == 200


def test_16_6_serial_search_best_at_the_end(c):
    """When none accepts, the best of all is the answer."""
    call, bobs, got = _ringing(c, 3, "serial")
    bobs[0].reply(got[0], 500)
    bobs[1].reply(bobs[1].take("INVITE"), 302)
    bobs[2].reply(bobs[2].take("INVITE"), 486)
    assert call.final().status == 302


def test_16_6_serial_search_ends_with_6xx(c):
    """Behind a 6xx nobody else is asked."""
    call, bobs, got = _ringing(c, 2, "serial")
    bobs[0].reply(got[0], 603)
    assert call.final().status == 603
    c.nothing_came(bobs[1])


def test_16_9_failover_only_when_unreached(c):
    """In failover the next target is for those that cannot serve: 503, not 486."""
    call, bobs, got = _ringing(c, 2)
    bobs[0].reply(got[0], 486)
    assert call.final().status == 486
    assert not bobs[1].count("INVITE")
    again = c.invite(HUNT)
    bobs[0].reply(bobs[0].take("INVITE"), 503)
    bobs[1].reply(bobs[1].take("INVITE"), 486)
    assert again.final().status == 486
    assert bobs[1].count("INVITE") == 1


# ---- 16.8 Timer C -------------------------------------------------------------------------------

def test_16_8_timer_c_cancels(c):
    """A call that rings for Timer C is cancelled; what comes of it is the answer."""
    call, (bob,), (got,) = _ringing(c, timeouts={"timer_c": c.t.ms(600)})
    bob.reply(got, 180)
    assert _provisional(c, call).status == 180
    assert _cancelled(bob, got).branch == got[1].branch
    assert call.final().status == 487


def test_16_8_timer_c_refreshed(c):
    """16.7 step 2: each 101 to 199 starts Timer C anew."""
    call, (bob,), (got,) = _ringing(c, timeouts={"timer_c": c.t.ms(2000)})
    for _ in range(8):
        bob.reply(got, 180)
        time.sleep(0.4 * c.t.slow)
    assert not bob.count("CANCEL"), "cancelled although it was told that it rings"
    _cancelled(bob, got)
    assert call.final().status == 487


def test_16_8_timer_c_silent_callee_408(c):
    """A callee that never answers the CANCEL either: the caller gets a 408."""
    call, (bob,), (got,) = _ringing(c, timeouts={"timer_c": c.t.ms(300), "t1": "20ms"})
    bob.reply(got, 180)
    bob.take("CANCEL")
    assert call.final().status in (408, 487)


# ---- 16.9 transport failures --------------------------------------------------------------------

@over("tls", "tcp")
def test_16_9_unreachable_is_503(c):
    """A next hop that cannot be reached is as if it had said 503."""
    c.proxy()
    c.refused(503, "MESSAGE", c.nowhere())
    call = c.invite(c.nowhere())
    assert call.final().status == 503


@over("tls", "tcp")
def test_16_9_next_target_after_failure(c):
    """The next target is tried, and the caller does not notice."""
    bob = c.callee()
    dead = c.nowhere("x").replace("x@", "")
    c.proxy(hunt=[dead, c.target(bob)])
    key = c.send("MESSAGE", HUNT)
    bob.reply(bob.take("MESSAGE"), 200)
    assert c.alice.final(key).status == 200


@over("tls", "tcp")
def test_16_9_connection_lost_is_503(c):
    """A connection that ends under a transaction fails it at once."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    conn, _ = bob.take("MESSAGE")
    conn.reset()
    assert c.alice.final(key).status == 503


@over("tls", "tcp")
def test_16_9_undeliverable_response_dropped(c):
    """A response whose way back is gone is dropped, and only counted."""
    c.proxy()
    bob = c.callee()
    other = c.peer("carol")
    conn = c.dial(other)
    c.send("MESSAGE", c.uri(bob), conn=conn, agent=other)
    got = bob.take("MESSAGE")
    conn.reset()
    c.conn.reset()                  # nor is there another one from that address
    c.t.wait(lambda: c.d.counter("connections.now") <= 1, "the connections to end")
    before = c.d.counter("drops.no_route_back")
    bob.reply(got, 200)
    c.t.wait(lambda: c.d.counter("drops.no_route_back") > before or
             c.d.counter("connections.dial_failed") > 0, "the drop")
    assert not other.strays


# ---- 16.10 CANCEL -------------------------------------------------------------------------------

def test_16_10_cancel_hop_by_hop(c):
    """A CANCEL is answered 200 here at once, and a CANCEL of our own goes to each target."""
    call, (bob,), (got,) = _ringing(c)
    bob.reply(got, 180)
    assert _provisional(c, call).status == 180
    bob.auto["CANCEL"] = 0          # bob says nothing to it
    rsp = call.cancel()
    assert rsp.status == 200, repr(rsp)
    cancel = bob.take("CANCEL")
    invite = got[1]
    assert cancel[1].uri == invite.uri and cancel[1].all("via") == invite.all("via")[:1]
    assert cancel[1].cseq == (invite.cseq[0], "CANCEL")
    for name in ("call-id", "from", "to"):
        assert cancel[1].get(name) == invite.get(name), name
    assert cancel[1].all("route") == invite.all("route")
    bob.reply(cancel, 200)
    bob.reply(got, 487)
    assert call.final().status == 487


def test_16_10_cancel_waits_for_provisional(c):
    """9.1: no CANCEL goes out before the target has said anything."""
    call, (bob,), (got,) = _ringing(c)
    assert call.cancel().status == 200
    c.nothing_came(bob, "CANCEL")
    bob.reply(got, 180)
    _cancelled(bob, got)
    assert call.final().status == 487


def test_16_10_cancel_unknown_481(c):
    """A CANCEL for nothing that we know is 481."""
    c.proxy()
    bob = c.callee()
    c.refused(481, "CANCEL", c.uri(bob))
    c.nothing_came(bob)


def test_16_10_cancel_after_final(c):
    """A CANCEL behind the final response is answered 200 and changes nothing."""
    call, (bob,), (got,) = _ringing(c)
    bob.reply(got, 200)
    assert call.final().status == 200
    assert call.cancel().status == 200
    call.ack()
    c.nothing_came(bob, "CANCEL")


def test_16_10_cancel_all_branches(c):
    """A cancelled fork cancels each copy and answers when all have ended."""
    call, bobs, got = _ringing(c, 3, "parallel")
    for b, g in zip(bobs, got):
        b.reply(g, 180)
        _provisional(c, call)
    assert call.cancel().status == 200
    for b, g in zip(bobs, got):
        assert _cancelled(b, g).branch == g[1].branch
    assert call.final().status == 487


def test_16_10_cancel_stops_a_serial_search(c):
    """Behind a CANCEL no further target is tried."""
    call, bobs, got = _ringing(c, 2, "serial")
    bobs[0].reply(got[0], 180)
    _provisional(c, call)
    assert call.cancel().status == 200
    _cancelled(bobs[0], got[0])
    assert call.final().status == 487
    c.nothing_came(bobs[1])


def test_16_10_cancel_crosses_200(c):
    """A 200 that crosses the CANCEL stands."""
    call, (bob,), (got,) = _ringing(c)
    bob.reply(got, 180)
    _provisional(c, call)
    assert call.cancel().status == 200
    bob.take("CANCEL")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    bob.take("ACK")


# ---- 16.11 stateless ----------------------------------------------------------------------------

def _stateless(c, tr=None):
    bob = c.callee(tr=tr)
    c.proxy(hunt=[c.target(bob, tr)], route={"stateless": True}, need=["stateless"],
            timeouts={"t1": "50ms", "trying": "50ms"})
    return bob


def test_16_11_no_transaction(c):
    """A stateless route keeps nothing, sends no 100 and repeats nothing."""
    bob = _stateless(c)
    before = c.d.counter("transactions.total")
    call = c.invite(HUNT)
    got = bob.take("INVITE")
    time.sleep(0.4)
    assert c.d.counter("transactions.total") == before
    assert not c.alice.left(call.key), "a provisional response of its own"
    assert bob.total("INVITE") == 1, "repeated"
    bob.reply(got, 486)
    assert call.final().status == 486
    assert bob.take("ACK")[1].branch == got[1].branch


def test_16_11_ack_follows_inside_a_dialog(c):
    """The ACK for a refused re-INVITE carries its branch on, that for a 2xx one of its own."""
    bob = _stateless(c)
    call = c.invite(HUNT)
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    assert bob.take("ACK")[1].branch != got[1].branch
    data, key = call.make("INVITE")
    sent = sip.Framer().feed(data)[0]
    c.alice.expect(key)
    c.conn.send(data)
    got = bob.take("INVITE")
    bob.reply(got, 488)
    rsp = c.alice.final(key)
    assert rsp.status == 488
    c.conn.send(call.make("ACK", cseq=sent.cseq[0], branch=sent.branch)[0])
    assert bob.take("ACK")[1].branch == got[1].branch


def test_16_11_same_branch_for_a_repeat(c):
    """A repeated request gets the branch that it got before, another one another."""
    bob = _stateless(c)
    data, key = c.alice.make(c.conn, "MESSAGE", HUNT)
    c.alice.expect(key)
    for _ in range(3):
        c.conn.send(data)
    got = bob.take("MESSAGE")
    c.t.wait(lambda: bob.total("MESSAGE") == 3, "the repeats")
    assert len(bob.copies) == 1, "the branch changed: %s" % bob.copies
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200
    other, _ = c.through(bob, uri=HUNT)
    assert other.branch != got[1].branch


def test_16_11_responses_forwarded(c):
    """Every response goes back by the Via below ours, 100 and repeats as well."""
    bob = _stateless(c)
    key = c.send("INVITE", HUNT)
    got = bob.take("INVITE")
    for status in (100, 180, 180, 200, 200):
        bob.reply(got, status)
    seen = [c.alice.next_response(key).status for _ in range(5)]
    assert seen == [100, 180, 180, 200, 200], seen


def test_16_11_cancel_and_ack_follow(c):
    """CANCEL and ACK of a stateless INVITE carry its branch on."""
    bob = _stateless(c)
    call = c.invite(HUNT)
    got = bob.take("INVITE")
    bob.reply(got, 180)
    _provisional(c, call)
    key = (call.call_id, call.invite.cseq[0], "CANCEL")
    c.alice.expect(key)
    c.conn.send(call.hop_request("CANCEL"))
    cancel = bob.take("CANCEL")         # answered 200 by bob
    assert cancel[1].branch == got[1].branch
    assert c.alice.final(key).status == 200
    bob.reply(got, 487)
    assert call.final().status == 487
    assert bob.take("ACK")[1].branch == got[1].branch
