# SPDX-License-Identifier: Apache-2.0
"""Where the tests run: the tree, the kernel, the processor, the build under test."""
import os
import re
import socket

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def kernel_tls_here():
    """Does this kernel attach the TLS protocol to a socket?"""
    with socket.socket() as lis, socket.socket() as cli:
        lis.bind(("127.0.0.1", 0))
        lis.listen(1)
        cli.connect(lis.getsockname())
        try:
            cli.setsockopt(socket.IPPROTO_TCP, 31, b"tls")    # TCP_ULP
            return True
        except OSError:
            return False


def kernel_rekeys():
    """Does this kernel take a second key (Linux 6.14 and later)? It counts them then."""
    try:
        with open("/proc/net/tls_stat") as f:
            return "TlsRxRekeyOk" in f.read()
    except OSError:
        return False


def sanitizer_in(path):
    """Was this program built with a sanitizer?"""
    try:
        with open(path, "rb") as f:
            return bool(re.search(rb"__(asan|tsan|ubsan)_", f.read()))
    except OSError:
        return False


def emulated_cpu():
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            return "QEMU TCG" in f.read()
    except OSError:
        return False


def build():
    """Where the programs for the tests are."""
    return os.environ.get("BUILD_DIR") or os.path.join(TOP, "build")


def tieline():
    """The binary under test."""
    return os.environ.get("TIELINE") or os.path.join(build(), "tieline")
