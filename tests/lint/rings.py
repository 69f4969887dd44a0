#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rings: files of one room that call each other in a loop. Prints how many files of each room stand
in rings and which; with ROOM also the calls that tie each ring. Fails where they are more than the
row of tests/lint/rooms allows.
    tests/lint/rings.py [ROOM...]"""
import os
import re
import sys

import csource
from tree import Rooms, read, sources

WORD = re.compile(r"[A-Za-z_]\w*")
TYPE = re.compile(r"\b(?:struct|enum|union) \w+")  # may be called as a function is


def calls_between(files):
    """{file: {file called: names}} among FILES, from the words of each file."""
    home = {name: f for f in files for name in csource.defined(read(f))}
    calls = {}
    for f in files:
        to = calls.setdefault(f, {})
        for word in set(WORD.findall(TYPE.sub(" ", csource.blank(read(f))))):
            if home.get(word, f) != f:
                to.setdefault(home[word], set()).add(word)
    return calls


def reachable_from(calls, start):
    seen, todo = set(), [start]
    while todo:
        for to in calls[todo.pop()]:
            if to not in seen:
                seen.add(to)
                todo.append(to)
    return seen


def rings_of(calls):
    """The sets of two files and more each of which reaches all others of its set."""
    reach = {f: reachable_from(calls, f) for f in calls}
    left, rings = sorted(calls), []
    while left:
        f = left[0]
        ring = [g for g in left if g == f or (g in reach[f] and f in reach[g])]
        left = [g for g in left if g not in ring]
        if len(ring) > 1:
            rings.append(ring)
    return sorted(rings, key=len, reverse=True)


def show_ring(ring, calls):
    for f in ring:
        for to in sorted(set(calls[f]) & set(ring)):
            print(f"    {os.path.basename(f)} -> {os.path.basename(to)}: " +
                  ", ".join(sorted(calls[f][to])))


def main():
    rooms, by_room, bad = Rooms(), {}, 0
    for path in sources("src"):
        if path.endswith(".c"):
            by_room.setdefault(rooms.of(path), []).append(path)
    for room in sys.argv[1:] or sorted(by_room, key=str):
        calls = calls_between(by_room[room])
        rings = rings_of(calls)
        sizes = " + ".join(str(len(r)) for r in rings) or "none"
        print(f"rings in {room}: {sizes} of {len(calls)} files")
        found, most = sum(map(len, rings)), rooms.rings.get(str(room), 0)
        if found > most:
            print(f"{room}: {found} files in rings, tests/lint/rooms allows {most}")
            bad = 1
        for ring in rings:
            print("  " + " ".join(os.path.basename(f) for f in ring))
            if sys.argv[1:]:
                show_ring(ring, calls)
    return bad


if __name__ == "__main__":
    sys.exit(main())
