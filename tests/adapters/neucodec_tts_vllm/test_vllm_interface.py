"""What we use of vLLM is there, by name and signature: a new vLLM fails here, and not at a user's.

vLLM's sources are read and not imported. `VLLM_SOURCE` names the folder of another vLLM to read, such as that of an
unzipped wheel.
"""

from __future__ import annotations

import ast
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

PARAMETERS = {
    ("engine/protocol.py", "EngineClient.generate"): [
        "prompt",
        "sampling_params",
        "request_id",
        "lora_request",
        "trace_headers",
    ],
    ("engine/protocol.py", "EngineClient.check_health"): [],
    ("engine/protocol.py", "EngineClient.is_sleeping"): [],
    ("engine/protocol.py", "EngineClient.is_tracing_enabled"): [],
    ("engine/protocol.py", "EngineClient.shutdown"): ["timeout"],
    ("entrypoints/openai/models/serving.py", "OpenAIServingModels.is_base_model"): ["model_name"],
    ("entrypoints/openai/models/serving.py", "OpenAIServingModels.resolve_lora"): ["lora_name"],
    ("inputs/engine.py", "tokens_input"): ["prompt_token_ids"],
    ("plugins/endpoint_plugins/interface.py", "EndpointPlugin.attach_router"): ["app"],
    ("plugins/endpoint_plugins/interface.py", "EndpointPlugin.init_state"): [
        "engine_client",
        "state",
        "args",
    ],
    ("utils/ompmultiprocessing.py", "OMPProcessManager.__init__"): ["config"],
    ("v1/engine/llm_engine.py", "LLMEngine.abort_request"): ["request_ids", "internal"],
    ("v1/engine/llm_engine.py", "LLMEngine.add_request"): ["request_id", "prompt", "params"],
    ("v1/engine/llm_engine.py", "LLMEngine.step"): [],
    ("v1/sample/logits_processor/interface.py", "LogitsProcessor.__init__"): [
        "vllm_config",
        "device",
        "is_pin_memory",
    ],
    ("v1/sample/logits_processor/interface.py", "LogitsProcessor.apply"): ["logits"],
    ("v1/sample/logits_processor/interface.py", "LogitsProcessor.update_state"): ["batch_update"],
    ("v1/sample/logits_processor/interface.py", "LogitsProcessor.validate_params"): ["sampling_params"],
    ("v1/sample/logits_processor/builtin.py", "process_dict_updates"): [
        "req_entries",
        "batch_update",
        "new_state",
    ],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsProcessor.__init__"): [
        "vllm_config",
        "req_states",
    ],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsProcessor.add_request"): [
        "req_idx",
        "sampling_params",
    ],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsProcessor.apply"): ["logits", "ctx"],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsProcessor.apply_staged_writes"): [],
}
"""Functions, and parameters that they take by these names and in this order."""

