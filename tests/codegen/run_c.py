"""Compiles generated libraries together and runs them: on the host, or on a core in unicorn."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur import cores, targets
from secateur.codegen import memory
from secateur.codegen.ends import ends, joined, split
from secateur.codegen.geometry import Thrift
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools
from secateur.targets.builders import elf

from .qgraphs import codes

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
SANITIZE = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

#: Arena, input and output in blocks of exactly their size, so that a byte too far is an error; the
#: arena holds rubbish before each run, so that nothing may be expected of it.
_RUN = """
static void run_{name}(int n)
{{
    uint8_t *arena = malloc({upper}_ARENA_BYTES);
    int8_t *in = malloc({upper}_INPUT_SIZE), *out = malloc({upper}_OUTPUT_SIZE);
    for (int i = 0; i < n; i++) {{
        if (fread(in, 1, {upper}_INPUT_SIZE, stdin) != {upper}_INPUT_SIZE) exit(3);
        memset(arena, 0xA5 + i, {upper}_ARENA_BYTES);
        if ({run}(arena, in, out) != 0) exit(4);
        fwrite(out, 1, {upper}_OUTPUT_SIZE, stdout);
    }}
    free(arena), free(in), free(out);
}}
"""


GUARD = 16  #: bytes between the arena's regions


def plan(
    graph: QGraph, name: str, encoding: Mapping[str, str] | str | None = None, guard: int = 0,
    optimize: str = "balanced", thrift: Mapping[str, Thrift] | None = None,
) -> Plan:  # fmt: skip
    """The plan of `graph` under a C name of its own, `guard` bytes between the arena's regions."""
    graph.name = name
    before, memory.GUARD = memory.GUARD, guard
    try:
        return make_plan(graph, encoding, optimize, thrift=thrift)
    finally:
        memory.GUARD = before


_ZONES = """
#include <sanitizer/asan_interface.h>

static void guard_zones(uint8_t *arena, uint32_t bytes, const uint32_t *zones, uint32_t n)
{
    __asan_poison_memory_region(arena, bytes);
    for (; n != 0; n--, zones += 2) {
        __asan_unpoison_memory_region(arena + zones[0], zones[1]);
    }
}

"""


def guarded(p: Plan) -> str:
    """The C of a library's layers, in which each of them may touch nothing in the arena but what is
    alive at its time: the rest is poison to the address sanitizer."""
    name, places = p.library.name, {op: i + 1 for i, op in enumerate(p.library.arrays)}
    places |= {"input": 0, "output": len(places) + 1}
    whole = f"{name.upper()}_ARENA_BYTES"
    before, entry, body = p.library.files[f"src/{name}.c"].partition(f"int {name}_run_in(")
    body, close, after = body.partition(f"    return {name.upper()}_OK;\n")
    assert entry
    assert close
    seen, out = set(), []
    for line in body.splitlines(keepends=True):
        step = re.match(r"( +)/\* (\w+)(?::| \*/)", line)
        if step and step[2] in places:
            at = places[step[2]]
            seen.add(at)
            zones = [f"{b.offset}, {b.at(at)}" for b in p.memory.blocks if b.at(at)]
            array = f"(const uint32_t[]){{{', '.join(zones)}}}"
            out.append(f"{step[1]}guard_zones(arena, {whole}, {array}, {len(zones)});\n")
        out.append(line)
    assert {0, len(places) - 1} <= seen, sorted(places)
    free = f"    __asan_unpoison_memory_region(arena, {whole});\n"
    section = before.rindex("\n\n") + 2  # what stands before the function's type
    return (
        before[:section] + _ZONES + before[section:] + entry + "".join(out) + free + close + after
    )


def _compile(
    compiler: str, flags: Sequence[str], sources: Sequence[Path], folder: Path
) -> list[str]:
    def one(source: Path) -> str:
        out = folder / f"{source.stem}.o"  # not in the library: that holds nothing of others
        tools.run([compiler, *flags, "-c", str(source), "-o", str(out)], f"compiling {source}")
        return str(out)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, sources))


def _sources(plans: Sequence[Plan], folder: Path, guard: bool = False) -> list[Path]:
    sources: list[Path] = []
    for p in plans:
        home = p.library.save(folder / p.library.name) / "src"
        if guard:
            (home / f"{p.library.name}.c").write_text(guarded(p))
        sources += sorted(home.glob("*.c"))
    return sources


