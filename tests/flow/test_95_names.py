# SPDX-License-Identifier: Apache-2.0
"""Next hops by name (RFC 3263): NAPTR, SRV, addresses, and what happens when one of them, or the
name server, is not there. Row D33.
"""
from flowlib import dns
from flowlib.steps import options_works
from flowlib.ua import Call


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
