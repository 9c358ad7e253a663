"""A prepared data set becomes training examples."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow.compute
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from neucodec_tts.dataset.places import is_dir, list_folder, place
from neucodec_tts.errors import CodesError, PromptError
from neucodec_tts.prompts import PromptFormat, SpeechConfig
from neucodec_tts.prompts.formats import IGNORED
from neucodec_tts.training import cloning_example

datasets.disable_progress_bars()


def load_data(*folders: Path | str) -> datasets.Dataset:
    """The rows of data sets that ``neucodec-tts prepare`` made, in folders or at URLs, one after the other.

    They are mapped into memory. A folder that is named several times counts several times. Of several data sets only
    the columns that all of them have are there.
    """
    loaded = {str(folder): _load(folder) for folder in folders}
    parts = [loaded[str(folder)] for folder in folders]
    if len(parts) == 1:
        return parts[0]
    codecs = {name: codec for name in loaded if (codec := _codec_of(name))}
    if len(set(codecs.values())) > 1:
        of = "; ".join(f"{name} has those of {codec}" for name, codec in codecs.items())
        raise SystemExit(f"error: a model learns the codes of one codec, and {of}")
    columns = [name for name in parts[0].column_names if all(name in part.column_names for part in parts)]
    return datasets.concatenate_datasets([part.select_columns(columns) for part in parts])


def _codec_of(folder: str) -> str | None:
    """The id of the codec that made a data set's codes, where the data set says it."""
    manifest = place(folder) / "manifest.json"
    try:
        return str(json.loads(manifest.read_bytes())["codec"]["codec_id"])
    except (OSError, KeyError):
        return None


def _load(folder: Path | str) -> datasets.Dataset:
    root = place(folder)
    data = root / "data" if is_dir(root / "data") else root
    names = list_folder(data) if is_dir(data) else []
    shards = [data / name for name in names if name.endswith(".parquet") and name != "rejects.parquet"]
    if not shards:
        raise SystemExit(f"error: {folder} holds no Parquet files; make it with neucodec-tts prepare")
    rows = datasets.load_dataset("parquet", data_files=[str(path) for path in shards], split="train")
    missing = {"text", "codes"} - set(rows.column_names)
    if missing:
        raise SystemExit(f"error: {folder} has no column {' and no column '.join(sorted(missing))}")
    return rows


