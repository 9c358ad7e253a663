"""Compare the shorter item of a ragged batch with that item alone, in transformers and here, with tiny's weights."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch
from torch import Tensor
from transformers import NeuCodecFeatureExtractor, NeuCodecModel

import neucodec_tts
from neucodec_tts import NeuCodec

PACKAGE = Path(neucodec_tts.__file__).parent


def main() -> None:
    """Print the table."""
    speech, rate = soundfile.read(PACKAGE / "assets" / "demo.flac", dtype="float32")
    short, long = speech[: 2 * rate], speech[: 5 * rate]

    theirs = NeuCodecModel.from_pretrained(PACKAGE / "checkpoints" / "tiny", dtype="float32").eval()
    extractor = NeuCodecFeatureExtractor.from_pretrained(PACKAGE / "checkpoints" / "tiny")
    with torch.no_grad():
        batch = theirs.encode(**extractor([short, long], sampling_rate=rate, return_tensors="pt"))
        alone = theirs.encode(**extractor([short], sampling_rate=rate, return_tensors="pt")).audio_codes[0, 0]
        longest = batch.audio_codes.shape[-1]
        mask = torch.arange(longest) < torch.tensor([[len(alone)], [longest]])  # the right one
        codes = torch.where(mask[:1], batch.audio_codes[0], 0)
        codes[0, : len(alone)] = alone
        both = torch.stack([codes, batch.audio_codes[1]])
        together = theirs.decode(both, audio_codes_mask=mask).audio_values[0, 0]
        single = theirs.decode(alone[None, None]).audio_values[0, 0]
    counted = int(batch.audio_codes_mask[0].sum())
    differ = int((batch.audio_codes[0, 0, : len(alone)] != alone).sum())
    report("transformers", counted, len(alone), differ, snr(single, together[: len(single)]))

    ours = NeuCodec.from_pretrained("tiny", device="cpu")
    ragged, wanted = ours.encode([short, long], sample_rate=rate), ours.encode(short, sample_rate=rate)
    differ = int((ragged[0] != wanted).sum())
    sound = snr(ours.decode(wanted), ours.decode(ragged)[0])
    report("neucodec-tts", len(ragged[0]), len(wanted), differ, sound)


def report(name: str, counted: int, codes: int, differ: int, decibels: float) -> None:
    """Print one line."""
    print(f"{name:<14}{counted} codes for {codes}, {differ} differ, decoded at {decibels:.1f} dB")


def snr(wanted: Tensor, found: Tensor) -> float:
    """The signal-to-noise ratio in dB of two waveforms (samples,)."""
    return float(10 * (wanted.square().sum() / (wanted - found).square().sum()).log10())


if __name__ == "__main__":
    main()
