"""The runtime header sc_port.h and its parts, one for each instruction set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ..coding.checksum import crc32
from .emit import render

#: By instruction set, what sc_port.h takes in.
_PARTS = {
    "helium": ("sc_mve.h",),
    "dsp": ("sc_dsp.h", "sc_words.h"),
    "plain": ("sc_portable.h", "sc_words.h"),
}
#: What those need themselves.
_NEEDED = {"sc_mve.h": ("sc_dsp.h",)}


@dataclass(frozen=True)
class Runtime:
    """A header that is the same in every library, but for the version of Secateur it belongs to."""

    name: str
    text: str

    @property
    def version(self) -> str:
        """C of a number that stands for its text."""
        return f"0x{crc32([self.text.encode()]):08x}u"

    @property
    def macro(self) -> str:
        """Defined in it as `version`."""
        return f"{self.name.removesuffix('.h').upper()}_TEXT"

    @property
    def stamped(self) -> str:
        """The text with its version before the end of its include guard."""
        body, end = self.text.rstrip().rsplit("\n#endif", 1)
        return f"{body}\n#define {self.macro} {self.version}\n\n#endif{end}\n"


def port(isas: Sequence[str]) -> tuple[Runtime, dict[str, str]]:
    """sc_port.h for cores with any of `isas` (the richest first), and its parts by file name."""
    folder = resources.files("secateur.codegen") / "templates" / "port"
    files = list(dict.fromkeys(name for isa in isas for name in _PARTS[isa]))
    needed = [n for name in files for n in _NEEDED.get(name, ())]
    parts = {
        name: Runtime(name, (folder / name).read_text(encoding="utf-8"))
        for name in dict.fromkeys([*files, *needed])
    }
    text = render("port/sc_port.h.j2", isas=list(isas), files=files, parts=parts)
    return Runtime("sc_port.h", text), {name: part.stamped for name, part in parts.items()}
