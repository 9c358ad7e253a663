"""The share of a voice's prompt that vLLM computes once, by the counters of its prefix cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from serving.requests import SpeechCall

if TYPE_CHECKING:
    from serving.client import SpeechClient

QUERIES, HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
_FRAMES = 2
"""Frames of each answer: the prompt is what matters here."""
# They begin with other letters than each other and than whatever else is asked for.
_TEXTS = (
    "Before the bell rang twice the yard was empty.",
    "Under the bridge somebody was whistling.",
    "Even the cat had gone to sleep by then.",
    "Yellow paint dried slowly on the new door.",
)


@dataclass(frozen=True)
class PrefixSharing:
    """Shares of prompt tokens, asked for one request after the other.

    Attributes:
        new_texts: that vLLM had computed before, of texts that are new in a voice that is not.
        same_texts: that it had computed before, of the same texts once more with other seeds.
        in_common: that those new prompts have in common with one that was asked before: no cache can spare more. None
            where the prompts cannot be made here.
        prompt_tokens: of a new text, on average.
    """

    new_texts: float
    same_texts: float
    in_common: float | None
    prompt_tokens: float


async def measure_prefix(
    client: SpeechClient, known: SpeechCall, prompt_of: Callable[[SpeechCall], Sequence[int]] | None
) -> PrefixSharing | None:
    """Ask for new texts in the voice of a call that was answered before, and for the same again.

    Args:
        client: talks to a server that does nothing else meanwhile.
        known: the call.
        prompt_of: makes the prompt of a call; None where that cannot be done here.

    Returns:
        None where the server's metrics do not tell, or a request fails.
    """
    options = {**known.options, "max_new_tokens": _FRAMES}
    calls = [SpeechCall(text, known.seed + index, options) for index, text in enumerate(_TEXTS)]
    found = []
    for turn in (calls, [replace(call, seed=call.seed + 1000) for call in calls]):
        before = await client.metrics()
        for call in turn:
            if (await client.speak(call.body)).error is not None:
                return None
        after = await client.metrics()
        queries, hits = (after.get(name, 0) - before.get(name, 0) for name in (QUERIES, HITS))
        if not queries:
            return None
        found.append((hits / queries, queries / len(calls)))
    in_common = None
    if prompt_of is not None:
        prompts = [list(prompt_of(call)) for call in calls]
        first = list(prompt_of(known))
        in_common = sum(_common(first, prompt) for prompt in prompts) / sum(map(len, prompts))
    (new, tokens), (same, _) = found
    return PrefixSharing(new, same, in_common, tokens)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of what both begin with."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def describe(sharing: PrefixSharing, voice: str | None) -> str:
    """One line about it."""
    common = ""
    if sharing.in_common is not None:
        common = f" (they have {100 * sharing.in_common:.0f} % in common with others of that voice)"
    return (
        f"prompt tokens that vLLM had computed before: {100 * sharing.new_texts:.0f} % of a new text's "
        f"{sharing.prompt_tokens:.0f} {f'in the voice {voice}' if voice else 'without a voice'}{common}, "
        f"{100 * sharing.same_texts:.0f} % of a text's that was spoken before"
    )
