"""Fitting examples into a context, and several of them into a row."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from neucodec_tts.errors import DatasetError

Example = Mapping[str, Any]
"""``input_ids`` and ``labels``, both integers (tokens,), not shifted; other entries are ignored."""

WhenTooLong = Literal["drop", "truncate", "refuse"]
"""The treatment of examples that are longer than the context."""


@dataclass(frozen=True)
class Fitted:
    """The examples that fit, and what was done to the others.

    Attributes:
        kept: indices of the examples to train with, ascending.
        lengths: tokens of each of them after truncation.
        dropped: number of examples that are left out.
        truncated: number of examples that lose their end, and with it the token that ends the speech.
        lost_tokens: tokens of both that are not trained with.
        max_length: tokens of the context.
    """

    kept: tuple[int, ...]
    lengths: tuple[int, ...]
    dropped: int
    truncated: int
    lost_tokens: int
    max_length: int

    def __str__(self) -> str:
        total = len(self.kept) + self.dropped
        if not self.dropped and not self.truncated:
            return f"all {total} examples fit {self.max_length} tokens"
        what = f"{self.dropped} dropped" if self.dropped else f"{self.truncated} truncated"
        tokens = self.lost_tokens + sum(self.lengths)
        return (
            f"{what} of {total} examples, longer than {self.max_length} tokens: {self.lost_tokens} of {tokens} tokens "
            f"({self.lost_tokens / tokens:.1%}) are not trained with"
        )


def fit_examples(lengths: Iterable[int], max_length: int, too_long: WhenTooLong = "drop") -> Fitted:
    """Find the examples that a context can hold.

    Args:
        lengths: tokens of each example.
        max_length: tokens of the context.
        too_long: ``"drop"`` leaves longer ones out. ``"truncate"`` keeps their beginning: text and speech still
            belong together, but the model does not see the end of this speech. ``"refuse"`` raises.

    Raises:
        DatasetError: nothing fits, or an example is too long and that is refused.
    """
    if too_long not in ("drop", "truncate", "refuse"):
        raise DatasetError(f"too_long is {too_long!r}; it must be 'drop', 'truncate' or 'refuse'")
    if max_length < 2:
        raise DatasetError(f"max_length is {max_length}; an example has at least 2 tokens")
    kept, kept_lengths = [], []
    dropped = truncated = lost = 0
    for index, length in enumerate(lengths):
        if length > max_length:
            if too_long == "refuse":
                raise DatasetError(
                    f"example {index} has {length} tokens, more than max_length {max_length}; leave it out, or "
                    "train with a longer context"
                )
            if too_long == "drop":
                dropped += 1
                lost += length
                continue
            truncated += 1
            lost += length - max_length
        kept.append(index)
        kept_lengths.append(min(length, max_length))
    if not kept:
        raise DatasetError(
            f"none of {dropped} examples fits {max_length} tokens; give a longer max_length"
            if dropped
            else "there are no examples to train with; look into the data set's rejects.parquet"
        )
    return Fitted(tuple(kept), tuple(kept_lengths), dropped, truncated, lost, max_length)


def pack(lengths: Sequence[int], max_length: int, seed: int = 0) -> list[list[int]]:
    """Divide examples into few rows of at most `max_length` tokens.

    Best fit, longest first: each example goes into the row in which it leaves least space. Rows come in random order,
    and equally long examples take their places at random.

    Args:
        lengths: tokens of each example, none above `max_length`.
        max_length: tokens a row.
        seed: of the order; equal seeds give equal rows.

    Returns:
        Indices of the examples of each row.

    Raises:
        DatasetError: an example is longer than a row, or empty.
    """
    for index, length in enumerate(lengths):
        if not 0 < length <= max_length:
            raise DatasetError(
                f"example {index} has {length} tokens and a row {max_length}; choose what fits with fit_examples"
            )
    source = random.Random(seed)
    order = list(range(len(lengths)))
    source.shuffle(order)
    order.sort(key=lambda index: -lengths[index])
    rows: list[list[int]] = []
    with_space: dict[int, list[int]] = {}  # rows by the space left in them
    spaces: list[int] = []  # the keys of `with_space`, ascending
    for index in order:
        length = lengths[index]
        at = bisect_left(spaces, length)
        if at == len(spaces):
            row, space = len(rows), max_length
            rows.append([])
        else:
            space = spaces[at]
            row = with_space[space].pop()
            if not with_space[space]:
                del with_space[space], spaces[at]
        rows[row].append(index)
        space -= length
        if space not in with_space:
            with_space[space] = []
            insort(spaces, space)
        with_space[space].append(row)
    source.shuffle(rows)
    return rows


class PackedExamples(Sequence[list[Example]]):
    """Examples in rows, as a data set for `SpeechCollator` and any loader that takes a sequence.

    Args:
        examples: the rows consist of these; each is read only when its row is asked for.
        rows: indices of the examples of each row, as `pack` makes them.
    """

    def __init__(self, examples: Sequence[Example], rows: Sequence[Sequence[int]]) -> None:
        self._examples = examples
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return [self._examples[at] for at in self._rows[index]]
