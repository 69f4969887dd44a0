# SPDX-License-Identifier: Apache-2.0
"""SIP user agents of the tests: callers that follow a call step by step, and callees that answer
by themselves. They check what a proxy must keep (Via, tags, CSeq, route sets, order) and record
everything they see. They do not retransmit: what is lost on loopback is a failure.
"""
import queue
import socket
import threading
import time

from . import net, sip


class Timeout(AssertionError):
    """An expected message did not come."""


class Ua:
    """A user agent over any number of connections and listeners."""

    def __init__(self, name="ua", wait_s=20.0):
        self.name, self.wait_s = name, wait_s
        self.requests = queue.Queue()       # (conn, msg), for tests that look
        self.seen = []                      # every request once, in order
        self.strays = []                    # responses nobody waits for
        self.waiting = {}                   # (call-id, cseq, method) -> Queue
        self.conns, self.listeners, self.udps = [], {}, {}
        self.replies = {}                    # (branch, method) -> bytes last sent, or None
        self.retransmits = 0
        self.check = lambda: None            # raises when waiting on has become pointless
        self.lock = threading.Lock()

    # -- connections

    def listen(self, transport, host="127.0.0.1", port=0, ctx=None, **kw):
        """Opens a listener; returns its port."""
        if transport == "udp":
            ep = net.Udp(host, port, self._on_msg)
            self.udps[host] = ep
        else:
            ep = net.Listener(host, port, ctx if transport == "tls" else None, on_msg=self._on_msg,
                              **kw)
        self.listeners[(transport, net.family_of(host))] = ep
        return ep.port

    def listener(self, transport, host="127.0.0.1"):
        return self.listeners.get((transport, net.family_of(host)))

    def connect(self, transport, host, port, ctx=None, sni=None, session=None, bind=None, rcvbuf=None):
        if transport == "udp":
            ep = self.udps.get(host) or net.Udp(host, 0, self._on_msg)
            self.udps[host] = ep
            return ep.flow(host, port)
        sock = socket.socket(net.family_of(host), socket.SOCK_STREAM)
        sock.settimeout(self.wait_s)
        if bind:
            sock.bind(bind)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        try:
            sock.connect((host, port))
            sock.settimeout(None)
            conn = net.Stream(sock, ctx if transport == "tls" else None, sni=sni,
                              session=session).handshake(self.wait_s)
        except BaseException:
            sock.close()
            raise
        self.conns.append(conn.start(self._on_msg))
        return conn

    def close(self):
        for conn in self.conns:
            conn.close()
        for ep in list(self.listeners.values()) + list(self.udps.values()):
            ep.close()

    # -- incoming

    def _on_msg(self, conn, msg):
        if msg.method:
            self.on_request(conn, msg)
            return
        with self.lock:
            q = self.waiting.get(msg.key())
            if q is None:
                self.strays.append(msg)
        if q is not None:
            q.put((conn, msg))

    def absorbed(self, conn, msg):
        """A retransmission gets the last response again, if there was one, and is not seen by the
        test: a slow machine makes them."""
        known = (msg.branch, msg.method)
        if known not in self.replies:
            self.replies[known] = None
            return False
        self.retransmits += 1
        if self.replies[known]:
            conn.send(self.replies[known])
        return True

    def on_request(self, conn, msg):
        if not self.absorbed(conn, msg):
            self.record(conn, msg)

    def reply(self, conn, req, status, tag=None, headers=(), body=b""):
        tag = tag or "t" + "".join(c for c in req.call_id if c.isalnum())
        data = sip.response(req, status, to_tag=tag, headers=headers, body=body)
        self.replies[(req.branch, req.method)] = data
        conn.send(data)

    def wait_for(self, q, timeout_s):
        """The next item of a queue, or None; looks now and then whether it is still worth it."""
        end = time.monotonic() + timeout_s
        while True:
            left = end - time.monotonic()
            try:
                return q.get(timeout=max(0.01, min(0.5, left)))
            except queue.Empty:
                if left <= 0:
                    return None
                self.check()

    def record(self, conn, msg):
        with self.lock:
            self.seen.append(msg)
        self.requests.put((conn, msg))

    def next_request(self, method=None, timeout_s=None):
        """The next request that arrived here; of METHOD if given, others are an error."""
        got = self.wait_for(self.requests, timeout_s or self.wait_s)
        if got is None:
            raise Timeout("%s: no %s request came" % (self.name, method or ""))
        conn, msg = got
        assert method in (None, msg.method), "%s: got %r, not %s" % (self.name, msg, method)
        return conn, msg

    # -- outgoing

    def contact(self, conn):
        host = conn.local[0]
        ep = self.listener(conn.transport, host)
        where = ep.hostport if ep else conn.hostport
        return "<sip:%s@%s;transport=%s>" % (self.name, where, conn.transport)

    def make(self, conn, method, uri, headers=(), body=b"", cseq=1, call_id=None, from_=None,
             to=None, branch=None, max_forwards=70, sent_by=None, contact=True):
        """Bytes and key of a request; HEADERS (name, value) are added as they are."""
        call_id = call_id or sip.token("c")
        ep = self.listener(conn.transport, conn.local[0])
        sent_by = sent_by or (ep.hostport if ep else conn.hostport)
        via = "SIP/2.0/%s %s;branch=%s;rport" % (conn.transport.upper(), sent_by,
                                                 branch or sip.token("z9hG4bK"))
        h = [("Via", via)]
        if max_forwards is not None:
            h.append(("Max-Forwards", str(max_forwards)))
        h += [("From", from_ or "<sip:%s@atlanta.example>;tag=%s" % (self.name, sip.token("f"))),
              ("To", to or "<%s>" % uri.split(";")[0]),
              ("Call-ID", call_id), ("CSeq", "%d %s" % (cseq, method))]
        if contact and method not in ("BYE", "CANCEL", "MESSAGE"):
            h.append(("Contact", self.contact(conn)))
        h += list(headers)
        data = sip.build("%s %s SIP/2.0" % (method, uri), h, body)
        return data, (call_id, cseq, method)

    def expect(self, key):
        with self.lock:
            return self.waiting.setdefault(key, queue.Queue())

    def forget(self, key):
        with self.lock:
            self.waiting.pop(key, None)

    def next_response(self, key, timeout_s=None):
        got = self.wait_for(self.expect(key), timeout_s or self.wait_s)
        if got is None:
            raise Timeout("%s: no response to %s" % (self.name, key))
        conn, msg = got
        assert len(msg.all("via")) == 1, "%s: foreign Via left in %r: %s" % (
            self.name, msg, msg.all("via"))
        msg.conn = conn
        return msg

    def final(self, key, timeout_s=None):
        """The final response; provisional ones are in its .provisional list."""
        end = time.monotonic() + (timeout_s or self.wait_s)
        provisional = []
        while True:
            msg = self.next_response(key, max(0.05, end - time.monotonic()))
            if msg.status >= 200:
                msg.provisional = provisional
                return msg
            provisional.append(msg)

    def request(self, conn, method, uri, timeout_s=None, **kw):
        """Sends a request outside a dialog and returns its final response."""
        data, key = self.make(conn, method, uri, **kw)
        self.expect(key)
        conn.send(data)
        return self.final(key, timeout_s)


