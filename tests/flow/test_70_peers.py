# SPDX-License-Identifier: Apache-2.0
"""Whole call flows of other people's user agents through the proxy: SIPp in every role, baresip
and linphone calling each other, and tshark reading the decrypted capture. Issue item "Flows with
real peers"; RFC 3261 9, 13 to 17, 3262, 3311, 3515, 6665.
"""
import os
import subprocess
import time

import pytest
from flowlib.lossy import Way
from flowlib.sipp import (SDP, ask, caller, callee, expect, linger, ok, pause, play, recv, reply,
                          send)
from flowlib.steps import pattern, whole_call
from flowlib.tools import Piped
from flowlib.ua import Call
from test_60_interop import network_beside_loopback

pytestmark = pytest.mark.host_only("the scenario is about messages, not about what carries them")

INVITE = [send("INVITE", body=SDP % "sendrecv"), expect(100, optional=True)]
ACK = send("ACK", retrans=0)
BYE = [send("BYE", cseq=9), expect(200)]
NOT_TAKEN = send("ACK", ack_to_error=True)
ANSWER = [reply(200, body=SDP % "sendrecv", retrans=500), recv("ACK")]
END = [recv("BYE"), reply(200, tag=False)]


def patient(t, **conf):
    """A daemon with timers as SIPp bears them: it takes a repeated response over a stream for
    another one, so where the callee is on UDP the caller is too; and it takes a repeated CANCEL for
    an error, so T1 is longer than it may stand still on a busy machine."""
    return t.daemon(timeouts={"t1": t.ms(1000), "t2": t.ms(4000), "t4": t.ms(1000)}, **conf)


def asked(d, *methods):
    """Requests of METHODS, which are all that came but ACK and CANCEL, without the repeats: over UDP
    SIPp repeats what is not answered within half a second."""
    now = d.counters()
    return sum(now["requests." + m] for m in methods) - now["retransmissions.absorbed"]


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_sipp_early_media(t):
    """183 with a body, 180, 200: all reach the caller in this order."""
    d = patient(t)
    play(t, d, INVITE + [expect(183), expect(180), expect(200), ACK, pause(20)] + BYE,
         [recv("INVITE"), reply(183, body=SDP % "sendonly"), pause(30), reply(180), pause(30)] +
         ANSWER + END, "tls", "tls")
    assert d.counter("requests.BYE") == 40


@pytest.mark.timeout(150)
def test_3_sipp_cancel_before_provisional(t):
    """CANCEL while the callee has said nothing: 200 at once, and the callee's CANCEL comes when it
    rings (9.1: not before)."""
    d = patient(t)
    play(t, d, [send("INVITE"), expect(100), send("CANCEL"), expect(200, plain=True),
                expect(180, optional=True), expect(487), NOT_TAKEN],
         [recv("INVITE", keep=True), pause(int(2000 * t.slow)), reply(180), recv("CANCEL"),
          reply(200, tag=False), reply(487, kept=True), recv("ACK")])
    assert asked(d, "INVITE") == 40
    now = d.counters()
    assert now["requests.CANCEL"] == now["responses.local.2xx"] >= 40, "each is answered at once"


@pytest.mark.timeout(150)
def test_3_sipp_cancel_while_ringing(t):
    """CANCEL behind 180, over UDP and over streams."""
    d = patient(t)
    for came, went in (("udp", "udp"), ("udp", "tcp"), ("tcp", "tls")):
        play(t, d, INVITE + [expect(180), pause(20), send("CANCEL"), expect(200, plain=True),
                             expect(487), NOT_TAKEN],
             [recv("INVITE", keep=True), reply(180), recv("CANCEL"), reply(200, tag=False),
              reply(487, kept=True), recv("ACK")], came, went)


