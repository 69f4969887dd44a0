# SPDX-License-Identifier: Apache-2.0
"""A proxy as the benchmarks start it: configuration, start, readiness, end. bench/run and
bench/records share it.

`opt` of a Subject holds: proxy_core; of a Tieline also tieline (the binary), records (or None) and
conf (lines that its configuration gets besides)."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

LAB = """listen "tls:127.0.0.1:{tls}" {{ tls_domain = "lab" }}
listen "tcp:127.0.0.1:{plain}" {{}}
listen "udp:127.0.0.1:{plain}" {{}}
control_socket = "{dir}/lab.sock"
{extra}tls_domain "lab" {{
  certificate = "proxy.pem"   private_key = "proxy.key"   ca_list = "ca.pem"
  verify_cert = false   require_cert = false
}}
route "all" {{ relay = "request-uri" tls_domain = "lab" }}
"""


class SetUpError(Exception):
    pass


def free_ports(n):
    """Neighbouring ports below the ephemeral range that nobody listens on."""
    for first in range(21000 + os.getpid() % 400 * 16, 32000, 16):
        held = []
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                for port in range(first, first + n):
                    s = socket.socket(socket.AF_INET, kind)
                    held.append(s)
                    s.bind(("127.0.0.1", port))
            return list(range(first, first + n))
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise SetUpError("no free ports")


class Subject:
    """A proxy under test: started pinned, asked for its pid, stopped by it."""

    def __init__(self, opt, work, ports):
        self.opt, self.work, self.ports = opt, work, ports
        self.proc = None
        self.env = {}  # besides what this process has

    def command(self):
        raise NotImplementedError

    def address(self, transport):
        return f"{transport}:127.0.0.1:{self.ports[1 if transport == 'tls' else 0]}"

    def start(self):
        self.log = open(self.work / f"{self.letter}.log", "ab")
        self.proc = subprocess.Popen(
            ["taskset", "-c", str(self.opt.proxy_core)] + self.command(),
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, cwd=self.work,
            env={**os.environ, "STATE_DIRECTORY": str(self.work), **self.env})
        self.wait_ready()

    def wait_ready(self):
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                break
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.ports[1])) == 0:
                    time.sleep(0.2)
                    return
            time.sleep(0.05)
        text = Path(self.log.name).read_text(errors="replace")[-2000:]
        raise SetUpError(f"{self.name} did not start:\n{text}")

    def pid(self):
        return self.proc.pid

    def stop(self):
        if not self.proc:
            return
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            print(f"{self.name}: did not stop within 10 s of SIGTERM", file=sys.stderr)
            self.proc.kill()
            self.proc.wait()
        self.proc = None
        self.log.close()

    def load_arguments(self):
        return ["--prime"]

    def facts(self):
        return {}


class Tieline(Subject):
    letter, name = "t", "tieline"

    def command(self):
        conf = self.work / "lab.conf"
        extra = f"records = {self.opt.records}\n" if self.opt.records else ""
        extra += "".join(line + "\n" for line in self.opt.conf)
        conf.write_text(LAB.format(tls=self.ports[1], plain=self.ports[0], dir=self.work,
                                   extra=extra))
        return [self.opt.tieline, "run", "-c", str(conf), "--workers", "1", "--handshakers", "1"]

    def ctl(self, *words):
        r = subprocess.run([self.opt.tieline, "ctl", "-s", str(self.work / "lab.sock"), *words,
                            "--json"], capture_output=True, text=True, timeout=20, check=False)
        try:
            return json.loads(r.stdout)
        except ValueError:
            return {}

    def facts(self):
        """Taken under load: which records the live connections use, and what seals them."""
        seen = {}
        for c in find_all(self.ctl("connections"), "ktls_tx"):
            how = (f"tx {'kernel' if c['ktls_tx'] else 'user space (' + c.get('ktls_tx_reason', '?') + ')'}, "
                   f"rx {'kernel' if c['ktls_rx'] else 'user space (' + c.get('ktls_rx_reason', '?') + ')'}")
            seen[how] = seen.get(how, 0) + 1
        version = self.ctl("version")
        return {"records": seen, "aead": version.get("aead", "?"),
                "version": version.get("version", "?")}


def find_all(node, key):
    if isinstance(node, dict):
        if key in node:
            yield node
        for v in node.values():
            yield from find_all(v, key)
    elif isinstance(node, list):
        for v in node:
            yield from find_all(v, key)
