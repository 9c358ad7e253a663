"""``export``, and codecs of ONNX files in other commands."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_a_codec_goes_to_onnx_and_is_used(call, recording):
    said = call("export", "tiny", "-o", "exported", "--int8", "--fp16", "--json")
    assert said.code == 0, said.err
    names = [file["path"] for file in json.loads(said.out)["files"]]
    assert names == [f"exported/{name}.onnx" for name in ("encoder", "streaming_decoder", "model")]
    assert call("encode", recording, "-o", "codes.npy", "-c", "exported").code == 0
    said = call("decode", "codes.npy", "-o", "again.wav", "-c", "exported", "--backend", "onnxruntime")
    assert (said.code, said.out.split(" (")[0]) == (
        0,
        "decoded codes.npy to again.wav: 1.50 s of speech, 75 codes",
    )
    said = call("info", "exported")
    assert said.code == 0
    assert "parameters in ONNX files, for ONNX Runtime" in said.out


def test_backends_that_the_files_are_not_for(call, recording):
    said = call("encode", recording, "-o", "codes.npy", "-c", "tiny", "--backend", "onnxruntime")
    assert said.code == 1
    assert "error: tiny holds no ONNX files" in said.err
