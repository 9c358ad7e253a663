"""The one policy for generations that did not end well: generate again, keep with a warning, or fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import FinishReason
from neucodec_tts.speech.joins import frame_levels
from neucodec_tts.speech.script import Script, Sentence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SILENT = 10 ** (-50 / 20)
"""Of full scale: speech whose loudest frame is softer is silence."""
_SHORTEST = 0.12  # s, of any speech
_FASTEST, _SLOWEST, _PATIENCE = 35.0, 4.0, 2.0  # letters a second, and seconds for anything


@dataclass(frozen=True)
class Spoken:
    """A sentence and its speech.

    Attributes:
        sentence: the text.
        codes: the speech.
        finish_reason: why the generation ended.
        silent: True if it has been decoded, and nothing is to be heard.
    """

    sentence: Sentence
    codes: list[int]
    finish_reason: FinishReason
    silent: bool = False


@dataclass(frozen=True)
class Verdict:
    """The decision about one generation.

    Attributes:
        again: sentences to generate instead; empty if the speech is kept.
        warning: what is wrong with speech that is kept; None if nothing is. It quotes the text.
    """

    again: list[Sentence] = field(default_factory=list)
    warning: str | None = None


def settle(spoken: Spoken, script: Script, retries: int, frame_rate: float, *, sent: bool = False) -> Verdict:
    """Decide what happens to a finished generation.

    Speech without a `fault` is kept. A faulty sentence is generated again while `retries` are left and `Script.again`
    knows something to try. After that its speech is kept with a warning.

    Args:
        spoken: the generation.
        script: the text that the sentence is part of.
        retries: how often a sentence may be generated again.
        frame_rate: codes a second.
        sent: True for speech that somebody has got already. What can be heard is not taken back, and so it is kept;
            after silence another attempt may follow.

    Raises:
        EngineError: nothing is left to try, and there are no codes.
    """
    found = fault(spoken, frame_rate)
    if found is None:
        return Verdict()
    sentence, quoted = spoken.sentence, repr(spoken.sentence.text[:60])
    open_to_change = not sent or spoken.silent
    again = script.again(sentence) if open_to_change and sentence.attempt < retries else []
    if again:
        return Verdict(again)
    if not spoken.codes:
        raise EngineError(
            f"the model gave no speech codes for {quoted}; another seed may help, otherwise the model was not trained "
            "with this prompt format"
        )
    seconds = len(spoken.codes) / frame_rate
    return Verdict(
        warning=f"speech for {quoted} {found} ({seconds:.1f} s); words may be missing or repeated (another seed may do "
        "better)"
    )


def fault(spoken: Spoken, frame_rate: float) -> str | None:
    """Name what is wrong with a generation, as in "speech for 'Hello.' did not stop ..."; None if nothing is."""
    if not spoken.codes:
        return "is empty"
    if spoken.finish_reason == "repetition":
        return "went round in a loop and was ended"
    if spoken.finish_reason != "stop":
        return "did not stop and was ended"
    if spoken.silent:
        return "is silent"
    shortest, longest = plausible_seconds(spoken.sentence.text)
    seconds = len(spoken.codes) / frame_rate
    if seconds < shortest:
        return "is shorter than its text can be"
    return "is longer than its text can be" if seconds > longest else None


def plausible_seconds(text: str) -> tuple[float, float]:
    """The shortest and the longest time in which somebody may say a text, in seconds; both are generous.

    The fastest speakers say 30 letters a second. A digit may stand for a long word, and a Chinese, Japanese or Korean
    character for several letters.
    """
    letters = [each for each in text if each.isalnum()]
    weight = sum(8 if each.isdigit() else 4 if east_asian_width(each) == "W" else 1 for each in letters)
    return max(_SHORTEST, len(letters) / _FASTEST), _PATIENCE + weight / _SLOWEST


def is_silent(samples: NDArray[np.float32], hop: int) -> bool:
    """True if no frame of decoded speech, float32 (n,), can be heard.

    Args:
        samples: the speech.
        hop: samples a frame.
    """
    return loudest_frame(samples, hop) < SILENT


def loudest_frame(samples: NDArray[np.float32], hop: int) -> float:
    """The root mean square of the loudest frame of `hop` samples, relative to full scale; 0 if there is none."""
    return float(frame_levels(samples, hop).max(initial=0.0))
