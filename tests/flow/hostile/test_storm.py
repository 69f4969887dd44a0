# SPDX-License-Identifier: Apache-2.0
"""A hostile hour in small: for `--hostile SECONDS` strangers send what they like on every transport
while one honest caller goes on. Afterwards the daemon must have answered him all the time, be at
rest, end with 0, and no sanitizer may have written a word. `make check-hostile` builds the daemon
with AddressSanitizer for it; `--seed` sends the same again.
"""
import multiprocessing
import os
import random
import select
import socket
import ssl
import time

import pytest
from flowlib import dns, host, mutate

ODD_RECORDS = os.path.join(host.build(), "support", "odd_records")


def attacker(rng):
    """An address on loopback that is nobody's."""
    return "127.66.%d.%d" % (rng.randrange(256), rng.randrange(1, 255))


def stream_to(port, rng, ctx=None):
    s = socket.socket()
    s.settimeout(3)
    s.bind((attacker(rng), 0))
    s.connect(("127.0.0.1", port))
    return ctx.wrap_socket(s, server_hostname="proxy.example") if ctx else s


def pour(s, data, rng):
    """DATA in pieces, reading what comes back now and then."""
    while data:
        n = rng.choice((1, 7, 100, 5000, 5000, 70000))
        s.sendall(data[:n])
        data = data[n:]
    s.settimeout(0.01)
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass
    s.settimeout(3)


# Each storm is a process: storm(rng, end, count, ...) adds to COUNT what it has sent.


def storm_udp(rng, end, count, port, targets):
    m = mutate.Mutator(rng, targets)
    while time.monotonic() < end:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((attacker(rng), 0))
            for _ in range(50):
                s.sendto(m.next(b"UDP")[:65000], ("127.0.0.1", port))
                count.value += 1
        time.sleep(0.002)


def storm_stream(rng, end, count, port, targets, tls):
    m = mutate.Mutator(rng, targets)
    ctx = None
    if tls:
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    while time.monotonic() < end:
        try:
            with stream_to(port, rng, ctx) as s:
                for _ in range(rng.choice((1, 5, 30))):
                    pour(s, m.next(b"TLS" if tls else b"TCP"), rng)
                    count.value += 1
        except OSError:
            pass


def client_hello(rng):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tls = ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname="h%d.example" % rng.randrange(99))
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return bytearray(out.read())


def storm_hello(rng, end, count, port):
    waiting = []
    while time.monotonic() < end:
        hello = client_hello(rng)
        for _ in range(rng.choice((0, 0, 1, 4, 20))):
            hello[rng.randrange(len(hello))] = rng.randrange(256)
        if rng.random() < 0.6:
            del hello[rng.randrange(len(hello)):]
        try:
            s = stream_to(port, rng)
            for byte in ((hello,) if rng.random() < 0.8 else (hello[:9], hello[9:])):
                s.sendall(byte)
            waiting.append(s)
            count.value += 1
        except OSError:
            pass
        if len(waiting) > 100:
            waiting.pop(rng.randrange(100)).close()


def storm_callee(rng, end, count, lis, udp):
    """Whom the storms call: takes all, answers some, and some of it wrong. Ends with its callers."""
    m = mutate.Mutator(rng, [b"sip:x"])
    sockets = [lis, udp]

    def answer(data):
        head = [x for x in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
                if x[:4].lower() in (b"via:", b"from", b"to: ", b"call", b"cseq")]
        status = rng.choice((b"100 Trying", b"180 Ringing", b"200 OK", b"302 M", b"404 N", b"503 S"))
        out = b"SIP/2.0 " + status + b"\r\n" + b"\r\n".join(head) + b"\r\nContent-Length: 0\r\n\r\n"
        count.value += 1
        return m.spoil(out) if rng.random() < 0.5 else out

    while time.monotonic() < end:
        for s in select.select(sockets, [], [], 0.2)[0]:
            try:
                if s is lis:
                    sockets.append(s.accept()[0])
                    sockets[-1].settimeout(1)
                    continue
                data, where = s.recvfrom(65536)
                if not data and s is not udp:
                    raise ConnectionError
                if data and rng.random() < 0.5:
                    s.sendto(answer(data), where) if s is udp else s.sendall(answer(data))
            except OSError:
                sockets.remove(s)
                s.close()


def over_tcp(rng, conn, answer):
    """One question of a connection: its answer, whole or not, with others behind it, or the end."""
    conn.settimeout(1)
    size = int.from_bytes(conn.recv(2, socket.MSG_WAITALL), "big")
    query = conn.recv(size, socket.MSG_WAITALL) if size else b""
    if len(query) < max(17, size) or rng.random() < 0.2:
        raise ConnectionError
    for _ in range(rng.choice((1, 1, 3))):
        out = answer(query)
        size = len(out) if rng.random() < 0.8 else rng.choice((0, 1, 12, 65535))
        conn.sendall(size.to_bytes(2, "big") + out)


def storm_dns(rng, end, count, udp, lis):
    """The name server: what it says of names is what an enemy would."""
    real = [socket.inet_aton("127.0.0.1"), b"\0\1\0\1\x13\xc4\xc0\x0c",
            b"\0\1\0\1\1s\7SIP+D2T\0\xc0\x0c", b"\0\1\0\1\1s\7SIP+D2U\0\4_sip\4_udp\xc0\x0c"]
    sockets = [udp, lis]

    def answer(query):
        question = dns.question_of(query)
        count.value += 1
        return mutate.dns_answer(rng, query, question, int.from_bytes(question[-4:-2], "big"), real)

    while time.monotonic() < end + 5:
        for s in select.select(sockets, [], [], 0.2)[0]:
            try:
                if s is udp:
                    query, where = udp.recvfrom(4096)
                    for _ in range(rng.choice((0, 1, 1, 1, 3))):
                        udp.sendto(answer(query), where)
                elif s is lis:
                    sockets.append(lis.accept()[0])
                else:
                    over_tcp(rng, s, answer)
            except (OSError, ValueError):       # a socket's, or no question
                if s not in (udp, lis):
                    sockets.remove(s)
                    s.close()


