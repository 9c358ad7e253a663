"""Audio files of a corpus: finding them, and reading them, or a part of one, or one inside a container."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from neucodec_tts.audio import load_audio
from neucodec_tts.dataset.items import Item, TooLong
from neucodec_tts.errors import AudioError, DatasetError

AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"),
        *(".rf64", ".sph"),
        *(".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".amr"),  # through ffmpeg
    )
)
TEXT_SUFFIXES = (".txt", ".normalized.txt", ".original.txt", ".lab")
"""Endings of the file beside a recording that says what is spoken in it; the first that is there counts."""


def walk(root: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files below `root` that end in one of `suffixes`, in a fixed order, without hidden ones."""
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:  # a link to a folder above it would never end
            subfolders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                yield Path(folder, name)


def file_item(
    root: Path,
    where: str,
    id: str,
    text: str | None,
    speaker: str | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Item:
    """An item in a file of its own, or in a part of one; `where` is relative to `root`, or absolute."""
    size, modified = stat(root / where)
    return Item(id, where, text, speaker, start, end, size=size, modified=modified)


def stat(path: Path) -> tuple[int, int]:
    """Bytes, and time of the last change in ns; -1 twice if the file cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


def identifier(root: Path, file: Path) -> str:
    """The path of a recording below `root`, without its suffix, with slashes on every system."""
    return str(PurePosixPath(file.relative_to(root).with_suffix("")))


def relative(root: Path, file: Path) -> str:
    """The path of a file below `root`, with slashes on every system."""
    return file.relative_to(root).as_posix()


def text_beside(file: Path) -> str | None:
    """What the text file beside a recording says, or None if there is none.

    Raises:
        DatasetError: it cannot be read.
    """
    for suffix in TEXT_SUFFIXES:
        beside = file.with_suffix(suffix)
        if beside.is_file():
            return read_text(beside)
    return None


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        DatasetError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DatasetError(
            f"{path}: not in UTF-8 (byte {problem.start}); convert it, as with: iconv -f latin1 -t utf-8"
        ) from problem
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and content of each line of a text file in UTF-8, without its end.

    Raises:
        DatasetError: it cannot be read, or a line is not UTF-8.
    """
    try:
        with open(path, "rb") as opened:
            for number, raw in enumerate(opened, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as problem:
                    raise DatasetError(
                        f"{path}, line {number}: not in UTF-8 (byte {problem.start} of the line); convert the file, as "
                        "with: iconv -f latin1 -t utf-8"
                    ) from problem
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def cannot_read(path: Path, problem: OSError) -> DatasetError:
    """The error for a file of the corpus, other than audio, that cannot be read."""
    return DatasetError(f"{path}: cannot be read ({problem.strerror or problem}); mend its path or its mode")


def read_file(path: Path, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
    """Read the audio of an item that is a file, or a part of one; see `Source.read`."""
    import soundfile

    whole = item.start == 0.0 and item.end is None
    if not whole and item.end is not None and longest is not None and item.end - item.start > longest:
        raise TooLong(item.end - item.start)
    try:
        with soundfile.SoundFile(str(path)) as recording:
            rate, known = recording.samplerate, recording.frames < 2**62
            seconds = recording.frames / rate
            if not whole and recording.seekable() and known:
                return _read_part(recording, item), rate
            if whole and known and longest is not None and seconds > longest:
                raise TooLong(seconds)
    except (soundfile.LibsndfileError, TypeError):
        pass  # whatever is wrong, load_audio says it, or finds another way to read the file
    samples, rate = load_audio(path)
    if not whole:
        first, last = _bounds(item, samples.size, rate)
        samples = samples[first:last]
    return samples, rate


def read_bytes(data: bytes, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
    """Read the audio of an item whose file lies inside a container, given that file's content."""
    suffix = PurePosixPath(item.where.rsplit(":", 1)[-1]).suffix.lower()
    with tempfile.NamedTemporaryFile(prefix="neucodec-tts-", suffix=suffix or ".audio") as copy:
        copy.write(data)
        copy.flush()
        try:
            return read_file(Path(copy.name), item, longest)
        except AudioError as problem:
            raise AudioError(str(problem).replace(copy.name, item.where)) from problem


def _read_part(recording: object, item: Item) -> np.ndarray:
    import soundfile

    assert isinstance(recording, soundfile.SoundFile)
    first, last = _bounds(item, recording.frames, recording.samplerate)
    recording.seek(first)
    samples = recording.read(last - first, dtype="float32", always_2d=True)
    if samples.shape[0] < last - first:
        raise AudioError(
            f"{item.where}: the file is cut short, it ends at "
            f"{(first + samples.shape[0]) / recording.samplerate:.2f} s; "
            "copy or download it again"
        )
    mono: np.ndarray = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return mono


def _bounds(item: Item, frames: int, rate: int) -> tuple[int, int]:
    """First sample of a part of a file, and the one after its last."""
    first = round(item.start * rate)
    last = frames if item.end is None else round(item.end * rate)
    # Corpora round their times: what ends a little beyond the file is not a mistake worth losing an utterance for.
    if last > frames and last - frames <= 0.1 * rate:
        last = frames
    if not 0 <= first < last <= frames:
        end = "the end" if item.end is None else f"{item.end:g} s"
        raise AudioError(
            f"{item.where}: there is no part from {item.start:g} s to {end} in a recording of {frames / rate:.2f} s"
        )
    return first, last


def _raise(problem: OSError) -> None:
    raise cannot_read(Path(problem.filename or ""), problem) from problem
