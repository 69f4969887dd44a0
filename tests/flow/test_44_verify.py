# SPDX-License-Identifier: Apache-2.0
"""Certificates judged: what is demanded of clients and next hops, extended key usage, names, and
hostile certificates; and the alert that the other side sees.

Issue item 4.4 and its hostile certificates; FEATURES a1 b1 b11 c2 c3 c4 c7 c8 c17 d9 d10 d19 f8.
Every cell of the matrix and more cases are in tests/unit/test_verify_*.c; here the peers are
openssl s_client and s_server, and Python.
"""
import os
import re
import shutil
import ssl

import pytest
from flowlib.certs import Authority
from flowlib.host import emulated_cpu
from flowlib.tools import Piped, s_client, s_client_options

pytestmark = pytest.mark.host_only("certificates are judged in user space")

# RFC 8446 6.2
HANDSHAKE_FAILURE, BAD, UNSUPPORTED, REVOKED, EXPIRED, UNKNOWN_CA, REQUIRED = (
    40, 42, 43, 44, 45, 48, 116)


def lab(t):
    ca = Authority(t)
    ca.leaf("ours", "atlanta.example", "localhost", "127.0.0.1")
    return ca


def domain(ca, **more):
    """Options of a TLS domain that verifies by CA."""
    out = {"certificate": ca.pem("ours"), "private_key": ca.key("ours"),
           "ca_list": ca.ca, "verify_cert": True, "require_cert": False}
    out.update(more)
    return out


def shows(ca, leaf):
    """Arguments for s_client."""
    return () if leaf is None else ("-cert", ca.pem(leaf), "-key", ca.key(leaf))


def expired(ca, name, who):
    """A leaf that ended long ago."""
    ca.leaf(name, who, more=("--from", "2020-01-01", "--until", "2021-01-01"))


def alert_for(t, d, *args):
    """The alert that a client gets from us, 0 if it is served."""
    client = s_client(t, d, *args)

    def over():
        return client.proc.poll() is not None or rb"alert number" in client.out

    t.wait(lambda: over() or d.connections(), "an alert or a connection; s_client printed %r" %
           client.out[-400:])
    if not over():
        client.proc.terminate()
    out = client.ended()
    t.wait(lambda: not d.connections(), "the end of the connection")
    number = re.search(rb"alert number (\d+)", out)
    return int(number.group(1)) if number else 0


# each on the host; where the processor is emulated every s_client takes seconds
VERSIONS = ("-tls1_3",) if emulated_cpu() else ("-tls1_2", "-tls1_3")
# what a client shows: the alert where certificates are optional, and where they are demanded
DEMANDS = (("good", 0, 0), ("sip", 0, 0), (None, 0, REQUIRED), ("old", EXPIRED, EXPIRED),
           ("taken", REVOKED, REVOKED), ("foreign", UNKNOWN_CA, UNKNOWN_CA),
           ("server-only", UNSUPPORTED, UNSUPPORTED), ("mail", UNSUPPORTED, UNSUPPORTED))


def cast(ca):
    """Leaves for clients, and the list that takes one of them back."""
    ca.leaf("good", "caller.example")
    ca.leaf("sip", "caller.example", eku="sip")
    ca.leaf("taken", "caller.example")
    ca.leaf("server-only", "caller.example", eku="server")
    ca.leaf("mail", "caller.example", eku="mail")
    expired(ca, "old", "caller.example")
    stranger = Authority(ca.t, "stranger", ca.dir)
    stranger.leaf("foreign", "caller.example")
    return ca.revoke("taken").crl()


@pytest.mark.timeout(150)
def test_c2_client_certificates_ignored(t):
    """verify_cert = false: whatever a client would show, it is not asked and is nobody."""
    ca = lab(t)
    cast(ca)
    d = t.daemon(domain=domain(ca, verify_cert=False))
    for version in VERSIONS:
        for leaf in ("good", "old", "foreign", None):
            assert alert_for(t, d, version, *shows(ca, leaf)) == 0, (version, leaf)
    assert d.counter("handshakes.failed.verify") == 0


