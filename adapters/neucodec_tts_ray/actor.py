"""The code of each of Ray's actors: it holds the codec and does units of work."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from neucodec_tts.dataset import CodecInfo, Progress, ReaderPool, Recipe, run_units
from neucodec_tts.dataset.places import look
from neucodec_tts.errors import DatasetError, NeuCodecError


class UnitActor:
    """Reads, encodes and writes units of work, on any machine of the cluster.

    Args:
        recipe: the data set.
        codec: hub id, folder, or ``"tiny"``: the same for every actor.
        device: of the codec.
        workers: reader processes.
        threads: of PyTorch, on a CPU.
        folder: relative paths in the recipe and in `codec` are relative to it.
    """

    def __init__(
        self, recipe: Recipe, codec: str, device: str, workers: int, threads: int, folder: str
    ) -> None:
        import torch

        from neucodec_tts import NeuCodec

        torch.set_num_threads(threads)
        with suppress(OSError):
            os.chdir(folder)
        self._recipe = recipe
        self._readers = ReaderPool(workers)
        self._readers.start()
        self._problem: NeuCodecError | None = None
        try:
            self._look_around()
            self._codec = NeuCodec.from_pretrained(codec, device=device)
            found, wanted = CodecInfo.of(self._codec), recipe.codec
            if found != wanted:
                raise DatasetError(
                    f"{codec} is another codec on this machine ({found.codec_id}, encoder {found.encoder}) than where "
                    f"the run was begun ({wanted.codec_id}, encoder {wanted.encoder}); copy the same files to all"
                )
        except NeuCodecError as problem:
            self._problem = problem  # told with the first unit: Ray makes an actor that fails again and again

    def _look_around(self) -> None:
        """Refuse to work where the corpus cannot be seen, and every recording would count as missing.

        Raises:
            DatasetError: this machine lacks a folder.
        """
        corpus = getattr(self._recipe.source, "root", None)
        for path in (self._recipe.folder.manifest, *([] if corpus is None else [corpus])):
            if look(path) is None:
                raise DatasetError(
                    f"the machine {socket.gethostname()} does not see {path}; mount corpus and data set under the same "
                    "paths on all machines"
                )

    def ready(self) -> bool:
        """Return True: it has been made."""
        return True

    def do(self, unit: int) -> dict[str, Any]:
        """Do a unit; returns a report of JSON values: its counts, or the error that it ended with."""
        progress = Progress()
        before = self._readers.seconds
        try:
            if self._problem is not None:
                raise self._problem
            for _ in run_units(self._recipe, [unit], self._codec, self._readers, progress):
                pass
        except NeuCodecError as problem:
            # Ray would run it again, and its traceback would hide what is wrong.
            return {"unit": unit, "error": str(problem), "kind": type(problem).__name__}
        return {"unit": unit, "counts": {**progress.counts(), "read_seconds": self._readers.seconds - before}}
