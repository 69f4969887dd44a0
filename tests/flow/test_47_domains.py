# SPDX-License-Identifier: Apache-2.0
"""TLS domains as an operator configures them: which certificate is shown to whom, whom a domain
trusts, and what `tieline check` says to what cannot work. FEATURES A, B, C, D, E by id.
"""
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import ssl
import struct
import subprocess

import pytest
from flowlib.certs import Authority
from flowlib.steps import options_works
from flowlib.tools import Piped, s_client, s_client_options

pytestmark = pytest.mark.host_only("a TLS domain is chosen in the handshake, in user space")

V12, V13 = "-tls1_2", "-tls1_3"


def make(t, *federations, name="biloxi.example"):
    """Authorities by name, each with a leaf for NAME: {name: (authority, certificate, key)}."""
    out = {}
    for f in federations:
        ca = Authority(t, f, os.path.join(t.dir, "pki"))
        out[f] = (ca, *ca.leaf(f + "-leaf", name))
    return out


def domain(fed, **more):
    ca, cert, key = fed
    return dict({"certificate": cert, "private_key": key, "ca_list": ca.ca,
                 "verify_cert": False, "require_cert": False}, **more)


def issuer(t, d, *args):
    """Who issued the certificate that s_client is shown."""
    client = s_client(t, d, *args)
    found = client.wait_for(rb"issuer=CN ?= ?([\w. -]+?)\n")
    client.write(b"Q\n")
    client.ended()
    return found.group(1).decode()


# -- B5: the server's choice by what the client trusts


def test_b5_requestcafile_picks_the_domain(t):
    """s_client -requestCAfile: among domains of the same name the one under a CA it names."""
    fed = make(t, "east", "west", "north")
    d = t.daemon(domains=[(f, domain(fed[f], match_sip_domain="biloxi.example"))
                          for f in ("east", "west")])
    sni = ("-servername", "biloxi.example")
    assert issuer(t, d, V13, *sni) == "east"
    for f in ("west", "east"):
        assert issuer(t, d, V13, *sni, "-requestCAfile", fed[f][0].ca) == f
    assert issuer(t, d, V13, *sni, "-requestCAfile", fed["north"][0].ca) == "east"


def test_f5_b5_certificate_within_one_domain(t):
    """The same with both certificates in one domain."""
    fed = make(t, "east", "west")
    d = t.daemon(domains=[("biloxi", domain(
        fed["east"], match_sip_domain="biloxi.example",
        certificate=[fed[f][1] for f in ("east", "west")],
        private_key=[fed[f][2] for f in ("east", "west")]))])
    for f in ("west", "east"):
        assert issuer(t, d, V13, "-servername", "biloxi.example", "-requestCAfile",
                      fed[f][0].ca) == f


def client_hello(name, trusted):
    """A TLS 1.2 ClientHello with server_name and, unless None, trusted_ca_keys."""
    host = name.encode()
    sni = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    exts = [(0, sni), (10, b"\0\2\0\x17"), (11, b"\1\0"), (13, b"\0\4\4\3\x08\4")]
    if trusted is not None:
        exts.append((3, trusted))
    ext = b"".join(struct.pack("!HH", k, len(v)) + v for k, v in exts)
    body = (b"\3\3" + os.urandom(32) + b"\0" + b"\0\4\xc0\x2b\xc0\x2f" + b"\1\0" +
            struct.pack("!H", len(ext)) + ext)
    msg = b"\1" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack("!H", len(msg)) + msg


def answer_to(t, d, hello):
    """(handshake bytes up to ServerHelloDone, None) or (what came, alert number)."""
    got = b""
    with socket.create_connection(("127.0.0.1", d.port("tls")), 20 * t.slow) as s:
        s.sendall(hello)
        f = s.makefile("rb")
        while True:
            head = f.read(5)
            assert len(head) == 5, "closed after %r" % got
            body = f.read(struct.unpack("!H", head[3:])[0])
            if head[0] == 21:
                return got, body[1]
            got += body
            if b"\x0e\0\0\0" == got[-4:]:
                return got, None


