# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 18: transport. What is sent where, how messages are framed, what an error does."""
import re
import time

from kit import HUNT, over, sip


# ---- 18.1 clients -------------------------------------------------------------------------------

@over("udp")
def test_18_1_1_large_request_by_tcp(c):
    """A request within 200 bytes of the MTU, or over 1300 bytes, goes by a transport with congestion
    control; the Via says so, and the response comes back all the same."""
    c.proxy()
    bob = c.callee()
    bob.listen("tcp", "127.0.0.1", bob.listener("udp").port)
    for size in (1400, 20000):
        msg, _ = c.through(bob, body=b"x" * size)
        assert msg.all("via")[0].startswith("SIP/2.0/TCP "), msg.all("via")[0]


@over("udp")
def test_18_1_1_large_request_back_to_udp(c):
    """Where TCP is refused the large request goes by UDP after all."""
    c.proxy()
    bob = c.callee()
    for size in (1400, 20000):
        msg, _ = c.through(bob, body=b"x" * size)
        assert msg.all("via")[0].startswith("SIP/2.0/UDP "), msg.all("via")[0]
        assert len(msg.body) == size


@over("udp")
def test_18_1_1_large_request_without_state(c):
    """The rule binds a stateless route too; small requests stay on UDP there."""
    bob = c.callee()
    bob.listen("tcp", "127.0.0.1", bob.listener("udp").port)
    c.proxy(hunt=[c.target(bob)], route={"stateless": True}, need=["stateless"])
    for size, way in ((1400, "TCP"), (100, "UDP"), (20000, "TCP")):
        msg, _ = c.through(bob, uri=HUNT, body=b"x" * size)
        assert msg.all("via")[0].startswith("SIP/2.0/%s " % way), msg.all("via")[0]


@over("udp")
def test_18_1_1_large_request_without_state_back_to_udp(c):
    """There too it goes by UDP after all where TCP is refused."""
    bob = c.callee()
    c.proxy(hunt=[c.target(bob)], route={"stateless": True}, need=["stateless"])
    msg, _ = c.through(bob, uri=HUNT, body=b"x" * 1400)
    assert msg.all("via")[0].startswith("SIP/2.0/UDP "), msg.all("via")[0]


@over("udp")
def test_18_1_1_small_request_by_udp(c):
    """A small request to a UDP target stays on UDP."""
    c.proxy()
    msg, _ = c.through(c.callee(), body=b"x" * 200)
    assert msg.all("via")[0].startswith("SIP/2.0/UDP "), msg.all("via")[0]


@over("tls", "tcp")
def test_18_1_1_connection_reused(c):
    """A connection that is open to the target is used again."""
    c.proxy(workers=1)
    bob = c.callee()
    for _ in range(5):
        c.through(bob)
    assert bob.listener(c.tr).accepted == 1


def test_18_1_1_via_sent_by(c):
    """The client puts a sent-by into its Via at which it can be reached."""
    c.proxy()
    msg, _ = c.through(c.callee())
    assert msg.all("via")[0].split(";")[0].endswith(" 127.0.0.1:%d" % c.d.port(c.tr))


# ---- 18.2 servers -------------------------------------------------------------------------------

def test_18_2_1_received_added(c):
    """A sent-by that is not where the packet came from: received says where that was."""
    c.proxy()
    bob = c.callee()
    for host in ("alice.example", "192.0.2.77", "127.0.0.11"):
        key, got = _plain_via(c, bob, "%s:%d" % (host, c.conn.local[1]))
        via = got[1].all("via")[1]
        assert sip.param(via, "received") == "127.0.0.1" and "rport" not in via, via
        bob.reply(got, 200)
        assert c.alice.final(key).status == 200


def test_18_2_1_received_not_needed(c):
    """Where sent-by is the source address and nothing was asked, the Via stays as it was."""
    c.proxy()
    bob = c.callee()
    key, msg = _plain_via(c, bob, "127.0.0.1:%d" % c.conn.local[1])
    assert "received" not in msg[1].all("via")[1], msg[1].all("via")
    bob.reply(msg, 200)
    assert c.alice.final(key).status == 200


def test_18_2_1_forged_received_replaced(c):
    """A received that came in is somebody's claim: ours takes its place."""
    c.proxy()
    bob = c.callee()
    key, msg = _plain_via(c, bob, "127.0.0.1:%d" % c.conn.local[1], ";received=192.0.2.66")
    via = msg[1].all("via")[1]
    assert "192.0.2.66" not in via, via
    bob.reply(msg, 200)
    assert c.alice.final(key).status == 200


