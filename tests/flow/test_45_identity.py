# SPDX-License-Identifier: Apache-2.0
"""Who a request comes from, and what that allows: From against the certificate, routes by
certificate, peers bound to authorities, keys and networks.

Issue items 4.4 to 4.6; FEATURES a3 a4 b2 b6 b8 b12 b15 c1 c9 c10 c11 c14 c22 d26 d27 d35 d39 e4.
"""
import re

import pytest
from flowlib.certs import Authority, bundle
from flowlib.steps import options_works
from flowlib.ua import Call

pytestmark = pytest.mark.host_only("certificates and From are compared in user space")


def verifying(lab, name="atlanta.example", **more):
    return lab.domain(name, **more)


def lab_of(t, *names):
    lab = Authority(t, "lab").cert("atlanta.example")
    for n in names:
        lab.cert(n)
    return lab


def says(agent, conn, uri, from_, method="OPTIONS", **kw):
    """Status and reason phrase of a request with FROM_ as its From."""
    rsp = agent.request(conn, method, uri, from_="%s;tag=x%d" % (from_, says.n), **kw)
    says.n += 1
    return rsp.status, rsp.reason


says.n = 0
NOT_COVERED = (403, "From Is Not Covered By The Certificate")


def test_c1_c10_domain_certificate_lets_any_user_speak(t):
    """check_from = from: any user of the certificate's domain, nobody of another (C1, C9, C10)."""
    lab = lab_of(t, "caller.example")
    bob = t.uas("tcp")
    d = t.daemon(domain=verifying(lab, check_from="from"))
    alice = t.uac()
    conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
    uri = t.uri(bob, "tcp")
    for good in ("<sip:alice@caller.example>", "<sip:bob@CALLER.example.>", "sip:caller.example",
                 "\"A\" <sips:x@caller.example;user=phone>",
                 "<sip:anonymous@anonymous.invalid>"):
        assert says(alice, conn, uri, good)[0] == 200, good
    for bad in ("<sip:alice@elsewhere.example>", "<sip:alice@sub.caller.example>",
                "<sip:caller.example@elsewhere.example>", "<sip:a@127.0.0.2>"):
        assert says(alice, conn, uri, bad) == NOT_COVERED, bad
    assert says(alice, conn, uri, "<tel:+1303>") == (403, "From Has No Domain To Check")
    assert d.counter("claims.refused.from") == 5
    line = d.wait_log("claims to come from")
    for part in (r"subject=\S*CN ?= ?caller\.example", "alice@elsewhere.example",
                 r"from=127\.0\.0\.1:\d+"):
        assert re.search(part, line), (part, line)
    # many domains through the small table of verdicts, over and over
    for n in range(40):
        assert says(alice, conn, uri, "<sip:a@d%d.example>" % (n % 20)) == NOT_COVERED
        assert says(alice, conn, uri, "<sip:a@caller.example>")[0] == 200
    lines = [x for x in d.log().splitlines() if "claims to come from" in x]
    assert len(lines) <= 45, "refusals are logged without bound"


def test_c11_user_certificate_is_for_that_uri_alone(t):
    """A certificate with a user's sip: URI lets this user speak, nobody else of the domain."""
    lab = lab_of(t).cert("user", "--cn", "Alice", "--uri", "sip:alice@caller.example")
    bob = t.uas("tcp")
    d = t.daemon(domain=verifying(lab, check_from="from"))
    alice = t.uac()
    conn = t.dial(alice, d, "tls", ctx=lab.client("user"))
    uri = t.uri(bob, "tcp")
    for _ in range(2):
        assert says(alice, conn, uri, "<sip:alice@caller.example>")[0] == 200
        assert says(alice, conn, uri, "<sip:%61lice@CALLER.example>")[0] == 200
        for bad in ("<sip:mallory@caller.example>", "<sip:Alice@caller.example>",
                    "<sip:caller.example>", "<sip:alice@other.example>"):
            assert says(alice, conn, uri, bad) == NOT_COVERED, bad


