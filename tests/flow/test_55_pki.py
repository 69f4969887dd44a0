# SPDX-License-Identifier: Apache-2.0
"""`tieline pki`: certificates made by it serve a daemon and its peers, and openssl agrees.

Issue item 4.13; FEATURES D18.
"""
import os
import re
import ssl
import stat
import subprocess

import pytest
from flowlib.steps import options_works

pytestmark = pytest.mark.host_only("files, and what openssl says of them")


def pki(t, where, *args, status=0):
    p = subprocess.run([t.tieline, "pki"] + list(args) + ["--ca-dir", where], capture_output=True,
                       text=True, check=False, timeout=60 * t.slow)
    assert p.returncode == status, (args, p)
    return p.stdout + p.stderr


def openssl(*args):
    p = subprocess.run(["openssl"] + list(args), capture_output=True, text=True, check=False,
                       timeout=60)
    return p.returncode, p.stdout + p.stderr


def test_d18_pki_serves_mutual_tls(t):
    """A laboratory from nothing: authority, two certificates, a call with both sides verified; what
    was revoked is refused by a daemon that has the revocation list."""
    lab = os.path.join(t.dir, "lab")
    pki(t, lab, "root-ca", "--days", "30")
    pki(t, lab, "cert", "--domain", "atlanta.example", "--ip", "127.0.0.1",
        "--eku", "sip,server,client")
    pki(t, lab, "cert", "--domain", "caller.example", "--key", "rsa")
    pki(t, lab, "cert", "--domain", "thief.example")
    assert "ca.crl" in pki(t, lab, "revoke", "thief.example", "--reason", "keyCompromise")

    def path(name):
        return os.path.join(lab, name)
    for name in ("ca", "atlanta.example", "caller.example"):
        assert stat.S_IMODE(os.stat(path(name + ".key")).st_mode) == 0o600
    d = t.daemon(domain={"certificate": path("atlanta.example.pem"),
                         "private_key": path("atlanta.example.key"), "ca_list": path("ca.pem"),
                         "crl_file": path("ca.crl"), "verify_cert": True, "require_cert": True},
                 routes=[("all", {"relay": "request-uri"})])

    def context(name):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.load_verify_locations(path("ca.pem"))
        ctx.check_hostname = False
        ctx.load_cert_chain(path(name + ".pem"), path(name + ".key"))
        return ctx
    alice, bob = t.uac(), t.uas("tcp")
    options_works(t, d, alice, t.dial(alice, d, "tls", ctx=context("caller.example")),
                  t.uri(bob, "tcp"))
    try:        # in TLS 1.3 the refusal may come after the client's handshake
        t.dial(t.uac(name="thief"), d, "tls", ctx=context("thief.example"))
    except (ssl.SSLError, OSError):
        pass
    line = d.wait_log("TLS handshake failed")
    assert "revoked" in line and "CN=thief.example" in line, line


def test_d18_pki_agrees_with_openssl(t):
    """Chain, revocation list, index and `show` are what openssl makes of the same files."""
    lab = os.path.join(t.dir, "lab")

    def path(name):
        return os.path.join(lab, name)
    pki(t, lab, "root-ca")
    pki(t, lab, "intermediate", "--name", "regional")
    pki(t, lab, "cert", "--ca", "regional", "--domain", "a.example",
        "--organization", "Atlanta, Inc.")
    code, out = openssl("verify", "-x509_strict", "-CAfile", path("ca.pem"), "-untrusted",
                        path("regional.pem"), path("a.example.pem"))
    assert code == 0, out
    code, text = openssl("x509", "-in", path("a.example.pem"), "-noout", "-serial", "-fingerprint",
                         "-sha256", "-subject", "-nameopt", "RFC2253")
    shown = pki_show(t, path("a.example.pem"))
    serial = re.search(r"serial=([0-9A-F]+)", text).group(1)
    digest = re.search(r"Fingerprint=([0-9A-F:]+)", text).group(1).replace(":", "").lower()
    assert serial in shown and digest in shown, (text, shown)
    assert re.search(r"subject=(.*)", text).group(1) in shown, (text, shown)
    pki(t, lab, "revoke", "--ca", "regional", "a.example")
    pki(t, lab, "revoke", "--ca", "regional", "a.example", status=1)
    code, out = openssl("crl", "-in", path("regional.crl"), "-CAfile", path("regional.pem"),
                        "-noout", "-text")
    assert serial in out and "verify OK" in out, out
    assert "is there already" in pki(t, lab, "root-ca", status=1)


def pki_show(t, *files):
    p = subprocess.run([t.tieline, "pki", "show"] + list(files), capture_output=True, text=True,
                       check=False, timeout=60 * t.slow)
    assert p.returncode == 0, p
    return p.stdout
