# SPDX-License-Identifier: Apache-2.0
"""Health of each address of a peer: what counts as a failure, what comes of it, and the way back."""
import itertools
import os

import pytest
from flowlib import dns
from flowlib.carriers import Carriers
from flowlib.certs import Authority
from flowlib.steps import options_works
from flowlib.ua import Call

from test_25_probes import destinations
from test_45_identity import lab_of, verifying

pytestmark = pytest.mark.host_only("choice of targets")

FOUR = ["127.3.0.%d" % i for i in range(1, 5)]
SHORT = {"t1": "20ms"}


def of_srv(t, hosts, timeouts=None, **options):
    """A peer whose name leads by SRV to HOSTS with equal weights; its gateways, the daemon."""
    gateways = Carriers(t, hosts, default=(200,))
    names = ["gw%d.trunk.example" % i for i in range(len(hosts))]
    zone = {("_sip._udp.trunk.example", "SRV"): [(1, 1, gateways.port, n) for n in names]}
    zone.update({(n, "A"): [h] for n, h in zip(names, hosts)})
    server = dns.NameServer(zone)
    dns.use(t, server.port)
    d = t.daemon(peers=[("trunk", {"uri": "sip:trunk.example;transport=udp", **options})],
                 routes=[("out", {"peers": ["trunk"]})], timeouts={**SHORT, **(timeouts or {})})
    d.fds_at_start += 1                # the resolver keeps its socket to the name server
    t.wait(lambda: len(destinations(d)) == len(hosts), "the names")
    return gateways, d


def in_order(t, *peers, route=None, timeouts=None, **kw):
    """A daemon with a route to PEERS, (name, options), in that order."""
    return t.daemon(peers=list(peers), timeouts={**SHORT, **(timeouts or {})},
                    routes=[("out", {"peers": [n for n, _ in peers], **(route or {})})], **kw)


def one_and_two(t, two=None, **options):
    """Two gateways over UDP at addresses of their own, peers "one" with OPTIONS and "two"; the first is
    tried first."""
    gateways = Carriers(t, FOUR[:2], default=(200,))
    uri = "sip:%s:%d;transport=udp"
    return gateways, [("one", {"uri": uri % (FOUR[0], gateways.port), **options}),
                      ("two", {"uri": uri % (FOUR[1], gateways.port), **(two or {})})]


class Caller:
    def __init__(self, t, d):
        self.agent = t.uac()
        self.conn = t.dial(self.agent, d, "tcp")

    def call(self):
        """One call; the status of its final response."""
        c = Call(self.agent, self.conn, "sip:carol@far.example").send()
        status = c.final().status
        if status == 200:
            c.ack()
        return status

    def calls(self, n):
        return [self.call() for _ in range(n)]


def state(d, peer="one"):
    return next(iter(destinations(d, peer).values()))["state"]


def wait_state(t, d, want, peer="one"):
    t.wait(lambda: state(d, peer) == want, "%s to be %s, not %s" % (peer, want, state(d, peer)))


@pytest.mark.timeout(180)
def test_d33_one_of_four_dead(t):
    """One of four SRV targets never answers: of 1,000 calls none is lost, and no more than down_after go
    there; the name's other addresses are not judged by it."""
    gateways, d = of_srv(t, FOUR, timeouts={"timer_b": t.ms(500)}, down_for="1h")
    gateways.answer[FOUR[2]] = ()
    assert Caller(t, d).calls(1000) == [200] * 1000
    asked = gateways.hosts()
    assert 1 <= asked.count(FOUR[2]) <= 3, asked.count(FOUR[2])
    assert all(asked.count(h) > 200 for h in FOUR if h != FOUR[2]), "the load is not shared"
    found = destinations(d)
    assert found[FOUR[2]]["state"] in ("suspect", "down") and found[FOUR[2]]["cause"] == "no answer"
    assert [found[h]["state"] for h in FOUR if h != FOUR[2]] == ["up"] * 3