def test_b5_trusted_ca_keys_of_a_hand_made_hello(t):
    """TLS 1.2 trusted_ca_keys: all identifier types pick, the server says so, bad ones get 50."""
    fed = make(t, "east", "west")
    d = t.daemon(domains=[(f, domain(fed[f], match_sip_domain="biloxi.example"))
                          for f in ("east", "west")])
    for f in ("east", "west"):
        with open(fed[f][0].ca, encoding="ascii") as pem:
            der = ssl.PEM_cert_to_DER_cert(pem.read())
        with open(fed[f][1], encoding="ascii") as pem:
            leaf = ssl.PEM_cert_to_DER_cert(pem.read())
        cn, name = f.encode(), b""
        for kind in (0x0c, 0x13):                # UTF8String or PrintableString
            text = bytes([kind, len(cn)]) + cn
            for tag in (0x30, 0x31, 0x30):
                text = bytes([tag, len(text) + 5 * (text[0] in (0x0c, 0x13))]) + (
                    b"\6\3\x55\4\3" if text[0] in (0x0c, 0x13) else b"") + text
            name = text if text in der else name
        assert name, "the subject as we write it"
        spki = subprocess.run(["openssl", "pkey", "-in", fed[f][0].key(f), "-pubout",
                               "-outform", "DER"], capture_output=True, check=True).stdout
        point = spki[-65:]                      # P-256: the subjectPublicKey
        for kind, ident in ((1, hashlib.sha1(point).digest()),
                            (2, struct.pack("!H", len(name)) + name),
                            (3, hashlib.sha1(der).digest())):
            ids = b"\0" + bytes([kind]) + ident          # pre_agreed first: it names nobody
            got, alert = answer_to(t, d, client_hello("biloxi.example",
                                                      struct.pack("!H", len(ids)) + ids))
            assert alert is None, alert
            assert leaf in got, "%s by type %d" % (f, kind)
            assert b"\0\3\0\0" in got[:200], "no empty trusted_ca_keys in the ServerHello"
    got, alert = answer_to(t, d, client_hello("biloxi.example", None))
    assert alert is None and b"\0\3\0\0" not in got[38:100]
    for bad in (b"", b"\0", b"\0\1\7", b"\0\2\1\0", b"\0\0x", b"\0\4\2\0\1\x05"):
        assert answer_to(t, d, client_hello("biloxi.example", bad))[1] == 50, bad
    d.wait_log(r"handshake failed.*decode_error")


# -- as client: C5, B3, B14


def asking(t, ca, cert="callee"):
    """A next hop that demands a certificate of CA."""
    ctx = t.server_ctx(cert)
    ctx.load_verify_locations(ca.ca)
    ctx.verify_mode = ssl.CERT_REQUIRED
    return ctx


def shown_to(agent, n=-1):
    """Issuer of the certificate that the daemon showed AGENT on its Nth connection."""
    cert = agent.listener("tls").conns[n].tls.getpeercert()
    return dict(x[0] for x in cert["issuer"])["commonName"]


def optional(t, ca):
    """A next hop that asks for a certificate of CA and goes on without."""
    ctx = asking(t, ca)
    ctx.verify_mode = ssl.CERT_OPTIONAL
    return ctx


# What the pairs of a domain are for -> (common name that a server shows, that a client shows).
PURPOSES = [(("server",), ("one", None)), (("client",), ("one", "one")),
            (("server", "client"), ("one", "two")), (("client", "server"), ("two", "one")),
            (("server,client",), ("one", "one")),
            (("server,client,sip",), ("one", "one")), ((None,), ("one", "one"))]


