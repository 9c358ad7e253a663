"""The package as a whole: what importing it costs, what it exports, which way its imports point, what ships."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
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
    pytest.importorskip("importlinter", reason="import-linter comes with make install")
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
def distributions(tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("distributions")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def wheel(distributions) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(distributions.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(wheel.read(name).decode())


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
    assert [name for name in wheel.namelist() if "benchmark" in name or "/serving/" in name] == []


def test_the_licences_of_all_that_is_in_the_wheel_are_named(wheel, metadata):
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-SA-3.0"
    licences = [name.partition("/licenses/")[2] for name in wheel.namelist() if "/licenses/" in name]
    assert "LICENSE" in licences
    # Whatever is not code lies in a folder whose README names its authors and its licence.
    data = [name for name in tracked("neucodec_tts") if not name.endswith((".py", ".md", "py.typed"))]
    assert data
    for name in data:
        readme = next(
            folder / "README.md" for folder in Path(name).parents if (ROOT / folder / "README.md").exists()
        )
        assert str(readme) in licences, f"{name} has no licence in the wheel"
        assert "creativecommons.org/licenses/by-sa/3.0" in (ROOT / readme).read_text(encoding="utf-8")


def test_the_metadata_say_who_and_where_and_for_which_python(metadata):
    assert metadata["Author"]
    assert metadata.get_all("Project-URL")
    classifiers = metadata.get_all("Classifier")
    assert f"Programming Language :: Python :: {sys.version_info[0]}.{sys.version_info[1]}" in classifiers
    oldest = metadata["Requires-Python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in classifiers


def test_the_source_distribution_holds_what_the_readme_links_to(distributions):
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = tracked(
        "neucodec_tts", "adapters", "benchmarks", "docs", "examples", "scripts", "tests", "*.md"
    )
    expected = [name for name in expected if (ROOT / name).exists()]
    assert any(name.startswith("docs/") for name in expected)
    assert set(expected) <= names
