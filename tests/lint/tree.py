#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the compiler does not: the direction of dependencies, in includes and in what a header
promises (by the table `rooms`), and the sizes of files and functions (with the reasons in
`exceptions`). Prints all sizes by room. selftest.py shows what it must find.

    tree.py direction | sizes"""
import os
import re
import statistics
import sys

import csource

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
FILE_LIMIT, FUNCTION_LIMIT = 800, 60
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def rows(name):
    with open(os.path.join(TREE, "tests", "lint", name), encoding="utf-8") as f:
        return [l.split("#")[0].strip() for l in f if l.split("#")[0].strip()]


def sources(*tops):
    for top in tops:
        for d, _, names in sorted(os.walk(os.path.join(TREE, top))):
            for n in sorted(names):
                if n.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(d, n), TREE)


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as f:
        return f.read()


class Rooms:
    """The table `rooms`, and what in the tree contradicts it."""

    def __init__(self):
        self.may, self.header, self.only, self.without, self.lent = {}, {}, {}, {}, {}
        self.rings = {}
        self.bad_rows = []
        for row in rows("rooms"):
            self.take_row(row.replace(":", " ").split(), row)

    def take_row(self, word, row):
        if word[0] == "room":
            table, key, value = self.may, word[1], set(word[2:]) | {word[1]}
        elif word[0] == "header" and len(word) == 3:
            table, key, value = self.header, "include/tieline/" + word[1], word[2]
        elif word[0] == "only" and len(word) == 3:
            table, key, value = self.only, word[2], word[1]
        elif word[0] == "lent" and len(word) == 2:
            table, key, value = self.lent, "src/" + word[1], word[1].split("/")[0]
        elif word[0] == "rings" and len(word) == 3 and word[2].isdigit():
            table, key, value = self.rings, word[1], int(word[2])
        elif word[0] == "without" and len(word) > 2:
            table, key, value = self.without, word[1], word[2:]
        else:
            self.bad_rows.append(f"'{row}' is not understood")
            return
        if key in table:
            self.bad_rows.append(f"'{row}' is there twice")
        table[key] = value

    def of(self, path):
        """The room of a file of the tree, or None when the table lacks it."""
        if path.startswith("include/"):
            return self.header.get(path)
        part = path.split("/")
        return "main" if len(part) == 2 else part[1] if part[1] in self.may else None

    def faults(self):
        yield from (f"tests/lint/rooms: {row}" for row in self.row_faults())
        for path in sources("include", "src"):
            room = self.of(path)
            if room is None:
                yield f"{path}: its room is not in tests/lint/rooms"
                continue
            for at, text in enumerate(read(path).splitlines(), 1):
                m = INCLUDE.match(text)
                if m:
                    yield from self.include_faults(f"{path}:{at}", path, room, m.group(1), m.group(2))
        yield from self.promise_faults()

    def row_faults(self):
        yield from self.bad_rows
        for path, room in (self.header | self.lent).items():
            if not os.path.isfile(os.path.join(TREE, path)):
                yield f"{path} does not exist"
            if room not in self.may:
                yield f"{path} is in {room}, which is not a room"
        for room, used in self.may.items():
            place = os.path.join(TREE, "src", "main.c" if room == "main" else room)
            if not os.path.exists(place):
                yield f"room {room} has nothing in src"
            yield from (f"room {room} may use {u}, which is not a room" for u in sorted(used - set(self.may)))
        yield from (f"only {room} includes <{name}>, but it is not a room"
                    for name, room in self.only.items() if room not in self.may)
        yield from (f"without {room}: it is not a room" for room in self.without if room not in self.may)
        yield from (f"rings {room}: it is not a room" for room in self.rings if room not in self.may)

    def include_faults(self, where, path, room, mark, name):
        if mark == "<":
            if self.only.get(name, room) != room:
                yield f"{where}: only src/{self.only[name]} includes <{name}>"
            return
        beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
        target = next((p for p in (beside, "include/" + name, "src/" + name)
                       if os.path.exists(os.path.join(TREE, p))), None)
        if target is None:
            yield f'{where}: "{name}" is not found'
        elif path.startswith("include/") and not target.startswith("include/"):
            yield f"{where}: a public header includes the private {target}"
        elif self.of(target) not in self.may[room]:
            yield f"{where}: {room} must not use {self.of(target)} ({name})"
        elif self.of(target) != room and target.startswith("src/") and target not in self.lent:
            yield f"{where}: {name} is private to {self.of(target)}"

    def promise_faults(self):
        """What a header declares must be defined in the header's room: a definition elsewhere is a
        dependency that no include shows."""
        home = {}
        for path in sources("src"):
            if path.endswith(".c"):
                for name in csource.defined(read(path)):
                    home[name] = path
        for path in sources("include", "src"):
            if not path.endswith(".h"):
                continue
            for name, line in csource.declared(read(path)):
                if name not in home:
                    yield f"{path}:{line}: {name} is defined nowhere"
                elif self.of(home[name]) != self.of(path):
                    yield f"{path}:{line}: {name} of {self.of(path)} is defined in {home[name]}"


def exceptions():
    out = {}
    for row in rows("exceptions"):
        word = row.split(None, 2)
        if len(word) < 3 or not word[1].isdigit():
            sys.exit(f"tests/lint/exceptions: '{row}' needs: path[:function] LIMIT reason")
        out[word[0]] = int(word[1])
    return out


class Sizes:
    """Lines of files and functions by room, and what is longer than it may be."""

    def __init__(self):
        self.allowed, self.used, self.faults = exceptions(), set(), []
        self.by_room, self.longest = {}, []
        for path in sources("include", "src", "bench", "tests"):
            self.measure(path, read(path))
        self.faults += [f"tests/lint/exceptions: {key} is no longer needed"
                        for key in sorted(set(self.allowed) - self.used)]

    def measure(self, path, text):
        room = "/".join(path.split("/")[:2]) if path.count("/") > 1 else path.split("/")[0]
        room = "include" if path.startswith("include") else room
        files, funcs = self.by_room.setdefault(room, ([], []))
        files.append(len(text.splitlines()))
        self.judge(path, path, files[-1], FILE_LIMIT)
        for name, at, n in csource.functions(text):
            funcs.append(n)
            self.longest.append((n, f"{path}:{at} {name}"))
            self.judge(f"{path}:{name}", f"{path}:{at}: {name}", n, FUNCTION_LIMIT)

    def judge(self, key, where, n, limit):
        if n <= limit:
            return
        self.used.add(key)
        if n > self.allowed.get(key, limit):
            self.faults.append(f"{where} has {n} lines, the limit is {limit}")

    def print(self):
        print(f"{'room':<18} files  lines: median   p95   max | functions  lines: median   p95   max")
        for room, (files, funcs) in sorted(self.by_room.items()):
            print(f"{room:<18} {len(files):5d}        {spread(files)} | {len(funcs):9d}        {spread(funcs)}")
        longest = sorted(self.longest, reverse=True)[:5]
        print("longest functions: " + ", ".join(f"{where} ({n})" for n, where in longest))


def spread(values):
    v = sorted(values)
    return f"{statistics.median(v):6.0f} {v[min(len(v) - 1, int(len(v) * .95))]:5d} {v[-1]:5d}" if v else " " * 18


def main():
    if sys.argv[1:] == ["sizes"]:
        sizes = Sizes()
        sizes.print()
        faults = sizes.faults
    else:
        faults = list(Rooms().faults())
    for f in faults:
        print(f)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
