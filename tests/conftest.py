"""What holds for every test: no surprise downloads, few threads, and markers that say why they skip."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Before anything imports torch or huggingface_hub, which read these once.
WITH_HUB = os.environ.get("NEUCODEC_TTS_HUB", "") not in ("", "0")
if not WITH_HUB:
    # Without a network huggingface_hub retries for 24 s before it gives up.
    os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # one of several processes, which share the cores
    os.environ["OMP_NUM_THREADS"] = "1"
else:
    os.environ.setdefault(
        "OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 4))
    )  # small models gain nothing from more
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve a busy machine
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns at each fork
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell starts what runs in its background with Ctrl-C ignored, and programs that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.parity.summary"]

ROOT = Path(__file__).resolve().parent.parent

# Where tests run in several processes these follow one another in the same: they start the same servers, and need
# gigabytes of memory.
ONE_AFTER_ANOTHER = ("tests/adapters/neucodec_tts_vllm/", "tests/parity/")

# Deadlines would make slow machines fail; the first example also pays for warming up.
settings.register_profile(
    "local", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Put the ffmpeg of the package imageio-ffmpeg on PATH where the machine has none."""
    if shutil.which("ffmpeg") is not None:
        return
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # RuntimeError: the package holds no binary for this platform
        return
    folder = Path(tempfile.mkdtemp(prefix="ffmpeg-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    (folder / "ffmpeg").symlink_to(program)
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(folder)])


def _why_no_hub() -> str | None:
    """Why tests marked ``hub`` cannot run, or None if they can."""
    if not WITH_HUB:
        return "needs real weights: set NEUCODEC_TTS_HUB=1 where a model hub can be reached"
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((endpoint.hostname or "", endpoint.port or 443), timeout=3).close()
    except OSError as error:
        return f"the model hub at {endpoint.hostname} cannot be reached: {error}"
    return None


def _scope(nodeid: str) -> str:
    """Tests of one scope run in one process, one after another: those of a file, and those of the large folders."""
    return "large" if nodeid.startswith(ONE_AFTER_ANOTHER) else nodeid.split("::", 1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Schedule by scope in several processes."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadScopeScheduling):
        # The mark xdist_group, which is meant for this, does nothing in pytest-xdist 3.8 with pytest 9.2.
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the model hub, with the reason, where there is none; in several processes, sort by work."""
    marked = [item for item in items if item.get_closest_marker("hub")]
    reason = _why_no_hub() if marked else None
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
        # Long scopes first, so that no process waits for the other's last one.
        work: Counter[str] = Counter()
        for item in items:
            work[_scope(item.nodeid)] += 20 if item.get_closest_marker("slow") else 1
        items.sort(key=lambda item: (-work[_scope(item.nodeid)], _scope(item.nodeid)))


@pytest.fixture(scope="session")
def upstream_python() -> Path:
    """Python of the environment that holds upstream neucodec 0.0.6; made if it is not there yet.

    For tests marked ``upstream``: they give that Python a script of ``tests/parity`` and exchange files with it.
    """
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "environment.py"), "upstream"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, f"scripts/environment.py upstream failed:\n{made.stderr}"
    return ROOT / ".venv-upstream" / "bin" / "python"
