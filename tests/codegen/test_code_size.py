"""What stays a function in generated C, and what that means for its estimated size."""

from __future__ import annotations

import re

from secateur.codegen.code_size import CodeSizes, key_of, sizes_of, stem_of
from secateur.codegen.emit import APART_STATEMENTS, FUNCTION, is_apart
from secateur.codegen.plan import make_plan

from .qgraphs import Chain


def _function(statements: int, head: str = "static void") -> str:
    body = "".join(f"    a[{i}] = {i};\n" for i in range(statements))
    return f"/* {statements} */\n{head} f(int *a)\n{{\n{body}}}\n"


def test_long_functions_stay_and_say_so() -> None:
    assert not is_apart(_function(APART_STATEMENTS - 1))
    assert is_apart(_function(APART_STATEMENTS))
    assert is_apart(_function(1, "__attribute__((naked, noinline)) static void"))
    assert is_apart(_function(1, "SC_NOINLINE void"))
    assert not is_apart(_function(1) + _function(1, "SC_NOINLINE void"))
    assert not is_apart(_function(APART_STATEMENTS, "SC_INLINE void"))
    # what is written into a function stands behind it, and is none of it
    assert not is_apart(_function(1) + _function(APART_STATEMENTS, "SC_INLINE void"))


def test_generated_functions_are_marked_once() -> None:
    c = Chain("marked", (3, 9, 9)).conv(8, (3, 3), "int8", pads=(1, 1, 1, 1)).dense(10, "int8")
    text = make_plan(c.graph, None, "latency").library.files["src/marked.c"]
    found = list(FUNCTION.finditer(re.sub(r"^SC_APART ", "", text, flags=re.M)))
    long = [m for m in found if m["attributes"] is None and is_apart(m[0])]
    assert long
    assert text.count("SC_APART ") == len(long)


def test_a_function_that_stays_costs_what_it_costs_apart() -> None:
    known = sizes_of("cortex-m4", False)
    steps = {"apart": 4.0, "apart bytes": 0.25, "functions": -20.0, "bytes": -0.5}
    sizes = CodeSizes({}, {}, {}, {}, {}, known.prices, steps)
    short, long = _function(2), _function(APART_STATEMENTS)
    assert sizes.own(long) == sizes.apart(long) * 1.25 + 4
    assert sizes.own(short) == sizes.apart(short) / 2 - 20


def test_what_is_known_uses_what_it_was_seen_to_use() -> None:
    plain, other = _function(3), _function(4, "static int")
    assert key_of(plain) != key_of(other)
    assert stem_of(plain) == stem_of(other)
    uses = {stem_of(plain): ("sc_copy",), key_of(other): ("memcpy",)}
    helpers, called = {"sc_copy": 40, "memcpy": 30, "inner": 8}, {"memcpy": ("inner",)}
    sizes = CodeSizes({key_of(plain): 20}, uses, helpers, called, {}, {}, {})
    assert sizes.used(plain) == {}
    assert sizes.used(other) == {"memcpy": 30, "inner": 8}
    unknown = CodeSizes({}, uses, helpers, called, {}, {}, {})
    assert unknown.used(plain) == {"sc_copy": 40}
