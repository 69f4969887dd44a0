# SPDX-License-Identifier: Apache-2.0
"""Framing, limits, and what bad input gets: a log line, a counter, the connection closed, and
nothing else disturbed. Issue items 2.8, 2.12 and "What bad input gets"; RFC 3261 7.5, 18.3, 18.4.
"""
import os
import re
import socket
import ssl
import time

import pytest
from flowlib import dns
from flowlib.steps import Bystander, options_works, pattern
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls


def connect_raw(d, transport, t):
    s = socket.create_connection(("127.0.0.1", d.port(transport)), 20 * t.slow)
    return s


def expect_close(s, what):
    """Reads until the other side ends the connection; returns what came."""
    out = b""
    try:
        while True:
            data = s.recv(65536)
            if not data:
                return out
            out += data
    except ConnectionResetError:
        return out
    except TimeoutError:
        raise AssertionError("%s: the connection stays open" % what) from None


def test_2_8_crlf_keepalive(t):
    """A double CRLF is answered by one CRLF, a single one by nothing (RFC 5626 4.4.1)."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    for n, tr in enumerate(("tls", "tcp"), 1):
        conn = t.dial(alice, d, tr)
        conn.send(b"\r\n")
        conn.send(b"\r\n\r\n")
        t.wait(lambda: conn.crlf >= 1, "the pong over " + tr)
        options_works(t, d, alice, conn, t.uri(bob, "tls"))
        assert conn.crlf == 1, conn.crlf
        assert d.counter("keepalive.crlf") == n


def test_2_8_crlf_before_messages(t):
    """CRLFs between and before messages do not disturb framing (7.5)."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    made = [alice.make(conn, "OPTIONS", t.uri(bob, "tls")) for _ in range(3)]
    for _, key in made:
        alice.expect(key)
    conn.send(b"\r\n" + made[0][0] + b"\r\n" + made[1][0] + b"\r\n\r\n\r\n" + made[2][0])
    for _, key in made:
        assert alice.final(key).status == 200


def test_2_8_cut_at_every_byte(t):
    """A message in two pieces, cut at sampled bytes, over TCP and over TLS (own record each)."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tcp")
    for tr, step in (("tcp", 5), ("tls", 11)):
        conn = t.dial(alice, d, tr)
        uri = t.uri(bob, "tcp")
        body = pattern(120)
        size = len(alice.make(conn, "MESSAGE", uri, body=body)[0])
        for cut in list(range(1, size, step)) + list(range(size - 124, size - 116)):
            data, key = alice.make(conn, "MESSAGE", uri, body=body)
            alice.expect(key)
            conn.send(data[:cut])
            time.sleep(0.002)
            conn.send(data[cut:])
            rsp = alice.final(key)
            assert rsp.status == 200 and rsp.body == body, (tr, cut, rsp)


def test_2_8_byte_by_byte(t):
    """One message as single bytes, each a TLS record of its own."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    data, key = alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=b"x" * 30)
    alice.expect(key)
    for i in range(len(data)):
        conn.send(data[i:i + 1])
    assert alice.final(key).body == b"x" * 30


