# SPDX-License-Identifier: Apache-2.0
"""The one source of a request: which peer it comes from, and that routes, From and ctl agree on it.

Issue point s3.
"""
import pytest
from flowlib import dns, net
from flowlib.certs import Authority
from test_45_identity import lab_of, says, verifying

pytestmark = pytest.mark.host_only("whose request it is follows from addresses and certificates")


def _clear_peers(t, kinds=("udp", "tcp")):
    return [("pbx-" + k, {"uri": "sip:127.0.0.1:%d;transport=%s" % (t.port(), k),
                          "domains": ["pbx.example"]}) for k in kinds]


def test_s3_address_in_a_certificate_is_nobody(t):
    """A trusted certificate with IP addresses, as mkcert writes, is none of the peers at these
    addresses: not one in the clear, not one over TLS; no route from them, no From of theirs, and
    ctl says so."""
    lab = lab_of(t)
    stranger = {
        "ips": ("--domain", "stranger.example", "--ip", "127.0.0.1", "--ip", "127.0.0.9"),
        "only": ("--cn", "box", "--ip", "127.0.0.1"),
        "uri": ("--uri", "sip:127.0.0.1", "--domain", "stranger.example", "--ip", "127.0.0.1")}
    for name, args in stranger.items():
        lab.cert(name, *args)
    pbx = t.uas("udp", name="pbx")
    peers = _clear_peers(t) + [
        ("pbx", {"uri": t.uri(pbx, "udp").replace("bob@", ""), "domains": ["pbx.example"]}),
        ("tls", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(), "domains": ["pbx.example"]}),
        ("net", {"uri": "sip:192.0.2.1;transport=udp", "networks": ["127.0.0.0/8"]})]
    d = t.daemon(domain=verifying(lab), peers=peers, routes=[
        ("toll", {"from_peer": [p[0] for p in peers], "relay": "request-uri"})])
    alice = t.uac()
    for name in stranger:
        conn = t.dial(alice, d, "tls", ctx=lab.client(name))
        assert says(alice, conn, t.uri(pbx, "udp"), "<sip:a@pbx.example>") == (
            403, "Relaying Denied"), name
        shown = [c for c in d.connections() if c["transport"] == "tls" and c.get("identity")]
        assert all(not c.get("peer_name") for c in shown), shown
    assert not pbx.seen


def test_s3_peer_by_tls_alone_in_the_clear(t):
    """A peer by name alone whose NAPTR records know only TLS: what comes in the clear from its address
    is not taken for it; where they know TCP as well, it is."""
    bob = t.uas("tcp")
    up = {("up.example", "A"): ["127.0.0.1"],
          ("_sips._tcp.carrier.example", "SRV"): [(1, 1, t.port(), "up.example")],
          ("_sip._tcp.carrier.example", "SRV"): [(1, 1, t.port(), "up.example")]}
    tls = (10, 10, "s", "SIPS+D2T", "", "_sips._tcp.carrier.example")
    tcp = (10, 20, "s", "SIP+D2T", "", "_sip._tcp.carrier.example")
    for records, status in (([tls], 403), ([tls, tcp], 200)):
        dns.use(t, dns.NameServer({**up, ("carrier.example", "NAPTR"): records}).port,
                hosts="127.0.0.1 up.example localhost\n")
        d = t.daemon(peers=[("carrier", {"uri": "sip:carrier.example"})], routes=[
            ("toll", {"from_peer": ["carrier"], "relay": "request-uri"})])
        alice = t.uac()
        for tr, want in (("tcp", status), ("udp", status), ("tls", 200)):
            got = alice.request(t.dial(alice, d, tr), "MESSAGE", t.uri(bob, "tcp")).status
            assert got == want, (records, tr, got)
        alice.close()
        d.stop()


def test_s3_name_in_a_certificate_is_no_peer_in_the_clear(t):
    """A peer in the clear by name: who holds a trusted certificate for that name is not the peer,
    and neither is one whose address a network of the peer's holds."""
    lab = lab_of(t, "localhost")
    bob = t.uas("tcp")
    d = t.daemon(domain=verifying(lab), peers=[
        ("pbx", {"uri": "sip:localhost:%d;transport=udp" % t.port(), "networks": ["127.0.0.1"]})],
        routes=[("toll", {"from_peer": ["pbx"], "relay": "request-uri"})])
    alice = t.uac()
    conn = t.dial(alice, d, "tls", ctx=lab.client("localhost"))
    assert says(alice, conn, t.uri(bob, "tcp"), "<sip:a@b.example>") == (403, "Relaying Denied")
    clear = alice.connect("udp", "127.0.0.1", d.port("udp"))
    assert says(alice, clear, t.uri(bob, "tcp"), "<sip:a@b.example>")[0] == 200