@pytest.mark.kernel_tls
def test_c9_both_roles_alike(t):
    """A request that comes back on a connection we opened is checked as one that came in is."""
    lab = lab_of(t, "callee.example")
    bob = t.uas("tls", ctx=lab.server("callee.example"))
    carol = t.uas("tcp", name="carol")
    d = t.daemon(domain=verifying(lab, check_from="from", require_cert=False),
                 peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                 "tls_domain": "lab", "identity": "callee.example"})],
                 routes=[("out", {"to_domain": "callee.example", "peers": ["bob"]}),
                         ("rest", {"relay": "request-uri"})])
    alice = t.uac()
    options_works(t, d, alice, t.dial(alice, d, "tcp"), "sip:bob@callee.example")
    back = bob.listener("tls").conns[0]
    uri = t.uri(carol, "tcp")
    assert says(bob, back, uri, "<sip:bob@callee.example>")[0] == 200
    assert says(bob, back, uri, "<sip:bob@caller.example>") == NOT_COVERED
    shown = [c for c in d.connections() if c["direction"] == "out" and c["transport"] == "tls"][0]
    assert shown["peer_name"] == "bob" and shown["trust"] == "verified", shown


@pytest.mark.kernel_tls
def test_s3_an_ack_that_crosses_workers_is_checked(t):
    """An ACK that no worker waits for is passed on by the last of them: check_from holds for it
    wherever its connection is."""
    lab = lab_of(t, "caller.example")
    bob = t.uas("tcp")
    d = t.daemon(workers=3, domain=verifying(lab, check_from="from"))
    alice = t.uac()
    uri = t.uri(bob, "tcp")
    for n in range(6):                      # connections of each worker
        conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
        for who in ("elsewhere", "caller"):
            data, _ = alice.make(conn, "ACK", uri, from_="<sip:a@%s.example>;tag=x%d" % (who, n),
                                 to="<%s>;tag=t" % uri)
            conn.send(data)
        t.wait(lambda n=n: bob.count("ACK") == n + 1, "the ACK of the certificate's domain")
    assert all("@caller.example" in m.get("from") for m in bob.seen), bob.seen
    assert d.counter("claims.refused.from") == 6


def test_c1_asserted_identity_by_option(t):
    """from+pai looks at every P-Asserted-Identity as well; from does not."""
    lab = lab_of(t, "caller.example")
    bob = t.uas("tcp")
    uri = t.uri(bob, "tcp")
    good, bad = "<sip:a@caller.example>", "<sip:ceo@rich.example>"
    rows = ((((good,),), 200), (((bad,),), 403), (((good,), (bad,)), 403),
            (((good, bad),), 403), (((good, "<tel:+1303>"),), 200))
    for mode in ("from", "from+pai"):
        d = t.daemon(domain=verifying(lab, check_from=mode))
        alice = t.uac()
        conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
        for fields, want in rows:
            headers = [("P-Asserted-Identity", ", ".join(values)) for values in fields]
            got = says(alice, conn, uri, good, headers=headers)
            assert got[0] == (want if mode == "from+pai" else 200), (mode, fields, got)
        assert d.counter("claims.refused.pai") == (3 if mode == "from+pai" else 0)


def test_c14_transit_and_listed_domains(t):
    """A peer marked transit may carry any From; one with domains those beside its own."""
    lab = lab_of(t, "carrier.example", "pbx.example")
    bob = t.uas("tcp")
    uri = t.uri(bob, "tcp")
    where = "sip:127.0.0.1:%d;transport=tls" % t.port()
    d = t.daemon(domain=verifying(lab, check_from="from"), extra='domains = "atlanta.example"',
                 peers=[("carrier", {"uri": where, "identity": "carrier.example",
                                     "transit": True}),
                        ("pbx", {"uri": where, "identity": ["pbx.example", "old-pbx.example"],
                                 "domains": ["branch.example"]})])
    alice = t.uac()
    carrier = t.dial(alice, d, "tls", ctx=lab.client("carrier.example"))
    pbx = t.dial(alice, d, "tls", ctx=lab.client("pbx.example"))
    for claim in ("<sip:a@anywhere.example>", "<sip:a@atlanta.example>", "<tel:+1>"):
        assert says(alice, carrier, uri, claim)[0] == 200, claim
    for claim, want in (("<sip:a@branch.example>", 200), ("<sip:a@old-pbx.example>", 200),
                        ("<sip:a@pbx.example>", 200), ("<sip:a@anywhere.example>", 403),
                        ("<sip:a@atlanta.example>", 403)):
        assert says(alice, pbx, uri, claim)[0] == want, claim
    names = sorted(c["peer_name"] for c in d.connections() if c["transport"] == "tls")
    assert names == ["carrier", "pbx"], names


