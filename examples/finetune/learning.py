"""The training itself: transformers' Trainer, in full or through LoRA, to be resumed after any end."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState
from guidance import ContrastCollator, GuidedTrainer
from muon import MuonAndAdamW
from speech_examples import lengths_of
from spoken_loss import ALONE, LossInPieces
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.tokens.scheme import SCHEMES, token_lookup
from neucodec_tts.training import PackedExamples, SpeechCollator, fit_examples, pack


def say(line: str) -> None:
    """Print a line, once however many processes there are."""
    PartialState().print(line, flush=True)


Arranged = Sequence[Any] | datasets.Dataset


def arrange(examples: datasets.Dataset, options: argparse.Namespace, what: str) -> Arranged:
    """Return the examples that fit the context, packed into full rows or as they are."""
    fitted = fit_examples(lengths_of(examples), options.max_length, options.too_long)
    tokens = sum(fitted.lengths)
    say(f"{what}: {fitted}")
    if options.batching == "packed":
        rows = pack(fitted.lengths, options.max_length, options.seed)
        full = tokens / (len(rows) * options.max_length)
        say(f"{what}: {tokens:,} tokens in {len(rows):,} rows, {full:.1%} full")
        return PackedExamples(examples, [[fitted.kept[at] for at in row] for row in rows])
    say(f"{what}: {tokens:,} tokens")
    kept = examples if len(fitted.kept) == len(examples) else examples.select(fitted.kept)
    return kept.add_column("length", list(fitted.lengths))


def load_model(base: Path, options: argparse.Namespace) -> PreTrainedModel:
    """Weights in float32, which AdamW's small steps need; only what LoRA leaves frozen may have fewer bits."""
    dtype = torch.bfloat16 if options.lora and options.bf16 else torch.float32
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=options.attention)


