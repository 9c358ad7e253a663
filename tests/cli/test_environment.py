"""Threads, quotas and warnings of a command's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import neucodec_tts.cli.environment as environment_module
from neucodec_tts.cli.environment import cpu_quota, set_threads, speak_in_one_thread_if_small, usable_cpus
from neucodec_tts.codec.arrays import TensorCodec


def groups(folder: Path, files: dict[str, str], lines: str) -> float | None:
    """The quota that these files of control groups make."""
    (folder / "cgroup").write_text(lines)
    (folder / "mounted").mkdir()
    for name, text in files.items():
        path = folder / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_quota(folder / "cgroup", folder / "mounted")


@pytest.mark.parametrize(
    ("files", "lines", "cpus"),
    [
        # Version 2, as in a container of today: its own group is the root.
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        # A service of systemd: every group above holds as well.
        ({"a.slice/b/cpu.max": "max 100000", "a.slice/cpu.max": "50000 100000"}, "0::/a.slice/b\n", 0.5),
        ({"a.slice/b/cpu.max": "200000 100000", "a.slice/cpu.max": "max 100000"}, "0::/a.slice/b", 2.0),
        # Version 1, whole and as a container sees it: the path is the host's, the mount the container's own.
        ({"cpu/x/cpu.cfs_quota_us": "300000", "cpu/x/cpu.cfs_period_us": "100000"}, "2:cpu:/x\n0::/x\n", 3.0),
        (
            {"cpu,cpuacct/cpu.cfs_quota_us": "25000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n",
            0.25,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "2:cpu:/\n", None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "0"}, "2:cpu:/\n", None),
        # Both at once, and a path that is a name of something else.
        ({"unified/cpu.max": "400000 100000", "cpu/cpu.cfs_quota_us": "-1"}, "2:cpu:/\n0::/\n", 4.0),
        ({}, "9:name=systemd:/a:b\n3:cpuset:/\n0::/\n", None),
        ({}, "", None),
    ],
)
def test_quotas(tmp_path, files, lines, cpus):
    assert groups(tmp_path, files, lines) == cpus


def test_no_control_groups(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "cpus"), [(None, 2), (4.5, 2), (1.9, 1), (0.2, 1)])
def test_cpus_for_this_process(monkeypatch, quota, cpus):
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda pid: {0, 10_001}, raising=False
    )  # the second has no file
    monkeypatch.setattr("neucodec_tts.cli.environment.cpu_quota", lambda *files: quota)
    assert usable_cpus() == cpus


def test_threads_are_set_only_where_torch_would_start_too_many(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("neucodec_tts.cli.environment.usable_cpus", lambda: 8)
    environment: dict[str, str] = {}
    set_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setattr("neucodec_tts.cli.environment.usable_cpus", lambda: 3)
    set_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}
    chosen = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "5"}
    set_threads(chosen)
    assert chosen == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "5"}


SMALL: Any = nn.Sequential(nn.Linear(256, 704), nn.LayerNorm(704))
LARGE: Any = nn.Sequential(nn.Linear(896, 4864), nn.LayerNorm(4864))


def speaking(model: Any, codec: Any) -> Any:
    return SimpleNamespace(engine=SimpleNamespace(model=model), decoder=TensorCodec(codec))


@pytest.fixture
def threads(monkeypatch):
    """PyTorch's threads, of which there are three before the test."""
    monkeypatch.setattr(environment_module, "_free", False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield torch.get_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("tts", "expected"),
    [
        (speaking(SMALL, SMALL), 1),
        (speaking(LARGE, SMALL), 3),
        (speaking(SMALL, LARGE), 3),
        (speaking(SMALL, nn.Linear(256, 256, device="meta")), 3),
        (SimpleNamespace(engine=object(), decoder=TensorCodec(SMALL)), 3),
        (SimpleNamespace(engine=SimpleNamespace(model=SMALL), decoder=object()), 3),
    ],
    ids=["small", "large model", "large codec", "other device", "other engine", "other codec"],
)
def test_small_networks_speak_in_one_thread(threads, tts, expected):
    environment: dict[str, str] = {}
    set_threads(environment)
    assert speak_in_one_thread_if_small(tts, environment) is (expected == 1)
    assert threads() == expected


