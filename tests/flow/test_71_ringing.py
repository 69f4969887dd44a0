# SPDX-License-Identifier: Apache-2.0
"""Who has been rung is not rung again by the next target: `reroute_after_ringing`."""
import pytest
from flowlib.carriers import Carriers
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("choice of targets")

HOSTS = ["127.1.9.%d" % i for i in range(1, 11)]


def gateways(t, default, route=None, n=3, **kw):
    """N gateways that are a peer each, of one route, and the daemon; they answer with DEFAULT."""
    carriers = Carriers(t, HOSTS[:n], default)
    peers = [("g%d" % i, {"uri": "sip:%s:%d;transport=udp" % (host, carriers.port),
                          "retry_after_max": "0s", "down_after": 0}) for i, host in enumerate(HOSTS[:n])]
    d = t.daemon(peers=peers, routes=[("all", {"peers": [name for name, _ in peers],
                                               "max_attempts": 20, **(route or {})})], **kw)
    return carriers, d


def outcome(t, d, agent=None):
    alice = agent or t.uac()
    return Call(alice, t.dial(alice, d, "tcp"), "sip:carol@far.example").send().final()


def statuses(rsp):
    return [p.status for p in rsp.provisional if p.status > 100] + [rsp.status]


def test_f24_d33_no_second_attempt_after_ringing(t):
    """503 or 408 behind a 18x, or a refusal where the route hunts on after those, ends the hunt;
    behind a 100 it does not."""
    carriers, d = gateways(t, (180, 503))
    for ended, (said, heard) in enumerate((((180, 503), [180, 500]), ((183, 503), [183, 500]),
                                           ((100, 181, 408), [181, 408])), 1):
        carriers.default = said
        carriers.forget()
        assert statuses(outcome(t, d)) == heard
        assert carriers.hosts() == HOSTS[:1], carriers.hosts()
        assert d.counter("hunts.ended.ringing") == ended
    assert d.counter("transactions.failover") == 0
    carriers.default = (100, 503)
    carriers.forget()
    assert statuses(outcome(t, d)) == [500]
    assert carriers.hosts() == HOSTS[:3], carriers.hosts()
    assert d.counter("hunts.ended.ringing") == 3


def test_f24_d33_an_earlier_target_rang(t):
    """The first is silent or says 503 and the second rings: the third is left alone."""
    carriers, d = gateways(t, (503,), {"fork": "serial"})
    carriers.answer = {HOSTS[1]: (180, 486)}
    assert statuses(outcome(t, d)) == [180, 486]
    assert carriers.hosts() == HOSTS[:2], carriers.hosts()
    assert d.counter("hunts.ended.ringing") == 1 and d.counter("transactions.failover") == 1


def test_f24_d33_who_rings_for_ever_is_the_last(t):
    """Timer C cancels what rings; 64*T1 later the caller hears 408, and nobody else is rung."""
    carriers, d = gateways(t, (180,), timeouts={"timer_c": t.ms(500), "t1": "20ms"})
    assert statuses(outcome(t, d))[-1] == 408
    assert carriers.hosts() == HOSTS[:1] and carriers.hosts("CANCEL") == HOSTS[:1]
    assert d.counter("hunts.ended.ringing") == 1


def test_f24_d33_all_at_once_and_no_more(t):
    """Of those that a route asks at the same time one rings: the ones beyond a plan's eight are
    not asked when all have failed."""
    carriers, d = gateways(t, (503,), {"fork": "parallel"}, n=10)
    carriers.answer = {HOSTS[3]: (180, 503)}
    assert statuses(outcome(t, d)) == [180, 500]
    assert sorted(carriers.hosts()) == sorted(HOSTS[:8]), carriers.hosts()
    assert d.counter("hunts.ended.ringing") == 1


def test_f24_d33_reroute_after_ringing(t):
    """The option has the others rung as well; a reload takes it back."""
    carriers, d = gateways(t, (180, 503), {"reroute_after_ringing": True})
    assert statuses(outcome(t, d)) == [180, 180, 180, 500]
    assert carriers.hosts() == HOSTS[:3], carriers.hosts()
    assert d.counter("hunts.ended.ringing") == 0
    d.write(d.config().replace("reroute_after_ringing = true", "reroute_after_ringing = false"))
    d.ctl("reload")
    carriers.forget()
    assert statuses(outcome(t, d)) == [180, 500]
    assert carriers.hosts() == HOSTS[:1], carriers.hosts()
