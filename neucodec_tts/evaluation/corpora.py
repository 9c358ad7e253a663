"""Recordings to compare codecs on: files, folders, and CMU Arctic by name."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.codec.checkpoints.hub import is_reachable
from neucodec_tts.errors import AudioError

CMU_ARCTIC = "cmu-arctic"
"""The name of the corpus, on which NeuCodec's model card and paper measure; with a colon and speakers for some."""
SPEAKERS = (
    *("aew", "ahw", "aup", "awb", "axb", "bdl", "clb", "eey", "fem"),
    *("gka", "jmk", "ksp", "ljm", "lnh", "rms", "rxr", "slp", "slt"),
)
_SERVER = "http://www.festvox.org"
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


@dataclass(frozen=True)
class Clip:
    """One recording, and its transcript if there is one."""

    path: Path
    text: str | None

    @classmethod
    def of(cls, path: Path) -> Clip:
        """A recording with the transcript in the text file of the same name, if there is one."""
        beside = path.with_suffix(".txt")
        try:
            text = beside.read_text("utf-8-sig").strip() if beside.is_file() else None
        except (OSError, UnicodeDecodeError) as problem:
            raise AudioError(f"{beside} cannot be read as UTF-8: {problem}; mend or remove it") from problem
        return cls(path, text or None)


def find_clips(inputs: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[Clip]:
    """Find recordings.

    Args:
        inputs: files, folders for all recordings in and below them, and ``cmu-arctic``, which is downloaded once, or
            ``cmu-arctic:bdl,slt`` for some of its speakers.
        limit: take so many, drawn at random.
        seed: of the draw.

    Raises:
        AudioError: a file or folder is missing, a folder holds no recordings, or the corpus cannot be downloaded.
    """
    found: dict[Path, Clip | None] = {}
    for path in inputs:
        name, _, speakers = str(path).partition(":")
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
            if not inside:
                raise AudioError(f"there are no recordings in the folder {path}; name another")
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        elif name == CMU_ARCTIC:
            found |= {clip.path: clip for clip in cmu_arctic(speakers.split(",") if speakers else SPEAKERS)}
        else:
            raise AudioError(f"{path}: there is no such file or folder; check the path (now in {Path.cwd()})")
    chosen = list(found)
    if limit is not None and limit < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, limit))
    return [found[path] or Clip.of(path) for path in chosen]


def cmu_arctic(speakers: Sequence[str], root: Path | None = None) -> list[Clip]:
    """The recordings and texts of CMU Arctic, downloaded if need be, about 100 MB for a speaker.

    Args:
        speakers: some of `SPEAKERS`.
        root: where the corpus lies; a folder among the user's caches by default.

    Raises:
        AudioError: there is no such speaker, or it cannot be downloaded.
    """
    unknown = sorted(set(speakers) - set(SPEAKERS))
    if unknown:
        raise AudioError(f"{CMU_ARCTIC} has no speaker {unknown[0]!r}; it has {', '.join(SPEAKERS)}")
    root = root or platformdirs.user_cache_path("neucodec-tts") / "corpora"
    clips = []
    for speaker in dict.fromkeys(speakers):
        folder = root / "ARCTIC" / f"cmu_us_{speaker}_arctic"
        texts = folder / "etc" / "txt.done.data"
        if not texts.is_file():
            _download(root, speaker)
        try:
            lines = texts.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise AudioError(
                f"{folder} is incomplete ({problem}); remove it, and it is downloaded again"
            ) from problem
        found = (_LINE.match(line) for line in lines)
        said = {match[1]: match[2] for match in found if match}
        clips += [Clip(folder / "wav" / f"{name}.wav", text) for name, text in said.items()]
    return clips


def _download(root: Path, speaker: str) -> None:
    from torchaudio.datasets import CMUARCTIC

    if not is_reachable(_SERVER):
        raise AudioError(
            f"{CMU_ARCTIC} is not there yet, and {_SERVER} cannot be reached; connect to the network, or name a folder"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        CMUARCTIC(root, speaker, download=True)
    except (OSError, RuntimeError) as problem:
        raise AudioError(
            f"the recordings of {speaker} cannot be downloaded to {root}: {problem}; try again, or name a folder"
        ) from problem
