from __future__ import annotations

from collections.abc import Callable

import typer
from typer.testing import CliRunner, Result


def invoke(main: Callable[..., None], *arguments: object) -> Result:
    """Run the command of a script, as ``python benchmarks/NAME.py ARGUMENTS`` does."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
