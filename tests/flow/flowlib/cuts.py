# SPDX-License-Identifier: Apache-2.0
"""Message sequences for the tests of segmentation, and a fast pair of peers that plays them.

The peers run in one thread over epoll and keep no dialogs: what they do well is to put exact
pieces of a stream on the wire, one TCP segment or TLS record each, and to compare bytes.
"""
import re
import select
import socket
import ssl
import time

from . import sip

SERIAL = b"########"                     # stands for the branch's serial number in a sequence
_TOKEN = re.compile(rb";tl=[0-9a-z_.-]+")      # its age and connections differ
_TOP_BRANCH = re.compile(rb"branch=z9hG4bK[^;,\r\n]*")
_ANSWERED = re.compile(rb"(?im)^(?:via|v|from|f|to|t|call-id|i|cseq)[ \t]*:.*\r\n(?:[ \t].*\r\n)*")
_LENGTH = re.compile(rb"(?im)^(?:content-length|l)[ \t]*:\s*(\d+)\s*$")


class Maker:
    """Builds the messages of one sequence. USER names it in the Request-URI."""

    def __init__(self, user, callee):
        self.user, self.callee, self.n = user, callee, 0

    def request(self, method="OPTIONS", body=b"", extra=b"", first=b"", to=b"", length=True,
                via=b"Via: SIP/2.0/%T 127.0.0.1:9;branch=z9hG4bK%B;rport\r\n", names=None,
                route=b""):
        """One request. FIRST and EXTRA are header lines at the top and at the end; LENGTH False
        leaves Content-Length to them; NAMES exchanges header names."""
        self.n += 1
        branch = SERIAL + self.user + b"%x" % self.n
        out = b"%b sip:%b@127.0.0.1:%d;transport=tcp SIP/2.0\r\n" % (method.encode(), self.user,
                                                                      self.callee)
        head = (first + via.replace(b"%B", branch) + route + b"Max-Forwards: 70\r\n"
                b"From: <sip:a@x>;tag=1\r\nTo: <sip:b@y>" + to + b"\r\n"
                b"Call-ID: %b%d\r\nCSeq: %d %b\r\n" % (self.user, self.n, self.n, method.encode()))
        if method in ("INVITE", "SUBSCRIBE"):
            head += b"Contact: <sip:a@127.0.0.1:9;transport=tcp>\r\n"
        head += extra
        if length:
            head += b"Content-Length: %d\r\n" % len(body)
        for old, new in (names or {}).items():
            head = re.sub(rb"(?m)^%b:" % old, new + b":", head)
        return out + head + b"\r\n" + body

    def stray(self):
        """A response to nothing: it must be dropped."""
        return (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKnone\r\n"
                b"From: <sip:a@x>;tag=1\r\nTo: <sip:b@y>;tag=2\r\nCall-ID: none\r\n"
                b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")


SHORT = {b"Via": b"v", b"From": b"f", b"To": b"t", b"Call-ID": b"i", b"Contact": b"m",
         b"Content-Length": b"l"}
LOWER = {b"Via": b"via", b"From": b"FROM", b"Call-ID": b"call-id", b"Content-Length":
         b"content-LENGTH", b"Max-Forwards": b"MAX-forwards"}
METHODS = ("OPTIONS", "MESSAGE", "INFO", "PUBLISH", "NOTIFY", "REFER", "UPDATE", "PRACK",
           "SUBSCRIBE", "BYE", "HELLO")
BODIES = (b"hello", b"\r\n", b"\r\n\r\n", b"a\r\n\r\nb\r\n\r\n", bytes(range(256)), b"\0" * 40,
          b"OPTIONS sip:x@y SIP/2.0\r\nContent-Length: 9\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n",
          b"Content-Length: 5\r\n\r\n12345", b"\n\n\r\r", b" \tfold", b"x" * 300)
HEADS = (b"Subject: one\r\n two\r\n\tthree\r\n", b"X: Content-Length: 7\r\n",
         b"X: a\r\n Content-Length: 7\r\n", b"X:\r\nY:   \r\nZ: \t\r\n",
         b'Warning: 399 a "q\\"\\\\, Content-Length: 3"\r\n', b"X-Content-Length: 44\r\n",
         b"X-Long: " + b"v" * 240 + b"\r\n", b"Supported: 100rel\r\nk: path,\r\n timer\r\n",
         b"X-Utf8: \xc3\xa4\xe2\x82\xac\r\n", b"Accept: */*\r\nAccept:\r\n")
FOLDED_VIA = (b"Via: SIP/2.0/%T\r\n 127.0.0.1:9\r\n ;branch=z9hG4bK%B\r\n\t;rport\r\n")
TWO_VIAS = (b"Via: SIP/2.0/%T 127.0.0.1:9;branch=z9hG4bK%B, SIP/2.0/UDP h;branch=z9hG4bKo\r\n")


def sequences(callee, transport, count=50):
    """COUNT pairs: a text with SERIAL in it, and where in it the messages end that must arrive."""
    out = []

    def add(build):
        text, ends = b"", []
        for part in build(Maker(b"s%02d" % len(out), callee)):
            text += part.replace(b"%T", transport.upper().encode())
            if not part.startswith((b"\r\n", b"SIP/2.0 ")) and part:
                ends.append(len(text))
        out.append((text, ends))

    for method in METHODS:
        add(lambda m, w=method: [m.request(w), m.request(w, b"12")])
    for body in BODIES:
        add(lambda m, b=body: [m.request("MESSAGE", b), m.request()])
    for head in HEADS:
        add(lambda m, h=head: [m.request(extra=h), m.request("INFO", b"body", first=h)])
    for crlf in (b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"):
        add(lambda m, c=crlf: [m.request(), c, m.request("MESSAGE", b"x\r\n"), c, m.request()])
    add(lambda m: [b"\r\n\r\n", m.request("MESSAGE", b"\r\n\r\n")])
    for names in (SHORT, LOWER):
        add(lambda m, n=names: [m.request("MESSAGE", b"abc", names=n), m.request(names=n)])
    for via in (FOLDED_VIA, TWO_VIAS):
        add(lambda m, v=via: [m.request(via=v), m.request("MESSAGE", b"abc", via=v)])
    for length in (b"Content-Length:   4  \r\n", b"Content-Length\t: 4\r\n",
                   b"Content-Length:\r\n 4\r\n", b"l:004\r\n"):
        add(lambda m, x=length: [m.request("MESSAGE", b"1234", first=x, length=False),
                                 m.request("MESSAGE", b"4321", extra=x, length=False)])
    add(lambda m: [m.request("INVITE", sip.SDP), m.request("ACK", to=b";tag=2")])
    add(lambda m: [m.request("INVITE", names=SHORT), m.stray(), m.request("INFO", b"x")])
    add(lambda m: [m.stray(), m.request(), b"\r\n", m.stray()])
    add(lambda m: [m.request() for _ in range(4)])
    while len(out) < count:
        n = len(out)
        add(lambda m, k=n: [m.request(METHODS[k % 9], BODIES[k % 12], HEADS[k % 10]),
                            b"\r\n" * (k % 3), m.request(extra=HEADS[k % 7])])
    return out[:count]


class Caller:
    """One connection to the daemon that sends exact pieces and counts what comes back."""

    def __init__(self, port, ctx=None):
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf, self.answers, self.pongs, self.tls = b"", 0, 0, None
        if ctx:
            self.bio_in, self.bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = ctx.wrap_bio(self.bio_in, self.bio_out, server_hostname="proxy")
            while True:
                try:
                    self.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.sock.sendall(self.bio_out.read())
                    self.bio_in.write(self.sock.recv(65536))
            self.sock.sendall(self.bio_out.read())

    def send(self, *parts):
        """Each of PARTS a TLS record of its own, all in one segment; over TCP a segment each."""
        if self.tls:
            for part in parts:
                self.tls.write(part)
            self.sock.sendall(self.bio_out.read())
        else:
            for part in parts:
                self.sock.sendall(part)

    def read(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise AssertionError("the daemon closed a caller's connection")
        if self.tls:
            self.bio_in.write(data)
            data = b""
            try:
                while True:
                    data += self.tls.read(1 << 18)
            except ssl.SSLWantReadError:
                pass
        self.buf += data
        at = 0
        while True:
            if self.buf.startswith(b"\r\n", at):
                self.pongs, at = self.pongs + 1, at + 2
                continue
            end = self.buf.find(b"\r\n\r\n", at)
            if end < 0:
                break
            status = int(self.buf[at + 8:at + 12])
            assert status in (100, 200), "an answer from the proxy: %r" % self.buf[at:end]
            self.answers += status == 200
            at = end + 4
        self.buf = self.buf[at:]


class Rig:
    """Callers over TRANSPORT, one for each sequence, and a callee over TCP that answers 200."""

    def __init__(self, t, d, transport):
        self.t, self.wait_s = t, 10 * t.slow
        self.lis = socket.create_server(("127.0.0.1", t.port()))
        pairs = sequences(self.lis.getsockname()[1], transport)
        self.texts, self.ends = [p[0] for p in pairs], [p[1] for p in pairs]
        ctx = t.client_ctx() if transport == "tls" else None
        self.callers = [Caller(d.port(transport), ctx) for _ in self.texts]
        self.poll = select.epoll()
        self.owner = {self.lis.fileno(): self.lis}
        self.poll.register(self.lis, select.EPOLLIN)
        for c in self.callers:
            self.owner[c.sock.fileno()] = c
            self.poll.register(c.sock, select.EPOLLIN)
        self.legs, self.got = {}, [[] for _ in self.texts]
        self.sent, self.arrived = [0] * len(self.texts), [0] * len(self.texts)
        self.answered = [0] * len(self.texts)

    def close(self):
        for c in self.callers:
            c.sock.close()
        for conn in self.legs:
            conn.close()
        self.lis.close()
        self.poll.close()

    def text(self, i, serial):
        return self.texts[i].replace(SERIAL, b"%08x" % serial)

    def send(self, i, *parts):
        self.callers[i].send(*parts)
        self.sent[i] += sum(len(p) for p in parts)

    def due(self, i):
        """How many messages of sequence I must be at the callee by now."""
        copies, rest = divmod(self.sent[i], len(self.texts[i]))
        return copies * len(self.ends[i]) + sum(e <= rest for e in self.ends[i])

    def run(self):
        """Works until all that was sent has arrived and its answers are back."""
        end = time.monotonic() + self.wait_s
        due = [self.due(i) for i in range(len(self.texts))]
        while any(n < want or c.answers < a for n, want, c, a in zip(
                self.arrived, due, self.callers, self.answered)):
            self._turn(0.5)
            self.t.check_daemons()
            assert time.monotonic() < end, "in vain; sequence, due, arrived: %s; at hand %s" % (
                [(i, due[i], n) for i, n in enumerate(self.arrived) if n < due[i]],
                [b[:400] for b in self.legs.values() if b])

    def drain(self):
        """Reads what has arrived already."""
        while self._turn(0):
            pass

    def _turn(self, wait_s):
        events = self.poll.poll(wait_s)
        for fd, _ in events:
            who = self.owner[fd]
            if who is self.lis:
                conn = self.lis.accept()[0]
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.legs[conn], self.owner[conn.fileno()] = b"", conn
                self.poll.register(conn, select.EPOLLIN)
            elif isinstance(who, Caller):
                who.read()
            else:
                self._callee(who)
        return events

    def _callee(self, conn):
        data = conn.recv(1 << 18)
        assert data, "the daemon closed its connection to the callee"
        buf, at, answers = self.legs[conn] + data, 0, []
        while True:
            end = buf.find(b"\r\n\r\n", at)
            if end < 0:
                break
            head = buf[at:end + 2]
            size = _LENGTH.findall(head)
            assert len(size) == 1, "Content-Length at the callee: %r" % head
            stop = end + 4 + int(size[0])
            if len(buf) < stop:
                break
            user = re.match(rb"[A-Z]+ sip:s(\d\d)@", head)
            assert user, "no request at the callee: %r" % head[:200]
            seq = int(user.group(1))
            self.got[seq].append(buf[at:stop])
            self.arrived[seq] += 1
            if not head.startswith(b"ACK "):
                answers.append(self._answer(head))
                self.answered[seq] += 1
            at = stop
        self.legs[conn] = buf[at:]
        if answers:
            conn.sendall(b"".join(answers))

    @staticmethod
    def _answer(head):
        lines = b"".join(_ANSWERED.findall(head))
        if head.startswith(b"INVITE "):
            lines = re.sub(rb"(?im)^(to|t)( *:[^\r]*)", rb"\1\2;tag=2", lines)
            lines += b"Contact: <sip:b@127.0.0.1:9;transport=tcp>\r\n"
        return b"SIP/2.0 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n"

    def take(self, i):
        """What arrived of sequence I since the last call, made comparable: {serial: messages}, the
        serial and the daemon's own branch taken out."""
        out = {}
        for raw in self.got[i]:
            text = _TOKEN.sub(b";tl=", _TOP_BRANCH.sub(b"branch=", raw, count=1))
            hit = re.search(rb"z9hG4bK([0-9a-f]{8})s", text)
            assert hit, "a message without the caller's branch: %r" % raw
            out.setdefault(int(hit.group(1), 16), []).append(
                text.replace(hit.group(1), SERIAL, 1))
        self.got[i] = []
        return out

    def pongs(self):
        """Pongs for each sequence since the last call."""
        out = [c.pongs for c in self.callers]
        for c in self.callers:
            c.pongs = 0
        return out
