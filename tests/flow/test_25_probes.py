# SPDX-License-Identifier: Apache-2.0
"""Peers that are asked by OPTIONS whether they are alive (`peer { probe }`)."""
import pytest
from flowlib import dns
from flowlib.carriers import Carriers
from flowlib.steps import options_works
from flowlib.ua import Call

from test_45_identity import lab_of, verifying

pytestmark = pytest.mark.host_only("which peer is asked does not depend on who seals the request")


def peers_of(t, port, other, probes=True):
    """Two peers of one route; PROBES False: none is asked."""
    out = [("one", {"uri": "sip:127.0.0.1:%d;transport=%s" % port}),
           ("two", {"uri": "sip:127.0.0.1:%d;transport=tcp" % other})]
    for _, options in out if probes else ():
        options["probe"] = t.ms(200)
    return {"peers": out, "routes": [("out", {"peers": ["one", "two"]})], "workers": 2}


def states(d):
    return {p["name"]: p["probe"] and p["probe"]["state"] for p in d.rpc("peers")["peers"]}


def wait_states(t, d, one, two):
    t.wait(lambda: states(d) == {"one": one, "two": two}, "peers %s and %s, not %s" % (
        one, two, states(d)))


def only_probes(agent):
    """What came that no test step sent: all must be probes."""
    return [m for m in agent.seen if m.uri and "@" not in m.uri]


def test_3_probe_finds_a_peer_down_and_up(t):
    """A peer that refuses connections is down after some probes, and routes pass it over at once;
    when it listens again it is found up and used. A reload keeps what is known."""
    bob, port = t.uas("tcp", name="bob"), t.port()
    d = t.daemon(**peers_of(t, (port, "tcp"), bob.listener("tcp").port))
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    wait_states(t, d, "down", "up")
    d.wait_log("An address of a peer is down.*peer=one.*cause=connect")
    before = d.counter("transactions.failover")
    for _ in range(5):
        options_works(t, d, alice, conn, "sip:line@far.example")
    assert d.counter("transactions.failover") == before, "the dead peer was tried"
    assert d.counter("peers.passed_over") >= 5
    d.ctl("reload")
    assert states(d) == {"one": "down", "two": "up"}
    probe = only_probes(bob)[0]
    assert probe.method == "OPTIONS" and probe.get("to") and probe.get("max-forwards") == "69"
    assert len(probe.all("via")) == 1, probe
    table = d.ctl("peers").stdout
    assert "down, " in table and "up, " in table, table
    carol = t.uas(name="carol")
    carol.listen("tcp", "127.0.0.1", port, None)
    wait_states(t, d, "up", "up")
    d.wait_log("An address of a peer is up again.*peer=one")
    options_works(t, d, alice, conn, "sip:line@far.example")
    assert [m for m in carol.seen if m.uri == "sip:line@far.example"], "the first peer is not used"
    d.configure(**peers_of(t, (port, "tcp"), bob.listener("tcp").port, False))
    d.ctl("reload")
    assert states(d) == {"one": None, "two": None}


def test_3_probe_of_a_silent_peer(t):
    """A peer on UDP that never answers is down; where all of a route are down they are tried all the
    same, and one that answers 503 to its probes is down too."""
    bob, carol = t.uas("udp", silent=True), t.uas("tcp", name="carol", status=503)
    d = t.daemon(**peers_of(t, (bob.listener("udp").port, "udp"), carol.listener("tcp").port),
                 timeouts={"t1": "50ms", "timer_b": t.ms(1500), "timer_f": t.ms(1500)})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    wait_states(t, d, "down", "down")
    call = Call(alice, conn, "sip:line@far.example").send()
    assert call.final().status == 200
    call.ack()
    assert bob.count("INVITE") and carol.count("INVITE") == 1
    counted = d.counter("probes.failed")
    assert 6 <= counted <= d.counter("probes.sent")
    d.configure(**peers_of(t, (bob.listener("udp").port, "udp"), carol.listener("tcp").port, False))
    d.ctl("reload")


def destinations(d, peer="trunk"):
    """What is known of each address of PEER, by its host."""
    found = [p for p in d.rpc("peers")["peers"] if p["name"] == peer][0]["destinations"]
    return {x["address"].rpartition(":")[0]: x for x in found}