def test_2_8_many_in_one_record(t):
    """Ten messages and a half in one record, the rest in the next."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    made = [alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(50 * i))
            for i in range(11)]
    for _, key in made:
        alice.expect(key)
    whole = b"".join(data for data, _ in made)
    cut = len(whole) - len(made[10][0]) // 2
    conn.send(whole[:cut])
    time.sleep(0.05)
    conn.send(whole[cut:])
    for i, (_, key) in enumerate(made):
        assert alice.final(key).body == pattern(50 * i)


def bad_length(t, edit, status=400):
    """A request whose Content-Length EDIT has spoiled: STATUS, then the connection closes."""
    d = t.daemon()
    w = Bystander(t, d)
    for tr in ("tcp", "tls"):
        before = d.counter("bad.framing")
        mallory = t.uac("mallory")
        conn = t.dial(mallory, d, tr)
        data, key = mallory.make(conn, "MESSAGE", t.uri(w.bob, "tls"), body=b"0123456789")
        mallory.expect(key)
        conn.send(edit(data))
        assert mallory.final(key).status == status, tr
        assert conn.closed.wait(20 * t.slow), "the connection over %s stays open" % tr
        assert d.counter("bad.framing") == before + 1
        w.check()
    assert w.bob.count("MESSAGE") == 0


@pytest.mark.host_only("framing is behind the records")
def test_2_8_content_length_missing(t):
    bad_length(t, lambda m: m.replace(b"Content-Length: 10\r\n", b""))


@pytest.mark.host_only("framing is behind the records")
def test_2_8_content_length_negative(t):
    bad_length(t, lambda m: m.replace(b"Content-Length: 10", b"Content-Length: -10"))


@pytest.mark.host_only("framing is behind the records")
def test_2_8_content_length_garbage(t):
    bad_length(t, lambda m: m.replace(b"Content-Length: 10", b"Content-Length: ten"))


@pytest.mark.host_only("framing is behind the records")
def test_2_8_content_length_twice(t):
    bad_length(t, lambda m: m.replace(b"Content-Length: 10\r\n",
                                      b"Content-Length: 10\r\nContent-Length: 11\r\n"))


@pytest.mark.host_only("framing is behind the records")
def test_2_8_content_length_overflow(t):
    """2^64 + 10 must not be taken for 10: refused, as too large or as bad framing."""
    d = t.daemon()
    w = Bystander(t, d)
    mallory = t.uac("mallory")
    conn = t.dial(mallory, d, "tls")
    data, key = mallory.make(conn, "MESSAGE", t.uri(w.bob, "tls"), body=b"0123456789")
    mallory.expect(key)
    conn.send(data.replace(b"Content-Length: 10", b"Content-Length: 18446744073709551626"))
    assert mallory.final(key).status in (400, 513)
    assert conn.closed.wait(20 * t.slow)
    w.check()
    assert w.bob.count("MESSAGE") == 0


def test_s6_message_over_limit(t):
    """A body over max_message: 513 before it has arrived; it is skipped, and what others send on the
    connection goes on."""
    d = t.daemon(limits={"max_message": "64k"})
    w = Bystander(t, d)
    for n, tr in enumerate(("tcp", "tls")):
        mallory = t.uac("mallory")
        conn = t.dial(mallory, d, tr)
        rsp = mallory.request(conn, "MESSAGE", t.uri(w.bob, "tls"), body=pattern(60000))
        assert rsp.status == 200 and rsp.body == pattern(60000)
        data, key = mallory.make(conn, "MESSAGE", t.uri(w.bob, "tls"), body=b"x")
        mallory.expect(key)
        conn.send(data.replace(b"Content-Length: 1\r\n", b"Content-Length: 70000\r\n"))
        assert mallory.final(key).status == 513, tr
        conn.send(b"OPTIONS sip:x@y SIP/2.0\r\n\r\n".ljust(69999))
        assert mallory.request(conn, "OPTIONS", t.uri(w.bob, "tls")).status == 200, tr
        assert d.counter("bad.skipped") == d.counter("bad.too_large") == n + 1
        w.check()
    assert d.counter("bad.framing") == 0


def test_s6_head_over_limit(t):
    """A head over max_head: 513, skipped to its end, and the connection goes on."""
    d = t.daemon(limits={"max_head": "8k"})
    w = Bystander(t, d)
    for tr in ("tcp", "tls"):
        mallory = t.uac("mallory")
        conn = t.dial(mallory, d, tr)
        data, key = mallory.make(conn, "OPTIONS", t.uri(w.bob, "tls"))
        mallory.expect(key)
        start, rest = data.split(b"Content-Length", 1)
        conn.send(start + b"X-Long: " + b"y" * 20000 + b"\r\nContent-Length" + rest)
        assert mallory.final(key).status == 513, tr
        assert mallory.request(conn, "OPTIONS", t.uri(w.bob, "tls")).status == 200, tr
        w.check()
    assert d.counter("bad.too_large") == 2


@pytest.mark.host_only("framing is behind the records")
def test_s6_a_telephone_ends_nobody_elses_calls(t):
    """What one sender spoils is answered 400 or dropped; a call that is being set up on the same
    connection comes to its answer. Keep-alives of one byte too."""
    spoil = {
        "NUL": lambda m: m.replace(b"Max-Forwards", b"X: a\0b\r\nMax-Forwards"),
        "bare CR": lambda m: m.replace(b"Max-Forwards", b"X: a\rb\r\nMax-Forwards"),
        "bare LF": lambda m: m.replace(b"Max-Forwards", b"X: a\nb\r\nMax-Forwards"),
        "300 fields": lambda m: m.replace(b"Max-Forwards", b"X: a\r\n" * 300 + b"Max-Forwards"),
        "600 fields": lambda m: m.replace(b"Max-Forwards", b"X: a\r\n" * 600 + b"Max-Forwards"),
        "CRLF NUL": lambda m: b"\r\n\0",
        "LF": lambda m: b"\n",
    }
    d = t.daemon()
    bob = t.uas("tls", answer=None)
    for tr in ("tcp", "tls"):
        alice = t.uac()
        conn = t.dial(alice, d, tr)
        for name, change in spoil.items():
            call = Call(alice, conn, t.uri(bob, "tls")).send()
            t.wait(lambda c=call: c.call_id in bob.invites, "the INVITE beside " + name)
            data, _ = alice.make(conn, "OPTIONS", t.uri(bob, "tls"))
            conn.send(change(data))
            options_works(t, d, alice, conn, t.uri(bob, "tls"))
            bob.answer(call.call_id)
            assert call.final().status == 200, name
            assert call.request("BYE").status == 200, name
        assert not conn.closed.is_set()
    assert d.counter("bad.framing") == 0 and d.counter("bad.skipped") == 10


@pytest.mark.host_only("framing is behind the records")
def test_s10_via_values_are_bounded(t):
    d = t.daemon()
    w = Bystander(t, d)
    conn = t.dial(w.alice, d, "tcp")
    for n, status in ((90, 200), (1500, 400)):
        more = ",".join(["SIP/2.0/TCP h%d;branch=z9hG4bK%d" % (i, i) for i in range(n)])
        data, key = w.alice.make(conn, "OPTIONS", t.uri(w.bob, "tls"))
        answers = w.alice.expect(key)
        head, rest = data.split(b"Max-Forwards", 1)
        conn.send(head + b"Via: " + more.encode() + b"\r\nMax-Forwards" + rest)
        t.wait(lambda q=answers: not q.empty(), "an answer to %d Via values" % n)
        assert answers.get()[1].status == status, n


@pytest.mark.host_only("framing is behind the records")
def test_2_8_endless_stream_without_head(t):
    """A megabyte without a blank line: closed long before, memory bounded."""
    d = t.daemon()
    w = Bystander(t, d)
    rss = d.rss_kb()
    with connect_raw(d, "tcp", t) as s:
        try:
            s.sendall(b"OPTIONS sip:x@y SIP/2.0\r\n")
            for _ in range(64):
                s.sendall(b"X-A: " + b"z" * 16000 + b"\r\n")
        except OSError:
            pass
        expect_close(s, "endless head")
    w.check()
    t.check_growth(d, rss, 4096)


BAD_REQUESTS = {
    "no From": lambda m: b"\r\n".join(x for x in m.split(b"\r\n") if not x.startswith(b"From")),
    "no Call-ID": lambda m: b"\r\n".join(x for x in m.split(b"\r\n")
                                         if not x.startswith(b"Call-ID")),
    "no CSeq": lambda m: b"\r\n".join(x for x in m.split(b"\r\n") if not x.startswith(b"CSeq")),
    "CSeq method differs": lambda m: m.replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 BYE"),
    "CSeq too large": lambda m: m.replace(b"CSeq: 1 ", b"CSeq: 99999999999 "),
    "Max-Forwards not a number": lambda m: m.replace(b"Max-Forwards: 70", b"Max-Forwards: x"),
    "two Call-IDs": lambda m: m.replace(b"Call-ID: ", b"Call-ID: other\r\nCall-ID: "),
}


@pytest.mark.host_only("framing is behind the records")
def test_2_8_bad_requests_400(t):
    """Requests whose framing is sound but whose headers are not: 400, nothing forwarded, and the
    connection lives on: on a trunk one caller's bad message must not end the others' calls."""
    d = t.daemon()
    w = Bystander(t, d)
    mallory = t.uac("mallory")
    conn = t.dial(mallory, d, "tls")
    for what, edit in BAD_REQUESTS.items():
        before = len(mallory.strays)
        data, _ = mallory.make(conn, "OPTIONS", t.uri(w.bob, "tls"))
        seen = len(w.bob.seen)
        conn.send(edit(data))
        t.wait(lambda n=before: len(mallory.strays) > n, "the refusal of: " + what)
        assert len(w.bob.seen) == seen, what + " was forwarded"
        assert all(m.status == 400 for m in mallory.strays[before:]), what
        options_works(t, d, mallory, conn, t.uri(w.bob, "tls"))
    assert len(mallory.strays) == len(BAD_REQUESTS), mallory.strays
    w.check()


@pytest.mark.host_only("framing is behind the records")
def test_2_8_version_505(t):
    """Another SIP version is refused with 505."""
    d = t.daemon()
    w = Bystander(t, d)
    mallory = t.uac("mallory")
    conn = t.dial(mallory, d, "tls")
    data, key = mallory.make(conn, "OPTIONS", t.uri(w.bob, "tls"))
    mallory.expect(key)
    conn.send(data.replace(b" SIP/2.0\r\n", b" SIP/7.0\r\n", 1))
    assert mallory.final(key).status == 505
    w.check()


TLS_HELLO = bytes.fromhex(
    "160301007a010000760303" + "11" * 32 + "20" + "22" * 32 + "0004130213010100"
    "0029002b0003020304000a00040002001d000d0004000204030033000600040000001d")
HTTP = b"GET / HTTP/1.1\r\nHost: proxy.example\r\nUser-Agent: x\r\n\r\n"


def foreign_protocol(t, transport, payload, counter):
    """PAYLOAD on a fresh connection: closed, counted, logged with the address, witness unharmed."""
    d = t.daemon()
    w = Bystander(t, d)
    before = d.counter(counter)
    with connect_raw(d, transport, t) as s:
        here = "%s:%d" % s.getsockname()
        s.sendall(payload)
        expect_close(s, "foreign protocol")
    t.wait(lambda: d.counter(counter) == before + 1, counter)
    d.wait_log(here)
    w.check()


@pytest.mark.host_only("no TLS in it")
def test_bad_input_http_on_tcp(t):
    foreign_protocol(t, "tcp", HTTP, "bad.protocol")


@pytest.mark.host_only("no TLS in it")
def test_bad_input_tls_on_tcp(t):
    foreign_protocol(t, "tcp", TLS_HELLO, "bad.protocol")


@pytest.mark.host_only("no TLS in it")
def test_bad_input_garbage_on_tcp(t):
    foreign_protocol(t, "tcp", b"\x00\x01\x02" + os.urandom(200) + b"\r\n\r\n", "bad.protocol")


@pytest.mark.host_only("it ends before there are keys")
def test_bad_input_http_on_tls(t):
    foreign_protocol(t, "tls", HTTP, "handshakes.failed.not_tls")


@pytest.mark.host_only("it ends before there are keys")
def test_bad_input_sip_on_tls(t):
    foreign_protocol(t, "tls", b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", "handshakes.failed.not_tls")


@pytest.mark.host_only("it ends before there are keys")
def test_bad_input_garbage_on_tls(t):
    foreign_protocol(t, "tls", b"\xff\xfe" + os.urandom(300), "handshakes.failed.not_tls")


def test_bad_input_http_inside_tls(t):
    """HTTP over a good TLS session on a SIP listener."""
    d = t.daemon()
    w = Bystander(t, d)
    conn = t.dial(t.uac("browser"), d, "tls")
    conn.send(HTTP)
    assert conn.closed.wait(20 * t.slow), "open after HTTP"
    assert conn.how in ("close_notify", "eof", "reset"), conn.how
    assert d.counter("bad.protocol") == 1
    w.check()


@pytest.mark.host_only("no TLS in it")
def test_bad_input_udp(t):
    """Garbage datagrams, empty ones, half messages: dropped and counted, calls go on."""
    d = t.daemon()
    w = Bystander(t, d, "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        to = ("127.0.0.1", d.port("udp"))
        before = d.counter("drops.parse")
        for junk in (os.urandom(400), HTTP, b"OPTIONS sip:a@b SIP/2.0\r\nVia: x", b"\x00" * 50):
            s.sendto(junk, to)
        for quiet in (b"", b"\r\n\r\n", b"\x00"):
            s.sendto(quiet, to)
        t.wait(lambda: d.counter("drops.parse") >= before + 3, "dropped datagrams")
    w.check()


def test_bad_input_random_records(t):
    """Bytes that are not records after a good handshake: closed with an alert, counted."""
    d = t.daemon()
    w = Bystander(t, d)
    conn = t.dial(t.uac("mallory"), d, "tls")
    conn.sock.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
    assert conn.closed.wait(20 * t.slow), "open after a forged record"
    assert conn.how.startswith("tls:") or conn.how in ("eof", "reset"), conn.how
    w.check()


@pytest.mark.host_only("it ends before there are keys")
def test_bad_input_half_open_handshake(t):
    """Silent, dripping and half-done handshakes are closed at their deadline, counted from accept."""
    d = t.daemon(timeouts={"handshake": t.ms(1000)})
    w = Bystander(t, d)
    began = time.monotonic()
    silent = [connect_raw(d, "tls", t) for _ in range(5)]
    half = connect_raw(d, "tls", t)
    half.sendall(TLS_HELLO[:40])
    drip = connect_raw(d, "tls", t)
    for i in range(12):                  # one byte every 100 ms must not extend the deadline
        try:
            drip.sendall(TLS_HELLO[i:i + 1])
        except OSError:
            break
        time.sleep(0.1)
        if i % 5 == 0:
            w.check()
    for s in silent + [half, drip]:
        expect_close(s, "half-open handshake")
        s.close()
    assert time.monotonic() - began < 10 * t.slow
    t.wait(lambda: d.counter("handshakes.failed.timeout") == 7, "seven timeouts")
    w.check()


@pytest.mark.host_only("it ends before there are keys")
def test_s11_silent_connections_keep_nobody_out(t):
    """From many addresses, three times what may be half-open, with a budget of two handshakes: the
    oldest give way, the newest stay, and every honest handshake between them is served."""
    d = t.daemon(timeouts={"hello": "1h", "handshake": "1h"},
                 limits={"max_half_open": 100, "max_half_open_source": 5, "max_handshakes": 2,
                         "max_handshakes_source": 2})
    w = Bystander(t, d)
    silent = []
    for i in range(300):
        s = socket.create_connection(("127.0.0.1", d.port("tls")), 20 * t.slow,
                                     source_address=("127.9.%d.%d" % (i % 3, i % 60 + 1), 0))
        s.sendall(TLS_HELLO[:(0, 3, 5, 40)[i % 4]])
        silent.append(s)
        if i % 50 == 49:
            t.dial(t.uac("honest%d" % i), d, "tls")
            w.check()
    t.wait(lambda: d.counter("handshakes.half_open") + d.counter("handshakes.gave_way") == 300,
           "each silent one is there or gave way")
    assert d.counter("handshakes.half_open") <= 100, "the bound does not hold"
    expect_close(silent[0], "the oldest half-open connection")
    assert d.counter("handshakes.refused.source") == d.counter("connections.refused") == 0
    for s in silent:
        s.close()
    w.check()


@pytest.mark.host_only("no TLS in it")
@pytest.mark.timeout(150)
def test_s8_requests_for_a_slow_address_go_to_the_next(t):
    """What one address of a peer does not take goes to its next, and if there is none to the next peer
    of the route: the caller hears of nothing."""
    slow, brisk, carol = t.uas(name="slow", silent=True), t.uas("tcp", name="brisk"), t.uas("tcp")
    slow.listen("tcp", "127.0.0.1", t.port(), rcvbuf=4096)
    ports = [a.listener("tcp").port for a in (slow, brisk)]
    server = dns.NameServer({("_sip._tcp.gw.example", "SRV"): [
        (10, 1, ports[0], "one.test"), (20, 1, ports[1], "two.test")]})
    dns.use(t, server.port, hosts="127.0.0.1 one.test two.test\n")
    d = t.daemon(limits={"send_buffer": "64k"}, timeouts={"send": "1h"}, peers=[
        ("gw", {"uri": "sip:gw.example;transport=tcp"}),
        ("slow", {"uri": t.uri(slow, "tcp").replace("bob@", "")}),
        ("carol", {"uri": t.uri(carol, "tcp").replace("bob@", "")})],
        routes=[("gw", {"to_prefix": "gw", "peers": ["gw"]}),
                ("rest", {"peers": ["slow", "carol"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    data, _ = alice.make(conn, "MESSAGE", "sip:gw@far.example", body=pattern(100))
    conn.send(data)
    slow.next_request("MESSAGE")[0].reading.clear()
    for i in range(1000):
        if d.counter("drops.queue_full"):
            break
        data, _ = alice.make(conn, "MESSAGE", "sip:gw@far.example", body=pattern(30000, i))
        conn.send(data)
        d.rpc("version")
    assert alice.request(conn, "OPTIONS", "sip:gw@far.example").status == 200
    assert alice.request(conn, "OPTIONS", "sip:x@far.example").status == 200
    assert brisk.count("OPTIONS") == carol.count("OPTIONS") == 1
    slow.close()                       # what waits for its answers has the connection's end for one
    d.fds_at_start += 1                # the resolver keeps its socket to the name server


@pytest.mark.host_only("it ends before there are keys")
def test_bad_input_cut_handshakes(t):
    """Handshakes that the client cuts off at various points."""
    d = t.daemon()
    w = Bystander(t, d)
    bio_in, bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = t.client_ctx().wrap_bio(bio_in, bio_out)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = bio_out.read()
    for cut in (1, 4, 5, 20, len(hello) - 1, len(hello)):
        with connect_raw(d, "tls", t) as s:
            s.sendall(hello[:cut])
            if cut == len(hello):
                s.recv(100)
    t.wait(lambda: d.counter("handshakes.failed.closed") == 6, "six cut handshakes")
    w.check()


@pytest.mark.host_only("it ends before there are keys")
@pytest.mark.alone
@pytest.mark.timeout(150)
def test_bad_input_flood_of_handshakes(t):
    """1,000 connections that never handshake: bounded, counted, established traffic unharmed and
    new callers served once they are gone."""
    d = t.daemon(timeouts={"handshake": t.ms(2000)})
    w = Bystander(t, d)
    rss = d.rss_kb()
    socks = []
    for i in range(1000):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", d.port("tls")))
        socks.append(s)
        if i % 100 == 50:
            w.check()
    w.check()
    # the budget of one source does not touch another
    other = t.dial(w.alice, d, "tls", bind=("127.0.0.2", 0))
    options_works(t, d, w.alice, other, t.uri(w.bob, "tls"))
    t.check_growth(d, rss, 64 << 10)
    for s in socks:
        s.close()
    w.check()
    Bystander(t, d)


@pytest.mark.host_only("no TLS in it")
@pytest.mark.alone
@pytest.mark.timeout(150)
def test_bad_input_flood_of_idle_connections(t):
    """1,000 idle TCP connections: traffic goes on, memory is bounded and comes back."""
    d = t.daemon()
    w = Bystander(t, d)
    rss = d.rss_kb()
    socks = [socket.create_connection(("127.0.0.1", d.port("tcp")), 20 * t.slow)
             for _ in range(1000)]
    d.wait_counter("connections.now", 1002)
    w.check()
    t.check_growth(d, rss, 16 << 10)
    for s in socks:
        s.close()
    t.wait(lambda: d.counter("connections.now") == 2, "the flood to be gone")
    w.check()


# what a stranger sends, over which transport, the line it brings about and the counter of it
FLOODS = (
    ("tcp", b"GET / HTTP/1.0\r\n\r\n", "does not speak SIP", "bad.protocol"),
    ("tcp", b"OPTIONS sip:x@a SIP/2.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
     "we cannot frame", "bad.framing"),
    ("tls", b"GET / HTTP/1.0\r\n\r\n", "handshake failed", "handshakes.failed.not_tls"),
)


@pytest.mark.host_only("sentences in the log")
@pytest.mark.timeout(150)
def test_s15_strangers_do_not_fill_the_log(t):
    """300 bad messages of each kind: ten lines, ten more a second, and one that has the number of
    those held back. What another source sends is logged all the same."""
    d = t.daemon()
    for transport, what, line, counter in FLOODS:
        began, held = time.monotonic(), d.rpc("stats")["log"]["lines_held"]
        for n in range(300):
            with connect_raw(d, transport, t) as s:
                s.sendall(what)
                if transport == "tcp":
                    expect_close(s, line)
        d.wait_counter(counter, 300)
        held = d.rpc("stats")["log"]["lines_held"] - held
        t.wait(lambda: sum(int(n) for n in re.findall(
            'held back.*kind="[^"]*%s.*count=(\\d+)' % line, d.log())) >= held, "the sum")
        lines = len(re.findall('msg="[^"]*%s' % line, d.log()))
        assert lines + held == 300, (line, lines, held)
        assert lines <= 10 + 10 * (time.monotonic() - began), (line, lines)
    with socket.create_connection(("127.0.0.1", d.port("tcp")), 20 * t.slow,
                                  source_address=("127.0.0.2", 0)) as s:
        s.sendall(FLOODS[0][1])
        d.wait_log("does not speak SIP.*127.0.0.2")


def test_s13_a_message_has_its_time(t):
    """A byte now and then keeps no connection: timeouts.message ends it, over TCP and TLS, and
    nobody else's."""
    d = t.daemon(timeouts={"message": t.ms(1500)})
    w = Bystander(t, d)
    head = b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nSubject: " + 50000 * b"x"
    for n, transport in enumerate(("tcp", "tls"), 1):
        conn = t.dial(t.uac("dripping"), d, transport)
        for byte in head:
            if conn.closed.is_set():
                break
            try:
                conn.send(bytes([byte]))
            except OSError:
                break
            conn.closed.wait(0.02)
        t.wait(conn.closed.is_set, "the end of the dripping connection over " + transport)
        assert d.counter("connections.message_timeout") == n
        d.wait_log("only in part.*transport=%s.*timeouts.message" % transport.upper())
    w.check()
    assert d.counter("unfinished.bytes") == 0


