"""Reader processes: they read and resample the items of a corpus ahead of the encoder, in the corpus' order.

They are plain programs that talk through pipes. A pipe ends with whoever held its other end, so that they end with this
process, however that ends. `multiprocessing` and torch's DataLoader import the user's script again, or fork a process
full of threads; neither they nor loky say at which item a worker died.

The corpus travels by cloudpickle, which takes a class of a script or a notebook along by its definition.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import IO, Any, TypeAlias

from neucodec_tts.dataset.item_audio import ItemAudio, read_item
from neucodec_tts.dataset.items import Item, Source
from neucodec_tts.dataset.packages import needed
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.errors import DatasetError

CHUNK_ITEMS = 4
"""Items that a reader process gets at a time."""
_PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from neucodec_tts.dataset.reader_pool import serve; serve()"
)
_Answer: TypeAlias = tuple[ItemAudio, float, float]  # and the seconds and processor seconds that it took


class ReaderPool:
    """Reads items in `workers` processes; with none, in the thread that asks.

    The processes end with the one that made them, however that ends, and when the pool is closed. Use it in a ``with``
    statement.

    Args:
        workers: the number of processes; None takes one a core but one, at least one and at most 8.

    Attributes:
        seconds: spent reading and resampling, over all processes.
        processor_seconds: of processor time, of the processes alone.

    Raises:
        DatasetError: the number is not possible.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is None:
            workers = min(8, max(1, (os.cpu_count() or 2) - 1))
        if isinstance(workers, bool) or not isinstance(workers, int) or not 0 <= workers <= 1024:
            raise DatasetError(f"workers is {workers!r}; it must be a number of processes from 0 to 1024")
        self.workers = workers
        self.seconds = self.processor_seconds = 0.0
        self._processes: list[_Process] = []
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> ReaderPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes, so that they load what they need while this one does something else.

        Raises:
            DatasetError: a process cannot be started.
        """
        if self.workers and self._threads is None:
            for _ in range(self.workers):
                self._processes.append(_Process())
                self._free.put(self._processes[-1])
            self._threads = ThreadPoolExecutor(self.workers, "reading")

    def read(
        self, source: Source, settings: PrepareSettings, codec: CodecInfo, items: Iterable[Item]
    ) -> Iterator[ItemAudio]:
        """Read items, some ahead of what has been taken; results come in the order of the items.

        Raises:
            DatasetError: a reader process died, or the corpus cannot be sent to it.
        """
        self.start()
        if self._threads is None:
            for item in items:
                yield self._counted(_read_timed(source, settings, codec, item))
            return
        task = _packed((source, settings, codec))
        remaining = iter(items)
        pending: deque[Future[list[_Answer]]] = deque()
        try:
            while chunk := list(islice(remaining, CHUNK_ITEMS)):
                pending.append(self._threads.submit(self._ask, task, chunk))
                if len(pending) > 2 * self.workers:
                    yield from map(self._counted, pending.popleft().result())
            while pending:
                yield from map(self._counted, pending.popleft().result())
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.end()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._processes, self._free, self._threads = [], queue.SimpleQueue(), None

    def _ask(self, task: bytes, items: list[Item]) -> list[_Answer]:
        """Have items read by a process that is free."""
        process = self._free.get()
        answers: list[_Answer] = []
        problem: BaseException | None = None
        try:
            if process.death is not None:
                raise process.death
            process.send((task, items))
            for _ in items:
                answer = process.receive()
                if isinstance(answer, BaseException):
                    problem = answer  # raised below: an OSError among them is the source's, not the pipe's
                    break
                answers.append(answer)
        except (EOFError, OSError, pickle.UnpicklingError) as ended:
            process.death = DatasetError(
                f"a reader process died ({process.how_it_ended()}) at {items[len(answers)].where}. If memory ran out, "
                f"take fewer of them (--workers, now {self.workers}); run the same command again: finished shards are "
                "kept"
            )
            raise process.death from ended
        finally:
            self._free.put(process)
        if problem is not None:
            raise problem
        return answers

    def _counted(self, answer: _Answer) -> ItemAudio:
        audio, seconds, processor = answer
        self.seconds += seconds
        self.processor_seconds += processor if self.workers else 0.0
        return audio


class _Process:
    """One reader process, seen from here."""

    def __init__(self) -> None:
        self.death: DatasetError | None = None
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is this process' affair
            )
            self.send(sys.path)
        except OSError as problem:
            raise DatasetError(f"a reader process cannot be started: {problem}") from problem

    def send(self, request: object) -> None:
        """Send a request. Raises OSError if the process has ended."""
        assert self._process.stdin is not None
        pickle.dump(request, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Wait for an answer. Raises EOFError or OSError if the process has ended."""
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)

    def how_it_ended(self) -> str:
        """Return its exit code, or the name of the signal that ended it."""
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    def end(self) -> None:
        """End it, amid whatever it does: it only reads."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was to be sent cannot be
                    continue
        self._process.wait()


def serve() -> None:
    """Be a reader process, until the process that started it closes the pipe or ends."""
    requests = sys.stdin.buffer
    # The print of a library must not get between the answers.
    answers: IO[bytes] = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import torch

    torch.set_num_threads(1)
    known = b""
    task: tuple[Source, PrepareSettings, CodecInfo]
    while True:
        try:
            packed, items = pickle.load(requests)
        except EOFError:
            return
        for item in items:
            answer: object
            try:
                if packed != known:
                    known, task = packed, _unpacked(packed)
                answer = _read_timed(*task, item)
            except Exception as problem:  # a bug in a source: it belongs where somebody sees it
                answer = problem
            try:
                answers.write(_answer_bytes(answer))
                answers.flush()
            except BrokenPipeError:
                os._exit(1)
            if isinstance(answer, Exception):
                break


def _read_timed(source: Source, settings: PrepareSettings, codec: CodecInfo, item: Item) -> _Answer:
    start, processor = time.perf_counter(), time.process_time()
    audio = read_item(source, settings, codec, item)
    return audio, time.perf_counter() - start, time.process_time() - processor


def _packed(task: tuple[Source, PrepareSettings, CodecInfo]) -> bytes:
    try:
        packed: bytes = needed("cloudpickle", "dataset").dumps(task)
    except Exception as problem:  # whatever the source's own attributes raise
        raise DatasetError(
            f"the corpus {task[0].name} cannot be sent to reader processes ({type(problem).__name__}: {problem}); keep "
            "open files, locks and the like out of it, or read in this process (workers=0)"
        ) from problem
    return packed


def _unpacked(packed: bytes) -> tuple[Source, PrepareSettings, CodecInfo]:
    try:
        task: tuple[Source, PrepareSettings, CodecInfo] = pickle.loads(packed)
    except Exception as problem:
        raise DatasetError(
            f"a reader process cannot load the corpus ({type(problem).__name__}: {problem}); define its class in the "
            "script itself or in a module that Python finds (PYTHONPATH), or read in this process (workers=0)"
        ) from problem
    return task


def _answer_bytes(answer: object) -> bytes:
    if not isinstance(answer, Exception):
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    try:
        packed: bytes = needed("cloudpickle", "dataset").dumps(answer)
        pickle.loads(packed)
    except Exception:
        packed = pickle.dumps(DatasetError(f"reading failed: {type(answer).__name__}: {answer}"))
    return packed
