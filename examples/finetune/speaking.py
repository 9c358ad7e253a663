"""Let the trained model speak sentences that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import torch

from neucodec_tts import SpeakerPrompt, TextToSpeech
from neucodec_tts.audio import write_audio


@dataclass(frozen=True)
class Spoken:
    """One sentence, as a person said it and as the model does."""

    id: str
    text: str
    seconds: float
    original_seconds: float
    stopped: bool

    def __str__(self) -> str:
        end = "" if self.stopped else ", cut off"
        return f"{self.id}: {self.seconds:.2f} s (recorded: {self.original_seconds:.2f} s){end}: {self.text[:60]}"


def speak_sentences(
    model: Path, codec: str | None, rows: list[dict[str, Any]], voices: list[dict[str, Any] | None], out: Path
) -> list[Spoken]:
    """Speak sentences into ``out/ID.wav``, each beside its recording as the codec gives it back.

    Args:
        model: folder of the trained model.
        codec: its codec, if not the one that the folder names.
        rows: of the data set, with ``id``, ``text`` and ``codes``.
        voices: for each a row of the same speaker, in whose voice to speak, or None.
        out: folder for the sound.
    """
    tts = TextToSpeech.from_pretrained(model, codec=codec, watermark=False)  # it is measured
    out.mkdir(parents=True, exist_ok=True)
    rate = tts.codec.output_sample_rate
    done = []
    for number, (row, voice) in enumerate(zip(rows, voices, strict=True)):
        name = "".join(c if c.isalnum() else "-" for c in str(row.get("id", number)))[:80]
        prompt = None if voice is None else SpeakerPrompt(voice["codes"], voice["text"])
        frames = len(row["codes"])
        longest = 2 * frames + 50  # whoever needs more has lost the thread
        sampling = replace(
            tts.sampling, min_frames=min(tts.sampling.min_frames, frames // 2), max_frames=longest
        )
        result = tts.speak(row["text"], prompt, seed=number, sampling=sampling, retries=0)
        write_audio(out / f"{name}.wav", result.samples, rate)
        original = tts.codec.decode(torch.tensor(row["codes"], dtype=torch.long))
        write_audio(out / f"{name}.recorded.wav", original, rate)
        done.append(
            Spoken(
                str(row.get("id", number)),
                row["text"],
                result.duration,
                frames / tts.codec.frame_rate,
                all(segment.finish_reason == "stop" for segment in result.segments),
            )
        )
    return done


def voice_for(row: dict[str, Any], rows: datasets.Dataset, train: list[int]) -> dict[str, Any] | None:
    """Another utterance of the same speaker: of 3 to 15 s if there is one."""
    if not row.get("speaker"):
        return None
    speakers = rows["speaker"]
    same = [index for index in train if speakers[index] == row["speaker"]][:200]
    candidates = [found for index in same if (found := rows[index])["text"]]
    fitting = [found for found in candidates if 150 <= len(found["codes"]) <= 750]
    return next(iter(fitting or candidates), None)