def _plain_via(c, bob, sent_by, params="", method="MESSAGE", conn=None):
    """A request whose Via asks for nothing: (key, as BOB has it)."""
    conn = conn or c.conn
    data, key = c.alice.make(conn, method, c.uri(bob), sent_by=sent_by)
    data = data.replace(b";rport", params.encode(), 1)
    c.alice.expect(key)
    conn.send(data)
    return key, bob.take(method)


@over("tls", "tcp")
def test_18_2_2_response_on_the_same_connection(c):
    """A response goes back on the connection that brought the request, whatever sent-by says."""
    c.proxy()
    bob = c.callee()
    first, second = c.conn, c.dial()
    for conn in (second, first, second):
        key = c.send("MESSAGE", c.uri(bob), conn=conn, sent_by="192.0.2.1:1")
        bob.reply(bob.take("MESSAGE"), 200)
        assert c.alice.final(key).conn is conn


@over("tls", "tcp")
def test_18_2_2_connection_gone(c):
    """If that connection is gone, one is opened to the address it came from and sent-by's port."""
    c.proxy(timeouts={"t1": "500ms"})
    bob = c.callee()
    port = c.alice.listen(c.tr, "127.0.0.1", c.t.port(),
                          c.t.server_ctx() if c.tr == "tls" else None)
    conn = c.dial()
    key, got = _plain_via(c, bob, "127.0.0.1:%d" % port, method="INVITE", conn=conn)
    closed = ":%d" % conn.local[1]
    conn.close()
    c.t.wait(lambda: not [x for x in c.d.connections() if x["peer"].endswith(closed)],
             "the end of the connection")
    bob.reply(got, 200)
    rsp = c.alice.final(key)
    assert rsp.status == 200
    assert rsp.conn.local[1] == port, "it came on %s" % (rsp.conn.local,)


@over("udp")
def test_18_2_2_response_to_sent_by_port(c):
    """Without rport a datagram is answered at the source address and sent-by's port."""
    c.proxy()
    bob = c.callee()
    other = c.peer("office", listen=True)
    port = other.listener("udp").port
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), sent_by="office.example:%d" % port)
    data = data.replace(b";rport", b"", 1)
    other.expect(key)
    c.conn.send(data)
    got = bob.take("MESSAGE")
    assert sip.param(got[1].all("via")[1], "received") == "127.0.0.1"
    bob.reply(got, 200)
    assert other.final(key).status == 200
    assert not c.alice.strays


@over("udp")
def test_18_2_2_maddr_in_via_is_not_followed(c):
    """A choice against the letter: an address that a Via merely names gets no datagram of ours, or
    one forged packet would aim our answers at anybody. The answer goes to the source."""
    c.proxy()
    victim = c.peer("victim", listen=True, host="127.0.0.2")
    port = victim.listener("udp", "127.0.0.2").port
    here = c.peer("here", listen=True, port=port)
    data, key = here.make(c.conn, "MESSAGE", "mailto:x", to="<sip:x@y.example>",
                          sent_by="office.example:%d" % port)
    here.expect(key)
    here.udps["127.0.0.1"].flow("127.0.0.1", c.d.port("udp")).send(
        data.replace(b";rport", b";maddr=127.0.0.2", 1))
    assert here.final(key).status == 416
    assert not victim.strays and not victim.listener("udp", "127.0.0.2").datagrams


@over("udp")
def test_18_2_2_local_answers_too(c):
    """The same way for what the proxy answers itself."""
    c.proxy()
    other = c.peer("office", listen=True)
    data, key = c.alice.make(c.conn, "MESSAGE", "mailto:x", to="<mailto:x>",
                             sent_by="127.0.0.1:%d" % other.listener("udp").port)
    other.expect(key)
    c.conn.send(data.replace(b";rport", b"", 1))
    assert other.final(key).status == 416


# ---- 18.3 framing -------------------------------------------------------------------------------

