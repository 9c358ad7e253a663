"""Options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from neucodec_tts.dataset.places import place


def parse(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "source", nargs="?", help="recordings with their texts, as `neucodec-tts prepare` takes them"
    )
    what.add_argument(
        "--data",
        type=place,
        nargs="+",
        help="data sets that are prepared already, or their URLs, instead; one named twice counts twice",
    )
    what.add_argument("--model", help="a causal language model: hub id or folder, with codes or without")
    what.add_argument("--from-config", metavar="NAME", help="random weights instead: small, or a config.json")
    what.add_argument("--codec", help="hub id, folder, or tiny; by default the one that the model names")
    what.add_argument(
        "--format",
        choices=("neutts", "neutts-text", "llasa"),
        default="neutts",
        help="for a model without codes",
    )
    what.add_argument("--language", default="en-us", help="of its phones, as espeak calls it")
    what.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    what.add_argument(
        "--held-out", type=int, default=16, help="utterances to test with, a fifth of all at most"
    )
    what.add_argument(
        "--clones",
        type=int,
        default=0,
        metavar="N",
        help="teach cloning: N more examples of each utterance, after another of the same speaker",
    )

    how = parser.add_argument_group("how")
    how.add_argument("--max-length", type=int, help="tokens of a row; by default the model's context")
    how.add_argument(
        "--too-long", choices=("drop", "truncate", "refuse"), default="drop", help="examples longer than that"
    )
    how.add_argument(
        "--batching",
        choices=("packed", "grouped"),
        default="packed",
        help="full rows, or padded ones of like length",
    )
    how.add_argument("--batch", type=int, default=8, help="rows a step and device")
    how.add_argument("--accumulate", type=int, default=1, help="batches a step")
    how.add_argument("--epochs", type=float, default=3.0)
    how.add_argument("--steps", type=int, help="instead of epochs")
    how.add_argument(
        "--minutes", type=float, help="end in good order after so long; the same command goes on"
    )
    how.add_argument(
        "--lr", type=float, default=2e-4, help="1e-3 for a small model from nothing, 2e-5 to 2e-4 else"
    )
    how.add_argument(
        "--optimizer",
        choices=("adamw", "muon"),
        default="adamw",
        help="muon takes fewer steps to teach a small model from nothing",
    )
    how.add_argument("--schedule", default="cosine", help="of the learning rate")
    how.add_argument("--warmup", type=int, default=50, help="steps")
    how.add_argument("--weight-decay", type=float, default=0.01)
    how.add_argument(
        "--forget",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the codes before, up to so many are replaced by others, which makes a small model from nothing read",
    )
    how.add_argument(
        "--guide",
        type=float,
        default=0.0,
        metavar="W",
        help="a trained model learns from itself to say what it would if its text and voice counted W times",
    )
    how.add_argument("--lora", type=int, default=0, metavar="RANK", help="train LoRA and the new rows only")
    how.add_argument("--attention", default="sdpa", help="sdpa, eager, flash_attention_2 ...")
    how.add_argument("--bf16", action="store_true", help="compute in bfloat16 (where it is no detour)")
    how.add_argument(
        "--compile",
        action="store_true",
        help="compile the layers, which takes half a minute once and needs a C++ compiler; steps are faster then",
    )
    how.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory for a third more time"
    )
    how.add_argument("--device", choices=("auto", "cpu"), default="auto")
    how.add_argument("--workers", type=int, default=0, help="processes that read")
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--log-every", type=int, default=10, help="steps")
    how.add_argument(
        "--evaluate-every", type=int, default=0, help="steps; 0 evaluates at the start and the end"
    )
    how.add_argument("--save-every", type=int, default=500, help="steps")
    how.add_argument("--report-to", default="none", help="tensorboard, wandb ...")
    how.add_argument("--speak", type=int, default=4, help="held-out sentences to speak at the end")
    options = parser.parse_args(arguments)
    if bool(options.source) == bool(options.data):
        parser.error("give a folder of recordings, or --data with a prepared data set")
    if bool(options.model) == bool(options.from_config):
        parser.error("give --model, or --from-config for random weights")
    if options.guide and (options.forget or options.batching == "packed"):
        parser.error("--guide goes with --batching grouped, and not with --forget")
    if options.guide and (options.guide <= 1 or options.from_config):
        parser.error("--guide is a number above 1, for a model that can speak already")
    return options
