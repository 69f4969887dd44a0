#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks docs/features.md: every row of the feature list that TLS domains, verification and hardening
owe has a line there, each test a line names exists and carries the row's id, and what is "not yet" is
counted. The tests that docs/security.md names exist, too.

    features.py          the check: prints the sum, fails on what is false
    features.py --tests  for each id the tests that carry it, and whether the table names them
"""
import os
import re
import sys

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
TABLE = os.path.join(TREE, "docs", "features.md")
THREATS = os.path.join(TREE, "docs", "security.md")


def span(letter, *numbers):
    out = []
    for n in numbers:
        first, last = n if isinstance(n, tuple) else (n, n)
        out += ["%s%d" % (letter, i) for i in range(first, last + 1)]
    return out


ROWS = (span("A", (1, 5)) + span("B", (1, 21)) + span("C", (1, 12), 14, 17, 21, 22) +
        span("D", (1, 22), 25, (27, 30), 33, 34, (35, 37), 39, 40) +
        span("E", (1, 13), (15, 28)) + span("F", 1, (3, 11), 24) +
        span("S", (1, 25)))


def known_tests():
    """Name as the table writes it -> file: `suite/name` of Criterion, `test_name` of Python."""
    out = {}
    for top, _, files in os.walk(os.path.join(TREE, "tests")):
        for name in files:
            path = os.path.join(top, name)
            if name.endswith(".c"):
                rx = r"(?m)^(?:Test|ParameterizedTest|Theory)\((?:[^,\n]*\), *)?\s*(\w+),\s*(\w+)"
                form = "%s/%s"
            elif name.endswith(".py"):
                rx, form = r"(?m)^def (test_)(\w+)\(", "%s%s"
            else:
                continue
            with open(path, encoding="utf-8") as f:
                for m in re.finditer(rx, f.read()):
                    out[form % m.groups()] = os.path.relpath(path, TREE)
    return out


def ids_of(test):
    """The rows that a test's name claims: the ids at its front."""
    name = test.split("/")[-1]
    words = (name[5:] if name.startswith("test_") else name).split("_")
    out = []
    for w in words:
        if not re.fullmatch(r"[a-fs]\d+", w):
            break
        out.append(w.upper())
    return out


def table():
    """(line number, id, cells) of each row."""
    with open(TABLE, encoding="utf-8") as f:
        for at, line in enumerate(f, 1):
            cells = cells_of(line)
            if re.fullmatch(r"[A-FS]\d+", cells[0]):
                yield at, cells[0], cells


def faults(tests, seen, pending):
    for at, row, cells in table():
        where = "docs/features.md:%d: %s: " % (at, row)
        if len(cells) != 3 or not all(cells):
            yield where + "needs an id, how to use it, and its tests or \"not yet: what is missing\""
            continue
        if row in seen:
            yield where + "stands in line %d already" % seen[row]
        seen[row] = at
        named = re.findall(r"`([^`]+)`", cells[2])
        if cells[2].startswith("not yet"):
            pending.append(row)
        elif not named:
            yield where + "names no test"
        for test in named:
            if test not in tests:
                yield where + "there is no test %s" % test
            elif row not in ids_of(test):
                yield where + "test %s does not carry the id" % test
    for row in ROWS:
        if row not in seen:
            yield "docs/features.md: row %s is missing" % row
    order = sorted(seen, key=lambda r: (r[0], int(r[1:])))
    if order != sorted(seen, key=seen.get):
        yield "docs/features.md: the rows are not in order"


def cells_of(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def threat_faults(tests, counted):
    """The tables of the threat model whose last column is "tests"."""
    with open(THREATS, encoding="utf-8") as f:
        inside = False
        for at, line in enumerate(f, 1):
            cells = cells_of(line)
            if not line.startswith("|"):
                inside = False
            elif cells[-1] == "tests":
                inside = True
            elif inside and not re.fullmatch(r"-+", cells[0]):
                counted.append(at)
                named = re.findall(r"`([^`]+)`", cells[-1])
                if not named:
                    yield "docs/security.md:%d: names no test" % at
                for test in named:
                    if test not in tests:
                        yield "docs/security.md:%d: there is no test %s" % (at, test)


def show_tests(tests):
    named = {}
    for _, row, cells in table():
        named.setdefault(row, set()).update(re.findall(r"`([^`]+)`", cells[2]))
    for row in ROWS:
        for test, path in sorted(tests.items()):
            if row in ids_of(test):
                mark = " " if test in named.get(row, ()) else "+"
                print("%-4s %s %s (%s)" % (row, mark, test, path))
        if not any(row in ids_of(t) for t in tests):
            print("%-4s - no test" % row)


def main():
    tests = known_tests()
    if sys.argv[1:] == ["--tests"]:
        show_tests(tests)
        return 0
    seen, pending = {}, []
    threats = []
    found = list(faults(tests, seen, pending)) + list(threat_faults(tests, threats))
    for f in found:
        print(f)
    print("features: %d rows, %d not yet%s; threats: %d rows" % (
        len(seen), len(pending), ": " * bool(pending) + " ".join(pending), len(threats)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
