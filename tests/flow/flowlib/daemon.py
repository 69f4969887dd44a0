# SPDX-License-Identifier: Apache-2.0
"""Starts the real daemon with a generated configuration, talks to its control socket, and judges
at the end of a test what it left behind: transactions, queues, descriptors, its exit status and
what a sanitizer or the watchdog wrote.
"""
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time

_SANITIZER = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:"
                        r"|Assertion .* failed|stack smashing|watchdog: worker \d+")


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)   # PR_SET_PDEATHSIG


def quote(value):
    return '"%s"' % value


def block(kind, title, options):
    """One configuration block; list values become { "a", "b" }, numbers and flags stand bare. A
    dictionary holds blocks inside, by their titles."""
    lines = ["%s%s {" % (kind, " " + quote(title) if title else "")]
    for key, value in options.items():
        if isinstance(value, dict):
            lines += [block(key, inner, o) for inner, o in value.items()]
            continue
        if isinstance(value, (list, tuple)):
            text = "{ %s }" % ", ".join(quote(v) for v in value)
        elif isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int) or re.fullmatch(r"\d+(ms|s|m|h|k)?", value):
            text = str(value)
        else:
            text = quote(value)
        lines.append("  %s = %s" % (key, text))
    return "\n".join(lines + ["}"])


