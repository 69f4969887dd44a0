# SPDX-License-Identifier: Apache-2.0
"""What an operator can do wrong with certificates, keys, authorities and revocation lists: `tieline
check` names file, line and cause, a reload refuses with the same words, and the daemon goes on with
what it had.

Issue 4, "What bad input gets"; FEATURES D6, F11.
"""
import os
import re
import shutil
import subprocess

import pytest
from flowlib.certs import Authority
from flowlib.steps import options_works

pytestmark = pytest.mark.host_only("files and sentences, no records")


def spoil(t, ca, name):
    """The files that the mistakes below need."""
    def path(file):
        return ca.path(file)
    with open(path("empty.pem"), "w", encoding="ascii"):
        pass
    with open(path("prose.pem"), "w", encoding="ascii") as f:
        f.write("not a certificate at all\n")
    shutil.copy(ca.key(name), path("open.key"))
    os.chmod(path("open.key"), 0o644)
    other = Authority(t, "other", ca.dir)
    other.leaf("stranger", "stranger.example")
    # its issuer bears the name of ours and has another key
    Authority(t, "forged", ca.dir, "Lab CA").crl()
    return path


def mistakes(t, path):
    """(what, options that replace those of the domain, what the sentence must say)."""
    return (
        ("no key", {"private_key": None}, r"0 private keys|private_key"),
        ("another's key", {"private_key": path("stranger.key")}, r"(?i)stranger\.key|match"),
        ("no such file", {"certificate": path("absent.pem")}, r"absent\.pem.*No such file"),
        ("expired", {"certificate": t.pki("expired.pem"), "private_key": t.pki("expired.key")},
         r"expired\.pem.*expired"),
        ("empty authorities", {"ca_list": path("empty.pem")}, r"empty\.pem"),
        ("authorities that are prose", {"ca_list": path("prose.pem")}, r"prose\.pem"),
        ("forged revocation list", {"crl_file": path("forged.crl")}, r"forged\.crl.*not signed"),
        ("no revocation list", {"crl_file": path("absent.crl")}, r"absent\.crl.*No such file"),
        ("key for all to read", {"private_key": path("open.key")}, r"open\.key.*(0644|others|mode)"),
        ("contradiction", {"verify_cert": False, "require_cert": True}, r"contradict"),
        ("nobody trusted", {"ca_list": None}, r"ca_list"),
        ("broken versions", {"tls_method": "TLSv1_1"}, r"TLSv1_1|1\.1"),
        ("NULL cipher", {"ciphers_list": "NULL-SHA256"}, r"NULL-SHA256"),
        ("CBC cipher", {"ciphers_list": "ECDHE-ECDSA-AES128-SHA256"}, r"ECDHE-ECDSA-AES128-SHA256"),
        ("unknown group", {"groups": "P-257"}, r"P-257"),
    )


def domain_line(text):
    """(first, last) line of the TLS domain's block."""
    lines = text.split("\n")
    first = next(i for i, x in enumerate(lines) if x.startswith("tls_domain "))
    return first + 1, next(i for i, x in enumerate(lines) if i > first and x == "}") + 1


def check(t, d, text, says):
    """`tieline check` refuses: exit status 1, file and a line inside of the domain, the cause."""
    with open(d.config_file, "w", encoding="utf-8") as f:
        f.write(text)
    p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                       timeout=60 * t.slow, check=False)
    assert p.returncode == 1, p
    found = re.search(r"^%s:(\d+): (.*)$" % re.escape(d.config_file), p.stderr, re.M)
    assert found, p.stderr
    first, last = domain_line(text)
    assert first <= int(found.group(1)) <= last, (p.stderr, first, last)
    assert re.search(says, found.group(2)), "%r not in: %s" % (says, p.stderr)
    return found.group(0)


def reload_refused(d, sentence):
    p = d.ctl("reload", check=False)
    assert p.returncode == 1 and sentence in p.stdout + p.stderr, (sentence, p)


@pytest.mark.timeout(150)
def test_f11_d6_bad_files_are_refused_by_check_and_reload(t):
    """Each mistake by itself: check and reload say where and why, calls go on, and the good file is
    taken at the end."""
    ca = Authority(t, "ca", os.path.join(t.dir, "pki"), "Lab CA")
    ca.leaf("proxy", "atlanta.example", "127.0.0.1")
    path = spoil(t, ca, "proxy")
    good = {"certificate": ca.pem("proxy"), "private_key": ca.key("proxy"),
            "ca_list": ca.ca, "crl_file": ca.crl(), "verify_cert": True,
            "require_cert": False}
    d = t.daemon(domain=good)
    alice, bob = t.uac(), t.uas("tcp")
    ctx = t.client_ctx()
    ctx.load_verify_locations(ca.ca)
    conn = t.dial(alice, d, "tls", ctx=ctx)
    options_works(t, d, alice, conn, t.uri(bob, "tcp"))
    text, generation = d.config(), d.rpc("stats")["generation"]
    wrong = []
    for what, change, says in mistakes(t, path):
        d.configure(domain={**good, **change})
        try:
            reload_refused(d, check(t, d, d.config(), says))
        except AssertionError as e:
            wrong.append("%s: %s" % (what, e))
        assert d.rpc("stats")["generation"] == generation, what
        options_works(t, d, alice, conn, t.uri(bob, "tcp"))
        options_works(t, d, alice, t.dial(alice, d, "tls", ctx=ctx), t.uri(bob, "tcp"))
    assert not wrong, "\n".join(wrong)
    d.write(text)
    d.ctl("reload")
    assert d.rpc("stats")["generation"] == generation + 1


def test_f8_own_certificate_for_another_purpose_is_warned_of(t):
    """A certificate of ours that peers would refuse by its extended key usage is told at check, with
    its file; one for either role of its domain is not."""
    ca = Authority(t)
    d = t.daemon(start=False)
    for eku, role, told in (("mail", "both", True), ("client", "server", True),
                            ("server", "client", True), ("server", "both", True),
                            ("client", "both", True), ("server", "server", False),
                            ("sip", "server", False), (None, "both", False)):
        cert, key = ca.leaf("own", "atlanta.example", eku=eku)
        d.configure(domain={"certificate": cert, "private_key": key, "role": role},
                    listen=("tls",) if role != "client" else ("tcp",), routes=[
                        ("all", {"relay": "request-uri"})])
        p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                           check=False)
        assert p.returncode == 0, (eku, role, p.stderr)
        lines = [x for x in p.stderr.splitlines() if "extended key usage" in x and "own.pem" in x]
        assert bool(lines) == told, (eku, role, p.stderr)


def test_4_two_domains_that_match_the_same(t):
    """Two domains that list the same server name (or address) with nothing to tell them apart are
    refused, and the sentence names both and the line."""
    d = t.daemon(start=False)
    lab = {"certificate": t.pki("proxy.pem"), "private_key": t.pki("proxy.key"),
           "ca_list": t.pki("ca.pem")}
    for match in ({"match_sip_domain": ["Atlanta.example"]}, {"match_ip_address": ["192.0.2.1"]}):
        lower = {k: [v[0].lower()] for k, v in match.items()}
        d.configure(domains=[("one", dict(lab, **match)), ("two", dict(lab, **lower))])
        p = subprocess.run([t.tieline, "check", "-c", d.config_file], capture_output=True, text=True,
                           timeout=60 * t.slow, check=False)
        assert p.returncode == 1, p
        found = re.search(r"^%s:(\d+): (.*)$" % re.escape(d.config_file), p.stderr, re.M)
        assert found and '"one"' in found.group(2) and '"two"' in found.group(2), p.stderr
