"""Inputs to compare codecs by: the lengths, signals and files at which they could differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tests.parity.reference import Request
from tests.parity.signals import speechlike

HOP = 320
SECOND = 16_000
CODEBOOK_SIZE = 4**8

TOO_SHORT = (1, 2, 100, HOP - 2, HOP - 1)
"""Samples for which upstream raises: after padding there is no frame of the filter bank left."""
EVERY_LENGTH = tuple(range(HOP, 3 * HOP + 3))
AROUND_MULTIPLES = tuple(
    k * HOP + d for k in (1, 2, 3, 4, 5, 8, 50, 51) for d in (-2, -1, 0, 1, 2) if k * HOP + d >= HOP
)
SPOKEN = (SECOND, 37 * SECOND // 10, 10 * SECOND)
FRAMES = (1, 2, 3, 7, 50, 500)
SAMPLE_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
BATCH = 16


def calibration() -> np.ndarray:
    """Speech over which the codes of a random model are spread, float32 (T,) at 16 kHz."""
    return speechlike(4 * SECOND, seed=5)


def too_short() -> dict[str, np.ndarray]:
    """Less than one frame."""
    return {f"short{n}": speechlike(n, seed=n) for n in TOO_SHORT}


def every_length() -> dict[str, np.ndarray]:
    """Each length from one frame to a little over three."""
    return {f"length{n}": speechlike(n, seed=n) for n in EVERY_LENGTH}


def every_length_padded() -> dict[str, tuple[list[str], np.ndarray]]:
    """The same in batches, for upstream, which takes too long to be asked 643 times.

    Upstream pads n samples to the next multiple of the hop after n, so that zeros up to one sample before it
    change nothing; the lengths next to the multiples are also asked for alone, without this.

    Returns:
        Name of a batch to the names of its items and its samples, float32 (B, 1, T).
    """
    batches = {}
    for frames in sorted({n // HOP for n in EVERY_LENGTH}):
        items = {name: wave for name, wave in every_length().items() if len(wave) // HOP == frames}
        longest = (frames + 1) * HOP - 1
        stacked = np.stack([np.pad(wave, (0, longest - len(wave))) for wave in items.values()])
        batches[f"every length of {frames}"] = (list(items), stacked[:, None])
    return batches


def around_multiples() -> dict[str, np.ndarray]:
    """Two samples to either side of some multiples of the hop."""
    return {f"multiple{n}": speechlike(n, seed=n) for n in AROUND_MULTIPLES}


def spoken() -> dict[str, np.ndarray]:
    """One second, 3.7 s, ten seconds."""
    return {f"spoken{n}": speechlike(n, seed=n) for n in SPOKEN}


def ragged(seed: int = 0) -> dict[str, np.ndarray]:
    """A full batch of very different lengths, one of them the shortest there is."""
    random = np.random.default_rng(seed)
    lengths = [HOP, 2 * SECOND, *random.integers(HOP, 2 * SECOND, BATCH - 2).tolist()]
    return {f"ragged{seed}.{i}": speechlike(n, seed=1000 * seed + i) for i, n in enumerate(lengths)}


def unusual() -> dict[str, np.ndarray]:
    """Signals at the edges of what a recording can be."""
    voice = speechlike(SECOND, seed=11)
    return {
        "whisper": voice * np.float32(1e-4),
        "clipped": np.clip(voice * 50, -1, 1),
        "offset": voice + np.float32(0.3),
        "silence then voice": np.concatenate([np.zeros(SECOND, np.float32), voice]),
        "voice then silence": np.concatenate([voice, np.zeros(SECOND, np.float32)]),
    }


def nearly_silent() -> dict[str, np.ndarray]:
    """Digital silence: its mel bands do not vary, and normalising them leaves rounding errors, made large."""
    click = np.zeros(SECOND, np.float32)
    click[7_000] = 0.5
    return {"silence": np.zeros(SECOND, np.float32), "click": click}


def write_files(folder: Path) -> dict[str, Path]:
    """The same kind of speech at each sample rate, mono, 16 bit, and once in stereo; name to path."""
    folder.mkdir(exist_ok=True)
    paths = {}
    for rate in SAMPLE_RATES:
        paths[f"mono{rate}"] = folder / f"mono{rate}.wav"
        soundfile.write(paths[f"mono{rate}"], speechlike(2 * rate + 123, rate, rate), rate, subtype="PCM_16")
    channels = np.stack([speechlike(44_100, 1, 44_100), speechlike(44_100, 2, 44_100)], axis=1)
    paths["stereo44100"] = folder / "stereo44100.wav"
    soundfile.write(paths["stereo44100"], channels, 44_100, subtype="PCM_16")
    return paths


def code_sequences() -> dict[str, np.ndarray]:
    """Random codes, int64 (F,), of each length to compare."""
    return {f"codes{n}": np.random.default_rng(n).integers(0, CODEBOOK_SIZE, n) for n in FRAMES}


def ragged_codes(seed: int = 0) -> dict[str, np.ndarray]:
    """A full batch of code sequences of very different lengths, one of them a single code."""
    random = np.random.default_rng(seed)
    lengths = [1, 200, *random.integers(1, 200, BATCH - 2).tolist()]
    return {f"ragged codes{seed}.{i}": random.integers(0, CODEBOOK_SIZE, n) for i, n in enumerate(lengths)}


def alike() -> np.ndarray:
    """Three recordings of one length, float32 (3, 1, T): the only kind of batch that upstream takes."""
    return np.stack([speechlike(SECOND + 77, seed=200 + i) for i in range(3)])[:, None]


def alike_codes() -> np.ndarray:
    """Three code sequences of one length, int64 (3, 1, F)."""
    return np.random.default_rng(1).integers(0, CODEBOOK_SIZE, (3, 1, 40))


def distilled_lengths() -> dict[str, np.ndarray]:
    """Less than a frame, which the distilled model pads to one, and two samples to either side of some multiples."""
    lengths = TOO_SHORT + tuple(
        k * HOP + d for k in (1, 2, 3, 50) for d in (-2, -1, 0, 1, 2) if k * HOP + d >= HOP
    )
    return {f"distilled{n}": speechlike(n, seed=n) for n in lengths}


def full_size_spoken() -> dict[str, np.ndarray]:
    """Ten seconds: more than the distilled model's windows of attention."""
    return {"ten": speechlike(10 * SECOND, seed=1)}


