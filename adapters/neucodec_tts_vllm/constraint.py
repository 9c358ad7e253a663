"""The tokens that a request for speech may generate, and how logits are made to obey.

Free of vLLM, so that the arithmetic can be read and tested on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CODES, STOPS, MIN_FRAMES, MAX_FRAMES = (
    "neucodec_codes",
    "neucodec_stops",
    "neucodec_min_frames",
    "neucodec_max_frames",
)
"""Keys of ``SamplingParams.extra_args``, or of ``vllm_xargs`` in a request to vLLM's own HTTP routes."""

_MOST_STOPS = 8
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class AllowedTokens:
    """The tokens of speech.

    Attributes:
        first: token id of the first code.
        end: the id after the last code.
        stop_ids: ids of which any ends the speech, ascending.
    """

    first: int
    end: int
    stop_ids: tuple[int, ...]


@dataclass(frozen=True)
class SpeechConstraint:
    """The limits of one request for speech.

    Attributes:
        tokens: codes and stops.
        min_frames: the stop is forbidden until there are so many codes.
        max_frames: only a stop is allowed after so many; None for no limit.
    """

    tokens: AllowedTokens
    min_frames: int = 0
    max_frames: int | None = None

    @classmethod
    def from_extra_args(cls, extra_args: Mapping[str, Any] | None) -> SpeechConstraint | None:
        """Read the constraint of a request; None if it does not ask for speech.

        Raises:
            ValueError: an entry is missing or wrong; the message names it.
        """
        if not extra_args or CODES not in extra_args:
            return None
        codes = extra_args[CODES]
        if not isinstance(codes, (list, tuple)) or len(codes) != 2 or not all(map(_is_count, codes)):
            raise ValueError(f"{CODES} must be [first token id, id after the last], not {codes!r:.100}")
        first, end = codes
        if first >= end:
            raise ValueError(f"{CODES} is the empty range {first} to {end}")
        stops = extra_args.get(STOPS)
        if (
            not isinstance(stops, (list, tuple))
            or not 1 <= len(stops) <= _MOST_STOPS
            or not all(map(_is_count, stops))
        ):
            raise ValueError(f"{STOPS} must be a list of 1 to {_MOST_STOPS} token ids, not {stops!r:.100}")
        if any(first <= stop < end for stop in stops):
            raise ValueError(
                f"{STOPS} holds an id that is also a code ({first} to {end - 1}): {stops!r:.100}"
            )
        least, most = extra_args.get(MIN_FRAMES, 0), extra_args.get(MAX_FRAMES)
        if not _is_count(least):
            raise ValueError(f"{MIN_FRAMES} must be a whole number of at least 0, not {least!r:.100}")
        if most is not None and (not _is_count(most) or most < max(1, least)):
            raise ValueError(f"{MAX_FRAMES} must be at least 1 and {MIN_FRAMES}, not {most!r:.100}")
        return cls(AllowedTokens(first, end, tuple(sorted(set(stops)))), least, most)

    def to_extra_args(self) -> dict[str, Any]:
        """Return the ``extra_args`` that make a request generate speech only."""
        values: dict[str, Any] = {
            CODES: [self.tokens.first, self.tokens.end],
            STOPS: list(self.tokens.stop_ids),
        }
        if self.min_frames:
            values[MIN_FRAMES] = self.min_frames
        if self.max_frames is not None:
            values[MAX_FRAMES] = self.max_frames
        return values


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def constrain(
    logits: Tensor,
    tokens: AllowedTokens,
    *,
    rows: Tensor | None = None,
    stop_blocked: Tensor | None = None,
    codes_blocked: Tensor | None = None,
    first_column: int = 0,
) -> None:
    """Set the logits that are not allowed to minus infinity, in place.

    Everything stays on the device and nothing waits for it: columns are given as ranges, rows as masks.

    Args:
        logits: (B, columns), float.
        tokens: those that are allowed.
        rows: rows that are constrained, bool (B,) on the same device; None for all of them.
        stop_blocked: rows that may not stop yet, bool (B,).
        codes_blocked: rows that must stop now, bool (B,).
        first_column: token id of the first column, where a rank holds a part of the vocabulary only.
    """
    width = logits.shape[1]
    first = min(max(tokens.first - first_column, 0), width)
    end = min(max(tokens.end - first_column, first), width)
    stops = [stop - first_column for stop in tokens.stop_ids if 0 <= stop - first_column < width]
    kept = [logits[:, stop].clone() for stop in stops]
    for part in (logits[:, :first], logits[:, end:]):
        if rows is None:
            part.fill_(-float("inf"))
        else:
            part.masked_fill_(rows[:, None], -float("inf"))
    if codes_blocked is not None:
        blocked = codes_blocked if rows is None else rows & codes_blocked
        logits[:, first:end].masked_fill_(blocked[:, None], -float("inf"))
    for stop, values in zip(stops, kept, strict=True):
        if stop_blocked is not None:
            values.masked_fill_(stop_blocked if rows is None else rows & stop_blocked, -float("inf"))
        logits[:, stop] = values
