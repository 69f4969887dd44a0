# SPDX-License-Identifier: Apache-2.0
"""Command line, configuration, reload, control socket, signals, service manager.

Issue items 2.4, 2.5, 2.10, 2.12; PITFALLS 1-3 (reload).
"""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from flowlib import net
from flowlib.steps import options_works, pattern
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("command line, configuration and control socket")


def tool(t, *args, environ=None):
    return subprocess.run([t.tieline] + list(args), capture_output=True, text=True, check=False,
                          timeout=60 * t.slow, env=dict(os.environ, **(environ or {})))


def test_2_4_version_and_help(t):
    p = tool(t, "--version")
    assert p.returncode == 0 and "tieline" in p.stdout and "openssl" in p.stdout.lower(), p
    p = tool(t, "--help")
    assert p.returncode == 0 and all(w in p.stdout for w in ("run", "check", "probe", "ctl")), p
    p = tool(t, "no-such-command")
    assert p.returncode not in (0, 1) or p.stderr, p


@pytest.mark.kernel_tls
def test_d21_2_4_probe(t):
    """probe tells kernel, OpenSSL and io_uring, and the truth about kernel TLS."""
    p = tool(t, "probe")
    text = p.stdout
    assert os.uname().release in text and "OpenSSL" in text and "io_uring" in text, p
    assert "CHACHA20-POLY1305" in text and "AES-256-GCM" in text, p
    assert p.returncode == (0 if t.kernel_tls else 1), p
    if not t.kernel_tls:
        assert "modprobe tls" in text or "CONFIG_TLS" in text, text


def check_conf(t, text, **kw):
    path = os.path.join(t.dir, "c%d.conf" % len(os.listdir(t.dir)))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    p = tool(t, "check", "-c", path, **kw)
    return p, path


def test_2_5_check_good(t):
    """check prints the resolved configuration, and what it prints is a configuration again."""
    d = t.daemon(start=False)
    p = tool(t, "check", "-c", d.config_file)
    assert p.returncode == 0, p
    assert "tls_domain" in p.stdout and "timer_b" in p.stdout, p.stdout
    again, _ = check_conf(t, p.stdout)
    assert again.returncode == 0, again
    first = [x.stdout.split("\n", 1)[1] for x in (p, again)]    # line 1 names the file
    assert first[0] == first[1]


def test_2_5_check_errors(t):
    """Mistakes are told as file:line: sentence, with the nearest known name, exit status 1."""
    d = t.daemon(start=False)
    good = d.config()
    for line, want in (("handshakerz = 1", "handshakers"),
                       ("route \"r\" { pears = { \"x\" } }", "peers"),
                       ("listen \"sctp:127.0.0.1:5060\" {}", "sctp"),
                       ("route \"r\" { peers = { \"nobody\" } }", "nobody"),
                       ("timeouts { drain = 5parsecs }", "parsecs"),
                       ("peer \"p\" { uri = \"http://x\" }", "http"),
                       ("workers = many", "workers"),
                       ("tls_domain \"d\" { certificate = \"/nonexistent.pem\" "
                        "private_key = \"/nonexistent.key\" verify_cert = false "
                        "require_cert = false }", "nonexistent")):
        p, path = check_conf(t, good + line + "\n")
        where = "%s:%d: " % (path, good.count("\n") + 1)
        said = p.stderr + p.stdout
        assert p.returncode == 1, (line, p)
        assert where in said, "%s: no %s in: %s" % (line, where, said)
        assert want in said, "%s: no %r in: %s" % (line, want, said)


def test_2_5_bad_config_at_start(t):
    """run with a bad configuration: exit 1 and file:line."""
    d = t.daemon(start=False)
    d.write(d.config() + "no_such_option = 1\n")
    p = tool(t, "run", "-c", d.config_file)
    assert p.returncode == 1 and d.config_file + ":" in p.stderr, p
    p = tool(t, "run", "-c", os.path.join(t.dir, "absent.conf"))
    assert p.returncode == 1 and "absent.conf" in p.stderr, p


