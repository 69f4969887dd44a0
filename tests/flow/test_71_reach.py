# SPDX-License-Identifier: Apache-2.0
"""How a peer is reached: over how many connections, and what goes on which."""
from collections import Counter

import pytest
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls


def outward(d):
    return [c for c in d.connections() if c["direction"] == "out" and c["state"] == "open"]


def reached(t, bob, transport="tls", workers=1, **options):
    """A daemon that sends all to BOB."""
    uri = "sip:%s;transport=%s" % (bob.listener(transport).hostport, transport)
    return t.daemon(workers=workers, peers=[("bob", {"uri": uri, **options})],
                    routes=[("all", {"peers": ["bob"]})])


def ask(alice, conn, n):
    for i in range(n):
        assert alice.request(conn, "OPTIONS", "sip:%d@far.example" % i).status == 200


def grown(t, d, alice, conn, n):
    """Requests until N connections lead out."""
    def all_there():
        ask(alice, conn, 1)
        return len(outward(d)) == n
    t.wait(all_there, "%d connections" % n)


def taken(bob, methods, n):
    """The next N requests of these methods, each with its connection; others are dropped."""
    out = []
    while len(out) < n:
        on, req = bob.next_request()
        if req.method in methods:
            out.append((on, req))
    return out


def test_d33_connections_in_turn(t):
    """As many connections as the peer is to have, each of which gets the same number of requests."""
    bob = t.uas("tls")
    d = reached(t, bob, connections=3)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    grown(t, d, alice, conn, 3)
    before = {c["id"]: c["messages_out"] for c in outward(d)}
    ask(alice, conn, 30)
    after = {c["id"]: c["messages_out"] for c in outward(d)}
    assert {i: after[i] - before[i] for i in before} == dict.fromkeys(before, 10)
    assert d.counter("connections.dialed") == 3


def test_d33_transaction_stays_on_its_connection(t):
    """CANCEL and the ACK of a failure go where the INVITE went, whosever turn it is, and so do the
    answers of a peer that gives them out of order."""
    bob = t.uas("tls", answer=None)
    d = reached(t, bob, connections=3)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    grown(t, d, alice, conn, 3)
    calls = [Call(alice, conn, "sip:%d@far.example" % i).send() for i in range(6)]
    seen = taken(bob, ("INVITE", ), 6)
    where = {m.call_id: on for on, m in seen}
    assert sorted(Counter(map(id, where.values())).values()) == [2, 2, 2]
    for call in reversed(calls[1::2]):
        bob.answer(call.call_id, 486)
    for call in calls[::2]:
        assert call.cancel().status == 200
    for call in calls:
        assert call.final().status == (487 if call in calls[::2] else 486)
    seen = taken(bob, ("ACK", "CANCEL"), 9)
    assert Counter(m.method for _, m in seen) == {"ACK": 6, "CANCEL": 3}
    for on, m in seen:
        assert on is where[m.call_id], repr(m)


def test_d33_connections_are_shared_out(t):
    """Over all workers together there are as many as the peer is to have, and at least one of each;
    who has none yet dials its own share alone."""
    bob = t.uas("tcp")
    d = reached(t, bob, "tcp", workers=2, connections=3)
    alice = t.uac()
    conns = [t.dial(alice, d, "tcp") for _ in range(16)]

    def all_there():
        for conn in conns:
            ask(alice, conn, 1)
        return len(outward(d)) == 3
    t.wait(all_there, "the shares of both workers")
    for conn in conns:
        ask(alice, conn, 4)
    assert sorted(Counter(c["worker"] for c in outward(d)).values()) == [1, 2]
    assert d.counter("connections.dialed") == 3


def test_d33_fewer_connections_than_workers(t):
    """A worker without a connection could send nothing: each has one, and the log says so."""
    bob = t.uas("tcp")
    d = reached(t, bob, "tcp", workers=2, connections=1)
    d.wait_log("Each of the 2 workers has a connection of its own.*bob.* gets so many, not 1")
    alice = t.uac()
    for _ in range(16):
        ask(alice, t.dial(alice, d, "tcp"), 1)
    t.wait(lambda: len(outward(d)) in (1, 2), "its connections")
    assert max(Counter(c["worker"] for c in outward(d)).values()) == 1
