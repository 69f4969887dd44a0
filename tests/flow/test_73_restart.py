# SPDX-License-Identifier: Apache-2.0
"""What outlives the process: the keys of our Record-Route, and with them the calls that are up."""
import os
import re
import stat
import subprocess
import time

import pytest
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("tokens are the same whatever carries them")

WAYS = [("tcp", "udp"), ("udp", "tcp"), ("tls", "tls"), ("tls", "tcp")]


def key_file(d):
    return os.path.join(d.dir, "token.keys")


def lines_of(d):
    with open(key_file(d), encoding="ascii") as f:
        return [line for line in f if not line.startswith("#")]


class Pair:
    """A caller and a callee, either of whom can be called upon at its own address, through a route
    that takes no Route of others: only our token lets their BYE pass."""

    def __init__(self, t, d, ways, alice, bob):
        self.t, self.d, self.ways, self.alice, self.bob = t, d, ways, alice, bob
        self.dial()

    def dial(self):
        self.caller = self.t.dial(self.alice, self.d, self.ways[0])
        self.callee = self.t.dial(self.bob, self.d, self.ways[1])


def pairs_of(t, extra=""):
    """One daemon with a pair for each way, apart by the prefix that is called."""
    ends = [(t.uas(w[0], name="alice"), t.uas(w[1])) for w in WAYS]
    peers, routes = [], []
    for i, (w, (alice, bob)) in enumerate(zip(WAYS, ends)):
        peers.append(("callee%d" % i, {"uri": t.uri(bob, w[1]).replace("bob@", ""),
                                       **({"tls_domain": "lab"} if w[1] == "tls" else {})}))
        routes.append(("way%d" % i, {"to_domain": ["far%d.example" % i],
                                     "peers": ["callee%d" % i]}))
    d = t.daemon(peers=peers, routes=routes, extra=extra)
    return d, [Pair(t, d, w, a, b) for w, (a, b) in zip(WAYS, ends)]


def calls_up(pairs, each):
    """EACH calls of each pair: (pair, the caller's side, the callee's side)."""
    up = []
    for i, p in enumerate(pairs):
        for _ in range(each):
            call = Call(p.alice, p.caller, "sip:carol@far%d.example" % i).answered()
            up.append((p, call, p.bob.dialogs[call.call_id]))
    return up


def end_calls(up, want=200):
    """Callers and callees in turn hang up, each on a connection of now."""
    for i, (p, call, other) in enumerate(up):
        side, conn = (call, p.caller) if i % 2 else (other, p.callee)
        rsp = side.request("BYE", conn)
        assert rsp.status == want, "%s, by the %s: %r" % (
            p.ways, "caller" if i % 2 else "callee", rsp)


@pytest.mark.timeout(150)
def test_f24_a_hundred_calls_outlive_a_restart(t):
    """100 calls are up, the daemon is stopped and started: either side changes the session and hangs
    up as if nothing had been."""
    d, pairs = pairs_of(t)
    up = calls_up(pairs, 25)
    assert len(up) == 100
    d.restart()
    for p in pairs:
        p.dial()
    for p, call, other in up[::10]:
        assert call.request("INVITE", p.caller).status == 200
        call.ack(p.caller)
        assert other.request("INFO", p.callee).status == 200
    end_calls(up)
    assert d.counter("requests.BYE") == 100


def test_f24_without_the_keys_calls_do_not(t):
    """The same with another process's keys: nobody's token lets anything in."""
    d, pairs = pairs_of(t)
    up = calls_up(pairs, 2)
    assert d.stop() == 0
    os.unlink(key_file(d))
    d.start()
    for p in pairs:
        p.dial()
    end_calls(up, 403)


