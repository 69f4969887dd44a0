# SPDX-License-Identifier: Apache-2.0
"""Finds, runs and reports the flow tests.

Each test is a function test_ID_what(t) and runs in a process of its own with its own directory,
ports and daemon, so that a test that hangs or crashes takes nothing with it.
"""
import argparse
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

from . import daemon, net, ua

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class Skip(Exception):
    """This test cannot run here; the text says why."""


def kernel_tls_here():
    """Does this kernel attach the TLS protocol to a socket?"""
    with socket.socket() as lis, socket.socket() as cli:
        lis.bind(("127.0.0.1", 0))
        lis.listen(1)
        cli.connect(lis.getsockname())
        try:
            cli.setsockopt(socket.IPPROTO_TCP, 31, b"tls")    # TCP_ULP
            return True
        except OSError:
            return False


def sanitizer_in(path):
    """Was this program built with a sanitizer?"""
    try:
        with open(path, "rb") as f:
            return bool(re.search(rb"__(asan|tsan|ubsan)_", f.read()))
    except OSError:
        return False


def emulated_cpu():
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            return "QEMU TCG" in f.read()
    except OSError:
        return False


class Env:
    """What a test gets: ports, certificates, peers, daemons, waits."""

    def __init__(self, options, index, name):
        self.options, self.name = options, name
        self.tieline = options.tieline
        self.slow = options.slow
        self.kernel_tls = options.kernel_tls
        self.sanitized = options.sanitized
        self.allow_user_records = False       # a test sets it when it forces user space
        self.dir = os.path.join(options.dir, "%03d-%s" % (index, name[:60]))
        os.makedirs(self.dir)
        self._next_port = options.port_base + index * 40 % 8000
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
        raise Skip("%s is not installed" % program)

    def skip(self, reason):
        raise Skip(reason)

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
                raise AssertionError("the daemon died with status %d" % d.proc.returncode)

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


def run_one(options, index, name, func, out):
    """In the child: runs one test, sends (verdict, detail) through the pipe OUT."""
    os.setpgid(0, 0)
    t = Env(options, index, name)
    try:
        func(t)
        t.finish()
        verdict = ("ok", "")
    except Skip as e:
        verdict = ("skip", str(e))
    except BaseException as e:
        lines = traceback.format_exception(type(e), e, e.__traceback__)
        detail = "".join(lines[-3:]) if isinstance(e, AssertionError) else "".join(lines)
        for d in t.daemons:
            if d.proc:
                detail += "-- the daemon:\n" + "\n".join(d.evidence()) + "\n"
        verdict = ("FAIL", detail + t.helpers_said())
    finally:
        try:
            t.abandon()
        except BaseException:
            pass
    out.send(verdict)
    out.close()
    sys.stdout.flush()
    os._exit(0)


def collect(folder):
    """(name, function) of every test, in file order."""
    tests = []
    for file in sorted(os.listdir(folder)):
        if re.fullmatch(r"test_\w+\.py", file):
            module = importlib.import_module(file[:-3])
            found = [(n, f) for n, f in vars(module).items()
                     if n.startswith("test_") and callable(f)]
            tests += [(n, f) for n, f in found]
    return tests


