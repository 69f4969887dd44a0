# SPDX-License-Identifier: Apache-2.0
"""Calls that outlive the connections they were set up on."""
import time

import pytest
from flowlib.ua import Call

from test_45_identity import lab_of, verifying

pytestmark = pytest.mark.kernel_tls


def _two_peers(t, tr, **more):
    """A route with two peers: bob, whom the test plays, and carol, who must never be rung."""
    bob = t.uas(tr, name="bob", silent=True)
    carol = t.uas("tcp", name="carol")
    first = {"uri": t.uri(bob, tr).replace("bob@", "")}
    if tr == "tls":
        first["tls_domain"] = "lab"
    d = t.daemon(peers=[("bob", first), ("carol", {"uri": t.uri(carol, "tcp").replace("bob@", "")})],
                 routes=[("all", {"peers": ["bob", "carol"]})], **more)
    return bob, carol, d


def _ringing(t, alice, conn, bob):
    call = Call(alice, conn, "sip:bob@atlanta.example").send()
    where, invite = bob.next_request("INVITE")
    bob.reply(where, invite, 180, headers=[("Contact", bob.contact(where))])
    assert alice.next_response(call.key).status in (100, 180)
    return call, where, invite


def _lose(t, d, where, how="close", n=1):
    """The callee's connection ends; the daemon knows it then."""
    getattr(where, how)()
    d.wait_counter("transactions.connection_lost", n)


def test_s7_answer_on_a_new_connection(t):
    """INVITE, 180, the callee's connection ends (closed or reset), the callee connects again and
    answers there, on whichever worker: the caller gets it, nobody else is rung; the same for a
    failure response, whose ACK goes to the new connection."""
    for tr in ("tcp", "tls"):
        bob, carol, d = _two_peers(t, tr, workers=2)
        alice = t.uac()
        conn = t.dial(alice, d, "tls")
        lost = 0
        for how in ("close", "reset"):
            for status in (200, 200, 486):
                call, where, invite = _ringing(t, alice, conn, bob)
                lost += 1
                _lose(t, d, where, how, lost)
                again = t.dial(bob, d, tr)
                bob.reply(again, invite, 183, headers=[("Contact", bob.contact(again))])
                bob.reply(again, invite, status, headers=[("Contact", bob.contact(again))])
                rsp = call.final()
                assert rsp.status == status, (tr, how, rsp)
                if status == 200:
                    call.ack()
                _, req = bob.next_request("ACK")
                assert req.call_id == call.call_id
                again.close()
        assert not carol.seen and d.counter("transactions.failover") == 0
        assert d.counter("transactions.connection_lost") == lost


def test_s7_cancel_on_a_new_connection(t):
    """The caller hangs up after the callee's connection has ended: the CANCEL reaches the callee
    over a connection dialled for it, and the 487 that comes back there is the answer."""
    for tr in ("tcp", "tls"):
        bob, carol, d = _two_peers(t, tr, workers=2)
        alice = t.uac()
        call, where, invite = _ringing(t, alice, t.dial(alice, d, "tls"), bob)
        _lose(t, d, where)
        before = bob.listener(tr).accepted
        assert call.cancel().status == 200
        again, cancel = bob.next_request("CANCEL")
        assert cancel.branch == invite.branch and bob.listener(tr).accepted == before + 1
        bob.reply(again, cancel, 200)
        bob.reply(again, invite, 487)
        assert call.final().status == 487, tr
        where, ack = bob.next_request("ACK")
        assert where is again and ack.branch == invite.branch
        assert not carol.seen


def test_s7_timer_c_ends_what_nobody_answers(t):
    """The callee never comes back: Timer C sends the CANCEL and the caller hears 408."""
    bob, carol, d = _two_peers(t, "tcp", timeouts={"timer_c": t.ms(1000), "t1": "20ms"})
    alice = t.uac()
    call, where, _ = _ringing(t, alice, t.dial(alice, d, "tcp"), bob)
    _lose(t, d, where)
    bob.next_request("CANCEL")
    rsp = call.final()
    assert rsp.status in (200, 408), rsp  # 408 lets the next peer of the route answer (16.7)


