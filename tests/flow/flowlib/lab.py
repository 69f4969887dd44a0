# SPDX-License-Identifier: Apache-2.0
"""Certificates of a test's own, made with `tieline pki`: authorities and whoever they vouch for."""
import os
import ssl
import subprocess


class Authority:
    """One authority in a directory of its own."""

    def __init__(self, t, name="lab", *args):
        self.t, self.name, self.dir = t, name, os.path.join(t.dir, "ca-" + name)
        self.pki("root-ca", "--cn", name + " CA", "--organization", name, *args)
        self.ca = self.path("ca.pem")

    def pki(self, *args):
        p = subprocess.run([self.t.tieline, "pki"] + list(args) + ["--ca-dir", self.dir],
                           capture_output=True, text=True, check=False, timeout=60 * self.t.slow)
        assert p.returncode == 0, (args, p.stdout, p.stderr)

    def path(self, file):
        return os.path.join(self.dir, file)

    def cert(self, name, *args):
        """NAME.pem and NAME.key; without further arguments for the SIP domain NAME."""
        self.pki("cert", "--name", name, *(args or ("--domain", name, "--ip", "127.0.0.1")))
        return self

    def revoke(self, name=None):
        """Renews ca.crl; NAME, if any, is in it from now on."""
        self.pki(*(("revoke", name) if name else ("crl",)))
        return self

    def pem(self, name):
        return self.path(name + ".pem")

    def key(self, name):
        return self.path(name + ".key")

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
