"""Verdicts in the forms build servers read: JUnit, SARIF, GitHub annotations, Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree

from secateur.files import looks_like
from secateur.names import cell, shown

from . import changes
from .budget import FIGURES, Verdict

#: Whether a file is one of these, which another one may replace.
JUNIT = looks_like(rb'<\?xml [^>]*>\s*<testsuites [^>]*>\s*<testsuite name="secateur"')
SARIF = looks_like(rb'\{\s*"\$schema": "[^"]*sarif[^"]*".*"name": "secateur"')
MARKDOWN = looks_like(rb"<!-- secateur check -->|\| model \| board \| figure \| measured \|")


def _state(v: Verdict) -> str:
    return {True: "kept", False: "broken", None: "unknown"}[v.kept]


def junit(verdicts: Sequence[Verdict]) -> str:
    """JUnit XML: a test case a budget; what could not be told is an error."""
    broken = sum(v.kept is False for v in verdicts)
    unknown = sum(v.kept is None for v in verdicts)
    counts = {
        "tests": str(len(verdicts)), "failures": str(broken), "errors": str(unknown),
        "time": f"{sum(v.seconds for v in verdicts):.3f}",
    }  # fmt: skip
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "secateur", **counts})
    for v in verdicts:
        name = v.figure if v.source == "budget" else f"{v.figure} against baseline"
        attributes = {
            "classname": shown(f"{v.model}.{v.board}"), "name": name, "time": f"{v.seconds:.3f}",
        }  # fmt: skip
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if v.kept is not True:
            kind = "failure" if v.kept is False else "error"
            ElementTree.SubElement(case, kind, {"message": shown(v.text)})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def sarif(verdicts: Sequence[Verdict], file: str, version: str) -> str:
    """SARIF 2.1.0 with the budget's line of its file as the place of every result."""

    def place(line: int) -> dict[str, object]:
        where = {"artifactLocation": {"uri": file}, "region": {"startLine": line}}
        return {"physicalLocation": where}

    results = [
        {
            "ruleId": f"budget/{v.figure}",
            "level": "error" if v.kept is False else "warning",
            "message": {"text": v.text},
            "locations": [place(v.line)],
        }
        for v in verdicts
        if v.kept is not True
    ]
    rules = [
        {"id": f"budget/{name}", "shortDescription": {"text": f"The budget for {name}"}}
        for name in FIGURES
    ]
    driver = {"name": "secateur", "version": version, "rules": rules}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=2) + "\n"


def github(verdicts: Sequence[Verdict], file: str) -> str:
    """Workflow commands that GitHub shows as annotations."""

    def escape(text: str) -> str:
        return shown(text).replace("%", "%25").replace("::", "%3A%3A")

    place = escape(file).replace(",", "%2C").replace(":", "%3A")
    lines = [
        f"::{'error' if v.kept is False else 'warning'} file={place},line={v.line},"
        f"title=secateur {v.figure}::{escape(v.text)}"
        for v in verdicts
        if v.kept is not True
    ]
    return "".join(line + "\n" for line in lines)


def markdown(
    verdicts: Sequence[Verdict],
    beside: Sequence[changes.RunChanges] = (),
    ref: str | None = None,
) -> str:
    """For the job's page, or as a comment of a pull request: budgets, then what has changed.

    beside: each run beside its baseline, which is that of the git ref `ref`; None: of the files.
    The first line, which nobody sees, is what a later comment finds this one by.
    """
    sign = {True: "kept", False: "**broken**", None: "not determined"}
    broken = sum(v.kept is False for v in verdicts)
    unknown = sum(v.kept is None for v in verdicts)
    headline = f"{broken} of {len(verdicts)} budgets broken" if broken else (
        f"{len(verdicts) - unknown} of {len(verdicts)} budgets kept"
    )  # fmt: skip
    lines = [
        "<!-- secateur check -->",
        f"### Secateur: {headline}" + (f", {unknown} not determined" if unknown else ""),
        "",
        "| model | board | figure | measured | limit | last good | | costliest layer |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    for v in verdicts:
        f = FIGURES[v.figure]
        relation = "≥" if f.higher_is_better else "≤"
        source = "" if v.source == "budget" else " (baseline)"
        last = f.show(v.last_good) if v.last_good is not None else ""
        if change := changes.FigureChange(v.figure, v.last_good, v.measured).text:
            last += f" ({change})"
        lines.append(
            f"| {cell(v.model)} | {cell(v.board)} | {v.figure}{source} | {f.show(v.measured)} | "
            f"{relation} {f.show(v.limit)} | {last} | {sign[v.kept]} | {cell(v.costliest)} |"
        )
    return "\n".join(lines) + "\n" + changes.markdown(beside, ref)
