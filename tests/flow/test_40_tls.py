# SPDX-License-Identifier: Apache-2.0
"""TLS: versions, ciphers, certificates both ways, resumption, KeyUpdate, endings, SNI.

Issue item 2.6; FEATURES a1 d9 d10 d19 b9 b11; KTLS-FACTS 1-4. Where the kernel does TLS the same
tests run over kernel records, and every connection must be there (daemon.check_records).
"""
import os
import re
import shutil
import ssl
import subprocess
import time

import pytest
from flowlib import host, sip
from flowlib.steps import options_works, pattern
from flowlib.tools import Piped, s_client, s_client_options
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SUITES_12 = (("ECDHE-ECDSA-AES128-GCM-SHA256", "AES-128-GCM"),
             ("ECDHE-ECDSA-AES256-GCM-SHA384", "AES-256-GCM"),
             ("ECDHE-ECDSA-CHACHA20-POLY1305", "CHACHA20-POLY1305"))
SUITES_13 = (("TLS_AES_128_GCM_SHA256", "AES-128-GCM"), ("TLS_AES_256_GCM_SHA384", "AES-256-GCM"),
             ("TLS_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"))


def shown(d):
    """The TLS connections as ctl shows them."""
    return [c for c in d.connections() if c["transport"] == "tls"]


def check_shown(t, d, version, cipher):
    conns = shown(d)
    assert len(conns) == 2, conns
    for c in conns:
        tls = c["tls"]
        assert tls["version"] == version and tls["cipher"] == cipher, c
        assert tls["ktls_tx"] == tls["ktls_rx"] == t.kernel_tls, c
        assert t.kernel_tls or tls["ktls_tx_reason"] and tls["ktls_rx_reason"], c


def exchange(t, d, alice, bob, ctx):
    """A call and bodies around the record size through one fresh connection each side."""
    conn = t.dial(alice, d, "tls", ctx=ctx)
    uri = t.uri(bob, "tls")
    assert Call(alice, conn, uri).answered().bye().status == 200
    for size in (0, 1, 700, 16384, 40000):
        rsp = alice.request(conn, "MESSAGE", uri, body=pattern(size))
        assert rsp.status == 200 and rsp.body == pattern(size), (size, rsp)
    return conn


def test_c2_f1_2_6_tls12_each_cipher(t):
    """TLS 1.2 with each suite in both roles, calls and bodies verified."""
    for suite, name in SUITES_12:
        d = t.daemon()
        alice = t.uac()
        bob = t.uas("tls", ctx=t.server_ctx(version=V12, ciphers=suite))
        exchange(t, d, alice, bob, t.client_ctx(version=V12, ciphers=suite))
        check_shown(t, d, "TLSv1.2", name)


def test_c2_f1_2_6_tls13_each_cipher(t):
    """TLS 1.3 with each suite in both roles."""
    for suite, name in SUITES_13:
        d = t.daemon(domain={"ciphersuites": suite})
        alice, bob = t.uac(), t.uas("tls", ctx=t.server_ctx(version=V13))
        exchange(t, d, alice, bob, t.client_ctx(version=V13))
        check_shown(t, d, "TLSv1.3", name)


def test_2_6_rsa_certificate(t):
    """An RSA key on our side, both versions."""
    d = t.daemon(domain={"certificate": t.pki("proxy-rsa.pem"),
                         "private_key": t.pki("proxy-rsa.key")})
    bob = t.uas("tls")
    for version in (V12, V13):
        exchange(t, d, t.uac(), bob, t.client_ctx(version=version))


def test_2_6_versions_mixed(t):
    """A 1.2 caller to a 1.3 callee and the other way round."""
    for a, b in ((V12, V13), (V13, V12)):
        d = t.daemon()
        alice, bob = t.uac(), t.uas("tls", ctx=t.server_ctx(version=b))
        exchange(t, d, alice, bob, t.client_ctx(version=a))
        assert {c["tls"]["version"] for c in shown(d)} == {"TLSv1.2", "TLSv1.3"}


