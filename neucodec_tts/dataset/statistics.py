"""Statistics of a data set: hours, speakers, lengths, use of the codes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.manifest import DatasetManifest, read_manifest
from neucodec_tts.dataset.packages import arrow, needed
from neucodec_tts.dataset.shards import read_table
from neucodec_tts.errors import DatasetError

BIN_SECONDS = 1.0
"""Width of the bars of the histogram of lengths."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of a data set."""

    manifest: DatasetManifest
    speakers: Mapping[str, float]
    """Hours of each speaker, the most first; utterances without a speaker are not among them."""
    without_speaker: int
    without_text: int
    """Utterances."""
    characters: int
    """Of all texts."""
    shortest: float
    longest: float
    """Seconds."""
    median: float
    """Seconds, to within a tenth of `BIN_SECONDS`."""
    lengths: np.ndarray
    """int64 (bins,): utterances of 0 to 1 s, 1 to 2 s ... (`BIN_SECONDS`)."""
    code_counts: np.ndarray
    """int64 (codebook_size,): how often each code occurs."""
    tokens: int
    """Token ids of all training examples; 0 if there are none."""
    longest_example: int
    """Tokens of the longest training example."""

    @property
    def used_codes(self) -> int:
        """Different codes that occur."""
        return int(np.count_nonzero(self.code_counts))

    @property
    def entropy_bits(self) -> float:
        """Entropy of a code, in bits, by how often each occurs; at most log2 of the codebook's size."""
        total = int(self.code_counts.sum())
        shares = self.code_counts[self.code_counts > 0] / max(1, total)
        return max(0.0, float(-(shares * np.log2(shares)).sum()))


def describe(
    folder: str | os.PathLike[str], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Statistics:
    """Count the contents of a data set, with one shard in memory at a time.

    Args:
        folder: the data set.
        on_progress: is called with the number of shards that are counted, and of all.

    Raises:
        DatasetError: there is no data set, it is not complete, or a shard is missing or damaged.
    """
    store = DatasetFolder.at(folder)
    manifest = read_manifest(store)
    if not manifest.complete:
        raise DatasetError(f"{store.path} is not complete; run the command that it was begun with again")
    counts = np.zeros(int(manifest.codec["codebook_size"]), np.int64)
    speakers: Counter[str] = Counter()
    tenths: Counter[int] = Counter()
    without_speaker = without_text = characters = tokens = longest_example = 0
    shortest, longest = float("inf"), 0.0
    for number, shard in enumerate(manifest.shards, start=1):
        path = store.path / shard.file
        try:
            table = read_table(path)
        except (OSError, arrow().ArrowException) as problem:
            raise DatasetError(f"{path}: cannot be read ({problem}); prepare the data set anew") from problem
        codes = table["codes"].combine_chunks().flatten().to_numpy()
        if codes.size and int(codes.max()) >= counts.size:
            raise DatasetError(
                f"{path}: holds the code {codes.max()}, and the codebook ends at {counts.size - 1}"
            )
        counts += np.bincount(codes, minlength=counts.size)
        for duration, speaker, text in zip(
            *(table[name].to_pylist() for name in ("duration", "speaker", "text")), strict=True
        ):
            shortest, longest = min(shortest, duration), max(longest, duration)
            tenths[int(duration / BIN_SECONDS * 10)] += 1
            without_speaker += speaker is None
            without_text += text is None
            characters += len(text or "")
            if speaker is not None:
                speakers[speaker] += duration / 3600
        if "input_ids" in table.column_names:
            sizes = (
                needed("pyarrow.compute", "dataset")
                .list_value_length(table["input_ids"].combine_chunks())
                .drop_null()
                .to_numpy()
            )
            tokens += int(sizes.sum())
            longest_example = max(longest_example, int(sizes.max(initial=0)))
        on_progress(number, len(manifest.shards))
    lengths = np.zeros(max(tenths, default=-1) // 10 + 1, np.int64)
    for tenth, count in tenths.items():
        lengths[tenth // 10] += count
    return Statistics(
        manifest,
        dict(sorted(speakers.items(), key=lambda each: (-each[1], each[0]))),
        without_speaker,
        without_text,
        characters,
        shortest if tenths else 0.0,
        longest,
        _median(tenths),
        lengths,
        counts,
        tokens,
        longest_example,
    )


def _median(tenths: Mapping[int, int]) -> float:
    """The middle of the bin that the middle utterance lies in, in seconds."""
    left = (sum(tenths.values()) + 1) // 2
    for tenth in sorted(tenths):
        left -= tenths[tenth]
        if left <= 0:
            return (tenth + 0.5) * BIN_SECONDS / 10
    return 0.0