def test_s19_certificate_for_one_role_alone(t):
    """As client a certificate is shown only if its extended key usage allows it (RFC 5246 7.4.6: else
    none), as server such a one is taken first; `check` warns. RFC 5280 4.2.1.12, RFC 5924."""
    ca = Authority(t, "roles")
    for n, (ekus, (served, shown)) in enumerate(PURPOSES):
        pairs = [ca.leaf("p%d-%d" % (n, i), "atlanta.example", eku=eku, cn=("one", "two")[i])
                 for i, eku in enumerate(ekus)]
        d = t.daemon(domain={"certificate": [p[0] for p in pairs],
                             "private_key": [p[1] for p in pairs]})
        carol, alice = t.uas("tls", name="carol%d" % n, ctx=optional(t, ca)), t.uac()
        ctx = t.client_ctx()
        ctx.verify_mode = ssl.CERT_NONE
        conn = t.dial(alice, d, "tls", ctx=ctx)
        options_works(t, d, alice, conn, t.uri(carol, "tls"))
        cert = carol.listener("tls").conns[-1].tls.getpeercert()
        assert (dict(x[0] for x in cert["subject"])["commonName"] if cert else None) == shown, ekus
        der = conn.tls.getpeercert(binary_form=True)
        assert ssl.DER_cert_to_PEM_cert(der) in open(pairs[served == "two"][0],
                                                     encoding="ascii").read(), ekus
        warned = "extended key usage of our certificate" in subprocess.run(
            [t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
            check=False).stderr
        assert warned == any(e in ("server", "client") for e in ekus), ekus


def test_s19_the_log_says_that_none_was_shown(t):
    """A neighbour that demands a certificate refuses us: the line has its alert, and that we showed
    none."""
    ca = Authority(t, "roles")
    cert, key = ca.leaf("one", "atlanta.example", eku="server")
    ctx = optional(t, ca)
    ctx.verify_mode = ssl.CERT_REQUIRED
    d = t.daemon(domain={"certificate": cert, "private_key": key})
    carol, alice = t.uas("tls", ctx=ctx), t.uac()
    assert alice.request(t.dial(alice, d, "tcp"), "OPTIONS", t.uri(carol, "tls")).status == 503
    line = d.wait_log("The peer ended a TLS connection with an alert")
    assert "alert=certificate_required" in line and 'our_certificate="none shown"' in line, line


def test_s19_shown_all_the_same(t):
    """`eku = ignore` shows a certificate for servers to a neighbour that does not look either."""
    ca = Authority(t, "roles")
    cert, key = ca.leaf("one", "atlanta.example", eku="server")
    d = t.daemon(domain={"certificate": cert, "private_key": key, "eku": "ignore"})
    ctx = t.server_ctx()
    ctx.load_verify_locations(ca.ca)
    ctx.verify_mode = ssl.CERT_OPTIONAL
    carol, alice = t.uas("tls", ctx=ctx), t.uac()
    conn = t.dial(alice, d, "tcp")
    status = alice.request(conn, "OPTIONS", t.uri(carol, "tls")).status
    assert status == 503 and any("unsuitable" in str(e) or "purpose" in str(e) for e in
                                 carol.listener("tls").failures), (status, carol.listener("tls").failures)


def test_c5_f5_client_certificate_by_the_servers_names(t):
    """One domain with certificates of two federations: each next hop gets the one it asks for."""
    fed = make(t, "east", "west", name="atlanta.example")
    d = t.daemon(domain={"certificate": [fed["east"][1], fed["west"][1]],
                         "private_key": [fed["east"][2], fed["west"][2]]})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for version in (V12, V13):
        for f in ("east", "west"):
            port = t.port()
            hop = Piped(t, ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert",
                            t.pki("callee.pem"), "-key", t.pki("callee.key"), "-Verify", "2",
                            "-CAfile", fed[f][0].ca, version])
            hop.wait_for(rb"ACCEPT")
            data, key = alice.make(conn, "OPTIONS", "sip:x@127.0.0.1:%d;transport=tls" % port)
            alice.expect(key)
            conn.send(data)
            assert hop.wait_for(rb"issuer=CN ?= ?(\w+)").group(1).decode() == f
            hop.wait_for(rb"OPTIONS sip:")
            hop.proc.terminate()                 # its end fails the request over, to nobody
            assert alice.final(key).status >= 500


def test_b3_d12_e13_two_federations_by_destination_domain(t):
    """Domains that list a destination serve it, with their own certificate and trust."""
    fed = make(t, "east", "west", name="atlanta.example")
    hops, domains, peers, routes = {}, [], [], []
    for f in ("east", "west"):
        cert, key = fed[f][0].leaf(f + "-hop", "sip.%s.example" % f)
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert, key)
        ctx.load_verify_locations(fed[f][0].ca)
        ctx.verify_mode = ssl.CERT_REQUIRED
        hops[f] = t.uas("tls", name=f, ctx=ctx)
        domains.append((f, domain(fed[f], role="client", verify_cert=True, require_cert=True,
                                  match_sip_domain=["sip.%s.example" % f, "*.%s.example" % f])))
        peers.append((f, {"uri": t.uri(hops[f], "tls").replace("bob@", ""),
                          "identity": "sip.%s.example" % f}))
        routes.append((f, {"to_domain": f + ".example", "peers": f}))
    d = t.daemon(domains=domains, peers=peers, routes=routes)
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for f in ("east", "west", "east"):
        assert alice.request(conn, "OPTIONS", "sip:x@%s.example" % f).status == 200
        assert shown_to(hops[f]) == f
        assert any(c["tls"]["domain"] == f for c in d.connections() if c["transport"] == "tls")


@pytest.mark.kernel_tls
def test_b14_d16_certificate_per_route(t):
    """Two routes to one next hop show it two certificates, on two connections."""
    fed = make(t, "east", "west", name="atlanta.example")
    ctx = t.server_ctx()
    for f in fed:
        ctx.load_verify_locations(fed[f][0].ca)
    ctx.verify_mode = ssl.CERT_REQUIRED
    bob = t.uas("tls", ctx=ctx)
    d = t.daemon(domains=[(f, domain(fed[f], role="client")) for f in fed],
                 peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", "")})],
                 routes=[(f, {"to_domain": f + ".example", "peers": "bob", "tls_domain": f})
                         for f in fed])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for f in ("east", "west", "east", "west"):
        assert alice.request(conn, "OPTIONS", "sip:x@%s.example" % f).status == 200
    conns = bob.listener("tls").conns
    assert sorted(shown_to(bob, i) for i in range(len(conns))) == ["east", "west"]


