"""Runs NeuTTS' own prompt function, from the package `neutts`, in a process of its own.

The wheel is fetched from the package index without its dependencies (they pin other versions of torch and
transformers) and unpacked below ``build/``. Two modules that it imports and does not use here, `librosa` and
`neucodec`, are replaced by empty ones; the class ``NeuTTS``, its phonemizers and its espeak-ng are the real ones.

Run as a script it reads a job as JSON from stdin and writes the results as JSON to stdout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import Any

VERSION = "1.4.1"
_FOLDER = Path(__file__).resolve().parents[2] / "build" / f"neutts-{VERSION}"


def fetch() -> Path:
    """Unpack the wheel, if it is not there yet, and return the folder that holds the package."""
    if _FOLDER.is_dir():
        return _FOLDER
    _FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run(
            [*command, "--dest", temporary, f"neutts=={VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"neutts {VERSION} could not be downloaded:\n{done.stderr}")
        (wheel,) = Path(temporary).glob("*.whl")
        unpacked = Path(temporary) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        shutil.move(unpacked, _FOLDER)
    return _FOLDER


def run(jobs: list[dict[str, Any]]) -> list[list[Any]]:
    """Do jobs in a process of its own: of each a list with one result for each of its cases."""
    done = subprocess.run(
        [sys.executable, __file__, str(fetch())],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


def _work(jobs: list[dict[str, Any]]) -> list[list[Any]]:
    """Results of jobs like ``{"tokenizer", "input_format", "cases": [[language, text, voice text, codes, emotion]]}``;
    the emotion may be missing.

    Without a tokenizer, the phones of each text; with one, the ids of the prompt.
    """
    import torch
    from transformers import AutoTokenizer  # looks for librosa, and must not find the empty one

    sys.path.insert(0, sys.argv[1])
    for name, attributes in (("librosa", ()), ("neucodec", ("NeuCodec", "DistillNeuCodec"))):
        module = types.ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, object)
        sys.modules[name] = module
    from neutts.neutts import NeuTTS

    def do(job: dict[str, Any]) -> list[Any]:
        speakers = {}
        for language in {case[0] for case in job["cases"]}:
            speaker = NeuTTS.__new__(NeuTTS)  # its __init__ downloads models
            speaker.input_format = job.get("input_format", "phonemes")
            if speaker.input_format == "phonemes":
                speaker._load_phonemizer(language, "")
            if "tokenizer" in job:
                speaker.tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
            speakers[language] = speaker
        if "tokenizer" not in job:
            return [speakers[language]._to_phones(text) for language, text, _, _ in job["cases"]]
        for speaker in speakers.values():
            speaker._supported_emotions = None  # as NeuTTS-2E's configuration leaves it to the class
        return [
            speakers[language]._apply_chat_template(
                torch.tensor(codes, dtype=torch.int32),
                voice_text,
                text,
                *(speakers[language]._check_emotion(emotion) for emotion in rest),
            )
            for language, text, voice_text, codes, *rest in job["cases"]
        ]

    return [do(job) for job in jobs]


if __name__ == "__main__":
    print("\n" + json.dumps(_work(json.load(sys.stdin))))
