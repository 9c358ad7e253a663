"""Reader processes: they read and resample the items of a corpus ahead of the encoder, in the corpus' order.

They are plain programs that talk through pipes, and not `multiprocessing`'s: that imports the user's script again
in each, and leaves them behind when this process is killed. A pipe ends with whoever held its other end.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import IO, Any, TypeAlias, TypeVar

from neucodec_tts.dataset.items import Item, Source
from neucodec_tts.dataset.reading import Reading, ReadingRules, read_item
from neucodec_tts.errors import DatasetError

CHUNK_ITEMS = 4
"""Items that a reader process gets at a time."""
_PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from neucodec_tts.dataset.readers import serve; serve()"
)
T = TypeVar("T")
_Answer: TypeAlias = tuple[list[Reading], float, float]  # and the seconds and processor seconds that it took


class Reader:
    """Reads items in `workers` processes; with none, in the thread that asks.

    The processes end with the one that made them, however that ends, and when the reader is closed. Use it in a
    ``with`` statement.

    Args:
        workers: how many; None takes one a core but one, at least one and at most 8.

    Raises:
        DatasetError: the number is not possible.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is None:
            workers = min(8, max(1, (os.cpu_count() or 2) - 1))
        if isinstance(workers, bool) or not isinstance(workers, int) or not 0 <= workers <= 1024:
            raise DatasetError(f"workers is {workers!r}; it must be a number of processes from 0 to 1024")
        self.workers = workers
        self.seconds = 0.0
        """Spent reading and resampling, over all processes."""
        self.processor_seconds = 0.0
        """Of processor time, of the processes alone."""
        self._processes: list[_Process] = []
        self._threads: ThreadPoolExecutor | None = None
        self._mine = threading.local()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes, so that they load what they need while this one does something else.

        Raises:
            DatasetError: a process cannot be started.
        """
        if self.workers and self._threads is None:
            self._processes = [_Process() for _ in range(self.workers)]
            free = iter(self._processes)

            def take() -> None:
                self._mine.process = next(free)

            self._threads = ThreadPoolExecutor(self.workers, "reading", initializer=take)

    def read(self, source: Source, rules: ReadingRules, items: Iterable[Item]) -> Iterator[Reading]:
        """Read items, some ahead of what has been taken; results come in the order of the items.

        Raises:
            DatasetError: a reader process died.
        """
        self.start()
        chunks = _chunks(items, CHUNK_ITEMS)
        if self._threads is None:
            for chunk in chunks:
                yield from self._taken(_read_chunk(source, rules, chunk))
            return
        pending: deque[Future[_Answer]] = deque()
        try:
            for chunk in chunks:
                pending.append(self._threads.submit(self._ask, source, rules, chunk))
                if len(pending) > 2 * self.workers:
                    yield from self._taken(pending.popleft().result())
            while pending:
                yield from self._taken(pending.popleft().result())
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.end()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._processes, self._threads = [], None

    def _ask(self, source: Source, rules: ReadingRules, items: list[Item]) -> _Answer:
        process: _Process = self._mine.process
        try:
            answer = process.ask((source, rules, items))
        except (EOFError, OSError, pickle.UnpicklingError) as problem:
            raise DatasetError(
                f"a reader process died ({process.how_it_ended()}), most likely because memory ran out; run the "
                f"same command again, with fewer of them (--workers, now {self.workers}): finished shards are kept"
            ) from problem
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _taken(self, result: _Answer) -> list[Reading]:
        readings, seconds, processor = result
        self.seconds += seconds
        self.processor_seconds += processor if self.workers else 0.0
        return readings


class _Process:
    """One reader process, seen from here."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is this process' affair
            )
            self._send(sys.path)
        except OSError as problem:
            raise DatasetError(f"a reader process cannot be started: {problem}") from problem

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ask(self, request: object) -> Any:
        """Send a request and wait for the answer.

        Raises:
            EOFError, OSError: the process has ended.
        """
        self._send(request)
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)

    def how_it_ended(self) -> str:
        """In words."""
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    def end(self) -> None:
        """End it, whatever it is at: it only reads."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was to be sent cannot be
                    continue
        self._process.wait()

    def _send(self, request: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(request, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()


def serve() -> None:
    """What a reader process does, until the process that started it closes the pipe or ends."""
    requests = sys.stdin.buffer
    # What a library prints must not get between the answers.
    answers: IO[bytes] = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            source, rules, items = pickle.load(requests)
        except EOFError:
            return
        answer: object
        try:
            answer = _read_chunk(source, rules, items)
        except Exception as problem:  # a bug in a source: it belongs where somebody sees it
            answer = _picklable(problem)
        try:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:
            os._exit(1)


def _picklable(problem: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:
        return DatasetError(f"reading failed: {type(problem).__name__}: {problem}")
    return problem


def _read_chunk(source: Source, rules: ReadingRules, items: list[Item]) -> _Answer:
    start, processor = time.perf_counter(), time.process_time()
    readings = [read_item(source, rules, item) for item in items]
    return readings, time.perf_counter() - start, time.process_time() - processor


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
