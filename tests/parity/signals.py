"""Test signals: deterministic, speech-like, made of numpy alone so that any environment can make them."""

from __future__ import annotations

import numpy as np


def speechlike(samples: int, seed: int, sample_rate: int = 16_000) -> np.ndarray:
    """A voice-like signal: a gliding pitch with harmonics, noise bursts and pauses, over a quiet noise floor.

    Pauses and onsets matter: they move the per-item statistics of the filterbank, and show padding that leaks.

    Args:
        samples: length, in samples.
        seed: which signal; the same seed and length give the same samples.
        sample_rate: of the result, in Hz.

    Returns:
        float32 (samples,), peaks below 1.
    """
    random = np.random.default_rng(seed)
    time = np.arange(samples) / sample_rate
    pitch = random.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time + seed))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voiced = sum(random.uniform(0.2, 1) / k * np.sin(k * phase + random.uniform(0, 6)) for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * random.uniform(2, 4) * time + random.uniform(0, 6)) + 0.3, 0, None)
    bursts = (np.sin(2 * np.pi * random.uniform(1, 3) * time + random.uniform(0, 6)) > 0.7).astype(float)
    noise = random.standard_normal(samples)
    mixed = 0.12 * voiced * syllables + 0.05 * bursts * noise + 0.002 * noise
    return np.clip(mixed, -0.99, 0.99).astype(np.float32)
