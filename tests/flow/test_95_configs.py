# SPDX-License-Identifier: Apache-2.0
"""The sample configurations: each passes `tieline check` as it stands, is started with addresses and
certificates of the test, and does what its comments promise.

Issue item 4.15.
"""
import os
import re
import ssl
import subprocess

import pytest
from flowlib.host import TOP
from flowlib.samples import Sample
from flowlib.tools import s_client, s_client_options
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("all-models.conf stands for it")


README = os.path.join(TOP, "README.md")


def from_(user, domain):
    return "<sip:%s@%s>;tag=1%s" % (user, domain, user)


def call(t, agent, conn, uri, domain):
    """A whole call with From in DOMAIN; returns it."""
    c = Call(agent, conn, uri, from_=from_(agent.name, domain)).answered()
    assert c.bye().status == 200
    return c


def refused_handshake(t, s, agent, ctx, host="127.0.0.1", sni=None):
    """A TLS client with CTX is not served: its handshake fails, in 1.3 perhaps behind its end."""
    before = s.d.counter("handshakes.failed.*")
    try:
        conn = t.dial(agent, s.d, "tls", ctx=ctx, bind=(host, 0), sni=sni)
        assert conn.closed.wait(20 * t.slow), "the connection was kept"
    except (ssl.SSLError, OSError):
        pass
    s.d.wait_counter("handshakes.failed.*", before + 1)


def status_of(agent, conn, uri, domain, method="OPTIONS"):
    return agent.request(conn, method, uri, from_=from_(agent.name, domain)).status


def pbx_dial(s, pbx):
    """The telephone system's own way to us: a UDP flow from its address."""
    return pbx.udps[pbx.host].flow("127.0.0.1", s.d.port("udp"))


@pytest.mark.timeout(150)
def test_b1_config_enterprise(t):
    """enterprise.conf: branches with the company's certificates call in and are called; without one,
    with another authority's or a revoked one nobody gets in."""
    s = Sample(t, "enterprise.conf")
    acme = s.authority("acme-ca")
    acme.leaf("hq", "hq.acme.example", "sip.hq.acme.example")
    acme.leaf("berlin", "berlin.acme.example")
    acme.leaf("tokyo", "tokyo.acme.example")
    acme.leaf("left", "paris.acme.example")
    acme.revoke("left")
    other = s.authority("other-ca")
    other.leaf("thief", "berlin.acme.example")
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    berlin = s.peer("sip:sip.berlin.acme.example;transport=tls", "tls", name="berlin",
                    ctx=s.context("berlin", ["acme-ca"], server=True))
    tokyo = s.peer("sip:sip.tokyo.acme.example;transport=tls", "tls", name="tokyo",
                   ctx=s.context("tokyo", ["acme-ca"], server=True))
    s.start()
    conn = t.dial(berlin, s.d, "tls", ctx=s.context("berlin", ["acme-ca"]), bind=(berlin.host, 0))
    call(t, berlin, conn, "sip:100@hq.acme.example", "berlin.acme.example")
    assert pbx.count("INVITE") == 1
    out = pbx_dial(s, pbx)
    for peer in (berlin, tokyo):
        call(t, pbx, out, "sip:7@%s.acme.example" % peer.name, "hq.acme.example")
        assert peer.count("INVITE") == 1, peer.name
    shown = {c["tls"]["identity"] for c in s.d.connections() if c["tls"] and c["tls"]["verified"]}
    assert shown == {"CN=berlin.acme.example", "CN=tokyo.acme.example"}, shown
    # a branch may not use us as a way to another branch
    assert status_of(berlin, conn, "sip:7@tokyo.acme.example", "berlin.acme.example") in (403, 404)
    stranger = t.uac("stranger")
    for leaf in (None, "thief", "left"):
        refused_handshake(t, s, stranger, s.context(leaf, ["acme-ca"]), berlin.host)