@pytest.mark.parametrize("chosen", [{"OMP_NUM_THREADS": "3"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_the_caller_chose_are_left_alone(threads, chosen):
    set_threads(chosen)
    assert not speak_in_one_thread_if_small(speaking(SMALL, SMALL), chosen)
    assert threads() == 3


def test_threads_are_left_alone_where_no_command_runs(threads):
    assert not speak_in_one_thread_if_small(speaking(SMALL, SMALL), {"OMP_WAIT_POLICY": "PASSIVE"})
    assert threads() == 3


def test_engines_without_torch_do_not_import_it():
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from neucodec_tts.cli.environment import set_threads, speak_in_one_thread_if_small\n"
        "environment = {}\n"
        "set_threads(environment)\n"
        "assert not speak_in_one_thread_if_small(SimpleNamespace(engine=object(), decoder=object()), environment)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", [("say", "Hello.", "--model", "tiny"), ("demo", "Hello.", "--no-play")])
def test_real_commands_speak_in_one_thread(tmp_path, command):
    code = (
        "import sys, os, torch\n"
        "torch.set_num_threads(3)  # or one on a machine of one core\n"
        "from neucodec_tts.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    print('threads:', torch.get_num_threads())\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "-o", "out.wav"],
        check=True, capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.endswith("threads: 1\n"), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binding a process to a CPU needs Linux")
@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "2"}])
def test_a_real_command_and_what_it_starts(tmp_path, chosen):
    """A module that every Python imports writes down the environment at the moment torch is imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import json, os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            names = ('OMP_WAIT_POLICY', 'OMP_NUM_THREADS')\n"
        f"            with open({str(tmp_path / 'seen')!r}, 'a') as file:\n"
        "                print(json.dumps({n: os.environ.get(n) for n in names}), file=file)\n"
        "            sys.meta_path.remove(self)\n"
        "sys.meta_path.insert(0, Watch())\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | chosen
    paths = [str(tmp_path), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    cpu = min(os.sched_getaffinity(0))
    subprocess.run(
        [sys.executable, "-m", "neucodec_tts", "info", "--json"],
        check=True, capture_output=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
    )  # fmt: skip
    seen = json.loads((tmp_path / "seen").read_text().splitlines()[0])
    expected = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1" if (os.cpu_count() or 1) > 1 else None}
    assert seen == expected | chosen


WARNINGS = """
import logging, warnings
import typer
from neucodec_tts.cli.terminal import Terminal, command

@command
def say(terminal: Terminal) -> None:
    warnings.simplefilter("always")  # as some packages do
    for kind in (DeprecationWarning, FutureWarning, UserWarning):
        warnings.warn("this name is old", kind)
    logging.getLogger("somebody").warning("this name is old")
    logging.getLogger("neucodec_tts.speech").warning("a sentence did not stop")
    from transformers.utils import logging as theirs
    theirs.get_logger("transformers.models").warning("this name is old")

typer.run(say)
"""


@pytest.mark.parametrize("debug", [False, True])
def test_warnings_of_other_packages(debug):
    # Commands that ran in this process before have left their own choice in its environment.
    environment = {
        name: each for name, each in os.environ.items() if not name.endswith(("_VERBOSITY", "WARNINGS"))
    }
    done = subprocess.run(
        [sys.executable, "-c", WARNINGS, *(["--debug"] if debug else [])],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stderr.count("this name is old") == (5 if debug else 0), done.stderr
    assert "WARNING: a sentence did not stop" in done.stderr
    assert debug or len(done.stderr.splitlines()) == 1
