# SPDX-License-Identifier: Apache-2.0
"""Peers and surroundings that are no help to TLS records, in the kernel or in user space: tiny records,
half ones, a reset behind them, receive buffers that run out, the least windows, TCP without memory; and
records of random size both ways for a while, every byte compared. TIELINE_SOAK_S says for how long (`make
soak SECONDS=600`).
"""
import contextlib
import itertools
import os
import random
import socket
import ssl
import threading
import time

import pytest
from flowlib import sip, ua
from flowlib.steps import Bystander, options_works, pattern

pytestmark = pytest.mark.kernel_tls

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def ask(agent, conn, method, uri, body=b""):
    """A request's bytes, its key and its body."""
    data, key = agent.make(conn, method, uri, body=body)
    agent.expect(key)
    return data, key, body


def check_answers(agent, asked):
    """Each of ASKED is answered 200 with its own body."""
    for _, key, body in asked:
        rsp = agent.final(key)
        assert rsp.status == 200 and rsp.body == body, (key, rsp)
        agent.forget(key)


@contextlib.contextmanager
def sysctl(**values):
    """Sets those of net.ipv4 while it lasts; only in the machine, which is ours alone."""
    if not os.environ.get("TIELINE_VM"):
        pytest.skip("it changes TCP of the whole machine: only in the kernel-TLS machine")
    before = {}
    try:
        for name, value in values.items():
            path = "/proc/sys/net/ipv4/" + name
            with open(path, encoding="ascii") as f:
                before[path] = f.read()
            with open(path, "w", encoding="ascii") as f:
                f.write(value)
        yield
    finally:
        for path, value in before.items():
            with open(path, "w", encoding="ascii") as f:
                f.write(value)


def tiny_answers(listener):
    """From now on connections to LISTENER send records of one byte."""
    def begin(stream):
        stream.send = lambda data: stream.send_records(data, itertools.repeat(1))
    listener.on_conn = begin


@pytest.mark.timeout(120)
def test_f1_ten_thousand_records_of_one_byte(t):
    """A caller and a callee of 10,000 records of one byte each: every message is answered, in order and
    whole, and others are served all the while."""
    d = t.daemon(timeouts={"message": t.ms(60000)})
    alice, bob = t.uac(), t.uas("tls")
    tiny_answers(bob.listener("tls"))
    w = Bystander(t, d)
    for version in VERSIONS:
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        asked = [ask(alice, conn, "MESSAGE", t.uri(bob, "tls"), pattern(size, size))
                 for size in (0, 6000, 1, 700, 0, 2000)]
        stream = b"".join(data for data, _, _ in asked)
        assert len(stream) >= 10000
        bob.seen.clear()
        conn.send_records(stream, itertools.repeat(1))
        w.check()
        check_answers(alice, asked)
        w.check()
        assert [(m.key(), m.body) for m in bob.seen] == [(key, body) for _, key, body in asked]
        conn.close()
    if not t.kernel_tls:
        assert d.counter("records.in") >= 40000


