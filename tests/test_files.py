"""Writing files whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from neucodec_tts.errors import AudioError, NeuCodecError
from neucodec_tts.files import atomic_folder, atomic_path, check_writable
from tests.privileges import ordinary_user


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "a.wav"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".wav"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_leaves_what_was_there(tmp_path, interruption):
    target = tmp_path / "a.wav"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("use", [check_writable, lambda path: atomic_path(path).__enter__()])
def test_ctrl_c_right_after_the_temporary_file_is_made(tmp_path, monkeypatch, use):
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neucodec_tts.files.os.close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        use(tmp_path / "a.wav")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "file.txt")
    with atomic_path(link) as temporary:
        temporary.write_text("x")
    assert link.is_symlink()
    assert (tmp_path / "real" / "file.txt").read_text() == "x"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "a.wav"
    with pytest.raises(AudioError, match="nowhere does not exist; make it"), atomic_path(path, AudioError):
        raise AssertionError("not reached")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(NeuCodecError, match="it is a folder"), atomic_path(tmp_path):
        raise AssertionError("not reached")


def test_devices_are_not_replaced():
    with pytest.raises(NeuCodecError, match="not a plain file"), atomic_path(os.devnull):
        raise AssertionError("not reached")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_folder_without_permission_is_named(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with (
        ordinary_user(),
        pytest.raises(NeuCodecError, match=r"cannot write .*Permission denied"),
        atomic_path(folder / "a"),
    ):
        raise AssertionError("not reached")


def test_whether_a_file_could_be_written(tmp_path):
    target = tmp_path / "a.wav"
    check_writable(target)
    assert names(tmp_path) == []
    target.write_text("old")
    check_writable(target)
    assert target.read_text() == "old"
    for wrong, message in ((tmp_path, "it is a folder"), (tmp_path / "none" / "a", "none does not exist")):
        with pytest.raises(AudioError, match=message):
            check_writable(wrong, AudioError)
    assert names(tmp_path) == ["a.wav"]


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as temporary:
        assert temporary.parent == target.parent
        (temporary / "weights").write_text("new")
        assert not target.exists()
    assert names(target) == ["weights"]
    with atomic_folder(target) as temporary:
        (temporary / "other").write_text("newer")
        assert names(target) == ["weights"]
    assert names(target) == ["other"]
    assert names(target.parent) == ["model"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_what_was_there(tmp_path, interruption):
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")

    def write_half() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "weights").write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    replace = os.replace

    def fail(source: os.PathLike[str], to: os.PathLike[str]) -> None:
        if os.fspath(source).endswith(".part"):
            raise OSError(5, "Input/output error")
        replace(source, to)

    monkeypatch.setattr("neucodec_tts.files.os.replace", fail)
    with (
        pytest.raises(NeuCodecError, match=r"cannot write .*model: Input/output error"),
        atomic_folder(target),
    ):
        pass
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model").touch()
    with pytest.raises(NeuCodecError, match="it is a file"), atomic_folder(tmp_path / "model"):
        raise AssertionError("not reached")


@pytest.mark.parametrize("use", [atomic_path, atomic_folder])
def test_a_full_disk_is_named(tmp_path, use):
    def write() -> None:
        with use(tmp_path / "a", AudioError):
            raise OSError(28, "No space left on device")

    with pytest.raises(AudioError, match=r"no space to write .*; make room"):
        write()
    assert names(tmp_path) == []


def test_a_temporary_file_elsewhere(tmp_path):
    (tmp_path / "work").mkdir()
    with atomic_path(tmp_path / "a.txt", within=tmp_path / "work", sync=True) as temporary:
        assert temporary.parent == tmp_path / "work"
        temporary.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"
    assert names(tmp_path / "work") == []
