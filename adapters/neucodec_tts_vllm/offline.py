"""Speak thousands of texts: the language model and the codec work side by side, results come as they are ready."""

from __future__ import annotations

import logging
import os
import queue
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from neucodec_tts.errors import EngineError, NeuCodecError
from neucodec_tts.speech import SpeechResult, TextToSpeech
from neucodec_tts.speech.assembly import assemble
from neucodec_tts.speech.engine import check_prompt
from neucodec_tts.speech.script import Script, Sentence, derived_seed
from neucodec_tts.speech.settling import Spoken, Verdict, is_silent, settle
from neucodec_tts_vllm.engine import Batch, VLLMEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts import NeuCodec
    from neucodec_tts.speech import Generated, Sampling
    from neucodec_tts.speech.watermark import Watermarker
    from neucodec_tts.text import TextFormat
    from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary

    Voices = SpeakerPrompt | str | Sequence[SpeakerPrompt | str | None] | None
    Seeds = int | Sequence[int] | None

logger = logging.getLogger(__name__)

_IN_FLIGHT = 512
"""Sentences that vLLM has at a time: it runs as many of them as fit, the others wait in its queue."""


@dataclass(frozen=True)
class BatchItem:
    """One text and its speech, or the reason why there is none.

    Attributes:
        index: its place among the texts.
        text: the text.
        result: its speech; None if it failed.
        error: the reason; None if it did not fail.
    """

    index: int
    text: str
    result: SpeechResult | None
    error: NeuCodecError | None = None

    def speech(self) -> SpeechResult:
        """Return the speech.

        Raises:
            NeuCodecError: the text failed; the error says why.
        """
        if self.result is None:
            raise self.error or EngineError("the text was not spoken")
        return self.result


