# SPDX-License-Identifier: Apache-2.0
"""body_relay = splice: large bodies from socket to socket within the kernel, feature F2.

On the host TLS records are in user space, so that a TLS leg shows the fall-back; in the machine every
leg is spliced. What single records and segments can do is a matter of the unit tests (net_relay).
"""
import re
import socket
import struct
import subprocess
import threading

import pytest
from flowlib.steps import pattern

pytestmark = pytest.mark.kernel_tls

LIMITS = {"splice_body": "16k", "max_message": "20m", "send_buffer": "40m", "max_kept": "64m"}
SIZES = (16 << 10, 100001, 1 << 20, 16 << 20)


def splicing(t, **conf):
    limits = dict(LIMITS, **conf.pop("limits", {}))
    return t.daemon(workers=1, extra="body_relay = splice", limits=limits, **conf)


def stayed(d):
    return d.counter("bytes.spliced") + d.counter("bytes.sendfile")


def off(d):
    return {k: v for k, v in d.counters().items() if k.startswith("splice.off.") and v}


def message(t, agent, conn, uri, body, status=200, **kw):
    rsp = agent.request(conn, "MESSAGE", uri, body=body, timeout_s=60 * t.slow,
                        headers=[("Content-Type", "application/octet-stream")], **kw)
    assert rsp.status == status, rsp.status
    return rsp


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ("tcp-tcp", "tls-tls", "tls-tcp", "tcp-tls"))
def test_f2_bodies_of_any_size_and_way(t, way):
    """Request and response with the body: every byte arrives, and most never leave the kernel."""
    here, there = way.split("-")
    bob, alice = t.uas("tcp", "tls"), t.uac()
    d = splicing(t)
    conn, uri = t.dial(alice, d, here), t.uri(bob, there)
    message(t, alice, conn, uri, b"first")       # while it is dialed a message waits in user space
    in_kernel = t.kernel_tls or way == "tcp-tcp"
    for size in SIZES:
        body, before = pattern(size, size % 251), stayed(d)
        assert message(t, alice, conn, uri, body).body == body
        assert bob.seen[-1].body == body
        if in_kernel:
            assert stayed(d) - before >= size, "of %d bytes there and back" % (2 * size)
    if in_kernel:
        assert not off(d) and d.counter("bytes.spliced") > 0 and d.counter("bytes.sendfile") > 0
    else:
        assert sum(off(d).values()) >= len(SIZES), off(d)
    assert d.counter("splice.off.full") == 0


def test_f2_kept_for_failover(t):
    """The body is kept for the next target in a memfd, and leaves by sendfile to each."""
    full, bob, alice = t.uas("tcp", name="full", status=503), t.uas("tcp"), t.uac()
    peers = [(n, {"uri": "sip:%s;transport=tcp" % a.listener("tcp").hostport, "down_after": 0})
             for n, a in (("full", full), ("bob", bob))]
    d = splicing(t, peers=peers, routes=[("all", {"peers": ["full", "bob"]})])
    conn = t.dial(alice, d, "tls" if t.kernel_tls else "tcp")
    body = pattern(300000, 7)
    for n in range(3):                   # the first finds both peers not yet connected
        assert message(t, alice, conn, "sip:x@far.example", body).body == body
    assert [m.body == body for m in full.seen + bob.seen] == [True] * 6
    assert d.counter("bytes.sendfile") >= 2 * 2 * 250000 and d.counter("splice.kept") >= 3
    assert d.counter("transactions.failover") >= 3


def test_f2_parallel_fork(t):
    """All branches get the body; the best response, which has it too, goes up."""
    names = ("one", "two", "three")
    agents = [t.uas("tcp", name=n, status=200 if n == "three" else 486) for n in names]
    alice = t.uac()
    d = splicing(t, peers=[(a.name, {"uri": "sip:%s;transport=tcp" % a.listener("tcp").hostport})
                           for a in agents],
                 routes=[("all", {"peers": list(names), "fork": "parallel"})])
    conn = t.dial(alice, d, "tls" if t.kernel_tls else "tcp")
    for n, size in enumerate((40000, 300000, 2 << 20)):
        body = pattern(size, n)
        assert message(t, alice, conn, "sip:x@far.example", body).body == body
    t.wait(lambda: all(len(a.seen) == 3 for a in agents), "three requests at each of three peers")
    assert all(a.seen[2].body == body for a in agents)
    assert d.counter("bytes.sendfile") >= 2 * 3 * 300000


