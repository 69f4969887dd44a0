# SPDX-License-Identifier: Apache-2.0
"""SIPp scenarios written as lists of steps, and SIPp run with them on both sides of the daemon.

A step is sent or awaited: send("INVITE"), recv("ACK"), reply(180), expect(200), pause(ms). What is
common to all messages of a side is written here once; XML files would repeat it each time.
"""
import os
import tempfile
from xml.sax.saxutils import escape

from . import tools

SDP = ("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 40000 RTP/AVP 0\n"
       "a=%s\n")
TAG = "[pid]t[call_number]"              # the callee's tag


def _message(lines, body):
    text = "\n".join(line for line in lines if line)
    if body:
        text += "\nContent-Type: application/sdp"
    return "<![CDATA[\n%s\nContent-Length: [len]\n\n%s]]>" % (text, body)


def _element(name, attributes, inside=""):
    return "<%s %s>%s</%s>" % (name, " ".join('%s="%s"' % a for a in attributes.items()), inside,
                               name)


def send(method, cseq=1, extra="", body="", uri="[next_url]", retrans=500, ack_to_error=False):
    """A request of the caller's. What is not inside the dialog goes to [uri]."""
    first = method in ("INVITE", "CANCEL", "SUBSCRIBE") and cseq == 1 or ack_to_error
    branch = "[branch@INVITE]" if ack_to_error or method == "CANCEL" else "[branch]"
    lines = ["%s %s SIP/2.0" % (method, "[uri]" if first else uri),
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=%s;rport" % branch,
             "Max-Forwards: 70", "" if first else "[routes]",
             "From: <sip:alice@atlanta.example>;tag=[pid]f[call_number]",
             "To: <sip:bob@biloxi.example>" + ("" if first and not ack_to_error else
                                               "[peer_tag_param]"),
             "Call-ID: [call_id]", "CSeq: %d %s" % (cseq, method),
             "Contact: <sip:alice@[local_ip]:[local_port];transport=[transport]>", extra]
    attributes = {} if method == "ACK" else {"retrans": retrans}
    return _element("send", attributes, _message(lines, body))


def expect(status, optional=False, plain=False):
    """A response awaited; unless PLAIN one with a Contact and the route set."""
    attributes = {"response": status}
    if 100 < status < 300 and not plain:
        attributes["rrs"] = "true"
    if optional:
        attributes["optional"] = "true"
    return _element("recv", attributes)


def recv(method, check="", keep=False):
    """A request awaited. CHECK is a regular expression it must match; KEEP remembers Via,
    Record-Route and From for answers that are given behind other requests."""
    inside = ""
    if check:
        inside += '<ereg regexp="%s" search_in="msg" check_it="true" assign_to="9"/>' % (
            escape(check))
    if keep:
        # hdr would give the first line only
        for n, name in enumerate(("Via", "Record-Route"), 1):
            inside += ('<ereg regexp="%s: [^[:cntrl:]]*([[:cntrl:]]+%s: [^[:cntrl:]]*)*" '
                       'search_in="msg" assign_to="%d"/>' % (name, name, n))
        inside += '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="3"/>'
    attributes = {"request": method}
    if keep:
        attributes["rrs"] = "true"
    return _element("recv", attributes, "<action>%s</action>" % inside if inside else "")


def reply(status, extra="", body="", tag=True, contact=True, kept=False, retrans=0):
    """A response to the last request, or (KEPT) to the INVITE that recv(keep=True) took."""
    if kept:
        lines = ["[$1]", "[$2]", "From: [$3]",
                 "To: <sip:bob@biloxi.example>;tag=" + TAG, "[last_Call-ID:]", "CSeq: 1 INVITE"]
    else:
        lines = ["[last_Via:]", "[last_Record-Route:]", "[last_From:]",
                 "[last_To:]" + (";tag=" + TAG if tag else ""), "[last_Call-ID:]", "[last_CSeq:]"]
    lines = ["SIP/2.0 %d Because" % status] + lines
    if contact:
        lines.append("Contact: <sip:bob@[contact]>")
    attributes = {"retrans": retrans} if retrans else {}
    return _element("send", attributes, _message(lines + [extra], body))


def ask(method, cseq=10, extra="", body=""):
    """A request of the callee's inside the dialog whose INVITE recv(keep=True) took."""
    lines = ["%s [next_url] SIP/2.0" % method,
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport",
             "Max-Forwards: 70", "[routes]", "From: <sip:bob@biloxi.example>;tag=" + TAG,
             "To: [$3]", "Call-ID: [call_id]", "CSeq: %d %s" % (cseq, method),
             "Contact: <sip:bob@[contact]>", extra]
    return _element("send", {"retrans": 500}, _message(lines, body))


