# SPDX-License-Identifier: Apache-2.0
"""Peers that die, hang, reset or vanish. Every accepted INVITE gets a final response, and when the
test ends the runner asserts from `ctl stats` that transactions, queues, connections and descriptors
are at zero. RFC 3261 16.9, 17.1, RFC 4320; issue item "Faults".
"""
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from flowlib import dns, sip
from flowlib.steps import options_works, pattern
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls


def send_all(agent, conn, made):
    """Sends requests in one go; MADE is a list of (data, key)."""
    for _, key in made:
        agent.expect(key)
    conn.send(b"".join(data for data, _ in made))


def statuses(agent, made, timeout_s=None):
    """How often each final status came; each INVITE exactly one."""
    out = {}
    for _, key in made:
        status = agent.final(key, timeout_s).status
        out[status] = out.get(status, 0) + 1
    return out


def at_rest(t, d, *gauges):
    t.wait(lambda: not any(d.counter(g) for g in gauges), "zero of %s" % ", ".join(gauges), 45)


def answers(agent, made):
    """The statuses that have come for MADE."""
    time.sleep(0.1)
    seen = []
    for _, key in made:
        q = agent.expect(key)
        while not q.empty():
            seen.append(q.get()[1].status)
    return seen


# -- peers that die in mid-message


PEER = """
import socket, ssl, sys, time
port, tls, pem, key, answer = int(sys.argv[1]), sys.argv[2] == "tls", *sys.argv[3:5], sys.argv[5]
lis = socket.create_server(("127.0.0.1", port))
print("up", flush=True)
s = lis.accept()[0]
if tls:
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(pem, key)
    s = ctx.wrap_socket(s, server_side=True)
data = b""
while b"\\r\\n\\r\\n" not in data:
    data += s.recv(65536)
print("request", flush=True)
if answer == "half":
    head = data.split(b"\\r\\n\\r\\n")[0].split(b"\\r\\n")[1:]
    keep = [h for h in head if h.split(b":")[0].lower() in (b"via", b"from", b"to", b"call-id",
                                                           b"cseq")]
    s.sendall(b"SIP/2.0 200 OK\\r\\n" + b"\\r\\n".join(keep) +
              b"\\r\\nContent-Length: 500\\r\\n\\r\\nhalf")
    print("half", flush=True)
time.sleep(600)
"""


def doomed_peer(t, port, transport, answer):
    """Another process that takes one request on PORT and perhaps begins an answer."""
    p = subprocess.Popen([sys.executable, "-c", PEER, str(port), transport, t.pki("callee.pem"),
                          t.pki("callee.key"), answer], stdout=subprocess.PIPE, text=True)
    t.procs.append(p)
    assert p.stdout.readline() == "up\n"
    return p


def test_3_callee_killed_before_answer(t):
    """SIGKILL to a callee that holds an INVITE and an OPTIONS: 503 for both (16.9)."""
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for transport in ("tcp", "tls"):
        port = t.port()
        p = doomed_peer(t, port, transport, "none")
        uri = "sip:bob@127.0.0.1:%d;transport=%s" % (port, transport)
        call = Call(alice, conn, uri).send()
        options = alice.make(conn, "OPTIONS", uri)
        send_all(alice, conn, [options])
        assert p.stdout.readline() == "request\n"
        os.kill(p.pid, signal.SIGKILL)
        assert call.final().status == 503, transport
        assert statuses(alice, [options]) == {503: 1}, transport


def test_3_callee_killed_in_mid_answer(t):
    """SIGKILL to a callee in the middle of its 200: the half answer goes nowhere, the INVITE is
    answered 503."""
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for transport in ("tcp", "tls"):
        port = t.port()
        p = doomed_peer(t, port, transport, "half")
        call = Call(alice, conn, "sip:bob@127.0.0.1:%d;transport=%s" % (port, transport)).send()
        assert p.stdout.readline() == "request\n"
        assert p.stdout.readline() == "half\n"
        time.sleep(0.1 * t.slow)
        os.kill(p.pid, signal.SIGKILL)
        rsp = call.final()
        assert rsp.status == 503 and b"half" not in rsp.raw, repr(rsp)


