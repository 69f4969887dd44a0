# SPDX-License-Identifier: Apache-2.0
"""Other people's programs as peers: openssl s_client and s_server, SIPp behind stunnel, Kamailio."""
import os
import re
import subprocess
import threading

from . import daemon, sip

# The scenarios of `make demo`.
SCENARIOS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                         "demo")


class Piped:
    """A program that is fed and read through pipes; what it prints is kept."""

    def __init__(self, t, argv):
        self.t = t
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT,
                                     preexec_fn=daemon._die_with_parent)
        t.procs.append(self.proc)
        self.out = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            data = os.read(self.proc.stdout.fileno(), 65536)
            if not data:
                return
            self.out += data

    def write(self, data):
        self.proc.stdin.write(data)
        self.proc.stdin.flush()

    def wait_for(self, pattern, what=None, timeout_s=None, start=0):
        """Waits until what it printed from offset START matches; returns the match."""
        rx = re.compile(pattern, re.S)
        self.t.wait(lambda: rx.search(self.out, start), what or "%r from %s; it printed: %r" % (
            pattern, self.proc.args[:2], self.out[-600:]), timeout_s)
        return rx.search(self.out, start)

    def ended(self, timeout_s=None):
        self.t.wait(lambda: self.proc.poll() is not None, "the end of %s" % self.proc.args[:2],
                    timeout_s)
        self.thread.join(5)
        return self.out


def s_client(t, d, *args, cert=None, host="127.0.0.1"):
    """openssl s_client to the daemon's TLS listener, handshake done."""
    argv = ["openssl", "s_client", "-connect", "%s:%d" % (host, d.port("tls", host)), "-CAfile",
            t.pki("ca.pem"), "-no_ign_eof"] + list(args)
    if cert:
        argv += ["-cert", t.pki(cert + ".pem"), "-key", t.pki(cert + ".key")]
    return Piped(t, argv)


def s_client_options(t, client, uri, domain="atlanta.example"):
    """An OPTIONS typed into s_client, From in DOMAIN; returns the status that comes back."""
    branch, call_id = sip.token("z9hG4bK"), sip.token("c")
    start = len(client.out)
    client.write(sip.build("OPTIONS %s SIP/2.0" % uri, [
        ("Via", "SIP/2.0/TLS 127.0.0.1:9;branch=%s;rport" % branch), ("Max-Forwards", "70"),
        ("From", "<sip:typed@%s>;tag=1" % domain), ("To", "<sip:bob@biloxi.example>"),
        ("Call-ID", call_id), ("CSeq", "1 OPTIONS")]))
    client.wait_for(rb"SIP/2\.0 [2-6]\d\d .*%s.*\r?\n\r?\n" % call_id.encode(), start=start)
    return int(re.search(rb"SIP/2\.0 ([2-6]\d\d) ", client.out[start:]).group(1))


STUNNEL = """foreground = yes
pid =
debug = err
syslog = no
[%s]
client = %s
accept = %s
connect = %s
%s
"""


def stunnel(t, client, accept, connect, extra=""):
    """stunnel between a plain and a TLS side; ACCEPT and CONNECT are host:port."""
    path = os.path.join(t.dir, "stunnel-%s.conf" % accept.rsplit(":", 1)[1])
    with open(path, "w", encoding="ascii") as f:
        f.write(STUNNEL % ("to" if client else "from", "yes" if client else "no", accept, connect,
                           extra))
    p = t.spawn([t.need("stunnel4"), path])
    host, port = accept.rsplit(":", 1)
    t.wait_port(int(port), host)
    return p


def sipp_stunnel(t, calls, make_daemon, caller="", callee=""):
    """SIPp, stunnel, tieline, stunnel, SIPp: CALLS calls, all complete. MAKE_DAEMON(port) starts the
    daemon whose next hop listens on that port; CALLER and CALLEE are options of the two stunnels.
    Returns the daemon."""
    program = t.need("sipp")
    a_in, b_tls, b_sip, a_sip = t.port(), t.port(), t.port(), t.port()
    d = make_daemon(b_tls)
    common = ["-i", "127.0.0.1", "-t", "t1", "-m", str(calls), "-nostdin", "-watchdog_interval",
              "0", "-trace_err"]
    uas = t.spawn([program, "-sf", os.path.join(SCENARIOS, "callee.xml"), "-p", str(b_sip), "-key",
                   "contact", "127.0.0.1:%d" % b_tls] + common, cwd=t.dir)
    t.wait_port(b_sip)
    stunnel(t, False, "127.0.0.1:%d" % b_tls, "127.0.0.1:%d" % b_sip,
            "cert = %s\nkey = %s\n%s" % (t.pki("callee.pem"), t.pki("callee.key"), callee))
    stunnel(t, True, "127.0.0.1:%d" % a_in, "127.0.0.1:%d" % d.port("tls"),
            "CAfile = %s\nverifyChain = yes\n%s" % (t.pki("ca.pem"), caller))
    uac = t.spawn([program, "127.0.0.1:%d" % a_in, "-sf", os.path.join(SCENARIOS, "caller.xml"),
                   "-p", str(a_sip), "-r", "50", "-timeout", "%ds" % (60 * t.slow)] + common,
                  cwd=t.dir)
    assert uac.wait(100 * t.slow) == 0, "calls failed: " + sipp_errors(t)
    assert uas.wait(30 * t.slow) == 0
    return d


