"""Measure a voice model: is it understood, does it clone, does it stop, is it fast.

    pip install pocketsphinx jiwer resemblyzer
    python examples/train_codec/evaluate_voice.py tiny --corpus data/tiny-voice

speaks the test sentences of `speak_corpus.py`, each in two of the training voices, cloned from recordings that were not
in training either, with the sampling that the model's folder asks for, and prints

- the word error rate of pocketsphinx on them, on the same sentences read by the voices themselves, and on those
  recordings after the codec;
- how often resemblyzer finds the speech nearer to the voice of its prompt than to every other;
- how many end by themselves, at the first attempt;
- the real-time factor from text to audio;
- the same for a voice it was never trained on, the human recording that the package ships.

The sentences are spoken by `speak_corpus.py` first, where they are not there yet.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measures import RATE, Voices, nearest, word_error_rate
from speak_corpus import complete_held_out

from neucodec_tts import SpeakerPrompt, TextToSpeech
from neucodec_tts.audio import as_waveform
from neucodec_tts.audio.resampling import resample

UNSEEN_TEXT = (
    "All representatives of the household are currently assisting other telemarketers. Please hold and your call "
    "will be answered in the order it was received."
)


@dataclass(frozen=True)
class Recording:
    """A line of a manifest."""

    path: Path
    text: str
    voice: str

    def wave(self) -> np.ndarray:
        """Float32 (samples,) at 16 kHz."""
        return as_waveform(self.path, target_rate=RATE).numpy()


def recordings(folder: Path) -> list[Recording]:
    rows = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return [Recording(folder / row["audio"], row["text"], row["speaker"]) for row in rows]


class Listener:
    """Recognises words with pocketsphinx's own English model."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def hear(self, wave: np.ndarray) -> str:
        """The words heard in float32 samples (n,) at 16 kHz."""
        quiet = np.zeros(RATE // 5, np.int16)
        samples = np.concatenate([quiet, (np.clip(wave, -1, 1) * 32767).astype(np.int16), quiet])
        self.decoder.start_utt()
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        heard = self.decoder.hyp()
        return heard.hypstr if heard else ""


class Faces:
    """The training voices as resemblyzer knows them."""

    def __init__(self, references: list[Recording]) -> None:
        self.voices = Voices()
        by_voice: dict[str, list[np.ndarray]] = {}
        for each in references:
            by_voice.setdefault(each.voice, []).append(self.voices.of(each.wave()))
        means = {voice: np.mean(found, axis=0) for voice, found in by_voice.items()}
        self.known = {voice: mean / np.linalg.norm(mean) for voice, mean in means.items()}

    def nearest(self, wave: np.ndarray) -> tuple[str, dict[str, float]]:
        """The nearest known voice, and the cosine similarity to each."""
        found = self.voices.of(wave)
        return nearest(found, self.known), {
            voice: float(found @ known) for voice, known in self.known.items()
        }


@dataclass
class Trial:
    """One sentence, spoken."""

    voice: str
    text: str
    wave: np.ndarray
    seconds: float
    work: float
    reasons: tuple[str, ...]


def speak(tts: TextToSpeech, text: str, prompt: SpeakerPrompt, voice: str, seed: int) -> Trial:
    start = time.perf_counter()
    result = tts.speak(text, prompt, seed=seed, retries=0)
    work = time.perf_counter() - start
    wave = resample(torch.from_numpy(result.samples), result.sample_rate, RATE).numpy()
    reasons = tuple(segment.finish_reason for segment in result.segments)
    return Trial(voice, text, wave, result.duration, work, reasons)


def figures(
    trials: list[Trial], listener: Listener, faces: Faces, source: list[Recording] | None
) -> dict[str, Any]:
    heard = [listener.hear(trial.wave) for trial in trials]
    near = [faces.nearest(trial.wave) for trial in trials]
    found: dict[str, Any] = {
        "trials": len(trials),
        "word_error_rate": word_error_rate([t.text for t in trials], heard),
        "stopped_by_itself": float(np.mean([set(t.reasons) == {"stop"} for t in trials])),
        "loops": sum("repetition" in t.reasons for t in trials),
        "real_time_factor": sum(t.work for t in trials) / sum(t.seconds for t in trials),
        "seconds": sum(t.seconds for t in trials),
    }
    for voice in sorted({t.voice for t in trials}):
        rows = [(t.text, h) for t, h in zip(trials, heard, strict=True) if t.voice == voice]
        found[f"word_error_rate_{voice}"] = word_error_rate(*zip(*rows, strict=True))
    found["similarity"] = {
        voice: float(np.mean([scores[voice] for _, scores in near])) for voice in faces.known
    }
    if source is not None:
        found["nearest_is_the_prompt"] = float(
            np.mean([name == t.voice for (name, _), t in zip(near, trials, strict=True)])
        )
        found["word_error_rate_of_the_voices"] = word_error_rate(
            [each.text for each in source], [listener.hear(each.wave()) for each in source]
        )
        found["nearest_is_the_prompt_of_the_voices"] = float(
            np.mean([faces.nearest(each.wave())[0] == each.voice for each in source])
        )
    found["heard"] = [
        {"voice": t.voice, "said": t.text, "heard": h} for t, h in zip(trials, heard, strict=True)
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="tiny", help="a model folder, or `tiny`")
    parser.add_argument(
        "--corpus", type=Path, default=Path("data/tiny-voice"), help="folder of speak_corpus.py"
    )
    parser.add_argument("--codec", help="if it is not the one that the model names")
    parser.add_argument("--sentences", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="another one for another take of everything")
    parser.add_argument("--temperature", type=float, help="instead of the model's own")
    parser.add_argument("--top-k", type=int, help="instead of the model's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-codec", action="store_true", help="leave out the recordings after the codec")
    parser.add_argument("--json", type=Path, help="also write the figures, and all that was heard, here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tts = TextToSpeech.from_pretrained(args.model, codec=args.codec, watermark=False)
    changes = {"temperature": args.temperature, "top_k": args.top_k}
    for name, value in changes.items():
        if value is not None:
            object.__setattr__(tts.sampling, name, value)
    if not all((args.corpus / split / "manifest.jsonl").is_file() for split in ("test", "references")):
        complete_held_out(args.corpus)
    listener, references = Listener(), recordings(args.corpus / "references")
    test = recordings(args.corpus / "test")
    faces = Faces(references)
    voices = list(faces.known)
    texts = list(dict.fromkeys(each.text for each in test))[: args.sentences]
    seed = 1000 * args.seed
    trials: list[Trial] = []
    source: list[Recording] = []
    for number, text in enumerate(texts):
        for voice in (voices[number % len(voices)], voices[(number + 1 + number // 4 % 2) % len(voices)]):
            ours = [each for each in references if each.voice == voice]
            reference = ours[number % len(ours)]
            prompt = SpeakerPrompt.from_audio(tts.codec, reference.path, reference.text)
            trials.append(speak(tts, text, prompt, voice, seed + number))
            source.append(next(each for each in test if each.voice == voice and each.text == text))
    table = {"sampling": str(tts.sampling), "trained voices": figures(trials, listener, faces, source)}
    if not args.no_codec:
        waves = [torch.from_numpy(each.wave()) for each in source]
        back = tts.codec.decode(tts.codec.encode(waves, RATE))
        heard = [listener.hear(resample(wave, tts.codec.output_sample_rate, RATE).numpy()) for wave in back]
        rate = word_error_rate([each.text for each in source], heard)
        table["trained voices"]["word_error_rate_after_the_codec"] = rate  # type: ignore[index]
    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as path:
        prompt = SpeakerPrompt.from_audio(tts.codec, path, UNSEEN_TEXT)
        unseen = [speak(tts, text, prompt, "unseen", seed) for text in texts[:20]]
        table["a human voice never heard"] = found = figures(unseen, listener, faces, None)
        own = faces.voices.of(as_waveform(path, target_rate=RATE).numpy())
        found["similarity"]["to the prompt"] = float(
            np.mean([own @ faces.voices.of(trial.wave) for trial in unseen])
        )
    for name, value in table.items():
        if isinstance(value, str):
            print(f"{name}: {value}")
            continue
        print(f"\n{name}")
        for key, figure in value.items():
            if key != "heard":
                shown = f"{figure:.3f}" if isinstance(figure, float) else str(figure)
                print(f"  {key.replace('_', ' '):40} {shown}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
