"""Reading one item of a corpus: its audio at the codec's rate, or the reason why it is left out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from neucodec_tts.audio import as_waveform
from neucodec_tts.dataset.filters import clean_text, text_reason
from neucodec_tts.dataset.items import Item, Source, TooLong
from neucodec_tts.errors import AudioError


@dataclass(frozen=True)
class ReadingRules:
    """Which items are wanted, and in what form."""

    min_seconds: float
    max_seconds: float | None
    text_rule: str
    sample_rate: int
    """Of the codec, in Hz."""
    hop_length: int
    """Samples a code."""


@dataclass(frozen=True)
class Reading:
    """What came of reading one item: a waveform, or the reason why there is none."""

    item: Item
    waveform: np.ndarray | None = None
    """float32 (samples,) at the codec's rate."""
    reason: str | None = None
    detail: str = ""


def read_item(source: Source, rules: ReadingRules, item: Item) -> Reading:
    """Read one item and bring it to the codec's rate, or say why it is left out."""
    if item.problem is not None:
        known = "duplicate id" if item.problem.startswith("duplicate id") else "unusable"
        return Reading(item, reason=known, detail=item.problem)
    reason = text_reason(clean_text(item.text), rules.text_rule)
    if reason is not None:
        return Reading(item, reason=reason, detail=(item.text or "")[:200])
    try:
        samples, rate = source.read(item, rules.max_seconds)
        waveform = as_waveform(samples, rate, target_rate=rules.sample_rate, name=item.where).numpy()
    except TooLong as problem:
        return _too_long(item, problem.seconds, rules)
    except AudioError as problem:
        return Reading(item, reason=_audio_reason(problem), detail=_detail(problem, source))
    except MemoryError:
        return Reading(item, reason="unreadable", detail=f"{item.where}: too long for the memory there is")
    seconds = waveform.size / rules.sample_rate
    if rules.max_seconds is not None and seconds > rules.max_seconds:
        return _too_long(item, seconds, rules)
    if seconds < rules.min_seconds or waveform.size < rules.hop_length:
        least = max(rules.min_seconds, rules.hop_length / rules.sample_rate)
        return Reading(
            item, reason="too short", detail=f"{item.where}: {seconds:.3f} s, less than {least:g} s"
        )
    return Reading(item, waveform)


def _too_long(item: Item, seconds: float, rules: ReadingRules) -> Reading:
    detail = f"{item.where}: {seconds:.3f} s, more than {rules.max_seconds:g} s"
    return Reading(item, reason="too long", detail=detail)


def _audio_reason(problem: AudioError) -> str:
    cause = problem.__cause__
    if isinstance(cause, FileNotFoundError):
        return "missing"
    if isinstance(cause, PermissionError):
        return "no permission"
    return "unreadable"


def _detail(problem: AudioError, source: Source) -> str:
    """The message, without the folder that the corpus lies in: that may be another one tomorrow."""
    root = getattr(source, "root", None)
    return str(problem) if root is None else str(problem).replace(f"{root}{os.sep}", "")