def test_d33_refused_and_listed_answers(t):
    """No connection is a failure, so is one of down_on; after down_after of them in a row the address is
    passed over, and ctl tells which were the last."""
    dead, good = t.port(), t.uas("tcp", name="good")
    bad = t.uas("tcp", name="bad", ring=False, answer=500)
    uri = "sip:127.0.0.1:%d;transport=tcp"
    d = in_order(t, ("dead", {"uri": uri % dead, "down_after": 1, "down_for": "1h"}),
                 ("bad", {"uri": uri % bad.listener("tcp").port, "down_after": 2, "down_for": "1h",
                          "down_on": ["5xx"]}),
                 ("good", {"uri": uri % good.listener("tcp").port}), route={"fork": "serial"})
    caller = Caller(t, d)
    assert caller.call() == 200
    one = destinations(d, "dead")["127.0.0.1"]
    assert one["state"] == "down" and one["cause"] == "connect" and one["failed"] == 1, one
    two = destinations(d, "bad")["127.0.0.1"]
    assert two["state"] == "suspect" and two["cause"] == "answer" and two["status"] == 500, two
    assert caller.calls(4) == [200] * 4
    assert bad.count("INVITE") == 1, "a suspect is tried behind those that are up"
    d.wait_log("An address of a peer is down.*peer=dead.*cause=connect")
    assert d.counter("peers.failures") == 2 and d.counter("peers.passed_over") >= 4
    table = d.ctl("peers").stdout
    assert "answer 500" in table and "suspect" in table, table


def test_d33_all_down_are_tried(t):
    """Where all are down all are tried, and who answers is up at once."""
    gateways, peers = one_and_two(t, two={"down_after": 1, "down_for": "1h"}, down_after=1,
                                  down_for="1h")
    gateways.default = (503,)
    d = in_order(t, *peers)
    caller = Caller(t, d)
    assert caller.call() == 500
    assert [state(d, p) for p in ("one", "two")] == ["down", "down"]
    assert caller.call() == 500
    assert gateways.hosts() == FOUR[:2] * 2
    gateways.answer[FOUR[1]] = (200,)
    assert caller.calls(2) == [200, 200]
    assert gateways.hosts()[4:] == FOUR[:2] + [FOUR[1]]
    assert [state(d, p) for p in ("one", "two")] == ["down", "up"]


def test_d33_the_last_resort(t):
    """What is down comes last, not never: when the others fail, a call that it can carry is not lost."""
    gateways, peers = one_and_two(t, down_after=1, down_for="1h")
    d = in_order(t, *peers)
    gateways.answer[FOUR[0]] = (503,)
    caller = Caller(t, d)
    assert caller.call() == 200 and state(d) == "down"
    gateways.answer.update({FOUR[0]: (200,), FOUR[1]: (503,)})
    assert caller.call() == 200
    assert gateways.hosts() == [FOUR[0], FOUR[1], FOUR[1], FOUR[0]]


def test_d33_one_call_tries_it(t):
    """After down_for one call tries the address: if it fails the next one goes to the other at once;
    if it is answered the address is used again."""
    gateways, peers = one_and_two(t, down_after=1, down_for=t.ms(1500))
    d = in_order(t, *peers)
    gateways.answer[FOUR[0]] = (503,)
    caller = Caller(t, d)
    assert caller.call() == 200 and state(d) == "down"
    due = lambda: destinations(d, "one")[FOUR[0]]["tried_in_s"] == 0
    t.wait(due, "the time to try it")
    gateways.forget()
    assert caller.call() == 200
    assert gateways.hosts() == FOUR[:2], "nobody tried it"
    assert state(d) == "down"
    t.wait(due, "the time to try it again")
    gateways.answer.clear()
    gateways.forget()
    assert caller.calls(5) == [200] * 5
    assert gateways.hosts() == [FOUR[0]] * 5
    d.wait_log("An address of a peer is up again.*peer=one")
    assert destinations(d, "one")[FOUR[0]]["times_down"] == 1


