# SPDX-License-Identifier: Apache-2.0
"""The sample configurations of configs/, started as they are but for addresses and ports.

A test says which addresses of the file become which, gives the certificates that the file names,
and plays the peers: each at a loopback address of its own, because a peer is known by its address
where no certificate tells.
"""
import os
import re
import ssl
import subprocess

from . import certs
from .host import TOP


class Sample:
    """configs/NAME in a directory of the test, with certificates beside it."""

    def __init__(self, t, name):
        self.t, self.name = t, name
        self.d = t.daemon(start=False)
        self.d.ports.clear()            # the listeners are the sample's
        self.dir = self.d.dir
        with open(os.path.join(TOP, "configs", name), encoding="utf-8") as f:
            self.text = f.read()
        self.hosts = 10

    def authority(self, name, cn=None):
        return certs.Authority(self.t, name, self.dir, cn)

    def place(self, text, instead):
        """Puts INSTEAD where TEXT stands, which must be in the file."""
        assert text in self.text, "%s has no %s" % (self.name, text)
        self.text = self.text.replace(text, instead)

    def listener(self, text, host="127.0.0.1"):
        """The listener that the file has at TEXT ("tls:0.0.0.0:5061"), at a free port of HOST."""
        transport, port = text.split(":")[0], self.t.port()
        self.place('"%s"' % text, '"%s:%s:%d"' % (transport, host, port))
        self.d.ports.setdefault((transport, "127.0.0.1"), port)
        return port

    def host(self):
        """A loopback address that no other peer has."""
        self.hosts += 1
        return "127.0.0.%d" % self.hosts

    def peer(self, uri, transport, ctx=None, host=None, name="bob", **policy):
        """A callee in the place of the peer that the file has at URI; its address is agent.host."""
        host = host or self.host()
        agent = self.t.uas(transport, name=name, host=host, ctx=ctx, **policy)
        agent.host = host
        self.place('"%s"' % uri, '"sip:%s:%d;transport=%s"' % (
            host, agent.listener(transport).port, transport))
        return agent

    def context(self, leaf=None, trust=(), server=False):
        """A TLS context of a peer: the certificate LEAF and the authorities TRUST, by file name."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        for name in trust:
            ctx.load_verify_locations(os.path.join(self.dir, name + ".pem"))
        ctx.verify_mode = ssl.CERT_REQUIRED if trust else ssl.CERT_NONE
        if leaf:
            ctx.load_cert_chain(os.path.join(self.dir, leaf + ".pem"),
                                os.path.join(self.dir, leaf + ".key"))
        return ctx

    def check(self):
        """The file as it stands in the tree passes `tieline check` with its certificates beside it."""
        path = os.path.join(self.dir, self.name)
        with open(os.path.join(TOP, "configs", self.name), encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        p = subprocess.run([self.t.tieline, "check", "-c", path], capture_output=True, text=True,
                           timeout=90 * self.t.slow, check=False)
        assert p.returncode == 0, "%s: %s" % (self.name, p.stderr)
        return self

    def start(self):
        """Starts the daemon. Left out: what needs a journal or another account; timers are short."""
        text = re.sub(r"(?m)^(control_socket|user|log_target|log_level|workers)\s*=.*$", "",
                      self.text)
        short = "t1 = 50ms t2 = 200ms t4 = 200ms\n"
        if re.search(r"(?m)^timeouts \{", text):
            text = text.replace("timeouts {", "timeouts {\n" + short)
        else:
            text += "\ntimeouts { %s }\n" % short
        self.d.write('control_socket = "%s"\nworkers = 2\n%s' % (self.d.socket, text))
        return self.d.start()
