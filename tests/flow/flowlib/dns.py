# SPDX-License-Identifier: Apache-2.0
"""A small name server, and daemons that ask it."""
import os
import socket
import struct
import subprocess
import threading

TYPES = {1: "A", 28: "AAAA", 33: "SRV", 35: "NAPTR"}


def _name(text):
    labels = [x for x in text.rstrip(".").split(".") if x]
    return b"".join(bytes([len(x)]) + x.encode() for x in labels) + b"\0"


def _text(text):
    return bytes([len(text)]) + text.encode()


def _data(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "SRV":                   # (priority, weight, port, target)
        return struct.pack("!HHH", *value[:3]) + _name(value[3])
    # NAPTR: (order, preference, flags, service, regexp, replacement)
    return struct.pack("!HH", *value[:2]) + b"".join(_text(v) for v in value[2:5]) + _name(value[5])


class NameServer:
    """Answers from ZONE, {(name, type): [data]}, which may be changed; other names do not exist.
    SILENT: never answers."""

    def __init__(self, zone=None, silent=False, ttl=60, port=0):
        self.zone, self.silent, self.ttl = zone or {}, silent, ttl
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        self.port, self.asked = self.sock.getsockname()[1], []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        """The server is gone: its port answers by ICMP."""
        self.sock.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join()
        self.sock.close()

    def _run(self):
        while True:
            query, where = self.sock.recvfrom(4096)
            if not query:
                return
            name, kind, question = _question(query)
            self.asked.append((name, kind))
            if not self.silent:
                self.sock.sendto(self._answer(query, name, kind, question), where)

    def _answer(self, query, name, kind, question):
        found = self.zone.get((name, kind), [])
        known = any(n == name for n, _ in self.zone)
        out = query[:2] + (b"\x85\x80" if known else b"\x85\x83")      # QR AA RD RA, NXDOMAIN
        out += struct.pack("!HHHH", 1, len(found), 0, 0) + question
        for value in found:
            data = _data(kind, value)
            out += _name(name) + question[-4:] + struct.pack("!IH", self.ttl, len(data)) + data
        return out


def _question(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1").lower())
        at += query[at] + 1
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    return ".".join(labels), TYPES.get(kind, kind), query[12:at + 5]


def question_of(query):
    """The question section of QUERY as it stands."""
    return _question(query)[2]


def use(t, port, hosts=None):
    """Daemons started from now on see another /etc/resolv.conf, and /etc/hosts if HOSTS is its text,
    in a mount namespace."""
    files = {"resolv.conf": "nameserver 127.0.0.1\nport %d\n" % port}
    if hosts is not None:
        files["hosts"] = hosts
    mounts = []
    for name, text in files.items():
        path = os.path.join(t.dir, "%s-%d" % (name, port))
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        mounts.append("mount --bind %s /etc/%s" % (path, name))
    mount = " && ".join(mounts)
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], stderr=subprocess.DEVNULL,
                      check=False).returncode:
        t.skip("cannot have an /etc/resolv.conf of its own here")
    program = os.path.join(t.dir, "daemon-%d" % port)
    with open(program, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexec unshare -m sh -c '%s && exec \"$@\"' sh %s \"$@\"\n" % (
            mount, t.options.tieline))
    os.chmod(program, 0o755)
    t.tieline = program