@pytest.mark.host_only("connections are counted, not what is in them")
@pytest.mark.timeout(150)
def test_s13_a_source_has_its_share_of_connections(t):
    """Over max_connections_source one source gets no more, TCP and TLS counted together, while
    others do; a peer's address has a larger one, or the peer's own, which is told to be useless if
    it is not larger; what closes comes free."""
    d = t.daemon(limits={"max_connections_source": 20, "max_connections_peer": 30},
                 extra='peer "carrier" { uri = "sip:127.0.0.3:5999;transport=tcp" }\n'
                       'peer "large" { uri = "sip:127.0.0.4:5999;transport=tcp" '
                       'max_connections = 40 }\n'
                       'peer "small" { uri = "sip:127.0.0.2:5999" max_connections = 20 }\n')
    d.wait_log("max_connections of peer .*small.* changes nothing")
    w = Bystander(t, d)
    for source, most in (("127.0.0.5", 20), ("127.0.0.3", 30), ("127.0.0.4", 40)):
        refused = d.counter("connections.refused_source")
        now = d.counter("connections.now")
        socks = [socket.create_connection(("127.0.0.1", d.port("tcp")), 20 * t.slow,
                                          source_address=(source, 0)) for _ in range(most - 10)]
        t.wait(lambda: d.counter("connections.now") == now + most - 10, "the TCP connections")
        for _ in range(10):
            t.dial(w.alice, d, "tls", bind=(source, 0))
        for n, transport in enumerate(("tcp", "tls", "tcp"), 1):
            with socket.create_connection(("127.0.0.1", d.port(transport)), 20 * t.slow,
                                          source_address=(source, 0)) as s:
                expect_close(s, "one over the bound")
            d.wait_counter("connections.refused_source", refused + n)
        d.wait_log("refused.*%s.*max_connections_source" % source)
        w.check()
        socks.pop().close()
        t.wait(lambda: d.counter("connections.now") == now + most - 1, "one to be gone")
        conn = t.dial(w.alice, d, "tcp", bind=(source, 0))
        options_works(t, d, w.alice, conn, t.uri(w.bob, "tls"))
        for s in socks:
            s.close()
        # The next round counts from here. Ten over TLS and the last one stay; the other worker may
        # have dialed the callee for it.
        t.wait(lambda: d.counter("connections.now") <= now + 12, "the others to be gone")