def test_3_caller_killed_in_mid_message(t):
    """Callers that end in the middle of a head or a body, by reset or without close_notify: nothing
    of it reaches the callee, other callers notice nothing."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn, uri = t.dial(alice, d, "tls"), t.uri(bob, "tls")
    options_works(t, d, alice, conn, uri)
    for transport in ("tcp", "tls"):
        for end in ("reset", "close"):
            for where in (20, 200, -1, -2500):
                mallory = t.uac("mallory")
                victim = t.dial(mallory, d, transport)
                data, _ = mallory.make(victim, "MESSAGE", uri, body=pattern(5000))
                victim.send(data[:where])
                if end == "reset":
                    victim.reset()
                else:
                    victim.close(notify=False)
    options_works(t, d, alice, conn, uri)
    t.wait(lambda: len(d.connections()) <= 3, "the broken connections to go")
    assert bob.count("MESSAGE") == 0


# -- peers that hang


@pytest.mark.timeout(120)
def test_3_callee_stops_reading(t):
    """A callee that stops reading while requests with large bodies come: each gets a final answer
    (503 once its queue is full or its connection is given up), others are served meanwhile."""
    stuck = t.uas("tcp", name="stuck", silent=True)
    bob = t.uas("tls")
    d = t.daemon(timeouts={"timer_b": t.ms(4000), "timer_f": t.ms(4000), "send": t.ms(1500)})
    alice, carol = t.uac(), t.uac("carol")
    conn, other = t.dial(alice, d, "tls"), t.dial(carol, d, "tls")
    first = Call(alice, conn, t.uri(stuck, "tcp")).send()
    stuck.next_request("INVITE")
    stuck.listener("tcp").conns[0].reading.clear()
    conn.give_up_sending_after(int(20 * t.slow))
    made = [alice.make(conn, "INVITE", t.uri(stuck, "tcp"), body=pattern(30000, i))
            for i in range(300)]
    for _, key in made:
        alice.expect(key)
    try:
        for n, (data, _) in enumerate(made):
            conn.send(data)
            if n % 30 == 0:
                options_works(t, d, carol, other, t.uri(bob, "tls"))
    except BlockingIOError:
        raise AssertionError("the caller is held for ever") from None
    options_works(t, d, carol, other, t.uri(bob, "tls"))
    got = statuses(alice, made)
    assert set(got) <= {503, 408}, got
    assert first.final().status in (503, 408)
    stuck.listener("tcp").conns[0].reading.set()


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
@pytest.mark.timeout(120)
def test_3_callee_never_answers(t):
    """A callee that accepts and never answers: an INVITE is 408 by Timer B, another request ends by
    Timer F without a 408 (RFC 4320 4.2), over each transport, many at a time."""
    d = t.daemon(timeouts={"t1": "50ms", "timer_b": t.ms(1500), "timer_f": t.ms(1000)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for transport in ("udp", "tcp", "tls"):
        bob = t.uas(transport, silent=True)
        calls = [alice.make(conn, "INVITE", t.uri(bob, transport)) for _ in range(50)]
        others = [alice.make(conn, m, t.uri(bob, transport)) for m in
                  ("OPTIONS", "MESSAGE", "INFO", "SUBSCRIBE", "REFER") * 10]
        send_all(alice, conn, calls + others)
        assert statuses(alice, calls) == {408: 50}, transport
        at_rest(t, d, "transactions.now")
        assert set(answers(alice, others)) <= {100}, transport


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_3_callee_rings_for_ever(t):
    """A callee that rings and then says nothing: Timer C cancels it, and the caller gets 408 though
    the CANCEL is not answered (16.8)."""
    d = t.daemon(timeouts={"timer_c": t.ms(1000), "timer_b": t.ms(4000)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for transport in ("udp", "tls"):
        bob = t.uas(transport, silent=True)
        call = Call(alice, conn, t.uri(bob, transport)).send()
        where, invite = bob.next_request("INVITE")
        bob.reply(where, invite, 180)
        _, req = bob.next_request()
        while req.method == "INVITE":  # repeated over UDP before a slow callee's 180 arrived
            _, req = bob.next_request()
        assert req.method == "CANCEL" and req.call_id == call.call_id
        assert call.final().status == 408, transport


# -- resets


# no timer may come before the reset, however slow the peers are
PATIENCE = {"timer_b": "5m", "timer_c": "5m", "timer_f": "5m"}


def open_calls(t, alice, conn, bob, transport, count):
    """COUNT INVITEs that ring at the callee."""
    made = [alice.make(conn, "INVITE", t.uri(bob, transport), body=sip.SDP) for _ in range(count)]
    send_all(alice, conn, made)
    t.wait(lambda: bob.count("INVITE") == count, "%d INVITEs at the callee" % count)
    return made


@pytest.mark.timeout(120)
def test_3_reset_with_1000_open(t):
    """The callee resets its connection with 1,000 INVITEs in it, none rings: each gets a final 503."""
    for transport in ("tls", "tcp"):
        d = t.daemon(timeouts=PATIENCE)
        alice, bob = t.uac(), t.uas(transport, silent=True)
        conn = t.dial(alice, d, "tls")
        made = open_calls(t, alice, conn, bob, transport, 1000)
        assert d.counter("transactions.now") == 1000
        for c in bob.listener(transport).conns:
            c.reset()
        assert statuses(alice, made) == {503: 1000}, transport
        at_rest(t, d, "transactions.now", "sendq.bytes", "waiting.dial")


@pytest.mark.timeout(120)
def test_3_reset_with_1000_others_open(t):
    """The same with requests other than INVITE: 503 each."""
    d = t.daemon(timeouts=PATIENCE)
    alice, bob = t.uac(), t.uas("tls", silent=True)
    conn = t.dial(alice, d, "tls")
    made = [alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(200)) for _ in range(1000)]
    send_all(alice, conn, made)
    t.wait(lambda: bob.count("MESSAGE") == 1000, "1000 requests at the callee")
    for c in bob.listener("tls").conns:
        c.reset()
    assert statuses(alice, made) == {503: 1000}
    at_rest(t, d, "transactions.now", "sendq.bytes")


@pytest.mark.timeout(120)
def test_3_caller_resets_with_1000_open(t):
    """The caller resets its connection while 1,000 of its INVITEs ring; the callee's answers have
    nowhere to go. All ends, and another caller is served."""
    d = t.daemon(timeouts=PATIENCE)
    alice, bob = t.uac(), t.uas("tls", answer=None)
    conn = t.dial(alice, d, "tls")
    open_calls(t, alice, conn, bob, "tls", 1000)
    conn.reset()
    other = t.dial(alice, d, "tls")
    options_works(t, d, alice, other, t.uri(bob, "tls"))
    for call_id in list(bob.invites):
        bob.answer(call_id, 486)
    at_rest(t, d, "transactions.now", "sendq.bytes")
    options_works(t, d, alice, other, t.uri(bob, "tls"))


# -- names, and connections that do not come about


@pytest.mark.host_only("names, no records")
def test_3_name_not_resolved(t):
    """Request-URIs whose name nobody knows, and a name server that is gone: 503 for INVITE and
    others over each transport; others are served meanwhile."""
    for silent in (False, True):
        server = dns.NameServer(silent=silent)
        dns.use(t, server.port)
        d = t.daemon()
        alice, bob = t.uac(), t.uas("tls")
        conn = t.dial(alice, d, "tls")
        made = [alice.make(conn, m, "sip:bob@no-such-host.example;transport=" + tr)
                for m in ("INVITE", "OPTIONS") for tr in ("tls", "tcp", "udp")]
        send_all(alice, conn, made)
        options_works(t, d, alice, conn, t.uri(bob, "tls"))
        assert statuses(alice, made, 40 * t.slow) == {503: 6}
        assert server.asked, "nobody asked the name server"
        d.fds_at_start += 1              # the resolver keeps its socket to the name server


def end_dials(t, d, lis, how):
    """Accepts and ends every connection that the daemon tries, until none is under way."""
    lis.setblocking(False)

    def over():
        try:
            s = lis.accept()[0]
        except BlockingIOError:
            return d.counter("waiting.dial") == 0 and d.counter("handshakes.now") == 0
        if how == "garbage":
            s.sendall(b"HTTP/1.1 400 no\r\n\r\n")
        elif how == "rst":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        return False
    t.wait(over, "the end of the dials")


@pytest.mark.timeout(120)
def test_3_callee_closes_while_requests_wait(t):
    """Requests that wait for a connection whose TLS handshake is cut off in three ways: each is
    answered 503, none is forgotten; a healthy callee is reached afterwards."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    for how in ("fin", "rst", "garbage"):
        with socket.create_server(("127.0.0.1", t.port())) as lis:
            uri = "sip:bob@127.0.0.1:%d;transport=tls" % lis.getsockname()[1]
            made = [alice.make(conn, m, uri, body=pattern(300)) for m in ("INVITE", "MESSAGE")
                    for _ in range(100)]
            send_all(alice, conn, made)
            t.wait(lambda: d.counter("waiting.dial") >= 200, "200 requests that wait")
            end_dials(t, d, lis, how)
            got = statuses(alice, made)
            assert got == {503: 200}, (how, got)
    options_works(t, d, alice, conn, t.uri(bob, "tls"))


