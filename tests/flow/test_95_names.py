# SPDX-License-Identifier: Apache-2.0
"""Next hops by name (RFC 3263): NAPTR, SRV, addresses, and what happens when one of them, or the
name server, is not there. Row D33.
"""
import os

import pytest
from flowlib import dns
from flowlib.steps import options_works
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("DNS")


def _port(agent, transport):
    return agent.listener(transport).port


def _sips(c):
    """The zone of a domain that prefers TLS: a dead host first, BOB behind it, CAROL by TCP."""
    return {
        ("service.example", "NAPTR"): [
            (10, 20, "s", "SIP+D2T", "", "_sip._tcp.service.example"),
            (10, 10, "s", "SIPS+D2T", "", "_sips._tcp.service.example"),
            (10, 5, "s", "SIP+D2S", "", "_sip._sctp.service.example")],
        ("_sips._tcp.service.example", "SRV"): [(20, 1, c["bob"], "up.example"),
                                               (10, 1, c["dead"], "dead.example")],
        ("_sip._tcp.service.example", "SRV"): [(1, 1, c["carol"], "up.example")],
        ("dead.example", "A"): ["127.0.0.1"],
        ("up.example", "A"): ["127.0.0.1"],
    }


def test_d33_naptr_srv_and_failover(t):
    """A URI of a name alone: NAPTR says TLS first, SRV which host first; a dead host, then a dead
    service are passed over."""
    bob, carol = t.uas("tls"), t.uas("tcp", name="carol")
    zone = _sips({"bob": _port(bob, "tls"), "carol": _port(carol, "tcp"), "dead": t.port()})
    server = dns.NameServer(zone)
    dns.use(t, server.port)
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, "sip:line@service.example").send()
    assert call.final().status == 200
    call.ack()
    assert bob.count("INVITE") == 1 and carol.count("INVITE") == 0
    assert call.request("BYE").status == 200
    assert d.counter("transactions.failover") >= 1
    assert ("service.example", "NAPTR") in server.asked
    bob.close()                        # the whole TLS service is gone now
    options_works(t, d, alice, conn, "sip:line@service.example")
    assert carol.count("OPTIONS") == 1
    # sips must not fall back to TCP
    rsp = alice.request(conn, "MESSAGE", "sips:line@service.example")
    assert rsp.status in (480, 503), repr(rsp)
    assert carol.count("MESSAGE") == 0
    d.fds_at_start += 1                # the resolver keeps its socket to the name server


def test_d33_peer_by_srv(t):
    """A peer by name without port: its SRV records are asked when the configuration is read, all
    targets are in `ctl peers` in their order, and the second serves when the first is gone."""
    bob, carol = t.uas("tcp"), t.uas("tcp", name="carol")
    server = dns.NameServer({("_sip._tcp.gw.example", "SRV"): [
        (20, 1, _port(carol, "tcp"), "two.test"), (10, 1, _port(bob, "tcp"), "one.test")]})
    dns.use(t, server.port, hosts="127.0.0.1 one.test two.test\n")
    d = t.daemon(peers=[("gw", {"uri": "sip:gw.example;transport=tcp"})],
                 routes=[("out", {"peers": ["gw"]})])
    peer = d.rpc("peers")["peers"][0]
    want = ["127.0.0.1:%d" % _port(a, "tcp") for a in (bob, carol)]
    assert peer["addresses"] == want, peer
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    options_works(t, d, alice, conn, "sip:line@far.example")
    assert (bob.count("OPTIONS"), carol.count("OPTIONS")) == (1, 0)
    bob.close()
    options_works(t, d, alice, conn, "sip:line@far.example")
    assert carol.count("OPTIONS") == 1
    d.fds_at_start += 1


def _gateway(t, ttl=1):
    """A peer by name whose address is 127.0.0.1 now; BOB is there, CAROL at 127.0.0.2."""
    bob, carol, port = t.uas(), t.uas(name="carol"), t.port()
    bob.listen("tcp", "127.0.0.1", port)
    carol.listen("tcp", "127.0.0.2", port)
    server = dns.NameServer({("gw.example", "A"): ["127.0.0.1"]}, ttl=ttl, port=t.port())
    dns.use(t, server.port)
    home = t.uas("tcp", name="home")
    d = t.daemon(extra="dns_ttl_min = 1s", workers=2,
                 peers=[("gw", {"uri": "sip:gw.example:%d;transport=tcp" % port}),
                        ("home", {"uri": "sip:127.0.0.1:%d;transport=tcp" % _port(home, "tcp")})],
                 routes=[("in", {"to_prefix": "in", "from_peer": ["gw"], "peers": ["home"]}),
                         ("out", {"to_prefix": "out", "peers": ["gw"]})])
    d.fds_at_start += 1
    t.wait(lambda: _gw(d)["lookup"]["ttl_s"] == ttl, "an answer with its time")
    return bob, carol, home, server, d


