"""SpeakerPrompt: a voice, as a language model is given it."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from neucodec_tts.errors import CodesError, PromptError
from neucodec_tts.files import atomic_path
from neucodec_tts.text import check_text, has_speech
from neucodec_tts.voices.recording import Advice, examine, judge_transcript

if TYPE_CHECKING:
    import torch

    from neucodec_tts.audio import Audio

logger = logging.getLogger(__name__)

FRAME_RATE = 50.0
"""Codes a second of NeuCodec, for files that do not say."""
_FORMAT, _VERSION = "neucodec-voice", "1"
_LARGEST_CODE = 2**16 - 1


class EncodingCodec(Protocol):
    """The part of a codec that encodes; `NeuCodec` has it."""

    @property
    def codec_id(self) -> str:
        """Name of the codebook."""
        ...

    @property
    def input_sample_rate(self) -> int:
        """Of what is encoded, in Hz."""
        ...

    @property
    def frame_rate(self) -> float:
        """Codes a second."""
        ...

    def encode(self, audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Return the codes (frames,) of a waveform (samples,)."""
        ...


@dataclass(frozen=True, eq=False)
class SpeakerPrompt:
    """A reference recording as codes, and what is said in it: all that is needed to speak in its voice.

    Attributes:
        codes: uint16 (frames,), read-only.
        text: what is said, word for word.
        language: espeak's name of the language, if it is known.
        codec_id: of the codec that made the codes (``NeuCodec.codec_id``), if it is known.
        duration: in seconds.
        metadata: anything else: name, licence, source. Strings, numbers, lists and dictionaries of these.
        advice: what could be better about the recording; not saved.

    Raises:
        CodesError: the codes are not integers (frames,) from 0 to 65,535, or there are none.
        PromptError: the transcript is empty, or the metadata cannot be stored as JSON.
    """

    codes: np.ndarray[Any, Any]
    text: str
    language: str | None = None
    codec_id: str | None = None
    duration: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()

    def __post_init__(self) -> None:
        codes = _checked_codes(self.codes, "the voice")
        codes.setflags(write=False)
        text = _checked_transcript(self.text)
        try:
            metadata = json.loads(json.dumps(dict(self.metadata), allow_nan=False))
        except (TypeError, ValueError) as problem:
            raise PromptError(f"the metadata of a voice must fit into JSON: {problem}") from problem
        duration = float(self.duration) or len(codes) / FRAME_RATE
        if not (math.isfinite(duration) and duration > 0):
            raise PromptError(f"the duration of a voice is {self.duration} s; it must be positive")
        for name, value in (
            ("codes", codes),
            ("text", text),
            ("metadata", metadata),
            ("duration", duration),
        ):
            object.__setattr__(self, name, value)

    # -- making one ---------------------------------------------------------------------------------------

    @classmethod
    def from_audio(
        cls,
        codec: EncodingCodec,
        audio: Audio,
        text: str,
        *,
        sample_rate: int | None = None,
        channels_first: bool | None = None,
        language: str | None = None,
        trim: bool = True,
        cut_to: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> SpeakerPrompt:
        """Make a voice from a recording of someone speaking.

        The recording is examined first: what could be better about it is logged as warnings and kept in `advice`,
        in words a person can act on. 3 to 15 s of clean speech are best.

        Args:
            codec: encodes the recording.
            audio: any recording that `neucodec_tts.audio.as_waveform` takes. A constant offset is taken out of it.
            text: what is said in it, word for word.
            sample_rate: of samples, in Hz.
            channels_first: True for samples (channels, samples), False for (samples, channels).
            language: espeak's name of the language.
            trim: leave out the quiet before and after the speech, but for 0.1 s.
            cut_to: cut a recording longer than so many seconds at its last pause before that. `text` must then be
                what is said up to the cut, which the warning and ``metadata["cut_at"]`` give in seconds.
            metadata: anything to keep with the voice.

        Raises:
            PromptError: `text` has no letters.
            AudioError: the recording cannot be read, holds no speech, or is too short or too long.
        """
        from neucodec_tts.audio import as_mono, as_waveform

        text = _checked_transcript(text)
        if cut_to is not None and not 1 <= cut_to <= 30:
            raise PromptError(f"cut_to is {cut_to} s; it must lie between 1 and 30")
        samples, rate, name = as_mono(audio, sample_rate, channels_first=channels_first, name="the recording")
        found = examine(samples, rate, name=name, trim=trim, cut_to=cut_to)
        advice = [*found.advice]
        doubt = judge_transcript(text, found.seconds)
        if doubt is not None:
            advice.append(doubt)
        for one in advice:
            logger.warning("%s: %s", name, one.message)
        waveform = as_waveform(samples - found.offset, rate, target_rate=codec.input_sample_rate, name=name)
        used = waveform[
            round(found.start * codec.input_sample_rate) : round(found.end * codec.input_sample_rate)
        ]
        codes = codec.encode(used, codec.input_sample_rate)
        extra = {"cut_at": round(found.end, 2)} if any(one.kind == "cut" for one in advice) else {}
        return cls(
            codes.numpy(),
            text,
            language,
            codec.codec_id,
            len(codes) / codec.frame_rate,
            {**(metadata or {}), **extra},
            tuple(advice),
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        text: str | None = None,
        language: str | None = None,
        codec_id: str | None = None,
    ) -> SpeakerPrompt:
        """Read a voice, or codes that become one.

        Args:
            path: a ``.safetensors`` that `save` wrote; or codes without a transcript: NeuTTS' ``.pt`` (read
                without running anything in it), ``.npy``, or a ``.safetensors`` of ``neucodec-tts encode``.
            text: the transcript. By default it is what the voice's file says, and for codes what the file of the
                same name says that ends in ``.txt``, as NeuTTS keeps them.
            language: espeak's name of the language; by default what the file says.
            codec_id: of the codec that made the codes, for files that do not say.

        Raises:
            PromptError: the file is missing, damaged or of another kind, or there is no transcript.
            CodesError: it holds something else than codes.
        """
        file = Path(path)
        suffix = file.suffix.lower()
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "does not exist"
            raise PromptError(f"the voice {file} {what}; name a .safetensors, .pt or .npy file")
        if suffix == ".safetensors":
            voice = read_voice(file)
            if voice is not None:
                given = {"text": text, "language": language}
                changed = {name: value for name, value in given.items() if value is not None}
                return cls(**{**_fields(voice), **changed}) if changed else voice
        if suffix in (".safetensors", ".npy"):
            from neucodec_tts.codec.storage import read_codes

            stored = read_codes(file)
            codes, codec_id = stored.codes, stored.codec_id or codec_id
        elif suffix in (".pt", ".pth"):
            codes = _read_pt(file)
        else:
            raise PromptError(
                f"{file}: a voice is a .safetensors, .pt or .npy file; a recording becomes one with "
                "SpeakerPrompt.from_audio or `neucodec-tts voice`"
            )
        if text is None:
            text = transcript_beside(file)
        if text is None:
            raise PromptError(
                f"{file} holds codes without a transcript; give text=..., or put it into "
                f"{file.with_suffix('.txt').name} beside it"
            )
        return cls(codes, text, language, codec_id)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the voice into one ``.safetensors`` file: codes as uint16 and the rest as metadata.

        The file appears under its name when it is complete.

        Raises:
            PromptError: the name does not end in ``.safetensors``, or it cannot be written there.
        """
        from safetensors.numpy import save_file

        file = Path(path)
        if file.suffix.lower() != ".safetensors":
            raise PromptError(f"{file}: a voice is stored in a .safetensors file; end the name in that")
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "text": self.text,
            "language": self.language or "",
            "codec_id": self.codec_id or "",
            "duration": repr(self.duration),
            "metadata": json.dumps(dict(self.metadata), ensure_ascii=False),
        }
        with atomic_path(file, PromptError) as temporary:
            save_file({"codes": np.ascontiguousarray(self.codes)}, temporary, metadata=metadata)

    # -- using one ----------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpeakerPrompt):
            return NotImplemented
        mine, theirs = _fields(self), _fields(other)
        return np.array_equal(mine.pop("codes"), theirs.pop("codes")) and mine == theirs

    def __hash__(self) -> int:
        return hash((self.codes.tobytes(), self.text, self.codec_id))

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        said = self.text if len(self.text) <= 40 else f"{self.text[:39]}…"
        return f"SpeakerPrompt({self.duration:.1f} s, {len(self.codes)} codes, {said!r})"


def _fields(voice: SpeakerPrompt) -> dict[str, Any]:
    """The fields of a voice, without its advice."""
    names = ("codes", "text", "language", "codec_id", "duration", "metadata")
    return {name: getattr(voice, name) for name in names}


def _checked_transcript(text: str) -> str:
    text = check_text(text).strip()
    if not text:
        raise PromptError("a voice needs the transcript of its recording: give text=..., word for word")
    if not has_speech(text):
        raise PromptError(
            f"the transcript {text[:40]!r} has no letters; write down what is said in the recording"
        )
    return text


def _checked_codes(codes: Any, name: str) -> np.ndarray[Any, Any]:
    """Codes of any kind as uint16 (frames,); axes of length one are dropped, as NeuTTS' files have them."""
    array = codes.detach().cpu().numpy() if hasattr(codes, "detach") else np.asarray(codes)
    array = array.reshape(-1) if array.ndim and array.size == max(array.shape) else array
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise CodesError(
            f"{name}: codes must be integers (frames,), at least one, but they are {array.dtype} {array.shape}"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > _LARGEST_CODE:
        raise CodesError(f"{name}: holds {low if low < 0 else high}, which is no code of 16 bits")
    return array.astype(np.uint16)


def read_voice(file: Path) -> SpeakerPrompt | None:
    """Read what `SpeakerPrompt.save` wrote; None if the file is some other kind of safetensors.

    Raises:
        PromptError: it is a voice, but a damaged one or one of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != _FORMAT:
                return None
            if metadata.get("version") != _VERSION:
                raise PromptError(
                    f"{file}: a voice of version {metadata.get('version')}, and this release reads version {_VERSION}; "
                    "install a newer neucodec-tts"
                )
            return SpeakerPrompt(
                opened.get_tensor("codes"),
                metadata["text"],
                metadata.get("language") or None,
                metadata.get("codec_id") or None,
                float(metadata.get("duration", 0)),
                json.loads(metadata.get("metadata", "{}")),
            )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as problem:
        if isinstance(problem, (PromptError, CodesError)):
            raise
        raise PromptError(f"{file}: not a voice, or a damaged one ({problem}); make it again") from problem


def _read_pt(file: Path) -> np.ndarray[Any, Any]:
    """Read NeuTTS' reference codes: one tensor of integers."""
    import torch

    try:
        # weights_only: the file may hold tensors and nothing that runs.
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
    ) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise PromptError(
            f"{file}: not a .pt file of codes, or a damaged or unsafe one ({reason}); encode the recording again"
        ) from problem
    if not isinstance(content, torch.Tensor):
        raise CodesError(f"{file}: holds {type(content).__name__}, and codes are one tensor of integers")
    return _checked_codes(content, str(file))


def transcript_beside(file: Path) -> str | None:
    """Return what the ``.txt`` file of the same name says, as NeuTTS keeps transcripts; None if there is none.

    Raises:
        PromptError: it cannot be read, or is not UTF-8.
    """
    beside = file.with_suffix(".txt")
    try:
        return beside.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise PromptError(f"the transcript {beside} cannot be read: {problem}") from problem
