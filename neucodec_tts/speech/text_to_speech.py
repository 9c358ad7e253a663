"""``TextToSpeech``: text of any length in, speech out."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neucodec_tts.codec.checkpoints.hub import HubOptions
from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.errors import EngineError, VocabularyError
from neucodec_tts.speech.assembly import Assembly
from neucodec_tts.speech.engine import FinishReason, Generated, Sampling, SpeechEngine
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.plan import Plan, Utterance
from neucodec_tts.speech.results import Segment, SpeechResult
from neucodec_tts.speech.stream import SpeechStream, check_codes, describe_bad_end, stream_chunks
from neucodec_tts.voices import VoiceLibrary

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import PromptFormat
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt

    #: A voice, the name of one in the library, or a file.
    VoiceLike = SpeakerPrompt | str | os.PathLike[str]

logger = logging.getLogger(__name__)

Spoken = tuple[Utterance, list[int], FinishReason]
"""An utterance, the codes of its speech, and why they ended."""


class TextToSpeech:
    """Speaks texts in the voice of a recording.

    `speak` gives the whole sound, `stream` gives it while it is generated. Both split the text at sentences within
    the model's context, prompt each with the same voice, and join the sounds with natural pauses.

    `from_pretrained` puts one together; the constructor is for parts that you have.

    Args:
        engine: runs the language model.
        codec: decodes.
        prompt_format: builds prompts; made for the model's tokenizer.
        vocabulary: the codes of the tokenizer.
        context_length: longest sequence the model was trained with; the engine's limit by default.
        sampling: the model's defaults.
        pauses: between sentences.
        stream_settings: of the streaming decoder, in frames.
        voices: where voices are found by name; the user's own library by default.
        model_voices: voices that come with the model, found by name where `voices` has none of that name.
        utterance_frames: shortest and longest speech that the model gives well in one go, in codes; 1.2 and 20 s by
            default.

    Raises:
        VocabularyError: the language model and the codec have different codebooks.
    """

    def __init__(
        self,
        engine: SpeechEngine,
        codec: NeuCodec,
        prompt_format: PromptFormat,
        vocabulary: SpeechVocabulary,
        *,
        context_length: int | None = None,
        sampling: Sampling | None = None,
        pauses: Pauses | None = None,
        stream_settings: StreamSettings | None = None,
        voices: VoiceLibrary | None = None,
        model_voices: VoiceLibrary | None = None,
        utterance_frames: tuple[int, int] | None = None,
    ) -> None:
        if vocabulary.codebook_size != codec.codebook_size:
            raise VocabularyError(
                f"the language model speaks {vocabulary.codebook_size:,} codes and the codec has "
                f"{codec.codebook_size:,}; give the codec that the model was trained with (codec=...)"
            )
        self.engine = engine
        self.codec = codec
        self.prompt_format = prompt_format
        self.vocabulary = vocabulary
        self.context_length = min(context_length or engine.context_length, engine.context_length)
        self.sampling = sampling or Sampling()
        self.pauses = pauses or Pauses()
        self.stream_settings = stream_settings or StreamSettings()
        self.voices = voices
        self.model_voices = model_voices
        self.utterance_frames = utterance_frames

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "tiny",
        *,
        codec: NeuCodec | str | os.PathLike[str] | None = None,
        engine: str = "transformers",
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        voices: str | os.PathLike[str] | VoiceLibrary | None = None,
        **engine_options: Any,
    ) -> TextToSpeech:
        """Load a language model with its tokenizer, prompt format and codec.

        Args:
            model: a folder with a ``speech_config.json``, a hub id such as ``"neuphonic/neutts-air"`` (published
                models are known without that file), or ``"tiny"``, the small built-in model.
            codec: the codec, its folder or its hub id, if it is not the one that the model names.
            engine: name of the engine that runs the model; ``speech.registry.engine_names()`` lists those installed.
            device: of model and codec, a GPU if there is one by default. A codec that you give stays where it is.
            dtype: floating-point format of the language model; the engine chooses by default.
            revision: branch, tag or commit of a hub repository.
            cache_dir: where downloads are kept.
            token: hub token.
            local_files_only: never use the network.
            voices: folder of voices that go by name; the user's own library by default.
            engine_options: passed on to the engine.

        Raises:
            CheckpointError: a model is missing or damaged, or says nothing of how it speaks.
            VocabularyError: the model has no code tokens, or other codes than the codec.
            EngineError: there is no such engine.
            DeviceError: there is no such device.
            PromptError: its prompt format needs something that is not installed.
        """
        from neucodec_tts.speech.loading import load

        return cls(
            **load(
                os.fspath(model),
                codec=codec,
                engine=engine,
                device=device,
                dtype=dtype,
                hub=HubOptions(revision, cache_dir, token, local_files_only),
                voices=voices,
                engine_options=engine_options,
            )
        )

    def speak(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
        retries: int = 1,
        batch_size: int = 4,
        watermark: bool = False,
        on_segment: Callable[[Segment], None] | None = None,
    ) -> SpeechResult:
        """Speak a text, all of it before this returns.

        Sentences are generated ``batch_size`` at a time. One that does not end well (it loops, never stops, or
        gives nothing) is generated once more with other random numbers, or in two halves where it was too long for
        the context; what then still does not end well is kept, with a warning in the log and the reason in its
        segment.

        Args:
            text: of any length.
            voice: a `SpeakerPrompt`, the name of one in the library, or its file; None leaves the voice to the model.
            seed: for speaking in the same way again; the result says which was used.
            sampling: instead of the model's defaults. Its shortest and longest apply to each segment.
            retries: how often a sentence that does not end well is generated again.
            batch_size: sentences at a time; more is faster on the whole and takes more memory.
            watermark: mark the sound as synthetic, see `neucodec_tts.speech.watermark`.
            on_segment: called with each segment when its sound is there, in the order of the text.

        Raises:
            PromptError: there is nothing to speak, or the voice is unknown or of another codec.
            EngineError: the model gave no codes for a stretch of the text.
        """
        if batch_size < 1 or retries < 0:
            raise EngineError(
                f"batch_size is {batch_size} and retries {retries}; they must be at least 1 and 0"
            )
        mark = None
        if watermark:
            from neucodec_tts.speech.watermark import Watermarker

            mark = Watermarker()  # before any work, so that a missing package is found at once
        plan, seed = self.plan(text, voice, seed=seed, sampling=sampling)
        assembly = Assembly(self.codec, self.pauses)
        parts: list[Tensor] = []
        utterances = iter(plan)
        while group := list(islice(utterances, batch_size)):
            spoken = self._generate(group, plan, retries)
            sounds = self.codec.decode([torch.tensor(codes) for _, codes, _ in spoken])
            for (utterance, codes, reason), sound in zip(spoken, sounds, strict=True):
                parts.append(assembly.begin(codes))
                parts.append(assembly.push(sound))
                parts.append(assembly.end(utterance, codes, reason))
                if on_segment is not None:
                    on_segment(assembly.segments[-1])
        samples = torch.cat(parts).numpy()
        rate = self.codec.output_sample_rate
        if mark is not None:
            samples = mark.apply(samples, rate)
        return SpeechResult(samples, rate, tuple(assembly.segments), seed, watermarked=mark is not None)

    def stream(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
        ahead_seconds: float = 10.0,
    ) -> SpeechStream:
        """Speak a text while it is generated.

        The first sound comes after ``first_chunk + lookahead`` tokens and one decode. With the same seed the same
        codes are spoken as by `speak`, unless that generates a sentence again; what has been heard cannot be taken
        back.

        Args:
            text: of any length.
            voice: as for `speak`.
            seed: as for `speak`.
            sampling: as for `speak`.
            ahead_seconds: a thread generates so much sound ahead of you, so that the next sentence is made while
                you play the one before. 0 makes everything in your own thread, while you ask for it.

        Returns:
            An iterator of float32 arrays (n,) at ``stream.sample_rate``.

        Raises:
            PromptError: there is nothing to speak, or the voice is unknown or of another codec.
        """
        plan, seed = self.plan(text, voice, seed=seed, sampling=sampling)
        assembly = Assembly(self.codec, self.pauses)
        chunks = stream_chunks(plan, self.engine, self.vocabulary, self.codec, self.stream_settings, assembly)
        return SpeechStream(chunks, assembly, self.codec.output_sample_rate, seed, ahead_seconds)

    def find_voice(self, voice: VoiceLike) -> SpeakerPrompt:
        """The voice that is meant: itself, that of a file, or that of a name in the library or among the model's own.

        Raises:
            PromptError: it is unknown, unreadable, or was made with another codec.
        """
        return (self.voices or VoiceLibrary()).find(voice, model_voices=self.model_voices, codec=self.codec)

    def plan(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
    ) -> tuple[Plan, int]:
        """What to generate for a text, and the seed: for those who run the engine themselves, such as servers.

        Raises:
            PromptError: there is nothing to speak, or the voice is unknown or of another codec.
        """
        settings = sampling or self.sampling
        if seed is None:
            seed = settings.seed
        if seed is None:
            seed = secrets.randbits(31)
        speaker = None if voice is None else self.find_voice(voice)
        settings = replace(settings, seed=seed)
        plan = Plan(text, speaker, self.prompt_format, self.context_length, settings, self.utterance_frames)
        return plan, seed

    def _generate(self, group: list[Utterance], plan: Plan, retries: int) -> list[Spoken]:
        """Codes of some utterances, in their order; some of them in two halves."""
        outcomes = dict(
            self.engine.generate_batch([item.prompt_ids for item in group], [item.sampling for item in group])
        )
        finished: list[Spoken] = []
        for index, utterance in enumerate(group):
            finished += self._mended(utterance, outcomes[index], plan, retries)
        return finished

    def _mended(self, utterance: Utterance, outcome: Generated, plan: Plan, retries: int) -> Iterator[Spoken]:
        codes = self.vocabulary.codes_among(outcome.ids)
        well = outcome.finish_reason == "stop" and bool(codes)
        others = [] if well or utterance.attempt >= retries else plan.again(utterance)
        for other in others:
            logger.info("generating %r again: %s", other.text[:60], outcome.finish_reason)
            result = self.engine.generate(other.prompt_ids, other.sampling).collect()
            yield from self._mended(other, result, plan, retries)
        if others:
            return
        check_codes(codes, utterance)
        if outcome.finish_reason != "stop":
            logger.warning(
                "%s", describe_bad_end(utterance, outcome.finish_reason, len(codes) / self.codec.frame_rate)
            )
        yield utterance, codes, outcome.finish_reason
