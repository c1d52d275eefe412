"""`secateur renode`: platform, script and robot test for Renode, beside the firmware they run."""

from __future__ import annotations

from pathlib import Path

import click

from .output import json_option, print_result, progress, work


@click.command("renode")
@click.argument("library", type=click.Path(path_type=Path))
@click.option(
    "--board", "boards_", multiple=True, help="A board Renode knows; repeatable; default: all."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/renode"),
    show_default=True,
    help="Folder; each board gets one in it.",
)
@json_option
def command(library: Path, boards_: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Build LIBRARY (a folder `secateur convert` wrote) and write what Renode needs to run it.

    For each board: firmware, .repl, .resc and a .robot test for `renode-test`.
    """
    from secateur import targets
    from secateur.targets.builders.library import read
    from secateur.targets.runners import renode_files

    known = [b.id for b in targets.boards.all() if "renode" in b.emulators]
    rows = []
    with work(as_json), progress("writing files for Renode") as step:
        chosen = [targets.boards.load(name) for name in boards_ or known]
        for board in chosen:
            renode_files.choose(board)  # what it does not run is said before anything is built
        for board in chosen:
            name = board.id
            step(f"building for {name}")
            image = targets.build(library, board, out / name)
            paths = renode_files.write(image, out / name, read(library).name)
            rows.append({"board": name, **{kind: str(path) for kind, path in paths.items()}})
    print_result(
        as_json, rows, lambda: "\n".join(f"{row['board']}: renode {row['resc']}" for row in rows)
    )
