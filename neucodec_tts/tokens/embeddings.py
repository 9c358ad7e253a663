"""First values of the embeddings of new tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from neucodec_tts.errors import VocabularyError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TRACE_OF_NOISE = 1e-3  # of the old rows' spread: makes equal rows different, moves nothing
_STATISTICS_BLOCK = 65536  # rows converted to float32 at a time


def check_levels(levels: Sequence[int] | None, codebook_size: int) -> tuple[int, ...]:
    """Return the number of levels of each FSQ dimension of a codebook.

    Args:
        levels: as given by the user; None means 4 in every dimension, as in NeuCodec.
        codebook_size: product of the levels.

    Raises:
        VocabularyError: the product is another number, or no power of 4 where none were given.
    """
    if levels is None:
        dimensions = round(math.log(codebook_size, 4))
        if 4**dimensions != codebook_size:
            raise VocabularyError(
                f"init='fsq' needs levels= for a codebook of {codebook_size} codes: it is no power of 4, and 4 "
                "levels in every dimension are NeuCodec's (codec.config.quantization_levels has them)"
            )
        return (4,) * dimensions
    checked = tuple(int(level) for level in levels)
    if not checked or min(checked) < 2 or math.prod(checked) != codebook_size:
        raise VocabularyError(
            f"FSQ levels {list(checked)} make {math.prod(checked)} codes, not {codebook_size}; each must be at "
            "least 2 (codec.config.quantization_levels has them)"
        )
    return checked


def code_digits(codebook_size: int, levels: Sequence[int]) -> np.ndarray[Any, Any]:
    """Split each code into its FSQ digits.

    ``code = sum of digit_d * product(levels[:d])``: the first dimension is the least significant, as in
    `vector_quantize_pytorch.FSQ`, which NeuCodec was trained with.

    Returns:
        int64 (codebook_size, dimensions), digits from 0 to ``levels[d] - 1``.
    """
    basis = np.concatenate([[1], np.cumprod(levels[:-1])]).astype(np.int64)
    return np.arange(codebook_size)[:, None] // basis % np.asarray(levels)


def fsq_vectors(
    levels: Sequence[int], width: int, generator: torch.Generator, smoothness: float = 0.5
) -> torch.Tensor:
    """Draw one vector for each code, so that the distance of two codes shows in the distance of their vectors.

    A code's vector is the sum of one vector for each digit. The vectors of the levels of one dimension lie on
    a smooth curve: random directions times the orthogonal polynomials in the level, linear, quadratic and so
    on, each weighing `smoothness` times the one before. A step in one digit is then a small step, the opposite
    end of the scale is far away, and yet all levels of all dimensions are linearly independent (for a width of
    at least ``sum(levels) - dimensions``): a language model can choose each digit by itself from the first
    step on, instead of learning tens of thousands of unrelated rows.

    Args:
        levels: number of levels of each dimension.
        width: of the embedding.
        generator: source of the random directions, on the CPU.
        smoothness: 0 leaves only the linear part, 1 makes all levels of a dimension equally far apart.

    Returns:
        float32 (codes, width), zero mean over the codes and a variance of about one in each coordinate.
    """
    import torch

    size = math.prod(levels)
    digits = torch.from_numpy(code_digits(size, levels))
    vectors = torch.zeros(size, width)
    for dimension, count in enumerate(levels):
        # Orthonormal polynomials on the levels; the constant one is dropped, so the levels sum to zero.
        powers = torch.linspace(-1, 1, count, dtype=torch.float64)[:, None] ** torch.arange(count)
        polynomials = torch.linalg.qr(powers).Q[:, 1:]
        weights = smoothness ** torch.arange(count - 1, dtype=torch.float64)
        curve = polynomials * weights * math.sqrt(count / float((weights**2).sum()))
        directions = torch.randn(count - 1, width, generator=generator)
        vectors += (curve.float() @ directions)[digits[:, dimension]]
    return vectors / math.sqrt(len(levels))


def embedding_table(model: PreTrainedModel) -> torch.Tensor:
    """Return the weight of a model's input embeddings, (rows, width)."""
    return cast("torch.Tensor", model.get_input_embeddings().weight)


def initialise_rows(
    model: PreTrainedModel,
    code_ids: np.ndarray[Any, Any],
    control_ids: Sequence[int],
    *,
    known_rows: int,
    init: Literal["fsq", "mean", "random"],
    levels: Sequence[int] | None,
    seed: int,
) -> None:
    """Give the rows of new tokens their first values, in the input embeddings and in the output layer.

    Tied embeddings are one table and are written once. An output layer of its own gets rows with the
    statistics of its own old rows; a bias in it starts at the mean of the old biases.

    Args:
        model: whose tables have all rows already.
        code_ids: rows of the codes, int64 (codebook_size,).
        control_ids: rows of the control tokens.
        known_rows: the rows before this one are trained; mean and spread are taken from them.
        init: see `SpeechVocabulary.extend`.
        levels: of the FSQ dimensions, for ``"fsq"``.
        seed: of the random numbers.
    """
    import torch

    output = model.get_output_embeddings()
    tables = [embedding_table(model)]
    if output is not None and output.weight is not tables[0]:
        tables.append(cast("torch.Tensor", output.weight))
    generator = torch.Generator().manual_seed(seed)
    deviation = float(getattr(model.config, "initializer_range", 0.02))
    codes, controls = torch.tensor(code_ids), torch.tensor(list(control_ids), dtype=torch.long)
    with torch.no_grad():
        for table in tables:
            mean, spread = _statistics(table, known_rows)
            if known_rows < 2:  # a model without a vocabulary of its own: nothing to measure the spread of
                spread = torch.full_like(mean, deviation)
            _write(table, controls, _near_mean(len(controls), mean, spread, generator))
            if init == "fsq" and levels is not None:
                rows = mean + spread * fsq_vectors(levels, table.shape[1], generator)
            elif init == "mean":
                rows = _near_mean(len(codes), mean, spread, generator)
            else:
                rows = deviation * torch.randn(len(codes), table.shape[1], generator=generator)
            _write(table, codes, rows)
        bias = getattr(output, "bias", None)
        if bias is not None and known_rows:
            bias[torch.cat([codes, controls]).to(bias.device)] = bias[:known_rows].mean()


def _statistics(table: torch.Tensor, known_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the known rows, in each coordinate: float32 (width,) on the CPU."""
    import torch

    total = torch.zeros(table.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for start in range(0, known_rows, _STATISTICS_BLOCK):
        block = table[start : min(start + _STATISTICS_BLOCK, known_rows)].to("cpu", torch.float64)
        total += block.sum(0)
        squares += (block**2).sum(0)
    mean = total / max(known_rows, 1)
    variance = (squares / max(known_rows, 1) - mean**2).clamp_min(0)
    return mean.float(), variance.sqrt().float()


def _near_mean(
    count: int, mean: torch.Tensor, spread: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    import torch

    return mean + _TRACE_OF_NOISE * spread * torch.randn(count, len(mean), generator=generator)


def _write(table: torch.Tensor, rows: torch.Tensor, values: torch.Tensor) -> None:
    table[rows.to(table.device)] = values.to(table.device, table.dtype)
