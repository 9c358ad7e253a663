"""Put ONNX Runtime for browsers beside the page: ``python fetch_onnxruntime.py [FOLDER]``.

It is one package of npm, of one version, and refused if its content is not the one that this page was tested with.
npm fetches it from the registry that it is set to.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def fetch(folder: Path) -> None:
    """Write the files of the runtime to a folder, unless they lie there."""
    if all((folder / name).is_file() for name in FILES):
        return
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", temporary]
        try:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit("error: npm is not installed; it comes with Node.js")
        except subprocess.CalledProcessError:
            sys.exit(f"error: npm cannot fetch {PACKAGE}; is there a network?")
        (archive,) = Path(temporary).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != SHA512:
            sys.exit(f"error: the registry's {PACKAGE} has the SHA-512 {found}, not {SHA512}; it is not used")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as opened:
            for name in FILES:
                content = opened.extractfile(f"package/dist/{name}")
                assert content is not None
                (folder / name).write_bytes(content.read())


if __name__ == "__main__":
    fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "onnxruntime")
