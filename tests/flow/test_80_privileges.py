# SPDX-License-Identifier: Apache-2.0
"""What the process may do, and who may look into it, for each way of starting: as root, as root that
becomes a user, as that user. docs/security.md, "local user".
"""
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest
from flowlib.host import TOP
from flowlib.steps import options_works

pytestmark = pytest.mark.host_only("who may do what is not the record layer's")

NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
BIND_SERVICE = 1 << 10


def statuses(pid):
    """/proc/PID/task/*/status, as dictionaries."""
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def limited(pid):
    """What one thread or another has too much, as text; "" is right."""
    out = []
    for s in statuses(pid):
        out += ["%s may %s=%s" % (s["Name"], k, s[k]) for k in ("CapPrm", "CapEff", "CapInh", "CapAmb")
                if int(s[k], 16) & ~BIND_SERVICE]
        out += ["%s can gain privileges" % s["Name"]] * (s["NoNewPrivs"] != "1")
    with open("/proc/%d/limits" % pid, encoding="ascii") as f:
        core = re.search(r"Max core file size +(\S+) +(\S+)", f.read()).groups()
    if core != ("0", "0"):
        out.append("core files of %s, %s" % core)
    return "; ".join(out)


def can_read(pid, prefix):
    """Can a process started by PREFIX read the daemon's memory?"""
    p = subprocess.run(prefix + ["head", "-c1", "/proc/%d/environ" % pid], check=False,
                       capture_output=True)
    return p.returncode == 0


def as_user(t):
    """The daemon is started by nobody and not by root."""
    program = os.path.join(t.dir, "as-user")
    with open(program, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexec %s %s \"$@\"\n" % (" ".join(NOBODY), t.options.tieline))
    os.chmod(program, 0o755)
    t.tieline = program


def works_and_is_limited(t, d):
    bob, alice = t.uas("tcp"), t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tls"), t.uri(bob, "tcp"))
    pid = d.rpc("version")["pid"]
    t.wait(lambda: not limited(pid), "a limited process: " + limited(pid))
    if not t.sanitized:                      # the leak check traces the process at its end
        assert not can_read(pid, NOBODY), "another process of the user reads its memory"
        assert not can_read(pid, ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]), \
            "a root without capabilities reads its memory"


def open_daemon(t, top, extra):
    """A daemon whose files nobody may read, in TOP."""
    os.chmod(top, 0o755)
    names = {}
    for option, name in (("certificate", "proxy.pem"), ("private_key", "proxy.key"),
                         ("ca_list", "ca.pem")):
        names[option] = shutil.copy(t.pki(name), top)
        os.chmod(names[option], 0o600)
        shutil.chown(names[option], "nobody")
    t.tieline = t.options.tieline
    d = t.daemon("open%d" % len(t.daemons), start=False, extra=extra, domain=names)
    text = d.config()
    d.config_file, socket_before = os.path.join(top, "tieline.conf"), d.socket
    d.socket = os.path.join(top, "ctl.sock")
    keys = os.path.join(d.dir, "token.keys")
    d.write(text.replace(socket_before, d.socket).replace(keys, os.path.join(top, "token.keys")))
    for path in (top, d.config_file):
        shutil.chown(path, "nobody")
    return d


def need_root(t):
    if os.geteuid() != 0:
        t.skip("only root can start it in each way")
    t.need("setpriv")


def test_s16_started_as_root(t):
    """No `user`: root without its capabilities, and unreadable for others all the same."""
    need_root(t)
    works_and_is_limited(t, t.daemon())


def test_s16_root_becomes_user(t):
    need_root(t)
    with tempfile.TemporaryDirectory() as top:
        d = open_daemon(t, top, 'user = "nobody"')
        works_and_is_limited(t, d.start())
        t.close_peers()
        d.finish()


def test_s16_started_as_user(t):
    """As a service manager does with User=: `user` names who it is already, or is not set."""
    need_root(t)
    for extra in ('user = "nobody"', ""):
        with tempfile.TemporaryDirectory() as top:
            d = open_daemon(t, top, extra)
            as_user(t)
            works_and_is_limited(t, d.start())
            t.close_peers()
            d.finish()


