"""A program that starts runs of `prepare`, each in a process of its own that can be killed, without loading torch anew.

It reads a JSON object a line: ``source``, ``out`` and ``workers``. For each it forks a process that prepares, says that
process' number, and, when it has ended, how. The process writes a byte to the file descriptor named on the command
line whenever `prepare` says that something has been done.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import torch

from neucodec_tts import NeuCodec
from neucodec_tts.dataset import Progress, prepare
from neucodec_tts.dataset.packages import parquet
from tests.dataset.conftest import SMALL


def main(events: int) -> None:
    torch.set_num_threads(1)  # no threads of torch's own are lost by forking
    parquet()
    codec = NeuCodec.from_pretrained("tiny")

    def tell(progress: Progress) -> None:
        os.write(events, b".")

    for line in sys.stdin:
        run(codec, json.loads(line), tell)


def run(codec: NeuCodec, wanted: dict[str, str | int], tell: Callable[[Progress], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            source, out, workers = str(wanted["source"]), str(wanted["out"]), int(wanted["workers"])
            prepare(source, out, codec, SMALL, workers=workers, on_progress=tell)
        except BaseException as problem:
            print(repr(problem), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
