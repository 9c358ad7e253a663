"""Short names for weights: equal for equal weights, different for different ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def codebook_id(matrix: Tensor) -> str:
    """A name for the meaning of a codec's codes.

    Equal for copies of a checkpoint in float32 and float16; ``save_pretrained`` writes the name down, so that it
    outlives any other conversion.

    Args:
        matrix: turns the digits of a code into a vector, (quantization_dim, digits): ``quantizer.project_out.weight``.
    """
    rounded = matrix.detach().to("cpu", torch.float16).contiguous()
    return "neucodec-" + hashlib.sha256(rounded.numpy().tobytes()).hexdigest()[:12]


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, formats, shapes and all values of some weights, its first 12 hexadecimal digits."""
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:  # hashing holds no lock
        digests = pool.map(_digest, weights.items())
        return hashlib.sha256(b"".join(digests)).hexdigest()[:12]


def _digest(item: tuple[str, Tensor]) -> bytes:
    name, tensor = item
    values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    digest = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(values.numpy().data)
    return digest.digest()
