# SPDX-License-Identifier: Apache-2.0
"""Connections of the tests' peers: TCP and TLS streams, listeners and UDP sockets.

TLS runs over memory BIOs under a lock, so that one thread may read while another writes, and so
that tests can see and shape the byte stream: stop reading, cut writes, reset, close with or
without close_notify. Nothing here knows SIP beyond handing bytes to a Framer.
"""
import socket
import ssl
import struct
import threading

from . import sip


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def host_text(host):
    return "[%s]" % host if ":" in host else host


class Stream:
    """A TCP or TLS connection. handlers: on_msg(stream, msg), on_close(stream)."""

    def __init__(self, sock, ctx=None, server=False, sni=None, session=None):
        self.sock, self.server = sock, server
        self.transport = "tls" if ctx else "tcp"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local, self.remote = sock.getsockname()[:2], sock.getpeername()[:2]
        self.on_msg = self.on_close = None
        self.crlf = 0                   # CRLFs received between messages
        self.how = None                 # why it ended: eof, close_notify, reset, tls:..., bad:...
        self.closed = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self.framer = sip.Framer()
        self.lock = threading.RLock()
        self.tls = None
        self.thread = None
        if ctx:
            self.bio_in, self.bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = ctx.wrap_bio(self.bio_in, self.bio_out, server_side=server,
                                    server_hostname=None if server else sni, session=session)

    def handshake(self, timeout_s=30):
        if not self.tls:
            return self
        self.sock.settimeout(timeout_s)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError("closed during the handshake") from None
                self.bio_in.write(data)
            except ssl.SSLError:
                try:
                    self._flush()       # the alert
                except OSError:
                    pass
                raise
        self._flush()
        self.sock.settimeout(None)
        return self

    def start(self, on_msg=None, on_close=None):
        self.on_msg, self.on_close = on_msg, on_close
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _flush(self):
        data = self.bio_out.read()
        if data:
            self.sock.sendall(data)

    def send(self, data):
        with self.lock:
            if self.tls:
                view = memoryview(data)
                while view.nbytes:
                    view = view[self.tls.write(view):]
                self._flush()
            else:
                self.sock.sendall(data)

    def send_records(self, data, sizes):
        """DATA over TLS in records of the next of SIZES each, all handed to the socket at once."""
        with self.lock:
            at = 0
            while at < len(data):
                at += self.tls.write(data[at:at + next(sizes)])
            self._flush()

    def send_part(self, data, part):
        """The first PART bytes of DATA's TLS record, whose rest will not come."""
        with self.lock:
            self.tls.write(data)
            self.sock.sendall(self.bio_out.read()[:part])

    def give_up_sending_after(self, seconds):
        """From now on a send that blocks for SECONDS raises BlockingIOError; reading is unaffected."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))

    def _plain(self, data):
        """Plaintext of what arrived, None standing for what came behind the handshake; sets
        self.how at the end of the stream."""
        if data is None and not self.tls:
            return b""
        if not self.tls:
            if not data:
                self.how = self.how or "eof"
            return data
        out = []
        with self.lock:
            if data:
                self.bio_in.write(data)
            elif data is not None:
                self.bio_in.write_eof()
            try:
                while True:
                    chunk = self.tls.read(65536)
                    if not chunk:
                        self.how = "close_notify"
                        break
                    out.append(chunk)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.how = "close_notify"
            except ssl.SSLEOFError:
                self.how = self.how or "eof"
            except ssl.SSLError as e:
                self.how = "eof" if data == b"" else "tls:%s" % (e.reason or e)
            self._flush()
        return b"".join(out)

    def _run(self):
        data = None
        try:
            while not self.how:
                for item in self.framer.feed(self._plain(data)):
                    if item == "crlf":
                        self.crlf += 1
                    elif self.on_msg:
                        self.on_msg(self, item)
                if not self.how:
                    self.reading.wait()
                    data = self.sock.recv(65536)
        except sip.BadMessage as e:
            self.how = "bad:%s" % e
        except ConnectionResetError:
            self.how = "reset"
        except (OSError, ValueError) as e:
            self.how = self.how or "error:%s" % e
        self.closed.set()
        if self.on_close:
            self.on_close(self)

    def close(self, notify=True):
        """Ends it: close_notify first on TLS unless told otherwise."""
        with self.lock:
            if self.tls and notify and not self.closed.is_set():
                try:
                    self.tls.unwrap()
                except (ssl.SSLError, ValueError):
                    pass
                try:
                    self._flush()
                except OSError:
                    pass
        self.reading.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self.thread and self.thread is not threading.current_thread():
            self.thread.join(5)
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.reading.set()
        self.how = "reset here"
        try:                             # wakes our reader; the close then sends the RST
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        if self.thread:
            self.thread.join(5)
        self.sock.close()

    @property
    def hostport(self):
        return "%s:%d" % (host_text(self.local[0]), self.local[1])


class Listener:
    """Accepts TCP or TLS connections; each becomes a Stream given to on_conn."""

    def __init__(self, host, port, ctx=None, on_conn=None, on_msg=None, on_close=None,
                 rcvbuf=None):
        self.sock = socket.socket(family_of(host), socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.bind((host, port))
        self.sock.listen(2048)
        self.host, self.port = self.sock.getsockname()[:2]
        self.transport = "tls" if ctx else "tcp"
        self.ctx, self.on_conn, self.on_msg, self.on_close = ctx, on_conn, on_msg, on_close
        self.conns, self.failures, self.accepted = [], [], 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            stream = Stream(sock, self.ctx, server=True).handshake()
        except (OSError, ssl.SSLError) as e:
            self.failures.append(e)
            sock.close()
            return
        self.conns.append(stream)
        if self.on_conn:
            self.on_conn(stream)
        stream.start(self.on_msg, self.on_close)

    @property
    def hostport(self):
        return "%s:%d" % (host_text(self.host), self.port)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.thread.join(5)
        for c in self.conns:
            c.close()


class Udp:
    """A UDP socket; messages arrive as on_msg(flow, msg) where flow.send answers the sender."""

    transport = "udp"

    def __init__(self, host="127.0.0.1", port=0, on_msg=None):
        self.sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((host, port))
        self.host, self.port = self.sock.getsockname()[:2]
        self.local = (self.host, self.port)
        self.on_msg, self.bad, self.datagrams, self.closing = on_msg, [], 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                data, addr = self.sock.recvfrom(65536)
            except OSError:
                return
            if self.closing:
                return
            self.datagrams += 1
            head, sep, body = data.partition(b"\r\n\r\n")
            try:
                if not sep:
                    raise sip.BadMessage("no end of head in a datagram")
                msg = sip.Msg.parse(head, body)
            except sip.BadMessage as e:
                self.bad.append(e)
                continue
            if self.on_msg:
                self.on_msg(UdpFlow(self, addr[:2]), msg)

    def flow(self, host, port):
        return UdpFlow(self, (host, port))

    @property
    def hostport(self):
        return "%s:%d" % (host_text(self.host), self.port)

    def close(self):
        self.closing = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)    # wakes the reader, though it says ENOTCONN
        except OSError:
            pass
        self.thread.join(5)
        self.sock.close()


class UdpFlow:
    """One remote address of a Udp socket, with the face of a Stream."""

    transport = "udp"

    def __init__(self, udp, remote):
        self.udp, self.remote, self.local = udp, remote, udp.local
        self.closed = threading.Event()  # never set
        self.hostport = udp.hostport

    def send(self, data):
        self.udp.sock.sendto(data, self.remote)

    def close(self, notify=True):
        pass
