# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities of a test's own, by the openssl command line: as many as it wants, with
the names, times and extensions that it says. What all tests share is made by tests/support/pki.
"""
import os
import re
import subprocess

CONFIG = """[req]
distinguished_name = dn
[dn]
[ca]
default_ca = here
[here]
database = index.%(name)s
crlnumber = crlnumber.%(name)s
default_md = sha256
default_crl_days = %(days)d
"""


def names(*domains):
    """The subjectAltName of domains: each as sip: URI and as DNS name; addresses as they are."""
    out = []
    for d in domains:
        if re.fullmatch(r"[0-9.]+|[0-9a-f:]+:[0-9a-f:]*", d):
            out.append("IP:" + d)
        else:
            out += ["URI:sip:" + d, "DNS:" + d]
    return ",".join(out)


class Authority:
    """One authority in a directory: NAME.pem, NAME.key, NAME.crl; its leaves lie beside it."""

    def __init__(self, where, name, cn=None, parent=None, days=400):
        self.where, self.name, self.revoked = where, name, []
        os.makedirs(where, exist_ok=True)
        with open(self.path("cnf"), "w", encoding="ascii") as f:
            f.write(CONFIG % {"name": name, "days": 30})
        self._issue(name, cn or name, parent, days, [
            "basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign"])

    def path(self, kind, name=None):
        return os.path.join(self.where, "%s.%s" % (name or self.name, kind))

    def _run(self, *args):
        p = subprocess.run(["openssl"] + list(args), cwd=self.where, capture_output=True, text=True,
                           check=False)
        assert p.returncode == 0, "openssl %s: %s" % (" ".join(args), p.stderr)
        return p.stdout

    def _issue(self, name, cn, by, days, extensions, key="ec:P-256"):
        kind, size = key.split(":")
        args = ["req", "-x509", "-config", self.name + ".cnf", "-nodes", "-subj", "/CN=" + cn,
                "-days", str(days), "-keyout", name + ".key", "-out", name + ".pem"]
        args += (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:" + size] if kind == "ec"
                 else ["-newkey", "rsa:" + size])
        if by:
            args += ["-CA", by.path("pem"), "-CAkey", by.path("key")]
        for e in extensions:
            args += ["-addext", e]
        self._run(*args)
        os.chmod(self.path("key", name), 0o600)

    def leaf(self, name, *domains, cn=None, days=200, eku="serverAuth,clientAuth", key="ec:P-256",
             extensions=()):
        """A certificate for DOMAINS; returns (certificate, key)."""
        more = ["basicConstraints=critical,CA:false", "keyUsage=digitalSignature,keyEncipherment"]
        more += ["subjectAltName=" + names(*domains)] if domains else []
        more += ["extendedKeyUsage=" + eku] if eku else []
        self._issue(name, cn or (domains[0] if domains else name), self, days,
                    more + list(extensions), key)
        return self.path("pem", name), self.path("key", name)

    def revoke(self, *leaves):
        """Puts LEAVES, by name, on the list and writes it anew; returns the list's file."""
        for leaf in leaves:
            serial = self._run("x509", "-in", leaf + ".pem", "-noout", "-serial").strip()[7:]
            self.revoked.append("R\t391231235959Z\t250101000000Z\t%s\tunknown\t/CN=x\n" % serial)
        with open(os.path.join(self.where, "index." + self.name), "w", encoding="ascii") as f:
            f.writelines(self.revoked)
        number = os.path.join(self.where, "crlnumber." + self.name)
        if not os.path.exists(number):
            with open(number, "w", encoding="ascii") as f:
                f.write("01\n")
        self._run("ca", "-config", self.name + ".cnf", "-gencrl", "-cert", self.name + ".pem",
                  "-keyfile", self.name + ".key", "-out", self.name + ".crl")
        return self.path("crl")

    crl = revoke
