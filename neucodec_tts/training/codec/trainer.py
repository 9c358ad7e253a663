"""The training loop of a codec: decoder against discriminators, on any number of processes.

One step hears what its number and the seed say, however many processes share it, so that a training that was stopped
goes on as if it had not been. What is given away is the moving average of the weights, in OUT/checkpoint.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader

from neucodec_tts.codec.devices import exact_math
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.errors import CheckpointError, NeuCodecError
from neucodec_tts.training.codec.average import Average
from neucodec_tts.training.codec.discriminators import Discriminators
from neucodec_tts.training.codec.losses import (
    CepstralLoss,
    EnvelopeLoss,
    MelLoss,
    SemanticReconstruction,
    Spectra,
    SpreadLoss,
    STFTLoss,
    digit_distance,
    discriminator_loss,
    feature_matching,
    generator_loss,
    heard_distance,
)
from neucodec_tts.training.codec.losses.semantic import Teacher
from neucodec_tts.training.codec.models import freeze, full_lengths, initialise, spread_new_digits
from neucodec_tts.training.codec.packed_codes import PackedCodes
from neucodec_tts.training.codec.packed_speech import PackedSpeech
from neucodec_tts.training.codec.reconstruction import Reconstruction, within_band
from neucodec_tts.training.codec.segments import Batch, SegmentBatches
from neucodec_tts.training.codec.settings import TrainingSettings
from neucodec_tts.training.codec.state import load_state, save_state
from neucodec_tts.training.codec.validation import Validation

log = logging.getLogger(__name__)

TEACHER_RATE = 16_000  # Hz


class TrainingError(NeuCodecError, RuntimeError):
    """A training cannot go on: its loss is no longer a number."""


class CodecTrainer:
    """A training of one codec.

    Args:
        codec: what is trained, with the sizes that it will have (``models.changed``, ``models.tiny_config``).
        speech: packed corpora at the codec's output rate.
        out: folder of the training: ``state.pt``, ``checkpoint/``, ``validation/``.
        settings: all choices.
        codes: of each corpus, if it was encoded before (``train="decoder"``).
        shares: how much of a batch is of each corpus.
        accelerator: device, precision, processes and trackers; one of its defaults if None.
        validation: what is measured now and then.
        given: the codec whose codes an encoder learns to find (``train="encoder"``).
        teacher: whose features codes should keep (``weights.semantic``) and reconstructions have
            (``weights.heard``), with their size.
        workers: processes that prepare batches; none prepares them in this one.

    Raises:
        CheckpointError: the state in ``out`` is of a codec of other shape, or ``weights.heard`` has no teacher.
    """

    def __init__(
        self,
        codec: NeuCodec,
        speech: Sequence[PackedSpeech],
        out: Path,
        settings: TrainingSettings,
        *,
        codes: Sequence[PackedCodes] | None = None,
        shares: Sequence[float] | None = None,
        accelerator: Accelerator | None = None,
        validation: Validation | None = None,
        given: NeuCodec | None = None,
        teacher: tuple[Teacher, int] | None = None,
        workers: int = 0,
    ) -> None:
        if settings.weights.heard and teacher is None:
            raise CheckpointError("weights.heard compares what a teacher hears, and there is none")
        self.settings, self.out, self.validation = settings, out, validation
        self.accelerator = accelerator or Accelerator()
        device = self.accelerator.device
        torch.manual_seed(settings.seed)
        self.codec = codec.to(device).train()
        self.given = None if given is None else given.to(device).eval().requires_grad_(False)
        self.teacher = teacher
        rate = codec.output_sample_rate
        self.rate = rate
        self.batches = SegmentBatches(
            speech,
            settings.segments,
            rate=codec.input_sample_rate,
            hop=codec.input_hop_length,
            output_hop=codec.output_hop_length,
            codes=codes,
            shares=shares,
            seed=settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        self.workers = workers
        parameters = freeze(codec, settings.train, settings.frozen)
        semantic = None
        if teacher is not None and settings.weights.semantic and settings.train != "decoder":
            semantic = SemanticReconstruction(codec.config.quantization_dim, teacher[1]).to(device)
            parameters += list(semantic.parameters())
        self.parameters = parameters
        self.generator: nn.Module = Reconstruction(self.codec, settings.train, semantic)
        self.discriminators: nn.Module = Discriminators(
            rate, settings.discriminators, teacher[1] if teacher and settings.weights.heard else None
        ).to(device)
        self.losses = nn.ModuleDict(
            {
                "mel": MelLoss(rate),
                "stft": STFTLoss(rate),
                "cepstrum": CepstralLoss(rate),
                "envelope": EnvelopeLoss(rate),
            }
        ).to(device)
        self.spread = SpreadLoss()
        self.optimiser = torch.optim.AdamW(
            parameters, settings.rate, betas=settings.betas, weight_decay=settings.weight_decay, foreach=True
        )
        self.discriminator_optimiser = torch.optim.AdamW(
            self.discriminators.parameters(),
            settings.discriminator_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        self.step, self.heard = 0, 0.0  # steps done, seconds of speech heard
        self._stopping = False
        state = load_state(out, device)
        if state is None and settings.train == "scratch":
            initialise(self.codec, self.batches[0].heard.to(device))
        elif state is None and settings.train == "all":
            spread_new_digits(self.codec, self.batches[0].heard.to(device))
        self.average = Average(self.codec, settings.average)
        if state is not None:
            self._restore(state)
        self.generator, self.discriminators = self.accelerator.prepare(self.generator, self.discriminators)
        self.optimiser, self.discriminator_optimiser = self.accelerator.prepare(
            self.optimiser, self.discriminator_optimiser
        )

    # The loop

    def run(self, until: float | None = None) -> bool:
        """Train to the last step, to a time, or until Ctrl-C or SIGTERM, and save.

        Args:
            until: ``time.monotonic()`` at which to stop; None trains to the end.

        Returns:
            True if all steps are done.

        Raises:
            TrainingError: the loss is not a number. The state of the last save is kept.
            CheckpointError: the state cannot be saved. The last one is kept.
        """
        settings = self.settings
        if self.step == 0:
            self.save()  # so that a disk without room is found before any work
        loader = self._loader_from_here()
        terms: list[dict[str, float]] = []
        began, heard, saved = time.monotonic(), self.heard, time.monotonic()
        with self._stopping_at_signals():
            while self.step < settings.steps and not self._all_stop(until):
                terms.append(self._train_step(loader))
                if self.step % settings.log_every == 0:
                    means = {
                        name: float(np.mean([t[name] for t in terms if name in t])) for name in terms[-1]
                    }
                    self._report(means, (self.heard - heard) / (time.monotonic() - began))
                    terms, began, heard = [], time.monotonic(), self.heard
                late = settings.save_seconds and time.monotonic() - saved > settings.save_seconds
                if self.step % settings.save_every == 0 or late:
                    self.save()
                    saved = time.monotonic()
                if self.step % settings.validate_every == 0:
                    self.validate()
        self.save()
        return self.step >= settings.steps

    def _loader_from_here(self) -> Iterator[Batch]:
        steps = range(
            self.step * self.settings.accumulate,
            max(self.settings.steps, self.step) * self.settings.accumulate,
        )
        loader: DataLoader[Batch] = DataLoader(
            self.batches,
            batch_size=None,
            sampler=steps,
            num_workers=self.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            persistent_workers=self.workers > 0,
        )
        return iter(loader)

    def _train_step(self, loader: Iterator[Batch]) -> dict[str, float]:
        """One step of both optimisers. Returns the terms of the loss."""
        settings = self.settings
        # What is random in a step depends on its number and the process.
        entropy = (settings.seed, self.step, self.accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        rate = self._rate_now()
        for optimiser, peak in (
            (self.optimiser, settings.rate),
            (self.discriminator_optimiser, settings.discriminator_rate),
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * peak
        judged = self.step >= settings.adversary_from - settings.discriminator_ahead
        played = self.step >= settings.adversary_from and judged
        parts = [next(loader).to(self.accelerator.device) for _ in range(settings.accumulate)]
        terms: dict[str, Tensor] = {}
        for number, batch in enumerate(parts):
            whole = number + 1 == len(parts)
            with _unsynchronised(self.accelerator, () if whole else (self.generator, self.discriminators)):
                for name, term in self._backward(batch, judged, played).items():
                    terms[name] = terms.get(name, torch.zeros_like(term)) + term / len(parts)
        self._check(terms)
        terms["gradient"] = self.accelerator.clip_grad_norm_(self.parameters, settings.clip)
        if not math.isfinite(float(terms["gradient"])):
            raise self._trouble("gradient")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if judged:
            self.accelerator.clip_grad_norm_(self.discriminators.parameters(), settings.clip)
            self.discriminator_optimiser.step()
            self.discriminator_optimiser.zero_grad(set_to_none=True)
        self.average.update(self.step)
        self.step += 1
        samples = sum(batch.wanted.numel() for batch in parts)
        self.heard += samples * self.accelerator.num_processes / self.rate
        return {name: float(term) for name, term in terms.items()}

    def _backward(self, batch: Batch, judged: bool, played: bool) -> dict[str, Tensor]:
        """Gradients of both networks for one batch. Returns the terms of the loss, without gradients."""
        weights, accelerator = self.settings.weights, self.accelerator
        wanted = None
        if self.teacher is not None and batch.codes is None:
            with torch.no_grad():
                wanted = self._features(batch.heard, TEACHER_RATE)
        steady = weights.steady and self.settings.train != "decoder"
        shaken = _shaken(batch.heard[: max(1, len(batch.heard) // 4)]) if steady else None
        done, again = self.generator(batch.heard, wanted, shaken, batch.codes)
        length = min(done.audio.shape[1], batch.wanted.shape[1])
        target = batch.wanted[:, :length]
        audio = within_band(done.audio[:, :length], batch.bandwidth, self.rate)
        terms: dict[str, Tensor] = {}
        # Frames half a window apart are enough because the first lies elsewhere each time.
        start = int(torch.randint(0, 1024, ()))
        spectra = Spectra(audio[:, start:], target[:, start:])
        for name, loss in self.losses.items():
            if getattr(weights, name):
                terms[name] = loss(spectra)
        if weights.spread and done.values is not None:
            terms["spread"] = self.spread(done.values)
        if again is not None and done.values is not None:
            terms["steady"] = (again - done.values[: len(again)]).square().mean()
        if done.semantic is not None:
            terms["semantic"] = done.semantic
        found = None
        if self.teacher is not None and weights.heard:
            if wanted is None:
                with torch.no_grad():
                    wanted = self._features(target, self.rate)
            found = self._features(audio, self.rate)
            terms["heard"] = heard_distance(found, wanted)
        if self.given is not None and done.digits is not None:
            terms["digits"] = digit_distance(done.digits, self._given_digits(batch.heard))
        shown: dict[str, Tensor] = {}
        if judged:
            ours, theirs = self._excerpt(audio, target)
            features = None
            if self.settings.discriminators.feature_channels and found is not None and wanted is not None:
                features = torch.cat([wanted[:, : found.shape[1]], found.detach()[:, : wanted.shape[1]]])
            with accelerator.autocast():
                logits, hidden = self.discriminators(torch.cat([theirs, ours.detach()]), features)
            real, fake = zip(*(x.float().chunk(2) for x in logits), strict=True)
            shown["discriminator"] = discriminator_loss(real, fake, self.settings.game)
            accelerator.backward(shown["discriminator"] / self.settings.accumulate)
            if played:
                recorded = [[x.chunk(2)[0].detach().float() for x in layers] for layers in hidden]
                self._play(ours, found, recorded, terms)
        total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        shown |= {name: term.detach() for name, term in terms.items()}
        # Even if it is no number: the gradients are then none in any process, and all stop together.
        accelerator.backward(total / self.settings.accumulate)
        shown["codes"] = torch.tensor(done.codes.unique().numel() / done.codes.numel())
        return {name: term.detach() for name, term in shown.items()}

    def _features(self, audio: Tensor, rate: int) -> Tensor:
        """The teacher's features (B, L, D) of sound (B, T) at any rate."""
        assert self.teacher is not None
        audio = torchaudio.functional.resample(audio, rate, TEACHER_RATE)  # in float32
        with self.accelerator.autocast():
            return self.teacher[0](audio)

    def _play(
        self, ours: Tensor, found: Tensor | None, recorded: list[list[Tensor]], terms: dict[str, Tensor]
    ) -> None:
        """Add what the decoder loses to the discriminators, which get no gradients by it.

        Args:
            ours: reconstructions (B, T).
            found: the teacher's features of them (B, L, D), if a discriminator sees these.
            recorded: the discriminators' hidden layers for the recordings.
            terms: to add to.
        """
        network = self.accelerator.unwrap_model(self.discriminators)
        network.requires_grad_(False)
        with self.accelerator.autocast():
            logits, hidden = network(ours, found)
        network.requires_grad_(True)
        terms["adversarial"] = generator_loss([x.float() for x in logits], self.settings.game)
        terms["features"] = feature_matching(recorded, [[x.float() for x in layers] for layers in hidden])

    def _excerpt(self, audio: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Cut the same excerpt from reconstructions and recordings, each (B, T), for the discriminators."""
        seconds = self.settings.adversary_seconds
        size = audio.shape[1] if seconds is None else min(audio.shape[1], round(seconds * self.rate))
        first = int(torch.randint(0, audio.shape[1] - size + 1, ()))
        return audio[:, first : first + size], target[:, first : first + size]

    def _given_digits(self, heard: Tensor) -> Tensor:
        assert self.given is not None
        with torch.no_grad(), exact_math(heard.device):
            return self.given.quantizer.bounded(self.given.encode_latents(heard, full_lengths(heard))[0])

    def _rate_now(self) -> float:
        """A linear warm-up, then a cosine: the share of the peak."""
        settings = self.settings
        rising = min(1.0, (self.step + 1) / max(1, settings.warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / max(1, settings.steps))))
        return rising * (settings.final_rate + (1 - settings.final_rate) * cosine)

    def _check(self, terms: dict[str, Tensor]) -> None:
        for name, term in terms.items():
            if not math.isfinite(float(term)):
                raise self._trouble(name)

    def _trouble(self, name: str) -> TrainingError:
        return TrainingError(
            f"the {name} of step {self.step} is not a number; {self.out} holds the last state before it. Go on from "
            "there with a lower rate or without bf16"
        )

    # What stays

    def save(self) -> None:
        """Write the state and the checkpoint, each whole or not at all.

        Raises:
            CheckpointError: one cannot be written. The last ones are kept.
        """
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            unwrap = self.accelerator.unwrap_model
            save_state(
                {
                    "generator": unwrap(self.generator).state_dict(),
                    "discriminators": unwrap(self.discriminators).state_dict(),
                    "average": self.average.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
                    "step": self.step,
                    "heard": self.heard,
                },
                self.out,
            )
            self.export(self.out / "checkpoint")
        self.accelerator.wait_for_everyone()

    def export(self, folder: Path) -> None:
        """Write the average of the weights, in the layout that ``NeuCodec`` and ``transformers`` load."""
        codec = self.average.codec
        if self.settings.half:
            codec = NeuCodec(codec.config).half()
            codec.load_state_dict(self.average.codec.state_dict())
        codec.save_pretrained(folder)

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminators.load_state_dict(state["discriminators"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        except (RuntimeError, ValueError, KeyError) as problem:
            raise CheckpointError(
                f"{self.out} holds the training of a codec of other shape, or with other settings "
                f"({str(problem).splitlines()[-1].strip()}); give another folder"
            ) from problem
        self.step, self.heard = state["step"], state["heard"]

    def validate(self) -> dict[str, float]:
        """Measure the average of the weights, and report. Nothing is chosen by it."""
        if self.validation is None or not self.accelerator.is_main_process:
            return {}
        figures = self.validation.measure(
            self.average.codec, self.out / "validation" / f"step-{self.step:07d}"
        )
        log.info(
            "step %d  %s", self.step, "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        )
        self.accelerator.log({f"validation/{name}": value for name, value in figures.items()}, step=self.step)
        return figures

    def _report(self, terms: dict[str, float], speed: float) -> None:
        if self.accelerator.is_main_process:
            named = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            log.info("step %d  %s  audio %.1f s/s", self.step, named, speed)
            self.accelerator.log({f"training/{name}": value for name, value in terms.items()}, step=self.step)

    # Stopping

    @contextmanager
    def _stopping_at_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the loop after the step, once; a second one ends the program."""

        def stop(number: int, _frame: object) -> None:
            self._stopping = True
            signal.signal(number, signal.SIG_DFL)

        before = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, stop)
        except ValueError:  # not in the main thread, where Python has no signals
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _all_stop(self, until: float | None) -> bool:
        stop = self._stopping or (until is not None and time.monotonic() >= until)
        if self.accelerator.num_processes == 1:
            return stop
        votes = self.accelerator.reduce(torch.tensor(float(stop), device=self.accelerator.device), "sum")
        return bool(votes > 0)

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, for trackers and for the log."""
        millions = {
            "codec": sum(p.numel() for p in self.codec.parameters()) / 1e6,
            "learning": sum(p.numel() for p in self.parameters) / 1e6,
            "discriminators": sum(p.numel() for p in self.discriminators.parameters()) / 1e6,
        }
        return {"settings": asdict(self.settings), "millions": millions, "step": self.step}


@contextmanager
def _unsynchronised(accelerator: Accelerator, networks: Sequence[nn.Module]) -> Iterator[None]:
    """Gradients of some networks stay in each process for now."""
    if not networks:
        yield
        return
    with accelerator.no_sync(networks[0]), _unsynchronised(accelerator, networks[1:]):
        yield


def _shaken(waveform: Tensor) -> Tensor:
    """Waveforms (B, T) up to 4 ms earlier or later, upside down, with a little noise: they sound the same."""
    noise = torch.randn_like(waveform) * waveform.std(dim=1, keepdim=True) * 0.01
    return noise - waveform.roll(int(torch.randint(-64, 65, ())), dims=1)
