# SPDX-License-Identifier: Apache-2.0
"""What `tieline ctl` shows of connections, certificates and failed handshakes is what openssl says
of the same certificates; keys are logged only by leave.

Issue items 4.5 (shown), 4.14; FEATURES D14 D22 D36 D40 E3 E17-E23 E28 F10 F14.
"""
import contextlib
import fcntl
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import time

import pytest
from flowlib.steps import options_works
from flowlib.certs import pki
from flowlib.tools import Piped

pytestmark = pytest.mark.host_only("it looks at certificates, configuration and ctl's sentences")

SUBJECT = {"cn": "caller.example", "unit": "Trunks, inbound", "organization": "Atlanta \"VoIP\" Ltd",
           "locality": "Atlanta", "state": "Georgia", "country": "US"}


def shared(t):
    """The laboratory of all tests of this file: starting programs is slow in the machine."""
    return os.path.join(os.path.dirname(t.dir), "look-lab")


@contextlib.contextmanager
def making(t):
    """One test at a time makes certificates; they run in processes of their own."""
    with open(shared(t) + ".lock", "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def lab(t, name):
    return os.path.join(shared(t), name)


def authority(t, name, *args):
    with making(t):
        if not os.path.exists(lab(t, name + ".pem")):
            pki(t, shared(t), "root-ca", "--name", name, *args)


def certificate(t, name, *args, ca="ca", revoked=False):
    """Made once; a name stands for the same certificate in every test."""
    authority(t, "ca", "--cn", "Lab root", "--organization", "Roots", "--country", "DE")
    with making(t):
        if not os.path.exists(lab(t, name + ".pem")):
            pki(t, shared(t), "cert", "--name", name, "--ca", ca, *args)
            if revoked:
                pki(t, shared(t), "revoke", name)


def rich(t, name="rich"):
    """A certificate with everything that can be shown."""
    args = []
    for key, value in SUBJECT.items():
        args += ["--" + key, value]
    certificate(t, name, "--domain", "caller.example", "--uri", "sip:alice@caller.example",
                "--email", "noc@caller.example", "--ip", "192.0.2.7", "--ip", "2001:db8::7",
                "--dns", "second.example", *args)


def openssl(t, name, *args):
    p = subprocess.run(["openssl", "x509", "-in", lab(t, name + ".pem"), "-noout"] + list(args),
                       capture_output=True, text=True, check=True, timeout=60)
    return p.stdout


def context(t, name=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.load_verify_locations(lab(t, "ca.pem"))
    if name:
        ctx.load_cert_chain(lab(t, name + ".pem"), lab(t, name + ".key"))
    return ctx


def daemon(t, domain=None, **kw):
    """A daemon with a certificate of the laboratory that checks its clients."""
    certificate(t, "mine", "--domain", "proxy.example", "--ip", "127.0.0.1", "--organization",
                "Proxies", "--locality", "Kiel")
    options = {"certificate": lab(t, "mine.pem"), "private_key": lab(t, "mine.key"),
               "ca_list": lab(t, "ca.pem"), "verify_cert": True, "require_cert": True}
    options.update(domain or {})
    return t.daemon(domain=options, **kw)


def connect(t, d, name=None, agent=None):
    return t.dial(agent or t.uac(), d, "tls", ctx=context(t, name))


def raw_connection(d):
    return socket.create_connection(("127.0.0.1", d.port("tls")), 20 * d.env.slow)


def shown(d, n=1):
    """The one connection, as `connection ID` gives it."""
    d.env.wait(lambda: len(d.connections()) == n, "%d connections" % n)
    return d.rpc("connection", {"id": d.connections()[0]["id"]})


def both(t):
    rich(t)
    d = daemon(t)
    conn = connect(t, d, "rich")
    return d, conn, shown(d)


@pytest.mark.kernel_tls
def test_e17_version_and_cipher_of_a_connection(t):
    _, conn, j = both(t)
    tls, mine = j["tls"], conn.tls.cipher()
    assert tls["version"] == "TLSv1.3" and tls["cipher_bits"] in (128, 256), tls
    assert tls["description"] == "%s %s (%d bits)" % (tls["version"], tls["cipher"],
                                                      tls["cipher_bits"]), tls
    assert mine[2] == tls["cipher_bits"] and mine[1] == tls["version"], (mine, tls)
    assert isinstance(tls["ktls_tx"], bool) and tls["ktls_tx_reason"], tls


def test_e18_serial_version_subject_issuer(t):
    """Of both certificates, as openssl prints them."""
    _, _, j = both(t)
    for name, key in (("rich", "peer_certificate"), ("mine", "my_certificate")):
        c = j["tls"][key]
        text = openssl(t, name, "-serial", "-subject", "-issuer", "-nameopt", "RFC2253,-esc_msb")
        assert "serial=%s\n" % c["serial"] in text, (text, c)
        assert int(c["serial"], 16) == int(c["serial_decimal"]), c
        assert "subject=%s\n" % c["subject"] in text, (text, c)
        assert "issuer=%s\n" % c["issuer"] in text, (text, c)
        assert "Version: %s " % c["version"] in openssl(t, name, "-text"), c
        digest = openssl(t, name, "-fingerprint", "-sha256").split("=")[1].strip()
        assert digest.replace(":", "").lower() == c["cert_sha256"], c


def test_e19_parts_of_subject_and_issuer(t):
    _, _, j = both(t)
    c = j["tls"]["peer_certificate"]
    assert {k: c["subject_" + k] for k in SUBJECT} == SUBJECT, c
    assert (c["issuer_cn"], c["issuer_organization"], c["issuer_country"]) == (
        "Lab root", "Roots", "DE"), c
    assert c["issuer_locality"] == c["issuer_state"] == c["issuer_unit"] == "", c
    assert j["tls"]["my_certificate"]["subject_locality"] == "Kiel", j


def test_e20_all_alternative_names(t):
    _, _, j = both(t)
    san = j["tls"]["peer_certificate"]["san"]
    text = openssl(t, "rich", "-ext", "subjectAltName")
    assert sorted(san["dns"]) == sorted(re.findall(r"DNS:([^,\s]+)", text)), (san, text)
    assert sorted(san["uri"]) == sorted(re.findall(r"URI:([^,\s]+)", text)), (san, text)
    assert san["email"] == re.findall(r"email:([^,\s]+)", text), (san, text)
    assert len(san["dns"]) == 2 and len(san["uri"]) == 2, san
    assert [x.strip("[]") for x in san["ip"]] == ["192.0.2.7", "2001:db8::7"], san


def test_e21_verified_revoked_expired_selfsigned(t):
    """What a domain lets pass unverified is shown with the reason it is not."""
    certificate(t, "good", "--domain", "good.example")
    certificate(t, "expired", "--domain", "old.example", "--from", "2020-01-01", "--until",
                "2021-01-01")
    certificate(t, "revoked", "--domain", "gone.example", revoked=True)
    authority(t, "selfsigned", "--cn", "nobody.example")
    d = daemon(t, {"on_unverified": "accept", "crl_file": lab(t, "ca.crl")})
    flags = ("verified", "revoked", "expired", "selfsigned")
    for name, want in (("good", "verified"), ("expired", "expired"), ("revoked", "revoked"),
                       ("selfsigned", "selfsigned")):
        conn = connect(t, d, name)
        j = shown(d)
        c = j["tls"]["peer_certificate"]
        assert [f for f in flags if c[f]] == [want], (name, c)
        assert j["tls"]["verified"] == (name == "good"), (name, j)
        assert (c["verify_code"] == 0) == (name == "good") and c["verify"], c
        assert (c["anchor"] == "") == (name != "good"), c
        conn.close()
        t.wait(lambda: not d.connections(), "the end of the connection")


def test_e22_validity_and_seconds_left(t):
    _, _, j = both(t)
    for name, key in (("rich", "peer_certificate"), ("mine", "my_certificate")):
        c = j["tls"][key]
        text = openssl(t, name, "-dates", "-dateopt", "iso_8601")
        want = re.search(r"notBefore=(.*)Z\nnotAfter=(.*)Z", text).groups()
        assert c["not_before"] == want[0].replace(" ", "T") + "Z", (text, c)
        assert c["not_after"] == want[1].replace(" ", "T") + "Z", (text, c)
        end = subprocess.run(["date", "-ud", c["not_after"], "+%s"], capture_output=True,
                             text=True, check=True).stdout
        assert abs(int(end) - time.time() - c["seconds_left"]) < 60 * t.slow, c


@pytest.mark.kernel_tls
def test_e23_connection_prints_all(t):
    """The table holds every value of the JSON; the dump of one connection that OpenSER's
    documentation makes with 46 variables. Both roles: a connection that we opened, too."""
    rich(t)
    certificate(t, "callee", "--domain", "callee.example", "--ip", "127.0.0.1")
    d = daemon(t)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(lab(t, "callee.pem"), lab(t, "callee.key"))
    server.load_verify_locations(lab(t, "ca.pem"))
    server.verify_mode = ssl.CERT_REQUIRED
    alice, bob = t.uac(), t.uas("tls", ctx=server)
    options_works(t, d, alice, connect(t, d, "rich", alice), t.uri(bob, "tls"))
    t.wait(lambda: len(d.connections()) == 2, "both connections")
    for c in d.connections():
        j = d.rpc("connection", {"id": c["id"]})
        peer = {"in": "rich", "out": "callee"}[j["direction"]]
        serial = openssl(t, peer, "-serial").strip().split("=")[1]
        assert j["tls"]["peer_certificate"]["serial"] == serial, j
        table = d.ctl("connection", c["id"]).stdout
        for part in (j, j["tls"], j["tls"]["peer_certificate"], j["tls"]["my_certificate"]):
            for key, value in part.items():
                if isinstance(value, str) and value and not key.endswith("_ms"):
                    assert value in table, (key, value, table)
        for kind, names in j["tls"]["peer_certificate"]["san"].items():
            assert all(n in table for n in names), (kind, names, table)


@pytest.mark.kernel_tls
def test_4_14_connections_filtered(t):
    certificate(t, "one", "--domain", "one.example")
    certificate(t, "two", "--domain", "two.example")
    d = daemon(t, peers=[("carrier", {"uri": "sip:127.0.0.1:9;transport=tls",
                                      "identity": "one.example"}),
                         ("elsewhere", {"uri": "sip:127.0.0.2:9;transport=tls",
                                        "identity": "two.example"})],
               domains=[("other", {"role": "client", "ca_list": t.pki("ca.pem")})],
               listen=("tls", "tcp"))
    conns = [connect(t, d, "one"), connect(t, d, "two"), t.dial(t.uac(), d, "tcp")]
    t.wait(lambda: len(d.connections()) == 3, "three connections")

    def found(**params):
        r = d.rpc("connections", params)
        assert r["total"] == r["shown"] == len(r["connections"]), r
        return sorted((c["tls"] or {}).get("identity", "tcp") for c in r["connections"])
    assert found(identity="one.example") == ["CN=one.example"]
    assert found(identity="TWO.exam") == ["CN=two.example"]
    assert found(identity="three.example") == []
    assert found(domain="lab") == ["CN=one.example", "CN=two.example"]
    assert found(domain="other") == []
    assert found(peer="127.0.0.1") == ["CN=one.example", "CN=two.example", "tcp"]
    assert found(peer="127.0.0.9") == []
    assert found(peer="elsewhere") == ["CN=two.example"], "by identity"
    one = d.rpc("connections", {"identity": "one.example"})["connections"][0]
    assert found(peer=one["peer"]) == ["CN=one.example"], "address with port"
    assert found(peer="carrier", domain="lab", identity="two") == ["CN=two.example"]
    for words in (("--identity", "one.example"), ("--identity=one.example",),
                  ("identity=one.example",)):
        out = d.ctl("connections", *words).stdout
        assert "1 of 1 connections" in out and "CN=two" not in out, out
    assert d.ctl("connections", "--peer", "nobody", check=False).returncode == 1
    assert d.ctl("connections", "--peer", check=False).returncode == 1
    for c in conns:
        c.close()


@pytest.mark.kernel_tls
def test_4_14_close_a_connection(t):
    """It ends with close_notify, and nobody else's does."""
    rich(t)
    d = daemon(t)
    agents = [t.uac(), t.uac()]
    conns = [connect(t, d, "rich", a) for a in agents]
    t.wait(lambda: len(d.connections()) == 2, "two connections")
    ends = {c["peer"]: c["id"] for c in d.connections()}
    port = conns[0].sock.getsockname()[1]
    r = d.rpc("close", {"id": ends["127.0.0.1:%d" % port]})
    assert r["closing"] is True, r
    t.wait(lambda: len(d.connections()) == 1, "the end of one connection")
    assert d.connections()[0]["peer"] != "127.0.0.1:%d" % port
    d.wait_log("closed because ctl asked")
    for bad in ({"id": "zz"}, {"id": ""}, {}, {"id": "ff00000000000000"}, {"id": 1},
                {"id": ends["127.0.0.1:%d" % port]}):
        for command in ("close", "connection"):
            rsp = d.rpc_raw('{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}' % (
                command, str(bad).replace("'", '"')))
            assert rsp["error"]["code"] in (-32602, -32000), (bad, rsp)
    bob = t.uas("tcp")
    options_works(t, d, agents[1], conns[1], t.uri(bob, "tcp"))


def test_4_14_help_of_a_command(t):
    d = t.daemon()
    out = d.ctl("help", "connection").stdout
    assert out.startswith("connection ") and len(out.splitlines()) == 1, out
    assert d.ctl("help", "nonsense", check=False).returncode == 1
    names = [c["name"] for c in d.rpc("help")["commands"]]
    assert names == sorted(names), names
    for name in names:
        assert [c["name"] for c in d.rpc("help", {"command": name})["commands"]] == [name]


def test_f10_failed_handshakes_by_cause_and_peer(t):
    """Each failure is kept with peer, domain, reason, certificate and alert; counts agree."""
    certificate(t, "expired", "--domain", "old.example", "--from", "2020-01-01", "--until",
                "2021-01-01")
    d = daemon(t)
    assert d.rpc("handshakes")["total"] == 0
    assert "No TLS handshake has failed" in d.ctl("handshakes", "failed").stdout
    want = 0
    for name, cause, alert in (("expired", "verify", "certificate_expired"),
                               (None, "verify", "certificate_required"),
                               ("expired", "verify", "certificate_expired")):
        want += 1
        try:
            connect(t, d, name)
        except (ssl.SSLError, OSError):
            pass
        t.wait(lambda: d.rpc("handshakes")["total"] == want, "%d failures" % want)
        last = d.rpc("handshakes", {"what": "failed"})["failed"][0]
        assert (last["cause"], last["alert_sent"]) == (cause, alert), last
        assert last["domain"] == "lab" and last["role"] == "server", last
        assert last["peer"].startswith("127.0.0.1:") and last["number"] == want, last
        assert (last["verify"] or {}).get("subject", "") == ("CN=old.example" if name else ""), last
    with raw_connection(d) as s:
        s.sendall(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
        t.wait(lambda: d.rpc("handshakes")["total"] == 4, "the one that spoke no TLS")
    r = d.rpc("handshakes")
    assert r["causes"]["verify"] == 3 and r["causes"]["not_tls"] == 1, r
    assert [(p["peer"], p["cause"], p["count"]) for p in r["peers"]] == [
        ("127.0.0.1", "verify", 3), ("127.0.0.1", "not_tls", 1)], r
    assert d.counter("handshakes.failed.verify") == 3
    r = d.rpc("handshakes", {"cause": "not_tls"})
    assert len(r["failed"]) == 1 and "OPTIO" in r["failed"][0]["reason"], r
    assert not d.rpc("handshakes", {"peer": "127.0.0.9"})["failed"]
    assert len(d.rpc("handshakes", {"limit": 2})["failed"]) == 2
    out = d.ctl("handshakes", "failed", "--cause", "verify").stdout
    assert "certificate has expired" in out and "CN=old.example" in out, out
    assert d.ctl("handshakes", "failed", "--cause", "whim", check=False).returncode == 1
    assert d.ctl("handshakes", "done", check=False).returncode == 1


def test_f10_the_last_failures_are_bounded(t):
    """More failures than are kept: the newest stay, the numbers go on."""
    d = daemon(t)
    for i in range(270):
        with raw_connection(d) as s:
            try:        # wait for its end, however it comes
                s.sendall(b"no TLS at all\r\n")
                s.recv(1)
            except ConnectionError:
                pass
    t.wait(lambda: d.rpc("handshakes")["total"] == 270, "270 failures")
    r = d.rpc("handshakes")
    numbers = [f["number"] for f in r["failed"]]
    assert numbers == list(range(270, 270 - 256, -1)), numbers
    assert r["peers"][0]["count"] == 270, r["peers"]


@pytest.mark.kernel_tls
def test_d22_memory_of_a_connection(t):
    """Each connection says what it holds, the process what a connection costs it."""
    rich(t)
    d = daemon(t)
    n = 105 if t.slow == 1 else 10      # handshakes take long on an emulated processor
    conns = [connect(t, d, "rich", t.uac(name="u%d" % i)) for i in range(n)]
    t.wait(lambda: len(d.connections()) == n, "%d connections" % n)
    each = [c["memory_bytes"] for c in d.connections()]
    assert all(0 < m < 8192 for m in each), each
    process = d.rpc("stats")["process"]
    assert process["connections"] == n, process
    if n > 100:
        assert process["bytes_per_connection"] > 0, process
    assert re.search(r"MEMORY +KERNEL *\n(.* \d+ *\n)+%d of %d" % (n, n), d.ctl("connections").stdout)
    assert "kernel_bytes" in d.ctl("connection", d.connections()[0]["id"]).stdout
    assert "memory_bytes" in d.ctl("connection", d.connections()[0]["id"]).stdout
    for c in conns:
        c.close()


@pytest.mark.kernel_tls
@pytest.mark.parametrize("transport", ("tcp", "tls"))
def test_d22_kernel_memory_of_a_connection(t, transport):
    """What a caller does not read lies in our socket, and ctl connections says how much."""
    d, alice = t.daemon(), t.uac()
    conn = t.dial(alice, d, transport)
    t.wait(lambda: len(d.connections()) == 1, "the connection")
    assert d.connections()[0]["kernel_bytes"] < 65536
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        body, made = b"x" * 100000, []
        uri = "sip:x@127.0.0.1:%d;transport=tcp" % dumb.getsockname()[1]
        for _ in range(80):             # its backlog takes the connection, nobody reads
            made.append(alice.make(conn, "MESSAGE", uri, body=body)[0])
        conn.send(b"".join(made))

        def queued():
            return [c for c in d.connections() if c["direction"] == "out" and
                    c["kernel_bytes"] > 65536]
        t.wait(queued, "bytes in the socket toward the one that does not read")
        out = queued()[0]
        assert re.search(r"\b%s\b" % out["id"], d.ctl("connections").stdout)
    conn.close()


def test_d40_version_is_what_a_bug_report_needs(t):
    p = subprocess.run([t.tieline, "--version"], capture_output=True, text=True, check=True,
                       timeout=60 * t.slow)
    openssl_version = subprocess.run(["openssl", "version"], capture_output=True, text=True,
                                     check=True).stdout.split()[1]
    assert os.uname().release in p.stdout and openssl_version in p.stdout, p.stdout
    ktls = [x for x in p.stdout.splitlines() if x.startswith("ktls")]
    if t.kernel_tls:
        for version in ("TLSv1.2", "TLSv1.3"):
            line = next(x for x in ktls if version in x)
            assert "send" in line and "receive" in line and "AES-128-GCM" in line, line
    else:
        assert len(ktls) == 1 and " no: " in ktls[0], ktls
    d = t.daemon()
    v = d.rpc("version")
    assert v["kernel"] == os.uname().release and openssl_version in v["openssl"], v
    assert v["kernel_tls"] == t.kernel_tls, v


def test_e3_show_config_tells_the_defaults_in_force(t):
    """What the daemon prints of its configuration is what check prints of the file."""
    d = t.daemon()
    shown_text = d.ctl("show", "config").stdout
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       check=True, timeout=60 * t.slow)
    assert shown_text == p.stdout
    assert re.search(r"^  verify_depth = \d+$", shown_text, re.M), shown_text
    assert re.search(r"^allow_keylog = false$", shown_text, re.M), shown_text
    assert "# who encrypts" in d.ctl("show", "config", "explain").stdout
    assert d.ctl("show", "secrets", check=False).returncode == 1


def test_d14_show_config_tells_what_was_inherited(t):
    d = t.daemon(domains=[("default", {"ca_list": t.pki("ca.pem"), "verify_depth": 3}),
                          ("heir", {"role": "client", "match_sip_domain": ["heir.example"]})])
    text = d.rpc("show", {"what": "config"})["config"]
    heir = text[text.index('tls_domain "heir"'):]
    heir = heir[:heir.index("\n}")]
    assert "verify_depth = 3" in heir and t.pki("ca.pem") in heir, heir


# -- key log


def tshark(t, capture, keys, port, *args):
    p = subprocess.run([t.need("tshark"), "-n", "-r", capture, "-o", "tls.keylog_file:" + keys, "-d",
                        "tcp.port==%d,tls" % port, "-d", "tls.port==%d,sip" % port] + list(args),
                       capture_output=True, text=True, timeout=120, check=False)
    assert p.returncode == 0, p.stderr
    return p.stdout


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_d36_keylog_decrypts_a_capture(t):
    """Keys logged by us let tshark read what was captured, of TLS 1.3 and 1.2; the file is ours
    alone; of a connection made after it ended nothing can be read."""
    t.need("tshark")
    keys, capture = os.path.join(t.dir, "keys"), os.path.join(t.dir, "capture.pcapng")
    d = t.daemon(extra="allow_keylog = true\nkeylog_file = \"%s\"" % keys)
    port = d.port("tls")
    sniffer = Piped(t, [t.need("dumpcap"), "-q", "-i", "lo", "-w", capture, "-f",
                        "tcp port %d" % port])
    sniffer.wait_for(rb"File:", "dumpcap to start")
    bob = t.uas("tcp")

    def say(user, **kw):
        alice = t.uac()
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(**kw))
        options_works(t, d, alice, conn, t.uri(bob, "tcp", user=user))
        conn.close()
    say("before")
    assert d.rpc("keylog", {"switch": "on", "peer": "127.0.0.0/8", "for": "10m"})["on"] is True
    d.wait_log("TLS keys of new connections are written")
    say("during13")
    say("during12", version=ssl.TLSVersion.TLSv1_2)
    s = d.rpc("keylog", {"switch": "off"})
    assert s["on"] is False and s["connections"] == 2 and s["lines"] >= 5, s
    d.wait_log("no longer written.*ctl asked")
    say("after")
    t.wait(lambda: not d.rpc("connections", {"domain": "lab"})["connections"], "the end of all")
    time.sleep(0.3 * t.slow)
    sniffer.proc.terminate()
    sniffer.ended()
    assert stat.S_IMODE(os.stat(keys).st_mode) == 0o600
    with open(keys, encoding="ascii") as f:
        for line in f:
            assert re.fullmatch(r"[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]+\n", line), line
    seen = tshark(t, capture, keys, port, "-Y", "sip.Method", "-T", "fields", "-e", "sip.r-uri.user")
    assert set(seen.split()) == {"during13", "during12"}, seen


def test_e28_keylog_only_by_leave_for_that_peer_and_time(t):
    """Refused without allow_keylog; other peers are not logged; it ends by itself; a file that
    others can read is refused; check names what is missing."""
    d = t.daemon()
    rsp = d.rpc_raw('{"jsonrpc":"2.0","id":1,"method":"keylog","params":'
                    '{"switch":"on","peer":"127.0.0.1"}}')
    assert rsp["error"]["code"] == -32000 and "allow_keylog" in rsp["error"]["message"], rsp
    text = d.config()
    keys = os.path.join(t.dir, "keys")
    d.write("allow_keylog = true\n" + text)
    p = d.ctl("reload", check=False)
    assert p.returncode == 1 and "allow_keylog needs keylog_file" in p.stderr, p
    d.write("allow_keylog = true\nkeylog_file = \"%s\"\n%s" % (keys, text))
    d.ctl("reload")
    with open(keys, "w", encoding="ascii"):
        os.chmod(keys, 0o644)
    def refused(**params):
        rsp = d.rpc_raw(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "keylog",
                                    "params": params}))
        return rsp["error"]["message"]
    assert "0600" in refused(switch="on", peer="127.0.0.9")
    os.chmod(keys, 0o600)
    for bad in ({}, {"peer": "somebody"}, {"peer": "127.0.0.1", "for": "2h"},
                {"peer": "127.0.0.1", "for": "soon"}):
        assert refused(switch="on", **bad), bad
    assert refused(switch="perhaps")
    assert d.rpc("keylog")["on"] is False
    assert d.ctl("keylog", "on", "--peer", "127.0.0.9", "--for", "1h").stdout.startswith("on ")
    assert "already" in refused(switch="on", peer="127.0.0.1"), "one at a time"
    t.dial(t.uac(), d, "tls").close()
    s = d.rpc("keylog", {"switch": "off"})
    assert s["on"] is False and s["connections"] == 0 and os.path.getsize(keys) == 0, s
    d.rpc("keylog", {"switch": "on", "peer": "127.0.0.9", "for": "1s"})
    d.wait_log("no longer written.*time is over", timeout_s=30)
    assert d.rpc("keylog")["on"] is False
    d.rpc("keylog", {"switch": "on", "peer": "127.0.0.1", "for": "1h"})
    d.write(text)
    d.ctl("reload")
    d.wait_log("no longer written.*permit")
    assert "secret" not in d.log().lower()


