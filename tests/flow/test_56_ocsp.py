# SPDX-License-Identifier: Apache-2.0
"""OCSP: our staple, the server's staple, and clients' certificates asked about in the background,
with `openssl ocsp` as responder: quick, slow, dead.

Issue item 4.10; FEATURES B20 F6 C18.
"""
import subprocess

import pytest
from flowlib import certs, ocsp
from flowlib.steps import options_works
from flowlib.tools import Piped, s_client, s_client_options

pytestmark = pytest.mark.kernel_tls

CHECKED = {"verify_cert": True, "require_cert": False}


def staple_of(t, d, *args):
    """What s_client says about our staple."""
    c = s_client(t, d, "-status", *args)
    c.wait_for(rb"Verify return code|Verification")
    c.proc.stdin.close()
    return c.ended().decode(errors="replace")


@pytest.mark.host_only("a staple is part of the handshake")
def test_b20_staple_is_fetched_and_outlives_the_responder(t):
    """ocsp_staple = fetch: openssl finds our staple good in both versions, ctl shows it, and a
    responder that dies takes nothing away."""
    r = ocsp.Responder(t)
    d = t.daemon(domain=dict(CHECKED, ocsp_staple="fetch", ocsp_url=r.url))
    t.wait(lambda: d.rpc("ocsp")["staples"][0]["stapled"], "a staple")
    r.close()
    for version in ("-tls1_2", "-tls1_3"):
        out = staple_of(t, d, version)
        assert "OCSP Response Status: successful" in out and "Cert Status: good" in out, out[:3000]
    s = d.rpc("ocsp")["staples"][0]
    assert s["domain"] == "lab" and s["status"] == "good" and s["source"] == "fetch", s
    assert int(s["serial"], 16) == int(certs.serial(t.pki("proxy.pem")), 16), s
    assert s["this_update"] < s["next_update"] and 3000 < s["seconds_left"] <= 3600, s
    assert s["problem"] is None and d.counter("ocsp.stapled") == 2, s
    shown = d.ctl("ocsp").stdout
    assert "lab" in shown and "good" in shown and s["next_update"] in shown, shown
    # a reload that builds the domain anew keeps the staple
    d.write(d.config().replace("verify_cert = true", "verify_cert = true\n  verify_depth = 5"))
    d.rpc("reload")
    t.wait(lambda: "Cert Status: good" in staple_of(t, d), "the staple after the reload")


@pytest.mark.host_only("a staple is part of the handshake")
def test_b20_staple_from_a_file_and_renewed(t):
    """ocsp_staple = file: a file of another certificate is refused by check, a good one is stapled,
    a revoked one that replaces it is not."""
    path = ocsp.answer_file(t, "callee")
    d = t.daemon(start=False, domain=dict(CHECKED, ocsp_staple="file", ocsp_file=path))
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       check=False)
    assert p.returncode == 1 and path in p.stderr and "another certificate" in p.stderr, p
    good = ocsp.answer_file(t, "proxy")
    d.write(d.config().replace(path, good))
    d.start()
    assert "Cert Status: good" in staple_of(t, d)
    with open(good, "rb") as f:
        before = f.read()
    ocsp.answer_file(t, "proxy", revoked=("proxy",))
    t.wait(lambda: d.rpc("ocsp")["staples"][0]["problem"], "the revoked answer to be noticed")
    assert "revoked" in d.rpc("ocsp")["staples"][0]["problem"]
    d.wait_log("No good OCSP answer for our own certificate.*revoked")
    with open(good, "wb") as f:
        f.write(before)
    t.wait(lambda: d.rpc("ocsp")["staples"][0]["problem"] is None, "the good answer again")
    assert "Cert Status: good" in staple_of(t, d)


def s_server(t, *args):
    port = t.port()
    p = Piped(t, ["openssl", "s_server", "-accept", str(port), "-cert", t.pki("callee.pem"), "-key",
                  t.pki("callee.key"), "-CAfile", t.pki("ca.pem")] + list(args))
    t.wait_port(port)
    return p, port


@pytest.mark.host_only("a staple is part of the handshake")
def test_f6_servers_staple_is_demanded_and_judged(t):
    """ocsp_stapled = require against openssl s_server: a good staple passes, none, a revoked and
    another certificate's do not, and the log says which."""
    d = t.daemon(domain=dict(CHECKED, verify_name=False, ocsp_stapled="require"))
    alice = t.uac()
    conn = t.dial(alice, d, "tcp")
    cases = ((None, "the server stapled no OCSP answer"),
             (ocsp.answer_file(t, "client"), "the answer is about another certificate"),
             ("revoked", "its stapled OCSP answer says revoked"))
    for args, reason in cases:
        if args == "revoked":
            args = ocsp.answer_file(t, "callee", revoked=("callee",))
        port = s_server(t, *(["-status_file", args] if args else []))[1]
        rsp = alice.request(conn, "OPTIONS", "sip:bob@127.0.0.1:%d;transport=tls" % port)
        assert rsp.status >= 500 or rsp.status == 408, rsp
        d.wait_log(reason)
    server, port = s_server(t, "-status_file", ocsp.answer_file(t, "callee"))
    conn.send(alice.make(conn, "OPTIONS", "sip:bob@127.0.0.1:%d;transport=tls" % port)[0])
    server.wait_for(rb"OPTIONS sip:bob.*\r\n\r\n")
    assert d.counter("ocsp.staple_good") == 1
    server.proc.kill()


def client_domain(r, **more):
    return dict(CHECKED, require_cert=True, ocsp_url=r.url, **more)