def demanded(t, require, column):
    ca = lab(t)
    d = t.daemon(domain=domain(ca, require_cert=require, crl_file=cast(ca)))
    refused = 0
    for version in VERSIONS:
        for row in DEMANDS:
            want = row[column]
            if version == "-tls1_2" and want == REQUIRED:
                want = HANDSHAKE_FAILURE  # it has no alert of its own for this
            got = alert_for(t, d, version, *shows(ca, row[0]))
            assert got == want, "%s %s: alert %d, not %d" % (version, row[0], got, want)
            refused += want != 0
    assert d.counter("handshakes.failed.verify") == refused
    return d


@pytest.mark.timeout(150)
def test_c4_optional_certificate_must_be_good(t):
    """verify_cert = true, require_cert = false: none is fine, a bad one is not (A1)."""
    d = demanded(t, False, 1)
    line = d.wait_log("certificate has expired")
    for part in ("cause=verify", "verify_code=10", r"subject=\S*CN ?= ?caller\.example",
                 "alert_sent=certificate_expired", r"peer=127\.0\.0\.1:\d+", "tls_domain=lab"):
        assert re.search(part, line), (part, line)


@pytest.mark.timeout(150)
def test_c3_certificate_demanded(t):
    """require_cert = true: none is refused too, with certificate_required in TLS 1.3 (D9)."""
    demanded(t, True, 2)


@pytest.mark.timeout(150)
def test_c17_extended_key_usage_option(t):
    """eku = accept, require and ignore against clients' certificates (RFC 5924)."""
    ca = lab(t)
    ca.leaf("none", "caller.example", eku=None)
    ca.leaf("sip", "caller.example", eku="sip")
    ca.leaf("any", "caller.example", eku="any")
    ca.leaf("client", "caller.example", eku="client")
    ca.leaf("server", "caller.example", eku="server")
    ca.leaf("mail", "caller.example", eku="mail")
    for eku, good in (("accept", {"none", "sip", "any", "client"}), ("require", {"sip"}),
                      ("ignore", {"none", "sip", "any", "client", "server", "mail"})):
        d = t.daemon(domain=domain(ca, eku=eku))
        for leaf in ("none", "sip", "any", "client", "server", "mail"):
            want = 0 if leaf in good else UNSUPPORTED
            got = alert_for(t, d, *shows(ca, leaf))
            assert got == want, "%s, %s: alert %d" % (eku, leaf, got)


# certificate shown, identity required, TLS domain, is it the one?
NAMES = (("uri", "b.example", "lab", True), ("dns", "b.example", "lab", True),
         ("sips", "b.example", "lab", False), ("user", "b.example", "lab", False),
         ("wild", "b.example", "lab", False), ("hidden", "b.example", "lab", False),
         ("ip", "127.0.0.1", "lab", True), ("ip-uri", "127.0.0.1", "lab", False),
         ("cn", "b.example", "lab", False), ("cn", "b.example", "cn", True),
         ("dns", "c.example", "open", True))


@pytest.mark.timeout(150)
def test_b11_names_in_certificates_of_next_hops(t):
    """The name required against what the certificate of a next hop has (RFC 5922 7.1, 7.2)."""
    ca = lab(t)
    for leaf, *names in (("uri", "--uri", "sip:b.example"), ("sips", "--uri", "sips:b.example"),
                         ("user", "--uri", "sip:bob@b.example"), ("wild", "--dns", "*.example"),
                         ("hidden", "--uri", "sip:other.example", "--dns", "b.example"),
                         ("dns", "--dns", "B.Example"), ("ip", "--ip", "127.0.0.1"),
                         ("ip-uri", "--uri", "sip:127.0.0.1")):
        ca.leaf(leaf, cn="b.example", more=names)
    ca.leaf("cn", cn="b.example")
    peers, routes, port = [], [], []
    for n, (leaf, name, which, _) in enumerate(NAMES):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(ca.pem(leaf), ca.key(leaf))
        bob = t.uas("tls", ctx=ctx, name="bob%d" % n)
        port.append(bob.listener("tls").port)
        peers.append(("p%d" % n, {"uri": "sip:127.0.0.1:%d;transport=tls" % port[n],
                                  "tls_domain": which, "identity": name}))
        routes.append(("r%d" % n, {"to_domain": "p%d.example" % n, "peers": ["p%d" % n]}))
    d = t.daemon(listen=("tcp", "tls"), domain=domain(ca), domains=[
        ("cn", domain(ca, allow_cn=True)), ("open", domain(ca, verify_name=False))],
                 peers=peers, routes=routes)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for n, (leaf, name, which, good) in enumerate(NAMES):
        status = alice.request(conn, "OPTIONS", "sip:x@p%d.example" % n).status
        assert status == (200 if good else 503), "%s for %s in %s: %d" % (leaf, name, which, status)
        if not good:
            line = d.wait_log(r"peer=127\.0\.0\.1:%d .*cause=name" % port[n])
            assert "required_name=" + name in line and "alert_sent=bad_certificate" in line, line
    assert d.counter("handshakes.failed.name") == sum(not x[3] for x in NAMES)


