# SPDX-License-Identifier: Apache-2.0
"""What happens to connections after their handshake: reload and drain, revocation, expiry, age.

Issue items 4.7, 4.8, 4.9, 4.11; FEATURES b16 b17 b18 b19 e21 f3 f4 f7.
"""
import http.server
import os
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from flowlib.herd import Herd, Held
from flowlib.host import emulated_cpu
from flowlib.certs import Authority
from flowlib.steps import options_works
from flowlib.tools import s_client
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls


def authority(t, name="lab"):
    """With a revocation list that is empty."""
    return Authority(t, name).revoke()


def certify(ca, name, *args):
    ca.cert(name, "--domain", name + ".example", *args)


def changed(reply, name="lab"):
    return [x for x in reply["domains"] if x["name"] == name][0]


def traffic(alice, conn, uri):
    """Calls one after the other in a thread; returns (stop, problems, calls done)."""
    stop, problems, done = threading.Event(), [], [0]

    def run():
        try:
            while not stop.is_set():
                assert Call(alice, conn, uri).answered().bye().status == 200
                done[0] += 1
        except BaseException as e:
            problems.append(repr(e))
    th = threading.Thread(target=run)
    th.start()

    def end():
        stop.set()
        th.join()
    return end, problems, done


@pytest.mark.timeout(120)
def test_b17_drain_keep_now_graceful(t):
    """The connections of a changed TLS domain: keep leaves them, now ends them with close_notify,
    graceful when the transaction on them is answered; those of another domain do not notice."""
    other = ("quiet", {"certificate": t.pki("biloxi.pem"), "private_key": t.pki("biloxi.key"),
                       "verify_cert": False, "require_cert": False,
                       "match_sip_domain": ["biloxi.example"]})
    brief = {"call_setup_max": "1s"}
    d = t.daemon(domains=[other], timeouts=brief)
    alice, bob = t.uac(), t.uas("tls", silent=True)
    uri = t.uri(bob, "tls")
    bystander = t.dial(alice, d, "tls", sni="biloxi.example")
    serial = d.rpc("tls_list")["domains"][0]["serial"]
    certs = ["proxy-rsa", "proxy"]

    def change(drain):
        d.configure(domain={"certificate": t.pki(certs[0] + ".pem"),
                            "private_key": t.pki(certs[0] + ".key")}, domains=[other],
                    timeouts=brief)
        certs.reverse()
        return changed(d.rpc("reload", {"drain": drain}))

    conn = t.dial(alice, d, "tls")
    said = change("keep")
    assert said["change"] == "changed" and said["serial_before"] == serial, said
    assert said["spki_sha256_before"] != said["spki_sha256_after"], said
    assert said["not_after_before"] and said["not_after_after"] and said["connections"] == 0, said
    options = alice.make(conn, "OPTIONS", uri)
    alice.expect(options[1])
    conn.send(options[0])
    bob.reply(*bob.next_request("OPTIONS"), 200)
    assert alice.final(options[1]).status == 200 and not conn.closed.is_set()

    conn2 = t.dial(alice, d, "tls")         # of the domain in force; CONN stays as it was
    said = change("now")
    assert said["closed"] >= 1 and said["connections"] >= 1, said
    t.wait(conn2.closed.is_set, "the connection to be closed at once")
    assert conn2.how == "close_notify", conn2.how

    conn3 = t.dial(alice, d, "tls")
    data, key = alice.make(conn3, "MESSAGE", uri)
    alice.expect(key)
    conn3.send(data)
    where, req = bob.next_request("MESSAGE")
    said = change("graceful:60")
    assert said["retiring"] >= 1, said
    assert "retiring" in [c["state"] for c in d.connections()]
    time.sleep(1.5)                         # busy: a transaction is open on it
    assert not conn3.closed.is_set()
    bob.reply(where, req, 200)
    assert alice.final(key).status == 200
    t.wait(conn3.closed.is_set, "the connection to end when it was idle")
    assert conn3.how == "close_notify", conn3.how

    conn4 = t.dial(alice, d, "tls")
    data, key = alice.make(conn4, "MESSAGE", uri)
    alice.expect(key)
    conn4.send(data)
    where, req = bob.next_request("MESSAGE")
    change("graceful:1")
    t.wait(conn4.closed.is_set, "the connection to end at its deadline")
    bob.reply(where, req, 200)
    assert not bystander.closed.is_set()
    d.configure(domain={}, domains=[other])
    assert d.ctl("reload", "drain=soon", check=False).returncode == 1


def timeless(x):
    """X without what counts down by itself."""
    if isinstance(x, dict):
        return {k: timeless(v) for k, v in x.items() if not k.endswith("_left")}
    return [timeless(v) for v in x] if isinstance(x, list) else x