@pytest.mark.timeout(150)
def test_b2_config_federation(t):
    """federation.conf: a member nobody has heard of calls in, and is called by its domain; who is not
    a member, or was one, is refused; a member may not send callers of another's domain."""
    s = Sample(t, "federation.conf")
    federation = s.authority("federation")
    federation.leaf("atlanta", "atlanta.example", "sip.atlanta.example")
    federation.leaf("chicago", "chicago.example")
    # inside the dialog boston is reached at its Contact, which is an address here
    federation.leaf("stranger", "boston.example", "localhost", "127.0.0.1")
    federation.leaf("expelled", "chicago.example")
    federation.revoke("expelled")
    s.authority("elsewhere").leaf("outsider", "boston.example")
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    chicago = s.peer("sip:sip.chicago.example;transport=tls", "tls", name="chicago",
                     ctx=s.context("chicago", ["federation"], server=True))
    boston = t.uas("tls", name="boston", ctx=s.context("stranger", ["federation"], server=True))
    s.start()
    conn = t.dial(boston, s.d, "tls", ctx=s.context("stranger", ["federation"]),
                  sni="sip.atlanta.example")
    call(t, boston, conn, "sip:100@atlanta.example", "boston.example")
    assert status_of(boston, conn, "sip:100@atlanta.example", "chicago.example") == 403
    assert status_of(boston, conn, "sip:7@chicago.example", "boston.example") in (403, 404)
    out = pbx_dial(s, pbx)
    call(t, pbx, out, "sip:7@chicago.example", "atlanta.example")
    assert chicago.count("INVITE") == 1
    # not configured anywhere: found by its name, verified by it
    call(t, pbx, out, "sip:7@localhost:%d;transport=tls" % boston.listener("tls").port,
         "atlanta.example")
    assert boston.count("INVITE") == 1
    for leaf in (None, "outsider", "expelled"):
        refused_handshake(t, s, t.uac("x"), s.context(leaf, ["federation"]), s.host())


@pytest.mark.timeout(150)
def test_b3_config_two_federations(t):
    """two-federations.conf: the domain that is dialled decides which certificate we show and whom we
    trust; the authorities that a caller names decide which one it sees."""
    s = Sample(t, "two-federations.conf")
    for name, member in (("health", "clinic"), ("banks", "savings")):
        ca = s.authority(name + "-ca")
        ca.leaf("atlanta-" + name, "atlanta.example", "sip.atlanta.example",
                cn="atlanta in " + name)
        ca.leaf(member, member + ".example")
        ca.crl()
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    members = {}
    for name, member in (("health", "clinic"), ("banks", "savings")):
        # each trusts its own federation only, so a call proves which certificate was shown
        members[member] = s.peer("sip:sip.%s.example;transport=tls" % member, "tls", name=member,
                                 ctx=s.context(member, [name + "-ca"], server=True))
    s.start()
    out = pbx_dial(s, pbx)
    for member, agent in members.items():
        call(t, pbx, out, "sip:7@%s.example" % member, "atlanta.example")
        assert agent.count("INVITE") == 1
    shown = {c["tls"]["identity"]: c["tls"]["domain"] for c in s.d.connections() if c["tls"]}
    assert shown == {"CN=clinic.example": "health", "CN=savings.example": "banks"}, shown
    for version in ("-tls1_3",):
        for name, member in (("health", "clinic"), ("banks", "savings")):
            client = s_client(t, s.d, version, "-requestCAfile", s.dir + "/%s-ca.pem" % name,
                              "-CAfile", s.dir + "/%s-ca.pem" % name, "-servername",
                              "sip.atlanta.example", "-cert", s.dir + "/%s.pem" % member, "-key",
                              s.dir + "/%s.key" % member)
            client.wait_for(rb"subject=CN ?= ?atlanta in %s.*Verify return code: 0" %
                            name.encode())
            assert s_client_options(t, client, "sip:100@atlanta.example",
                                    member + ".example") == 200


@pytest.mark.timeout(150)
def test_b8_config_bilateral(t):
    """bilateral.conf: each partner by its own authority; a certificate of the other partner's authority
    for this partner's name passes the handshake and is still nobody."""
    s = Sample(t, "bilateral.conf")
    s.authority("our-ca").leaf("atlanta", "atlanta.example", "sip.atlanta.example")
    cas = {name: s.authority(name + "-ca") for name in ("chicago", "denver")}
    for name, ca in cas.items():
        ca.leaf(name, name + ".example")
        ca.crl()
    cas["denver"].leaf("forged", "chicago.example")
    for kind in ("pem", "crl"):
        with open(s.dir + "/partners." + kind, "w", encoding="ascii") as f:
            for ca in cas.values():
                with open(ca.path("%s.%s" % (ca.name, kind)), encoding="ascii") as one:
                    f.write(one.read())
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    partner = {}
    for name in cas:
        partner[name] = s.peer("sip:sip.%s.example;transport=tls" % name, "tls", name=name,
                               ctx=s.context(name, ["our-ca"], server=True))
    s.start()
    out = pbx_dial(s, pbx)
    for name, agent in partner.items():
        conn = t.dial(agent, s.d, "tls", ctx=s.context(name, ["our-ca"]), bind=(agent.host, 0))
        call(t, agent, conn, "sip:100@atlanta.example", name + ".example")
        call(t, pbx, out, "sip:7@%s.example" % name, "atlanta.example")
        assert agent.count("INVITE") == 1
    thief = t.uac("thief")
    conn = t.dial(thief, s.d, "tls", ctx=s.context("forged", ["our-ca"]),
                  bind=(partner["chicago"].host, 0))
    assert status_of(thief, conn, "sip:100@atlanta.example", "chicago.example") in (403, 404)
    # and as the server that we call
    partner["chicago"].close()
    port = partner["chicago"].listener("tls").port
    fake = t.uac("fake")
    fake.listen("tls", partner["chicago"].host, port, s.context("forged", ["our-ca"], server=True))
    assert status_of(pbx, out, "sip:7@chicago.example", "atlanta.example") == 503