def test_s7_calling_state_still_fails_over(t):
    """Without a 1xx the end of the connection is a transport error (17.1.1.2): the next peer."""
    bob, carol, d = _two_peers(t, "tcp")
    alice = t.uac()
    call = Call(alice, t.dial(alice, d, "tcp"), "sip:bob@atlanta.example").send()
    where, _ = bob.next_request("INVITE")
    where.reset()
    assert call.final().status == 200
    assert carol.seen and d.counter("transactions.connection_lost") == 0


def test_s7_answers_of_others_are_not_taken(t):
    """What answers for the lost callee is the callee: not another address, and none beside the
    connection while that is there."""
    bob, carol, d = _two_peers(t, "tcp", workers=2)
    alice, mallory = t.uac(), t.uac("mallory")
    call, where, invite = _ringing(t, alice, t.dial(alice, d, "tls"), bob)
    far = t.dial(mallory, d, "tcp", bind=("127.0.0.2", 0))
    near = t.dial(mallory, d, "tcp")
    mallory.reply(near, invite, 603)
    mallory.reply(far, invite, 603)
    d.wait_counter("drops.not_asked", 2)
    _lose(t, d, where)
    mallory.reply(far, invite, 603)
    d.wait_counter("drops.not_asked", 3)
    again = t.dial(bob, d, "tcp")
    bob.reply(again, invite, 200, headers=[("Contact", bob.contact(again))])
    assert call.final().status == 200
    call.ack()
    bob.next_request("ACK")


def test_s7_the_certificate_tells_who_answers(t):
    """Where the lost connection had a verified certificate, only that party's certificate counts on
    another: neither a stranger's, though trusted and at the same address, nor none."""
    lab = lab_of(t, "bob.example", "mallory.example")
    bob, mallory = t.uas("tls", silent=True, ctx=lab.server("bob.example")), t.uac("mallory")
    carol = t.uas("tcp", name="carol")
    d = t.daemon(workers=2, domain=verifying(lab, require_cert=False), peers=[
        ("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""), "identity": "bob.example",
                 "tls_domain": "lab"}),
        ("carol", {"uri": t.uri(carol, "tcp").replace("bob@", "")})],
        routes=[("all", {"peers": ["bob", "carol"]})])
    alice = t.uac()
    call, where, invite = _ringing(t, alice, t.dial(alice, d, "tcp"), bob)
    _lose(t, d, where)
    for n, ctx in enumerate((lab.client("mallory.example"), lab.client())):
        mallory.reply(t.dial(mallory, d, "tls", ctx=ctx), invite, 603)
        d.wait_counter("drops.not_asked", n + 1)
    again = t.dial(bob, d, "tls", ctx=lab.client("bob.example"))
    bob.reply(again, invite, 200, headers=[("Contact", bob.contact(again))])
    assert call.final().status == 200 and not carol.seen
    call.ack()
    bob.next_request("ACK")


def _caller_lost(t, d, conn, how):
    """The caller's connection ends; the daemon knows it then."""
    was = ":%d" % conn.local[1]
    getattr(conn, how)()
    t.wait(lambda: not [x for x in d.connections()
                        if x["peer"].endswith(was) and x["state"] == "open"], "its end")


def _calls_again(t, d, alice, tr, bob, bind, ctx=None, how="reset"):
    """A call that rings when the caller's connection ends, and the caller on another one."""
    conn = t.dial(alice, d, tr, ctx=ctx, bind=bind)
    call = Call(alice, conn, t.uri(bob, "tcp")).send()
    where, invite = bob.next_request("INVITE")
    bob.reply(where, invite, 180, headers=[("Contact", bob.contact(where))])
    assert alice.next_response(call.key).status in (100, 180)
    _caller_lost(t, d, conn, how)
    again = t.dial(alice, d, tr, ctx=ctx, bind=bind)
    t.wait(lambda: any(x["peer"].endswith(":%d" % again.local[1]) and x["state"] == "open"
                       for x in d.connections()), "the other connection")
    return call, again, where, invite


def _answered_there(call, again, status):
    """The answer; its ACK leaves on the other connection and has the Via of the INVITE."""
    rsp = call.ua.final(call.key)
    assert rsp.status == status and rsp.conn is again, rsp
    again.send(call.hop_request("ACK", rsp.get("to")))


