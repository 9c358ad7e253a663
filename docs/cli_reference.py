"""A MkDocs hook that writes ``reference/cli.md`` from the help texts of the commands."""

from __future__ import annotations

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGE = "reference/cli.md"
WIDTH = 88
"""Columns of a help text."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site's files."""
    files.append(File.generated(config, PAGE, content=command_reference()))
    return files


def command_reference() -> str:
    """Return the page: one heading and one help text for each command, in Markdown."""
    from neucodec_tts.cli.app import app

    program = typer.main.get_command(app)
    parts = ["# Command line", _help(program, "neucodec-tts")]
    for name, command in getattr(program, "commands", {}).items():
        parts += [f"## {name}", _help(command, f"neucodec-tts {name}")]
    return "\n\n".join(parts) + "\n"


def _help(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> str:
    context = typer.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return f"```text\n{command.get_help(context)}\n```"
