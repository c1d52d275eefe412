"""Foreign names: of layers and models, on their way into C."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import Case
from .small import inputs

INJECTED = "*/\n#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }\n/*"
LAYERS = [
    INJECTED,
    "a\n#define int char\n",
    "conv-1",
    "block1.conv",
    "conv 1",
    "a.b",
    "conv:0",
    "conv(1)",
    'quo"te',
    "quo'te",
    "back\\slash",
    "back\\",
    "new\\\nline",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "%s%n%d",
    "*/ int x; /*",
    "/* open",
    "??/",
    "??)",
    "int",
    "for",
    "while",
    "return",
    "static",
    "_Bool",
    "_Atomic",
    "alignas",
    "class",
    "template",
    "namespace",
    "main",
    "abort",
    "memcpy",
    "int8_t",
    "uint8_t",
    "NULL",
    "EOF",
    "INT_MAX",
    "errno",
    "assert",
    "1st",
    "9",
    "",
    " ",
    "_",
    "__",
    "_X",
    "é",
    "ß",
    "日本",
    "🙂",
    "\u202eevil",
    "\u200b",
    "\ufeff",
    "\x00",
    "\x7f",
    "\x85",
    "\u2028",
    "a" * 300,
    "a" * 5000,
    "in",
    "out",
    "arena",
    "scratch",
    "weights",
    "input",
    "output",
    "q",
    "m",
    "c",
    "sc_load",
    "sc_crc32",
    "SC_INLINE",
    "Conv",
    "CONV",
    "cOnV",
    "${PATH}",
    "$(touch F)",
    "`id`",
    "a;b",
    "a|b",
    "a&b",
    "<script>",
    "&amp;",
    "../../x",
    "\t",
    "\r",
    "\x08\x08",
    "a\rb",
]
MODELS = [
    "stdint",
    "string",
    "secateur_port",
    "sc_crc32",
    "port",
    "harness",
    "model_glue",
    "stm32",
    "math",
    "stdlib",
    "stdio",
    "int",
    "for",
    "main",
    "errno",
    "limits",
    "model",
    "weights",
    "con",
    "nul",
    "sc_bits",
    "memory",
    "unistd",
    "windows",
    "arm_mve",
    "assert",
    "time",
    "linux",
    "unix",
]
GIVEN = ["a b", "a-b", "1a", "", "a\nb", "ä", "a" * 400, "../x", "a/b", "a;b", "$(id)"]


def graph(layers: list[str], model: str = "net") -> Any:
    """A float graph of Dense layers with these names."""
    import numpy as np

    from secateur.frontend.build import Builder

    b = Builder(model)
    t = b.add_input("input", (4,))
    rng = np.random.default_rng(0)
    for name in layers:
        kernel = {"kernel": rng.normal(size=(4, 4)).astype(np.float32)}
        t = b.emit("dense", name, [t], (4,), {}, kernel)
    return b.finish(t)


def compiles(folder: Path, library: Any) -> None:
    """Every file is printable ASCII, and the C is C."""
    for path, text in library.files.items():
        strange = {c for c in text if not (c == "\n" or " " <= c <= "~")}
        assert not strange, f"{path} has {strange!r}"
        assert path.isascii(), path
        assert ".." not in path, path
    home = library.save(folder / "library")
    if (cc := shutil.which("gcc") or shutil.which("cc")) is None:
        return
    for source in sorted(home.rglob("*.c")):
        done = subprocess.run(
            [
                cc,
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
                f"-I{home / 'src'}",
                str(source),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[:300]


def _layer(names: list[str], model: str = "net") -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        import secateur

        made = secateur.convert(graph(names, model), calibration=inputs(8, (4,)))
        compiles(folder, made.plan.library)

    return run


def _named(name: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        import secateur

        made = secateur.convert(graph(["a"]), calibration=inputs(8, (4,)), name=name)
        compiles(folder, made.plan.library)

    return run


def cases() -> Iterator[Case]:
    for name in LAYERS:
        yield Case("names", f"layer {name[:40]!r}", None, _layer([name]))
    yield Case("names", "layers alike", None, _layer(["a b", "a-b", "a.b", "a_b", "A_B"]))
    yield Case("names", "layers as the model", None, _layer(["net", "net_run", "net_arena"]))
    for name in MODELS:
        yield Case("names", f"model {name!r}", None, _layer(["a"], name))
    for name in GIVEN:
        yield Case("names", f"convert(name={name[:20]!r})", None, _named(name))
