"""Fine-tune a language model to speak: from a folder of recordings to a model that TextToSpeech loads.

    python examples/finetune/finetune.py recordings --model Qwen/Qwen2.5-0.5B --codec neuphonic/neucodec --out runs/mine

Each part leaves its result below --out and is not done again if it is there:

    base/          the model with the codec's codes           neucodec-tts extend-vocab
    data/          the recordings as codes                     neucodec-tts prepare
    examples/      training examples, if data/ has no tokens
    checkpoints/   of the training, which goes on from the last one
    model/         the trained model, its tokenizer and speech_config.json
    speech/        sentences it was not trained on, spoken by it
    result.json    what came out

The README beside this file says more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from huggingface_hub import snapshot_download
from learning import Report, arrange, last_checkpoint, load_model, make_trainer, say, with_lora
from muon import has_bfloat16
from options import parse
from small_model import save_random_model
from speaking import speak_sentences, voice_for
from speech_examples import hold_out, load_data, make_examples
from transformers import AutoTokenizer
from transformers.utils import logging

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import atomic_folder, atomic_path
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.prompts.speech_config import known_model

LEARNT = 0.2
"""A model has learnt if its loss fell by so much of what it was at the start."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)


def neucodec_tts(*arguments: str) -> None:
    """Run a command of the library; what it says is seen, and if it fails, that is the end."""
    done = subprocess.run([sys.executable, "-m", "neucodec_tts", *arguments], check=False)
    if done.returncode:
        raise SystemExit(f"error: neucodec-tts {arguments[0]} failed")


