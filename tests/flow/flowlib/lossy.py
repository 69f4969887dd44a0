# SPDX-License-Identifier: Apache-2.0
"""A way for datagrams on which chosen messages get lost, each a first time and never again."""
from . import net


class Way:
    """Carries datagrams from and to whoever writes to PORT, on to 127.0.0.1:TARGET.

    LOSES(call_id, what) tells whether the first message of this kind is lost, WHAT being
    "INVITE", "180 INVITE", "200 BYE". Repeats of it pass."""

    def __init__(self, t, port, target, loses):
        self.loses, self.seen, self.lost = loses, set(), []
        self.origin = None
        self.far = net.Udp("127.0.0.1", 0, self._back)
        self.near = net.Udp("127.0.0.1", port, self._forth)
        self.target = self.far.flow("127.0.0.1", target)
        t.agents += [self.near, self.far]

    def _gone(self, msg):
        what = " ".join(([str(msg.status)] if msg.status else []) + [msg.cseq[1]])
        first = (msg.call_id, what) not in self.seen
        self.seen.add((msg.call_id, what))
        if not first or not self.loses(msg.call_id, what):
            return False
        self.lost.append((msg.call_id, what))
        return True

    def _forth(self, flow, msg):
        self.origin = flow
        if not self._gone(msg):
            self.target.send(msg.raw)

    def _back(self, _, msg):
        if not self._gone(msg):
            self.origin.send(msg.raw)