def test_f6_revoked_clients_are_cut_off(t):
    """ocsp_client = hard: a good client's request is answered, the revoked one's connection ends
    with an alert and its request is not relayed; the next time its handshake fails already."""
    r = ocsp.Responder(t, revoked=("revoked",))
    d = t.daemon(domain=client_domain(r, ocsp_client="hard"))
    alice, bob = t.uac(), t.uas("tcp")
    for _ in range(3):
        options_works(t, d, alice, t.dial(alice, d, "tls", ctx=t.client_ctx("client")),
                      t.uri(bob, "tcp"))
    assert r.questions == 1 and d.counter("ocsp.asked") == 1
    thief = s_client(t, d, cert="revoked")
    out = thief.ended()
    assert b"alert certificate revoked" in out or b"certificate revoked" in out, out[-800:]
    d.wait_log("certificate is revoked .OCSP.*keyCompromise")
    assert d.counter("ocsp.revoked") == 1 and r.questions == 2
    again = s_client(t, d, "-tls1_2", cert="revoked").ended()
    assert b"certificate revoked" in again, again[-800:]
    assert r.questions == 2 and d.counter("handshakes.failed.verify") == 1
    known = {k["status"] for k in d.rpc("ocsp")["clients"]["certificates"]}
    assert known == {"good", "revoked"}, known
    assert "revoked" in d.ctl("ocsp").stdout


def test_c18_messages_wait_for_the_verdict(t):
    """A slow responder: the request stays unread, the connection shows as parked, and when the
    verdict comes it is relayed."""
    r = ocsp.Responder(t, held=True)
    d = t.daemon(domain=client_domain(r, ocsp_client="hard", ocsp_timeout="60s"))
    alice, bob = t.uac(), t.uas("tcp")
    conn = t.dial(alice, d, "tls", ctx=t.client_ctx("client"))
    conn.send(alice.make(conn, "OPTIONS", t.uri(bob, "tcp"))[0])
    t.wait(lambda: [c for c in d.connections() if c["state"] == "parked"], "a parked connection")
    t.wait(lambda: r.questions == 1, "the question")
    assert d.rpc("ocsp")["clients"]["waiting"] == 1
    assert bob.count("OPTIONS") == 0 and d.counter("messages.in.tls") == 0
    r.release()
    t.wait(lambda: bob.count("OPTIONS") == 1, "the request that waited")
    assert d.counter("ocsp.parked") == 1 and d.counter("ocsp.good") == 1


def test_f6_who_stays_is_asked_about_again(t):
    """The responder is dead when two clients come (soft: they stay). Later it is there and says
    that one is revoked: its connection ends with that alert, the other one's does not, and goes on
    being asked about; then it is revoked as well."""
    port = t.port()
    d = t.daemon(domain=dict(CHECKED, require_cert=True, ocsp_client="soft", ocsp_recheck="1s",
                             ocsp_url="http://127.0.0.1:%d/" % port))
    alice, bob = t.uac(), t.uas("tcp")
    good, bad = [t.dial(alice, d, "tls", ctx=t.client_ctx(n)) for n in ("callee", "client")]
    for conn in (good, bad):
        options_works(t, d, alice, conn, t.uri(bob, "tcp"))
    d.wait_counter("ocsp.asked_again", 2)
    assert d.counter("ocsp.passed_soft") == 2 and d.counter("ocsp.failed") >= 2
    r = ocsp.Responder(t, revoked=("client",), port=port)
    t.wait(bad.closed.is_set, "the revoked client's connection to end")
    assert bad.how.endswith("ALERT_CERTIFICATE_REVOKED"), bad.how
    d.wait_log(r"Closing a TLS connection.*its certificate is revoked .OCSP")
    asked = r.questions
    t.wait(lambda: r.questions >= asked + 2, "good answers to be asked for again")
    options_works(t, d, alice, good, t.uri(bob, "tcp"))
    assert d.counter("connections.unverified") == 1 and not good.closed.is_set()
    r.close()
    options_works(t, d, alice, good, t.uri(bob, "tcp"))
    ocsp.Responder(t, revoked=("client", "callee"), port=port)
    t.wait(good.closed.is_set, "the other one's connection to end")
    assert good.how.endswith("ALERT_CERTIFICATE_REVOKED"), good.how


def test_f6_no_answer_policy_decides(t):
    """Nobody there, and somebody who never answers: soft lets messages pass after ocsp_timeout,
    hard closes; ocsp_park = false lets them pass meanwhile."""
    silent, dead = ocsp.Responder(t, held=True), ocsp.Responder(t)
    dead.close()
    bob = t.uas("tcp")
    for r in (silent, dead):
        d = t.daemon(domain=client_domain(r, ocsp_client="soft", ocsp_timeout="500ms"))
        alice = t.uac()
        options_works(t, d, alice, t.dial(alice, d, "tls", ctx=t.client_ctx("client")),
                      t.uri(bob, "tcp"))
        assert d.counter("ocsp.passed_soft") == 1
        h = t.daemon(domain=client_domain(r, ocsp_client="hard", ocsp_timeout="500ms"))
        s_client(t, h, cert="client").ended()
        t.wait(lambda h=h: h.counter("ocsp.closed_hard") == 1, "the policy")
        h.wait_log("No OCSP answer about a client's certificate")
    d = t.daemon(domain=client_domain(silent, ocsp_client="hard", ocsp_timeout="60s",
                                      ocsp_park=False))
    c = s_client(t, d, cert="client")
    assert s_client_options(t, c, t.uri(bob, "tcp")) == 200
    c.proc.kill()
    silent.release()
