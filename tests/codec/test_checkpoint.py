"""Checkpoints in both layouts, and everything that can be wrong with one."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from neucodec_tts import CheckpointError, DeviceError, NeuCodec
from neucodec_tts.built_in import CODECS, SPEECH_MODELS
from neucodec_tts.codec.checkpoints.hub import is_reachable


@pytest.fixture
def folder(codec, tmp_path):
    target = tmp_path / "saved"
    codec.save_pretrained(target)
    return target


def edit(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_saved_and_loaded_it_is_the_same_codec(codec, folder, speech):
    loaded = NeuCodec.from_pretrained(folder)
    assert loaded.codec_id == codec.codec_id
    assert loaded.codec_id.startswith("neucodec-")
    assert not loaded.training
    wave = speech(0.5)
    assert torch.equal(loaded.encode(wave, 16_000), codec.encode(wave, 16_000))
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


def test_the_name_of_the_codebook_outlives_lower_precision(codec, folder, tmp_path):
    half = NeuCodec.from_pretrained(folder, dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    assert NeuCodec.from_pretrained(tmp_path / "half").codec_id == codec.codec_id
    assert NeuCodec.from_pretrained(tmp_path / "half", dtype="auto").dtype == torch.bfloat16
    assert NeuCodec.from_pretrained(tmp_path / "half").dtype == torch.float32


def test_sharded_weights(codec, folder, speech):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    wave = speech(0.3)
    assert torch.equal(NeuCodec.from_pretrained(folder).encode(wave, 16_000), codec.encode(wave, 16_000))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model-2\.safetensors"):
        NeuCodec.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("fc_encoder.bias"), "1 missing: fc_encoder.bias"),
        (lambda w: w.update(surplus=torch.zeros(1)), "1 unexpected: surplus"),
        (
            lambda w: w.update({"fc_encoder.bias": torch.zeros(3)}),
            r"1 of another shape: fc_encoder\.bias \(3,\) instead of \(176,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_listed(folder, change, says):
    edit(folder, change)
    with pytest.raises(CheckpointError, match=says):
        NeuCodec.from_pretrained(folder)


def test_a_half_downloaded_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged, perhaps half downloaded"):
        NeuCodec.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not readable as JSON"),
        ("[]", "type 'list'"),
        ('{"model_type": "qwen2"}', "type 'qwen2', not 'neucodec'"),
        ('{"model_type": "neucodec", "hidden_size": "many"}', "not a valid configuration"),
        ('{"model_type": "neucodec", "quantization_dim": 100}', "quantization_dim is 100"),
    ],
)
def test_a_configuration_of_something_else(folder, text, says):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=says):
        NeuCodec.from_pretrained(folder)


def test_a_folder_without_weights_or_without_anything(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor a \.bin"):
        NeuCodec.from_pretrained(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no NeuCodec checkpoint"):
        NeuCodec.from_pretrained(tmp_path / "empty")


class Evil:
    """Would print, were it unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_a_pickle_with_more_than_tensors_is_not_loaded(tmp_path, capsys):
    with open(tmp_path / "pytorch_model.bin", "wb") as file:
        pickle.dump({"CodecEnc.x": Evil()}, file)
    with pytest.raises(CheckpointError, match="damaged, or holds more than tensors"):
        NeuCodec.from_pretrained(tmp_path)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"bert.layer": torch.zeros(1)}, "weights of another model: bert.layer"),
        ([torch.zeros(1)], "does not hold a dictionary of tensors"),
    ],
)
def test_a_pickle_of_something_else(tmp_path, weights, says):
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=says):
        NeuCodec.from_pretrained(tmp_path)


def test_upstreams_checkpoint_cut_short(tmp_path):
    torch.save(
        {"CodecEnc.x": torch.zeros(1), "semantic_model.x": torch.zeros(1)}, tmp_path / "pytorch_model.bin"
    )
    with pytest.raises(CheckpointError, match=r"layout of neucodec 0\.0\.6, but lacks"):
        NeuCodec.from_pretrained(tmp_path)


def test_names_that_are_nothing(tmp_path):
    for name in ("no/such/folder", "./nothing", "tinny", tmp_path / "nothing"):
        with pytest.raises(CheckpointError, match=r"there is no folder .*built-in: tiny"):
            NeuCodec.from_pretrained(name)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CheckpointError, match="is a file; name the folder"):
        NeuCodec.from_pretrained(file)


