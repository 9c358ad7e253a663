"""Compute ahead of a slow consumer, in a thread."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 10.0  # seconds that a program waits at its end for a thread to finish an item
_running: dict[threading.Thread, _Shared[Any]] = {}


@atexit.register
def _end_all() -> None:
    """End the threads before Python ends: one that is amid a computation then aborts the whole process."""
    running = list(_running.items())
    for _, shared in running:
        shared.stop()
    for thread, _ in running:
        thread.join(_PATIENCE)


class RunAhead(Iterator[Item], Generic[Item]):
    """Takes items from an iterator in a thread of its own, until enough of them wait to be fetched.

    The thread starts with the first item that is asked for. It ends with the iterator, when `close` is called, and
    when nobody holds the object any more.

    Args:
        source: the iterator. It is used in the thread only, and closed there if it is a generator.
        size: of an item.
        limit: the thread pauses while the waiting items are of this size or more in all.
    """

    def __init__(self, source: Iterator[Item], size: Callable[[Item], float], limit: float) -> None:
        self._shared: _Shared[Item] = _Shared(source, size, limit)
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._shared.stop)

    def __next__(self) -> Item:
        if self._thread is None:
            # The thread must not hold this object, or it would never be let go.
            self._thread = threading.Thread(target=self._shared.work, name="speech-ahead", daemon=True)
            _running[self._thread] = self._shared
            self._thread.start()
        return self._shared.take()

    def close(self) -> None:
        """End the thread, wait for it, and drop what waits."""
        self._shared.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


class _Shared(Generic[Item]):
    """The state that the thread and the consumer share: a queue that is bounded by the size of its items."""

    def __init__(self, source: Iterator[Item], size: Callable[[Item], float], limit: float) -> None:
        self._source = source
        self._size = size
        self._limit = limit
        self._waiting: deque[Item] = deque()
        self._amount = 0.0
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._problem: BaseException | None = None

    def work(self) -> None:
        try:
            while not self._stopped:
                try:
                    item = next(self._source)
                except StopIteration:
                    break
                self._put(item)
        except BaseException as problem:  # whatever it is, it belongs to the consumer
            self._problem = problem
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            _running.pop(threading.current_thread(), None)

    def _put(self, item: Item) -> None:
        with self._changed:
            self._waiting.append(item)
            self._amount += self._size(item)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped or self._amount < self._limit)

    def take(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._stopped)
            if self._waiting and not self._stopped:
                item = self._waiting.popleft()
                self._amount -= self._size(item)
                self._changed.notify_all()
                return item
            if self._problem is not None:
                problem, self._problem = self._problem, None
                raise problem
            raise StopIteration

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