def test_s3_carrier_is_not_the_pbx_too(t):
    """One source: a certificate that fits two peers is the one of the better fit for all questions
    alike, so the exemption of one and the route of the other never come together."""
    lab = lab_of(t, "carrier.example")
    bob = t.uas("tcp")
    peers = [("carrier", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(),
                          "identity": "carrier.example", "transit": True}),
             ("pinned", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(),
                         "identity": "carrier.example", "domains": ["pbx.example"],
                         "spki_sha256": [lab.spki("carrier.example")]})]
    d = t.daemon(domain=verifying(lab), peers=peers, routes=[
        ("by-first", {"from_peer": ["carrier"], "to_prefix": "1", "relay": "request-uri"}),
        ("by-pinned", {"from_peer": ["pinned"], "to_prefix": "2", "relay": "request-uri"})])
    alice = t.uac()
    conn = t.dial(alice, d, "tls", ctx=lab.client("carrier.example"))

    def to(user):
        return t.uri(bob, "tcp").replace("bob@", user + "@")
    assert says(alice, conn, to("1"), "<sip:a@carrier.example>") == (403, "Relaying Denied")
    assert says(alice, conn, to("2"), "<sip:a@carrier.example>")[0] == 200
    assert says(alice, conn, to("2"), "<sip:a@any.example>")[0] == 403, "not as transit"
    assert [c["peer_name"] for c in d.connections() if c["direction"] == "in"] == ["pinned"]


def test_s3_order_of_peers_in_the_clear(t):
    """Without certificates: the very port, then the address, then the narrowest network, then the
    order of the file."""
    bob = t.uas("tcp")
    ports = [t.port() for _ in range(2)]
    peers = [("wide", {"uri": "sip:192.0.2.1;transport=udp", "networks": ["127.0.0.0/8"]}),
             ("narrow", {"uri": "sip:192.0.2.2;transport=udp", "networks": ["127.0.0.0/24"]}),
             ("narrow-too", {"uri": "sip:192.0.2.3;transport=udp", "networks": ["127.0.0.0/24"]}),
             ("one", {"uri": "sip:127.0.0.1:%d;transport=udp" % ports[0]}),
             ("two", {"uri": "sip:127.0.0.1:%d;transport=udp" % ports[1]})]
    d = t.daemon(peers=peers, routes=[
        (n, {"from_peer": [n], "to_prefix": n + ".", "relay": "request-uri"}) for n, _ in peers])
    rows = [("127.0.0.1", ports[0], "one"), ("127.0.0.1", ports[1], "two"),
            ("127.0.0.1", 0, "one"), ("127.0.0.7", 0, "narrow"), ("127.0.7.1", 0, "wide"),
            ("127.0.0.1", ports[1], "two"), ("127.0.0.1", ports[0], "one")]
    for host, port, want in rows:
        alice = t.uac()
        alice.udps["127.0.0.1"] = net.Udp(host, port, alice._on_msg)
        conn = alice.connect("udp", "127.0.0.1", d.port("udp"))
        for name, _ in peers:
            status = alice.request(conn, "OPTIONS", t.uri(bob, "tcp").replace("bob@", name + ".@")
                                   ).status
            assert (status == 200) == (name == want), (host, port, name, status, want)
        alice.close()


def test_s3_dialled_by_address_is_the_peer(t):
    """What keeps: a peer that we dialled at a bare address and that proved it by its certificate is
    that peer for what it sends on this connection, and not on one that it opens."""
    lab = Authority(t, "lab").cert("atlanta.example")
    lab.cert("box", "--domain", "box.example", "--ip", "127.0.0.1")
    carol = t.uas("tcp", name="carol")
    bob = t.uas("tls", ctx=lab.server("box"))
    d = t.daemon(domain=verifying(lab), peers=[
        ("box", {"uri": t.uri(bob, "tls").replace("bob@", "")})], routes=[
            ("back", {"from_peer": ["box"], "relay": "request-uri"}),
            ("out", {"to_domain": "box.example", "peers": ["box"]})])
    alice = t.uac()
    assert alice.request(t.dial(alice, d, "tcp"), "OPTIONS", "sip:x@box.example").status == 200
    back = bob.listener("tls").conns[0]
    assert says(bob, back, t.uri(carol, "tcp"), "<sip:a@box.example>")[0] == 200
    own = t.dial(alice, d, "tls", ctx=lab.client("box"))
    assert says(alice, own, t.uri(carol, "tcp"), "<sip:a@box.example>") == (403, "Relaying Denied")
