# SPDX-License-Identifier: Apache-2.0
"""A small name server, tests/support/name_server.c, and daemons that ask it."""
import os
import socket
import struct
import subprocess
import threading

from . import host

TYPES = {1: "A", 28: "AAAA", 33: "SRV", 35: "NAPTR"}
NUMBERS = {word: str(number) for number, word in TYPES.items()}
PROGRAM = os.path.join(host.build(), "support", "name_server")


def _line(name, kind, value):
    """A record as the program reads it. VALUE: an address; SRV: (priority, weight, port, target);
    NAPTR: (order, preference, flags, service, regexp, replacement)."""
    parts = [value] if isinstance(value, str) else [str(v) or "-" for v in value]
    return " ".join([name, NUMBERS[kind]] + parts)


class NameServer:
    """Answers from ZONE, {(name, type): [data]}; other names do not exist. SILENT: never answers.
    UDP_SIZE: an answer over it keeps the records that fit and gets TC, and TCP has all."""

    def __init__(self, zone=None, silent=False, ttl=60, port=0, udp_size=4096):
        argv = [PROGRAM, str(port), str(ttl), str(udp_size)] + ["silent"] * silent
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                     bufsize=1)
        self.port = int(self.proc.stdout.readline().split()[1])
        self.zone, self.questions = dict(zone or {}), []
        self.change({})

    def _tell(self, text):
        self.proc.stdin.write(text)
        return list(iter(self.proc.stdout.readline, "ok\n"))

    def change(self, zone):
        """What ZONE has is so from now on."""
        self.zone.update(zone)
        lines = [_line(name, kind, v) for (name, kind), found in self.zone.items() for v in found]
        self._tell("\n".join(lines + ["end\n"]))

    def _asked(self, transport):
        for line in self._tell("asked\n"):
            name, kind, over, port, ident = line.split()
            self.questions.append((over, name.lower(), TYPES.get(int(kind), int(kind)),
                                   (int(port), int(ident))))
        return [q for q in self.questions if q[0] == transport]

    @property
    def asked(self):
        """(name, type) of the questions that came by UDP."""
        return [q[1:3] for q in self._asked("udp")]

    @property
    def asked_tcp(self):
        return [q[1:3] for q in self._asked("tcp")]

    @property
    def clients(self):
        """(port, id) of the questions that came by UDP."""
        return {q[3] for q in self._asked("udp")}

    def close(self):
        """The server is gone: its port answers by ICMP."""
        self.proc.stdin.close()
        self.proc.wait()


class Liar:
    """Stands at PORT before the name server at port TRUTH. By UDP REPLY(query, name, type) has the
    bytes to send, or None for what the server says; by TCP the server speaks."""

    def __init__(self, port, truth, reply):
        self.port, self.truth, self.reply, self.asked = port, ("127.0.0.1", truth), reply, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.tcp = socket.create_server(("127.0.0.1", port))
        for run in (self._run, self._run_tcp):
            threading.Thread(target=run, daemon=True).start()

    def _run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.connect(self.truth)
            while True:
                query, where = self.udp.recvfrom(4096)
                name, kind = _name_and_type(query)
                self.asked.append((name, kind))
                out = self.reply(query, name, kind)
                if out is None:
                    server.send(query)
                    out = server.recv(65536)
                self.udp.sendto(out, where)

    def _run_tcp(self):
        while True:
            with self.tcp.accept()[0] as conn, socket.create_connection(self.truth) as server:
                try:
                    while data := conn.recv(4096):
                        server.sendall(data)
                        conn.sendall(server.recv(65536))
                except OSError:
                    pass               # the asker has gone


def question_of(query):
    """The question section of QUERY as it stands."""
    return query[12:query.index(b"\0", 12) + 5]


def _name_and_type(query):
    question, labels, at = question_of(query), [], 0
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("latin-1").lower())
        at += question[at] + 1
    kind = struct.unpack("!H", question[at + 1:at + 3])[0]
    return ".".join(labels), TYPES.get(kind, kind)


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
