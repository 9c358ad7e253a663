"""A data set is not continued with another encoder."""

from __future__ import annotations

import copy

import pytest
import torch

from neucodec_tts.dataset import prepare
from neucodec_tts.errors import DatasetError
from tests.dataset.conftest import SMALL


def test_a_data_set_does_not_go_on_with_a_changed_acoustic_encoder(write_clip, codec, tmp_path):
    write_clip(tmp_path / "corpus" / "1.wav", 1, 0.3).with_suffix(".txt").write_text("One.", encoding="utf-8")
    prepare(tmp_path / "corpus", tmp_path / "out", codec, SMALL, workers=0)
    changed = copy.deepcopy(codec)
    with torch.no_grad():
        next(changed.acoustic_encoder.parameters()).mul_(1.01)
    with pytest.raises(DatasetError, match=r"codec: encoder was \w+ and is now \w+"):
        prepare(tmp_path / "corpus", tmp_path / "out", changed, SMALL, workers=0)
