# SPDX-License-Identifier: Apache-2.0
"""Which connection a request goes out on: reuse only for what was verified, certificates by route,
peers bound to keys, names in Via and Record-Route, reuse in the other direction (RFC 5923).

Issue items 3.5 and 4.6; FEATURES b8 b10 b13 b14 d16 f8.
"""
import time

import pytest
from flowlib import sip
from flowlib.certs import Authority, bundle
from flowlib.steps import options_works, pattern
from flowlib.ua import Call

from test_45_identity import lab_of, verifying

pytestmark = pytest.mark.kernel_tls


def outward(d):
    return [c for c in d.connections() if c["direction"] == "out"]


def tls_uri(agent):
    return "sip:%s;transport=tls" % agent.listener("tls").hostport


def two_names(t, *more):
    """An authority, and a server whose certificate carries two domains."""
    lab = Authority(t, "lab").cert("atlanta.example", "--domain", "atlanta.example")
    lab.cert("both", "--domain", "one.example", "--domain", "two.example")
    for name in more:
        lab.cert(name)
    return lab, t.uas("tls", ctx=lab.server("both"))


def ask(alice, conn, domain):
    return alice.request(conn, "OPTIONS", "sip:x@%s" % domain).status


def test_b13_d16_two_domains_on_one_address(t):
    """One address, two domains: a connection verified for one is never used for the other (D16),
    and a name that the certificate lacks is refused although a good connection is there."""
    lab, bob = two_names(t)
    names = ("one.example", "two.example", "three.example")
    d = t.daemon(workers=1, domain=verifying(lab, require_cert=False), peers=[
        (n.split(".")[0], {"uri": tls_uri(bob), "tls_domain": "lab", "identity": n})
        for n in names], routes=[(n, {"to_domain": n, "peers": [n.split(".")[0]]}) for n in names])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for _ in range(3):
        assert [ask(alice, conn, n) for n in names] == [200, 200, 503]
    assert sorted(c["tls"]["sni"] for c in outward(d)) == ["one.example", "two.example"]
    assert d.counter("connections.dialed") == 2