def test_f24_keys_change_under_calls(t):
    """A second key signs from its time on, without a reload at that time; calls under the first one
    go on, also behind a restart. When that key is taken out they do not."""
    d, pairs = pairs_of(t)
    assert stat.S_IMODE(os.stat(key_file(d)).st_mode) == 0o600
    up = calls_up(pairs, 2)
    first = up[0][1].routes[0]
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    said = subprocess.run([t.options.tieline, "pki", "token-key", "--file", key_file(d), "--from",
                           begin], capture_output=True, text=True, check=True)
    assert begin in said.stdout and "key 2" in said.stdout, said.stdout
    d.rpc("reload")
    t.wait(lambda: token_of(calls_up(pairs[:1], 1)[0][1])[0] == "2", "the second key to sign")
    assert token_of(up[0][1])[0] == "1", first
    end_calls(up[:4])
    d.restart()
    for p in pairs:
        p.dial()
    end_calls(up[4:6])
    kept = [line for line in lines_of(d) if not line.startswith("key 1")]
    with open(key_file(d), "w", encoding="ascii") as f:
        f.writelines(kept)
    d.rpc("reload")
    end_calls(up[6:], 403)


def token_of(call):
    return call.routes[0].split(";tl=")[1].split(";")[0].rstrip(">")


def test_f24_key_file_that_cannot_be_used(t):
    """check and reload name file, line and cause, and the old keys stay; a start fails."""
    d, pairs = pairs_of(t)
    up = calls_up(pairs[:1], 2)
    good = open(key_file(d), encoding="ascii").read()
    for text, mode, want in (
            (good, 0o640, "is open to others than its owner: chmod 600"),
            (good + "key 1 2026-01-01T00:00:00Z " + "0" * 32 + "\n", 0o600,
             "token.keys:%d: " % (good.count("\n") + 1)),
            ("", 0o600, "it has no seed")):
        with open(key_file(d), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(key_file(d), mode)
        refused = d.ctl("reload", check=False)
        assert refused.returncode and want in refused.stdout + refused.stderr, refused
        assert "0" * 32 not in refused.stdout + refused.stderr + d.log()
        check = subprocess.run([t.options.tieline, "check", "-c", d.config_file],
                               capture_output=True, text=True, check=False)
        assert check.returncode and want in check.stdout + check.stderr, check
    os.unlink(key_file(d))
    refused = d.ctl("reload", check=False)
    assert refused.returncode and "there is no file" in refused.stdout + refused.stderr, refused
    end_calls(up)
    with open(key_file(d), "w", encoding="ascii") as f:
        f.write(good)
    os.chmod(key_file(d), 0o600)
    d.rpc("reload")


def without_key_file(t, **conf):
    """A daemon, not started, whose keys are where the default says."""
    d = t.daemon(start=False, **conf)
    d.write(re.sub(r"(?m)^key_file = .*$", "", d.config()))
    return d


def test_f24_the_state_directory_of_a_unit(t):
    """Without key_file the keys are in the first directory of STATE_DIRECTORY, also those that
    `tieline pki token-key` adds."""
    d = without_key_file(t)
    mine, other = os.path.join(t.dir, "mine"), os.path.join(t.dir, "other")
    os.mkdir(mine)
    os.mkdir(other)
    environ = {"STATE_DIRECTORY": mine + ":" + other}
    d.start(environ=environ)
    assert os.listdir(mine) == ["token.keys"] and os.listdir(other) == []
    said = subprocess.run([t.tieline, "pki", "token-key"], capture_output=True, text=True, check=True,
                          env={**os.environ, **environ})
    assert said.stdout.startswith(mine + "/token.keys: key 2, which"), said.stdout
    d.rpc("reload")
    assert d.ctl("show", "config").stdout.count('key_file = "%s/token.keys"' % mine) == 1
    assert "will not outlive" not in d.log()


def test_f24_where_no_file_can_be(t):
    """A key_file that cannot be made ends the start when it is set."""
    d = t.daemon(start=False, extra='key_file = "/proc/none/token.keys"')
    p = subprocess.run([t.options.tieline, "run", "-c", d.config_file], capture_output=True, text=True,
                       timeout=30 * t.slow, check=False)
    assert p.returncode and "key_file /proc/none/token.keys: it cannot be made" in p.stderr, p


def test_f24_tokens_tell_nothing_of_the_keys(t):
    """No key, nor the seed, in the log or in what the control socket shows."""
    d, pairs = pairs_of(t)
    end_calls(calls_up(pairs, 1))
    secrets = [line.split()[-1] for line in lines_of(d)]
    assert len(secrets) == 2 and all(len(s) == 32 for s in secrets)
    shown = d.log() + d.ctl("show", "config").stdout + d.ctl("stats", "all").stdout
    assert not [s for s in secrets if s in shown]
