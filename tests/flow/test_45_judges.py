# SPDX-License-Identifier: Apache-2.0
"""Other people's judges on our TLS: testssl.sh and sslscan scan the listener, GnuTLS verifies it and
is verified, Kamailio and SIPp behind stunnel exchange certificates with us in both directions.

Issue 4, "How it is judged". The scanners look at what a handshake offers, which is the same
wherever the records are made, and take many minutes on an emulated processor: host only.
"""
import json
import os
import re
import subprocess
import xml.etree.ElementTree as xml

import pytest
from flowlib.certs import Authority
from flowlib.steps import pattern
from flowlib.tools import (KAMAILIO_TLS_MUTUAL, Piped, kamailio, s_client_options,
                           sipp_stunnel)
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("judges of what a handshake offers")

# Findings above LOW that testssl.sh may have, each with its reason. Whatever else it finds is a
# fault of ours. The throw-away authority signs with a list's address in it and is told to testssl.sh
# with --add-ca, so neither its chain nor revocation nor the validity needs an exception.
EXCEPTIONS = {
    # testssl.sh's own state, nothing about the server: Debian's OpenSSL has no GOST engine ...
    "engine_problem": "WARN",
    # ... it looks for HTTP, and SIP is none ...
    "service": "DEBUG",
    # ... and its s_client, whose input is empty, may leave before a ticket of TLS 1.3 has come: then
    # there is no session to resume with, which it calls a connect problem. Resumption has own tests.
    "sessionresumption_ticket": "WARN",
}
# ... and where a client certificate is demanded its own client cannot finish a handshake.
STRICT_EXCEPTIONS = dict(EXCEPTIONS, optimal_proto="WARN")

# testssl.sh starts thousands of processes: minutes on a busy machine. Only one that hangs takes longer.
SCAN_S = 900

# The sections of testssl.sh, and what each must have looked at: a scan that could not connect finds
# nothing either.
OFFER = {"-p": ("SSLv3", "TLS1_3"), "-s": ("cipherlist_NULL",), "-S": ("cert_chain_of_trust",), "-P": ()}
HOLES = {"-U": ("heartbleed", "ROBOT")}

ORDER = ("OK", "INFO", "DEBUG", "LOW", "WARN", "MEDIUM", "HIGH", "CRITICAL", "FATAL")


def lab(t):
    """An authority whose leaves have what a public one's would have."""
    ca = Authority(t, "judged")
    cdp = ("--crl-url", "http://crl.localhost/ca.crl")
    ca.leaf("ec", "atlanta.example", "localhost", "127.0.0.1", more=cdp)
    ca.leaf("rsa", "atlanta.example", "localhost", "127.0.0.1", more=cdp + ("--key", "rsa"))
    ca.leaf("client", "caller.example", more=cdp)
    return ca


def ordinary(t, ca):
    """What an operator writes who sets nothing but files: RSA and ECDSA, certificates optional."""
    return t.daemon(listen=("tls", "tcp"), domain={
        "certificate": [ca.pem("ec"), ca.pem("rsa")],
        "private_key": [ca.key("ec"), ca.key("rsa")],
        "ca_list": ca.ca, "verify_cert": True, "require_cert": False})


def strict(t, ca):
    """TLS 1.3 alone, a client certificate demanded, revocation checked."""
    return t.daemon(listen=("tls", "tcp"), domain={
        "certificate": ca.pem("ec"), "private_key": ca.key("ec"),
        "ca_list": ca.ca, "crl_file": ca.crl(), "tls_method": "TLSv1_3",
        "verify_cert": True, "require_cert": True, "tickets": 0})


