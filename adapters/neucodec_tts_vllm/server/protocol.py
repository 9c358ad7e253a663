"""Bodies of requests. Unknown fields change nothing, as with vLLM-Omni, and the answer names them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from neucodec_tts.text import TextFormat
from neucodec_tts_vllm.server.errors import ApiError

AudioFormat = Literal["wav", "pcm", "flac", "mp3", "opus", "aac"]
AnswerFormat = Literal["wav", "pcm", "flac", "mp3", "opus", "aac", "codes"]
"""Sound, or the codes for those who decode by themselves."""
Finite = Field(allow_inf_nan=False)
_SEED = 2**63 - 1
_FRAMES = 2**20
_MOST_NAMED, _LONGEST_NAME = 20, 64  # unknown fields, whose names a client chose


class Settings(BaseModel):
    """The fields that a single request, a batch and a WebSocket session have in common."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = None
    voice: str | None = None
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    ref_audio: str | None = None
    ref_text: str | None = None
    seed: Annotated[int, Field(ge=-_SEED - 1, le=_SEED)] | None = None
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_FRAMES)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    # Logits are divided by it: much smaller numbers would leave none that is finite.
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=_FRAMES)] | None = None
    language: str | None = None
    emotion: str | None = None
    text_format: TextFormat = "markdown"
    normalize: bool | None = None
    initial_codec_chunk_frames: Annotated[int, Field(ge=0, le=_FRAMES)] | None = None
    gapless: bool = True
    instructions: str | None = None
    response_format: AnswerFormat

    @property
    def unused(self) -> list[str]:
        """Names of the fields that were given and change nothing."""
        found = ["instructions"] if self.instructions else []  # no prompt format has a place for them
        if self.response_format == "codes" and self.speed != 1:
            found.append("speed")
        return found + [name[:_LONGEST_NAME] for name in list(self.model_extra or {})[:_MOST_NAMED]]

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        """Many clients send null for a field that they leave out; vLLM-Omni's say ``speaker``, too."""
        if not isinstance(value, dict):
            return value
        return _without_nulls(value)

    @field_validator("voice", mode="before")
    @classmethod
    def _voice_name(cls, value: object) -> object:
        """OpenAI's custom voices are objects with an id."""
        if isinstance(value, dict):
            name = next((value[key] for key in ("id", "name") if value.get(key) is not None), None)
            if not isinstance(name, str):
                raise ValueError('a voice is a name, or an object such as {"id": "dave"}')
            return name
        return value


class SpeechRequest(Settings):
    """``POST /v1/audio/speech``."""

    input: str
    response_format: AnswerFormat = "mp3"  # OpenAI's default
    stream: bool = True
    stream_format: Literal["audio", "sse"] | None = None
    with_codes: bool = False  # beside the sound, in its events

    @property
    def streams(self) -> bool:
        """True if the answer is sent while it is generated, as OpenAI does by default."""
        return self.stream or self.stream_format == "sse"


class OmniSpeechRequest(SpeechRequest):
    """The same with the defaults of vLLM-Omni 0.30: a whole WAV, and events where ``stream`` says no more."""

    response_format: AnswerFormat = "wav"
    stream: bool = False

    @model_validator(mode="after")
    def _with_a_form(self) -> OmniSpeechRequest:
        if self.stream and self.stream_format is None:
            self.stream_format = "sse"
        return self

    @property
    def streams(self) -> bool:
        """True if the answer is sent while it is generated."""
        return self.stream_format is not None


class BatchRequest(Settings):
    """``POST /v1/audio/speech/batch``: items, and the fields that hold for all of them."""

    response_format: AudioFormat = "wav"  # codes are given one text at a time
    items: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def requests(self) -> list[SpeechRequest]:
        """The items with the defaults of the batch."""
        common = self.model_dump(include=set(type(self).model_fields) - {"items"}, exclude_unset=True)
        common.setdefault("response_format", "wav")
        # Unknown fields of the batch stay without effect, and are named with each item.
        common |= {name: True for name in self.model_extra or {} if name not in SpeechRequest.model_fields}
        whole = {"stream": False, "stream_format": None}
        return [
            validated(SpeechRequest, {**common, **_without_nulls(item), **whole}, f"items[{index}]")
            for index, item in enumerate(self.items)
        ]


class SessionConfig(Settings):
    """``session.config`` of a WebSocket."""

    response_format: AnswerFormat = "pcm"
    split_granularity: Literal["none", "sentence", "clause"] = "sentence"
    stream_audio: bool = True


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that a client has given, each by our name."""
    given = {name: each for name, each in fields.items() if each is not None}
    if "speaker" in given:
        given.setdefault("voice", given.pop("speaker"))
    return given


Model = TypeVar("Model", bound=BaseModel)


def parsed(model: type[Model], body: bytes) -> Model:
    """Read a JSON body.

    Raises:
        ApiError: it is not JSON, or not of this kind; the message names the field.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not valid JSON in UTF-8") from error
    return validated(model, value)


def validated(model: type[Model], value: object, where: str = "") -> Model:
    """Check a value against a model.

    Raises:
        ApiError: it is not of this kind; the message names the field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if isinstance(part, (str, int)))
        path = ".".join(filter(None, [where, field]))
        raise ApiError(400, f"{path or 'the body'}: {first['msg']}", path or None) from error
