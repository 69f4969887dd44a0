# SPDX-License-Identifier: Apache-2.0
"""Steps that several tests share: complete calls, bodies with a pattern."""
import hashlib

from . import sip, ua


def pattern(size, seed=0):
    """SIZE bytes that do not repeat within a record, all byte values among them."""
    out, block = bytearray(), b"%d" % seed
    while len(out) < size:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:size])


def options_works(t, d, agent, conn, uri, **kw):
    """One OPTIONS through the proxy, answered by the callee; returns the response."""
    rsp = agent.request(conn, "OPTIONS", uri, **kw)
    assert rsp.status == 200, "OPTIONS to %s: %r" % (uri, rsp)
    return rsp


class Bystander:
    """Established traffic that must not notice what happens beside it."""

    def __init__(self, t, d, transport="tls"):
        self.t, self.d = t, d
        self.alice, self.bob = t.uac("witness"), t.uas("tls", name="witnessed")
        self.conn = t.dial(self.alice, d, transport)
        self.check()

    def check(self):
        options_works(self.t, self.d, self.alice, self.conn, self.t.uri(self.bob, "tls"))
        assert not self.conn.closed.is_set()


def check_forwarded(msg, came, went):
    """What a proxy owes the next hop (RFC 3261 16.6). CAME is the sender's connection, WENT the
    receiver's. Where transport or address family differ Record-Route is double (RFC 5658)."""
    transport_in, transport_out = came.transport, went.transport
    vias = msg.all("via")
    assert len(vias) == 2, "Via of a forwarded request: %s" % vias
    assert vias[0].startswith("SIP/2.0/%s " % transport_out.upper()), vias[0]
    assert sip.param(vias[0], "branch").startswith("z9hG4bK"), vias[0]
    assert vias[1].startswith("SIP/2.0/%s " % transport_in.upper()), vias[1]
    assert msg.get("max-forwards") == "69", msg.get("max-forwards")
    if msg.method == "INVITE":
        routes = msg.all("record-route")
        assert all(";lr" in r for r in routes), routes
        families = (":" in came.local[0], ":" in went.local[0])
        want = 1 if transport_in == transport_out and families[0] == families[1] else 2
        assert len(routes) == want, "%s to %s: Record-Route %s" % (transport_in, transport_out,
                                                                  routes)
        if want == 2:
            kinds = [sip.uri_target(sip.uri_of(r))[0] for r in routes]
            assert kinds == [transport_out, transport_in], routes


def check_in_dialog(msg):
    """An in-dialog request at its last hop: our Route is gone, the target is its own."""
    assert not msg.all("route"), "Route left on %r: %s" % (msg, msg.all("route"))
    assert msg.get("max-forwards") == "69", msg.get("max-forwards")


def whole_call(alice, conn, bob, uri, callee_conn="same"):
    """INVITE to 200, ACK, a request inside the dialog from each side, BYE by the callee."""
    call = ua.Call(alice, conn, uri)
    rsp = call.send().final()
    assert rsp.status == 200, "call to %s: %r" % (uri, rsp)
    assert [p.status for p in rsp.provisional if p.status != 100] == [180], rsp.provisional
    assert rsp.body == sip.SDP, rsp.body
    call.ack()
    where, invite = bob.next_request("INVITE")
    check_forwarded(invite, conn, where)
    assert invite.body == sip.SDP
    _, ack = bob.next_request("ACK")
    check_in_dialog(ack)
    assert ack.cseq[0] == invite.cseq[0] and ack.branch != invite.branch
    info = call.request("INFO", body=pattern(300, 1))
    assert info.status == 200 and info.body == pattern(300, 1), repr(info)
    check_in_dialog(bob.next_request("INFO")[1])
    side = bob.dialogs[call.call_id]
    if callee_conn != "same":
        side.conn = callee_conn
    bye = side.make("BYE")
    bob.expect(bye[1])
    side.conn.send(bye[0])
    back, req = alice.next_request("BYE")
    check_in_dialog(req)
    alice.reply(back, req, 200)
    assert bob.final(bye[1]).status == 200
    return call
