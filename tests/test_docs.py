"""What the documentation says to type exists: commands, options, make targets, Python, links."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from pathlib import Path

import click
import pytest

from secateur import config
from secateur.cli import main
from tests.newcomer.page import BLOCK

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(*languages: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block in one of the languages ("" is none)."""
    found = []
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text()):
            if language in languages:
                found.append((page.name, text))
    return found


def shell_lines() -> list[tuple[str, str]]:
    """Every line of shell, and every `secateur ...` in running text."""
    lines = []
    for page, text in blocks("", "sh", "bash"):
        lines += [(page, line.split(" #")[0].strip()) for line in text.splitlines()]
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text())
        lines += [(page.name, " ".join(c.split())) for c in re.findall(r"`([^`]+)`", prose)]
    return [(page, line) for page, line in lines if line]


COMMANDS = [
    pytest.param(line, id=f"{page}: {line}")
    for page, line in shell_lines()
    if re.match(r"(\.venv/bin/)?secateur [a-z]", line)
]


def parse(group: click.Group, words: list[str]) -> None:
    """Parse `words` as click would, without running anything."""
    command = group.commands[words[0]]
    if isinstance(command, click.Group):
        parse(command, words[1:])
    elif len(words) > 1:
        # Running text may name an option alone, without what is required.
        with contextlib.suppress(click.MissingParameter):
            command.make_context(words[0], words[1:])


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_options_exist(line: str) -> None:
    parse(main, shlex.split(line)[1:])


@pytest.mark.parametrize("file", ["action.yml", "ci/gitlab.yml"])
def test_ci_templates_call_what_exists(file: str) -> None:
    text = re.sub(r"\s+", " ", (ROOT / file).read_text())
    calls = re.findall(r"secateur (check (?:--[a-z]+ ?(?:[\"$A-Z_a-z/.]+)? ?)+)", text)
    assert calls
    for call in calls:
        parse(main, shlex.split(call))


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 10


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        line.split()[1] for _, line in shell_lines() if re.fullmatch(r"make [a-z-]+( .*)?", line)
    }
    assert "demo" in named
    assert named <= targets


@pytest.mark.parametrize("block", [pytest.param(t, id=p) for p, t in blocks("python")])
def test_python_parses_and_names_exist(block: str) -> None:
    import secateur

    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sc":
            assert hasattr(secateur, node.attr), node.attr


def test_the_budget_file_in_the_documentation_is_valid(tmp_path: Path) -> None:
    (text,) = [text for page, text in blocks("toml") if page == "ci.md"]
    (tmp_path / "secateur.toml").write_text(text)
    assert config.load(tmp_path / "secateur.toml").model[0].name == "kws"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_sites_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in text, page.name


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/quickstart.md", "docs/tutorial.md", "docs/choosing.md", "docs/faq.md"],
)
def test_a_newcomers_pages_name_the_smallest_image(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert re.search(r"optimize(=\"| )flash|\W[`\"]flash[`\"]", text)
    assert "smallest image" in text


def test_the_quick_start_weighs_every_extra() -> None:
    """What is installed beside the core has its megabytes there."""
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    extras = re.findall(r"^([\w-]+) = \[", table.split("\n[")[0], re.M)
    text = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
    assert "in MB" in text
    for extra in extras:
        assert re.search(rf"\b{extra}\b[^\n]*?\d", text), extra
    assert re.search(r"^train = \[[^\]]*\"tensorboard", table, re.M)
