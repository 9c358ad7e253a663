"""What goes where: results to stdout, the rest to stderr, a progress bar only to a terminal."""

from __future__ import annotations

import json
import logging
import math
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from neucodec_tts.cli.terminal import Stopwatch, Terminal, real_time, reporting
from neucodec_tts.errors import AudioError


def test_people_read_lines_and_machines_one_object(capsys):
    for as_json in (False, True):
        terminal = Terminal(json=as_json, quiet=False)
        terminal.say("done")
        terminal.result(
            {"path": Path("a/b"), "score": math.inf, "rows": [1, 2.5, {"x": math.nan}], "no": None}
        )
        out = capsys.readouterr().out
        if as_json:
            assert json.loads(out) == {
                "path": "a/b",
                "score": None,
                "rows": [1, 2.5, {"x": None}],
                "no": None,
            }
        else:
            assert out == "done\n"


def test_quiet_leaves_errors(capsys):
    terminal = Terminal(json=False, quiet=True)
    terminal.say("done")
    terminal.note("by the way")
    terminal.error(AudioError("a.wav: it\n is bad"))
    assert capsys.readouterr() == ("", "error: a.wav: it is bad\n")


def fail(problem: BaseException, debug: bool = False) -> None:
    with reporting(as_json=False, quiet=False, debug=debug):
        raise problem


@pytest.mark.parametrize(("problem", "code"), [(AudioError("a.wav: bad"), 1), (KeyboardInterrupt(), 130)])
def test_exit_codes(capsys, problem, code):
    with pytest.raises(typer.Exit) as left:
        fail(problem)
    assert left.value.exit_code == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_debug_shows_where_it_happened():
    with pytest.raises(AudioError, match="bad"):
        fail(AudioError("bad"), debug=True)


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


@pytest.mark.parametrize(
    ("quiet", "debug", "shown"), [(False, False, "W"), (True, False, ""), (False, True, "WD")]
)
def test_what_the_library_logs(capsys, quiet, debug, shown):
    logger = logging.getLogger("neucodec_tts.something")
    with reporting(as_json=False, quiet=quiet, debug=debug):
        logger.warning("W")
        logger.debug("D")
    said = capsys.readouterr().err
    assert "".join(line[-1] for line in said.splitlines()) == shown
    assert not logging.getLogger("neucodec_tts").handlers


def on_a_terminal(code: str, *, stderr_is_one: bool = True) -> tuple[str, str]:
    """stdout and stderr of Python running `code`, its stderr a pseudo-terminal or a pipe."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=theirs if stderr_is_one else subprocess.PIPE,
        text=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    while stderr_is_one:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux' way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    out, err = process.communicate()
    os.close(ours)
    assert process.returncode == 0
    return out, err or shown.decode()


PROGRESS = """
import time
from neucodec_tts.cli import terminal
terminal.PROGRESS_AFTER_SECONDS = {after}
with terminal.Terminal(json=False, quiet={quiet}).progress("encoding", 3) as advance:
    for _ in range(3):
        time.sleep(0.3)
        advance(1)
print("result")
"""


def test_progress_is_shown_on_a_terminal_and_on_stderr():
    out, err = on_a_terminal(PROGRESS.format(after=0.0, quiet=False))
    assert out == "result\n"
    assert "encoding" in err
    assert "2/3" in err


@pytest.mark.slow
def test_progress_in_seconds_of_audio(tmp_path):
    """After each of two batches, and not only after all."""
    code = f"""
from neucodec_tts.cli import main, terminal
from tests.assets import DEMO
import numpy, soundfile
terminal.PROGRESS_AFTER_SECONDS = 0.0
for name in "abc":
    soundfile.write({str(tmp_path)!r} + f"/{{name}}.wav", numpy.resize(soundfile.read(DEMO)[0], 16_000 * 22), 16_000)
main(["encode", {str(tmp_path)!r}, "-o", {str(tmp_path / "codes")!r}])
"""
    out, err = on_a_terminal(code)
    assert "encoded" in out
    assert "0 of 66 s of audio" in err
    assert "44 of 66 s of audio" in err


@pytest.mark.parametrize(
    ("after", "quiet", "stderr_is_one"),
    [(60.0, False, True), (0.0, True, True), (0.0, False, False)],
    ids=["short work", "quiet", "no terminal"],
)
def test_progress_is_not_shown_otherwise(after, quiet, stderr_is_one):
    code = PROGRESS.format(after=after, quiet=quiet)
    assert on_a_terminal(code, stderr_is_one=stderr_is_one) == ("result\n", "")


def test_the_stopwatch_adds_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch:
            time.sleep(0.02)
    assert watch.seconds >= 0.04
    assert real_time(0.5, 10.0) == "0.50 s, 20 times real time"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_write_leaves_nothing(tmp_path, sent, code):
    """A real process, stopped while the temporary file is there."""
    program = f"""
import time, typer
from neucodec_tts.cli import app
from neucodec_tts.cli.terminal import reporting
from neucodec_tts.files import atomic_path

@app.app.command()
def slow():
    with reporting(False, False, False), atomic_path({str(tmp_path / "out.wav")!r}) as temporary:
        temporary.write_text("half")
        time.sleep(60)

app.run(["slow"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not any(file.stat().st_size for file in tmp_path.iterdir()):
        time.sleep(0.01)
    assert [file.name.startswith(".out.") for file in tmp_path.iterdir()] == [True]
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
