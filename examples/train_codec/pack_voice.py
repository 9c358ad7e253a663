"""Make of a trained voice model the folder that is given away: weights in float16, and voices of its own.

    python examples/train_codec/pack_voice.py runs/voice/model --codec runs/tiny-decoder/checkpoint \
        --corpus data/corpus --out runs/tiny-voice --temperature 0.5

The voices are recordings of `make_corpus.py` that were not in training: of each voice the longest, or one sentence
that all of them read (`--sentence`).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from neucodec_tts import NeuCodec, SpeakerPrompt, VoiceLibrary
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.voices.library import MODEL_VOICES

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def reference(folder: Path, voice: str, sentence: str | None) -> tuple[Path, str]:
    """A recording of a voice and its text: of the sentence, or the longest."""
    rows = map(json.loads, (folder / "manifest.jsonl").read_text("utf-8").splitlines())
    ours = [(folder / row["audio"], row["text"]) for row in rows if row["speaker"] == voice]
    fitting = [each for each in ours if sentence in (None, each[1])]
    if not fitting:
        wanted = "" if sentence is None else f" of {sentence!r}"
        raise SystemExit(f"error: {folder / 'manifest.jsonl'} has no recording of {voice}{wanted}")
    return max(fitting, key=lambda each: each[0].stat().st_size)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("--codec", required=True, help="whose codes it speaks: folder, hub id, or tiny")
    parser.add_argument("--codec-name", help="what the folder calls the codec, if it is not --codec")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="folder of make_corpus.py")
    parser.add_argument("--voices", nargs="*", default=["heart", "michael", "emma", "george"])
    parser.add_argument("--default-voice", default="heart", help="who speaks where no voice is asked for")
    parser.add_argument("--sentence", help="that the voices are heard saying, as the manifest has it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--temperature", type=float, help="of the sampling, instead of the model's own")
    parser.add_argument("--top-k", type=int, help="of the sampling, instead of the model's own")
    args = parser.parse_args(arguments)
    codec = NeuCodec.from_pretrained(args.codec)
    config = SpeechConfig.read(args.model / "speech_config.json")
    if config.codec_id not in (None, codec.codec_id):
        raise SystemExit(
            f"error: {args.model} speaks the codes of {config.codec_id}, not of {codec.codec_id}"
        )
    if args.default_voice not in args.voices:
        parser.error(f"--default-voice {args.default_voice} is none of {', '.join(args.voices)}")
    references = [reference(args.corpus / "references", voice, args.sentence) for voice in args.voices]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float16)
    model.save_pretrained(args.out)
    for name in TOKENIZER:
        if (args.model / name).is_file():
            shutil.copy(args.model / name, args.out)
    changed = {"temperature": args.temperature, "top_k": args.top_k}
    sampling = {**config.sampling, **{name: value for name, value in changed.items() if value is not None}}
    replace(
        config,
        codec=args.codec_name or args.codec,
        codec_id=codec.codec_id,
        sampling=sampling,
        default_voice=args.default_voice,
    ).save(args.out)
    library = VoiceLibrary(args.out / MODEL_VOICES)
    for voice, (recording, text) in zip(args.voices, references, strict=True):
        library.save(voice, SpeakerPrompt.from_audio(codec, recording, text), overwrite=True)
        print(f"{voice}: {text}")
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