# -- explain


def test_d15_explain_tls_tells_what_a_client_gets(t):
    """For each kind of rule: the domain that explain names is the one whose certificate openssl
    s_client is then shown; the table gives every candidate a reason."""
    for name in ("fallback", "exact", "wild", "twin"):
        certificate(t, name, "--domain", name + ".example")
    authority(t, "other-ca", "--cn", "Other root")
    certificate(t, "twin2", "--domain", "twin2.example", ca="other-ca")

    def block(name, cert, **kw):
        return (name, dict({"certificate": lab(t, cert + ".pem"), "private_key": lab(t, cert + ".key"),
                            "ca_list": lab(t, "ca.pem"), "verify_cert": False,
                            "require_cert": False}, **kw))
    d = t.daemon(listen_options={"tls_domain": "listener"}, listen=("tls",), domain=None, domains=[
        block("listener", "fallback"),
        block("exact", "exact", match_sip_domain=["exact.example"]),
        block("wild", "wild", match_sip_domain=["*.wild.example"]),
        block("twin", "twin", match_sip_domain=["twin.example"]),
        block("twin2", "twin2", match_sip_domain=["twin.example"])])
    listener = "127.0.0.1:%d" % d.port("tls")
    for sni, ca, want, rule in (("exact.example", None, "exact", "name_exact"),
                                ("EXACT.example", None, "exact", "name_exact"),
                                ("a.wild.example", None, "wild", "name_wildcard"),
                                ("a.b.wild.example", None, "listener", "listener"),
                                ("", None, "listener", "listener"),
                                ("twin.example", None, "twin", "name_exact"),
                                ("twin.example", "ca", "twin", "name_exact"),
                                ("twin.example", "other-ca", "twin2", "name_exact")):
        words = ["--listener", listener] + (["--sni", sni] if sni else [])
        argv = ["openssl", "s_client", "-connect", listener] + (
            ["-servername", sni] if sni else ["-noservername"])
        if ca:
            words += ["--ca-names", lab(t, ca + ".pem")]
            argv += ["-requestCAfile", lab(t, ca + ".pem")]
        r = json.loads(d.ctl("explain", "tls", "--json", *words).stdout)
        assert (r["domain"], r["rule"]) == (want, rule), (sni, ca, r)
        assert r["by_authority"] == (ca is not None), (sni, ca, r)
        assert [c["domain"] for c in r["candidates"] if c["chosen"]] == [want], r
        assert all(c["why"] for c in r["candidates"]) and len(r["candidates"]) == 6, r
        table = d.ctl("explain", "tls", *words).stdout
        assert re.search(r"^-> +%s " % want, table, re.M), table
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           check=False, timeout=60 * t.slow)
        shown_name = re.search(r"subject=CN ?= ?(\S+)\.example", p.stdout).group(1)
        assert shown_name == {"listener": "fallback"}.get(want, want), (sni, ca, shown_name)
    for bad in (("--listener", "127.0.0.1:1"), ("--listener", "nowhere"),
                ("--ca-names", lab(t, "ca.key")), ("--ca-names", "/nonexistent")):
        assert d.ctl("explain", "tls", *bad, check=False).returncode == 1, bad
    assert d.ctl("explain", "weather", check=False).returncode == 1