def test_d26_our_domains_from_outside(t):
    """Nobody else's certificate and no peer may use our domains in From; our own certificate may,
    and whom we do not know is another matter (anti_spoof = peers) unless all are refused."""
    lab = lab_of(t, "caller.example")
    bob = t.uas("tcp")
    uri = t.uri(bob, "tcp")
    ours = "<sip:ceo@atlanta.example>"
    for mode, stranger in (("peers", 200), ("all", 403), ("off", 200)):
        d = t.daemon(extra='domains = { "atlanta.example", "biloxi.example:5070" }\n'
                           "anti_spoof = " + mode, domain=verifying(lab, require_cert=False))
        alice = t.uac()
        known = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
        own = t.dial(alice, d, "tls", ctx=lab.client("atlanta.example"))
        unknown = t.dial(alice, d, "tls", ctx=lab.client())
        spoof = 200 if mode == "off" else 403
        for claim in (ours, "<sip:ceo@ATLANTA.example.>", "<sip:ceo@atlanta.example:5099>",
                      "<sip:x@biloxi.example:5070>"):
            got = says(alice, known, uri, claim)
            assert got[0] == spoof, (mode, claim, got)
            assert mode == "off" or got[1] == "From Claims A Domain Of Ours"
        assert says(alice, known, uri, "<sip:a@elsewhere.example>")[0] == 200
        assert says(alice, own, uri, ours)[0] == 200
        assert says(alice, unknown, uri, ours)[0] == stranger, mode
        assert says(alice, unknown, uri, "<sip:a@elsewhere.example>")[0] == 200
        assert d.counter("claims.refused.spoofed") == {"peers": 4, "all": 5, "off": 0}[mode]


def test_d27_no_relaying(t):
    """What no route takes is refused: 403 for others' domains, 404 for ours; from_peer keeps a
    route for those it names."""
    lab = lab_of(t, "partner.example", "caller.example")
    bob = t.uas("tcp")
    d = t.daemon(extra='domains = "atlanta.example"', domain=verifying(lab, require_cert=False),
                 peers=[("partner", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(),
                                     "identity": "partner.example"})],
                 routes=[("transit", {"from_peer": ["partner"], "relay": "request-uri"})])
    alice = t.uac()
    uri = t.uri(bob, "tcp")
    conns = [t.dial(alice, d, "tls", ctx=lab.client(name)) for name in ("caller.example", None)]
    conns += [t.dial(alice, d, "tcp"), alice.connect("udp", "127.0.0.1", d.port("udp"))]
    for conn in conns:
        assert says(alice, conn, uri, "<sip:a@x.example>", "MESSAGE") == (403, "Relaying Denied")
        assert says(alice, conn, "sip:nobody@atlanta.example", "<sip:a@x.example>")[0] == 404
    assert d.counter("requests.relay_denied") == 4 and not bob.seen
    partner = t.dial(alice, d, "tls", ctx=lab.client("partner.example"))
    assert says(alice, partner, uri, "<sip:a@partner.example>")[0] == 200


