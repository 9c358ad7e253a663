"""Columns of tables: finding each by the names that corpora use, and reading rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from neucodec_tts.errors import DatasetError

_KNOWN = {
    "audio": (
        *("audio", "audio_filepath", "audio_path", "audio_file", "path", "file_path", "filepath"),
        *("file_name", "filename", "file", "wav", "wav_path", "flac"),
    ),
    "text": (
        *(
            "text",
            "normalized_text",
            "text_normalized",
            "transcript",
            "transcription",
            "normalized_transcript",
        ),
        *("sentence", "text_original"),
    ),
    "id": ("id", "utt_id", "utterance_id", "utt", "key", "__key__", "segment_id"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id", "speaker_name"),
    "start": ("start", "offset", "start_time", "begin_time"),
    "end": ("end", "end_time"),
    "duration": ("duration",),
}


@dataclass(frozen=True)
class Columns:
    """Names of columns; None finds one by the names that corpora use."""

    audio: str | None = None
    text: str | None = None
    id: str | None = None
    speaker: str | None = None

    def options(self) -> dict[str, object]:
        """Those that were named."""
        return {f"{name}_column": value for name, value in asdict(self).items() if value is not None}

    def audio_in(self, names: Collection[str]) -> str | None:
        """Return the column with the audio, if there is one."""
        return self.audio if self.audio in names else _first(_KNOWN["audio"], names)

    def names_ids_and_texts(self, names: Collection[str]) -> bool:
        """Return True if there are a column of ids and one of texts, in whose file the ids name the recordings."""
        return all(_first(_KNOWN[role], names) is not None for role in ("id", "text"))

    def find(self, names: Collection[str], where: str, *, ids_suffice: bool = False) -> Found:
        """Match the columns of one table.

        Args:
            names: the columns there are.
            where: the table, for errors.
            ids_suffice: with a column of ids and one of texts there need be none with audio.

        Raises:
            DatasetError: there is no column with audio, or none of a name that was asked for.
        """
        found: dict[str, str | None] = {}
        for role, known in _KNOWN.items():
            wanted = getattr(self, role, None)
            if wanted is not None and wanted not in names:
                raise DatasetError(
                    f"{where}: there is no column {wanted!r}; the columns are {', '.join(map(str, names))}"
                )
            found[role] = wanted or _first(known, names)
            twice = [name for name in names if found[role] is not None and name == found[role]]
            if len(twice) > 1:
                raise DatasetError(
                    f"{where}: {len(twice)} columns are called {found[role]!r}; rename all but one of them"
                )
        if found["audio"] is None and not (ids_suffice and self.names_ids_and_texts(names)):
            raise DatasetError(
                f"{where}: no column with the audio; the columns are {', '.join(map(str, names))}, and "
                f"{', '.join(_KNOWN['audio'][:4])} ... are looked for: name yours (--audio-column)"
            )
        return Found(**found)


@dataclass(frozen=True)
class Found:
    """Names of a table's columns; None for those it has not."""

    audio: str | None
    text: str | None
    id: str | None
    speaker: str | None
    start: str | None
    end: str | None
    duration: str | None

    def said(self, row: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
        """Return id, text and speaker of a row; None for each that it has not.

        Raises:
            DatasetError: one of them is a list, an object or a truth value.
        """
        id, text, speaker = (words(row.get(name or "")) for name in (self.id, self.text, self.speaker))
        return id, text, speaker

    def part(self, row: Mapping[str, Any], where: str) -> tuple[float, float | None]:
        """Return the beginning and the end of the utterance in its file, in seconds.

        A duration counts only beside a beginning (NeMo's ``offset``): alone it describes the whole file.

        Raises:
            DatasetError: one of them is no time.
        """
        start, end = _seconds(row, self.start, where), _seconds(row, self.end, where)
        if end is None and start is not None:
            duration = _seconds(row, self.duration, where)
            end = None if duration is None else start + duration
        return start or 0.0, end


def _first(known: Collection[str], names: Collection[str]) -> str | None:
    """Return the first of the known names that there is, in whatever case it is written."""
    there = {str(name).lower(): name for name in reversed(list(names))}
    return next((there[name] for name in known if name in there), None)


def words(value: object) -> str | None:
    """Return the text in a cell; None if it is empty.

    Raises:
        DatasetError: it is a list, an object or a truth value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, list, tuple, dict, bytes)):
        raise DatasetError(f"a text or a number is expected, not {str(value)[:40]!r}; mend it")
    return str(value)


def _seconds(row: Mapping[str, Any], name: str | None, where: str) -> float | None:
    value = row.get(name) if name is not None else None
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DatasetError(f"{where}: {name} is {value!r}, which is no time in seconds")
    return seconds