def test_d15_explain_tls_for_a_destination(t):
    """The TLS domain of a connection that we open: by the domain asked for, its address, the
    default; and who names one by himself."""
    certificate(t, "good", "--domain", "good.example")
    base = {"role": "client", "ca_list": lab(t, "ca.pem")}
    d = t.daemon(domains=[
        ("default", {"ca_list": lab(t, "ca.pem")}),
        ("federation", dict(base, match_sip_domain=["biloxi.example", "*.federation.example"])),
        ("byaddress", dict(base, match_ip_address=["192.0.2.9"]))],
        peers=[("carrier", {"uri": "sip:biloxi.example;transport=tls", "tls_domain": "byaddress"})],
        routes=[("all", {"relay": "request-uri"})])

    def ask(**params):
        r = d.rpc("explain", dict(params, what="tls"))
        return r["domain"], r["rule"]
    assert ask(to="biloxi.example") == ("federation", "name_exact")
    assert ask(to="x.federation.example") == ("federation", "name_wildcard")
    assert ask(to="chicago.example") == ("default", "default")
    assert ask(to="chicago.example", address="192.0.2.9") == ("byaddress", "address")
    assert ask(to="192.0.2.9", address="192.0.2.9:5061") == ("byaddress", "address")
    r = d.rpc("explain", {"what": "tls", "to": "biloxi.example"})
    assert r["named_by"] == [{"what": "peer", "name": "carrier", "domain": "byaddress"}], r
    out = d.ctl("explain", "tls", "--to", "biloxi.example").stdout
    assert 'gets "federation", by name_exact' in out and 'peer "carrier"' in out, out
    assert d.ctl("explain", "tls", "--to", "x", "--address", "here", check=False).returncode == 1