def test_2_6_records_forced_user(t):
    """records = user keeps every connection out of the kernel and says why."""
    t.allow_user_records = True
    d = t.daemon(domain={"records": "user"})
    alice, bob = t.uac(), t.uas("tls")
    exchange(t, d, alice, bob, None)
    for c in shown(d):
        assert not c["tls"]["ktls_tx"] and not c["tls"]["ktls_rx"], c
    assert d.counter("ktls.off.config") == 2 and d.counter("ktls.tx.on") == 0


def test_2_6_records_forced_kernel(t):
    """records = kernel: on where the kernel can, else the handshake fails with a clear log."""
    d = t.daemon(domain={"records": "kernel"})
    alice, bob = t.uac(), t.uas("tls")
    if t.kernel_tls:
        exchange(t, d, alice, bob, None)
        assert all(c["tls"]["ktls_tx"] and c["tls"]["ktls_rx"] for c in shown(d)), shown(d)
        return
    conn = t.dial(alice, d, "tls")
    assert conn.closed.wait(20 * t.slow), "a connection without kernel TLS was kept"
    d.wait_log(r"kernel")
    assert not d.connections()


@pytest.mark.host_only("it ends before there are keys")
def test_2_6_old_versions_refused(t):
    """c25: TLS 1.0 and 1.1 and CBC suites are refused; the failure is logged with its cause."""
    d = t.daemon()
    for args in (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_1", "-cipher",
                 "ALL:@SECLEVEL=0"), ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")):
        out = s_client(t, d, *args).ended()
        assert re.search(rb"alert|no protocols|unsupported", out), out
    t.wait(lambda: d.counter("handshakes.failed.protocol") + d.counter(
        "handshakes.failed.closed") >= 2, "failed handshakes")
    d.wait_log(r"handshake")


def test_2_6_hello_retry_request(t):
    """A client whose first key share does not fit is asked again and served."""
    d = t.daemon(domain={"groups": "P-384"})
    bob = t.uas("tls", ctx=t.server_ctx())
    client = s_client(t, d, "-groups", "X25519:P-384", "-tls1_3")
    assert s_client_options(t, client, t.uri(bob, "tls")) == 200


def test_2_6_small_fragments(t):
    """A client that negotiates records of 512 bytes gets no longer ones, and all its data."""
    t.allow_user_records = True
    d = t.daemon()
    bob = t.uas("tls")
    for version in ("-tls1_2", "-tls1_3"):
        client = s_client(t, d, "-maxfraglen", "512", version)
        assert s_client_options(t, client, t.uri(bob, "tls")) == 200
        assert client.proc.poll() is None, client.out


def test_f1_2_6_key_update(t):
    """KeyUpdate from a client, without and with request. In user space the session goes on; a
    kernel that cannot rekey gets it closed cleanly, and a new connection works."""
    d = t.daemon()
    bob = t.uas("tls")
    uri = t.uri(bob, "tls")
    for key in (b"k\n", b"K\n"):
        client = s_client(t, d, "-tls1_3")
        assert s_client_options(t, client, uri) == 200
        before = d.counter("records.key_update")
        client.write(key)
        d.wait_counter("records.key_update", before + 1)
        if t.kernel_tls and not host.kernel_rekeys():
            client.ended()
            assert b"error" not in client.out.lower(), client.out[-500:]
        else:
            for _ in range(3):
                assert s_client_options(t, client, uri) == 200
    assert s_client_options(t, s_client(t, d), uri) == 200