def testssl(t, d, ca, *checks):
    """Everything that testssl.sh found: (id, severity, sentence)."""
    out = os.path.join(t.dir, "testssl.%d.json" % len(t.procs))
    p = t.spawn([t.need("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--openssl",
                 t.need("openssl"), "--ip", "127.0.0.1", "--add-ca", ca.ca, "--jsonfile",
                 out, *checks, "localhost:%d" % d.port("tls")])
    p.wait(SCAN_S * t.slow)
    with open(out, encoding="utf-8") as f:
        found = json.load(f)
    return [(x["id"], x["severity"], x["finding"]) for x in found]


def above_low(found, exceptions):
    return [x for x in found if ORDER.index(x[1]) > ORDER.index("LOW") and
            exceptions.get(x[0].split()[0]) != x[1]]


def check_testssl(t, d, ca, exceptions, sections):
    found = testssl(t, d, ca, *sections)
    ids = {x[0].split()[0] for x in found}
    for needed in sum(sections.values(), ()):
        assert needed in ids, "testssl.sh did not check %s: %s" % (needed, found)
    bad = above_low(found, exceptions)
    assert not bad, "testssl.sh found: %s" % bad
    return {x[0].split()[0]: x[1:] for x in found}


@pytest.mark.timeout(SCAN_S + 90)
def test_4_judge_testssl_ordinary(t):
    """testssl.sh on an ordinary configuration: protocols, suites, preferences and certificates,
    nothing above LOW."""
    ca = lab(t)
    found = check_testssl(t, ordinary(t, ca), ca, EXCEPTIONS, OFFER)
    for what in ("TLS1", "TLS1_1", "SSLv2", "SSLv3"):
        assert "not offered" in found[what][1], (what, found[what])
    for what in ("TLS1_2", "TLS1_3"):
        assert "offered" in found[what][1], (what, found[what])


@pytest.mark.timeout(SCAN_S + 90)
def test_4_judge_testssl_ordinary_holes(t):
    """All of its vulnerabilities on the same."""
    ca = lab(t)
    check_testssl(t, ordinary(t, ca), ca, EXCEPTIONS, HOLES)


@pytest.mark.timeout(SCAN_S + 90)
def test_4_judge_testssl_strict(t):
    """Both on a strict one: TLS 1.3 and client certificates only."""
    ca = lab(t)
    found = check_testssl(t, strict(t, ca), ca, STRICT_EXCEPTIONS, dict(OFFER, **HOLES))
    assert "not offered" in found["TLS1_2"][1], found["TLS1_2"]


def sslscan(t, d):
    p = subprocess.run([t.need("sslscan"), "--no-colour", "--xml=-", "--sni-name=localhost",
                        "127.0.0.1:%d" % d.port("tls")], capture_output=True, text=True,
                       timeout=100 * t.slow, check=False)
    assert p.returncode == 0, p
    return xml.fromstring(p.stdout).find("ssltest")


def check_sslscan(scan, versions, weak_groups=("ffdhe2048",)):
    """What sslscan prints in yellow or red must not be there."""
    on = {(x.get("type"), x.get("version")) for x in scan.iter("protocol")
          if x.get("enabled") == "1"}
    assert on == {("tls", v) for v in versions}, on
    ciphers = [x.attrib for x in scan.iter("cipher")]
    assert {c["sslversion"] for c in ciphers} == {"TLSv" + v for v in versions}, ciphers
    for c in ciphers:
        assert c["strength"] in ("acceptable", "strong") and int(c["bits"]) >= 128, c
        assert "GCM" in c["cipher"] or "CHACHA20" in c["cipher"], c
    assert [x for x in scan.iter("heartbleed")], "sslscan did not look for heartbleed"
    for x in scan.iter("heartbleed"):
        assert x.get("vulnerable") == "0", x.attrib
    for x in scan.iter("renegotiation"):
        assert x.get("supported") == "0" or x.get("secure") == "1", x.attrib
    for x in scan.iter("compression"):
        assert x.get("supported") == "0", x.attrib
    groups = [(x.get("name"), int(x.get("bits"))) for x in scan.iter("group")]
    assert groups and all(bits >= 128 for _, bits in groups), groups
    assert not [n for n, _ in groups if n in weak_groups], groups
    for x in scan.iter("pk"):
        assert x.get("error") == "false" and int(x.get("bits")) >= 112, x.attrib
    for x in scan.iter("signature-algorithm"):
        assert "SHA256" in x.text or "Sha256" in x.text or "sha256" in x.text, x.text


def test_4_judge_sslscan(t):
    """sslscan on the ordinary and on the strict configuration: nothing that it marks as weak."""
    ca = lab(t)
    check_sslscan(sslscan(t, ordinary(t, ca)), ("1.2", "1.3"))
    check_sslscan(sslscan(t, strict(t, ca)), ("1.3",))


def gnutls(t, d, ca, *args, priority="NORMAL", name="localhost"):
    return Piped(t, [t.need("gnutls-cli"), "--x509cafile", ca, "--priority", priority, "--port",
                     str(d.port("tls")), *args, name])


# (priority string, does the handshake succeed with an ECDSA and an RSA certificate?)
PRIORITIES = (
    ("NORMAL", True), ("SECURE128", True),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2", True), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", True),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM", True),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305", True),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA", True),
    ("NORMAL:-GROUP-ALL:+GROUP-SECP384R1", True), ("NORMAL:-GROUP-ALL:+GROUP-X25519", True),
    # what only old or careless servers take
    ("NORMAL:-VERS-ALL:+VERS-TLS1.1", False), ("NORMAL:-VERS-ALL:+VERS-TLS1.0", False),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", False),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC", False),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CCM", False),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH", False),
    ("NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-FFDHE2048", False),
)


def test_4_judge_gnutls_priorities(t):
    """gnutls-cli with its own verification and one priority string after the other: what is sound
    is served, what is not is refused."""
    ca = lab(t)
    d = ordinary(t, ca)
    bob = t.uas("tcp")
    for priority, want in PRIORITIES:
        client = gnutls(t, d, ca.ca, priority=priority)
        if want:
            client.wait_for(rb"Status: The certificate is trusted.*Handshake was completed")
            assert s_client_options(t, client, t.uri(bob, "tcp")) == 200, priority
            client.proc.terminate()
        else:
            out = client.ended()
            assert b"Handshake was completed" not in out and b"***" in out, (priority, out)