@pytest.mark.host_only("connections are counted, not what is in them")
def test_bad_input_max_connections(t):
    """Connections over max_connections are refused and counted; the others work."""
    d = t.daemon(limits={"max_connections": 20})
    w = Bystander(t, d)
    socks = [connect_raw(d, "tcp", t) for _ in range(40)]
    t.wait(lambda: d.counter("connections.refused") >= 20, "refused connections")
    w.check()
    for s in socks:
        s.close()
    t.wait(lambda: d.counter("connections.now") == 2, "the others to be gone")
    Bystander(t, d)


def test_s13_strangers_leave_descriptors(t):
    """Strangers who hold as many connections as there are descriptors: ctl answers, and we dial."""
    few = os.path.join(t.dir, "few-files")
    with open(few, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nulimit -n 600\nexec %s \"$@\"\n" % t.tieline)
    os.chmod(few, 0o755)
    t.tieline = few
    bob = t.uas("tcp")
    d = t.daemon(workers=1)
    alice = t.uac()
    conn = t.dial(alice, d, "udp")
    socks = [connect_raw(d, "tcp", t) for _ in range(700)]
    t.wait(lambda: d.counter("connections.refused") >= 400, "refused connections")
    assert alice.request(conn, "OPTIONS", t.uri(bob, "tcp")).status == 200
    for s in socks:
        s.close()


