"""One speaker of ``laptop.py``, in a process of its own: it reads a task a line, and answers with its times.

    python benchmarks/laptop_worker.py WHO MODEL CODEC FRAMES THREADS

WHO is ``ours``, ``neutts`` (run it by the Python that has neutts) or ``llama.cpp``. MODEL is a GGUF file. CODEC is a
folder of ``neucodec-tts export`` for ours, an ONNX decoder for neutts, or ``-`` for tokens alone. THREADS 0
leaves their number to the speaker. The tasks are ``first`` (text to first sound), ``whole`` (text to all sound) and
``tokens`` (those after a prompt, which is computed before the clock starts). Each ``first`` and ``whole`` says another
text than the one before, of the same length, so that only the voice can be known.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

NAMES = (
    "Alice",
    "Bruno",
    "Clara",
    "David",
    "Emily",
    "Frank",
    "Grace",
    "Henry",
    "Irene",
    "James",
    "Karen",
    "Louis",
)
TEXT = "{} was beginning to get very tired of sitting by her sister on the bank."
VOICE_TEXT = (
    "So I'm live on radio. And I say, well, my dear friend James here clearly, and the whole room just froze."
)
VOICE = [code * 37 % 65536 for code in range(250)]
NONE = "-"
PROMPT = 600
"""About as many tokens as this text and voice have."""


class Task(NamedTuple):
    """A call that is timed, and one that is made before the clock starts."""

    timed: Callable[[], object]
    before: Callable[[], object] = lambda: None


def texts() -> Iterator[str]:
    """Texts without end, each of the same length and unlike the one before."""
    return (TEXT.format(name) for name in itertools.cycle(NAMES))


def ours(model: str, codec: str, frames: int, threads: int) -> dict[str, Task]:
    """neucodec-tts with the engine llama-cpp."""
    from dataclasses import replace

    import numpy as np

    from neucodec_tts import SpeakerPrompt, TextToSpeech
    from neucodec_tts.speech import SpeechEngine
    from neucodec_tts.speech.loading import SpeechModel
    from neucodec_tts_llamacpp import LlamaCppEngine

    options: dict[str, Any] = {"threads": threads} if threads else {}
    described = SpeechModel.load(model)
    sampling = replace(described.sampling, min_frames=frames, max_frames=frames, repetition_frames=0, seed=1)
    voice = SpeakerPrompt(codes=np.array(VOICE), text=VOICE_TEXT)
    prompt = described.prompt_format.prompt_ids(next(texts()), voice)

    def tokens(engine: SpeechEngine) -> Task:
        one = replace(sampling, min_frames=1, max_frames=1)  # only the prompt is computed
        return Task(
            lambda: engine.generate(prompt, sampling).collect(),
            lambda: engine.generate(prompt, one).collect(),
        )

    if codec == NONE:
        return {"tokens": tokens(LlamaCppEngine(model, described.tokens, gpu=False, **options))}
    tts = TextToSpeech.from_pretrained(model, codec=codec, device="cpu", watermark=False, **options)

    said = texts()

    def first() -> object:
        with tts.stream(next(said), voice, sampling=sampling, ahead_seconds=0) as stream:
            return next(stream)

    return {
        "first": Task(first),
        "whole": Task(lambda: tts.speak(next(said), voice, sampling=sampling, retries=0)),
        "tokens": tokens(tts.engine),
    }


def neutts(model: str, codec: str, frames: int, threads: int) -> dict[str, Task]:
    """Neuphonic's neutts."""
    import neutts.neutts as module
    import numpy as np

    if threads:
        module._n_perf_cores = lambda: threads
    tts = module.NeuTTS(model, "cpu", codec, "cpu", language="en-us", seed=1)
    tts.watermarker = None
    tts.max_context = frames  # the most tokens that it asks for
    codes, said = np.array(VOICE), texts()
    return {
        "first": Task(lambda: next(iter(tts.infer_stream(next(said), codes, VOICE_TEXT)))),
        "whole": Task(lambda: tts.infer(next(said), codes, VOICE_TEXT)),
    }


def llama_cpp(model: str, _codec: str, frames: int, threads: int) -> dict[str, Task]:
    """llama.cpp alone, as its llama-bench does it: tokens at random, and no logits are looked at."""
    import ctypes

    import llama_cpp as api
    import numpy as np

    silent = api.llama_log_callback(lambda *_: None)
    api.llama_log_set(silent, ctypes.c_void_p())
    api.llama_backend_init()
    loaded = api.llama_model_load_from_file(os.fsencode(model), api.llama_model_default_params())
    options = api.llama_context_default_params()
    options.n_ctx, options.n_batch = 2048, 2048
    options.n_threads = options.n_threads_batch = threads or len(os.sched_getaffinity(0))
    context = api.llama_init_from_model(loaded, options)
    rows = api.llama_vocab_n_tokens(api.llama_model_get_vocab(loaded))
    ids = np.random.default_rng(0).integers(0, rows, PROMPT + frames).astype(np.int32)

    def decode(part: Any) -> None:
        pointer = part.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        api.llama_decode(context, api.llama_batch_get_one(pointer, len(part)))
        api.llama_synchronize(context)

    decode(ids[:PROMPT])

    def tokens(_keeps: object = silent) -> None:
        api.llama_memory_seq_rm(api.llama_get_memory(context), 0, PROMPT, -1)
        for place in range(PROMPT, len(ids)):
            decode(ids[place : place + 1])

    return {"tokens": Task(tokens)}


def main() -> None:
    """Load, say so, and do the tasks on standard input."""
    who, model, codec, frames, threads = sys.argv[1:]
    if who == "ours":  # as its commands do; the others have what the user's environment says
        from neucodec_tts.cli.environment import set_threads

        set_threads()
    begin = time.perf_counter()
    makers = {"ours": ours, "neutts": neutts, "llama.cpp": llama_cpp}
    with contextlib.redirect_stdout(sys.stderr):
        tasks = makers[who](model, codec, int(frames), int(threads))
    print(json.dumps({"load": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        task = tasks[line.strip()]
        with contextlib.redirect_stdout(sys.stderr):
            task.before()
            begin, busy = time.perf_counter(), time.process_time()
            task.timed()
        wall, processor = time.perf_counter() - begin, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"wall": wall, "processor": processor, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
