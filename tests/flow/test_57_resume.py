# SPDX-License-Identifier: Apache-2.0
"""Resumption as client, against openssl s_server, and how long sessions last as server. Issue item
4.12. (More of it as server: test_40_tls.py.)"""
import ssl
import time

import pytest
from flowlib.steps import options_works
from flowlib.tools import Piped

pytestmark = pytest.mark.kernel_tls


def test_4_12_ticket_lifetime(t):
    """Sessions older than ticket_lifetime of their TLS domain get a full handshake; those of another
    domain, and younger ones, go on. In either version, by ticket and by session id."""
    short = {"certificate": t.pki("biloxi.pem"), "private_key": t.pki("biloxi.key"),
             "verify_cert": False, "require_cert": False, "match_sip_domain": ["biloxi.example"],
             "ticket_lifetime": "1s"}
    d = t.daemon(domains=[("short", short)])
    alice, bob = t.uac(), t.uas("tcp")
    kinds = [(ssl.TLSVersion.TLSv1_2, 0), (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TICKET),
             (ssl.TLSVersion.TLSv1_3, 0)]
    first = []
    for sni, life in (("biloxi.example", 1), ("proxy.example", 7200)):
        for version, options in kinds:
            ctx = t.client_ctx(version=version)
            ctx.options |= options
            conn = t.dial(alice, d, "tls", ctx=ctx, sni=sni)
            options_works(t, d, alice, conn, t.uri(bob, "tcp"))
            session = conn.tls.session
            assert options or session.ticket_lifetime_hint == life, (version, life)
            first.append((sni, ctx, session, life))
            conn.close()
    born = time.monotonic()
    t.wait(lambda: time.monotonic() - born > 2.1, "the short sessions to end")
    for sni, ctx, session, life in first:
        conn = t.dial(alice, d, "tls", ctx=ctx, sni=sni, session=session)
        options_works(t, d, alice, conn, t.uri(bob, "tcp"))
        assert conn.tls.session_reused == (life > 1), (sni, ctx.maximum_version, ctx.options)
        conn.close()


def s_server(t, *args):
    port = t.port()
    p = Piped(t, ["openssl", "s_server", "-accept", str(port), "-cert", t.pki("callee.pem"), "-key",
                  t.pki("callee.key")] + list(args))
    p.wait_for(rb"ACCEPT")
    return p, port


def talk(t, d, alice, conn, server, port):
    """A request reaches the server, which then ends the connection."""
    start = len(server.out)
    conn.send(alice.make(conn, "OPTIONS", "sip:bob@127.0.0.1:%d;transport=tls" % port)[0])
    server.wait_for(rb"OPTIONS sip:bob.*\r\n\r\n", start=start)
    server.write(b"q\n")
    t.wait(lambda: not [c for c in d.connections() if c["transport"] == "tls"], "the end")


def test_4_12_resumes_as_client(t):
    """The second and third connection to s_server are resumed in either version (in 1.3 by tickets
    that come behind the handshake, through the kernel where it has the keys); resumption = false
    resumes nothing."""
    for version in ("-tls1_2", "-tls1_3"):
        for wanted in (True, False):
            d = t.daemon(domain={"verify_cert": True, "require_cert": False,
                                 "resumption": wanted})
            alice = t.uac()
            conn = t.dial(alice, d, "tcp")
            server, port = s_server(t, version)
            for _ in range(3):
                talk(t, d, alice, conn, server, port)
            assert d.counter("handshakes.ok") == 3
            assert d.counter("handshakes.resumed") == (2 if wanted else 0), d.counters()
            assert d.counter("handshakes.resume_offered") == (2 if wanted else 0)
            assert server.out.count(b"Reused session-id") == (2 if wanted else 0), server.out[-2000:]
            server.proc.kill()