@pytest.mark.timeout(150)
def test_2_9_stuck_peer(t):
    """A callee that stops reading: others are served all the while, it is declared stuck and reset,
    its requests get an answer, memory stays bounded."""
    d = t.daemon(timeouts={"send": t.ms(2000), "timer_f": t.ms(8000)}, limits={"send_buffer": "256k"})
    stuck = t.uas(name="stuck", silent=True)
    stuck.listen("tls", "127.0.0.1", t.port(), t.server_ctx(), rcvbuf=4096)
    w = Bystander(t, d)
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    uri = t.uri(stuck, "tls")
    data, key = alice.make(conn, "MESSAGE", uri, body=pattern(100))
    conn.send(data)
    where, _ = stuck.next_request("MESSAGE")
    where.reading.clear()
    keys = []
    conn.give_up_sending_after(2)
    try:
        for i in range(300):
            data, key = alice.make(conn, "MESSAGE", uri, body=pattern(30000, i))
            alice.expect(key)
            conn.send(data)
            keys.append(key)
            if i % 20 == 0:
                w.check()
    except BlockingIOError:
        raise AssertionError("the caller is kept waiting for a callee that does not read") from None
    w.check()
    assert d.counter("connections.paused") == 0
    assert d.counter("sendq.bytes") < 4 << 20
    assert "A request is not sent: its peer reads too slowly" in d.log()
    d.wait_counter("connections.stuck", 1, 60)
    w.check()
    assert alice.final(keys[0]).status in (408, 503)
    where.reading.set()


