# SPDX-License-Identifier: Apache-2.0
"""Groups of peers: who gets a request, and who the next one when that fails."""
from collections import Counter

import pytest
from flowlib.carriers import Carriers
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("choice of targets")

HOSTS = {"chicago": "127.2.0.1", "denver": "127.2.0.2", "boston": "127.2.0.3", "backup": "127.2.0.4"}
NAMES = {host: name for name, host in HOSTS.items()}


def group_of(t, method, members, peers=None, **kw):
    """Gateways that take every request, and a daemon that leads all to the group of MEMBERS."""
    carriers = Carriers(t, HOSTS.values(), default=(200, ))
    options = {"method": method, "member": members}
    d = t.daemon(peers=[(name, {"uri": "sip:%s:%d;transport=udp" % (host, carriers.port),
                                "down_after": 0, **(peers or {}).get(name, {})}) for name, host in HOSTS.items()],
                 groups=[("us", options)], routes=[("all", {"peers": ["us"]})], **kw)
    return carriers, d


def ask(t, d, n, status=200, **kw):
    """N OPTIONS of one caller."""
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for i in range(n):
        assert alice.request(conn, "OPTIONS", kw.get("uri", "sip:%d@far.example" % i)).status == status


def served(carriers):
    return Counter(NAMES[h] for h in carriers.hosts("OPTIONS"))


def test_d33_group_by_weight(t):
    """Shares by weight; whoever is not there leaves its share to the others of its priority, and the
    next priority serves when these are gone."""
    carriers, d = group_of(t, "weight", {"chicago": {"weight": 70}, "denver": {"weight": 30},
                                         "backup": {"priority": 2}})
    ask(t, d, 300)
    share = served(carriers)
    assert share["backup"] == 0 and 160 < share["chicago"] < 260, share
    carriers.answer[HOSTS["chicago"]] = (503, )
    carriers.forget()
    ask(t, d, 50)
    share = served(carriers)
    assert share["denver"] == 50 and share["backup"] == 0, share
    carriers.answer[HOSTS["denver"]] = (503, )
    carriers.forget()
    ask(t, d, 10)
    assert served(carriers) == {"chicago": 10, "denver": 10, "backup": 10}
    assert [NAMES[h] for h in carriers.hosts("OPTIONS")[2::3]] == ["backup"] * 10


def test_d33_group_in_turn(t):
    """Each in turn, whichever worker has the request."""
    carriers, d = group_of(t, "round-robin", {"chicago": {}, "denver": {}, "boston": {}}, workers=2)
    for _ in range(6):                 # connections on both workers
        ask(t, d, 10)
    assert served(carriers) == {"chicago": 20, "denver": 20, "boston": 20}


def test_d33_group_by_fewest_calls(t):
    """Calls are counted without max_calls; who has fewer gets the next, and a BYE makes room."""
    carriers, d = group_of(t, "least-calls", {"chicago": {}, "denver": {}, "boston": {"weight": 2}})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    calls = [Call(alice, conn, "sip:%d@far.example" % i).answered() for i in range(12)]
    at = [NAMES[h] for h in carriers.hosts()]
    assert Counter(at) == {"chicago": 3, "denver": 3, "boston": 6}, at
    group = d.rpc("groups")["groups"][0]
    assert {m["peer"]: m["calls"] for m in group["members"]} == {
        "chicago": 3, "denver": 3, "boston": 6}, group
    for call, where in zip(calls, at):
        if where == "denver":
            assert call.bye().status == 200
    calls = [c for c, where in zip(calls, at) if where != "denver"]
    carriers.forget()
    calls += [Call(alice, conn, "sip:x%d@far.example" % i).answered() for i in range(3)]
    assert Counter(NAMES[h] for h in carriers.hosts()) == {"denver": 3}
    for call in calls:
        assert call.bye().status == 200
    t.wait(lambda: d.counter("calls.now") == 0, "all calls to end")


def test_d33_group_by_hash(t):
    """The same number, the same member; a reload changes nothing, nor does a member that goes."""
    carriers, d = group_of(t, "hash-request-uri", {"chicago": {}, "denver": {}, "boston": {}})
    ask(t, d, 30)
    first = [NAMES[h] for h in carriers.hosts("OPTIONS")]
    assert len(set(first)) == 3, first
    d.rpc("reload")
    carriers.forget()
    ask(t, d, 30)
    assert [NAMES[h] for h in carriers.hosts("OPTIONS")] == first
    d.write(d.config().replace('member "boston" {\n}', ""))
    reload = d.rpc("reload")
    assert reload["groups"] == [{"name": "us", "change": "changed"}], reload["groups"]
    carriers.forget()
    ask(t, d, 30)
    for was, now in zip(first, [NAMES[h] for h in carriers.hosts("OPTIONS")]):
        assert now == was or was == "boston", (was, now)


def test_d33_group_whose_first_is_full(t):
    """A member that has its max_calls leaves its share to the others; a full group gets 503."""
    carriers, d = group_of(t, "order", {"chicago": {}, "denver": {"priority": 2}},
                           peers={"chicago": {"max_calls": 1}, "denver": {"max_calls": 1}})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    calls = [Call(alice, conn, "sip:%d@far.example" % i).answered() for i in range(2)]
    assert [NAMES[h] for h in carriers.hosts()] == ["chicago", "denver"]
    rsp = Call(alice, conn, "sip:3@far.example").send().final()
    assert rsp.status == 503 and rsp.get("retry-after"), repr(rsp)
    for call in calls:
        assert call.bye().status == 200


def test_d33_group_explained(t):
    """explain tells which member of which group a request would meet, in the order of the hunt, and
    leaves a turn where it is."""
    carriers, d = group_of(t, "round-robin", {"chicago": {}, "denver": {}, "backup": {"priority": 2}})
    for _ in range(3):
        answer = d.rpc("explain", {"what": "request", "uri": "sip:1@far.example"})
        assert [(x["peer"], x["group"]) for x in answer["targets"]] == [
            ("chicago", "us"), ("denver", "us"), ("backup", "us")], answer
    ask(t, d, 1)
    assert served(carriers) == {"chicago": 1}
    table = d.ctl("groups").stdout
    assert "round-robin" in table and "backup" in table and "denver" in table, table
