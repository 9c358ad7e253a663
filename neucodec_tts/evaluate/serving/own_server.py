"""A server of one's own for as long as it is measured."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neucodec_tts.errors import EngineError

logger = logging.getLogger(__name__)

_START_SECONDS = 900
_END_SECONDS = 60
BABBLE_FRAMES = 100
"""Length of what the model of random weights says, 2 s."""
BABBLE_LAYERS = 5
DEMO_VOICE = "demo"
"""The voice that the model of random weights brings: that of the demo recording."""
_DEMO_TEXT = (
    "All representatives of the household are currently assisting other telemarketers. Please hold and your call will "
    "be answered in the order it was received."
)


@dataclass(frozen=True)
class OwnServer:
    """Where it is.

    Attributes:
        url: on this machine.
        model: folder or hub id of what it serves.
        pid: of its first process.
    """

    url: str
    model: str
    pid: int


def save_babbling_model(folder: Path, *, layers: int = BABBLE_LAYERS) -> None:
    """Write a small language model of random weights, which babbles 2 s through the built-in codec, with a voice.

    Args:
        folder: to write it to.
        layers: of 1.0 million weights each; beside them are 1.2 million.
    """
    from importlib.resources import as_file, files

    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import SpeechConfig
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.tokens.benchmark import synthetic_tokenizer
    from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
    from neucodec_tts.voices.library import MODEL_VOICES

    codec = NeuCodec.from_pretrained("tiny")
    tokenizer = synthetic_tokenizer(512)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=256,
                intermediate_size=1024,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                tie_word_embeddings=True,
            )
        )
        vocabulary = SpeechVocabulary.extend(
            tokenizer, model, codebook_size=codec.codebook_size, init="random", format="neutts"
        )
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig(
        "neutts-text",  # which needs no espeak-ng
        codec="tiny",
        codec_id=codec.codec_id,
        codebook_size=codec.codebook_size,
        sampling={"min_frames": BABBLE_FRAMES, "max_frames": BABBLE_FRAMES, "repetition_frames": 0},
    ).save(folder)
    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as recording:
        voice = SpeakerPrompt.from_audio(codec, recording, text=_DEMO_TEXT)
    VoiceLibrary(folder / MODEL_VOICES).save(DEMO_VOICE, voice)


@contextmanager
def own_server(
    model: str | None = None,
    options: Sequence[str] = (),
    *,
    layers: int = BABBLE_LAYERS,
    environment: Mapping[str, str] | None = None,
    start_seconds: float = _START_SECONDS,
) -> Iterator[OwnServer]:
    """Start ``neucodec-tts serve`` on this machine alone, wait until it is healthy, and stop it in the end.

    Args:
        model: folder or hub id; without it a small one of random weights.
        options: for vLLM.
        layers: of the model of random weights.
        environment: of the server, beside this process' own.
        start_seconds: after which it is given up.

    Raises:
        EngineError: it did not start; the message has the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-bench-") as name:
        folder = Path(name)
        if model is None:
            save_babbling_model(folder / "model", layers=layers)
        served = model or str(folder / "model")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "neucodec_tts", "serve", served, "--port", str(port)]
        log = folder / "server.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*command, "--", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "VLLM_NO_USAGE_STATS": "1", **(environment or {})},
                start_new_session=True,  # so that Ctrl-C ends it here and not by itself
            )
        try:
            deadline = time.monotonic() + start_seconds
            while not _healthy(url):
                if process.poll() is not None:
                    raise EngineError(f"the server ended before it had started: {end_of_log(log)}")
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"the server did not start within {start_seconds:g} s: {end_of_log(log)}"
                    )
                time.sleep(0.5)
            yield OwnServer(url, served, process.pid)
        finally:
            _stop(process)


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def end_of_log(log: Path) -> str:
    """The last lines of what a program has written."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-5:])[-1500:] or "it wrote nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("the server did not end by itself and was killed")
    # What it has started belongs to its group; an engine whose server was killed would live on.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
