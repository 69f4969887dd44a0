# SPDX-License-Identifier: Apache-2.0
"""Other people's SIP software through the proxy: SIPp behind stunnel, Kamailio, sipsak, baresip.

Issue item 2.2 in small, CONFORMANCE.md 1.
"""
import os
import re
import socket
import subprocess

import pytest
from flowlib import sip, tricks
from flowlib.steps import options_works, pattern
from flowlib.tools import Piped, Witness, kamailio, sipp_stunnel
from flowlib.ua import Call

pytestmark = pytest.mark.kernel_tls


@pytest.mark.timeout(150)
def test_2_2_sipp_behind_stunnel(t):
    """SIPp, stunnel, TLS, tieline, TLS, stunnel, SIPp: 100 calls, all complete."""
    d = sipp_stunnel(t, 100, lambda port: t.daemon(
        domain={"verify_cert": True},
        peers=[("callee", {"uri": "sip:127.0.0.1:%d;transport=tls" % port, "tls_domain": "lab",
                           "identity": "callee.example"})], routes=[("all", {"peers": ["callee"]})]))
    count = d.counters()
    assert count["requests.INVITE"] == count["requests.BYE"] == count["requests.ACK"] == 100, count
    assert count["retransmissions.absorbed"] == 0


@pytest.mark.host_only("no TLS in it")
def test_2_7_sipsak(t):
    """sipsak's OPTIONS over UDP and TCP."""
    program = t.need("sipsak")
    bob = t.uas("tls")
    d = t.daemon(peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                 "tls_domain": "lab"})], routes=[("all", {"peers": ["bob"]})])
    for n, tr in enumerate(("udp", "tcp"), 1):
        p = subprocess.run([program, "-vv", "-E", tr, "-p", "127.0.0.1:%d" % d.port(tr), "-s",
                            "sip:bob@callee.example"], capture_output=True, text=True,
                           timeout=40 * t.slow, check=False)
        assert p.returncode == 0 and "200" in p.stdout, p
        assert bob.count("OPTIONS") == n


@pytest.mark.timeout(150)
def test_2_7_kamailio_next_hop(t):
    """Kamailio as next hop over TLS: it answers itself, and it relays calls on to our callee with
    both proxies in the route set."""
    port = kamailio(t)
    d = t.daemon(domain={"verify_cert": True},
                 peers=[("kamailio", {"uri": "sip:127.0.0.1:%d;transport=tls" % port,
                                      "tls_domain": "lab", "identity": "callee.example"})],
                 routes=[("all", {"peers": ["kamailio"]})])
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    for _ in range(5):
        rsp = alice.request(conn, "OPTIONS", "sip:ping@127.0.0.1:%d" % port)
        assert rsp.status == 200 and rsp.reason == "Pong", repr(rsp)
    for _ in range(5):
        call = Call(alice, conn, t.uri(bob, "tls")).answered()
        assert len(call.routes) == 2, call.routes
        assert call.request("INFO", body=pattern(900)).body == pattern(900)
        assert call.bye().status == 200


@pytest.mark.timeout(150)
def test_2_7_kamailio_previous_hop(t):
    """Kamailio as previous hop: calls come in over its TLS connection and in-dialog requests of the
    callee go back through it."""
    port = kamailio(t)
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    alice.listen("tls", "127.0.0.1", t.port(), t.server_ctx("client"))
    conn = alice.connect("tls", "127.0.0.1", port, t.client_ctx())
    hop = "<sip:127.0.0.1:%d;transport=tls;lr>" % d.port("tls")
    call = Call(alice, conn, t.uri(bob, "tls"), headers=[
        ("Route", "<sip:127.0.0.1:%d;transport=tls;lr>" % port), ("Route", hop)])
    assert call.send().final().status == 200
    assert len(call.routes) == 2, call.routes
    call.ack()
    assert call.request("INFO").status == 200
    side = bob.dialogs[call.call_id]
    data, key = side.make("BYE")
    bob.expect(key)
    side.conn.send(data)
    back, req = alice.next_request("BYE")
    alice.reply(back, req, 200)
    assert bob.final(key).status == 200
    count = d.counters()
    assert count["requests.INVITE"] == count["requests.BYE"] == 1, count