def test_d33_a_trial_is_one_at_a_time(t):
    """While a call tries the address and has no answer, all others pass it over."""
    gateways, peers = one_and_two(t, down_after=1, down_for=t.ms(1000))
    d = in_order(t, *peers, timeouts={"timer_b": "60s"})
    gateways.answer[FOUR[0]] = (503,)
    caller = Caller(t, d)
    assert caller.call() == 200
    t.wait(lambda: destinations(d, "one")[FOUR[0]]["tried_in_s"] == 0, "the time to try it")
    gateways.answer[FOUR[0]] = (100,)
    gateways.forget()
    tries = Call(caller.agent, caller.conn, "sip:carol@far.example").send()
    t.wait(lambda: gateways.hosts() == FOUR[:1], "the trial")
    if state(d) == "probing":          # its claim has not run out meanwhile, on a slow machine
        caller.call()
        assert gateways.hosts()[1:] == FOUR[1:2] or state(d) != "probing", gateways.hosts()
    gateways.answer[FOUR[0]] = (200,)
    assert tries.cancel().status == 200
    t.wait(lambda: tries.call_id in gateways.cancelled(), "the CANCEL")


def test_d33_slow_start(t):
    """Back from down it takes a tenth of its calls at first; the others go to the next."""
    gateways, peers = one_and_two(t, two={"down_after": 0}, down_after=1, down_for="1h",
                                  slow_start="24h")
    gateways.answer[FOUR[0]] = (503,)
    d = in_order(t, *peers)
    caller = Caller(t, d)
    assert caller.call() == 200 and state(d) == "down"
    gateways.answer = {FOUR[1]: (503,)}
    assert caller.call() == 200 and state(d) == "up"
    gateways.answer = {}
    gateways.forget()
    assert caller.calls(400) == [200] * 400
    first = gateways.hosts().count(FOUR[0])
    assert 5 <= first <= 100, "%d of 400, not about 40" % first
    assert len(gateways.hosts()) == 400


def test_d33_failures_not_in_a_row(t):
    """An answer between two failures begins the count anew; down_after = 0 counts none."""
    gateways, peers = one_and_two(t, two={"down_after": 0}, down_after=2, down_for="1h")
    gateways.answer[FOUR[1]] = (503,)
    d = in_order(t, *peers)
    caller = Caller(t, d)
    for status in (503, 200, 503, 200):
        gateways.answer[FOUR[0]] = (status,)
        caller.call()
    assert state(d) == "up" and destinations(d, "one")[FOUR[0]]["failed"] == 2
    two = destinations(d, "two")[FOUR[1]]
    assert two["state"] == "up" and two["failed"] >= 2, two


def test_d33_health_outlives_reloads(t):
    """A reload, one that takes the peer out and one that puts it back: the address is still down."""
    gateways, peers = one_and_two(t, down_after=1, down_for="1h")
    gateways.answer[FOUR[0]] = (503,)
    routes = [("out", {"peers": ["one", "two"]})]
    d = t.daemon(peers=peers, routes=routes, timeouts=SHORT)
    caller = Caller(t, d)
    assert caller.call() == 200 and state(d) == "down"
    d.ctl("reload")
    assert state(d) == "down"
    d.configure(peers=peers[1:], routes=[("out", {"peers": ["two"]})], timeouts=SHORT)
    d.ctl("reload")
    assert caller.call() == 200
    d.configure(peers=peers, routes=routes, timeouts=SHORT)
    d.ctl("reload")
    assert state(d) == "down"
    gateways.forget()
    assert caller.calls(3) == [200] * 3 and gateways.hosts() == [FOUR[1]] * 3


