# SPDX-License-Identifier: Apache-2.0
"""RFC 3261 8.2, 9 and 11 as they bind a proxy that answers by itself, and the keep-alive of
RFC 5626 on its connections.
"""
import re
import time

from kit import HUNT, over, sip, ua


def test_8_2_6_2_fields_of_our_answers(c):
    """What the proxy answers has the request's Via values in order, From, Call-ID and CSeq as they
    were, a To tag, and an empty body."""
    c.proxy()
    below = "SIP/2.0/UDP earlier.example;branch=z9hG4bKold;x=y"
    data, key = c.alice.make(c.conn, "MESSAGE", "mailto:x", to="\"Bob\" <sip:bob@b.example>;p=1",
                             from_="\"A\" <sip:a@a.example>;tag=77;q=z",
                             headers=[("Record-Route", "<sip:rr.example;lr>")])
    data = data.replace(b"Max-Forwards", b"Via: %s\r\nMax-Forwards" % below.encode(), 1)
    c.alice.expect(key)
    c.conn.send(data)
    _, rsp = c.alice.expect(key).get(timeout=c.wait_s)
    assert rsp.status == 416
    assert rsp.all("via")[1] == below
    assert sip.param(rsp.all("via")[0], "branch") == re.search(rb"branch=([^;\r]+)",
                                                              data).group(1).decode()
    assert rsp.get("from") == "\"A\" <sip:a@a.example>;tag=77;q=z"
    assert re.fullmatch(r'"Bob" <sip:bob@b\.example>;p=1;tag=[^;]+', rsp.get("to")), rsp.get("to")
    assert rsp.get("call-id") == key[0] and rsp.get("cseq") == "1 MESSAGE"
    assert rsp.get("content-length") == "0" and not rsp.all("max-forwards")


def test_20_35_server_in_our_answers_alone(c):
    """A response made here says who made it and not in which version; one that is passed on has the
    Server it came with, or none."""
    c.proxy()
    bob = c.callee()
    assert c.refused(416, uri="mailto:x").all("server") == ["tieline"]
    for theirs in ([], ["Their/1.0"]):
        key = c.send("MESSAGE", c.uri(bob))
        bob.reply(bob.take("MESSAGE"), 200, headers=[("Server", s) for s in theirs])
        assert c.alice.final(key).all("server") == theirs


def test_20_35_server_switched_off(c):
    """server_header = false: no Server in what is answered here."""
    c.proxy(extra="server_header = false")
    assert not c.refused(416, uri="mailto:x").all("server")


def test_8_2_6_2_tag_in_the_request_is_kept(c):
    """A To tag that came in stays the only one."""
    c.proxy()
    rsp = c.refused(416, "MESSAGE", "mailto:x", to="<sip:bob@b.example>;tag=theirs")
    assert rsp.get("to") == "<sip:bob@b.example>;tag=theirs"


@over("udp")
def test_8_2_7_same_tag_for_a_repeat(c):
    """An answer made without a transaction is the same for each repeat."""
    c.proxy()
    data, key = c.alice.make(c.conn, "MESSAGE", "mailto:x", to="<sip:x@y.example>")
    c.alice.expect(key)
    tags = set()
    for _ in range(3):
        c.conn.send(data)
        tags.add(sip.param(c.alice.final(key).get("to"), "tag"))
    assert len(tags) == 1, tags
    other = c.refused(416, "MESSAGE", "mailto:x", to="<sip:x@y.example>")
    assert sip.param(other.get("to"), "tag") not in tags


def test_8_2_2_3_require_in_cancel_is_ignored(c):
    """Require and Proxy-Require mean nothing in a CANCEL."""
    bob = c.callee()
    c.proxy(hunt=[c.target(bob)])
    call = c.invite(HUNT)
    got = bob.take("INVITE")
    bob.reply(got, 180)
    key = (call.call_id, 1, "CANCEL")
    c.alice.expect(key)
    c.conn.send(call.hop_request("CANCEL").replace(b"Max-F", b"Proxy-Require: x\r\nMax-F", 1))
    assert c.alice.final(key).status == 200
    bob.take("CANCEL")
    bob.reply(got, 487)
    assert call.final().status == 487


def test_9_2_cancel_does_not_touch_other_methods(c):
    """A CANCEL ends INVITEs alone: another method with the same branch goes on."""
    c.proxy()
    bob = c.callee()
    branch = sip.token("z9hG4bK")
    key = c.send("MESSAGE", c.uri(bob), branch=branch, call_id="one")
    got = bob.take("MESSAGE")
    cancel = c.send("CANCEL", c.uri(bob), branch=branch, call_id="one")
    assert c.alice.final(cancel).status == 481
    c.nothing_came(bob, "CANCEL")
    bob.reply(got, 200)
    assert c.alice.final(key).status == 200


