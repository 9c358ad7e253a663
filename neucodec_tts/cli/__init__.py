"""The command line ``neucodec-tts``: its verbs are the library's verbs."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the program with its exit code.

    0: done. 1: the work failed, with one line ``error: ...`` on stderr. 2: wrong use. 130: interrupted by Ctrl-C.

    Args:
        arguments: what follows the program's name; None takes those of this process.
    """
    try:  # from the first import on: Ctrl-C may come before there is a command
        from neucodec_tts.cli.environment import open_standard_streams, set_threads

        open_standard_streams()
        set_threads()  # before anything imports torch
        from neucodec_tts.cli.app import run

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
