"""Codes on disk: what comes back, and what is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from neucodec_tts import NeuCodec
from neucodec_tts.codec.storage import load_codes, read_codes, save_codes
from neucodec_tts.errors import CodesError
from tests.privileges import ordinary_user

CODES = torch.tensor([0, 1, 4_095, 471])


@pytest.fixture(scope="module")
def tiny() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".NPY", ".SafeTensors"])
def test_what_is_saved_comes_back(tmp_path, tiny, suffix):
    path = tmp_path / f"a{suffix}"
    save_codes(path, CODES, tiny)
    assert os.listdir(tmp_path) == [path.name]
    loaded = load_codes(path, tiny)
    assert loaded.dtype == torch.int64
    assert torch.equal(loaded, CODES)
    stored = read_codes(path)
    assert stored.codes.dtype == np.uint16
    assert stored.codec_id == (tiny.codec_id if suffix.lower() == ".safetensors" else None)


def test_the_metadata_say_what_it_is(tmp_path, tiny):
    save_codes(tmp_path / "a.safetensors", CODES, tiny)
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as opened:
        assert opened.metadata() == {
            "format": "neucodec-codes",
            "version": "1",
            "codec_id": tiny.codec_id,
            "codebook_size": "16384",
            "frame_rate": "50",
        }
        assert list(opened.keys()) == ["codes"]


def test_npy_files_are_plain_ones(tmp_path, tiny):
    save_codes(tmp_path / "a.npy", CODES, tiny)
    assert np.load(tmp_path / "a.npy").tolist() == CODES.tolist()
    np.save(tmp_path / "b.npy", np.array([5, 6], dtype=">i4"))  # someone else's integers
    assert load_codes(tmp_path / "b.npy", tiny).tolist() == [5, 6]


@pytest.mark.parametrize(
    "codes", [torch.tensor([65_536]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor([])]
)
def test_codes_that_are_none_are_not_saved(tmp_path, tiny, codes):
    with pytest.raises(CodesError, match=r"a\.npy"):
        save_codes(tmp_path / "a.npy", codes, tiny)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npz", "a.pt"])
def test_other_suffixes(tmp_path, tiny, name):
    with pytest.raises(CodesError, match=r"stored in \.safetensors or \.npy files"):
        save_codes(tmp_path / name, CODES, tiny)
    with pytest.raises(CodesError, match=r"stored in \.safetensors or \.npy files"):
        read_codes(tmp_path / name)


def test_codes_of_another_codec(tmp_path, tiny):
    metadata = {"format": "neucodec-codes", "version": "1", "codec_id": "neucodec-000000000000"}
    save_file({"codes": np.zeros(3, np.uint16)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CodesError, match=rf"made by the codec neucodec-0{{12}}, and this is {tiny.codec_id}"):
        load_codes(tmp_path / "a.safetensors", tiny)


def test_a_later_version_of_the_format(tmp_path):
    metadata = {"format": "neucodec-codes", "version": "2", "codec_id": "x"}
    save_file({"codes": np.zeros(3, np.uint16)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CodesError, match=r"version 2 of the format.*install a newer"):
        read_codes(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "metadata", [None, {}, {"format": "pt"}, {"format": "neucodec-codes", "version": "1"}]
)
def test_tensors_that_are_no_codes(tmp_path, metadata):
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CodesError, match=r"these are tensors, but not codes \(it holds weight\)"):
        read_codes(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.float32),
        np.zeros((2, 3), np.int64),
        np.zeros(0, np.uint16),
        np.zeros((), np.int64),
        np.zeros(3, bool),
    ],
    ids=["floats", "two axes", "empty", "one number", "booleans"],
)
def test_arrays_that_are_no_codes(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(CodesError, match=r"a\.npy: codes are stored as integers of the shape \(frames,\)"):
        read_codes(tmp_path / "a.npy")


@pytest.mark.parametrize("code", [-1, 65_536, 2**40])
def test_numbers_that_are_no_codes(tmp_path, code):
    np.save(tmp_path / "a.npy", np.array([1, code]))
    with pytest.raises(CodesError, match=f"holds {code}, which is no code"):
        read_codes(tmp_path / "a.npy")


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CodesError, match=r"a\.npy: not a \.npy file of codes"):
        read_codes(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 40, -2])
def test_a_file_cut_short(tmp_path, tiny, suffix, kept):
    path = tmp_path / f"a{suffix}"
    save_codes(path, CODES, tiny)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CodesError, match=rf"a\{suffix}: not a \{suffix} file of codes, or a damaged one"):
        read_codes(path)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_files_that_cannot_be_read(tmp_path, tiny, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(CodesError, match="no such file"):
        read_codes(path)
    path.mkdir()
    with pytest.raises(CodesError, match="this is a folder"):
        read_codes(path)
    path.rmdir()
    save_codes(path, CODES, tiny)
    path.chmod(0)
    with ordinary_user(), pytest.raises(CodesError, match="no permission"):
        read_codes(path)


def test_a_zip_called_npy(tmp_path):
    np.savez(tmp_path / "a.npz", codes=np.zeros(3, np.uint16))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(CodesError, match="this is several arrays"):
        read_codes(tmp_path / "a.npy")


def test_a_missing_folder(tmp_path, tiny):
    with pytest.raises(CodesError, match="does not exist; make it first"):
        save_codes(tmp_path / "none" / "a.npy", CODES, tiny)


def test_json_of_codes_is_no_safetensors_file(tmp_path):
    (tmp_path / "a.safetensors").write_text(json.dumps([1, 2, 3]))
    with pytest.raises(CodesError, match="damaged"):
        read_codes(tmp_path / "a.safetensors")