def test_b13_reuse_ends_with_the_generation(t):
    """A reload that changes the TLS domain ends reuse; one that changes nothing does not."""
    lab, bob = two_names(t, "next.example")
    d = t.daemon(workers=1, domain=verifying(lab, require_cert=False),
                 peers=[("one", {"uri": tls_uri(bob), "tls_domain": "lab",
                                 "identity": "one.example"})], routes=[("one", {"peers": ["one"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    assert ask(alice, conn, "one.example") == 200
    d.rpc("reload")
    assert ask(alice, conn, "one.example") == 200
    assert d.counter("connections.dialed") == 1
    text = d.config().replace(lab.pem("atlanta.example"), lab.pem("next.example"))
    d.write(text.replace(lab.key("atlanta.example"), lab.key("next.example")))
    d.rpc("reload")
    assert ask(alice, conn, "one.example") == 200
    assert d.counter("connections.dialed") == 2


def test_b13_in_dialog_follows_its_connection(t):
    """Two connections from one address with different certificates: what the callee sends inside a
    dialog goes back on the one that the dialog came on, and on no other."""
    lab = lab_of(t, "one.example", "two.example")
    bob = t.uas("tcp")
    d = t.daemon(workers=1, domain=verifying(lab))
    alice = t.uac()
    conns = {n: t.dial(alice, d, "tls", ctx=lab.client(n)) for n in ("one.example", "two.example")}
    for name, conn in conns.items():
        call = Call(alice, conn, t.uri(bob, "tcp")).answered()
        back = bob.dialogs[call.call_id]
        for method in ("INFO", "BYE"):
            data, key = back.make(method)
            bob.expect(key)
            back.conn.send(data)
            where, req = alice.next_request(method)
            assert where is conn, name
            alice.reply(where, req, 200)
            assert bob.final(key).status == 200


@pytest.mark.host_only("certificates are judged in user space")
def test_b8_outgoing_connection_bound_to_a_key(t):
    """The next hop's certificate must be under the peer's ca_list and hold its pinned key, and a
    connection of a peer that asks for less is not used for one that asks for more."""
    fed, club = Authority(t, "fed").cert("atlanta.example"), Authority(t, "club")
    club.cert("callee.example")
    fed.cert("callee.example")
    bob = t.uas("tls", ctx=club.server("callee.example"))
    want = {"free": {}, "club": {"ca_list": club.ca}, "fed": {"ca_list": fed.ca},
            "pin": {"spki_sha256": [fed.spki("callee.example"), club.spki("callee.example")]},
            "badpin": {"spki_sha256": [fed.spki("callee.example")]},
            "badca": {"ca_list": fed.ca, "spki_sha256": [club.spki("callee.example")]}}
    d = t.daemon(workers=1, domain=verifying(fed, require_cert=False, ca_list=bundle(t, fed, club)),
                 peers=[(n, dict(uri=tls_uri(bob), tls_domain="lab", identity="callee.example", **o))
                        for n, o in want.items()],
                 routes=[(n, {"to_domain": n + ".example", "peers": [n]}) for n in want])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for _ in range(2):
        got = {n: ask(alice, conn, n + ".example") for n in want}
        assert got == {"free": 200, "club": 200, "pin": 200, "fed": 503, "badpin": 503,
                       "badca": 503}, got
    assert d.counter("connections.not_bound") == 6
    t.wait(lambda: len(outward(d)) == 3, "the refused connections to be gone")
    d.wait_log(r"is not used: its certificate is under none")
    conns = bob.listener("tls").conns
    t.wait(lambda: len([c for c in conns if c.how]) == 6, "the next hop to be told six times")
    assert {c.how for c in conns if c.how} == {"tls:TLSV1_ALERT_ACCESS_DENIED"}


@pytest.mark.host_only("a TLS domain is chosen in the handshake, in user space")
def test_b14_client_certificate_by_route(t):
    """Two routes to one peer show two certificates, each on a connection of its own; the route's
    TLS domain goes before the peer's."""
    lab = lab_of(t, "callee.example", "one.example", "two.example")
    bob = t.uas("tls", ctx=lab.server("callee.example", ask=lab.ca))
    outs = [(n, verifying(lab, n + ".example", role="client")) for n in ("one", "two")]
    d = t.daemon(workers=1, domain=verifying(lab, require_cert=False), domains=outs,
                 peers=[("bob", {"uri": tls_uri(bob), "tls_domain": "lab",
                                 "identity": "callee.example"})],
                 routes=[("one", {"to_domain": "a.example", "peers": ["bob"], "tls_domain": "one"}),
                         ("two", {"to_domain": "b.example", "peers": ["bob"], "tls_domain": "two"}),
                         ("rest", {"peers": ["bob"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for _ in range(2):
        for domain, cert in (("a.example", "one.example"), ("b.example", "two.example"),
                             ("c.example", "atlanta.example")):
            assert ask(alice, conn, domain) == 200
            where, _ = bob.next_request("OPTIONS")
            shown = dict(x[0] for x in where.tls.getpeercert()["subject"])
            assert shown["commonName"] == cert, (domain, shown)
    assert len(outward(d)) == 3


@pytest.mark.host_only("what we write into Via and Record-Route")
def test_b10_via_names_the_domain(t):
    """advertise of the TLS domain: Via and Record-Route carry the name that the other side's check
    was about, on either side, and requests along that Route come home."""
    lab = lab_of(t, "biloxi.example", "callee.example", "caller.example")
    bob = t.uas("tls", ctx=lab.server("callee.example"))
    d = t.daemon(domain=verifying(lab, require_cert=False, advertise="sip.atlanta.example:5099"),
                 domains=[("biloxi", verifying(lab, "biloxi.example", require_cert=False,
                                               advertise="sip.biloxi.example",
                                               match_sip_domain=["biloxi.example"]))],
                 peers=[("bob", {"uri": tls_uri(bob), "tls_domain": "lab",
                                 "identity": "callee.example"})], routes=[("all", {"peers": ["bob"]})])
    alice = t.uac()
    for sni, inner in ((None, "sip.atlanta.example:5099"),
                       ("biloxi.example", "sip.biloxi.example:%d" % d.port("tls"))):
        conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"), sni=sni)
        call = Call(alice, conn, "sip:bob@callee.example").answered()
        _, invite = bob.next_request("INVITE")
        assert invite.all("via")[0].startswith("SIP/2.0/TLS sip.atlanta.example:5099;"), invite
        hosts = [sip.uri_of(r).split("sip:")[1].split(";")[0] for r in invite.all("record-route")]
        assert hosts == ["sip.atlanta.example:5099", inner][:len(hosts)], hosts
        assert len(hosts) == (1 if sni is None else 2)
        bob.next_request("ACK")
        assert call.request("INFO").status == 200
        assert not bob.next_request("INFO")[1].all("route")
        assert call.bye().status == 200
        bob.next_request("BYE")


def offer(t, alice, conn, uri, sent_by):
    """A request whose Via says alias for SENT_BY."""
    data, key = alice.make(conn, "OPTIONS", uri, sent_by=sent_by + ";alias")
    alice.expect(key)
    conn.send(data)
    return alice.final(key).status


def test_f8_alias_sends_requests_back(t):
    """RFC 5923: requests for the sent-by of a Via with alias use the connection that it came on, if
    its verified certificate speaks for that name and for the one that the request wants."""
    lab = lab_of(t, "caller.example", "other.example")
    bob, port = t.uas("tcp"), t.port()
    d = t.daemon(workers=1, domain=verifying(lab, require_cert=False), peers=[
        (n, {"uri": "sip:127.0.0.1:%d;transport=tls" % port, "tls_domain": "lab",
             "identity": n + ".example"}) for n in ("caller", "other")],
        routes=[(n, {"to_domain": n + ".example", "peers": [n]}) for n in ("caller", "other")] +
               [("rest", {"relay": "request-uri"})])
    alice, carol = t.uas(name="alice"), t.uac(name="carol")
    side = t.dial(carol, d, "tcp")
    uri = t.uri(bob, "tcp")

    def reaches(domain="caller.example"):
        return carol.request(side, "OPTIONS", "sip:x@" + domain,
                             from_="<sip:c@elsewhere.example>;tag=1").status
    # no alias, one without a certificate, one for a name or a port that is not its own
    for cert, sent_by in ((None, "caller.example:%d;alias" % port),
                          ("other.example", "caller.example:%d;alias" % port),
                          ("caller.example", "other.example:%d;alias" % port),
                          ("caller.example", "caller.example:%d;alias" % (port + 1)),
                          ("caller.example", "caller.example:%d" % port)):
        conn = t.dial(alice, d, "tls", ctx=lab.client(cert))
        data, key = alice.make(conn, "OPTIONS", uri, sent_by=sent_by)
        alice.expect(key)
        conn.send(data)
        assert alice.final(key).status == 200
        assert reaches() == 503, (cert, sent_by)
        conn.close()
    assert d.counter("alias.refused") == 3 and d.counter("alias.used") == 0
    conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
    assert offer(t, alice, conn, uri, "caller.example:%d" % port) == 200
    assert reaches() == 200
    where, req = alice.next_request("OPTIONS")
    assert where is conn and ";alias" not in req.all("via")[0], req
    assert reaches("other.example") == 503, "its certificate does not speak for that name"
    assert d.counter("alias.used") == 1
    conn.close()
    t.wait(lambda: len(d.connections()) <= 2, "the connection to be gone")
    assert reaches() == 503


def dial_each_worker(t, d, agent):
    """{worker: a connection of AGENT's to it}, of two."""
    sides = {}

    def dial():
        side = t.dial(agent, d, "tcp")
        mine = [c for c in d.connections() if c["peer"].endswith(":%d" % side.local[1])]
        sides.setdefault(mine[0]["worker"] if mine else None, side)
        return len(sides.keys() - {None}) == 2
    t.wait(dial, "a connection to each worker")
    return sides


def test_b13_flow_of_a_dialog_ends_before_the_answer(t):
    """A request inside a dialog goes out on the connection that its leg came on, whichever worker
    has it; when that ends, the request fails at once (16.9)."""
    d = t.daemon(workers=2, timeouts={"timer_f": t.ms(90000)})
    alice, bob = t.uas(name="alice"), t.uas("tcp", name="bob")
    conn, sides = t.dial(alice, d, "tcp"), dial_each_worker(t, d, bob)
    call = Call(alice, conn, t.uri(bob, "tcp")).answered()
    assert [bob.next_request()[1].method for _ in range(2)] == ["INVITE", "ACK"]
    dialog, keys = bob.dialogs[call.call_id], []
    for side in sides.values():
        assert dialog.request("INFO", side).status == 200
        assert alice.next_request("INFO")[0] is conn
    alice.policy["silent"] = True
    for side in sides.values():
        data, key = dialog.make("INFO", side)
        bob.expect(key)
        side.send(data)
        assert alice.next_request("INFO")[0] is conn
        keys.append(key)
    conn.close()
    assert [bob.final(key).status for key in keys] == [503] * 2


class TwoWorkers:
    """A daemon of two workers; alice, with caller.example's certificate on a TLS connection that
    says alias; and a connection of carol's to each worker."""

    def __init__(self, t, until=None, timeouts=None, **domain):
        lab = lab_of(t)
        lab.cert("caller.example", "--domain", "caller.example", "--ip", "127.0.0.1",
                 *(("--from", "2026-01-01", "--until", until) if until else ()))
        self.bob, self.port = t.uas("tcp"), t.port()
        self.d = t.daemon(workers=2, timeouts=timeouts or {},
                          domain=verifying(lab, require_cert=False, **domain), peers=[
            ("caller", {"uri": "sip:127.0.0.1:%d;transport=tls" % self.port, "tls_domain": "lab",
                        "identity": "caller.example"})],
            routes=[("caller", {"to_domain": "caller.example", "peers": ["caller"]}),
                    ("rest", {"relay": "request-uri"})])
        self.alice, self.carol = t.uas(name="alice"), t.uac(name="carol")
        self.sides = dial_each_worker(t, self.d, self.carol)
        self.conn = t.dial(self.alice, self.d, "tls", ctx=lab.client("caller.example"))
        assert offer(t, self.alice, self.conn, t.uri(self.bob, "tcp"),
                     "caller.example:%d" % self.port) == 200
        for worker in (0, 1):
            t.wait(lambda: self.reaches(worker) == 200, "worker %d to know of it" % worker)
            assert self.alice.next_request("OPTIONS")[0] is self.conn

    def reaches(self, worker, method="OPTIONS", **kw):
        """The answer to a request for alice that WORKER gets."""
        return self.carol.request(self.sides[worker], method, "sip:x@caller.example",
                                  from_="<sip:c@elsewhere.example>;tag=1", **kw).status


def test_f8_alias_serves_the_requests_of_every_worker(t):
    """The connection that the other side opened is one worker's; requests that others have got go
    out on it too, until it is gone."""
    w = TwoWorkers(t)
    for worker in (0, 1):
        body = pattern(20000, worker)
        assert w.reaches(worker, "MESSAGE", body=body) == 200
        where, req = w.alice.next_request("MESSAGE")
        assert where is w.conn and req.body == body and ";alias" not in req.all("via")[0], req
    assert w.d.counter("connections.dialed") <= 1, "bob's alone"
    w.conn.close()
    for worker in (0, 1):
        t.wait(lambda: w.reaches(worker) == 503, "worker %d to know that it is gone" % worker)


def test_f8_alias_ends_before_the_answer(t):
    """What is out on the connection when it ends fails at once (16.9), at every worker, not when
    its timer ends."""
    w = TwoWorkers(t, timeouts={"timer_f": t.ms(90000), "timer_b": t.ms(90000)})
    w.alice.policy["silent"] = True
    keys = []
    for worker in (0, 1):
        for method in ("OPTIONS", "INVITE"):
            data, key = w.carol.make(w.sides[worker], method, "sip:x@caller.example",
                                     from_="<sip:c@elsewhere.example>;tag=%d" % worker)
            w.carol.expect(key)
            w.sides[worker].send(data)
            assert w.alice.next_request(method)[0] is w.conn
            keys.append(key)
    w.conn.close()
    assert [w.carol.final(key).status for key in keys] == [503] * 4


@pytest.mark.timeout(150)
def test_f8_alias_ends_with_the_verified_mark(t):
    """Where on_unverified = accept keeps a connection whose certificate has expired, it carries no
    worker's requests back any more."""
    until = time.time() + 12 * t.slow
    w = TwoWorkers(t, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)),
                   on_unverified="accept")
    assert time.time() < until, "the machine is too slow for this test"

    def marks():
        return [c["tls"]["verified"] for c in w.d.connections() if c.get("tls")]
    assert marks() == [True]
    t.wait(lambda: marks() == [False], "the mark to go", 30)
    for worker in (0, 1):
        t.wait(lambda: w.reaches(worker) == 503, "worker %d to know of it" % worker)
    assert offer(t, w.alice, w.conn, t.uri(w.bob, "tcp"), "caller.example:%d" % w.port) == 200


@pytest.mark.host_only("what we write into Via")
def test_f8_alias_said_where_we_can_prove_ourselves(t):
    """Our Via says alias on TLS connections that we open with a certificate to show, unless alias =
    false; never on others."""
    lab = lab_of(t, "callee.example")
    bob = t.uas("tls", "tcp", ctx=lab.server("callee.example"))
    for want, domain in ((True, {}), (False, {"alias": False})):
        d = t.daemon(domain=verifying(lab, require_cert=False, verify_name=False, **domain))
        alice = t.uac()
        conn = t.dial(alice, d, "tcp")
        for transport, says in (("tls", want), ("tcp", False)):
            options_works(t, d, alice, conn, t.uri(bob, transport))
            _, req = bob.next_request("OPTIONS")
            assert (";alias" in req.all("via")[0]) == says, (transport, req.all("via"))