class Dialog:
    """One side of a dialog: tags, route set, remote target (RFC 3261 12)."""

    def __init__(self, ua, conn, call_id, local, remote, routes, target, cseq=1):
        self.ua, self.conn, self.call_id = ua, conn, call_id
        self.local, self.remote = local, remote
        self.routes, self.target, self.cseq = routes, target, cseq

    def make(self, method, conn=None, cseq=None, headers=(), body=b"", branch=None):
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        h = [("Route", r) for r in self.routes] + list(headers)
        return self.ua.make(conn or self.conn, method, self.target, h, body, cseq=cseq,
                            call_id=self.call_id, from_=self.local, to=self.remote, branch=branch)

    def request(self, method, conn=None, timeout_s=None, **kw):
        data, key = self.make(method, conn, **kw)
        self.ua.expect(key)
        (conn or self.conn).send(data)
        return self.ua.final(key, timeout_s)


class Call(Dialog):
    """The caller's side of a call."""

    def __init__(self, ua, conn, uri, headers=(), body=sip.SDP, **kw):
        self.data, self.key = ua.make(conn, "INVITE", uri, list(headers) +
                                      [("Content-Type", "application/sdp")], body, **kw)
        self.invite = sip.Framer().feed(self.data)[0]
        super().__init__(ua, conn, self.invite.call_id, self.invite.get("from"),
                         self.invite.get("to"), [], uri, self.invite.cseq[0])
        ua.expect(self.key)

    def send(self):
        self.conn.send(self.data)
        return self

    def final(self, timeout_s=None):
        """Waits for the answer. On a 2xx the dialog exists; else the ACK is sent here."""
        rsp = self.ua.final(self.key, timeout_s)
        if rsp.status < 300:
            self.remote = rsp.get("to")
            self.routes = rsp.all("record-route")[::-1]
            self.target = sip.uri_of(rsp.get("contact"))
        else:
            self.conn.send(self.hop_request("ACK", rsp.get("to")))
        return rsp

    def hop_request(self, method, to=None):
        """ACK to a non-2xx or CANCEL: same Via and R-URI as the INVITE (17.1.1.3, 9.1)."""
        data, _ = self.ua.make(self.conn, method, self.invite.uri,
                               [("Route", r) for r in self.invite.all("route")],
                               cseq=self.invite.cseq[0], call_id=self.call_id, from_=self.local,
                               to=to or self.invite.get("to"), branch=self.invite.branch)
        return data

    def ack(self, conn=None):
        data, _ = self.make("ACK", conn, cseq=self.invite.cseq[0])
        (conn or self.conn).send(data)

    def cancel(self):
        key = (self.call_id, self.invite.cseq[0], "CANCEL")
        self.ua.expect(key)
        self.conn.send(self.hop_request("CANCEL"))
        return self.ua.final(key)

    def answered(self):
        """INVITE to ACK: a complete set-up, asserted."""
        rsp = self.send().final()
        assert rsp.status == 200, "call refused: %r" % rsp
        self.ack()
        return self

    def bye(self, conn=None):
        return self.request("BYE", conn)


