"""Train `tiny`, the small built-in codec.

    python examples/train_tiny/fetch_speech.py --out data/tiny-speech
    python examples/train_tiny/train.py --speech data/tiny-speech --out runs/tiny --minutes 100

The same command again goes on where it was stopped (Ctrl-C, a kill, a crash), to the end of its minutes of training.
The newest weights lie in OUT/checkpoint, a folder that `NeuCodec.from_pretrained` and transformers load.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from losses import ReconstructionLoss, SpreadLoss
from speech_data import Clip, Segments, Speech
from tiny import Average, copied, export, full_lengths, initialise, requantized, tiny_config, unfiltered
from torch import Tensor, nn

from neucodec_tts import NeuCodec

WARM_UP = 200  # steps
FILTERED_FROM = 0.75  # share of the training after which activations are those of the real codec
FROZEN = {
    "nothing": (),
    "acoustic": ("acoustic_encoder",),
    "encoders": ("semantic_encoder", "acoustic_encoder"),
    "codes": (
        "semantic_encoder",
        "acoustic_encoder",
        "semantic_adapter",
        "fc_encoder",
        "quantizer.project_in",
    ),
}
LONGER_FROM = 0.66  # share of the training after which half the batches have segments of up to 4 s


def learning_rate(progress: float, step: int, peak: float) -> float:
    """A linear warm-up, then a cosine over the share of the training that is done, to 2 % of the peak."""
    return (
        peak
        * min(1.0, (step + 1) / WARM_UP)
        * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    )


def segment_frames(random: np.random.Generator, progress: float) -> int:
    """Frames of a batch's segments, 1 to 2.4 s of them, later up to 4 s.

    The decoder's group norms see the whole segment, so that it must learn to live with any length.
    """
    return int(random.integers(50, 200 if progress > LONGER_FROM and random.random() < 0.5 else 120))


def shaken(waveform: Tensor, random: np.random.Generator) -> Tensor:
    """The waveforms (B, T) up to 4 ms earlier or later, upside down, with a little noise: they sound the same."""
    noise = torch.randn_like(waveform) * waveform.std(dim=1, keepdim=True) * 0.01
    return noise - waveform.roll(int(random.integers(-64, 65)), dims=1)


def stoi_of(codec: NeuCodec, speech: Speech, clips: list[Clip]) -> tuple[float, int]:
    """Mean STOI of some clips, and how many different codes they took."""
    from neucodec_tts.metrics.scores import align, stoi

    scores: list[float] = []
    used: set[int] = set()
    for clip in clips:
        wave = speech.clip(clip)
        codes = codec.encode(wave, codec.input_sample_rate)
        scores.append(
            stoi(*align(wave, codec.input_sample_rate, codec.decode(codes), codec.output_sample_rate))
        )
        used.update(codes.tolist())
    return float(np.mean(scores)), len(used)


class Trainer:
    """One process of the training, the `rank`-th of `args.processes`; the first also logs, measures and saves.

    All processes hold the same weights: each computes the gradients of its own segments, and they take the mean.
    """

    def __init__(self, args: argparse.Namespace, rank: int) -> None:
        torch.manual_seed(args.seed)
        self.args = args
        self.rank = rank
        self.speech = Speech(args.speech)
        self.segments = Segments(self.speech)
        self.plain = Segments(Speech(args.plain), changed=False) if args.plain else None
        self.codec = self._begin().to(args.device).train()
        for name in FROZEN[args.frozen]:
            self.codec.get_submodule(name).requires_grad_(False)
        self.parameters = [x for x in self.codec.parameters() if x.requires_grad]
        self.loss, self.spread = ReconstructionLoss(cepstrum=args.cepstrum).to(args.device), SpreadLoss()
        self.steps, self.spent, self.heard = 0, 0.0, 0.0  # done; seconds of training; seconds of audio
        self.asked_to_stop = False  # this process
        self.stopping = False  # all of them
        self.state_path = args.out / "state.pt"
        if not self.state_path.exists() and not args.start:
            first, _ = self.segments.batch(8, 100, np.random.default_rng(args.seed))
            initialise(self.codec, first.to(args.device))
        self.average = Average(self.codec)
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True
        )
        if self.state_path.exists():
            state = torch.load(self.state_path, map_location=args.device, weights_only=True)
            self.codec.load_state_dict(state["codec"])
            self.average.codec.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.steps, self.spent, self.heard = state["steps"], state["spent"], state["heard"]

    def _begin(self) -> NeuCodec:
        args = self.args
        if not args.start:
            return NeuCodec(tiny_config(args.levels))
        codec = NeuCodec.from_pretrained(args.start, dtype="float32")
        if args.levels and args.levels != list(codec.config.quantization_levels):
            return requantized(codec, args.levels)
        return copied(codec, same_codes=args.frozen == "codes")

    @property
    def progress(self) -> float:
        """The share of the training that is done."""
        by_steps = self.steps / self.args.steps if self.args.steps else 0.0
        return max(self.spent / (self.args.minutes * 60), by_steps)

    def say(self, text: str) -> None:
        if self.rank == 0:
            print(text, flush=True)

    def save(self) -> None:
        """Write state and checkpoint, each whole or not at all: a kill while writing leaves the last ones."""
        if self.rank:
            return
        state: dict[str, Any] = {"codec": self.codec.state_dict(), "average": self.average.codec.state_dict()}
        state |= {"optimiser": self.optimiser.state_dict()}
        state |= {"steps": self.steps, "spent": self.spent, "heard": self.heard}
        partial = self.state_path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.state_path)
        export(self.average.codec, self.args.out / "checkpoint")

    def measure(self) -> None:
        """STOI on a few recordings of known and of unknown speakers, to watch: nothing is chosen by it."""
        for name, split in (("known speakers", "validation"), ("unknown speaker", "test")):
            clips = self.speech.choose(split, 12, 1.5, 8)
            if self.rank == 0 and clips:
                score, used = stoi_of(self.average.codec, self.speech, clips)
                self.say(
                    f"step {self.steps:6d}  {name}: STOI {score:.3f}, {used} codes in {len(clips)} clips"
                )

    def step(self) -> dict[str, float]:
        """One step of the optimiser. Returns the terms of the loss."""
        args = self.args
        # A step's data depends on its number alone, so that a resumed run goes on where it was.
        frames = segment_frames(np.random.default_rng((args.seed, self.steps)), self.progress)
        count = max(1, round(args.batch_seconds / args.processes * self.codec.frame_rate / frames))
        random = np.random.default_rng((args.seed, self.steps, self.rank))
        torch.manual_seed(int(random.integers(2**31)))
        waveform, target = (x.to(args.device) for x in self._batch(count, frames, random))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.progress, self.steps, args.rate)
        with unfiltered(self.progress < FILTERED_FROM and not args.start):
            latents = self._latents(waveform)
            quantized, codes = self.codec.quantizer(latents)
            with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
                audio = self.codec.decode_latents(quantized)
            loss, terms = self.loss(audio.float(), target[:, : audio.shape[-1]])
            values = self.codec.quantizer.project_in(latents)
            loss = loss + args.spread * (spread := self.spread(values))
            if args.steady:
                some = slice(0, None, 4)  # a quarter of the batch is enough to learn it
                again = self.codec.quantizer.project_in(self._latents(shaken(waveform[some], random)))
                steady = (again - values[some]).square().mean()
                loss = loss + args.steady * steady
                terms["steady"] = steady.item()
        self.optimiser.zero_grad()
        loss.backward()
        self._average_gradients()
        gradient = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
        if math.isfinite(gradient):
            self.optimiser.step()
            self.average.update(self.codec, self.steps)
        self.steps += 1
        self.heard += args.processes * count * frames / self.codec.frame_rate
        return terms | {
            "spread": spread.item(),
            "gradient": gradient,
            "different codes": codes.unique().numel() / codes.numel(),
        }

    def _latents(self, waveform: Tensor) -> Tensor:
        with torch.autocast(self.args.device, torch.bfloat16, enabled=self.args.bf16):
            return self.codec.encode_latents(waveform, full_lengths(waveform))[0].float()

    def _batch(self, count: int, frames: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.plain is None:
            return self.segments.batch(count, frames, random)
        plain = round(count * self.args.plain_share)
        parts = [(self.plain, plain), (self.segments, count - plain)]
        batches = [segments.batch(number, frames, random) for segments, number in parts if number]
        heard, wanted = zip(*batches, strict=True)
        return torch.cat(heard), torch.cat(wanted)

    def _average_gradients(self) -> None:
        """The mean over the processes, who also agree here on the time that is spent and on whether to stop."""
        if self.args.processes == 1:
            self.stopping = self.asked_to_stop
            return
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        agreed = torch.tensor([self.spent, float(self.asked_to_stop)])
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [agreed])
        torch.distributed.all_reduce(flat)
        flat /= self.args.processes
        for gradient, mean in zip(gradients, flat[:-2].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))
        self.spent, self.stopping = float(flat[-2]), bool(flat[-1])

    def run(self) -> None:
        """Train to the end of the budget or until stopped."""
        args = self.args
        millions = sum(parameter.numel() for parameter in self.codec.parameters()) / 1e6
        self.say(
            f"{millions:.2f} M parameters on {args.device}, from step {self.steps}, minute {self.spent / 60:.1f}"
        )
        log, saved, measured = (self.spent, self.heard), self.spent, self.spent
        terms: list[dict[str, float]] = []
        clock = time.monotonic()
        while self.progress < 1 and not self.stopping:
            terms.append(self.step())
            now = time.monotonic()
            self.spent, clock = self.spent + now - clock, now
            if self.spent - log[0] >= args.log_every:
                means = "  ".join(f"{key} {np.mean([t[key] for t in terms]):.3f}" for key in terms[0])
                speed = (self.heard - log[1]) / (self.spent - log[0])
                left = self.spent / max(self.progress, 1e-6) * (1 - self.progress) / 60
                self.say(f"step {self.steps:6d}  {means}  audio {speed:.1f} s/s  left {left:.0f} min")
                log, terms = (self.spent, self.heard), []
            if self.spent - saved >= args.save_every:
                self.save()
                saved, clock = self.spent, time.monotonic()
            if self.spent - measured >= args.measure_every:
                self.measure()
                measured, clock = self.spent, time.monotonic()
        self.save()
        if self.stopping:
            self.say(f"stopped at step {self.steps}; the same command goes on from here")
            return
        self.measure()
        self.say(f"done: {self.steps} steps, {self.heard / 3600:.1f} h of audio, {args.out / 'checkpoint'}")


def train(rank: int, args: argparse.Namespace) -> None:
    """The work of one process."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.processes > 1:
        store = torch.distributed.FileStore(str(args.meeting), args.processes)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=args.processes)
    trainer = Trainer(args, rank)

    def stop(number: int, _frame: object) -> None:
        trainer.asked_to_stop = True  # after this step, with the state saved
        signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C stops at once

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    trainer.run()
    if args.processes > 1:
        torch.distributed.destroy_process_group()