@over("udp")
def test_18_3_rest_of_a_datagram_ignored(c):
    """What is behind the body in a datagram is discarded."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"0123456789")
    c.alice.expect(key)
    c.conn.send(data.replace(b"Content-Length: 10", b"Content-Length: 4"))
    got = bob.take("MESSAGE")
    assert got[1].body == b"0123" and got[1].get("content-length") == "4"
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


@over("udp")
def test_18_3_short_datagram_400(c):
    """A datagram that ends before the body does is 400."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"0123456789")
    c.alice.expect(key)
    c.conn.send(data[:-3])
    assert c.alice.final(key).status == 400
    c.nothing_came(bob)


@over("udp")
def test_18_3_short_response_dropped(c):
    """The same in a response: dropped."""
    c.proxy()
    bob = c.callee()
    key = c.send("MESSAGE", c.uri(bob))
    conn, msg = bob.take("MESSAGE")
    before = c.d.counter("drops.parse")
    conn.send(sip.response(msg, 200, to_tag="x", body=b"0123456789")[:-3])
    c.d.wait_counter("drops.parse", before + 1)
    assert not c.alice.left(key)
    bob.reply((conn, msg), 202)
    assert c.alice.final(key).status == 202


@over("udp")
def test_18_3_datagram_without_length(c):
    """Without Content-Length the body of a datagram ends with it."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"all of it")
    c.alice.expect(key)
    c.conn.send(re.sub(rb"Content-Length: \d+\r\n", b"", data))
    got = bob.take("MESSAGE")
    assert got[1].raw.endswith(b"\r\n\r\nall of it")
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


@over("tls", "tcp")
def test_18_3_stream_without_length(c):
    """On a stream a request without Content-Length is 400, and as nobody knows where the next one
    begins, the connection ends."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob))
    c.alice.expect(key)
    c.conn.send(re.sub(rb"Content-Length: \d+\r\n", b"", data))
    assert c.alice.final(key).status == 400
    assert c.conn.closed.wait(20 * c.t.slow), "the connection was kept"
    c.conn = c.dial()
    c.nothing_came(bob)


@over("tls", "tcp")
def test_18_3_messages_in_one_write(c):
    """Messages that come together are taken one by one, in order."""
    c.proxy(workers=1)
    bob = c.callee()
    bob.auto["MESSAGE"] = 200
    made = [c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"b" * (i * 37), cseq=i + 1,
                         call_id="glued") for i in range(20)]
    for _, key in made:
        c.alice.expect(key)
    c.conn.send(b"".join(data for data, _ in made))
    for _, key in made:
        assert c.alice.final(key).status == 200
    assert [m.cseq[0] for m in bob.seen] == list(range(1, 21))
    assert [len(m.body) for m in bob.seen] == [i * 37 for i in range(20)]


@over("tls", "tcp")
def test_18_3_message_in_pieces(c):
    """A message may come in any pieces, one byte at a time."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob), body=b"\r\n\r\nin pieces\r\n")
    c.alice.expect(key)
    for i in range(len(data)):
        c.conn.send(data[i:i + 1])
    got = bob.take("MESSAGE")
    assert got[1].body == b"\r\n\r\nin pieces\r\n"
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


def test_7_5_line_ends_before_the_start_line(c):
    """CRLFs in front of a start line are ignored."""
    c.proxy()
    bob = c.callee()
    data, key = c.alice.make(c.conn, "MESSAGE", c.uri(bob))
    c.alice.expect(key)
    c.conn.send(b"\r\n\r\n\r\n" + data)
    bob.reply(bob.take("MESSAGE"), 200)
    assert c.alice.final(key).status == 200


# ---- 18.4 errors --------------------------------------------------------------------------------

@over("udp")
def test_18_4_closed_port_harms_nobody(c):
    """A target whose port is closed (ICMP): its transaction ends by itself, others go on, and the
    socket still receives."""
    c.proxy(timeouts={"t1": "50ms", "timer_b": c.t.ms(1200), "timer_f": c.t.ms(1200)})
    bob = c.callee()
    call = c.invite(c.nowhere())
    c.through(bob)
    assert call.final().status in (408, 503)
    c.through(bob)


@over("tls", "tcp")
def test_18_4_peer_that_resets(c):
    """A peer that resets harms only its own transactions."""
    c.proxy()
    bob, carol = c.callee(), c.callee("carol")
    lost, kept = c.send("MESSAGE", c.uri(bob)), c.send("MESSAGE", c.uri(carol))
    bob.take("MESSAGE")[0].reset()
    assert c.alice.final(lost).status == 503
    carol.reply(carol.take("MESSAGE"), 200)
    assert c.alice.final(kept).status == 200
