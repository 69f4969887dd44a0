# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: steps, progress and the table. Plain lines in a log, one moving line and a
little colour on a terminal. Returns verdicts, runs nothing."""
import os
import sys

TTY = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
_last = [-1.0]


def paint(text, code):
    return "\033[%sm%s\033[0m" % (code, text) if TTY else text


def step(text):
    print(paint("== " + text, "1"))
    sys.stdout.flush()


def progress(done, failed, total, seconds):
    rate = done / seconds if seconds else 0
    if TTY:
        width = 40
        bar = "#" * (done * width // total)
        print("\r   [%-40s] %d of %d calls, %d failed, %.0f/s " % (bar, done, total, failed, rate),
              end="")
    elif seconds - _last[0] >= 2 or seconds < _last[0]:
        print("   %5.1f s: %d of %d calls, %d failed, %.0f/s" % (seconds, done, total, failed, rate))
        _last[0] = seconds
    sys.stdout.flush()


def progress_end():
    _last[0] = -1.0
    if TTY:
        print("\r" + " " * 100 + "\r", end="")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def times(values):
    if not values:
        return "not measured"
    # SIPp counts whole milliseconds
    return "median %s, 95 %% within %s, longest %s" % tuple(
        "%.0f ms" % v if v >= 1 else "1 ms" for v in (
            percentile(values, 0.5), percentile(values, 0.95), max(values)))


def connection_rows(conns):
    rows = [("connection in mid-run", "TLS", "cipher", "kTLS tx", "kTLS rx", "messages in/out")]
    for c in sorted(conns, key=lambda x: (x["direction"], x["peer"])):
        tls = c["tls"]
        if not tls:
            continue
        who = ("caller %s" if c["direction"] == "in" else "callee %s") % c["peer"]
        state = ["on" if tls["ktls_" + d] else "off (%s)" % tls["ktls_%s_reason" % d]
                 for d in ("tx", "rx")]
        rows.append((who, tls["version"], tls["cipher"], state[0], state[1],
                     "%d/%d" % (c["messages_in"], c["messages_out"])))
    return rows


def columns(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        print("   " + "  ".join(cell.ljust(w) for cell, w in zip(r, widths)).rstrip())


def in_kernel(facts):
    tls = [c["tls"] for c in facts["connections"] if c["tls"]]
    return bool(tls) and all(t["ktls_tx"] and t["ktls_rx"] for t in tls)


def problems(o, f):
    """Sentences about what is not as it should be."""
    out = []
    if f["done"] != o.calls or f["failed"]:
        out.append("%d of %d calls were complete, %d failed" % (f["done"], o.calls, f["failed"]))
    for name in ("caller", "callee", "tieline"):
        if f[name + "_status"]:
            out.append("%s ended with status %d" % (name, f[name + "_status"]))
    wanted = {"TLSv" + f["version"]}
    if {c["tls"]["version"] for c in f["connections"] if c["tls"]} != wanted:
        out.append("not every connection used TLS " + f["version"])
    if len([c for c in f["connections"] if c["tls"]]) < 2:
        out.append("there was no TLS connection on each side")
    if o.inside and not in_kernel(f):
        out.append("keys were not in the kernel on every connection")
    return out


def table(o, f):
    """Prints the result of one pass; True if all is well."""
    c = f["stats"]["counters"]
    print()
    print(paint("TLS %s" % f["version"], "1"))
    rows = [("calls done", "%d of %d" % (f["done"], o.calls)), ("calls failed", str(f["failed"])),
            ("time", "%.1f s, %.0f calls/s" % (f["seconds"], f["done"] / f["seconds"])),
            ("retransmissions", "%d by the caller, %d absorbed and %d sent by tieline" % (
                f["retransmissions"], c["retransmissions.absorbed"], c["retransmissions.sent"])),
            ("INVITE to 180", times(f["rtt"][1])), ("BYE to 200", times(f["rtt"][2])),
            ("through tieline", "%d messages in, %d out, in %d sends" % (
                c["messages.in.tls"], c["messages.out.tls"], c["sends"]))]
    columns(rows)
    print()
    columns(connection_rows(f["connections"]))
    if f["tls_stat"]:
        print()
        print("   /proc/net/tls_stat, changes during the calls:")
        columns([(k, "%+d" % v) for k, v in f["tls_stat"].items() if v] or [("none", "")])
    bad = problems(o, f)
    for sentence in bad:
        print(paint("   ! " + sentence, "31"))
    for name, text in f["said"].items() if bad else ():
        print("   %s said:" % name)
        print("\n".join("     " + line for line in text.splitlines()))
    return not bad


def end(good, seconds):
    print()
    print(paint("demo: %s in %.0f s" % ("all calls complete" if good else "FAILED", seconds),
                "32" if good else "31"))
