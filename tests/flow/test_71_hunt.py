# SPDX-License-Identifier: Apache-2.0
"""The hunt through a route's peers: how far it goes, in which order, and what ends it."""
import pytest
from flowlib import dns
from flowlib.carriers import Carriers
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("choice of targets")

CARRIERS = ["carrier%d" % i for i in range(10)]
HOSTS = {name: ["127.1.%d.%d" % (i, k) for k in range(1, 5)] for i, name in enumerate(CARRIERS)}
ALL = [h for name in CARRIERS for h in HOSTS[name]]


def ten_by_four(t, route=None, **kw):
    """Ten carriers of four addresses, none of which takes a call; they, and the daemon."""
    carriers = Carriers(t, ALL)
    server = dns.NameServer({(name + ".example", "A"): hosts for name, hosts in HOSTS.items()})
    dns.use(t, server.port)
    peers = [(name, {"uri": "sip:%s.example:%d;transport=udp" % (name, carriers.port),
                     "retry_after_max": "0s", "down_after": 0}) for name in CARRIERS]
    d = t.daemon(peers=peers, routes=[("all", {"peers": CARRIERS, **(route or {})})], **kw)
    d.fds_at_start += 1                # the resolver keeps its socket to the name server
    t.wait(lambda: all(len(p["addresses"]) == 4 for p in d.rpc("peers")["peers"]), "the names")
    return carriers, d


def call(t, d, agent=None):
    alice = agent or t.uac()
    return Call(alice, t.dial(alice, d, "tcp"), "sip:carol@far.example").send()


def carriers_of(hosts):
    """The carrier of each host, neighbours of the same one as one."""
    names = [n for h in hosts for n in CARRIERS if h in HOSTS[n]]
    return [n for i, n in enumerate(names) if i == 0 or names[i - 1] != n]


def test_d33_ten_carriers_of_four_addresses(t):
    """All forty are tried, one carrier after the other, none twice; the last answers."""
    carriers, d = ten_by_four(t, {"max_attempts": 40})
    rsp = call(t, d).final()
    assert rsp.status == 500, repr(rsp)     # a 503 of theirs is not passed on as such (16.7)
    asked = carriers.hosts()
    assert sorted(asked) == sorted(ALL), asked
    assert carriers_of(asked) == CARRIERS, asked
    assert d.counter("hunts.ended.attempts") == 0
    carriers.answer.update({host: (200, ) for host in HOSTS["carrier9"]})
    carriers.forget()
    c = call(t, d)
    assert c.final().status == 200
    c.ack()
    asked = carriers.hosts()
    assert len(asked) == len(set(asked)) == 37 and carriers_of(asked) == CARRIERS, asked


def test_d33_max_attempts(t):
    """Eight unless the route says otherwise; what ended the hunt is counted."""
    carriers, d = ten_by_four(t)
    assert call(t, d).final().status == 500
    assert len(carriers.hosts()) == 8 and carriers_of(carriers.hosts()) == CARRIERS[:2]
    assert d.counter("hunts.ended.attempts") == 1
    assert d.counter("transactions.failover") == 7


def test_d33_max_attempts_of_one(t):
    """The first target alone."""
    carriers, d = ten_by_four(t, {"max_attempts": 1})
    assert call(t, d).final().status == 500
    assert len(carriers.hosts()) == 1 and d.counter("hunts.ended.attempts") == 1


def test_d33_setup_timeout(t):
    """Nobody answers: when the route's time is over no further target is tried."""
    carriers, d = ten_by_four(t, {"max_attempts": 40, "setup_timeout": t.ms(1000)},
                              timeouts={"timer_b": t.ms(300), "t1": "20ms"})
    carriers.default = ()
    assert call(t, d).final().status == 408
    assert 1 <= len(carriers.hosts()) < 40
    assert d.counter("hunts.ended.time") == 1


def test_d33_setup_timeout_ends_when_it_rings(t):
    """Who rings may ring beyond it; who says 100 alone may not."""
    carriers, d = ten_by_four(t, {"setup_timeout": t.ms(500)}, timeouts={"t1": "20ms"})
    carriers.default = (180, )
    alice = t.uac()
    rings = call(t, d, alice)
    while alice.next_response(rings.key).status != 180:
        pass
    carriers.default = (100, )
    assert call(t, d).final().status == 408
    cancelled = carriers.cancelled()
    assert len(carriers.hosts()) == 2 and len(cancelled) == 1, carriers.asked
    assert rings.call_id not in cancelled
    assert rings.cancel().status == 200


def test_d33_all_of_a_fork_and_then_the_rest(t):
    """In parallel those that a plan has room for go out at the same time, the others when all of
    these have failed."""
    carriers, d = ten_by_four(t, {"fork": "parallel", "max_attempts": 12})
    assert call(t, d).final().status == 500
    asked = carriers.hosts()
    assert len(asked) == len(set(asked)) == 12, asked
    assert {n for h in asked[:8] for n in CARRIERS if h in HOSTS[n]} == set(CARRIERS[:2]), asked
