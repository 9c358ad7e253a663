"""Listeners in place of people: recognisers of words, DNSMOS, and resemblyzer, which knows voices.

All take float32 samples (n,) at 16 kHz, and may be called from several threads. They need the extra ``listeners``, and
say so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neucodec_tts.errors import CheckpointError
from neucodec_tts.metrics.scores import SCORE_RATE, ScoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sound = NDArray[np.float32]

Recogniser = Callable[["Sound"], str]
"""Sound to the words in it."""


def load_recogniser(name: str, device: str | None = None) -> Recogniser:
    """Load a recogniser.

    Args:
        name: ``"pocketsphinx"``, a folder of faster-whisper (with a ``model.bin``), or the folder or hub id of a model
            for transformers' pipeline, such as ``"openai/whisper-tiny.en"``.
        device: where a model of transformers computes; the GPU where there is one by default.

    Raises:
        ScoreError: its package is not installed.
        CheckpointError: there is no such model.
    """
    if name == "pocketsphinx":
        return _one_at_a_time(_pocketsphinx())
    if (Path(name).expanduser() / "model.bin").is_file():
        return _faster_whisper(Path(name).expanduser())
    return _one_at_a_time(_transformers(name, device))


def _one_at_a_time(hear: Recogniser) -> Recogniser:
    lock = Lock()

    def hear_alone(sound: Sound) -> str:
        with lock:
            return hear(sound)

    return hear_alone


def _pocketsphinx() -> Recogniser:
    try:
        from pocketsphinx import Config, Decoder
    except ImportError as problem:
        raise _needs("the recogniser", "pocketsphinx") from problem
    decoder = Decoder(Config(samprate=float(SCORE_RATE), loglevel="FATAL"))

    def hear(sound: Sound) -> str:
        samples = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        decoder.start_utt()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return "" if found is None else str(found.hypstr)

    return hear


def _faster_whisper(folder: Path) -> Recogniser:
    try:
        from faster_whisper import WhisperModel
    except ImportError as problem:
        raise _needs("the recogniser", "faster-whisper") from problem
    try:
        # A thread for each recording makes more of the processors than many for one.
        model = WhisperModel(
            str(folder), device="cpu", cpu_threads=1, num_workers=torch.get_num_threads(), compute_type="int8"
        )
    except (RuntimeError, ValueError, OSError) as problem:
        raise CheckpointError(f"{folder} holds no model of faster-whisper: {problem}") from problem

    def hear(sound: Sound) -> str:
        segments, _ = model.transcribe(sound, beam_size=1, condition_on_previous_text=False, temperature=0.0)
        return "".join(segment.text for segment in segments).strip()

    return hear


def _transformers(name: str, device: str | None) -> Recogniser:
    from transformers import pipeline

    from neucodec_tts.codec.checkpoints.hub import locate
    from neucodec_tts.codec.devices import find_device

    location = locate(name)
    if location.find("config.json") is None:  # asked first: without a network it fails at once
        raise CheckpointError(f"{name} holds no config.json; a recogniser is a model's folder or hub id")
    try:
        recognise: Any = pipeline(
            "automatic-speech-recognition", model=str(location.folder or name), device=find_device(device)
        )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise CheckpointError(f"the recogniser {name} cannot be loaded: {problem}") from problem
    return lambda sound: str(recognise({"raw": sound, "sampling_rate": SCORE_RATE})["text"]).strip()


@dataclass(frozen=True)
class Mistakes:
    """Edits from what was said to what was heard, and what they are counted against."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


def mistakes(said: str, heard: str) -> Mistakes:
    """Count the mistakes in words and characters, without regard to case and marks.

    Raises:
        ScoreError: ``jiwer`` is not installed, or nothing was said.
    """
    try:
        import jiwer
    except ImportError as problem:
        raise ScoreError(
            "error rates need the package jiwer: pip install 'neucodec-tts[evaluate]'"
        ) from problem
    reference, hypothesis = plain_words(said), plain_words(heard)
    if not reference:
        raise ScoreError("the transcript holds no words")
    words = jiwer.process_words(reference, hypothesis)
    letters = jiwer.process_characters(reference, hypothesis)
    return Mistakes(
        words.substitutions + words.deletions + words.insertions,
        words.substitutions + words.deletions + words.hits,
        letters.substitutions + letters.deletions + letters.insertions,
        letters.substitutions + letters.deletions + letters.hits,
    )


def plain_words(text: str) -> str:
    """The words alone, in small letters: what both sides of an error rate are reduced to."""
    return " ".join(re.sub(r"[^\w']|_", " ", text.casefold().replace("’", "'")).split())


def load_dnsmos() -> Callable[[Sound], tuple[float, float]]:
    """Load DNSMOS (arXiv:2110.01763): sound to its overall and its P.808 opinion, 1 to 5.

    Overall flatters codecs of 8 kHz; read the second beside it.

    Raises:
        ScoreError: ``speechmos`` or what it needs is not installed.
    """
    try:
        import onnxruntime
        from speechmos import dnsmos
    except ImportError as problem:
        raise _needs("DNSMOS", "speechmos") from problem
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = (
        1  # its own threads spin while they wait; recordings run side by side instead
    )
    models = [
        Path(dnsmos.__file__).parent / "dnsmos_models" / name
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    ]
    model = dnsmos.DNSMOS(*map(str, models))
    model.onnx_sess, model.p808_onnx_sess = (
        onnxruntime.InferenceSession(str(each), options, providers=["CPUExecutionProvider"])
        for each in models
    )

    def judge(sound: Sound) -> tuple[float, float]:
        peak = max(1.0, float(np.abs(sound).max(initial=0.0)))  # it takes nothing beyond [-1, 1]
        found = model(sound.astype(np.float32) / peak, SCORE_RATE, False)
        return float(found["ovrl_mos"]), float(found["p808_mos"])

    return judge


def load_voices() -> Callable[[Sound], NDArray[np.float32]]:
    """Load resemblyzer: sound to the embedding of its voice, float32 (256,) of length 1.

    Raises:
        ScoreError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder
    except ImportError as problem:
        raise _needs("the likeness of voices", "resemblyzer") from problem
    encoder = VoiceEncoder("cpu", verbose=False)

    def embed(sound: Sound) -> NDArray[np.float32]:
        level = max(1e-4, float(np.sqrt(np.square(sound).mean())))  # it was trained at -30 dB
        found: NDArray[np.float32] = encoder.embed_utterance(sound * np.float32(0.0316 / level))
        return found / np.linalg.norm(found)

    return embed


def _needs(what: str, package: str) -> ScoreError:
    return ScoreError(f"{what} needs the package {package}: pip install 'neucodec-tts[listeners]'")