def hold_out(rows: datasets.Dataset, count: int) -> tuple[list[int], list[int]]:
    """Indices to train with, and to test with: always the same for the same ids, whatever else is there."""
    ids = rows["id"] if "id" in rows.column_names else range(len(rows))
    order = sorted(range(len(rows)), key=lambda index: hashlib.sha256(str(ids[index]).encode()).digest())
    usable = [index for index in order if rows[index]["text"]]
    aside = set(usable[: min(count, len(usable) // 5)])
    return [index for index in range(len(rows)) if index not in aside], sorted(aside)


class ExampleMaker:
    """Makes the examples of one data set for one model.

    Args:
        rows: with ``text`` and ``codes``, and ``speaker`` if voices are to be cloned.
        prompt_format: of the model.
        clones: so many examples of each utterance begin with another one of the same speaker.
        longest: tokens; no example that begins with another utterance or has a contrast is made longer.
        seed: of who begins with what.
        contrast: each example also has `contrast_ids`, the same speech after the text of another one, and after a
            voice of another speaker if it begins with a voice. That speech alone is learnt.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        prompt_format: PromptFormat,
        clones: int,
        longest: int,
        seed: int,
        contrast: bool = False,
    ) -> None:
        self._rows = rows
        self._format = prompt_format
        self._clones = clones
        self._longest = longest
        self._seed = seed
        self._contrast = contrast
        self.skipped: list[str] = []

    def examples(self, indices: list[int]) -> Iterator[dict[str, Any]]:
        """Yield `input_ids` and `labels`; what cannot be read aloud is skipped and noted in `skipped`."""
        partners = self._by_speaker(indices) if self._clones else {}
        texts = [text for index in indices if (text := self._rows[index]["text"])] if self._contrast else []
        for index in indices:
            row = self._rows[index]
            source = random.Random(f"{self._seed} {index}")
            voices = self._voices(index, partners.get(row.get("speaker"), []), source)
            other = source.choice(texts) if texts else None
            stranger = self._stranger(row.get("speaker"), partners, source) if texts and voices else None
            try:
                for voice in (None, *voices):
                    example = self._example(row["text"] or "", row["codes"], voice)
                    if other is not None:
                        unlike = stranger if voice and stranger else voice
                        example["contrast_ids"] = self._example(other, row["codes"], unlike)["input_ids"]
                        learnt = len(row["codes"]) + 1  # the speech and its end, and no voice before it
                        example["labels"][:-learnt] = [IGNORED] * (len(example["labels"]) - learnt)
                    alone = voice is None and other is None
                    if alone or max(len(ids) for ids in example.values()) <= self._longest:
                        yield example
            except (PromptError, CodesError) as problem:
                self.skipped.append(f"{row.get('id', index)}: {problem}")

    def _example(self, text: str, codes: Any, voice: Any) -> dict[str, Any]:
        if voice is None:
            made = self._format.training_example(text, codes)
        else:
            made = cloning_example(self._format, voice, text, codes)
        return {"input_ids": made.input_ids, "labels": made.labels}

    def _by_speaker(self, indices: list[int]) -> dict[str, list[int]]:
        if "speaker" not in self._rows.column_names:
            raise SystemExit("error: --clones needs a column speaker in the data set")
        speakers = self._rows["speaker"]
        found: dict[str, list[int]] = defaultdict(list)
        for index in indices:
            if speakers[index]:
                found[speakers[index]].append(index)
        return found

    def _voices(self, index: int, partners: list[int], source: random.Random) -> list[SimpleNamespace]:
        """Other utterances of the same speaker, for an utterance to begin with."""
        others = source.sample(partners, min(len(partners), self._clones + 1))
        return self._as_voices([other for other in others if other != index][: self._clones])

    def _stranger(
        self, speaker: str | None, partners: dict[str, list[int]], source: random.Random
    ) -> SimpleNamespace | None:
        """An utterance of another speaker, each speaker as likely; None if there is no other."""
        names = [name for name in partners if name != speaker]
        found = self._as_voices([source.choice(partners[source.choice(names)])]) if names else []
        return found[0] if found else None

    def _as_voices(self, indices: list[int]) -> list[SimpleNamespace]:
        rows = [self._rows[index] for index in indices]
        return [SimpleNamespace(text=row["text"], codes=row["codes"]) for row in rows if row["text"]]


def make_examples(
    folder: Path,
    rows: datasets.Dataset,
    indices: list[int],
    config: SpeechConfig,
    tokenizer: PreTrainedTokenizerBase,
    options: dict[str, Any],
) -> datasets.Dataset:
    """Examples with `input_ids` and `labels`: those of the data set, or made once and kept in `folder`."""
    ready_made = {"input_ids", "labels"} <= set(rows.column_names)
    if ready_made and not options["clones"] and not options["contrasts"]:
        ready = rows.select(indices).select_columns(["input_ids", "labels"])
        # A row without text has no tokens, and a length of None.
        return ready.select([at for at, length in enumerate(lengths_of(ready)) if length])
    path, stamp = folder / "examples.arrow", folder / "made-from.json"
    made_from = json.dumps(options, sort_keys=True)
    if not stamp.is_file() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        prompt_format = config.make_format(tokenizer)
        names = ("clones", "max_length", "seed", "contrasts")
        maker = ExampleMaker(rows, prompt_format, *(options[name] for name in names))
        tokens = datasets.Sequence(datasets.Value("int32"))
        columns = ("input_ids", "labels", *(["contrast_ids"] if options["contrasts"] else []))
        features = datasets.Features(dict.fromkeys(columns, tokens))
        with ArrowWriter(path=str(path), features=features) as writer:
            for example in maker.examples(indices):
                writer.write(example)
            if not writer.finalize()[0]:
                raise SystemExit(
                    f"error: nothing to train with; {(maker.skipped or ['the data set is empty'])[0]}"
                )
        if maker.skipped:
            print(f"{len(maker.skipped)} utterances are left out, the first: {maker.skipped[0]}")
        stamp.write_text(made_from)
    return datasets.Dataset.from_file(str(path))


def lengths_of(examples: datasets.Dataset) -> list[int]:
    """Tokens of each example, without reading the tokens."""
    lengths: list[int] = []
    for batch in examples.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=10_000):
        lengths += pyarrow.compute.list_value_length(batch["input_ids"]).to_pylist()
    return lengths
