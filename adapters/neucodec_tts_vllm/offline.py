"""Thousands of texts at once: the language model and the codec work side by side, results come as they are ready."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from neucodec_tts.errors import EngineError, NeuCodecError, PromptError
from neucodec_tts.speech import SpeechResult, TextToSpeech
from neucodec_tts.speech.assembly import Assembly
from neucodec_tts.speech.plan import derived_seed
from neucodec_tts.speech.stream import check_codes, describe_bad_end
from neucodec_tts_vllm.engine import Batch, VLLMEngine
from neucodec_tts_vllm.sampling import check_prompt

if TYPE_CHECKING:
    from neucodec_tts import NeuCodec
    from neucodec_tts.speech import Generated, Sampling
    from neucodec_tts.speech.engine import FinishReason
    from neucodec_tts.speech.plan import Plan, Utterance
    from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary

logger = logging.getLogger(__name__)

_IN_FLIGHT = 512
"""Sentences that vLLM has at a time: it runs as many of them as fit, the others wait in its queue."""


@dataclass(frozen=True)
class BatchItem:
    """What came of one text.

    Attributes:
        index: its place among the texts.
        text: the text.
        result: its speech; None if it failed.
        error: why it failed; None if it did not.
    """

    index: int
    text: str
    result: SpeechResult | None
    error: NeuCodecError | None = None

    def speech(self) -> SpeechResult:
        """Return the speech.

        Raises:
            NeuCodecError: the text failed; it says why.
        """
        if self.result is None:
            raise self.error or EngineError("the text was not spoken")
        return self.result


class SpeechLLM:
    """``vllm.LLM`` for speech: texts in, speech out, as many at a time as the GPU holds.

    Sentences of all texts run together, so that one long text is as fast as many short ones. What a text sounds
    like depends on its voice and its seed, not on its company, up to rounding.

    Args:
        tts: a pipeline whose engine is `VLLMEngine`.

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
        **options: Any,
    ) -> SpeechLLM:
        """Load a language model into vLLM, and its codec beside it.

        Args:
            model: a folder with a ``speech_config.json``, a hub id, or ``"tiny"``, the small built-in model.
            codec: the codec, its folder or its hub id, if it is not the one that the model names.
            voices: folder of voices that go by name; the user's own library by default.
            options: what `TextToSpeech.from_pretrained` and ``vllm.LLM`` take besides. The model is compiled unless
                ``enforce_eager=True``, which starts sooner.

        Raises:
            NeuCodecError: as `TextToSpeech.from_pretrained`.
        """
        options.setdefault("enforce_eager", False)  # thousands of texts are worth a minute of compiling
        return cls(TextToSpeech.from_pretrained(model, codec=codec, voices=voices, engine="vllm", **options))

    def speak(
        self,
        texts: Iterable[str],
        voices: SpeakerPrompt | str | Sequence[SpeakerPrompt | str | None] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        sampling: Sampling | None = None,
        retries: int = 1,
        in_flight: int = _IN_FLIGHT,
        progress: bool = False,
    ) -> Iterator[BatchItem]:
        """Speak texts; each comes as soon as it is ready, in no particular order.

        A text that cannot be spoken is handed out with its error, and the others go on. Texts are taken as they
        are needed, so they may be a generator over any number of them.

        Args:
            texts: each of any length.
            voices: one for all texts, or one for each: a `SpeakerPrompt`, the name of one in the library or among
                the model's own, or None.
            seed: for speaking in the same way again: a number that each text's own is derived from, or one for
                each text. ``result.seed`` says which was used.
            sampling: instead of the model's defaults.
            retries: how often a sentence that does not end well is generated again.
            in_flight: sentences that vLLM has at a time.
            progress: show a bar on standard error, if that is a terminal.

        Raises:
            EngineError: vLLM has failed, or the voices or seeds are fewer than the texts.
        """
        if retries < 0 or in_flight < 1:
            raise EngineError(
                f"retries is {retries} and in_flight {in_flight}; they must be at least 0 and 1"
            )
        return self._speak(texts, voices, seed, sampling, retries, in_flight, progress)

    def close(self) -> None:
        """Stop vLLM; the object cannot be used any more."""
        self._engine.close()

    def _speak(
        self,
        texts: Iterable[str],
        voices: SpeakerPrompt | str | Sequence[SpeakerPrompt | str | None] | None,
        seed: int | Sequence[int] | None,
        sampling: Sampling | None,
        retries: int,
        in_flight: int,
        progress: bool,
    ) -> Iterator[BatchItem]:
        batch = Batch(self._engine)
        decoder = _Decoder(self.tts)
        slots: dict[int, tuple[_Job, _Slot]] = {}  # what the generations of the batch are for
        waiting = enumerate(texts)
        find = _VoiceFinder(self.tts)
        numbers = count()
        exhausted = False
        ready: list[BatchItem] = []  # what failed before it got to the decoder

        def add(job: _Job, slot: _Slot) -> None:
            number = next(numbers)
            batch.add(number, slot.utterance.prompt_ids, slot.utterance.sampling)
            slots[number] = (job, slot)

        total = len(texts) if isinstance(texts, Sequence) else None
        with _progress_bar(total if progress else None, progress) as advance:
            try:
                while not exhausted or len(batch) or decoder.pending or ready:
                    while not exhausted and len(batch) < in_flight:
                        index, text = next(waiting, (-1, ""))
                        if index < 0:
                            exhausted = True
                            break
                        try:
                            job = self._begin(index, text, find(voices, index), seed, sampling)
                            for slot in job.slots:
                                add(job, slot)
                        except NeuCodecError as error:
                            ready.append(BatchItem(index, text, None, error))
                            break  # hand it out
                    if len(batch):
                        for number, outcome in batch.finished():
                            job, slot = slots.pop(number)
                            for other in self._take(job, slot, outcome, retries):
                                add(job, other)
                            if job.done:
                                decoder.put(job)
                    ready += decoder.take(wait=exhausted and not len(batch) and not ready)
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
        text: str,
        voice: SpeakerPrompt | None,
        seed: int | Sequence[int] | None,
        sampling: Sampling | None,
    ) -> _Job:
        own = None
        if isinstance(seed, int):
            own = derived_seed(seed, index)
        elif seed is not None:
            if index >= len(seed):
                raise EngineError(f"there are {len(seed)} seeds and more texts; give one for each")
            own = seed[index]
        plan, own = self.tts.plan(text, voice, seed=own, sampling=sampling)
        slots = [_Slot(utterance) for utterance in plan]
        for slot in slots:  # all before any of them runs
            check_prompt(slot.utterance.prompt_ids, self._engine.context_length)
        return _Job(index, text, own, plan, slots)

    def _take(self, job: _Job, slot: _Slot, outcome: Generated, retries: int) -> list[_Slot]:
        """Take a generation; returns what must be generated instead if it did not end well."""
        codes = self.tts.vocabulary.codes_among(outcome.ids)
        utterance = slot.utterance
        if (outcome.finish_reason != "stop" or not codes) and utterance.attempt < retries:
            others = [_Slot(other) for other in job.plan.again(utterance)]
            if others:
                at = job.slots.index(slot)
                job.slots[at : at + 1] = others
                return others
        try:
            check_codes(codes, utterance)
        except EngineError as error:
            job.error = error
        if codes and outcome.finish_reason != "stop":
            seconds = len(codes) / self.tts.codec.frame_rate
            logger.warning(
                "text %d: %s", job.index, describe_bad_end(utterance, outcome.finish_reason, seconds)
            )
        slot.codes, slot.reason = codes, outcome.finish_reason
        return []


