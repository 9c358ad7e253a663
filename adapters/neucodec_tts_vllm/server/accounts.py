"""The figures of a request for speech."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neucodec_tts_vllm.server.tracing import RequestTrace

if TYPE_CHECKING:
    from neucodec_tts.speech.settling import Verdict


@dataclass
class Account:
    """The figures of one request so far.

    Attributes:
        seed: the same text is spoken in the same way again with this seed.
        prompt_tokens: of all prompts.
        speech_tokens: generated and kept.
        started: when it began, by `time.perf_counter`.
        first_token: seconds until the first token; None before it.
        first_audio: seconds until the first sound; None before it.
        samples: of sound that was sent, or of the codes that were.
        cut_short: sentences that did not end well.
        warnings: what of the text is not read, and what is wrong with sentences that did not end well; for people.
        codes: generated and not sent yet, where the client wants them beside the sound; otherwise None.
        trace: its spans.
    """

    seed: int
    prompt_tokens: int = 0
    speech_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    first_audio: float | None = None
    samples: int = 0
    cut_short: int = 0
    warnings: list[str] = field(default_factory=list)
    codes: list[int] | None = None
    trace: RequestTrace = field(default_factory=RequestTrace)

    def usage(self) -> dict[str, int]:
        """Return the tokens in the shape of OpenAI's ``speech.audio.done``."""
        return {
            "input_tokens": self.prompt_tokens,
            "output_tokens": self.speech_tokens,
            "total_tokens": self.prompt_tokens + self.speech_tokens,
        }

    def settled(self, verdict: Verdict) -> None:
        """Count a sentence that is kept."""
        if verdict.warning is not None:
            self.cut_short += 1
            self.warnings.append(verdict.warning)

    def heard(self, samples: int) -> None:
        """Count samples that are sent."""
        if samples and self.first_audio is None:
            self.first_audio = time.perf_counter() - self.started
        self.samples += samples
