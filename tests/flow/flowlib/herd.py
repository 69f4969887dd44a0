# SPDX-License-Identifier: Apache-2.0
"""Many TLS connections that only hold still, watched by one thread: who was closed, when and how.

Threads and framers of their own, as net.Stream has, would cost more than the daemon under test.
"""
import re
import selectors
import socket
import ssl
import threading
import time


class Held:
    """One connection; how: None while open, else what ended it (an alert's name, close_notify)."""

    def __init__(self, host, port, ctx, timeout_s):
        self.bio_in, self.bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.bio_in, self.bio_out)
        self.sock = socket.create_connection((host, port), timeout_s)
        self.how, self.at = None, None
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(self.bio_out.read())
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError("closed during the handshake") from None
                self.bio_in.write(data)
        self.sock.sendall(self.bio_out.read())
        self.sock.setblocking(False)

    def look(self):
        """Reads what is there; True while it is open."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return True
        except OSError as e:
            data, self.how = b"", self.how or "error: %s" % e
        if data:
            self.bio_in.write(data)
        else:
            self.bio_in.write_eof()
        try:
            while self.tls.read(65536):
                pass
            self.how = self.how or "close_notify"
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLZeroReturnError:
            self.how = "close_notify"
        except ssl.SSLEOFError:
            self.how = self.how or "eof"
        except ssl.SSLError as e:
            self.how = re.sub(r"^(SSLV3|TLSV1|TLSV13)_ALERT_", "", e.reason or str(e)).lower()
        self.at = time.monotonic()
        return False


class Herd:
    """Connections to one listener, each with the context of its peer."""

    def __init__(self, t, d, contexts, each):
        self.conns, self.stop = [], threading.Event()
        self.selector = selectors.DefaultSelector()
        port = d.port("tls")
        for _ in range(each):
            for ctx in contexts:
                c = Held("127.0.0.1", port, ctx, 20 * t.slow)
                self.conns.append(c)
        for c in self.conns:
            self.selector.register(c.sock, selectors.EVENT_READ, c)
        self.of = lambda i: self.conns[i::len(contexts)]    # those of the i-th context
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stop.is_set():
            for key, _ in self.selector.select(0.1):
                if not key.data.look():
                    self.selector.unregister(key.fileobj)

    def closed(self):
        return [c for c in self.conns if c.how]

    def close(self):
        self.stop.set()
        self.thread.join(5)
        for c in self.conns:
            c.sock.close()