def test_without_a_network_it_says_so_at_once(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub import constants

    def retry(*_, **__):
        raise AssertionError("huggingface_hub was asked, which tries for 24 s before it gives up")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", retry)
    with pytest.raises(CheckpointError, match="offline mode is on, and it is not in the cache"):
        NeuCodec.from_pretrained("neuphonic/neucodec", cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CheckpointError, match=r"hub\.invalid cannot be reached"):
        NeuCodec.from_pretrained("neuphonic/neucodec", cache_dir=tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers at once, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("neucodec_tts.codec.checkpoints.hub.is_reachable", lambda endpoint: True)
    return monkeypatch


def test_files_are_downloaded_again_once(hub, codec, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    codec.save_pretrained(tmp_path)
    asked = []

    def download(repository, filename, *, force_download, **_):
        asked.append((filename, force_download))
        if not (tmp_path / filename).is_file():
            raise EntryNotFoundError(filename)
        return tmp_path / filename

    hub.setattr(huggingface_hub, "hf_hub_download", download)
    NeuCodec.from_pretrained("owner/codec")
    assert asked
    assert not any(again for _, again in asked)
    asked.clear()
    loaded = NeuCodec.from_pretrained("owner/codec", force_download=True)
    assert loaded.codec_id == codec.codec_id
    again = [filename for filename, again in asked if again]
    assert {"config.json", "model.safetensors"} <= set(again)
    assert len(again) == len(set(again))
    with pytest.raises(CheckpointError, match="again: offline mode is on; leave force_download out"):
        NeuCodec.from_pretrained("owner/codec", force_download=True, local_files_only=True)


def test_a_codec_is_pushed_to_the_hub(hub, codec, tmp_path):
    import huggingface_hub

    done: list[tuple[object, ...]] = []

    class Api:
        def __init__(self, token):
            done.append(("token", token))

        def create_repo(self, repo_id, *, private, exist_ok):
            assert exist_ok
            done.append(("create_repo", repo_id, private))
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def create_branch(self, repo_id, *, branch, exist_ok):
            assert exist_ok
            done.append(("create_branch", repo_id, branch))

        def upload_folder(self, *, folder_path, **keywords):
            shutil.copytree(folder_path, tmp_path / "uploaded")
            done.append(("upload_folder", keywords))
            return SimpleNamespace(commit_url="https://hub.invalid/me/mine/commit/1")

    hub.setattr(huggingface_hub, "HfApi", Api)
    url = codec.push_to_hub("mine", private=True, token="secret", branch="tuned", commit_message="My voice")
    assert url == "https://hub.invalid/me/mine/commit/1"
    keywords = {
        "repo_id": "me/mine",
        "commit_message": "My voice",
        "revision": "tuned",
        "create_pr": None,
    }
    assert done == [
        ("token", "secret"),
        ("create_repo", "mine", True),
        ("create_branch", "me/mine", "tuned"),
        ("upload_folder", keywords),
    ]
    assert NeuCodec.from_pretrained(tmp_path / "uploaded").codec_id == codec.codec_id


def test_a_hub_that_refuses_or_is_not_there(hub, codec):
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    def refuse(*_, **__):
        answer: Any = SimpleNamespace(status_code=401, headers={}, request=None)
        raise HfHubHTTPError("401 Unauthorized", response=answer)

    hub.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(CheckpointError, match=r"cannot upload to 'owner/codec': .*Unauthorized"):
        codec.push_to_hub("owner/codec")
    hub.setattr("neucodec_tts.codec.checkpoints.hub.is_reachable", lambda endpoint: False)
    with pytest.raises(CheckpointError, match="cannot be reached; save_pretrained writes a folder"):
        codec.push_to_hub("owner/codec")


def test_devices_and_formats_that_are_not_there(folder):
    with pytest.raises(DeviceError, match="there is no device 'cuda:7' here; there are: cpu"):
        NeuCodec.from_pretrained(folder, device="cuda:7")
    with pytest.raises(DeviceError, match="no device 'toaster'"):
        NeuCodec.from_pretrained(folder, device="toaster")
    with pytest.raises(CheckpointError, match="dtype is 'int8'"):
        NeuCodec.from_pretrained(folder, dtype="int8")


def test_saving_where_nothing_can_be_saved(codec, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot make the folder"):
        codec.save_pretrained(tmp_path / "file")


def test_every_built_in_checkpoint_is_there():
    for name in CODECS:
        assert NeuCodec.from_pretrained(name).codebook_size == 16_384
    folders = [*CODECS.values(), *SPEECH_MODELS.values()]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40_000_000


def test_a_proxy_that_does_not_answer_is_no_network(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not is_reachable("https://hub.invalid")