def full_size_ragged() -> dict[str, np.ndarray]:
    """One ragged batch."""
    return {f"full{n}": speechlike(n, seed=n) for n in (321, 9_000, 24_000)}


def full_size_codes() -> dict[str, np.ndarray]:
    """Another, of random codes, int64 (F,)."""
    random = np.random.default_rng(0)
    return {f"codes{n}": random.integers(0, CODEBOOK_SIZE, n) for n in (1, 60, 500)}


def everything(files: dict[str, Path]) -> Request:
    """All of the above, for upstream."""
    waveforms = too_short() | around_multiples() | spoken() | ragged() | unusual() | nearly_silent()
    batches = {name: stacked for name, (_, stacked) in every_length_padded().items()}
    return Request(
        waveforms=waveforms | batches | {"alike": alike()},
        files=files,
        codes={"codes alike": alike_codes()} | code_sequences() | ragged_codes(),
        calibration=calibration(),
    )


def everything_distilled(files: dict[str, Path]) -> Request:
    """The inputs of the distilled model: upstream encodes only one item at a time with it."""
    return Request(
        waveforms=distilled_lengths() | spoken() | ragged() | unusual() | nearly_silent(),
        files={name: files[name] for name in ("mono24000", "mono44100")},
        codes={name: codes for name, codes in code_sequences().items() if len(codes) <= 50},
        calibration=calibration(),
    )


def full_size(distilled: bool = False) -> Request:
    """The inputs of the models of the released sizes; both have one decoder, so the distilled decodes one code."""
    codes = full_size_codes()
    if distilled:
        codes = {"codes1": codes["codes1"]}
    return Request(full_size_spoken() | full_size_ragged(), {}, codes, speechlike(2 * SECOND, seed=5))
