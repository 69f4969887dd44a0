# SPDX-License-Identifier: Apache-2.0
"""Where a stream is cut must not matter: fifty sequences of messages, bodies and keep-alives, cut
at every byte into two TCP segments or TLS records, or glued together. RFC 3261 7.5, 18.3.

Each sequence has a connection of its own and is sent in many copies. The piece that ends one copy
begins the next, so every piece starts at the byte under test; it leaves only when the callee has
all that came before, so the daemon cannot have read the two in one.
"""
import time

import pytest
from flowlib.cuts import Rig

pytestmark = pytest.mark.kernel_tls

BASE = 100                              # serial of the copy with the Nth cut is BASE + N


def whole(rig):
    """The messages of each sequence as they arrive when a copy comes in one piece, and the pongs of
    a copy that follows others. Ten copies glued into one record must give the same."""
    rows = range(len(rig.texts))
    for n in (0, 1):                    # the first opens the connections to the callee
        for i in rows:
            rig.send(i, rig.text(i, n))
        rig.run()
    want = [rig.take(i)[1] for i in rows]
    assert [len(w) for w in want] == [len(e) for e in rig.ends]
    settled_pongs(rig)
    for i in rows:
        rig.send(i, b"".join(rig.text(i, n) for n in range(2, 12)))
    rig.run()
    for i in rows:
        same(rig, i, want[i], range(2, 12), "glued")
    pongs = settled_pongs(rig)
    assert sum(pongs) and not any(n % 10 for n in pongs), pongs
    return want, [n // 10 for n in pongs]


def settled_pongs(rig):
    time.sleep(0.1 * rig.t.slow)        # pongs behind the last message have no other end
    rig.drain()
    return rig.pongs()


def same(rig, i, want, serials, how):
    got = rig.take(i)
    assert set(got) == set(serials), "%s: sequence %d lost copies" % (how, i)
    for n in serials:
        assert got[n] == want, "%s, sequence %d, copy %d:\n%r\nis not\n%r" % (
            how, i, n, got[n], want)


def cuts(rig, i):
    """Where sequence I is cut: behind every byte. An emulated processor takes every fifth, the
    sequences in turn."""
    step = 1 if rig.t.slow < 5 else 5
    return range(1 + i % step, len(rig.texts[i]), step)


def cut_everywhere(rig):
    """Copy N is cut where the Nth cut is."""
    places = [cuts(rig, i) for i in range(len(rig.texts))]
    for n in range(max(map(len, places)) + 1):
        for i, at in enumerate(places):
            if n <= len(at):
                ending = rig.text(i, BASE + n)[at[n - 1]:] if n else b""
                begin = rig.text(i, BASE + n + 1)[:at[n]] if n < len(at) else b""
                rig.send(i, ending + begin)
        if n == 0:
            time.sleep(0.05)             # no message is complete yet that could be waited for
        rig.run()


def two_records_a_segment(rig):
    """Copy N is two records, cut where the Nth cut is, that leave in one TCP segment."""
    places = [cuts(rig, i) for i in range(len(rig.texts))]
    for n in range(1, max(map(len, places)) + 1):
        for i, at in enumerate(places):
            if n <= len(at):
                text = rig.text(i, BASE + n)
                rig.send(i, text[:at[n - 1]], text[at[n - 1]:])
        rig.run()


def segmented(t, transport, *ways, records="auto"):
    t.allow_user_records = records == "user"
    # one worker: an ACK that matches nothing is asked about at the others and may leave from there
    d = t.daemon(workers=1, domain={"records": records})
    for way in ways:
        rig = Rig(t, d, transport)
        try:
            want, more = whole(rig)
            way(rig)
            for i in range(len(rig.texts)):
                same(rig, i, want[i], range(BASE + 1, BASE + 1 + len(cuts(rig, i))), way.__name__)
            got, due = settled_pongs(rig), [n * len(cuts(rig, i)) for i, n in enumerate(more)]
            assert got == due, "%s: pongs %s, should be %s" % (way.__name__, got, due)
        finally:
            rig.close()


@pytest.mark.host_only("no TLS in it")
@pytest.mark.timeout(150)
def test_3_segments_tcp(t):
    """Cut at every byte into two TCP segments."""
    segmented(t, "tcp", cut_everywhere)


@pytest.mark.timeout(200)
def test_3_segments_tls(t):
    """Cut at every byte into two TLS records that arrive apart; kernel records where it can."""
    segmented(t, "tls", cut_everywhere)


@pytest.mark.timeout(200)
def test_3_segments_tls_records_glued(t):
    """Cut at every byte into two TLS records that arrive in one TCP segment."""
    segmented(t, "tls", two_records_a_segment)


@pytest.mark.timeout(200)
def test_3_segments_tls_user_records(t):
    """The first again with records in user space where the kernel could do them."""
    if not t.kernel_tls:
        t.skip("test_3_segments_tls has done so: no TLS in this kernel")
    segmented(t, "tls", cut_everywhere, records="user")