def test_s16_a_crash_leaves_no_core(t):
    """SIGSEGV writes no file, though the limit of who starts it is open."""
    need_root(t)
    d = t.daemon(start=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        t.skip("no core files are allowed here at all")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        d.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    t.wait(lambda: not limited(d.proc.pid), "a limited process: " + limited(d.proc.pid))
    with open("/proc/%d/coredump_filter" % d.proc.pid, encoding="ascii") as f:
        assert int(f.read(), 16) == 0, "a core file would hold memory"
    if t.sanitized:
        return                               # it answers SIGSEGV by a report of its own
    d.expect_exit = -signal.SIGSEGV
    d.proc.send_signal(signal.SIGSEGV)
    # WCOREDUMP is what the kernel says of it, wherever it would have put the file.
    _, status = os.waitpid(d.proc.pid, 0)
    d.proc.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV and not os.WCOREDUMP(status), "status %x" % status


def test_s16_unit_asks_for_little(t):
    """configs/tieline.service: an account of its own, one capability, no core files, a system call
    filter; where systemd is installed, its own judge says so too."""
    with open(os.path.join(TOP, "configs", "tieline.service"), encoding="utf-8") as f:
        unit = f.read()
    for line in ("User=tieline", "LimitCORE=0", "UMask=0077", "NoNewPrivileges=yes", "RemoveIPC=yes",
                 "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "SystemCallArchitectures=native",
                 "RestrictNamespaces=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes",
                 "ProtectProc=invisible", "ProtectHostname=yes", "ProtectClock=yes",
                 "SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register"):
        assert re.search("^%s$" % re.escape(line), unit, re.M), "the unit lacks " + line
    with open(os.path.join(TOP, "configs", "tieline.sysusers"), encoding="utf-8") as f:
        assert re.search("^u tieline ", f.read(), re.M), "nobody makes the account"
    judge = shutil.which("systemd-analyze")
    if not judge:
        return
    path = os.path.join(t.dir, "tieline.service")
    with open(path, "w", encoding="utf-8") as f:
        f.write(unit.replace("@PREFIX@", "/usr"))
    p = subprocess.run([judge, "security", "--offline=true", "--threshold=25", path], check=False,
                       capture_output=True, text=True)
    assert p.returncode == 0 or "Unknown" in p.stderr, p.stdout[-300:] + p.stderr


def test_s16_branches_are_checked(t):
    """-fcf-protection=full: places that may be jumped to are marked (endbr64), which the compiler does
    only then."""
    if os.uname().machine != "x86_64":
        t.skip("IBT is x86-64's")
    with open(t.options.tieline, "rb") as f:
        marks = f.read().count(b"\xf3\x0f\x1e\xfa")
    if t.sanitized:
        t.skip("a sanitizer's build is not hardened")
    assert marks > 100, "only %d marks" % marks



def limited_to(t, program, locked):
    """PROGRAM is started with so much locked memory, SOFT:HARD."""
    script = os.path.join(t.dir, "limited")
    with open(script, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexec prlimit --memlock=%s %s \"$@\"\n" % (locked, program))
    os.chmod(script, 0o755)
    return script


def test_s16_locked_memory(t):
    """io_uring's rings count against RLIMIT_MEMLOCK, as root's capabilities are gone by then: the limit
    is raised as far as it may be, and where that is too little the start says what is."""
    need_root(t)
    t.need("prlimit")
    program = t.tieline
    t.tieline = limited_to(t, program, "65536:")
    d = t.daemon()
    with open("/proc/%d/limits" % d.rpc("version")["pid"], encoding="ascii") as f:
        soft, hard = re.search(r"Max locked memory +(\S+) +(\S+)", f.read()).groups()
    assert soft == hard, (soft, hard)
    with tempfile.TemporaryDirectory() as top:
        poor = open_daemon(t, top, "")
        t.tieline = limited_to(t, " ".join(NOBODY + [program]), "65536:65536")
        p = subprocess.run([t.tieline, "run", "-c", poor.config_file], check=False,
                           capture_output=True, text=True, timeout=30 * t.slow)
    assert p.returncode == 1 and "LimitMEMLOCK" in p.stderr, p.stderr