def test_11_options_for_us(c):
    """OPTIONS without a user part for one of our names is answered here, others go on."""
    c.proxy(extra="domains = { \"proxy.example\" }")
    bob = c.callee()
    for uri in ("sip:proxy.example", c.our_uri(params="")):
        c.refused(200, "OPTIONS", uri)
    assert c.through(bob, "OPTIONS")[0].method == "OPTIONS"


def _copies(c, uri, n=2, **change):
    """OPTIONS for URI as it comes from a fork before us, each copy on a connection of its own: equal
    but for the branch and for what CHANGE says of the second. The keys that answers carry."""
    args = {"call_id": sip.token("merge"), "from_": "<sip:a@a.example>;tag=one", "cseq": 7}
    keys = [c.send("OPTIONS", uri, conn=c.conn, **args)]
    keys[0] = c.alice.final(keys[0])
    for _ in range(n - 1):
        key = c.send("OPTIONS", uri, conn=c.dial(), **{**args, **change})
        keys.append(c.alice.final(key))
    return [rsp.status for rsp in keys]


@over("udp")
def test_8_2_2_2_merged_request_482(c):
    """What the proxy answers itself: another copy of a request whose transaction goes on (Timer J)
    is 482, however it came; another CSeq, From tag or Call-ID is another request."""
    c.proxy(workers=2)
    assert _copies(c, c.our_uri(params=""), n=6) == [200] + [482] * 5
    for change in ({"cseq": 8}, {"from_": "<sip:a@a.example>;tag=two"}, {"call_id": "other"},
                   {"to": "<sip:x@y.example>;tag=in-a-dialog"}):
        assert _copies(c, c.our_uri(params=""), **change) == [200, 200], change


@over("udp")
def test_8_2_2_2_retransmission_is_not_merged(c):
    """A repeat, with the branch that it had, gets the answer that it had."""
    c.proxy(workers=2)
    data, key = c.alice.make(c.conn, "OPTIONS", c.our_uri(params=""))
    c.alice.expect(key)
    for _ in range(4):
        c.conn.send(data)
        assert c.alice.final(key).status == 200


@over("tls", "tcp")
def test_8_2_2_2_nothing_to_merge_with(c):
    """Timer J is 0 on a reliable transport: the transaction ended with its answer, so a client that
    asks again over a new connection is answered."""
    c.proxy()
    assert _copies(c, c.our_uri(params="")) == [200, 200]


def test_8_2_2_2_merged_requests_are_forwarded(c):
    """A request for another is forwarded in each copy: 16.3 does not look for merged ones, the
    callee does."""
    c.proxy()
    bob = c.callee()
    branches = set()
    for _ in range(2):
        msg, _ = c.through(bob, "MESSAGE", call_id="forked", cseq=3,
                           from_="<sip:a@a.example>;tag=one")
        branches.add(msg.branch)
    assert len(branches) == 2 and bob.count("MESSAGE") == 2


def test_16_3_6_proxy_authorization_untouched(c):
    """Credentials for others pass: this proxy asks for none."""
    c.proxy()
    value = "Digest username=\"a\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:b\", response=\"r\""
    msg, _ = c.through(c.callee(), headers=[("Proxy-Authorization", value),
                                            ("Authorization", value)])
    assert msg.all("proxy-authorization") == [value] and msg.all("authorization") == [value]


@over("tls", "tcp")
def test_5626_4_4_1_ping_pong(c):
    """A double CRLF between messages is answered with one CRLF, a single one with nothing."""
    c.proxy()
    bob = c.callee()
    c.conn.send(b"\r\n\r\n")
    c.t.wait(lambda: c.conn.crlf == 1, "the pong")
    c.conn.send(b"\r\n")
    c.drain(bob)
    time.sleep(0.1)
    assert c.conn.crlf == 1, "%d CRLFs came" % c.conn.crlf


@over("tls", "tcp")
def test_5626_5_3_flow_of_the_caller_is_used(c):
    """A caller that does not listen is reached, inside the dialog, on the connection it opened."""
    c.proxy()
    bob = c.callee()
    conn = c.dial()                     # not the only one of this address
    call = c.invite(c.uri(bob), conn=conn)
    got = bob.take("INVITE")
    bob.reply(got, 200)
    assert call.final().status == 200
    call.ack()
    side = ua.Dialog(bob, got[0], call.call_id, call.remote, call.local,
                     got[1].all("record-route"), sip.uri_of(got[1].get("contact")))
    for method in ("INFO", "BYE"):
        data, key = side.make(method)
        bob.expect(key)
        got[0].send(data)
        back = c.alice.take(method)
        assert back[0] is conn, "it came on another connection"
        c.alice.reply(back, 200)
        assert bob.final(key).status == 200