def test_f1_2_6_key_update_from_server(t):
    """KeyUpdate from the next hop, both kinds; afterwards requests still reach it."""
    d = t.daemon()
    port = t.port()
    server = Piped(t, ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert",
                       t.pki("callee.pem"), "-key", t.pki("callee.key"), "-tls1_3"])
    server.wait_for(rb"ACCEPT")
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    uri = "sip:bob@127.0.0.1:%d;transport=tls" % port

    def ask(n):
        data, key = alice.make(conn, "MESSAGE", uri, call_id="ku%d" % n)
        alice.expect(key)
        start = len(server.out)
        conn.send(data)
        server.wait_for(rb"ku%d.*\r?\n\r?\n" % n, start=start)
        text = server.out[start:]
        text = text[text.index(b"MESSAGE sip:"):].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        req = sip.Msg.parse(text.split(b"\r\n\r\n")[0])
        # "S" alone makes s_server print its statistics before it passes the line on
        server.write(sip.response(req, 200, "OK", to_tag="s"))
        assert alice.final(key).status == 200
    ask(1)
    for n, key in ((2, b"k\n"), (3, b"K\n")):
        before = d.counter("records.key_update")
        server.write(key)
        d.wait_counter("records.key_update", before + 1)
        time.sleep(0.2)
        ask(n)


def test_f1_2_6_close_notify_from_client(t):
    """A client's close_notify is answered by ours before the connection ends."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    for version in (V12, V13):
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        options_works(t, d, alice, conn, t.uri(bob, "tls"))
        with conn.lock:
            try:
                conn.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            conn._flush()
        assert conn.closed.wait(20 * t.slow), "not closed after close_notify"
        assert conn.how == "close_notify", conn.how
        t.wait(lambda: not [c for c in d.connections() if c["direction"] == "in"], "it to be gone")


def test_f1_2_6_close_notify_from_us(t):
    """When the daemon ends a connection both sides see close_notify: at idle time and at the end."""
    d = t.daemon(timeouts={"idle": t.ms(1000)})
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    out = bob.listener("tls").conns[0]
    for side, c in (("caller", conn), ("callee", out)):
        assert c.closed.wait(30 * t.slow), "open after its idle time"
        assert c.how == "close_notify", "idle, %s: %s" % (side, c.how)
    assert d.counter("connections.idle_closed") == 2
    d2 = t.daemon()
    conn = t.dial(alice, d2, "tls")
    options_works(t, d2, alice, conn, t.uri(bob, "tls"))
    out = bob.listener("tls").conns[1]
    assert d2.stop() == 0
    for side, c in (("caller", conn), ("callee", out)):
        assert c.closed.wait(20 * t.slow)
        assert c.how == "close_notify", "at the end, %s: %s" % (side, c.how)


def test_2_6_abrupt_ends(t):
    """FIN without close_notify and RST, with and without a request on the way: others unharmed."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls", delay_s=0.05)
    steady = t.dial(alice, d, "tls")
    for how in ("fin", "rst", "fin-busy", "rst-busy"):
        conn = t.dial(alice, d, "tls")
        options_works(t, d, alice, conn, t.uri(bob, "tls"))
        if how.endswith("busy"):
            conn.send(alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(20000))[0])
        conn.reset() if how.startswith("rst") else conn.close(notify=False)
        options_works(t, d, alice, steady, t.uri(bob, "tls"))


def resume_with(t, d, version):
    client = s_client(t, d, version, "-sess_out", t.dir + "/session" + version)
    bob = t.uas("tls")
    assert s_client_options(t, client, t.uri(bob, "tls")) == 200
    client.write(b"Q\n")
    client.ended()
    before = d.counter("handshakes.resumed")
    again = s_client(t, d, version, "-sess_in", t.dir + "/session" + version)
    again.wait_for(rb"Reused, TLSv1\.[23]")
    assert s_client_options(t, again, t.uri(bob, "tls")) == 200
    # our own connection to bob may have been resumed too
    assert d.counter("handshakes.resumed") >= before + 1
    incoming = [c["tls"]["resumed"] for c in shown(d) if c["direction"] == "in"]
    assert incoming == [True], shown(d)


def test_2_6_resumption_tls13(t):
    """s_client resumes a TLS 1.3 session by ticket and the resumed connection carries SIP."""
    resume_with(t, t.daemon(), "-tls1_3")


