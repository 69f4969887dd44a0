# SPDX-License-Identifier: Apache-2.0
"""The 49 messages of RFC 4475 sent through the proxy, over UDP, TCP and TLS.

Each message has one row: what a proxy owes it by the text of the RFC, as a datagram and on a
stream, and the choice taken where the RFC leaves one. Every request would be forwarded to bob if
nothing were wrong with it: the route takes any Request-URI.
"""
import re
import os
import subprocess

import kit
import pytest
from kit import check_untouched, sip, ua

# What becomes of a message. On a stream a connection lives on unless the end of the message is in
# doubt: CLOSE says that it must not.
FORWARD, DROP, WAIT, CLOSE = "forward", "drop", "wait", "close"


class Row:
    def __init__(self, section, name, datagram, stream=None, copies=(1, 1), change=None, why=""):
        self.section, self.name, self.why = section, name, why
        self.change = change or bytes   # what else becomes of it, on its way to bob
        self.datagram = datagram if isinstance(datagram, tuple) else (datagram,)
        stream = datagram if stream is None else stream
        self.stream = stream if isinstance(stream, tuple) else (stream,)
        self.copies = copies            # messages in it, as a datagram and on a stream


def without_route(data):
    """What a route with peers, which allows a preloaded Route, sends on of it."""
    return re.sub(rb"(?m)^Route[ \t]*:.*\r\n(?:[ \t].*\r\n)*", b"", data)


TABLE = [
    # 3.1.1, valid messages: forwarded with every byte that is not ours to change; the responses
    # among them belong to no transaction of ours
    Row("3.1.1.1", "wsinv", FORWARD, change=without_route,
        why="our peer takes our routing, not the sender's"),
    Row("3.1.1.2", "intmeth", FORWARD),
    Row("3.1.1.3", "esc01", FORWARD),
    Row("3.1.1.4", "escnull", FORWARD),
    Row("3.1.1.5", "esc02", FORWARD),
    Row("3.1.1.6", "lwsdisp", FORWARD),
    Row("3.1.1.7", "longreq", FORWARD),
    Row("3.1.1.8", "dblreq", FORWARD, (FORWARD, CLOSE), copies=(1, 2),
        why="18.3: a datagram holds one message and the rest of it is ignored; on a stream the "
            "second request is a message like the first, and the five bytes by which its body is "
            "longer than its Content-Length are the start of something that is not SIP"),
    Row("3.1.1.9", "semiuri", FORWARD),
    Row("3.1.1.10", "transports", FORWARD),
    Row("3.1.1.11", "mpart01", FORWARD, change=without_route,
        why="our peer takes our routing, not the sender's"),
    Row("3.1.1.12", "unreason", (DROP, "stray_response"),
        why="a valid response, but to nothing that we have sent: 16.7 step 1, no context; we "
            "drop it and do not act as a stateless proxy for it"),
    Row("3.1.1.13", "noreason", (DROP, "stray_response"), why="as unreason"),

    # 3.1.2, invalid messages
    Row("3.1.2.1", "badinv01", 400,
        why="its Via says nothing that can be read: the answer goes back to where it came from"),
    Row("3.1.2.2", "clerr", 400, WAIT,
        why="on a stream the rest may still come: only the end of the connection ends the wait"),
    Row("3.1.2.3", "ncl", 400, (400, CLOSE)),
    Row("3.1.2.4", "scalar02", 400),
    Row("3.1.2.5", "scalarlg", (DROP, "parse")),
    Row("3.1.2.6", "quotbal", 400),
    Row("3.1.2.7", "ltgtruri", 400, why="the RFC allows to be liberal here; we never guess at a "
                                        "Request-URI"),
    Row("3.1.2.8", "lwsruri", 400, why="as ltgtruri"),
    Row("3.1.2.9", "lwsstart", 400, why="the RFC allows to be liberal; the start line is where two "
                                        "elements must not differ"),
    Row("3.1.2.10", "trws", 400, why="as lwsstart"),
    Row("3.1.2.11", "escruri", 400, why="the RFC allows 400 or to ignore the headers; smuggled "
                                        "headers are refused"),
    Row("3.1.2.12", "baddate", FORWARD, why="Date is not needed by a proxy: untouched"),
    Row("3.1.2.13", "regbadct", FORWARD, why="Contact is the registrar's to judge"),
    Row("3.1.2.14", "badaspec", 400, why="the RFC allows to be liberal; white space within <> is "
                                         "refused, not skipped"),
    Row("3.1.2.15", "baddn", 400, why="the RFC allows to be liberal; we do not guess at From"),
    Row("3.1.2.16", "badvers", 505),
    Row("3.1.2.17", "mismatch01", 400),
    Row("3.1.2.18", "mismatch02", 400, why="the RFC allows 501 from an element that does not know "
                                           "the method; a proxy forwards unknown methods, and what "
                                           "is wrong here is CSeq"),
    Row("3.1.2.19", "bigcode", (DROP, "parse")),

    # 3.2, transactions
    Row("3.2.1", "badbranch", FORWARD,
        why="the cookie and nothing else: matched by 17.2.3's older rule, never refused"),

    # 3.3, what the application decides
    Row("3.3.1", "insuf", 400, why="the answer has what this one has: no Call-ID, From and To"),
    Row("3.3.2", "unkscm", 416),
    Row("3.3.3", "novelsc", 416),
    Row("3.3.4", "unksm2", FORWARD, why="the schemes of From, To and Contact are not a proxy's"),
    Row("3.3.5", "bext01", 420),
    Row("3.3.6", "invut", FORWARD),
    Row("3.3.7", "regaut01", FORWARD),
    Row("3.3.8", "multi01", 400),
    Row("3.3.9", "mcl01", 400, (400, CLOSE)),
    Row("3.3.10", "bcast", (DROP, "stray_response"),
        why="its Via is not ours: dropped, nothing goes to the broadcast address"),
    Row("3.3.11", "zeromf", 200, why="16.3 step 3: for OPTIONS the proxy may answer as the final "
                                     "recipient instead of 483, and does"),
    Row("3.3.12", "cparam01", FORWARD),
    Row("3.3.13", "cparam02", FORWARD),
    Row("3.3.14", "regescrt", FORWARD),
    Row("3.3.15", "sdp01", FORWARD),

    # 3.4, the older protocol
    Row("3.4.1", "inv2543", FORWARD, (400, CLOSE),
        why="without Content-Length the end of a datagram ends it; a stream has no such end (18.3)"),
]