def test_2_5_include_and_environment(t):
    """include, relative file names and ${NAME} as DESIGN.md 5 has them."""
    d = t.daemon(start=False)
    text = d.config()
    with open(os.path.join(d.dir, "rest.conf"), "w", encoding="utf-8") as f:
        f.write(text.replace(t.options.pki, "${PKI_HERE}"))
    d.write("include(\"rest.conf\")\n")
    d.start(environ={"PKI_HERE": t.options.pki})
    alice, bob = t.uac(), t.uas("tls")
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))


@pytest.mark.kernel_tls
def test_2_5_issue_sample(t):
    """The configuration of the issue, word for word but for ports and paths, serves."""
    d = t.daemon(start=False)
    for f in ("proxy.pem", "proxy.key", "ca.pem"):
        os.symlink(t.pki(f), os.path.join(d.dir, f))
    d.ports = {(tr, "127.0.0.1"): t.port() for tr in ("tls", "tcp")}
    d.ports[("udp", "127.0.0.1")] = d.ports[("tcp", "127.0.0.1")]
    d.write("""listen "tls:127.0.0.1:%d" { tls_domain = "lab" }
listen "tcp:127.0.0.1:%d" {}
listen "udp:127.0.0.1:%d" {}
control_socket = "%s"
tls_domain "lab" {
  certificate = "proxy.pem"   private_key = "proxy.key"   ca_list = "ca.pem"
  verify_cert = false   require_cert = false
}
route "all" { relay = "request-uri" tls_domain = "lab" }
""" % (d.port("tls"), d.port("tcp"), d.port("udp"), d.socket))
    d.start(args=["--workers", "1", "--handshakers", "1"])
    version = d.rpc("version")
    assert version["workers"] == 1 and version["handshakers"] == 1, version
    bobs = [t.uas("tls", name="bob%d" % i) for i in range(4)]
    alice = t.uac()
    conn = t.dial(alice, d, "tls")
    for bob in bobs:
        rsp = alice.request(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(5000))
        assert rsp.status == 200 and rsp.body == pattern(5000)


