# SPDX-License-Identifier: Apache-2.0
"""After which ends of an attempt the next target is tried, and how long one is awaited."""
import pytest
from flowlib.carriers import Carriers
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("choice of targets")

FIRST, SECOND, THIRD = HOSTS = ["127.3.0.%d" % i for i in (1, 2, 3)]
TIMES = {"t1": "50ms"}


def three(t, route=None, peers=(), **kw):
    """Three peers of a route, in order; the last takes everything."""
    carriers = Carriers(t, HOSTS)
    carriers.answer[THIRD] = (200, )
    options = [dict({"uri": "sip:%s:%d;transport=udp" % (h, carriers.port),
                     "retry_after_max": "0s", "down_after": 0}) for h in HOSTS]
    for o, more in zip(options, peers):
        o.update(more)
    d = t.daemon(peers=[("p%d" % i, o) for i, o in enumerate(options)],
                 routes=[("all", {"peers": ["p0", "p1", "p2"], **(route or {})})],
                 **{"timeouts": TIMES, **kw})
    return carriers, d


def final(t, d, alice=None):
    alice = alice or t.uac()
    call = Call(alice, t.dial(alice, d, "tcp"), "sip:carol@far.example").send()
    rsp = call.final()
    if rsp.status == 200:
        call.ack()
    return rsp.status


def asked(carriers, method="INVITE"):
    out = [HOSTS.index(h) + 1 for h in carriers.hosts(method)]
    carriers.forget()
    return out


def test_d33_which_answers_go_on(t):
    """What cannot serve hunts on; what the callee says, or what is wrong with the number, ends it."""
    carriers, d = three(t)
    for status in (408, 500, 502, 503, 504):
        carriers.answer[FIRST] = carriers.answer[SECOND] = (status, )
        assert final(t, d) == 200, status
        assert asked(carriers) == [1, 2, 3], status
    for status in (302, 400, 401, 403, 404, 480, 484, 486, 487, 488, 501, 505, 600, 603, 604, 606):
        carriers.answer[FIRST] = (status, )
        assert final(t, d) == status, status
        assert asked(carriers) == [1], status


def test_d33_reroute_on_of_the_route(t):
    """Codes, classes and words; stop_on wins where both fit."""
    carriers, d = three(t, {"reroute_on": ["4xx", "603", "silence"], "stop_on": ["404", "486"]})
    for status in (400, 403, 480, 484, 488, 603):
        carriers.answer[FIRST] = carriers.answer[SECOND] = (status, )
        assert final(t, d) == 200, status
        assert asked(carriers) == [1, 2, 3], status
    for status, up in ((404, 404), (486, 486), (500, 500), (503, 500), (600, 600)):
        carriers.answer[FIRST] = (status, )
        assert final(t, d) == up, status
        assert asked(carriers) == [1], status


def test_d33_reroute_on_of_a_peer(t):
    """A peer's own lists come before the route's; they are for it alone."""
    carriers, d = three(t, {"reroute_on": ["486"], "stop_on": ["503"]},
                        peers=[{"reroute_on": ["5xx"], "stop_on": ["501"]}])
    carriers.answer[FIRST] = carriers.answer[SECOND] = (503, )
    assert final(t, d) == 500 and asked(carriers) == [1, 2]
    carriers.answer[SECOND] = (486, )
    assert final(t, d) == 200 and asked(carriers) == [1, 2, 3]
    carriers.answer[FIRST] = (501, )
    assert final(t, d) == 501 and asked(carriers) == [1]
    carriers.answer[FIRST] = (486, )
    assert final(t, d) == 486 and asked(carriers) == [1]


def test_d33_serial_goes_on_unless_told(t):
    """fork = serial takes any refusal but 6xx as a reason, and its own stop_on."""
    carriers, d = three(t, {"fork": "serial"})
    for status in (302, 404, 486, 500):
        carriers.answer[FIRST] = carriers.answer[SECOND] = (status, )
        assert final(t, d) == 200 and asked(carriers) == [1, 2, 3], status
    carriers.answer[FIRST] = (603, )
    assert final(t, d) == 603 and asked(carriers) == [1]
    carriers, d = three(t, {"fork": "serial", "stop_on": ["486", "6xx"]})
    carriers.answer[FIRST] = (486, )
    assert final(t, d) == 486 and asked(carriers) == [1]
    carriers.answer[FIRST] = (404, )
    assert final(t, d) == 200 and asked(carriers) == [1, 2, 3]


