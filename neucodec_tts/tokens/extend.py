"""Adding codes and control tokens to a tokenizer, and rows for them to a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from neucodec_tts.errors import VocabularyError
from neucodec_tts.tokens.embeddings import check_levels, embedding_table, initialise_rows
from neucodec_tts.tokens.lookup import next_free_id, token_lookup
from neucodec_tts.tokens.scheme import TokenScheme, describe_codes, scheme_by_name, tags
from neucodec_tts.tokens.vocabulary import SpeechVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def extend(
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel | None,
    *,
    codebook_size: int,
    init: Literal["fsq", "mean", "random"],
    format: str,
    levels: Sequence[int] | None,
    pad_to_multiple_of: int | None,
    seed: int,
) -> SpeechVocabulary:
    """Do the work of `SpeechVocabulary.extend`, which see."""
    scheme = scheme_by_name(format)
    if init not in ("fsq", "mean", "random"):
        raise VocabularyError(f"unknown initialisation {init!r}; use 'fsq', 'mean' or 'random'")
    if codebook_size < 1:
        raise VocabularyError(f"a codebook of {codebook_size} codes makes no sense; NeuCodec has 65536")
    # Everything that can be wrong is found before anything is changed.
    checked_levels = check_levels(levels, codebook_size) if init == "fsq" else None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise VocabularyError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, and only those can be extended and saved as "
            "tokenizer.json; load it with AutoTokenizer.from_pretrained"
        )
    old_size = next_free_id(tokenizer)
    tokenizer_changes = not _is_extended(tokenizer, scheme, codebook_size)
    if tokenizer_changes:
        tokenizer.add_tokens([*scheme.control_tokens, *tags(scheme.pattern, range(codebook_size))])
    vocabulary = SpeechVocabulary.from_tokenizer(tokenizer, scheme.pattern, codebook_size)
    if model is None:
        return vocabulary

    lookup = token_lookup(tokenizer)
    controls = [id for name in scheme.control_tokens if (id := lookup(name)) is not None]
    rows = next_free_id(tokenizer)
    old_rows = embedding_table(model).shape[0]
    if not tokenizer_changes and old_rows >= rows:
        logger.info("model and tokenizer have all %d codes; left as they are", codebook_size)
        return vocabulary
    # Models often have more rows than tokens; those spare rows are never taken away.
    wanted = max(rows, old_rows)
    if pad_to_multiple_of:
        wanted += -wanted % pad_to_multiple_of
    if wanted != old_rows:
        # The initialisation of transformers would draw from the covariance of all rows, which takes minutes
        # on a large model, only to be overwritten.
        model.resize_token_embeddings(wanted, mean_resizing=False)
    known = old_size if tokenizer_changes else min(*controls, int(vocabulary.ids.min()))
    initialise_rows(
        model,
        vocabulary.ids,
        controls,
        known_rows=min(known, old_rows),
        init=init,
        levels=checked_levels,
        seed=seed,
    )
    return vocabulary


def _is_extended(tokenizer: PreTrainedTokenizerBase, scheme: TokenScheme, codebook_size: int) -> bool:
    """Whether all tokens of the scheme are there already.

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
