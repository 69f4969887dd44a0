# SPDX-License-Identifier: Apache-2.0
"""Finds the functions and objects that a C file declares and defines, without preprocessing it.
Braces are counted with comments, literals and directives blanked, so the layout does not matter.
Both branches of an #if are read: each must close the braces that it opens."""
import re

BLANKED = re.compile(r"""
    /\*.*?\*/ | //[^\n]*
  | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
  | ^[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*
""", re.DOTALL | re.MULTILINE | re.VERBOSE)
ATTRIBUTE = re.compile(r"\b(?:__attribute__|_Alignas|_Static_assert)\s*\(")
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


def blank(text):
    """The text with spaces for all that is not code, every character and line where it was."""
    return BLANKED.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def without_attributes(head):
    while m := ATTRIBUTE.search(head):
        at, depth = m.end(), 1
        while depth and at < len(head):
            depth += {"(": 1, ")": -1}.get(head[at], 0)
            at += 1
        head = head[:m.start()] + head[at:]
    return head.strip()


def items(text):
    """(head, offset of its first character, offset of its end, body) for each item at file scope; body
    is true when a brace block that is not an initializer ends the item, as a function's does."""
    start, depth, body, head_end = 0, 0, False, 0
    for m in re.finditer(r"[(){};]", text):
        mark, at = m.group(), m.start()
        if mark == "{" and depth == 0:
            body = is_function(text[start:at])
            head_end = at
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(mark, 0)
        if depth == 0 and (mark == ";" or (mark == "}" and body)):
            head = text[start:head_end if mark == "}" else at]
            yield head, start + len(head) - len(head.lstrip()), at, mark == "}"
            start, body = at + 1, False


def is_function(head):
    """Whether a brace after this head opens the body of a function."""
    return without_attributes(head).endswith(")") and not top_level(head, "=")


def top_level(head, mark):
    depth = 0
    for c in head:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if c == mark and depth == 0:
            return True
    return False


def name_of(head):
    """The name of a function; of what a macro makes, as Test(suite, name), the macro's arguments too."""
    head = without_attributes(head)
    name = NAME.search(head)
    if name.start() > 0:
        return name.group(1)
    return name.group(1) + "(" + ", ".join(re.findall(r"[\w]+", head[name.end():])[:2]) + ")"


def functions(text):
    """(name, first line, number of lines) of each function that is defined."""
    text = blank(text)
    for head, begin, end, body in items(text):
        if body:
            first, last = text.count("\n", 0, begin) + 1, text.count("\n", 0, end) + 1
            yield name_of(head), first, last - first + 1


def defined(text):
    """Names of the functions and objects that a file defines for others."""
    for head, _, _, body in items(blank(text)):
        head = without_attributes(head)
        if head.startswith(("static", "extern", "typedef")):
            continue
        if body:
            yield name_of(head)
        elif (name := object_of(head)) is not None:
            yield name


def declared(text):
    """(name, line) of each function and object that a header promises and does not define itself."""
    text = blank(text)
    for head, begin, _, body in items(text):
        line = text.count("\n", 0, begin) + 1
        head = without_attributes(head)
        if body or head.startswith(("static", "typedef")):
            continue
        if head.startswith("extern") and (name := object_of(head)) is not None:
            yield name, line
        elif head.endswith(")") and "{" not in head:
            yield name_of(head), line


def object_of(head):
    """The name of the object that a declaration at file scope is about, or None."""
    head = re.split("=", head, 1)[0]
    head = re.sub(r"\{.*\}", "", head, flags=re.DOTALL)
    head = re.sub(r"\[[^\]]*\]", "", head).strip()
    if "(" in head:
        return None
    words = re.findall(r"\w+", head)
    if len(words) < 2 or words[-2] in ("struct", "union", "enum"):
        return None
    return words[-1]
