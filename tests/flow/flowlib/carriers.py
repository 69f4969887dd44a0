# SPDX-License-Identifier: Apache-2.0
"""Many gateways at addresses of their own over UDP, watched by one thread: what each was asked, in
which order, and an answer for each."""
import selectors
import socket
import threading

from flowlib import sip


class Carriers:
    """Gateways at each of HOSTS, all on one port. answer[HOST]: the statuses that it answers a
    request with, () for silence; what is not listed there answers with DEFAULT. headers[HOST]: of its
    answers."""

    def __init__(self, t, hosts, default=(503,)):
        self.port, self.default, self.answer, self.headers = t.port(), default, {}, {}
        self.invites = {}
        self.asked, self.lock, self.stop = [], threading.Lock(), threading.Event()
        self.sent = 0
        self.selector, self.sockets = selectors.DefaultSelector(), []
        for host in hosts:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((host, self.port))
            self.sockets.append(s)
            self.selector.register(s, selectors.EVENT_READ, host)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        t.agents.append(self)

    def _run(self):
        while not self.stop.is_set():
            for key, _ in self.selector.select(0.1):
                data, source = key.fileobj.recvfrom(65535)
                self._take(key.fileobj, key.data, data, source)

    def _take(self, sock, host, data, source):
        for msg in sip.Framer().feed(data):
            if msg.method is None or msg.method == "ACK":
                continue
            with self.lock:
                again = (host, msg.key()) in [(h, m.key()) for h, m in self.asked]
                if not again:
                    self.asked.append((host, msg))
                if msg.method == "INVITE":
                    self.invites[host] = sock, msg, source
            for status in self.answer.get(host, self.default):
                headers = [("Contact", "<sip:%s:%d>" % (host, self.port))]
                headers += self.headers.get(host, [])
                sock.sendto(sip.response(msg, status, to_tag=host, headers=headers), source)

    def later(self, host, status, delay_s):
        """Answers the last INVITE that HOST has with STATUS after a while."""
        sock, msg, source = self.invites[host]

        def send():
            contact = "<sip:%s:%d>" % (host, self.port)
            sock.sendto(sip.response(msg, status, to_tag=host, headers=[("Contact", contact)]),
                        source)
        timer = threading.Timer(delay_s, send)
        timer.daemon = True
        timer.start()

    def hosts(self, method="INVITE"):
        """Who was asked, in that order; repetitions do not count."""
        with self.lock:
            return [h for h, m in self.asked if m.method == method]

    def send_options(self, host, where):
        """One of its own, to WHERE; nobody waits for the answer."""
        with self.lock:
            self.sent += 1
            text = ("OPTIONS sip:%s:%d SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;branch=z9hG4bKown%d\r\n"
                    "Max-Forwards: 70\r\nFrom: <sip:%s>;tag=1\r\nTo: <sip:%s>\r\n"
                    "Call-ID: own%d@%s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n") % (
                        *where, host, self.port, self.sent, host, where[0], self.sent, host)
        sock = [s for s in self.sockets if s.getsockname()[0] == host][0]
        sock.sendto(text.encode(), where)

    def cancelled(self):
        """The calls for which a CANCEL has come."""
        with self.lock:
            return {m.call_id for _, m in self.asked if m.method == "CANCEL"}

    def forget(self):
        with self.lock:
            self.asked.clear()

    def close(self):
        self.stop.set()
        self.thread.join()
        for s in self.sockets:
            s.close()
