# SPDX-License-Identifier: Apache-2.0
"""SIP messages, and what becomes of them in hostile hands: a function of a random generator, so that
a seed names every byte. Used by tests/flow/hostile.
"""

TOKENS = (
    b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"\xff\xfe", b"%00", b";;", b",,",
    b"<", b">", b"\"", b"\\", b"(", b"[::", b"]", b"@", b"sip:", b"sips:", b"tel:", b";lr", b";maddr=127.0.0.1",
    b";transport=carrier-pigeon", b";branch=z9hG4bK", b";tag=", b"z9hG4bK", b"SIP/2.0", b"sip/2.0",
    b"SIP/3.0", b"-1", b"0", b"4294967296", b"18446744073709551616", b"999999999999", b"0x10",
    b"Content-Length: 0\r\n", b"l: 5\r\n", b"Content-Length:\r\n 7\r\n", b"Via: ", b"v: SIP/2.0/UDP x\r\n",
    b"Route: <sip:127.0.0.1:9;lr>\r\n", b"Record-Route: <sip:x;lr>\r\n", b"Max-Forwards: 0\r\n",
    b"To: \r\n", b"CSeq: 1 ACK\r\n", b"A" * 300, b";" * 300, b"Via: SIP/2.0/TCP a;branch=z9hG4bKb\r\n" * 40)

METHODS = (b"OPTIONS", b"INVITE", b"MESSAGE", b"ACK", b"BYE", b"CANCEL", b"REGISTER", b"SUBSCRIBE",
           b"NOTIFY", b"UPDATE", b"PRACK", b"INFO", b"FOO")


class Mutator:
    """RNG decides; TARGETS are Request-URIs that lead somewhere."""

    def __init__(self, rng, targets):
        self.rng, self.targets, self.serial = rng, targets, 0

    def request(self, transport=b"TCP"):
        """One that is right."""
        r = self.rng
        self.serial += 1
        n = b"%x-%x" % (r.getrandbits(32), self.serial)
        method = r.choice(METHODS)
        body = r.randbytes(r.choice((0, 0, 0, 5, 200, 3000)))
        to_tag = b";tag=t" if r.random() < 0.3 else b""
        return (b"%s %s SIP/2.0\r\nVia: SIP/2.0/%s 127.0.0.9:9;branch=z9hG4bK%s;rport\r\n"
                b"Max-Forwards: %d\r\nFrom: <sip:a@evil.example>;tag=%s\r\nTo: <sip:b@x.example>%s\r\n"
                b"Call-ID: %s\r\nCSeq: 1 %s\r\nContact: <sip:a@127.0.0.9:9>\r\n"
                b"Content-Length: %d\r\n\r\n" % (
                    method, r.choice(self.targets), transport, n, r.choice((70, 70, 70, 1, 0)), n,
                    to_tag, n, method, len(body)) + body)

    def response(self, transport=b"TCP"):
        r = self.rng
        return (b"SIP/2.0 %d Odd\r\nVia: SIP/2.0/%s 127.0.0.1;branch=z9hG4bK%048x\r\n"
                b"Via: SIP/2.0/UDP 127.0.0.9:9;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=1\r\n"
                b"To: <sip:b@y>;tag=2\r\nCall-ID: r%x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n" % (
                    r.randrange(100, 700), transport, r.getrandbits(192), r.getrandbits(32)))

    def message(self, transport=b"TCP"):
        return self.request(transport) if self.rng.random() < 0.85 else self.response(transport)

    def spoil(self, data):
        """The same after a few changes."""
        data = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 2, 3, 8))):
            self._change(data)
        return bytes(data)

    def _change(self, data):
        r = self.rng
        at = r.randrange(len(data) + 1)
        kind = r.randrange(8)
        if kind == 0 and data:
            data[at % len(data)] = r.randrange(256)
        elif kind == 1:
            del data[at:at + r.choice((1, 1, 4, 40))]
        elif kind in (2, 3):
            data[at:at] = r.choice(TOKENS)
        elif kind == 4:                  # a line again, somewhere else
            lines = bytes(data).split(b"\r\n")
            lines.insert(r.randrange(len(lines) + 1), r.choice(lines))
            data[:] = b"\r\n".join(lines)
        elif kind == 5:                  # a line away
            lines = bytes(data).split(b"\r\n")
            del lines[r.randrange(len(lines))]
            data[:] = b"\r\n".join(lines)
        elif kind == 6:                  # a piece twice
            end = at + r.randrange(60)
            data[at:at] = data[at:end]
        else:                            # cut off
            del data[at:]

    def next(self, transport=b"TCP", spoiled=0.7):
        m = self.message(transport)
        return self.spoil(m) if self.rng.random() < spoiled else m


def dns_answer(rng, query, question, kind, real):
    """A hostile answer to QUERY: REAL records (wire form, owner compressed) turned about."""
    counts = [1, 0, 0, 0]
    records = []
    for _ in range(rng.choice((0, 1, 1, 3, 30))):
        owner = rng.choice((b"\xc0\x0c", b"\xc0\xff", b"\x03foo\x07example\0", b"\xc0\x0d", b"\x3f" + b"a" * 63,
                            b"\xff\xff", b"\0"))
        data = rng.choice(real) if real and rng.random() < 0.6 else rng.randbytes(
            rng.choice((0, 1, 4, 6, 16, 30, 300)))
        size = len(data) if rng.random() < 0.8 else rng.choice((0, 1, 5, 60000))
        t = rng.choice((kind, kind, kind, 1, 5, 28, 33, 35, 41, 255))
        ttl = rng.choice((0, 1, 60, 0xffffffff))
        records.append(owner + t.to_bytes(2, "big") + b"\0\1" + ttl.to_bytes(4, "big") +
                       size.to_bytes(2, "big") + data)
    counts[1] = len(records) if rng.random() < 0.8 else rng.randrange(65536)
    flags = rng.choice((b"\x85\x80", b"\x85\x80", b"\x87\x80", b"\x87\x80", b"\x85\x81", b"\x85\x81",
                        b"\x87\x81", b"\x85\x83", b"\x85\x82", b"\x05\x00"))
    out = bytearray(query[:2] + flags + b"".join(c.to_bytes(2, "big") for c in counts) + question +
                    b"".join(records))
    for _ in range(rng.choice((0, 0, 1, 5))):
        out[rng.randrange(2, len(out))] = rng.randrange(256)
    if rng.random() < 0.2:
        del out[rng.randrange(2, len(out)):]
    return bytes(out)
