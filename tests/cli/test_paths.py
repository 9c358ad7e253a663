"""Which files are read, and what they are written as."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.cli.paths import Job, plan


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    for name in ("in/b.wav", "in/a.FLAC", "in/deep/c.mp3", "in/notes.txt", "in/.hidden.wav", "one.wav"):
        Path(name).touch()


def jobs(*inputs: str, output: str, suffix: str | None = None) -> list[tuple[str, str]]:
    planned = plan(
        [Path(name) for name in inputs],
        Path(output),
        read=AUDIO_SUFFIXES,
        write=[".safetensors", ".npy"],
        suffix=suffix,
        things="recordings",
    )
    return [(str(job.source), str(job.target)) for job in planned]


def test_a_file_to_a_file():
    assert jobs("one.wav", output="x.npy") == [("one.wav", "x.npy")]
    assert jobs("one.wav", output="x.NPY") == [("one.wav", "x.NPY")]


def test_a_file_to_a_folder():
    assert jobs("one.wav", output="out") == [("one.wav", "out/one.safetensors")]
    assert jobs("one.wav", output="in", suffix=".npy") == [("one.wav", "in/one.npy")]


def test_a_folder_that_is_called_like_a_file():
    Path("x.npy").mkdir()
    assert jobs("one.wav", output="x.npy") == [("one.wav", "x.npy/one.safetensors")]


def test_a_folder_keeps_its_structure():
    assert jobs("in", "one.wav", output="out") == [
        ("in/a.FLAC", "out/a.safetensors"),
        ("in/b.wav", "out/b.safetensors"),
        ("in/deep/c.mp3", "out/deep/c.safetensors"),
        ("one.wav", "out/one.safetensors"),
    ]


def test_a_missing_input_is_left_for_the_reader_to_name():
    assert jobs("gone.wav", output="out") == [("gone.wav", "out/gone.safetensors")]


@pytest.mark.parametrize(
    ("inputs", "output", "suffix", "says"),
    [
        (["in"], "x.npy", None, "-o x.npy is one file, and there are 3 recordings: name a folder"),
        (["one.wav", "in/b.wav"], "x.npy", None, "there are 2 recordings"),
        (["one.wav"], "x.npy", ".safetensors", "contradict each other"),
        (["one.wav"], "x.wav", None, "a file must end in .safetensors or .npy"),
        (["one.wav", "in/deep/../../one.wav"], "out", None, "would both be written to out/one.safetensors"),
    ],
)
def test_what_does_not_go_together(inputs, output, suffix, says):
    with pytest.raises(typer.BadParameter) as wrong:
        jobs(*inputs, output=output, suffix=suffix)
    assert says in str(wrong.value)


def test_an_empty_folder():
    Path("empty").mkdir()
    with pytest.raises(typer.BadParameter, match="there are no recordings in the folder empty"):
        jobs("empty", output="out")


def test_two_inputs_of_one_name():
    Path("in/b.mp3").touch()
    with pytest.raises(typer.BadParameter, match=r"in/b\.mp3 and in/b\.wav would both be written to"):
        jobs("in", output="out")


def test_an_input_is_never_overwritten():
    with pytest.raises(typer.BadParameter, match="is an input, too"):
        plan([Path("one.wav")], Path("in/../one.wav"), read=[], write=[".wav"], suffix=None, things="x")


def test_a_job_is_a_pair():
    assert Job(Path("a"), Path("b")) == Job(Path("a"), Path("b"))
