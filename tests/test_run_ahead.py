"""Computing ahead in a thread."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from neucodec_tts.run_ahead import RunAhead

WAIT = 60  # seconds after which a test that would hang fails


def counted(n: int, made: list[int], reached: dict[int, threading.Event] | None = None) -> Iterator[int]:
    for number in range(n):
        made.append(number)
        if reached and number in reached:
            reached[number].set()
        yield number


def thread_of(ahead: RunAhead) -> threading.Thread:
    assert ahead._thread is not None
    return ahead._thread


def test_items_come_in_order_and_end():
    ahead = RunAhead(counted(100, []), lambda item: 1, 7)
    assert list(ahead) == list(range(100))
    assert list(ahead) == []


def test_nothing_is_made_before_the_first_is_asked_for():
    made: list[int] = []
    RunAhead(counted(5, made), lambda item: 1, 3)
    assert made == []


def test_it_goes_ahead_to_the_limit_and_no_further():
    made: list[int] = []
    reached = {3: threading.Event(), 4: threading.Event()}
    ahead = RunAhead(counted(10, made, reached), lambda item: 1, 3)
    assert next(ahead) == 0
    assert reached[3].wait(WAIT)  # 1, 2 and 3 wait now
    ahead._shared._changed.acquire()  # the thread is at rest whenever it lets go of this
    try:
        assert len(made) <= 4
    finally:
        ahead._shared._changed.release()
    assert next(ahead) == 1
    assert reached[4].wait(WAIT)
    ahead.close()


def test_problems_reach_the_consumer_after_what_was_good():
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the model is gone")

    ahead = RunAhead(broken(), lambda item: 1, 10)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="the model is gone"):
        next(ahead)
    assert list(ahead) == []


def test_closing_ends_the_thread_and_the_source():
    made: list[int] = []
    source = counted(10**9, made)
    ahead = RunAhead(source, lambda item: 1, 3)
    next(ahead)
    ahead.close()
    assert not thread_of(ahead).is_alive()
    assert list(source) == []
    assert list(ahead) == []
    ahead.close()  # harmless


def test_the_thread_ends_when_nobody_listens_any_more():
    ahead = RunAhead(counted(10**9, []), lambda item: 1, 3)
    next(ahead)
    thread = thread_of(ahead)
    del ahead
    gc.collect()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_a_program_ends_when_the_item_in_work_is_done():
    """A thread that computes while Python ends can abort the process."""
    script = """
import threading, time
from neucodec_tts.run_ahead import RunAhead

begun = threading.Event()

def source():
    try:
        yield 0
        begun.set()
        time.sleep(0.5)
        yield 1
    finally:
        print("closed", flush=True)

ahead = RunAhead(source(), lambda item: 1, 10)
next(ahead)
begun.wait()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "closed\n"
