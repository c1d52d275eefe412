"""Foreign strings: the only ways in which one reaches C, a terminal, a page or a report.

Layers, models, boards and files are called by whoever made them, and a name may hold anything.
`model` and `layers` make the C identifiers (and the file and macro names), `comment` what stands
between /* and */, `shown` what people read. C strings never carry foreign text; JSON goes through
`json`, HTML through jinja's autoescape.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

#: Characters of one identifier. Linkers and file systems take more; people do not.
LONGEST = 48
#: Characters of foreign text in a comment.
LONGEST_COMMENT = 200

_C = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while asm typeof fortran linux unix i386 arm main
alignas alignof bool catch class concept consteval constexpr constinit decltype delete dynamic_cast
explicit export false friend mutable namespace new noexcept nullptr operator private protected
public reinterpret_cast requires static_assert static_cast template this thread_local throw true try
typeid typename using virtual and and_eq bitand bitor compl not not_eq or or_eq xor xor_eq
"""
#: Headers a model's own NAME.h would hide: of C, POSIX, the compilers, newlib, picolibc, Arduino.
_HEADERS = """
aio alloca ar argz assert byteswap complex cpio crypt ctype devctl dirent dlfcn elf endian envlock
envz err errno error fastmath fcntl features fenv float fmtmsg fnmatch fts ftw gcov getopt glob grp
iconv ieeefp inttypes iso646 langinfo libgen limits link locale magic malloc math memory
mmintrin monetary mqueue ndbm netdb newlib obstack omp paths picolibc picotls poll printf pthread
pwd reent regdef regex resolv sched search semaphore semihost setjmp signal spawn stdalign stdarg
stdatomic stdbool stdckdint stdbit stddef stdfix stdint stdio stdio_ext stdlib stdnoreturn string
strings syslimits syscall syslog tar termios tgmath threads time types uchar ucontext unctrl
unistd unwind utime utmp utmpx values varargs wait wchar wctype wordexp
arm_acle arm_bf16 arm_cde arm_cmse arm_fp16 arm_mve arm_mve_types arm_neon
arduino binary client ethernet hardwareserial ipaddress pins_arduino print printable server spi
stream udp usbapi wcharacter wifi wire wiring wiring_private wmath wstring
algorithm array atomic bitset chrono deque exception functional iterator list map memory_resource
new numeric optional ostream queue random ratio set stack stdexcept thread tuple utility variant
vector version zephyr device kernel init cmsis_gcc cmsis_compiler
"""
#: Names that mean something else as a file (DOS devices), as a CMake target or as a Python package.
_ELSEWHERE = """
aux con nul prn com0 com1 com2 com3 com4 com5 com6 com7 com8 com9
lpt0 lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8 lpt9
all clean depend edit_cache help install package package_source preinstall rebuild_cache src test
run_tests library firmware build model_glue mark port zephyr_interface app kernel
"""
_RESERVED = frozenset(f"{_C} {_HEADERS} {_ELSEWHERE}".split())
#: This project's own headers, functions and macros, and the families of other vendors' headers.
_OWN = re.compile(r"(sc|secateur|harness|startup|stm32|core_cm|cmsis|port)(_|\d|$)|stm32")
#: Of layers: the two ends of a model (runners/profile.py tells them apart by these words), and what
#: begins the names of arrays that belong to several layers.
_OWN_LAYERS = re.compile(r"input$|output$|shared(_|$)")


def _ascii(name: str) -> str:
    """`name` in letters, digits and single underscores."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[\W_]+", "_", plain, flags=re.ASCII).strip("_")


def _mark(name: str) -> str:
    """Six hexadecimal digits that tell names apart which look the same in ASCII."""
    return f"{zlib.crc32(name.encode('utf-8', 'surrogatepass')) & 0xFFFFFF:06x}"


def _bounded(identifier: str, name: str, longest: int) -> str:
    if len(identifier) <= longest:
        return identifier
    return f"{identifier[: longest - 7].rstrip('_')}_{_mark(name)}"


@lru_cache(maxsize=1024)
def model(name: str) -> str:
    """The identifier of a model: prefix of its functions, stem of its files; upper case: macros.

    Lower case, at most LONGEST characters, no C or C++ keyword, no header's name. A name that is
    fit already stays as it is.
    """
    text = _bounded(_ascii(name).lower(), name, LONGEST - 2)
    if not text:
        return f"m_{_mark(name)}"
    foreign = text in _RESERVED or _OWN.match(text) or text[0].isdigit()
    return f"m_{text}" if foreign else text


@lru_cache(maxsize=256)
def layers(names: tuple[str, ...]) -> Mapping[str, str]:
    """The part of identifiers that stands for each layer of a model, unique among `names`.

    A name that is fit stays as it is; others get a mark made from the name where what is left of
    them is taken. The same names give the same parts.
    """
    out = {name: name for name in names if _layer(name) == name}
    taken = set(out.values())
    for name in names:
        if name in out:
            continue
        text, n = _layer(name), 1
        while text in taken:
            mark = _mark(name) if n == 1 else f"{_mark(name)}_{n}"
            text, n = f"{_layer(name)[: LONGEST - 12].rstrip('_')}_{mark}", n + 1
        out[name] = text
        taken.add(text)
    return MappingProxyType(out)


def _layer(name: str) -> str:
    text = _bounded(_ascii(name), name, LONGEST - 6) or f"layer_{_mark(name)}"
    return f"layer_{text}" if _OWN_LAYERS.match(text) else text


def layer(name: str, names: Iterable[str]) -> str:
    """The part of identifiers for one layer of a model whose layers are called `names`."""
    return layers(tuple(names)).get(name) or _layer(name)


def comment(text: str) -> str:
    """`text` as it may stand in a C comment: one line of printable ASCII that does not end it."""
    line = "".join(c if " " <= c <= "~" else _escaped(c) for c in text)
    line = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", lambda m: m[0] + " ", line)
    if len(line) > LONGEST_COMMENT:
        line = line[: LONGEST_COMMENT - 3] + "..."
    # neither a line that goes on nor an end that comes early
    return f"{line} ." if line.endswith(("\\", "*", "?", "/")) else line


def _escaped(c: str) -> str:
    n = ord(c)
    return f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}" if n < 65536 else f"\\U{n:08x}"


def shown(text: str, keep: str = "") -> str:
    """`text` for people: what would act on a terminal, or reorder what stands around it, escaped.

    Control and format characters (ESC, CSI, carriage return, right-to-left marks), line and
    paragraph separators and lone surrogates become \\x1b, \\u202e and the like; `keep` stays.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(c)
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and c not in keep
        else c
        for c in text
    )


def cell(text: str) -> str:
    """`text` as a cell of a Markdown table, without links, pictures, HTML or emphasis."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~@$])", r"\\\1", shown(text))
    return escaped.replace("&", "&amp;")
