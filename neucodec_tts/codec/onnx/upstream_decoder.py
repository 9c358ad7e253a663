"""``NeuCodecOnnxDecoder``: upstream's class for a decoder in ONNX, on our session."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from neucodec_tts.codec.checkpoints.hub import HubOptions, Location, locate
from neucodec_tts.codec.onnx.layout import DATA_SUFFIX, DECODER
from neucodec_tts.codec.onnx.network import OnnxConfig
from neucodec_tts.codec.onnx.session import Session
from neucodec_tts.errors import CheckpointError, CodesError, DeviceError

if TYPE_CHECKING:
    import onnxruntime


class NeuCodecOnnxDecoder:
    """Upstream's class of that name: its constructor, ``from_pretrained``, ``decode_code`` and ``sample_rate``.

    It is there for code that was written for upstream; `NeuCodec.from_pretrained` loads the same files and does more.

    Args:
        onnx_path: a ``model.onnx``, Neuphonic's or one that ``neucodec-tts export`` wrote.

    Raises:
        CheckpointError: there is no such file, it is damaged or another kind of model, or ONNX Runtime is missing.
    """

    def __init__(self, onnx_path: str | os.PathLike[str]) -> None:
        path = Path(onnx_path)
        if not path.is_file():
            raise CheckpointError(f"there is no file {str(path)!r} (now in {Path.cwd()}); name a {DECODER}")
        # Beside Neuphonic's files there is no config.json: then it is NeuCodec.
        config = OnnxConfig.read(Location(str(path.parent), path.parent, HubOptions()))
        self._session = Session(path, ("codes",), config.codec_id)
        self._codebook_size = math.prod(config.quantization_levels)
        self.sample_rate = config.output_sampling_rate
        """Of decoded waveforms, in Hz: 24,000, or what the exported codec has."""

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """ONNX Runtime's session."""
        return self._session.runtime

    @classmethod
    def from_pretrained(
        cls,
        model_id: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        map_location: str = "cpu",
    ) -> NeuCodecOnnxDecoder:
        """Load the ``model.onnx`` of a hub repository, such as ``"neuphonic/neucodec-onnx-decoder"``, or of a folder.

        Args:
            model_id: the repository or folder.
            revision: branch, tag or commit of a hub repository.
            cache_dir: folder of the downloads; that of ``huggingface_hub`` by default.
            token: hub token; True takes the one you are logged in with.
            local_files_only: never use the network.
            force_download: download files again that were downloaded before.
            map_location: ``"cpu"``, the only one.

        Raises:
            CheckpointError: there is no such file, or it cannot be downloaded.
            DeviceError: ``map_location`` is another.
        """
        if str(map_location) != "cpu":
            raise DeviceError(f"the ONNX decoder computes on the CPU, not on {map_location}")
        hub = HubOptions(revision, cache_dir, token, local_files_only, force_download)
        location = locate(model_id, hub)
        path = location.find(DECODER)
        if path is None:
            raise CheckpointError(f"{location.name} has no {DECODER}; name another repository or folder")
        location.find(DECODER + DATA_SUFFIX)  # downloaded beside it, if there is one
        location.find("config.json")
        return cls(path)

    def encode_code(self, *args: object, **kwargs: object) -> NoReturn:
        """Not there, as in upstream.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("this is a decoder alone; encode with NeuCodec.from_pretrained")

    def decode_code(self, codes: np.ndarray) -> np.ndarray:
        """Codes, integers (B, 1, frames), to samples at ``sample_rate``, float32 (B, 1, output_hop_length * frames).

        Raises:
            CodesError: they are no array of integers, have another shape, are none, or are not of this codebook.
        """
        if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu":
            found = codes.dtype if isinstance(codes, np.ndarray) else type(codes).__name__
            raise CodesError(f"codes are an array of integers (B, 1, frames), not {found}")
        if codes.ndim != 3 or codes.shape[1] != 1 or codes.size == 0:
            raise CodesError(f"codes are (B, 1, frames), at least one, not {codes.shape}")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self._codebook_size:
            raise CodesError(
                f"code {low if low < 0 else high} is outside this codec's 0 to {self._codebook_size - 1}; were they "
                "made with another codec?"
            )
        return self._session.run(codes=codes.astype(np.int32))[0].astype(np.float32, copy=False)
