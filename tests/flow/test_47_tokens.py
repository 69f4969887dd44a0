# SPDX-License-Identifier: Apache-2.0
"""Private keys in a PKCS#11 token (SoftHSM), reached by OpenSSL's engine: handshakes in either role,
while the configuration is reloaded, and what is said when engine, token, object, PIN or access is
wrong. FEATURES D17.
"""
import os
import re
import shutil
import subprocess
import tempfile
import threading

import pytest
from flowlib.steps import options_works
from flowlib.tools import Piped, s_client, s_client_options

pytestmark = pytest.mark.host_only("who signs in the handshake does not matter to records")

VERSIONS = ("-tls1_2", "-tls1_3")
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "1234-tell-nobody"


class Token:
    """A software token of the test's own, with the lab's keys "ec" and "rsa" in it."""

    def __init__(self, t, where=None):
        if not os.path.exists(MODULE):
            t.skip("no PKCS#11 token in software: softhsm2 is not installed")
        p = subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True, check=False)
        if p.returncode != 0:
            t.skip("libengine-pkcs11-openssl is not installed")
        self.util, self.dir = t.need("softhsm2-util"), os.path.join(where or t.dir, "softhsm")
        self.tokens = os.path.join(self.dir, "tokens")
        os.makedirs(self.tokens)
        conf = self.file("softhsm2.conf", "directories.tokendir = %s\n"
                                          "objectstore.backend = file\n" % self.tokens)
        self.env = {"SOFTHSM2_CONF": conf}
        self.run("--init-token", "--free", "--label", "lab", "--so-pin", "87654321", "--pin", PIN)
        for label, number, pem in (("ec", "01", "proxy.key"), ("rsa", "02", "proxy-rsa.key")):
            p8 = os.path.join(self.dir, label + ".p8")
            subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", t.pki(pem), "-out",
                            p8], check=True, capture_output=True)
            self.run("--import", p8, "--token", "lab", "--label", label, "--id", number, "--pin",
                     PIN)
            os.remove(p8)
        self.pin = self.file("pin", PIN + "\n")

    def run(self, *args):
        subprocess.run([self.util] + list(args), check=True, capture_output=True,
                       env=dict(os.environ, **self.env))

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, 0o600)
        return path

    @staticmethod
    def uri(label, query=""):
        return "pkcs11:token=lab;object=%s;type=private%s" % (label, query)


def both(t, token):
    """Options of a domain whose two keys are in the token."""
    return {"certificate": [t.pki("proxy.pem"), t.pki("proxy-rsa.pem")],
            "private_key": [token.uri("ec"), token.uri("rsa")],
            "private_key_passphrase_file": token.pin}


def daemon(t, token, **conf):
    d = t.daemon(start=False, **conf)
    os.chmod(d.config_file, 0o600)
    return d.start(environ=token.env)


def handshake(t, d, version, algorithms):
    """A verified handshake; how the server signed."""
    client = s_client(t, d, version, "-sigalgs", algorithms, "-verify_return_error")
    kind = client.wait_for(rb"Peer signature type: ([\w-]+)").group(1).decode()
    client.wait_for(rb"Verify return code: 0 ")
    return client, kind


@pytest.mark.kernel_tls
def test_d17_token_keys_serve(t):
    """RSA and ECDSA keys of a token, each in both versions, and what was agreed carries requests."""
    token = Token(t)
    d = daemon(t, token, domain=both(t, token))
    bob = t.uas("tcp")
    for version in VERSIONS:
        for algorithms, kind in (("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256", "RSA-PSS")):
            client, signed = handshake(t, d, version, algorithms)
            assert signed == kind, (version, signed)
            assert s_client_options(t, client, t.uri(bob, "tcp")) == 200
    assert handshake(t, d, "-tls1_2", "RSA+SHA256")[1] == "RSA"
    assert handshake(t, d, "-tls1_3", "RSA-PSS+SHA384")[1] == "RSA-PSS"


