# SPDX-License-Identifier: Apache-2.0
"""Targets that answer a call after they have been given up: the caller has the call, or nobody has."""
import pytest
from flowlib import sip
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("what becomes of an answer does not depend on who seals it")

TRANSPORTS = ("udp", "tcp", "tls")


class Lab:
    """For each transport a bob who answers nothing by himself, and carol, whom he is followed by;
    N + the user part reaches the Nth bob and then carol, 9N... that bob alone."""

    def __init__(self, t, more_bobs=(), **conf):
        self.t = t
        self.bobs = [t.uas(tr, name="bob", ring=False, answer=None)
                     for tr in TRANSPORTS + tuple(more_bobs)]
        self.transports = TRANSPORTS + tuple(more_bobs)
        self.carol = t.uas("tcp", name="carol", answer=None)
        self.peers = [("bob%d" % i, {"uri": t.uri(b, tr).replace("bob@", ""), "max_calls": 20,
                                     **({"tls_domain": "lab"} if tr == "tls" else {})})
                      for i, (b, tr) in enumerate(zip(self.bobs, self.transports))]
        self.peers.append(("carol", {"uri": t.uri(self.carol, "tcp").replace("bob@", "")}))
        self.routes = []
        for i in range(len(self.bobs)):
            self.routes += [("only%d" % i, {"to_prefix": "9%d" % i, "peers": ["bob%d" % i]}),
                            ("both%d" % i, {"to_prefix": str(i), "peers": ["bob%d" % i, "carol"]})]
        self.conf = {"workers": 2, "extra": "log_calls = true",
                     # given up soon, kept for long
                     "timeouts": {"t1": t.ms(500), "t2": t.ms(1000), "timer_b": t.ms(2000)}, **conf}
        self.d = t.daemon(peers=self.peers, routes=self.routes, **self.conf)
        self.alice = t.uac()

    def calls(self, prefix, transport="tcp"):
        """One to each bob, all at once, each over a connection of its own; all have come there."""
        conns = [self.t.dial(self.alice, self.d, transport) for _ in self.bobs]
        calls = [Call(self.alice, c, "sip:%s%d00@far.example" % (prefix, i)).send()
                 for i, c in enumerate(conns)]
        for bob in self.bobs:
            bob.next_request("INVITE")
        return calls

    def counted(self):
        """Calls toward the bobs, by ctl."""
        return [p["calls"]["now"] for p in self.d.rpc("peers")["peers"] if p["name"] != "carol"]

    def log_of(self, call, sentence):
        return [line for line in self.d.log().splitlines()
                if sentence in line and call.call_id in line]


def refused(calls, status=408):
    for call in calls:
        rsp = call.final()                   # and its ACK
        assert rsp.status == status, rsp


def repeat_answer(bob, call):
    conn, invite, _ = bob.invites[call.call_id]
    conn.send(bob.replies[(invite.branch, "INVITE")])


def ended(bob, call, rsp_tag=None):
    """Bob gets ACK and BYE of the call that he took; checks them."""
    tag = rsp_tag or bob.invites[call.call_id][2]
    _, ack = bob.next_request("ACK")
    _, bye = bob.next_request("BYE")
    for req in (ack, bye):
        assert req.call_id == call.call_id and sip.param(req.get("to"), "tag") == tag, req.headers
        assert req.get("from") == call.local and not req.all("route"), req.headers
        assert len(req.all("via")) == 1 and req.get("max-forwards"), req.headers
        assert req.uri == sip.uri_of(bob.contact(bob.invites[call.call_id][0])), req.uri
    number = call.invite.cseq[0]
    assert ack.cseq == (number, "ACK") and bye.cseq == (number + 1, "BYE")
    return ack, bye


