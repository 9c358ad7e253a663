"""Folders in the form of LJSpeech: ``metadata.csv`` with lines ``id|text|normalised text``, and ``wavs/id.wav``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.files import file_item, find_recording
from neucodec_tts.dataset.sources.rows import layout_of
from neucodec_tts.dataset.sources.text_files import lines


@dataclass(frozen=True)
class LJSpeech(FolderSource):
    """A folder with ``metadata.csv``. The last of the one or two texts in a line counts, which is the normalised one;
    where the second column holds names of speakers (Piper's ``id|speaker|text``), they are kept as such.

    The audio of ``id`` is ``wavs/id.wav``, or what else is read under that name; ``wav``, ``audio``, ``clips`` and
    the folder itself are looked in, too. The id may carry the suffix.
    """

    file: str = "metadata.csv"
    kind: str = field(default="ljspeech", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        metadata = self.root / self.file
        layout = layout_of(metadata, Columns())
        names = layout.names[1:] if layout is not None else ()
        most = 2 if len(names) == 1 else 3  # more are a pipe within the text
        speaker_at = names.index("speaker") + 1 if "speaker" in names else None
        text_at = names.index("text") + 1 if "text" in names else -1
        for number, line in lines(metadata):
            if not line.strip():
                continue
            cells = line.split("|")
            shown = f"{self.file}, line {number}"
            if not cells[0].strip() or not 2 <= len(cells) <= most or (speaker_at and len(cells) != 3):
                problem = (
                    f"{metadata}, line {number}: id|text, id|text|normalised text or id|speaker|text is expected, not "
                    f"{line[:60]!r}; mend the line"
                )
                yield Item(shown, shown, problem=problem)
                continue
            id = cells[0].strip()
            where = find_recording(self.root, id)
            if speaker_at is None:
                yield file_item(self.root, where, id, cells[-1] or cells[1])
            else:
                yield file_item(self.root, where, id, cells[text_at], cells[speaker_at])
