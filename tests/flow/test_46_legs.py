# SPDX-License-Identifier: Apache-2.0
"""Connections that are made anew inside a dialog, to a Contact that is a bare address: they are held
to the name for which the dialog's leg was verified, and to no other. FEATURES b12 (3.5).
"""
import pytest
from flowlib import dns
from flowlib.certs import Authority
from flowlib.ua import Call

from test_45_identity import verifying
from test_46_reuse import outward

pytestmark = pytest.mark.kernel_tls


def _named(lab, *names):
    """Certificates that carry a name and no address."""
    for name in names:
        lab.cert(name, "--domain", name)
    return lab


def _setting(t, **more):
    """An authority, BOB with a certificate for carrier.example alone, and a daemon that verifies;
    carrier.example leads to him."""
    lab = _named(Authority(t, "lab").cert("atlanta.example"), "carrier.example", "mallory.example")
    bob = t.uas("tls", ctx=lab.server("carrier.example"))
    dns.use(t, dns.NameServer().port, hosts="127.0.0.1 carrier.example localhost\n")
    return lab, bob, t.daemon(domain=verifying(lab, require_cert=False), **more)


def _uri(bob):
    return "sip:bob@carrier.example:%d;transport=tls" % bob.listener("tls").port


def _elsewhere(t, bob, ctx):
    """From now on BOB's Contact is another machine, which shows the certificate of CTX."""
    port = t.port()
    bob.contact = lambda conn: "<sip:bob@127.0.0.2:%d;transport=tls>" % port
    there = t.uas(name="there")
    there.listen("tls", "127.0.0.2", port, ctx)
    return there


def _cut(t, d, agent):
    """AGENT closes the connections that it has, and the daemon knows."""
    for conn in list(agent.listener("tls").conns):
        conn.close()
    t.wait(lambda: not outward(d), "no outgoing connection left")


def test_b12_bye_to_bare_address_by_name(t):
    """A call by name, the callee's Contact a bare address: its connection closed, the BYE goes out
    on a new one that is verified for the name, from any worker and over a reload."""
    _, bob, d = _setting(t)
    alice = t.uac()
    conns = [t.dial(alice, d, "tcp") for _ in range(4)]
    calls = [Call(alice, c, _uri(bob)).answered() for c in conns]
    t.wait(lambda: bob.count("ACK") == 4, "all ACKs, on the connection of the INVITEs")
    _cut(t, d, bob)
    d.rpc("reload")
    for call in calls:
        assert "127.0.0.1" in call.target, call.target
        assert call.bye().status == 200
    assert bob.count("BYE") == 4
    for c in outward(d):
        assert c["tls"]["verified"] and c["tls"]["sni"] == "carrier.example", c
    assert d.counter("handshakes.failed.name") == 0


def test_b12_bye_to_bare_address_of_a_peer(t):
    """The same with a peer by name, whose callee answers with the address of another machine that
    has the same name's certificate."""
    lab, bob, d = _setting(t)
    d.stop()
    there = _elsewhere(t, bob, lab.server("carrier.example"))
    d = t.daemon(domain=verifying(lab, require_cert=False),
                 peers=[("carrier", {"uri": _uri(bob).replace("bob@", "")})],
                 routes=[("out", {"peers": ["carrier"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, "sip:bob@far.example").answered()
    t.wait(lambda: there.count("ACK") == 1, "the ACK")
    _cut(t, d, there) if not outward(d) else None
    d.rpc("reload")
    assert call.bye().status == 200
    assert there.count("BYE") == 1 and bob.count("BYE") == 0


@pytest.mark.host_only("certificates are judged in user space")
def test_b12_another_name_at_the_contact_is_refused(t):
    """Who sits at the address of the Contact and shows another name's certificate, be it of the same
    authority, gets neither ACK nor BYE; a token of another dialog helps nobody."""
    lab, bob, d = _setting(t)
    mallory = _elsewhere(t, bob, lab.server("mallory.example"))
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, _uri(bob)).answered()
    assert call.bye().status == 503
    assert d.counter("handshakes.failed.name") >= 1
    # a dialog with mallory's name, verified: its token is for it alone
    own = t.uas("tls", ctx=lab.server("mallory.example"), name="own")
    t.wait(lambda: d.counter("transactions.now") == 0, "the end of the first call")
    stolen = call.routes
    other = Call(alice, conn, t.uri(own, "tls").replace("127.0.0.1", "localhost"))
    assert other.send().final().status == 503, "the name localhost is not its own"
    call.call_id, call.routes = "another" + call.call_id, stolen
    assert call.bye().status >= 400
    assert not mallory.seen and not own.seen


@pytest.mark.host_only("certificates are judged in user space")
def test_b12_contact_address_in_the_certificate(t):
    """A Contact of another machine whose certificate carries the very address is reached as ever:
    ACK and BYE."""
    lab, bob, d = _setting(t)
    lab.cert("box", "--domain", "box.example", "--ip", "127.0.0.2")
    there = _elsewhere(t, bob, lab.server("box"))
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    call = Call(alice, conn, _uri(bob)).answered()
    t.wait(lambda: there.count("ACK") == 1, "the ACK")
    assert call.bye().status == 200
    assert there.count("BYE") == 1 and bob.count("BYE") == 0


def test_b12_caller_of_a_peer_is_called_back_by_name(t):
    """The other direction: a peer that its certificate told called; its connection closed, the
    callee's BYE reaches its Contact, a bare address, on a new one verified for the peer's name."""
    lab = _named(Authority(t, "lab").cert("atlanta.example"), "caller.example")
    bob = t.uas("tcp")
    d = t.daemon(domain=verifying(lab, require_cert=False), peers=[
        ("caller", {"uri": "sip:127.0.0.3:%d;transport=tls" % t.port(),
                    "identity": "caller.example"})])
    alice = t.uac()
    alice.listen("tls", "127.0.0.1", t.port(), lab.server("caller.example"))
    conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
    call = Call(alice, conn, t.uri(bob, "tcp")).answered()
    t.wait(lambda: bob.count("ACK") == 1, "the ACK")
    conn.close()
    t.wait(lambda: not [c for c in d.connections() if c["transport"] == "tls"], "no TLS connection")
    back = bob.dialogs[call.call_id]
    data, key = back.make("BYE")
    bob.expect(key)
    back.conn.send(data)
    where, req = alice.next_request("BYE")
    assert where is not conn
    alice.reply(where, req, 200)
    assert bob.final(key).status == 200
    assert [c["tls"]["sni"] for c in outward(d) if c["tls"]] == ["caller.example"]
