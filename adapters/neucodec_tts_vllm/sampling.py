"""Our sampling settings as vLLM's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neucodec_tts.errors import EngineError
from neucodec_tts_vllm.constraint import AllowedTokens, SpeechConstraint

if TYPE_CHECKING:
    from vllm import SamplingParams

    from neucodec_tts.speech.engine import Sampling, SpeechTokens


def allowed_tokens(tokens: SpeechTokens) -> AllowedTokens:
    """What speech consists of, as a range of ids.

    Raises:
        EngineError: the codes are not a range, or there are too many stops.
    """
    span = tokens.vocabulary.id_range
    if span is None:
        raise EngineError(
            "the codes of this model do not lie side by side in its vocabulary, and vLLM is told of them as a range; "
            "use the engine 'transformers', or extend the model again (neucodec-tts extend-vocab)"
        )
    allowed = AllowedTokens(*span, tuple(sorted(set(tokens.stop_ids))))
    try:
        SpeechConstraint.from_extra_args(SpeechConstraint(allowed).to_extra_args())
    except ValueError as error:
        raise EngineError(f"the stops of this model cannot be told to vLLM: {error}") from error
    return allowed


def sampling_params(
    sampling: Sampling, allowed: AllowedTokens, room: int, *, interval: int = 1
) -> SamplingParams:
    """Return what makes vLLM generate speech as `sampling` says, and hand out what is new as it comes.

    Args:
        sampling: ours. `repetition_frames` is the caller's to look after.
        allowed: codes and stops of the model.
        room: tokens that the context leaves for speech.
        interval: tokens are handed out so many at a time, after the first; fewer events cost the server less.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    longest = room if sampling.max_frames is None else min(room, sampling.max_frames)
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed,
        max_tokens=longest,
        stop_token_ids=list(allowed.stop_ids),
        extra_args=SpeechConstraint(allowed, min(sampling.min_frames, longest)).to_extra_args(),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        stream_interval=interval,
    )


def check_prompt(prompt_ids: Sequence[int], context_length: int) -> None:
    """Check that a prompt can be continued.

    Raises:
        EngineError: it is empty, or leaves no room for speech.
    """
    if not len(prompt_ids):
        raise EngineError("the prompt is empty; there is nothing to continue")
    if len(prompt_ids) >= context_length:
        raise EngineError(
            f"the prompt has {len(prompt_ids)} tokens, which leaves no room for speech in the model's context of "
            f"{context_length}; shorten the text or the voice's recording, or raise max_model_len"
        )
