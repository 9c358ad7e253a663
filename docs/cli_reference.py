"""A MkDocs hook that writes ``reference/cli.md`` from the help texts of the commands."""

from __future__ import annotations

from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.core import TyperGroup

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
    assert isinstance(program, TyperGroup)
    context = typer.Context(program)
    parts = ["# Command line", _help(program, "neucodec-tts")]
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        parts += [f"## {name}", _help(command, f"neucodec-tts {name}")]
    return "\n\n".join(parts) + "\n"


def _help(command: Any, name: str) -> str:
    context = typer.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return f"```text\n{command.get_help(context)}\n```"