def test_b6_b15_c22_e4_routes_by_certificate(t):
    """Conditions on the verified certificate choose the route: subject, issuer, alternative name,
    fingerprint, anchor, verified or not (B6, C22, E4)."""
    fed = Authority(t, "fed").cert("atlanta.example").cert("caller.example").cert(
        "other.example").cert("pinned.example")
    club = Authority(t, "club").cert("member.example")
    sides = {n: t.uas("tcp", name=n) for n in ("subject", "issuer", "san", "print", "anon", "rest")}
    peers = [(n, {"uri": "sip:%s;transport=tcp" % a.listener("tcp").hostport})
             for n, a in sides.items()]
    d = t.daemon(domain=verifying(fed, require_cert=False, ca_list=bundle(t, fed, club)),
                 peers=peers, routes=[
                     ("print", {"peer_fingerprint": [fed.spki("pinned.example"), "abc*"],
                                "peers": ["print"]}),
                     ("san", {"peer_san": ["sip:other.*"], "peers": ["san"]}),
                     ("subject", {"peer_subject": ["*cn=caller.example*"], "peers": ["subject"]}),
                     ("issuer", {"peer_issuer": ["*CN=club CA*"], "peer_anchor": ["*O=club*"],
                                 "peers": ["issuer"]}),
                     ("anon", {"peer_verified": False, "trust": "encrypted", "peers": ["anon"]}),
                     ("rest", {"peers": ["rest"]})])
    alice = t.uac()
    for lab, cert, want in ((fed, "pinned.example", "print"), (fed, "other.example", "san"),
                            (fed, "caller.example", "subject"), (club, "member.example", "issuer"),
                            (fed, None, "anon"), (fed, "atlanta.example", "rest")):
        conn = t.dial(alice, d, "tls", ctx=lab.client(cert, trust=fed.ca))
        before = {n: len(a.seen) for n, a in sides.items()}
        assert alice.request(conn, "OPTIONS", "sip:x@biloxi.example").status == 200
        went = [n for n, a in sides.items() if len(a.seen) > before[n]]
        assert went == [want], (cert, went)
    assert alice.request(t.dial(alice, d, "tcp"), "OPTIONS", "sip:x@b.example").status == 200
    assert len(sides["rest"].seen) == 2


def test_a3_a4_e4_unverified_counts_as_nobody(t):
    """on_unverified = accept: the certificate is seen, but opens no route and speaks for nobody
    (A3, A4)."""
    lab, foreign = lab_of(t, "caller.example"), Authority(t, "foreign").cert("caller.example")
    bob = t.uas("tcp")
    d = t.daemon(domain=verifying(lab, require_cert=False, on_unverified="accept"),
                 peers=[("caller", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(),
                                    "identity": "caller.example", "tls_domain": "lab"})],
                 routes=[("peer", {"from_peer": ["caller"], "relay": "request-uri"}),
                         ("san", {"peer_san": ["*caller.example"], "relay": "request-uri"}),
                         ("sure", {"peer_verified": True, "relay": "request-uri"})])
    alice = t.uac()
    for ctx, want in ((lab.client("caller.example"), 200), (foreign.client("caller.example",
                                                                            trust=lab.ca), 403),
                      (lab.client(), 403)):
        conn = t.dial(alice, d, "tls", ctx=ctx)
        assert says(alice, conn, t.uri(bob, "tcp"), "<sip:a@caller.example>")[0] == want
    assert sorted(c["trust"] for c in d.connections() if c["transport"] == "tls") == [
        "encrypted, not authenticated", "encrypted, not authenticated", "verified"]


def test_b2_b8_c22_peer_bound_to_its_authority(t):
    """Two federations are trusted; a peer counts as itself only under its own (B2, B8), in both
    directions, and by its pinned key."""
    fed, club = Authority(t, "fed").cert("atlanta.example"), Authority(t, "club")
    for ca in (fed, club):
        ca.cert("partner.example").cert("pinned.example")
    bob = t.uas("tcp")
    where = "sip:127.0.0.1:%d;transport=tls" % t.port()
    d = t.daemon(domain=verifying(fed, ca_list=bundle(t, fed, club)), peers=[
        ("partner", {"uri": where, "identity": "partner.example", "ca_list": club.ca}),
        ("pinned", {"uri": where, "identity": "pinned.example",
                    "spki_sha256": [fed.spki("pinned.example").upper()]})],
        routes=[("in", {"from_peer": ["partner", "pinned"], "relay": "request-uri"})])
    alice = t.uac()
    for ca, cert, want in ((club, "partner.example", 200), (fed, "partner.example", 403),
                           (fed, "pinned.example", 200), (club, "pinned.example", 403)):
        conn = t.dial(alice, d, "tls", ctx=ca.client(cert, trust=fed.ca))
        assert says(alice, conn, t.uri(bob, "tcp"), "<sip:a@x.example>")[0] == want, (ca.name, cert)


