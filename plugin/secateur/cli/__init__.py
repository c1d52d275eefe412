"""The command line. Each command is a module; heavy imports happen inside the commands."""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from typing import Any

import click

from secateur.errors import FileError, SecateurError, UnexpectedError
from secateur.names import shown

from . import (
    boards,
    bringup,
    check,
    check_model,
    convert,
    demo,
    deploy,
    doctor,
    explore,
    flash,
    history,
    inspect,
    mlperf,
    profile,
    renode,
    report,
    slim,
)
from .output import print_error


class _Group(click.Group):
    """A user's mistake ends in one sentence on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        error: SecateurError
        try:
            return super().invoke(ctx)
        except SecateurError as e:
            error = e
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as e:
            if isinstance(e, OSError) and isinstance(e.filename, str):
                error = FileError(f"{e.filename} cannot be used ({e.strerror}).")
                print_error(error, bool(ctx.meta.get("json")))
                ctx.exit(2)
            said = " ".join(str(e).split())[:200]
            error = UnexpectedError(
                f"this program failed ({type(e).__name__}{f': {said}' if said else ''}). Please "
                "report that, with the files it was given; --debug shows where."
            )
            error.__cause__ = e
        if ctx.params.get("debug"):
            lines = traceback.format_exception(error)
            click.echo(shown("".join(lines), keep="\n"), err=True)
        print_error(error, bool(ctx.meta.get("json")))
        ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="secateur")
@click.option("--debug", is_flag=True, help="Show where an error came from, for a report.")
def main(debug: bool) -> None:
    """Deep compression for microcontrollers: from Keras to a measured board."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages
    for name in os.environ.get("SECATEUR_EXTENSIONS", "").replace(",", " ").split():
        try:
            import_module(name)
        except ImportError as e:
            raise SecateurError(
                f"SECATEUR_EXTENSIONS names module {name}, which cannot be imported ({e})"
            ) from e


for _module in (
    demo,
    convert,
    deploy,
    boards,
    inspect,
    report,
    check,
    check_model,
    doctor,
    profile,
    flash,
    mlperf,
    bringup,
    history,
    renode,
    slim,
    explore,
):
    main.add_command(_module.command)
main.add_command(explore.compress_command)
main.add_command(explore.combinations_command)
main.add_command(check.baseline)
main.add_command(flash.monitor)
main.add_command(history.compare)