@pytest.mark.timeout(150)
def test_3_sipp_cancel_crosses_200(t):
    """The callee takes the call when the CANCEL comes: 200 to both, the call stands and ends by
    BYE (9.1)."""
    d = patient(t)
    play(t, d, INVITE + [expect(180), send("CANCEL"), expect(200, plain=True), expect(200), ACK,
                         pause(20)] + BYE,
         [recv("INVITE", keep=True), reply(180), recv("CANCEL"), reply(200, tag=False),
          reply(200, kept=True, body=SDP % "sendrecv", retrans=500), recv("ACK")] + END,
         "udp", "tcp")


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_sipp_hold_and_resume(t):
    """Re-INVITEs inside the dialog: on hold, and back."""
    d = patient(t)
    again = [recv("INVITE"), reply(200, tag=False, body=SDP % "recvonly", retrans=500), recv("ACK")]
    play(t, d, INVITE + [expect(200), ACK, pause(20),
                         send("INVITE", 2, body=SDP % "sendonly"), expect(100, optional=True),
                         expect(200), send("ACK", 2), pause(20),
                         send("INVITE", 3, body=SDP % "sendrecv"), expect(100, optional=True),
                         expect(200), send("ACK", 3), pause(20)] + BYE,
         [recv("INVITE", keep=True)] + ANSWER + again + again + END, "udp", "tls")
    assert asked(d, "INVITE", "BYE") == 120 + 40


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_sipp_refer_notify(t):
    """REFER inside a call, the callee's NOTIFY back over the caller's own connection."""
    d = patient(t)
    play(t, d, INVITE + [expect(200), ACK, pause(20),
                         send("REFER", 2, "Refer-To: <sip:carol@chicago.example>"), expect(202),
                         recv("NOTIFY", check="Event: refer"), ok(), pause(20)] + BYE,
         [recv("INVITE", keep=True)] + ANSWER +
         [recv("REFER", check="Refer-To: .*carol"), reply(202, tag=False),
          ask("NOTIFY", 10, "Event: refer\nSubscription-State: terminated;reason=noresource"),
          expect(200, plain=True)] + END, "tls", "tcp")


@pytest.mark.timeout(150)
def test_3_sipp_prack_update(t):
    """Reliable provisional responses and UPDATE in the early dialog."""
    d = patient(t)
    play(t, d, [send("INVITE", extra="Supported: 100rel", body=SDP % "sendrecv"),
                expect(100, optional=True), expect(183), send("PRACK", 2, "RAck: 1 1 INVITE"),
                expect(200), send("UPDATE", 3, body=SDP % "sendonly"), expect(200), expect(200),
                ACK, pause(20)] + BYE,
         [recv("INVITE", keep=True),
          reply(183, "Require: 100rel\nRSeq: 1", SDP % "sendrecv"),
          recv("PRACK", check="RAck: 1 1 INVITE"), reply(200, tag=False), recv("UPDATE"),
          reply(200, tag=False, body=SDP % "recvonly"), reply(200, kept=True, retrans=500),
          recv("ACK")] + END, "udp", "tcp")


@pytest.mark.timeout(150)
def test_3_sipp_subscribe_notify(t):
    """A subscription: SUBSCRIBE, NOTIFYs back through the route set, its end."""
    d = patient(t)
    play(t, d, [send("SUBSCRIBE", extra="Event: presence\nExpires: 60"), expect(200),
                recv("NOTIFY", check="active"), ok(),
                send("SUBSCRIBE", 2, "Event: presence\nExpires: 0"), expect(200),
                recv("NOTIFY", check="terminated"), ok()],
         [recv("SUBSCRIBE", keep=True), reply(200, "Expires: 60"),
          ask("NOTIFY", 10, "Event: presence\nSubscription-State: active"),
          expect(200, plain=True), recv("SUBSCRIBE"), reply(200, "Expires: 0", tag=False),
          ask("NOTIFY", 11, "Event: presence\nSubscription-State: terminated"),
          expect(200, plain=True)], "udp", "tcp")


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_sipp_long_headers(t):
    """150 headers and 12 KB of them, in requests and in responses."""
    d = patient(t)
    many = "\n".join("X-Long-%d: %s end%d" % (i, "v" * 60, i) for i in range(150))
    play(t, d, [send("INVITE", extra=many), expect(100, optional=True), expect(180), expect(200),
                ACK, pause(20)] + BYE,
         [recv("INVITE", check="X-Long-149: v*[^v]end149"), reply(180, many),
          reply(200, many, retrans=500), recv("ACK")] + END, "tls", "tcp", calls=20)