def test_d35_encryption_only_by_network(t):
    """Certificates are not checked, peers are told by their network: encrypted, not authenticated;
    not from elsewhere, not in the clear."""
    bob = t.uas("tcp")
    d = t.daemon(peers=[("branch", {"uri": "sip:127.0.0.99;transport=tls", "tls_domain": "lab",
                                    "networks": ["127.0.1.0/24", "2001:db8::/32"],
                                    "check_from": "from", "domains": ["branch.example"]})],
                 routes=[("branch", {"from_peer": ["branch"], "trust": "encrypted",
                                     "relay": "request-uri"})])
    alice = t.uac()
    uri = t.uri(bob, "tcp")
    inside = t.dial(alice, d, "tls", bind=("127.0.1.7", 0))
    assert says(alice, inside, uri, "<sip:a@branch.example>")[0] == 200
    assert says(alice, inside, uri, "<sip:a@x.example>") == (403, "From Is Not Allowed For This Peer")
    shown = d.connections()[0]
    shown = [c for c in d.connections() if c["peer"].startswith("127.0.1.7")][0]
    assert shown["trust"] == "encrypted, not authenticated" and shown["peer_name"] == "branch"
    for conn in (t.dial(alice, d, "tls", bind=("127.0.2.7", 0)),
                 t.dial(alice, d, "tcp", bind=("127.0.1.7", 0))):
        assert says(alice, conn, uri, "<sip:a@branch.example>")[0] == 403


@pytest.mark.kernel_tls
def test_b12_in_dialog_by_policy(t):
    """Inside a dialog that was let in, From is not judged anew (trust-connection); with revalidate
    it is. What the callee sends back passes in both."""
    lab = lab_of(t, "caller.example")
    where = "sip:127.0.0.1:%d;transport=tls" % t.port()
    for policy, want in (("trust-connection", 200), ("revalidate", 403)):
        bob = t.uas("tcp")
        d = t.daemon(domain=verifying(lab, check_from="from"),
                     extra='domains = "atlanta.example"',
                     peers=[("caller", {"uri": where, "identity": "caller.example",
                                        "in_dialog": policy})])
        alice = t.uac()
        conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
        call = Call(alice, conn, t.uri(bob, "tcp"), from_="<sip:alice@caller.example>;tag=a1")
        call.answered()
        bob.next_request("INVITE")
        back = bob.dialogs[call.call_id]
        data, key = back.make("INFO")
        bob.expect(key)
        back.conn.send(data)
        where_conn, req = alice.next_request("INFO")
        alice.reply(where_conn, req, 200)
        assert bob.final(key).status == 200
        # the same dialog, as its tag and Call-ID say, in another's name
        call.local = "<sip:alice@elsewhere.example>;tag=a1"
        assert call.request("INFO").status == want, policy
        call.local = "<sip:alice@caller.example>;tag=a1"
        assert call.bye().status == 200


def test_d39_never_downgraded(t):
    """A TLS-only peer's address is never sent to in the clear, whatever the Request-URI says, and
    what comes from it in the clear is not the peer's."""
    bob = t.uas("tcp", "udp", "tls", host="127.0.0.1")
    for tls_only, want in ((True, 480), (False, 200)):
        d = t.daemon(peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                     "tls_domain": "lab", "tls_only": tls_only,
                                     "identity": "127.0.0.1"})])
        alice = t.uac()
        conn = t.dial(alice, d, "tcp")
        for transport in ("tcp", "udp"):
            assert alice.request(conn, "OPTIONS", t.uri(bob, transport)).status == want, transport
        assert alice.request(conn, "OPTIONS", t.uri(bob, "tls")).status == 200
        assert not [c for c in d.connections() if c["transport"] != "tls" and c["peer_name"]]


def fields_of(line):
    """The fields of a log line."""
    return {k: a or b for k, a, b in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))', line)}