def test_e5_tls_list_tells_certificates_and_policy(t):
    """Serial number, names, validity and fingerprints of each domain's own certificate, as openssl
    has them."""
    d = daemon(t)
    mine = next(x for x in d.rpc("tls_list")["domains"] if x["name"] == "lab")
    c = mine["certificate"]
    text = openssl(t, "mine", "-serial", "-subject", "-issuer", "-fingerprint", "-sha256",
                   "-nameopt", "RFC2253,-esc_msb")
    assert "serial=%s\n" % c["serial"] in text and mine["serial"] == c["serial"], (text, mine)
    assert "subject=%s\n" % c["subject"] in text and "issuer=%s\n" % c["issuer"] in text, (text, c)
    digest = re.search(r"Fingerprint=(\S+)", text).group(1).replace(":", "").lower()
    assert c["cert_sha256"] == digest and c["seconds_left"] > 86400 * 300, c
    assert (mine["verify_cert"], mine["require_cert"], mine["roles"]) == (
        True, True, ["server", "client"]), mine
    table = d.ctl("tls_list").stdout
    assert c["serial"] in table and "CN=proxy.example" in table, table


def test_f9_explain_request_tells_the_route_that_is_taken(t):
    """Which peer and route take a request, and why not the others: as a real request then fares.
    Asking sends nothing and counts nothing."""
    certificate(t, "trunk", "--domain", "trunk.example")
    certificate(t, "guest", "--domain", "guest.example")
    bob, carol = t.uas("tcp", name="bob"), t.uas("tcp", name="carol")

    def tcp(agent):
        return "sip:%s;transport=tcp" % agent.listener("tcp").hostport
    d = daemon(t, peers=[("bob", {"uri": tcp(bob)}), ("carol", {"uri": tcp(carol)}),
                         ("trunk", {"uri": "sip:trunk.example;transport=tls"})],
               routes=[("abroad", {"to_prefix": "+49", "from_peer": "trunk", "peers": "bob"}),
                       ("named", {"to_domain": ["biloxi.example"], "peers": "carol"}),
                       ("trusted", {"from_peer": "trunk", "peers": ["carol", "bob"]})],
               extra="domains = { \"biloxi.example\" }")
    agents = {name: t.uac(name=name) for name in ("trunk", "guest")}
    conns = {name: connect(t, d, name, agents[name]) for name in agents}
    t.wait(lambda: len(d.connections()) == 2, "two connections")
    ids = {c["tls"]["identity"]: c["id"] for c in d.connections()}
    # the handshakes and the first search for the trunk's name count until they are done
    t.wait(lambda: d.counter("handshakes.now") == 0 < d.counter("dns.failed"), "nothing to go on")
    before = d.counters()
    for who, uri, route, target, status in (
            ("trunk", "sip:+4930123@elsewhere.example", "abroad", bob, None),
            ("guest", "sip:+4930123@elsewhere.example", None, None, 403),
            ("guest", "sip:+4930123@biloxi.example", "named", carol, None),
            ("trunk", "sip:1000@elsewhere.example", "trusted", carol, None)):
        sender = "sip:x@%s.example" % who
        r = d.rpc("explain", {"what": "request", "uri": uri, "from": sender, "method": "MESSAGE",
                              "connection": ids["CN=%s.example" % who]})
        assert r["route"] == route and r["status"] == status, (who, uri, r)
        assert r["trust"] == "verified" and r["identity"] == "CN=%s.example" % who, r
        assert r["source_peer"] == ("trunk" if who == "trunk" else None), r
        assert [x["route"] for x in r["routes"]] == ["abroad", "named", "trusted"], r
        assert [x["route"] for x in r["routes"] if x["chosen"]] == ([route] if route else []), r
        assert all(x["why"] for x in r["routes"]), r
        if target:
            assert r["outcome"] == "forwarded" and r["targets"][0]["peer"] == target.name, r
            assert r["targets"][0]["address"] == target.listener("tcp").hostport, r
        else:
            assert r["outcome"] == "refused" and r["reason"] and not r["targets"], r
    after = d.counters()
    changed = {k for k in after if after[k] != before[k] and not re.match(r"turns|mail", k)}
    assert not changed, changed
    assert "refused because" not in d.log() and not bob.count("MESSAGE") + carol.count("MESSAGE")
    real = agents["trunk"].request(conns["trunk"], "MESSAGE", "sip:+4930123@elsewhere.example",
                                   from_="sip:x@trunk.example", body=b"x")
    assert real.status == 200 and bob.count("MESSAGE") == 1, real
    real = agents["guest"].request(conns["guest"], "MESSAGE", "sip:+4930123@elsewhere.example",
                                   from_="sip:x@guest.example", body=b"x")
    assert real.status == 403, real


