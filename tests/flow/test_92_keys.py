# SPDX-License-Identifier: Apache-2.0
"""Keys that the kernel refuses, for one direction or altogether, and its module taken away: the
connection goes on in user space or ends with an alert that its peer can read, the reason is counted and
shown, and nothing is left. Only a kernel without memory refuses keys that it took before, which no test
can bring about at will: a library before the daemon's setsockopt (tests/support/preload/refused_keys.c)
answers ENOMEM in its place.
"""
import contextlib
import errno
import mmap
import os
import ssl
import struct
import subprocess

import pytest
from flowlib import host
from flowlib.steps import options_works, pattern, whole_call
from flowlib.tools import s_client, s_client_options

pytestmark = pytest.mark.kernel_tls

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
ALERT = "tls:TLSV1_ALERT_INTERNAL_ERROR"
WHY = "the kernel refused the keys"


class Refusals:
    """What the daemon and the test share: how often the keys of a direction are still refused."""

    def __init__(self, t):
        if not t.kernel_tls:
            t.skip("this kernel has no TLS to refuse keys")
        self.file = os.path.join(t.dir, "refusals")
        with open(self.file, "w+b") as f:
            f.write(struct.pack("4I", 0, 0, errno.ENOMEM, 0))
            f.flush()
            self.map = mmap.mmap(f.fileno(), 16)
        self.environ = {"TIELINE_KEYS": self.file, "LD_PRELOAD": os.path.join(
            host.build(), "support", "refused_keys.so")}

    def set(self, tx=0, rx=0):
        self.map[:8] = struct.pack("2I", tx, rx)

    def left(self):
        return sum(struct.unpack("2I", self.map[:8]))

    def refused(self):
        return struct.unpack("I", self.map[12:16])[0]


def begin(t, **conf):
    """A daemon whose kernel can refuse keys, and a caller."""
    r = Refusals(t)
    d = t.daemon(start=False, **conf)
    d.start(environ=r.environ)
    return r, d, t.uac()


def in_kernel(d):
    return [c["tls"]["ktls_tx"] and c["tls"]["ktls_rx"] for c in d.connections()]


def test_f1_receiving_refused(t):
    """TLS_RX refused to both connections of a call, in both roles and versions: nothing is in the
    kernel yet, all of it goes on in user space, and the next connections are in the kernel again."""
    t.allow_user_records = True
    r, d, alice = begin(t)
    for n, version in enumerate(VERSIONS, 1):
        bob = t.uas("tls", ctx=t.server_ctx(version=version))
        r.set(rx=2)
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        whole_call(alice, conn, bob, t.uri(bob, "tls"))
        body = pattern(100000, n)
        assert alice.request(conn, "MESSAGE", t.uri(bob, "tls"), body=body).body == body
        assert r.left() == 0 and r.refused() == 2 * n
        assert d.counter("ktls.off.error") == 2 * n and d.counter("ktls.refused") == 0
        for c in d.connections():
            assert c["tls"]["ktls_tx_reason"] == c["tls"]["ktls_rx_reason"] == WHY, c
        conn.close()
        bob.close()
        t.wait(lambda: not d.connections(), "both connections to go")
    bob = t.uas("tls")
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))
    assert in_kernel(d) == [True, True]


def ended_by_alert(t, d, conn, n):
    """CONN was ended by our alert, as the Nth, and it is said why."""
    t.wait(conn.closed.is_set, "the alert")
    assert conn.how == ALERT, conn.how
    t.wait(lambda: d.counter("ktls.refused") == n, "the refusal to be counted")
    assert d.counter("handshakes.failed.internal") == n
    last = d.rpc("handshakes", {"what": "failed"})["failed"][0]
    assert (last["reason"], last["alert_sent"]) == (WHY, "internal_error"), last


def test_f1_sending_refused_to_a_caller(t):
    """TLS_TX refused behind an accepted TLS_RX, with a request on its way already: no half connection,
    the caller reads the alert internal_error; others are served."""
    r, d, alice = begin(t)
    bob = t.uas("tls")
    uri = t.uri(bob, "tls")
    other = t.dial(alice, d, "tls")
    options_works(t, d, alice, other, uri)
    for n, version in enumerate(VERSIONS * 3, 1):
        r.set(tx=1)
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        with contextlib.suppress(OSError, ssl.SSLError):
            conn.send(alice.make(conn, "OPTIONS", uri)[0])
        ended_by_alert(t, d, conn, n)
        options_works(t, d, alice, other, uri)
    assert r.refused() == 6 and bob.count("OPTIONS") == 7
    assert in_kernel(d) == [True, True]


def test_f1_sending_refused_to_a_callee(t):
    """The same on connections that we open: the callee reads the alert, the request that waited is
    answered 503, the next one reaches him."""
    r, d, alice = begin(t)
    conn = t.dial(alice, d, "tls")
    for n, version in enumerate(VERSIONS, 1):
        bob = t.uas("tls", ctx=t.server_ctx(version=version))
        r.set(tx=1)
        assert alice.request(conn, "OPTIONS", t.uri(bob, "tls")).status == 503
        t.wait(lambda: bob.listener("tls").conns, "the connection")
        ended_by_alert(t, d, bob.listener("tls").conns[0], n)
        assert d.counter("connections.dial_failed") == n, "counted once, by the worker"
        options_works(t, d, alice, conn, t.uri(bob, "tls"))


