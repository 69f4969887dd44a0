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
    SILENT: never answers. UDP_SIZE: an answer over it keeps the records that fit and gets TC, and
    TCP has all. REPLY(query, name, type): the bytes to send instead, None for the usual ones."""

    def __init__(self, zone=None, silent=False, ttl=60, port=0, udp_size=4096, reply=None):
        self.zone, self.silent, self.ttl = zone or {}, silent, ttl
        self.udp_size, self.reply = udp_size, reply
        self.sock, self.tcp = _bind(port)
        self.port, self.asked, self.asked_tcp = self.sock.getsockname()[1], [], []
        self.clients = set()               # (port, id) of the questions that came by UDP
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        threading.Thread(target=self._run_tcp, daemon=True).start()

    def close(self):
        """The server is gone: its port answers by ICMP."""
        self.sock.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join()
        self.sock.close()
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()

    def _run(self):
        while True:
            query, where = self.sock.recvfrom(4096)
            if not query:
                return
            if len(query) < 17:
                continue               # a stranger's datagram
            name, kind, question = _question(query)
            self.asked.append((name, kind))
            self.clients.add((where[1], query[:2]))
            if self.silent:
                continue
            out = self.reply(query, name, kind) if self.reply else None
            out = out or self._answer(query, name, kind, question, self.udp_size)
            self.sock.sendto(out, where)

    def _run_tcp(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_tcp, args=(conn,), daemon=True).start()

    def _serve_tcp(self, conn):
        with conn, conn.makefile("rb") as f:
            try:
                while len(head := f.read(2)) == 2:
                    query = f.read(struct.unpack("!H", head)[0])
                    name, kind, question = _question(query)
                    self.asked_tcp.append((name, kind))
                    out = self._answer(query, name, kind, question, 65535)
                    conn.sendall(struct.pack("!H", len(out)) + out)
            except OSError:
                pass                   # the asker has gone

    def _answer(self, query, name, kind, question, room):
        found = self.zone.get((name, kind), [])
        known = any(n == name for n, _ in self.zone)
        flags, n, records = (0x8580 if known else 0x8583), 0, b""      # QR AA RD RA, NXDOMAIN
        for value in found:
            data = _data(kind, value)
            record = _name(name) + question[-4:] + struct.pack("!IH", self.ttl, len(data)) + data
            if 12 + len(question) + len(records) + len(record) > room:
                flags |= 0x0200                                        # TC
                break
            records, n = records + record, n + 1
        return query[:2] + struct.pack("!HHHHH", flags, 1, n, 0, 0) + question + records


def _bind(port):
    """A UDP and a TCP socket on the same port."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind(("127.0.0.1", port))
        try:
            tcp.bind(udp.getsockname())
            tcp.listen(16)
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
    raise OSError("no port that is free for both")


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
