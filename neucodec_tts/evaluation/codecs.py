"""Codecs by name: ours, those of transformers, and those of ffmpeg. A package brings others by entry points."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.codec.devices import find_device
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.errors import CheckpointError
from neucodec_tts.evaluation.ffmpeg_codecs import Codec2, Opus

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "neucodec_tts.codecs"
"""Entry points of codecs: the name is the codec's, the value a `Loader`."""


ORIGINAL = "original"
"""The row of the recordings themselves."""
_QUANTIZERS = 8
"""That NeuCodec's model card compares with: DAC at 6 kbit/s, Mimi at 1.1."""


class AudioCodec(Protocol):
    """A codec as an evaluation sees it: recordings in, codes, recordings out, one at a time."""

    @property
    def input_sample_rate(self) -> int:
        """Of what is encoded, in Hz."""
        ...

    @property
    def output_sample_rate(self) -> int:
        """Of what is decoded, in Hz."""
        ...

    @property
    def frame_rate(self) -> float | None:
        """Frames a second, each with one code of every codebook; None for a codec without codes."""
        ...

    @property
    def codebooks(self) -> tuple[int, ...]:
        """Sizes of the codebooks; none for a codec whose bits are not codes."""
        ...

    @property
    def parameters(self) -> int | None:
        """Numbers that were learnt, None for a codec without any."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Float32 (samples,) on the CPU to codes, LongTensor (codebooks, frames), or to bytes, uint8 (n,)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """What `encode` returns to float32 (samples,) on the CPU."""
        ...

    def bits(self, codes: Tensor) -> float:
        """Bits that these codes take."""
        ...


Loader = Callable[[str | None, str | None], AudioCodec]
"""Makes a codec from its setting (what stands behind ``@``, or None) and a device (None lets it choose)."""


class OurCodec:
    """`NeuCodec` and all that it loads."""

    def __init__(self, codec: NeuCodec) -> None:
        self.codec = codec
        self.input_sample_rate, self.output_sample_rate = codec.input_sample_rate, codec.output_sample_rate
        self.frame_rate: float | None = codec.frame_rate
        self.codebooks = (codec.codebook_size,)
        self.parameters: int | None = sum(each.numel() for each in codec.parameters())

    def encode(self, waveform: Tensor) -> Tensor:
        """Float32 (samples,) to codes, LongTensor (1, frames)."""
        return self.codec.encode(waveform, self.input_sample_rate)[None]

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (1, frames) to float32 (samples,)."""
        return self.codec.decode(codes[0])

    def bits(self, codes: Tensor) -> float:
        """Bits that these codes take."""
        return code_bits(codes, self.codebooks)


