"""Lhotse's cuts, read with ``lhotse``."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neucodec_tts.audio import AudioTooLongError
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.packages import needed
from neucodec_tts.dataset.sources.files import stat
from neucodec_tts.errors import AudioError, DatasetError


@dataclass(frozen=True)
class LhotseCuts:
    """A file of cuts (``.jsonl`` or ``.jsonl.gz``), of which each becomes an utterance.

    Its text is that of its supervisions, one after the other, and its speaker that of the first.
    """

    file: Path
    kind: str = field(default="lhotse", init=False)

    @property
    def name(self) -> str:
        """The file."""
        return str(self.file)

    @property
    def options(self) -> Mapping[str, object]:
        """None."""
        return {}

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        deserialize = needed("lhotse.serialization", "lhotse").deserialize_item
        try:
            with (gzip.open if self.file.suffix == ".gz" else open)(
                self.file, "rt", encoding="utf-8"
            ) as opened:
                for number, line in enumerate(opened, start=1):
                    if not line.strip():
                        continue
                    try:
                        item = self._item(deserialize(json.loads(line)))
                    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as problem:
                        shown = f"{self.file.name}, line {number}"
                        item = Item(shown, shown, problem=f"{shown}: not a cut ({problem!r}); mend the line")
                    yield item
        except (OSError, EOFError, UnicodeError, zlib.error) as problem:
            raise DatasetError(
                f"{self.file}: not a file of cuts, or a damaged one ({problem!r})"
            ) from problem

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        serialization = needed("lhotse.serialization", "lhotse")
        try:
            cut: Any = serialization.deserialize_item(json.loads(item.locator))
            if longest is not None and cut.duration > longest:
                raise AudioTooLongError(item.where, cut.duration, longest)
            samples = cut.load_audio()
        except AudioTooLongError:
            raise
        except Exception as problem:  # lhotse has many ways to read audio, and as many errors
            raise AudioError(
                f"{item.where}: lhotse cannot read it ({type(problem).__name__}: {problem})"
            ) from problem
        if samples is None:
            raise AudioError(f"{item.where}: this cut has no audio")
        return np.asarray(samples), int(cut.sampling_rate)

    def _item(self, cut: Any) -> Item:
        said = [supervision.text for supervision in cut.supervisions if supervision.text]
        speakers = [supervision.speaker for supervision in cut.supervisions if supervision.speaker]
        described = cut.to_dict()
        described.pop("features", None)
        sources = getattr(getattr(cut, "recording", None), "sources", None) or []
        path = next((source.source for source in sources if source.type == "file"), None)
        size, modified = stat(Path(path)) if path is not None else (-1, -1)
        return Item(
            cut.id,
            f"cut {cut.id}" if path is None else f"{path} (cut {cut.id})",
            " ".join(said) or None,
            speakers[0] if speakers else None,
            locator=json.dumps(described, sort_keys=True, default=str),
            size=size,
            modified=modified,
        )