def write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_settings(options: argparse.Namespace) -> None:
    """Refuse to go on with what was begun with other settings."""
    free = (
        "out",
        "minutes",
        "log_every",
        "save_every",
        "evaluate_every",
        "report_to",
        "speak",
        "workers",
        "device",
        "compile",
    )
    wanted = {
        name: " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in vars(options).items()
        if name not in free
    }
    path = options.out / "settings.json"
    stored = json.loads(path.read_text()) if path.is_file() else wanted
    changed = [f"{name} was {stored.get(name)} and is now {wanted[name]}" for name in wanted]
    changed = [text for name, text in zip(wanted, changed, strict=True) if stored.get(name) != wanted[name]]
    if changed:
        raise SystemExit(
            f"error: {options.out} was begun with other settings: {'; '.join(changed)}; give another --out"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def warn_of_bfloat16(options: argparse.Namespace) -> None:
    """Many a processor computes in bfloat16 only by way of float32, and takes several times as long."""
    on_cpu = options.device == "cpu" or not torch.cuda.is_available()
    known = torch.backends.mkldnn.is_available()
    if options.bf16 and on_cpu and known and not has_bfloat16():
        say("warning: this processor has no bfloat16 of its own, so --bf16 makes it slower: leave it out")


def check_compiler(options: argparse.Namespace) -> None:
    """Find out before any work whether `--compile` can be had."""
    device = "cpu" if options.device == "cpu" or not torch.cuda.is_available() else "cuda"
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as problem:  # whatever a compiler can meet on somebody's machine
        reason = str(problem).strip().split("\n")[0]
        raise SystemExit(
            f"error: --compile: {reason}; install what it names (g++), or leave --compile out"
        ) from problem


def prepare_base(options: argparse.Namespace) -> tuple[Path, SpeechConfig]:
    """A model with codes, made if need be."""
    base: Path = options.out / "base"
    if options.model and (Path(options.model) / "speech_config.json").is_file():
        base = Path(options.model)
    elif options.model and not Path(options.model).is_dir() and (known := known_model(options.model)):
        return Path(
            snapshot_download(options.model, allow_patterns=["*.json", "*.safetensors", "*.jinja"])
        ), known
    elif not base.is_dir():
        start = options.model
        if options.from_config:
            start = str(options.out / "random")
            save_random_model(options.from_config, Path(start), options.seed)
        command = ["extend-vocab", start, "--output", str(base), "--language", options.language]
        command += [
            "--format",
            "llasa" if options.format == "llasa" else "neutts",
            "--seed",
            str(options.seed),
        ]
        command += ["--codec", options.codec] if options.codec else []
        # With its codes in the vocabulary itself a tokenizer loads faster; as added tokens they can be written as text.
        neucodec_tts(*command, *(["--layout", "vocab"] if options.from_config else []))
        if options.format == "neutts-text":
            config = SpeechConfig.read(base / "speech_config.json")
            replace(config, prompt_format="neutts-text", language=None).save(base)
    return base, SpeechConfig.read(base / "speech_config.json")


def prepare_data(options: argparse.Namespace, codec: str) -> None:
    """Make or complete the data set, if none is given."""
    data: Path = options.out / "data"
    manifest = data / "manifest.json"
    complete = manifest.is_file() and json.loads(manifest.read_text())["complete"]
    if not options.data and not complete:
        neucodec_tts("prepare", options.source, "--output", str(data), "--codec", codec)


def save_trained(model: Any, base: Path, config: SpeechConfig, options: argparse.Namespace) -> Path:
    """Write the model with all that belongs to it, whole or not at all."""
    if options.lora:
        model = model.merge_and_unload()
    folder: Path = options.out / "model"
    model.config.use_cache = True  # the Trainer turned it off
    codec = options.codec or config.codec
    if config.codec.startswith(".") and not options.codec:  # relative to the model's folder
        codec = os.path.relpath(base / config.codec, folder)
    with atomic_folder(folder) as part:
        model.save_pretrained(part)
        for name in TOKENIZER_FILES:
            if (base / name).is_file():
                shutil.copy(base / name, part)
        replace(config, codec=codec, context_length=min(config.context_length, options.max_length)).save(part)
    return folder


def verdict(before: float, after: float, where: str) -> str:
    """In words, whether it has learnt."""
    fall = 1 - after / before
    said = "it has learnt" if fall >= LEARNT else "it has not learnt much: train longer, or look at the data"
    return f"loss on {where}: {before:.3f} at the start, {after:.3f} at the end, {fall:.0%} less; {said}"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do what is still to be done, and return what came out."""
    state = PartialState(cpu=options.device == "cpu")
    with state.main_process_first():
        if state.is_main_process:
            check_settings(options)
            warn_of_bfloat16(options)
            if options.compile:
                check_compiler(options)
        base, config = prepare_base(options)
        if state.is_main_process:
            prepare_data(options, options.codec or config.codec)
        rows = load_data(*(options.data or [options.out / "data"]))
        tokenizer = AutoTokenizer.from_pretrained(base)
        options.max_length = options.max_length or config.context_length
        train_rows, test_rows = hold_out(rows, options.held_out)
        making = {"clones": options.clones, "max_length": options.max_length, "seed": options.seed}
        making.update(base=str(base), rows=len(rows), held_out=test_rows, contrasts=bool(options.guide))
        train = make_examples(options.out / "examples", rows, train_rows, config, tokenizer, making)
        test = None
        if test_rows:
            test = make_examples(
                options.out / "examples-held-out", rows, test_rows, config, tokenizer, making
            )
        checkpoint = last_checkpoint(options.out / "checkpoints")

    model = load_model(base, options)
    if options.lora:
        model = with_lora(model, tokenizer, config, options.lora)
    pad = next((id for id in (tokenizer.pad_token_id, tokenizer.eos_token_id) if id is not None), 0)
    arranged = arrange(train, options, "training")
    codes = torch.tensor(config.vocabulary(tokenizer).ids)
    tested = test and arrange(test, options, "held out")
    trainer = make_trainer(model, arranged, tested, pad, codes, options)
    learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"{learnt:,} of {model.num_parameters():,} parameters are trained")

    start = options.out / "start.json"
    if test is not None and not start.is_file():
        before = trainer.evaluate()["eval_loss"]
        if state.is_main_process:
            write_json(start, {"loss": before})
    if checkpoint is not None:
        say(f"going on from {checkpoint}")
    trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    stopped = next(call.stopped for call in trainer.callback_handler.callbacks if isinstance(call, Report))
    if trained.global_step < trainer.state.max_steps:
        say(f"{stopped} at step {trained.global_step} of {trainer.state.max_steps}; the same command goes on")
        return {"finished": False, "step": trained.global_step}

    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    losses, where = (logged[0], logged[-1]), "what it was trained on"
    if test is not None:
        losses, where = (
            (json.loads(start.read_text())["loss"], trainer.evaluate()["eval_loss"]),
            "held-out speech",
        )
    result: dict[str, Any] = {
        "finished": True,
        "steps": trained.global_step,
        "training_loss": logged[-1],
        "loss_before": losses[0],
        "loss_after": losses[1],
        "measured_on": where,
        "learnt": losses[1] <= (1 - LEARNT) * losses[0],
    }
    if not state.is_main_process:
        return result
    trained_model = save_trained(trainer.accelerator.unwrap_model(trainer.model), base, config, options)
    print(verdict(*losses, where), flush=True)
    sentences = [rows[index] for index in test_rows[: options.speak]]
    voices = [voice_for(row, rows, train_rows) if options.clones else None for row in sentences]
    spoken = speak_sentences(trained_model, options.codec, sentences, voices, options.out / "speech")
    for item in spoken:
        print(item)
    result["spoken"] = [asdict(item) for item in spoken]
    write_json(options.out / "result.json", result)
    print(f"the model is in {trained_model}, and what it says in {options.out / 'speech'}")
    return result


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(__doc__ or "", arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    finished = options.out / "result.json"
    if finished.is_file():
        print(f"{finished} is there: this is done already")
        result: dict[str, Any] = json.loads(finished.read_text())
        return result
    try:
        return run(options)
    except NeuCodecError as problem:
        raise SystemExit(f"error: {problem}") from problem


if __name__ == "__main__":
    main()
