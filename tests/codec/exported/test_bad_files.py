"""ONNX files that are damaged, of another version, of another codec, or not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from neucodec_tts import CheckpointError, NeuCodec
from neucodec_tts.codec.onnx.export import export
from neucodec_tts.codec.onnx.session import Session, check_locations

NAME = "streaming_decoder.onnx"


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def rewrite(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_truncated(folder, share):
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"streaming_decoder.onnx is damaged, perhaps half copied"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_something_else(folder):
    (folder / NAME).write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointError, match=r"streaming_decoder.onnx"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_of_a_later_opset(folder):
    rewrite(folder / NAME, lambda model: setattr(model.opset_import[0], "version", 4000))
    with pytest.raises(
        CheckpointError, match=r"cannot be loaded by onnxruntime .*install a newer onnxruntime"
    ):
        NeuCodec.from_pretrained(folder).decode([1])


def test_of_a_later_release(folder):
    rewrite(folder / NAME, lambda model: setattr(model.metadata_props[0], "value", "2"))
    with pytest.raises(CheckpointError, match=r"exported in version 2, and this release reads version 1"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_of_another_codec(folder, codec, tmp_path):
    export(codec, tmp_path / "other")
    shutil.copy(tmp_path / "other" / NAME, folder)
    with pytest.raises(
        CheckpointError, match=f"belongs to the codec {codec.codec_id}, and the folder's config"
    ):
        NeuCodec.from_pretrained(folder).decode([1])


def test_without_metadata(folder):
    rewrite(folder / NAME, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(CheckpointError, match=r"streaming_decoder.onnx does not say its memory_size"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_inputs_that_the_file_does_not_take(exported):
    session = Session(exported / "model.onnx", ["codes"])
    with pytest.raises(
        CheckpointError, match=r"model.onnx cannot be computed: .*; it is no file of this release"
    ):
        session.run(codes=np.zeros((1, 1, 3)))


def test_another_part(folder):
    shutil.copy(folder / "encoder.onnx", folder / NAME)
    with pytest.raises(
        CheckpointError, match=r"has the inputs audio, and not codes, memory, settled, before"
    ):
        NeuCodec.from_pretrained(folder).decode([1])


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "a/../../secret", "below/weights"])
def test_weights_outside_the_folder(folder, place):
    def point_there(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[3]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)

    rewrite(folder / NAME, point_there)
    with pytest.raises(CheckpointError, match=f"takes weights from '{place}', outside its folder"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_a_link_out_of_the_folder(folder, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(10_000))
    (folder / "weights").symlink_to(tmp_path / "secret")

    def point_there(model: onnx.ModelProto) -> None:
        model.graph.initializer[3].external_data.add(key="location", value="weights")

    rewrite(folder / NAME, point_there)
    with pytest.raises(CheckpointError, match=r"takes weights from 'weights', outside its folder"):
        check_locations(folder / NAME)


def test_the_hubs_links_are_followed(exported, tmp_path):
    """Its cache has links to files in a folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    shutil.copytree(exported, blobs)
    snapshot.mkdir()
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    (snapshot / "weights").symlink_to(blobs / "meta.yaml")

    def point_there(model: onnx.ModelProto) -> None:
        model.graph.initializer[3].external_data.add(key="location", value="weights")

    rewrite(blobs / NAME, point_there)
    check_locations(snapshot / NAME)


def test_a_folder_without_a_decoder(folder):
    (folder / NAME).unlink()
    (folder / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"has no model.onnx, which decoding needs"):
        NeuCodec.from_pretrained(folder).decode([1])


def test_a_folder_with_a_checkpoint_is_not_written_into(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a checkpoint, whose config.json would be lost"):
        export(tiny, tmp_path)
    assert NeuCodec.from_pretrained(tmp_path).codec_id == tiny.codec_id


def test_a_folder_that_cannot_be_made(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot make the folder"):
        export(tiny, tmp_path / "file" / "folder")
