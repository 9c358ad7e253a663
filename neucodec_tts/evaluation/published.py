"""Figures that others have published, to stand beside measured ones, marked as such."""

from __future__ import annotations

from typing import Any

CARD = "model card of neuphonic/neucodec, CMU Arctic"
PUBLISHED: tuple[dict[str, Any], ...] = tuple(
    {"source": CARD, "by": "model card"}
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

PAPER = "arXiv:2509.09550, table 2: CMU Arctic, 100 utterances of each speaker, whisper-large-v3"
_NEUCODEC = {
    **{"token_rate": 50.0, "tokens_per_second": 50.0, "bit_rate": 800.0},
    **{"codebook": 65_536, "quantizers": 1},
}
PUBLISHED_IN_PAPER: tuple[dict[str, Any], ...] = (
    {
        "codec": "NeuCodec",
        "source": PAPER,
        "by": "paper",
        **_NEUCODEC,
        "wer": 0.026,
        "cer": 0.011,
        "stoi": 0.90,
        "pesq": 2.04,
    },
    {
        "codec": "Distill-NeuCodec",
        "source": PAPER,
        "by": "paper",
        **_NEUCODEC,
        **{"wer": 0.028, "cer": 0.014, "stoi": 0.91, "pesq": 2.12},
    },
)
"""Rows of the paper's table with decoders of 24 kHz. Its parameters are those of encoders alone, and left out."""

PUBLISHED_AGREEMENT = {"codes": 0.02, "digits": 0.53, "near_digits": 0.93, "cosine": 0.73}
"""Of NeuCodec and Distill-NeuCodec, as the paper gives it (section 4.2): shares, and the mean cosine of vectors."""

PUBLISHED_BIT_ERRORS = (
    "arXiv:2509.09550 (section 5, LibriSpeech test-clean) draws its curves and gives no numbers: STOI of NeuCodec "
    "stays high with up to 10 % of the bits flipped, and codecs with residual quantizers decline sharply beyond 1 %"
)