def test_f24_late_answer_goes_up_while_another_target_rings(t):
    """Bob answers after Timer B, while carol rings: the caller has bob's call, carol a CANCEL. The
    call counts at bob until it is over, and has its lines in the log."""
    lab = Lab(t)
    calls = lab.calls("")
    for _ in calls:
        lab.carol.next_request("INVITE")
    for call in calls:
        while lab.alice.next_response(call.key).status != 180:
            pass
    assert lab.counted() == [0] * 3
    for bob, call in zip(lab.bobs, calls):
        bob.answer(call.call_id)
        rsp = call.final()
        assert rsp.status == 200 and sip.param(rsp.get("to"), "tag") == bob.invites[call.call_id][2]
        call.ack()
        bob.next_request("ACK")
    assert lab.counted() == [1] * 3
    t.wait(lambda: lab.carol.count("CANCEL") == 3 and lab.carol.count("ACK") == 3, "CANCEL, ACK")
    for i, (bob, call) in enumerate(zip(lab.bobs, calls)):
        assert call.bye().status == 200
        bob.next_request("BYE")
        lab.d.wait_log("A call ended.*%s" % call.call_id)
        answered = lab.log_of(call, "A call was answered")
        assert len(answered) == 1 and "out_peer=bob%d" % i in answered[0], answered
        assert not lab.log_of(call, "A call failed")
    assert lab.counted() == [0] * 3
    assert lab.d.counter("responses.late_passed") == 3
    assert lab.d.counter("responses.late_ended") == 0 and lab.d.counter("given_up.now") == 0
    lab.d.wait_log("answered after it had been given up, and its answer was passed on.*peer=bob0")


def test_f24_late_answer_behind_a_408_is_ended(t):
    """The caller has heard 408 and its transaction is over: bob's 200 gets ACK and BYE, repeated ones
    the ACK again, whichever transport and worker they come by. Nothing of it is counted as a call."""
    for transport in ("tcp", "udp"):
        lab = Lab(t, more_bobs=("tcp", "tls"))
        calls = lab.calls("9", transport)
        refused(calls)
        n = len(calls)
        assert lab.d.counter("transactions.now") == 0 and lab.d.counter("given_up.now") == n
        for bob, call in zip(lab.bobs, calls):
            bob.answer(call.call_id)
            ended(bob, call)
            before = bob.retransmits
            repeat_answer(bob, call)
            repeat_answer(bob, call)
            t.wait(lambda: bob.retransmits == before + 2, "the ACKs again")
        assert lab.d.counter("responses.late_ended") == n
        assert lab.d.counter("responses.late_lost") == lab.d.counter("responses.late_passed") == 0
        assert lab.counted() == [0] * n
        assert [(b.count("ACK"), b.count("BYE"), b.requests.qsize()) for b in lab.bobs] == [(1, 1, 0)] * n
        for call in calls:
            assert lab.log_of(call, "A call failed") and not lab.log_of(call, "A call ended")
        lab.d.wait_log("its call was ended by ACK and BYE.*peer=bob0")
        t.wait(lambda: lab.d.counter("transactions.now") == 0, "the BYEs to end")


def test_f24_two_targets_answer_too_late(t):
    """And one of them twice, for the call forked behind it: each of the calls is ended."""
    lab = Lab(t)
    lab.carol.policy["ring"] = False
    calls = lab.calls("")
    refused(calls)
    for bob, call in zip(lab.bobs, calls):
        lab.carol.answer(call.call_id)
        bob.answer(call.call_id)
        ended(bob, call)
        conn, invite, _ = bob.invites[call.call_id]
        conn.send(sip.response(invite, 200, to_tag="fork", headers=[("Contact", bob.contact(conn))]))
        ended(bob, call, "fork")
    t.wait(lambda: lab.carol.count("ACK") == lab.carol.count("BYE") == 3, "carol's three")
    assert lab.d.counter("responses.late_ended") == 9


def test_f24_late_answer_of_a_target_that_a_reload_has_removed(t):
    """What is known of the call does not depend on the configuration that it began under."""
    lab = Lab(t)
    calls = lab.calls("9")
    refused(calls)
    lab.d.configure(peers=[p for p in lab.peers if p[0] == "carol"],
                    routes=[("rest", {"peers": ["carol"]})], **lab.conf)
    lab.d.ctl("reload")
    for bob, call in zip(lab.bobs, calls):
        bob.answer(call.call_id)
        ended(bob, call)
    assert lab.d.counter("responses.late_ended") == 3


