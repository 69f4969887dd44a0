# SPDX-License-Identifier: Apache-2.0
"""The messages of tests/data/tricks.txt, which two parsers might read differently."""
import os
import re

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                    "data", "tricks.txt")
_BYTES = {"n": b"\r\n", "l": b"\n", "r": b"\r", "t": b"\t", "0": b"\0"}


def _bytes(text):
    out = b""
    for m in re.finditer(r"\\x([0-9a-f]{2})|\\(.)|([^\\]+)", text):
        out += bytes([int(m.group(1), 16)]) if m.group(1) else \
            _BYTES[m.group(2)] if m.group(2) else m.group(3).encode("utf-8")
    return out


class Trick:
    """One line of the table."""

    def __init__(self, name, stream, datagram, text):
        self.name, self.outcome, self.text = name, {"tcp": stream, "udp": datagram}, text

    def make(self, uri, call_id):
        """The message to URI; the one inside has the Call-ID "inside-" + CALL_ID."""
        inside = message(uri, "inside-" + call_id)
        via = "Via: SIP/2.0/TCP a.example;branch=z9hG4bK%s;rport\\n" % call_id
        others = "Max-Forwards: 70\\nFrom: <sip:a@a.example>;tag=1\\nTo: <sip:b@b.example>\\n"
        slots = {"R": "MESSAGE %s SIP/2.0\\n" % uri, "V": via, "F": others, "I": call_id,
                 "S": "1 MESSAGE", "U": uri, "L": str(len(inside)),
                 "H": via + others + "Call-ID: %s\\nCSeq: 1 MESSAGE\\n" % call_id}
        head = re.sub("%([RVFISULH])", lambda m: slots[m.group(1)], self.text)
        before, found, behind = head.partition("%E")
        return _bytes(before) + (inside if found else b"") + _bytes(behind)

    def passes(self, transport, uri, call_id):
        """What the next hop must see of it: [(Call-ID, bytes of body)]."""
        outcome = self.outcome[transport]
        if outcome == "no":
            return []
        inside = ("inside-" + call_id, 0)
        size = outcome.strip("=+").replace("L", str(len(message(uri, inside[0]))))
        return [(call_id, int(size))] + ([inside] if outcome.endswith("+") else [])


def message(uri, call_id):
    return ("MESSAGE %s SIP/2.0\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bK%s;rport\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\n"
            "Call-ID: %s\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n" % (
                uri, call_id, call_id)).encode("ascii")


def table():
    with open(PATH, encoding="utf-8") as f:
        rows = [line.rstrip("\n").split(" | ", 3) for line in f if not line.startswith("#")]
    return [Trick(*row) for row in rows]