def trunk(t, hosts, **options):
    """A peer whose name leads to HOSTS over UDP, probed; its gateways, the name server, the daemon."""
    gateways = Carriers(t, hosts, default=(200,))
    server = dns.NameServer({("trunk.example", "A"): hosts}, ttl=1)
    dns.use(t, server.port)
    options = {"uri": "sip:trunk.example:%d;transport=udp" % gateways.port, "probe": t.ms(200),
               "probe_timeout": t.ms(1000), **options}
    d = t.daemon(peers=[("trunk", options)], routes=[("out", {"peers": ["trunk"]})],
                 timeouts={"t1": "20ms"}, extra="dns_ttl_min = 1s")
    d.fds_at_start += 1                # the resolver keeps its socket to the name server
    return gateways, server, d


def wait_dest(t, d, **want):
    """Until the states of the addresses (a: 127.2.0.1, b: 127.2.0.2) are those of WANT."""
    host = {"a": "127.2.0.1", "b": "127.2.0.2"}
    t.wait(lambda: {k: destinations(d).get(host[k], {}).get("state") for k in want} == want,
           "addresses to be %s" % want)


AB = ["127.2.0.1", "127.2.0.2"]


def test_3_probe_asks_each_address(t):
    """Of the addresses of one name each is asked by itself and has a state of its own, with cause and
    counts; the peer is down with the last of them."""
    gateways, _, d = trunk(t, AB)
    gateways.answer[AB[1]] = ()
    wait_dest(t, d, a="up", b="down")
    assert states(d) == {"trunk": "up"}
    a, b = (destinations(d)[h] for h in AB)
    assert b["cause"] == "no answer" and b["status"] is None and b["times_down"] == 1, b
    assert b["probe"]["failed"] >= 3 and b["since_s"] is not None and b["tried_in_s"] is not None, b
    assert a["cause"] is None and a["probe"]["last_status"] == 200 and a["probe"]["sent"], a
    assert a["transport"] == "udp" and a["tls_domain"] is None, a
    table = d.ctl("peers").stdout
    assert "no answer" in table and AB[1] in table, table
    gateways.answer[AB[0]] = (503,)
    wait_dest(t, d, a="down", b="down")
    assert destinations(d)[AB[0]]["cause"] == "answer" and destinations(d)[AB[0]]["status"] == 503
    assert states(d) == {"trunk": "down"}
    gateways.answer.clear()
    wait_dest(t, d, a="up", b="up")


def test_3_probe_outlives_the_name(t):
    """The name is gone: the last addresses stay, marked as stale, and their probes go on and alone
    tell whether they are up."""
    gateways, server, d = trunk(t, AB)
    wait_dest(t, d, a="up", b="up")
    server.change({("trunk.example", "A"): []})
    t.wait(lambda: all(x["stale"] for x in destinations(d).values()), "the name to be gone")
    gateways.answer[AB[0]] = ()
    wait_dest(t, d, a="down", b="up")
    gateways.answer.clear()
    wait_dest(t, d, a="up", b="up")
    assert "up, stale" in d.ctl("peers").stdout


def test_3_probe_state_outlives_the_address(t):
    """DNS takes an address away and brings it back: it is still down. So it is for a peer that a
    reload takes out and another puts back."""
    gateways, server, d = trunk(t, AB, probe_up_after=100)
    gateways.answer[AB[1]] = (503,)
    wait_dest(t, d, a="up", b="down")
    server.change({("trunk.example", "A"): AB[:1]})
    t.wait(lambda: list(destinations(d)) == AB[:1], "the address to go")
    gateways.answer.clear()
    server.change({("trunk.example", "A"): AB})
    t.wait(lambda: len(destinations(d)) == 2, "the address to be back")
    assert destinations(d)[AB[1]]["times_down"] == 1


def test_3_probe_ok_and_counts(t):
    """probe_ok says which answers are good, codes and classes; the thresholds are the peer's."""
    gateways, _, d = trunk(t, AB, probe_ok=["2xx", "405"], probe_down_after=1, probe_up_after=1)
    gateways.answer.update({AB[0]: (405,), AB[1]: (404,)})
    wait_dest(t, d, a="up", b="down")
    assert destinations(d)[AB[1]]["status"] == 404 and destinations(d)[AB[1]]["probe"]["failed"]
    gateways.answer[AB[1]] = (202,)
    wait_dest(t, d, a="up", b="up")