@pytest.mark.host_only("files and sentences")
def test_b16_reload_leaves_all_as_it_was(t):
    """A part that fails is named with file and reason; certificate, connections and generation are
    those of before."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    before = timeless(d.rpc("tls_list")["domains"])
    d.configure(domain={"certificate": t.pki("callee.pem"), "crl_file": t.pki("callee.pem"),
                        "verify_cert": True})
    p = d.ctl("tls_reload", "drain=now", check=False)
    assert p.returncode == 1 and "callee.pem" in p.stderr and d.config_file + ":" in p.stderr, p
    assert timeless(d.rpc("tls_list")["domains"]) == before and d.rpc("stats")["generation"] == 1
    options_works(t, d, alice, conn, t.uri(bob, "tls"))


@pytest.mark.alone
@pytest.mark.timeout(200)
def test_f3_revoked_peers_leave_within_a_second(t):
    """1,000 connections of 100 peers under traffic; 10 peers are revoked: exactly their 100
    connections are closed with certificate_revoked, no call of the others fails."""
    peers, each, gone = (20, 5, 2) if emulated_cpu() or t.sanitized else (100, 10, 10)
    ca = authority(t)
    for name in ["proxy", "caller"] + ["p%d" % i for i in range(peers)]:
        certify(ca, name)
    domain = ca.domain("proxy", crl_file=ca.path("ca.crl"))
    callee = {"name": "callee", "options": {"verify_cert": False, "require_cert": False}}
    d = t.daemon(domain=domain, domains=[(callee["name"], callee["options"])],
                 routes=[("all", {"relay": "request-uri", "tls_domain": "callee"})])
    alice, bob = t.uac(), t.uas("tls")
    herd = Herd(t, d, [ca.client("p%d" % i) for i in range(peers)], each)
    try:
        end, problems, calls = traffic(alice, t.dial(alice, d, "tls", ctx=ca.client("caller")),
                                       t.uri(bob, "tls"))
        t.wait(lambda: len([r for r in d.rpc("ledger")["chains"] if r["connections"] == each])
               == peers, "all chains with their connections in the ledger")
        for i in range(gone):
            ca.revoke("p%d" % i)
        began = time.monotonic()
        said = changed(d.rpc("reload"))
        t.wait(lambda: len(herd.closed()) >= gone * each, "the connections of revoked peers to end")
        took = max(c.at for c in herd.closed()) - began
        calls_then = calls[0]
        t.wait(lambda: calls[0] > calls_then + 3 or problems, "calls to go on")
        end()
        assert not problems, problems
        closed = herd.closed()
        assert {c.how for c in closed} == {"certificate_revoked"}, {c.how for c in closed}
        wanted = [c for i in range(gone) for c in herd.of(i)]
        assert set(closed) == set(wanted), "%d closed, %d wanted" % (len(closed), len(wanted))
        assert said["closed"] == gone * each, said
        assert took < 1 * t.slow, "it took %.2f s" % took
        assert d.counter("connections.unverified") == gone * each
        d.wait_log(r"no longer allows.*CN=p0\.example.*revoked")
        rows = d.rpc("ledger")["chains"]
        left = [r for r in rows if r["role"] == "server"]
        assert len(left) == peers - gone + 1 and all(r["code"] == 0 and r["verified_at"]
                                                     for r in left), left[:3]
    finally:
        herd.close()


@pytest.mark.timeout(120)
def test_f3_expired_certificate_ends_its_connections(t):
    """At the notAfter of a peer's certificate its connection ends with certificate_expired; a new
    one is refused, others go on."""
    ca = authority(t)
    certify(ca, "proxy")
    certify(ca, "long")
    life_s = int(8 * t.slow)
    until = time.time() + life_s
    certify(ca, "short", "--from", "2026-01-01", "--until",
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)))
    d = t.daemon(domain=ca.domain("proxy"))
    port = d.port("tls")
    short, long_ = [Held("127.0.0.1", port, ca.client(n), 20 * t.slow) for n in ("short", "long")]
    assert time.time() < until, "the machine is too slow for this test"
    t.wait(lambda: not short.look(), "the connection to end", life_s + 10)
    assert short.how == "certificate_expired", short.how
    late = time.time() - int(until)
    assert 0 <= late < 2.5 * t.slow, late
    assert long_.look() and d.counter("connections.unverified") == 1
    for c in (short, long_):
        c.sock.close()


@pytest.mark.host_only("certificates are judged in user space")
@pytest.mark.timeout(90)
def test_e21_accepted_connection_loses_its_mark(t):
    """Where on_unverified = accept a revoked peer's connection stays, but no longer verified."""
    ca = authority(t)
    certify(ca, "proxy")
    certify(ca, "peer")
    domain = ca.domain("proxy", on_unverified="accept", crl_file=ca.path("ca.crl"))
    d = t.daemon(domain=domain)
    c = Held("127.0.0.1", d.port("tls"), ca.client("peer"), 20 * t.slow)
    t.wait(lambda: len(d.connections()) == 1, "the connection")
    assert d.connections()[0]["tls"]["verified"]
    ca.revoke("peer")
    assert changed(d.rpc("reload"))["verified"] == 1
    assert not d.connections()[0]["tls"]["verified"]
    row = d.rpc("ledger")["chains"][0]
    assert row["code"] != 0 and "revoked" in row["verdict"] and row["connections"] == 1, row
    assert "revoked" in d.ctl("ledger").stdout
    assert c.look()
    c.sock.close()