def test_s21_pause_of_one_address(t):
    """A 503 with Retry-After is for the address that sent it: the name's others go on, and it is no
    failure."""
    gateways, d = of_srv(t, FOUR[:2])
    caller = Caller(t, d)
    gateways.answer[FOUR[0]] = (503,)
    gateways.headers[FOUR[0]] = [("Retry-After", "1000")]
    caller.calls(30)
    assert gateways.hosts().count(FOUR[0]) == 1
    found = destinations(d)
    assert found[FOUR[0]]["pause_ms"] > 0 and found[FOUR[0]]["failed"] == 0, found
    assert found[FOUR[1]]["pause_ms"] == 0
    assert d.rpc("peers")["peers"][0]["pause_ms"] == 0, "the peer as a whole takes requests"
    assert "wants a pause" in d.ctl("peers").stdout


def test_d33_probes_bring_it_back(t):
    """probe_mode when-down: none is asked while it is up; one that is down is asked, no call tries it,
    and probe_up_after good answers bring it back."""
    gateways, peers = one_and_two(t, down_after=1, down_for=t.ms(500), probe=t.ms(300),
                                  probe_mode="when-down", probe_timeout=t.ms(1000))
    d = in_order(t, *peers)
    caller = Caller(t, d)
    assert caller.calls(3) == [200] * 3
    gateways.answer[FOUR[0]] = (503,)
    assert caller.call() == 200 and state(d) in ("down", "probing")
    t.wait(lambda: gateways.hosts("OPTIONS").count(FOUR[0]) >= 3, "probes of what is down")
    gateways.forget()
    assert caller.calls(3) == [200] * 3
    assert gateways.hosts() == [FOUR[1]] * 3, "a call tried what the probes find down"
    gateways.answer.clear()
    wait_state(t, d, "up")
    assert destinations(d, "one")[FOUR[0]]["probe"]["sent"] >= 5
    assert not gateways.hosts("OPTIONS").count(FOUR[1])
    gateways.forget()
    assert caller.calls(3) == [200] * 3 and gateways.hosts() == [FOUR[0]] * 3


def test_d33_heard_within(t):
    """A peer that has sent nothing for heard_within is tried behind the others until it does."""
    gateways, peers = one_and_two(t, heard_within=t.ms(1500))
    d = in_order(t, *peers)
    caller = Caller(t, d)
    assert caller.call() == 200 and gateways.hosts() == FOUR[:1], "it has some time to begin"

    def first():
        gateways.forget()
        assert caller.call() == 200
        return gateways.hosts()[0]
    t.wait(lambda: first() == FOUR[1], "its silence to count")
    assert state(d) == "up"
    d.ctl("peer", "one", "up")
    assert first() == FOUR[0], "an administrator's word wins over its silence"
    d.ctl("peer", "one", "none")
    assert first() == FOUR[1]
    gateways.send_options(FOUR[0], ("127.0.0.1", d.port("udp")))
    t.wait(lambda: first() == FOUR[0], "the peer to be heard of")
    assert d.rpc("peers")["peers"][0]["heard_s"] is not None


def test_d33_each_tls_domain_by_itself(t):
    """The same address by another TLS domain is another destination: one tenant that cannot get through
    does not take it from the other."""
    lab, strangers = lab_of(t, "cloud.example", "good.example"), Authority(t, "strangers")
    strangers.cert("bad.example")
    cloud, spare = t.uas("tls", ctx=lab.server("cloud.example")), t.uas("tcp", name="spare")
    d = t.daemon(domain=verifying(lab, require_cert=False), domains=[
        ("good", verifying(lab, "good.example", role="client")),
        ("bad", verifying(strangers, "bad.example", role="client"))], peers=[
            ("cloud", {"uri": "sip:127.0.0.1:%d;transport=tls" % cloud.listener("tls").port,
                       "identity": "cloud.example", "tls_domain": "good", "down_after": 1,
                       "down_for": t.ms(1500), "probe": "1h"}),
            ("spare", {"uri": "sip:127.0.0.1:%d;transport=tcp" % spare.listener("tcp").port})],
                 routes=[(n, {"to_domain": n + ".example", "peers": ["cloud", "spare"],
                              "tls_domain": n}) for n in ("bad", "good")])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")

    def known():
        peer = [p for p in d.rpc("peers")["peers"] if p["name"] == "cloud"][0]
        return {x["tls_domain"]: x for x in peer["destinations"]}
    options_works(t, d, alice, conn, "sip:x@bad.example")
    assert spare.count("OPTIONS") == 1 and d.counter("peers.failures") == 1
    d.wait_log("An address of a peer is down.*peer=cloud.*tls_domain=bad cause=handshake")
    options_works(t, d, alice, conn, "sip:x@good.example")
    assert [m.uri for m in cloud.seen if "@" in m.uri] == ["sip:x@good.example"]
    assert (known()["good"]["state"], known()["bad"]["state"]) == ("up", "down")
    t.wait(lambda: known()["bad"]["tried_in_s"] == 0, "the time to try it")
    options_works(t, d, alice, conn, "sip:x@bad.example")
    assert d.counter("peers.failures") == 2, "nobody probes it so, and no request tried it"