# -- whom a domain trusts


def verified(t, d, fed, expect):
    """A client with a certificate of FED: served or refused?"""
    client = Piped(t, ["openssl", "s_client", "-connect", "127.0.0.1:%d" % d.port("tls"), "-cert",
                       fed[1], "-key", fed[2], "-no_ign_eof", "-tls1_2"])
    client.wait_for(rb"Verify return code" if expect else rb"alert (unknown ca|certificate|bad)")
    if expect:
        client.write(b"Q\n")
    client.ended()


def test_b1_d7_c7_e9_trust_by_file_and_directory(t):
    """Enterprise: only who the own authority vouches for, by ca_list, by a directory of plain
    names and by one of hashed names."""
    fed = make(t, "corp", "other", name="caller.example")
    corp = fed["corp"][0].ca
    plain, hashed = os.path.join(t.dir, "plain"), os.path.join(t.dir, "hashed")
    for where in (plain, hashed):
        os.mkdir(where)
        shutil.copy(corp, where)
    subprocess.run(["openssl", "rehash", hashed], check=True, capture_output=True)
    assert any(re.fullmatch(r"[0-9a-f]{8}\.0", n) for n in os.listdir(hashed))
    for trust in ({"ca_list": corp}, {"ca_list": None, "ca_dir": plain},
                  {"ca_list": None, "ca_dir": hashed}):
        d = t.daemon(domain=dict({"verify_cert": True, "require_cert": True}, **trust))
        verified(t, d, fed["corp"], True)
        verified(t, d, fed["other"], False)


def test_b8_c21_trust_per_peer_and_role(t):
    """Bilateral: each peer's domain trusts that peer's authority alone; the listener's another."""
    fed = make(t, "ours", "partner", "stranger", name="callee.example")
    good = t.uas("tls", name="good", ctx=_ctx(fed["partner"]))
    wrong = t.uas("tls", name="wrong", ctx=_ctx(fed["stranger"]))
    bilateral = {"role": "client", "ca_list": fed["partner"][0].ca}
    d = t.daemon(domains=[("bilateral", bilateral)],
                 peers=[(n, {"uri": t.uri(a, "tls").replace("bob@", ""), "tls_domain": "bilateral",
                             "identity": "callee.example"}) for n, a in
                        (("good", good), ("wrong", wrong))],
                 routes=[(n, {"to_domain": n + ".example", "peers": n}) for n in ("good", "wrong")],
                 domain={"verify_cert": True, "require_cert": True,
                         "ca_list": fed["ours"][0].ca})
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    assert alice.request(conn, "OPTIONS", "sip:x@good.example").status == 200
    assert alice.request(conn, "OPTIONS", "sip:x@wrong.example").status == 503
    d.wait_log(r"handshake failed.*tls_domain=bilateral.*unknown_ca")
    verified(t, d, fed["ours"], True)
    verified(t, d, fed["partner"], False)


def _ctx(fed):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(fed[1], fed[2])
    return ctx


def test_d20_connects_anyway_without_verification(t):
    """verify_cert = false: a server that nobody vouches for is used, and not called verified."""
    fed = make(t, "stranger", name="elsewhere.example")
    bob = t.uas("tls", ctx=_ctx(fed["stranger"]))
    d = t.daemon()
    alice = t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tcp"), t.uri(bob, "tls"))
    out = [c for c in d.connections() if c["transport"] == "tls"]
    assert len(out) == 1 and not out[0]["tls"]["verified"], out


# -- what the CertificateRequest says: A2, A3, A5


def test_a2_a5_names_from_each_source_and_what_was_sent(t):
    """ca_list, ca_dir, ca_names and send_ca_names decide what is named, in 1.2 and 1.3; the
    signature algorithms are those that the authorities sign with; ctl shows count and bytes."""
    fed = make(t, "east", "west")
    where = os.path.join(t.dir, "cas")
    os.mkdir(where)
    for f in fed:
        shutil.copy(fed[f][0].ca, where)
    cases = (({"ca_list": fed["east"][0].ca}, {"east"}),
             ({"ca_list": None, "ca_dir": where}, {"east", "west"}),
             ({"ca_list": fed["east"][0].ca, "ca_names": fed["west"][0].ca},
              {"west"}),
             ({"ca_list": fed["east"][0].ca, "send_ca_names": False}, set()))
    for options, want in cases:
        d = t.daemon(domain=dict({"verify_cert": True, "require_cert": False}, **options))
        for version in (V12, V13):
            client = s_client(t, d, version)
            client.wait_for(rb"Verify return code")
            client.write(b"Q\n")
            out = client.ended()
            text = re.search(rb"Acceptable client certificate CA names\n(.*?)\n(?:Client|Requested)",
                             out, re.S)
            got = set(re.findall(r"CN ?= ?(\w+)", text.group(1).decode())) if text else set()
            assert got == want, (options, version, got)
            assert text or b"No client certificate CA names sent" in out
            algorithms = re.search(rb"Requested Signature Algorithms: (.*)\n", out).group(1)
            assert b"ECDSA+SHA256" in algorithms and b"RSA-PSS+SHA256" in algorithms
        shown = [x for x in d.rpc("tls_list")["domains"] if x["name"] == "lab"][0]
        assert shown["ca_names"] == len(want), shown
        assert (shown["ca_names_bytes"] > 0) == bool(want), shown


