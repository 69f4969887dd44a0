#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each flow test says where it runs: `kernel_tls`, on the host and in the kernel-TLS
machine, or `host_only("because ...")`. A mark at the function goes before its module's `pytestmark`.

    worlds.py            the check: prints the sum, fails where a mark is missing or without reason
    worlds.py --list     the tests that run on the host alone, by reason
"""
import ast
import glob
import os
import sys

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
WORLDS = ("kernel_tls", "host_only")


def world(expression):
    """(name, reason) if EXPRESSION is one of the two marks."""
    call = expression if isinstance(expression, ast.Call) else None
    mark = call.func if call else expression
    if not isinstance(mark, ast.Attribute) or mark.attr not in WORLDS:
        return None
    said = [a.value for a in call.args if isinstance(a, ast.Constant)] if call else []
    return mark.attr, said[0] if said else ""


def marks(expressions):
    return [w for w in map(world, expressions) if w]


def module_marks(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return marks(node.value.elts if isinstance(node.value, ast.List) else [node.value])
    return []


def tests_of(path):
    """(place, name, marks that count) of each test."""
    with open(path, encoding="utf-8") as f:
        tree = ast.parse(f.read(), path)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            own = marks(node.decorator_list)
            where = "%s:%d" % (os.path.relpath(path, TREE), node.lineno)
            if node.name.startswith("test_"):
                yield where, node.name, own or module_marks(tree)
            elif own:
                yield where, node.name, []


def main():
    faults, both, by_reason = [], 0, {}
    for path in sorted(glob.glob(os.path.join(TREE, "tests", "flow", "test_*.py"))):
        for where, name, found in tests_of(path):
            if len(found) != 1:
                faults.append("%s: %s needs one of the marks %s" % (where, name, " and ".join(WORLDS)))
            elif found[0][0] == "kernel_tls":
                both += 1
            elif not found[0][1]:
                faults.append("%s: %s: host_only without a reason" % (where, name))
            else:
                by_reason.setdefault(found[0][1], []).append(name)
    if sys.argv[1:] == ["--list"]:
        for reason, names in sorted(by_reason.items()):
            print("%s\n    %s" % (reason, "\n    ".join(names)))
    for f in faults:
        print(f)
    print("flow tests: %d in the kernel-TLS machine, too, %d on the host alone for %d reasons" % (
        both, sum(map(len, by_reason.values())), len(by_reason)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
