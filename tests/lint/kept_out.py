#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a room must not compile, not even through other headers: the rows `without` of the table
`rooms`, asked of the compiler (-M).    tests/lint/kept_out.py COMPILER [OPTION...]"""
import os
import re
import subprocess
import sys

from tree import TREE, Rooms, sources


def headers_of(path, compiler):
    """All headers that a file compiles."""
    out = subprocess.run([*compiler, "-M", path], cwd=TREE, stdout=subprocess.PIPE, text=True, check=True)
    return re.sub(r"\\\n", " ", out.stdout).split(":", 1)[1].split()


def faults(rooms, compiler):
    for path in sources("src"):
        room = rooms.of(path)
        for part in rooms.without.get(room, []) if path.endswith(".c") else []:
            found = [h for h in headers_of(path, compiler) if f"/{part}" in h]
            if found:
                yield f"{path}: {room} compiles no {part}, but {os.path.basename(found[0])} comes along"


def main():
    found = list(faults(Rooms(), sys.argv[1:]))
    print("\n".join(found) if found else "kept out of every file of its room")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