def test_2_6_resumption_tls12(t):
    resume_with(t, t.daemon(), "-tls1_2")


def test_2_6_resumption_across_handshakers(t):
    """A session resumes whichever handshake thread gets the connection."""
    d = t.daemon(handshakers=3)
    alice, bob = t.uac(), t.uas("tls")
    for version in (V12, V13):
        ctx = t.client_ctx(version=version)
        first = t.dial(alice, d, "tls", ctx=ctx)
        options_works(t, d, alice, first, t.uri(bob, "tls"))
        for _ in range(6):
            conn = t.dial(alice, d, "tls", ctx=ctx, session=first.tls.session)
            options_works(t, d, alice, conn, t.uri(bob, "tls"))
            assert conn.tls.session_reused, version
            conn.close()


# FEATURES D19: verify x require x certificate, server role. True: served.
SERVER_MATRIX = (
    # verify_cert, require_cert, {client certificate: served?}
    (False, False, {None: True, "client": True, "foreign": True}),
    (True, False, {None: True, "client": True, "foreign": False, "expired": False,
                   "revoked": False}),
    (True, True, {None: False, "client": True, "foreign": False, "expired": False,
                  "revoked": False}),
)


def served(t, d, alice, bob, ctx):
    """Does a connection with this context carry an OPTIONS? (In 1.3 a refusal comes late.)"""
    try:
        conn = t.dial(alice, d, "tls", ctx=ctx)
    except (ssl.SSLError, OSError):
        return False
    data, key = alice.make(conn, "OPTIONS", t.uri(bob, "tcp"))
    q = alice.expect(key)
    try:
        conn.send(data)
    except (OSError, ssl.SSLError):
        return False
    t.wait(lambda: conn.closed.is_set() or not q.empty(), "an answer or an end")
    ok = not q.empty() and alice.final(key).status == 200
    conn.close()
    return ok


@pytest.mark.host_only("certificates are judged in user space")
@pytest.mark.timeout(150)
def test_d19_client_certificate_matrix(t):
    """Our server role against no, good, foreign, expired and revoked client certificates."""
    for verify, require, row in SERVER_MATRIX:
        d = t.daemon(domain={"verify_cert": verify, "require_cert": require,
                             "crl_file": t.pki("crl.pem") if verify else None})
        alice, bob = t.uac(), t.uas("tcp")
        for version in (V12, V13):
            for cert, want in row.items():
                got = served(t, d, alice, bob, t.client_ctx(cert=cert, version=version))
                assert got == want, "verify=%s require=%s %s %s: served=%s" % (
                    verify, require, version.name, cert, got)
        if verify:
            assert d.counter("handshakes.failed.verify") >= 6
            line = d.wait_log(r"expired")
            assert re.search(r"127\.0\.0\.1", line), line


@pytest.mark.host_only("certificates are judged in user space")
@pytest.mark.timeout(150)
def test_d19_server_certificate_matrix(t):
    """Our client role against good, wrong-name, expired, revoked and foreign server certificates,
    with verification on and off. Refused ones give the caller a 503 and a log line."""
    for verify in (True, False):
        alice = t.uac()
        for cert in ("callee", "wrongname", "expired", "revoked", "foreign"):
            bob = t.uas("tls", name=cert, ctx=t.server_ctx(cert))
            d = t.daemon(
                listen=("tcp", "tls"),
                domains=[("out", {"certificate": t.pki("client.pem"),
                                  "private_key": t.pki("client.key"), "ca_list": t.pki("ca.pem"),
                                  "verify_cert": verify, "require_cert": verify,
                                  **({"crl_file": t.pki("crl.pem")} if verify else {})})],
                peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""), "tls_domain": "out",
                                "identity": "callee.example"})],
                routes=[("all", {"peers": ["bob"]})])
            status = alice.request(t.dial(alice, d, "tcp"), "OPTIONS",
                                   "sip:x@biloxi.example").status
            want = 200 if cert == "callee" or not verify else 503
            assert status == want, "verify=%s %s: %d" % (verify, cert, status)
            if want == 503:
                failed = d.counter("handshakes.failed.verify") + d.counter(
                    "handshakes.failed.name")
                assert failed >= 1
                d.wait_log(r"127\.0\.0\.1:%d" % bob.listener("tls").port)