def test_3_probe_says_who_we_are(t):
    """What clouds want to see: the advertised name in From and Contact, what we take in Allow and
    Supported, our name; the certificate of the peer's TLS domain, whose advertised name comes first."""
    lab = lab_of(t, "far.example")
    far = t.uas("tls", ctx=lab.server("far.example", ask=lab.ca))
    d = t.daemon(domain=verifying(lab, require_cert=False, advertise="sbc.tenant.example:5071"),
                 peers=[("cloud", {"uri": "sip:127.0.0.1:%d;transport=tls" % far.listener("tls").port,
                                   "identity": "far.example", "tls_domain": "lab", "probe": "1h"})])
    t.wait(lambda: destinations(d, "cloud")["127.0.0.1"]["probe"]["last_status"], "the probe")
    where, m = far.next_request("OPTIONS")
    shown = dict(x[0] for x in where.tls.getpeercert()["subject"])
    assert shown["commonName"] == "atlanta.example", shown
    assert destinations(d, "cloud")["127.0.0.1"]["tls_domain"] == "lab"
    assert "<sip:sbc.tenant.example>;tag=" in m.get("from"), m
    assert m.get("contact") == "<sip:sbc.tenant.example:5071;transport=tls>", m
    assert "INVITE" in m.get("allow") and "UPDATE" in m.get("allow") and "REFER" not in m.get("allow")
    assert m.get("supported") == "100rel, timer" and m.get("user-agent") == "tieline"
    assert m.get("call-id").endswith("@sbc.tenant.example") and m.get("max-forwards") == "69"


# -- RFC 3261 21.5.4: who answers 503 with Retry-After


def busy(t, retry_after, name="one"):
    return t.uas("tcp", name=name, status=503, headers=[("Retry-After", retry_after)])


def pausing(d):
    return {p["name"] for p in d.rpc("peers")["peers"] if p["pause_ms"]}


def one_and_two(t, one, two=None, **options):
    """A daemon with a route to both, or to the first alone."""
    peers = [(a.name, dict(options, uri="sip:127.0.0.1:%d;transport=tcp" % a.listener("tcp").port))
             for a in (one, two) if a]
    return t.daemon(peers=peers, routes=[("out", {"peers": [p[0] for p in peers]})])


def test_s21_retry_after_is_kept(t):
    """The first 503 goes on to the next peer; from then on the busy one gets nothing, and ctl says
    so. A reload does not forget it."""
    one, two = busy(t, "1000 (in a while);duration=9"), t.uas("tcp", name="two")
    d = one_and_two(t, one, two)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    options_works(t, d, alice, conn, "sip:line@far.example")
    assert len(one.seen) == 1 and pausing(d) == {"one"}
    d.ctl("reload")
    for _ in range(5):
        options_works(t, d, alice, conn, "sip:line@far.example")
    assert len(one.seen) == 1, "the busy peer was asked again"
    assert d.counter("peers.pauses") == 1 and d.counter("peers.passed_over") >= 5
    assert "wants a pause" in d.ctl("peers").stdout
    d.wait_log("asked for a pause.*peer=one.*asked_s=1000.*pause_ms=60000")


def test_s21_no_other_peer(t):
    """Where the route has none, the client hears when to come again."""
    one = busy(t, "1000")
    d = one_and_two(t, one)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    assert alice.request(conn, "OPTIONS", "sip:line@far.example").status == 500
    said = alice.request(conn, "OPTIONS", "sip:line@far.example")
    assert said.status == 503 and 1 <= int(said.get("retry-after")) <= 60, said
    assert len(one.seen) == 1


def test_s21_retry_after_is_bounded(t):
    """retry_after_max ends the pause, and 0 takes no notice; a 503 without the time, or without sense,
    is for its own request alone."""
    for retry_after, limit in (("4000000000", t.ms(100)), ("9", "0"), ("soon", "60s"), ("0", "60s")):
        one = busy(t, retry_after, "one%s" % limit)
        d = one_and_two(t, one, retry_after_max=limit)
        alice = t.uac()
        conn = t.dial(alice, d, "tcp")
        assert alice.request(conn, "OPTIONS", "sip:line@far.example").status == 500
        t.wait(lambda: not pausing(d), "the end of the pause")
        assert alice.request(conn, "OPTIONS", "sip:line@far.example").status == 500
        assert len(one.seen) == 2, "the peer was left alone after its time"
