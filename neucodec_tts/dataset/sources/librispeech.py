"""Trees in the form of LibriSpeech: ``speaker/chapter/speaker-chapter-utterance.flac``, and ``*.trans.txt`` beside
them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.places import Place, list_folder
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, relative, walk
from neucodec_tts.dataset.sources.text_files import lines

TRANSCRIPTS = ".trans.txt"


@dataclass(frozen=True)
class LibriSpeech(FolderSource):
    """A tree of any depth. An utterance is called after its file, and its speaker is what stands before the first
    ``-``."""

    kind: str = field(default="librispeech", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        folder: Place | None = None
        texts, found = dict[str, str](), set[str]()
        for file in walk(self.root, {*AUDIO_SUFFIXES, ".txt"}):
            if file.parent != folder:
                yield from self._without_audio(folder, texts, found)
                folder, texts, found = file.parent, self._transcripts(file.parent), set()
            if file.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            id = file.stem
            found.add(id)
            item = file_item(self.root, relative(self.root, file), id, texts.get(id), _speaker(id))
            no_words = id in texts and not texts[id].strip()
            yield replace(item, problem="no words in its line of the transcript") if no_words else item
        yield from self._without_audio(folder, texts, found)

    def _without_audio(self, folder: Place | None, texts: dict[str, str], found: set[str]) -> Iterator[Item]:
        for id, text in texts.items():
            if id not in found and folder is not None:
                where = f"{relative(self.root, folder)}/{id}"
                yield Item(id, where, text, _speaker(id), problem="there is a transcript and no recording")

    def _transcripts(self, folder: Place) -> dict[str, str]:
        texts: dict[str, str] = {}
        for name in list_folder(folder):
            if name.endswith(TRANSCRIPTS):
                for _, line in lines(folder / name):
                    id, _, text = line.strip().replace("\t", " ").partition(" ")
                    if id:
                        texts[id] = text.strip()
        return texts


def has_transcripts(root: Place) -> bool:
    """Return True if a folder looks like LibriSpeech, from its first thousand text files."""
    return any(file.name.endswith(TRANSCRIPTS) for file in islice(walk(root, {".txt"}), 1000))


def _speaker(id: str) -> str | None:
    speaker, dash, _ = id.partition("-")
    return speaker if dash else None