def levels(text: str) -> list[int]:
    """Levels as the command line has them."""
    return [int(level) for level in text.split(",")]


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options, `sys.argv` if None."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = torch.cuda.is_available()
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--speech", type=Path, default=Path("data/tiny-speech"), help="folder of fetch_speech.py"
    )
    parser.add_argument(
        "--plain", type=Path, help="a folder of speech to learn as it is, as `speak_corpus.py` packs one"
    )
    parser.add_argument("--plain-share", type=float, default=0.6, help="how much of a batch is of --plain")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument(
        "--start", metavar="CHECKPOINT", help="begin from this codec (a folder or a hub id), not from nothing"
    )
    parser.add_argument(
        "--levels", type=levels, help="of the quantizer, as in 4,4,4,4,4; other levels make another codebook"
    )
    parser.add_argument(
        "--frozen",
        choices=sorted(FROZEN),
        default="nothing",
        help="acoustic: the slow half of the encoder stays as it is; encoders: what they find is put into codes in "
        "another way; codes: they keep their meaning, and the decoder alone learns, so that a language model of these "
        "codes can be trained meanwhile",
    )
    parser.add_argument("--minutes", type=float, default=100, help="of training, over all runs")
    parser.add_argument("--steps", type=int, help="end after this many if that is sooner; for a try")
    parser.add_argument(
        "--batch-seconds", type=float, default=16, help="audio in one step, over all processes"
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--spread", type=float, default=0.2, help="weight of the loss that spreads the codes")
    parser.add_argument(
        "--cepstrum",
        type=float,
        default=1.0,
        help="weight of the loss that hears what a speech recogniser hears",
    )
    parser.add_argument(
        "--steady",
        type=float,
        default=0.0,
        help="weight of the loss that gives what sounds the same the same codes",
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where that does no harm")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument(
        "--processes",
        type=int,
        default=1 if cuda else min(cores, 4),
        help="on a CPU, faster than threads of one",
    )
    parser.add_argument("--threads", type=int, help="of each process (default: its share of the cores)")
    parser.add_argument("--log-every", type=float, default=20, metavar="SECONDS")
    parser.add_argument("--save-every", type=float, default=120, metavar="SECONDS")
    parser.add_argument("--measure-every", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    args.threads = args.threads or max(1, cores // args.processes)
    known = args.device == "cpu" and torch.backends.mkldnn.is_available()
    if args.bf16 and known and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        print("warning: this processor has no bfloat16 of its own, so --bf16 makes it slower: leave it out")
    return args


def main() -> None:
    args = options()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.processes == 1:
        train(0, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        args.meeting = Path(folder) / "meeting"
        context = torch.multiprocessing.spawn(train, (args,), nprocs=args.processes, join=False)

        def pass_on(_number: int, _frame: object) -> None:
            for process in context.processes:
                process.terminate()

        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all of them
        while not context.join():
            pass


if __name__ == "__main__":
    main()
