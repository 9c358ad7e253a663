"""A folder of voices with names."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import platformdirs

from neucodec_tts.built_in import speech_model
from neucodec_tts.errors import PromptError
from neucodec_tts.voices.speaker import SpeakerPrompt

SUFFIX = ".safetensors"
MODEL_VOICES = "voices"
"""Name of the folder in a model's folder that holds voices of its own."""
_LONGEST_NAME, _LONGEST_BYTES = 64, 200  # file systems take 255 bytes, the suffix included
_RESERVED = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])")  # Windows' devices
VOICE_SUFFIXES = (SUFFIX, ".pt", ".pth", ".npy")
"""Files that hold a voice, or codes of one."""
NEUTTS_2E = "neuphonic/neutts-2e"


def default_folder() -> Path:
    """Return the folder of this user's voices.

    The environment variable ``NEUCODEC_TTS_VOICES`` names it. Otherwise it is ``neucodec-tts/voices`` in the folder
    of the user's data: ``$XDG_DATA_HOME`` or ``~/.local/share`` on Linux, ``~/Library/Application Support`` on macOS,
    ``%APPDATA%`` on Windows.
    """
    named = os.environ.get("NEUCODEC_TTS_VOICES")
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("neucodec-tts", appauthor=False, roaming=True) / "voices"


def check_name(name: str) -> str:
    """Return the name in Unicode's composed form (NFC) if a voice may be called so.

    Such a name is safe as a file name on every system, in a URL and among a command's words.

    Raises:
        PromptError: it may not; the message says what names are made of.
    """
    composed = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
    if not _is_name(composed):
        raise PromptError(
            f"a voice cannot be called {name!r:.100}: names are up to {_LONGEST_NAME} letters, digits, spaces, - and "
            "_, begin with a letter or a digit, and do not end in a space"
        )
    return composed