@pytest.mark.timeout(150)
def test_b9_b10_config_hosted(t):
    """hosted.conf: each name gets its own certificate, from blocks and from a directory; a name that
    nobody has is refused with unrecognized_name; each customer's calls reach its own system."""
    s = Sample(t, "hosted.conf")
    ca = s.authority("public-ca")
    ca.leaf("hosting", "hosting.example")
    for name in ("amber", "birch"):
        ca.leaf(name, name + ".example", "sip.%s.example" % name)
    ca.leaf("cedar", "cedar.example", "sip.cedar.example")
    os.mkdir(s.dir + "/customers.d")
    for kind in ("pem", "key"):
        os.rename(s.dir + "/cedar." + kind, s.dir + "/customers.d/cedar." + kind)
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = {name: s.peer("sip:127.0.0.1:%d;transport=udp" % port, "udp", name=name)
           for name, port in (("amber", 5081), ("birch", 5082), ("cedar", 5083))}
    s.start()
    phone = t.uac("phone")
    for name, agent in pbx.items():
        for host in (name + ".example", ("SIP.%s.example" % name).upper()):
            ctx = s.context(None, ["public-ca"])
            ctx.check_hostname = True       # the client's own check of the name it asked for
            conn = t.dial(phone, s.d, "tls", ctx=ctx, sni=host.lower())
            call(t, phone, conn, "sip:7@%s.example" % name, "phones.example")
        assert agent.count("INVITE") == 2, name
    routes = pbx["amber"].invites.popitem()[1][1].all("record-route")
    assert any("sip.amber.example:5061" in r for r in routes), routes
    try:
        t.dial(phone, s.d, "tls", ctx=s.context(None, ["public-ca"]), sni="dogwood.example")
        raise AssertionError("a name that nobody has was served")
    except ssl.SSLError as e:
        assert "unrecognized" in str(e).lower(), e


@pytest.mark.timeout(150)
def test_d35_config_encryption_only(t):
    """encryption-only.conf: certificates are not looked at, the address list decides, and the
    connections are shown as not verified."""
    s = Sample(t, "encryption-only.conf")
    s.authority("any").leaf("atlanta", "atlanta.example")
    s.authority("unknown").leaf("branch", "whatever.example")
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    ctx = s.context("branch", server=True)
    branch = s.peer("sip:192.0.2.10;transport=tls", "tls", ctx=ctx, name="branch")
    carrier = s.peer("sip:198.51.100.20;transport=tls", "tls", ctx=ctx, name="carrier")
    s.place("192.0.2.0/28", branch.host + "/32")
    s.place("198.51.100.20/32", carrier.host + "/32")
    s.start()
    for agent in (branch, carrier):
        conn = t.dial(agent, s.d, "tls", ctx=s.context(), bind=(agent.host, 0))
        call(t, agent, conn, "sip:100@atlanta.example", "somewhere.example")
    assert pbx.count("INVITE") == 2
    out = pbx_dial(s, pbx)
    call(t, pbx, out, "sip:201@atlanta.example", "atlanta.example")
    call(t, pbx, out, "sip:+1555@atlanta.example", "atlanta.example")
    assert branch.count("INVITE") == carrier.count("INVITE") == 1
    assert [c["tls"]["verified"] for c in s.d.connections() if c["tls"]] == [False] * 4
    stranger = t.uac("stranger")
    conn = t.dial(stranger, s.d, "tls", ctx=s.context(), bind=(s.host(), 0))
    assert status_of(stranger, conn, "sip:100@atlanta.example", "somewhere.example") == 404