@pytest.mark.host_only("sentences in the log")
def test_2_12_failed_handshake_log(t):
    """One line per failed handshake says who, for which name and domain, why, which certificate and
    which alert went which way: as server with a bad client, as client of a bad server."""
    d = t.daemon(domain={"verify_cert": True})
    out = s_client(t, d, "-servername", "atlanta.example", "-tls1_2", cert="expired").ended()
    assert b"alert" in out, out
    line = d.wait_log(r"handshake failed")
    for part in (r"role=server", r"peer=127\.0\.0\.1:\d+", r"sni=atlanta\.example", r"tls_domain=lab",
                 r"expired", r"CN ?= ?callee\.example", r"alert_sent=\S*certificate_expired"):
        assert re.search(part, line), "no %s in %s" % (part, line)
    bad = t.uas("tls", ctx=t.server_ctx("foreign"))
    alice = t.uac()
    rsp = alice.request(t.dial(alice, d, "tcp"), "OPTIONS", t.uri(bad, "tls"))
    assert rsp.status == 503, repr(rsp)
    line = d.wait_log(r"role=client")
    for part in (r"peer=127\.0\.0\.1:%d" % bad.listener("tls").port, r"tls_domain=lab",
                 r"CN ?= ?caller\.example", r"alert_sent=\S*unknown_ca"):
        assert re.search(part, line), "no %s in %s" % (part, line)


@pytest.mark.host_only("certificates are judged in user space")
def test_b11_peer_identity_required(t):
    """A next hop must carry the identity that its peer block names (RFC 5922)."""
    bob = t.uas("tls")
    for identity, want in (("callee.example", 200), ("CALLEE.example", 200),
                           ("elsewhere.example", 503), ("example", 503)):
        d = t.daemon(listen=("tcp", "tls"),
                     domain={"verify_cert": True, "require_cert": False},
                     peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                     "tls_domain": "lab", "identity": identity})],
                     routes=[("all", {"peers": ["bob"]})])
        alice = t.uac()
        assert alice.request(t.dial(alice, d, "tcp"), "OPTIONS",
                             "sip:x@biloxi.example").status == want, identity


def test_2_6_our_client_certificate(t):
    """A next hop that demands a client certificate gets the domain's own."""
    bob = t.uas("tls", ctx=t.server_ctx(ask_client=True))
    d = t.daemon()
    alice = t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))


def presented(t, d, *args):
    client = s_client(t, d, *args)
    found = client.wait_for(rb"subject=CN ?= ?([\w.]+)")
    client.write(b"Q\n")
    client.ended()
    return found.group(1).decode()


@pytest.mark.host_only("a TLS domain is chosen in the handshake, in user space")
def test_b9_sni_chooses_domain(t):
    """SNI exact, case-insensitive and one-label wildcard choose the domain; others the listener's."""
    d = t.daemon(domains=[("biloxi", {"certificate": t.pki("biloxi.pem"),
                                      "private_key": t.pki("biloxi.key"),
                                      "ca_list": t.pki("ca.pem"), "verify_cert": False,
                                      "require_cert": False,
                                      "match_sip_domain": ["biloxi.example",
                                                           "*.biloxi.example"]})])
    for version in ("-tls1_2", "-tls1_3"):
        for name, want in (("biloxi.example", "biloxi.example"),
                           ("BILOXI.example", "biloxi.example"),
                           ("sip.biloxi.example", "biloxi.example"),
                           ("a.b.biloxi.example", "proxy.example"),
                           ("unknown.example", "proxy.example")):
            assert presented(t, d, version, "-servername", name) == want, name
        assert presented(t, d, version, "-noservername") == "proxy.example"