class Daemon:
    """One tieline process. ENV gives binary, directories and ports (see env.Env)."""

    def __init__(self, env, name="tieline"):
        self.env, self.dir = env, os.path.join(env.dir, name)
        os.makedirs(self.dir)
        self.config_file = os.path.join(self.dir, "tieline.conf")
        self.socket = os.path.join(self.dir, "ctl.sock")
        self.log_file = os.path.join(self.dir, "stderr")
        self.proc = None
        self.ports = {}             # (transport, family digit) -> port
        self.parts = []
        self.fds_at_start = None
        self.expect_exit = 0
        self.expect_report = False  # of the watchdog, see test_96_watchdog.py
        self.keeps = 0              # connections to another daemon that outlive the peers

    # -- configuration

    def configure(self, workers=2, handshakers=1, listen=("tls", "tcp", "udp"), hosts=("127.0.0.1",),
                  domain=None, domains=(), peers=(), groups=(), routes=None, timeouts=None, limits=None,
                  extra="", listen_options=None):
        """Writes the configuration. DOMAIN updates the TLS domain "lab"; DOMAINS, PEERS, GROUPS and
        ROUTES are lists of (title, options)."""
        out = ["workers = %d" % workers, "handshakers = %d" % handshakers,
               "control_socket = %s" % quote(self.socket), "log_level = \"info\"", extra]
        if "key_file" not in extra:
            out.append("key_file = %s" % quote(os.path.join(self.dir, "token.keys")))
        if "peer_state_file" not in extra:
            out.append("peer_state_file = %s" % quote(os.path.join(self.dir, "peers.json")))
        for host in hosts:
            for transport in listen:
                port = self.ports.setdefault((transport, host), self.env.port())
                where = "%s:%s:%d" % (transport, "[%s]" % host if ":" in host else host, port)
                options = {"tls_domain": "lab"} if transport == "tls" else {}
                options.update(listen_options or {})
                out.append(block("listen", where, options))
        lab = {"certificate": self.env.pki("proxy.pem"), "private_key": self.env.pki("proxy.key"),
               "ca_list": self.env.pki("ca.pem"), "verify_cert": False, "require_cert": False}
        lab.update(domain or {})
        out.append(block("tls_domain", "lab", {k: v for k, v in lab.items() if v is not None}))
        out += [block("tls_domain", *d) for d in domains]
        out += [block("peer", *p) for p in peers] + [block("group", *g) for g in groups]
        if routes is None:
            routes = [("all", {"relay": "request-uri", "tls_domain": "lab",
                                "preloaded_route": "allow"})]
        out += [block("route", *r) for r in routes]
        # short T1 so that transactions of UDP end within a test (64 * T1); who answers may be slow
        times = {"t1": "50ms", "t2": "200ms", "t4": "200ms", "timer_b": self.env.ms(8000),
                 "timer_f": self.env.ms(8000)}
        times.update(timeouts or {})
        out.append(block("timeouts", None, times))
        if limits:
            out.append(block("limits", None, limits))
        self.write("\n".join(out) + "\n")
        return self

    def write(self, text):
        with open(self.config_file, "w", encoding="utf-8") as f:
            f.write(text)

    def config(self):
        with open(self.config_file, encoding="utf-8") as f:
            return f.read()

    def port(self, transport, host="127.0.0.1"):
        return self.ports[(transport, host)]

    # -- life

    def start(self, args=(), environ=None):
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen(
                [self.env.tieline, "run", "-c", self.config_file] + list(args),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent,
                env={**os.environ, "STATE_DIRECTORY": self.dir, **(environ or {})})
        end = time.monotonic() + 30 * self.env.slow
        while True:
            if self.proc.poll() is not None:
                raise AssertionError("the daemon ended at start with %d: %s" % (
                    self.proc.returncode, self.log()[-2000:]))
            try:
                self.rpc("version")
                break
            except OSError:
                assert time.monotonic() < end, "the daemon did not come up: " + self.log()[-2000:]
                time.sleep(0.02)
        self.fds_at_start = self.fds()
        return self

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def stop(self, timeout_s=None):
        """SIGTERM; returns the exit status."""
        self.proc.send_signal(signal.SIGTERM)
        try:
            return self.proc.wait(timeout_s or 30 * self.env.slow)
        except subprocess.TimeoutExpired:
            raise AssertionError("the daemon did not end after SIGTERM") from None

    def restart(self):
        """Another process with the same configuration and state."""
        assert self.stop() == 0
        return self.start()

    def kill(self):
        if self.alive():
            self.proc.kill()
            self.proc.wait()

    def fds(self):
        return len(self.descriptors())

    def descriptors(self):
        """What each descriptor is, but for the resolver's sockets to name servers."""
        asking = set()
        for table in ("udp", "udp6"):
            try:
                with open("/proc/%d/net/%s" % (self.proc.pid, table), encoding="ascii") as f:
                    rows = [line.split() for line in f][1:]
            except FileNotFoundError:
                continue
            asking |= {"socket:[%s]" % r[9] for r in rows if r[2].endswith(":0035")}
        out = []
        for fd in os.listdir("/proc/%d/fd" % self.proc.pid):
            try:
                out.append(os.readlink("/proc/%d/fd/%s" % (self.proc.pid, fd)))
            except FileNotFoundError:
                pass
        return [link for link in out if link not in asking]

    def rss_kb(self):
        with open("/proc/%d/smaps_rollup" % self.proc.pid, encoding="ascii") as f:
            return int(re.search(r"^Rss:\s+(\d+) kB", f.read(), re.M).group(1))

    def log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as f:
            return f.read()

    def sanitizer_report(self):
        """What a sanitizer or the watchdog wrote, without the dump of memory at its end, or ""."""
        return self._log_and_report()[1]

    def _log_and_report(self):
        log = self.log()
        found = _SANITIZER.search(log)
        begin = log.rfind("\n", 0, found.start()) + 1 if found else len(log)
        return log[:begin], log[begin:].partition("\nShadow bytes")[0]

    def how_it_died(self):
        """The status, and the sentence of a sanitizer if there is one."""
        found = re.search(r"^SUMMARY: .*|.*runtime error: .*", self.sanitizer_report(), re.M)
        return "the daemon died with status %d%s" % (self.proc.returncode,
                                                     ": " + found.group(0) if found else "")

    def evidence(self):
        """For a failed test: the end of the log, alike lines once, what a sanitizer said behind it,
        and what the daemon shows."""
        log, report = self._log_and_report()
        out, before = [], None
        for line in log.splitlines():
            sentence = re.sub(r"[0-9a-f]+", "", line)
            if sentence != before:
                out.append(line[:400])
            before = sentence
        out = out[-15:] + report[:5000].splitlines()
        if self.alive():
            try:
                out.append("counters: " + ", ".join("%s=%d" % kv for kv in self.counters().items()
                                                    if kv[1]))
                out += ["connection: %s" % json.dumps(c) for c in self.connections()[:6]]
            except (OSError, AssertionError, ValueError) as e:
                out.append("it does not answer: %s" % e)
        return out

    def wait_log(self, pattern, timeout_s=None):
        """The first log line that matches; fails if none comes."""
        found = []

        def look():
            whole = self.log().rpartition("\n")[0]       # the last line may be half written
            found[:] = [line for line in whole.splitlines() if re.search(pattern, line)]
            return found
        self.env.wait(look, "a log line matching %r" % pattern, timeout_s)
        return found[0]

    # -- control socket

    def rpc_raw(self, line, timeout_s=None):
        """Sends one line, returns the line that comes back, parsed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout_s or 20 * self.env.slow)
            s.connect(self.socket)
            s.sendall(line.encode() + b"\n")
            buf = b""
            while not buf.endswith(b"\n"):
                chunk = s.recv(65536)
                if not chunk:
                    break
                buf += chunk
        return json.loads(buf)

    def rpc(self, method, params=None):
        """Result of a command, or AssertionError with the daemon's error."""
        req = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            req["params"] = params
        rsp = self.rpc_raw(json.dumps(req))
        assert rsp.get("id") == 7 and rsp.get("jsonrpc") == "2.0", rsp
        assert "result" in rsp, "ctl %s: %s" % (method, rsp.get("error"))
        return rsp["result"]

    def ctl(self, *args, check=True):
        """Runs `tieline ctl` itself; returns the finished process."""
        p = subprocess.run([self.env.tieline, "ctl", "-s", self.socket] + list(args),
                           capture_output=True, text=True, timeout=30 * self.env.slow, check=False)
        assert not check or p.returncode == 0, "ctl %s: %d %s%s" % (args, p.returncode, p.stdout,
                                                                   p.stderr)
        return p

    def counters(self):
        return self.rpc("stats")["counters"]

    def counter(self, name):
        """One counter's value; an unknown name is an error, a prefix ending in * is summed."""
        all_ = self.counters()
        if name.endswith("*"):
            hits = [v for k, v in all_.items() if k.startswith(name[:-1])]
            assert hits, "no counter %s" % name
            return sum(hits)
        return all_[name]

    def connections(self):
        """All of them: a worker that did not answer in time is asked again."""
        for _ in range(5):              # two seconds each
            said = self.rpc("connections")
            if said["complete"]:
                return said["connections"]
        raise AssertionError("a worker does not tell its connections")

    def wait_counter(self, name, at_least, timeout_s=None):
        self.env.wait(lambda: self.counter(name) >= at_least, "%s >= %d (is %d)" % (
            name, at_least, self.counter(name)), timeout_s)

    # -- verdict

    GAUGES = ("transactions.now", "sendq.bytes", "waiting.dial", "handshakes.now",
              "connections.now")

    def end_probes(self):
        """Nobody answers them any more, so that one would always be under way."""
        text = self.config()
        calm = re.sub(r"(?m)^  probe = .*$", "  probe = 0", text)
        if calm != text:
            self.write(calm)
            self.rpc("reload")

    def settle(self, timeout_s=None):
        """After every peer has closed: all gauges back at zero, descriptors where they began."""
        state = {}

        def quiet():
            now = self.counters()
            state.clear()
            now["connections.now"] = max(0, now["connections.now"] - self.keeps)
            state.update({g: now[g] for g in self.GAUGES if now[g] != 0})
            if self.fds() > self.fds_at_start + self.keeps:
                state["descriptors"] = "%d, at start %d: %s" % (self.fds(), self.fds_at_start,
                                                                self.descriptors())
            return not state
        try:
            self.env.wait(quiet, "the daemon to come to rest", timeout_s or 45)
        except AssertionError as e:
            raise AssertionError("%s: %s" % (e, state)) from None

    def finish(self, settle=True):
        """The end of a test: alive, at rest, ends by SIGTERM with 0, nothing from a sanitizer or
        the watchdog."""
        if self.proc is None:
            return
        if self.alive():
            if settle:
                self.end_probes()
                self.settle()
            self.check_records()
            self.stop()
        status = self.proc.returncode
        report = self.sanitizer_report()
        assert not report or self.expect_report, "report of a sanitizer or the watchdog: " + \
            report[:3000]
        assert status == self.expect_exit, "the daemon ended with status %d: %s" % (
            status, self.log()[-2000:])

    def check_records(self):
        """Where the kernel does TLS, every connection of every test must have been in it."""
        if self.env.kernel_tls and not self.env.allow_user_records:
            off = {k: v for k, v in self.counters().items() if k.startswith("ktls.off.") and v}
            assert not off, "TLS connections that stayed in user space: %s" % off