def all_models(t):
    """all-models.conf with its authorities and peers: (sample, telephone systems, peers by name)."""
    s = Sample(t, "all-models.conf")
    enterprise, federation = s.authority("enterprise-ca"), s.authority("federation")
    denver, public = s.authority("denver-ca"), s.authority("public-ca")
    enterprise.leaf("hq", "hq.atlanta.example", "denver.atlanta.example")
    enterprise.leaf("berlin", "berlin.branch.atlanta.example")
    federation.leaf("atlanta", "atlanta.example", "sip.atlanta.example")
    federation.leaf("chicago", "chicago.example")
    denver.leaf("denver", "denver.example")
    public.leaf("amber", "amber.example", "sip.amber.example")
    public.leaf("carrier", "carrier.example")
    enterprise.crl()
    federation.crl()
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.carrier_port = s.listener("tls:0.0.0.0:5063")
    s.listener("udp:127.0.0.1:5060")
    pbx = {"pbx": s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx"),
           "amber": s.peer("sip:127.0.0.1:5081;transport=udp", "udp", name="amber")}
    peers = {}
    for name, uri, trust in (
            ("berlin", "sip:sip.berlin.branch.atlanta.example;transport=tls", ["enterprise-ca"]),
            ("chicago", "sip:sip.chicago.example;transport=tls", ["federation"]),
            ("denver", "sip:sip.denver.example;transport=tls", ["enterprise-ca"]),
            ("carrier", "sip:198.51.100.20:5061;transport=tls", [])):
        peers[name] = s.peer(uri, "tls", name=name, ctx=s.context(name, trust, server=True))
    s.place("198.51.100.20/32", peers["carrier"].host + "/32")
    s.start()
    return s, pbx, peers


# peer: (the name it asks for, the authority of the certificate it then must see, its domain)
ASKS = {"berlin": ("hq.atlanta.example", "enterprise-ca", "berlin.branch.atlanta.example"),
        "chicago": ("atlanta.example", "federation", "chicago.example"),
        "denver": ("denver.atlanta.example", "enterprise-ca", "denver.example")}


@pytest.mark.kernel_tls
@pytest.mark.timeout(150)
def test_b21_config_all_models(t):
    """all-models.conf: enterprise, federation, bilateral, hosted and encryption-only at the same time,
    calls in both directions in each; a certificate of one model is worth nothing in the others."""
    s, pbx, peers = all_models(t)
    out = pbx_dial(s, pbx["pbx"])
    for name, (sni, authority, domain) in ASKS.items():
        ctx = s.context(name, [authority])
        ctx.check_hostname = True
        conn = t.dial(peers[name], s.d, "tls", ctx=ctx, bind=(peers[name].host, 0), sni=sni)
        call(t, peers[name], conn, "sip:100@atlanta.example", domain)
        call(t, pbx["pbx"], out, "sip:7@" + domain, "atlanta.example")
        assert peers[name].count("INVITE") == 1, name
    carrier = peers["carrier"]
    conn = carrier.connect("tls", "127.0.0.1", s.carrier_port, s.context(),
                           bind=(carrier.host, 0))
    call(t, carrier, conn, "sip:100@atlanta.example", "anywhere.example")
    call(t, pbx["pbx"], out, "sip:+1555@atlanta.example", "atlanta.example")
    assert carrier.count("INVITE") == 1 and pbx["pbx"].count("INVITE") == 4
    phone = t.uac("phone")
    ctx = s.context(None, ["public-ca"])
    ctx.check_hostname = True
    conn = t.dial(phone, s.d, "tls", ctx=ctx, sni="sip.amber.example")
    call(t, phone, conn, "sip:1@amber.example", "phones.example")
    assert pbx["amber"].count("INVITE") == 1
    for name, wrong in (("berlin", "chicago"), ("chicago", "denver"), ("denver", "berlin")):
        sni, authority, _ = ASKS[wrong]
        refused_handshake(t, s, t.uac("x"), s.context(name, [authority]), peers[name].host, sni)


