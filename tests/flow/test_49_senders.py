# SPDX-License-Identifier: Apache-2.0
"""Whose transaction it is: CANCEL, ACK and repetitions count from the sender of the request alone
(RFC 3261 17.2.3, 22.1), and what they can be made to cause is bounded.
"""
import socket

import pytest
from flowlib.steps import options_works
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("senders are told by address and certificate")


def raw_udp(t, host="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    s.settimeout(10 * t.slow)
    return s


def copy_of(invite, method, **changed):
    """METHOD for the transaction of INVITE (what a caller sent), as somebody writes it who saw it."""
    lines = invite.split(b"\r\n\r\n")[0].split(b"\r\n")
    out = [lines[0].replace(b"INVITE", method)]
    for line in lines[1:]:
        name = line.split(b":")[0].lower().decode()
        if name in changed:
            line = line.split(b":")[0] + b": " + changed[name]
        if name == "cseq":
            line = line.replace(b"INVITE", method)
        if name not in ("content-length", "contact", "content-type"):
            out.append(line)
    return b"\r\n".join(out) + b"\r\nContent-Length: 0\r\n\r\n"


def ringing(t, alice, conn, bob):
    """A call that rings at BOB."""
    call = Call(alice, conn, t.uri(bob, "tcp")).send()
    t.wait(lambda: call.call_id in bob.invites, "the INVITE")
    return call


def answered(t, s, data, where):
    """The status that comes back to socket S for DATA."""
    s.sendto(data, where)
    return int(s.recv(65536).split(b" ")[1])


def test_s14_cancel_from_elsewhere(t):
    """Who saw the Via cancels nothing: over another transport, from another address; nor does the
    caller with another Call-ID. His own CANCEL works."""
    d = t.daemon()
    bob = t.uas("tcp", answer=None)
    for tr in ("udp", "tcp", "tls"):
        alice = t.uac()
        conn = t.dial(alice, d, tr)
        call = ringing(t, alice, conn, bob)
        cancel = copy_of(call.data, b"CANCEL")
        udp = ("127.0.0.1", d.port("udp"))
        strangers = [raw_udp(t, "127.0.0.9")] + ([raw_udp(t)] if tr != "udp" else [])
        for s in strangers:
            assert answered(t, s, cancel, udp) == 481, tr
            s.close()
        for host in ("127.0.0.9",) + (("127.0.0.1",) if tr != "tcp" else ()):
            with socket.socket() as s:
                s.settimeout(10 * t.slow)
                s.bind((host, 0))
                s.connect(("127.0.0.1", d.port("tcp")))
                s.sendall(cancel)
                assert s.recv(65536).split(b" ")[1] == b"481", tr
        alice.expect(("other", 1, "CANCEL"))
        conn.send(copy_of(call.data, b"CANCEL", **{"call-id": b"other"}))
        assert alice.final(("other", 1, "CANCEL")).status == 481, tr
        assert bob.count("CANCEL") == 0, "a stranger cancelled the call over " + tr
        call.cancel()
        assert call.final().status == 487, tr
        bob.seen.clear()


def test_s14_a_peer_on_another_connection(t):
    """A configured peer is one sender, whatever its connection: one that has come back may cancel."""
    bob, alice = t.uas("tcp", answer=None), t.uac()
    d = t.daemon(peers=[("pbx", {"uri": "sip:127.0.0.5:5060;transport=tcp"})])
    call = Call(alice, t.dial(alice, d, "tcp"), t.uri(bob, "tcp"))
    for data in (call.data, copy_of(call.data, b"CANCEL")):
        with socket.socket() as s:
            s.bind(("127.0.0.5", 0))
            s.settimeout(20 * t.slow)
            s.connect(("127.0.0.1", d.port("tcp")))
            s.sendall(data)
            assert s.recv(65536), "nothing came back"
            t.wait(lambda: call.call_id in bob.invites, "the INVITE")
    t.wait(lambda: bob.count("CANCEL") == 1, "the CANCEL at the callee")


def test_s14_an_early_copy_swallows_nothing(t):
    """A request with the branch that the caller will use, sent before his by somebody else, is another
    one: his own arrives."""
    d = t.daemon()
    bob, alice = t.uas("tcp"), t.uac()
    conn = t.dial(alice, d, "tcp")
    data, key = alice.make(conn, "MESSAGE", t.uri(bob, "tcp"), body=b"his own")
    with socket.create_connection(("127.0.0.1", d.port("tcp")), 20 * t.slow) as s:
        s.sendall(data.replace(b"his own", b"forged!"))
        assert b" 200 " in s.recv(65536).split(b"\r\n")[0]
    alice.expect(key)
    conn.send(data)
    assert alice.final(key).body == b"his own"


def test_s24_acks_of_a_refused_call_go_nowhere(t):
    """Hundreds of ACKs with the branch of an INVITE that was refused: the first ends it, none goes on;
    and behind a 2xx only some do."""
    d = t.daemon()
    bob = t.uas("tcp", answer=None, name="bob")
    for tr in ("tcp", "udp"):
        alice = t.uac()
        conn = t.dial(alice, d, tr)
        for status in (486, 200):
            call = ringing(t, alice, conn, bob)
            bob.answer(call.call_id, status)
            assert call.final().status == status
            for _ in range(400 if tr == "tcp" else 50):     # datagrams may be lost in a crowd
                conn.send(copy_of(call.data, b"ACK"))
            options_works(t, d, alice, conn, t.uri(bob, "tcp"))
            n = sum(m.method == "ACK" and m.call_id == call.call_id for m in bob.seen)
            assert n <= (1 if status == 486 else 17), "%d ACKs behind %d over %s" % (n, status, tr)
            if status == 200:
                call.request("BYE")


def test_s24_a_cancel_of_nothing_is_answered_once(t):
    """Its body does not go from worker to worker; it gets one 481, over each transport."""
    d = t.daemon(workers=4)
    alice = t.uac()
    for tr in ("udp", "tcp"):
        conn = t.dial(alice, d, tr)
        for n, body in enumerate((b"", b"x" * 30000)):
            data, key = alice.make(conn, "CANCEL", "sip:nobody@127.0.0.1", body=body, cseq=n + 1)
            alice.expect(key)
            conn.send(data)
            assert alice.final(key).status == 481, (tr, len(body))
