"""Train a codec from recordings: tune NeuCodec's decoder to a voice, a language or a rate, or train a small codec.

    python examples/train_codec/train.py recordings --codec neuphonic/neucodec --train decoder --out runs/mine

`recordings` is any corpus that `neucodec-tts prepare` reads, or several. The same command again goes on where it was
stopped: by Ctrl-C, a kill or a crash. OUT/checkpoint is a folder that `NeuCodec.from_pretrained` and transformers load.
The guide, docs/guides/train.md, has the recipes.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from corpora import recordings
from transformers import NeuCodecConfig
from whisper_teacher import WhisperTeacher

from neucodec_tts import NeuCodec
from neucodec_tts.codec.features import semantic_features
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.errors import CheckpointError, DatasetError, NeuCodecError
from neucodec_tts.files import atomic_path
from neucodec_tts.training.codec.discriminators import DiscriminatorSizes
from neucodec_tts.training.codec.losses.adversarial import Game
from neucodec_tts.training.codec.losses.semantic import Teacher
from neucodec_tts.training.codec.models import OUTPUT_RATES, changed, full_lengths, requantized, tiny_config
from neucodec_tts.training.codec.packed_codes import encode_packed
from neucodec_tts.training.codec.packed_speech import PackedSpeech, pack
from neucodec_tts.training.codec.segments import SegmentSettings
from neucodec_tts.training.codec.settings import LossWeights, TrainingSettings
from neucodec_tts.training.codec.trainer import CodecTrainer
from neucodec_tts.training.codec.validation import Validation

log = logging.getLogger("train")

PRESETS = {
    # BigCodec's and X-Codec 2's choices, for GPUs.
    "large": TrainingSettings(
        segments=SegmentSettings(batch_seconds=48, shortest=1.0, longest=3.0, changed_share=0.0),
        adversary_seconds=1.0,
    ),
    # For a processor: small discriminators that see half a second, and losses that small codecs gain words by.
    "small": TrainingSettings(
        rate=8e-4,
        discriminator_rate=3e-4,
        betas=(0.8, 0.98),
        clip=1.0,
        weights=LossWeights(
            mel=1.0,
            stft=0.5,
            cepstrum=1.0,
            envelope=2.0,
            adversarial=0.1,
            features=0.2,
            semantic=1.0,
            spread=0.2,
            steady=0.25,
        ),
        segments=SegmentSettings(batch_seconds=16, shortest=1.0, longest=3.0, changed_share=0.5),
        discriminators=DiscriminatorSizes(
            periods=(2, 5),
            period_channels=(4, 16, 32, 64, 64),
            spectrum_channels=8,
            mel_channels=16,
            feature_channels=64,
        ),
        adversary_from=6000,
        discriminator_ahead=200,
        adversary_seconds=0.5,
        half=True,
    ),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options, ``sys.argv`` if None."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("corpus", nargs="+", help="a corpus that `prepare` reads: a folder, a manifest, tars ...")
    add("--shares", type=float, nargs="+", help="how much of a batch is of each corpus (default: alike)")
    add("--out", type=Path, required=True)
    add("--train", choices=("decoder", "encoder", "all", "scratch"), default="decoder")
    add("--codec", help="a folder, a hub id or `tiny`: what to begin with")
    add("--like", help="of which sizes --train scratch makes a codec: a folder, a hub id or `tiny`")
    add("--output-rate", type=int, choices=OUTPUT_RATES, help="Hz; another decoder begins as the old one")
    add("--layers", type=int, help="of the decoder's transformer; what is added begins as the identity")
    add("--encoder-layers", type=int, help="of the semantic encoder")
    add("--encoder-width", type=int, help="channels of the acoustic encoder's first layer")
    add(
        "--levels", type=lambda text: [int(n) for n in text.split(",")], help="of the codebook, as in 4,4,4,4"
    )
    add("--preset", choices=sorted(PRESETS), default="large", help="which settings to begin with")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings: weights.mel=45 clip=10")
    add("--steps", type=int, help="of the training, over all runs")
    add("--minutes", type=float, help="stop after so long; the same command goes on")
    add("--batch-seconds", type=float, help="of speech in a step, over all processes")
    add("--validation", help="a corpus to measure with (default: 1 of 50 recordings, which no step hears)")
    add(
        "--keep-narrow",
        action="store_true",
        help="keep recordings below the output rate, for the band they have",
    )
    add(
        "--teacher",
        help="whose features codes keep, and reconstructions with --set weights.heard=1: `semantic`, the semantic "
        "encoder of --codec, or whisper's, the model.bin of a model for CTranslate2 (packages.py fetches tiny.en)",
    )
    add(
        "--encode-once",
        action="store_true",
        help="encode the corpus before the training, not each segment at each step, for --train decoder; segments are "
        "then never changed in pitch, tone or level",
    )
    add("--packed", type=Path, help="where recordings are kept decoded (default: OUT/packed)")
    add("--bf16", action="store_true")
    add("--cpu", action="store_true", help="no GPU even if there is one")
    add("--threads", type=int, help="of the processor")
    add("--workers", type=int, default=0, help="processes that prepare batches; 4 or more for a GPU")
    add("--report-to", nargs="*", default=[], help="accelerate's trackers: tensorboard, wandb ...")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def settings_of(args: argparse.Namespace) -> TrainingSettings:
    """The preset with what the command line changes.

    Raises:
        NeuCodecError: a setting is unknown or has no such value.
    """
    if args.shares and len(args.shares) != len(args.corpus):
        raise NeuCodecError(f"--shares has {len(args.shares)} numbers for {len(args.corpus)} corpora")
    settings = replace(PRESETS[args.preset], train=args.train, seed=args.seed)
    if args.steps is not None:
        settings = replace(settings, steps=args.steps)
    if args.batch_seconds is not None:
        settings = replace(settings, segments=replace(settings.segments, batch_seconds=args.batch_seconds))
    for change in args.set:
        name, _, text = change.partition("=")
        settings = _with(settings, name.split("."), text, name)
    if args.encode_once:
        if args.train != "decoder":
            raise NeuCodecError(f"--encode-once is for --train decoder: with {args.train} codes change")
        settings = replace(settings, segments=replace(settings.segments, changed_share=0.0))
    return settings


def _with(settings: Any, path: list[str], text: str, name: str) -> Any:
    if not hasattr(settings, path[0]):
        raise NeuCodecError(f"there is no setting {name}")
    if len(path) > 1:
        return replace(settings, **{path[0]: _with(getattr(settings, path[0]), path[1:], text, name)})
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    now = getattr(settings, path[0])
    if isinstance(now, float | int) and not isinstance(value, float | int):
        raise NeuCodecError(f"the setting {name} is a number, such as {now}, not {text!r}")
    if path[0] == "game" and value not in get_args(Game):
        raise NeuCodecError(f"the setting {name} is one of {', '.join(get_args(Game))}, not {text!r}")
    return replace(settings, **{path[0]: tuple(value) if isinstance(value, list) else value})


def begin(args: argparse.Namespace) -> tuple[NeuCodec, NeuCodec | None]:
    """The codec to train, and the one that it begins from.

    Raises:
        CheckpointError: the options do not go together.
    """
    sizes = {
        "output_rate": args.output_rate,
        "layers": args.layers,
        "encoder_layers": args.encoder_layers,
        "encoder_width": args.encoder_width,
    }
    if args.train == "scratch":
        if args.codec:
            raise CheckpointError(
                "--train scratch begins with random weights: leave --codec out, or train `all`"
            )
        config = tiny_config()
        if args.like:
            config = NeuCodec.from_pretrained(args.like).config
        values = config.to_dict()
        values.pop("codec_id", None)  # its codes will mean something else
        if args.levels:
            values["quantization_levels"] = args.levels
        codec = NeuCodec(NeuCodecConfig.from_dict(values | {"dtype": "float32"}))
        if any(value is not None for value in sizes.values()):
            codec = changed(codec, **sizes, same_codes=False)
        return codec, None
    if args.like:
        raise CheckpointError("--like is for --train scratch: others have the sizes of --codec")
    if not args.codec:
        raise CheckpointError(f"--train {args.train} needs --codec: a folder or a hub id to begin with")
    given = NeuCodec.from_pretrained(args.codec, dtype="float32")
    if args.train == "decoder" and (args.levels or args.encoder_layers or args.encoder_width):
        raise CheckpointError(
            "--train decoder keeps the codes: the encoder and the codebook stay as they are"
        )
    if args.train == "decoder" and not any(sizes.values()):
        given.requires_grad_(True)
        return given, given  # codes stay, and so does all but the decoder: no need of two
    codec = given
    if args.train == "encoder" and args.levels:
        raise CheckpointError("--train encoder finds the codes of --codec: the codebook stays as it is")
    if args.levels and list(args.levels) != list(given.config.quantization_levels):
        codec = requantized(given, args.levels)
    return changed(codec, **sizes, same_codes=args.train != "all"), given


def teacher_of(
    args: argparse.Namespace, settings: TrainingSettings, given: NeuCodec | None, device: torch.device
) -> tuple[Teacher, int] | None:
    """Whose features codes and reconstructions should keep, and their size.

    Raises:
        CheckpointError: the codec that is asked for is not there.
    """
    if args.teacher is None:
        if settings.weights.heard:
            raise CheckpointError("weights.heard compares what a teacher hears: name one with --teacher")
        return None
    if args.train == "decoder" and not settings.weights.heard:
        raise CheckpointError(
            "--train decoder keeps the codes: there is nothing for --teacher to teach but with --set weights.heard=1"
        )
    if args.teacher != "semantic":
        # Codes should keep what the last layer says; a decoder's sound is told by the first ones.
        whisper = WhisperTeacher(Path(args.teacher), every_layer=args.train == "decoder").to_device(device)
        return whisper, whisper.size
    if given is None:
        raise CheckpointError("--teacher semantic is the semantic encoder of --codec: name one")
    encoder = copy.deepcopy(given.semantic_encoder).to(device).eval().requires_grad_(False)

    def hear(waveform: torch.Tensor) -> torch.Tensor:
        features, frames = semantic_features(waveform, full_lengths(waveform))
        return encoder(features, Ragged.of(frames, features.shape[1]))

    return hear, given.config.semantic_model_config.hidden_size


def speech_of(args: argparse.Namespace, codec: NeuCodec) -> tuple[list[PackedSpeech], PackedSpeech]:
    """Packed corpora to train on, and packed recordings to measure with.

    Raises:
        DatasetError: there is no speech.
    """
    rate = codec.output_sample_rate
    folder = args.packed or args.out / "packed"
    least = codec.input_sample_rate if args.keep_narrow else rate
    packed = [
        pack({source: recordings(source)}, folder / f"corpus-{number}", rate=rate, least_rate=least)
        for number, source in enumerate(args.corpus)
    ]
    if args.validation:
        heard = {args.validation: recordings(args.validation)}
        held = pack(heard, folder / "validation", rate=rate, least_rate=codec.input_sample_rate)
    else:
        held = packed[0].part(lambda number: number % 50 == 49)
        packed[0] = packed[0].part(lambda number: number % 50 != 49)
    if not packed[0].clips or not held.clips:
        raise DatasetError(
            "the corpus has too few recordings to train on some and measure with others; add some"
        )
    for source, speech in zip(args.corpus, packed, strict=True):
        log.info("%s: %d recordings, %.2f h", source, len(speech.clips), speech.seconds / 3600)
    return packed, held


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    on_cpu = args.cpu or not torch.cuda.is_available()
    if args.bf16 and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning("this processor has no bfloat16 of its own, so that --bf16 makes it slower: leave it out")
    until = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    try:
        settings = settings_of(args)
        # Of the semantic encoder, one parameter is for its pretraining alone.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        accelerator = Accelerator(
            kwargs_handlers=[unused],
            mixed_precision="bf16" if args.bf16 else "no",
            cpu=args.cpu,
            log_with=args.report_to or None,
            project_dir=str(args.out),
        )
        if not accelerator.is_main_process:
            logging.disable(logging.INFO)
        set_seed(args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
        with accelerator.main_process_first():
            codec, given = begin(args)
            speech, held = speech_of(args, codec)
            codes = None
            if args.encode_once:
                codec.to(accelerator.device)
                codes = [encode_packed(packed, codec) for packed in speech]
        teacher = teacher_of(args, settings, given, accelerator.device)
        trainer = CodecTrainer(
            codec,
            speech,
            args.out,
            settings,
            codes=codes,
            shares=args.shares,
            accelerator=accelerator,
            validation=Validation(held),
            given=given if args.train == "encoder" else None,
            teacher=teacher,
            workers=args.workers,
        )
        about = trainer.describe()
        log.info("%s: %s M parameters, from step %d", args.train, about["millions"], trainer.step)
        if accelerator.is_main_process:
            with atomic_path(args.out / "settings.json") as part:
                part.write_text(json.dumps(asdict(settings), indent=1) + "\n", "utf-8")
        if args.report_to:
            accelerator.init_trackers("train_codec")
        done = trainer.run(until)
        if done and accelerator.is_main_process:
            with atomic_path(args.out / "result.json") as part:
                part.write_text(
                    json.dumps({"step": trainer.step, **trainer.validate()}, indent=1) + "\n", "utf-8"
                )
        accelerator.end_training()
    except NeuCodecError as problem:
        sys.exit(f"error: {problem}")
    state = "done" if done else "stopped; the same command goes on from here"
    log.info("step %d, %.2f h heard: %s", trainer.step, trainer.heard / 3600, state)


if __name__ == "__main__":
    main()
