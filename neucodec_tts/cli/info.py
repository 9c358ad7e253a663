"""``neucodec-tts info``: what is installed here, and what a codec or a data set is."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Annotated

import typer

import neucodec_tts
from neucodec_tts.cli.dataset_info import show_dataset
from neucodec_tts.cli.options import DecoderOption, DeviceOption
from neucodec_tts.cli.paths import CODE_SUFFIXES
from neucodec_tts.cli.terminal import Terminal, command, load_codec
from neucodec_tts.errors import DatasetError

_CODEC_FILES = {"config.json", "model.safetensors"}
_SEMANTIC = {"wav2vec2-bert": "Wav2Vec2-BERT", "hubert": "HuBERT"}
_PACKAGES = ("torch", "transformers", "torchaudio", "soundfile", "numpy", "pystoi", "pesq", "matplotlib")


@command
def info(
    terminal: Terminal,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="A codec: a hub id, a folder, or tiny (the default). Or the folder of a data set, a file of codes or "
            "a voice.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="PNG",
            help="Where to draw a data set's lengths and codes; into its folder by default.",
            show_default=False,
        ),
    ] = None,
    decoder: DecoderOption = None,
    device: DeviceOption = None,
) -> None:
    """Show what is installed, and a codec, a data set, a file of codes or a voice.

    Of a codec: configuration, parameters and id. Of a data set that `prepare` made: hours, speakers, a histogram of
    lengths, and the use of its codes. Of a file of codes: the codec that made them, frames and seconds; of a voice its
    text, too.
    """
    dataset = what is not None and _is_dataset(what)
    if plot is not None and not dataset:
        raise typer.BadParameter("--plot draws a data set; name its folder")
    if what is not None and dataset:
        show_dataset(terminal, what, plot)
        return
    if what is not None and Path(what).suffix.lower() in CODE_SUFFIXES and not Path(what).is_dir():
        _show_codes(terminal, Path(what))
        return
    if what is not None:
        _refuse_other_folders(what)
    versions = {"neucodec-tts": neucodec_tts.__version__, "python": platform.python_version()}
    versions |= {name: _version(name) for name in _PACKAGES}
    terminal.say("versions   " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    devices = _devices()
    terminal.say("devices    " + ", ".join(devices))
    codec = load_codec(terminal, what, device, decoder=decoder)
    from neucodec_tts.metrics.scores import bit_rate

    parameters = {
        name: sum(each.numel() for each in part.parameters()) for name, part in codec.named_children()
    }
    bits = bit_rate(codec.codebook_size, codec.frame_rate)
    config = codec.config.to_dict()
    description: dict[str, object] = {
        "codec": what or "tiny",
        "codec_id": codec.codec_id,
        "input_sample_rate": codec.input_sample_rate,
        "output_sample_rate": codec.output_sample_rate,
        "frame_rate": codec.frame_rate,
        "codebook_size": codec.codebook_size,
        "bit_rate": bits,
        "dtype": str(codec.dtype).removeprefix("torch."),
        "device": str(codec.device),
        "parameters": parameters,
    }
    terminal.say(f"codec      {description['codec']}, codec id {codec.codec_id}")
    terminal.say(
        f"audio      {codec.input_sample_rate} Hz in, {codec.output_sample_rate} Hz out; {codec.frame_rate:g} codes "
        f"a second, one of {codec.codebook_size}, {bits:.0f} bit/s"
    )
    total = sum(parameters.values())
    if total:
        terminal.say(
            f"parameters {_millions(total)}: "
            + ", ".join(f"{name} {_millions(count)}" for name, count in parameters.items())
        )
    else:
        terminal.say("parameters in ONNX files, for ONNX Runtime")
    semantic = config["semantic_model_config"]
    terminal.say(
        f"semantic   {semantic['num_hidden_layers']} layers of {semantic['hidden_size']}, "
        f"{semantic['num_attention_heads']} heads ({_SEMANTIC[semantic['model_type']]})"
    )
    terminal.say(
        f"acoustic   {config['encoder_hidden_size']} channels, strides "
        + ", ".join(str(ratio) for ratio in config["downsampling_ratios"])
    )
    terminal.say(
        f"decoder    {config['num_hidden_layers']} layers of {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads"
    )
    terminal.result(description | {"versions": versions, "devices": devices, "config": config})


def _is_dataset(what: str) -> bool:
    if "://" not in what and not Path(what).is_dir():
        return False  # nothing but a codec's name needs no package of data sets
    from neucodec_tts.dataset.folder import DatasetFolder
    from neucodec_tts.dataset.places import look

    return look(DatasetFolder.at(what).manifest) is not None


def _refuse_other_folders(what: str) -> None:
    """Refuse a folder that is neither a data set nor a codec.

    Raises:
        DatasetError: with what was looked for.
    """
    if "://" not in what and not Path(what).is_dir():
        return
    from neucodec_tts.dataset.places import is_dir, list_folder, place

    folder = place(what)
    names = list_folder(folder) if is_dir(folder) else []
    if "://" in what or not any(name in _CODEC_FILES or name.endswith(".bin") for name in names):
        found = (
            f"it holds {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "it is empty"
        )
        raise DatasetError(
            f"{what} is neither a data set (manifest.json was looked for) nor a codec of this machine (config.json and "
            f"model.safetensors, or a .bin file); {found}"
        )


def _show_codes(terminal: Terminal, file: Path) -> None:
    """Show a file of codes, or a voice.

    Raises:
        CodesError, PromptError: it is neither.
    """
    from neucodec_tts.codec.storage import read_codes
    from neucodec_tts.voices.speaker import FRAME_RATE, read_voice

    voice = read_voice(file) if file.suffix.lower() == ".safetensors" and file.is_file() else None
    stored = voice if voice is not None else read_codes(file)
    frames = int(stored.codes.size)
    values: dict[str, object] = {
        "file": file,
        "codec_id": stored.codec_id,
        "frames": frames,
        "seconds": frames / FRAME_RATE,
        "lowest": int(stored.codes.min()),
        "highest": int(stored.codes.max()),
    }
    terminal.say(
        f"{'codes' if voice is None else 'voice':10} {file}: {frames} frames, {frames / FRAME_RATE:.2f} s"
    )
    terminal.say(f"codec      {stored.codec_id or 'not named in the file'}")
    terminal.say(f"values     {values['lowest']} to {values['highest']}")
    if voice is not None:
        values |= {"text": voice.text, "language": voice.language, "metadata": dict(voice.metadata)}
        terminal.say(f"text       {voice.text}")
        if voice.language is not None:
            terminal.say(f"language   {voice.language}")
    terminal.result(values)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)}, {memory:.0f} GiB)")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"
