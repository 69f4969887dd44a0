# SPDX-License-Identifier: Apache-2.0
"""What name servers, and who passes for one, may do to the daemon: answers that are cut off, broken
or forged.
"""
import os
import random
import struct
import time

import pytest
from flowlib import dns
from flowlib.steps import options_works

pytestmark = pytest.mark.host_only("DNS")


def _port(agent, transport):
    return agent.listener(transport).port


def _send(agent, conn, uri):
    """An OPTIONS whose answer nobody waits for."""
    conn.send(agent.make(conn, "OPTIONS", uri)[0])


def test_s9_cut_off_answers_lead_to_the_right_address(t):
    """Forty SRV records do not fit a datagram; what is left of them there, and the address of the
    name itself, lead to another host. Over TCP all are there (RFC 2181 9, RFC 7766)."""
    bob, wrong = t.uas("tcp"), t.uas("tcp", name="wrong")
    far = [(50, 1, _port(wrong, "tcp"), "spare-%02d.of-a-long-name.far.example" % i)
           for i in range(40)]
    zone = {("_sip._tcp.far.example", "SRV"): far + [(1, 1, _port(bob, "tcp"), "best.far.example")],
            ("best.far.example", "A"): ["127.0.0.1"], ("far.example", "A"): ["127.0.0.1"]}
    zone.update({(row[3], "A"): ["127.0.0.1"] for row in far})
    server = dns.NameServer(zone, udp_size=1232)
    dns.use(t, server.port)
    d = t.daemon(peers=[("gw", {"uri": "sip:far.example;transport=tcp"})],
                 routes=[("out", {"to_prefix": "gw", "peers": ["gw"]}),
                         ("all", {"relay": "request-uri"})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    options_works(t, d, alice, conn, "sip:line@far.example;transport=tcp")
    t.wait(lambda: d.rpc("peers")["peers"][0]["lookup"]["ttl_s"], "the look-up of the peer's name")
    options_works(t, d, alice, conn, "sip:gw1@elsewhere.example")
    assert (bob.count("OPTIONS"), wrong.count("OPTIONS")) == (2, 0)
    assert ("_sip._tcp.far.example", "SRV") in server.asked_tcp, server.asked_tcp


def _recorded(query):
    """The answer that ended the process of earlier versions, to this QUERY."""
    path = os.path.join(os.path.dirname(__file__), "..", "data", "dns-answer.hex")
    with open(path, encoding="ascii") as f:
        answer = bytes.fromhex("".join(f.read().split()))
    return query[:2] + answer[2:12] + query[12:27] + answer[27:]


def _hostile(rng):
    """Answers to every kind of question: pieces in which any byte may be wrong."""
    pieces = [b"\xc0\x0c", b"\xc0\x04", b"\xc0\xff", b"\xff\xff", b"\x00", b"\x3f" + b"a" * 63,
              b"\x01s", b"\x08SIPS+D2T", b"\xff", b"\x7f\x00\x00\x01", bytes(16)]

    def reply(query, _name, _kind):
        end = query.index(b"\0", 12) + 5
        out, n = query[12:end], rng.randrange(1, 30)
        for _ in range(n):
            data = b"".join(rng.choice(pieces) for _ in range(rng.randrange(8)))
            if rng.random() < 0.5:
                data = struct.pack("!HHH", 1, 1, 5060) + data
            kind = rng.choice([1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 41, 46, 255])
            size = len(data) if rng.random() < 0.8 else rng.randrange(65536)
            out += rng.choice(pieces) + struct.pack("!HHIH", kind, 1, rng.randrange(2 ** 32), size)
            out += data
        flags = rng.choice([0x8180, 0x8180, 0x8580, 0x8183, 0x8181, 0x0100, 0x8182])
        out = query[:2] + struct.pack("!HHHHH", flags, rng.choice([1, 1, 1, 0, 2]), n, 0, 0) + out
        return out[:rng.randrange(len(out))] if rng.random() < 0.2 else out
    return reply


def test_s9_hostile_answers_end_nothing(t):
    """The answer that ended the process, and a thousand made-up ones to questions of each kind: the
    daemon serves, names that are answered well are found, and SIGTERM ends it."""
    bob, rng = t.uas("udp"), random.Random(9)
    truth = dns.NameServer({("good.example", "A"): ["127.0.0.1"]})
    bad = _hostile(rng)

    def reply(query, name, kind):
        if name.startswith("x278.h.example"):
            return _recorded(query) if kind == "NAPTR" else None
        return bad(query, name, kind) if name.endswith("bad.example") else None
    server = dns.Liar(t.port(), truth.port, reply)
    dns.use(t, server.port)
    d = t.daemon(extra="dns_ttl_min = 1s",
                 peers=[("gw", {"uri": "sip:x278.h.example"})],
                 routes=[("all", {"relay": "request-uri"})])
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")     # by UDP some of so many at once would be lost
    for i in range(300):
        uri = ("sip:x@%d.bad.example", "sips:x@%d.bad.example", "sip:x@%d.bad.example:5060",
               "sip:x@%d.bad.example;transport=tcp")[i % 4] % i
        _send(alice, conn, uri)
    _send(alice, conn, "sip:x@x278.h.example")
    t.wait(lambda: ("x278.h.example", "NAPTR") in server.asked, "the question of the recorded answer")
    t.wait(lambda: sum(1 for n, _ in server.asked if n.endswith("bad.example")) >= 300,
           "questions for the names of the hostile server")
    options_works(t, d, alice, conn, "sip:x@good.example:%d" % _port(bob, "udp"))
    assert bob.count("OPTIONS") == 1
    t.wait(lambda: d.counter("dns.asked") > 300 and d.counter("dns.refused") > 10,
           "a look-up of each name, and refused answers")
    assert d.stop() == 0


def test_s9_ports_and_ids_cannot_be_foreseen(t):
    """Each question comes from a port of its own with an id that says nothing of the next."""
    server = dns.NameServer({("example", "A"): ["127.0.0.1"]})
    dns.use(t, server.port)
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    for i in range(20):
        assert alice.request(conn, "OPTIONS", "sip:x@n%d.example:5060;transport=tcp" % i).status >= 400
    ports = {port for port, _ in server.clients}
    ids = {id_ for _, id_ in server.clients}
    assert len(server.clients) >= 40, len(server.clients)      # A and AAAA of each
    assert len(ports) >= len(server.clients) * 0.8, sorted(ports)
    assert len(ids) >= len(server.clients) * 0.8, sorted(ids)
    for order in ("!H", "<H"):
        numbers = sorted(struct.unpack(order, struct.pack("!H", n))[0] for n in ids)
        close = sum(1 for a, b in zip(numbers, numbers[1:]) if b - a == 1)
        assert close <= 5, "ids count up: %s" % numbers


def test_s9_stop_waits_for_no_name_server(t):
    """SIGTERM while questions are open that nobody answers, which else takes five seconds."""
    server = dns.NameServer(silent=True)
    dns.use(t, server.port)
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "udp")
    for i in range(20):
        _send(alice, conn, "sip:x@n%d.example" % i)
    t.wait(lambda: len(server.asked) >= 20, "the questions")
    began = time.monotonic()
    assert d.stop() == 0
    assert time.monotonic() - began < 4, "the stop waited for the name server"