@pytest.mark.timeout(150)
def test_4_15_config_direct_routing(t):
    """direct-routing.conf: mutual TLS, our name in Via and Record-Route, the cloud's names tried in
    their order when one is gone or answers 503, calls and OPTIONS from the cloud."""
    s = Sample(t, "direct-routing.conf")
    s.authority("public-ca").leaf("sbc", "sbc.atlanta.example")
    cloud_ca = s.authority("cloud-ca")
    for n in (1, 2, 3):
        cloud_ca.leaf("cloud-%d" % n, "cloud-%d.voice.example" % n)
    s.check()
    s.place("probe = 60s", "probe = %s" % t.ms(1000))
    s.listener("tls:0.0.0.0:5061")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    cloud = [s.peer("sip:cloud-%d.voice.example:5061;transport=tls" % n, "tls", name="cloud-%d" % n,
                    ctx=s.context("cloud-%d" % n, ["public-ca"], server=True)) for n in (1, 2, 3)]
    s.start()
    out = pbx_dial(s, pbx)

    def dial_out():
        call(t, pbx, out, "sip:+15551234@sbc.atlanta.example", "sbc.atlanta.example")
        return [c.count("INVITE") for c in cloud]
    assert dial_out() == [1, 0, 0]
    invite = next(m for m in cloud[0].seen if m.method == "INVITE")
    assert invite.all("via")[0].startswith("SIP/2.0/TLS sbc.atlanta.example:5061;"), invite.all("via")
    assert any("sip:" in r and "sbc.atlanta.example:5061" in r
               for r in invite.all("record-route")), invite.all("record-route")
    cloud[0].policy.update(ring=False, answer=503)
    assert dial_out() == [2, 1, 0]
    cloud[1].close()
    assert dial_out()[2] == 1
    conn = t.dial(cloud[2], s.d, "tls", ctx=s.context("cloud-3", ["public-ca"]),
                  bind=(cloud[2].host, 0), sni="sbc.atlanta.example")
    call(t, cloud[2], conn, "sip:+15559876@sbc.atlanta.example", "tenant.example")
    assert pbx.count("INVITE") == 1
    assert status_of(cloud[2], conn, "sip:sbc.atlanta.example", "cloud-3.voice.example") == 200
    # what the cloud wants to see of us all the time: OPTIONS that carry our name
    t.wait(lambda: cloud[2].count("OPTIONS") >= 2, "OPTIONS to the cloud")
    probe = next(m for m in cloud[2].seen if m.method == "OPTIONS")
    assert "sbc.atlanta.example" in probe.all("via")[0], probe.all("via")
    assert "sbc.atlanta.example" in probe.get("from"), probe.get("from")
    assert "sbc.atlanta.example" in (probe.get("contact") or ""), probe.headers
    for ctx in (s.context(None, ["public-ca"]), s.context("sbc", ["public-ca"])):
        refused_handshake(t, s, t.uac("x"), ctx, s.host(), "sbc.atlanta.example")


@pytest.mark.timeout(150)
def test_4_15_config_openser(t):
    """openser.conf: what the script of the TLS manual does: to the trusted domain over TLS, numbers
    with a prefix stripped and sent to the gateway, no relaying for strangers, nobody claims our
    domain, Max-Forwards."""
    s = Sample(t, "openser.conf")
    ca = s.authority("calist")
    ca.leaf("atlanta", "atlanta.example", "sip.atlanta.example")
    ca.leaf("chicago", "chicago.example")
    ca.leaf("boston", "boston.example")
    s.check()
    for text in ("tls:0.0.0.0:5061", "udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"):
        s.listener(text)
    home = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="home")
    gateway = s.peer("sip:127.0.0.1:5090;transport=udp", "udp", name="gateway")
    domain_b = s.peer("sip:sip.chicago.example:5061;transport=tls", "tls", name="chicago",
                      ctx=s.context("chicago", ["calist"], server=True))
    s.start()
    out = pbx_dial(s, home)
    call(t, home, out, "sip:bob@chicago.example", "atlanta.example")
    assert domain_b.count("INVITE") == 1
    call(t, home, out, "sip:2015551234@atlanta.example", "atlanta.example")
    invite = next(m for m in gateway.seen if m.method == "INVITE")
    assert "sip:5551234@" in invite.start, invite.start
    conn = t.dial(domain_b, s.d, "tls", ctx=s.context("chicago", ["calist"]),
                  bind=(domain_b.host, 0))
    call(t, domain_b, conn, "sip:alice@atlanta.example", "chicago.example")
    assert home.count("INVITE") == 1
    assert status_of(domain_b, conn, "sip:alice@atlanta.example", "atlanta.example") == 403
    for uri in ("sip:bob@chicago.example", "sip:x@elsewhere.example"):
        stranger = t.uac("boston")
        conn = t.dial(stranger, s.d, "tls", ctx=s.context("boston", ["calist"]),
                      bind=(s.host(), 0))
        assert status_of(stranger, conn, uri, "boston.example") == 403, uri
    rsp = home.request(out, "MESSAGE", "sip:bob@chicago.example", max_forwards=0,
                       from_=from_("home", "atlanta.example"))
    assert rsp.status == 483, repr(rsp)