class TransformersCodec:
    """DAC, Mimi or EnCodec, as ``transformers`` has them, with one channel.

    Args:
        model: in ``eval`` mode.
        quantizers: number of codebooks to use, of the first; None is the model card's choice.

    Raises:
        CheckpointError: the model has not so many.
    """

    def __init__(self, model: Any, quantizers: int | None = None) -> None:
        self.model, self._kind = model, str(model.config.model_type)
        config = model.config
        self.input_sample_rate = self.output_sample_rate = int(config.sampling_rate)
        most = int(config.n_codebooks if self._kind == "dac" else config.num_quantizers)
        count = min(_QUANTIZERS, most) if quantizers is None else quantizers
        hop = config.hop_length if self._kind != "mimi" else round(self.input_sample_rate / config.frame_rate)
        self._hop = int(hop)
        rate = self.input_sample_rate / self._hop
        self.frame_rate: float | None = rate
        if self._kind == "encodec":
            # It is told the bit rate in kbit/s, and takes those that it was trained with.
            bits = math.log2(config.codebook_size) * rate / 1000
            self._bandwidths = {
                round(1000 * each // (1000 * bits)): float(each) for each in config.target_bandwidths
            }
            if count not in self._bandwidths:
                count = max(self._bandwidths) if quantizers is None else 0
        if not 1 <= count <= most:
            known = getattr(self, "_bandwidths", range(1, most + 1))
            raise CheckpointError(
                f"{self._kind} has no {quantizers} quantizers; it has {', '.join(map(str, known))}"
            )
        self.codebooks = (int(config.codebook_size),) * count
        self.parameters: int | None = sum(each.numel() for each in model.parameters())

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Float32 (samples,) to codes, LongTensor (codebooks, frames)."""
        padded = torch.nn.functional.pad(waveform, (0, -waveform.numel() % self._hop))
        given, count = padded[None, None].to(self.model.device), len(self.codebooks)
        if self._kind == "dac":
            return self.model.encode(given, n_quantizers=count).audio_codes[0].cpu()
        if self._kind == "mimi":
            return self.model.encode(given, num_quantizers=count).audio_codes[0].cpu()
        return self.model.encode(given, bandwidth=self._bandwidths[count]).audio_codes[0, 0].cpu()

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (codebooks, frames) to float32 (samples,)."""
        given = codes[None].to(self.model.device)
        if self._kind == "dac":
            return self.model.decode(audio_codes=given).audio_values[0].float().cpu()
        if self._kind == "mimi":
            return self.model.decode(given).audio_values[0, 0].float().cpu()
        return self.model.decode(given[None], [None]).audio_values[0, 0].float().cpu()

    def bits(self, codes: Tensor) -> float:
        """Bits that these codes take."""
        return code_bits(codes, self.codebooks)


def code_bits(codes: Tensor, codebooks: tuple[int, ...]) -> float:
    """Bits of codes (codebooks, frames)."""
    return codes.shape[-1] * sum(math.log2(size) for size in codebooks)


def _ours(name: str, decoder: str | None = None) -> Loader:
    def load(setting: str | None, device: str | None) -> AudioCodec:
        if setting is not None:
            raise CheckpointError(
                f"the codec {name!r} takes no setting, and {setting!r} was given; leave it out"
            )
        return OurCodec(NeuCodec.from_pretrained(name, device=device, decoder=decoder))

    return load


def _of_transformers(name: str, kind: str) -> Loader:
    def load(setting: str | None, device: str | None) -> AudioCodec:
        from transformers import AutoModel

        if setting is not None and not setting.isdigit():
            raise CheckpointError(
                f"{name}@{setting}: the setting is the number of quantizers, as in {name}@8"
            )
        location = locate(name)
        if location.find("config.json") is None:  # asked first: without a network it fails at once
            raise CheckpointError(f"{name} holds no config.json; name the folder of a {kind} model")
        try:
            model = AutoModel.from_pretrained(
                str(location.folder or location.name), **location.hub.keywords()
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the {kind} model {name} cannot be loaded: {error}") from error
        quantizers = None if setting is None else int(setting)
        return TransformersCodec(model.to(find_device(device)).eval(), quantizers)

    return load


KNOWN: Mapping[str, Loader] = {
    "tiny": _ours("tiny"),
    "neucodec": _ours("neuphonic/neucodec"),
    "distill-neucodec": _ours("neuphonic/distill-neucodec"),
    "neucodec-44k": _ours("neuphonic/neucodec", "Scicom-intl/neucodec-44k-d20"),
    "xcodec2": _ours("HKUSTAudio/xcodec2-hf"),
    "dac": _of_transformers("descript/dac_24khz", "dac"),
    "mimi": _of_transformers("kyutai/mimi", "mimi"),
    "encodec": _of_transformers("facebook/encodec_24khz", "encodec"),
    "opus": lambda setting, device: Opus(setting or "6k"),
    "codec2": lambda setting, device: Codec2(setting or "1200"),
}
"""Codecs of this package by name."""


def codec_names() -> list[str]:
    """Names that `load_codec` knows, those of entry points among them."""
    return [*KNOWN, *sorted({point.name for point in entry_points(group=GROUP)} - set(KNOWN))]


def check_codec_name(name: str) -> None:
    """See that a codec of this name can be there, before any work is done for it.

    Raises:
        CheckpointError: it is no known name, folder or hub id; the message lists what is known.
    """
    plain = name.partition("@")[0]
    if name == ORIGINAL:
        raise CheckpointError(f"{name!r} is the row of the recordings themselves; name the folder ./{name}")
    if plain in codec_names() or (plain and Path(plain).expanduser().is_dir()) or plain.count("/") == 1:
        return
    raise CheckpointError(
        f"there is no codec {name!r}; known are {', '.join(codec_names())}, and folders and hub ids"
    )


def load_codec(name: str, device: str | None = None) -> AudioCodec:
    """Load a codec.

    Args:
        name: one of `codec_names`, or a folder or hub id of a NeuCodec, X-Codec 2, DAC, Mimi or EnCodec model; behind
            an ``@`` a setting: of Opus its bit rate (``opus@6k``), of Codec 2 its mode (``codec2@1200``), of DAC, Mimi
            and EnCodec the number of quantizers (``mimi@8``).
        device: where it computes; the GPU where there is one by default.

    Raises:
        CheckpointError: there is no such codec or setting, or it cannot be loaded.
        DeviceError: there is no such device.
        AudioError: it needs ffmpeg, or a part of it that is not there.
    """
    check_codec_name(name)
    plain, at, setting = name.partition("@")
    if at and not setting:
        raise CheckpointError(f"{name!r} has no setting behind the @; as in opus@6k")
    loader = KNOWN.get(plain)
    if loader is None:
        [*brought] = entry_points(group=GROUP, name=plain)
        loader = brought[0].load() if brought else _by_its_files(plain)
    return loader(setting or None, device)


def _by_its_files(plain: str) -> Loader:
    path = locate(plain, HubOptions()).find("config.json")
    try:
        kind = None if path is None else json.loads(path.read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not readable as JSON: {error}") from error
    return _of_transformers(plain, str(kind)) if kind in ("dac", "mimi", "encodec") else _ours(plain)