LOST = ["INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]


def losing(before):
    """A rule for a Way: in each round of 13 calls, behind the first BEFORE ones, each loses another
    kind; the last of the round loses all but the callee's 180: without it and the 200 the proxy
    repeats the INVITE, which SIPp does not know any more behind its 200."""
    def loses(call_id, what):
        turn = int(call_id.split("-")[0]) % 13
        if turn == 12:
            return what in LOST and not (before and what == "180 INVITE")
        return turn >= before and LOST[turn - before:turn - before + 1] == [what]
    return loses


@pytest.mark.timeout(150)
def test_3_sipp_loss_over_udp(t):
    """Every message of a call is lost once on each side of the proxy, first one in a call, then all
    in one; retransmissions of all four parties mend it (17.1.1.2, 17.1.2.2, 17.2, 13.3.1.4)."""
    # On an emulated processor short timers would drown the peers in repeats that are not losses.
    d = t.daemon(timeouts={"t1": t.ms(100), "t2": t.ms(400), "timer_b": t.ms(30000),
                           "timer_f": t.ms(30000)})
    again, calls, near, far = int(200 * t.slow), 26, t.port(), t.port()
    right, port = callee(t, [recv("INVITE"), reply(180), reply(200, body=SDP % "sendrecv",
                                                               retrans=again), recv("ACK")] +
                         END + [linger(2000 * t.slow)], "udp", calls, contact=far)
    ways = [Way(t, near, d.port("udp"), losing(0)), Way(t, far, port, losing(len(LOST)))]
    left = caller(t, d, [send("INVITE", body=SDP % "sendrecv", retrans=again),
                         expect(100, optional=True), expect(180, optional=True), expect(200),
                         ACK, pause(4500 * t.slow), send("BYE", cseq=9, retrans=again),
                         expect(100, optional=True, plain=True), expect(200, plain=True),
                         linger(2000 * t.slow)],
                  "udp", "sip:bob@127.0.0.1:%d;transport=udp" % far, calls, to=near)
    left.check(t)
    right.check(t)
    lost = [[what for _, what in way.lost] for way in ways]
    assert [len(x) for x in lost] == [24, 22], lost
    # The proxy sends INVITE and BYE again for themselves, BYE for its 200; it takes BYE again.
    assert d.counter("retransmissions.sent") >= 12, d.counter("retransmissions.sent")
    assert d.counter("retransmissions.absorbed") >= 4, d.counter("retransmissions.absorbed")


def fork(t, kind, *callees, calls=30, **route):
    """Calls to a route that forks KIND over CALLEES, each a list of steps; all must succeed. ROUTE:
    further options of it."""
    sides = [callee(t, steps, "udp", calls, "callee%d" % i) for i, steps in enumerate(callees)]
    names = ["c%d" % i for i in range(len(sides))]
    d = patient(t, peers=[(n, {"uri": "sip:127.0.0.1:%d;transport=udp" % port})
                          for n, (_, port) in zip(names, sides)],
                routes=[("all", {"peers": names, "fork": kind, **route})])
    rings = [expect(180, optional=True, plain=True) for _ in callees]
    left = caller(t, d, INVITE + rings + [expect(200), ACK, pause(30)] + BYE, "udp",
                  "sip:bob@biloxi.example", calls)
    for side in [left] + [s for s, _ in sides]:
        side.check(t)
    return d


REFUSE = [recv("INVITE"), reply(180), pause(20), reply(486, retrans=500), recv("ACK")]
# answers long after the others have refused: behind its 200 they would get a CANCEL
TAKE = [recv("INVITE"), reply(180), pause(2000)] + ANSWER + END


@pytest.mark.timeout(150)
def test_3_sipp_fork_parallel(t):
    """Three phones ring: one is busy, one answers, the third gets a CANCEL."""
    loser = [recv("INVITE", keep=True), reply(180), recv("CANCEL"), reply(200, tag=False),
             reply(487, kept=True), recv("ACK")]
    d = fork(t, "parallel", REFUSE, TAKE, loser)
    assert asked(d, "INVITE", "BYE") == 30 + 30


@pytest.mark.timeout(150)
def test_3_sipp_fork_serial(t):
    """One phone after the other: 404, busy, answered; only the last's response comes through."""
    fork(t, "serial", [recv("INVITE"), reply(404, retrans=500), recv("ACK")], REFUSE, TAKE,
         reroute_after_ringing=True)


@pytest.mark.timeout(150)
def test_3_sipp_stateless(t):
    """A stateless route: calls and CANCELs pass, no transaction is made (16.11)."""
    d = patient(t, routes=[("all", {"relay": "request-uri", "tls_domain": "lab",
                                  "stateless": True})])
    play(t, d, INVITE + [expect(180), expect(200), ACK, pause(20)] + BYE,
         [recv("INVITE"), reply(180)] + ANSWER + END)
    play(t, d, INVITE + [expect(180), pause(20), send("CANCEL"), expect(200, plain=True),
                         expect(487), NOT_TAKEN],
         [recv("INVITE", keep=True), reply(180), recv("CANCEL"), reply(200, tag=False),
          reply(487, kept=True), recv("ACK")])
    assert d.counter("transactions.total") == 0


# -- baresip


BARESIP = """module_path %(modules)s
module g711.so
module stdio.so
module_tmp account.so
module_app menu.so
module aufile.so
sip_listen 127.0.0.1:%(port)d
sip_certificate %(home)s/both.pem
sip_cafile %(ca)s
sip_trans_def tls
audio_source aufile,%(home)s/tone.wav
audio_player aufile,%(home)s/heard.wav
"""


def tone():
    """A WAV file: one second of silence, 8 kHz mono, 16 bits."""
    data = bytes(16000)
    return (b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " +
            bytes((16, 0, 0, 0, 1, 0, 1, 0)) + (8000).to_bytes(4, "little") +
            (16000).to_bytes(4, "little") + bytes((2, 0, 16, 0)) + b"data" +
            len(data).to_bytes(4, "little") + data)


def baresip(t, name, account, *commands):
    """A baresip with ACCOUNT; returns (program, its TLS port)."""
    program, modules = t.need("baresip"), "/usr/lib/baresip/modules"
    if not os.path.isdir(modules):
        t.skip("baresip's modules are not in " + modules)
    home, port = os.path.join(t.dir, name), t.port()
    t.port()                             # baresip puts TLS one above its SIP port
    os.makedirs(home)
    with open(t.pki("callee.pem"), "rb") as c, open(t.pki("callee.key"), "rb") as k:
        both = c.read() + k.read()
    config = BARESIP % {"modules": modules, "port": port, "home": home, "ca": t.pki("ca.pem")}
    for file, content in (("config", config.encode()), ("both.pem", both), ("contacts", b""),
                          ("accounts", account.encode() + b"\n"), ("tone.wav", tone())):
        with open(os.path.join(home, file), "wb") as f:
            f.write(content)
    phone = Piped(t, [program, "-f", home] + [x for c in commands for x in ("-e", c)])
    try:
        t.wait_port(port + 1)
    except AssertionError as e:
        raise AssertionError("%s; baresip said %r" % (e, phone.out[-1500:])) from None
    return phone, port + 1


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_baresip_calls_baresip(t):
    """One baresip calls another over TLS through the daemon: established, then ended by the
    caller, three times; then ended by the callee."""
    network_beside_loopback(t)
    d = t.daemon()
    bob, port = baresip(t, "bob", "<sip:bob@127.0.0.1;transport=tls>;regint=0;answermode=auto")
    alice, _ = baresip(t, "alice", "<sip:alice@127.0.0.1;transport=tls>;regint=0;"
                       'outbound="sip:127.0.0.1:%d;transport=tls"' % d.port("tls"))
    for n, ender in enumerate((alice, alice, alice, bob), 1):
        seen = [len(alice.out), len(bob.out)]
        alice.write(b"/dial sip:bob@127.0.0.1:%d;transport=tls\n" % port)
        alice.wait_for(rb"[Cc]all established", start=seen[0])
        bob.wait_for(rb"[Cc]all established", start=seen[1])
        d.wait_counter("requests.ACK", n)
        ender.write(b"/hangup\n")
        d.wait_counter("requests.BYE", n)
        for phone, start in zip((alice, bob), seen):
            phone.wait_for(rb"terminate|closed", start=start)
    assert d.counter("requests.INVITE") == 4
    assert d.counter("responses.local.4xx") == d.counter("responses.local.5xx") == 0


# -- linphone


LINPHONE = """[sip]
sip_port=%(udp)d
sip_tcp_port=0
sip_tls_port=%(tls)d
contact=sip:%(name)s@127.0.0.1
guess_hostname=0
root_ca=%(ca)s
verify_server_certs=1
verify_server_cn=0
default_proxy=0
[proxy_0]
reg_proxy=<sip:127.0.0.1:%(proxy)d;transport=tls>
reg_route=<sip:127.0.0.1:%(proxy)d;transport=tls>
reg_identity=sip:%(name)s@127.0.0.1
reg_sendregister=0
publish=0
[rtp]
audio_rtp_port=%(rtp)d
[video]
enabled=0
capture=0
display=0
[misc]
version_check_url_root=
"""


def linphone(t, name, d, *args, udp=0):
    """linphone's program for the console, its own SIP and TLS code (belle-sip over mbedTLS), with
    the daemon as outbound proxy over TLS. It takes and plays files, as there is no sound card."""
    program, home = t.need("linphonec"), os.path.join(t.dir, name)
    os.makedirs(os.path.join(home, ".local/share/linphone"))
    config = os.path.join(home, "linphonerc")
    with open(config, "w", encoding="ascii") as f:
        f.write(LINPHONE % {"udp": udp, "tls": 0 if udp else t.port(), "name": name,
                            "ca": t.pki("ca.pem"), "rtp": t.port(), "proxy": d.port("tls")})
    phone = Piped(t, ["env", "HOME=" + home, program, "-c", config] + list(args))
    phone.wait_for(rb"linphonec> ")
    phone.write(b"soundcard use files\n")
    return phone


def phone_call(d, caller, command, callee, ender, hang_up, n):
    """The Nth call: established at both ends, then ended by ENDER."""
    seen = [len(caller.out), len(callee.out)]
    caller.write(command)
    caller.wait_for(rb"Media streams established|[Cc]all established", start=seen[0])
    callee.wait_for(rb"Media streams established|[Cc]all established", start=seen[1])
    d.wait_counter("requests.ACK", n)
    ender.write(hang_up)
    d.wait_counter("requests.BYE", n)
    for phone, start in zip((caller, callee), seen):
        phone.wait_for(rb"Call [^\n]*ended|session closed|terminate", start=start)


@pytest.mark.host_only("linphone takes minutes to start on an emulated processor")
@pytest.mark.timeout(150)
def test_3_linphone_calls_baresip(t):
    """linphone calls baresip, TLS on both sides; the caller ends, then the callee, whose BYE comes
    to linphone on the connection that linphone opened: it takes no TLS connections (belle-sip has
    no TLS server)."""
    network_beside_loopback(t)
    d = t.daemon()
    bob, port = baresip(t, "bob", "<sip:bob@127.0.0.1;transport=tls>;regint=0;answermode=auto")
    alice = linphone(t, "alice", d)
    dial = b"call sip:bob@127.0.0.1:%d;transport=tls\n" % port
    phone_call(d, alice, dial, bob, alice, b"terminate\n", 1)
    phone_call(d, alice, dial, bob, bob, b"/hangup\n", 2)
    assert d.counter("requests.INVITE") == 2
    assert d.counter("responses.local.4xx") == d.counter("responses.local.5xx") == 0


@pytest.mark.host_only("linphone takes minutes to start on an emulated processor")
@pytest.mark.timeout(150)
def test_3_baresip_calls_linphone(t):
    """baresip calls linphone, TLS on its side and UDP on linphone's; each ends one. By TLS linphone
    could not be called (see above), and called by TCP it answers over a connection of its own and
    names that one's port as its Contact."""
    network_beside_loopback(t)
    d = t.daemon()
    port = t.port()
    alice = linphone(t, "alice", d, "-a", udp=port)
    bob, _ = baresip(t, "bob", "<sip:bob@127.0.0.1;transport=tls>;regint=0;"
                     'outbound="sip:127.0.0.1:%d;transport=tls"' % d.port("tls"))
    dial = b"/dial sip:alice@127.0.0.1:%d;transport=udp\n" % port
    phone_call(d, bob, dial, alice, bob, b"/hangup\n", 1)
    phone_call(d, bob, dial, alice, alice, b"terminate\n", 2)
    assert d.counter("requests.INVITE") == 2
    assert d.counter("responses.local.4xx") == d.counter("responses.local.5xx") == 0


# -- tshark


def tshark(program, capture, keys, ports, *args):
    argv = [program, "-n", "-r", capture, "-o", "tls.keylog_file:" + keys]
    for port in ports:
        argv += ["-d", "tcp.port==%d,tls" % port, "-d", "tls.port==%d,sip" % port]
    p = subprocess.run(argv + list(args), capture_output=True, text=True, timeout=120, check=False)
    assert p.returncode == 0, p.stderr
    return p.stdout


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_3_tshark_reads_the_capture(t):
    """Calls over TLS on both sides, captured and decrypted: tshark sees all the SIP that was there,
    nothing malformed in it, no TLS alert but close_notify, no error of any layer."""
    program = t.need("tshark")
    keys, capture = os.path.join(t.dir, "keys"), os.path.join(t.dir, "capture.pcapng")
    client, server = t.client_ctx(), t.server_ctx()
    client.keylog_filename = server.keylog_filename = keys
    alice, bob = t.uac(), t.uas("tls", ctx=server)
    d = t.daemon()
    ports = (d.port("tls"), bob.listener("tls").port)
    sniffer = Piped(t, [t.need("dumpcap"), "-q", "-i", "lo", "-w", capture, "-f",
                        " or ".join("tcp port %d" % p for p in ports)])
    sniffer.wait_for(rb"File:", "dumpcap to start")
    conn = t.dial(alice, d, "tls", ctx=client)
    for _ in range(10):
        whole_call(alice, conn, bob, t.uri(bob, "tls"))
    for size in (0, 1000, 20000):
        rsp = alice.request(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(size))
        assert rsp.status == 200 and rsp.body == pattern(size)
    refused = Call(alice, conn, "sip:bob@127.0.0.1:%d;transport=tls" % t.port()).send().final()
    assert refused.status == 503
    conn.close()
    t.wait(lambda: len(d.connections()) == 1, "the end of the connection")
    time.sleep(t.slow)                  # dumpcap takes packets in blocks of a quarter of a second
    sniffer.proc.terminate()
    sniffer.ended()
    seen = tshark(program, capture, keys, ports, "-Y", "sip", "-T", "fields", "-e", "sip.Method",
                  "-e", "sip.Status-Code")
    words = seen.replace(",", " ").split()
    assert words.count("INVITE") == 21 and words.count("ACK") == 21, seen
    assert words.count("BYE") == 20 and words.count("MESSAGE") == 6, seen
    bad = ("_ws.malformed || tls.alert_message.level == 2 || "
           "_ws.expert.severity == error && !tcp.flags.reset == 1")
    assert not tshark(program, capture, keys, ports, "-Y", bad), "what tshark objects to"