@pytest.mark.timeout(120)
def test_f3_trust_and_policy_changes(t):
    """Another authority: unknown_ca; a certificate demanded from an anonymous client: its alert;
    and what passes is moved to the new domain without being disturbed."""
    ca, foreign = authority(t, "a"), authority(t, "b")
    for a in (ca, foreign):
        certify(a, "proxy")
        certify(a, "peer")
    both = ca.path("both.pem")
    with open(both, "w", encoding="ascii") as out:
        for a in (ca, foreign):
            with open(a.path("ca.pem"), encoding="ascii") as f:
                out.write(f.read())
    d = t.daemon(domain=ca.domain("proxy", ca_list=both, require_cert=False))
    port = d.port("tls")
    anonymous = t.client_ctx()
    anonymous.load_verify_locations(ca.path("ca.pem"))
    ours, theirs, nobody = [Held("127.0.0.1", port, x, 20 * t.slow)
                            for x in (ca.client("peer"), foreign.client("peer", ca.ca), anonymous)]
    t.wait(lambda: len(d.connections()) == 3, "three connections")
    d.configure(domain=ca.domain("proxy", require_cert=False))
    said = changed(d.rpc("reload"))
    assert said["closed"] == 1 and said["verified"] == 2, said
    t.wait(lambda: not theirs.look(), "the foreign peer's connection to end")
    assert theirs.how == "unknown_ca", theirs.how
    d.configure(domain=ca.domain("proxy"))
    assert changed(d.rpc("reload"))["closed"] == 1
    t.wait(lambda: not nobody.look(), "the anonymous client's connection to end")
    assert "certificate_required" in nobody.how, nobody.how
    assert ours.look()
    for c in (ours, theirs, nobody):
        c.sock.close()


@pytest.mark.timeout(120)
def test_f4_b18_max_age_renews_connections(t):
    """Connections older than max_age end when idle, in both directions, and no call notices."""
    d = t.daemon(domain={"max_age": t.ms(3000)})
    alice, bob = t.uac(), t.uas("tls")
    uri = t.uri(bob, "tls")
    conn = t.dial(alice, d, "tls")
    born, calls = time.monotonic(), 0
    while not conn.closed.is_set() and time.monotonic() - born < 2 * t.slow:
        assert Call(alice, conn, uri).answered().bye().status == 200
        calls += 1
    assert calls and not conn.closed.is_set()
    t.wait(conn.closed.is_set, "the old connection to end")
    assert conn.how == "close_notify" and time.monotonic() - born > 2.5 * t.slow, conn.how
    t.wait(lambda: not d.connections(), "the outgoing one to end as well")
    assert d.counter("connections.aged") == 2
    again = t.dial(alice, d, "tls")
    assert Call(alice, again, uri).answered().bye().status == 200
    assert bob.listener("tls").accepted == 2


def calls_until(alice, conn, uri, done, most):
    """Calls on CONN until DONE; at most MOST."""
    for n in range(most):
        if done():
            return n
        assert Call(alice, conn, uri).answered().bye().status == 200
    assert done(), "%d calls were not enough" % most
    return most


@pytest.mark.timeout(120)
def test_b18_f1_max_records_renews_connections(t):
    """Before a key has protected max_records, in TLS 1.2: a new connection outward, the one that
    came in ends with close_notify once it is idle; no call fails, cause and numbers are logged."""
    d = t.daemon(workers=1, domain={"max_records": 64})
    old = ssl.TLSVersion.TLSv1_2
    alice, bob = t.uac(), t.uas("tls", ctx=t.server_ctx(version=old))
    uri = t.uri(bob, "tls")
    conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=old))
    n = calls_until(alice, conn, uri, lambda: d.counter("connections.worn") == 2, 20)
    assert n > 2 and not conn.closed.is_set(), n
    t.wait(conn.closed.is_set, "the connection that came in to end")
    assert conn.how == "close_notify", conn.how
    d.wait_log("Renewing a connection before its keys have sealed too many records")
    line = [x for x in d.log().splitlines() if "Renewing a connection" in x][0]
    assert "max_records=64" in line and "records_sent=" in line, line
    again = t.dial(alice, d, "tls", ctx=t.client_ctx(version=old))
    assert Call(alice, again, uri).answered().bye().status == 200
    assert bob.listener("tls").accepted == 2
    t.wait(lambda: len(d.connections()) == 2, "the worn connections to be gone")