def with_lora(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SpeechConfig, rank: int
) -> Any:
    """Add LoRA to every linear layer, and train the rows of codes and control tokens as they are.

    A model that has just been given its codes knows nothing of them: rows that LoRA leaves frozen would stay
    as `extend-vocab` drew them. The rows of the text stay frozen.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as missing:
        raise SystemExit(f"error: --lora needs peft ({missing}); pip install peft") from missing

    names = {name for scheme in SCHEMES.values() for name in scheme.control_tokens}
    names |= set(config.template.stop if config.template else ())
    lookup = token_lookup(tokenizer)
    controls = [id for name in sorted(names) if (id := lookup(name)) is not None]
    rows = sorted({*config.vocabulary(tokenizer).ids.tolist(), *controls})
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [inputs] if outputs is None or outputs.weight is inputs.weight else [inputs, outputs]
    names_of = {module: name.rpartition(".")[2] for name, module in model.named_modules()}
    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            trainable_token_indices={names_of[table]: rows for table in tables},
        ),
    )


class Report(TrainerCallback):
    """A line every so many steps, and an end in good order: after a time, or when asked to (SIGTERM, Ctrl-C)."""

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else 60 * minutes
        self._start = self._last = time.monotonic()
        self._last_step = 0
        self.stopped = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._last_step = state.global_step
        self._last = time.monotonic()
        self._before = {name: signal.signal(name, self._asked) for name in (signal.SIGTERM, signal.SIGINT)}

    def _asked(self, number: int, _: object) -> None:
        if self.stopped:
            raise KeyboardInterrupt  # asked twice
        self.stopped = f"stopped by {signal.Signals(number).name}"

    def on_train_end(self, *_: Any, **__: Any) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._seconds is not None and time.monotonic() - self._start > self._seconds:
            self.stopped = self.stopped or f"stopped after {self._seconds / 60:g} minutes"
        if self.stopped and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        now = time.monotonic()
        if "loss" in logs:
            seconds = (now - self._last) / max(1, state.global_step - self._last_step)
            self._last, self._last_step = now, state.global_step
            print(
                f"step {state.global_step} of {state.max_steps}: loss {logs['loss']:.3f}, learning rate "
                f"{logs['learning_rate']:.2g}, {seconds:.2f} s a step",
                flush=True,
            )
        elif "eval_loss" in logs:
            print(f"step {state.global_step}: loss {logs['eval_loss']:.3f} on held-out speech", flush=True)
            self._last = now


class ForgetfulTrainer(Trainer):
    """Puts random codes in the place of some that a model has to go on from, while what it has to say stays as it is.

    A code is foreseen well from those just before it. A model that learns from nothing is content with that for long,
    before it begins to read its text: one that cannot trust its memory has to read at once (as Tacotron's decoder,
    which sees half of what it said before). Each row forgets another share, from none to `forget`.
    """

    forget = 0.0
    codes = torch.empty(0, dtype=torch.long)  # their token ids
    _in_pieces: bool | None = None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if self._in_pieces is None:
            own = self.accelerator.unwrap_model(model)
            self._in_pieces = False
            # Not where LoRA changes what the weights say, or where each process or thread has a part of them.
            parted = self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.n_gpu > 1
            if isinstance(own, PreTrainedModel) and not parted:
                pieces = LossInPieces(own, torch.bfloat16 if self.args.bf16 else None)
                self._in_pieces = pieces.is_the_models_own(inputs)
                if self._in_pieces:
                    self.compute_loss_func = pieces
                else:
                    pieces.close()
            if not self._in_pieces:
                say("the logits of all tokens are kept: the loss of this model cannot be computed in pieces")
        if self._in_pieces:
            inputs = {**inputs, **ALONE}
        return super().compute_loss(model, inputs, *rest, **more)

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> torch.Tensor:
        if self.forget:
            ids = inputs["input_ids"]
            codes = self.codes.to(ids.device)
            share = self.forget * torch.rand(len(ids), 1, device=ids.device)
            forgotten = (torch.rand(ids.shape, device=ids.device) < share) & torch.isin(ids, codes)
            others = codes[torch.randint(len(codes), ids.shape, device=ids.device)]
            inputs["input_ids"] = torch.where(forgotten, others, ids)
        return super().training_step(model, inputs, *rest, **more)


def make_trainer(
    model: Any,
    train: Arranged,
    held_out: Arranged | None,
    pad_id: int,
    codes: torch.Tensor,
    options: argparse.Namespace,
) -> Trainer:
    """The Trainer. It has no tokenizer, because it would write 65,536 tokens with every checkpoint."""
    flash = options.attention.startswith("flash")
    collator = SpeechCollator(
        pad_id,
        max_length=options.max_length,
        truncate=options.too_long == "truncate",
        pad_to_multiple_of=32 if options.batching == "grouped" else 1,  # kernels are made for each shape
        layout="flat" if flash and options.batching == "packed" else "rows",
    )
    arguments = TrainingArguments(
        output_dir=str(options.out / "checkpoints"),
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulate,
        num_train_epochs=options.epochs,
        max_steps=options.steps or -1,
        learning_rate=options.lr,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch",
        bf16=options.bf16,
        gradient_checkpointing=options.gradient_checkpointing,
        train_sampling_strategy="random" if options.batching == "packed" else "group_by_length",
        logging_steps=options.log_every,
        logging_first_step=True,
        eval_strategy="steps" if held_out is not None and options.evaluate_every else "no",
        eval_steps=options.evaluate_every or None,
        prediction_loss_only=True,  # the logits are a number for each of 65,536 codes for each token
        save_steps=options.save_every,
        save_total_limit=2,
        dataloader_num_workers=options.workers,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        report_to=options.report_to,
        disable_tqdm=True,
        seed=options.seed,
        use_cpu=options.device == "cpu",
    )
    optimizer: tuple[Any, dict[str, Any]] | None = None
    if options.optimizer == "muon":
        tables = (model.get_input_embeddings(), model.get_output_embeddings())
        apart = [table.weight for table in tables if table is not None]
        optimizer = MuonAndAdamW, {"lr": options.lr, "apart": apart}
    made: dict[str, Any] = {
        "optimizer_cls_and_kwargs": optimizer,
        "data_collator": ContrastCollator(collator) if options.guide else collator,
        "train_dataset": train,
        "eval_dataset": held_out,
        "callbacks": [Report(options.minutes)],
    }
    if options.compile:
        layers = set(model._no_split_modules or ())
        for layer in model.modules():
            if type(layer).__name__ in layers:
                layer.compile(dynamic=True)
    trainer: Trainer
    if options.guide:
        trainer = GuidedTrainer(model, arguments, **made)
        trainer.guide = options.guide
    else:
        trainer = ForgetfulTrainer(model, arguments, **made)
        trainer.forget, trainer.codes = options.forget, codes
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that was being written when the run was killed is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    while found:
        checkpoint = found.pop()
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # the last that is written
            return checkpoint
        except (OSError, ValueError):
            say(f"{checkpoint} is not whole and is removed")
            shutil.rmtree(checkpoint)
    return None
