"""Measure a voice model and its codec, on sentences and recordings that no training saw.

    pip install faster-whisper jiwer resemblyzer librosa pandas onnxruntime 'neucodec-tts[evaluate]'
    python examples/train_codec/evaluate.py tiny --corpus data/corpus --people data/people

prints a table:

    words wrong                       whisper base hears the test sentences, spoken by each of the model's voices
    DNSMOS overall, spoken            the mean over them
    DNSMOS overall, people            of recordings of people before and after the codec
    STOI, people never heard          of recordings after the codec
    nearest to the voice of the prompt   by resemblyzer, among the model's voices
    likeness to a person              the cosine, by resemblyzer, when asked to speak like a recording
    likeness to the nearest of its own voices   of the same speech
    nearer to the person              than to any of its own voices
    ends by itself                    at the first attempt, without loops
    real-time factor                  from text to sound, in one go

`--corpus` and `--people` are folders of make_corpus.py and recordings.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import packages
import torch
from measures import RATE, Judge, Recogniser, Voices, nearest, word_error_rate

from neucodec_tts import SpeakerPrompt, TextToSpeech
from neucodec_tts.audio import as_waveform
from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import PromptError
from neucodec_tts.metrics.scores import stoi
from neucodec_tts.voices import VoiceLibrary

log = logging.getLogger("evaluate")


@dataclass(frozen=True)
class Spoken:
    """One sentence that the model spoke."""

    voice: str
    text: str
    wave: np.ndarray
    """float32 (n,) at 16 kHz."""
    reasons: tuple[str, ...]
    work: float
    """Seconds, of computing."""


def speak(tts: TextToSpeech, text: str, name: str, prompt: SpeakerPrompt, seed: int) -> Spoken:
    """Speak a sentence once, whatever comes of it."""
    start = time.perf_counter()
    result = tts.speak(text, prompt, seed=seed, retries=0)
    work = time.perf_counter() - start
    wave = resample(torch.from_numpy(result.samples), result.sample_rate, RATE).numpy()
    return Spoken(name, text, wave, tuple(segment.finish_reason for segment in result.segments), work)


def manifest(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest, with the paths of their audio."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{**row, "path": path.parent / row["audio"]} for row in rows]


def evenly(rows: list[dict[str, Any]], count: int, shortest: float = 2.0, longest: float = 12.0) -> list[Any]:
    """Some of the recordings of a fitting length, evenly spaced."""
    fitting = [row for row in rows if shortest <= row["seconds"] <= longest]
    places = np.linspace(0, len(fitting) - 1, min(count, len(fitting))).round().astype(int)
    return [fitting[place] for place in places]


def of_the_codec(tts: TextToSpeech, rows: list[dict[str, Any]], judge: Judge) -> dict[str, float]:
    """STOI and DNSMOS of recordings of people after the codec, and DNSMOS before it."""
    before, after, scores = [], [], []
    for row in rows:
        wave = as_waveform(row["path"], target_rate=RATE)
        said = tts.codec.decode(tts.codec.encode(wave, RATE))
        back = resample(said, tts.codec.output_sample_rate, RATE).numpy()
        length = min(len(back), len(wave))
        scores.append(stoi(wave.numpy()[:length], back[:length]))
        before.append(judge.overall(wave.numpy()))
        after.append(judge.overall(back))
    return {
        "DNSMOS overall, people, before the codec": float(np.mean(before)),
        "DNSMOS overall, people, after the codec": float(np.mean(after)),
        "STOI, people never heard": float(np.mean(scores)),
    }


def of_the_voices(
    tts: TextToSpeech,
    texts: list[str],
    voices: dict[str, SpeakerPrompt],
    known: dict[str, np.ndarray],
    tools: Any,
    seed: int,
) -> dict[str, float]:
    """Score the test sentences in the model's own voices."""
    recogniser, judge, ears = tools
    spoken, heard = [], []
    for number, text in enumerate(texts):
        for name, prompt in voices.items():
            spoken.append(speak(tts, text, name, prompt, 1000 * seed + number))
            heard.append(recogniser.hear(spoken[-1].wave))
        log.info("%d of %d sentences", number + 1, len(texts))
    found = {"words wrong": word_error_rate([each.text for each in spoken], heard)}
    for name in voices:
        pairs = [(s.text, h) for s, h in zip(spoken, heard, strict=True) if s.voice == name]
        found[f"words wrong, {name}"] = word_error_rate(*zip(*pairs, strict=True))
    near = [nearest(ears.of(each.wave), known) == each.voice for each in spoken]
    return found | {
        "DNSMOS overall, spoken": float(np.mean([judge.overall(each.wave) for each in spoken])),
        "nearest to the voice of the prompt": float(np.mean(near)),
        "ends by itself": float(np.mean([set(each.reasons) == {"stop"} for each in spoken])),
        "real-time factor": sum(each.work for each in spoken) / sum(len(each.wave) / RATE for each in spoken),
    }