def test_a3_client_of_another_federation_shows_no_certificate(t):
    """A client that holds only a certificate of authorities not named shows none (here a tieline,
    with its whole chain): served, and marked anonymous."""
    fed = make(t, "stranger", name="caller.example")
    chain = os.path.join(t.dir, "chain.pem")
    with open(chain, "w", encoding="ascii") as out:
        for part in (fed["stranger"][1], fed["stranger"][0].ca):
            with open(part, encoding="ascii") as f:
                out.write(f.read())
    for version in ("TLSv1_2", "TLSv1_3"):
        n = version[-1]
        second = t.daemon("b" + n, domain={"verify_cert": True, "require_cert": False,
                                                      "tls_method": version})
        first = t.daemon("a" + n, peers=[("second", {
            "uri": "sip:127.0.0.1:%d;transport=tls" % second.port("tls"), "tls_domain": "out"})],
            domains=[("out", {"certificate": chain, "private_key": fed["stranger"][2],
                              "role": "client", "verify_cert": False,
                              "ca_list": t.pki("ca.pem")})],
            routes=[("all", {"peers": ["second"]})])
        first.keeps = second.keeps = 1
        alice, bob = t.uac(), t.uas("tcp")
        options_works(t, first, alice, t.dial(alice, first, "tcp"), t.uri(bob, "tcp"))
        conn = [c for c in second.connections() if c["transport"] == "tls"][-1]
        assert not conn["tls"]["verified"] and not conn["tls"]["identity"], conn
        first.wait_log(r"going on without one")


# -- certificates and keys: D5, C6, B9, B14


def test_d5_e8_rsa_and_ecdsa_are_both_served(t):
    """An RSA and an ECDSA certificate in one domain: the client's algorithms pick."""
    d = t.daemon(domain={"certificate": [t.pki("proxy.pem"), t.pki("proxy-rsa.pem")],
                         "private_key": [t.pki("proxy.key"), t.pki("proxy-rsa.key")]})
    for version in (V12, V13):
        for algorithms, want in (("ECDSA+SHA256", rb"Peer signature type: ECDSA"),
                                 ("RSA-PSS+SHA256:RSA+SHA256", rb"Peer signature type: RSA")):
            client = s_client(t, d, version, "-sigalgs", algorithms)
            client.wait_for(want)
            client.write(b"Q\n")
            client.ended()


def test_c6_credentials_dir_serves_each_name(t):
    """Certificates and keys in one directory under any file names: SNI picks by subjectAltName."""
    ca = Authority(t, "hosted", os.path.join(t.dir, "pki"))
    where = os.path.join(t.dir, "credentials")
    os.mkdir(where)
    for i, name in enumerate(("one.example", "two.example", "three.example")):
        cert, key = ca.leaf("leaf%d" % i, name)
        shutil.copy(cert, os.path.join(where, "%c.crt" % (ord("a") + i)))
        shutil.copy(key, os.path.join(where, "%c.secret" % (ord("z") - i)))
        os.chmod(os.path.join(where, "%c.secret" % (ord("z") - i)), 0o600)
    shutil.copy(ca.ca, os.path.join(where, "authority"))
    d = t.daemon(domains=[("hosted", {"credentials_dir": where, "ca_list": ca.ca,
                                      "verify_cert": False, "strict_sni": True})])
    for version in (V12, V13):
        for name in ("one.example", "TWO.example", "three.example"):
            client = s_client(t, d, version, "-servername", name)
            assert client.wait_for(rb"subject=CN ?= ?([\w.]+)").group(1) == name.lower().encode()
            client.write(b"Q\n")
            client.ended()
    shown = [x for x in d.rpc("tls_list")["domains"] if x["name"] == "hosted"][0]
    assert shown["certificates"] == 3, shown


