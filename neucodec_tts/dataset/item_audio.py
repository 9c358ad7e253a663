"""The audio of one item at the codec's rate, or the reason why the item is left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neucodec_tts.audio import AudioTooLongError, as_waveform
from neucodec_tts.dataset.filters import clean_text, text_reason
from neucodec_tts.dataset.items import Item, Source
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.errors import AudioError

_KNOWN = ("duplicate id", "no text", "too long")
"""Reasons that the problem of an item may begin with."""


@dataclass(frozen=True)
class ItemAudio:
    """An item with its waveform, or with the reason why there is none."""

    item: Item
    waveform: np.ndarray | None = None
    """float32 (samples,) at the codec's rate."""
    reason: str = ""
    detail: str = ""


def read_item(source: Source, settings: PrepareSettings, codec: CodecInfo, item: Item) -> ItemAudio:
    """Read one item and bring it to the codec's rate, or give the reason why it is left out."""
    if item.problem is not None:
        known = item.problem.partition(":")[0]
        return ItemAudio(item, reason=known if known in _KNOWN else "unusable", detail=item.problem)
    reason = text_reason(clean_text(item.text), settings.text_rule or "any")
    if reason is not None:
        return ItemAudio(item, reason=reason, detail=(item.text or "")[:200])
    longest = settings.max_seconds
    try:
        samples, rate = source.read(item, longest)
        waveform = as_waveform(samples, rate, target_rate=codec.sample_rate, name=item.where).numpy()
        seconds = waveform.size / codec.sample_rate
        if longest is not None and seconds > longest:
            raise AudioTooLongError(item.where, seconds, longest)
    except AudioTooLongError as problem:
        return ItemAudio(item, reason="too long", detail=str(problem))
    except AudioError as problem:
        return ItemAudio(item, reason=_audio_reason(problem), detail=str(problem))
    except MemoryError:
        detail = f"{item.where}: too long for the memory there is"
        return ItemAudio(item, reason="unreadable", detail=detail)
    least = max(settings.min_seconds, codec.hop_length / codec.sample_rate)
    if seconds < settings.min_seconds or waveform.size < codec.hop_length:
        detail = f"{item.where}: {seconds:.3f} s, less than {least:g} s"
        return ItemAudio(item, reason="too short", detail=detail)
    return ItemAudio(item, waveform)


def _audio_reason(problem: AudioError) -> str:
    cause = problem.__cause__
    if isinstance(cause, FileNotFoundError):
        return "missing"
    if isinstance(cause, PermissionError):
        return "no permission"
    return "unreadable"
