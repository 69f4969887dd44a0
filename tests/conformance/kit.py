# SPDX-License-Identifier: Apache-2.0
"""What the conformance tests share: one test for each rule and transport, peers that answer by
script, and the comparison of what went in with what came out.

Daemon, connections and the little SIP parser are those of tests/flow.
"""
import os
import queue
import re
import subprocess

import pytest
from flowlib import sip, ua

HERE = os.path.dirname(os.path.abspath(__file__))

TRANSPORTS = ("tls", "tcp", "udp")
RELAY = ("all", {"relay": "request-uri", "tls_domain": "lab", "preloaded_route": "allow"})
over = pytest.mark.over             # transports that a rule is tested on
HUNT = "sip:line@hunt.example"      # the route that has several targets


class Peer(ua.Ua):
    """A user agent without a will of its own: the test sees each request once and answers it.
    Retransmissions are counted in copies[(branch, method)]; a CANCEL is answered 200 here."""

    def __init__(self, name, wait_s):
        super().__init__(name, wait_s)
        self.copies = {}
        self.times = {}
        self.auto = {}              # method -> status, answered at once

    def on_request(self, conn, msg):
        if msg.get("x-probe"):
            self.reply((conn, msg), 200)
            return
        key = (msg.branch, msg.method)
        with self.lock:
            n = self.copies[key] = self.copies.get(key, 0) + 1
        if n == 1:                      # before the answer: a test may look as soon as that is there
            self.record(conn, msg)
        if msg.method == "CANCEL" and "CANCEL" not in self.auto:
            self.reply((conn, msg), 200)
        if msg.method in self.auto and self.auto[msg.method]:
            self.reply((conn, msg), self.auto[msg.method])

    def take(self, method, timeout_s=None):
        """The next request of METHOD; ACKs for failed calls in front of it are passed over."""
        while True:
            conn, msg = self.next_request(None, timeout_s)
            if msg.method == "ACK" != method:
                continue
            assert msg.method == method, "%s got %r, not %s" % (self.name, msg, method)
            return conn, msg

    def reply(self, got, status, tag=None, headers=(), body=b"", reason=""):
        conn, msg = got
        tag = tag or "t" + self.name + "".join(c for c in msg.call_id if c.isalnum())
        headers = list(headers)
        if status < 300 and msg.method in ("INVITE", "SUBSCRIBE"):
            headers.append(("Contact", self.contact(conn)))
        conn.send(sip.response(msg, status, reason, tag if status > 100 else None, headers, body))

    def left(self, key):
        """Responses that came and nobody took."""
        out, q = [], self.expect(key)
        while True:
            try:
                out.append(q.get_nowait()[1])
            except queue.Empty:
                return out

    def count(self, method):
        with self.lock:
            return sum(1 for m in self.seen if m.method == method)

    def total(self, method):
        """Requests of METHOD that arrived, retransmissions among them."""
        with self.lock:
            return sum(n for (_, m), n in self.copies.items() if m == method)