def test_d10_openssl_server_sees_our_alert(t):
    """openssl s_server as next hop, with an expired certificate: the caller gets 503, s_server the
    alert, in both versions."""
    ca = lab(t)
    expired(ca, "old", "b.example")
    for version in VERSIONS:
        port = t.port()
        server = Piped(t, ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, version,
                           "-cert", ca.pem("old"), "-key", ca.key("old")])
        server.wait_for(rb"ACCEPT")
        d = t.daemon(listen=("tcp", "tls"), domain=domain(ca),
                     peers=[("bob", {"uri": "sip:127.0.0.1:%d;transport=tls" % port,
                                     "tls_domain": "lab", "identity": "b.example"})],
                     routes=[("all", {"peers": ["bob"]})])
        alice = t.uac()
        assert alice.request(t.dial(alice, d, "tcp"), "OPTIONS", "sip:x@b.example").status == 503
        server.wait_for(rb"alert certificate expired.*alert number 45")
        server.proc.terminate()
        d.stop()


def test_c7_authorities_in_a_directory(t):
    """ca_dir as in /etc/ssl/certs: one of several authorities signed; one that is not there did
    not (B1)."""
    ca = lab(t)
    ca.leaf("good", "caller.example")
    stranger = Authority(t, "stranger", ca.dir)
    stranger.leaf("foreign", "caller.example")
    trusted = os.path.join(t.dir, "trusted")
    os.mkdir(trusted)
    shutil.copy(ca.ca, trusted)
    shutil.copy(Authority(t, "more", ca.dir).ca, trusted)
    d = t.daemon(domain=domain(ca, ca_list=None, ca_dir=trusted, require_cert=True))
    assert alert_for(t, d, *shows(ca, "good")) == 0
    assert alert_for(t, d, *shows(ca, "foreign")) == UNKNOWN_CA


@pytest.mark.timeout(150)
def test_f8_hostile_certificates(t):
    """Ten thousand names, NUL in a name, a subject that forges log lines: refused with the right
    alert and one line each, and the daemon goes on."""
    ca = lab(t)
    bob = t.uas("tcp")
    ca.leaf("good", "caller.example")
    many = ",".join("DNS:%x.b" % n for n in range(10000))
    ca.odd("many", "many", "subjectAltName=" + many)
    nul = b"caller.example\0.evil.example"
    der = bytes([0x30, len(nul) + 2, 0x82, len(nul)]) + nul
    ca.odd("nul", "nul", "subjectAltName=DER:" + der.hex(":"))
    stranger = Authority(t, "stranger", ca.dir)
    stranger.leaf("forger", cn="x\ntime=2026 level=error msg=\"all is lost\"\x1b[2J")
    d = t.daemon(domain=domain(ca))
    for leaf, alert, says in (("many", BAD, "more than 1000 names"), ("nul", BAD, "has a NUL"),
                              ("forger", UNKNOWN_CA, "local issuer")):
        for version in VERSIONS:
            assert alert_for(t, d, version, *shows(ca, leaf)) == alert, (version, leaf)
        assert says in d.wait_log("cause=verify.*" + says)
    assert d.counter("handshakes.failed.verify") == 3 * len(VERSIONS)
    assert not [x for x in d.log().splitlines() if "\x1b" in x or x.startswith("time=2026 level")]
    client = s_client(t, d, *shows(ca, "good"))
    client.wait_for(rb"Verif")
    assert s_client_options(t, client, t.uri(bob, "tcp")) == 200
