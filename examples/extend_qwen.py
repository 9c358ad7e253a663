"""Give a language model a codec's codes, and see which start of the new embeddings learns fastest.

    python examples/extend_qwen.py                     # about two minutes on a laptop, no download
    python examples/extend_qwen.py --audio recordings  # on the codes of your own recordings

A small Qwen2 with random weights gets 4,096 codes three times over: starting from the mean of the old embeddings
("mean"), from random numbers ("random"), and from the digits of the codes ("fsq"). Each learns the same sentences
in the same order; what is printed is the loss on sentences that none of them has seen.

The sentences are babble: each letter pulls a point in FSQ space towards a place of its own, and the codes are where
the point passes. Like real codes they are never quite the same twice, and near codes mean nearly the same.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from neucodec_tts.prompts import NeuTTSFormat, TrainingExample
from neucodec_tts.tokens import SpeechVocabulary

Start = Literal["fsq", "mean", "random"]
STARTS: tuple[Start, ...] = ("mean", "random", "fsq")
LETTERS = "abcdefghijklmnopqrst"
Sentence = tuple[str, list[int]]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, so that nothing need be downloaded."""
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def make_model(rows: int, width: int, tied: bool) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
    )
    return Qwen2ForCausalLM(config)


def babble(count: int, dimensions: int, seed: int) -> list[Sentence]:
    """Letters and the codes they are spoken as, with 4 levels in each dimension of FSQ."""
    places = np.random.default_rng(0).uniform(-1.2, 1.2, (len(LETTERS), dimensions))
    source = np.random.default_rng(seed)
    sentences = []
    for _ in range(count):
        letters = source.integers(0, len(LETTERS), source.integers(8, 16))
        point, wobble, codes = np.zeros(dimensions), np.zeros(dimensions), []
        for letter in letters:
            for _ in range(source.integers(3, 7)):
                point += 0.5 * (places[letter] - point)
                wobble = 0.8 * wobble + 0.12 * source.standard_normal(dimensions)
                digits = np.clip(np.round((point + wobble + 1) * 1.5), 0, 3).astype(int)
                codes.append(int((digits * 4 ** np.arange(dimensions)).sum()))
        sentences.append(("".join(LETTERS[letter] for letter in letters), codes))
    return sentences


def recordings(folder: Path, codec_name: str) -> tuple[list[Sentence], list[int]]:
    """Codes of all recordings in a folder in pieces of 3 s, without their words, and the levels of the codec."""
    from neucodec_tts import NeuCodec

    codec = NeuCodec.from_pretrained(codec_name)
    files = sorted(file for file in folder.iterdir() if file.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    if not files:
        raise SystemExit(f"there are no recordings in {folder}")
    pieces = []
    for file in files:
        codes = codec.encode(file).tolist()
        pieces += [("go on", codes[at : at + 150]) for at in range(0, len(codes) - 50, 150)]
    return pieces, list(codec.config.quantization_levels)


def batches(
    examples: list[TrainingExample], size: int, pad: int, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches, padded on the right."""
    source = np.random.default_rng(seed)
    while True:
        order = source.permutation(len(examples))
        for at in range(0, len(order) - size + 1, size):
            yield pad_together([examples[index] for index in order[at : at + size]], pad)


def pad_together(examples: list[TrainingExample], pad: int) -> dict[str, torch.Tensor]:
    longest = max(len(example.input_ids) for example in examples)
    ids = torch.full((len(examples), longest), pad)
    labels = torch.full((len(examples), longest), -100)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    return {"input_ids": ids, "labels": labels}  # causal attention never looks at padding on the right


@torch.no_grad()
def held_out_loss(model: Qwen2ForCausalLM, examples: list[TrainingExample], size: int, pad: int) -> float:
    """Mean over the tokens, in batches: each token needs a number for every code there is."""
    model.eval()
    total, tokens = 0.0, 0
    for at in range(0, len(examples), size):
        batch = pad_together(examples[at : at + size], pad)
        count = int((batch["labels"] != -100).sum())
        loss = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
        total, tokens = total + float(loss) * count, tokens + count
    model.train()
    return total / tokens


def learn(
    start: Start, train: list[Sentence], unseen: list[Sentence], options: argparse.Namespace
) -> list[float]:
    """Losses on unseen sentences, in nats a token, at the steps of `steps_shown`."""
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), options.width, options.tied)
    # This is all that it takes to give a language model codes:
    vocabulary = SpeechVocabulary.extend(
        tokenizer, model, options.codebook_size, start, levels=options.levels
    )
    prompts = NeuTTSFormat(tokenizer, vocabulary, to_phones=None)

    examples = [prompts.training_example(text, codes) for text, codes in train]
    held_out = [prompts.training_example(text, codes) for text, codes in unseen]
    pad = tokenizer.eos_token_id
    model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    source = batches(examples, options.batch, pad, seed=0)
    losses = []
    for step in range(options.steps + 1):
        if step in steps_shown(options.steps):
            losses.append(held_out_loss(model, held_out, options.batch, pad))
        batch = {name: tensor.to(options.device) for name, tensor in next(source).items()}
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min(1.0, (step + 1) / 20)
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return losses


def steps_shown(steps: int) -> list[int]:
    return sorted({round(steps * share) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)})


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--sentences", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--dimensions", type=int, default=6, help="of FSQ, 4 levels each; NeuCodec has 8")
    parser.add_argument("--untied", dest="tied", action="store_false", help="an output layer of its own")
    parser.add_argument("--audio", type=Path, help="learn the codes of the recordings in this folder")
    parser.add_argument("--codec", default="tiny", help="that encodes them")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    if options.audio:
        sentences, options.levels = recordings(options.audio, options.codec)
        np.random.default_rng(0).shuffle(sentences)
        aside = max(1, min(64, len(sentences) // 10))
        unseen, train = sentences[:aside], sentences[aside:]
    else:
        options.levels = [4] * options.dimensions
        train, unseen = babble(options.sentences, options.dimensions, 1), babble(64, options.dimensions, 2)
    options.codebook_size = math.prod(options.levels)
    known = {code for _, codes in train for code in codes}
    count = sum(len(codes) for _, codes in train)
    fresh = np.mean([code not in known for _, codes in unseen for code in codes])
    print(f"{len(train)} sentences of {count} codes, {len(known)} of {options.codebook_size} different ones;")
    print(f"{100 * fresh:.0f} % of the codes in {len(unseen)} unseen sentences are new.\n")

    print("loss on them    " + "".join(f"step {step:<7}" for step in steps_shown(options.steps)))
    losses: dict[str, list[float]] = {}
    for start in STARTS:
        began = time.monotonic()
        losses[start] = learn(start, train, unseen, options)
        print(f"{start:<16}" + "".join(f"{loss:<12.3f}" for loss in losses[start]), end="")
        print(f"({time.monotonic() - began:.0f} s)")
    best = min(STARTS, key=lambda start: losses[start][-1])
    print(f"\n'{best}' has learnt most.")
    return losses


if __name__ == "__main__":
    main()