def test_3_callee_closes_behind_its_handshake(t):
    """A callee that ends the connection as soon as it is up, the waiting requests just sent: each
    has an answer, from a second connection or a 503."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn, lis = t.dial(alice, d, "tls"), bob.listener("tls")
    lis.on_conn = lambda stream: lis.accepted == 1 and stream.reset()
    made = [alice.make(conn, m, t.uri(bob, "tls")) for m in ("OPTIONS", "MESSAGE") * 50]
    send_all(alice, conn, made)
    got = statuses(alice, made)
    assert set(got) <= {200, 503} and sum(got.values()) == 100, got
    options_works(t, d, alice, conn, t.uri(bob, "tls"))


@pytest.mark.host_only("what the proxy answers does not depend on who seals it")
def test_3_answer_without_callers_via(t):
    """A callee that cuts the caller's Via off its final response: the response goes nowhere
    (16.7 step 3), the INVITE is still answered within Timer B or C and all ends."""
    d = t.daemon(timeouts={"timer_b": t.ms(4000), "timer_c": t.ms(1500)})
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for transport in ("tls", "udp"):
        for status in (200, 486):
            bob = t.uas(transport, silent=True)
            call = Call(alice, conn, t.uri(bob, transport)).send()
            where, invite = bob.next_request("INVITE")
            data = sip.response(invite, status, to_tag="x")
            own = b"Via: " + invite.all("via")[1].encode() + b"\r\n"
            assert own in data
            where.send(data.replace(own, b""))
            rsp = call.final()
            assert rsp.status >= 400, (transport, status, rsp)