def test_b9_e27_strict_sni_gets_unrecognized_name(t):
    """A name that no domain lists: the default serves it, or refuses it in strict mode."""
    for strict in (False, True):
        d = t.daemon(domain={"match_sip_domain": "atlanta.example", "strict_sni": strict})
        for version in (V12, V13):
            client = s_client(t, d, version, "-servername", "nobody.example")
            client.wait_for(rb"unrecognized name" if strict else rb"subject=CN ?= ?proxy")
            if not strict:
                client.write(b"Q\n")
            client.ended()
            for args in (("-servername", "Atlanta.Example"), ("-noservername",)):
                assert issuer(t, d, version, *args) == "tieline lab CA"
        if strict:
            d.wait_log(r"handshake failed.*nobody\.example")


def test_d13_e26_domain_by_listener_address(t):
    """match_ip_address picks by the listener's socket, before and without SNI."""
    fed = make(t, "east", "west")
    ports = [t.port(), t.port()]
    d = t.daemon(start=False, domains=[
        (f, domain(fed[f], match_ip_address="127.0.0.1:%d" % p)) for f, p in zip(fed, ports)])
    d.write(d.config() + "".join('listen "tls:127.0.0.1:%d" {}\n' % p for p in ports))
    d.start()
    for f, p in zip(fed, ports):
        for args in (("-noservername",), ("-servername", "whoever.example")):
            client = Piped(t, ["openssl", "s_client", "-connect", "127.0.0.1:%d" % p] + list(args))
            assert client.wait_for(rb"issuer=CN ?= ?(\w+)").group(1).decode() == f
            client.write(b"Q\n")
            client.ended()


@pytest.mark.kernel_tls
def test_b21_all_models_on_one_box(t):
    """Enterprise, two federations, a bilateral peer, hosted names and an unverified one at once."""
    fed = make(t, "corp", "east", "partner", name="callee.example")
    hosted = Authority(t, "hosted", os.path.join(t.dir, "pki"))
    where = os.path.join(t.dir, "credentials")
    os.mkdir(where)
    for name in ("one.example", "two.example"):
        for f in hosted.leaf(name, name):
            shutil.copy(f, where)
    hops = {f: t.uas("tls", name=f, ctx=_ctx(fed[f])) for f in fed}
    d = t.daemon(
        domains=[("hosted", {"credentials_dir": where, "role": "server", "verify_cert": False,
                             "ca_list": hosted.ca})] +
                [(f, {"ca_list": fed[f][0].ca, "certificate": fed[f][1],
                      "private_key": fed[f][2], "role": "client"}) for f in fed],
        peers=[(f, {"uri": t.uri(hops[f], "tls").replace("bob@", ""), "tls_domain": f,
                    "identity": "callee.example"}) for f in fed],
        routes=[(f, {"to_domain": f + ".example", "peers": f}) for f in fed] +
               [("rest", {"relay": "request-uri", "tls_domain": "lab", "to_prefix": "any"})],
        domain={"verify_cert": True, "require_cert": False, "ca_list": fed["corp"][0].ca})
    alice, other = t.uac(), t.uas("tcp")
    conn = t.dial(alice, d, "tcp")
    for f in fed:
        assert alice.request(conn, "OPTIONS", "sip:x@%s.example" % f).status == 200, f
    options_works(t, d, alice, conn, t.uri(other, "tcp", user="any"))
    assert issuer(t, d, V13, "-servername", "two.example") == "hosted"
    assert issuer(t, d, V12, "-servername", "nobody.example") == "tieline lab CA"
    verified(t, d, fed["corp"], True)
    verified(t, d, fed["partner"], False)


# -- what cannot work is said before it runs