def ok():
    """The caller's 200 to a request of the callee."""
    return reply(200, tag=False, contact=False)


def pause(ms):
    return '<pause milliseconds="%d"/>' % ms


def linger(ms):
    """The end of a scenario that still answers what is repeated."""
    return '<timewait milliseconds="%d"/>' % ms


def write(t, steps):
    """Writes a scenario; returns its path."""
    steps, invite = list(steps), 0
    for i, step in enumerate(steps):     # SIPp counts branches by the step that made them
        if "\nINVITE " in step:
            invite = i
        steps[i] = step.replace("[branch@INVITE]", "[branch-%d]" % (i - invite))
    text = "".join(steps)
    used = [n for n in "1239" if 'assign_to="%s"' % n in text]
    if used:
        text += '<Reference variables="%s"/>' % ",".join(used)
    fd, path = tempfile.mkstemp(".xml", dir=t.dir)
    with open(fd, "w", encoding="ascii") as f:
        f.write('<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="flow">\n%s\n'
                '</scenario>\n' % text.replace("><", ">\n<"))
    return path


class Side:
    """One SIPp process."""

    def __init__(self, t, name, argv):
        self.name, self.dir = name, tempfile.mkdtemp(prefix=name, dir=t.dir)
        self.proc = t.spawn([t.need("sipp")] + argv + ["-nostdin", "-trace_err"], cwd=self.dir)

    def errors(self):
        text = ""
        for f in os.listdir(self.dir):
            if f.endswith("_errors.log"):
                with open(os.path.join(self.dir, f), errors="replace", encoding="utf-8") as e:
                    text += e.read(4000)
        return text

    def check(self, t):
        t.wait(lambda: self.proc.poll() is not None, "the end of SIPp %s; %s" % (
            self.name, self.errors()), 60)
        assert self.proc.returncode == 0, "SIPp %s: %d, %s" % (self.name, self.proc.returncode,
                                                              self.errors())


FLAG = {"udp": "u1", "tcp": "t1", "tls": "t1"}


def callee(t, steps, transport, calls, name="callee", options=(), contact=None):
    """SIPp that plays STEPS; over TLS stunnel stands before it. CONTACT: the port its Contact names,
    where it is another one. Returns (Side, port)."""
    port = own = t.port()
    if transport == "tls":
        own = t.port()
        tools.stunnel(t, False, "127.0.0.1:%d" % port, "127.0.0.1:%d" % own,
                      "cert = %s\nkey = %s" % (t.pki("callee.pem"), t.pki("callee.key")))
    path = write(t, steps)
    side = Side(t, name, ["-sf", path, "-i", "127.0.0.1", "-p", str(own), "-t", FLAG[transport],
                          "-m", str(calls), "-key", "contact",
                          "127.0.0.1:%d;transport=%s" % (contact or port, transport)] + list(options))
    if transport == "udp":
        t.wait(lambda: in_use(own), "SIPp at its port")
    else:
        t.wait_port(own)
    return side, port


def in_use(port):
    with open("/proc/net/udp", encoding="ascii") as f:
        return any(line.split()[1].endswith(":%04X" % port) for line in f.readlines()[1:])


def caller(t, d, steps, transport, uri, calls, rate=50, name="caller", options=(), to=None):
    """SIPp that plays STEPS against the daemon, or against what stands at the port TO before it."""
    to = to or d.port(transport)
    rate = max(5, int(rate / t.slow))   # faster than the machine plays it, SIPp repeats requests
    if transport == "tls":
        to = t.port()
        tools.stunnel(t, True, "127.0.0.1:%d" % to, "127.0.0.1:%d" % d.port("tls"),
                      "CAfile = %s\nverifyChain = yes" % t.pki("ca.pem"))
    path = write(t, steps)
    return Side(t, name, ["127.0.0.1:%d" % to, "-sf", path, "-i", "127.0.0.1", "-p", str(t.port()),
                          "-t", FLAG[transport], "-m", str(calls), "-r", str(rate), "-key", "uri",
                          uri, "-timeout", "%ds" % (60 * t.slow), "-timeout_error"] + list(options))


def play(t, d, calling, called, came="udp", went="udp", calls=40, options=(), uri=None):
    """CALLS times both scenarios, CAME and WENT being the transports before and behind the
    daemon; all must succeed."""
    right, port = callee(t, called, went, calls, options=options)
    left = caller(t, d, calling, came, uri or "sip:bob@127.0.0.1:%d;transport=%s" % (port, went),
                  calls, options=options)
    left.check(t)
    right.check(t)
