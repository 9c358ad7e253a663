"""Two ways of writing the same tokens into tokenizer.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neucodec_tts.errors import VocabularyError
from neucodec_tts.files import atomic_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Layout = Literal["added", "vocab"]


def write_tokenizer(
    tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str], codes: dict[str, int], layout: Layout
) -> None:
    """Save a tokenizer with its codes in one of the layouts that `SpeechVocabulary.save_tokenizer` describes.

    Args:
        tokenizer: holds the codes, in either layout.
        folder: made if need be.
        codes: id of each code by its token's name.
        layout: ``"added"`` or ``"vocab"``.

    Raises:
        VocabularyError: the layout is unknown or does not suit this kind of tokenizer, or the files cannot be written.
    """
    if layout not in ("added", "vocab"):
        raise VocabularyError(f"unknown layout {layout!r}; use 'added' or 'vocab'")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise VocabularyError(f"{type(tokenizer).__name__} is not a fast tokenizer and has no tokenizer.json")
    content = json.loads(backend.to_str())
    (_put_codes_in_vocab if layout == "vocab" else _put_codes_among_added)(content, codes)
    Path(folder).mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)  # the other files, and a tokenizer.json that is then replaced
    with atomic_path(Path(folder) / "tokenizer.json", VocabularyError) as path:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def _put_codes_in_vocab(content: dict[str, Any], codes: dict[str, int]) -> None:
    """Move the codes from the added tokens into the model's vocabulary."""
    model = content["model"]
    vocab = model.get("vocab")
    if not isinstance(vocab, dict):
        raise VocabularyError(
            f"the layout 'vocab' needs a BPE tokenizer, and this is {model.get('type', 'another kind')}; "
            "use the layout 'added'"
        )
    # tokenizers gives an added token the id it has in the vocabulary, or else the next free one. The tokens
    # that stay added lie below the codes, so they must be in the vocabulary to keep their ids.
    vocab.update({token["content"]: token["id"] for token in content["added_tokens"]})
    vocab.update(codes)
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in codes]


def _put_codes_among_added(content: dict[str, Any], codes: dict[str, int]) -> None:
    """Make every code an added token. One that is in the vocabulary, too, keeps its id."""
    added = content["added_tokens"]
    there = {token["content"] for token in added}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    added += [{"id": id, "content": name, **plain} for name, id in codes.items() if name not in there]
    added.sort(key=lambda token: token["id"])