def storm_ctl(rng, end, count, ctl, config, text):
    """Reloads of good and bad files, and every question that ctl knows."""
    while time.monotonic() < end:
        bad = rng.random() < 0.3
        with open(config + ".new", "w", encoding="utf-8") as f:
            # what is cut between two blocks would be a good file without its routes
            f.write(text[:rng.randrange(len(text))] + "\n}}}" if bad else text)
        os.rename(config + ".new", config)
        for method in (b"reload", b"connections", b"stats", b"peers", b"nonsense"):
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(20)
                    s.connect(ctl)
                    s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"%s"}\n' % method)
                    s.recv(65536)
                    count.value += 1
            except OSError:
                pass
        time.sleep(0.3)
    with open(config, "w", encoding="utf-8") as f:
        f.write(text)


class Storms:
    """The processes, each with a generator of its own that the seed decides."""

    def __init__(self, seed, end):
        self.seed, self.end, self.running, self.counts = seed, end, [], {}

    def begin(self, name, func, *args):
        count = self.counts[name] = multiprocessing.Value("Q", 0)
        rng = random.Random("%d %s" % (self.seed, name))
        p = multiprocessing.get_context("fork").Process(target=func,
                                                        args=(rng, self.end, count) + args)
        p.daemon = True
        p.start()
        self.running.append(p)

    def over(self):
        for p in self.running:
            p.join(60)
            assert p.exitcode == 0, "a storm ended with %s" % p.exitcode
        return {name: c.value for name, c in self.counts.items()}


def odd_records(t, port):
    return [t.spawn([ODD_RECORDS, "--port", str(port), "--source", "127.67.0.%d" % (i + 1),
                     "--seconds", str(t.options.hostile), "--seed", str(t.options.seed + i)])
            for i in range(2)]


def honest_request(t, agent, conn, uri):
    """One OPTIONS that must be answered 200; a datagram is repeated, it may find a full socket."""
    data, key = agent.make(conn, "OPTIONS", uri)
    answers = agent.expect(key)
    end = time.monotonic() + 20 * t.slow
    while conn.transport == "udp" and answers.empty() and time.monotonic() < end:
        conn.send(data)
        time.sleep(0.2)
    if conn.transport != "udp":
        conn.send(data)
    status = agent.final(key).status
    assert status == 200, "an honest request over %s got %d" % (conn.transport, status)


def honest(t, d, agent, bob, end):
    """Requests over TLS, TCP and UDP until END; how many."""
    done = 0
    conns = [t.dial(agent, d, transport) for transport in ("tls", "tcp", "udp")]
    while time.monotonic() < end:
        for conn in conns:
            honest_request(t, agent, conn, t.uri(bob, "tcp"))
            done += 1
        t.check_daemons()
    return done


@pytest.mark.timeout(1200)
def test_s_hostile_hour_in_small(t):
    """DESIGN 8; every point of docs/security.md at once."""
    seconds, seed = t.options.hostile, t.options.seed
    print("storm: %g seconds, seed %d" % (seconds, seed))
    assert t.sanitized, "this daemon would hide what the storm finds: it has no sanitizer"
    names, names_tcp = socket.socket(type=socket.SOCK_DGRAM), socket.create_server(
        ("127.0.0.1", t.port()))
    names.bind(names_tcp.getsockname())
    dns.use(t, names.getsockname()[1])
    bob = t.uas("tcp")
    lis, udp = socket.create_server(("127.0.0.1", t.port())), socket.socket(type=socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", t.port()))
    d = t.daemon(timeouts={"timer_b": "5s", "timer_f": "5s", "timer_c": "10s"})
    targets = [b"sip:carol@127.0.0.1:%d;transport=tcp" % lis.getsockname()[1],
               b"sip:carol@127.0.0.1:%d" % udp.getsockname()[1],
               b"sip:127.0.0.1", b"sip:b@127.0.0.1:9;transport=tls"]
    targets += [b"sip:b@h%d.example" % i for i in range(40)]
    end = time.monotonic() + seconds
    storms = Storms(seed, end)
    storms.begin("datagrams", storm_udp, d.port("udp"), targets)
    storms.begin("messages over TCP", storm_stream, d.port("tcp"), targets, False)
    storms.begin("messages over TLS", storm_stream, d.port("tls"), targets, True)
    storms.begin("ClientHellos", storm_hello, d.port("tls"))
    storms.begin("responses", storm_callee, lis, udp)
    storms.begin("DNS answers", storm_dns, names, names_tcp)
    storms.begin("ctl requests", storm_ctl, d.socket, d.config_file, d.config())
    for s in (lis, udp, names, names_tcp):
        s.close()
    hammers = odd_records(t, d.port("tls"))
    answered = honest(t, d, t.uac(), bob, end)
    sent = storms.over()
    for i, p in enumerate(hammers):
        assert p.wait(60) == 0, "odd_records could not work"
        with open(os.path.join(t.dir, "out.%d" % i), encoding="utf-8") as f:
            sent["odd records, client %d" % i] = f.read().strip()
    for what, n in sent.items():
        print("storm: %s: %s" % (what, n))
        assert n, "nothing was sent: " + what
    print("storm: %d honest requests answered" % answered)
