#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the compiler does not: the direction of dependencies (by the table `rooms`) and the
sizes of files and functions (with the reasons in `exceptions`). Prints all sizes by room."""
import os, re, statistics, sys

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.realpath(os.path.join(HERE, "..", ".."))
FILE_LIMIT, FUNCTION_LIMIT = 800, 60
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


def rows(name):
    with open(os.path.join(HERE, name)) as f:
        return [l.split("#")[0].strip() for l in f if l.split("#")[0].strip()]


def sources(*tops):
    for top in tops:
        for d, _, names in sorted(os.walk(os.path.join(TREE, top))):
            for n in sorted(names):
                if n.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(d, n), TREE)


def lines(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as f:
        return f.read().splitlines()


class Rooms:
    def __init__(self):
        self.may, self.header, self.only = {}, {}, {}
        for row in rows("rooms"):
            word = row.replace(":", " ").split()
            if word[0] == "room":
                self.may[word[1]] = set(word[2:]) | {word[1]}
            elif word[0] == "header":
                self.header["include/tieline/" + word[1]] = word[2]
            elif word[0] == "only":
                self.only[word[2]] = word[1]

    def of(self, path):
        """The room of a file of the tree, or None when the table lacks it."""
        if path.startswith("include/"):
            return self.header.get(path)
        part = path.split("/")
        return "main" if len(part) == 2 else part[1] if part[1] in self.may else None

    def faults(self):
        for path in sources("include", "src"):
            room = self.of(path)
            if room is None:
                yield f"{path}: its room is not in tests/lint/rooms"
                continue
            for at, text in enumerate(lines(path), 1):
                m = INCLUDE.match(text)
                if m:
                    yield from self.fault(f"{path}:{at}", path, room, m.group(1), m.group(2))

    def fault(self, where, path, room, mark, name):
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


def functions(text):
    """(name, first line, number of lines); relies on the format that clang-format enforces."""
    start = None
    for at, l in enumerate(text, 1):
        if start is None:
            if l[:1].isalpha() or l[:1] == "_":
                start = at
            else:
                continue
        if l.startswith("}"):
            head = " ".join(text[start - 1:at]).split("{")[0]
            if "(" in head and "=" not in head and ";" not in head and not head.startswith("typedef"):
                yield NAME.search(head).group(1), start, at - start + 1
            start = None
        elif l.endswith("}") and start == at and "(" in l.split("{")[0] and "=" not in l.split("{")[0]:
            yield NAME.search(l).group(1), start, 1
            start = None
        elif l.endswith((";", ":")) and "{" not in " ".join(text[start - 1:at]):
            start = None
        elif l.endswith("};"):
            start = None


def exceptions():
    out = {}
    for row in rows("exceptions"):
        word = row.split(None, 2)
        if len(word) < 3 or not word[1].isdigit():
            sys.exit(f"tests/lint/exceptions: '{row}' needs: path[:function] LIMIT reason")
        out[word[0]] = int(word[1])
    return out


def spread(values):
    v = sorted(values)
    return f"{statistics.median(v):6.0f} {v[min(len(v) - 1, int(len(v) * .95))]:5d} {v[-1]:5d}" if v else " " * 18


def sizes():
    allowed, used, faults, by_room, all_functions = exceptions(), set(), [], {}, []
    for path in sources("include", "src", "bench", "tests"):
        text = lines(path)
        room = "/".join(path.split("/")[:2]) if path.count("/") > 1 else path.split("/")[0]
        room = "include" if path.startswith("include") else room
        files, funcs = by_room.setdefault(room, ([], []))
        files.append(len(text))
        if len(text) > FILE_LIMIT:
            used.add(path)
            if len(text) > allowed.get(path, FILE_LIMIT):
                faults.append(f"{path}: {len(text)} lines, the limit is {FILE_LIMIT}")
        for name, at, n in functions(text):
            funcs.append(n)
            all_functions.append((n, f"{path}:{at} {name}"))
            key = f"{path}:{name}"
            if n > FUNCTION_LIMIT:
                used.add(key)
                if n > allowed.get(key, FUNCTION_LIMIT):
                    faults.append(f"{path}:{at}: {name} has {n} lines, the limit is {FUNCTION_LIMIT}")
    faults += [f"tests/lint/exceptions: {k} is no longer needed" for k in sorted(set(allowed) - used)]
    print(f"{'room':<18} files  lines: median   p95   max | functions  lines: median   p95   max")
    for room, (files, funcs) in sorted(by_room.items()):
        print(f"{room:<18} {len(files):5d}        {spread(files)} | {len(funcs):9d}        {spread(funcs)}")
    print("longest functions: " + ", ".join(f"{w} ({n})" for n, w in sorted(all_functions, reverse=True)[:5]))
    return faults


def main():
    faults = sizes() if sys.argv[1:] == ["sizes"] else list(Rooms().faults())
    for f in faults:
        print(f)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
