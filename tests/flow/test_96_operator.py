# SPDX-License-Identifier: Apache-2.0
"""Rows of the feature list as an operator meets them: what he writes into the configuration, what
openssl and GnuTLS see from outside, what `tieline check` and `tieline ctl` say.

FEATURES a1 a3 a4 c3 c4 c8 d1-d3 d7 d13 d20 e3 e26 e27 f8.
"""
import os
import re
import ssl
import subprocess

import pytest
from flowlib.certs import Authority
from flowlib.daemon import block
from flowlib.steps import options_works, pattern
from flowlib.tools import s_client, s_client_options

pytestmark = pytest.mark.host_only("certificates and handshakes, no records")


def check(t, text):
    """`tieline check` on TEXT: (exit status, what it printed)."""
    path = os.path.join(t.dir, "check%d.conf" % len(os.listdir(t.dir)))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    p = subprocess.run([t.tieline, "check", "-c", path], capture_output=True, text=True,
                       timeout=60 * t.slow, check=False)
    return p.returncode, p.stdout + p.stderr


def incoming(d):
    return [c["tls"] for c in d.connections() if c["direction"] == "in" and c["tls"]]


def outcome(t, d, bob, *args, cert=None):
    """openssl s_client with an OPTIONS: "verified", "anonymous", or "refused"."""
    client = s_client(t, d, *args, cert=cert)

    def decided():
        return client.proc.poll() is not None or incoming(d)
    t.wait(decided, "a connection or an end")
    if not incoming(d):
        assert re.search(rb"alert (unknown ca|certificate expired|certificate required|handshake)",
                         client.ended()), client.out[-500:]
        return "refused"
    assert s_client_options(t, client, t.uri(bob, "tcp"), "caller.example") == 200
    said = incoming(d)[-1]["verified"]
    client.write(b"Q\n")
    client.ended()
    t.wait(lambda: not incoming(d), "the connection to be gone")
    return "verified" if said else "anonymous"


# (verify_cert, require_cert, on_unverified): {client's certificate: what becomes of it}
POLICIES = {
    (False, False, "reject"): {None: "anonymous", "client": "anonymous", "foreign": "anonymous"},
    (True, False, "reject"): {None: "anonymous", "client": "verified", "foreign": "refused",
                              "expired": "refused"},
    (True, False, "accept"): {None: "anonymous", "client": "verified", "foreign": "anonymous",
                              "expired": "anonymous"},
    (True, True, "reject"): {None: "refused", "client": "verified", "foreign": "refused"},
}


@pytest.mark.timeout(150)
def test_a1_a4_c3_c4_d9_client_certificates_by_policy(t):
    """verify_cert, require_cert and on_unverified against no, a good, a foreign and an expired client
    certificate, TLS 1.2 and 1.3: served verified, served as nobody, or refused with an alert."""
    bob = t.uas("tcp")
    for (verify, require, unverified), row in POLICIES.items():
        d = t.daemon(domain={"verify_cert": verify, "require_cert": require,
                             **({"on_unverified": unverified} if unverified != "reject" else {})})
        for cert, want in row.items():
            for version in ("-tls1_2", "-tls1_3"):
                got = outcome(t, d, bob, version, cert=cert)
                assert got == want, "verify=%s require=%s %s %s %s: %s" % (
                    verify, require, unverified, cert, version, got)


def test_d1_d2_d3_listeners_say_what_they_are(t):
    """No global switch: TLS, TCP and UDP listeners side by side, IPv4 and IPv6, port 5061 where none is
    written; OpenSER's own options get an answer that says what to write."""
    base = 'route "r" { relay = "request-uri" to_domain = "x.example" }\n' + block("tls_domain", "lab", {
        "certificate": t.pki("proxy.pem"), "private_key": t.pki("proxy.key"),
        "ca_list": t.pki("ca.pem")})
    code, said = check(t, base + '\nlisten "tls:127.0.0.1" {}\nlisten "tls:[::1]" {}\n'
                       'listen "tls:127.0.0.1:5071" {}\nlisten "udp:127.0.0.1" {}\n')
    assert code == 0, said
    ports = re.findall(r'listen "([^"]+)" \{\s+advertise = "([^"]+)"', said)
    assert ports == [("tls:127.0.0.1", "127.0.0.1:5061"), ("tls:[::1]", "[::1]:5061"),
                     ("tls:127.0.0.1:5071", "127.0.0.1:5071"),
                     ("udp:127.0.0.1", "127.0.0.1:5060")], ports
    for option in ("disable_tls = 0", "tls_port_no = 5061"):
        code, said = check(t, base + "\n%s\n" % option)
        assert code == 1 and "listen" in said and option.split()[0] in said, said
    d = t.daemon(hosts=("127.0.0.1", "::1"))
    bob = t.uas("tcp")
    for host in ("127.0.0.1", "::1"):
        alice = t.uac()
        for transport in ("tls", "tcp", "udp"):
            if transport == "udp":
                alice.listen("udp", host, t.port())
            options_works(t, d, alice, t.dial(alice, d, transport, host), t.uri(bob, "tcp"))