def on_host(
    plans: Sequence[Plan], inputs: Sequence[np.ndarray], folder: Path, compiler: str = "gcc",
    flags: Sequence[str] = SANITIZE, guard: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """Outputs int8 [n, size] of every plan for its int8 inputs [n, ...]."""
    sources = _sources(plans, folder, guard)
    names = [p.library.name for p in plans]
    main = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    main += [f'#include "{n}/src/{n}.h"' for n in names]
    main += [
        _RUN.format(name=n, upper=n.upper(), run=_entry(p))
        for n, p in zip(names, plans, strict=True)
    ]
    calls = "".join(f"    run_{n}({len(x)});\n" for n, x in zip(names, inputs, strict=True))
    main += [f"int main(void)\n{{\n{calls}    return 0;\n}}\n"]
    (folder / "main.c").write_text("\n".join(main))
    objects = _compile(compiler, [*WARNINGS, *flags], [folder / "main.c", *sources], folder)
    program = folder / "program"
    tools.run([compiler, *flags, *objects, "-o", str(program)], "linking")
    data = b"".join(np.ascontiguousarray(x, np.int8).tobytes() for x in inputs)
    done = subprocess.run(
        [str(program)], input=data, capture_output=True, timeout=120,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return _split(plans, inputs, done.stdout)


def _entry(p: Plan) -> str:
    """The function that takes all inputs one behind the other."""
    name = p.library.name
    ends = f"{name.upper()}_ENDS" in p.library.files[f"src/{name}.h"]
    return f"{name}_run_bytes_in" if ends else f"{name}_run_in"


def _split(plans: Sequence[Plan], inputs: Sequence[np.ndarray], raw: bytes) -> list[np.ndarray]:
    out, at = [], 0
    for p, x in zip(plans, inputs, strict=True):
        size = _macro(p, "OUTPUT_SIZE")
        out.append(np.frombuffer(raw, np.int8, len(x) * size, at).reshape(len(x), size))
        at += len(x) * size
    assert at == len(raw)
    return out


def _macro(p: Plan, which: str) -> int:
    name = p.library.name
    text = p.library.files[f"src/{name}.h"]
    return int(text.split(f"#define {name.upper()}_{which} ")[1].split()[0])


CORES = ("cortex-m4", "cortex-m0plus", "rv32imac")
PLACES = ("host", *CORES)
_FLASH, _STACK, _RAM, _IO, _PAGE = 0x10000, 0x1F000000, 0x20000000, 0x40000000, 0x1000
_BACK = _FLASH - _PAGE  #: where a run returns to and stops

#: Constants and code; a model has no variables but its arena, which is left out here.
_SCRIPT = f"""
SECTIONS {{
  . = {_FLASH};
  .text : {{ *(.text .text.*) . = ALIGN(4); *(.rodata .rodata.* .srodata .srodata.*) }}
  .ARM.exidx : {{ *(.ARM.exidx*) }}
  .data : {{ *(.data .data.* .sdata .sdata.*) }}
  ASSERT(SIZEOF(.data) == 0, "the library has variables")
}}
"""


def instructions(program: Path, function: str) -> list[str]:
    """Mnemonics of the Cortex-M functions whose names begin with `function`."""
    command = [cores.get("cortex-m4").architecture.prefix + "objdump", "-d", str(program)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: list[str] = []
    for part in text.split("\n\n"):
        if f"<{function}" in part.split("\n")[0]:
            found += [line.split("\t")[2] for line in part.split("\n")[1:] if "\t" in line]
    assert found, function
    return found


def on_core(
    core: str, plans: Sequence[Plan], inputs: Sequence[np.ndarray], folder: Path
) -> list[np.ndarray]:
    """The same as `on_host`, compiled for a core and run in unicorn.

    The arena ends where mapped memory ends, and begins where it begins if it fills whole pages.
    """
    import unicorn
    from unicorn import arm_const, riscv_const

    flags = tools.flags()
    row = cores.get(core)
    machine, compiler = row.machine, row.compiler
    sources = _sources(plans, folder)
    keep = [f"-Wl,-u,{_entry(p)}" for p in plans]
    static = [f"-D{p.library.name.upper()}_NO_STATIC_ARENA" for p in plans]
    objects = _compile(compiler, [*machine, *flags.COMPILE, "-g0", *static], sources, folder)
    program = folder / f"{core}.elf"
    riscv = row.riscv
    # nothing here sets the global pointer that relaxed RISC-V code would address by; code comes
    # before constants, because the C library's carries no alignment of its own
    specs = ["-Wl,--no-relax", *row.architecture.link]
    script = folder / "flash.ld"
    script.write_text(_SCRIPT)
    tools.run(
        [compiler, *machine, *specs, "-nostartfiles", f"-T{script}", "-Wl,--gc-sections",
         "-Wl,--no-warn-rwx-segments", *keep, *objects, "-o", str(program)],
        f"linking for {core}",
    )  # fmt: skip
    if riscv:
        uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        args = [getattr(riscv_const, f"UC_RISCV_REG_A{i}") for i in range(3)]
        sp, link = riscv_const.UC_RISCV_REG_SP, riscv_const.UC_RISCV_REG_RA
        pc = riscv_const.UC_RISCV_REG_PC
    else:
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{row.unicorn}"))
        args = [getattr(arm_const, f"UC_ARM_REG_R{i}") for i in range(3)]
        sp, link = arm_const.UC_ARM_REG_SP, arm_const.UC_ARM_REG_LR
        pc = arm_const.UC_ARM_REG_PC
    uc.mem_map(_BACK, 0x800000)
    for address, data in elf.segments(program):
        uc.mem_write(address, data)
    symbols = elf.symbols(program)
    wrong: list[int] = []

    def note(uc: Any, access: int, address: int, size: int, value: int, data: object) -> bool:
        wrong.append(address)
        return False

    uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, note)
    uc.mem_map(_STACK, 0x10000)
    uc.mem_map(_IO, 0x40000)
    result = _IO + 0x20000
    out: list[np.ndarray] = []
    ram = _RAM
    for p, x in zip(plans, inputs, strict=True):
        name = p.library.name
        arena, size = _macro(p, "ARENA_BYTES"), _macro(p, "OUTPUT_SIZE")
        assert arena % 4 == 0
        pages = (arena + _PAGE - 1) & -_PAGE
        uc.mem_map(ram, pages)
        rows = []
        for i, one in enumerate(x):
            uc.mem_write(ram, bytes([0xA5 + i & 255]) * pages)
            uc.mem_write(_IO, one.tobytes())
            for register, value in zip(args, (ram + pages - arena, _IO, result), strict=True):
                uc.reg_write(register, value)
            uc.reg_write(sp, _STACK + 0x10000)
            uc.reg_write(link, _BACK | (0 if riscv else 1))
            try:
                uc.emu_start(symbols[_entry(p)][0] | (0 if riscv else 1), _BACK)
            except unicorn.UcError as error:
                at, where = uc.reg_read(pc), wrong[-1] - (ram + pages - arena) if wrong else None
                function = next((n for n, (a, z) in symbols.items() if a <= at < a + z), "?")
                layers = [(x.kernel, x.encoding) for x in p.layers.values()]
                raise AssertionError(
                    f"{error} in {function} at byte {where} of {arena} of {name}'s arena; {layers}"
                ) from None
            rows.append(np.frombuffer(bytes(uc.mem_read(result, size)), np.int8))
        uc.mem_unmap(ram, pages)
        ram += pages + _PAGE
        out.append(np.stack(rows))
    return out


#: Vectors, and a program that writes what every run gives to the emulator's standard output; the
#: vector unit is switched on first. No variable has an initial value.
_BARE = """
#include <stdint.h>
#include <string.h>
{includes}

extern uint8_t _stack[];
static uint8_t arena[{arena}] __attribute__((aligned(16)));
static int8_t out[{output}] __attribute__((aligned(16)));
int main(void);
void start(void);
static void stop(void);
__attribute__((section(".vectors"), used)) void *const vectors[16] = {{
    _stack, (void *)start, {faults}
}};

static int semihost(int what, const void *with)
{{
    register int r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = with;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}}

static void stop(void)
{{
    semihost(0x18, (void *)0x20024); /* an error, to the emulator */
}}

void start(void)
{{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb" ::: "memory");
    __asm__ volatile("isb" ::: "memory");
    main();
    semihost(0x18, (void *)0x20026);
}}

static int file;

static void put(uint32_t bytes)
{{
    const uint32_t with[3] = {{(uint32_t)file, (uint32_t)(uintptr_t)out, bytes}};
    if (semihost(0x05, with) != 0) stop();
}}

int main(void)
{{
    const uint32_t with[3] = {{(uint32_t)(uintptr_t)":tt", 5, 3}};
    file = semihost(0x01, with);
{calls}    return 0;
}}
"""


def on(
    place: str, plans: Sequence[Plan], inputs: Sequence[np.ndarray], folder: Path
) -> list[np.ndarray]:
    """The same as `on_host` at one of PLACES; the test is skipped where its compiler is missing."""
    if place == "host":
        return on_host(plans, inputs, folder)
    if why := tools.missing(cores.get(place).compiler):
        pytest.skip(why)
    return on_core(place, plans, inputs, folder)


def same_on_vectors(p: Plan, graph: QGraph, x: np.ndarray, folder: Path) -> None:
    """`p`, a plan of `graph`, gives the reference's bytes as firmware of an emulated Cortex-M55."""
    target = targets.get("qemu")
    if why := tools.missing("arm-none-eabi-gcc") or target.available():
        pytest.skip(why)
    image = targets.build(p.library.save(folder / "library"), "mps3_an547", folder / "build")
    raw = target.run(image, joined(ends(graph, graph.inputs, "input"), [x])).outputs
    (got,) = split(ends(graph, graph.outputs, "output"), raw.reshape(len(x), -1))
    want = reference.run(graph, x)
    np.testing.assert_array_equal(got.reshape(want.shape), want)


def on_qemu(plans: Sequence[Plan], inputs: Sequence[np.ndarray], folder: Path) -> list[np.ndarray]:
    """The same as `on_host`, on the Cortex-M55 of QEMU's mps3-an547: unicorn knows no Helium."""
    row = cores.get("cortex-m55")
    flags = [*row.machine, *tools.flags().COMPILE, "-g0"]
    includes, calls = [], []
    for p, x in zip(plans, inputs, strict=True):
        name = p.library.name
        flags.append(f"-D{name.upper()}_NO_STATIC_ARENA")
        raw = np.ascontiguousarray(x, np.int8).reshape(len(x), -1)
        rows = ",\n".join(", ".join(map(str, one)) for one in raw.tolist())
        size = _macro(p, "OUTPUT_SIZE")
        includes += [
            f'#include "{name}/src/{name}.h"',
            f"static const int8_t in_{name}[{raw.size}] __attribute__((aligned(16))) = {{{rows}}};",
        ]
        calls.append(
            f"    for (int i = 0; i < {len(raw)}; i++) {{\n"
            f"        static int8_t in[{raw.shape[1]}] __attribute__((aligned(16)));\n"
            f"        memcpy(in, in_{name} + i * {raw.shape[1]}, {raw.shape[1]});\n"
            f"        memset(arena, 0xA5 + i, sizeof arena);\n"
            f"        if ({_entry(p)}(arena, in, out) != 0) stop();\n"
            f"        put({size});\n    }}\n"
        )
    arena, output = (max(_macro(p, m) for p in plans) for m in ("ARENA_BYTES", "OUTPUT_SIZE"))
    main = _BARE.format(includes="\n".join(includes), arena=max(arena, 4), output=output,
                        calls="".join(calls), faults=", ".join(14 * ["(void *)stop"]))  # fmt: skip
    (folder / "main.c").write_text(main)
    sources = [folder / "main.c", *_sources(plans, folder)]
    objects = _compile(row.compiler, flags, sources, folder)
    script, program = folder / "bare.ld", folder / "bare.elf"
    script.write_text(
        "ENTRY(start)\nSECTIONS {\n  . = 0x10000000;\n"
        "  .text : { KEEP(*(.vectors)) *(.text .text.*) . = ALIGN(16); *(.rodata .rodata.*) }\n"
        "  .ARM.exidx : { *(.ARM.exidx*) }\n"
        "  . = 0x30000000;\n  .data : { *(.data .data.*) }\n  .bss : { *(.bss .bss.* COMMON) }\n"
        '  _stack = 0x30080000;\n  ASSERT(SIZEOF(.data) == 0, "there are variables")\n}\n'
    )
    tools.run(
        [row.compiler, *row.machine, *row.architecture.link, "-nostartfiles", f"-T{script}",
         "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments", *objects, "-o", str(program)],
        "linking for cortex-m55",
    )  # fmt: skip
    done = subprocess.run(
        ["qemu-system-arm", "-M", "mps3-an547", "-display", "none", "-monitor", "none", "-serial",
         "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(program)],
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    return _split(plans, inputs, done.stdout)


def same_on_qemu(
    graphs: Sequence[QGraph], force: Mapping[str, str] | str, folder: Path
) -> list[str]:
    """Every graph gives the reference's bytes there; the layers' C, of each graph."""
    plans = [plan(g, f"m{i}", force) for i, g in enumerate(graphs)]
    inputs = [codes(g, 3) for g in graphs]
    for g, x, y in zip(graphs, inputs, on_qemu(plans, inputs, folder), strict=True):
        want = reference.run(g, x).reshape(len(x), -1)
        np.testing.assert_array_equal(y, want, err_msg=g.name)
    return [p.library.files[f"src/m{i}.c"] for i, p in enumerate(plans)]
