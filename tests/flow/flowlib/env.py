# SPDX-License-Identifier: Apache-2.0
"""What a test gets as its argument `t`: ports, certificates, peers, daemons, waits. It has them in
a directory of its own, and at the end judges what the daemons left behind.
"""
import os
import socket
import ssl
import subprocess
import time

import pytest

from . import daemon, net, ua

class Env:
    """One test's peers and daemons, all ended with it. RUN: see plugin.run_facts."""

    def __init__(self, run, index, name):
        self.options, self.name = run, name
        self.tieline = run.tieline
        self.slow = run.slow
        self.kernel_tls = run.kernel_tls
        self.sanitized = run.sanitized
        self.allow_user_records = False       # a test sets it when it forces user space
        self.dir = os.path.join(run.dir, "%03d-%s" % (index, name[:60]))
        self.dir += "-again" * os.path.exists(self.dir)
        os.makedirs(self.dir)
        os.environ["STATE_DIRECTORY"] = self.dir    # nobody shall meet the machine's own token keys
        self._next_port = run.port_base + index * 40 % 8000
        self.daemons, self.agents, self.procs, self._claims = [], [], [], []

    # -- resources

    def port(self):
        """A port free for TCP and UDP, IPv4 and IPv6, outside the ephemeral range. A name in the
        abstract namespace claims it until the test's process ends: tests beside this one, of other
        runs too, take another, though nobody listens yet."""
        while True:
            self._next_port += 1
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind("\0tieline-test-port-%d" % self._next_port)
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    for host in ("127.0.0.1", "::1"):
                        with socket.socket(net.family_of(host), kind) as s:
                            s.bind((host, self._next_port))
                self._claims.append(claim)
                return self._next_port
            except OSError:
                claim.close()

    def pki(self, name):
        return os.path.join(self.options.pki, name)

    def server_ctx(self, cert="callee", ask_client=False, version=None, ciphers=None):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(self.pki(cert + ".pem"), self.pki(cert + ".key"))
        if ask_client:
            ctx.load_verify_locations(self.pki("ca.pem"))
            ctx.verify_mode = ssl.CERT_REQUIRED
        self._limit(ctx, version, ciphers)
        return ctx

    def client_ctx(self, cert=None, version=None, ciphers=None, ca="ca"):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.load_verify_locations(self.pki(ca + ".pem"))
        if cert:
            ctx.load_cert_chain(self.pki(cert + ".pem"), self.pki(cert + ".key"))
        self._limit(ctx, version, ciphers)
        return ctx

    @staticmethod
    def _limit(ctx, version, ciphers):
        if version:
            ctx.minimum_version = ctx.maximum_version = version
        if ciphers:
            ctx.set_ciphers(ciphers)

    def daemon(self, name=None, start=True, **conf):
        d = daemon.Daemon(self, name or "tieline%d" % len(self.daemons))
        self.daemons.append(d)
        d.configure(**conf)
        return d.start() if start else d

    def uac(self, name="alice"):
        a = ua.Ua(name, 20 * self.slow)
        a.check = self.check_daemons
        self.agents.append(a)
        return a

    def uas(self, *transports, name="bob", host="127.0.0.1", ctx=None, **policy):
        """A callee listening on TRANSPORTS of HOST."""
        a = ua.Uas(name, 20 * self.slow, **policy)
        a.check = self.check_daemons
        self.agents.append(a)
        for tr in transports:
            a.listen(tr, host, self.port(), ctx or (self.server_ctx() if tr == "tls" else None))
        return a

    def dial(self, agent, d, transport, host="127.0.0.1", ctx=None, **kw):
        """A connection of AGENT to the daemon's listener."""
        if transport == "tls" and ctx is None:
            ctx = self.client_ctx()
        return agent.connect(transport, host, d.port(transport, host), ctx, **kw)

    def uri(self, agent, transport, host="127.0.0.1", user="bob"):
        """Where AGENT listens, as a Request-URI."""
        return "sip:%s@%s;transport=%s" % (user, agent.listener(transport, host).hostport, transport)

    def spawn(self, argv, **kw):
        """Another program, ended with the test."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", open(os.path.join(self.dir, "out.%d" % len(self.procs)), "wb"))
        kw.setdefault("stderr", subprocess.STDOUT)
        p = subprocess.Popen(argv, preexec_fn=daemon._die_with_parent, **kw)
        self.procs.append(p)
        return p

    def need(self, program):
        """Path of PROGRAM, or this test is skipped."""
        for d in os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/usr/bin"]:
            if os.access(os.path.join(d, program), os.X_OK):
                return os.path.join(d, program)
        pytest.skip("%s is not installed" % program)

    @staticmethod
    def skip(reason):
        pytest.skip(reason)

    def ms(self, value):
        """A time for the configuration, stretched on a slow machine."""
        return "%dms" % (value * self.slow)

    def check_growth(self, d, before_kb, limit_kb):
        """Has the daemon grown by no more than LIMIT_KB? A sanitizer keeps freed memory: not asked
        then."""
        grown = d.rss_kb() - before_kb
        assert self.sanitized or grown <= limit_kb, "grew by %d KB, limit %d" % (grown, limit_kb)

    def wait(self, cond, what, timeout_s=None):
        end = time.monotonic() + (timeout_s or 20) * self.slow
        pause = 0.005
        while not cond():
            self.check_daemons()
            assert time.monotonic() < end, "waited in vain for %s" % what
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)

    def check_daemons(self):
        """A daemon that died ends the test at once."""
        for d in self.daemons:
            if d.proc and d.proc.poll() not in (None, 0, d.expect_exit):
                raise AssertionError(d.how_it_died())

    def wait_port(self, port, host="127.0.0.1"):
        def up():
            for i, p in enumerate(self.procs):
                if p.poll() and os.path.exists(os.path.join(self.dir, "out.%d" % i)):
                    with open(os.path.join(self.dir, "out.%d" % i), errors="replace",
                              encoding="utf-8") as f:
                        raise AssertionError("%s ended: %s" % (p.args[:1], f.read()[-1500:]))
            try:
                socket.create_connection((host, port), 2).close()
                return True
            except OSError:
                return False
        self.wait(up, "port %d" % port)

    # -- end

    def close_peers(self):
        for a in self.agents:
            a.close()
        for p in self.procs:
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(5 * self.slow)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()

    def finish(self):
        self.close_peers()
        for d in self.daemons[::-1]:        # the later ones talk to the earlier ones
            d.finish()

    def helpers_said(self):
        """For a failed test: the end of what each program started by spawn printed."""
        out = []
        for i, p in enumerate(self.procs):
            path = os.path.join(self.dir, "out.%d" % i)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    lines = [x[:300] for x in f.read().splitlines() if x.strip()][-6:]
                out += ["-- %s, status %s:" % (" ".join(p.args[:2]), p.poll())] + lines
        return "".join(x + "\n" for x in out)

    def abandon(self):
        try:
            self.close_peers()
        finally:
            for d in self.daemons:
                d.kill()