def test_d17_token_keys_as_client(t):
    """The next hop demands a certificate, and gets one that the token signs for."""
    token = Token(t)
    for cert, label in (("proxy.pem", "ec"), ("proxy-rsa.pem", "rsa")):
        d = daemon(t, token, listen=("tcp",), domain={
            "certificate": t.pki(cert), "private_key": token.uri(label, "?pin-source=file:" +
                                                                 token.pin)})
        alice = t.uac()
        conn = t.dial(alice, d, "tcp")
        for version in VERSIONS:
            port = t.port()
            hop = Piped(t, ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert",
                            t.pki("callee.pem"), "-key", t.pki("callee.key"), "-Verify", "2",
                            "-verify_return_error", "-CAfile", t.pki("ca.pem"), version])
            hop.wait_for(rb"ACCEPT")
            data, key = alice.make(conn, "OPTIONS", "sip:x@127.0.0.1:%d;transport=tls" % port)
            alice.expect(key)
            conn.send(data)
            hop.wait_for(rb"OPTIONS sip:")       # TLS 1.3: behind the client's signature
            hop.proc.terminate()                 # its end fails the request over, to nobody
            assert alice.final(key).status >= 500


def test_d17_token_signs_for_threads_while_reloaded(t):
    """Two handshake threads ask the token at the same time, while reloads open its keys anew; a
    connection from before stays."""
    token = Token(t)
    d = daemon(t, token, handshakers=2, domain=both(t, token))
    alice, bob = t.uac(), t.uas("tcp")
    held = t.dial(alice, d, "tls")
    wrong, done = [], threading.Event()

    def shake(algorithms):
        argv = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % d.port("tls"), "-CAfile",
                t.pki("ca.pem"), "-verify_return_error", "-sigalgs", algorithms]
        for _ in range(8):
            p = subprocess.run(argv, input=b"Q\n", capture_output=True, timeout=60 * t.slow,
                               check=False)
            if b"Verify return code: 0 " not in p.stdout:
                wrong.append(p.stdout[-300:] + p.stderr[-300:])

    threads = [threading.Thread(target=shake, args=(a,))
               for a in ("ECDSA+SHA256", "RSA-PSS+SHA256") * 2]
    for x in threads:
        x.start()
    reloads = 0
    while any(x.is_alive() for x in threads):
        d.ctl("reload")
        reloads += 1
        done.wait(0.05)
    for x in threads:
        x.join()
    assert not wrong, wrong[0]
    assert d.rpc("stats")["generation"] == 1 + reloads and reloads > 0
    options_works(t, d, alice, held, t.uri(bob, "tcp"))


def check(t, d, environ):
    return subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                          env=dict(os.environ, **environ), timeout=60 * t.slow, check=False)


def test_d17_token_refusals(t):
    """What can be wrong with a token's key: `check` and reload name line and cause, never the PIN.
    (To the daemon the token is open already: there a reload meets no wrong PIN.)"""
    token = Token(t)
    bad_pin = token.file("bad", "0000-guess\n")
    d = daemon(t, token, domain=both(t, token))
    ec = {"certificate": t.pki("proxy.pem"), "private_key_passphrase_file": token.pin}
    for change, says in (
            ({"private_key": "pkcs11:token=nowhere;object=ec"}, "no token here has such a private"),
            ({"private_key": "pkcs11:token=lab;object=none"}, "no token here has such a private"),
            ({"private_key": token.uri("rsa")}, "does not belong to the certificate in"),
            ({"private_key_passphrase_file": None}, "without a PIN: set private_key_passphrase"),
            ({"private_key_passphrase_file": bad_pin}, "refuses the PIN in %s" % bad_pin),
            ({"private_key": token.uri("ec", "?pin-value=0000-guess")},
             "refuses the PIN in pin-value"),
            ({"private_key": token.uri("ec", "?pin-value=%s&pin-source=%s" % (PIN, token.pin))},
             "pin-value and pin-source exclude each other"),
            ({"private_key": token.uri("ec", "?pin-value=0000 guess")}, "write a blank as %20"),
            ({"private_key": token.uri("ec", "?pin-source=|cat")}, "pin-source must be a file"),
            ({"private_key": token.uri("ec", "?module-path=/none.so")}, "cannot read the module")):
        d.configure(domain={"private_key": token.uri("ec"), **ec, **change})
        p = check(t, d, token.env)
        found = re.search(r"^%s:(\d+): (.*)$" % re.escape(d.config_file), p.stderr, re.M)
        assert p.returncode == 1 and found, (says, p)
        line = d.config().split("\n")[int(found.group(1)) - 1]
        assert says in found.group(2) and "private_key" in line, (says, found.group(0), line)
        assert "guess" not in p.stderr and PIN not in p.stderr, p.stderr
        if "PIN" not in says:
            p = d.ctl("reload", check=False)
            says = says.replace("cannot read the module", "takes one module-path only")
            assert p.returncode == 1 and says in p.stdout + p.stderr, (says, p)
    handshake(t, d, "-tls1_3", "ECDSA+SHA256")
    p = check(t, d, {"OPENSSL_ENGINES": t.dir})
    assert "cannot read the module" in p.stderr
    d.configure(domain={"private_key": token.uri("ec"), **ec})
    p = check(t, d, {"OPENSSL_ENGINES": t.dir})
    assert p.returncode == 1 and "install the package libengine-pkcs11-openssl" in p.stderr, p
    assert "guess" not in d.log() and PIN not in d.log()