def test_s7_the_caller_is_answered_on_another_connection(t):
    """The caller's connection ends while the call rings, and nobody listens where his Via says: the
    answer comes on the connection that he has by then, on whichever worker that is, and goes to no
    other sender: by address in the clear, by certificate wherever it comes from."""
    lab = lab_of(t, "alice.example", "mallory.example")
    bob = t.uas("tcp", silent=True)
    d = t.daemon(workers=3, domain=verifying(lab))
    mallory = t.uac("mallory")
    t.dial(mallory, d, "tcp", bind=("127.0.0.66", 0))
    t.dial(mallory, d, "tls", ctx=lab.client("mallory.example"))
    for tr in ("tcp", "tls"):
        ctx = lab.client("alice.example") if tr == "tls" else None
        for n, status in enumerate((200, 486, 200, 603)):
            alice = t.uac()
            bind = ("127.0.0.%d" % (20 + n), 0)
            call, again, where, invite = _calls_again(t, d, alice, tr, bob, bind, ctx,
                                                      "close" if ctx and n % 2 else "reset")
            bob.reply(where, invite, status, headers=[("Contact", bob.contact(where))])
            _answered_there(call, again, status)
            bob.next_request("ACK")
            _caller_lost(t, d, again, "close")
    assert d.counter("responses.other_connection") == 8 and not mallory.strays


def test_s7_what_we_say_reaches_the_caller_there_too(t):
    """The same for an answer of our own: Timer C ends what nobody answers."""
    bob = t.uas("tcp", silent=True)
    d = t.daemon(workers=2, timeouts={"timer_c": t.ms(1500), "t1": "20ms"})
    alice = t.uac()
    call, again, _, _ = _calls_again(t, d, alice, "tcp", bob, ("127.0.0.20", 0))
    _answered_there(call, again, 408)
    bob.next_request("CANCEL")
    assert d.counter("responses.other_connection") == 1


def test_s7_who_no_longer_passes_is_closed_while_it_rings(t):
    """A revoked callee's connection ends at once although a call rings on it, and so does a revoked
    caller's: nothing waits for call_setup_max."""
    lab = lab_of(t, "bob.example", "alice.example", "eve.example")
    lab.revoke()
    domain = verifying(lab, crl_file=lab.path("ca.crl"))
    for caller, revoked in (("eve.example",) * 2, ("alice.example", "bob.example")):
        bob = t.uas("tls", silent=True, ctx=lab.server("bob.example"))
        d = t.daemon(domain=domain, peers=[
            ("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""), "identity": "bob.example"})],
            routes=[("all", {"peers": ["bob"]})])
        alice = t.uac()
        conn = t.dial(alice, d, "tls", ctx=lab.client(caller))
        call, where, invite = _ringing(t, alice, conn, bob)
        lab.revoke(revoked)
        d.rpc("reload", {"drain": "graceful"})
        gone, stays = (conn, where) if caller == revoked else (where, conn)
        t.wait(gone.closed.is_set, "the revoked one's connection to end")
        assert not stays.closed.is_set() and d.counter("connections.unverified") == 1
        if stays is conn:
            assert call.final().status == 503
        else:
            bob.reply(where, invite, 486)
            bob.next_request("ACK")


def test_s7_no_drain_ends_a_call_that_rings(t):
    """max_age, and reloads that change the certificate, with drain now and graceful past its
    deadline: both connections of a call that rings stay until it is answered and the ACK is
    through, and end then."""
    for drain in ("now", "graceful:1", None):
        timeouts = {"retire": "100ms"}
        bob = t.uas("tls", silent=True)
        d = t.daemon(timeouts=timeouts, domain={} if drain else {"max_age": "1s"})
        alice = t.uac()
        conn = t.dial(alice, d, "tls")
        call = Call(alice, conn, t.uri(bob, "tls")).send()
        where, invite = bob.next_request("INVITE")
        bob.reply(where, invite, 180, headers=[("Contact", bob.contact(where))])
        if drain:
            d.configure(domain={"certificate": t.pki("proxy-rsa.pem"),
                                "private_key": t.pki("proxy-rsa.key")}, timeouts=timeouts)
            d.rpc("reload", {"drain": drain})
        t.wait(lambda: [c["state"] for c in d.connections()] == ["retiring"] * 2,
               "both connections to retire")
        time.sleep(1.5)  # deadlines pass
        assert not conn.closed.is_set() and not where.closed.is_set(), drain
        bob.reply(where, invite, 200, headers=[("Contact", bob.contact(where))])
        assert call.final().status == 200
        call.ack()
        bob.next_request("ACK")
        t.wait(lambda: conn.closed.is_set() and where.closed.is_set(), "both to end")
