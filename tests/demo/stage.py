# SPDX-License-Identifier: Apache-2.0
"""Sets the demo's stage: tieline, two stunnels and two SIPps; runs the calls; collects the facts.

Everything started here is ended here, by its own process object. Printing is show.py's.
"""
import csv
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import show

# configs/demo.conf says the first two; the others are ours alone.
PROXY_TLS, CALLEE_TLS = 15061, 16061
CALLER_PLAIN, CALLEE_PLAIN, CALLER_PORT = 16060, 16062, 16064

STUNNEL = """foreground = yes
pid =
syslog = no
debug = warning
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
sslVersion = TLSv%(version)s
[sip]
client = %(client)s
accept = 127.0.0.1:%(accept)d
connect = 127.0.0.1:%(connect)d
cert = %(cert)s.pem
key = %(cert)s.key
CAfile = %(pki)s/ca.pem
%(verify)s
"""


class Broken(Exception):
    """The demo cannot go on; the text says why."""


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG


class Stage:
    def __init__(self, options, version, work):
        self.o, self.version, self.work = options, version, work
        self.procs = []                             # (name, Popen, file of its output)

    def start(self, name, argv, **kw):
        path = os.path.join(self.work, name + ".out")
        with open(path, "wb") as out:
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, cwd=self.work,
                                 stderr=subprocess.STDOUT, preexec_fn=die_with_parent, **kw)
        self.procs.append((name, p, path))
        return p

    def said(self, name):
        """The end of what NAME printed, runs of the same sentence cut short."""
        path = next((p for other, _, p in self.procs if other == name), os.devnull)
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = f.read().strip().splitlines()
        out, before = [], None
        for line in lines:
            sentence = re.sub(r"[\d:.]+", "", line)
            if sentence != before:
                out.append(line[:300])
            before = sentence
        return "\n".join(out[-25:])

    def check(self):
        """Every helper still lives?"""
        for name, p, _ in self.procs:
            if p.poll() not in (None, 0):
                raise Broken("%s ended with status %d: %s" % (name, p.returncode,
                                                              self.said(name)))

    def wait_port(self, name, port):
        """Until NAME listens, seen in /proc so that nothing is disturbed by a trial connection."""
        end = time.monotonic() + 60
        while not listening(port):
            self.check()
            if time.monotonic() > end:
                raise Broken("%s does not listen on port %d: %s" % (name, port, self.said(name)))
            time.sleep(0.05)

    def end(self):
        for name, p, _ in reversed(self.procs):
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(30)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()


def listening(port):
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as f:
            if re.search(r": [0-9A-F]+:%04X [0-9A-F:]+ 0A " % port, f.read()):
                return True
    return False


def program(name):
    path = shutil.which(name) or shutil.which("/usr/bin/" + name)
    if not path:
        raise Broken("%s is not installed; `make deps` installs it" % name)
    return path


def sipp_has_tls(sipp):
    said = subprocess.run([sipp, "-v"], capture_output=True, text=True, check=False)
    return bool(re.search(r"SIPp v\S*TLS", said.stdout + said.stderr))


def ctl(stage, *command):
    p = subprocess.run([stage.o.tieline, "ctl", "-s", stage.socket] + list(command) + ["--json"],
                       capture_output=True, text=True, check=False)
    if p.returncode:
        raise Broken("tieline ctl %s: %s%s" % (command[0], p.stdout, p.stderr))
    return json.loads(p.stdout)


def tls_stat():
    try:
        with open("/proc/net/tls_stat", encoding="ascii") as f:
            return {k: int(v) for k, v in (line.split() for line in f)}
    except OSError:
        return {}


def start_tieline(s):
    conf = os.path.join(s.o.top, "configs", "demo.conf")
    s.socket = os.path.join(s.work, "tieline.sock")
    environ = dict(os.environ, TIELINE_PKI=s.o.pki, TIELINE_SOCKET=s.socket,
                   STATE_DIRECTORY=s.work)
    if s.o.inside:                          # an emulated processor may need a minute for a handshake
        patient = os.path.join(s.work, "patient.conf")
        with open(patient, "w", encoding="utf-8") as f:
            f.write('include("%s")\ntimeouts { handshake = 120s  connect = 120s  send = 120s\n'
                    '  timer_b = 120s  timer_f = 120s }\n' % conf)
        conf = patient
    if listening(PROXY_TLS):
        raise Broken("something listens on port %d already; is another demo running?" % PROXY_TLS)
    s.tieline = s.start("tieline", [s.o.tieline, "run", "-c", conf], env=environ)
    s.wait_port("tieline", PROXY_TLS)
    end = time.monotonic() + 60
    while not alive(s.socket):
        s.check()
        if time.monotonic() > end:
            raise Broken("tieline's control socket does not answer: " + s.said("tieline"))
        time.sleep(0.05)


def alive(path):
    with socket.socket(socket.AF_UNIX) as u:
        try:
            u.connect(path)
            return True
        except OSError:
            return False


