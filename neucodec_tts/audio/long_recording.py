"""A recording of hours, read from its beginning to its end with a block of it in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.audio.channels import mix
from neucodec_tts.audio.containers import find_recordings
from neucodec_tts.audio.mp3 import may_be_mp3, quiet_decoder
from neucodec_tts.audio.reading import (
    MPEG_SUFFIXES,
    ROUNDED_SECONDS,
    check_length,
    check_promised_bytes,
    check_readable,
    opened_through_ffmpeg,
    promised_samples,
)
from neucodec_tts.audio.splice import Piece, SplicedFile, opened_buffer
from neucodec_tts.errors import AudioError
from neucodec_tts.files import native

if TYPE_CHECKING:
    import soundfile

_BLOCK_SAMPLES = 2**20  # read at a time, of all channels


class LongRecording:
    """A recording of which parts are read one after the other.

    Parts are asked for in their order: going back begins anew. The same part has the same samples, whichever were read
    before it. A file that needs ffmpeg is converted once, to a temporary file.

    Args:
        path: the file.
        name: its name in errors; the path if it is empty.

    Raises:
        AudioError: it is missing, not readable, or not a recording.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = "") -> None:
        self._path, self._name = Path(path), name or os.fspath(path)
        check_readable(self._path, self._name)
        self._blocks: Iterator[tuple[np.ndarray, int, bool]] = iter(())
        self._rest = np.zeros((0, 1), np.float32)
        self._vorbis = False
        self._position = 0
        self.rate = 0
        self._begin()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the rest of the recording, float32 (n, channels), in blocks of up to some seconds.

        Raises:
            AudioError: it is damaged, cut short, empty, or changes its rate.
        """
        while self._rest.shape[0] or self._next():
            block, self._rest = self._rest, self._rest[:0]
            self._position += block.shape[0]
            yield block

    def read(self, start: float, end: float) -> np.ndarray:
        """Read a part, mixed to mono as `channels.mix` does.

        Args:
            start: its beginning, in seconds.
            end: its end, in seconds; one up to 0.1 s beyond the recording counts as its end.

        Returns:
            float32 (samples,), at `rate`.

        Raises:
            AudioError: there is no such part, or what `blocks` raises.
        """
        first, last = round(start * self.rate), round(end * self.rate)
        if first < self._position:
            self._begin()
        blocks: list[np.ndarray] = []
        while self._position < last and (self._rest.shape[0] or self._next()):
            skipped = min(max(0, first - self._position), self._rest.shape[0])
            taken = min(self._rest.shape[0], last - self._position)
            if taken > skipped:
                blocks.append(self._rest[skipped:taken])
            self._rest = self._rest[taken:]
            self._position += taken
        if not 0 <= first < last or last - self._position > ROUNDED_SECONDS * self.rate or not blocks:
            raise AudioError(
                f"{self._name}: there is no part from {start:g} s to {end:g} s in a recording of "
                f"{self._position / self.rate:.2f} s"
            )
        return np.concatenate([mix(block, self._name, self._vorbis) for block in _of_equal_channels(blocks)])

    def close(self) -> None:
        """Close the file, and remove the temporary one."""
        self._blocks = iter(())

    def _begin(self) -> None:
        self._blocks = self._decoded()
        self._position = 0
        self._rest = np.zeros((0, 1), np.float32)
        if not self._next():
            raise AudioError(
                f"{self._name}: the file is a recording of zero length; leave it out or record it again"
            )

    def _next(self) -> bool:
        """Decode another block; returns False at the end."""
        found = next(self._blocks, None)
        if found is None:
            return False
        self._rest, rate, self._vorbis = found
        if self.rate not in (0, rate):
            raise AudioError(
                f"{self._name}: it is joined from recordings of {self.rate} and {rate} Hz; split it, or convert each "
                "to one rate before joining them"
            )
        self.rate = rate
        return True

    def _decoded(self) -> Iterator[tuple[np.ndarray, int, bool]]:
        """Yield blocks (n, channels), their rate, and whether channels come in the order of Vorbis."""
        with opened_buffer(self._path) as data:
            found = find_recordings(data, self._name)
            mp3 = may_be_mp3(data) or self._path.suffix.lower() in MPEG_SUFFIXES
            parts = [(None, 0)] if found is None else [(part.pieces, part.lead) for part in found.parts]
            for pieces, lead in parts:
                yield from self._of_part(pieces, lead, mp3 or bool(lead))

    def _of_part(
        self, pieces: tuple[Piece, ...] | None, lead: int, quiet: bool
    ) -> Iterator[tuple[np.ndarray, int, bool]]:
        import soundfile

        done = 0
        try:
            with ExitStack() as opened:
                for decoded in self._blocks_of(self._opened(pieces, opened, quiet), lead, quiet):
                    done += decoded[0].shape[0]
                    yield decoded
        except soundfile.LibsndfileError as problem:  # on the way; ffmpeg may read it, and begins anew
            content = self._path if pieces is None else SplicedFile(pieces).read()
            with opened_through_ffmpeg(content, self._name, problem) as file:
                for block, rate, vorbis in self._blocks_of(file, lead, False):
                    new = block[done:]
                    done -= block.shape[0] - new.shape[0]
                    if new.shape[0]:
                        yield new, rate, vorbis

    def _opened(
        self, pieces: tuple[Piece, ...] | None, opened: ExitStack, quiet: bool
    ) -> soundfile.SoundFile:
        import soundfile

        try:
            source = native(self._path) if pieces is None else SplicedFile(pieces)
            with quiet_decoder() if quiet else nullcontext():
                return opened.enter_context(soundfile.SoundFile(source))
        except soundfile.LibsndfileError as problem:
            content = self._path if pieces is None else SplicedFile(pieces).read()
            return opened.enter_context(opened_through_ffmpeg(content, self._name, problem))

    def _blocks_of(
        self, file: soundfile.SoundFile, lead: int, quiet: bool
    ) -> Iterator[tuple[np.ndarray, int, bool]]:
        promised = promised_samples(file, self._name, lead)
        check_promised_bytes(file, self._name)
        size, done = max(1, _BLOCK_SAMPLES // file.channels), 0
        while True:
            with quiet_decoder() if quiet else nullcontext():
                block = file.read(size, dtype="float32", always_2d=True)
            if not block.shape[0]:
                break
            done += block.shape[0]
            if done > lead:
                yield (
                    block[max(0, lead - (done - block.shape[0])) :],
                    int(file.samplerate),
                    file.format == "OGG",
                )
        check_length(file, self._name, done, promised)


def _of_equal_channels(blocks: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Join blocks that follow one another and have as many channels: files joined from others may change them."""
    start = 0
    for index in range(1, len(blocks) + 1):
        if index == len(blocks) or blocks[index].shape[1] != blocks[start].shape[1]:
            yield np.concatenate(blocks[start:index])
            start = index