BARESIP = """module_path %s
module_tmp account.so
module_app menu.so
module stdio.so
module cons.so
sip_listen 127.0.0.1:%d
sip_cafile %s
sip_trans_def tls
audio_player none,nil
audio_source none,nil
"""


def network_beside_loopback(t):
    """baresip will not start where lo is the only interface, as in the test machine: it gets one."""
    if "TIELINE_VM" in os.environ:
        for command in ("modprobe dummy", "ip link add tl0 type dummy",
                        "ip addr add 192.0.2.1/24 dev tl0", "ip link set tl0 up"):
            subprocess.run(command.split(), check=False, timeout=30 * t.slow,
                           capture_output=True)


@pytest.mark.timeout(120)
def test_2_7_baresip_options(t):
    """baresip (libre's own SIP and TLS code) answers OPTIONS that come through the proxy."""
    program = t.need("baresip")
    modules = "/usr/lib/baresip/modules"
    if not os.path.isdir(modules):
        t.skip("baresip's modules are not in " + modules)
    network_beside_loopback(t)
    home, port = os.path.join(t.dir, "baresip"), t.port()
    os.makedirs(home)
    with open(t.pki("callee.pem"), encoding="ascii") as c, open(t.pki("callee.key"),
                                                                encoding="ascii") as k:
        both = c.read() + k.read()
    for name, text in (("config", BARESIP % (modules, port, t.pki("ca.pem")) +
                        "sip_certificate %s/both.pem\n" % home),
                       ("both.pem", both), ("contacts", ""),
                       ("accounts", "<sip:bob@127.0.0.1;transport=tls>;regint=0\n")):
        with open(os.path.join(home, name), "w", encoding="ascii") as f:
            f.write(text)
    phone = Piped(t, [program, "-f", home])
    try:
        t.wait_port(port + 1)            # baresip puts TLS one above its SIP port
    except AssertionError as e:
        raise AssertionError("%s; baresip said %r" % (e, phone.out[-1500:])) from None
    d = t.daemon()
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    uri = "sip:bob@127.0.0.1:%d;transport=tls" % (port + 1)
    for _ in range(3):
        rsp = alice.request(conn, "OPTIONS", uri)
        assert rsp.status == 200, repr(rsp)
        assert re.search("baresip", rsp.get("server") or rsp.get("user-agent") or "", re.I), \
            rsp.headers


def test_2_7_two_proxies(t):
    """Two of our own in a row: calls both ways through both, Record-Route of both honoured."""
    second = t.daemon("second")
    first = t.daemon("first", peers=[("second", {
        "uri": "sip:127.0.0.1:%d;transport=tls" % second.port("tls"), "tls_domain": "lab"})],
        routes=[("all", {"peers": ["second"]})])
    first.keeps = 1
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, first, "tls")
    call = Call(alice, conn, t.uri(bob, "tls")).answered()
    assert len(call.routes) == 2, call.routes
    assert call.request("INFO", body=pattern(3000)).body == pattern(3000)
    assert call.bye().status == 200
    options_works(t, first, alice, conn, t.uri(bob, "tls"))


