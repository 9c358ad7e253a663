"""The examples in the project's Markdown files.

A block marked ``bash`` or ``python`` runs in the tests. A block marked ``sh`` needs a network, a server or another
model; only its options are checked.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "neucodec_tts").rglob("*.md")),
]
OTHER_PROGRAMS = ("pip", "git", "make", "curl")
"""Programs that an example may name and that the tests do not start."""

# One process runs all commands of a page: starting Python takes longer than most of what they do.
_SHELL = """
def _shell(*arguments):
    from neucodec_tts.cli import main
    try:
        main(arguments)
    except SystemExit as left:
        if left.code:
            raise RuntimeError(f"neucodec-tts {' '.join(arguments)} left with {left.code}") from left
"""


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text, in their order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def shell_lines(text: str) -> list[list[str]]:
    """The commands of a block, each as its words, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def script(page: Path) -> str:
    """All examples of a page that run, as one Python script."""
    parts = [_SHELL]
    for language, text in blocks(page, "python", "bash"):
        if language == "python":
            parts.append(text)
            continue
        for name, *arguments in shell_lines(text):
            if name == "neucodec-tts":
                parts.append(f"_shell(*{arguments!r})")
            else:
                assert name in OTHER_PROGRAMS, f"{page.name}: the tests do not run {name!r}"
    return "\n".join(parts)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every ``neucodec-tts`` line in the page's blocks, run or not."""
    found = []
    for _, text in blocks(page, "bash", "sh"):
        for words in shell_lines(text):
            if "neucodec-tts" in words:
                arguments = words[words.index("neucodec-tts") + 1 :]
                stops = [i for i, word in enumerate(arguments) if word in ("|", "&", ">", "<")]
                found.append(arguments[: stops[0]] if stops else arguments)
    return found


def prepare_folder(folder: Path) -> None:
    """Put a reader's files there: recordings with their words, and a folder of such."""
    import soundfile

    assets = ROOT / "neucodec_tts" / "assets"
    samples, rate = soundfile.read(assets / "demo.flac")
    words = " ".join(
        re.findall(r"^> (.*)$", (assets / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    soundfile.write(folder / "speech.wav", samples, rate)
    (folder / "recordings").mkdir()
    for path in (folder / "dave", folder / "recordings" / "a", folder / "recordings" / "b"):
        shutil.copy(folder / "speech.wav", path.with_suffix(".wav"))
        path.with_suffix(".txt").write_text(words, encoding="utf-8")