def of_cloning(
    tts: TextToSpeech,
    texts: list[str],
    people: list[dict[str, Any]],
    known: dict[str, np.ndarray],
    tools: Any,
) -> dict[str, float]:
    """Compare speech in the voice of a recording with it and with the model's voices."""
    recogniser, _, ears = tools
    likeness, own_likeness = [], []
    for number, row in enumerate(people):
        wave = as_waveform(row["path"], target_rate=RATE).numpy()
        said = recogniser.hear(wave, None)
        try:
            prompt = SpeakerPrompt.from_audio(tts.codec, row["path"], said)
        except PromptError as problem:
            log.warning("%s cannot be cloned: %s", row["path"], problem)
            continue
        own = ears.of(wave)
        found = ears.of(speak(tts, texts[number % len(texts)], row["speaker"], prompt, number).wave)
        likeness.append(float(found @ own))
        own_likeness.append(max(float(found @ other) for other in known.values()))
    return {
        "likeness to a person": float(np.mean(likeness)),
        "likeness to the nearest of its own voices": float(np.mean(own_likeness)),
        "nearer to the person": float(np.mean(np.greater(likeness, own_likeness))),
    }


def shown(figures: dict[str, float]) -> dict[str, float]:
    """The figures, printed as soon as they are there."""
    for name, value in figures.items():
        print(f"{name:45} {value:.3f}", flush=True)
    return figures


def model_voices(tts: TextToSpeech) -> dict[str, SpeakerPrompt]:
    """The voices that come with the model, by name."""
    library = tts.model_voices or VoiceLibrary()
    return {name: tts.find_voice(name) for name in library.names()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", nargs="?", default="tiny", help="a model folder, or `tiny`")
    add("--codec", help="if it is not the one that the model names")
    add("--corpus", type=Path, default=Path("data/corpus"), help="folder of make_corpus.py")
    add("--people", type=Path, default=Path("data/people"), help="folder of recordings.py")
    add("--sentences", type=int, default=50, help="in each voice")
    add("--recordings", type=int, default=60, help="of people, after the codec")
    add("--clones", type=int, default=10)
    add("--seed", type=int, default=0, help="another one for another take of everything")
    add("--temperature", type=float, help="instead of the model's own")
    add("--top-k", type=int, help="instead of the model's own")
    add("--threads", type=int)
    add("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    if args.threads:
        torch.set_num_threads(args.threads)
    site = packages.make_importable(packages.MEASURING, args.corpus / "packages")
    tts = TextToSpeech.from_pretrained(args.model, codec=args.codec)
    changes = {"temperature": args.temperature, "top_k": args.top_k}
    tts.sampling = replace(
        tts.sampling, **{name: value for name, value in changes.items() if value is not None}
    )
    ears = Voices()
    tools = (Recogniser(site, args.corpus / "packages" / "whisper-base"), Judge(), ears)
    voices = model_voices(tts)
    # What a voice sounds like is what its prompt sounds like after the codec.
    known = {
        name: ears.of(
            resample(
                tts.codec.decode(torch.as_tensor(np.asarray(prompt.codes).astype(np.int64))),
                tts.codec.output_sample_rate,
                RATE,
            ).numpy()
        )
        for name, prompt in voices.items()
    }
    texts = list(dict.fromkeys(row["text"] for row in manifest(args.corpus / "test" / "manifest.jsonl")))
    test = manifest(args.people / "test" / "manifest.jsonl")
    figures = shown(of_the_codec(tts, evenly(test, args.recordings), tools[1]))
    people = evenly(test, args.clones // 2, 3.0)
    if (args.people / "evaluation" / "manifest.jsonl").exists():
        people += evenly(
            manifest(args.people / "evaluation" / "manifest.jsonl"), args.clones - len(people), 3.0
        )
    figures |= shown(of_the_voices(tts, texts[: args.sentences], voices, known, tools, args.seed))
    figures |= shown(of_cloning(tts, texts, people, known, tools))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