def test_f24_who_lost_a_fork_rings_after_a_reload(t):
    """Bob had the call before carol said a word, and the peer that she was rung as is in no
    configuration any more: she is cancelled, and her answers end nothing."""
    bob, carol = t.uas("tcp", name="bob"), t.uas("udp", name="carol", ring=False, answer=None)
    peers = [("bob", {"uri": t.uri(bob, "tcp").replace("bob@", "")}),
             ("carol", {"uri": t.uri(carol, "udp").replace("bob@", ""), "ring_timeout": "1m"})]
    d = t.daemon(peers=peers, routes=[("all", {"peers": ["bob", "carol"], "fork": "parallel"})])
    alice = t.uac()
    call = Call(alice, t.dial(alice, d, "tcp"), "sip:x@far.example").answered()
    conn, invite = carol.next_request("INVITE")
    for left in (peers[:1], peers[:1] + [("more", {"uri": "sip:127.0.0.9:9"})]):
        d.configure(peers=left, routes=[("all", {"peers": ["bob"]})])
        d.ctl("reload")
    carol.reply(conn, invite, 180)
    _, cancel = carol.next_request("CANCEL")
    assert cancel.branch == invite.branch
    assert carol.next_request("ACK")[1].branch == invite.branch
    assert call.bye().status == 200


def test_f24_late_ringing_is_cancelled(t):
    """Caller and daemon have given up, then it rings: bob gets a CANCEL, and the ACK for his 487."""
    lab = Lab(t)
    calls = lab.calls("9")
    refused(calls)
    for bob, call in zip(lab.bobs, calls):
        conn, invite, _ = bob.invites[call.call_id]
        bob.reply(conn, invite, 180)
        _, cancel = bob.next_request("CANCEL")
        assert cancel.branch == invite.branch and cancel.uri == invite.uri
        _, ack = bob.next_request("ACK")
        assert ack.branch == invite.branch
    assert lab.d.counter("given_up.now") == 0 and lab.d.counter("responses.late_ended") == 0


def test_f24_late_answer_behind_the_callers_cancel(t):
    """Bob is silent, so that no CANCEL may go to him (9.1): the caller hears 487 after Timer B; then
    bob takes the call."""
    lab = Lab(t)
    calls = lab.calls("9")
    for call in calls:
        assert call.cancel().status == 200
    refused(calls, 487)
    for bob, call in zip(lab.bobs, calls):
        bob.answer(call.call_id)
        ended(bob, call)
        assert bob.count("CANCEL") == 0
    assert lab.d.counter("responses.late_ended") == 3


def test_f24_late_answer_on_another_connection(t):
    """Bob's connection is reset with the INVITE in it, and carol is rung; bob, who had read it, comes
    back and answers there. Somebody else at another address may not."""
    lab = Lab(t)
    bob = lab.bobs[TRANSPORTS.index("tcp")]
    call = Call(lab.alice, t.dial(lab.alice, lab.d, "tcp"), "sip:100@far.example").send()
    where, invite = bob.next_request("INVITE")
    where.reset()
    lab.carol.next_request("INVITE")
    mallory = t.uac("mallory")
    mallory.reply(t.dial(mallory, lab.d, "tcp", bind=("127.0.0.2", 0)), invite, 200, tag="mallory")
    lab.d.wait_counter("drops.not_asked", 1)
    again = t.dial(bob, lab.d, "tcp")
    bob.reply(again, invite, 200, tag="back", headers=[("Contact", bob.contact(again))])
    rsp = call.final()
    assert rsp.status == 200 and sip.param(rsp.get("to"), "tag") == "back", rsp
    call.ack()
    assert bob.next_request("ACK")[1].call_id == call.call_id
    assert lab.d.counter("responses.late_passed") == 1
