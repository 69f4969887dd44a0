#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tree.py and csource.py: what they must see in a small tree made for it."""
import os
import sys
import tempfile
import textwrap
import unittest

import csource
import tree

ROOMS = """
    room base:
    room net: base
    room main: base net
    header low.h base
    header high.h net
"""
FILES = {
    "src/main.c": "int main(void) { return 0; }\n",
    "src/base/low.c": "int tl_low(void) { return 1; }\nconst int tl_table[2] = {1, 2};\n",
    "src/net/high.c": "int tl_high(int a) {\n  return a;\n}\n",
    "include/tieline/low.h": "int tl_low(void);\nextern const int tl_table[2];\n",
    "include/tieline/high.h": "int tl_high(int a);\n",
}


def names(text):
    return [(name, n) for name, _, n in csource.functions(textwrap.dedent(text))]


class Functions(unittest.TestCase):
    def test_an_initializer_within_a_function_does_not_hide_it(self):
        self.assertEqual(names("""\
            static int options_of(void) {
              struct x x = {
                  .a = 1,
              };
              int y[] = {1, 2};
              return x.a + y[0];
            }
            """), [("options_of", 7)])

    def test_an_initializer_at_file_scope_is_no_function(self):
        self.assertEqual(names("""\
            static const char *const word[] = {"a(", "{",
                                               "b"};
            static const struct x row = {.call = f(1), .text = "}"};
            struct y {
              int (*fn)(int a);
            };
            enum z { A = (1), B };
            int f(int a) { return a; }
            """), [("f", 1)])

    def test_comments_literals_and_directives_do_not_count(self):
        self.assertEqual(names("""\
            #define BLOCK(x) do { x; } \\
              while (0) {
            /* int g(void) { */ // }
            int f(int a,
                  int b) {
              return a == '{' ? '"' : b; // "
            }
            """), [("f", 4)])

    def test_attributes_and_tests_are_named_by_what_they_are(self):
        self.assertEqual(names("""\
            __attribute__((format(printf, 1, 2))) static void say(const char *f, ...) {
            }
            Test(suite, name, .timeout = 10) {
            }
            """), [("say", 2), ("Test(suite, name)", 2)])

    def test_declarations(self):
        text = """\
            extern const char *const tl_names[];
            struct tl_a *tl_get(struct tl_b *b, void (*fn)(void *arg));
            void tl_say(const char *f, ...) __attribute__((format(printf, 1, 2)));
            static inline int tl_one(void) { return 1; }
            typedef void (*tl_fn)(void);
            struct tl_a;
            struct tl_a { int (*call)(void); };
            """
        self.assertEqual([n for n, _ in csource.declared(textwrap.dedent(text))],
                         ["tl_names", "tl_get", "tl_say"])


class Tree(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.addCleanup(setattr, tree, "TREE", tree.TREE)
        tree.TREE = self.dir.name
        self.write("tests/lint/rooms", textwrap.dedent(ROOMS))
        self.write("tests/lint/exceptions", "# none\n")
        for path, text in FILES.items():
            self.write(path, text)

    def write(self, path, text, mode="w"):
        path = os.path.join(tree.TREE, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode, encoding="utf-8") as f:
            f.write(text)

    def found(self, *expected):
        self.assertEqual(list(tree.Rooms().faults()), list(expected))

    def test_a_clean_tree_has_no_faults(self):
        self.found()
        self.assertEqual(tree.Sizes().faults, [])

    def test_a_row_of_a_header_that_is_gone(self):
        self.write("tests/lint/rooms", "header gone.h net\n", "a")
        self.found("tests/lint/rooms: include/tieline/gone.h does not exist")

    def test_a_row_that_is_there_twice(self):
        self.write("tests/lint/rooms", "header low.h base\n", "a")
        self.found("tests/lint/rooms: 'header low.h base' is there twice")

    def test_rooms_that_do_not_exist(self):
        self.write("tests/lint/rooms", "room attic: cellar\n", "a")
        self.found("tests/lint/rooms: room attic has nothing in src",
                   "tests/lint/rooms: room attic may use cellar, which is not a room")

    def test_an_include_that_points_up(self):
        self.write("src/base/low.c", '#include "tieline/high.h"\n' + FILES["src/base/low.c"])
        self.found("src/base/low.c:1: base must not use net (tieline/high.h)")

    def test_a_private_header_stays_in_its_room_unless_it_is_lent(self):
        self.write("src/base/own.h", "#pragma once\n")
        self.write("src/base/high.c", '#include "base/own.h"\n')
        self.found()
        self.write("src/net/curious.c", '#include "base/own.h"\n')
        self.found("src/net/curious.c:1: base/own.h is private to base")
        self.write("tests/lint/rooms", "lent base/own.h\n", "a")
        self.found()

    def test_a_promise_that_another_room_keeps(self):
        self.write("src/base/low.c", "const int tl_table[] = {1};\n")
        self.write("src/net/low.c", "int tl_low(void) { return 1; }\n")
        self.found("include/tieline/low.h:1: tl_low of base is defined in src/net/low.c")

    def test_a_promise_that_nobody_keeps(self):
        self.write("src/base/low.c", "static int tl_low(void) { return 1; }\n")
        self.found("include/tieline/low.h:1: tl_low is defined nowhere",
                   "include/tieline/low.h:2: tl_table is defined nowhere")

    def test_a_function_that_is_too_long(self):
        body = "  int a[] = {1};\n" * 60
        self.write("src/net/long.c", "void run(void) {\n" + body + "}\n")
        self.assertEqual(tree.Sizes().faults, ["src/net/long.c:1: run has 62 lines, the limit is 60"])
        self.write("tests/lint/exceptions", "src/net/long.c:run 62 a table\nsrc/main.c 900 old\n")
        self.assertEqual(tree.Sizes().faults, ["tests/lint/exceptions: src/main.c is no longer needed"])


if __name__ == "__main__":
    sys.argv[0] = "tests/lint/selftest.py"
    unittest.main()