def comparable(name: str) -> str:
    """Return what two names have in common that no file system can be trusted to tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_name(name: str) -> bool:
    return (
        len(name) <= _LONGEST_NAME
        and len(name.encode("utf-8", "replace")) <= _LONGEST_BYTES
        and name[:1].isalnum()
        and name[-1:] != " "
        and all(each in " -_" or unicodedata.category(each)[0] in "LMN" for each in name)
        and not _RESERVED.fullmatch(name)
    )


class Codec(Protocol):
    """The part of a codec that checks a voice; `NeuCodec` has it."""

    @property
    def codec_id(self) -> str:
        """Name of the codebook."""
        ...

    def check_codes(self, codes: np.ndarray, name: str) -> object:
        """Raise `CodesError` if `codes`, integers (frames,), are not of this codebook."""
        ...


class VoiceLibrary:
    """The voices in a folder, one ``NAME.safetensors`` each.

    Names are case-sensitive, but two names that differ in nothing else are refused, because not every file system
    can tell them apart.

    Args:
        folder: made with the first voice; `default_folder` by default.
    """

    suffix = SUFFIX

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    @classmethod
    def of_model(cls, model: str | os.PathLike[str]) -> VoiceLibrary | None:
        """Return the voices that a model brings, or None if it brings none.

        They lie in its folder ``voices``. NeuTTS-2E's four are those of the package ``neutts``, where it is installed.

        Args:
            model: ``"tiny"``, a folder or a hub id; for a file, the folder lies beside it.
        """
        path = Path(speech_model(model)).expanduser()
        if os.fspath(model).lower().startswith(NEUTTS_2E) and not path.exists():
            return PackageVoices.installed()
        folder = (path.parent if path.is_file() else path) / MODEL_VOICES
        return cls(folder) if folder.is_dir() else None

    def names(self) -> list[str]:
        """Return the names of all voices, sorted."""
        if not self.folder.is_dir():
            return []
        # Some systems take names apart (NFD) and find them in either form.
        stems = (unicodedata.normalize("NFC", file.stem) for file in self.folder.glob(f"*{self.suffix}"))
        return sorted(
            (name for name in stems if _is_name(name) and self.path(name).is_file()), key=comparable
        )

    def path(self, name: str) -> Path:
        """Return the file that a voice called `name` lies in or would lie in.

        Raises:
            PromptError: no voice may be called so.
        """
        return self.folder / f"{check_name(name)}{self.suffix}"

    def load(self, name: str) -> SpeakerPrompt:
        """Read a voice.

        Raises:
            PromptError: there is none of that name, or its file is damaged.
        """
        if name not in self:
            check_name(name)
            raise PromptError(f"there is no voice {name!r} in {self.folder}; {self._hint(name)}")
        return SpeakerPrompt.load(self.path(name))

    def find(
        self,
        voice: SpeakerPrompt | str | os.PathLike[str],
        *,
        model_voices: VoiceLibrary | None = None,
        codec: Codec | None = None,
    ) -> SpeakerPrompt:
        """Return the voice that a user means.

        Args:
            voice: a voice, its file of any kind that `SpeakerPrompt.load` reads, or its name.
            model_voices: voices of a model, for names that this library does not have.
            codec: decodes what the voice will say; None takes a voice of any codec.

        Raises:
            PromptError: there is no such voice, its file is damaged, or another codec made it.
            CodesError: the voice's codes are not of the codec's codebook.
        """
        if not isinstance(voice, (SpeakerPrompt, str, os.PathLike)):
            raise PromptError(
                f"a voice is a SpeakerPrompt, a file or a name, not {type(voice).__name__}; "
                "a recording becomes one with SpeakerPrompt.from_audio"
            )
        found = self._read(voice, model_voices) if isinstance(voice, (str, os.PathLike)) else voice
        if codec is None:
            return found
        if found.codec_id is not None and found.codec_id != codec.codec_id:
            named = f"the voice {voice!r}" if isinstance(voice, (str, os.PathLike)) else "the voice"
            raise PromptError(
                f"{named} was made with the codec {found.codec_id!r}, and the model here speaks through "
                f"{codec.codec_id!r}; make it again from its recording with this codec (neucodec-tts voice)"
            )
        codec.check_codes(found.codes, "the voice")
        return found

    def _read(self, voice: str | os.PathLike[str], model_voices: VoiceLibrary | None) -> SpeakerPrompt:
        text = os.fspath(voice)
        if (
            isinstance(voice, os.PathLike)
            or Path(text).suffix.lower() in VOICE_SUFFIXES
            or os.sep in text
            or "/" in text
        ):
            return SpeakerPrompt.load(text)
        if model_voices is None or text in self:
            return self.load(text)
        if text in model_voices:
            return model_voices.load(text)
        try:
            return self.load(text)
        except PromptError as problem:
            brought = ", ".join(model_voices.names())
            if not brought:
                raise
            raise PromptError(f"{problem}; the model itself brings {brought}") from problem

    def save(self, name: str, voice: SpeakerPrompt, *, overwrite: bool = False) -> Path:
        """Store a voice, and return its file.

        Raises:
            PromptError: no voice may be called so, there is one already, or the folder is not writable.
        """
        path, name = self.path(name), check_name(name)
        taken = [other for other in self.names() if comparable(other) == comparable(name)]
        if taken and (taken != [name] or not overwrite):
            raise PromptError(
                f"there is a voice {taken[0]!r} in {self.folder} already; take another name"
                + (", or overwrite it (overwrite=True, --overwrite)" if taken == [name] else "")
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise PromptError(
                f"the folder of voices {self.folder} cannot be made: {problem.strerror}"
            ) from problem
        voice.save(path)
        return path

    def remove(self, name: str) -> None:
        """Delete a voice.

        Raises:
            PromptError: there is none of that name, or it cannot be deleted.
        """
        path = self.path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            raise PromptError(f"there is no voice {name!r} in {self.folder}; {self._hint(name)}") from None
        except OSError as problem:
            raise PromptError(f"the voice {path} cannot be deleted: {problem.strerror}") from problem

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and unicodedata.normalize("NFC", name) in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"VoiceLibrary({str(self.folder)!r}, {len(self)} voices)"

    def _hint(self, name: str) -> str:
        names = self.names()
        if not names:
            return "it holds none yet; `neucodec-tts voice` makes one"
        near = difflib.get_close_matches(comparable(name), map(comparable, names), n=3)
        listed = [known for known in names if comparable(known) in near] or names[:8]
        return f"{'did you mean' if near else 'there are'} {', '.join(listed)}"


class PackageVoices(VoiceLibrary):
    """The speakers of NeuTTS-2E: codes and transcripts that the package ``neutts`` holds, one ``NAME.pt`` each."""

    suffix = ".pt"

    @classmethod
    def installed(cls) -> PackageVoices | None:
        """Return those of the installed package, which is not imported; None if it is not there, or has none."""
        package = importlib.util.find_spec("neutts")
        for folder in () if package is None else package.submodule_search_locations or ():
            if (Path(folder) / "samples").is_dir():
                return cls(Path(folder) / "samples")
        return None

    def save(self, name: str, voice: SpeakerPrompt, *, overwrite: bool = False) -> Path:
        """Raise `PromptError`: the voices of a package are its own."""
        raise PromptError(
            f"{self.folder} belongs to the package neutts; keep {name!r} in a folder of your own"
        )