def test_4_judge_gnutls_mutual(t):
    """gnutls-cli where a client certificate is demanded: with one it is served and shown verified,
    without or with a foreign one it is refused."""
    ca = lab(t)
    d = strict(t, ca)
    bob = t.uas("tcp")
    client = gnutls(t, d, ca.ca, "--x509certfile", ca.pem("client"), "--x509keyfile",
                    ca.key("client"))
    client.wait_for(rb"Handshake was completed")
    assert s_client_options(t, client, t.uri(bob, "tcp")) == 200
    shown = [c["tls"] for c in d.connections() if c["direction"] == "in"]
    assert [(x["verified"], x["identity"]) for x in shown] == [(True, "CN=caller.example")], shown
    for extra in ((), ("--x509certfile", t.pki("foreign.pem"), "--x509keyfile",
                       t.pki("foreign.key"))):
        out = gnutls(t, d, ca.ca, *extra).ended()
        assert re.search(rb"[Aa]lert", out), (extra, out)
    assert d.counter("handshakes.failed.verify") == 2


MUTUAL = {"verify_cert": True, "require_cert": True}
PATIENT = {"handshake": "2m"}           # Kamailio on an emulated processor takes its time


def verified_peers(d):
    """The identities of the TLS connections by direction; each must have been verified."""
    out = {}
    for c in d.connections():
        if c["transport"] == "tls":
            assert c["tls"]["verified"], c
            out.setdefault(c["direction"], set()).add(c["tls"]["identity"])
    return out


@pytest.mark.host_only("test_60_interop.py has these peers with kernel records")
@pytest.mark.timeout(150)
def test_4_judge_kamailio_mutual_next_hop(t):
    """Kamailio as next hop demands our certificate and shows its own: calls, both sides verified."""
    port = kamailio(t, KAMAILIO_TLS_MUTUAL)
    d = t.daemon(domain=MUTUAL, timeouts=PATIENT,
                 peers=[("kamailio", {"uri": "sip:127.0.0.1:%d;transport=tls" % port,
                                      "tls_domain": "lab", "identity": "callee.example"})],
                 routes=[("all", {"peers": ["kamailio"]})])
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls", ctx=t.client_ctx(cert="client"))
    for _ in range(5):
        rsp = alice.request(conn, "OPTIONS", "sip:ping@127.0.0.1:%d" % port)
        assert rsp.status == 200 and rsp.reason == "Pong", repr(rsp)
    # Kamailio shows its certificate to our callee as well, which demands one
    assert verified_peers(d) == {"in": {"CN=caller.example"}, "out": {"CN=callee.example"}}, \
        d.connections()
    call = Call(alice, conn, t.uri(bob, "tls")).answered()
    assert call.request("INFO", body=pattern(900)).body == pattern(900)
    assert call.bye().status == 200


@pytest.mark.host_only("test_60_interop.py has these peers with kernel records")
@pytest.mark.timeout(150)
def test_4_judge_kamailio_mutual_previous_hop(t):
    """Kamailio as previous hop shows us its certificate, which we demand, and verifies ours."""
    port = kamailio(t, KAMAILIO_TLS_MUTUAL)
    d = t.daemon(domain=MUTUAL, timeouts=PATIENT)
    alice, bob = t.uac(), t.uas("tls")
    alice.listen("tls", "127.0.0.1", t.port(), t.server_ctx("client"))
    conn = alice.connect("tls", "127.0.0.1", port, t.client_ctx(cert="client"))
    call = Call(alice, conn, t.uri(bob, "tls"), headers=[
        ("Route", "<sip:127.0.0.1:%d;transport=tls;lr>" % port),
        ("Route", "<sip:127.0.0.1:%d;transport=tls;lr>" % d.port("tls"))])
    assert call.send().final().status == 200
    call.ack()
    assert call.request("INFO").status == 200
    assert verified_peers(d)["in"] == {"CN=callee.example"}, d.connections()
    assert call.bye().status == 200


@pytest.mark.host_only("test_60_interop.py has these peers with kernel records")
@pytest.mark.timeout(150)
def test_4_judge_sipp_mutual(t):
    """SIPp behind two stunnels: the caller's shows a certificate, the callee's demands ours."""
    verify = "CAfile = %s\nverifyChain = yes" % t.pki("ca.pem")
    d = sipp_stunnel(t, 50, lambda port: t.daemon(
        domain=MUTUAL,
        peers=[("callee", {"uri": "sip:127.0.0.1:%d;transport=tls" % port, "tls_domain": "lab",
                           "identity": "callee.example"})],
        routes=[("all", {"peers": ["callee"]})]),
        caller="cert = %s\nkey = %s" % (t.pki("client.pem"), t.pki("client.key")), callee=verify)
    count = d.counters()
    assert count["requests.INVITE"] == count["requests.BYE"] == 50, count
    # we require one of the caller, the callee's stunnel requires ours
    assert d.counter("handshakes.ok") >= 2 and d.counter("handshakes.failed.*") == 0