class Wire(ua.Ua):
    """Takes every message that comes, whatever transaction it belongs to."""

    def _on_msg(self, conn, msg):
        self.requests.put((conn, msg))


def load(name):
    p = subprocess.run([os.path.join(kit.HERE, "messages")], capture_output=True, text=True,
                       check=False)
    if p.returncode == 77:
        pytest.skip(p.stderr.strip())
    assert p.returncode == 0, p.stderr
    with open(os.path.join(p.stdout.strip(), name + ".dat"), "rb") as f:
        data = f.read()
    if name == "baddn" and not data.endswith(b"\r\n\r\n"):
        data += b"\r\n"         # the package holds this one without its empty line
    return data


def sent_by_port(data):
    """Where the answer to a datagram is due (18.2.2): the port of the top Via."""
    via = next((v for n, v in kit.fields(data)[1] if n == "via"), b"")
    first = via.decode("latin-1").split(",")[0].split(";")[0]
    digits = first.rpartition(":")[2].strip()
    return int(digits) if digits.isdigit() and "/" not in first.rpartition(":")[2] else 5060


class Stage:
    """The proxy, a sender with an address of its own, a receiver."""

    def __init__(self, t, tr):
        self.t, self.tr = t, tr
        pid = os.getpid()
        self.ip = "127.70.%d.%d" % (pid >> 8 & 255, pid & 255)
        self.bob = Wire("bob", 20 * t.slow)
        t.agents.append(self.bob)
        self.bob.listen(tr, "127.0.0.1", t.port(), t.server_ctx() if tr == "tls" else None)
        peer = {"uri": "sip:127.0.0.1:%d;transport=%s" % (self.bob.listener(tr).port, tr)}
        if tr == "tls":
            peer["tls_domain"] = "lab"
        self.d = t.daemon(peers=[("bob", peer)],
                          routes=[("all", {"peers": ["bob"], "preloaded_route": "allow"})],
                          timeouts={"t1": "4s", "t2": "4s"})

    def connect(self, port=0):
        alice = Wire("alice", 20 * self.t.slow)
        self.t.agents.append(alice)
        if self.tr == "udp":
            alice.listen("udp", self.ip, port)
            return alice, alice.udps[self.ip].flow("127.0.0.1", self.d.port("udp"))
        return alice, alice.connect(self.tr, "127.0.0.1", self.d.port(self.tr),
                                    self.t.client_ctx() if self.tr == "tls" else None,
                                    bind=(self.ip, 0))

    @staticmethod
    def heard(alice):
        """The next response but a 100 of the proxy's own: a slow machine may earn one."""
        while True:
            rsp = alice.next_request()[1]
            if rsp.status != 100:
                return rsp

    def forwarded(self, alice, data, way_back=True):
        """BOB gets what was sent, and his answer comes back with the Via values that it had."""
        conn, msg = self.bob.next_request()
        check_untouched(data, msg.raw)
        conn.send(sip.response(msg, 200, to_tag="tbob"))
        if not way_back:
            return
        rsp = self.heard(alice)
        assert rsp.status == 200, repr(rsp)
        assert len(rsp.all("via")) == len(msg.all("via")) - 1, rsp.all("via")
        assert rsp.get("cseq").split() == msg.get("cseq").split()

    def answered(self, alice, status):
        rsp = self.heard(alice)
        assert rsp.status == status, "%r, not %d" % (rsp, status)
        assert rsp.reason, rsp.start
        assert not rsp.get("to") or sip.param(rsp.get("to"), "tag") is not None, rsp.get("to")
        if status == 420:
            assert rsp.get("unsupported") == "noProxiesSupportThis, norDoAnyProxiesSupportThis"

    def probe(self, alice, conn, late=False):
        """The connection still works, and nothing was forwarded before this. LATE: an answer to what
        came on a connection that is closed may come on this one, which is the same caller's."""
        data, _ = alice.make(conn, "OPTIONS", "sip:probe@example.com")
        conn.send(data)
        back, msg = self.bob.next_request()
        assert "probe" in msg.uri, "bob was sent %r" % msg
        back.send(sip.response(msg, 200, to_tag="t"))
        rsp = self.heard(alice)
        while late and rsp.call_id != msg.call_id:
            rsp = self.heard(alice)
        assert rsp.status == 200 and rsp.call_id == msg.call_id, "alice got %r" % rsp


