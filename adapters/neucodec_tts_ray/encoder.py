"""What runs in each of Ray's actors: it holds the codec and does units of work."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.dataset import CodecInfo, Job, Progress, Reader, run_units
from neucodec_tts.errors import DatasetError, NeuCodecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch = Mapping[str, "NDArray[Any]"]


COUNTS = (
    "items_done",
    "kept",
    "audio_seconds",
    "encoded_frames",
    "padded_frames",
    "read_seconds",
    "encode_seconds",
    "write_seconds",
)
"""Of a `Progress`: what adds up over encoders."""
WAITS = ("reader_waits", "encoder_waits", "writer_waits")
"""Of a `Progress`: what encoders do at the same time."""


class Encoder:
    """Reads, encodes and writes units of work, on whatever machine Ray puts it.

    Args:
        job: what there is to do.
        codec: hub id, folder, or ``"tiny"``: the same for every encoder.
        device: of the codec.
        workers: reader processes.
        threads: of PyTorch, on a CPU.
        folder: what relative paths in the job and in `codec` are relative to.
    """

    def __init__(self, job: Job, codec: str, device: str, workers: int, threads: int, folder: str) -> None:
        import torch

        from neucodec_tts import NeuCodec

        torch.set_num_threads(threads)
        with suppress(OSError):
            os.chdir(folder)
        self._job = job
        self._reader = Reader(workers)
        self._reader.start()
        self._problem: NeuCodecError | None = None
        try:
            self._look_around()
            self._codec = NeuCodec.from_pretrained(codec, device=device)
            found = replace(CodecInfo.of(self._codec), on_cpu=job.codec.on_cpu)
            if found != job.codec:
                raise DatasetError(
                    f"{codec} is another codec on this machine ({found.codec_id}, encoder {found.encoder}) than where "
                    f"the run was begun ({job.codec.codec_id}, encoder {job.codec.encoder}); copy the same files to all"
                )
        except NeuCodecError as problem:
            self._problem = (
                problem  # told with the first unit: an actor that cannot be made is made again and again
            )

    def _look_around(self) -> None:
        """Refuse to work where the corpus cannot be seen, and every recording would count as missing.

        Raises:
            DatasetError: this machine lacks a folder.
        """
        corpus = getattr(self._job.source, "root", None)
        for path in (self._job.folder.manifest, *([] if corpus is None else [Path(corpus)])):
            if not path.exists():
                raise DatasetError(
                    f"the machine {socket.gethostname()} does not see {path}; mount corpus and data set under the same "
                    "paths on all machines"
                )

    def __call__(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Do the units of a batch; returns for each what became of it, as JSON."""
        return {"report": np.array([json.dumps(self._do(int(unit))) for unit in batch["unit"]], dtype=object)}

    def _do(self, unit: int) -> dict[str, Any]:
        progress = Progress()
        before = self._reader.seconds
        try:
            if self._problem is not None:
                raise self._problem
            for _ in run_units(self._job, [unit], self._codec, self._reader, progress):
                pass
        except NeuCodecError as problem:
            # Ray would run it again, and its traceback would hide what is wrong.
            return {"unit": unit, "error": str(problem), "kind": type(problem).__name__}
        counts: dict[str, Any] = {name: getattr(progress, name) for name in (*COUNTS, *WAITS)}
        counts["read_seconds"] = self._reader.seconds - before
        return {"unit": unit, "progress": counts, "rejects": dict(progress.rejects)}