def test_f9_explain_request_of_a_long_table(t):
    """The worker that answers judges what the request could have taken, not ten thousand routes."""
    bob = t.uas("tcp", name="bob")
    routes = [("n%d" % i, {"to_prefix": "+%d" % (10000 + i), "peers": "bob"}) for i in range(2000)]
    routes += [("short", {"to_prefix": "+1", "from_peer": "pbx", "peers": "bob"}),
               ("rest", {"from_peer": "pbx", "peers": "bob"})]
    d = t.daemon(peers=[("bob", {"uri": "sip:%s;transport=tcp" % bob.listener("tcp").hostport}),
                        ("pbx", {"uri": "sip:127.0.0.5:5080;transport=udp"})], routes=routes)

    def ask(user):
        r = d.rpc("explain", {"what": "request", "uri": "sip:%s@biloxi.example" % user,
                              "source": "127.0.0.5:5080"})
        assert r["routes_left_out"] == len(routes) - len(r["routes"]), r
        return r["route"], [x["route"] for x in r["routes"]]
    assert ask("+119995") == ("n1999", ["n1999", "short", "rest"])
    assert ask("+1") == ("short", ["short", "rest"])
    assert ask("x") == ("rest", ["rest"])
    out = d.ctl("explain", "request", "--uri", "sip:x@biloxi.example", "--source",
                "127.0.0.5:5080").stdout
    assert "2001 more routes" in out, out