def test_2_10_socket_mode(t):
    """The control socket is for its owner alone and goes away with the daemon."""
    d = t.daemon()
    mode = os.stat(d.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, oct(mode)
    assert d.stop() == 0
    assert not os.path.exists(d.socket)


@pytest.mark.kernel_tls
def test_2_10_commands(t):
    """Every command answers, as a table and as JSON, and tells what has happened."""
    d = t.daemon(peers=[("bob", {"uri": "sip:127.0.0.1:9;transport=tls", "tls_domain": "lab"})],
                 routes=[("all", {"relay": "request-uri", "tls_domain": "lab"})])
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    assert Call(alice, conn, t.uri(bob, "tls")).answered().bye().status == 200
    out = {}
    for command in ("stats", "connections", "peers", "tls_list", "version"):
        out[command] = json.loads(d.ctl(command, "--json").stdout)
        table = d.ctl(command).stdout
        assert len(table.splitlines()) >= 2 and "{" not in table, table
    count = out["stats"]["counters"]
    assert count["requests.INVITE"] == 1 and count["requests.BYE"] == 1, count
    trying = count["responses.local.1xx"]       # a slow machine has the proxy send a 100
    assert count["messages.in.tls"] == 6 and count["messages.out.tls"] == 6 + trying, count
    assert count["handshakes.ok"] == 2 and count["connections.now"] == 2, count
    conns = {c["direction"]: c for c in out["connections"]["connections"]}
    assert set(conns) == {"in", "out"}, conns
    assert conns["in"]["peer"].endswith(":%d" % conn.local[1]), conns["in"]
    assert conns["in"]["messages_in"] == 3 and conns["out"]["messages_out"] == 3, conns
    assert out["peers"]["peers"][0]["name"] == "bob"
    lab = out["tls_list"]["domains"][0]
    assert lab["name"] == "lab" and "proxy.example" in lab["subject"] and lab["serial"], lab
    assert out["version"]["version"] in tool(t, "--version").stdout


def test_2_10_protocol_errors(t):
    """JSON-RPC 2.0: parse error, invalid request, unknown method, bad parameter; the line after
    each still works."""
    d = t.daemon()
    for line, code in (("{nonsense", -32700), ("[1,2]", -32600), ('{"id":1}', -32600),
                       ('{"jsonrpc":"2.0","id":1,"method":"frobnicate"}', -32601),
                       ('{"jsonrpc":"2.0","id":1,"method":"log","params":{"level":"loud"}}',
                        -32602)):
        assert d.rpc_raw(line)["error"]["code"] == code, line
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(d.socket)
        s.settimeout(20 * t.slow)
        s.sendall(b'bad\n{"jsonrpc":"2.0","id":"x","method":"version"}\n')
        f = s.makefile()
        assert json.loads(f.readline())["error"]["code"] == -32700
        assert json.loads(f.readline())["id"] == "x"
    assert d.ctl("frobnicate", check=False).returncode == 1
    assert tool(t, "ctl", "-s", os.path.join(t.dir, "absent.sock"), "stats").returncode == 2


def test_2_10_slow_and_greedy_clients(t):
    """A client that never reads, one that never ends its line and forty idle ones: others are
    answered, SIP goes on."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    mute = socket.socket(socket.AF_UNIX)
    mute.connect(d.socket)
    mute.setblocking(False)
    try:
        for _ in range(2000):
            mute.send(b'{"jsonrpc":"2.0","id":1,"method":"stats"}\n')
    except OSError:
        pass
    endless = socket.socket(socket.AF_UNIX)
    endless.connect(d.socket)
    endless.setblocking(False)
    try:
        for _ in range(64):
            endless.send(b"x" * 4096)
    except OSError:
        pass
    options_works(t, d, alice, conn, t.uri(bob, "tls"))
    assert d.rpc("version")["workers"] == 2
    mute.close()
    endless.close()
    assert d.rpc("version")["workers"] == 2


def test_2_10_log_level(t):
    """ctl log shows and sets the level."""
    d = t.daemon()
    assert "info" in d.ctl("log").stdout
    d.ctl("log", "debug")
    assert json.loads(d.ctl("log", "--json").stdout)["level"] == "debug"
    d.ctl("log", "info")


def test_2_12_log_formats(t):
    """key=value and JSON; network text cannot forge a line."""
    for fmt in ("kv", "json"):
        d = t.daemon(extra='log_format = "%s"' % fmt)
        with socket.create_connection(("127.0.0.1", d.port("tcp"))) as s:
            s.sendall(b"GET /\nlevel=error msg=forged HTTP/1.1\r\n\r\n")
            s.recv(1)
        t.wait(lambda: d.counter("bad.protocol") == 1, "the closed connection")
        assert d.stop() == 0
        lines = [x for x in d.log().splitlines() if x]
        # what the configuration itself is warned about comes before its format is known
        lines = lines[next(i for i, x in enumerate(lines) if "Started." in x):]
        assert len(lines) >= 3, lines
        for line in lines:
            if fmt == "json":
                assert {"level", "msg"} <= set(json.loads(line)), line
            else:
                assert "level=" in line and "msg=" in line, line
            assert not line.startswith("level=error msg=forged"), line


@pytest.mark.kernel_tls
@pytest.mark.timeout(120)
def test_b16_reload_good(t):
    """SIGHUP and ctl reload take over new certificate, route and listener; running connections and
    calls stay."""
    keep = 'reload_drain = "keep"'
    d = t.daemon(extra=keep)
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    call = Call(alice, conn, t.uri(bob, "tls")).answered()
    serial = d.rpc("tls_list")["domains"][0]["serial"]
    d.configure(domain={"certificate": t.pki("proxy-rsa.pem"),
                        "private_key": t.pki("proxy-rsa.key")},
                hosts=("127.0.0.1", "::1"), extra=keep)
    reply = d.rpc("reload")
    change = [x for x in reply["domains"] if x["name"] == "lab"][0]
    assert change["serial_before"] == serial and change["serial_after"] != serial, reply
    assert d.rpc("tls_list")["domains"][0]["serial"] == change["serial_after"]
    fresh = t.dial(alice, d, "tls", ctx=t.client_ctx())
    from_v6 = t.dial(alice, d, "tls", "::1")
    for c in (conn, fresh, from_v6):
        options_works(t, d, alice, c, t.uri(bob, "tls"))
    d.configure(domain={}, extra=keep)
    d.proc.send_signal(signal.SIGHUP)
    t.wait(lambda: d.counter("reloads.ok") == 2, "the reload by SIGHUP")
    assert d.rpc("tls_list")["domains"][0]["serial"] == serial
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))
    t.wait(lambda: refused(d.port("tls", "::1"), "::1"), "the removed listener to close")
    assert call.bye().status == 200
    d.fds_at_start = None
    d.settle = lambda timeout_s=None: settle_without_fds(t, d)


def test_b16_reload_tells_what_changed(t):
    """Any option counts: of peers and routes, of listeners, and of those that stand once."""
    uri = {"uri": "sip:127.0.0.1:9;transport=tcp"}

    def conf(peers, routes, extra):
        return {"extra": extra, "peers": [(n, dict(uri, **p)) for n, p in peers.items()],
                "routes": [(n, dict({"peers": "kept"}, **r)) for n, r in routes.items()]}
    d = t.daemon(**conf({"kept": {}, "bound": {}, "gone": {}}, {"a": {}, "b": {}}, ""))
    d.configure(**conf({"kept": {}, "bound": {"max_calls": 5}, "new": {}},
                       {"a": {"to_prefix": "+1"}, "c": {}},
                       "server_header = false\nlimits { max_kept = 9000000 }\n"))
    r = d.rpc("reload")

    def changes(kind):
        return {x["name"]: x["change"] for x in r[kind]}
    assert changes("peers") == {"kept": "same", "bound": "changed", "new": "added",
                                "gone": "removed"}, r
    assert changes("routes") == {"a": "changed", "c": "added", "b": "removed"}, r
    assert set(changes("listeners").values()) == {"same"}, r
    assert r["options"] == ["server_header", "limits.max_kept"], r
    out = d.ctl("reload").stdout
    assert re.search(r"^route +c +same", out, re.M) and "Options" not in out, out


def test_b16_a_handshake_across_a_reload_keeps_its_listener(t):
    """What comes on it is recorded by the listener that it was accepted on, not by the first one."""
    hosts = ("127.0.0.1", "127.0.0.2")
    d = t.daemon(hosts=hosts)
    alice, bob = t.uac(), t.uas("tls")
    sock = socket.create_connection(("127.0.0.2", d.port("tls", "127.0.0.2")))
    t.wait(lambda: d.counter("handshakes.now") == 1, "the handshake to begin")
    d.configure(hosts=hosts, extra="limits { max_kept = 9000000 }")
    d.ctl("reload")
    conn = net.Stream(sock, t.client_ctx()).handshake(20 * t.slow).start(alice._on_msg)
    alice.conns.append(conn)
    Call(alice, conn, t.uri(bob, "tls")).answered()
    named = bob.next_request("INVITE")[1].all("record-route")
    assert any("127.0.0.2:%d" % d.port("tls", "127.0.0.2") in r for r in named), named


def refused(port, host):
    try:
        socket.create_connection((host, port), 5).close()
        return False
    except OSError:
        return True


def settle_without_fds(t, d):
    """Listeners came and went: gauges only."""
    t.wait(lambda: not any(d.counters()[g] for g in d.GAUGES), "the daemon to come to rest", 45)


def test_b16_reload_bad(t):
    """Bad configurations are refused whole with file:line, the old one serves on, and a good one is
    taken afterwards."""
    d = t.daemon()
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    good = d.config()
    serial = d.rpc("tls_list")["domains"][0]["serial"]
    bad = (good + "what_is_this = 1\n", good.replace("proxy.key", "client.key"),
           good.replace("proxy.pem", "absent.pem"), good.replace("workers = 2", "workers = 3"),
           good + 'route "r" { peers = { "x" } }\n', "", good[:len(good) // 2])
    for i, text in enumerate(bad, 1):
        d.write(text)
        p = d.ctl("reload", check=False)
        assert p.returncode == 1, (i, p)
        assert d.config_file + ":" in p.stdout + p.stderr or not text, (i, p)
        assert d.counter("reloads.failed") == i
        assert d.rpc("tls_list")["domains"][0]["serial"] == serial
        options_works(t, d, alice, conn, t.uri(bob, "tls"))
        options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))
    d.write(good)
    assert d.ctl("reload").returncode == 0
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tls"))


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_b16_reload_under_traffic(t):
    """100 reloads, good and bad, while calls run: no request lost, no connection closed, memory
    stays."""
    d = t.daemon(peers=[("p%d" % i, {"uri": "sip:127.0.0.1:%d;transport=tls" % (9000 + i),
                                     "tls_domain": "lab"}) for i in range(50)])
    alice, bob = t.uac(), t.uas("tls")
    conn = t.dial(alice, d, "tls")
    stop, problems, done = threading.Event(), [], [0]

    def traffic():
        try:
            while not stop.is_set():
                assert Call(alice, conn, t.uri(bob, "tls")).answered().bye().status == 200
                done[0] += 1
        except BaseException as e:
            problems.append(repr(e))
    th = threading.Thread(target=traffic)
    th.start()
    good, rss = d.config(), 0
    for i in range(100):
        d.write(good + "oops = 1\n" if i % 5 == 3 else good)
        reply = d.ctl("reload", check=False) if i % 10 == 0 else d.rpc_raw(
            '{"jsonrpc":"2.0","id":1,"method":"reload"}')
        if i % 10:
            assert ("error" in reply) == (i % 5 == 3), (i, reply)
        if i == 30:
            rss = d.rss_kb()
    stop.set()
    th.join()
    assert not problems, problems
    assert done[0] > 5, "only %d calls ran" % done[0]
    assert d.counter("reloads.ok") == 80 and d.counter("reloads.failed") == 20
    assert not conn.closed.is_set() and bob.listener("tls").accepted == 1
    t.check_growth(d, rss, 4096)


@pytest.mark.kernel_tls
def test_2_4_sigterm_drains(t):
    """SIGTERM under load: requests on the way are answered, new connections refused, exit 0."""
    d = t.daemon(timeouts={"drain": t.ms(20000)})
    alice, bob = t.uac(), t.uas("tls", silent=True)
    conn = t.dial(alice, d, "tls")
    made = [alice.make(conn, "MESSAGE", t.uri(bob, "tls"), body=pattern(500, i))
            for i in range(50)]
    for _, key in made:
        alice.expect(key)
    conn.send(b"".join(data for data, _ in made))
    waiting = [bob.next_request("MESSAGE") for _ in made]
    d.proc.send_signal(signal.SIGTERM)
    t.wait(lambda: refused(d.port("tls"), "127.0.0.1"), "the listener to close")
    assert d.alive()
    for where, req in waiting:
        bob.reply(where, req, 200)
    for _, key in made:
        assert alice.final(key).status == 200
    assert d.proc.wait(30 * t.slow) == 0


@pytest.mark.kernel_tls
def test_2_4_sigterm_deadline(t):
    """What cannot be drained does not keep the daemon beyond its drain time."""
    d = t.daemon(timeouts={"drain": t.ms(1000)})
    alice, bob = t.uac(), t.uas("tls", silent=True)
    conn = t.dial(alice, d, "tls")
    conn.send(alice.make(conn, "INVITE", t.uri(bob, "tls"))[0])
    bob.next_request("INVITE")
    began = time.monotonic()
    assert d.stop() == 0
    assert time.monotonic() - began < 8 * t.slow


def test_2_4_systemd_notify(t):
    """READY=1 when it serves, RELOADING=1 and READY=1 around a reload, STOPPING=1 at the end."""
    d = t.daemon(start=False)
    path = os.path.join(t.dir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(20 * t.slow)
        d.start(environ={"NOTIFY_SOCKET": path})

        def until(word):
            seen = []
            while not seen or word not in seen[-1]:
                seen.append(s.recv(4096).decode())
            return seen
        until("READY=1")
        d.proc.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        assert d.stop() == 0
        until("STOPPING=1")


def test_2_4_ports_in_use(t):
    """A listener that cannot be bound: exit 1 with the address, no half-started daemon."""
    with socket.socket() as s:
        port = t.port()
        s.bind(("127.0.0.1", port))
        s.listen(1)
        d = t.daemon(start=False)
        d.write(d.config() + 'listen "tcp:127.0.0.1:%d" {}\n' % port)
        p = tool(t, "run", "-c", d.config_file)
    assert p.returncode == 1 and "127.0.0.1:%d" % port in p.stderr, p