class Running:
    def __init__(self, options, index, name, func):
        self.name, self.func, self.began = name, func, time.monotonic()
        self.limit = getattr(func, "limit_s", 90) * options.slow
        self.pipe, child = multiprocessing.Pipe(duplex=False)
        self.proc = multiprocessing.get_context("fork").Process(
            target=run_one, args=(options, index, name, func, child))
        self.proc.start()
        child.close()

    def verdict(self):
        """(verdict, detail), or None while it runs."""
        if self.pipe.poll():
            try:
                v = self.pipe.recv()
            except EOFError:
                v = ("FAIL", "the test's process died")
        elif time.monotonic() - self.began > self.limit:
            v = ("FAIL", "not done after %d s" % self.limit)
        elif not self.proc.is_alive() and not self.pipe.poll():
            v = ("FAIL", "the test's process died")
        else:
            return None
        try:
            os.killpg(self.proc.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.proc.join()
        return v


def report(running, verdict, detail, tally, again):
    seconds = time.monotonic() - running.began
    tally[verdict] += 1
    if verdict == "skip":
        print("skip %s: %s" % (running.name, detail))
    else:
        print("%-4s %s (%.1f s)" % ("miss" if again else verdict, running.name, seconds))
        for line in detail.rstrip().splitlines() if detail else ():
            print("       " + line)
    sys.stdout.flush()


def run_all(options, tests, once_more=False, first=0):
    """The tally, and, where they are to run ONCE_MORE, the tests that failed without a sanitizer's
    report. FIRST: number of the first, for its directory and ports."""
    tally = {"ok": 0, "FAIL": 0, "skip": 0}
    failed = []
    todo = list(enumerate(tests, first))
    running = []
    while todo or running:
        # a test marked alone shares the machine with no other
        while todo and len(running) < options.jobs:
            index, (name, func) = todo[0]
            alone = getattr(func, "alone", False)
            if running and (alone or getattr(running[-1], "alone", False)):
                break
            todo.pop(0)
            running.append(Running(options, index, name, func))
            running[-1].alone = alone
        for r in list(running):
            v = r.verdict()
            if v:
                running.remove(r)
                again = v[0] == "FAIL" and once_more and "Sanitizer" not in (v[1] or "")
                report(r, v[0], v[1], tally, again)
                if again:
                    failed.append((r.name, r.func))
        time.sleep(0.02)
    return tally, failed


def run_again(options, tally, failed):
    """On an emulated processor four tests at a time can keep a peer waiting past every timer, and
    that looks like a fault of the daemon. What failed there ("miss") runs once more by itself; both
    outcomes stand in the output. More than a few failures are no accident."""
    if not failed:
        return
    if len(failed) > 5:
        for name, _ in failed:
            print("FAIL %s: one of too many to run again" % name)
        return
    print("once more, alone: " + ", ".join(name for name, _ in failed))
    options.jobs = 1
    options.port_base -= 5000
    second, _ = run_all(options, failed, first=500)
    tally["FAIL"] -= len(failed) - second["FAIL"]
    tally["ok"] += second["ok"]
    tally["skip"] += second["skip"]


def make_pki(options):
    """The certificates: build/pki of the tree if it is there or can be made, else a fresh set."""
    script = os.path.join(TOP, "tests", "support", "pki")
    for where in (os.path.join(TOP, "build", "pki"), os.path.join(options.dir, "pki")):
        p = subprocess.run([script, where], capture_output=True, text=True, check=False)
        if p.returncode == 0:
            return where
    sys.exit("cannot make certificates: " + p.stderr)


def main():
    ap = argparse.ArgumentParser(description="Runs the flow tests against the real daemon.")
    ap.add_argument("--filter", default="", help="regular expression on test names")
    ap.add_argument("--jobs", type=int, default=0, help="tests at the same time")
    ap.add_argument("--hostile", type=float, metavar="SECONDS",
                    help="the storm of hostile/ for so long instead; wants a build with a sanitizer")
    ap.add_argument("--seed", type=int, default=int(time.time()), help="of the storm")
    ap.add_argument("--list", action="store_true", help="print the names and end")
    ap.add_argument("--keep", action="store_true", help="keep the working directory")
    options = ap.parse_args()
    options.tieline = os.environ.get("TIELINE") or os.path.join(TOP, "build", "tieline")
    options.sanitized = sanitizer_in(options.tieline)
    options.slow = float(os.environ.get("TIELINE_SLOW") or (6 if emulated_cpu() else 1) *
                         (3 if options.sanitized else 1))
    options.jobs = options.jobs or 4
    options.kernel_tls = kernel_tls_here()
    if os.environ.get("TIELINE_VM") and not options.kernel_tls:
        print("this is the kernel-TLS machine, but its kernel attaches no TLS to sockets")
        print("0 passed, 1 failed")
        return 1
    options.port_base = 17000 + os.getpid() % 7 * 1000
    folder = os.path.join(TOP, "tests", "flow", "hostile" if options.hostile else "")
    sys.path.insert(0, folder)
    tests = [x for x in collect(folder)
             if re.search(options.filter, x[0])]
    if options.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not os.access(options.tieline, os.X_OK):
        print("no daemon at %s: build it first, or set TIELINE" % options.tieline)
        print("0 passed, 1 failed")
        return 1
    options.dir = tempfile.mkdtemp(prefix="tieline-flow.")
    try:
        options.pki = make_pki(options)
        print("flow tests: records in %s, %d at a time" % (
            "the kernel" if options.kernel_tls else "user space (this kernel has no TLS)",
            options.jobs))
        sys.stdout.flush()
        tally, failed = run_all(options, tests, emulated_cpu())
        run_again(options, tally, failed)
    finally:
        if options.keep:
            print("kept: " + options.dir)
        else:
            shutil.rmtree(options.dir, ignore_errors=True)
    print("%d passed, %d failed%s" % (tally["ok"], tally["FAIL"],
                                      ", %d skipped" % tally["skip"] if tally["skip"] else ""))
    return 0 if tally["FAIL"] == 0 else 1
