# SPDX-License-Identifier: Apache-2.0
"""OCSP responders: `openssl ocsp` on a port, behind a gate that can hold or drop what it says."""
import os
import socket
import subprocess
import threading

from .certs import serial
from .tools import Piped


def write_index(t, path, revoked=()):
    """The index of an openssl authority that knows our certificates; REVOKED are names of files."""
    with open(path, "w", encoding="ascii") as f:
        for name in ("proxy", "callee", "client", "revoked"):
            state = ("R\t400101000000Z\t200101000000Z,keyCompromise" if name in revoked
                     else "V\t400101000000Z\t")
            f.write("%s\t%s\tunknown\t/CN=%s\n" % (state, serial(t.pki(name + ".pem")), name))


def authority(t):
    """Arguments of openssl ocsp that name our authority, who signs the answers too."""
    return ["-CA", t.pki("ca.pem"), "-rsigner", t.pki("ca.pem"), "-rkey", t.pki("ca.key")]


def answer_file(t, cert, revoked=(), minutes=60):
    """An answer about CERT in a file, as a responder would give it."""
    index, out = os.path.join(t.dir, "file.index"), os.path.join(t.dir, cert + ".ocsp")
    request = os.path.join(t.dir, cert + ".req")
    write_index(t, index, revoked)
    for args in (["-issuer", t.pki("ca.pem"), "-cert", t.pki(cert + ".pem"), "-no_nonce",
                  "-reqout", request],
                 ["-index", index, "-reqin", request, "-respout", out, "-nmin", str(minutes)]
                 + authority(t)):
        p = subprocess.run(["openssl", "ocsp"] + args, capture_output=True, text=True, check=False)
        assert os.path.exists(args[args.index("-respout") + 1] if "-respout" in args else request), p
    return out


class Responder:
    """`openssl ocsp` as responder. While HELD nothing of what it says comes through."""

    def __init__(self, t, revoked=(), held=False, port=0):
        self.t, self.questions = t, 0
        self.gate = threading.Event()
        if not held:
            self.gate.set()
        index = os.path.join(t.dir, "ocsp.index")
        write_index(t, index, revoked)
        self.inner = t.port()
        # not wait_port: openssl never gets over a connection that says nothing
        Piped(t, ["openssl", "ocsp", "-index", index, "-port", str(self.inner), "-nmin", "60",
                  "-ignore_err"] + authority(t)).wait_for(rb"waiting for OCSP client")
        self.sock = socket.create_server(("127.0.0.1", port))
        self.url = "http://127.0.0.1:%d/" % self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self):
        self.gate.set()

    def close(self):
        """Dead from now on: connections are refused."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def _accept(self):
        while True:
            try:
                conn = self.sock.accept()[0]
            except OSError:
                return
            self.questions += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        try:
            with conn, socket.create_connection(("127.0.0.1", self.inner)) as to:
                threading.Thread(target=self._copy, args=(conn, to), daemon=True).start()
                self.gate.wait()
                self._copy(to, conn)
        except OSError:
            pass

    @staticmethod
    def _copy(a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    return
                b.sendall(data)
        except OSError:
            pass