class Uas(Ua):
    """A callee that answers by itself. POLICY may hold: ring (send 180, default True), answer
    (status of the INVITE's final response, or None: the test answers), status (of all other
    requests, default 200), echo (send the body back, default True), delay_s, silent."""

    def __init__(self, name="uas", wait_s=20.0, **policy):
        super().__init__(name, wait_s)
        self.policy = dict(ring=True, answer=200, status=200, echo=True, delay_s=0, silent=False,
                           headers=())
        self.policy.update(policy)
        self.invites = {}                    # call-id -> (conn, INVITE, tag)
        self.dialogs = {}                    # call-id -> Dialog

    def on_request(self, conn, msg):
        if not self.policy["silent"] and self.absorbed(conn, msg):
            return
        if msg.method == "INVITE":
            self.invites.setdefault(msg.call_id, (conn, msg, sip.token("t")))
        self.record(conn, msg)
        if self.policy["silent"]:
            return
        if msg.method == "INVITE" and msg.call_id not in self.dialogs:
            self._invite(conn, msg)
        elif msg.method == "CANCEL":
            self.reply(conn, msg, 200)
            invite = self.invites.get(msg.call_id)
            if invite and msg.call_id not in self.dialogs:
                self.reply(invite[0], invite[1], 487, tag=invite[2])
        elif msg.method != "ACK":
            if self.policy["delay_s"]:
                time.sleep(self.policy["delay_s"])
            body = msg.body if self.policy["echo"] else b""
            kind = [("Content-Type", "application/octet-stream")] if body else []
            kind += self.policy["headers"]
            if msg.method == "INVITE":      # re-INVITE
                kind.append(("Contact", self.contact(conn)))
            self.reply(conn, msg, self.policy["status"], headers=kind, body=body)

    def _invite(self, conn, msg):
        tag = self.invites[msg.call_id][2]
        if self.policy["ring"]:
            self.reply(conn, msg, 180, tag, [("Contact", self.contact(conn))])
        if self.policy["answer"] is not None:
            self.answer(msg.call_id, self.policy["answer"])

    def answer(self, call_id, status=200):
        """Gives the final response to a pending INVITE; a 2xx makes the dialog."""
        conn, msg, tag = self.invites[call_id]
        if status < 300:
            self.dialogs[call_id] = Dialog(self, conn, call_id, msg.get("to") + ";tag=" + tag,
                                           msg.get("from"), msg.all("record-route"),
                                           sip.uri_of(msg.get("contact")), 100)
            self.reply(conn, msg, status, tag, [("Contact", self.contact(conn)),
                                                ("Content-Type", "application/sdp")], sip.SDP)
        else:
            self.reply(conn, msg, status, tag)

    def count(self, method):
        with self.lock:
            return sum(1 for m in self.seen if m.method == method)
