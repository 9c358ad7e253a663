"""Adding codes and control tokens to a tokenizer, and rows for them to a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neucodec_tts.errors import VocabularyError
from neucodec_tts.tokens.embeddings import check_levels, embedding_table, initialise_rows
from neucodec_tts.tokens.scheme import TokenScheme, describe_codes, next_free_id, tags, token_lookup

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Init = Literal["fsq", "mean", "random"]


def check_init(init: str, codebook_size: int, levels: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the FSQ levels that new rows are made with; None for an initialisation that needs none.

    Raises:
        VocabularyError: the initialisation is unknown, there is no code, or the levels do not make `codebook_size`.
    """
    if init not in ("fsq", "mean", "random"):
        raise VocabularyError(f"unknown initialisation {init!r}; use 'fsq', 'mean' or 'random'")
    if codebook_size < 1:
        raise VocabularyError(f"a codebook of {codebook_size} codes makes no sense; NeuCodec has 65536")
    return check_levels(levels, codebook_size) if init == "fsq" else None


def add_tokens(tokenizer: PreTrainedTokenizerBase, scheme: TokenScheme, codebook_size: int) -> int | None:
    """Add control tokens and codes to a tokenizer that lacks them.

    Returns:
        Number of ids in use before; None if all tokens were there already.

    Raises:
        VocabularyError: the tokenizer is not a fast one, or it has some of the tokens.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise VocabularyError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, and only those can be extended and saved as "
            "tokenizer.json; load it with AutoTokenizer.from_pretrained"
        )
    if _is_extended(tokenizer, scheme, codebook_size):
        return None
    known = next_free_id(tokenizer)
    tokenizer.add_tokens([*scheme.control_tokens, *tags(scheme.pattern, range(codebook_size))])
    return known


def add_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scheme: TokenScheme,
    code_ids: npt.NDArray[np.int64],
    known_rows: int | None,
    *,
    init: Init,
    levels: Sequence[int] | None,
    pad_to_multiple_of: int | None,
    seed: int,
) -> None:
    """Give a model rows for the tokens of `add_tokens`, unless it has them.

    Args:
        model: changed in place.
        tokenizer: extended.
        scheme: names the control tokens.
        code_ids: token id of each code, int64 (codebook_size,).
        known_rows: result of `add_tokens`.
        init: first values of the rows, with `levels`, the result of `check_init`, and `seed`.
        levels: see `init`.
        pad_to_multiple_of: number that the number of rows is rounded up to a multiple of.
        seed: see `init`.
    """
    lookup = token_lookup(tokenizer)
    controls = [id for name in scheme.control_tokens if (id := lookup(name)) is not None]
    rows, old_rows = next_free_id(tokenizer), embedding_table(model).shape[0]
    if known_rows is None and old_rows >= rows:
        logger.info("model and tokenizer have all %d codes; left as they are", len(code_ids))
        return
    # Models often have more rows than tokens; those spare rows are never taken away.
    wanted = max(rows, old_rows)
    if pad_to_multiple_of:
        wanted += -wanted % pad_to_multiple_of
    if wanted != old_rows:
        # The initialisation of transformers would draw from the covariance of all rows, which takes minutes
        # on a large model, only to be overwritten.
        model.resize_token_embeddings(wanted, mean_resizing=False)
    known = min(*controls, int(code_ids.min())) if known_rows is None else known_rows
    initialise_rows(
        model, code_ids, controls, known_rows=min(known, old_rows), init=init, levels=levels, seed=seed
    )


def _is_extended(tokenizer: PreTrainedTokenizerBase, scheme: TokenScheme, codebook_size: int) -> bool:
    """Return True if all tokens of the scheme are there, False if none is.

    Raises:
        VocabularyError: some are there and some are not.
    """
    lookup = token_lookup(tokenizer)
    missing_controls = [name for name in scheme.control_tokens if lookup(name) is None]
    missing_codes = [
        code for code, tag in enumerate(tags(scheme.pattern, range(codebook_size))) if lookup(tag) is None
    ]
    if not missing_controls and not missing_codes:
        return True
    if len(missing_controls) == len(scheme.control_tokens) and len(missing_codes) == codebook_size:
        return False
    missing = missing_controls + ([describe_codes(missing_codes, scheme.pattern)] if missing_codes else [])
    present = len(scheme.control_tokens) - len(missing_controls) + codebook_size - len(missing_codes)
    raise VocabularyError(
        f"the tokenizer is half-extended for {scheme.name!r}: it has {present:,} of the "
        f"{len(scheme.control_tokens) + codebook_size:,} tokens; missing: {', '.join(missing)}. New tokens would not "
        "get the ids that models of this format have; begin again from the original tokenizer"
    )