def test_d17_key_that_wants_its_pin_for_every_signature(t):
    """CKA_ALWAYS_AUTHENTICATE: refused with the reason, and no terminal is asked."""
    token, tool = Token(t), t.need("pkcs11-tool")
    der = os.path.join(token.dir, "always.der")
    subprocess.run(["openssl", "pkey", "-in", t.pki("proxy.key"), "-outform", "DER", "-out", der],
                   check=True, capture_output=True)
    subprocess.run([tool, "--module", MODULE, "--token-label", "lab", "--login", "--pin", PIN,
                    "--write-object", der, "--type", "privkey", "--label", "always", "--id", "01",
                    "--usage-sign", "--always-auth"], check=True, capture_output=True,
                   env=dict(os.environ, **token.env))
    d = t.daemon(start=False, domain={"private_key": token.uri("always"),
                                      "private_key_passphrase_file": token.pin})
    p = check(t, d, token.env)
    assert p.returncode == 1 and "demands its PIN for every signature" in p.stderr, p
    assert "Enter" not in p.stdout + p.stderr, p


def test_d17_pin_is_never_shown(t):
    """pin-value in the configuration: a file that is open to all is refused, and neither check nor
    ctl nor the log repeat it; module-path names the token's library."""
    token = Token(t)
    uri = token.uri("ec", "?module-path=%s&pin-value=%s" % (MODULE, PIN))
    d = daemon(t, token, domain={"private_key": uri})
    handshake(t, d, "-tls1_3", "ECDSA+SHA256")
    p = check(t, d, token.env)
    assert p.returncode == 0 and "pin-value=(not shown)" in p.stdout, p
    d.ctl("reload")
    shown = "".join(d.ctl(*args).stdout for args in (
        ("show", "config"), ("tls_list",), ("tls_list", "--json"), ("reload", "--json")))
    assert "pin-value=(not shown)" in shown
    for text in (p.stdout + p.stderr, shown, d.log()):
        assert PIN not in text
    os.chmod(d.config_file, 0o644)
    p = check(t, d, token.env)
    assert p.returncode == 1 and "a token's PIN stands in" in p.stderr and PIN not in p.stderr, p
    os.chmod(d.config_file, 0o600)


def test_d17_token_for_a_user_without_privileges(t):
    """The start sees that a token which opens for root will not sign for the user; for a user who has
    access to it, it signs."""
    if os.geteuid() != 0:
        t.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as top:      # t.dir is root's alone
        os.chmod(top, 0o711)
        token = Token(t, top)
        d = t.daemon(start=False, domain=both(t, token), extra='user = "nobody"')
        p = subprocess.run([t.tieline, "run", "-c", d.config_file], capture_output=True, text=True,
                           env=dict(os.environ, **token.env), timeout=60 * t.slow, check=False)
        assert p.returncode == 1 and "needs access to the token" in p.stderr, p
        for where, folders, files in os.walk(token.dir):
            for path in [where] + [os.path.join(where, x) for x in folders + files]:
                shutil.chown(path, "nobody")
        d.start(environ=token.env)
        for version in VERSIONS:
            assert handshake(t, d, version, "RSA-PSS+SHA256")[1] == "RSA-PSS"