def test_s8_slow_reader_delays_no_other(t):
    """C asks B for much and reads nothing: D's requests to B on the same trunk are answered all the
    while, the trunk is read on, C is reset."""
    d = t.daemon(timeouts={"send": t.ms(2000)}, limits={"send_buffer": "64k"})
    bob = t.uas("tcp", name="trunk")
    carol, dave = t.uac("carol"), t.uac("dave")
    uri = t.uri(bob, "tcp")
    dconn = t.dial(dave, d, "tcp")
    options_works(t, d, dave, dconn, uri)
    cconn = t.dial(carol, d, "tcp")
    options_works(t, d, carol, cconn, uri)
    cconn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    cconn.reading.clear()
    cconn.give_up_sending_after(2)
    try:
        for i in range(600):
            data, _ = carol.make(cconn, "MESSAGE", uri, body=pattern(8000, i))
            cconn.send(data)
            if i % 20 == 0:
                options_works(t, d, dave, dconn, uri)
    except OSError:
        pass                            # reset while it still asks
    t.wait(lambda: d.counter("connections.slow") + d.counter("connections.stuck") == 1,
           "the slow reader to be reset")
    d.wait_log("Resetting a connection whose peer")
    options_works(t, d, dave, dconn, uri)
    assert not dconn.closed.is_set()
    assert d.counter("connections.paused") == 0
    cconn.reading.set()