def test_f11_check_names_file_line_and_cause(t):
    """Each thing that cannot work: `tieline check` says where and why, with status 1."""
    fed = make(t, "east", "west")
    ca, cert, key = fed["east"]
    old, old_key = t.pki("expired.pem"), t.pki("expired.key")
    empty = os.path.join(t.dir, "empty.pem")
    open(empty, "w", encoding="ascii").close()
    readable = os.path.join(t.dir, "open.key")
    shutil.copy(key, readable)
    os.chmod(readable, 0o644)
    base = {"certificate": cert, "private_key": key, "ca_list": ca.ca}
    cases = (({"private_key": None}, "has 1 certificates and 0 private keys"),
             ({"private_key": fed["west"][2]}, "does not belong to the certificate in"),
             ({"certificate": old, "private_key": old_key}, "expired.pem has expired on 2021"),
             ({"ca_list": empty}, "empty.pem holds no certificate"),
             ({"crl_file": ca.ca}, "holds no revocation list in PEM form"),
             ({"private_key": readable}, "open to every user of this machine (mode 644)"),
             ({"verify_cert": False, "require_cert": True}, "contradicts verify_cert = false"),
             ({"tls_method": "SSLv3"}, "broken and not spoken"),
             ({"ciphers_list": "NULL-SHA256"}, "is not supported"),
             ({"ciphers_list": "ADH-AES128-GCM-SHA256"}, "is not supported"),
             ({"ciphers_list": "ECDHE-RSA-AES128-SHA256"}, "is not supported"),
             ({"match_sip_domain": "atlanta.example"}, "matches atlanta.example as tls_domain"))
    for change, sentence in cases:
        options = {k: v for k, v in dict(base, **change).items() if v is not None}
        domains = [("x", options)]
        if "match_sip_domain" in change:
            domains.append(("y", options))
        d = t.daemon(start=False, domains=domains)
        p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True,
                           text=True, timeout=30 * t.slow, check=False)
        said = p.stdout + p.stderr
        assert p.returncode == 1 and sentence in said, (change, said)
        assert re.search(r"tieline\.conf:\d+: .*%s" % re.escape(sentence), said), said


def test_s20_check_warns_of_unknown_authority(t):
    """A revocation list of an authority that only peers' chains may bring is taken, with a warning."""
    fed = make(t, "east", "west")
    ca, cert, key = fed["east"]
    foreign_crl = fed["west"][0].crl()
    d = t.daemon(start=False, domains=[("x", {"certificate": cert, "private_key": key,
                                              "ca_list": ca.ca, "crl_file": foreign_crl})])
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       timeout=30 * t.slow, check=False)
    said = p.stdout + p.stderr
    assert p.returncode == 0, said
    line = [l for l in said.splitlines() if "authority of a revocation list is not known yet" in l]
    assert len(line) == 1 and foreign_crl in line[0] and "west" in line[0], said


def test_e3_d14_secure_defaults_are_shown(t):
    """`check` prints every option resolved: secure defaults, and what comes from "default"."""
    d = t.daemon(start=False, domains=[("default", {"ca_list": t.pki("ca.pem"), "verify_depth": 3}),
                                       ("x", {"certificate": t.pki("biloxi.pem"),
                                              "private_key": t.pki("biloxi.key")})])
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       timeout=30 * t.slow, check=False)
    assert p.returncode == 0, p.stderr
    text = p.stdout[p.stdout.index('tls_domain "x"'):]
    for line in ("verify_cert = true", "require_cert = true", "verify_name = true",
                 "on_unverified = reject", "allow_readable_key = false", "allow_cn = false",
                 "verify_depth = 3", "crl_stale = reject", 'ca_list = "%s"' % t.pki("ca.pem")):
        assert line in text, line


def test_d17_encrypted_key_serves(t):
    """A key that a passphrase file opens serves handshakes."""
    key, word = os.path.join(t.dir, "sealed.key"), os.path.join(t.dir, "word")
    with open(word, "w", encoding="ascii") as f:
        f.write("correct horse\n")
    os.chmod(word, 0o600)
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", t.pki("proxy.key"), "-out", key, "-v2",
                    "aes256", "-passout", "file:" + word], check=True, capture_output=True)
    os.chmod(key, 0o600)
    d = t.daemon(domain={"private_key": key, "private_key_passphrase_file": word})
    bob = t.uas("tls")
    alice = t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))


def test_d8_e10_dhe_with_own_parameters(t):
    """dh_params: a TLS 1.2 client without elliptic curves is served with them."""
    params = os.path.join(t.dir, "dh.pem")
    subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt",
                    "group:ffdhe2048", "-out", params], check=True, capture_output=True)
    d = t.daemon(domain={"certificate": t.pki("proxy-rsa.pem"),
                         "private_key": t.pki("proxy-rsa.key"), "dh_params": params})
    client = s_client(t, d, V12, "-cipher", "DHE-RSA-AES128-GCM-SHA256")
    client.wait_for(rb"Server Temp Key: DH, 2048 bits")
    bob = t.uas("tls")
    assert s_client_options(t, client, t.uri(bob, "tls")) == 200


def test_e12_e15_d37_handshake_timeout_of_a_domain(t):
    """A client that chose a domain and stops gets that domain's time, not the global one."""
    t.allow_user_records = True
    d = t.daemon(domains=[("short", {"certificate": t.pki("biloxi.pem"),
                                     "private_key": t.pki("biloxi.key"), "verify_cert": False,
                                     "ca_list": t.pki("ca.pem"), "handshake_timeout": t.ms(300),
                                     "match_sip_domain": "biloxi.example"})],
                 timeouts={"handshake": "10m"})
    with socket.create_connection(("127.0.0.1", d.port("tls")), 30 * t.slow) as s:
        s.sendall(client_hello("biloxi.example", None))
        while s.recv(65536):
            pass
    d.wait_log(r"handshake failed.*tls_domain=short")