@pytest.mark.timeout(120)
def test_b18_f1_max_records_changes_keys(t):
    """The same in TLS 1.3: keys are changed, the peer's too, and the connections stay; where the
    kernel cannot, and for ChaCha20-Poly1305 not at all, it is as RFC 8446 5.5 has it."""
    d = t.daemon(workers=1, domain={"max_records": 64})
    alice, bob = t.uac(), t.uas("tls", ctx=t.server_ctx(version=ssl.TLSVersion.TLSv1_3))
    uri = t.uri(bob, "tls")
    conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=ssl.TLSVersion.TLSv1_3))

    def renewed():
        return d.counter("records.key_update_sent") >= 4 or d.counter("connections.worn") >= 2
    calls_until(alice, conn, uri, renewed, 60)
    if not t.kernel_tls:
        assert d.counter("connections.worn") == 0 and bob.listener("tls").accepted == 1
        assert d.counter("records.key_update") >= 2, "the peers change theirs when asked"
    chacha = t.client_ctx(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+CHACHA20")
    free = t.dial(alice, d, "tls", ctx=chacha)
    uri = t.uri(t.uas("tcp", name="carol"), "tcp")
    before = d.counter("connections.worn"), d.counter("records.key_update_sent")
    for _ in range(30):
        assert Call(alice, free, uri).answered().bye().status == 200
    assert (d.counter("connections.worn"), d.counter("records.key_update_sent")) == before


def der_of(ca, name="ca"):
    """The authority's present revocation list as its distribution point gives it out."""
    p = subprocess.run(["openssl", "crl", "-in", ca.path(name + ".crl"), "-outform", "DER"],
                       capture_output=True, check=True, timeout=60)
    return p.stdout


class Point:
    """A distribution point: an HTTP server that gives out what it is told to."""

    def __init__(self, data=None):
        point, self.data, self.asked = self, data, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                point.asked += 1
                self.send_response(200 if point.data else 503)
                self.send_header("Content-Type", "application/pkix-crl")
                self.send_header("Content-Length", str(len(point.data or b"")))
                self.end_headers()
                self.wfile.write(point.data or b"")

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/ca.crl" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def refused(t, d, ctx):
    """The alert with which a client with CTX is refused, None if it is served."""
    try:
        c = Held("127.0.0.1", d.port("tls"), ctx, 20 * t.slow)
    except (ConnectionError, OSError) as e:
        return "closed: %s" % e
    t.wait(lambda: not c.look() or d.connections(), "the handshake to be decided")
    c.sock.close()
    t.wait(lambda: not d.connections(), "the connection to end")
    return c.how


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(120)
def test_b19_f7_list_is_fetched_and_counts(t):
    """crl_fetch: the list comes from the distribution point in the certificate, is shown, fetched
    again, and a revocation in it closes the connection; a list of another issuer and garbage are
    refused and what was there stays."""
    ca, foreign = authority(t, "a"), authority(t, "b")
    point = Point(der_of(ca))
    try:
        certify(ca, "proxy", "--crl-url", point.url)
        for name in ("good", "bad"):
            certify(ca, name, "--crl-url", point.url)
        d = t.daemon(domain=ca.domain("proxy", crl_fetch=True), extra='crl_refresh = "1s"')
        t.wait(lambda: d.rpc("crl")["lists"], "the list to be fetched")
        row = d.rpc("crl")["lists"][0]
        assert row["fetched"] and row["source"] == point.url and row["issuer"] == \
            "CN=a CA,O=a", row
        assert row["seconds_left"] > 86400 and row["entries"] == 0 and not row["stale"], row
        assert point.url in d.ctl("crl").stdout
        good, bad = [Held("127.0.0.1", d.port("tls"), ca.client(n), 20 * t.slow)
                     for n in ("good", "bad")]
        t.wait(lambda: len(d.connections()) == 2, "two connections")
        for junk in (der_of(foreign), b"\x30\x03junk"):
            failed = d.counter("crl.fetch_failed")
            point.data = junk
            t.wait(lambda: d.counter("crl.fetch_failed") > failed, "the list to be refused")
            assert len(d.rpc("crl")["lists"]) == 1
        assert good.look() and bad.look()
        ca.revoke("bad")
        point.data = der_of(ca)
        t.wait(lambda: not bad.look(), "the revoked peer's connection to end")
        assert bad.how == "certificate_revoked", bad.how
        assert d.rpc("crl")["lists"][0]["entries"] == 1
        assert good.look()
        for c in (good, bad):
            c.sock.close()
        t.wait(lambda: not d.connections(), "the other one to end")
        assert refused(t, d, ca.client("bad")) == "certificate_revoked"
        assert d.rpc("reload")["domains"][0]["change"] == "same"
        d.configure(domain=ca.domain("proxy", crl_fetch=True, verify_depth=5))
        point.data = None                   # what was fetched outlives a reload without the server
        assert d.rpc("reload")["domains"][0]["change"] == "changed"
        assert refused(t, d, ca.client("bad")) == "certificate_revoked"
    finally:
        point.close()


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(120)
def test_f7_stale_or_missing_list(t):
    """A list past its next update: crl_stale = reject refuses its issuer's certificates, accept
    goes on with what it says; the log tells, ctl shows; the same where there is no list at all."""
    ca = authority(t)
    for name in ("proxy", "good", "bad"):
        certify(ca, name)
    ca.revoke("bad")
    old = ca.stale_crl("bad")
    d = t.daemon(domain=ca.domain("proxy", crl_file=old))
    assert refused(t, d, ca.client("good")) is not None
    row = d.rpc("crl")["lists"][0]
    assert row["stale"] and row["when_stale"] == "reject" and row["seconds_left"] < 0, row
    assert row["source"] == old and "stale: reject" in d.ctl("crl").stdout
    d.wait_log(r"revocation list is stale")
    d.configure(domain=ca.domain("proxy", crl_file=old, crl_stale="accept"))
    d.rpc("reload")
    how = refused(t, d, ca.client("good"))
    assert how is None, how
    assert refused(t, d, ca.client("bad")) == "certificate_revoked"
    d.configure(domain=ca.domain("proxy", crl_fetch=True))
    d.rpc("reload")
    assert refused(t, d, ca.client("good")) is not None
    d.configure(domain=ca.domain("proxy", crl_fetch=True, crl_stale="accept"))
    d.rpc("reload")
    how = refused(t, d, ca.client("good"))
    assert how is None, how


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(60)
def test_b19_list_of_another_issuer_waits_for_it(t):
    """crl_file of an authority that is not known: taken with a warning, since a chain may bring it (s20);
    one that is not a list is refused."""
    ca, foreign = authority(t, "a"), authority(t, "b")
    certify(ca, "proxy")
    d = t.daemon(domain=ca.domain("proxy", crl_file=ca.path("ca.crl")))
    d.configure(domain=ca.domain("proxy", crl_file=foreign.path("ca.crl")))
    d.ctl("reload")
    d.wait_log("authority.*not known.*CN=b CA|CN=b CA.*not known|b CA")
    assert d.rpc("crl")["lists"][0]["issuer"] == "CN=b CA,O=b"
    d.configure(domain=ca.domain("proxy", crl_file=ca.path("ca.pem")))
    p = d.ctl("reload", check=False)
    assert p.returncode == 1 and ca.path("ca.pem") in p.stderr, p
    assert d.rpc("crl")["lists"][0]["issuer"] == "CN=b CA,O=b"


@pytest.mark.host_only("gauges and sentences")
@pytest.mark.timeout(60)
def test_f10_what_ends_soon(t):
    """Gauges of the first end of each kind; a certificate of ours with few days left is told in the
    log, once."""
    ca = authority(t)
    certify(ca, "proxy", "--days", "5")
    certify(ca, "peer", "--days", "20")
    d = t.daemon(domain=ca.domain("proxy", crl_file=ca.path("ca.crl")))
    day = 86400
    t.wait(lambda: "ends soon" in d.log(), "the warning")
    c = Held("127.0.0.1", d.port("tls"), ca.client("peer"), 20 * t.slow)
    t.wait(lambda: d.rpc("stats")["seconds_left"]["peer_chain_s"], "the peer's chain")
    left = d.rpc("stats")["seconds_left"]
    assert 4 * day < left["own_certificate_s"] < 5.1 * day, left
    assert 19 * day < left["peer_chain_s"] < 20.1 * day, left
    assert left["authority_s"] > 300 * day and 20 * day < left["revocation_list_s"] < 31 * day, left
    domain = d.rpc("tls_list")["domains"][0]
    assert domain["days_left"] in (4, 5) and domain["authorities"][0]["days_left"] > 300, domain
    d.rpc("reload")
    assert d.log().count("whose=ours") == 1, d.log()
    c.sock.close()


@pytest.mark.timeout(1800 if os.environ.get("TIELINE_RELOADS") else 150)
def test_b16_reloads_by_the_thousand(t):
    """Reloads under traffic that change now nothing, now a revocation list (every chain verified
    again), now the certificate of another domain (its connection ended at once): no call fails,
    memory stays within 2 %, no descriptor is left. TIELINE_RELOADS=10000 for the full number."""
    total = int(os.environ.get("TIELINE_RELOADS") or 300)
    ca = authority(t)
    for name in ("proxy", "caller", "first", "second"):
        certify(ca, name)
    domain = ca.domain("proxy", crl_file=ca.path("ca.crl"))
    lists = []
    for _ in range(2):
        ca.revoke()
        with open(ca.path("ca.crl"), "rb") as f:
            lists.append(f.read())
    callee = ("callee", {"verify_cert": False, "require_cert": False})

    def configure(i):
        d.configure(domain=domain, domains=[callee, ("other", ca.domain(
            ("first", "second")[i % 2], match_sip_domain=["other.example"]))],
            routes=[("all", {"relay": "request-uri", "tls_domain": "callee"})])
    d = t.daemon(start=False)
    configure(0)
    d.start()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls", ctx=ca.client("caller"))
    end, problems, calls = traffic(alice, conn, t.uri(bob, "tls"))
    warm, rss, fds, closed = max(60, total // 10), 0, 0, 0
    try:
        for i in range(1, total + 1):
            if i % 3 == 1:
                with open(ca.path("ca.crl.new"), "wb") as f:
                    f.write(lists[i // 3 % 2])
                os.rename(ca.path("ca.crl.new"), ca.path("ca.crl"))
            idle = None
            if i % 30 == 2:
                idle = t.dial(alice, d, "tls", ctx=ca.client("caller"), sni="other.example")
                t.wait(lambda: len(d.connections()) == 3, "the other domain's connection")
            configure(i // 3)
            said = {x["name"]: x for x in d.rpc("reload", {"drain": "now"})["domains"]}
            want = {1: ("changed", "same"), 2: ("same", "same"), 0: ("same", "changed")}[i % 3]
            assert (said["lab"]["change"], said["other"]["change"]) == want, (i, said)
            if i % 3 == 1:
                assert said["lab"]["verified"] == 1, said["lab"]
            if idle:
                d.configure(domain=domain, domains=[callee], routes=[
                    ("all", {"relay": "request-uri", "tls_domain": "callee"})])
                gone = {x["name"]: x for x in d.rpc("reload", {"drain": "now"})["domains"]}
                assert gone["other"]["change"] == "removed" and gone["other"]["closed"] == 1, gone
                t.wait(idle.closed.is_set, "the removed domain's connection to end")
                idle.close()
                closed += 1
                configure(i // 3)
                d.rpc("reload")
            assert not problems, problems
            if i == warm:
                t.wait(lambda: len(d.connections()) == 2, "the traffic's connections alone")
                rss, fds = d.rss_kb(), d.fds()
    finally:
        end()
    assert not problems, problems
    assert not conn.closed.is_set() and bob.listener("tls").accepted == 1
    assert d.counter("reloads.ok") == total + 2 * closed and d.counter("reloads.failed") == 0
    t.wait(lambda: d.fds() <= fds, "descriptors: %d, %d before" % (d.fds(), fds))
    now = d.rss_kb()
    print("%d reloads, %d calls, %d connections ended; %d KB before, %d KB after, %d descriptors"
          % (total, calls[0], closed, rss, now, d.fds()))
    # a short run ends before the transactions kept for repeats have reached their bound
    t.check_growth(d, rss, rss // 50 if total >= 5000 else 4096)


@pytest.mark.host_only("which files are read when")
@pytest.mark.timeout(120)
def test_b16_watched_files_reload_by_themselves(t):
    """watch_files: a certificate and key replaced one after the other are taken once both are
    there; a broken file is refused and the next good one taken; nothing happens without a change."""
    ca = authority(t)
    for name in ("proxy", "next", "third"):
        certify(ca, name)
    live = ca.path("live")
    os.mkdir(live)

    def put(name, kind):
        with open(ca.path("%s.%s" % (name, kind)), "rb") as f:
            data = f.read()
        new = os.path.join(live, "new")
        with open(new, "wb") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(data)
        os.rename(new, os.path.join(live, "proxy." + kind))
    for kind in ("pem", "key"):
        put("proxy", kind)
    d = t.daemon(extra="watch_files = true", domain=ca.domain("proxy", **{
        "certificate": os.path.join(live, "proxy.pem"),
        "private_key": os.path.join(live, "proxy.key")}))
    serial = d.rpc("tls_list")["domains"][0]["serial"]
    put("next", "pem")
    put("next", "key")
    t.wait(lambda: d.counter("reloads.ok") == 1, "the reload")
    second = d.rpc("tls_list")["domains"][0]["serial"]
    assert second != serial and d.counter("reloads.failed") == 0
    put("third", "pem")                     # its key does not come
    t.wait(lambda: d.counter("reloads.failed") == 1, "the refused reload")
    assert d.rpc("tls_list")["domains"][0]["serial"] == second
    put("third", "key")
    t.wait(lambda: d.counter("reloads.ok") == 2, "the reload of the pair")
    assert d.rpc("tls_list")["domains"][0]["serial"] not in (serial, second)
    d.write(d.config().replace("watch_files = true", "watch_files = false"))
    t.wait(lambda: d.counter("reloads.ok") == 3, "the reload of the configuration itself")


@pytest.mark.host_only("which files are read when")
@pytest.mark.timeout(120)
def test_b16_a_watched_directory_may_come_back(t):
    """watch_files: the directory of a certificate is deleted, or moved away, and made anew long
    after; what is then in it is taken, and so is what changes in it from then on."""
    ca = authority(t)
    for name in ("proxy", "next", "third", "fourth"):
        certify(ca, name)
    live, old = ca.path("live"), ca.path("old")

    def put(name):
        for kind in ("key", "pem"):
            with open(ca.path("%s.%s" % (name, kind)), "rb") as f:
                data = f.read()
            with open(os.path.join(live, "proxy." + kind), "wb") as f:
                os.fchmod(f.fileno(), 0o600)
                f.write(data)
    os.mkdir(live)
    put("proxy")
    d = t.daemon(extra="watch_files = true", domain=ca.domain("proxy", **{
        "certificate": os.path.join(live, "proxy.pem"),
        "private_key": os.path.join(live, "proxy.key")}))
    seen = [d.rpc("tls_list")["domains"][0]["serial"]]

    def taken(what):
        n = len(seen)
        t.wait(lambda: d.counter("reloads.ok") == n, what)
        seen.append(d.rpc("tls_list")["domains"][0]["serial"])
        assert len(set(seen)) == n + 1, what
    shutil.rmtree(live)
    t.wait(lambda: d.counter("reloads.failed") == 1, "the reload without the directory")
    os.mkdir(live)
    put("next")
    taken("what the new directory has")
    put("third")
    taken("what changed in it")
    os.rename(live, old)
    t.wait(lambda: d.counter("reloads.failed") == 2, "the reload without the directory")
    os.mkdir(live)
    put("fourth")
    taken("what stands where the directory was")


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(120)
def test_e16_crl_dir_and_every_level(t):
    """crl_dir beside crl_check_all: each level of a chain needs a list of its issuer; an authority
    between that is revoked takes its peers along."""
    ca = authority(t)
    certify(ca, "proxy")
    ca.pki("intermediate", "--name", "sub", "--cn", "sub authority")
    certify(ca, "peer", "--ca", "sub")
    with open(ca.path("peer.pem"), "a", encoding="ascii") as out:
        with open(ca.path("sub.pem"), encoding="ascii") as f:
            out.write(f.read())
    lists = ca.path("lists")
    os.mkdir(lists)

    def take(name):
        with open(ca.path(name), "rb") as f, open(os.path.join(lists, name), "wb") as out:
            out.write(f.read())
    trust = ca.path("trust.pem")
    with open(trust, "w", encoding="ascii") as out:
        for name in ("ca.pem", "sub.pem"):
            with open(ca.path(name), encoding="ascii") as f:
                out.write(f.read())
    take("ca.crl")
    domain = ca.domain("proxy", ca_list=trust, crl_dir=lists, crl_check_all=True)
    d = t.daemon(domain=domain)
    assert refused(t, d, ca.client("peer")) is not None        # no list of the authority between
    ca.pki("crl", "--ca", "sub")
    take("sub.crl")
    d.rpc("reload")
    assert len(d.rpc("crl")["lists"]) == 2
    c = Held("127.0.0.1", d.port("tls"), ca.client("peer"), 20 * t.slow)
    t.wait(lambda: len(d.connections()) == 1, "the connection")
    ca.revoke("sub")
    take("ca.crl")
    assert changed(d.rpc("reload"))["closed"] == 1
    t.wait(lambda: not c.look(), "the connection to end")
    assert c.how == "certificate_revoked", c.how
    c.sock.close()


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(120)
def test_s20_lists_of_authorities_that_peers_bring(t):
    """ca_list names the root alone, crl_check_all demands every list: a peer's chain brings the
    authority between, whose list was there before; who is on it is refused."""
    ca = authority(t)
    certify(ca, "proxy")
    ca.pki("intermediate", "--name", "sub", "--cn", "sub authority")
    for name in ("peer", "gone"):
        certify(ca, name, "--ca", "sub")
        with open(ca.path(name + ".pem"), "a", encoding="ascii") as out:
            with open(ca.path("sub.pem"), encoding="ascii") as f:
                out.write(f.read())
    ca.pki("revoke", "gone", "--ca", "sub")
    lists = ca.path("lists")
    os.mkdir(lists)
    for name in ("ca.crl", "sub.crl"):
        with open(ca.path(name), "rb") as f, open(os.path.join(lists, name), "wb") as out:
            out.write(f.read())
    d = t.daemon(domain=ca.domain("proxy", ca_list=ca.path("ca.pem"), crl_dir=lists,
                                  crl_check_all=True))
    assert len(d.rpc("crl")["lists"]) == 2
    assert refused(t, d, ca.client("peer")) is None
    assert "revoked" in str(refused(t, d, ca.client("gone")))


@pytest.mark.host_only("which list counts is decided in user space")
@pytest.mark.timeout(120)
def test_s20_fetched_lists_of_authorities_that_peers_bring(t):
    """With crl_fetch and the root alone in ca_list the first chain that holds brings the authority and where its list
    is. What another of that name has signed is not taken; a reload keeps what was fetched; who is
    revoked then is cut off."""
    ca, foreign = authority(t, "a"), authority(t, "b")
    for a in (ca, foreign):
        a.pki("intermediate", "--name", "sub", "--cn", "sub authority")
        a.pki("crl", "--ca", "sub")
    point = Point(der_of(foreign, "sub"))
    try:
        certify(ca, "proxy")
        for name in ("peer", "gone"):
            certify(ca, name, "--ca", "sub", "--crl-url", point.url)
            with open(ca.path(name + ".pem"), "a", encoding="ascii") as out:
                with open(ca.path("sub.pem"), encoding="ascii") as f:
                    out.write(f.read())
        domain = dict(crl_fetch=True, ca_list=ca.path("ca.pem"))
        d = t.daemon(domain=ca.domain("proxy", **domain), extra='crl_refresh = "1s"')
        assert refused(t, d, ca.client("peer")) is not None
        d.wait_log(r"could not be fetched.*no authority that a TLS domain knows")
        assert point.asked and not d.rpc("crl")["lists"]
        point.data = der_of(ca, "sub")
        t.wait(lambda: d.rpc("crl")["lists"], "the list to be taken")
        row = d.rpc("crl")["lists"][0]
        assert row["issuer"] == "CN=sub authority" and row["source"] == point.url, row
        peer, gone = [Held("127.0.0.1", d.port("tls"), ca.client(n), 20 * t.slow)
                      for n in ("peer", "gone")]
        t.wait(lambda: len(d.connections()) == 2, "two connections")
        point.data = None                   # the new domain knows the authority from the old one
        d.configure(domain=ca.domain("proxy", verify_depth=5, **domain))
        assert d.rpc("reload")["domains"][0]["change"] == "changed"
        assert [x["issuer"] for x in d.rpc("crl")["lists"]] == ["CN=sub authority"]
        assert peer.look() and gone.look()
        ca.pki("revoke", "gone", "--ca", "sub")
        point.data = der_of(ca, "sub")
        t.wait(lambda: not gone.look(), "the revoked peer's connection to end")
        assert gone.how == "certificate_revoked" and peer.look()
        for c in (peer, gone):
            c.sock.close()
        t.wait(lambda: not d.connections(), "the other one to end")
        assert refused(t, d, ca.client("gone")) == "certificate_revoked"
    finally:
        point.close()


@pytest.mark.host_only("a TLS domain is chosen in the handshake, in user space")
@pytest.mark.timeout(60)
def test_e6_reload_replaces_domains(t):
    """tls_reload: domains come, go and take their place as default in one step, by name."""
    def extra(cert, name):
        return {"certificate": t.pki(cert + ".pem"), "private_key": t.pki(cert + ".key"),
                "verify_cert": False, "require_cert": False, "match_sip_domain": [name]}

    def subject(sni):
        c = s_client(t, d, "-servername", sni)
        found = c.wait_for(rb"subject=CN ?= ?([\w.]+)").group(1).decode()
        c.write(b"Q\n")
        c.ended()
        return found
    d = t.daemon(domains=[("one", extra("biloxi", "one.example"))])
    assert (subject("one.example"), subject("two.example")) == ("biloxi.example", "proxy.example")
    d.configure(domains=[("two", extra("callee", "two.example")),
                         ("default", extra("biloxi", "x.example"))],
                domain={"match_sip_domain": ["lab.example"]}, listen_options={},
                extra='reload_drain = "now"')
    said = {x["name"]: x["change"] for x in d.rpc("tls_reload")["domains"]}
    assert said == {"lab": "changed", "one": "removed", "two": "added", "default": "added"}, said
    assert subject("two.example") == "callee.example"
    assert [x["name"] for x in d.rpc("tls_list")["domains"] if x["fallback"]] == ["default"]
