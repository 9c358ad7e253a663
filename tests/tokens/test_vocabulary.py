"""Codes to ids and back: kinds, shapes, devices, and everything that must be refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.errors import CodesError, VocabularyError
from neucodec_tts.tokens import SpeechVocabulary

CONTIGUOUS = SpeechVocabulary(range(700, 700 + 1024))
# Codes 0.. at scattered ids: 1024 distinct numbers below 5000.
SCATTERED = SpeechVocabulary(np.random.default_rng(0).permutation(5000)[:1024], "<|s_{}|>")
both = pytest.mark.parametrize("vocabulary", [CONTIGUOUS, SCATTERED], ids=["contiguous", "scattered"])


def plainly(vocabulary: SpeechVocabulary, codes: list[int]) -> list[int]:
    return [int(vocabulary.ids[code]) for code in codes]


def test_contiguity_is_noticed():
    assert CONTIGUOUS.is_contiguous
    assert CONTIGUOUS.id_range == (700, 1724)
    assert not SCATTERED.is_contiguous
    assert SCATTERED.id_range is None
    # Descending ids are a table, not an addition.
    assert SpeechVocabulary([5, 4, 3]).to_ids([0, 1, 2]) == [5, 4, 3]


@both
@given(codes=st.lists(st.integers(0, 1023), max_size=40))
def test_every_kind_goes_there_and_back(vocabulary: SpeechVocabulary, codes: list[int]):
    ids = plainly(vocabulary, codes)
    for given_codes in (codes, tuple(codes)):
        assert vocabulary.to_ids(given_codes) == ids
        assert vocabulary.to_codes(ids) == codes
        assert all(type(id) is int for id in vocabulary.to_ids(given_codes))
    for dtype in (np.uint16, np.int32, np.int64):
        array = np.asarray(codes, dtype)
        got = vocabulary.to_ids(array)
        assert got.dtype == np.int64
        assert got.tolist() == ids
        assert vocabulary.to_codes(got).tolist() == codes
    for torch_dtype in (torch.int16, torch.int32, torch.int64):
        tensor = torch.tensor(codes, dtype=torch_dtype)
        got_tensor = vocabulary.to_ids(tensor)
        assert got_tensor.dtype == torch.int64
        assert got_tensor.tolist() == ids
        assert vocabulary.to_codes(got_tensor).tolist() == codes


@both
def test_shapes_are_kept(vocabulary: SpeechVocabulary):
    codes = np.arange(24).reshape(2, 3, 4)
    assert vocabulary.to_ids(codes).shape == (2, 3, 4)
    np.testing.assert_array_equal(vocabulary.to_codes(vocabulary.to_ids(codes)), codes)
    tensor = torch.from_numpy(codes)
    assert torch.equal(vocabulary.to_codes(vocabulary.to_ids(tensor)), tensor)
    assert vocabulary.to_ids(torch.tensor(7)).shape == ()


def test_small_unsigned_codes_do_not_overflow():
    vocabulary = SpeechVocabulary(range(150_000, 150_000 + 65_536))
    assert vocabulary.to_ids(np.array([65_535], np.uint16)).tolist() == [215_535]
    assert vocabulary.to_ids(torch.tensor([65_535], dtype=torch.uint16)).tolist() == [215_535]
    assert vocabulary.to_ids(torch.tensor([255], dtype=torch.uint8)).tolist() == [150_255]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both
def test_tensors_stay_on_their_device(vocabulary: SpeechVocabulary):
    codes = torch.arange(100, device="cuda")
    ids = vocabulary.to_ids(codes)
    assert ids.device == codes.device
    assert vocabulary.is_code(ids).device == codes.device
    assert torch.equal(vocabulary.to_codes(ids), codes)


@both
def test_ids_that_are_no_codes(vocabulary: SpeechVocabulary):
    codes = [3, 999, 0]
    strangers = [id for id in range(6000) if id not in set(vocabulary.ids.tolist())]
    ids = [strangers[0], *plainly(vocabulary, codes), strangers[-1], 10**7]
    expected = [False, True, True, True, False, False]
    assert vocabulary.is_code(ids) == expected
    assert vocabulary.is_code(np.array(ids)).tolist() == expected
    assert vocabulary.is_code(torch.tensor(ids)).tolist() == expected
    assert vocabulary.codes_among(ids) == codes
    assert vocabulary.codes_among(torch.tensor(ids)).tolist() == codes
    assert vocabulary.codes_among(np.array([strangers[0]])).tolist() == []
    for kind in (list, np.array, torch.tensor):
        with pytest.raises(VocabularyError, match=rf"token id {strangers[0]} at position 0 is not a code"):
            vocabulary.to_codes(kind(ids))


@both
def test_every_id_is_a_code_or_not(vocabulary: SpeechVocabulary):
    ids = np.arange(-3, 6000)
    expected = np.isin(ids, vocabulary.ids)
    np.testing.assert_array_equal(vocabulary.is_code(ids), expected)
    np.testing.assert_array_equal(vocabulary.is_code(torch.from_numpy(ids)).numpy(), expected)


@both
@pytest.mark.parametrize("bad", [-1, 1024, 65_536, 2**40])
def test_codes_out_of_range_are_refused(vocabulary: SpeechVocabulary, bad: int):
    for kind in (list, np.array, torch.tensor):
        with pytest.raises(CodesError, match=rf"code {bad} at position 2 .*1,024 codes"):
            vocabulary.to_ids(kind([0, 1, bad]))
    with pytest.raises(CodesError, match=r"index \(1, 0\)"):
        vocabulary.to_ids(np.array([[0, 1], [bad, 2]]))


@pytest.mark.parametrize(
    "bad",
    [
        [0.5, 1.0],
        ["<|speech_1|>"],
        "12",
        7,
        None,
        [[1, 2], [3, 4]],
        [[1], [2, 3]],
        [2**70],
        np.array([1.0]),
        np.array([True]),
        torch.tensor([1.5]),
        torch.tensor([True]),
    ],
    ids=repr,
)
def test_what_is_not_integers_is_refused(bad: object):
    with pytest.raises(CodesError, match=r"codes (must be|in a list)"):
        CONTIGUOUS.to_ids(bad)  # type: ignore[call-overload]
    with pytest.raises(VocabularyError, match=r"token ids (must be|in a list)"):
        CONTIGUOUS.to_codes(bad)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at least one code"),
        ([[1, 2]], "flat list"),
        ([0.5], "flat list of integers"),
        ([-1, 0], "negative"),
        ([4, 9, 4], "codes 0 and 2 have the same token id 4"),
    ],
)
def test_ids_that_make_no_vocabulary(ids: list[int], message: str):
    with pytest.raises(VocabularyError, match=message):
        SpeechVocabulary(ids)


@pytest.mark.parametrize("pattern", ["speech", "{}{}", "{0}", "{", "<|{x}|>"])
def test_patterns_that_name_no_codes(pattern: str):
    with pytest.raises(VocabularyError, match="exactly once"):
        SpeechVocabulary([1], pattern)


def test_model_rows():
    CONTIGUOUS.check_model_rows(1724)
    CONTIGUOUS.check_model_rows(2000)  # models pad their tables
    with pytest.raises(VocabularyError, match=r"1,723 embedding rows.*up to id 1,723"):
        CONTIGUOUS.check_model_rows(1723)
    assert SCATTERED.required_rows == SCATTERED.ids.max() + 1


def test_tags():
    assert SCATTERED.tags([3, 1000]) == ["<|s_3|>", "<|s_1000|>"]
    with pytest.raises(CodesError):
        SCATTERED.tags([1024])


@both
def test_equality_and_pickling(vocabulary: SpeechVocabulary):
    vocabulary.to_codes(torch.from_numpy(vocabulary.ids.copy()))  # fills its tables
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy == vocabulary
    assert hash(copy) == hash(vocabulary)
    assert copy.to_ids([5]) == vocabulary.to_ids([5])
    assert CONTIGUOUS != SCATTERED
    assert SpeechVocabulary(range(700, 700 + 1024), "<|s_{}|>") != CONTIGUOUS
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.ids[0] = 1
