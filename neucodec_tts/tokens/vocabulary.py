"""SpeechVocabulary: codes of the codec to token ids of a language model, and back."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from neucodec_tts.errors import CodesError, NeuCodecError, VocabularyError
from neucodec_tts.tokens.extend import add_rows, add_tokens, check_init
from neucodec_tts.tokens.layouts import Layout, write_tokenizer
from neucodec_tts.tokens.scheme import check_pattern, find_codes, scheme_by_name, tags

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_Kind = Literal["tensor", "cpu tensor", "array", "list"]


class SpeechVocabulary:
    """Maps the codes of a codec to the token ids of one language model, and back.

    This is one addition where the ids are contiguous, as in every published model; otherwise a table.
    Tokens are never handled as strings. What goes in comes out as the same kind: a tensor stays on its device
    and becomes int64, an array becomes int64, a list or a tuple of integers becomes a list of `int`. Shapes are
    kept. Nothing is ever rounded, clipped or left out silently.

    Args:
        ids: token id of each code, in the order of the codes. A `range` is the contiguous case.
        pattern: name of a code's token with ``{}`` for its number, used in messages and by `tags`.

    Raises:
        VocabularyError: there are no ids, an id is negative, or two codes share one.

    Examples:
        >>> vocabulary = SpeechVocabulary(range(128264, 128264 + 65536), "<|s_{}|>")
        >>> vocabulary.to_ids([0, 65535])
        [128264, 193799]
        >>> vocabulary.to_codes([128266])
        [2]
    """

    def __init__(self, ids: Sequence[int] | np.ndarray[Any, Any], pattern: str = "<|speech_{}|>") -> None:
        check_pattern(pattern)
        table = np.asarray(ids)
        if table.ndim != 1 or table.size == 0 or table.dtype.kind not in "iu":
            raise VocabularyError(
                "a speech vocabulary needs the token id of at least one code, as a flat list of integers"
            )
        table = table.astype(np.int64)
        if table.min() < 0:
            raise VocabularyError(f"token ids cannot be negative, but one is {table.min()}")
        self.pattern = pattern
        self.codebook_size = int(table.size)
        self._first = int(table[0])
        self._contiguous = bool((np.diff(table) == 1).all())
        if not self._contiguous:
            distinct, counts = np.unique(table, return_counts=True)
            if (counts > 1).any():
                shared = int(distinct[counts > 1][0])
                codes = np.flatnonzero(table == shared)[:2].tolist()
                raise VocabularyError(f"codes {codes[0]} and {codes[1]} have the same token id {shared}")
        table.setflags(write=False)
        self._table = table
        self._lowest, self._highest = int(table.min()), int(table.max())
        # Made on first use, and only where the ids are not contiguous.
        self._inverse_table: np.ndarray[Any, Any] | None = None
        self._tensors: dict[tuple[str, str], torch.Tensor] = {}  # the two tables, by device

    # -- making one ---------------------------------------------------------------------------------------

    @classmethod
    def from_tokenizer(
        cls, tokenizer: object, pattern: str | None = None, codebook_size: int | None = None
    ) -> SpeechVocabulary:
        """Find the codes in a tokenizer and check that all of them are there.

        Args:
            tokenizer: a tokenizer of `transformers` or `tokenizers`, or a mapping from token to id.
            pattern: name of a code's token, as in ``"<|speech_{}|>"``. By default those of NeuTTS
                (``<|speech_N|>``) and Llasa (``<|s_N|>``) are tried.
            codebook_size: number of codes that there must be, codes 0 to ``codebook_size - 1``. By default
                it is found from the tokenizer.

        Raises:
            VocabularyError: there are no code tokens, codes of two patterns, a gap in the codes, or another
                number of codes than `codebook_size`.
        """
        return cls(*find_codes(tokenizer, pattern, codebook_size))

    @classmethod
    def extend(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel | None = None,
        codebook_size: int = 65536,
        init: Literal["fsq", "mean", "random"] = "fsq",
        *,
        format: str = "neutts",
        levels: Sequence[int] | None = None,
        pad_to_multiple_of: int | None = None,
        seed: int = 0,
    ) -> SpeechVocabulary:
        """Add the codes and a prompt format's control tokens to a tokenizer, and rows for them to a model.

        Both are changed in place. The tokens get the ids that the original projects give them: first the
        control tokens, then the codes, all after the tokens that exist. Doing it again changes nothing, and
        a model that already has the rows keeps them, trained or not: extend the tokenizer and the model in
        one call. The files come in two layouts, see `save_tokenizer`.

        Args:
            tokenizer: a fast tokenizer of `transformers`.
            model: a causal language model with input embeddings, tied to the output layer or not. None
                leaves the embeddings to you; they need `required_rows` rows.
            codebook_size: number of codes, 65,536 for NeuCodec.
            init: first values of the new rows. ``"mean"``: the mean of the old rows, with a trace of noise.
                ``"random"``: normal, as the model initialises its embeddings. ``"fsq"``: each code's vector
                is built from the digits of the code, so that codes near in FSQ space start near; control
                tokens start as in ``"mean"``.
            format: whose names to use: ``"neutts"`` or ``"llasa"``.
            levels: number of levels of each FSQ dimension, the first the least significant digit; their
                product must be `codebook_size`. By default all are 4, as in NeuCodec. Used by ``"fsq"`` only.
            pad_to_multiple_of: round the number of rows up to a multiple of this, for faster GPU kernels.
            seed: of the random numbers.

        Returns:
            The vocabulary of the extended tokenizer.

        Raises:
            VocabularyError: the tokenizer is half-extended, with codes or control tokens missing (the message
                says which), has another number of codes, or is not a fast one; `levels` do not fit.
        """
        scheme = scheme_by_name(format)
        checked = check_init(init, codebook_size, levels)  # before anything is changed
        known_rows = add_tokens(tokenizer, scheme, codebook_size)
        vocabulary = cls.from_tokenizer(tokenizer, scheme.pattern, codebook_size)
        if model is not None:
            add_rows(
                model,
                tokenizer,
                scheme,
                vocabulary.ids,
                known_rows,
                init=init,
                levels=checked,
                pad_to_multiple_of=pad_to_multiple_of,
                seed=seed,
            )
        return vocabulary

    def save_tokenizer(
        self,
        tokenizer: PreTrainedTokenizerBase,
        folder: str | os.PathLike[str],
        layout: Layout = "added",
    ) -> None:
        """Save the tokenizer that holds these codes, in one of two layouts with the same ids.

        Both are standard files that `AutoTokenizer` and vLLM read, and `from_tokenizer` finds the codes in both.

        ``"added"``: every code is an added token, as NeuTTS and Llasa publish them. Text with ``<|speech_5|>``
        in it tokenizes to that code, which the original projects rely on. Loading takes seconds more, because
        `transformers` copies each of the 65,536 descriptions of an added token several times.

        ``"vocab"``: the codes lie in the base vocabulary, and only the control tokens are added tokens. Loading
        is as fast as without codes. Codes go by id only: ``<|speech_5|>`` in text becomes ordinary text, which
        also means that nobody can slip in a code through text. Decoding ids to text still gives the names.

        Args:
            tokenizer: whose codes these are, in either layout.
            folder: for the files; made if need be.
            layout: ``"added"`` or ``"vocab"``.

        Raises:
            VocabularyError: the layout is unknown or does not suit this kind of tokenizer, or the files cannot
                be written.
        """
        names = tags(self.pattern, range(self.codebook_size))
        write_tokenizer(tokenizer, folder, dict(zip(names, self.ids.tolist(), strict=True)), layout)

    # -- what it holds ------------------------------------------------------------------------------------

    @property
    def is_contiguous(self) -> bool:
        """True where the id of every code is the code plus one constant."""
        return self._contiguous

    @property
    def id_range(self) -> tuple[int, int] | None:
        """First id and last id + 1 where the ids are contiguous, else None."""
        return (self._first, self._first + self.codebook_size) if self._contiguous else None

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        """Token id of each code, int64 (codebook_size,), read-only."""
        return self._table

    @property
    def required_rows(self) -> int:
        """Number of embedding rows that a model needs at least to have all codes: the largest id + 1."""
        return self._highest + 1

    def check_model_rows(self, rows: int) -> None:
        """Check that a model with `rows` embedding rows has every code.

        More rows than tokens are fine: models pad their tables. Only codes may then be sampled, which the
        engines see to.

        Raises:
            VocabularyError: it has too few.
        """
        if rows < self.required_rows:
            raise VocabularyError(
                f"the model has {rows:,} embedding rows, but the tokenizer's codes reach up to id "
                f"{self._highest:,}: model and tokenizer do not belong together, or only the tokenizer was "
                "extended (SpeechVocabulary.extend(tokenizer, model) does both)"
            )

    def tags(self, codes: Sequence[int]) -> list[str]:
        """Name the tokens of `codes`, for people and for projects that work on text.

        Raises:
            CodesError: one is not a code.
        """
        self.to_ids(list(codes))
        return tags(self.pattern, codes)

    # -- codes and ids ------------------------------------------------------------------------------------

    @overload
    def to_ids(self, codes: torch.Tensor, *, check: bool = ...) -> torch.Tensor: ...
    @overload
    def to_ids(self, codes: np.ndarray[Any, Any], *, check: bool = ...) -> np.ndarray[Any, Any]: ...
    @overload
    def to_ids(self, codes: Sequence[int], *, check: bool = ...) -> list[int]: ...

    def to_ids(self, codes: Any, *, check: bool = True) -> Any:
        """Return the token ids of codes.

        Args:
            codes: integers of any shape: tensor, array, list or tuple.
            check: look for codes out of range. Without it a tensor on a GPU is not waited for, and a code out
                of range gives a meaningless id.

        Returns:
            Ids in the same shape: an int64 tensor on the same device, an int64 array, or a list of `int`.

        Raises:
            CodesError: something is not an integer, or not a code of this codebook.
        """
        kind, values = _as_numbers(codes, "codes", CodesError)
        if check and 0 not in values.shape and not _all_below(values, self.codebook_size):
            low, high = int(values.min()), int(values.max())
            bad = low if low < 0 else high
            raise CodesError(
                f"code {bad} at {_position(values, bad)} is not one of the {self.codebook_size:,} codes "
                f"(0 to {self.codebook_size - 1}) of this vocabulary; was it made by another codec?"
            )
        if self._contiguous:
            return _like(kind, values + self._first)
        if kind == "tensor":
            return self._table_on(values, "ids")[values]
        return _like(kind, self._table[values])

    @overload
    def to_codes(self, ids: torch.Tensor, *, check: bool = ...) -> torch.Tensor: ...
    @overload
    def to_codes(self, ids: np.ndarray[Any, Any], *, check: bool = ...) -> np.ndarray[Any, Any]: ...
    @overload
    def to_codes(self, ids: Sequence[int], *, check: bool = ...) -> list[int]: ...

    def to_codes(self, ids: Any, *, check: bool = True) -> Any:
        """Return the codes of token ids, each of which must be a code. The inverse of `to_ids`.

        Args:
            ids: integers of any shape: tensor, array, list or tuple.
            check: look for ids that are no codes. Without it a tensor on a GPU is not waited for, and other
                ids give meaningless codes.

        Returns:
            Codes in the same shape: an int64 tensor on the same device, an int64 array, or a list of `int`.

        Raises:
            VocabularyError: something is not an integer, or an id is not that of a code. `is_code` and
                `codes_among` deal with mixed ids.
        """
        kind, values = _as_numbers(ids, "token ids", VocabularyError)
        codes = self._inverse(values)
        if check and 0 not in values.shape and not _all_below(codes, self.codebook_size):
            bad = int(values[(codes < 0) | (codes >= self.codebook_size)].reshape(-1)[0])
            raise VocabularyError(
                f"token id {bad} at {_position(values, bad)} is not a code; drop what is not a code with "
                "codes_among(), or find it with is_code()"
            )
        return _like(kind, codes)

    @overload
    def is_code(self, ids: torch.Tensor) -> torch.Tensor: ...
    @overload
    def is_code(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
    @overload
    def is_code(self, ids: Sequence[int]) -> list[bool]: ...

    def is_code(self, ids: Any) -> Any:
        """Say of each token id whether it is a code: a boolean tensor, array or list in the same shape.

        Raises:
            VocabularyError: something is not an integer.
        """
        kind, values = _as_numbers(ids, "token ids", VocabularyError)
        codes = self._inverse(values)
        return _like(kind, (codes >= 0) & (codes < self.codebook_size))

    @overload
    def codes_among(self, ids: torch.Tensor) -> torch.Tensor: ...
    @overload
    def codes_among(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
    @overload
    def codes_among(self, ids: Sequence[int]) -> list[int]: ...

    def codes_among(self, ids: Any) -> Any:
        """Return the codes in a flat sequence of token ids, in order, and leave out every other id.

        Raises:
            VocabularyError: something is not an integer.
        """
        kind, values = _as_numbers(ids, "token ids", VocabularyError)
        codes = self._inverse(values)
        return _like(kind, codes[(codes >= 0) & (codes < self.codebook_size)])

    # -- inside -------------------------------------------------------------------------------------------

    def _inverse(self, values: Any) -> Any:
        """Codes of ids as int64; outside [0, codebook_size) where an id is no code."""
        if self._contiguous:
            return values - self._first
        inverse = (
            self._codes_by_id()
            if isinstance(values, (np.ndarray, np.generic))
            else self._table_on(values, "codes")
        )
        inside = (values >= self._lowest) & (values <= self._highest)
        offsets = (values - self._lowest) * inside  # an index that exists, also where the id lies outside
        return inverse[offsets] * inside + (inside * 1 - 1)

    def _codes_by_id(self) -> np.ndarray[Any, Any]:
        """Code of each id from the lowest to the highest, int64, -1 where there is none."""
        if self._inverse_table is None:
            inverse = np.full(self._highest - self._lowest + 1, -1, np.int64)
            inverse[self._table - self._lowest] = np.arange(self.codebook_size)
            self._inverse_table = inverse
        return self._inverse_table

    def _table_on(self, values: torch.Tensor, what: Literal["ids", "codes"]) -> torch.Tensor:
        """One of the two tables, int64, on the device of `values`, which is not the CPU."""
        import torch

        key = (what, str(values.device))
        if key not in self._tensors:
            table = self._table if what == "ids" else self._codes_by_id()
            self._tensors[key] = torch.from_numpy(table.copy()).to(values.device)
        return self._tensors[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": {}}  # devices may be absent where it is unpickled

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpeechVocabulary):
            return NotImplemented
        return self.pattern == other.pattern and np.array_equal(self._table, other._table)

    def __hash__(self) -> int:
        return hash((self.pattern, self.codebook_size, self._first))

    def __len__(self) -> int:
        return self.codebook_size

    def __repr__(self) -> str:
        where = f"ids {self._first} to {self._highest}" if self._contiguous else "ids from a table"
        return f"SpeechVocabulary({self.pattern!r}, {self.codebook_size} codes, {where})"


def _as_numbers(values: Any, name: str, error: type[NeuCodecError]) -> tuple[_Kind, Any]:
    """Turn a user's integers into an int64 tensor or array, and name the kind of thing they were in.

    A tensor or array of int64 is returned itself and must not be written to.

    Args:
        values: integers: a tensor, an array, or a flat list or tuple.
        name: of the integers, in messages.
        error: class of the error to raise.

    Raises:
        error: they are something else.
    """
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported torch
    if torch is not None and isinstance(values, torch.Tensor):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise error(
                f"{name} must be integers, but the tensor holds {values.dtype}; round it with .long()"
            )
        if values.device.type == "cpu":  # numpy needs a third of the time for the same few operations
            return "cpu tensor", values.detach().numpy().astype(np.int64, copy=False)
        return "tensor", values.to(torch.int64)
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iu":
            raise error(f"{name} must be integers, but the array holds {values.dtype}")
        return "array", values.astype(np.int64, copy=False)
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        try:
            # Half the time of np.asarray, and it takes nothing but integers in a flat sequence.
            return "list", np.frombuffer(array("q", values), np.int64)
        except (TypeError, OverflowError) as problem:
            raise error(
                f"{name} in a list must be integers, one after the other ({problem}); "
                "give nested ones as a tensor or an array"
            ) from problem
    raise error(f"{name} must be a tensor, an array or a list of integers, not {type(values).__name__}")


def _like(kind: _Kind, values: Any) -> Any:
    """Turn a result into the kind of thing the user gave."""
    if kind == "list":
        return values.tolist()
    if kind == "cpu tensor":
        return sys.modules["torch"].as_tensor(np.asarray(values))
    return values


def _all_below(values: Any, size: int) -> bool:
    """Return True if all of the int64 numbers, at least one, are from 0 to ``size - 1``."""
    if isinstance(values, (np.ndarray, np.generic)):
        # One pass instead of two: a negative number is a very large one without its sign.
        return int(values.view(np.uint64).max()) < size
    return int(values.min()) >= 0 and int(values.max()) < size


def _position(values: Any, bad: int) -> str:
    """Describe the place of the first `bad` in `values`."""
    found = values if isinstance(values, (np.ndarray, np.generic)) else values.cpu().numpy()
    place = tuple(int(axis) for axis in np.argwhere(found == bad)[0])
    return f"position {place[0]}" if len(place) == 1 else f"index {place}"