def test_f2_udp_and_another_worker_get_a_copy(t):
    """Where the kernel cannot pass a body on it is copied, and that is counted."""
    bob, alice = t.uas("udp"), t.uac()
    d = splicing(t)
    body = pattern(20000, 3)
    conn = t.dial(alice, d, "tls" if t.kernel_tls else "tcp")
    assert message(t, alice, conn, t.uri(bob, "udp"), body).body == body
    assert bob.seen[-1].body == body and d.counter("splice.off.copied") >= 1


def head(alice, conn, uri, size):
    return alice.make(conn, "MESSAGE", uri, body=bytes(size))[0][:-size]


@pytest.mark.parametrize("transport", ("tcp", "tls"))
def test_f2_sender_cut_in_mid_body(t, transport):
    """Nothing of its message leaves; others on the same next hop notice nothing."""
    bob, alice, carol = t.uas("tcp", "tls"), t.uac(), t.uac("carol")
    d = splicing(t)
    uri = t.uri(bob, transport)
    good = t.dial(carol, d, transport)
    message(t, carol, good, uri, b"first")
    for n, part in enumerate((0, 5000, 100000, 1 << 20)):
        conn = t.dial(alice, d, transport)
        conn.send(head(alice, conn, uri, 2 << 20) + pattern(part, 1))
        t.wait(lambda: d.counter("unfinished.bytes") > 0, "the beginning of a message")
        body = pattern(200000, n)
        assert message(t, carol, good, uri, body).body == body
        if n % 2:
            conn.reset()
        else:
            conn.close()
        t.wait(lambda: d.counter("unfinished.bytes") == 0, "the end of that beginning")
    assert all(m.body[:5] == b"first" or len(m.body) == 200000 for m in bob.seen)
    assert len(bob.seen) == 5


class Quitter:
    """A next hop that takes so many bytes of what it is sent and resets the connection."""

    def __init__(self, t, transport, take):
        self.ctx, self.take, self.wait_s = transport == "tls" and t.server_ctx(), take, 20 * t.slow
        self.listener = socket.create_server(("127.0.0.1", t.port()))
        self.hostport = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.resets = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                conn = self.listener.accept()[0]
            except OSError:
                return
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            conn.settimeout(self.wait_s)
            if self.ctx:
                conn = self.ctx.wrap_socket(conn, server_side=True)
            got = 0
            while got < self.take:
                data = conn.recv(min(65536, self.take - got))
                if not data:
                    break
                got += len(data)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.close()
            self.resets += got >= self.take


@pytest.mark.parametrize("transport", ("tcp", "tls"))
def test_f2_receiver_cut_in_mid_body(t, transport):
    """It takes a part and resets: the transaction fails over, the next peer gets the whole body."""
    bob, alice = t.uas("tcp", "tls"), t.uac()
    bad = Quitter(t, transport, 200000)
    options = dict({"tls_domain": "lab"} if transport == "tls" else {}, down_after=0)
    d = splicing(t, peers=[(name, dict(options, uri="sip:%s;transport=%s" % (where, transport)))
                           for name, where in (("bad", bad.hostport),
                                               ("bob", bob.listener(transport).hostport))],
                 routes=[("all", {"peers": ["bad", "bob"]})])
    conn, body = t.dial(alice, d, transport), pattern(3 << 20, 5)
    try:
        for n in range(3):
            assert message(t, alice, conn, "sip:x@far.example", body).body == body
            assert [m.body == body for m in bob.seen] == [True] * (n + 1)
        assert bad.resets >= 1 and d.counter("transactions.failover") >= 3
    finally:
        bad.listener.close()


def test_f2_check_says_where_it_cannot(t):
    """tieline check: no TLS in the kernel, or records in user space by configuration."""
    t.allow_user_records = True
    for records in ("auto", "user"):
        d = t.daemon(name="d-" + records, start=False)
        d.configure(extra="body_relay = splice\nrecords = %s" % records)
        said = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True,
                              text=True, check=False, timeout=60)
        text = said.stdout + said.stderr
        assert said.returncode == 0, text
        if not t.kernel_tls:
            assert re.search(r"body_relay = splice needs TLS in the kernel", text), text
        elif records == "user":
            assert re.search(r'tls_domain .*lab.*: its records stay in user space', text), text
        else:
            assert "body_relay" not in said.stderr, text
