"""Recordings of minutes or hours, which become pieces of some seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from neucodec_tts.audio import AUDIO_SUFFIXES, AudioTooLongError, LongRecording
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.pieces.cues import Piece, pieces_of
from neucodec_tts.dataset.pieces.pauses import Levels
from neucodec_tts.dataset.pieces.transcripts import find_transcript
from neucodec_tts.dataset.places import Place, below, is_dir, list_folder, local_copy, place
from neucodec_tts.dataset.sources.files import file_item, identifier, relative, text_beside, walk
from neucodec_tts.errors import AudioError, DatasetError

logger = logging.getLogger(__name__)

SHORTEST_SPLIT = 2.0
"""Seconds. The pieces of a recording are a quarter of what was asked for, or more."""
_SHOWN = 3


@dataclass(frozen=True)
class LongRecordings:
    """A recording, or all recordings in and below a folder, in pieces of at most `split_seconds`.

    A recording with a transcript with times (`pieces.transcripts`) is cut at those, others in their pauses. Pieces are
    called ``NAME-00000``, ``NAME-00001`` ... A recording of one piece keeps its name, and has the text of the plain
    text file beside it. All recordings are decoded when they are listed.

    Raises:
        DatasetError: `split_seconds` is not possible.
    """

    path: Place
    split_seconds: float
    kind: str = field(default="folder", init=False)

    def __post_init__(self) -> None:
        if not SHORTEST_SPLIT <= self.split_seconds <= 3600:
            raise DatasetError(
                f"pieces of {self.split_seconds:g} s are not possible; choose {SHORTEST_SPLIT:g} to 3600 s (--split)"
            )

    @property
    def name(self) -> str:
        """The folder or the recording."""
        return str(self.path)

    @property
    def options(self) -> Mapping[str, object]:
        """The length of pieces."""
        return {"split_seconds": self.split_seconds}

    @property
    def root(self) -> Place:
        """The folder that paths are relative to."""
        return self.path if self._is_folder else self.path.parent

    @cached_property
    def _is_folder(self) -> bool:
        return is_dir(self.path)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        folder: Place | None = None
        names: list[str] = []
        for file in walk(self.path, AUDIO_SUFFIXES) if self._is_folder else [self.path]:
            if file.parent != folder:
                folder = file.parent
                names = list_folder(folder)
            whole = file_item(self.root, relative(self.root, file), identifier(self.root, file), None)
            try:
                pieces = list(self._pieces(file, names))
            except (AudioError, DatasetError) as problem:
                yield replace(whole, problem=str(problem))
                continue
            for number, piece in enumerate(pieces):
                yield replace(
                    whole,
                    id=whole.id if len(pieces) == 1 else f"{whole.id}-{number:05d}",
                    text=piece.text,
                    speaker=piece.speaker,
                    start=piece.start,
                    end=piece.end,
                    problem=piece.problem,
                )

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        recording = _opened(str(below(self.root, item.where)), item.where, item.size, item.modified)[0]
        end = item.end
        assert end is not None
        if longest is not None and end - item.start > longest:
            raise AudioTooLongError(item.where, end - item.start, longest)
        return recording.read(item.start, end), recording.rate

    def _pieces(self, file: Place, names: Sequence[str]) -> Iterator[Piece]:
        with local_copy(file) as copy:
            recording = LongRecording(copy, str(file))
            try:
                levels = Levels.of(recording)
            finally:
                recording.close()
        found = find_transcript(file, names)
        if found is not None:
            transcript, cues = found
            yield from pieces_of(cues, levels.seconds, self.split_seconds, transcript.name)
            return
        text = text_beside(file)
        if text is not None and levels.seconds > self.split_seconds:
            raise DatasetError(
                f"{file}: its text has no times, so that it cannot be cut; give a transcript with times beside it "
                "(.srt, .vtt, .TextGrid, whisper's .json), or move the text away and add --without-text"
            )
        cuts = list(levels.cuts(self.split_seconds))
        bad = [f"{cut.seconds:.2f} s" for cut in cuts if not cut.in_pause]
        if bad:
            logger.warning(
                "%s: %d of %d cuts are at the quietest place, since there is no pause (at %s%s)",
                file,
                len(bad),
                len(cuts),
                ", ".join(bad[:_SHOWN]),
                " ..." if len(bad) > _SHOWN else "",
            )
        bounds = [0.0, *(cut.seconds for cut in cuts), levels.seconds]
        for start, end in pairwise(bounds):
            yield Piece(start, end, text)


@lru_cache(maxsize=1)
def _opened(path: str, name: str, size: int, modified: int) -> tuple[LongRecording, ExitStack]:
    """The recording that pieces are read from, one after the other, and what keeps its copy on this machine."""
    kept = ExitStack()
    try:
        copy = kept.enter_context(local_copy(place(path)))
    except FileNotFoundError as problem:
        raise AudioError(f"{name}: there is no such object; check its URL") from problem
    return LongRecording(copy, name), kept