class SpeechLLM:
    """``vllm.LLM`` for speech: texts in, speech out, as many at a time as the GPU holds.

    Sentences of all texts run together, so that one long text is as fast as many short ones. The speech of a text
    depends on its voice and its seed, not on the other texts, up to rounding.

    Args:
        tts: a `TextToSpeech` whose engine is `VLLMEngine`.

    Raises:
        EngineError: it is another engine.
    """

    def __init__(self, tts: TextToSpeech) -> None:
        if not isinstance(tts.engine, VLLMEngine):
            raise EngineError(f"SpeechLLM runs on the engine vllm, and this is {type(tts.engine).__name__}")
        self.tts = tts
        self._engine: VLLMEngine = tts.engine

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "tiny",
        *,
        codec: NeuCodec | str | os.PathLike[str] | None = None,
        voices: str | os.PathLike[str] | VoiceLibrary | None = None,
        watermark: bool | None = None,
        **options: Any,
    ) -> SpeechLLM:
        """Load a language model into vLLM, and its codec beside it.

        Args:
            model: a folder with a ``speech_config.json``, a hub id, or ``"tiny"``, the small built-in model.
            codec: the codec, its folder or its hub id, if it is not the one that the model names.
            voices: folder of voices that go by name; the user's own library by default.
            watermark: mark speech as synthetic; by default where ``resemble-perth`` is installed.
            options: more arguments of `TextToSpeech.from_pretrained` and ``vllm.LLM``. The model is compiled unless
                ``enforce_eager=True``, which starts sooner.

        Raises:
            NeuCodecError: as `TextToSpeech.from_pretrained`.
        """
        options.setdefault("enforce_eager", False)  # thousands of texts are worth a minute of compiling
        return cls(
            TextToSpeech.from_pretrained(
                model, codec=codec, voices=voices, watermark=watermark, engine="vllm", **options
            )
        )

    def speak(
        self,
        texts: Iterable[str],
        voices: Voices = None,
        *,
        seed: Seeds = None,
        sampling: Sampling | None = None,
        retries: int = 1,
        in_flight: int = _IN_FLIGHT,
        watermark: bool | None = None,
        text_format: TextFormat = "markdown",
        normalize: bool | None = None,
        emotion: str | None = None,
        progress: bool = False,
    ) -> Iterator[BatchItem]:
        """Speak texts; each comes as soon as it is ready, in no particular order.

        A text that cannot be spoken is handed out with its error, and the others go on. Texts are taken as they are
        needed, so they may come from a generator. Its texts beyond the last voice or seed are such errors, because
        nobody knows their number before.

        Args:
            texts: each of any length.
            voices: one for all texts, or one for each: a `SpeakerPrompt`, the name of one in the library or among
                the model's own, or None for the default voice.
            seed: for speaking in the same way again: a number that each text's own is derived from, or one for
                each text. ``result.seed`` holds the seed that was used.
            sampling: instead of the model's defaults.
            retries: how often a sentence that does not end well is generated again.
            in_flight: sentences that vLLM has at a time.
            watermark: mark this speech, or not, whatever is set for all.
            text_format: as for `TextToSpeech.speak`.
            normalize: as for `TextToSpeech.speak`.
            emotion: as for `TextToSpeech.speak`.
            progress: show a bar on standard error, if that is a terminal.

        Raises:
            EngineError: the number of texts is known and there are fewer voices or seeds, `texts` is a single string,
                or the watermark is wanted and not installed. While iterating: vLLM has failed.
        """
        if retries < 0 or in_flight < 1:
            raise EngineError(
                f"retries is {retries} and in_flight {in_flight}; they must be at least 0 and 1"
            )
        if isinstance(texts, str):
            raise EngineError("texts is a single string; give a list of texts")
        for what, given in (("voices", voices), ("seeds", seed)):
            if _is_list(given) and isinstance(texts, Sized) and len(given) < len(texts):
                raise EngineError(f"there are {len(given)} {what} for {len(texts)} texts; give one for each")
        mark = self.tts.watermarker(watermark)
        total = len(texts) if isinstance(texts, Sized) else None
        begin = partial(
            self._begin,
            seed=seed,
            sampling=sampling,
            text_format=text_format,
            normalize=normalize,
            emotion=emotion,
        )
        return self._speak(texts, voices, begin, retries, in_flight, mark, progress, total)

    def close(self) -> None:
        """Stop vLLM; the object cannot be used any more."""
        self._engine.close()

    def _speak(
        self,
        texts: Iterable[str],
        voices: Voices,
        begin: Callable[[int, str, SpeakerPrompt | None], tuple[_Text, list[Sentence]]],
        retries: int,
        in_flight: int,
        mark: Watermarker | None,
        progress: bool,
        total: int | None,
    ) -> Iterator[BatchItem]:
        batch = Batch(self._engine)
        decoder = _Decoder(self.tts, mark, retries)
        running: dict[int, tuple[_Text, Sentence]] = {}  # by the number of the generation
        waiting = enumerate(texts)
        numbers = count()
        exhausted = False
        ready: list[BatchItem] = []  # texts that failed before they got to the decoder
        find = cache(self.tts.find_voice)  # each name is read once

        def add(text: _Text, sentences: list[Sentence]) -> None:
            for sentence in sentences:
                number = next(numbers)
                batch.add(number, sentence.prompt_ids, sentence.sampling)
                running[number] = (text, sentence)

        with _progress_bar(total, progress) as advance:
            try:
                while not exhausted or len(batch) or decoder.pending or ready:
                    while not exhausted and len(batch) < in_flight:
                        index, words = next(waiting, (-1, ""))
                        if index < 0:
                            exhausted = True
                            break
                        try:
                            voice = _one_of(voices, index, "voices")
                            voice = find(voice) if isinstance(voice, str) else voice
                            text, sentences = begin(index, words, voice)
                            add(text, sentences)
                        except NeuCodecError as error:
                            ready.append(BatchItem(index, words, None, error))
                            break  # hand it out
                    if len(batch):
                        for number, outcome in batch.finished():
                            text, sentence = running.pop(number)
                            add(text, self._take(text, sentence, outcome, retries))
                            if not text.missing:
                                decoder.put(text)
                    items, silent = decoder.take(wait=exhausted and not len(batch) and not ready)
                    ready += items
                    for text, sentences in silent:
                        add(text, sentences)
                    for item in ready:
                        advance(1)
                        yield item
                    ready = []
            finally:
                batch.close()
                decoder.close()

    def _begin(
        self,
        index: int,
        words: str,
        voice: SpeakerPrompt | None,
        *,
        seed: Seeds,
        sampling: Sampling | None,
        text_format: TextFormat,
        normalize: bool | None,
        emotion: str | None,
    ) -> tuple[_Text, list[Sentence]]:
        own = derived_seed(seed, index) if isinstance(seed, int) else _one_of(seed, index, "seeds")
        script, own = self.tts.script(
            words,
            voice,
            seed=own,
            sampling=sampling,
            text_format=text_format,
            normalize=normalize,
            emotion=emotion,
        )
        sentences = list(script)
        for sentence in sentences:  # all before any of them runs
            check_prompt(sentence.prompt_ids, self._engine.context_length)
        return _Text(index, words, own, script, [*sentences], len(sentences)), sentences

    def _take(self, text: _Text, sentence: Sentence, outcome: Generated, retries: int) -> list[Sentence]:
        """Take a generation; returns the sentences to generate instead if it did not end well."""
        codes = self.tts.vocabulary.codes_among(outcome.ids)
        return text.take(Spoken(sentence, codes, outcome.finish_reason), retries, self.tts.codec.frame_rate)


