"""The last pass over generated C: what a template cannot know is put right in its text.

Numbers that happen to be one or nought leave `* 1`, `+ 0` and loops of one turn behind; names and
arguments of some layers make lines too long. Nothing here changes what the compiler makes of it.
"""

from __future__ import annotations

import re

#: Columns of a line of generated C, at most.
WIDTH = 100

#: Comments and strings, which are left as they are.
_QUOTED = re.compile(r'(/\*.*?\*/|"(?:\\.|[^"\\\n])*")', re.S)

_LOOP = re.compile(
    r"for \(int (?P<var>\w+) = (?P<start>\d+)"
    r"; (?P=var) < (?P<end>\d+)"
    r"; (?P=var)(?:\+\+| \+= (?P<step>\d+))"
    r"(?:, (?P<more>[^;{}()]*))?\) \{"
)


def tidy(text: str) -> str:
    """`text` of a C file, shorter lines and nothing that does nothing."""
    return wrapped(_single_turns(_neutral(text)))


def _neutral(text: str) -> str:
    """Without factors of one and terms of nought."""
    parts = _QUOTED.split(text)
    for i in range(0, len(parts), 2):
        code = re.sub(r"(?<=[\w)\]]) \* 1(?=[;,)\]]| [-+<>=?:|&])", "", parts[i])
        parts[i] = re.sub(r"(?<=[\w)\]]) [-+] 0u?(?=[;,)\]]| [-+<>=?:|&])", "", code)
    return "".join(parts)


def _blanked(text: str) -> str:
    """`text` with comments and strings as blanks of their length."""
    parts = _QUOTED.split(text)
    parts[1::2] = [re.sub(r"[^\n]", " ", p) for p in parts[1::2]]
    return "".join(parts)


def _block_end(code: str, opening: int) -> int:
    """Where the block that opens at `opening` closes."""
    depth = 0
    for m in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if m[0] == "{" else -1
        if depth == 0:
            return m.start()
    return len(code)


def _single_turns(text: str) -> str:
    """Loops that turn once are blocks."""
    at, code = 0, _blanked(text)
    while m := _LOOP.search(code, at):
        at = m.end()
        start, end, step = int(m["start"]), int(m["end"]), int(m["step"] or 1)
        close = _block_end(code, m.end() - 1)
        body = code[m.end() : close]
        if not start < end <= start + step or re.search(r"\b(break|continue)\b", body):
            continue
        line = code[code.rfind("\n", 0, m.start()) + 1 : m.start()]
        indent = " " * (len(line) - len(line.lstrip()))
        opening, closing = "{", ""
        if re.search(rf"\b{m['var']}\b", body):
            opening += f"\n{indent}    const int {m['var']} = {start};"
        if m["more"]:  # what is behind the loop may need it
            closing = "".join(f"    {step};\n{indent}" for step in m["more"].split(", "))
        text, code = (
            s[: m.start()] + opening + s[m.end() : close] + closing + s[close:]
            for s in (text, code)
        )
        at = m.start() + len(opening)
    return text


def wrapped(text: str) -> str:
    """`text` with no line longer than WIDTH, unless it has no place to break."""
    inside = _comment_lines(text)
    out: list[str] = []
    for i, line in enumerate(text.split("\n")):
        out += [line] if len(line) <= WIDTH else _broken(line, i in inside)
    return "\n".join(out)


def _comment_lines(text: str) -> set[int]:
    """The lines that begin inside a comment."""
    found: set[int] = set()
    first = at = 0
    for m in _QUOTED.finditer(text):
        first, at = first + text.count("\n", at, m.start()), m.start()
        found.update(range(first + 1, first + 1 + m[0].count("\n")))
    return found


def _broken(line: str, comment: bool) -> list[str]:
    body = line.lstrip()
    indent = line[: len(line) - len(body)]
    if comment or (body.startswith("/*") and body.find("*/") in (-1, len(body) - 2)):
        return _filled(indent, body, comment)
    if body.startswith("#"):
        return _macro(line)
    note = re.search(r" +(/\*(?:(?!\*/).)*\*/)$", line)
    if note:  # a comment behind the code goes above it
        return [*wrapped(indent + note[1]).split("\n"), *_code_lines(line[: note.start()])]
    return _code_lines(line)


def _filled(indent: str, body: str, comment: bool) -> list[str]:
    """A line of comment as several."""
    lead = "" if not comment else "* " if body.startswith("* ") else ""
    words = body[len(lead) :].split(" ")
    if words[-1] == "*/" and len(words) > 1:  # not alone on a line
        words[-2:] = [f"{words[-2]} */"]
    more = f"{indent}{lead}" if comment else f"{indent} * "
    lines = [indent + lead + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(more + word)
        else:
            lines[-1] += " " + word
    return lines


def _macro(line: str) -> list[str]:
    """A preprocessor line as several."""
    if "/*" in line or '"' in line:
        return [line]
    lines = []
    while len(line) > WIDTH and (cut := line.rfind(" ", 8, WIDTH - 1)) > 0:
        lines.append(line[:cut] + " \\")
        line = "    " + line[cut + 1 :]
    return [*lines, line]


def _code_lines(line: str) -> list[str]:
    lines = []
    indent = len(line) - len(line.lstrip())
    more = " " * (indent + 4)
    while len(line) > WIDTH and (cut := _cut(line)) > 0:
        lines.append(line[:cut].rstrip())
        line = more + line[cut:].lstrip()
    return [*lines, line]


def _cut(line: str) -> int:
    """Where to break a line of code: as far right and as far outside all parentheses as may be."""
    code = _blanked(line)
    least = len(line) - len(line.lstrip()) + 8
    found: list[tuple[int, int, int]] = []  # (depth, rank, -column), the least is best
    depth = 0
    for i, c in enumerate(code[:WIDTH]):
        if c in "([{":
            depth += 1
            if i > least and c == "(":
                found.append((90, 0, -i - 1))
        elif c in ")]}":
            depth -= 1
        elif i > least and code[i + 1 : i + 2] == " ":
            if c in ",;":
                found.append((depth, 0, -i - 1))
            elif c == "=" and code[i - 1] == " ":
                found.append((80, 0, -i - 1))
            elif c in "|&+-?:*" and code[i - 1] in " |&":
                found.append((depth, 1, -i - 1))
    return -min(found)[2] if found else 0