def test_s13_half_a_record(t):
    """Peers that stop in mid-record: where the kernel has the keys it says nothing of a part of a record,
    so that the idle timer ends them, else timeouts.message; the part of a message that came before counts
    for timeouts.message in both. A request whose answer stops so is answered 408. Nothing is left."""
    d = t.daemon(timeouts={"message": "1s", "idle": "2s", "timer_f": "3s"})
    uri, mallory = t.uri(t.uas("tls"), "tls"), t.uac("mallory")
    fresh, begun = [], []
    for version, part in itertools.product(VERSIONS, (3, 13, 200)):
        for conns, before in ((fresh, b""), (begun, b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\n")):
            conn = t.dial(mallory, d, "tls", ctx=t.client_ctx(version=version))
            if before:
                conn.send(before)
            conn.send_part(mallory.make(conn, "OPTIONS", uri)[0], part)
            conns.append(conn)
    for conn in fresh + begun:
        t.wait(conn.closed.is_set, "the end of half a record")
        assert conn.how == "close_notify", conn.how
    idle = len(fresh) if t.kernel_tls else 0
    assert d.counter("connections.idle_closed") == idle
    assert d.counter("connections.message_timeout") == len(fresh + begun) - idle
    d.wait_log("only in part.*timeouts.message")
    assert d.counter("unfinished.bytes") == 0


def test_s13_half_an_answer(t):
    """A callee that stops in the middle of the record of its answer: the caller gets 408, or 503 where
    timeouts.message has ended the callee before, whose connection ends by a timer in any case."""
    d = t.daemon(timeouts={"message": "1s", "idle": "2s", "timer_b": "3s"})
    alice = t.uac()
    for version in VERSIONS:
        bob = t.uas("tls", ctx=t.server_ctx(version=version), silent=True)
        call = ua.Call(alice, t.dial(alice, d, "tls"), t.uri(bob, "tls")).send()
        where, req = bob.next_request("INVITE")
        where.send_part(sip.response(req, 200, to_tag="x"), 100)
        assert call.final().status in (408, 503)
        t.wait(where.closed.is_set, "the end of the callee")
        assert where.how == "close_notify", where.how
        options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(t.uas("tls"), "tls"))


def shows(d, conn):
    """Does the daemon have the peer's CONN?"""
    return conn.hostport in [c["peer"] for c in d.connections()]


def test_f1_reset_behind_records(t):
    """What a peer sent before its reset is handled, then its connection ends."""
    d = t.daemon(timeouts={"timer_f": t.ms(1000)})
    alice, bob = t.uac(), t.uas("tls", silent=True)
    uri = t.uri(bob, "tls")
    for n, version in enumerate(VERSIONS * 5):
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        t.wait(lambda c=conn: shows(d, c), "our end of the handshake")
        asked = [ask(alice, conn, "MESSAGE", uri, pattern(500, 10 * n + i)) for i in range(5)]
        conn.send_records(b"".join(data for data, _, _ in asked), itertools.repeat(len(asked[0][0])))
        conn.reset()
        for _, key, body in asked:
            req = bob.next_request("MESSAGE")[1]
            assert (req.key(), req.body) == (key, body)
        t.wait(lambda c=conn: not shows(d, c), "the end of the connection that was reset")


def test_f1_receive_buffers_run_out(t):
    """More than the ring of receive buffers holds, from many at once: none of it is lost."""
    d = t.daemon(workers=1, limits={"recv_buffers": 8})
    alice, bob = t.uac(), t.uas("tls")
    uri = t.uri(bob, "tls")
    conns = [t.dial(alice, d, "tls", ctx=t.client_ctx(version=VERSIONS[i % 2])) for i in range(10)]
    for turn in range(10):
        asked = []
        for i, conn in enumerate(conns):
            asked.append(ask(alice, conn, "MESSAGE", uri, pattern(80000, 100 * turn + i)))
            threading.Thread(target=conn.send, args=(asked[-1][0],)).start()
        check_answers(alice, asked)
        if d.counter("receives.no_buffer"):
            return
    raise AssertionError("the buffers never ran out")


def least_windows(t, d):
    """Messages of some records between peers that take as little at once as TCP permits."""
    alice, bob = t.uac(), t.uas(name="narrow")
    bob.listen("tls", "127.0.0.1", t.port(), t.server_ctx(), rcvbuf=1)
    conn = t.dial(alice, d, "tls", rcvbuf=1)
    for size in (1, 3000, 40000):
        asked = [ask(alice, conn, "MESSAGE", t.uri(bob, "tls"), pattern(size, i)) for i in range(2)]
        conn.send(b"".join(data for data, _, _ in asked))
        check_answers(alice, asked)


def test_f1_least_windows_of_peers(t):
    """Peers whose receive buffer is the least that there is."""
    least_windows(t, t.daemon())


@pytest.mark.alone
def test_f1_least_windows_everywhere(t):
    """The same, and our receive buffers are no larger."""
    with sysctl(tcp_rmem="4096 4096 4096"):
        least_windows(t, t.daemon())


@contextlib.contextmanager
def hoard():
    """Connections beside ours that hold some megabytes of TCP's memory, unread."""
    with contextlib.ExitStack() as stack:
        lis = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(8):
            out = stack.enter_context(socket.create_connection(lis.getsockname()))
            stack.enter_context(lis.accept()[0])
            out.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    out.send(bytes(1 << 16))
        yield


def memory_pressures():
    """How often TCP of this machine has come under memory pressure."""
    with open("/proc/net/netstat", encoding="ascii") as f:
        names, values = [line.split() for line in f if line.startswith("TcpExt:")]
    return int(values[names.index("TCPMemoryPressures")])


class Hopeful(threading.Thread):
    """Sends one message of some records on CONN, or on a connection that it opens first."""

    def __init__(self, t, d, uri, number, conn=None):
        super().__init__(daemon=True)
        self.agent, self.conn, self.number, self.uri = t.uac("hopeful%d" % number), conn, number, uri
        self.dial = lambda: t.dial(self.agent, d, "tls", ctx=t.client_ctx(version=VERSIONS[number % 2]))
        self.asked = None

    def run(self):
        with contextlib.suppress(OSError, ssl.SSLError):       # that it ends is an answer, too
            self.conn = self.conn or self.dial()
            self.asked = ask(self.agent, self.conn, "MESSAGE", self.uri, pattern(30000, self.number))
            self.conn.send(self.asked[0])

    def check(self):
        """It was answered whole, or it cannot be."""
        if self.asked and not self.conn.closed.is_set():
            with contextlib.suppress(ua.Timeout):
                check_answers(self.agent, [self.asked])
                return True
            assert self.conn.closed.is_set(), "neither answered nor ended"
        return False


@pytest.mark.alone
@pytest.mark.timeout(150)
def test_f1_tcp_without_memory(t):
    """TCP of the whole machine beyond its memory (net.ipv4.tcp_mem) for some seconds, while keys are
    installed and messages of some records are under way: when there is memory again each is answered whole
    or its connection has ended, what is left serves, and nothing stays behind."""
    d = t.daemon(timeouts={k: t.ms(30000) for k in ("hello", "handshake", "send", "message")})
    bob = t.uas("tls")
    uri = t.uri(bob, "tls")
    early = [Hopeful(t, d, uri, i) for i in range(3)]
    for h in early:
        h.conn = h.dial()
    before = memory_pressures()
    with hoard(), sysctl(tcp_mem="1 1 1"):
        hopeful = early + [Hopeful(t, d, uri, i) for i in range(3, 7)]
        for h in hopeful:
            h.start()
        t.wait(lambda: memory_pressures() > before, "TCP to lack memory")
        time.sleep(2)                   # some of it shall meet the shortage
    for h in hopeful:
        h.join()
    answered = [h for h in hopeful if h.check()]
    for h in answered:
        options_works(t, d, h.agent, h.conn, uri)
    late = t.uac("late")
    options_works(t, d, late, t.dial(late, d, "tls"), uri)


# -- random records for a while


class Echo(ua.Ua):
    """A callee that answers with what it got, in records of random size, and keeps nothing."""

    def __init__(self, rng, wait_s):
        super().__init__("echo", wait_s)
        self.rng = rng

    def on_request(self, conn, msg):
        data = sip.response(msg, 200, to_tag="e", body=msg.body)
        conn.send_records(data, sizes(self.rng))


def sizes(rng):
    """Of records: from one byte to a whole one, small and large alike often."""
    while True:
        yield rng.randint(1, 1 << rng.randint(0, 14))


class Talker(threading.Thread):
    """Sends messages of random size in records of random size until END, and compares what comes."""

    def __init__(self, t, d, uri, number, end):
        super().__init__(daemon=True)
        self.rng, self.uri, self.end = random.Random(number), uri, end
        self.agent, self.pool = t.uac("talker%d" % number), pattern(300000, number)
        self.conn = t.dial(self.agent, d, "tls", ctx=t.client_ctx(version=VERSIONS[number % 2]))
        self.messages = self.bytes = 0
        self.fault = None

    def run(self):
        try:
            while time.monotonic() < self.end:
                self.talk(self.rng.randint(1, 4))
        except Exception as e:          # pylint: disable=broad-exception-caught
            self.fault = e              # told by the test

    def talk(self, n):
        asked = []
        for _ in range(n):
            size = self.rng.randint(0, 1 << self.rng.randint(4, 17))
            at = self.rng.randint(0, len(self.pool) - size)
            asked.append(ask(self.agent, self.conn, "MESSAGE", self.uri, self.pool[at:at + size]))
        self.conn.send_records(b"".join(data for data, _, _ in asked), sizes(self.rng))
        check_answers(self.agent, asked)
        self.messages += n
        self.bytes += sum(len(body) for _, _, body in asked)


@pytest.mark.timeout(900)
def test_f1_soak(t):
    """Callers and callees with records of random size both ways: every byte comes back as it was sent."""
    seconds = float(os.environ.get("TIELINE_SOAK_S", "3"))
    d = t.daemon()
    echoes = []
    for i, version in enumerate(VERSIONS):
        echoes.append(Echo(random.Random(100 + i), 60 * t.slow))
        t.agents.append(echoes[-1])
        echoes[-1].listen("tls", "127.0.0.1", t.port(), t.server_ctx(version=version))
    end = time.monotonic() + seconds
    talkers = [Talker(t, d, t.uri(echoes[i // 2], "tls"), i, end) for i in range(4)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join()
    faults = [talker.fault for talker in talkers if talker.fault]
    assert not faults, faults
    stats, messages = d.counters(), sum(x.messages for x in talkers)
    assert stats["messages.in.tls"] == 2 * messages
    figures = ["messages %d" % messages, "bytes of bodies %d" % sum(x.bytes for x in talkers)]
    figures += ["%s %d" % (k, stats[k]) for k in ("bytes.in.tls", "bytes.out.tls", "receives", "sends",
                                                   "receives.no_buffer")]
    print("soak: there and back, all compared: " + ", ".join(figures), flush=True)