def test_f1_insisted_on_a_kernel_that_refuses(t):
    """records = kernel, and the kernel refuses or has no TLS: the peer reads an alert, whoever would
    have sealed it, and the reason is counted."""
    if t.kernel_tls:
        r, d, alice = begin(t, domain={"records": "kernel"})
        r.set(rx=2)
    else:
        d, alice = t.daemon(domain={"records": "kernel"}), t.uac()
    for n, version in enumerate(VERSIONS, 1):
        conn = t.dial(alice, d, "tls", ctx=t.client_ctx(version=version))
        t.wait(conn.closed.is_set, "the alert")
        assert conn.how == ALERT, conn.how
        t.wait(lambda: d.counter("ktls.refused") == n, "the refusal to be counted")
        d.wait_log("A TLS handshake failed.*kernel.*alert_sent=internal_error")


# -- the module


def modprobe(*args):
    return subprocess.run(["modprobe", *args], capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def nobody_loads():
    """The kernel finds no program that loads modules, as for a process that may not."""
    path = "/proc/sys/kernel/modprobe"
    with open(path, encoding="ascii") as f:
        before = f.read()
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write("/nonexistent\n")
        yield
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(before)
        modprobe("tls")


@pytest.mark.alone
def test_f1_module_is_taken_away(t):
    """`modprobe -r tls` is refused while a connection uses it, and the call goes on; with none it works,
    and the daemon goes on in user space, with the reason, until the module is back."""
    if not t.kernel_tls:
        t.skip("this kernel has no TLS")
    t.allow_user_records = True
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    whole_call(alice, conn, bob, t.uri(bob, "tls"))
    p = modprobe("-r", "tls")
    assert p.returncode != 0 and "in use" in p.stderr, p
    whole_call(alice, conn, bob, t.uri(bob, "tls"))
    conn.close()
    bob.close()
    t.wait(lambda: not d.connections(), "both connections to go")
    with nobody_loads():
        t.wait(lambda: modprobe("-r", "tls").returncode == 0, "the module to go")
        bob = t.uas("tls")
        conn = t.dial(alice, d, "tls")
        whole_call(alice, conn, bob, t.uri(bob, "tls"))
        assert d.counter("ktls.off.kernel") == 2
        for c in d.connections():
            assert c["tls"]["ktls_rx_reason"] == "the kernel has no TLS", c
    carol = t.uas("tls", name="carol")
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(carol, "tls"))
    assert sorted(in_kernel(d)) == [False, False, True, True]


def tls_stat(*names):
    with open("/proc/net/tls_stat") as f:
        have = dict(line.split() for line in f)
    return [int(have[n]) for n in names]


def needs_rekey(t):
    if not t.kernel_tls or not host.kernel_rekeys():
        t.skip("this kernel takes no second key; Linux 6.14 and later do (tests/vm/run --kernel new)")


@pytest.mark.alone
def test_f1_new_keys_in_the_kernel(t):
    """A client changes its keys, and ours when it asks for that: the connection stays in the kernel,
    which has taken each key, and requests go through under all of them."""
    needs_rekey(t)
    names = ("TlsRxRekeyOk", "TlsTxRekeyOk", "TlsRxRekeyReceived", "TlsRxRekeyError",
             "TlsTxRekeyError", "TlsDecryptError")
    d = t.daemon()
    uri = t.uri(t.uas("tcp"), "tcp")
    client = s_client(t, d, "-tls1_3")
    before = tls_stat(*names)
    for i, key in enumerate((b"k\n", b"K\n", b"K\n", b"k\n", b"K\n")):
        client.write(key)
        d.wait_counter("records.key_update", i + 1)
        assert s_client_options(t, client, uri) == 200
    assert [n - b for n, b in zip(tls_stat(*names), before)] == [5, 3, 5, 0, 0, 0]
    assert d.counter("records.key_update_sent") == 3
    assert any(c["transport"] == "tls" and c["tls"]["ktls_rx"] for c in d.connections())


def test_f1_a_refused_new_key(t):
    """A new key is refused by the kernel: the receiving one, and the client gets close_notify; the
    sending one, and the stream ends behind our KeyUpdate. The next connection works."""
    needs_rekey(t)
    r, d, _ = begin(t)
    uri = t.uri(t.uas("tcp"), "tcp")
    for n, refused in enumerate(({"rx": 1}, {"tx": 1})):
        client = s_client(t, d, "-tls1_3")
        assert s_client_options(t, client, uri) == 200
        r.set(**refused)
        client.write(b"K\n")
        client.ended()
        assert r.refused() == n + 1 and r.left() == 0
        assert d.counter("records.key_update") == n + 1
        assert d.counter("records.key_update_sent") == n
        assert s_client_options(t, s_client(t, d, "-tls1_3"), uri) == 200