def test_f9_explain_request_by_address(t):
    """A source that is not connected; a name that must be looked up first; what is not a question."""
    bob = t.uas("tcp", name="bob")
    d = t.daemon(peers=[("bob", {"uri": "sip:%s;transport=tcp" % bob.listener("tcp").hostport}),
                        ("pbx", {"uri": "sip:127.0.0.5:5080;transport=udp",
                                 "domains": "atlanta.example"})],
                 routes=[("out", {"from_peer": "pbx", "peers": "bob"}),
                         ("local", {"to_domain": ["nowhere.invalid"], "relay": "request-uri"})])

    def ask(**params):
        return d.rpc("explain", dict({"what": "request"}, **params))
    r = ask(uri="sip:bob@biloxi.example", source="127.0.0.5:5080")
    assert (r["route"], r["source_peer"], r["outcome"]) == ("out", "pbx", "forwarded"), r
    r = ask(uri="sip:bob@biloxi.example", source="127.0.0.6")
    assert r["status"] == 403 and r["source_peer"] is None and r["route"] is None, r
    r = ask(uri="sip:bob@biloxi.example", source="127.0.0.5:5080", route="sip:evil.example;lr")
    assert (r["route"], r["reason"]) == ("out", "Preloaded Route Not Allowed"), r
    r = ask(uri="sip:bob@nowhere.invalid", source="127.0.0.6")
    assert (r["route"], r["resolve"]) == ("local", "nowhere.invalid"), r
    r = ask(uri="sip:127.0.0.1:%d" % d.port("tcp"), source="127.0.0.6", method="OPTIONS")
    assert (r["outcome"], r["status"]) == ("answered here", 200), r
    out = d.ctl("explain", "request", "--uri", "sip:bob@biloxi.example", "--source",
                "127.0.0.5").stdout
    assert "comes from peer pbx" in out and 'by route "out"' in out, out
    assert re.search(r"^-> +out +the first that fits$", out, re.M), out
    out = d.ctl("explain", "request", "--uri", "sip:bob@biloxi.example").stdout
    assert "It is refused: 403" in out, out
    r = ask(uri="sip:bob@biloxi.example", source="127.0.0.5:5080", **{"from": "sip:a@b.example"})
    assert r["status"] == 403 and r["routes"][0]["why"].startswith("it fits, but the request"), r
    for bad in ({}, {"uri": "sip:a b"}, {"uri": "sip:bob@x\r\nVia: y"}, {"uri": "nonsense"},
                {"uri": "sip:bob@x", "route": "sip:a>,<sip:b"},
                {"uri": "sip:bob@x", "source": "somewhere"}, {"uri": "sip:bob@x", "transport": "ws"},
                {"uri": "sip:bob@x", "connection": "0100000000000077"},
                {"uri": "sip:bob@x", "connection": "zz"}, {"uri": "sip:%s@x" % ("b" * 3000)}):
        rsp = d.rpc_raw(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "explain",
                                    "params": dict(bad, what="request")}))
        assert rsp.get("error", {}).get("code") in (-32602, -32000) or \
            rsp["result"]["status"] in (400, 416), (bad, rsp)
