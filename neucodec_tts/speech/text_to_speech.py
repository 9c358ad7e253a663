"""``TextToSpeech``: text of any length in, speech out."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.codec.arrays import ArrayCodec, as_array_codec
from neucodec_tts.codec.checkpoints.hub import HubOptions
from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.errors import EngineError, VocabularyError
from neucodec_tts.prompts import with_emotion
from neucodec_tts.speech.assembly import Assembly, assemble
from neucodec_tts.speech.engine import Sampling, SpeechEngine
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.speech.registry import engine_loader
from neucodec_tts.speech.results import Segment, SpeechResult
from neucodec_tts.speech.script import Script, Sentence
from neucodec_tts.speech.settling import Spoken, Verdict, is_silent, settle
from neucodec_tts.speech.stream import SpeechStream, stream_chunks
from neucodec_tts.speech.watermark import Watermarker, WatermarkStream, is_wanted
from neucodec_tts.text import TextReader
from neucodec_tts.voices import VoiceLibrary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import PromptFormat
    from neucodec_tts.text import TextFormat
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt

    #: A voice, the name of one in the library, or a file.
    VoiceLike = SpeakerPrompt | str | os.PathLike[str]

logger = logging.getLogger(__name__)


class TextToSpeech:
    """Speaks texts in the voice of a recording.

    `speak` returns the whole sound, `stream` gives it while it is generated. Both split the text at sentences within
    the model's context, prompt each with the same voice, and join the sounds with natural pauses.

    `from_pretrained` loads the parts; the constructor takes parts that you have.

    Args:
        engine: runs the language model.
        codec: decodes; see `load_array_codec` for one that does without torch.
        prompt_format: builds prompts; made for the model's tokenizer.
        vocabulary: maps codes to token ids of the tokenizer.
        context_length: longest sequence the model was trained with; the engine's limit by default.
        sampling: the model's defaults.
        pauses: between sentences.
        stream_settings: of the streaming decoder, in frames.
        voices: library in which voices are found by name; the user's own by default.
        model_voices: voices that come with the model, found by name where `voices` has none of that name.
        default_voice: speaks where no voice is given; None leaves the voice to the model.
        utterance_frames: shortest and longest speech that the model gives well in one go, in codes; 1.2 and 20 s by
            default.
        watermark: mark speech as synthetic; by default where ``resemble-perth`` is installed.
        reader: reads texts for the model; one of `SpeechConfig.make_reader` knows its language.

    Raises:
        VocabularyError: the language model and the codec have different codebooks.
    """

    def __init__(
        self,
        engine: SpeechEngine,
        codec: NeuCodec | ArrayCodec,
        prompt_format: PromptFormat,
        vocabulary: SpeechVocabulary,
        *,
        context_length: int | None = None,
        sampling: Sampling | None = None,
        pauses: Pauses | None = None,
        stream_settings: StreamSettings | None = None,
        voices: VoiceLibrary | None = None,
        model_voices: VoiceLibrary | None = None,
        default_voice: VoiceLike | None = None,
        utterance_frames: tuple[int, int] | None = None,
        watermark: bool | None = None,
        reader: TextReader | None = None,
    ) -> None:
        if vocabulary.codebook_size != codec.codebook_size:
            raise VocabularyError(
                f"the language model speaks {vocabulary.codebook_size:,} codes and the codec has "
                f"{codec.codebook_size:,}; give the codec that the model was trained with (codec=...)"
            )
        self.engine = engine
        self.decoder = as_array_codec(codec)
        self.prompt_format = prompt_format
        self.vocabulary = vocabulary
        self.context_length = min(context_length or engine.context_length, engine.context_length)
        self.sampling = sampling or Sampling()
        self.pauses = pauses or Pauses()
        self.stream_settings = stream_settings or StreamSettings()
        self.voices = voices
        self.model_voices = model_voices
        self.default_voice = default_voice
        self.utterance_frames = utterance_frames
        self.watermark = watermark
        self.reader = reader or TextReader()

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "tiny",
        *,
        codec: NeuCodec | str | os.PathLike[str] | None = None,
        codec_backend: str | None = None,
        decoder: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        voices: str | os.PathLike[str] | VoiceLibrary | None = None,
        watermark: bool | None = None,
        **engine_options: Any,
    ) -> TextToSpeech:
        """Load a language model with its tokenizer, prompt format and codec.

        Args:
            model: a folder with a ``speech_config.json``, a hub id such as ``"neuphonic/neutts-air"`` (published
                models are known without that file), a GGUF file, or ``"tiny"``, the small built-in model.
            codec: the codec, its folder or its hub id, if it is not the one that the model names.
            codec_backend: what computes the codec, as for `NeuCodec.from_pretrained`.
            decoder: hub id or folder of a codec whose decoder takes the place of the codec's own, as of
                ``"Scicom-intl/neucodec-44k-d20"`` for speech at 44.1 kHz.
            engine: name of the engine that runs the model; ``speech.registry.engine_names()`` lists those installed.
                By default ``"llama-cpp"`` for a model in GGUF and ``"transformers"`` for any other.
            device: of model and codec, a GPU if there is one by default. A codec that you give stays where it is.
            dtype: floating-point format of the language model; the engine chooses by default.
            revision: branch, tag or commit of a hub repository.
            cache_dir: where downloads are kept.
            token: hub token.
            local_files_only: never use the network.
            voices: folder of voices that go by name; the user's own library by default.
            watermark: mark speech as synthetic; by default where ``resemble-perth`` is installed.
            engine_options: passed on to the engine.

        Raises:
            CheckpointError: a model is missing or damaged, or says nothing of how it speaks.
            VocabularyError: the model has no code tokens, or other codes than the codec.
            EngineError: there is no such engine.
            DeviceError: there is no such device.
            PromptError: its prompt format needs something that is not installed.
        """
        hub = HubOptions(revision, cache_dir, token, local_files_only)
        # Cheap things first: what is misspelt is found before gigabytes are read.
        loader = None if engine is None else engine_loader(engine)
        description = SpeechModel.load(os.fspath(model), hub)
        loader = loader or engine_loader("llama-cpp" if description.is_gguf else "transformers")
        decoding = description.load_decoder(codec, device, codec_backend, decoder)
        return cls(
            loader.load(
                description.name, description.tokens, device=device, dtype=dtype, hub=hub, **engine_options
            ),
            decoding,
            description.prompt_format,
            description.vocabulary,
            context_length=description.config.context_length,
            sampling=description.sampling,
            voices=VoiceLibrary(voices) if isinstance(voices, (str, os.PathLike)) else voices,
            model_voices=VoiceLibrary.of_model(description.name),
            default_voice=description.config.default_voice,
            reader=description.config.make_reader(),
            utterance_frames=description.config.utterance_frames,
            watermark=watermark,
        )

    @property
    def codec(self) -> NeuCodec:
        """The codec, which encodes, too. Where ONNX Runtime computes it, asking for it imports torch."""
        return self.decoder.codec

    @property
    def sample_rate(self) -> int:
        """Of the speech, in Hz."""
        return self.decoder.output_sample_rate

    def speak(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
        retries: int = 1,
        batch_size: int = 4,
        watermark: bool | None = None,
        text_format: TextFormat = "markdown",
        normalize: bool | None = None,
        emotion: str | None = None,
        on_segment: Callable[[Segment], None] | None = None,
    ) -> SpeechResult:
        """Speak a text, all of it before this returns.

        Sentences are generated ``batch_size`` at a time. One that does not end well (it loops, never stops, or gives
        nothing) is generated again with other random numbers, or in two halves where it was too long for the context.
        After that it is kept, with a warning in the log and the reason in its segment.

        Args:
            text: of any length.
            voice: a `SpeakerPrompt`, the name of one in the library, or its file; the default voice by default.
            seed: for speaking in the same way again; the result holds the seed that was used.
            sampling: instead of the model's defaults. Its shortest and longest apply to each segment.
            retries: how often a sentence that does not end well is generated again.
            batch_size: sentences at a time; more is faster on the whole and takes more memory.
            watermark: mark this speech, or not, whatever is set for all.
            text_format: ``"markdown"`` is reduced to the words that a person would read, ``"plain"`` is read with
                every mark, ``"ssml"`` is followed where a model can.
            normalize: put written forms (money, dates, units ...) into words; by default as the model was trained.
            emotion: of NeuTTS-2E, one of `neucodec_tts.prompts.EMOTIONS`; without one it is neutral.
            on_segment: called with each segment when its sound is there, in the order of the text.

        Raises:
            PromptError: there is nothing to speak, the voice is unknown or of another codec, or the model has no such
                emotion.
            EngineError: the model gave no codes for a sentence, or the watermark is wanted and not installed.
        """
        if batch_size < 1 or retries < 0:
            raise EngineError(
                f"batch_size is {batch_size} and retries {retries}; they must be at least 1 and 0"
            )
        mark = self.watermarker(watermark)  # before any work, so that a missing package is found at once
        script, seed = self.script(
            text,
            voice,
            seed=seed,
            sampling=sampling,
            text_format=text_format,
            normalize=normalize,
            emotion=emotion,
        )
        sounds = self._sounds(script, retries, batch_size)
        samples, segments = assemble(self.decoder, self.pauses, sounds, on_segment)
        rate = self.sample_rate
        if mark is not None:
            samples = mark.apply(samples, rate)
        return SpeechResult(samples, rate, segments, seed, mark is not None, script.warnings)

    def stream(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
        retries: int = 1,
        ahead_seconds: float = 10.0,
        watermark: bool | None = None,
        text_format: TextFormat = "markdown",
        normalize: bool | None = None,
        emotion: str | None = None,
    ) -> SpeechStream:
        """Speak a text while it is generated.

        The first sound comes after ``first_chunk + lookahead`` tokens and one decode, 0.16 s of sound later with a
        watermark. With the same seed the same codes are spoken as by `speak`, unless that generates a sentence again:
        what has been heard cannot be taken back. A sentence of which nothing is to be heard is followed by another
        attempt.

        Args:
            text: of any length.
            voice: as for `speak`.
            seed: as for `speak`.
            sampling: as for `speak`.
            retries: how often a sentence of which nothing is to be heard is generated again.
            ahead_seconds: a thread generates so much sound ahead of you, so that the next sentence is made while
                you play the one before. 0 makes everything in your own thread, while you ask for it.
            watermark: as for `speak`.
            text_format: as for `speak`.
            normalize: as for `speak`.
            emotion: as for `speak`.

        Returns:
            An iterator of float32 arrays (n,) at ``stream.sample_rate``.

        Raises:
            PromptError: there is nothing to speak, the voice is unknown or of another codec, or the model has no such
                emotion.
            EngineError: the watermark is wanted and not installed, or `retries` is negative.
        """
        if retries < 0:
            raise EngineError(f"retries is {retries}; it must be at least 0")
        mark = self.watermarker(watermark)
        script, seed = self.script(
            text,
            voice,
            seed=seed,
            sampling=sampling,
            text_format=text_format,
            normalize=normalize,
            emotion=emotion,
        )
        assembly = Assembly(self.decoder, self.pauses)
        rate = self.sample_rate
        chunks = stream_chunks(
            script, self.engine, self.vocabulary, self.decoder, self.stream_settings, assembly, retries
        )
        if mark is not None:
            chunks = _marked(chunks, mark.stream(rate))
        return SpeechStream(chunks, assembly, rate, seed, ahead_seconds, mark is not None, script.warnings)

    def find_voice(self, voice: VoiceLike | None) -> SpeakerPrompt | None:
        """Return a voice: itself, that of a file, or that of a name in the library or among the model's own.

        None stands for the default voice, and is returned where there is none: then the model chooses.

        Raises:
            PromptError: it is unknown, unreadable, or was made with another codec.
        """
        voice = self.default_voice if voice is None else voice
        if voice is None:
            return None
        return (self.voices or VoiceLibrary()).find(voice, model_voices=self.model_voices, codec=self.decoder)

    def script(
        self,
        text: str,
        voice: VoiceLike | None = None,
        *,
        seed: int | None = None,
        sampling: Sampling | None = None,
        text_format: TextFormat = "markdown",
        normalize: bool | None = None,
        emotion: str | None = None,
    ) -> tuple[Script, int]:
        """Return the sentences of a text and the seed that they use, for programs that run the engine themselves.

        Raises:
            PromptError: there is nothing to speak, the voice is unknown or of another codec, or the model has no such
                emotion.
        """
        settings = sampling or self.sampling
        if seed is None:
            seed = settings.seed
        if seed is None:
            seed = secrets.randbits(31)
        speaker = self.find_voice(voice)
        settings = replace(settings, seed=seed)
        read = self.reader.read(text, text_format, normalize)
        script = Script(
            read.text,
            speaker,
            with_emotion(self.prompt_format, emotion),
            self.context_length,
            settings,
            self.utterance_frames,
            read.warnings,
        )
        return script, seed

    def watermarker(self, wanted: bool | None = None) -> Watermarker | None:
        """Return the watermarker, or None where speech is not marked; `wanted` overrides the setting for all calls.

        Raises:
            EngineError: the watermark is wanted and not installed, or does not work here.
        """
        return self._mark if is_wanted(self.watermark if wanted is None else wanted) else None

    @cached_property
    def _mark(self) -> Watermarker:
        return Watermarker()

    def _sounds(
        self, script: Script, retries: int, batch_size: int
    ) -> Iterator[tuple[Spoken, NDArray[np.float32]]]:
        """The sentences of a text, and the samples of each, float32 (n,)."""
        sentences = iter(script)
        while group := list(islice(sentences, batch_size)):
            yield from self._heard(self._generate(group, script, retries), script, retries)

    def _heard(
        self, group: list[Spoken], script: Script, retries: int
    ) -> Iterator[tuple[Spoken, NDArray[np.float32]]]:
        """Decode some sentences; those that are silent are generated again."""
        sounds = self.decoder.decode([np.array(each.codes, np.int64) for each in group])
        for spoken, sound in zip(group, sounds, strict=True):
            verdict = Verdict()
            if is_silent(sound, self.decoder.output_hop_length):
                verdict = settle(replace(spoken, silent=True), script, retries, self.decoder.frame_rate)
            if verdict.again:
                logger.info("generating %r again: it is silent", spoken.sentence.text[:60])
                yield from self._heard(self._generate(verdict.again, script, retries), script, retries)
                continue
            if verdict.warning is not None:
                logger.warning("%s", verdict.warning)
            yield spoken, sound

    def _generate(self, group: list[Sentence], script: Script, retries: int) -> list[Spoken]:
        """Generate some sentences; returns them in their order, some perhaps in two halves."""
        outcomes = dict(
            self.engine.generate_batch([item.prompt_ids for item in group], [item.sampling for item in group])
        )
        finished: list[Spoken] = []
        for index, sentence in enumerate(group):
            codes, reason = self.vocabulary.codes_among(outcomes[index].ids), outcomes[index].finish_reason
            spoken = Spoken(sentence, codes, reason)
            verdict = settle(spoken, script, retries, self.decoder.frame_rate)
            if verdict.again:
                logger.info("generating %r again: %s", sentence.text[:60], reason)
                finished += self._generate(verdict.again, script, retries)
                continue
            if verdict.warning is not None:
                logger.warning("%s", verdict.warning)
            finished.append(spoken)
        return finished


def _marked(
    chunks: Generator[NDArray[np.float32], None, None], mark: WatermarkStream
) -> Generator[NDArray[np.float32], None, None]:
    with closing(chunks):
        for chunk in chunks:
            if (marked := mark.push(chunk)).size:
                yield marked
    if (rest := mark.flush()).size:
        yield rest