def test_e7_d4_versions_of_a_domain(t):
    """tls_method limits a domain; another on the same listener speaks what it says."""
    d = t.daemon(domain={"tls_method": "TLSv1_3-"},
                 domains=[("old", {"certificate": t.pki("biloxi.pem"), "verify_cert": False,
                                   "private_key": t.pki("biloxi.key"), "ca_list": t.pki("ca.pem"),
                                   "tls_method": "TLSv1_2", "match_sip_domain": "biloxi.example"})])
    for name, good, bad in (("biloxi.example", V12, V13), ("atlanta.example", V13, V12)):
        assert issuer(t, d, good, "-servername", name) == "tieline lab CA"
        client = s_client(t, d, bad, "-servername", name)
        client.wait_for(rb"alert protocol version")
        client.ended()


def test_b4_certificate_as_text(t):
    """Certificate and key as PEM text in the configuration, which only the owner may read."""
    with open(t.pki("biloxi.pem"), encoding="ascii") as f:
        cert = f.read()
    with open(t.pki("biloxi.key"), encoding="ascii") as f:
        key = f.read()
    d = t.daemon(start=False)
    d.write(d.config() + 'tls_domain "text" {\n match_sip_domain = "biloxi.example"\n'
            " verify_cert = false\n certificate = \"%s\"\n private_key = \"%s\"\n}\n" % (cert, key))
    os.chmod(d.config_file, 0o600)
    d.start()
    client = s_client(t, d, "-servername", "biloxi.example")
    client.wait_for(rb"subject=CN ?= ?biloxi")
    client.write(b"Q\n")
    client.ended()
    assert key.splitlines()[1] not in d.log(), "a key in the log"


# -- TLS domains from a database

SCHEMA = """CREATE TABLE tls_mgm (id INTEGER PRIMARY KEY, domain TEXT, match_ip_address TEXT,
  match_sip_domain TEXT, type INTEGER, method TEXT, verify_cert INTEGER, require_cert INTEGER,
  certificate BLOB, private_key BLOB, crl_check_all INTEGER, crl_dir TEXT, ca_list BLOB,
  ca_dir TEXT, cipher_list TEXT, dh_params BLOB, ec_curve TEXT)"""


def test_e1_e2_e6_domains_from_sqlite(t):
    """Rows beside the file's domains, in force after a reload; a bad row leaves all as it was, and
    is named by table and row; without the row named default the file's is back."""
    fed = make(t, "east", "west")
    path = os.path.join(t.dir, "tls.db")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    def sql(*statements):
        db = sqlite3.connect(path)
        with db:
            for s in statements:
                db.execute(*s) if isinstance(s, tuple) else db.execute(s)
        db.close()

    def blobs(f):
        out = []
        for part in fed[f][1:]:
            with open(part, "rb") as h:
                out.append(h.read())
        return out

    row = ("INSERT INTO tls_mgm (domain, match_sip_domain, type, verify_cert, require_cert, "
           "certificate, private_key) VALUES (?, ?, ?, 0, 0, ?, ?)")
    sql(SCHEMA, (row, ["biloxi", "biloxi.example", 2, *blobs("east")]))
    d = t.daemon(start=False, domains=[("default", {
        "certificate": t.pki("biloxi.pem"), "private_key": t.pki("biloxi.key"),
        "verify_cert": False})], extra='tls_database { url = "sqlite:%s" }' % path)
    d.write(d.config().replace('tls_domain = "lab"\n}', "}", 1))    # the listener by rule alone
    d.start()
    name, other = ("-servername", "biloxi.example"), ("-servername", "nobody.example")
    assert issuer(t, d, *name) == "east" and issuer(t, d, *other) == "tieline lab CA"
    sql(("UPDATE tls_mgm SET certificate = ?, private_key = ?", blobs("west")),
        (row, ["default", None, 0, *blobs("east")]))
    d.ctl("reload")
    assert issuer(t, d, *name) == "west" and issuer(t, d, *other) == "east"
    sql("UPDATE tls_mgm SET method = 'SSLv3' WHERE domain = 'biloxi'")
    said = d.ctl("reload", check=False)
    said = said if isinstance(said, str) else said.stdout + said.stderr
    assert "table tls_mgm, row:1: tls_method" in said, said
    assert issuer(t, d, *name) == "west", "what was in force stays"
    sql("DELETE FROM tls_mgm")
    d.ctl("reload")
    assert issuer(t, d, *other) == "tieline lab CA", "the file's default is back"
