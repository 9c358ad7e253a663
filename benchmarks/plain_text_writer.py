"""One of two vLLMs that write plain text in turns, with the plugin and as if it were not installed.

``plugin.py`` starts it: ``python plain_text_writer.py MODEL [--without-plugin]``. It reads what to do from standard
input, a JSON object a line, and answers each with another.
"""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

_PROMPT_TOKENS = 64
_IDS = 256  # prompts are made of the first so many tokens, which every model has


def hide_plugin() -> None:
    """Keep what is imported from here on from finding the entry points of this package."""
    found: Callable[..., Any] = metadata.entry_points

    def others(**wanted: Any) -> Any:
        points = found(**wanted)
        if not wanted:  # on Python before 3.12 these are not points but groups of them
            return points
        return metadata.EntryPoints(
            point for point in points if not point.value.startswith("neucodec_tts_vllm")
        )

    setattr(metadata, "entry_points", others)  # noqa: B010 - its overloads are nobody's concern here


def main(arguments: list[str]) -> int:
    """Load the model, say so, and write text whenever asked to."""
    # Whatever vLLM prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    model = arguments[0]
    # To ask the workers what they have loaded: a function of this module goes to them, from nobody else.
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    options: dict[str, Any] = {"gpu_memory_utilization": 0.4}  # there are two of them
    if current_platform.device_type == "cpu":
        options = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 2**30}
    llm = LLM(model=model, skip_tokenizer_init=True, disable_log_stats=True, **options)
    print(json.dumps({"ready": True, "plugin": any(llm.collective_rpc(_is_loaded))}), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        drawn = random.Random(asked["seed"])
        prompts: list[Any] = [
            {"prompt_token_ids": [drawn.randrange(_IDS) for _ in range(_PROMPT_TOKENS)]}
            for _ in range(asked["requests"])
        ]
        params = SamplingParams(temperature=0, max_tokens=asked["tokens"], ignore_eos=True, detokenize=False)
        start, before = time.perf_counter(), _processor_seconds()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds, worked = time.perf_counter() - start, _processor_seconds() - before
        tokens = [list(output.outputs[0].token_ids) for output in outputs]
        digest = hashlib.sha256(json.dumps(tokens).encode()).hexdigest()
        answer = {"seconds": seconds, "processor_seconds": worked, "tokens": sum(map(len, tokens))}
        print(json.dumps({**answer, "digest": digest}), file=answers)
    return 0


def _is_loaded(worker: object) -> bool:
    """True where a worker, in whose process this runs, has made the logits processor of this package."""
    import gc
    import sys

    module = sys.modules.get("neucodec_tts_vllm.logits_processor")
    kinds = () if module is None else (module.SpeechProcessorV1, module.SpeechProcessorV2)
    return any(isinstance(thing, kinds) for thing in gc.get_objects())


def _processor_seconds() -> float:
    """Of this process and those that it has started."""
    import psutil  # comes with vLLM

    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return float(sum(spent.user + spent.system for spent in times))


if __name__ in ("__main__", "__mp_main__") and "--without-plugin" in sys.argv:
    hide_plugin()  # in the processes that vLLM spawns, too, which begin by reading this file with the same arguments

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
