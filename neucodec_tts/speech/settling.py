"""The one policy for generations that did not end well: generate again, keep with a warning, or fail."""

from __future__ import annotations

from dataclasses import dataclass, field

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import FinishReason
from neucodec_tts.speech.script import Script, Sentence


@dataclass(frozen=True)
class Spoken:
    """A sentence and its speech.

    Attributes:
        sentence: the text.
        codes: the speech.
        finish_reason: why the generation ended.
    """

    sentence: Sentence
    codes: list[int]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Verdict:
    """The decision about one generation.

    Attributes:
        again: sentences to generate instead; empty if the speech is kept.
        warning: what is wrong with speech that is kept; None if nothing is. It quotes the text.
    """

    again: list[Sentence] = field(default_factory=list)
    warning: str | None = None


def settle(spoken: Spoken, script: Script, retries: int, frame_rate: float) -> Verdict:
    """Decide what happens to a finished generation.

    Speech without a `fault` is kept. A faulty sentence is generated again while `retries` are left and `Script.again`
    knows something to try. After that its speech is kept with a warning.

    Args:
        spoken: the generation.
        script: the text that the sentence is part of.
        retries: how often a sentence may be generated again; 0 for speech that has been heard already.
        frame_rate: codes a second.

    Raises:
        EngineError: nothing is left to try, and there are no codes.
    """
    found = fault(spoken)
    if found is None:
        return Verdict()
    sentence, quoted = spoken.sentence, repr(spoken.sentence.text[:60])
    again = script.again(sentence) if sentence.attempt < retries else []
    if again:
        return Verdict(again)
    if not spoken.codes:
        raise EngineError(
            f"the model gave no speech codes for {quoted}; another seed may help, otherwise the model was not trained "
            "with this prompt format"
        )
    seconds = len(spoken.codes) / frame_rate
    return Verdict(
        warning=f"speech for {quoted} {found} after {seconds:.1f} s; words may be missing or repeated (another seed "
        "may do better)"
    )


def fault(spoken: Spoken) -> str | None:
    """Name what is wrong with a generation, as in "speech for 'Hello.' did not stop ..."; None if nothing is."""
    if not spoken.codes:
        return "is empty"
    if spoken.finish_reason == "repetition":
        return "went round in a loop and was ended"
    return None if spoken.finish_reason == "stop" else "did not stop and was ended"
