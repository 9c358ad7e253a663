"""Make the language model of `tiny`, untrained: a small Llama that reads phones and writes the codec's codes.

    python examples/train_codec/make_model.py --corpus data/corpus --codec tiny --out runs/voice-start

writes a model folder as `neucodec-tts extend-vocab` leaves it, with a prompt format of its own in speech_config.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from neucodec_tts import NeuCodec
from neucodec_tts.built_in import speech_model
from neucodec_tts.prompts import PromptTemplate, SpeechConfig
from neucodec_tts.prompts.lexicon import LANGUAGE, LexiconPhonemizer
from neucodec_tts.tokens.scheme import token_lookup

FRAMES = 50  # codes a second
CONTEXT = 1024  # tokens: a prompt of up to 6 s and 10 s of speech
TEMPLATE = PromptTemplate(
    "<|TEXT_PROMPT_START|>{text}<|SPEECH_GENERATION_START|>{codes}",
    stop=("<|SPEECH_GENERATION_END|>",),
    phones=True,
    begin=False,
    voice="<|TEXT_PROMPT_START|>{text}<|SPEECH_GENERATION_START|>{codes}<|SPEECH_GENERATION_END|>",
)
SAMPLING = {"temperature": 0.6, "top_k": 40, "repetition_frames": 40}
PUNCTUATION = " ,.!?;:'\"-"


def character_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each character of `texts`, the most frequent first.

    Characters that no text has, such as brackets and rare foreign sounds, are left out.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for character in text:
            counts[character] = counts.get(character, 0) + 1
    known = sorted({*counts, *PUNCTUATION}, key=lambda c: (-counts.get(c, 0), c))
    vocabulary = {name: id for id, name in enumerate(["<unk>", "<pad>", *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    unknown = Regex(f"[^{re.escape(''.join(known))}]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(unknown, "removed"), pre_tokenizers.Split(Regex("."), "isolated")]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


@torch.no_grad()
def begin_from(model: LlamaForCausalLM, folder: Path, start: Path) -> None:
    """Take over what a trained model has learnt: its layers, and the rows of tokens that it knows.

    A model of several times as many layers has copies of each, of which the later ones add nothing at first. Codes of a
    larger codebook have the digits of the old one first, and begin as those do.

    Args:
        model: untrained, of the codes of its codec.
        folder: of it, for its tokenizer and configuration.
        start: folder of the trained model, of the same width, whose number of layers divides that of `model`.
    """
    old = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)  # what is given away is float16
    model.model.norm.load_state_dict(old.model.norm.state_dict())
    copies = len(model.model.layers) // len(old.model.layers)
    for number, layer in enumerate(model.model.layers):
        layer.load_state_dict(old.model.layers[number // copies].state_dict())
        if number % copies:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    table, old_table = model.get_input_embeddings().weight, old.get_input_embeddings().weight
    tokenizer, old_tokenizer = (PreTrainedTokenizerFast.from_pretrained(path) for path in (folder, start))
    lookup = token_lookup(old_tokenizer)
    for name, row in tokenizer.get_vocab().items():
        known = lookup(name)
        if known is not None:
            table[row] = old_table[known]
    codes, old_codes = (
        SpeechConfig.read(path / "speech_config.json").vocabulary(tokens).ids
        for path, tokens in ((folder, tokenizer), (start, old_tokenizer))
    )
    table[codes] = old_table[old_codes[np.arange(len(codes)) % len(old_codes)].copy()]
    print(f"layers, and the rows of phones and codes, begin as those of {start}")


def check_start(start: Path, codec: str, width: int, layers: int) -> None:
    """Before any work: that a model can begin from another one."""
    config = LlamaConfig.from_pretrained(start)
    if config.hidden_size != width:
        sys.exit(f"error: {start} has a width of {config.hidden_size}: give --width {config.hidden_size}")
    if layers % config.num_hidden_layers:
        sys.exit(f"error: {start} has {config.num_hidden_layers} layers: give --layers as a multiple of that")
    levels = list(NeuCodec.from_pretrained(codec).config.quantization_levels)
    old_codec = SpeechConfig.read(start / "speech_config.json").codec
    old = list(NeuCodec.from_pretrained(old_codec).config.quantization_levels)
    if levels[: len(old)] != old:
        sys.exit(
            f"error: {start} speaks codes of the levels {old}, with which those of {codec}, {levels}, do not begin"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="folder of make_corpus.py")
    parser.add_argument("--out", type=Path, default=Path("runs/voice-start"))
    parser.add_argument("--codec", default="tiny", help="whose codes it will speak")
    parser.add_argument(
        "--begin-from",
        help="a folder or tiny: take over its layers, phones and codes; a model of more layers, or of a codec that "
        "grew, has several for each",
    )
    parser.add_argument(
        "--longest",
        type=float,
        default=8.0,
        help="seconds of speech in one go, as long as the corpus' sentences",
    )
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, help="5, or as many as --begin-from has")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    layers = args.layers or 5
    if args.begin_from:
        start = Path(speech_model(args.begin_from))
        layers = args.layers or LlamaConfig.from_pretrained(start).num_hidden_layers
        check_start(start, args.codec, args.width, layers)
    manifest = args.corpus / "train" / "manifest.jsonl"
    texts = [json.loads(line)["text"] for line in manifest.read_text().splitlines()]
    tokenizer = character_tokenizer(LexiconPhonemizer().batch(texts))
    torch.manual_seed(args.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=args.width,
            intermediate_size=args.width * 11 // 4,
            num_hidden_layers=layers,
            num_attention_heads=args.width // 64,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with tempfile.TemporaryDirectory() as base:
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        command = [sys.executable, "-m", "neucodec_tts", "extend-vocab", base, "--output", str(args.out)]
        command += ["--codec", args.codec, "--layout", "vocab", "--overwrite", "--seed", str(args.seed)]
        subprocess.run(command, check=True)
    config = SpeechConfig.read(args.out / "speech_config.json")
    replace(
        config,
        prompt_format="custom",
        template=TEMPLATE,
        language=LANGUAGE,
        context_length=CONTEXT,
        utterance_frames=(0, round(args.longest * FRAMES)),
        sampling=SAMPLING,
        lexicon=True,
    ).save(args.out)
    model = LlamaForCausalLM.from_pretrained(args.out)
    if args.begin_from:
        begin_from(model, args.out, start)
        model.save_pretrained(args.out)
    millions = model.num_parameters() / 1e6
    print(f"{millions:.2f} M parameters in {args.out}")


if __name__ == "__main__":
    main()