@dataclass(eq=False)
class _Text:
    """One text on its way: its sentences, each replaced by its speech."""

    index: int
    words: str
    seed: int
    script: Script
    parts: list[Sentence | Spoken]
    missing: int  # sentences without speech
    error: NeuCodecError | None = None

    @property
    def spoken(self) -> list[Spoken]:
        """The sentences that have been generated."""
        return [part for part in self.parts if isinstance(part, Spoken)]

    def take(self, spoken: Spoken, retries: int, frame_rate: float) -> list[Sentence]:
        """Put speech in the place of its sentence; returns the sentences to generate instead if it is faulty."""
        try:
            verdict = settle(spoken, self.script, retries, frame_rate)
        except EngineError as error:
            self.error, verdict = error, Verdict()
        if verdict.warning is not None:
            logger.warning("text %d: %s", self.index, verdict.warning)
        at = next(
            at for at, part in enumerate(self.parts) if part is spoken.sentence or _is_speech_of(part, spoken)
        )
        had_none = self.parts[at] is spoken.sentence
        parts: list[Sentence | Spoken] = [*verdict.again]
        self.parts[at : at + 1] = parts or [spoken]
        self.missing += len(verdict.again) - had_none
        return verdict.again


def _is_speech_of(part: Sentence | Spoken, spoken: Spoken) -> bool:
    return isinstance(part, Spoken) and part.sentence is spoken.sentence


def _is_list(given: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _one_of(given: Any, index: int, what: str) -> Any:
    """Return what holds for one text, if something is given for each.

    Raises:
        EngineError: there are more texts.
    """
    if not _is_list(given):
        return given
    if index >= len(given):
        raise EngineError(f"there are {len(given)} {what} and more texts; give one for each")
    return given[index]


class _Decoder:
    """Turns finished texts into speech, in a thread of its own; decodes all texts together that wait."""

    def __init__(self, tts: TextToSpeech, mark: Watermarker | None, retries: int) -> None:
        self._tts = tts
        self._mark = mark
        self._retries = retries
        self._waiting: queue.SimpleQueue[_Text] = queue.SimpleQueue()
        self._futures: deque[Future[tuple[list[BatchItem], list[tuple[_Text, list[Sentence]]]]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speech-decoder")

    @property
    def pending(self) -> bool:
        return bool(self._futures)

    def put(self, text: _Text) -> None:
        self._waiting.put(text)
        self._futures.append(self._thread.submit(self._work))

    def take(self, wait: bool) -> tuple[list[BatchItem], list[tuple[_Text, list[Sentence]]]]:
        """Return what is ready: items, and texts with sentences to generate again. Waits for one if asked to."""
        items: list[BatchItem] = []
        again: list[tuple[_Text, list[Sentence]]] = []
        while self._futures and (self._futures[0].done() or (wait and not (items or again))):
            ready, silent = self._futures.popleft().result()
            items += ready
            again += silent
        return items, again

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _work(self) -> tuple[list[BatchItem], list[tuple[_Text, list[Sentence]]]]:
        texts = []
        while not self._waiting.empty():  # nothing, if an earlier call took it
            texts.append(self._waiting.get())
        codec = self._tts.decoder
        parts = [part for text in texts if text.error is None for part in text.spoken]
        sounds = iter(codec.decode([np.array(part.codes, np.int64) for part in parts]) if parts else [])
        items, again = [], []
        for text in texts:
            if text.error is not None:
                items.append(BatchItem(text.index, text.words, None, text.error))
                continue
            pairs = [(part, next(sounds)) for part in text.spoken]
            others: list[Sentence] = []
            for spoken, sound in pairs:
                if not spoken.silent and is_silent(sound, codec.output_hop_length):
                    others += text.take(replace(spoken, silent=True), self._retries, codec.frame_rate)
            if others:
                again.append((text, others))
                continue
            items.append(self._item(text, pairs))
        return items, again

    def _item(self, text: _Text, sounds: list[tuple[Spoken, NDArray[np.float32]]]) -> BatchItem:
        codec = self._tts.decoder
        samples, segments = assemble(codec, self._tts.pauses, sounds)
        rate = codec.output_sample_rate
        if self._mark is not None:
            samples = self._mark.apply(samples, rate)
        result = SpeechResult(samples, rate, segments, text.seed, self._mark is not None)
        return BatchItem(text.index, text.words, result)


@contextmanager
def _progress_bar(total: int | None, wanted: bool) -> Iterator[Callable[[int], None]]:
    if not wanted or not sys.stderr.isatty():
        yield lambda number: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("speaking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("speaking", total=total)
        yield lambda number: bar.advance(task, number)
