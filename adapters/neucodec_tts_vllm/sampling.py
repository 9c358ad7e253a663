"""Convert sampling settings to vLLM's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neucodec_tts.errors import EngineError
from neucodec_tts_vllm.constraint import AllowedTokens, SpeechConstraint

if TYPE_CHECKING:
    from vllm import SamplingParams

    from neucodec_tts.speech.engine import Sampling, SpeechTokens


def allowed_tokens(tokens: SpeechTokens) -> AllowedTokens:
    """Return the tokens of speech, as a range of ids.

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
    """Return the settings with which vLLM generates speech as `sampling` says, and hands out tokens as they come.

    Args:
        sampling: `repetition_frames` is ignored; the caller looks after loops.
        allowed: codes and stops of the model.
        room: tokens that the context leaves for speech.
        interval: number of tokens that are handed out at a time, after the first; fewer events cost the server less.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    longest = room if sampling.max_frames is None else min(room, sampling.max_frames)
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        seed=sampling.seed,
        max_tokens=longest,
        stop_token_ids=list(allowed.stop_ids),
        extra_args=SpeechConstraint(allowed, min(sampling.min_frames, longest)).to_extra_args(),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        stream_interval=interval,
    )
