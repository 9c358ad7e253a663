"""Figures that others have published, to stand beside measured ones, marked as such."""

from __future__ import annotations

from typing import Any

CARD = "model card of neuphonic/neucodec, CMU Arctic"
PUBLISHED: tuple[dict[str, Any], ...] = tuple(
    {"source": CARD}
    | dict(
        zip(
            (
                *(
                    "codec",
                    "token_rate",
                    "tokens_per_second",
                    "bit_rate",
                    "codebook",
                    "quantizers",
                    "parameters",
                ),
                *("autoencoding_rtf", "decoding_rtf", "wer", "cer"),
            ),
            values,
            strict=True,
        )
    )
    for values in (
        ("DAC", 75.0, 600.0, 6000.0, 1024, 8, 74.7e6, 0.015, 0.007, 0.019, 0.0006),
        ("Mimi", 12.5, 150.0, 1100.0, 2048, 8, 79.3e6, 0.012, 0.006, 0.030, 0.014),
        ("NeuCodec", 50.0, 50.0, 800.0, 65_536, 1, 800e6, 0.030, 0.003, 0.025, 0.010),
    )
)
"""Rows of the card's table as it gives them; rates in Hz and bit/s, error rates as shares."""
