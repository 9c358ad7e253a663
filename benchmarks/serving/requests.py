"""The requests to a server: texts, and the same as vLLM's own completions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neucodec_tts.errors import NeuCodecError

if TYPE_CHECKING:
    from neucodec_tts.prompts import SpeechConfig

_OPENINGS = (
    "The morning train was late again",
    "Nobody had expected the harbour to freeze",
    "A letter came on Tuesday with no name on it",
    "She counted the lamps along the river",
    "Most of the bread was gone by noon",
    "He had promised to bring the keys back",
    "The old clock in the hall struck nine",
    "Rain fell on the tin roof of the workshop",
)
_ENDINGS = (
    "and we talked until it was light.",
    "so the meeting began without him.",
    "but the music went on all night.",
    "while the others waited in the yard.",
    "and nobody thought of it again.",
)


@dataclass(frozen=True)
class SpeechCall:
    """One request for speech: its text and seed, and what else it carries."""

    text: str
    seed: int
    options: dict[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        """Of ``/v1/audio/speech``."""
        return {"input": self.text, "seed": self.seed, **self.options}


def make_calls(
    count: int,
    *,
    model: str,
    voice: str | None = None,
    longest: int | None = None,
    seed: int = 0,
    first_chunk: int | None = None,
    gapless: bool = True,
) -> list[SpeechCall]:
    """Requests that differ in text and seed.

    Args:
        count: how many.
        model: name of the model on the server.
        voice: name of a voice on the server.
        longest: most frames of each; None leaves it to the model.
        seed: of the first; the others count on.
        first_chunk: frames of the first chunk of each.
        gapless: False asks for the first sound at once, however slowly codes come.
    """
    options: dict[str, Any] = {"model": model}
    if voice is not None:
        options["voice"] = voice
    if longest is not None:
        options["max_new_tokens"] = longest
    if first_chunk is not None:
        options["initial_codec_chunk_frames"] = first_chunk
    if not gapless:
        options["gapless"] = False
    return [
        SpeechCall(
            f"{_OPENINGS[index % len(_OPENINGS)]}, {_ENDINGS[index % len(_ENDINGS)]}"
            if index < len(_OPENINGS) * len(_ENDINGS)
            else f"{_OPENINGS[index % len(_OPENINGS)]} at house number {index}, {_ENDINGS[index % len(_ENDINGS)]}",
            seed + index,
            options,
        )
        for index in range(count)
    ]


class CompletionMaker:
    """The token generations behind a request for speech, as requests to vLLM's own ``/v1/completions``.

    Prompts, sampling, seeds and the constraint are the same, so that the same tokens come; only the codec is left out.

    Args:
        model: folder or hub id of what the server serves.
        voice: name of a voice in the user's own library or among the model's own, if requests name one.

    Raises:
        NeuCodecError: the model, its tokenizer or the voice cannot be read here.
    """

    def __init__(self, model: str, voice: str | None = None) -> None:
        from neucodec_tts.prompts import SpeechConfig
        from neucodec_tts.speech.engine import Sampling
        from neucodec_tts.speech.loading import load_tokenizer
        from neucodec_tts.voices import VoiceLibrary

        config: SpeechConfig = SpeechConfig.from_pretrained(model)
        tokenizer = load_tokenizer(model)
        vocabulary = config.vocabulary(tokenizer)
        self._format = config.make_format(tokenizer, vocabulary)
        self._limits = (config.context_length, config.utterance_frames)
        self._sampling = Sampling(**dict(config.sampling))  # type: ignore[arg-type]
        self._voice = (
            None if voice is None else VoiceLibrary().find(voice, model_voices=VoiceLibrary.of_model(model))
        )
        span = vocabulary.id_range
        if span is None:
            raise NeuCodecError(f"the codes of {model} do not lie side by side in its vocabulary")
        # The names are those of the adapter for vLLM, which this package must not import; a test compares them.
        self._constraint: dict[str, Any] = {
            "neucodec_codes": list(span),
            "neucodec_stops": sorted(set(self._format.stop_ids)),
        }

    def of(self, call: SpeechCall) -> list[dict[str, Any]]:
        """Bodies of ``/v1/completions``, one for each stretch of the text."""
        from neucodec_tts.speech.script import Script

        sampling = replace(self._sampling, seed=call.seed)
        longest = call.options.get("max_new_tokens")
        if longest is not None:
            longest = min(longest, sampling.max_frames or longest)
            sampling = replace(sampling, max_frames=longest, min_frames=min(sampling.min_frames, longest))
        context_length, utterance_frames = self._limits
        script = Script(call.text, self._voice, self._format, context_length, sampling, utterance_frames)
        bodies = []
        for sentence in script:
            drawn = sentence.sampling
            constraint = dict(self._constraint)
            if drawn.min_frames:
                constraint["neucodec_min_frames"] = drawn.min_frames
            bodies.append(
                {
                    "model": call.options["model"],
                    "prompt": sentence.prompt_ids,
                    "max_tokens": drawn.max_frames,
                    "temperature": drawn.temperature,
                    "top_k": drawn.top_k,
                    "top_p": drawn.top_p,
                    "repetition_penalty": 1.0,
                    "min_p": 0.0,
                    "seed": drawn.seed,
                    "stop_token_ids": self._constraint["neucodec_stops"],
                    "vllm_xargs": constraint,
                }
            )
        return bodies