class Tricks:
    """Sends the tricks of one transport through the daemon to a Kamailio, over one connection to it,
    and holds what that sees against the table."""

    def __init__(self, t, transport, peer=(), route=()):
        self.t, self.tr = t, transport
        self.kamailio = Witness(t)
        self.d = t.daemon(workers=1, peers=[("kamailio", dict(
            peer, uri="sip:127.0.0.1:%d;transport=tcp" % self.kamailio.port))],
            routes=[("all", dict(route, peers=["kamailio"]))])
        self.uri = "sip:ping@127.0.0.1:%d" % self.kamailio.port
        self.honest = t.uac()
        self.conn = t.dial(self.honest, self.d, "tcp")
        self.trunk = self.probe()

    def probe(self):
        """Somebody else's request over the same connection to Kamailio; the connection it came on."""
        rsp = self.honest.request(self.conn, "OPTIONS", self.uri)
        assert rsp.status == 200, repr(rsp)
        self.t.wait(lambda: any(x[0] == rsp.call_id for x in self.kamailio.saw()), "its line")
        return [x for x in self.kamailio.saw() if x[0] == rsp.call_id][0][5]

    def play(self, data, behind, call_id):
        """Sends DATA and BEHIND it; waits until the latter is answered or the connection ends."""
        kind = socket.SOCK_STREAM if self.tr == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(20 * self.t.slow)
            s.connect(("127.0.0.1", self.d.port(self.tr)))
            got = b""
            try:
                if self.tr == "tcp":
                    s.sendall(data + behind)
                else:
                    s.send(data)
                    s.send(behind)
                while b"Call-ID: %s\r\n" % call_id.encode() not in got:
                    more = s.recv(65536)
                    if not more:
                        break
                    got += more
            except ConnectionError:         # it was refused and the rest with it
                pass

    def hold(self, trick):
        start, call_id = len(self.kamailio.piped.out), sip.token(trick.name + "-")
        behind = "behind-" + call_id
        self.play(trick.make(self.uri, call_id), tricks.message(self.uri, behind), behind)
        assert self.probe() == self.trunk, "%s: Kamailio's connection has ended" % trick.name
        saw = [x for x in self.kamailio.saw(start) if x[2] == "MESSAGE"]
        want = trick.passes(self.tr, self.uri, call_id)
        assert [(x[0], x[3]) for x in saw if x[0] != behind] == want, (trick.name, saw, want)
        assert all(x[3] == x[4] and x[1] == 1 for x in saw), (trick.name, saw)
        assert len(saw) - len(want) <= 1, (trick.name, saw)
        assert not self.kamailio.complaints(start), self.kamailio.complaints(start)


@pytest.mark.host_only("no TLS in it")
@pytest.mark.timeout(240)
def test_s5_tricks_over_tcp(t):
    """What two parsers might read differently, over TCP: Kamailio sees one message for each that we
    pass on, with the length that we saw, and no other; the connection all share stays up."""
    bench = Tricks(t, "tcp")
    table = tricks.table()
    assert len(table) >= 60
    for trick in table:
        bench.hold(trick)


@pytest.mark.host_only("limits of a message's size")
def test_s5_the_next_hop_gets_what_it_takes(t):
    """Kamailio ends a connection at a message over its buffer, and with it what all others wait for:
    a peer's max_message bounds what goes there, whether with a transaction or without."""
    for stateless in (False, True):
        bench = Tricks(t, "tcp", {"max_message": "16k"}, {"stateless": stateless})
        for size, want in ((15000, 200), (17000, 513), (60000, 513), (200000, 513), (10, 200)):
            rsp = bench.honest.request(bench.conn, "MESSAGE", bench.uri, body=b"x" * size)
            assert rsp.status == want, (size, rsp)
            assert bench.probe() == bench.trunk, size
        rsp = bench.honest.request(bench.conn, "MESSAGE", bench.uri,
                                   headers=[("Subject", "y" * 17000)])
        assert rsp.status == 513 and bench.probe() == bench.trunk, rsp
        assert bench.d.counter("messages.too_large_for_peer") == 4
        bench.honest.close()
        bench.d.stop()


@pytest.mark.host_only("limits of a message's size")
def test_s5_a_caller_gets_what_it_takes(t):
    """The same for responses, toward the peer that asked: what is larger is dropped and counted."""
    bob = t.uas("tcp")
    d = t.daemon(peers=[("small", {"uri": "sip:127.0.0.1:%d;transport=tcp" % t.port(),
                                   "max_message": "4k"})])
    alice = t.uac()
    for n, (tr, to) in enumerate((("tcp", "tcp"), ("udp", "tcp"), ("tls", "tcp")), 1):
        conn = t.dial(alice, d, tr)
        data, key = alice.make(conn, "MESSAGE", t.uri(bob, to), body=b"x" * 5000)
        alice.expect(key)
        conn.send(data)
        d.wait_counter("messages.too_large_for_peer", n)
        assert alice.request(conn, "MESSAGE", t.uri(bob, to), body=b"x" * 3000).status == 200
        assert alice.expect(key).empty()


@pytest.mark.host_only("no TLS in it")
@pytest.mark.timeout(240)
def test_s5_tricks_over_udp(t):
    """The same in datagrams, which go on over TCP."""
    bench = Tricks(t, "udp")
    for trick in tricks.table():
        bench.hold(trick)
