# SPDX-License-Identifier: Apache-2.0
"""SIP messages as the tests need them: a small parser, a stream framer and builders.

It is deliberately unlike the daemon's scanner and shares nothing with it: it judges what the
daemon sends. It is strict where a proxy must be exact (CRLF line ends, Content-Length on a
stream) and knows nothing of header grammars beyond that.
"""
import itertools
import os
import re

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact",
            "l": "content-length", "c": "content-type", "k": "supported", "s": "subject",
            "e": "content-encoding"}


class BadMessage(Exception):
    """What arrived is not a SIP message."""


class Msg:
    """One message: start line, headers in order as (name, value), body bytes."""

    def __init__(self, start, headers, body=b"", raw=b""):
        self.start, self.headers, self.body, self.raw = start, headers, body, raw
        parts = start.split(" ", 2)
        if len(parts) != 3:
            raise BadMessage("start line %r" % start)
        if parts[0] == "SIP/2.0":
            self.status, self.reason = int(parts[1]), parts[2]
            self.method = self.uri = None
        else:
            if parts[2] != "SIP/2.0":
                raise BadMessage("start line %r" % start)
            self.method, self.uri = parts[0], parts[1]
            self.status = self.reason = None

    @classmethod
    def parse(cls, head, body=b""):
        lines = head.decode("latin-1").split("\r\n")
        if any("\n" in line or "\r" in line for line in lines):
            raise BadMessage("bare CR or LF in %r" % head)
        headers = []
        for line in lines[1:]:
            if line[:1] in (" ", "\t") and headers:
                headers[-1] = (headers[-1][0], headers[-1][1] + " " + line.strip())
                continue
            name, colon, value = line.partition(":")
            if not colon:
                raise BadMessage("header line %r" % line)
            headers.append((name.strip(), value.strip()))
        return cls(lines[0], headers, body, head + b"\r\n\r\n" + body)

    def all(self, name):
        """Every value of a header, comma lists split (outside quotes and angle brackets)."""
        want = name.lower()
        out = []
        for key, value in self.headers:
            low = key.lower()
            if _COMPACT.get(low, low) == want:
                if want in ("via", "route", "record-route", "contact"):
                    out.extend(split_commas(value))
                else:
                    out.append(value)
        return out

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    @property
    def call_id(self):
        return self.get("Call-ID")

    @property
    def cseq(self):
        number, method = self.get("CSeq").split()
        return int(number), method

    @property
    def branch(self):
        return param(self.get("Via"), "branch")

    def key(self):
        if not self.get("CSeq"):        # the answer to a request that had none
            return self.call_id, None, None
        return (self.call_id,) + self.cseq

    def __repr__(self):
        return "<%s cseq=%s>" % (self.start, self.get("CSeq"))


def split_commas(value):
    out, depth, quoted, start = [], 0, False, 0
    for i, ch in enumerate(value):
        if ch == '"':
            quoted = not quoted
        elif not quoted and ch == "<":
            depth += 1
        elif not quoted and ch == ">":
            depth -= 1
        elif not quoted and depth == 0 and ch == ",":
            out.append(value[start:i].strip())
            start = i + 1
    out.append(value[start:].strip())
    return out


def param(value, name):
    """A header parameter's value ('' if it has none), or None."""
    rest = value.split(">", 1)[1] if ">" in value else value
    m = re.search(r";\s*%s(?:\s*=\s*([^;,\s]+))?(?=\s*(?:[;,]|$))" % re.escape(name), rest, re.I)
    return None if not m else (m.group(1) or "")


def uri_of(value):
    """The URI inside a name-addr or addr-spec."""
    m = re.search(r"<([^>]*)>", value)
    return m.group(1) if m else value.split(";", 1)[0].strip()


def uri_target(uri):
    """(transport, host, port) where a SIP URI points; IPv6 without brackets."""
    m = re.match(r"(sips?):(?:[^@]*@)?(\[[^\]]+\]|[^:;?>]+)(?::(\d+))?(.*)", uri)
    if not m:
        raise BadMessage("URI %r" % uri)
    t = re.search(r";transport=(\w+)", m.group(4), re.I)
    transport = t.group(1).lower() if t else ("tls" if m.group(1) == "sips" else "udp")
    port = int(m.group(3) or (5061 if transport == "tls" else 5060))
    return transport, m.group(2).strip("[]"), port


class Framer:
    """Cuts a byte stream into messages. feed() returns Msg objects and the string "crlf" for each
    CRLF between messages (RFC 5626 keep-alives)."""

    def __init__(self):
        self.buf = b""

    def feed(self, data):
        self.buf += data
        out = []
        while self.buf:
            if self.buf.startswith(b"\r\n"):
                self.buf = self.buf[2:]
                out.append("crlf")
                continue
            end = self.buf.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buf) > 1 << 20:
                    raise BadMessage("no end of head in 1 MB")
                break
            m = re.search(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)[ \t]*(?=\r\n)",
                          self.buf[:end + 2], re.I)
            if not m:
                raise BadMessage("no Content-Length in %r" % self.buf[:end])
            total = end + 4 + int(m.group(1))
            if len(self.buf) < total:
                break
            out.append(Msg.parse(self.buf[:end], self.buf[end + 4:total]))
            self.buf = self.buf[total:]
        return out


_serial = itertools.count(1)


def token(prefix=""):
    return "%s%x%s" % (prefix, next(_serial), os.urandom(5).hex())


def build(start, headers, body=b""):
    lines = [start] + ["%s: %s" % h for h in headers]
    lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def response(req, status, reason="", to_tag=None, headers=(), body=b""):
    """Response to a parsed request (RFC 3261 8.2.6)."""
    out = [("Via", v) for v in req.all("via")]
    if status > 100 and status < 300:
        out += [("Record-Route", v) for v in req.all("record-route")]
    to = req.get("to")
    if to_tag and param(to, "tag") is None:
        to += ";tag=" + to_tag
    out += [("From", req.get("from")), ("To", to), ("Call-ID", req.call_id),
            ("CSeq", req.get("cseq"))]
    out += list(headers)
    return build("SIP/2.0 %d %s" % (status, reason or "Because"), out, body)


SDP = (b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
       b"m=audio 40000 RTP/AVP 0\r\n")