def _gw(d):
    return d.rpc("peers")["peers"][0]


def _leads_to(t, d, host):
    t.wait(lambda: [a.split(":")[0] for a in _gw(d)["addresses"]] == [host],
           "the peer's address %s" % host)


def test_d33_peer_follows_its_name(t):
    """When DNS changes its answer, new requests go to the new address without a reload; the
    connection to the old one stays and serves the dialog that it has."""
    bob, carol, _, server, d = _gateway(t)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, "sip:out1@far.example").answered()
    assert bob.count("INVITE") == 1
    shown = _gw(d)["lookup"]
    assert shown["looked_up"] and shown["failed_in_a_row"] == 0 and shown["error"] is None, shown
    server.change({("gw.example", "A"): ["127.0.0.2"]})
    _leads_to(t, d, "127.0.0.2")
    for _ in range(3):
        assert alice.request(conn, "OPTIONS", "sip:out2@far.example").status == 200
    assert (bob.count("OPTIONS"), carol.count("OPTIONS")) == (0, 3)
    assert call.bye().status == 200
    assert bob.count("BYE") == 1 and bob.listener("tcp").accepted == 1
    assert {c["peer"].split(":")[0] for c in d.connections() if c["direction"] == "out"} == {
        "127.0.0.1", "127.0.0.2"}, "the old connection is still there"
    assert d.counter("dns.changed") == 1
    assert d.counter("reloads.ok") == 0, "nobody reloaded"
    d.wait_log(r"leads to other addresses than before.*peer=gw .*127\.0\.0\.2")


def test_d33_source_follows_its_name(t):
    """A peer is recognised by the addresses that its name leads to now, on connections that were
    there before, too."""
    _, _, home, server, d = _gateway(t)
    alice, uri = t.uac(), "sip:in@far.example"
    old, new = (t.dial(alice, d, "tcp", bind=(ip, 0)) for ip in ("127.0.0.1", "127.0.0.2"))
    assert alice.request(old, "OPTIONS", uri).status == 200
    assert alice.request(new, "OPTIONS", uri).status == 403
    server.change({("gw.example", "A"): ["127.0.0.2"]})
    _leads_to(t, d, "127.0.0.2")
    assert alice.request(new, "OPTIONS", uri).status == 200
    assert alice.request(old, "OPTIONS", uri).status == 403
    assert home.count("OPTIONS") == 2


def test_d33_name_servers_gone_and_back(t):
    """Without name servers the last addresses serve, however long, also over a reload; one line in
    the log, and ctl tells how old they are. When they are back their answer counts again."""
    bob, carol, _, server, d = _gateway(t)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    server.close()
    t.wait(lambda: _gw(d)["lookup"]["failed_in_a_row"] >= 2, "two failed look-ups")
    shown = _gw(d)["lookup"]
    assert shown["error"] and shown["looked_up"] and shown["age_s"] >= 1, shown
    d.rpc("reload")
    assert alice.request(conn, "OPTIONS", "sip:out@far.example").status == 200
    assert bob.count("OPTIONS") == 1
    text = d.ctl("peers").stdout
    assert "failed: " in text and "s ago" in text, text
    assert d.counter("dns.failed") >= 2
    back = dns.NameServer({("gw.example", "A"): ["127.0.0.2"]}, ttl=1, port=server.port)
    _leads_to(t, d, "127.0.0.2")
    assert alice.request(conn, "OPTIONS", "sip:out@far.example").status == 200
    assert carol.count("OPTIONS") == 1 and back.asked
    assert _gw(d)["lookup"]["error"] is None
    d.wait_log(r"can be looked up again")
    assert d.log().count("cannot be looked up; its last addresses") == 1