def start_stunnel(s, name, client, accept, connect, cert):
    path = os.path.join(s.work, name + ".conf")
    verify = "verifyChain = yes\nsni = proxy.example\ncheckHost = proxy.example" if client else ""
    with open(path, "w", encoding="ascii") as f:
        f.write(STUNNEL % {"version": s.version, "client": "yes" if client else "no",
                           "accept": accept, "connect": connect, "pki": s.o.pki,
                           "cert": os.path.join(s.o.pki, cert), "verify": verify})
    s.start(name, [program("stunnel4"), path])
    s.wait_port(name, accept)


# SIPp gives up on itself when its timer is late, which an emulated processor makes it; and on a
# reliable transport nothing is to be sent twice.
SIPP = ["-i", "127.0.0.1", "-nostdin", "-nr", "-watchdog_interval", "0"]


def sipp_tls_args(s, cert):
    base = os.path.join(s.o.pki, cert)
    return ["-t", "l1", "-tls_cert", base + ".pem", "-tls_key", base + ".key", "-tls_version",
            s.version]


def start_callee(s, sipp, own_tls):
    port = CALLEE_TLS if own_tls else CALLEE_PLAIN
    s.callee = s.start("callee", [
        sipp, "-sf", os.path.join(s.o.top, "tests", "demo", "callee.xml"), *SIPP,
        "-p", str(port), "-m", str(s.o.calls), "-key", "contact",
        "127.0.0.1:%d" % CALLEE_TLS] + (sipp_tls_args(s, "callee") if own_tls else ["-t", "t1"]))
    s.wait_port("callee", port)


def start_caller(s, sipp, own_tls):
    target = PROXY_TLS if own_tls else CALLER_PLAIN
    s.caller = s.start("caller", [
        sipp, "127.0.0.1:%d" % target, "-sf",
        os.path.join(s.o.top, "tests", "demo", "caller.xml"), "-s", "callee", *SIPP,
        "-p", str(CALLER_PORT), "-m", str(s.o.calls), "-r", str(s.o.rate), "-l", "60",
        "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1",
        "-timeout", "600s", "-timeout_error"] +
        (sipp_tls_args(s, "client") if own_tls else ["-t", "t1"]))


def last_stat(s):
    """The newest line of SIPp's statistics, or None."""
    try:
        with open(os.path.join(s.work, "stat.csv"), encoding="ascii", errors="replace") as f:
            rows = [r for r in csv.DictReader(f, delimiter=";") if r.get("Retransmissions(C)")]
        return rows[-1] if rows else None
    except OSError:
        return None


def round_trips(s):
    """Milliseconds of every answer: {1: INVITE to 180, 2: BYE to 200}."""
    out = {1: [], 2: []}
    for path in glob.glob(os.path.join(s.work, "*_rtt.csv")):
        with open(path, encoding="ascii", errors="replace") as f:
            for line in f.read().splitlines()[1:]:
                parts = line.split(";")
                if len(parts) == 3 and parts[2] in ("1", "2"):
                    out[int(parts[2])].append(float(parts[1]))
    return out


def run_calls(s):
    """Waits for the caller, shows progress; keeps the connections as seen in mid-run."""
    seen = []
    began = time.monotonic()
    while s.caller.poll() is None:
        s.check()
        time.sleep(0.5)
        row = last_stat(s)
        if row:
            show.progress(int(row["SuccessfulCall(C)"]), int(row["FailedCall(C)"]), s.o.calls,
                          time.monotonic() - began)
        conns = ctl(s, "connections")["connections"]
        if len(conns) >= len(seen):
            seen = conns
        if time.monotonic() - began > 660:
            raise Broken("the calls do not come to an end")
    show.progress_end()
    return seen, time.monotonic() - began


def calls(options, version, work):
    """One pass of options.calls calls over TLS VERSION; returns the facts for show.table."""
    s = Stage(options, version, work)
    try:
        sipp = program("sipp")
        own_tls = sipp_has_tls(sipp)
        start_tieline(s)
        before = tls_stat()                 # tieline's own trial of every cipher is over
        start_callee(s, sipp, own_tls)
        if not own_tls:
            start_stunnel(s, "stunnel-callee", False, CALLEE_TLS, CALLEE_PLAIN, "callee")
            start_stunnel(s, "stunnel-caller", True, CALLER_PLAIN, PROXY_TLS, "client")
        start_caller(s, sipp, own_tls)
        conns, seconds = run_calls(s)
        stats = ctl(s, "stats")
        row = last_stat(s)
        if row is None:
            raise Broken("SIPp left no statistics: " + s.said("caller"))
        try:
            callee_status = s.callee.wait(20)
        except subprocess.TimeoutExpired:
            callee_status = -1
        after = tls_stat()
        facts = {"version": version, "seconds": seconds, "stats": stats, "connections": conns,
                 "done": int(row["SuccessfulCall(C)"]), "failed": int(row["FailedCall(C)"]),
                 "retransmissions": int(row["Retransmissions(C)"]), "rtt": round_trips(s),
                 "caller_status": s.caller.returncode, "callee_status": callee_status,
                 "tls_stat": {k: v - before.get(k, 0) for k, v in after.items()},
                 "own_tls": own_tls}
        s.tieline.send_signal(signal.SIGTERM)
        facts["tieline_status"] = s.tieline.wait(60)
        facts["said"] = {name: s.said(name) for name, _, _ in s.procs}
        return facts
    finally:
        s.end()