MEMBERS = {
    ("config/model.py", "ModelConfig"): ["max_model_len", "get_vocab_size"],
    ("config/scheduler.py", "SchedulerConfig"): ["enable_chunked_prefill"],
    ("config/vllm.py", "VllmConfig"): ["model_config", "scheduler_config"],
    ("engine/arg_utils.py", "EngineArgs"): [
        *("model", "tokenizer", "served_model_name", "revision", "download_dir", "hf_token", "dtype"),
        *("max_model_len", "enforce_eager", "enable_chunked_prefill", "enable_prefix_caching"),
        *("gpu_memory_utilization", "kv_cache_memory_bytes", "skip_tokenizer_init"),
    ],
    ("engine/protocol.py", "EngineClient"): ["vllm_config", "model_config"],
    ("entrypoints/openai/models/serving.py", "OpenAIServingModels"): ["base_model_paths", "lora_requests"],
    ("exceptions.py", "GenerationError"): [],
    ("exceptions.py", "GracefulHTTPError"): ["http_status"],
    ("exceptions.py", "VLLMClientError"): [],
    ("lora/request.py", "LoRARequest"): ["lora_name"],
    ("outputs.py", "CompletionOutput"): ["token_ids", "finish_reason"],
    ("outputs.py", "RequestOutput"): ["request_id", "outputs"],
    ("sampling_params.py", "RequestOutputKind"): ["DELTA"],
    ("sampling_params.py", "SamplingParams"): [
        *(
            "temperature",
            "top_k",
            "top_p",
            "seed",
            "max_tokens",
            "stop_token_ids",
            "extra_args",
            "detokenize",
        ),
        *("output_kind", "stream_interval"),
    ],
    ("utils/ompmultiprocessing.py", "OMPProcessManager"): ["cpu_lists", "reserved_cpu_list"],
    ("v1/engine/exceptions.py", "EngineDeadError"): [],
    ("v1/sample/logits_processor/interface.py", "BatchUpdate"): ["batch_size", "removed", "added", "moved"],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsContext"): [
        *("idx_mapping_np", "expanded_idx_mapping", "pos"),
    ],
    ("v1/worker/gpu/sample/logits_processor/interface.py", "LogitsProcRequestState"): [
        *("vocab_size", "device", "prompt_len", "max_num_reqs"),
    ],
}
"""Classes, and attributes of theirs or of their objects."""

NAMES = {
    "__init__.py": ["LLM", "SamplingParams"],
    "entrypoints/launchers/api_server/app_state.py": ["init_app_state"],
    "entrypoints/launchers/api_server/entry.py": ["main"],
    "envs.py": ["VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_CPU_KVCACHE_SPACE", "VLLM_PLUGINS", "VLLM_API_KEY"],
    "inputs/__init__.py": ["tokens_input"],
    "platforms/__init__.py": ["current_platform"],
    "v1/sample/logits_processor/__init__.py": ["LogitsProcessor", "BatchUpdate", "process_dict_updates"],
    "v1/worker/gpu/sample/logits_processor/__init__.py": [
        *("LogitsProcessor", "LogitsContext", "LogitsProcRequestState"),
    ],
}
"""Modules, and words in them."""


def source() -> Path:
    named = os.environ.get("VLLM_SOURCE")
    if named:
        return Path(named)
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed (make install brings its CPU build)")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def found(file: str, path: str) -> ast.AST:
    """The class or function at a dotted path; fails where there is none."""
    node: ast.AST = tree(source() / file)
    for name in path.split("."):
        inside = [each for each in ast.walk(node) if getattr(each, "name", None) == name]
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        inside = [each for each in inside if isinstance(each, kinds)]
        assert inside, f"{file} has no {path}"
        node = inside[0]
    return node


@pytest.mark.parametrize(("file", "path"), PARAMETERS, ids=lambda part: str(part))
def test_functions_take_what_we_give(file: str, path: str):
    arguments = found(file, path).args  # type: ignore[attr-defined]
    taken = [each.arg for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    wanted = PARAMETERS[file, path]
    assert [name for name in taken if name in wanted] == wanted, taken
    without_default = taken[: len(taken) - len(arguments.defaults) - len(arguments.kwonlyargs)]
    without_default += [
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    assert {*without_default} - {"self", "cls"} <= {*wanted}, "there is a new one that must be given"


@pytest.mark.parametrize(("file", "path"), MEMBERS, ids=lambda part: str(part))
def test_classes_have_what_we_use(file: str, path: str):
    there = set()
    for each in ast.walk(found(file, path)):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            there.add(each.name)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            there.add(each.id)
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            there.add(each.attr)
    assert {*MEMBERS[file, path]} - there == set()


@pytest.mark.parametrize("file", NAMES)
def test_modules_have_the_words_that_we_use(file: str):
    text = (source() / file).read_text(encoding="utf-8")
    assert [word for word in NAMES[file] if word not in text] == []


def test_the_server_keeps_its_register_of_models_where_we_look():
    text = (source() / "entrypoints/launchers/api_server/app_state.py").read_text(encoding="utf-8")
    assert "state.openai_serving_models = " in text