def test_d33_a_refusal_that_ends_it_is_the_answer(t):
    """503 from the first, 486 from the second: the caller is told 486, and the third is left alone."""
    carriers, d = three(t)
    carriers.answer.update({FIRST: (503, ), SECOND: (486, )})
    assert final(t, d) == 486
    assert asked(carriers) == [1, 2]


def test_d33_without_transport_nobody_else(t):
    """reroute_on without transport: nobody listens at the first peer, and that is the end."""
    port = t.port()
    bob = t.uas("tcp")
    for words, status in ((["5xx"], 503), (["transport"], 200)):
        d = t.daemon(peers=[("dead", {"uri": "sip:127.0.0.1:%d;transport=tcp" % port}),
                            ("bob", {"uri": t.uri(bob, "tcp").replace("bob@", "")})],
                     routes=[("all", {"peers": ["dead", "bob"], "reroute_on": words})])
        assert final(t, d) == status, words


def test_d33_answer_timeout(t):
    """Who is silent is left after answer_timeout, and not asked again; who says 100 is not; the last
    one is awaited longer."""
    carriers, d = three(t, peers=[{"answer_timeout": t.ms(400)}] * 3,
                        timeouts=dict(TIMES, timer_b=t.ms(60000)))
    carriers.answer.update({FIRST: (), SECOND: ()})
    assert final(t, d) == 200
    assert asked(carriers) == [1, 2, 3] and d.counter("peers.silent") == 2
    carriers.answer[SECOND] = (100, )
    alice = t.uac()
    call = Call(alice, t.dial(alice, d, "tcp"), "sip:carol@far.example").send()
    t.wait(lambda: len(carriers.hosts()) == 2, "the second to be asked")
    carriers.later(SECOND, 200, t.slow)            # long after the timeout
    assert call.final().status == 200
    call.ack()
    assert asked(carriers) == [1, 2]
    carriers.answer[SECOND] = carriers.answer[THIRD] = ()
    call = Call(alice, call.conn, "sip:carol@far.example").send()
    t.wait(lambda: len(carriers.hosts()) == 3, "the third to be asked")
    carriers.later(THIRD, 200, t.slow)
    assert call.final().status == 200
    call.ack()
    assert d.counter("peers.silent") == 6


def test_d33_answer_timeout_of_other_requests(t):
    """A MESSAGE has no provisional answer: it, too, goes to the next."""
    carriers, d = three(t, peers=[{"answer_timeout": t.ms(300)}] * 3)
    carriers.answer[FIRST] = ()
    alice = t.uac()
    rsp = alice.request(t.dial(alice, d, "tcp"), "MESSAGE", "sip:carol@far.example")
    assert rsp.status == 200, repr(rsp)
    assert asked(carriers, "MESSAGE") == [1, 2, 3]


def test_d33_ring_timeout(t):
    """Who rings too long is cancelled, and the caller told 408; with reroute_after_ringing the next
    gets the call. Further 180 do not stretch it."""
    for reroute in (False, True):
        carriers, d = three(t, {"reroute_after_ringing": reroute},
                            peers=[{"ring_timeout": t.ms(600)}] * 3)
        carriers.answer[FIRST] = (180, )
        carriers.answer[SECOND] = (200, )
        alice = t.uac()
        call = Call(alice, t.dial(alice, d, "tcp"), "sip:carol@far.example").send()
        t.wait(lambda: carriers.hosts(), "the first to be asked")
        for k in (1, 2, 3):
            carriers.later(FIRST, 180, 0.2 * k * t.slow)
        rsp = call.final()
        assert rsp.status == (200 if reroute else 408), repr(rsp)
        if reroute:
            call.ack()
        t.wait(lambda: carriers.hosts("CANCEL") == [FIRST], "the first to be cancelled")
        assert [HOSTS.index(h) + 1 for h in carriers.hosts()] == ([1, 2] if reroute else [1])


def test_d33_lists_that_are_wrong(t):
    """file:line, and what may be written."""
    carriers, d = three(t)
    good = d.config()
    for option, word in (("reroute_on", "5x"), ("stop_on", "tranport"), ("reroute_on", "99")):
        d.write(good.replace("down_after = 0", '%s = { "%s" }' % (option, word), 1))
        refused = d.ctl("reload", check=False)
        assert refused.returncode and \
            '"%s" is no end of an attempt: write a code such as' % word in refused.stdout + \
            refused.stderr, refused
    d.write(good)
    assert final(t, d) == 200 and asked(carriers) == [1, 2, 3]