def sipp_errors(t):
    """What SIPp wrote into its error files, in short."""
    out = []
    for name in sorted(os.listdir(t.dir)):
        if name.endswith("_errors.log"):
            with open(os.path.join(t.dir, name), encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()
            out += ["%s, %d lines:" % (name, len(lines))] + [x[:200] for x in lines[:12]]
    return "\n".join(out)


KAMAILIO = """#!KAMAILIO
debug=0
log_stderror=yes
memdbg=5
memlog=5
children=2
tcp_children=2
enable_tls=yes
tcp_max_connections=512
tls_max_connections=512
auto_aliases=no
listen=tls:127.0.0.1:%(port)d
mpath="%(modules)s"
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
modparam("tls", "config", "%(tls)s")
modparam("tm", "fr_timer", 10000)
request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (has_totag()) {
    if (loose_route()) { t_relay(); exit; }
    if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
    sl_send_reply("404", "Not here"); exit;
  }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  t_check_trans();
  if ($rU == "ping") { sl_send_reply("200", "Pong"); exit; }
  loose_route();
  if (is_method("INVITE|SUBSCRIBE")) record_route();
  t_relay();
}
"""

KAMAILIO_TLS = """[server:default]
method = TLSv1.2+
private_key = %(key)s
certificate = %(cert)s
[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
ca_list = %(ca)s
"""


# Both directions of mutual TLS: shows its own certificate and demands the other side's.
KAMAILIO_TLS_MUTUAL = """[server:default]
method = TLSv1.2+
private_key = %(key)s
certificate = %(cert)s
verify_certificate = yes
require_certificate = yes
ca_list = %(ca)s
[client:default]
method = TLSv1.2+
private_key = %(key)s
certificate = %(cert)s
verify_certificate = yes
require_certificate = yes
ca_list = %(ca)s
"""


# Says what it sees on stderr, one process for all connections, so in the order of the bytes.
KAMAILIO_WITNESS = """#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
listen=tcp:127.0.0.1:%(port)d
mpath="%(modules)s"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
request_route {
  xlog("L_ERR", "SAW <$ci> <$cs> <$rm> <$cl> <$bs> <$conid>\\n");
  sl_send_reply("200", "Pong");
  exit;
}
"""


def kamailio_modules(t, needed):
    modules = next((m for m in ("/usr/lib/x86_64-linux-gnu/kamailio/modules",
                                "/usr/lib/aarch64-linux-gnu/kamailio/modules")
                    if os.path.exists(os.path.join(m, needed))), None)
    if not modules:
        t.skip("Kamailio's module %s is not installed" % needed)
    return modules + "/"


class Witness:
    """A Kamailio that answers 200 to everything that comes over TCP and says what came."""

    def __init__(self, t):
        self.t, self.port = t, t.port()
        cfg = os.path.join(t.dir, "kamailio.cfg")
        with open(cfg, "w", encoding="ascii") as f:
            f.write(KAMAILIO_WITNESS % {"port": self.port,
                                        "modules": kamailio_modules(t, "xlog.so")})
        self.piped = Piped(t, [t.need("kamailio"), "-f", cfg, "-DD", "-E", "-m", "64", "-M", "8",
                               "-Y", t.dir, "-w", t.dir])
        t.wait_port(self.port)

    def saw(self, start=0):
        """Each message of what it printed from offset START: (Call-ID, CSeq, method, Content-Length,
        bytes of body, connection)."""
        out = []
        for m in re.findall(rb"SAW <(.*?)> <(.*?)> <(.*?)> <(.*?)> <(.*?)> <(.*?)>",
                            self.piped.out[start:]):
            ci, cs, method, *numbers = (x.decode("latin-1") for x in m)
            out.append((ci, int(cs), method) + tuple(int(n) if n.isdigit() else 0 for n in numbers))
        return out

    def complaints(self, start=0):
        """What it could not read."""
        return [line for line in self.piped.out[start:].splitlines()
                if b"<core>" in line and b"ERROR" in line]


def kamailio(t, tls_text=KAMAILIO_TLS):
    """A Kamailio that relays TLS to where the Request-URI points, and answers user "ping" itself;
    returns its port."""
    program, port, modules = t.need("kamailio"), t.port(), kamailio_modules(t, "tls.so")
    tls = os.path.join(t.dir, "kamailio-tls.cfg")
    with open(tls, "w", encoding="ascii") as f:
        f.write(tls_text % {"key": t.pki("callee.key"), "cert": t.pki("callee.pem"),
                                "ca": t.pki("ca.pem")})
    cfg = os.path.join(t.dir, "kamailio.cfg")
    with open(cfg, "w", encoding="ascii") as f:
        f.write(KAMAILIO % {"port": port, "modules": modules, "tls": tls})
    t.spawn([program, "-f", cfg, "-DD", "-E", "-m", "64", "-M", "8", "-Y", t.dir,
             "-w", t.dir])
    t.wait_port(port)
    return port
