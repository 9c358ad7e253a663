"""A MkDocs hook that writes ``guides/written-forms.md`` from ``written_forms.tsv``, which the tests read, too."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGE = "guides/written-forms.md"
LANGUAGES = {"en-us": "English", "de": "German", "fr-fr": "French", "es": "Spanish"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site's files."""
    files.append(File.generated(config, PAGE, content=written_forms()))
    return files


def written_forms() -> str:
    """Return the page: a table for each language, in Markdown."""
    table = Path(__file__).with_name("written_forms.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in table.splitlines()[1:]]
    parts = [
        "# Written forms",
        "`say --normalize` and `normalize=True` put these forms into words: the same 100 kinds for each language. "
        "The tests compare the phones of what is written with those of what is said. German *1 €* is read *ein Euro*, "
        "also where *einen Euro* is right.",
    ]
    for code, name in LANGUAGES.items():
        parts += [f"## {name}", "| form | written | said |\n|---|---|---|"]
        parts[-1] += "".join(
            f"\n| {kind} | {written} | {said.split(' | ')[0]} |"
            for kind, language, written, said in rows
            if language == code
        )
    return "\n\n".join(parts) + "\n"