def end_of(data):
    """Length of the first message in DATA."""
    head = data.index(b"\r\n\r\n") + 4
    _, field_list, _ = kit.fields(data)
    length = next((kit._value(v) for n, v in field_list if n == "content-length"), None)
    return len(data) if length is None else head + int(length)


def play(row, stage, data):
    outcome = row.datagram if stage.tr == "udp" else row.stream
    alice, conn = stage.connect(sent_by_port(data))
    before = stage.d.counters()
    conn.send(data)
    if outcome[0] == FORWARD:
        for _ in range(row.copies[stage.tr != "udp"]):
            stage.forwarded(alice, row.change(data[:end_of(data)]), CLOSE not in outcome)
            data = data[end_of(data):].lstrip(b"\r\n")
    elif outcome[0] == DROP:
        name = "drops." + outcome[1]
        stage.d.wait_counter(name, before[name] + 1)
    elif outcome[0] != WAIT:
        stage.answered(alice, outcome[0])
    if outcome[0] == WAIT:
        conn.close()
        alice, conn = stage.connect()
    elif CLOSE in outcome:
        assert conn.closed.wait(20 * stage.t.slow), "the connection was not closed"
        alice, conn = stage.connect()
    stage.probe(alice, conn, late=outcome == (FORWARD, CLOSE))


def make(row):
    def test(c):
        play(row, Stage(c.t, c.tr), load(row.name))
    test.__name__ = "test_4475_%s_%s" % (row.section.replace(".", "_"), row.name)
    return test


assert len(TABLE) == 49
for _row in TABLE:
    _test = make(_row)
    globals()[_test.__name__] = _test