def test_e3_f11_defaults_are_secure(t):
    """A domain with nothing but files: check prints it verifying, requiring, checking names, without
    old versions; a domain that trusts nobody is refused rather than made to trust everybody."""
    files = {"certificate": t.pki("proxy.pem"), "private_key": t.pki("proxy.key")}
    listen = 'listen "tls:127.0.0.1:5999" {}\nroute "r" { relay = "request-uri" to_domain = "x" }\n'
    code, said = check(t, listen + block("tls_domain", "d", dict(files, ca_list=t.pki("ca.pem"))))
    assert code == 0, said
    for line in ("verify_cert = true", "require_cert = true", "verify_name = true",
                 "allow_cn = false", "on_unverified = reject", "crl_check_all = false",
                 "allow_readable_key = false", "tls_method = TLSv1_2-TLSv1_3"):
        assert re.search(r"(?m)^\s*%s$" % line.replace("TLSv1_2-TLSv1_3", r'"?TLSv1_2-TLSv1_3"?'),
                         said), (line, said)
    code, said = check(t, listen + block("tls_domain", "d", files))
    assert code == 1 and "trusts no" in said, said


def subject(t, d, *args):
    client = s_client(t, d, *args)
    found = client.wait_for(rb"subject=CN ?= ?([\w.]+)")
    client.write(b"Q\n")
    client.ended()
    return found.group(1).decode()


def test_d7_d13_e26_e27_domains_by_listener_name_and_address(t):
    """One daemon, four certificates: by the name asked for, by the listener's block, by the listener's
    address, and the default for what is left; outgoing by destination domain and address."""
    ca = Authority(t)

    def domain(name, **options):
        certificate, key = ca.leaf(name, name + ".example", "127.0.0.1")
        return (name, dict(certificate=certificate, private_key=key, ca_list=ca.ca,
                           verify_cert=False, require_cert=False, **options))
    ports = [t.port() for _ in range(3)]
    d = t.daemon(listen=("tcp", "tls"), domain={"match_sip_domain": ["lab.example"]}, domains=[
        domain("named", match_sip_domain=["named.example"]),
        domain("listener"), domain("address", match_ip_address=["127.0.0.1:%d" % ports[1]]),
        domain("default")], extra="".join(
            'listen "tls:127.0.0.1:%d" { %s }\n' % (p, o) for p, o in zip(ports, (
                'tls_domain = "listener"', "", ""))))
    seen = []
    for port in ports:
        d.ports[("tls", "127.0.0.1")] = port
        seen.append(subject(t, d, "-noservername"))
        assert subject(t, d, "-servername", "NAMED.example") == "named.example", port
    assert seen == ["listener.example", "address.example", "default.example"], seen


NAMES = (
    # (what the next hop's certificate holds, its extended key usage, is it chicago.example?)
    (["chicago.example"], "server", True),
    (["chicago.example"], "sip", True),                             # id-kp-sipDomain (RFC 5924)
    (["chicago.example"], "any", True),
    (["chicago.example"], None, True),
    (["chicago.example"], "client", False),
    (["chicago.example"], "mail", False),
    (["denver.example"], "server", False),
    (["--dns", "chicago.example"], "server", True),
    (["--dns", "*.example"], "server", False),                      # no wildcards (RFC 5922 7.2)
    # a URI hides DNS names
    (["--uri", "sip:denver.example", "--dns", "chicago.example"], "server", False),
    (["--uri", "sip:bob@chicago.example"], "server", False),        # a user is not a domain
    (["--ip", "127.0.0.1"], "server", False),
    ([], "server", False),                                          # a common name alone
)


