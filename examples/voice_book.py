"""Voice a book: a text file in, a recording of each chapter out, as fast as vLLM and the GPU allow.

    python examples/voice_book.py alice.txt --model neuphonic/neutts-air --voice dave --output alice/

Chapters are found by their headings (``CHAPTER I``, ``Chapter 2``, ``# A heading``); a text without any is one
chapter. All sentences of all chapters run together, so a book takes as long as its words and not as its longest
chapter. Chapters that are there already are left alone: after an interruption, run the same command again.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from neucodec_tts import NeuCodecError
from neucodec_tts_vllm import SpeechLLM

_HEADING = re.compile(r"^(?:#{1,3} .+|chapter\s+(?:[ivxlcdm]+|\d+)\b.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """A part of the book, from a heading to the next."""

    number: int
    title: str
    text: str

    @property
    def filename(self) -> str:
        """A name that sorts in the order of the book."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:40]
        return f"{self.number:03d}-{slug or 'chapter'}.flac"


def chapters(book: str) -> Iterator[Chapter]:
    """Cut a book at its headings; what stands before the first is a part of its own."""
    starts = [match.start() for match in _HEADING.finditer(book)]
    bounds = sorted({0, *starts, len(book)})
    parts = [book[start:end].strip() for start, end in pairwise(bounds)]
    for number, part in enumerate((part for part in parts if any(map(str.isalpha, part))), start=1):
        title = part.splitlines()[0].lstrip("# ").strip()
        # A heading is spoken too, and paused after: it is a paragraph of its own. Lines within a paragraph are joined.
        paragraphs = [" ".join(lines.split()) for lines in re.split(r"\n\s*\n", part.lstrip("# "))]
        yield Chapter(number, title, "\n\n".join(filter(None, paragraphs)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Voice the chapters that are missing; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("book", type=Path, help="a text file, UTF-8")
    parser.add_argument(
        "--model", default="tiny", help="hub id or folder of a language model that speaks; tiny by default"
    )
    parser.add_argument("--voice", help="a name in your library of voices, or a voice's file")
    parser.add_argument("--output", type=Path, required=True, help="folder for the recordings")
    parser.add_argument("--seed", type=int, default=0, help="for speaking in the same way again")
    options = parser.parse_args(arguments)
    try:
        book = options.book.read_text(encoding="utf-8-sig")
        options.output.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as problem:
        parser.error(str(problem))
    missing = [part for part in chapters(book) if not (options.output / part.filename).exists()]
    if not missing:
        print(f"nothing to do: every chapter of {options.book} is in {options.output}")
        return 0
    failed = 0
    try:
        speaker = SpeechLLM.from_pretrained(options.model)
        seeds = [options.seed + part.number for part in missing]
        texts = [part.text for part in missing]
        for item in speaker.speak(texts, options.voice, seed=seeds, progress=True):
            part = missing[item.index]
            try:
                speech = item.speech()
                speech.save(options.output / part.filename)
            except NeuCodecError as problem:
                failed += 1
                print(f"error: {part.title}: {problem}", file=sys.stderr)
                continue
            print(f"{part.filename}: {speech.duration / 60:.1f} minutes, {len(speech.segments)} sentences")
    except NeuCodecError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":  # vLLM starts processes that import this file again
    sys.exit(main())
