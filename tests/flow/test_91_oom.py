# SPDX-License-Identifier: Apache-2.0
"""The daemon while one allocation in a thousand fails (tests/support/preload/failing_malloc.c): a
request is answered or its loss is counted, a handshake or a reload is refused and the next one works,
and when memory is there again nothing is left behind.
"""
import mmap
import os
import struct

import pytest
from flowlib import host
from flowlib.steps import options_works
from flowlib.ua import Call, Timeout

pytestmark = pytest.mark.host_only("memory is asked for above the records; the library is the host's")

LOSSES = ("drops.nomem", "drops.no_route_back", "drops.queue_full", "drops.send", "drops.stray_response",
          "drops.stray_ack", "mailbox.full", "transactions.timeout")


class Shortage:
    """What the daemon and the test share: one allocation in EVERY fails."""

    def __init__(self, t):
        self.library = os.path.join(os.path.dirname(host.tieline()), "support", "failing_malloc.so")
        if t.sanitized:
            t.skip("a sanitizer has an allocator of its own")
        self.file = os.path.join(t.dir, "shortage")
        with open(self.file, "w+b") as f:
            f.write(struct.pack("4Q", 0, 42, 0, 0))
            f.flush()
            self.map = mmap.mmap(f.fileno(), 32)
        self.environ = {"LD_PRELOAD": self.library, "TIELINE_OOM": self.file}

    def set(self, every):
        self.map[:8] = struct.pack("Q", every)

    def end(self):
        """There is memory again; there must have been too little."""
        self.set(0)
        asked, refused = struct.unpack("2Q", self.map[16:32])
        assert refused > 0, "nothing was refused of %d allocations" % asked


def begin(t, transports, **conf):
    s = Shortage(t)
    bob = t.uas(*transports)
    d = t.daemon(start=False, **conf)
    d.start(environ=s.environ)
    return s, bob, d


def losses(d):
    return sum(d.counter(name) for name in LOSSES)


def is_closed(conn):
    """Has the daemon closed it? A flow over UDP has no end."""
    return getattr(conn, "closed", None) is not None and conn.closed.is_set()


def send_some(agent, conn, method, uri, n):
    made = [agent.make(conn, method, uri) for _ in range(n)]
    for data, key in made:
        agent.expect(key)
        conn.send(data)
    return [key for _, key in made]


def unanswered(t, agent, keys):
    """How many of KEYS have no final response, not even late."""
    missing = 0
    for key in keys:
        try:
            agent.final(key, 0.2 if missing else 12 * t.slow)
        except Timeout:
            missing += 1
        agent.forget(key)
    return missing


def send_rounds(t, d, agent, conns, uri, rounds):
    """Requests on each of CONNS, in rounds; how many found no answer though their connection lives."""
    missing = 0
    for i in range(rounds):
        for conn in [c for c in conns if not is_closed(c)]:
            method = ("OPTIONS", "MESSAGE", "INFO")[i % 3]
            gone = unanswered(t, agent, send_some(agent, conn, method, uri, 20))
            missing += gone if not is_closed(conn) else 0
    return missing


@pytest.mark.timeout(240)
def test_1_oom_requests_are_answered_or_counted(t):
    """Over each transport, thousands of requests while one allocation in a thousand fails and then
    one in fifty: who finds no answer is no more than what was counted as lost."""
    transports = ("udp", "tcp", "tls")
    s, bob, d = begin(t, transports)
    alice = t.uac()
    conns = [t.dial(alice, d, tr) for tr in transports]
    for conn in conns:
        options_works(t, d, alice, conn, t.uri(bob, conn.transport))
    missing = before = losses(d)
    for every, rounds in ((1000, 30), (50, 10)):
        s.set(every)
        for to in transports:
            missing += send_rounds(t, d, alice, conns, t.uri(bob, to), rounds)
    s.end()
    lost = losses(d)
    assert missing <= lost, "%d requests without an answer, %d counted as lost" % (
        missing - before, lost - before)
    for tr in transports:
        conn = t.dial(alice, d, tr)
        options_works(t, d, alice, conn, t.uri(bob, tr))


@pytest.mark.timeout(240)
def test_1_oom_calls_handshakes_and_commands(t):
    """Calls are set up or refused, handshakes fail and are counted, commands are answered or refused,
    and a reload that found no memory leaves the old configuration; then all works again."""
    s, bob, d = begin(t, ("tcp", "tls"))
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    Call(alice, conn, t.uri(bob, "tcp")).answered().bye()
    s.set(1000)
    called = refused = 0
    for i in range(60):
        try:
            if is_closed(conn):
                conn = t.dial(alice, d, "tcp")
            call = Call(alice, conn, t.uri(bob, ("tcp", "tls")[i % 2])).send()
            if call.final(15 * t.slow).status == 200:
                call.ack()
                call.request("BYE", timeout_s=15 * t.slow)
                called += 1
            else:
                refused += 1
        except (Timeout, OSError):
            refused += 1
    assert called > refused, "%d calls, %d refused" % (called, refused)
    shaken = try_handshakes(t, alice, d, 30)
    told = try_commands(d, 30)
    s.end()
    print("%d calls, %d refused; %d of 30 handshakes, %d of 120 commands" % (called, refused, shaken, told))
    t.wait(lambda: d.counter("handshakes.now") == 0, "the handshakes to end")
    assert d.counter("handshakes.ok") + d.counter("handshakes.failed.*") >= 30
    d.ctl("reload")
    for transport in ("tcp", "tls"):
        Call(alice, t.dial(alice, d, transport), t.uri(bob, transport)).answered().bye()


def try_handshakes(t, agent, d, n):
    done = 0
    for _ in range(n):
        try:
            t.dial(agent, d, "tls").close()
            done += 1
        except (OSError, AssertionError):
            pass
    return done


def try_commands(d, n):
    done = 0
    for _ in range(n):
        for command in ("stats", "connections", "peers", "reload"):
            try:
                d.rpc(command)
                done += 1
            except (OSError, AssertionError, ValueError):
                pass
    return done