@dataclass(eq=False)
class _Slot:
    """A stretch of a text, and its codes once it has been generated."""

    utterance: Utterance
    codes: list[int] | None = None
    reason: FinishReason = "stop"


@dataclass(eq=False)
class _Job:
    """One text on its way."""

    index: int
    text: str
    seed: int
    plan: Plan
    slots: list[_Slot]
    error: NeuCodecError | None = field(default=None)

    @property
    def done(self) -> bool:
        return all(slot.codes is not None for slot in self.slots)


class _VoiceFinder:
    """Voices by name, each read once."""

    def __init__(self, tts: TextToSpeech) -> None:
        self._tts = tts
        self._known: dict[str, SpeakerPrompt] = {}

    def __call__(
        self, voices: SpeakerPrompt | str | Sequence[SpeakerPrompt | str | None] | None, index: int
    ) -> SpeakerPrompt | None:
        voice: Any = voices
        if isinstance(voices, (list, tuple)):
            if index >= len(voices):
                raise PromptError(f"there are {len(voices)} voices and more texts; give one for each")
            voice = voices[index]
        if voice is None:
            return None
        if not isinstance(voice, str):
            return self._tts.find_voice(voice)
        if voice not in self._known:
            self._known[voice] = self._tts.find_voice(voice)
        return self._known[voice]


class _Decoder:
    """Turns finished jobs into speech, in a thread of its own and as many at a time as wait."""

    def __init__(self, tts: TextToSpeech) -> None:
        self._tts = tts
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._items: queue.SimpleQueue[BatchItem | BaseException] = queue.SimpleQueue()
        self.pending = 0
        self._thread = threading.Thread(target=self._work, name="speech-decoder", daemon=True)
        self._thread.start()

    def put(self, job: _Job) -> None:
        self.pending += 1
        self._jobs.put(job)

    def take(self, wait: bool) -> list[BatchItem]:
        """What is ready; waits for one if asked to and if there is something to wait for."""
        found: list[BatchItem] = []
        while self.pending:
            try:
                item = self._items.get(block=wait and not found)
            except queue.Empty:
                break
            if isinstance(item, BaseException):
                raise item
            self.pending -= 1
            found.append(item)
        return found

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            try:
                for item in self._decode([job for job in jobs if job is not None]):
                    self._items.put(item)
            except BaseException as error:  # handed to whoever waits, who must not wait for ever
                self._items.put(error)
                return
            if None in jobs:
                return

    def _decode(self, jobs: list[_Job]) -> Iterator[BatchItem]:
        codec = self._tts.codec
        good = [job for job in jobs if job.error is None]
        for job in jobs:
            if job.error is not None:
                yield BatchItem(job.index, job.text, None, job.error)
        sounds = iter(
            codec.decode([torch.tensor(slot.codes) for job in good for slot in job.slots]) if good else []
        )
        for job in good:
            assembly = Assembly(codec, self._tts.pauses)
            parts: list[torch.Tensor] = []
            for slot in job.slots:
                codes = slot.codes or []
                parts += [assembly.begin(codes), assembly.push(next(sounds))]
                parts.append(assembly.end(slot.utterance, codes, slot.reason))
            result = SpeechResult(
                torch.cat(parts).numpy(), codec.output_sample_rate, tuple(assembly.segments), job.seed
            )
            yield BatchItem(job.index, job.text, result)


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