def readme_blocks(section):
    """The shell blocks of a section of the README."""
    with open(README, encoding="utf-8") as f:
        text = f.read()
    part = text.split("\n## %s\n" % section, 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", part, re.S)


def test_4_13_readme_first_steps(t):
    """The lines that the README leads a new operator through, in one shell, but for port numbers and
    waits in between: each works, and the last ones throw the neighbour out."""
    t.need("openssl")
    blocks = readme_blocks("First steps")
    assert len(blocks) == 5, len(blocks)
    waits = ["", "until tieline ctl -s ctl.sock version; do sleep 0.1; done",
             "until grep -q '^SIP/2.0 200' ../log; do sleep 0.1; done", "echo LOOKED",
             "wait $! || kill %1; wait"]
    script = "set -e\n" + "".join(b + w + "\n" for b, w in zip(blocks, waits))
    for port in ("5061", "5062"):
        script = script.replace(":" + port, ":%d" % t.port())
    log = os.path.join(t.dir, "log")
    environ = dict(os.environ, PATH="%s:%s" % (os.path.dirname(t.tieline), os.environ["PATH"]))
    with open(log, "wb") as out:
        p = subprocess.Popen(["timeout", str(int(60 * t.slow)), "bash", "-c", script], cwd=t.dir,
                             stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             env=environ)
        t.procs.append(p)
        p.wait()
    with open(log, encoding="utf-8", errors="replace") as f:
        said = f.read()
    assert p.returncode == 0, said[-3000:]
    # what each part must have shown
    for part in (r"sip:chicago\.example", r"verify_cert = true", r"SIP/2\.0 200 OK",
                 r"CN=chicago\.example.*\n1 of 1 connections", r"CN=atlanta\.example.*LOOKED",
                 r"alert certificate revoked", r"1 closed", r"Stopped\."):
        assert re.search(part, said, re.S), "no %s in: %s" % (part, said[-3000:])


@pytest.mark.timeout(150)
def test_4_15_config_interconnect(t):
    """interconnect.conf: two carriers under two authorities, numbers routed and rewritten, the second
    gateway of one when the first is gone."""
    s = Sample(t, "interconnect.conf")
    federation = s.authority("federation")
    federation.leaf("atlanta", "atlanta.example", "sbc.atlanta.example")
    federation.leaf("denver", "denver.example")
    federation.crl()
    chicago_ca = s.authority("chicago-ca")
    chicago_ca.leaf("atlanta-at-chicago", "atlanta.example")
    chicago_ca.leaf("chicago", "chicago.example")
    os.rename(chicago_ca.crl(), s.dir + "/chicago.crl")
    s.check()
    s.listener("tls:0.0.0.0:5061")
    s.listener("tls:[::]:5061", "[::1]")
    s.listener("udp:127.0.0.1:5060")
    pbx = s.peer("sip:127.0.0.1:5080;transport=udp", "udp", name="pbx")
    chicago = s.peer("sip:sip.chicago.example;transport=tls", "tls", name="chicago",
                     ctx=s.context("chicago", ["chicago-ca"], server=True))
    ctx = s.context("denver", ["federation"], server=True)
    denver = [s.peer("sip:sbc%d.denver.example;transport=tls" % n, "tls", name="denver", ctx=ctx)
              for n in (1, 2)]
    s.start()
    out = pbx_dial(s, pbx)
    call(t, pbx, out, "sip:+15551234@sbc.atlanta.example", "atlanta.example")
    assert chicago.count("INVITE") == 1
    call(t, pbx, out, "sip:03035550100@sbc.atlanta.example", "atlanta.example")
    invite = next(m for m in denver[0].seen if m.method == "INVITE")
    assert invite.uri.startswith("sip:+13035550100@"), invite.uri
    denver[0].close()
    call(t, pbx, out, "sip:03035550100@sbc.atlanta.example", "atlanta.example")
    assert denver[1].count("INVITE") == 1
    conn = t.dial(denver[1], s.d, "tls", ctx=s.context("denver", ["federation"]),
                  bind=(denver[1].host, 0), sni="sbc.atlanta.example")
    call(t, denver[1], conn, "sip:100@atlanta.example", "denver.example")
    assert pbx.count("INVITE") == 1
