"""What the scripts that make virtual environments have in common.

Only the standard library is used: these scripts run before anything is installed.
Progress goes to stderr, so that a caller can read a result from stdout.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
TORCH_VERSION = "2.13.0"  # the same as in constraints.txt
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own, public index of CPU builds
_STAMP = "made-from"


class SetupError(Exception):
    """An environment could not be made; the message says what to do."""


def say(message: str) -> None:
    """Print one line of progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def has_nvidia_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with a working driver."""
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None:
        return False
    listed = subprocess.run([nvidia_smi, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def wants_cpu_build() -> bool:
    """Whether to install the CPU build of torch; ``TORCH=cpu`` or ``TORCH=cuda`` overrides the detection."""
    choice = os.environ.get("TORCH", "")
    if choice not in ("", "cpu", "cuda"):
        raise SetupError(f"TORCH={choice!r} is not known: use TORCH=cpu, TORCH=cuda, or leave it unset.")
    if choice:
        return choice == "cpu"
    return not has_nvidia_gpu()


class Environment:
    """One virtual environment below the project's root, and the inputs it was made from.

    Args:
        name: folder of the environment, relative to the project's root.
        inputs: files that decide what is installed. While their content, the interpreter and the kind of
            torch stay the same, the environment counts as complete and nothing is asked of the network.
    """

    def __init__(self, name: str, inputs: Iterable[Path]) -> None:
        self.path = ROOT / name
        self.python = self.path / "bin" / "python"
        self._inputs = list(inputs)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{sys.version_info[:2]} cpu={wants_cpu_build()} {self.path}".encode())
        for path in self._inputs:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def is_complete(self) -> bool:
        """Whether the environment exists and was made from the inputs as they are now."""
        stamp = self.path / _STAMP
        return self.python.exists() and stamp.is_file() and stamp.read_text().strip() == self._fingerprint()

    def mark_complete(self) -> None:
        """Remember the inputs; call it once everything is installed and checked."""
        (self.path / _STAMP).write_text(self._fingerprint() + "\n")

    def create(self) -> None:
        """Make the empty environment, unless one with the same minor version of Python is there."""
        if sys.version_info < (3, 10):  # noqa: UP036 - the interpreter that PYTHON= names may be any
            raise SetupError(
                f"{sys.executable} is Python {platform.python_version()}: 3.10 or newer is needed."
            )
        (self.path / _STAMP).unlink(missing_ok=True)
        if self.python.exists():
            version = self.run("import sys; print(*sys.version_info[:2])").stdout.split()
            if version == [str(part) for part in sys.version_info[:2]]:
                return
            shutil.rmtree(self.path)
        say(f"{self.path.name}: Python {platform.python_version()}")
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(self.path)], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            shutil.rmtree(self.path, ignore_errors=True)
            raise SetupError(
                f"{sys.executable} -m venv failed. On Debian and Ubuntu, `apt install python3-venv` mends it.\n"
                + made.stdout
                + made.stderr
            )

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a line of Python inside the environment."""
        return subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=False)

    def try_install(self, *arguments: str) -> str | None:
        """Run ``pip install`` under the constraints; returns None, or what pip said if it failed."""
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--constraint", str(CONSTRAINTS), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else done.stdout + done.stderr

    def install(self, what: str, *arguments: str) -> None:
        """Run ``pip install`` and stop with what pip said if it fails."""
        start = time.monotonic()
        failure = self.try_install(*arguments)
        if failure is not None:
            raise SetupError(f"{self.path.name}: {what} could not be installed.\n{failure}")
        say(f"{self.path.name}: {what}, {time.monotonic() - start:.0f} s")

    def uninstall(self, *packages: str) -> None:
        """Run ``pip uninstall``; packages that are not there are fine."""
        command = [str(self.python), "-m", "pip", "uninstall", "--yes", "--quiet", *packages]
        subprocess.run(command, capture_output=True, text=True, check=False)

    def install_torch(self) -> None:
        """Install torch and torchaudio: the CPU build without CUDA packages, or the ordinary build.

        An unpinned ``pip install torch`` on Linux takes the CUDA build and several GB of CUDA packages.
        The CPU build has the local version ``+cpu``. pip's configured indexes and wheel folders are asked for
        it first (a mirror, or a machine without internet access, has it there), then PyTorch's own index.
        """
        if platform.system() != "Linux" or not wants_cpu_build():
            self.install("torch (ordinary build)", f"torch=={TORCH_VERSION}", "torchaudio")
            return
        if self._version_of("torch") != f"{TORCH_VERSION}+cpu":
            self._install_cpu_torch()
        if not self._version_of("torchaudio"):
            self.install("torchaudio", "torchaudio")
        self._mend_torchaudio()

    def _install_cpu_torch(self) -> None:
        start = time.monotonic()
        failure = self.try_install(f"torch=={TORCH_VERSION}+cpu")
        if failure is not None:
            failure = self.try_install(
                "--retries", "2", "--index-url", PYTORCH_CPU_INDEX, f"torch=={TORCH_VERSION}"
            )
        if failure is not None:
            raise SetupError(
                f"{self.path.name}: found no CPU build of torch {TORCH_VERSION} for Python "
                f"{platform.python_version()}, neither in pip's configured indexes nor at {PYTORCH_CPU_INDEX}. "
                "Try another Python (make install PYTHON=python3.11), or the ordinary build "
                f"(TORCH=cuda make install).\n{failure}"
            )
        say(f"{self.path.name}: torch {TORCH_VERSION} (CPU build), {time.monotonic() - start:.0f} s")

    def _version_of(self, package: str) -> str:
        """The installed version, or an empty string."""
        return self.run(f"import importlib.metadata as m; print(m.version({package!r}))").stdout.strip()

    def _mend_torchaudio(self) -> None:
        """Let torchaudio import beside a CPU build of torch.

        PyPI's torchaudio wheel holds one extension, linked against CUDA libraries that a CPU torch lacks, and
        ``import torchaudio`` fails on it. Nothing here uses the extension: resampling and the Kaldi filter
        bank are Python. torchaudio skips the extension when the file is absent, so the file is removed.
        """
        check = "import torchaudio.functional, torchaudio.compliance.kaldi; torchaudio.functional.resample"
        extensions = list(self.path.glob("lib/python*/site-packages/torchaudio/lib/_torchaudio*.so"))
        if not extensions or self.run(check).returncode == 0:
            return
        for extension in extensions:
            extension.unlink()
        again = self.run(check)
        if again.returncode != 0:
            raise SetupError(f"{self.path.name}: torchaudio does not import.\n{again.stderr}")