def test_d33_priority_and_weight_of_a_peer(t):
    """SRV: the better priority takes all, spread by weight; the next one takes over when that is
    gone."""
    bob, carol, dave = (t.uas("tcp", name=n) for n in ("bob", "carol", "dave"))
    server = dns.NameServer({("_sip._tcp.gw.example", "SRV"): [
        (10, 10, _port(bob, "tcp"), "a.test"), (10, 40, _port(carol, "tcp"), "b.test"),
        (20, 9, _port(dave, "tcp"), "c.test")]})
    dns.use(t, server.port, hosts="127.0.0.1 a.test b.test c.test\n")
    d = t.daemon(peers=[("gw", {"uri": "sip:gw.example;transport=tcp"})],
                 routes=[("out", {"peers": ["gw"]})])
    d.fds_at_start += 1
    t.wait(lambda: _gw(d)["lookup"]["ttl_s"], "an answer with its time")
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for _ in range(60):
        assert alice.request(conn, "OPTIONS", "sip:x@far.example").status == 200
    got = [a.count("OPTIONS") for a in (bob, carol, dave)]
    assert got[2] == 0 and got[0] >= 1 and got[1] > got[0], got
    bob.close()
    carol.close()
    options_works(t, d, alice, conn, "sip:x@far.example")
    assert dave.count("OPTIONS") == 1


def test_d33_relayed_name_by_its_ttl(t):
    """A name in the Request-URI: its answer is used while DNS says that it holds, then asked again."""
    bob, carol, port = t.uas(), t.uas(name="carol"), t.port()
    bob.listen("tcp", "127.0.0.1", port)
    carol.listen("tcp", "127.0.0.2", port)
    server = dns.NameServer({("far.example", "A"): ["127.0.0.1"]}, ttl=2)
    dns.use(t, server.port)
    d = t.daemon()
    d.fds_at_start += 1
    alice, uri = t.uac(), "sip:x@far.example:%d;transport=tcp" % port
    conn = t.dial(alice, d, "tcp")
    options_works(t, d, alice, conn, uri)
    assert bob.count("OPTIONS") == 1
    server.change({("far.example", "A"): ["127.0.0.2"]})

    def moved():
        assert alice.request(conn, "OPTIONS", uri).status == 200
        return carol.count("OPTIONS")
    t.wait(moved, "a request at the new address")
    asked = len([q for q in server.asked if q[1] == "A"])
    assert bob.count("OPTIONS") + carol.count("OPTIONS") > asked, "each request asks"


def test_d33_name_server_gone(t):
    """With the name server gone, peers and names that are known are served, others are answered
    503 and leave nothing behind."""
    bob = t.uas("tls")
    zone = _sips({"bob": _port(bob, "tls"), "carol": t.port(), "dead": t.port()})
    server = dns.NameServer(zone)
    dns.use(t, server.port)
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    options_works(t, d, alice, conn, "sip:line@service.example")
    server.close()
    options_works(t, d, alice, conn, "sip:line@service.example")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    assert bob.count("OPTIONS") == 3
    for uri in ("sip:x@other.example", "sips:x@other.example", "sip:x@other.example:5060"):
        assert alice.request(conn, "MESSAGE", uri).status == 503, uri
    t.wait(lambda: d.counter("transactions.now") == 0, "no transaction left")
    d.fds_at_start += 1


def test_d33_no_route_to_any_name_server(t):
    """A machine whose network is down: the daemon starts, says once that the name cannot be looked
    up, asks again later, and does not turn in circles meanwhile."""
    d = t.daemon(start=False, listen=("udp",), domain=None, extra="dns_ttl_min = 1s", peers=[
        ("trunk", {"uri": "sip:trunk.example;transport=tcp"})], routes=[("all", {"peers": ["trunk"]})])
    run = t.spawn(["unshare", "-n", "sh", "-c", "ip link set lo up; exec \"$0\" run -c \"$1\"",
                   t.tieline, d.config_file])

    def failed():
        try:
            return d.rpc("peers")["peers"][0]["lookup"]["failed"] >= 2
        except OSError:
            return False
    t.wait(failed, "two look-ups to fail")
    with open("/proc/%d/stat" % run.pid, encoding="ascii") as f:
        ticks = sum(int(x) for x in f.read().rpartition(")")[2].split()[11:13])
    assert ticks < 200 * t.slow, "%d ticks of processor time" % ticks
    with open(os.path.join(t.dir, "out.0"), encoding="utf-8") as f:
        said = f.read()
    assert len(said) < 20000 and said.count("cannot be looked up") == 1, said[-2000:]
