"""The package as a whole: what importing it costs, what it exports, which way its imports point, what ships."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import neucodec_tts

ROOT = Path(__file__).resolve().parent.parent

# Each takes a good part of the 0.3 s that `import neucodec_tts` may take, or far more.
HEAVY = {
    "torch", "torchaudio", "transformers", "tokenizers", "huggingface_hub", "numpy", "scipy", "soundfile",
    "matplotlib", "pystoi", "pesq", "phonemizer", "rich", "typer",
}  # fmt: skip


def heavy_after(statement: str) -> set[str]:
    """Heavy modules that a fresh interpreter holds after running `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps([m for m in sys.modules if '.' not in m]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy():
    assert heavy_after("import neucodec_tts, neucodec_tts.errors") == set()


def test_catching_an_error_needs_nothing_heavy():
    assert heavy_after("from neucodec_tts import NeuCodecError, AudioError, CheckpointError") == set()


def test_help_of_the_command_line_imports_no_torch():
    statement = "import contextlib, neucodec_tts.cli\n"
    statement += "with contextlib.suppress(SystemExit): neucodec_tts.cli.main(['--help'])"
    assert heavy_after(statement) <= {"rich", "typer"}


@pytest.mark.parametrize("name", neucodec_tts.__all__)
def test_every_exported_name_exists(name):
    assert getattr(neucodec_tts, name) is not None
    assert name in dir(neucodec_tts)


def test_what_type_checkers_see_is_what_is_exported():
    source = (ROOT / "neucodec_tts" / "__init__.py").read_text()
    for name, module in neucodec_tts._EXPORTS.items():
        assert f"{name} as {name}" in source
        assert f"from {module} import" in source


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchThing"):
        neucodec_tts.NoSuchThing  # noqa: B018


def test_every_error_is_one_of_ours():
    errors = importlib.import_module("neucodec_tts.errors")
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    assert len(classes) > 5
    assert all(issubclass(thing, errors.NeuCodecError) for thing in classes)


def test_version_is_that_of_the_distribution():
    assert importlib.metadata.version("neucodec-tts") == neucodec_tts.__version__


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("codec", "neucodec_tts.cli"), ("codec", "neucodec_tts_vllm"), ("errors", "neucodec_tts.codec")],
)
def test_an_import_in_the_wrong_direction_is_found(tmp_path, module, forbidden):
    shutil.copytree(ROOT / "neucodec_tts", tmp_path / "neucodec_tts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / "neucodec_tts" / module
    target = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
    with target.open("a") as source:
        source.write(f"\n\ndef _sneaky() -> None:\n    import {forbidden}\n")
    # `python -c` puts the copy before the installed package on the path; the console script would not.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"neucodec_tts.{module} -> {forbidden}" in done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def tracked(*patterns: str) -> list[str]:
    """Files that are part of the project (not of somebody's work in progress) below its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_the_wheel_holds_the_library_and_its_data(wheel):
    names = set(wheel.namelist())
    expected = set(tracked("neucodec_tts"))
    assert any(name.endswith(".py") for name in expected)
    assert expected <= names


def test_the_wheel_holds_every_adapter(wheel):
    names = set(wheel.namelist())
    assert {name.removeprefix("adapters/") for name in tracked("adapters/neucodec_tts_*")} <= names


def test_the_wheel_holds_nothing_else(wheel):
    roots = {name.split("/")[0] for name in wheel.namelist()}
    roots = {root for root in roots if not root.endswith(".dist-info")}
    assert "neucodec_tts" in roots
    assert all(root.startswith("neucodec_tts") for root in roots)
    measuring = [
        name
        for name in wheel.namelist()
        if "benchmark" in name or "/serving/" in name or "/evaluate/" in name
    ]
    assert measuring == []
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