class Rule:
    """One rule on one transport: the proxy, alice on a connection to it, others as needed."""

    def __init__(self, t, tr):
        self.t, self.tr, self.wait_s = t, tr, 20 * t.slow
        self.d = self.alice = self.conn = None
        self.reliable = tr != "udp"

    # -- the stage

    def proxy(self, hunt=None, route=None, need=(), **conf):
        """Starts the daemon. HUNT: peers that hunt.example stands for, with ROUTE's options.
        NEED: route options without which there is nothing to test."""
        times = {"t1": "500ms", "t2": "4s", "t4": "1s", "timer_b": self.t.ms(8000),
                 "timer_f": self.t.ms(8000), "timer_c": "60s"}
        times.update(conf.pop("timeouts", {}))
        if hunt is not None:
            peers = [("p%d" % i, dict({"uri": u}, **({"tls_domain": "lab"} if "tls" in u else {})))
                     for i, u in enumerate(hunt)]
            routes = [("hunt", dict({"to_domain": ["hunt.example"],
                                     "peers": [p[0] for p in peers]}, **(route or {}))), RELAY]
            conf.update(peers=peers, routes=routes)
        self.d = self.t.daemon(start=False, timeouts=times, **conf)
        self.known_options(need)
        self.d.start()
        self.alice = self.peer("alice")
        self.conn = self.dial()
        return self.d

    def known_options(self, need):
        """Skips the test when the configuration has no such option."""
        if not need:
            return
        p = subprocess.run([self.t.tieline, "check", "-c", self.d.config_file], text=True,
                           capture_output=True, check=False)
        for option in need:
            if p.returncode and re.search(r"\b%s\b" % option, p.stdout + p.stderr):
                self.t.skip("the configuration has no option %s yet" % option)

    def dial(self, agent=None, tr=None, **kw):
        return self.t.dial(agent or self.alice, self.d, tr or self.tr, **kw)

    def peer(self, name="bob", tr=None, listen=False, host="127.0.0.1", port=None):
        p = Peer(name, self.wait_s)
        self.t.agents.append(p)
        if listen:
            tr = tr or self.tr
            p.listen(tr, host, port or self.t.port(), self.t.server_ctx() if tr == "tls" else None)
        return p

    def callee(self, name="bob", tr=None, **kw):
        return self.peer(name, tr, listen=True, **kw)

    def uri(self, peer, user="bob", tr=None, params="", host="127.0.0.1"):
        tr = tr or self.tr
        return "sip:%s@%s;transport=%s%s" % (user, peer.listener(tr, host).hostport, tr, params)

    def target(self, peer, tr=None):
        """Where PEER listens, as a peer block wants it."""
        return self.uri(peer, "x", tr).replace("x@", "")

    def nowhere(self, user="bob"):
        """A URI at which nobody listens."""
        return "sip:%s@127.0.0.1:%d;transport=%s" % (user, self.t.port(), self.tr)

    def our_uri(self, tr=None, params=";lr"):
        tr = tr or self.tr
        return "sip:127.0.0.1:%d;transport=%s%s" % (self.d.port(tr), tr, params)

    # -- what alice does

    def invite(self, uri, conn=None, headers=(), **kw):
        return ua.Call(self.alice, conn or self.conn, uri, headers, **kw).send()

    def send(self, method, uri, conn=None, agent=None, **kw):
        """Sends a request; returns its key."""
        agent = agent or self.alice
        data, key = agent.make(conn or self.conn, method, uri, **kw)
        agent.expect(key)
        (conn or self.conn).send(data)
        return key

    def through(self, bob, method="MESSAGE", uri=None, **kw):
        """A request that reaches BOB and is answered 200: (as it arrived, the answer)."""
        key = self.send(method, uri or self.uri(bob), **kw)
        got = bob.take(method)
        bob.reply(got, 200)
        rsp = self.alice.final(key)
        assert rsp.status == 200, repr(rsp)
        return got[1], rsp

    def refused(self, status, method="MESSAGE", uri=None, **kw):
        """A request that the proxy answers itself with STATUS; the answer."""
        key = self.send(method, uri or self.nowhere(), **kw)
        rsp = self.alice.final(key)
        assert rsp.status == status, "%r, not %d" % (rsp, status)
        assert sip.param(rsp.get("to"), "tag"), "no To tag in %s" % rsp.get("to")
        return rsp

    def drain(self, bob, conn=None, tr=None):
        """Returns when everything sent before on CONN has passed the proxy, and what BOB sent."""
        rsp = self.alice.request(conn or self.conn, "MESSAGE", self.uri(bob, "probe", tr),
                                 headers=[("X-Probe", "1")])
        assert rsp.status == 200, repr(rsp)

    def nothing_came(self, bob, method=None):
        """BOB has not been sent anything (of METHOD) that no test step took."""
        self.drain(bob)
        seen = [m for m in bob.seen if method in (None, m.method)]
        assert not seen, "%s was sent %s" % (bob.name, seen)