@pytest.mark.timeout(180)
def test_d33_no_call_is_lost_that_has_another_target(t):
    """Gateways go silent, refuse, fail behind a 100 and come back, in turns, while a fourth one asks
    for pauses; one at a time is well. Of 600 calls on three connections none is lost."""
    gateways, d = of_srv(t, FOUR, timeouts={"timer_b": t.ms(3000)}, down_after=2, down_for=t.ms(300),
                         slow_start=t.ms(500), retry_after_max="1s")
    ills = itertools.cycle([(503,), (100, 408), (503,), (100, 503)] * 3 + [()])
    gateways.headers[FOUR[3]] = [("Retry-After", "1")]
    callers = [Caller(t, d) for _ in range(3)]
    for turn in range(20):
        well = FOUR[turn % 3]
        gateways.answer = {h: next(ills) for h in FOUR[:3] if h != well}
        gateways.answer[FOUR[3]] = (503,)
        for _ in range(10):
            made = [Call(c.agent, c.conn, "sip:carol@far.example").send() for c in callers]
            for one in made:
                rsp = one.final()
                assert rsp.status == 200, "turn %d, %s well: %r" % (turn, well, rsp)
                one.ack()
    assert all(d.counter(c) > 0 for c in ("peers.failures", "peers.pauses", "transactions.failover"))


# -- what an administrator says


def admin(d, peer="one"):
    p = [p for p in d.rpc("peers")["peers"] if p["name"] == peer][0]
    return p["admin"], [x["admin"] for x in p["destinations"]]


def test_d33_admin_takes_a_peer_out(t):
    """drain: no new requests, though all others fail, dialogs and probes go on; down: no probes either;
    up: used whatever its health; none: as if nothing had been said. ctl tells who said it and when."""
    gateways, peers = one_and_two(t, down_after=1, down_for="1h", probe=t.ms(200))
    d = in_order(t, *peers)
    caller = Caller(t, d)
    up = Call(caller.agent, caller.conn, "sip:carol@far.example").send()
    assert up.final().status == 200
    up.ack()
    said = d.rpc("peer", {"name": "one", "state": "drain", "by": "alice"})
    assert said["kept"] and said["admin"]["state"] == "drain" and said["admin"]["by"] == "alice", said
    gateways.forget()
    assert caller.calls(5) == [200] * 5 and gateways.hosts() == [FOUR[1]] * 5
    gateways.answer[FOUR[1]] = (503,)
    assert caller.call() == 500 and FOUR[0] not in gateways.hosts()
    assert up.bye().status == 200 and gateways.hosts("BYE") == FOUR[:1], "its dialogs go on"
    gateways.forget()
    t.wait(lambda: gateways.hosts("OPTIONS"), "the probes to go on")
    assert "drain by alice at 2" in d.ctl("peers").stdout
    d.wait_log("The state of a peer was set by ctl.*peer=one.*state=drain by=alice")
    d.ctl("peer", "one", "down")
    assert admin(d)[0]["state"] == "down" and admin(d)[0]["by"]
    d.ctl("peer", "two", "down")
    assert caller.call() == 503, "neither is there for new requests"
    gateways.answer = {FOUR[0]: (503,), FOUR[1]: (200,)}
    d.ctl("peer", "two", "none")
    d.ctl("peer", "one", "none")
    assert admin(d) == (None, [None])
    assert caller.call() == 200
    t.wait(lambda: state(d) == "down", "the probes to find it down again")
    gateways.forget()
    assert caller.call() == 200 and gateways.hosts() == [FOUR[1]]
    d.ctl("peer", "one", "up")
    gateways.forget()
    assert caller.call() == 200 and gateways.hosts() == FOUR[:2], "it is tried, whatever its health"