@pytest.mark.host_only("it looks at the handshake alone")
def test_a2_ca_names_sent(t):
    """With verify_cert the CertificateRequest names the domain's authorities."""
    d = t.daemon(domain={"verify_cert": True})
    for version in ("-tls1_2", "-tls1_3"):
        client = s_client(t, d, version)
        client.wait_for(rb"Acceptable client certificate CA names\s+CN ?= ?tieline lab CA")


def test_2_6_gnutls_client(t):
    """GnuTLS as the client, both versions."""
    program = t.need("gnutls-cli")
    d = t.daemon()
    bob = t.uas("tls")
    for version in ("VERS-TLS1.2", "VERS-TLS1.3"):
        client = Piped(t, [program, "--x509cafile", t.pki("ca.pem"), "--priority",
                           "NORMAL:-VERS-ALL:+" + version, "--port", str(d.port("tls")),
                           "localhost"])
        client.wait_for(rb"Handshake was completed")
        assert s_client_options(t, client, t.uri(bob, "tls")) == 200


@pytest.mark.host_only("files and sentences")
def test_d6_readable_key_refused(t):
    """A private key that others may read is refused at start, with the file's name."""
    path = os.path.join(t.dir, "open.key")
    shutil.copy(t.pki("proxy.key"), path)
    os.chmod(path, 0o644)
    d = t.daemon(start=False, domain={"private_key": path})
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       timeout=30 * t.slow, check=False)
    assert p.returncode == 1 and "open.key" in p.stdout + p.stderr, p


PLAIN_C = "".join(
    f"name         : {name}\ndriver       : {driver}\nmodule       : gcm\npriority     : 100\n"
    "refcnt       : 1\nselftest     : passed\ninternal     : no\ntype         : aead\n\n"
    for name, driver in (("gcm(aes)", "gcm_base(ctr(aes-generic),ghash-generic)"),
                         ("rfc7539(chacha20,poly1305)", "rfc7539(chacha20-simd,poly1305-simd)")))


def test_f1_slow_ciphers_of_the_kernel(t):
    """A kernel whose AES-GCM is plain C, as /proc/crypto tells: auto leaves AES-GCM in user space, says
    why to everyone who asks, and gives it CHACHA20; records = kernel insists."""
    if not t.kernel_tls:
        t.skip("this kernel has no TLS to be slow")
    t.allow_user_records = True
    table = os.path.join(t.dir, "crypto")
    with open(table, "w", encoding="ascii") as f:
        f.write(PLAIN_C)
    environ = {"TIELINE_CRYPTO": table, "LD_PRELOAD": os.path.join(
        host.build(), "support", "crypto_table.so")}
    why = "the kernel's cipher is not accelerated"
    said = subprocess.run([t.tieline, "probe"], env={**os.environ, **environ}, text=True,
                          capture_output=True, check=False).stdout
    assert "gcm_base(ctr(aes-generic),ghash-generic) (not accelerated)" in said, said
    assert "records = auto keeps its connections in user space" in said, said
    for records in ("auto", "kernel"):
        d = t.daemon(start=False, domain={"records": records})
        d.start(environ=environ)
        assert records == "kernel" or "not accelerated" in d.log()
        alice = t.uac()
        for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            bob = t.uas("tls", ctx=t.server_ctx(version=V12, ciphers=cipher))
            exchange(t, d, alice, bob, t.client_ctx(version=V12, ciphers=cipher))
            slow = records == "auto" and "AES" in cipher
            for c in shown(d):
                assert c["tls"]["ktls_tx"] == c["tls"]["ktls_rx"] == (not slow), c
                assert (c["tls"]["ktls_tx_reason"] == why) == slow, c
            bob.close()
            alice.close()
        assert d.counter("ktls.off.slow") == (2 if records == "auto" else 0)