# ---- bytes in, bytes out ------------------------------------------------------------------------

def fields(raw):
    """(start line, [(lower-case name, bytes of the field with its folds)], body) of a message."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    out = []
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t") and out:
            out[-1] = (out[-1][0], out[-1][1] + b"\r\n" + line)
        else:
            name = line.split(b":", 1)[0].strip().decode("latin-1").lower()
            out.append((sip._COMPACT.get(name, name), line))
    return lines[0], out, body


def _first(field_list, name):
    return next((i for i, f in enumerate(field_list) if f[0] == name), None)


def _value(field):
    return re.sub(rb"\s+", b" ", field.split(b":", 1)[1]).strip()


def plain(field):
    """FIELD as it leaves: a fold is one space (RFC 3261 7.3.1)."""
    return re.sub(rb"(?:[ \t]*\r\n[ \t]+)+", b" ", field)


def _plain_fields(field_list, length):
    """Those of a message with a body of LENGTH bytes as they leave: without folds, and Content-Length,
    where there was one, once and new."""
    out = []
    for name, field in field_list:
        if name != "content-length":
            out.append((name, plain(field)))
        elif _first(out, name) is None:
            out.append((name, b"Content-Length: %d" % length))
    return out


def check_untouched(sent, got, request_line=True):
    """GOT, as it arrived, is SENT with what RFC 3261 16.6 adds and nothing else: our Via, a mark in
    the sender's, Max-Forwards, Max-Breadth, Record-Route, Content-Length; in its plain form.
    """
    start, was, body = fields(sent)
    was = _plain_fields(was, len(body))
    line, now, its_body = fields(got)
    if request_line:
        assert line == start, "request line %r became %r" % (start, line)
    now = [f for f in now if not re.match(rb"Record-Route: <sips?:[^>]+;lr;tl=[\w.-]+>$", f[1])]
    if _first(was, "max-breadth") is None:      # RFC 5393 5.3.3
        breadth = _first(now, "max-breadth")
        assert breadth is not None and _value(now[breadth][1]) == b"60", "no Max-Breadth: 60"
        del now[breadth]
    via = _first(now, "via")
    # Over TLS, where we have a certificate to show, it offers the connection for reuse (RFC 5923).
    ours = rb"Via: SIP/2\.0/(?:(?:UDP|TCP) \S+;branch=%s|TLS \S+;branch=%s(?:;alias)?)$" % (
        2 * (rb"z9hG4bK[0-9a-zA-Z]+",))
    assert re.match(ours, now[via][1]), "our Via: %r" % now[via][1]
    del now[via]
    old, new = _first(was, "via"), _first(now, "via")
    stripped = re.sub(rb";received=[0-9a-f.:]+", b"", now[new][1], count=1)
    stripped = re.sub(rb";rport=\d+", b";rport", stripped, count=1)
    assert stripped == was[old][1], "the sender's Via %r became %r" % (was[old][1], now[new][1])
    assert new == old, "Via moved from field %d to %d" % (old, new)
    now[new] = was[old]
    mf_was, mf = _first(was, "max-forwards"), _first(now, "max-forwards")
    if mf_was is None:
        assert _value(now[mf][1]) == b"70", now[mf][1]
        del now[mf]
    else:
        assert int(_value(now[mf][1])) == int(_value(was[mf_was][1])) - 1, now[mf][1]
        now[mf] = was[mf_was]
    if _first(was, "content-length") is None:
        i = _first(now, "content-length")
        assert i is not None, "no Content-Length"
        assert int(_value(now[i][1])) == len(its_body), now[i][1]
        del now[i]
    for a, b in zip(was, now):
        assert a[1] == b[1], "field %r became %r" % (a[1], b[1])
    assert len(was) == len(now), "fields %s became %s" % ([f[0] for f in was], [f[0] for f in now])
    assert its_body == body, "the body changed"