def test_d33_admin_of_one_address(t):
    """One address of a name is taken out, and the others carry on; one that is said to be up is, though
    its peer is drained."""
    gateways, d = of_srv(t, FOUR[:2])
    caller = Caller(t, d)
    d.ctl("peer", "trunk", "drain", "--address", "%s:%d" % (FOUR[0], gateways.port))
    assert caller.calls(20) == [200] * 20
    assert gateways.hosts() == [FOUR[1]] * 20
    found = destinations(d)
    assert found[FOUR[0]]["admin"]["state"] == "drain" and found[FOUR[1]]["admin"] is None
    d.ctl("peer", "trunk", "drain")
    assert caller.call() == 503
    d.ctl("peer", "trunk", "up", "--address", FOUR[1])
    assert caller.calls(3) == [200] * 3 and gateways.hosts() == [FOUR[1]] * 23
    for bad in (("peer", "nobody", "up"), ("peer", "trunk", "gone"),
                ("peer", "trunk", "up", "--address", "127.9.9.9"),
                ("peer", "trunk", "up", "--address", "%s:1" % FOUR[0])):
        assert d.ctl(*bad, check=False).returncode, bad


def test_d33_admin_outlives_all(t):
    """It outlives reloads, the peer's absence and restarts; a file that says nothing sensible ends the
    start with a sentence."""
    gateways, peers = one_and_two(t)
    routes = [("out", {"peers": ["one", "two"]})]
    d = t.daemon(peers=peers, routes=routes, timeouts=SHORT)
    d.ctl("peer", "one", "drain")
    d.ctl("peer", "two", "drain", "--address", "%s:%d" % (FOUR[1], gateways.port))
    before = admin(d), admin(d, "two")
    d.ctl("reload")
    d.configure(peers=peers[1:], routes=[("out", {"peers": ["two"]})], timeouts=SHORT)
    d.ctl("reload")
    d.configure(peers=peers, routes=routes, timeouts=SHORT)
    d.ctl("reload")
    assert (admin(d), admin(d, "two")) == before
    assert Caller(t, d).call() == 503 and not gateways.hosts()
    d.stop()
    d.start()
    assert (admin(d), admin(d, "two")) == before
    assert Caller(t, d).call() == 503 and not gateways.hosts()
    d.ctl("peer", "one", "none")
    assert Caller(t, d).call() == 200 and gateways.hosts() == FOUR[:1]
    d.stop()
    d.start()
    assert admin(d) == (None, [None]) and admin(d, "two") == before[1]
    d.stop()
    kept = os.path.join(d.dir, "peers.json")
    with open(kept, "a", encoding="ascii") as f:
        f.write("}")
    with pytest.raises(AssertionError, match="peers.json: it is not as .ctl peer. has written it"):
        d.start()
    os.unlink(kept)
    d.start()
    assert admin(d) == admin(d, "two") == (None, [None])


def test_d33_admin_that_cannot_be_kept(t):
    """Where the file cannot be written the state counts, and the answer says that it will not outlive
    a restart."""
    gateways, peers = one_and_two(t)
    d = in_order(t, *peers, extra='peer_state_file = "/nowhere/peers.json"')
    said = d.rpc("peer", {"name": "one", "state": "drain"})
    assert not said["kept"] and "/nowhere/peers.json" in said["problem"], said
    assert Caller(t, d).call() == 200 and gateways.hosts() == [FOUR[1]]
    d.wait_log("will not outlive a restart")