@pytest.mark.timeout(150)
def test_f8_c8_d10_next_hop_by_name_and_purpose(t):
    """A next hop that is to be chicago.example, against certificates with every kind of name and
    purpose: RFC 5922 and RFC 5924 by default."""
    ca = Authority(t)
    ca.leaf("proxy", "atlanta.example")
    alice, hops, peers, routes = t.uac(), [], [], []
    for n, (names, eku, _) in enumerate(NAMES):
        options = names if names and names[0].startswith("--") else []
        files = ca.leaf("hop%d" % n, *([] if options else names), cn="chicago.example", eku=eku,
                        more=options)
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(*files)
        hops.append(t.uas("tls", name="hop%d" % n, ctx=ctx))
        peers.append(("hop%d" % n, {"uri": t.uri(hops[n], "tls").replace("bob@", ""),
                                    "tls_domain": "lab", "identity": "chicago.example"}))
        routes.append(("r%d" % n, {"to_prefix": "%03d" % n, "peers": ["hop%d" % n]}))
    d = t.daemon(listen=("tcp", "tls"), domain={
        "certificate": ca.pem("proxy"), "private_key": ca.key("proxy"),
        "ca_list": ca.ca, "verify_cert": True}, peers=peers, routes=routes)
    conn = t.dial(alice, d, "tcp")
    for n, (names, eku, good) in enumerate(NAMES):
        status = alice.request(conn, "OPTIONS", "sip:%03d@biloxi.example" % n).status
        assert status == (200 if good else 503), "%s %s: %d" % (names, eku, status)


def test_a2_a3_c5_client_of_another_authority_goes_on_without(t):
    """The certificate request names the server's authorities; a client that holds another's
    certificate only (tieline itself) sends none and is served, as nobody. One that holds both sends
    the one that fits."""
    def whole(name, ca):
        """The chain up to its root: else nobody can tell under whom the certificate is."""
        out = os.path.join(t.dir, name + "-chain.pem")
        with open(out, "w", encoding="ascii") as f:
            for part in (name, ca):
                with open(t.pki(part + ".pem"), encoding="ascii") as g:
                    f.write(g.read())
        return out
    foreign, client = whole("foreign", "foreign-ca"), whole("client", "ca")
    bob = t.uas("tcp")
    server = t.daemon("server", listen=("tls",), domain={"verify_cert": True,
                                                         "require_cert": False})
    keys = [t.pki("foreign.key"), t.pki("client.key")]
    for certs, want in (([foreign], ""), ([foreign, client], "CN=caller.example")):
        d = t.daemon("client%d" % len(certs), listen=("tcp", "tls"), domain={
            "certificate": certs, "private_key": keys[:len(certs)]},
            peers=[("server", {"uri": "sip:127.0.0.1:%d;transport=tls" % server.port("tls"),
                               "tls_domain": "lab"})],
            routes=[("all", {"peers": ["server"]})])
        d.keeps = 1
        alice = t.uac()
        options_works(t, d, alice, t.dial(alice, d, "tcp"), t.uri(bob, "tcp"))
        said = incoming(server)[-1]
        assert (said["identity"], said["verified"]) == (want, bool(want)), said
        alice.close()
        assert d.stop() == 0
        t.wait(lambda: not incoming(server), "the connection to be gone")


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_d11_e12_send_timeout_of_a_domain(t):
    """A callee that stops reading is given up after its TLS domain's send_timeout, though the global
    one is minutes away; another domain's connections are not touched by it."""
    d = t.daemon(domains=[("brisk", {
        "certificate": t.pki("proxy.pem"), "private_key": t.pki("proxy.key"),
        "ca_list": t.pki("ca.pem"), "verify_cert": False, "require_cert": False, "role": "client",
        "send_timeout": t.ms(1500)})], timeouts={"send": "10m", "timer_f": t.ms(8000)},
        limits={"send_buffer": "64k"}, routes=[
            ("brisk", {"to_domain": ["127.0.0.1"], "to_prefix": "brisk", "relay": "request-uri",
                       "tls_domain": "brisk"}),
            ("rest", {"relay": "request-uri", "tls_domain": "lab"})])
    callees = {}
    alice = t.uac()
    for name in ("brisk", "patient"):
        callee = callees[name] = t.uas(name=name, silent=True)
        callee.listen("tls", "127.0.0.1", t.port(), t.server_ctx(), rcvbuf=4096)
        uri = t.uri(callee, "tls", user=name)
        conn = t.dial(alice, d, "tls")
        conn.send(alice.make(conn, "MESSAGE", uri)[0])
        callee.next_request("MESSAGE")[0].reading.clear()
        conn.give_up_sending_after(2)
        try:
            for i in range(120):
                conn.send(alice.make(conn, "MESSAGE", uri, body=pattern(30000, i))[0])
        except BlockingIOError:
            pass                        # back-pressure: its queue is full
    d.wait_counter("connections.stuck", 1, 60)
    d.wait_log(r"stopped reading.*peer=127\.0\.0\.1:%d\b" % callees["brisk"].listener("tls").port)
    reset = re.findall(r"stopped reading.*peer=127\.0\.0\.1:(\d+)", d.log())
    assert set(reset) == {str(callees["brisk"].listener("tls").port)}, reset
    assert "lab" in [c["tls"]["domain"] for c in d.connections()
                     if c["direction"] == "out" and c["tls"]]
    for callee in callees.values():
        for conn in callee.listener("tls").conns:
            conn.reading.set()