@pytest.mark.kernel_tls
def test_b7_e23_log_of_calls(t):
    """log_calls: a line for each call answered, failed, refused or ended, with both connections'
    certificates, TLS and kernel TLS (E23)."""
    lab = lab_of(t, "caller.example", "callee.example")
    bob = t.uas("tls", ctx=lab.server("callee.example"))
    d = t.daemon(extra="log_calls = true", workers=1, domain=verifying(lab, check_from="from"),
                 peers=[("bob", {"uri": t.uri(bob, "tls").replace("bob@", ""),
                                 "tls_domain": "lab", "identity": "callee.example"}),
                        ("caller", {"uri": "sip:127.0.0.1:%d;transport=tls" % t.port(),
                                    "identity": "caller.example"})],
                 routes=[("calls", {"to_domain": "callee.example", "peers": ["bob"]})])
    alice = t.uac()
    conn = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
    me = "<sip:alice@caller.example>;tag=a7"
    call = Call(alice, conn, "sip:bob@callee.example", from_=me).answered()
    got = fields_of(d.wait_log("A call was answered"))
    on = "both" if t.kernel_tls else "off"
    want = {"call_id": call.call_id, "status": "200", "route": "calls", "in_peer": "caller",
            "in_trust": "verified", "in_subject": "CN=caller.example", "in_verify": "ok",
            "in_transport": "tls", "in_tls": "TLSv1.3", "in_ktls": on, "out_peer": "bob",
            "out_trust": "verified", "out_subject": "CN=callee.example", "out_verify": "ok",
            "out_tls": "TLSv1.3", "out_ktls": on,
            "out_addr": bob.listener("tls").hostport}
    assert {k: got.get(k) for k in want} == want, got
    assert "alice@caller.example" in got["from"] and "lab CA" in got["in_issuer"], got
    assert got["in_cipher"] and got["out_serial"] and "answer_ms" in got, got
    assert call.bye().status == 200
    got = fields_of(d.wait_log("A call ended"))
    assert got["call_id"] == call.call_id and got["status"] == "200", got
    assert int(got["call_ms"]) >= int(got["bye_ms"]) >= 0, got
    bob.policy["answer"] = 486
    busy = Call(alice, conn, "sip:bob@callee.example", from_=me)
    assert busy.send().final().status == 486
    got = fields_of(d.wait_log("A call failed"))
    assert got["status"] == "486" and got["out_peer"] == "bob", got
    liar = Call(alice, conn, "sip:bob@callee.example", from_="<sip:a@x.example>;tag=9")
    assert liar.send().final().status == 403
    d.wait_log("A call failed.* status=403")
    options_works(t, d, alice, conn, "sip:bob@callee.example", from_=me)
    lines = [x for x in d.log().splitlines() if re.search("A call (was|fail|end)", x)]
    assert len(lines) == 4 and not [x for x in lines if "truncated" in x], lines


def test_c12_identity_map(t):
    """identity_map gives certificates further domains and users by common name, alternative name or
    fingerprint; a reload takes its changes over and refuses a bad line by file and line."""
    lab = lab_of(t, "caller.example").cert("mac", "--cn", "00A0C9123456", "--dns", "phone.local")
    path = t.dir + "/identities"

    def write(*lines):
        with open(path, "w", encoding="ascii") as f:
            f.write("".join(x + "\n" for x in lines))
    write("# phones", "00A0C9123456\tbob@branch.example, desk.example",
          lab.fingerprint("caller.example") + "\told.example")
    bob = t.uas("tcp")
    d = t.daemon(workers=1, domain=verifying(lab, check_from="from"),
                 extra='identity_map = "%s"' % path)
    alice = t.uac()
    phone = t.dial(alice, d, "tls", ctx=lab.client("mac"))
    trunk = t.dial(alice, d, "tls", ctx=lab.client("caller.example"))
    uri = t.uri(bob, "tcp")
    rows = ((phone, "bob@branch.example", 200), (phone, "eve@branch.example", 403),
            (phone, "eve@desk.example", 200), (phone, "a@old.example", 403),
            (trunk, "a@old.example", 200), (trunk, "bob@branch.example", 403),
            (trunk, "a@caller.example", 200))
    for conn, who, want in rows:
        assert says(alice, conn, uri, "<sip:%s>" % who)[0] == want, who
    write("sip:caller.example\tnew.example")
    d.rpc("reload")
    for who, want in (("a@old.example", 403), ("a@new.example", 200)):
        assert says(alice, trunk, uri, "<sip:%s>" % who)[0] == want, who
    write("sip:caller.example\tnew.example", "nobody new.example")
    p = d.ctl("reload", check=False)
    assert p.returncode == 1 and "identities:2: a line is a name" in p.stdout + p.stderr, p
    assert says(alice, trunk, uri, "<sip:a@new.example>")[0] == 200
