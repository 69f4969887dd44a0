# SPDX-License-Identifier: Apache-2.0
"""`peer { max_calls max_cps }`: how many calls a peer gets at a time, over all workers (SIPp as caller and
callee), and what becomes of it with reloads and without a BYE.
"""
import pytest
from flowlib.sipp import caller, callee, expect, pause, recv, reply, send
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("calls are counted, whatever carries them")

MAX, MORE = 8, 5


def next_step(step, label):
    return step.replace("<recv ", '<recv next="%d" ' % label, 1)


def held_call(hold_ms):
    """A call that is held for HOLD_MS, or one that is refused with 503: both are a success."""
    return [send("INVITE"), expect(100, optional=True),
            next_step(expect(503, optional=True), 1), expect(200), send("ACK"), pause(hold_ms),
            send("BYE", cseq=9), next_step(expect(200), 2),
            '<label id="1"/>' + send("ACK", ack_to_error=True), '<label id="2"/>']


TAKE = [recv("INVITE"), reply(200), recv("ACK"), recv("BYE"), reply(200, tag=False)]


def calls_of(d, peer):
    return [p["calls"] for p in d.rpc("peers")["peers"] if p["name"] == peer][0]


def storm(t, d, calls):
    """CALLS callers at the same time, each with a socket of its own, so that both workers have
    some; all must be served or refused."""
    caller(t, d, held_call(int(3000 * t.slow)), "udp", "sip:bob@far.example", calls, rate=200,
           options=["-t", "un", "-max_socket", "100"]).check(t)


def max_peer(port, limit=MAX, transport="udp"):
    return {"uri": "sip:127.0.0.1:%d;transport=%s" % (port, transport), "max_calls": limit}


@pytest.mark.timeout(150)
def test_3_max_calls_holds_exactly(t):
    """More calls at a time than the peer may have, on two workers: so many are answered, the others
    get 503; when they have hung up there is room again."""
    right, port = callee(t, TAKE, "udp", 2 * MAX)
    d = t.daemon(workers=2, peers=[("one", max_peer(port))], routes=[("out", {"peers": ["one"]})])
    for round_ in (1, 2):
        storm(t, d, MAX + MORE)
        t.wait(lambda: calls_of(d, "one")["now"] == 0, "no call left: %s" % calls_of(d, "one"))
        assert calls_of(d, "one")["refused"] == round_ * MORE, calls_of(d, "one")
        assert d.counter("calls.refused.max_calls") == round_ * MORE
    right.check(t)                      # twice MAX calls have been through
    assert d.counter("calls.now") == 0 and d.counter("calls.uncounted") == 0
    both = d.rpc("stats", {"threads": True})["threads"]
    assert all(both["worker/%d" % i].get("requests.INVITE") for i in (0, 1)), both


@pytest.mark.timeout(150)
def test_3_max_calls_goes_to_the_next_peer(t):
    """What the first peer of the route may not have the second gets."""
    one, first = callee(t, TAKE, "udp", MAX, "one")
    two, second = callee(t, TAKE, "tcp", MORE, "two")
    d = t.daemon(workers=2, peers=[("one", max_peer(first)),
                                   ("two", max_peer(second, 100, "tcp"))],
                 routes=[("out", {"peers": ["one", "two"]})])
    storm(t, d, MAX + MORE)
    one.check(t)
    two.check(t)
    assert calls_of(d, "one") == {"now": 0, "max": MAX, "refused": MORE, "expired": 0}
    assert calls_of(d, "two") == {"now": 0, "max": 100, "refused": 0, "expired": 0}


def test_3_max_calls_over_reloads(t):
    """ctl shows the calls; a reload that lowers max_calls cuts nobody off; who hangs up makes room;
    what never hangs up counts until call_max; a stateless route to such a peer is refused."""
    bob = t.uas("tcp", name="bob")
    port = bob.listener("tcp").port

    def conf(limit, extra="", **route):
        return {"workers": 2, "extra": extra, "peers": [("one", max_peer(port, limit, "tcp"))],
                "routes": [("out", dict({"peers": ["one"]}, **route))]}

    d = t.daemon(**conf(3))
    alice = t.uac()
    calls = [Call(alice, t.dial(alice, d, "tcp"), "sip:bob@far.example").answered()
             for _ in range(3)]
    assert "3/3" in d.ctl("peers").stdout
    d.configure(**conf(2))
    d.ctl("reload")
    assert calls_of(d, "one") == {"now": 3, "max": 2, "refused": 0, "expired": 0}

    def one_more():
        return Call(alice, t.dial(alice, d, "tcp"), "sip:bob@far.example").send()

    refused = one_more().final()
    assert refused.status == 503 and refused.get("retry-after") == "5", refused
    assert calls[0].request("INVITE").status == 200, "a re-INVITE was refused"
    assert calls[0].bye().status == 200
    assert one_more().final().status == 503
    side = bob.dialogs[calls[1].call_id]             # this time the callee hangs up
    data, key = side.make("BYE")
    bob.expect(key)
    side.conn.send(data)
    conn, bye = alice.next_request("BYE")
    alice.reply(conn, bye, 200)
    assert bob.final(key).status == 200
    t.wait(lambda: calls_of(d, "one")["now"] == 1, "one call")
    call = one_more()
    assert call.final().status == 200
    call.ack()
    d.configure(**conf(2, "call_max = 1s"))
    d.ctl("reload")
    t.wait(lambda: calls_of(d, "one")["now"] == 0, "no call")
    assert calls_of(d, "one")["expired"] == 2 and d.counter("calls.expired") == 2
    d.wait_log("Calls that no BYE has ended.*peer=one")
    assert call.bye().status == 200
    assert calls_of(d, "one")["now"] == 0
    d.configure(**conf(2, stateless=True))
    assert "could not be kept" in d.ctl("reload", check=False).stderr


def test_d33_max_cps_of_one_connection(t):
    """All calls come in on one connection, so on one of four workers: it gets the whole rate, and
    what is beyond goes to the next peer."""
    one, two = t.uas("tcp"), t.uas("tcp", name="two")
    d = t.daemon(workers=4, routes=[("out", {"peers": ["one", "two"]})], peers=[
        ("one", {"uri": t.uri(one, "tcp").replace("bob@", ""), "max_cps": 1, "cps_burst": 40}),
        ("two", {"uri": t.uri(two, "tcp").replace("bob@", "")})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for call in [Call(alice, conn, "sip:%d@far.example" % i).send() for i in range(60)]:
        assert call.final().status == 200
        call.ack()
        assert call.bye().status == 200
    # a slow machine may have let a second or two pass
    assert 40 <= one.count("INVITE") <= 40 + 10 * t.slow, one.count("INVITE")
    assert one.count("INVITE") + two.count("INVITE") == 60
    assert d.counter("calls.refused.max_cps") == two.count("INVITE")
