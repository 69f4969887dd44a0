# SPDX-License-Identifier: Apache-2.0
"""Certificates of a test's own: authorities and whoever they vouch for, as many as it wants, made by
`tieline pki`; what that does not make, by the certificate kit of the tests in C. What all tests share
is made by tests/support/pki.
"""
import os
import re
import ssl
import subprocess

from . import host


def _run(t, *argv):
    p = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60 * t.slow)
    assert p.returncode == 0, (argv[:8], p.stdout, p.stderr)


def serial(pem):
    """The serial number of a certificate, as openssl writes it."""
    out = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", pem], capture_output=True,
                         text=True, check=True).stdout
    return out.strip().split("=")[1]


def pki(t, where, *args):
    """`tieline pki` in the directory WHERE."""
    _run(t, t.tieline, "pki", *args, "--ca-dir", where)


class Authority:
    """CN=NAME CA, O=NAME in a directory of its own, where its files are ca.pem, ca.key and ca.crl;
    or CN (default NAME) as NAME.pem and so on in the directory WHERE, beside others. Its leaves lie
    there, too."""

    def __init__(self, t, name="lab", where=None, cn=None):
        self.t, self.name, self.dir = t, name, where or os.path.join(t.dir, "ca-" + name)
        self.file = name if where else "ca"
        subject = ["--cn", cn or name] if where else ["--cn", name + " CA", "--organization", name]
        self.pki("root-ca", "--name", self.file, *subject)
        self.ca = self.pem(self.file)

    def pki(self, *args):
        pki(self.t, self.dir, *args)

    def path(self, file):
        return os.path.join(self.dir, file)

    def pem(self, name):
        return self.path(name + ".pem")

    def key(self, name):
        return self.path(name + ".key")

    def cert(self, name, *args):
        """NAME.pem and NAME.key; without further arguments for the SIP domain NAME."""
        self.pki("cert", "--force", "--name", name, "--ca", self.file,
                 *(args or ("--domain", name, "--ip", "127.0.0.1")))
        return self

    def leaf(self, name, *names, cn=None, eku="server,client", more=()):
        """A certificate for NAMES, which are SIP domains or addresses, with further arguments MORE;
        returns (certificate, key). EKU "mail": for no purpose of ours."""
        cn = cn or (names[0] if names else name)
        if eku == "mail":
            return self.odd(name, cn, "extendedKeyUsage=emailProtection", "subjectAltName=" + ",".join(
                "URI:sip:%s,DNS:%s" % (n, n) for n in names))
        words = ["--cn", cn, "--eku", eku or "none", *more]
        for n in names:
            address = re.fullmatch(r"[0-9.]+|[0-9a-f:]+:[0-9a-f:]*", n)
            words += ["--ip" if address else "--domain", n]
        self.cert(name, *words)
        return self.pem(name), self.key(name)

    def odd(self, name, cn, *extensions):
        """A certificate with EXTENSIONS in the syntax of openssl.cnf; returns (certificate, key)."""
        _run(self.t, os.path.join(host.build(), "support", "odd_cert"), self.path(self.file),
             self.path(name), "CN=" + cn, "basicConstraints=critical,CA:FALSE",
             "keyUsage=critical,digitalSignature", *extensions)
        return self.pem(name), self.key(name)

    def revoke(self, *names):
        """Renews the revocation list; NAMES are in it from now on."""
        self.pki(*(("revoke", *names) if names else ("crl",)), "--ca", self.file)
        return self

    def crl(self):
        """The file of the revocation list, made anew."""
        self.revoke()
        return self.path(self.file + ".crl")

    def stale_crl(self, name):
        """A revocation list that ended long ago, with the certificate NAME in it; its file."""
        out, conf, index = self.path("stale.crl"), self.path("stale.cnf"), self.path("stale.index")
        with open(conf, "w", encoding="ascii") as f:
            f.write("[ca]\ndefault_ca=a\n[a]\ndatabase=%s\ndefault_md=sha256\n" % index)
        with open(index, "w", encoding="ascii") as f:
            f.write("R\t300101000000Z\t250101000000Z\t%s\tunknown\t/CN=%s\n" % (
                serial(self.pem(name)), name))
        _run(self.t, "openssl", "ca", "-config", conf, "-gencrl", "-cert", self.ca, "-keyfile",
             self.key(self.file), "-out", out, "-crl_lastupdate", "20250101000000Z",
             "-crl_nextupdate", "20250201000000Z")
        return out

    def spki(self, name):
        """SHA-256 of the public key, in hex."""
        key = subprocess.run(["openssl", "x509", "-in", self.pem(name), "-noout", "-pubkey"],
                             capture_output=True, check=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key,
                             capture_output=True, check=True).stdout
        out = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True,
                             check=True).stdout
        return out.split()[0].decode()

    def fingerprint(self, name):
        out = subprocess.run(["openssl", "x509", "-in", self.pem(name), "-noout", "-fingerprint",
                              "-sha256"], capture_output=True, text=True, check=True).stdout
        return out.split("=")[1].strip().replace(":", "").lower()

    def domain(self, name, **more):
        """Options of a TLS domain that shows NAME's certificate and lets in whom we vouch for."""
        return dict({"certificate": self.pem(name), "private_key": self.key(name),
                     "ca_list": self.ca, "verify_cert": True, "require_cert": True}, **more)

    def client(self, name=None, trust=None):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.load_verify_locations(trust or self.ca)
        if name:
            ctx.load_cert_chain(self.pem(name), self.key(name))
        return ctx

    def server(self, name, ask=None):
        """ASK: file of authorities; a client certificate under one of them is demanded."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(self.pem(name), self.key(name))
        if ask:
            ctx.load_verify_locations(ask)
            ctx.verify_mode = ssl.CERT_REQUIRED
        return ctx


def bundle(t, *authorities):
    """One file of several authorities."""
    path = os.path.join(t.dir, "bundle-%s.pem" % "-".join(a.name for a in authorities))
    with open(path, "w", encoding="ascii") as out:
        for a in authorities:
            with open(a.ca, encoding="ascii") as f:
                out.write(f.read())
    return path
